//! `manifest.json` of a docker-archive, and what an image config says of its layers.

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::reference::Reference;

/// The name of the document.
pub(super) const NAME: &str = "manifest.json";
/// The largest one we read, and the largest config, in bytes.
pub(super) const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

/// One image: names of files in the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) config: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<String>,
}

/// The images of an archive that `name` may mean: as written, else spelled in full, else by the tag alone.
pub(super) fn called(items: &[Item], name: &str) -> Vec<usize> {
    let of = |matches: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let has = |item: &Item| item.repo_tags.iter().any(|tag| matches(tag));
        items.iter().enumerate().filter(|(_, item)| has(item)).map(|(position, _)| position).collect()
    };
    let exact = of(&|tag| tag == name);
    if !exact.is_empty() {
        return exact;
    }
    let full = name.parse::<Reference>().ok();
    let spelled = of(&|tag| full.is_some() && tag.parse::<Reference>().ok() == full);
    if !spelled.is_empty() {
        return spelled;
    }
    of(&|tag| tag.rsplit_once(':').is_some_and(|(_, own)| own == name))
}

/// The diffIDs of an image config, bottom first (image-spec "Image Configuration", `rootfs`).
pub(super) fn diff_ids(config: &[u8], object: &str) -> Result<Vec<Digest>> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Rootfs,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        #[serde(default, deserialize_with = "nullable")]
        diff_ids: Vec<Digest>,
    }
    let config: Config = serde_json::from_slice(config).map_err(|error| {
        Error::invalid("read config", object, format_args!("not an image config: {error}"))
    })?;
    Ok(config.rootfs.diff_ids)
}

/// Go writes an empty list as null.
fn nullable<'de, D, T>(from: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_called_by_what_is_written_or_meant() {
        let item = |tags: &[&str]| Item {
            config: String::new(),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            layers: Vec::new(),
        };
        let items =
            [item(&["busybox:1", "localhost:5000/a/b:x"]), item(&["docker.io/library/busybox:2"]), item(&[])];
        assert_eq!(called(&items, "busybox:1"), [0]);
        assert_eq!(called(&items, "docker.io/library/busybox:1"), [0]);
        assert_eq!(called(&items, "busybox:2"), [1]);
        assert_eq!(called(&items, "localhost:5000/a/b:x"), [0]);
        assert_eq!(called(&items, "2"), [1]);
        assert!(called(&items, "busybox").is_empty());
        assert!(called(&items, "busybox:3").is_empty());
    }
}
