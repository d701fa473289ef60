//! Keys, as other caches know them.

use lazyblob_solver::testing::{digest, random};
use lazyblob_solver::{KeyId, NotAKey};
use oci_spec::image::Digest;

fn parsed(text: &str) -> Digest {
    text.parse().unwrap()
}

/// Record digests that BuildKit exported, by the map digest of the op and the output: an image by its manifest and by its
/// layers, file ops with and without input, an exec, the second output of an exec.
#[test]
fn keys_of_outputs_are_the_records_that_buildkit_exports() {
    let records = [
        (
            "sha256:0576d81406f9d47285ec6e1d53418dc2d8daeeecc3f60b5fc751cc964f9b854a",
            0,
            "sha256:98a5f2109e00c9c93b102d5109749189858fc50e646a10da7ff44d8d7d9edc93",
        ),
        (
            "sha256:36710f638fa7b8a8827a6254e1b7b42fc38253d416d346a689495e966d58d7f5",
            0,
            "sha256:19c8870bb0eaaf03cf8fe4281f8679c7844bad85a2a119763fe923616000cfa7",
        ),
        (
            "sha256:343e134e79354dfffda2d7ebcf123f86407c02fb24396a5a54e3a111bf170292",
            0,
            "sha256:b3369b30b4a9b70fc87b71d32808be5cdb089e7dc6c74ec562947a452a72200a",
        ),
        (
            "sha256:ea8de60b3212fbc22127394331d1c0244c32117574db9a3270303c322d20c37f",
            0,
            "sha256:0d7095b61ab5b4e7a2ce3ab136fed80b8dcb45dcb58c409d7ce434b1e5afcfa0",
        ),
        (
            "sha256:4c0b90563dbbc0944baeac1ac9197ff0617ac6c81acf0e3a08fb6cdeb65b5761",
            0,
            "sha256:add919c9ade2105fd60cefd047b22e8701a86874ef771106a7299084fda17c0a",
        ),
        (
            "sha256:68905c18622a5af7ce30d8d8806d9280e832e02d9eef3464905f2d633246650a",
            1,
            "sha256:25452846d6c93c9724af5bc86d17565089da3c90189f9c7d1d1fbd9b0a58156f",
        ),
    ];
    for (map, output, record) in records {
        assert_eq!(KeyId::of_output(&parsed(map), output).to_string(), record);
        assert_ne!(KeyId::of_output(&parsed(map), output + 1).to_string(), record);
    }
}

#[test]
fn keys_of_contents_are_the_records_that_buildkit_exports() {
    let records = [
        (
            "sha256:25c5826859d425349b53b83dea84b4c231bf9659fc0cb4a9e3e8eff7c0b0dd66",
            "sha256:92bb51da1ab7b3264ed524e23693b2f03b5b050e38db64dabdce638038231a82",
        ),
        (
            "sha256:5dcea0ab9a0b58b787c3a12e5123052f2dd7c02a5e98998d03e902d1342c2a0f",
            "sha256:8f96a78607bc3250661cd8022d103ef42eb5bd7fa743e9f05f48bb4ab04bb4e1",
        ),
        (
            "sha256:b1815754e29e6895d8a9eb755a50987ec22ae29793e34750b71351cba36f3a49",
            "sha256:f286d0101eea5d6be469733c13d665e5547faa0e1b9df5bb151c33170e0e15c5",
        ),
    ];
    for (content, record) in records {
        assert_eq!(KeyId::of_content(&parsed(content)).to_string(), record);
    }
}

/// BuildKit row 82: a key that begins `random:` is known as one wherever it comes from.
#[test]
fn random_keys_are_known_as_such() {
    let key = KeyId::of_output(&random("session"), 0);
    assert!(key.is_random());
    assert!(key.to_string().starts_with("random:"));
    assert!(key.to_string().parse::<KeyId>().unwrap().is_random());
    let other = KeyId::of_output(&digest("session"), 0);
    assert!(!other.is_random());
    assert_ne!(key.as_bytes(), other.as_bytes());
    assert_ne!(key, KeyId::from_bytes(*key.as_bytes()));
    assert!(!KeyId::of_content(&digest("content")).is_random());
}

#[test]
fn keys_are_read_as_they_are_written() {
    for key in [
        KeyId::of_output(&digest("a"), u32::MAX),
        KeyId::of_content(&digest("b")),
        KeyId::from_bytes([0xff; 32]),
    ] {
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(format!("{key:?}"), key.to_string());
        assert_eq!(KeyId::from_bytes(*key.as_bytes()), key);
    }
    let zeros = "0".repeat(64);
    for text in [
        String::new(),
        zeros.clone(),
        format!("sha512:{zeros}"),
        format!("sha256:{}", &zeros[1..]),
        format!("sha256:0{zeros}"),
        format!("sha256:{}A", &zeros[1..]),
        format!("sha256:+{}", &zeros[1..]),
        format!("sha256:{}ä", &zeros[2..]),
    ] {
        assert_eq!(text.parse::<KeyId>(), Err(NotAKey), "{text}");
    }
}

#[test]
fn derived_keys_are_of_the_op_and_all_ways_in_their_order() {
    let (op, a, b) = (
        KeyId::of_output(&digest("op"), 0),
        KeyId::of_content(&digest("a")),
        KeyId::of_content(&digest("b")),
    );
    let part = digest("part");
    let ways: [&[(Option<&Digest>, KeyId)]; 6] = [
        &[],
        &[(None, a)],
        &[(Some(&part), a)],
        &[(None, a), (None, b)],
        &[(None, b), (None, a)],
        &[(None, a), (Some(&part), b)],
    ];
    let keys: Vec<_> = ways.iter().map(|ways| KeyId::derived(op, ways.iter().copied())).collect();
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), ways.len());
    assert_eq!(KeyId::derived(op, [(None, a), (None, b)]), keys[3]);
    assert_ne!(KeyId::derived(a, [(None, a), (None, b)]), keys[3]);
}
