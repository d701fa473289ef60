//! The conformance suite on every engine.

use lazyblob_cache::metadata::{Memory, Redb, Sled};
use lazyblob_cache::testing::metadata::suite;

#[test]
fn sled_does_what_an_engine_does() {
    suite(&Sled, tempfile::tempdir().unwrap().path());
}

#[test]
fn redb_does_what_an_engine_does() {
    suite(&Redb, tempfile::tempdir().unwrap().path());
}

#[test]
fn memory_does_what_an_engine_does() {
    suite(&Memory::default(), tempfile::tempdir().unwrap().path());
}
