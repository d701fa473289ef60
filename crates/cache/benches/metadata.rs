//! What the database costs: 100 000 records of 200 bytes in each engine.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use futures::future::join_all;
use lazyblob_cache::metadata::{Batch, Database, Engine, Memory, MetadataStore, Redb, Settings, Sled, Space};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const RECORDS: Space = Space::new("records");
const HINTS: Space = Space::recoverable("hints");
const NUMBER: u32 = 100_000;
const ENGINES: [&str; 3] = ["sled", "redb", "memory"];

fn main() {
    divan::main();
}

fn engine(name: &str) -> Arc<dyn Engine> {
    match name {
        "sled" => Arc::new(Sled),
        "redb" => Arc::new(Redb),
        _ => Arc::new(Memory::default()),
    }
}

fn key(number: u32) -> String {
    // In no order, as digests are.
    format!("sha256:{:08x}{number:056x}", number.wrapping_mul(0x9e37_79b9))
}

/// A database with the records in it, and what is below it.
struct Filled {
    root: TempDir,
    engine: Arc<dyn Engine>,
    database: Database,
    runtime: Runtime,
}

static FILLED: LazyLock<Vec<Filled>> = LazyLock::new(|| ENGINES.iter().map(|name| fill(name)).collect());

fn filled(name: &str) -> &'static Filled {
    FILLED.iter().find(|filled| filled.engine.name() == name).unwrap()
}

fn fill(name: &str) -> Filled {
    let (root, engine) = (tempfile::tempdir().unwrap(), engine(name));
    let database = Database::new(Settings::new(root.path(), Arc::clone(&engine)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for begin in (0..NUMBER).step_by(1000) {
        let write = database.write(move |transaction| {
            for number in begin..begin + 1000 {
                transaction.put(&RECORDS, key(number).as_bytes(), vec![b'v'; 200])?;
            }
            Ok(())
        });
        runtime.block_on(write).unwrap();
    }
    Filled { root, engine, database, runtime }
}

/// From nothing to the first answer, with the lock, the look at the journal, and the close.
#[divan::bench(args = ENGINES, sample_count = 10, sample_size = 1)]
fn open_read_close(bencher: Bencher<'_, '_>, name: &str) {
    let filled = filled(name);
    filled.runtime.block_on(filled.database.read(|_| Ok(()))).unwrap();
    bencher.bench_local(|| {
        let database = Database::new(Settings::new(filled.root.path(), Arc::clone(&filled.engine)));
        let read = database.read(|state| state.get(&RECORDS, key(77).as_bytes()));
        assert!(filled.runtime.block_on(read).unwrap().is_some());
        filled.runtime.block_on(database.close());
    });
}

/// The engine alone, key by key.
#[divan::bench(args = ENGINES)]
fn get_in_engine(bencher: Bencher<'_, '_>, name: &str) {
    let filled = filled(name);
    let mut random = fastrand::Rng::with_seed(1);
    let reads = 1000;
    bencher.counter(divan::counter::ItemsCount::new(1000_u32)).bench_local(move || {
        let keys: Vec<String> = (0..reads).map(|_| key(random.u32(0..NUMBER))).collect();
        let read = filled.database.read(move |state| {
            for key in &keys {
                assert!(state.get(&RECORDS, key.as_bytes())?.is_some());
            }
            Ok(())
        });
        filled.runtime.block_on(read).unwrap();
    });
}

/// One read from an async task: to the thread and back.
#[divan::bench(args = ENGINES)]
fn get(bencher: Bencher<'_, '_>, name: &str) {
    let filled = filled(name);
    let mut random = fastrand::Rng::with_seed(1);
    bencher.bench_local(move || {
        let key = key(random.u32(0..NUMBER));
        let read = filled.database.read(move |state| state.get(&RECORDS, key.as_bytes()));
        assert!(filled.runtime.block_on(read).unwrap().is_some());
    });
}

#[divan::bench(args = ENGINES, sample_count = 10, sample_size = 1)]
fn scan_all(bencher: Bencher<'_, '_>, name: &str) {
    let filled = filled(name);
    bencher.bench_local(|| {
        let read = filled.database.read(|state| {
            let mut number = 0;
            state.for_each(&RECORDS, b"sha256:", &mut |_, _| {
                number += 1;
                Ok(())
            })?;
            Ok(number)
        });
        assert_eq!(filled.runtime.block_on(read).unwrap(), NUMBER);
    });
}

/// One durable commit of one record.
#[divan::bench(args = ENGINES, sample_count = 300, sample_size = 1)]
fn commit(bencher: Bencher<'_, '_>, name: &str) {
    commits(bencher, name, RECORDS, 1);
}

/// One durable commit of one hint: the journal's, too.
#[divan::bench(args = ENGINES, sample_count = 300, sample_size = 1)]
fn commit_hint(bencher: Bencher<'_, '_>, name: &str) {
    commits(bencher, name, HINTS, 1);
}

/// 32 tasks that each commit a record and wait for it.
#[divan::bench(args = ENGINES, sample_count = 300, sample_size = 1)]
fn commit_from_32_tasks(bencher: Bencher<'_, '_>, name: &str) {
    commits(bencher, name, RECORDS, 32);
}

fn commits(bencher: Bencher<'_, '_>, name: &str, space: Space, tasks: u32) {
    let filled = filled(name);
    let mut random = fastrand::Rng::with_seed(1);
    bencher.counter(divan::counter::ItemsCount::new(tasks)).bench_local(move || {
        let writes = (0..tasks).map(|_| {
            let key = key(random.u32(0..NUMBER));
            filled.database.write(move |transaction| transaction.put(&space, key.as_bytes(), vec![b'w'; 200]))
        });
        let written = filled.runtime.block_on(join_all(writes));
        assert!(written.iter().all(Result::is_ok));
    });
}

/// What a store of the engine costs by itself to open again.
#[divan::bench(args = ["sled", "redb"], sample_count = 10, sample_size = 1)]
fn open_engine(bencher: Bencher<'_, '_>, name: &str) {
    let filled = fill(name);
    filled.runtime.block_on(filled.database.close());
    let dir = filled.root.path().join("meta").join(name);
    bencher.bench_local(|| opened(&*filled.engine, &dir));
}

fn opened(engine: &dyn Engine, dir: &Path) -> Box<dyn MetadataStore> {
    let store = engine.open(dir).unwrap();
    store.apply(&Batch::default()).unwrap();
    store
}
