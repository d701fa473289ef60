//! `lazyblob push REF DST`: a copy from the cache, where the image is pulled lazily if it is not there.

use lazyblob::remote::Location;

use crate::cli::args::{CopyArgs, PushArgs};
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::image;

/// Pushes.
pub(super) async fn run(args: PushArgs, context: &Context) -> Result<(), Failure> {
    let PushArgs { source, target, refresh, how } = args;
    let manager = context.manager().await?;
    let known = match manager.named(&source).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error.into()),
    };
    if refresh || !known {
        image::pull(context, &source, how.platform.first().cloned()).await?;
    }
    super::copy::run(CopyArgs { source: Location::Store(source), target, how }, context).await
}
