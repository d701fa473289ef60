//! `lazyblob prune`: what nobody needs goes.

use indicatif::HumanBytes;
use lazyblob::cache::prune::{PruneOptions, Pruned, Space};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::args::PruneArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

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
    let pruned = context.manager().await?.prune(&options, &cancel).await?;
    if context.json() {
        return output::json(&document(&pruned, args.dry_run));
    }
    output::lines(&text(&pruned, args.dry_run))
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
        "{would} {} records, {blobs} blobs, {snapshots} snapshots, {partials} unfinished blobs: {}",
        records.len(),
        HumanBytes(*bytes)
    );
    if !lightened.is_empty() {
        text +=
            &format!("\n{} layers {} lazy", lightened.len(), if dry_run { "would become" } else { "became" });
    }
    if *trash > 0 {
        text += &format!("\n{} of what was removed before", HumanBytes(*trash));
    }
    text
}
