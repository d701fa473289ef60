//! Embeds the build engine: a base image that is never pulled, a file laid over it, the result pushed; then the same again.
//!
//! `cargo run --release --example embed_engine` needs nothing but the checkout: the registry is embedded, and no command is
//! run, so that it takes neither root nor an OCI runtime.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use std::sync::Arc;

use lazyblob::Engine;
use lazyblob::remote::keychain::Anonymous;
use lazyblob::remote::{Access, Digest};
use lazyblob::worker::engine::Request;
use lazyblob::worker::llb::{self, Files, Mkdir, Mkfile};
use lazyblob::worker::session::Session;
use lazyblob::worker::spec::OutputSpec;

use support::{Embedded, Outcome, Table};

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let registry = Embedded::start().await?;
    registry.push_an_image(&directory.path().join("image")).await?;

    // One engine for each root: builds that run at once share what they have in common.
    let engine =
        Engine::builder(directory.path().join("root")).registry(registry.client.clone()).open().await?;
    let mut table = Table::begin(registry.traffic());
    let first = build(&engine, &registry.host).await?;
    table.row("build on team/app, push team/site", registry.traffic());
    let second = build(&engine, &registry.host).await?;
    table.row("the same again", registry.traffic());

    println!("\nteam/site:1 is {first}, and was {second} the second time.");
    let usage = engine.manager().usage(&[]).await?.totals;
    println!("on disk: {} bytes of blobs, {} bytes unpacked", usage.blobs, usage.snapshots);
    engine.close().await?;
    registry.close().await;
    Ok(())
}

/// Builds, pushes, and returns the digest of the image.
async fn build(engine: &Engine, host: &str) -> Outcome<Digest> {
    let page = llb::scratch().file(Files::new().then(Mkdir::new("/srv", 0o755)).then(Mkfile::new(
        "/srv/index.html",
        0o644,
        "<h1>It is here.</h1>\n",
    )));
    let state = llb::merge([&llb::image(format!("{host}/team/app:1")), &page]).named("the site");
    let definition = state.definition(engine.worker().platform())?;

    // Whoever asks brings credentials, directories and secrets; they are gone with the session.
    let session = engine.session(Session { keychain: Arc::new(Anonymous), ..Session::default() });
    let build = engine.solve(Request::new(&definition, &session)).await?;
    let output: OutputSpec = format!("type=image,name={host}/team/site:1,push=true").parse()?;
    let exported = build.export(&output, false, None, &Access::anonymous()).await?;
    exported.digest.ok_or_else(|| "an image has a digest".into())
}
