//! Our keys are BuildKit's: for every definition of the fixtures, each text that is hashed, each digest, and each record of the
//! cache that BuildKit exported from building it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod expect;
mod fixture;
mod records;
mod rules;

use std::collections::BTreeSet;

use lazyblob_solver::{KeyId, SessionId};
use lazyblob_worker::keys::{self, ContentSelector, DepKeys, OpKeys};
use lazyblob_worker::llb::{Definition, Op, Source, Vertex, paths};

use expect::{Dep, Expect};
use fixture::Image;

/// What a builder of these caches ran on.
fn amd64() -> lazyblob_worker::llb::pb::Platform {
    "linux/amd64".parse().unwrap()
}

#[test]
fn every_op_has_buildkit_s_digests() {
    let mut counted = 0;
    for name in fixture::names() {
        let definition =
            Definition::read(&fixture::definition(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expect = Expect::read(&name);
        let digests: Vec<String> =
            definition.vertices().iter().map(|vertex| vertex.digest().to_string()).collect();
        let wanted: Vec<&str> = expect.ops.iter().map(|op| op.vertex.as_str()).collect();
        assert_eq!(BTreeSet::from_iter(&digests).len(), digests.len(), "{name}");
        assert_eq!(digests, wanted, "{name}: the order of the definition");
        for (vertex, op) in definition.vertices().iter().zip(&expect.ops) {
            counted += usize::from(check_op(&name, vertex, op));
        }
    }
    assert_eq!(counted, 91, "ops whose digests we make");
}

/// Whether we make keys of it.
fn check_op(name: &str, vertex: &Vertex, op: &expect::Op) -> bool {
    let at = format!("{name}: {}", vertex.name);
    match &vertex.op {
        Op::Source { source: Source::Image(image), .. } => {
            let files = Image::of(&image.reference);
            let platform = vertex.platform(&amd64()).unwrap();
            let preimages = keys::image_preimages(&files.root, &platform, image.layer_limit, &files.config);
            assert_eq!(preimages.as_slice(), &op.preimage[1..], "{at}");
            let digests = keys::image_keys(&files.root, &platform, image.layer_limit, &files.config);
            assert_eq!(digests.map(|digest| digest.to_string()).as_slice(), op.cache_map, "{at}");
        }
        Op::Source { source: Source::Local(local), .. } => {
            assert_eq!(op.cache_map, ["random"], "{at}");
            let key = |session| keys::local_key(local, &SessionId::new(session));
            assert!(KeyId::of_output(&key("one"), 0).is_random(), "{at}: {}", key("one"));
            assert_eq!(key("one"), key("one"), "{at}");
            assert_ne!(key("one"), key("another"), "{at}");
        }
        Op::Source { source: Source::Other { scheme }, .. } => {
            assert!(["git", "http"].contains(&scheme.as_str()), "{at}");
            return false;
        }
        Op::Build => return false,
        _ => check_keys(&at, &OpKeys::of(vertex, &amd64()).unwrap().unwrap(), op),
    }
    // An output that nobody can find again has none; which those are is looked at with all records.
    for record in op.records.iter().filter(|record| !record.digests.is_empty()) {
        let digests =
            op.cache_map.iter().map(|digest| KeyId::of_output(&digest.parse().unwrap(), record.output));
        let mut digests: Vec<String> = digests.map(|key| key.to_string()).collect();
        digests.sort();
        let mut wanted = record.digests.clone();
        wanted.sort();
        assert_eq!(digests, wanted, "{at}: output {}", record.output);
    }
    true
}

fn check_keys(at: &str, keys: &OpKeys, op: &expect::Op) {
    assert_eq!(keys.preimage, op.preimage[0], "{at}");
    assert_eq!([keys.digest().to_string()].as_slice(), op.cache_map, "{at}");
    // The actions of a file op, which are base64 within it, are spelled out.
    for action in &op.preimage[1..] {
        assert!(keys.preimage.contains(&fixture::base64(action.as_bytes())), "{at}: {action}");
    }
    assert_eq!(keys.deps.len(), op.deps.len(), "{at}");
    for (position, (dep, wanted)) in keys.deps.iter().zip(&op.deps).enumerate() {
        check_dep(&format!("{at}: input {position}"), dep, wanted);
    }
}

fn check_dep(at: &str, dep: &DepKeys, wanted: &Dep) {
    let selector = dep.selector.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(selector, wanted.selector, "{at}");
    assert_eq!(dep.paths, wanted.selector_paths, "{at}");
    assert_eq!(dep.content.is_some(), wanted.content_based, "{at}");
    let parts = dep.content.as_deref().unwrap_or_default();
    let parts: Vec<_> = parts.iter().map(described).collect();
    let wanted: Vec<_> = wanted.selectors.iter().map(expect::Part::described).collect();
    assert_eq!(parts, wanted, "{at}");
}

fn described(part: &ContentSelector) -> expect::Described {
    (
        // The path is the op's; hashes of content clean it.
        paths::rooted(&part.path),
        part.follow_links,
        part.wildcard,
        part.include_patterns.clone(),
        part.exclude_patterns.clone(),
    )
}
