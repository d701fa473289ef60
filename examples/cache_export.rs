//! Exports a BuildKit cache to a registry, retags it, and promotes it from a branch's repository to main's in the other
//! manifest form: all of it without pulling a layer.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use lazyblob::remote::buildcache::Form;
use lazyblob::remote::copy::{Copy, Options};
use lazyblob::remote::endpoint::{Name, Source as _, Target as _};
use lazyblob::remote::layout::Layout;
use lazyblob::remote::{Access, media};
use serde_json::json;

use support::{Embedded, Outcome, Table};

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let layout = Layout::create_or_open(directory.path().join("cache")).await?;
    write_cache(&layout).await?;

    let registry = Embedded::start().await?;
    let (branch, main) = (registry.repository("cache/pr-17")?, registry.repository("cache/main")?);
    let transfers = registry.client.transfers();
    let mut table = Table::begin(registry.traffic());

    let (source, target) = registry.ends(&branch, &branch)?;
    let (name, names) = (Name::Tag("build".into()), vec![Name::Tag("build".into())]);
    let export = Copy::new(
        Arc::new(layout),
        name.clone(),
        Arc::clone(&target) as _,
        names.clone(),
        Access::anonymous(),
        transfers.clone(),
    );
    export.run().await?;
    table.row("export to cache/pr-17:build", registry.traffic());

    let cache = source.manifest(&name).await?;
    target.put_manifest(&cache, &Name::Tag("green".into())).await?;
    table.row("retag to cache/pr-17:green", registry.traffic());

    let (source, target) = registry.ends(&branch, &main)?;
    let promote =
        Copy::new(source, Name::Tag("green".into()), target, names, Access::anonymous(), transfers.clone());
    let promoted = promote.clone().run().await?;
    table.row("promote to cache/main:build", registry.traffic());

    let index = promote.with_options(Options { cache_form: Some(Form::Index), ..Options::default() });
    let converted = index.run().await?;
    table.row("the same in index form", registry.traffic());

    println!("\ncache/main:build was {}\n          and is {} in index form.", promoted.root, converted.root);
    registry.close().await;
    Ok(())
}

/// A cache as BuildKit exports it: layers, and a config that says which record each of them is the result of.
async fn write_cache(layout: &Layout) -> Outcome<()> {
    let mut layers = Vec::new();
    let mut listed = Vec::new();
    for (at, (layer, diff_id)) in support::layers(3, 8 << 20)?.into_iter().enumerate() {
        let mut blob = support::store(layout, media::OCI_LAYER_GZIP, layer).await?;
        blob.set_annotations(Some([("containerd.io/uncompressed".to_owned(), diff_id)].into()));
        listed.push(json!({"blob": blob.digest(), "parent": i64::try_from(at)? - 1}));
        layers.push(blob);
    }
    let step = |step: &str| lazyblob::remote::digest::sha256(step.as_bytes());
    let records = json!([
        {"digest": step("FROM"), "layers": [{"layer": 0}]},
        {"digest": step("RUN"), "layers": [{"layer": 2}], "inputs": [[{"link": 0}]]},
    ]);
    let config = json!({"layers": listed, "records": records});
    let config = support::store(layout, media::BUILDKIT_CACHE, Bytes::from(config.to_string())).await?;
    support::write_manifest(layout, "build", &config, &layers).await?;
    Ok(())
}
