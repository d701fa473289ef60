//! The two forms a cache manifest has: an index whose entries are layers with the config last (older, refused by ECR,
//! Artifact Registry and distribution 3), and an image manifest (BuildKit's default since 0.21).

use std::str::FromStr;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::media;

/// The form of a cache manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An image manifest.
    Manifest,
    /// An index.
    Index,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "manifest" => Ok(Self::Manifest),
            "index" => Ok(Self::Index),
            other => Err(format!("`{other}` is neither `manifest` nor `index`")),
        }
    }
}

/// `cache` in `form`. Descriptors keep their bytes, order and annotations; only what holds them changes, so that a
/// cache converted there and back is the same to the byte. One that has the form already is returned as it is.
///
/// # Errors
/// [`Error::Invalid`] for a manifest that is not a build cache.
pub fn convert(cache: &Manifest, form: Form) -> Result<Manifest> {
    let invalid = |reason: &str| Error::invalid("convert build cache", cache.digest(), reason);
    if !cache.is_build_cache() {
        return Err(invalid("it is not a BuildKit cache: no cache config is among its children"));
    }
    if cache.is_index() == (form == Form::Index) {
        return Ok(cache.clone());
    }
    let mut fields: Map<String, Value> =
        serde_json::from_slice(cache.bytes()).map_err(|error| invalid(&error.to_string()))?;
    let mut take =
        |field: &str| fields.shift_remove(field).ok_or_else(|| invalid(&format!("it has no `{field}`")));
    let mut converted = Map::new();
    converted.insert("schemaVersion".to_owned(), json!(2));
    match form {
        Form::Index => {
            let Value::Array(mut entries) = take("layers")? else {
                return Err(invalid("`layers` is no list"));
            };
            entries.push(take("config")?);
            converted.insert("mediaType".to_owned(), json!(media::OCI_INDEX));
            converted.insert("manifests".to_owned(), Value::Array(entries));
        }
        Form::Manifest => {
            let Value::Array(mut layers) = take("manifests")? else {
                return Err(invalid("`manifests` is no list"));
            };
            let is_config =
                |entry: &Value| entry["mediaType"].as_str().map(media::bare) == Some(media::BUILDKIT_CACHE);
            let config =
                layers.iter().position(is_config).ok_or_else(|| invalid("it has no cache config"))?;
            converted.insert("mediaType".to_owned(), json!(media::OCI_MANIFEST));
            converted.insert("config".to_owned(), layers.remove(config));
            converted.insert("layers".to_owned(), Value::Array(layers));
        }
    }
    // Annotations and whatever else the cache carries are its own.
    for (field, value) in fields {
        converted.entry(field).or_insert(value);
    }
    let bytes = Bytes::from(Value::Object(converted).to_string());
    Manifest::parse(bytes, None, None, &format!("{} in another form", cache.digest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, fill: char, annotations: &str) -> String {
        let hex = fill.to_string().repeat(64);
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{hex}","size":7{annotations}}}"#)
    }

    fn parse(text: String) -> Manifest {
        Manifest::parse(Bytes::from(text), None, None, "test").unwrap()
    }

    fn cache() -> Manifest {
        let note = r#","annotations":{"containerd.io/uncompressed":"sha256:x","buildkit/createdat":"t"}"#;
        let layer = entry(media::OCI_LAYER_GZIP, 'a', note);
        let config = entry(media::BUILDKIT_CACHE, 'c', "");
        let kind = media::OCI_MANIFEST;
        // BuildKit lists a layer twice where two records end in it.
        parse(format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{layer},{layer}]}}"#
        ))
    }

    #[test]
    fn there_and_back_is_the_same_to_the_byte() {
        let index = convert(&cache(), Form::Index).unwrap();
        assert!(index.is_index() && index.is_build_cache());
        assert_eq!(index.entries().len(), 3);
        assert_ne!(index.digest(), cache().digest());
        assert_eq!(convert(&index, Form::Manifest).unwrap().bytes(), cache().bytes());
        assert_eq!(convert(&cache(), Form::Manifest).unwrap().bytes(), cache().bytes());
    }

    #[test]
    fn an_image_is_not_a_cache() {
        let config = entry(media::OCI_CONFIG, 'c', "");
        let kind = media::OCI_MANIFEST;
        let image =
            parse(format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[]}}"#));
        let error = convert(&image, Form::Index).unwrap_err().to_string();
        assert!(error.contains("not a BuildKit cache"), "{error}");
    }
}
