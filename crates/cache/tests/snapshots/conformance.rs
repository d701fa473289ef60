//! Both snapshotters keep what the trait promises, and a root has one of them.

use std::sync::Arc;

use lazyblob_cache::Error;
use lazyblob_cache::snapshot::{Overlay, Places, Plain, Wanted, open};
use lazyblob_cache::testing::check_snapshotter;

use crate::support;

#[test]
fn plain_conforms() {
    check_snapshotter(&|places| Arc::new(Plain::new(places.clone())));
}

#[test]
fn overlay_conforms() {
    let dir = tempfile::tempdir().unwrap();
    if support::has_overlay("the conformance of overlay snapshots", dir.path()) {
        check_snapshotter(&|places| Arc::new(Overlay::new(places.clone())));
    }
}

#[test]
fn what_a_root_has_is_chosen_once() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    assert_eq!(open(places.clone(), Wanted::Plain).unwrap().name(), "plain");
    assert_eq!(open(places.clone(), Wanted::Auto).unwrap().name(), "plain", "also where overlay would work");
    let refused = open(places.clone(), Wanted::Overlay).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("of the kind plain"), "{refused}");
    std::fs::write(places.snapshots.join("kind"), "newer").unwrap();
    let refused = open(places, Wanted::Auto).unwrap_err();
    assert!(refused.to_string().contains("\"newer\""), "{refused}");
}

#[test]
fn overlay_is_chosen_where_it_works() {
    let dir = tempfile::tempdir().unwrap();
    if support::has_overlay("the choice of overlay snapshots", dir.path()) {
        let places = Places::below(dir.path());
        assert_eq!(open(places.clone(), Wanted::Auto).unwrap().name(), "overlay");
        assert!(matches!(open(places, Wanted::Plain), Err(Error::Refused { .. })));
    }
}
