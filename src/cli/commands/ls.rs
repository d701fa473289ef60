//! `lazyblob ls`: the images of the cache.

use indicatif::HumanBytes;
use lazyblob::cache::Manager;
use lazyblob::cache::image::{About, AboutImage, Named};
use lazyblob::remote::digest::short;
use lazyblob::remote::error::printable;
use serde_json::{Value, json};

use super::inspect::kind;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, REPAIR};
use crate::cli::{output, table};

const HEAD: [&str; 7] = ["NAME", "DIGEST", "KIND", "SIZE", "LAZY", "CREATED", "USED"];

/// A line for each name. An image that cannot be read has one that says so.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    if context.has_no_cache()? {
        return if context.json() { output::json(&json!([])) } else { table::show(HEAD, &[]) };
    }
    let manager = context.manager().await?;
    let (mut documents, mut rows) = (Vec::new(), Vec::new());
    for named in manager.names().await? {
        let about = manager.about(&named.reference).await;
        if let Ok(about) = &about {
            let damage = about.images.iter().filter_map(|image| image.damage.as_deref());
            damage.for_each(|damage| say_damage(context, &named, damage));
        }
        match about {
            Ok(about) if context.json() => documents.push(document(&about)),
            Ok(about) => rows.push(row(&about)),
            // Somebody has taken the name away since.
            Err(_) if is_gone(manager, &named).await => {}
            Err(error) => {
                let name = named.reference.to_string();
                say_damage(context, &named, &error.to_string());
                let digest = named.root.digest();
                documents.push(json!({"reference": name, "digest": digest, "error": error.to_string()}));
                let unknown = || "?".to_owned();
                let [kind, size, lazy, created, used] = std::array::from_fn(|_| unknown());
                rows.push([name, short(digest), kind, size, lazy, created, used]);
            }
        }
    }
    if context.json() {
        return output::json(&documents);
    }
    table::show(HEAD, &rows)
}

fn say_damage(context: &Context, named: &Named, damage: &str) {
    let name = &named.reference;
    context.watch().say(&format!("lazyblob: {name}: {damage}\n  {REPAIR}"));
}

async fn is_gone(manager: &Manager, named: &Named) -> bool {
    manager.named(&named.reference).await.is_err_and(|error| error.is_not_found())
}

fn document(about: &About) -> Value {
    let (size, lazy) = about.sizes();
    json!({
        "reference": about.reference.to_string(),
        "digest": about.root.digest(),
        "kind": kind(&about.root),
        "platforms": platforms(about),
        "size": size,
        "lazy": lazy,
        "created": created(about).map(seconds),
        "used": used(about).map(seconds),
    })
}

fn row(about: &About) -> [String; 7] {
    let (size, lazy) = about.sizes();
    let platforms = platforms(about).join(",");
    let kind = if platforms.is_empty() { kind(&about.root).to_owned() } else { platforms };
    let ago = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), table::ago);
    [
        about.reference.to_string(),
        short(about.root.digest()),
        printable(&kind).into_owned(),
        HumanBytes(size).to_string(),
        HumanBytes(lazy).to_string(),
        ago(created(about)),
        ago(used(about)),
    ]
}

/// The platforms of those of its manifests that are here.
fn platforms(about: &About) -> Vec<String> {
    about.images.iter().filter_map(|image| image.platform.clone()).collect()
}

fn created(about: &About) -> Option<u64> {
    about.images.iter().filter_map(|image| image.created).min()
}

fn used(about: &About) -> Option<u64> {
    let used = |image: &AboutImage| image.used.map(|used| used.at);
    about.images.iter().filter_map(used).max()
}

/// Seconds of milliseconds since 1970.
fn seconds(at: u64) -> u64 {
    at / 1000
}
