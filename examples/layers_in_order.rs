//! Asks the transfer engine for the layers of an image as a reader does: bottom first, each as soon as it is whole. A
//! prefetch is under way already, and a second reader wants the same; every layer is fetched once.
//!
//! `cargo run --release --example layers_in_order` needs nothing but the checkout: the registry is embedded.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use lazyblob::remote::endpoint::{Source, Target};
use lazyblob::remote::layout::Layout;
use lazyblob::remote::transfer::{Limits, Transfers, Wanted};
use lazyblob::remote::{Access, Manifest, Priority};

use support::{Embedded, Outcome};

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let registry = Embedded::start().await?;
    let (source, image) = registry.push_an_image(&directory.path().join("image")).await?;
    let store = Layout::create_or_open(directory.path().join("store")).await?;
    // The engine's limits hold for all who ask it, and may be changed while it works.
    let transfers = registry.client.transfers();
    transfers.set_limits(Limits { per_host: 2, ..Limits::default() });
    registry.traffic().reset();

    let prefetch = layers(transfers, &image, &source, &store, Priority::Speculative);
    let reader = layers(transfers, &image, &source, &store, Priority::Urgent);
    let other = layers(transfers, &image, &source, &store, Priority::Urgent);
    let began = Instant::now();
    let read = reader.for_each(|layer| {
        match layer {
            Ok(layer) => println!(
                "{:6.1} ms  layer {} of {} bytes is whole",
                began.elapsed().as_secs_f64() * 1000.0,
                layer.index,
                layer.blob.size()
            ),
            Err(failed) => println!("{failed}"),
        }
        std::future::ready(())
    });
    let (prefetched, (), read_too) = tokio::join!(prefetch.count(), read, other.count());

    let fetched = registry.traffic().requests().of(lazyblob::remote::request::Kind::BlobGet);
    println!("\n{prefetched} layers were prefetched and {read_too} read twice; {fetched} were fetched.");
    registry.close().await;
    Ok(())
}

/// The layers of `image`, bottom first, as wanted as `priority` says.
fn layers(
    transfers: &Transfers,
    image: &Manifest,
    source: &Arc<dyn Source>,
    store: &Layout,
    priority: Priority,
) -> lazyblob::remote::transfer::Layers {
    let wanted = image.layers().iter().map(|layer| Wanted {
        blob: layer.clone(),
        sources: vec![source.blobs()],
        target: Arc::new(store.clone()) as Arc<dyn Target>,
        height: 0,
        shared: 1,
        access: Access { priority, ..Access::anonymous() },
    });
    transfers.layers(wanted.collect())
}
