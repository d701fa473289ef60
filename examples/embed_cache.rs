//! Embeds the cache: refs to layers that nobody has pulled, one of them extracted by eight tasks at once, and what the
//! registry saw of it.
//!
//! `cargo run --release --example embed_cache` needs nothing but the checkout: the registry is embedded.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use lazyblob::cache::image::Pull;
use lazyblob::cache::manager::Settings;
use lazyblob::cache::record::RecordType;
use lazyblob::cache::root::RootSettings;
use lazyblob::cache::{Components, GetOptions, Manager, Root};
use lazyblob::remote::Access;
use lazyblob::remote::endpoint::Name;
use lazyblob::remote::request::Kind;
use tokio::task::JoinSet;

use support::{Embedded, Outcome};

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let registry = Embedded::start().await?;
    let (source, _) = registry.push_an_image(&directory.path().join("image")).await?;

    // One manager for each root: all who ask it share its transfers, its limits and its snapshots.
    let root = Root::open(directory.path().join("cache"), RootSettings::default()).await?;
    let components = Components::usual(&root, &registry.client).await?;
    let manager = Manager::open(root, components, Settings::default()).await?;

    registry.traffic().reset();
    let pull = Pull {
        reference: registry.repository("team/app")?.tagged("1")?,
        source,
        name: Name::Tag("1".to_owned()),
        platform: None,
        record_type: RecordType::Regular,
    };
    let image = manager.pull(pull, &Access::anonymous()).await?.image;
    let Some(top) = image.files()? else { return Err("the image has no layers".into()) };
    let asked = registry.traffic().requests().total();
    println!("{} layers, known by {asked} requests; lazy: {}", top.layers().len(), top.is_lazy().await?);

    registry.traffic().reset();
    // A handle of its own for each task: it brings the credentials, and the way to the blobs.
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (manager, id, handlers) = (manager.clone(), top.id(), top.handlers().clone());
        tasks.spawn(async move {
            let handle = manager.get(&id, GetOptions { handlers, ..GetOptions::default() }).await?;
            handle.extract(&Access::anonymous()).await
        });
    }
    while let Some(extracted) = tasks.join_next().await {
        extracted??;
    }
    let fetched = registry.traffic().requests().of(Kind::BlobGet);
    println!("8 tasks extracted it; {fetched} layers were fetched. lazy: {}", top.is_lazy().await?);
    let usage = manager.usage(&[]).await?.totals;
    println!("on disk: {} bytes of blobs, {} bytes unpacked", usage.blobs, usage.snapshots);

    drop(image);
    manager.close().await?;
    registry.close().await;
    Ok(())
}
