//! Whatever is done to a definition, reading it ends, in a definition or an error.

use lazyblob_worker::keys::OpKeys;
use lazyblob_worker::llb::{Definition, host_platform};
use proptest::prelude::*;

use crate::fixture;

/// Reads it, and does with it what a builder would do first.
fn use_it(bytes: &[u8]) {
    match Definition::read(bytes) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(definition) => {
            let _ = Definition::parse(bytes);
            for vertex in definition.vertices() {
                if let Some(keys) = OpKeys::of(vertex, &host_platform()).unwrap() {
                    assert_eq!(keys.deps.len(), vertex.inputs.len());
                    let _ = keys.digest();
                }
            }
        }
    }
}

#[test]
fn every_byte_changed_and_cut_short_everywhere() {
    for (name, bytes) in fixture::all() {
        // A long chain has nothing in it that short ones do not have.
        if name == "llb/chain-50" {
            continue;
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            use_it(&changed);
        }
        (0..bytes.len()).step_by(5).for_each(|end| use_it(&bytes[..end]));
    }
}

/// Changes an op and mends the digests, so that what is behind the digests is reached.
fn mend(bytes: &[u8], which: usize, at: usize, value: u8, remove: bool) -> Vec<u8> {
    use prost::Message as _;
    let mut definition = lazyblob_worker::llb::pb::Definition::decode(bytes).unwrap();
    let count = definition.def.len();
    let digests: Vec<String> =
        definition.def.iter().map(|op| lazyblob_remote::digest::sha256(op).to_string()).collect();
    let op = &mut definition.def[which % count];
    let at = at % op.len();
    if remove {
        op.remove(at);
    } else {
        op[at] = value;
    }
    // In the order of the definition inputs come first, so one pass is enough; all digests are equally long.
    let mut now: Vec<String> = Vec::new();
    for op in &mut definition.def {
        for (old, new) in digests.iter().zip(&now) {
            let (old, new) = (old.as_bytes(), new.as_bytes());
            while let Some(place) = op.windows(old.len()).position(|window| window == old && old != new) {
                op[place..place + new.len()].copy_from_slice(new);
            }
        }
        now.push(lazyblob_remote::digest::sha256(op).to_string());
    }
    definition.encode_to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn ops_that_are_changed_and_still_found(
        fixture in 0_usize..50, which in any::<usize>(), at in any::<usize>(), value in any::<u8>(), remove in any::<bool>()
    ) {
        let (_, bytes) = &fixtures()[fixture];
        use_it(&mend(bytes, which, at, value, remove));
    }

    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        use_it(&bytes);
    }
}

fn fixtures() -> &'static [(String, Vec<u8>)] {
    static ALL: std::sync::OnceLock<Vec<(String, Vec<u8>)>> = std::sync::OnceLock::new();
    ALL.get_or_init(fixture::all)
}
