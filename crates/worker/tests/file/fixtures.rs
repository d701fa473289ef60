//! Definitions that BuildKit's client wrote.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_worker::llb::{Definition, Op, Source};
use lazyblob_worker::session::Session;

use crate::support::{World, kinds};

fn definitions() -> Vec<(String, Definition)> {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = Vec::new();
    for folder in ["llb", "keys"] {
        for entry in std::fs::read_dir(fixtures.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(short) = name.strip_suffix(".llb.b64") else { continue };
            let text = std::fs::read_to_string(fixtures.join(folder).join(&name)).unwrap();
            let bytes = STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap();
            let Ok(definition) = Definition::parse(&bytes) else { continue };
            found.push((format!("{folder}/{short}"), definition));
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
        let session = Session {
            locals: ["context", "ctx", "src"].map(|name| (name.to_owned(), local.path().to_owned())).into(),
            ..Session::default()
        };
        let world = World::with(wanted, session).await;
        let mut tar = Tar::new();
        for (path, text) in TREE {
            tar = tar.file(path, text);
        }
        let image = image(&[(tar.end(), Packed::Gzip)]);
        for name in ["base", "big", "odd", "tree", "idx"] {
            world.registry.seed(name, "1", &image).await;
        }
        let mut built = 0;
        for (name, definition) in definitions() {
            let ops = definition.vertices().iter().map(|vertex| &vertex.op);
            let has_file = ops.clone().any(|op| matches!(op, Op::File(_)));
            let is_ours = ops.clone().all(|op| match op {
                Op::Exec(_) => false,
                Op::Source { source, .. } => matches!(source, Source::Image(_) | Source::Local(_)),
                _ => true,
            });
            if !has_file || !is_ours {
                continue;
            }
            if let Err(error) = world.run(&definition).await {
                panic!("{name}: {error}");
            }
            built += 1;
        }
        println!("{wanted:?}: {built} definitions");
        assert!(built >= 10, "{built}");
        world.assert_clean().await;
        world.close().await;
    }
}

/// What the definitions copy.
const TREE: &[(&str, &str)] = &[
    ("etc/os-release", "os"),
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("usr/lib/os-release", "os"),
    ("src/main.go", "package main\n"),
];
