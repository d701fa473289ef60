//! `lazyblob pull REF`: manifest and config; the layers only if they are asked for.

use std::time::Instant;

use lazyblob::cache::Manager;
use lazyblob::cache::image::{AboutBlob, Image, Pulled};
use serde_json::{Value, json};

use crate::cli::args::PullArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output::counted;
use crate::cli::{image, output};

/// Pulls.
pub(super) async fn run(args: PullArgs, context: &Context) -> Result<(), Failure> {
    context.between(true, false);
    // Sets the limits of the engine that the cache works with.
    context.transfers(args.concurrency);
    let Pulled { image, unchanged } = image::pull(context, &args.reference, args.platform).await?;
    let manager = context.manager().await?;
    let access = context.access();
    let mut fetched = None;
    if args.unpack {
        unpack(context, manager, &image).await?;
    }
    if args.unlazy {
        access.progress.expect(layers(manager, &image).await?.iter().filter(|layer| !layer.local).count());
        fetched = Some(manager.unlazy_image(&image, access).await?);
    }
    context.watch().end();
    if context.json() {
        let mut document = json!({
            "reference": args.reference.to_string(),
            "digest": image.root.digest(),
            "manifest": image.manifest.digest(),
            "unchanged": unchanged,
            "layers": layers(manager, &image).await?.iter().map(document).collect::<Vec<_>>(),
            "unpacked": args.unpack,
        });
        if let Some(fetched) = fetched {
            document["fetched"] = json!(fetched);
        }
        return output::json(&document);
    }
    output::lines(image.root.digest().as_ref())
}

/// Brings what is not here and unpacks it while it comes.
async fn unpack(context: &Context, manager: &Manager, image: &Image) -> Result<(), Failure> {
    // Before anything of it is fetched.
    let Some(top) = image.files()? else { return Ok(()) };
    let mut layers = layers(manager, image).await?;
    layers.retain(|layer| !layer.unpacked);
    context.access().progress.expect(layers.iter().filter(|layer| !layer.local).count());
    if layers.is_empty() {
        return Ok(top.extract(context.access()).await?);
    }
    let (layers, began) = (counted(layers.len(), "layer", "layers"), Instant::now());
    context.watch().during(&format!("unpacking {layers}"), top.extract(context.access())).await?;
    context.watch().end();
    context.watch().tell(&format!("{layers} unpacked in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// What there is of its layers now.
async fn layers(manager: &Manager, image: &Image) -> Result<Vec<AboutBlob>, Failure> {
    let about = manager.about(&image.reference).await?;
    let this = about.images.into_iter().find(|each| each.manifest.digest() == image.manifest.digest());
    Ok(this.map(|image| image.layers).unwrap_or_default())
}

fn document(layer: &AboutBlob) -> Value {
    json!({
        "digest": layer.descriptor.digest(),
        "size": layer.descriptor.size(),
        "lazy": !layer.local,
        "unpacked": layer.unpacked,
    })
}
