//! The config of a cache: which records there are, how they are linked, and which layers they have.

use std::time::SystemTime;

use oci_spec::image::Digest;
use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use super::{gojson, time};

/// What a cache knows. Positions are from 0 and, in a config that was [read](Config::parse), never out of range, and neither
/// layers nor records lead in circles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Layers, each with the one below it.
    pub layers: Vec<Layer>,
    /// Records in any order.
    pub records: Vec<Record>,
}

/// A layer on top of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its blob.
    pub blob: Digest,
    /// The place of the layer below.
    pub parent: Option<usize>,
}

/// What is known under a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which output of which op, or which content. Several records may have the same.
    pub digest: Digest,
    /// Results, each by its topmost layer.
    pub results: Vec<Top>,
    /// Results whose layers are named one by one.
    pub chains: Vec<Chain>,
    /// For each input the ways that lead here; none of them empty.
    pub inputs: Vec<Vec<Input>>,
}

/// A result by its topmost layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// Its place in [`Config::layers`]; in an image's own cache, its place in the image.
    pub layer: usize,
    /// When it was computed.
    pub created_at: SystemTime,
}

/// A result by all of its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Their places, the bottom one first.
    pub layers: Vec<usize>,
    /// When it was computed.
    pub created_at: SystemTime,
}

/// A way from one record to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What part of the input the op reads.
    pub selector: Option<Digest>,
    /// The place of the record that the way comes from.
    pub link: usize,
}

impl Config {
    /// The bytes of the config as they stand, as BuildKit writes them.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for more layers or records than can be counted.
    pub fn to_json(&self) -> crate::Result<String> {
        gojson::to_string(self).map_err(unwritten)
    }

    /// The records alone: what an image's own cache has in the image's config.
    ///
    /// # Errors
    /// As [`Config::to_json`].
    pub fn records_to_json(&self) -> crate::Result<String> {
        gojson::to_string(&self.records).map_err(unwritten)
    }

    /// The blobs that each result's layers have, the bottom one first: those of the layer at `top`.
    #[must_use]
    pub fn stack(&self, top: usize) -> Vec<usize> {
        let mut stack = Vec::new();
        let mut next = Some(top);
        while let Some(at) = next
            && stack.len() < self.layers.len()
        {
            stack.push(at);
            next = self.layers.get(at).and_then(|layer| layer.parent);
        }
        stack.reverse();
        stack
    }
}

fn unwritten(error: serde_json::Error) -> crate::Error {
    crate::Error::invalid("write cache config", "build cache", error)
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Config", 2)?;
        if !self.layers.is_empty() {
            fields.serialize_field("layers", &self.layers)?;
        }
        if !self.records.is_empty() {
            fields.serialize_field("records", &self.records)?;
        }
        fields.end()
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let parent = self.parent.map_or(Ok(-1), i64::try_from).map_err(S::Error::custom)?;
        let mut fields = to.serialize_struct("Layer", 2)?;
        fields.serialize_field("blob", &self.blob)?;
        // Absent is the first layer, not none.
        if parent != 0 {
            fields.serialize_field("parent", &parent)?;
        }
        fields.end()
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Record", 4)?;
        if !self.results.is_empty() {
            fields.serialize_field("layers", &self.results)?;
        }
        if !self.chains.is_empty() {
            fields.serialize_field("chains", &self.chains)?;
        }
        fields.serialize_field("digest", &self.digest)?;
        if !self.inputs.is_empty() {
            fields.serialize_field("inputs", &self.inputs)?;
        }
        fields.end()
    }
}

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Top", 2)?;
        fields.serialize_field("layer", &self.layer)?;
        fields.serialize_field("createdAt", &time::write(self.created_at))?;
        fields.end()
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Chain", 2)?;
        fields.serialize_field("layers", &self.layers)?;
        fields.serialize_field("createdAt", &time::write(self.created_at))?;
        fields.end()
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Input", 2)?;
        if let Some(selector) = &self.selector {
            fields.serialize_field("selector", selector)?;
        }
        fields.serialize_field("link", &self.link)?;
        fields.end()
    }
}
