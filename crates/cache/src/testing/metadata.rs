//! What every engine of the database has to do: [`suite`] runs all of it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::metadata::{Batch, Engine, Entry, MetadataStore};

/// Runs the whole suite on stores that `engine` opens below `dir`.
///
/// # Panics
/// Where the engine does not do what [`MetadataStore`] says.
pub fn suite(engine: &dyn Engine, dir: &Path) {
    values_are_what_was_last_put(&*open(engine, &dir.join("values")));
    keys_are_in_order(&*open(engine, &dir.join("order")));
    any_bytes_are_keys_and_values(&*open(engine, &dir.join("bytes")));
    ranges_begin_at_the_first_and_end_before_the_last(&*open(engine, &dir.join("ranges")));
    batches_of_thousands(&*open(engine, &dir.join("large")));
    what_was_applied_is_there_when_opened_again(engine, &dir.join("again"));
    as_a_map_would(engine, &dir.join("map"));
    directories_are_apart(engine, dir);
    readers_beside_a_writer_see_what_is_there(&*open(engine, &dir.join("readers")));
}

fn open(engine: &dyn Engine, dir: &Path) -> Box<dyn MetadataStore> {
    std::fs::create_dir_all(dir).unwrap();
    engine.open(dir).unwrap()
}

fn put(store: &dyn MetadataStore, key: &[u8], value: &[u8]) {
    let mut batch = Batch::default();
    batch.put(key, value);
    store.apply(&batch).unwrap();
}

fn all(store: &dyn MetadataStore) -> Vec<Entry> {
    store.scan(b"", b"\xff\xff", usize::MAX).unwrap()
}

fn values_are_what_was_last_put(store: &dyn MetadataStore) {
    assert_eq!(store.get(b"k").unwrap(), None);
    put(store, b"k", b"one");
    put(store, b"k", b"two");
    assert_eq!(store.get(b"k").unwrap().unwrap(), b"two");
    let mut batch = Batch::default();
    batch.put(*b"k", *b"three");
    batch.delete(*b"k");
    batch.delete(*b"never there");
    batch.put(*b"l", *b"one");
    batch.delete(*b"l");
    batch.put(*b"l", *b"two");
    assert_eq!(batch.len(), 3, "the last word on a key counts");
    store.apply(&batch).unwrap();
    assert_eq!(all(store), [(b"l".to_vec(), b"two".to_vec())]);
    store.apply(&Batch::default()).unwrap();
    assert_eq!(all(store).len(), 1);
}

fn keys_are_in_order(store: &dyn MetadataStore) {
    let keys: [&[u8]; 7] = [b"b", b"a\xff", b"", b"a", b"\x00", b"ab", b"a\x00"];
    for key in keys {
        put(store, key, key);
    }
    let mut ordered = keys.to_vec();
    ordered.sort_unstable();
    let found = all(store);
    assert_eq!(found.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), ordered);
    assert!(found.iter().all(|(key, value)| key == value));
}

fn any_bytes_are_keys_and_values(store: &dyn MetadataStore) {
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(64 << 10).collect();
    let key = vec![0xa5; 4096];
    put(store, &key, &value);
    put(store, b"empty", b"");
    assert_eq!(store.get(&key).unwrap().unwrap(), value);
    assert_eq!(store.get(b"empty").unwrap().unwrap(), b"", "that is a value");
}

fn ranges_begin_at_the_first_and_end_before_the_last(store: &dyn MetadataStore) {
    for key in [b"a", b"b", b"c", b"d"] {
        put(store, key, b"");
    }
    let keys = |from: &[u8], to: &[u8], limit| -> String {
        let found = store.scan(from, to, limit).unwrap();
        found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    };
    assert_eq!(keys(b"b", b"d", 9), "bc");
    assert_eq!(keys(b"b", b"d", 1), "b");
    assert_eq!(keys(b"b", b"d", 0), "");
    assert_eq!(keys(b"aa", b"cc", 9), "bc");
    assert_eq!(keys(b"b", b"b", 9), "");
    assert_eq!(keys(b"d", b"a", 9), "", "nothing lies between");
    let last = |from: &[u8], to: &[u8]| store.last(from, to).unwrap().map(|(key, _)| key);
    assert_eq!(last(b"a", b"c").unwrap(), b"b");
    assert_eq!(last(b"a", b"z").unwrap(), b"d");
    assert_eq!(last(b"e", b"z"), None);
    assert_eq!(last(b"z", b"a"), None);
}

fn batches_of_thousands(store: &dyn MetadataStore) {
    let mut batch = Batch::default();
    for number in 0..5000_u32 {
        batch.put(number.to_be_bytes(), vec![b'v'; 200]);
    }
    store.apply(&batch).unwrap();
    let page = store.scan(&100_u32.to_be_bytes(), &u32::MAX.to_be_bytes(), 1000).unwrap();
    assert_eq!(page.len(), 1000);
    assert_eq!(page[0].0, 100_u32.to_be_bytes());
    assert_eq!(page[999].0, 1099_u32.to_be_bytes());
    let mut batch = Batch::default();
    for number in (0..5000_u32).filter(|number| number % 2 == 0) {
        batch.delete(number.to_be_bytes());
    }
    store.apply(&batch).unwrap();
    assert_eq!(all(store).len(), 2500);
}

fn what_was_applied_is_there_when_opened_again(engine: &dyn Engine, dir: &Path) {
    for round in 0..20_u8 {
        // Right after the last one was dropped.
        let store = open(engine, dir);
        assert_eq!(all(&*store).len(), usize::from(round), "round {round}");
        put(&*store, &[round], b"value");
    }
}

/// A long row of small batches, now and then opened again, with the same outcome as that of a map.
fn as_a_map_would(engine: &dyn Engine, dir: &Path) {
    let mut random = fastrand::Rng::with_seed(4);
    let mut map = BTreeMap::new();
    let mut store = open(engine, dir);
    for round in 0..200 {
        let mut batch = Batch::default();
        for _ in 0..random.usize(1..8) {
            let key = vec![random.u8(0..8), random.u8(0..8)];
            if random.bool() {
                let value = vec![random.u8(..); random.usize(0..300)];
                map.insert(key.clone(), value.clone());
                batch.put(key, value);
            } else {
                map.remove(&key);
                batch.delete(key);
            }
        }
        store.apply(&batch).unwrap();
        if round % 40 == 39 {
            drop(store);
            store = open(engine, dir);
        }
        let (from, to) = ([random.u8(0..8)], [random.u8(0..9)]);
        let inside = |key: &Vec<u8>| key.as_slice() >= &from[..] && key.as_slice() < &to[..];
        let expected: Vec<Entry> = map.clone().into_iter().filter(|(key, _)| inside(key)).collect();
        assert_eq!(store.scan(&from, &to, usize::MAX).unwrap(), expected, "round {round}");
        assert_eq!(store.last(&from, &to).unwrap(), expected.last().cloned(), "round {round}");
    }
    assert_eq!(all(&*store), map.into_iter().collect::<Vec<_>>());
}

fn directories_are_apart(engine: &dyn Engine, dir: &Path) {
    let (one, two) = (open(engine, &dir.join("one")), open(engine, &dir.join("two")));
    put(&*one, b"k", b"one");
    assert_eq!(two.get(b"k").unwrap(), None);
    assert_eq!(one.get(b"k").unwrap().unwrap(), b"one");
}

fn readers_beside_a_writer_see_what_is_there(store: &dyn MetadataStore) {
    put(store, b"always", b"there");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(store.get(b"always").unwrap().unwrap(), b"there");
                    assert!(!store.scan(b"a", b"b", 10).unwrap().is_empty());
                }
            });
        }
        scope.spawn(|| {
            for number in 0..50_u8 {
                put(store, &[number], b"value");
            }
        });
    });
    assert_eq!(all(store).len(), 51);
}
