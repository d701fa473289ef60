//! How long it takes to unpack a layer: 10 000 small files in 200 directories and 64 MB in large ones, each time into a new
//! directory, below `$TMPDIR`. `$LAZYBLOB_BENCH_LAYER` names another layer, of any compression.
//!
//! Removing a directory makes the next one slower on ext4, so all are removed at the end.

#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use divan::counter::BytesCount;
use flate2::write::GzEncoder;
use lazyblob_cache::layer::{Form, Options, apply, unpack};
use lazyblob_cache::testing::Tar;
use lazyblob_remote::digest::sha256;
use lazyblob_remote::media::OCI_LAYER_GZIP;
use oci_spec::image::{Descriptor, Digest, MediaType};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

struct Layer {
    blob: Vec<u8>,
    tar: Vec<u8>,
    diff_id: Digest,
}

static LAYER: LazyLock<Layer> = LazyLock::new(|| {
    let tar = match std::env::var_os("LAZYBLOB_BENCH_LAYER") {
        Some(path) => std::fs::read(path).unwrap(),
        None => some_tar(),
    };
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(&tar).unwrap();
    Layer { blob: encoder.finish().unwrap(), diff_id: sha256(&tar), tar }
});

/// What has been unpacked, removed when all is done.
static DIRS: Mutex<Vec<TempDir>> = Mutex::new(Vec::new());

fn some_tar() -> Vec<u8> {
    let text: Vec<u8> =
        (0..1_u32 << 22).flat_map(|at| (at / 3).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut tar = Tar::new();
    for directory in 0..200_usize {
        tar = tar.dir(&format!("d{directory}"), 0o755);
        for file in 0..50 {
            let at = (directory * 50 + file) * 1000;
            tar = tar.file(&format!("d{directory}/f{file}"), &text[at..at + 100 * file]);
        }
    }
    for file in 0..4 {
        tar = tar.file(&format!("large{file}"), &text);
    }
    tar.end()
}

fn dir() -> PathBuf {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    DIRS.lock().unwrap().push(dir);
    path
}

fn options() -> Options {
    let is_root = rustix::process::geteuid().is_root();
    if is_root { Options::privileged(Form::Plain) } else { Options::unprivileged(Form::Plain) }
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn gzip(bencher: divan::Bencher<'_, '_>) {
    let layer = &*LAYER;
    let descriptor = Descriptor::new(
        MediaType::from(OCI_LAYER_GZIP),
        layer.blob.len().try_into().unwrap(),
        sha256(&layer.blob),
    );
    bencher.counter(BytesCount::new(layer.tar.len())).with_inputs(dir).bench_values(|dir| {
        let cancel = CancellationToken::new();
        unpack(&layer.blob[..], &descriptor, &layer.diff_id, &dir, &options(), &cancel).unwrap()
    });
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn bare(bencher: divan::Bencher<'_, '_>) {
    let layer = &*LAYER;
    bencher
        .counter(BytesCount::new(layer.tar.len()))
        .with_inputs(dir)
        .bench_values(|dir| apply(&layer.tar[..], &dir, &options(), &CancellationToken::new()).unwrap());
}

fn main() {
    divan::main();
    DIRS.lock().unwrap().clear();
}
