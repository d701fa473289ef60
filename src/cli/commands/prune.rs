//! `lazyblob prune`: what nobody needs goes.

use indicatif::HumanBytes;
use lazyblob::cache::Manager;
use lazyblob::cache::prune::{PruneOptions, Pruned, Space};
use lazyblob::worker::DiskKeys;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::args::PruneArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output::{self, counted};

/// Prunes.
pub(super) async fn run(args: PruneArgs, context: &Context) -> Result<(), Failure> {
    let options = PruneOptions {
        all: args.all,
        older_than: args.older_than,
        space: Space { max_used: args.keep_bytes, ..Space::default() },
        filters: args.filter,
        dry_run: args.dry_run,
    };
    let cancel = CancellationToken::new();
    // Who is interrupted lets the turn that has begun come to its end, and begins no other.
    let _interrupted = cancel.clone().drop_guard();
    let manager = context.manager().await?;
    let pruned = manager.prune(&options, &cancel).await?;
    if !args.dry_run {
        DiskKeys::new(manager.database()).forget_pruned(manager).await?;
    }
    let kept = if args.all { Some(Kept::of(manager, &options).await?) } else { None };
    if context.json() {
        let mut document = document(&pruned, args.dry_run);
        if let Some(Kept { mounts, in_use }) = kept {
            document["kept"] = json!({"mounts": mounts, "inUse": in_use});
        }
        return output::json(&document);
    }
    output::lines(&text(&pruned, args.dry_run))?;
    if let Some(Kept { mounts, in_use }) = kept {
        if mounts > 0 {
            let what = counted(mounts, "mount keeps what it shows", "mounts keep what they show");
            context
                .watch()
                .tell(&format!("{what}: `lazyblob mount` lists them, `lazyblob unmount DIR` ends one"));
        }
        if in_use > 0 {
            let what = counted(
                in_use,
                "record stays: a mount or another process uses it",
                "records stay: mounts or other processes use them",
            );
            context.watch().tell(&what);
        }
    }
    Ok(())
}

/// What stayed because of somebody.
struct Kept {
    /// Mounts that exist.
    mounts: usize,
    /// Records in use that would have been candidates.
    in_use: usize,
}

impl Kept {
    async fn of(manager: &Manager, options: &PruneOptions) -> Result<Self, Failure> {
        let live = manager.mounts().await?.iter().filter(|mounted| mounted.state.is_live()).count();
        let usage = manager.usage(&options.filters).await?;
        let in_use = usage.entries.iter().filter(|entry| entry.in_use).count();
        Ok(Self { mounts: live, in_use })
    }
}

fn document(pruned: &Pruned, dry_run: bool) -> Value {
    let ids = |entries: &[lazyblob::cache::prune::Entry]| -> Vec<Value> {
        let entry = |entry: &lazyblob::cache::prune::Entry| {
            json!({
                "id": entry.record.id.as_str(),
                "type": entry.record.record_type.name(),
                "description": entry.record.description,
                "size": entry.size,
            })
        };
        entries.iter().map(entry).collect()
    };
    json!({
        "dryRun": dry_run,
        "records": ids(&pruned.records),
        "lazy": ids(&pruned.lightened),
        "blobs": pruned.blobs,
        "snapshots": pruned.snapshots,
        "partials": pruned.partials,
        "bytes": pruned.bytes,
        "trash": pruned.trash,
    })
}

fn text(pruned: &Pruned, dry_run: bool) -> String {
    let would = if dry_run { "would remove" } else { "removed" };
    let Pruned { records, lightened, blobs, snapshots, partials, bytes, trash, .. } = pruned;
    let mut text = format!(
        "{would} {}, {}, {}, {}: {}",
        counted(records.len(), "record", "records"),
        counted(*blobs, "blob", "blobs"),
        counted(*snapshots, "snapshot", "snapshots"),
        counted(*partials, "unfinished blob", "unfinished blobs"),
        HumanBytes(*bytes)
    );
    if !lightened.is_empty() {
        let layers = counted(lightened.len(), "layer", "layers");
        text += &format!("\n{layers} {} lazy", if dry_run { "would become" } else { "became" });
    }
    if *trash > 0 {
        text += &format!("\n{} of what was removed before", HumanBytes(*trash));
    }
    text
}
