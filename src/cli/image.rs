//! An image of the cache, brought there by its name where it is not there yet.

use std::sync::Arc;

use lazyblob::cache::image::{Image, Pull, Pulled};
use lazyblob::cache::record::RecordType;
use lazyblob::remote::Reference;
use lazyblob::remote::copy::Platform;
use lazyblob::remote::registry::RegistrySource;

use super::context::{Context, name_of};
use super::exit::Failure;
use super::store_args::ImageArgs;

/// Brings the name, manifest and config of `reference` from its registry into the cache.
pub(crate) async fn pull(
    context: &Context,
    reference: &Reference,
    platform: Option<Platform>,
) -> Result<Pulled, Failure> {
    let manager = context.manager().await?;
    let pull = Pull {
        reference: reference.clone(),
        source: Arc::new(RegistrySource::new(context.reading(reference.repository())?)),
        name: name_of(reference),
        platform,
        record_type: RecordType::default(),
    };
    Ok(manager.pull(pull, context.access()).await?)
}

/// The image called `reference`: the one in the cache, or what its registry has where there is none or `refresh` says so.
pub(crate) async fn stored_or_pulled(
    context: &Context,
    reference: &Reference,
    platform: Option<Platform>,
    refresh: bool,
) -> Result<Image, Failure> {
    let manager = context.manager().await?;
    if !refresh {
        match manager.named(reference).await {
            Ok(_) => {
                return Ok(manager.open_image(reference, platform.as_ref(), context.access()).await?);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pull(context, reference, platform).await?.image)
}

/// The same, to have its files: the display is told how many layers are to come.
pub(crate) async fn files(
    context: &Context,
    reference: &Reference,
    how: ImageArgs,
) -> Result<Image, Failure> {
    context.between(true, false);
    // Sets the limits of the engine that the cache works with.
    context.transfers(how.concurrency);
    let image = stored_or_pulled(context, reference, how.platform, how.refresh).await?;
    image.files()?;
    let manager = context.manager().await?;
    let mut lazy = 0;
    for layer in &image.layers {
        lazy += usize::from(!manager.store().holds(&layer.descriptor).await?);
    }
    context.access().progress.expect(lazy);
    Ok(image)
}
