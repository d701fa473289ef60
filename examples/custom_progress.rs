//! Shows a build in a way of one's own: a line for each vertex that ends, with what moved under it, and a total.
//!
//! `cargo run --example custom_progress` needs nothing but the checkout: the registry is embedded.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt as _;
use lazyblob::Engine;
use lazyblob::solver::{Status, What};
use lazyblob::worker::engine::Request;
use lazyblob::worker::llb::{self, Copy, Files, Mkfile};
use lazyblob::worker::session::Session;

use support::{Embedded, Outcome};

/// What is known of a vertex.
#[derive(Default)]
struct Shown {
    name: Arc<str>,
    began: Option<SystemTime>,
    /// Of each part of its work, how far it came: layers, by their digests.
    parts: BTreeMap<Arc<str>, u64>,
}

/// Reads what the build tells until it ends. It does not matter when this is begun: everything is told from the beginning.
async fn show(mut status: Status) {
    let mut vertices: BTreeMap<String, Shown> = BTreeMap::new();
    let mut ended = 0;
    while let Some(event) = status.next().await {
        let Some(vertex) = event.vertex else { continue };
        let shown = vertices.entry(vertex.digest.to_string()).or_default();
        shown.name = Arc::clone(&vertex.name);
        let how = match event.what {
            What::Started => {
                shown.began = Some(event.at);
                continue;
            }
            What::Progress(part) => {
                shown.parts.insert(part.id, part.current);
                continue;
            }
            What::Log(log) => {
                println!("    | {}", String::from_utf8_lossy(&log.data).trim_end());
                continue;
            }
            What::Cached => "cached".to_owned(),
            What::Completed => {
                let took = shown.began.and_then(|began| event.at.duration_since(began).ok());
                format!("{:.0} ms", took.unwrap_or_default().as_secs_f64() * 1000.0)
            }
            What::Failed(_) => "failed".to_owned(),
            _ => continue,
        };
        ended += 1;
        println!("[{ended}] {:10} {}", how, shown.name);
    }
    // What an image's layers cost comes under the image, when somebody reads them: after its own vertex has ended.
    for shown in vertices.values().filter(|shown| !shown.parts.is_empty()) {
        println!("{} parts moved under `{}`", shown.parts.len(), shown.name);
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let registry = Embedded::start().await?;
    registry.push_an_image(&directory.path().join("image")).await?;
    let engine =
        Engine::builder(directory.path().join("root")).registry(registry.client.clone()).open().await?;
    let image = llb::image(format!("{}/team/app:1", registry.host));
    let picked = llb::scratch().file(Copy::new(&image, "/usr/lib", "/picked")).named("pick a directory");
    let state = picked.file(Files::new().then(Mkfile::new("/note", 0o644, "a note"))).named("add a note");
    let definition = state.definition(engine.worker().platform())?;

    for title in ["first", "again"] {
        println!("{title}:");
        let session = engine.session(Session::default());
        let build = engine.solve(Request::new(&definition, &session)).await?;
        let status = build.status();
        let work = async {
            let results = build.results().await;
            // The status ends with the build.
            drop(build);
            results
        };
        let (results, ()) = futures::join!(work, show(status));
        results?;
    }
    engine.close().await?;
    registry.close().await;
    Ok(())
}
