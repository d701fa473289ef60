//! Roots with snapshots of either kind.

use std::path::Path;
use std::sync::Arc;

use lazyblob_cache::snapshot::{Overlay, Places, Plain, Snapshotter};
use lazyblob_remote::testing::not_run;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether overlayfs works in `dir`; otherwise `what` is noted as not run.
pub(crate) fn has_overlay(what: &str, dir: &Path) -> bool {
    let places = Places::below(dir);
    places.create().unwrap();
    match Overlay::probe(&places) {
        Ok(()) => true,
        Err(error) => {
            not_run(what, &error.to_string());
            false
        }
    }
}

/// All snapshotters that work here, each on places of its own below `dir`.
pub(crate) fn all(what: &str, dir: &Path) -> Vec<Arc<dyn Snapshotter>> {
    let plain = Places::below(&dir.join("plain"));
    plain.create().unwrap();
    let mut found: Vec<Arc<dyn Snapshotter>> = vec![Arc::new(Plain::new(plain))];
    let overlay = dir.join("overlay");
    if has_overlay(what, &overlay) {
        found.push(Arc::new(Overlay::new(Places::below(&overlay))));
    }
    found
}
