//! A pure graph engine for builds, generic over its result type, without I/O.
//!
//! Vertices carry typed cache options; a result that cannot be loaded because blobs are missing is resolved by walking
//! the ancestors of the vertex for the options that can supply them. This crate depends on nothing of the workspace, and
//! a test holds it to that.
#![forbid(unsafe_code)]
