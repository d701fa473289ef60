//! The floor under pulling and unpacking an image: receive, hash, inflate, hash again, and write the same bytes once, blobs
//! and files, on all cores.
//!
//! Each layer goes through three threads beside the one that receives: one hashes and writes the blob, one inflates, one
//! hashes what comes out and makes the files. Entries are made as the tar names them, parents first; nobody sets owners,
//! times or extended attributes, asks where a name leads, heeds whiteouts or compares a path with what is there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::stream::StreamExt;
use reqwest::header::ACCEPT;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use crate::{MANIFEST, Outcome, client};

/// How many bytes of a layer travel at once, and how many such chunks wait for the next thread.
const CHUNK: usize = 256 << 10;
const AHEAD: usize = 4;

/// Pulls `from/repository:1` into `directory`. With `sync` all of it is on disk in the end.
pub(crate) async fn run(from: &str, repository: &str, directory: &Path, sync: bool) -> Outcome<()> {
    let client = client()?;
    let source = format!("{from}/v2/{repository}");
    let manifest = client.get(format!("{source}/manifests/1")).header(ACCEPT, MANIFEST).send().await?;
    let manifest: Value = serde_json::from_slice(&manifest.error_for_status()?.bytes().await?)?;
    let config = text(&manifest["config"]["digest"])?;
    let config =
        client.get(format!("{source}/blobs/{config}")).send().await?.error_for_status()?.bytes().await?;
    let config: Value = serde_json::from_slice(&config)?;
    let diff_ids = config["rootfs"]["diff_ids"].as_array().ok_or("no diffIDs")?.clone();
    let mut layers: Vec<(Value, Value)> =
        manifest["layers"].as_array().ok_or("no layers")?.iter().cloned().zip(diff_ids).collect();
    // The longest first: nobody waits for it alone in the end.
    layers.sort_by_key(|(layer, _)| std::cmp::Reverse(layer["size"].as_u64()));
    let mut tasks = JoinSet::new();
    for (number, (layer, diff_id)) in layers.into_iter().enumerate() {
        let (digest, diff_id) = (text(&layer["digest"])?, text(&diff_id)?);
        let (client, url) = (client.clone(), format!("{source}/blobs/{digest}"));
        let place = directory.join(format!("layer-{number}"));
        tasks.spawn(async move { pull(&client, &url, &digest, &diff_id, &place).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    if sync {
        rustix::fs::syncfs(File::open(directory)?)?;
    }
    Ok(())
}

fn text(value: &Value) -> Outcome<String> {
    Ok(value.as_str().ok_or("not a text")?.to_owned())
}

async fn pull(client: &reqwest::Client, url: &str, digest: &str, diff_id: &str, place: &Path) -> Outcome<()> {
    let (store, stored) = channel::<Bytes>(AHEAD);
    let (inflate, inflated) = channel::<Bytes>(AHEAD);
    let (apply, applied) = channel::<Vec<u8>>(AHEAD);
    fs::create_dir_all(place.join("fs"))?;
    let blob = File::create(place.join("blob"))?;
    let storing: JoinHandle<_> = spawn_blocking(move || write_blob(blob, stored));
    let inflating: JoinHandle<_> = spawn_blocking(move || inflate_all(Chunks::of(inflated), &apply));
    let tree = place.join("fs");
    let applying: JoinHandle<_> = spawn_blocking(move || make_files(Chunks::of(applied), &tree));
    let mut received = client.get(url).send().await?.error_for_status()?.bytes_stream();
    while let Some(chunk) = received.next().await {
        let chunk = chunk?;
        inflate.send(chunk.clone()).await?;
        store.send(chunk).await?;
    }
    drop((store, inflate));
    expect(&storing.await??, digest)?;
    inflating.await??;
    expect(&applying.await??, diff_id)
}

fn expect(hasher: &Sha256, digest: &str) -> Outcome<()> {
    let actual: String = hasher.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if digest == format!("sha256:{actual}") { Ok(()) } else { Err(format!("{digest} is {actual}").into()) }
}

fn write_blob(mut blob: File, mut chunks: Receiver<Bytes>) -> io::Result<Sha256> {
    let mut hasher = Sha256::new();
    while let Some(chunk) = chunks.blocking_recv() {
        hasher.update(&chunk);
        blob.write_all(&chunk)?;
    }
    Ok(hasher)
}

fn inflate_all(compressed: Chunks<Bytes>, apply: &Sender<Vec<u8>>) -> Outcome<()> {
    let mut decoder = MultiGzDecoder::new(compressed);
    loop {
        let mut chunk = vec![0; CHUNK];
        let length = decoder.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        apply.blocking_send(chunk)?;
    }
}

fn make_files(bytes: Chunks<Vec<u8>>, tree: &Path) -> io::Result<Sha256> {
    let mut archive = tar::Archive::new(Hashing { bytes, hasher: Sha256::new() });
    let mut buffer = vec![0; CHUNK];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = tree.join(entry.path()?);
        let mode = entry.header().mode()?;
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            fs::create_dir_all(parent)?;
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            fs::create_dir_all(&path)?;
        } else if kind.is_symlink() {
            symlink(entry.link_name()?.unwrap_or_default(), &path)?;
        } else if kind.is_hard_link() {
            fs::hard_link(tree.join(entry.link_name()?.unwrap_or_default()), &path)?;
        } else {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            loop {
                let length = entry.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                file.write_all(buffer.get(..length).unwrap_or_default())?;
            }
        }
    }
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    Ok(rest.hasher)
}

/// What comes through a channel.
struct Chunks<T> {
    chunks: Receiver<T>,
    chunk: Option<T>,
    at: usize,
}

impl<T> Chunks<T> {
    fn of(chunks: Receiver<T>) -> Self {
        Self { chunks, chunk: None, at: 0 }
    }
}

impl<T: AsRef<[u8]>> Read for Chunks<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self
                .chunk
                .as_ref()
                .map_or(&[][..], |chunk| chunk.as_ref().get(self.at..).unwrap_or_default());
            if !rest.is_empty() {
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                self.at += length;
                return Ok(length);
            }
            let Some(next) = self.chunks.blocking_recv() else { return Ok(0) };
            (self.chunk, self.at) = (Some(next), 0);
        }
    }
}

struct Hashing<R> {
    bytes: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.bytes.read(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}
