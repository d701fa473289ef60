//! What a build does to the cache: a chain of small changes, a fan of them that is merged, and trees that are looked at.
//!
//! `cargo bench -p lazyblob-cache --bench builds [-- --plain] [-- NUMBER]` prints a table: for a chain of `NUMBER` changes, 100
//! if it is not said, a fan of ten times as many, eight at once, and trees of 5, 100, 400 and 1000 layers. Each change is
//! one file, written in the tree on top of what is below. What is measured ends when all of it is durable.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark talks to who runs it"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lazyblob_cache::manager::Settings;
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::remotes::Nowhere;
use lazyblob_cache::root::RootSettings;
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{Components, GetOptions, ImmutableRef, Manager, Result, Root};
use lazyblob_remote::Access;
use lazyblob_remote::transfer::Transfers;

/// Trees of so many layers are looked at.
const HEIGHTS: [usize; 4] = [5, 100, 400, 1000];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted =
        if arguments.iter().any(|argument| argument == "--plain") { Wanted::Plain } else { Wanted::Auto };
    let number = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(100);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("| what | each | all |");
    println!("|---|---|---|");
    runtime.block_on(async {
        chain(wanted, number).await;
        for at_once in [1, 2, 8] {
            fan(wanted, 10 * number, at_once).await;
        }
        views(wanted).await;
    });
}

async fn open(root: &Path, wanted: Wanted) -> Manager {
    let root = Root::open(root, RootSettings::default()).await.unwrap();
    let snapshots = snapshot::open(Places::below(root.path()), wanted).unwrap();
    let components = Components {
        transfers: Transfers::default(),
        remotes: Arc::new(Nowhere),
        engine: Arc::new(Sled),
        snapshots,
    };
    Manager::open(root, components, Settings::default()).await.unwrap()
}

fn row(what: &str, all: Duration, number: usize) {
    println!("| {what} | {:.3?} | {all:.1?} |", all / u32::try_from(number).unwrap());
}

/// A child of `below` that has a file more.
async fn child(manager: &Manager, below: Option<&ImmutableRef>, name: usize) -> Result<ImmutableRef> {
    let mutable = manager.new_mutable(below, &Access::anonymous(), GetOptions::default()).await?;
    let tree = mutable.tree().await?;
    std::fs::write(tree.path().join(format!("file{name}")), name.to_string()).unwrap();
    tree.close().await?;
    mutable.commit().await
}

async fn stack(manager: &Manager, number: usize) -> ImmutableRef {
    let mut top = None;
    for name in 0..number {
        top = Some(child(manager, top.as_ref(), name).await.unwrap());
    }
    top.unwrap()
}

async fn chain(wanted: Wanted, number: usize) {
    let directory = tempfile::tempdir().unwrap();
    let manager = open(directory.path(), wanted).await;
    let began = Instant::now();
    let top = stack(&manager, number).await;
    let made = began.elapsed();
    top.finalize().await.unwrap();
    row(&format!("chain of {number}"), began.elapsed(), number);
    row("of that until all are committed", made, number);
    drop(top);
    manager.close().await.unwrap();
}

async fn fan(wanted: Wanted, number: usize, at_once: usize) {
    let directory = tempfile::tempdir().unwrap();
    let manager = open(directory.path(), wanted).await;
    let began = Instant::now();
    let made = stream::iter(0..number).map(|name| {
        let manager = manager.clone();
        let child = async move { child(&manager, None, name).await };
        async move { manager_task(child).await }
    });
    let all: Vec<ImmutableRef> = made.buffered(at_once).try_collect().await.unwrap();
    let committed = began.elapsed();
    let merged = manager.merge(&all, GetOptions::default()).await.unwrap().unwrap();
    merged.extract(&Access::anonymous()).await.unwrap();
    row(&format!("fan of {number}, {at_once} at once, merged"), began.elapsed(), number);
    row("of that until all are committed", committed, number);
    drop((all, merged));
    manager.close().await.unwrap();
}

async fn manager_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio_util::task::TaskTracker::new().spawn(work).await.unwrap()
}

async fn views(wanted: Wanted) {
    const TIMES: usize = 50;
    let directory = tempfile::tempdir().unwrap();
    let manager = open(directory.path(), wanted).await;
    for height in HEIGHTS {
        let top = stack(&manager, height).await;
        let access = Access::anonymous();
        let began = Instant::now();
        match top.view(&access).await {
            Ok(tree) => tree.close().await.unwrap(),
            Err(error) => {
                println!("| view of {height} | {error} | |");
                continue;
            }
        }
        row(&format!("first view of {height}"), began.elapsed(), 1);
        let began = Instant::now();
        for _ in 0..TIMES {
            top.view(&access).await.unwrap().close().await.unwrap();
        }
        row(&format!("view of {height}"), began.elapsed(), TIMES);
    }
    manager.close().await.unwrap();
}
