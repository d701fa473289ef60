//! An op of one's own in a graph beside the engine's: it lists the files of an image, and is not run a second time.
//!
//! `cargo run --example custom_op` needs nothing but the checkout: the registry is embedded.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lazyblob::Engine;
use lazyblob::cache::GetOptions;
use lazyblob::remote::digest;
use lazyblob::remote::request::Kind;
use lazyblob::solver::{CacheMap, Edge, Graph, JobOptions, Op, OpCx, OpError, Vertex};
use lazyblob::worker::llb;
use lazyblob::worker::ops::{self, LoadOptions};
use lazyblob::worker::session::Session;
use lazyblob::worker::{Worker, WorkerRef};

use support::{Embedded, Outcome};

/// Makes a tree with one file: the names and sizes of all files of its input.
struct Listing(Worker);

#[async_trait]
impl Op<WorkerRef> for Listing {
    fn kind(&self) -> &str {
        "listing"
    }

    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        // What is done, and with how many inputs. Another way of listing would be another digest.
        Ok(CacheMap::new(digest::sha256(b"listing, version 1"), 1))
    }

    async fn exec(&self, cx: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        println!("the op runs");
        let (manager, access) = (self.0.manager(), self.0.access(cx));
        let mut listing = String::new();
        if let Some(tree) = inputs.first().and_then(WorkerRef::tree) {
            // What is lazy comes now, with the credentials of whoever wants this vertex at this moment.
            let view = tree.view(&access).await.map_err(OpError::failed)?;
            list(view.path(), view.path(), &mut listing).map_err(OpError::failed)?;
            view.close().await.map_err(OpError::failed)?;
        }
        let new = manager.new_mutable(None, &access, GetOptions::default());
        let new = new.await.map_err(OpError::failed)?;
        let tree = new.tree().await.map_err(OpError::failed)?;
        std::fs::write(tree.path().join("files.txt"), listing).map_err(OpError::failed)?;
        tree.close().await.map_err(OpError::failed)?;
        Ok(vec![WorkerRef::new(new.commit().await.map_err(OpError::failed)?)])
    }
}

/// Lists what is below `directory`, a line for each file.
fn list(root: &Path, directory: &Path, listing: &mut String) -> Outcome<()> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let mut entries = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::path);
        for entry in entries {
            let (path, facts) = (entry.path(), entry.metadata()?);
            if facts.is_dir() {
                directories.push(path);
            } else {
                writeln!(listing, "{:>9} {}", facts.len(), path.strip_prefix(root)?.display())?;
            }
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let registry = Embedded::start().await?;
    registry.push_an_image(&directory.path().join("image")).await?;
    let engine =
        Engine::builder(directory.path().join("root")).registry(registry.client.clone()).open().await?;
    let worker = engine.worker();
    let image = llb::image(format!("{}/team/app:1", registry.host)).definition(worker.platform())?;

    for _ in 0..2 {
        registry.traffic().reset();
        // The engine's own ops, and one more on top of them.
        let options = LoadOptions::default();
        let below = ops::graph(worker, &image, &options)?;
        let input = ops::result(worker, &image, &options);
        let name = digest::sha256(format!("listing of {input}").as_bytes());
        let listing =
            Vertex::new(name.clone(), "list the files", Arc::new(Listing(worker.clone())), vec![input]);
        let graph = Graph::new(below.vertices().cloned().chain([listing]))?;

        let session = engine.session(Session::default());
        let options = JobOptions { session: Some(session.id().clone()), ..JobOptions::default() };
        let build = engine.solve_graph(graph, Edge::first(name), options).await?;
        for built in build.results().await? {
            let from = if built.cached { "from the cache" } else { "computed" };
            println!(
                "{}: {from}; {} blobs fetched",
                built.vertex.name,
                registry.traffic().requests().of(Kind::BlobGet)
            );
            let Some(tree) = built.result.tree() else { continue };
            let view = tree.view(&worker.access(built.cx())).await?;
            let text = std::fs::read_to_string(view.path().join("files.txt"))?;
            println!(
                "{} files; the first of them:\n{}",
                text.lines().count(),
                text.lines().next().unwrap_or_default()
            );
            view.close().await?;
        }
    }
    engine.close().await?;
    registry.close().await;
    Ok(())
}
