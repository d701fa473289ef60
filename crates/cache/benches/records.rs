//! The database of records at several sizes: open, look-up by chain, prune of half.
//!
//! `cargo bench -p lazyblob-cache --bench records [-- SIZE…]` prints a table; without sizes 1 k, 10 k and 100 k records,
//! `1000000` takes some minutes. Records are chains of eight layers, each with a blob that is not here.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark talks to who runs it"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lazyblob_cache::handler::{DescHandler, DescHandlers};
use lazyblob_cache::manager::{NewLayer, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::record::{LayerBlob, Source};
use lazyblob_cache::remotes::Nowhere;
use lazyblob_cache::root::RootSettings;
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{ChainId, Components, GetOptions, Manager, Root};
use lazyblob_remote::layout::Layout;
use lazyblob_remote::transfer::Transfers;
use lazyblob_remote::{Descriptor, digest};
use tokio_util::sync::CancellationToken;

/// Layers of a chain.
const DEPTH: usize = 8;
/// Look-ups measured.
const LOOKS: usize = 10_000;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 100_000] } else { sizes };
    println!(
        "| records | written | per record | open | look-up by chain | prune of half | journal | database |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for size in sizes {
        runtime.block_on(measure(size));
    }
}

async fn measure(size: usize) {
    let directory = tempfile::tempdir().unwrap();
    let (began, chains) = (Instant::now(), fill(directory.path(), size).await);
    let written = began.elapsed();
    let began = Instant::now();
    let manager = open(directory.path()).await;
    manager.find_by_chain(&chains[0]).await.unwrap();
    let opened = began.elapsed();
    // All in one closure: what a look-up costs, and not what a thread's attention does.
    let wanted = || (0..LOOKS).map(|at| chains[at * 7919 % chains.len()].clone()).collect();
    let each = |time: Duration| time / u32::try_from(LOOKS).unwrap();
    let began = Instant::now();
    let found = manager.find_by_chains(wanted()).await;
    let first = each(began.elapsed());
    assert!(found.unwrap().iter().all(|ids| !ids.is_empty()));
    let began = Instant::now();
    manager.find_by_chains(wanted()).await.unwrap();
    let again = each(began.elapsed());
    let filters = vec!["description=even".parse().unwrap()];
    let began = Instant::now();
    let options = PruneOptions { filters, ..PruneOptions::default() };
    let pruned = manager.prune(&options, &CancellationToken::new()).await.unwrap();
    let pruning = began.elapsed();
    assert!(pruned.records.len().abs_diff(size / 2) <= DEPTH, "{}", pruned.records.len());
    manager.close().await.unwrap();
    let (journal, database) = (bytes(&directory.path().join("hints")), bytes(&directory.path().join("meta")));
    let per_record = written / u32::try_from(size).unwrap();
    let times = [written, per_record, opened, first, again, pruning];
    let rows = times.map(shown);
    println!("| {size} | {} | {} MB | {} MB |", rows.join(" | "), journal / 1_000_000, database / 1_000_000);
}

async fn open(root: &Path) -> Manager {
    let root = Root::open(root, RootSettings::default()).await.unwrap();
    let snapshots = snapshot::open(Places::below(root.path()), Wanted::Plain).unwrap();
    let components = Components {
        transfers: Transfers::default(),
        remotes: Arc::new(Nowhere),
        engine: Arc::new(Sled),
        snapshots,
    };
    Manager::open(root, components, Settings::default()).await.unwrap()
}

/// Chains, every other one described as even.
async fn fill(root: &Path, size: usize) -> Vec<ChainId> {
    let manager = open(root).await;
    let nowhere = Layout::create_or_open(root.join("nowhere")).await.unwrap();
    let handler = Arc::new(DescHandler::of(Arc::new(nowhere)));
    let mut chains = Vec::with_capacity(size);
    for chain in 0..size / DEPTH {
        let layers: Vec<NewLayer> = (0..DEPTH).map(|layer| layer_of(&format!("{chain}-{layer}"))).collect();
        chains.extend(ChainId::of_stack(layers.iter().map(|layer| &layer.blob.diff_id)));
        let handlers: DescHandlers = layers
            .iter()
            .map(|layer| (layer.blob.descriptor.digest().clone(), Arc::clone(&handler)))
            .collect();
        let description = Some(if chain % 2 == 0 { "even" } else { "odd" }.to_owned());
        let options = GetOptions { handlers, description, ..GetOptions::default() };
        drop(manager.import(layers, None, options).await.unwrap());
    }
    manager.close().await.unwrap();
    chains
}

fn layer_of(name: &str) -> NewLayer {
    let digest = digest::sha256(name.as_bytes());
    let descriptor =
        Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip".into(), 1 << 20, digest.clone());
    let sources = vec![Source { host: "registry.test".into(), repository: "team/app".into() }];
    NewLayer { blob: LayerBlob { descriptor, diff_id: digest }, sources }
}

fn bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(
            |entry| {
                if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().unwrap().len() }
            },
        )
        .sum()
}

fn shown(time: Duration) -> String {
    format!("{time:.1?}")
}
