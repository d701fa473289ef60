//! What is said when a ref is asked for, and how a manager behaves.

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use lazyblob_remote::{Access, Digest};

use crate::handler::DescHandlers;
use crate::layer::Limits;
use crate::record::{RecordType, Retention, Source};

/// How a ref is to be had. The values that describe a record are those of a new one; names and sources are added to one
/// that is there.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// How its lazy blobs, and those below, can be had. They belong to the handle and to those made of it.
    pub handlers: DescHandlers,
    /// The full name of the image it is seen in.
    pub image_ref: Option<String>,
    /// Repositories that have its blob.
    pub sources: Vec<Source>,
    /// For listings; "pulled from" the name where there is none.
    pub description: Option<String>,
    /// The same of single layers, by the digests of their blobs: it comes before `description` and `created`.
    pub layers: HashMap<Digest, LayerAbout>,
    /// What it is for.
    pub record_type: RecordType,
    /// What becomes of a mutable one when its handle goes.
    pub retention: Retention,
    /// When it was made, in milliseconds since 1970; now where nothing is said.
    pub created: Option<u64>,
    /// The handle does not count as a use.
    pub unused: bool,
    /// Fetch the blob at once, on behalf of this access.
    pub unlazy: Option<Access>,
}

/// What is known of one layer of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerAbout {
    /// For listings, and for the history of images.
    pub description: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created: Option<u64>,
}

/// How a manager behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Layers inflated and applied at once.
    pub cpus: usize,
    /// What a layer may not go beyond.
    pub limits: Limits,
    /// Owners, devices and setuid bits are kept in snapshots.
    pub privileged: bool,
    /// Dropped handles are written down this long after the first of them at the latest.
    pub linger: Duration,
}

impl Default for Settings {
    /// As many layers as there are cores; privileged as root.
    fn default() -> Self {
        Self {
            cpus: thread::available_parallelism().map_or(1, NonZero::get),
            limits: Limits::default(),
            privileged: rustix::process::geteuid().is_root(),
            linger: Duration::from_secs(1),
        }
    }
}
