//! The fixtures.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

fn folder(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

/// A definition by folder and name.
pub(crate) fn definition(folder: &str, name: &str) -> Vec<u8> {
    let path = self::folder(folder).join(format!("{name}.llb.b64"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
}

/// All definitions, with what they are called.
pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in ["llb", "keys"] {
        for entry in std::fs::read_dir(folder(name)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            if let Some(file) = file.strip_suffix(".llb.b64") {
                all.push((format!("{name}/{file}"), definition(name, file)));
            }
        }
    }
    all.sort();
    assert_eq!(all.len(), 50);
    all
}
