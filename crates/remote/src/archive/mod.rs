//! Images in single tar files: OCI layouts (`oci-archive`) and what `docker save` writes (`docker-archive`).
//!
//! A source reads the headers once and then only the bytes asked for. A target writes to `.<name>.….partial` beside
//! the final name, which appears, or is replaced, when everything is in it. A target that is dropped before leaves
//! nothing, and what a killed process left is removed by the next that writes the same name. In contrast to skopeo an
//! existing archive is no obstacle: it is replaced, not added to.

mod docker;
mod docker_layer;
mod docker_manifest;
mod docker_target;
mod entries;
mod oci;
mod oci_target;
mod unpack;
mod writer;

pub use docker::DockerArchive;
pub use docker_target::DockerArchiveTarget;
pub use oci::OciArchive;
pub use oci_target::OciArchiveTarget;
