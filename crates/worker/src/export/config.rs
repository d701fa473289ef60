//! The config of an image (image-spec config.md): what is given, with diffIDs and history made to fit the layers.

use bytes::Bytes;
use lazyblob_remote::Digest;
use serde_json::{Map, Value, json};

use super::time;
use crate::cache_io::INLINE_FIELD;
use crate::error::{Error, Result};
use crate::llb::pb::Platform;

/// What says of a history entry that it is ours.
const COMMENT: &str = "lazyblob";

/// A config in the making.
pub(super) struct ConfigOf<'a> {
    /// The config to begin with, as it was given.
    pub(super) given: Option<&'a [u8]>,
    /// Its history is of so many of the layers; where nothing is said it is believed.
    pub(super) known: Option<usize>,
    pub(super) platform: &'a Platform,
    /// What each layer uncompresses to, and what made it, the bottom one first.
    pub(super) layers: &'a [(Digest, String)],
    pub(super) epoch: Option<u64>,
    pub(super) inline_cache: Option<&'a str>,
}

impl ConfigOf<'_> {
    /// The config. All that is not named here stays what it was.
    ///
    /// # Errors
    /// [`Error::Failed`] for what is given and is no config.
    pub(super) fn make(&self) -> Result<Bytes> {
        let invalid = |reason: String| Error::failed("read", "the image config given", reason);
        let mut config: Map<String, Value> = match self.given {
            Some(given) => serde_json::from_slice(given).map_err(|error| invalid(error.to_string()))?,
            None => Map::from_iter([("config".to_owned(), json!({}))]),
        };
        self.name_platform(&mut config);
        let mut history = match config.remove("history") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(invalid("its history is not a list".to_owned())),
        };
        if let Some(known) = self.known {
            cut(&mut history, known);
        }
        self.complete(&mut history)
            .ok_or_else(|| invalid("an entry of its history is not one".to_owned()))?;
        if let Some(epoch) = self.epoch {
            config.insert("created".to_owned(), json!(time::rfc3339(epoch)));
            history.iter_mut().for_each(|entry| clamp(entry, epoch));
        }
        let diff_ids: Vec<&Digest> = self.layers.iter().map(|(diff_id, _)| diff_id).collect();
        config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        if !history.is_empty() {
            config.insert("history".to_owned(), Value::Array(history));
        }
        // That of the base is of the base.
        config.remove(INLINE_FIELD);
        if let Some(cache) = self.inline_cache {
            config.insert(INLINE_FIELD.to_owned(), json!(cache));
        }
        let bytes = serde_json::to_vec(&config).map_err(|error| invalid(error.to_string()))?;
        Ok(bytes.into())
    }

    /// What a config has to say of its platform, where it does not.
    fn name_platform(&self, config: &mut Map<String, Value>) {
        let Platform { architecture, os, variant, os_version, .. } = self.platform;
        let is_bare = !config.contains_key("architecture") && !config.contains_key("os");
        let mut say = |key: &str, value: &str| {
            if !value.is_empty() && !config.contains_key(key) {
                config.insert(key.to_owned(), json!(value));
            }
        };
        say("architecture", architecture);
        say("os", os);
        // A variant goes with its architecture.
        if is_bare {
            say("variant", variant);
            say("os.version", os_version);
        }
    }

    /// Makes the history have one entry for each layer: those that are missing are added, those too many are of no layer.
    fn complete(&self, history: &mut Vec<Value>) -> Option<()> {
        let mut layers = 0;
        for entry in history.iter_mut() {
            let entry = entry.as_object_mut()?;
            if is_empty(entry) {
                continue;
            }
            if layers == self.layers.len() {
                entry.insert("empty_layer".to_owned(), json!(true));
            } else {
                layers += 1;
            }
        }
        for (_, made_by) in self.layers.iter().skip(layers) {
            history.push(json!({ "created_by": made_by, "comment": COMMENT }));
        }
        Some(())
    }
}

/// Leaves of a history what is of the lowest `layers` layers, and what stands between them.
fn cut(history: &mut Vec<Value>, layers: usize) {
    let mut left = layers;
    let end = history.iter().position(|entry| {
        let has_layer = entry.as_object().is_some_and(|entry| !is_empty(entry));
        let is_over = left == 0 && (has_layer || layers == 0);
        left -= usize::from(has_layer && left > 0);
        is_over
    });
    history.truncate(end.unwrap_or(history.len()));
}

fn is_empty(entry: &Map<String, Value>) -> bool {
    entry.get("empty_layer").and_then(Value::as_bool).unwrap_or_default()
}

/// Gives an entry of the history no later time than `epoch`.
fn clamp(entry: &mut Value, epoch: u64) {
    let Some(entry) = entry.as_object_mut() else { return };
    let created = entry.get("created").and_then(Value::as_str).and_then(time::parse);
    let latest = (i64::try_from(epoch).unwrap_or(i64::MAX), 0);
    if created.is_none_or(|created| created > latest) {
        entry.insert("created".to_owned(), json!(time::rfc3339(epoch)));
    }
}

#[cfg(test)]
mod tests {
    use lazyblob_remote::digest::sha256;

    use super::*;

    fn made(given: Option<&Value>, layers: &[&str], epoch: Option<u64>) -> Value {
        let given = given.map(|given| given.to_string().into_bytes());
        let layers: Vec<_> =
            layers.iter().map(|made_by| (sha256(made_by.as_bytes()), (*made_by).to_owned())).collect();
        let platform = "linux/arm/v7".parse().unwrap();
        let (known, inline_cache) = (None, None);
        let config = ConfigOf {
            given: given.as_deref(),
            known,
            platform: &platform,
            layers: &layers,
            epoch,
            inline_cache,
        };
        serde_json::from_slice(&config.make().unwrap()).unwrap()
    }

    #[test]
    fn a_plain_config_says_what_it_must() {
        let config = made(None, &["run"], None);
        let expected = json!({
            "config": {},
            "architecture": "arm",
            "os": "linux",
            "variant": "v7",
            "rootfs": { "type": "layers", "diff_ids": [sha256(b"run").to_string()] },
            "history": [{ "created_by": "run", "comment": "lazyblob" }],
        });
        assert_eq!(config, expected, "and no time");
        let empty = made(None, &[], None);
        assert_eq!(empty["rootfs"]["diff_ids"], json!([]));
        assert!(empty.get("history").is_none());
    }

    #[test]
    fn history_is_made_to_fit() {
        let given = json!({
            "architecture": "amd64", "os": "linux", "x-own": 1.5,
            "created": "2020-01-01T00:00:00Z",
            "history": [
                { "created": "2019-01-01T00:00:00Z", "created_by": "ADD" },
                { "created_by": "ENV", "empty_layer": true },
            ],
        });
        let config = made(Some(&given), &["a", "b"], None);
        assert_eq!(config["history"].as_array().unwrap().len(), 3);
        assert_eq!(config["history"][2]["created_by"], "b");
        assert_eq!(config["created"], "2020-01-01T00:00:00Z", "what is given stays");
        assert_eq!((&config["x-own"], config.get("variant")), (&json!(1.5), None));
        let fewer = made(Some(&given), &[], None);
        assert_eq!(fewer["history"][0]["empty_layer"], true, "it is of no layer");
        let epoch = made(Some(&given), &["a", "b"], Some(1_577_000_000));
        assert_eq!(epoch["created"], "2019-12-22T07:33:20Z");
        let times: Vec<_> = epoch["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["created"].as_str().unwrap())
            .collect();
        assert_eq!(times, ["2019-01-01T00:00:00Z", "2019-12-22T07:33:20Z", "2019-12-22T07:33:20Z"]);
    }

    #[test]
    fn a_history_is_cut_where_its_layers_end() {
        let entry = |by: &str, is_empty: bool| json!({ "created_by": by, "empty_layer": is_empty });
        let all =
            [entry("e0", true), entry("a", false), entry("e1", true), entry("b", false), entry("e2", true)];
        for (layers, left) in [(0, 0), (1, 3), (2, 5), (3, 5)] {
            let mut history = all.to_vec();
            cut(&mut history, layers);
            assert_eq!(history, all[..left], "{layers}");
        }
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for given in ["[]", "{", "{\"history\":{}}", "{\"history\":[1]}"] {
            let platform = Platform::default();
            let config = ConfigOf {
                given: Some(given.as_bytes()),
                known: None,
                platform: &platform,
                layers: &[],
                epoch: None,
                inline_cache: None,
            };
            let error = config.make().unwrap_err().to_string();
            assert!(error.starts_with("read the image config given: "), "{error}");
        }
    }
}
