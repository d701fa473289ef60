//! The registry client and copies, against servers in memory.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used)]

mod auth;
mod cancel;
mod chunks;
mod copy_requests;
mod credentials;
mod expiry;
mod manifests;
mod mirrors;
mod mounts;
mod names;
mod pauses;
mod platforms;
mod progress;
mod redirects;
mod referrers;
mod resume;
mod retries;
mod sessions;
mod sockets;
mod ssrf;
mod steps;
mod support;
mod tags;
mod upload;
