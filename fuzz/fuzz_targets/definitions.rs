#![no_main]
//! Build definitions. `crates/worker/tests/llb` does the same with damaged ones on every run of the tests.

use lazyblob_worker::keys::OpKeys;
use lazyblob_worker::llb::{Definition, host_platform};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(definition) = Definition::parse(bytes) else { return };
    for vertex in definition.vertices() {
        if let Some(keys) = OpKeys::of(vertex, &host_platform()).expect("what was checked has keys") {
            assert_eq!(keys.deps.len(), vertex.inputs.len());
            let _ = keys.digest();
        }
    }
});
