//! `lazyblob pull REF`: manifest and config; the layers only if they are asked for.

use lazyblob::cache::Manager;
use lazyblob::cache::image::{Image, Pulled};
use serde_json::{Value, json};

use crate::cli::args::PullArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
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
        // Before anything of it is fetched.
        let files = image.files()?;
        access.progress.expect(lazy(manager, &image).await?);
        if let Some(top) = files {
            top.extract(access).await?;
        }
    }
    if args.unlazy {
        if !args.unpack {
            access.progress.expect(lazy(manager, &image).await?);
        }
        fetched = Some(manager.unlazy_image(&image, access).await?);
    }
    context.watch().end();
    if context.json() {
        let mut document = json!({
            "reference": args.reference.to_string(),
            "digest": image.root.digest(),
            "manifest": image.manifest.digest(),
            "unchanged": unchanged,
            "layers": layers(manager, &image).await?,
            "unpacked": args.unpack,
        });
        if let Some(fetched) = fetched {
            document["fetched"] = json!(fetched);
        }
        return output::json(&document);
    }
    output::lines(image.root.digest().as_ref())
}

/// How many of its layers are not here.
async fn lazy(manager: &Manager, image: &Image) -> Result<usize, Failure> {
    let mut lazy = 0;
    for layer in image.manifest.layers() {
        lazy += usize::from(!manager.store().holds(layer).await?);
    }
    Ok(lazy)
}

async fn layers(manager: &Manager, image: &Image) -> Result<Vec<Value>, Failure> {
    let mut layers = Vec::new();
    for layer in image.manifest.layers() {
        let lazy = !manager.store().holds(layer).await?;
        layers.push(json!({"digest": layer.digest(), "size": layer.size(), "lazy": lazy}));
    }
    Ok(layers)
}
