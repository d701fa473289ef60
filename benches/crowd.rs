//! Many tasks of one process that pull and unpack the same image into one root, as `lazyblob pull --unpack` does.
//! `benches/compare` runs it beside as many processes.
//!
//! `crowd TASKS ROOT HOST/REPO:TAG`

use std::path::PathBuf;
use std::sync::Arc;

use lazyblob::cache::image::Pull;
use lazyblob::cache::manager::Settings;
use lazyblob::cache::record::RecordType;
use lazyblob::cache::root::RootSettings;
use lazyblob::cache::{Components, Manager, Root};
use lazyblob::remote::endpoint::Name;
use lazyblob::remote::hosts::Hosts;
use lazyblob::remote::registry::{self, RegistrySource};
use lazyblob::remote::transport::{self, HttpTransport};
use lazyblob::remote::{Access, Reference, Registry, Scopes};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [tasks, root, reference] = words.as_slice() else {
        return Err("usage: crowd TASKS ROOT HOST/REPO:TAG".into());
    };
    let reference: Reference = reference.parse()?;
    let transport = Arc::new(HttpTransport::new(transport::Settings::default()));
    let client = Registry::new(transport, Hosts::builder().build(), registry::Settings::default());
    let root = Root::open(PathBuf::from(root), RootSettings::default()).await?;
    let components = Components::usual(&root, &client).await?;
    let manager = Manager::open(root, components, Settings::default()).await?;
    let mut unpacking = JoinSet::new();
    for _ in 0..tasks.parse()? {
        unpacking.spawn(unpack(manager.clone(), client.clone(), reference.clone()));
    }
    while let Some(done) = unpacking.join_next().await {
        done??;
    }
    manager.close().await?;
    Ok(())
}

async fn unpack(manager: Manager, client: Registry, reference: Reference) -> Outcome<()> {
    let access = Access::anonymous();
    let repository = reference.repository();
    let source = RegistrySource::new(client.repository(repository, Scopes::pull(repository), &access)?);
    let pull = Pull {
        source: Arc::new(source),
        name: Name::Tag(reference.identifier()),
        reference,
        platform: None,
        record_type: RecordType::Regular,
    };
    let image = manager.pull(pull, &access).await?.image;
    image.files()?.ok_or("no layers")?.extract(&access).await?;
    Ok(())
}
