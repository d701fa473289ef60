//! The order in which a config is written: BuildKit's, made total.

use std::cmp::Ordering;
use std::collections::HashMap;

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::config::{Config, Input, Layer, Record};

/// What a layer or record is, with all that it stands on.
type Identity = [u8; 32];

impl Config {
    /// The same cache in the one order that follows from what it says: layers by blob, then by how many are below, then by
    /// what is below; records by digest, the number of inputs, and for each input the number of ways and those themselves;
    /// what is equal in all of that, by all that leads to it. A layer that is there twice becomes one.
    ///
    /// Records that are equal in everything but their results stay in their order. A config that was not
    /// [read](Config::parse) and leads in circles stays as it is.
    #[must_use]
    pub fn sorted(self) -> Self {
        let Some(inputs_first) = self.inputs_first() else { return self };
        let (layers, layer_of) = sorted_layers(self.layers);
        let mut records = sorted_records(self.records, &inputs_first);
        for record in &mut records {
            record.results.iter_mut().for_each(|top| top.layer = moved(&layer_of, top.layer));
            let places = record.chains.iter_mut().flat_map(|chain| &mut chain.layers);
            places.for_each(|place| *place = moved(&layer_of, *place));
        }
        Self { layers, records }
    }
}

fn moved(places: &[usize], place: usize) -> usize {
    places.get(place).copied().unwrap_or(place)
}

/// The layers in order, and where each of them is now.
fn sorted_layers(layers: Vec<Layer>) -> (Vec<Layer>, Vec<usize>) {
    let named = chains(&layers);
    let mut places: Vec<usize> = (0..layers.len()).collect();
    places.sort_by(|one, other| {
        let key = |at: &usize| (layers[*at].blob.as_ref(), named[*at]);
        key(one).cmp(&key(other))
    });
    let mut place_of = vec![0; layers.len()];
    let mut found: HashMap<(u32, Identity), usize> = HashMap::new();
    let mut kept = Vec::new();
    for at in places {
        let place = *found.entry(named[at]).or_insert(kept.len());
        place_of[at] = place;
        if place == kept.len() {
            kept.push(at);
        }
    }
    let mut layers: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
    let sorted = kept
        .into_iter()
        .filter_map(|at| layers[at].take())
        .map(|layer| Layer { parent: layer.parent.map(|parent| moved(&place_of, parent)), ..layer });
    (sorted.collect(), place_of)
}

/// Of each layer, how many are below it, and the digest of all of their blobs with its own.
fn chains(layers: &[Layer]) -> Vec<(u32, Identity)> {
    let mut named: Vec<Option<(u32, Identity)>> = vec![None; layers.len()];
    for start in 0..layers.len() {
        let mut waiting = vec![start];
        let mut next = layers[start].parent;
        while let Some(at) = next.filter(|at| named[*at].is_none() && waiting.len() <= layers.len()) {
            waiting.push(at);
            next = layers[at].parent;
        }
        for at in waiting.into_iter().rev() {
            let below = layers[at].parent.and_then(|parent| named[parent]);
            let mut hasher = Sha256::new();
            if let Some((_, below)) = below {
                hasher.update(below);
            }
            hasher.update(layers[at].blob.as_ref().as_bytes());
            named[at] = Some((below.map_or(0, |(height, _)| height + 1), hasher.finalize().into()));
        }
    }
    named.into_iter().map(Option::unwrap_or_default).collect()
}

fn sorted_records(mut records: Vec<Record>, inputs_first: &[usize]) -> Vec<Record> {
    let mut identities: Vec<Identity> = vec![[0; 32]; records.len()];
    let digests: Vec<Digest> = records.iter().map(|record| record.digest.clone()).collect();
    let name =
        |way: &Input| (way.selector.as_ref().map_or("", |selector| selector.as_ref()).to_owned(), way.link);
    for at in inputs_first {
        let record = &mut records[*at];
        for ways in &mut record.inputs {
            ways.sort_by_cached_key(|way| {
                let (selector, link) = name(way);
                (selector, digests[link].to_string(), identities[link])
            });
        }
        identities[*at] = identity(record, &identities);
    }
    let mut places: Vec<usize> = (0..records.len()).collect();
    places.sort_by(|one, other| {
        let by_ways = compare(&records[*one], &records[*other], &digests);
        by_ways.then_with(|| identities[*one].cmp(&identities[*other]))
    });
    let mut place_of = vec![0; records.len()];
    places.iter().enumerate().for_each(|(place, at)| place_of[*at] = place);
    let mut records: Vec<Option<Record>> = records.into_iter().map(Some).collect();
    let mut sorted: Vec<Record> = places.into_iter().filter_map(|at| records[at].take()).collect();
    for ways in sorted.iter_mut().flat_map(|record| &mut record.inputs) {
        ways.iter_mut().for_each(|way| way.link = place_of[way.link]);
        ways.sort_by_cached_key(|way| {
            let (selector, link) = name(way);
            (link, selector)
        });
    }
    sorted
}

/// BuildKit's order of two records, their ways in order.
fn compare(one: &Record, other: &Record, digests: &[Digest]) -> Ordering {
    let by_digest = one.digest.as_ref().cmp(other.digest.as_ref());
    let mut order = by_digest.then_with(|| one.inputs.len().cmp(&other.inputs.len()));
    for (ways, others) in one.inputs.iter().zip(&other.inputs) {
        if order != Ordering::Equal {
            break;
        }
        order = ways.len().cmp(&others.len());
        for (way, beside) in ways.iter().zip(others) {
            let key =
                |way: &Input| (way.selector.as_ref().map(ToString::to_string), digests[way.link].to_string());
            order = order.then_with(|| key(way).cmp(&key(beside)));
        }
    }
    order
}

fn identity(record: &Record, identities: &[Identity]) -> Identity {
    let mut hasher = Sha256::new();
    hasher.update(record.digest.as_ref().as_bytes());
    for ways in &record.inputs {
        hasher.update(b"i");
        for way in ways {
            if let Some(selector) = &way.selector {
                hasher.update(b"s");
                hasher.update(selector.as_ref().as_bytes());
            }
            hasher.update(b"k");
            hasher.update(identities[way.link]);
        }
    }
    hasher.finalize().into()
}
