//! The records that keys make, and how they are linked.

use std::collections::{BTreeMap, BTreeSet};

use lazyblob_solver::KeyId;
use lazyblob_worker::keys::OpKeys;
use lazyblob_worker::llb::{Definition, Op};

use crate::expect::Expect;
use crate::{amd64, fixture};

/// A record by its digest and, for each input, the selectors and records that lead to it.
type Records = BTreeMap<String, Vec<BTreeSet<(String, String)>>>;

#[test]
fn every_record_and_link_is_buildkit_s() {
    for name in fixture::names() {
        let definition = Definition::read(&fixture::definition(&name)).unwrap();
        let expect = Expect::read(&name);
        let records = records(&definition, &expect);
        let wanted: Records = expect
            .records
            .iter()
            .map(|record| {
                let links = record.inputs.iter().map(|links| {
                    links.iter().map(|link| (link.selector.clone(), link.record.clone())).collect()
                });
                (record.digest.clone(), links.collect())
            })
            .collect();
        assert_eq!(records, wanted, "{name}");
        exported(&name, &records);
    }
}

/// What BuildKit exported has all of these records, and no others.
fn exported(name: &str, records: &Records) {
    // A cache of sources alone is not exported.
    if name == "file1" {
        return;
    }
    let config: serde_json::Value =
        serde_json::from_slice(&fixture::file(&format!("{name}.cache.json"))).unwrap();
    let exported =
        config["records"].as_array().unwrap().iter().map(|record| record["digest"].as_str().unwrap());
    assert_eq!(exported.collect::<BTreeSet<_>>(), records.keys().map(String::as_str).collect(), "{name}");
}

/// Which records a cache of this definition has, given what content hashes to.
fn records(definition: &Definition, expect: &Expect) -> Records {
    let mut records = Records::new();
    // The records that are keys of each output.
    let mut keys: BTreeMap<(String, u32), Vec<String>> = BTreeMap::new();
    for (vertex, op) in definition.vertices().iter().zip(&expect.ops) {
        let mut links = Vec::new();
        let deps = OpKeys::of(vertex, &amd64()).unwrap().map(|keys| keys.deps);
        for (position, input) in vertex.inputs.iter().enumerate() {
            let dep = deps.as_ref().and_then(|deps| deps.get(position)).cloned().unwrap_or_default();
            let selector = dep.selector.map(|selector| selector.to_string()).unwrap_or_default();
            let from = keys.get(&(input.vertex.to_string(), input.output)).cloned().unwrap_or_default();
            let mut ways: BTreeSet<_> = from.into_iter().map(|from| (selector.clone(), from)).collect();
            if dep.content.is_some() {
                let wanted = &op.deps[position];
                let content = wanted.content_digest.as_ref().unwrap().parse().unwrap();
                let slow = KeyId::of_content(&content).to_string();
                assert_eq!(Some(&slow), wanted.slow_record.as_ref());
                records.entry(slow.clone()).or_default();
                ways.insert((String::new(), slow));
            }
            links.push(ways);
        }
        // Without a way from every input there is no record.
        let reachable = op.cache_map != ["random"] && links.iter().all(|ways| !ways.is_empty());
        for output in &op.records {
            let mut made = Vec::new();
            for digest in op.cache_map.iter().filter(|_| reachable) {
                let record = KeyId::of_output(&digest.parse().unwrap(), output.output).to_string();
                records.insert(record.clone(), links.clone());
                made.push(record);
            }
            if matches!(vertex.op, Op::Build) {
                // What the inner build made is a key, too; which it is, is not ours to know.
                made.clone_from(&output.digests);
                made.iter().for_each(|record| {
                    records.entry(record.clone()).or_default();
                });
            }
            keys.insert((op.vertex.clone(), output.output), made);
        }
    }
    records
}
