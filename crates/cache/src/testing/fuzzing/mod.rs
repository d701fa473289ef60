//! What is done with bytes that come from strangers, as functions that take any bytes and panic only if something is wrong.
//!
//! A fuzzer calls them (`fuzz/`), and on every run of the tests they take the seeds that are kept beside it, and a number
//! of damaged ones ([`mutate`]). What is wrong: a panic, an error of a kind that no input may cause, anything touched
//! outside of where it was to go, or a value that does not come back from what it shows itself as.

mod layers;
pub mod mutate;

use std::collections::BTreeSet;
use std::str::FromStr;

use bytes::Bytes;
use lazyblob_remote::buildcache::{self, Form, convert};
use lazyblob_remote::{Descriptor, Location, Manifest, Reference, RepositoryName, digest, media};

use crate::image::Config;

/// One thing that takes bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its directory of seeds, and of its program for the fuzzer.
    pub name: &'static str,
    /// Takes bytes, and panics if something is wrong.
    pub run: fn(&[u8]),
}

/// All there are.
pub const TARGETS: [Target; 9] = [
    Target { name: "apply", run: layers::apply },
    Target { name: "unpack", run: layers::unpack },
    Target { name: "round_trip", run: layers::round_trip },
    Target { name: "references", run: references },
    Target { name: "manifests", run: manifests },
    Target { name: "configs", run: configs },
    Target { name: "build_caches", run: build_caches },
    Target { name: "cache_configs", run: cache_configs },
    Target { name: "journal", run: journal },
];

/// Runs the target called `name`.
///
/// # Panics
/// If there is none, or if something is wrong with what it made of `bytes`.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.run)(bytes);
}

/// Names of images and places as people write them.
fn references(bytes: &[u8]) {
    /// What is read and shown again is the same.
    fn again<T: FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str)
    where
        T::Err: std::fmt::Debug,
    {
        if let Ok(value) = text.parse::<T>() {
            assert_eq!(value.to_string().parse::<T>().expect("what it shows itself as"), value, "{text:?}");
        }
    }
    let text = String::from_utf8_lossy(bytes);
    again::<Reference>(&text);
    again::<RepositoryName>(&text);
    again::<Location>(&text);
}

/// Manifests and indexes, and all that is asked of them.
fn manifests(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for content_type in [None, Some(media::OCI_MANIFEST), Some(media::OCI_INDEX)] {
        let Ok(manifest) = Manifest::parse(bytes.clone(), content_type, None, "a fuzzer's") else { continue };
        assert_eq!(manifest.bytes(), &bytes, "the bytes are the truth");
        assert_eq!(manifest.digest(), &digest::sha256(&bytes));
        let digests = |children: &mut dyn Iterator<Item = &Descriptor>| -> BTreeSet<String> {
            children.map(|child| child.digest().to_string()).collect()
        };
        let (manifests, blobs) = (manifest.child_manifests(), manifest.child_blobs());
        let named = manifest.config().into_iter().chain(manifest.layers()).chain(manifest.entries());
        assert_eq!(
            digests(&mut manifests.into_iter().chain(blobs)),
            digests(&mut { named }),
            "each child is one or the other"
        );
        let _ = (manifest.subject(), manifest.artifact_type(), manifest.annotations());
        let again =
            Manifest::parse(bytes.clone(), Some(manifest.media_type()), Some(manifest.digest()), "it");
        let again = again.expect("a manifest by its own name and type");
        assert_eq!(again.descriptor(), manifest.descriptor());
    }
}

/// Configs of images, and the layers they speak of.
fn configs(bytes: &[u8]) {
    let Ok(config) = Config::parse(bytes, &digest::sha256(bytes)) else { return };
    for layers in 0..4 {
        let layer = format!(
            r#"{{"mediaType":"{}","digest":"sha256:{}","size":1}}"#,
            media::OCI_LAYER,
            "0".repeat(64)
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{layer},"layers":[{}]}}"#,
            media::OCI_MANIFEST,
            vec![layer.as_str(); layers].join(",")
        );
        let manifest = Manifest::parse(manifest.into(), None, None, "a fuzzer's").expect("a manifest");
        if let Ok(paired) = config.layers(&manifest) {
            assert_eq!(paired.len(), layers, "as many diffIDs as layers");
        }
    }
}

/// Build caches, and their two forms.
fn build_caches(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(cache) = Manifest::parse(bytes, None, None, "a fuzzer's") else { return };
    for form in [Form::Manifest, Form::Index] {
        let Ok(converted) = convert(&cache, form) else { continue };
        assert!(cache.is_build_cache() && converted.is_build_cache());
        assert_eq!(converted.is_index(), form == Form::Index);
        let mut before: Vec<_> = cache.child_blobs().iter().map(|blob| blob.digest().to_string()).collect();
        let mut after: Vec<_> =
            converted.child_blobs().iter().map(|blob| blob.digest().to_string()).collect();
        before.sort();
        after.sort();
        assert_eq!(before, after, "no blob is lost, none is new");
    }
}

/// Configs of build caches: keys, links, and which layers are whose result.
fn cache_configs(bytes: &[u8]) {
    let Ok(config) = buildcache::Config::parse(bytes, "a fuzzer's") else { return };
    assert!(config.inputs_first().is_some(), "no circle is taken");
    for top in 0..config.layers.len() {
        let stack = config.stack(top);
        assert_eq!(stack.last(), Some(&top), "a stack ends with its own layer");
        assert!(stack.len() <= config.layers.len(), "and has none twice");
    }
    let text = config.to_json().expect("what was read can be written");
    let again = buildcache::Config::parse(text.as_bytes(), "it").expect("and read again");
    assert_eq!(again, config);
    let sorted = config.sorted();
    let text = sorted.to_json().expect("a config");
    assert_eq!(sorted.sorted().to_json().expect("a config"), text, "in order it stays as it is");
}

/// The journal of the database.
fn journal(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal");
    std::fs::write(&path, bytes).expect("a file");
    let (end, batches) = crate::metadata::read_journal(&path).expect("whatever is in it, it is read");
    assert!(end <= bytes.len() as u64, "what counts is in the file");
    // What comes behind the last batch is cut off, and nothing is lost by that.
    let cut = bytes.get(..usize::try_from(end).expect("a length")).expect("as long as the file");
    std::fs::write(&path, cut).expect("a file");
    let again = crate::metadata::read_journal(&path).expect("whatever is in it, it is read");
    assert_eq!(again, (end, batches));
}
