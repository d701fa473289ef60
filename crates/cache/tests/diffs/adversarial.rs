//! What odd layers make can be made layers of again.

use std::fs;

use lazyblob_cache::layer::{Compression, convert, file_list};
use lazyblob_cache::testing::Tree;
use lazyblob_cache::testing::adversarial::{images, refused};
use lazyblob_remote::digest;
use tokio_util::sync::CancellationToken;

use crate::compress::compressor;
use crate::support::{apply, copy, diff, entries, is_root, names};

/// Applying, making a layer of it and applying that gives the same tree, and once more the same layer.
#[test]
fn apply_diff_apply_gives_the_same_tree() {
    if !is_root() {
        // Some trees cannot be read by those who made them.
        return;
    }
    let mut layers = 0;
    for (image, tars) in images() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        for (number, tar) in tars.iter().enumerate() {
            let lower = dir.path().join(format!("lower{number}"));
            copy(&root, &lower);
            apply(tar, &root);
            let expected = Tree::of(&root).unwrap();
            let (ours, done) = diff(Some(&lower), &root);
            assert_eq!(done.is_empty(), Tree::of(&lower).unwrap() == expected, "{image}, layer {number}");
            apply(&ours, &lower);
            assert_eq!(Tree::of(&lower).unwrap(), expected, "{image}, layer {number}: {:?}", names(&ours));
            assert!(diff(Some(&lower), &root).1.is_empty(), "{image}, layer {number}");

            let (whole, _) = diff(None, &root);
            let other = dir.path().join(format!("other{number}"));
            fs::create_dir(&other).unwrap();
            apply(&whole, &other);
            assert_eq!(Tree::of(&other).unwrap(), expected, "{image}, all of layer {number}");
            assert!(diff(None, &other).0 == whole, "{image}, all of layer {number}");
            layers += 1;
        }
    }
    assert!(layers > 40, "{layers}");
}

#[test]
fn every_odd_layer_has_its_names_and_can_be_converted() {
    let cancel = CancellationToken::new();
    for (image, tars) in images() {
        for tar in &tars {
            let listed = file_list(&tar[..], &cancel).unwrap_or_else(|error| panic!("{image}: {error}"));
            assert!(
                !listed.is_empty() || entries(tar).iter().all(|entry| entry.path.as_os_str() == "."),
                "{image}"
            );
            let diff_id = digest::sha256(tar);
            let (_, zstd) = convert(&tar[..], &diff_id, compressor(Compression::ZSTD, 1), &cancel).unwrap();
            let (_, again) = convert(&zstd[..], &diff_id, compressor(Compression::None, 1), &cancel).unwrap();
            assert!(again == *tar, "{image}");
            assert_eq!(file_list(&zstd[..], &cancel).unwrap(), listed, "{image}");
        }
    }
    // What must not be unpacked has names nevertheless, or an error: it is only looked at.
    for (_, tars, _) in refused() {
        for tar in tars {
            drop(file_list(&tar[..], &cancel));
        }
    }
}
