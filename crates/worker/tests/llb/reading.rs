//! What is read of the fixtures.

use lazyblob_worker::Error;
use lazyblob_worker::llb::{Definition, Op, Source, pb};
use prost::Message as _;

use crate::fixture;

#[test]
fn every_fixture_is_read_and_what_is_not_run_is_refused_by_name() {
    let mut refused = Vec::new();
    for (name, bytes) in fixture::all() {
        let read = Definition::read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        match Definition::parse(&bytes) {
            Ok(parsed) => assert_eq!(parsed, read, "{name}"),
            Err(error @ Error::Unsupported { .. }) => refused.push((name, error.to_string())),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let says = |name: &str, words: &[&str]| {
        let (_, message) =
            refused.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}"));
        for word in words {
            assert!(message.contains(word), "{name}: {message}");
        }
    };
    says("keys/httpsum", &["http://127.0.0.1:5210/f1 (sha256:737cf74d", "http sources are not supported"]);
    says("keys/gittag", &["git://127.0.0.1:5211/repo#v1", "git sources are not supported"]);
    says("keys/gitkeep", &["git sources"]);
    says("keys/gitbrkeep", &["git sources"]);
    says("keys/nested", &["nested build (sha256:d98e6efb", "nested builds are not supported"]);
    assert_eq!(refused.len(), 5);
}

#[test]
fn vertices_come_before_those_that_need_them_and_carry_what_was_said() {
    let definition = Definition::parse(&fixture::definition("llb", "merge")).unwrap();
    let kinds: Vec<&str> = definition
        .vertices()
        .iter()
        .map(|vertex| match &vertex.op {
            Op::Source { source: Source::Image(_), .. } => "image",
            Op::Exec(_) => "exec",
            Op::Diff(_) => "diff",
            Op::Merge(_) => "merge",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["image", "exec", "diff", "exec", "diff", "merge"]);
    let merge = definition.vertex(&definition.result().vertex).unwrap();
    assert_eq!(merge.inputs.len(), 3);
    assert!(merge.metadata.caps["mergeop"]);
    assert!(!merge.ignores_cache() && merge.is_exported());
    for (at, vertex) in definition.vertices().iter().enumerate() {
        for input in &vertex.inputs {
            let earlier = definition.vertices().iter().position(|earlier| *earlier.digest() == input.vertex);
            assert!(earlier.is_some_and(|earlier| earlier < at), "{}", vertex.name);
        }
    }
    assert!(definition.source_map().is_some());
}

#[test]
fn attributes_of_sources_are_read() {
    let limit = Definition::parse(&fixture::definition("keys", "limit")).unwrap();
    let Op::Source { source: Source::Image(image), .. } = &limit.vertices()[0].op else { panic!() };
    assert_eq!(image.layer_limit, Some(1));
    assert_eq!(image.reference.to_string(), "localhost:5200/odd:1");
    let local = Definition::parse(&fixture::definition("llb", "local-copy")).unwrap();
    let Op::Source { source: Source::Local(local), .. } = &local.vertices()[0].op else { panic!() };
    assert_eq!(
        (local.name.as_str(), local.include_patterns.as_slice()),
        ("context", ["src/**".to_owned()].as_slice())
    );
    assert_eq!(local.unique.as_deref(), Some("c9fa1f53v6rgrprz36atf75po"));
}

/// Our messages lose nothing of what BuildKit's client writes, and write it in its order.
#[test]
fn ops_are_written_again_to_the_byte() {
    for (name, bytes) in fixture::all() {
        let definition = pb::Definition::decode(bytes.as_slice()).unwrap();
        for op in &definition.def {
            assert_eq!(pb::Op::decode(op).unwrap().encode_to_vec(), *op, "{name}");
        }
        assert_eq!(definition.encoded_len(), bytes.len(), "{name}");
        assert_eq!(pb::Definition::decode(definition.encode_to_vec().as_slice()), Ok(definition), "{name}");
    }
}

/// A name is for people: a line, and without passwords.
#[test]
fn names_do_not_tell_passwords() {
    let source = pb::SourceOp { identifier: "https://me:secret@host/x@y".to_owned(), ..Default::default() };
    let op = pb::Op { kind: Some(pb::Kind::Source(source)), ..Default::default() };
    let error = Definition::parse(&crate::bad::definition(vec![op])).unwrap_err().to_string();
    assert!(error.contains("https://host/x@y") && !error.contains("secret"), "{error}");
}
