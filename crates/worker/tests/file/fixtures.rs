//! Definitions that BuildKit's client wrote.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_remote::testing::Image;
use lazyblob_worker::llb::{Definition, Op, Source};
use lazyblob_worker::session::Session;

use crate::support::{World, files, kinds, tree};

/// Those that have file ops and nothing that is a command or comes from elsewhere.
fn definitions(folder: &str) -> Vec<(String, Definition)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(short) = name.strip_suffix(".llb.b64") else { continue };
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let bytes = STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap();
        let Ok(definition) = Definition::parse(&bytes) else { continue };
        let mut ops = definition.vertices().iter().map(|vertex| &vertex.op);
        let has_file = ops.clone().any(|op| matches!(op, Op::File(_)));
        let is_ours = ops.all(|op| match op {
            Op::Exec(_) => false,
            Op::Source { source, .. } => matches!(source, Source::Image(_) | Source::Local(_)),
            _ => true,
        });
        if has_file && is_ours {
            found.push((short.to_owned(), definition));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Every definition of files, images and local directories alone is built. The images are ours, with what is asked of them.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_with_file_ops_are_built() {
    let local = tempfile::tempdir().unwrap();
    for (path, text) in TREE {
        let path = local.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for wanted in kinds() {
        let mut built = Vec::new();
        for (folder, host) in [("llb", "localhost:5000"), ("keys", "localhost:5200")] {
            let locals = ["context", "ctx"].map(|name| (name.to_owned(), local.path().to_owned())).into();
            let world = World::at(host, wanted, Session { locals, ..Session::default() }).await;
            for name in ["base", "big", "odd", "idx", "a64"] {
                world.registry.seed(name, "1", &of_tree()).await;
            }
            for (name, definition) in definitions(folder) {
                let result = match world.run(&definition).await {
                    Ok(result) => result.result,
                    Err(error) => panic!("{name}: {error}"),
                };
                let files = files(&result).await;
                match name.as_str() {
                    "scratch-file" => assert_eq!(files, tree([("a/", ""), ("a/b", "data\n")])),
                    "copy-from-image" => assert_eq!(files, tree([("os-release", "os")])),
                    "local-copy" => {
                        assert_eq!(files, tree([("src/", ""), ("src/main.go", "package main\n")]));
                    }
                    "copyinc" => {
                        let wanted = [
                            ("x/", ""),
                            ("x/d/", ""),
                            ("x/d/a.txt", "A"),
                            ("x/d/sub/", ""),
                            ("x/d/sub/c.txt", "CCC"),
                        ];
                        assert_eq!(files, tree(wanted));
                    }
                    "oddneg" => {
                        let wanted = [("x/", ""), ("x/a/", ""), ("x/a/f", "f"), ("x/zz", "zz")];
                        assert_eq!(files, tree(wanted));
                    }
                    _ => assert_ne!(files, tree([]), "{name}"),
                }
                built.push(name);
            }
            world.assert_clean().await;
            world.close().await;
        }
        println!("{wanted:?}: {built:?}");
        assert_eq!(built.len(), 30, "{built:?}");
    }
}

/// An image of two layers, of which the first has everything.
fn of_tree() -> Image {
    let mut tar = Tar::new();
    for (path, text) in TREE {
        tar = tar.file(path, *text);
    }
    image(&[
        (tar.symlink("l1", "t").end(), Packed::Gzip),
        (Tar::new().file("second", "2").end(), Packed::Gzip),
    ])
}

/// What the definitions copy.
const TREE: &[(&str, &str)] = &[
    ("bin/busybox", "busybox"),
    ("etc/os-release", "os"),
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("usr/lib/os-release", "os"),
    ("src/main.go", "package main\n"),
    ("f1", "f1"),
    ("t/a/f", "f"),
    ("t/a/deep/er", "deeper"),
    ("t/a b", "a b"),
    ("t/ab", "ab"),
    ("t/axb", "axb"),
    ("t/gone", "gone"),
    ("t/up/deep/er", "er"),
    ("t/xa", "xa"),
    ("t/zz", "zz"),
];
