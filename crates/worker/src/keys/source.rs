//! Keys of sources: of what they resolve to, never of what they are called.

use lazyblob_remote::digest;
use lazyblob_solver::SessionId;
use oci_spec::image::Digest;
use serde::Deserialize;

use super::json::Object;
use super::platform;
use crate::llb::LocalSource;
use crate::llb::pb::Platform;

/// What stands before everything that a key of a source is made of.
const TYPE: &str = "buildkit.source.v0:";

/// The two map digests of an image: the first by what its name resolved to, the second by its layers, so that an image that
/// was pushed again with another manifest still hits.
///
/// `root` is the digest of what the name resolved to, an index if that is what it is; `platform` is normalised; `config` are
/// the bytes of the image's config.
#[must_use]
pub fn image_keys(root: &Digest, platform: &Platform, limit: Option<usize>, config: &[u8]) -> [Digest; 2] {
    image_preimages(root, platform, limit, config).map(|preimage| digest::sha256(preimage.as_bytes()))
}

/// The texts whose sha256 are the [map digests of an image](image_keys).
#[must_use]
pub fn image_preimages(
    root: &Digest,
    platform: &Platform,
    limit: Option<usize>,
    config: &[u8],
) -> [String; 2] {
    let mut object = Object::new();
    object.always("Digest", root.as_ref());
    platform::write(&mut object, platform);
    object.number("Limit", limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX)));
    let resolved = digest::sha256(object.finish().as_bytes()).to_string();
    let layers = layers(config, limit).unwrap_or_else(|| resolved.clone());
    [format!("{TYPE}{resolved}"), format!("{TYPE}{layers}")]
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// The chainID of the image's layers, if it says what they are.
fn layers(config: &[u8], limit: Option<usize>) -> Option<String> {
    let Ok(Config { rootfs }) = serde_json::from_slice(config) else {
        return Some(digest::sha256(config).to_string());
    };
    if rootfs.kind != "layers" {
        return None;
    }
    // Digests of other people's: what they are is not looked at, they are text that is hashed.
    let diff_ids = rootfs.diff_ids.into_iter().take(limit.unwrap_or(usize::MAX));
    diff_ids.reduce(|chain, diff_id| digest::sha256(format!("{chain} {diff_id}").as_bytes()).to_string())
}

/// The map digest of a directory of the client's: it holds for the session alone. Consumers are found again by what the
/// directory contains.
#[must_use]
pub fn local_key(local: &LocalSource, session: &SessionId) -> Digest {
    let mut object = Object::new();
    object.always("SessionID", local.session.as_deref().unwrap_or(session.as_str()));
    object.texts("IncludePatterns", &local.include_patterns);
    object.texts("ExcludePatterns", &local.exclude_patterns);
    object.texts("FollowPaths", &local.follow_paths);
    let what = digest::sha256(object.finish().as_bytes());
    let key = digest::sha256(format!("{TYPE}session:{}:{what}", local.name).as_bytes());
    let random = format!("random:{}", key.digest());
    // An algorithm of letters and 64 hexadecimal digits are a digest; were they none, sharing nothing is as right.
    random.parse().unwrap_or(key)
}
