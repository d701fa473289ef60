//! The names in a layer.

use std::path::PathBuf;

use lazyblob_cache::Error;
use lazyblob_cache::layer::file_list;
use tokio_util::sync::CancellationToken;

use crate::compress::{ALL, compressed, text};
use crate::support::tree::of_everything;
use crate::support::{diff, is_root};

fn list(layer: &[u8]) -> lazyblob_cache::Result<Vec<PathBuf>> {
    file_list(layer, &CancellationToken::new())
}

/// BuildKit row 48: the sorted names of a layer's entries, however it is compressed.
#[test]
fn names_are_sorted_and_have_no_slashes_around() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    of_everything(&root);
    let (tar, _) = diff(None, &root);
    let mut expected =
        vec!["bin", "bin/alias", "bin/tool", "empty", "etc", "etc/deep", "etc/deep/nothing", "etc/hosts"];
    expected.extend([
        "var",
        "var/disk",
        "var/far",
        "var/hole",
        "var/hosts",
        "var/lastlog",
        "var/log",
        "var/null",
    ]);
    expected.extend(["var/pipe", "var/zz"]);
    expected.retain(|name| is_root() || !matches!(*name, "var/disk" | "var/null"));
    for compression in ALL {
        let listed = list(&compressed(&tar, compression)).unwrap();
        assert_eq!(listed.iter().map(|name| name.to_str().unwrap()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn every_name_is_there_once_as_it_is() {
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["./b/", "b", "a-b", "a/b", "a", ".wh.gone", "x/../y"] {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    // By bytes: `-` comes before `/`.
    let expected = [".wh.gone", "a", "a-b", "a/b", "b", "x/../y"];
    assert_eq!(list(&tar).unwrap(), expected.map(PathBuf::from));
    assert!(list(b"").unwrap().is_empty());
    assert!(list(&[0; 1024]).unwrap().is_empty());
}

#[test]
fn what_is_no_layer_has_no_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    of_everything(&root);
    let (tar, _) = diff(None, &root);
    for compression in ALL {
        let blob = compressed(&tar, compression);
        let error = list(&blob[..blob.len() / 2]).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{compression:?}: {error}");
    }
    let error = list(&text(5000)).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = file_list(&tar[..], &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
}
