//! Copies an image to another repository and retags it, and shows that no layer moves.
//!
//! `cargo run --release --example retag_without_pull` needs nothing but the checkout: the registry is embedded, and the
//! image is made of files of the machine it runs on.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod support;

use std::sync::Arc;

use lazyblob::remote::Access;
use lazyblob::remote::copy::Copy;
use lazyblob::remote::endpoint::{Name, Source as _, Target as _};
use lazyblob::remote::layout::Layout;

use support::{Embedded, Outcome, Table};

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let layout = Layout::create_or_open(directory.path().join("image")).await?;
    let layers = support::layers(4, 20 << 20)?;
    let image = support::write_image(&layout, "1", &layers).await?;
    let size: usize = layers.iter().map(|(layer, _)| layer.len()).sum();
    println!("image  {}\n       {} layers, {size} bytes compressed\n", image.digest(), layers.len());

    let registry = Embedded::start().await?;
    let (dev, prod) = (registry.repository("team/dev")?, registry.repository("team/prod")?);
    let transfers = registry.client.transfers();
    let mut table = Table::begin(registry.traffic());

    // The bytes have to get there once.
    let (source, target) = registry.ends(&dev, &dev)?;
    let names = vec![Name::Tag("1".into())];
    let push = Copy::new(
        Arc::new(layout),
        Name::Tag("1".into()),
        Arc::clone(&target) as _,
        names.clone(),
        Access::anonymous(),
        transfers.clone(),
    );
    push.run().await?;
    table.row("push to team/dev:1", registry.traffic());

    // Retag: GET the manifest, PUT it under the new name.
    let manifest = source.manifest(&Name::Tag("1".into())).await?;
    target.put_manifest(&manifest, &Name::Tag("stable".into())).await?;
    table.row("retag to team/dev:stable", registry.traffic());

    // Copy: every blob is mounted.
    let (source, target) = registry.ends(&dev, &prod)?;
    let copy =
        Copy::new(source, Name::Tag("stable".into()), target, names, Access::anonymous(), transfers.clone());
    let report = copy.run().await?;
    table.row("copy to team/prod:1", registry.traffic());
    copy.run().await?;
    table.row("copy to team/prod:1 again", registry.traffic());

    println!(
        "\nteam/prod:1 is {}: the same to the byte, and 0 layer bytes moved to get it there.",
        report.root
    );
    registry.close().await;
    Ok(())
}
