//! Reading a config that somebody else wrote: everything is checked, nothing is walked by recursion.

use std::time::{SystemTime, UNIX_EPOCH};

use oci_spec::image::Digest;
use serde::{Deserialize, Deserializer};

use super::config::{Chain, Config, Input, Layer, Record, Top};
use super::time;
use crate::error::{Error, Result};

const OPERATION: &str = "read cache config";
/// The largest config that is read, in bytes.
pub const MAX_CONFIG: u64 = 64 * 1024 * 1024;
/// The most values, lists and objects in it that are read: so many that 64 MiB of what anybody exports has fewer, and so
/// few that they fit into memory.
pub const MAX_VALUES: usize = 5_000_000;

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default, deserialize_with = "list")]
    layers: Vec<RawLayer>,
    #[serde(default, deserialize_with = "list")]
    records: Vec<RawRecord>,
}

#[derive(Deserialize)]
struct RawLayer {
    blob: Digest,
    #[serde(default)]
    parent: i64,
}

#[derive(Deserialize)]
struct RawRecord {
    digest: Digest,
    #[serde(default, deserialize_with = "list")]
    layers: Vec<RawTop>,
    #[serde(default, deserialize_with = "list")]
    chains: Vec<RawChain>,
    #[serde(default, deserialize_with = "list")]
    inputs: Vec<Vec<RawInput>>,
}

#[derive(Deserialize)]
struct RawTop {
    layer: usize,
    #[serde(default = "epoch", rename = "createdAt", deserialize_with = "moment")]
    created_at: SystemTime,
}

#[derive(Deserialize)]
struct RawChain {
    #[serde(default, deserialize_with = "list")]
    layers: Vec<usize>,
    #[serde(default = "epoch", rename = "createdAt", deserialize_with = "moment")]
    created_at: SystemTime,
}

#[derive(Deserialize)]
struct RawInput {
    #[serde(default, deserialize_with = "selector")]
    selector: Option<Digest>,
    #[serde(default)]
    link: usize,
}

impl Config {
    /// Reads a config; `object` is named in errors. It takes time and memory that are linear in its size.
    ///
    /// # Errors
    /// [`Error::Refused`] past [`MAX_CONFIG`] or [`MAX_VALUES`]; [`Error::Invalid`] for what is no config, for positions out
    /// of range, an input without a way, and layers or records that lead in circles.
    pub fn parse(bytes: &[u8], object: &str) -> Result<Self> {
        let raw: RawConfig = read(bytes, object)?;
        let count = raw.layers.len();
        let layers = raw.layers.into_iter().enumerate().map(|(at, layer)| {
            let parent = match usize::try_from(layer.parent) {
                Ok(parent) if parent < count => Some(parent),
                Err(_) if layer.parent == -1 => None,
                _ => return Err(out_of_range(object, "layer", at, "parent", layer.parent)),
            };
            Ok(Layer { blob: layer.blob, parent })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        if let Some(at) = looping_layer(&layers) {
            let reason = format_args!("layer {at} stands on itself");
            return Err(Error::invalid(OPERATION, object, reason));
        }
        let records = records(raw.records, count, object)?;
        Ok(Self { layers, records })
    }

    /// Reads the records of an image's own cache, whose layers are those of the image: each on top of the one before.
    ///
    /// # Errors
    /// Those of [`Config::parse`].
    pub fn parse_inline(records_json: &[u8], blobs: &[Digest], object: &str) -> Result<Self> {
        let raw: Vec<RawRecord> = read(records_json, object)?;
        let layer = |(at, blob): (usize, &Digest)| Layer { blob: blob.clone(), parent: at.checked_sub(1) };
        let records = records(raw, blobs.len(), object)?;
        Ok(Self { layers: blobs.iter().enumerate().map(layer).collect(), records })
    }

    /// The places of all records, those that lead to others before them; nothing where they lead in circles.
    #[must_use]
    pub fn inputs_first(&self) -> Option<Vec<usize>> {
        inputs_first(&self.records)
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8], object: &str) -> Result<T> {
    if bytes.len() as u64 > MAX_CONFIG {
        let reason = format_args!("{} bytes are past the limit of {MAX_CONFIG}", bytes.len());
        return Err(Error::refused(OPERATION, object, reason));
    }
    // Every value stands behind one of these.
    let values = bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if values > MAX_VALUES {
        let reason = format_args!("it has more than {MAX_VALUES} values");
        return Err(Error::refused(OPERATION, object, reason));
    }
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(OPERATION, object, error))
}

fn records(raw: Vec<RawRecord>, layers: usize, object: &str) -> Result<Vec<Record>> {
    let count = raw.len();
    let records = raw.into_iter().enumerate().map(|(at, record)| {
        let mut places = record.layers.iter().map(|top| top.layer);
        if let Some(place) = places.find(|place| *place >= layers) {
            return Err(out_of_range(object, "record", at, "layer", place));
        }
        let mut places = record.chains.iter().flat_map(|chain| &chain.layers);
        if let Some(place) = places.find(|place| **place >= layers) {
            return Err(out_of_range(object, "record", at, "layer", place));
        }
        if record.inputs.iter().any(Vec::is_empty) {
            let reason = format_args!("record {at} has an input without a way to it");
            return Err(Error::invalid(OPERATION, object, reason));
        }
        if let Some(input) = record.inputs.iter().flatten().find(|input| input.link >= count) {
            return Err(out_of_range(object, "record", at, "link", input.link));
        }
        let top = |top: RawTop| Top { layer: top.layer, created_at: top.created_at };
        let chain = |chain: RawChain| Chain { layers: chain.layers, created_at: chain.created_at };
        let input = |input: RawInput| Input { selector: input.selector, link: input.link };
        let ways = |ways: Vec<RawInput>| ways.into_iter().map(input).collect();
        Ok(Record {
            digest: record.digest,
            results: record.layers.into_iter().map(top).collect(),
            chains: record.chains.into_iter().map(chain).collect(),
            inputs: record.inputs.into_iter().map(ways).collect(),
        })
    });
    let records = records.collect::<Result<Vec<_>>>()?;
    if inputs_first(&records).is_none() {
        return Err(Error::invalid(OPERATION, object, "its records lead in circles"));
    }
    Ok(records)
}

fn out_of_range(object: &str, what: &str, at: usize, field: &str, place: impl std::fmt::Display) -> Error {
    Error::invalid(OPERATION, object, format_args!("{what} {at} names {field} {place}, which is not there"))
}

/// A layer that stands on itself, by way of others maybe.
fn looping_layer(layers: &[Layer]) -> Option<usize> {
    // 0 is not looked at, others are the walk that came by.
    let mut walk_of = vec![0usize; layers.len()];
    for start in 0..layers.len() {
        let mut next = Some(start);
        while let Some(at) = next {
            match walk_of[at] {
                0 => walk_of[at] = start + 1,
                walk if walk == start + 1 => return Some(at),
                _ => break,
            }
            next = layers[at].parent;
        }
    }
    None
}

fn inputs_first(records: &[Record]) -> Option<Vec<usize>> {
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); records.len()];
    let mut missing = vec![0usize; records.len()];
    for (at, record) in records.iter().enumerate() {
        for input in record.inputs.iter().flatten() {
            above.get_mut(input.link)?.push(at);
            missing[at] += 1;
        }
    }
    let mut order: Vec<usize> = (0..records.len()).filter(|at| missing[*at] == 0).collect();
    let mut next = 0;
    while let Some(below) = order.get(next).copied() {
        next += 1;
        for at in std::mem::take(&mut above[below]) {
            missing[at] -= 1;
            if missing[at] == 0 {
                order.push(at);
            }
        }
    }
    (order.len() == records.len()).then_some(order)
}

fn epoch() -> SystemTime {
    UNIX_EPOCH
}

/// Go writes an empty list as null.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> std::result::Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<SystemTime, D::Error> {
    let text = String::deserialize(from)?;
    time::parse(&text).ok_or_else(|| serde::de::Error::custom("createdAt is no time"))
}

fn selector<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Digest>, D::Error> {
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
