//! How long the digest of a tree takes: 50 000 files of 100 to 5000 bytes in 500 directories, below `$TMPDIR`, first, with
//! everything known but one file that changed, again, and from bytes. `floor` reads and hashes the same files with nothing
//! around them, as `tar c | sha256sum` would.

#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use divan::counter::ItemsCount;
use lazyblob_cache::contenthash::{Directory, Node, Root, Selector, Table};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const FILES: usize = 50_000;

static TREE: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let text: Vec<u8> =
        (0..10_000_u32).flat_map(|at| (at / 3).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for directory in 0..FILES / 100 {
        let path = dir.path().join(format!("directory-{directory:03}"));
        std::fs::create_dir(&path).unwrap();
        for file in 0..100 {
            let length = 100 + (directory * 37 + file * 101) % 4900;
            std::fs::write(path.join(format!("file-{file:02}")), &text[file..file + length]).unwrap();
        }
    }
    dir
});

fn tree() -> &'static Path {
    TREE.path()
}

fn known() -> Table {
    let mut table = Table::unread(Root::Snapshot);
    compute(&mut table, &[]);
    table
}

fn compute(table: &mut Table, selectors: &[Selector]) -> oci_spec::image::Digest {
    let mut source = Directory::snapshot(tree()).unwrap();
    table.checksum(&mut source, selectors, &CancellationToken::new()).unwrap()
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn floor(bencher: divan::Bencher<'_, '_>) {
    tree();
    bencher.counter(ItemsCount::new(FILES)).bench(|| {
        let mut hasher = Sha256::new();
        let mut content = Vec::new();
        let directories = std::fs::read_dir(tree()).unwrap();
        let mut directories: Vec<PathBuf> = directories.map(|entry| entry.unwrap().path()).collect();
        directories.sort();
        for directory in directories {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            for file in files {
                hasher.update(file.as_os_str().as_encoded_bytes());
                content.clear();
                std::fs::File::open(file).unwrap().read_to_end(&mut content).unwrap();
                hasher.update(&content);
            }
        }
        hasher.finalize()
    });
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn first(bencher: divan::Bencher<'_, '_>) {
    tree();
    let unread = || Table::unread(Root::Snapshot);
    bencher
        .counter(ItemsCount::new(FILES))
        .with_inputs(unread)
        .bench_values(|mut table| compute(&mut table, &[]));
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn filtered(bencher: divan::Bencher<'_, '_>) {
    let mut table = known();
    let selector = Selector { exclude: vec!["**/*-7?".into(), "!**/file-77".into()], ..Selector::path("/") };
    bencher
        .counter(ItemsCount::new(FILES))
        .bench_local(|| compute(&mut table, std::slice::from_ref(&selector)));
}

#[divan::bench(sample_count = 7, sample_size = 10)]
fn one_changed(bencher: divan::Bencher<'_, '_>) {
    let mut table = known();
    bencher.bench_local(|| {
        table.insert(b"/directory-007/file-07", Node::File, None).unwrap();
        compute(&mut table, &[])
    });
}

#[divan::bench(sample_count = 7, sample_size = 100)]
fn again(bencher: divan::Bencher<'_, '_>) {
    let mut table = known();
    bencher.bench_local(|| table.known(&[]).unwrap().unwrap());
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn encode(bencher: divan::Bencher<'_, '_>) {
    let table = known();
    bencher.counter(ItemsCount::new(FILES)).bench(|| table.encode());
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn decode(bencher: divan::Bencher<'_, '_>) {
    let bytes = known().encode();
    bencher.counter(ItemsCount::new(FILES)).bench(|| Table::decode(&bytes).unwrap());
}

fn main() {
    divan::main();
    std::fs::remove_dir_all(tree()).unwrap();
}
