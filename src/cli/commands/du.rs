//! `lazyblob du`: what the cache takes.

use indicatif::HumanBytes;
use lazyblob::cache::prune::{Entry, Totals, Usage};
use lazyblob::remote::error::printable;
use serde_json::{Value, json};

use crate::cli::args::DuArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::{output, table};

const RECORDS: [&str; 8] = ["ID", "TYPE", "SIZE", "SHARED", "LAZY", "KEPT BY", "USED", "DESCRIPTION"];
const TOTALS: [&str; 2] = ["WHAT", "SIZE"];

/// Sums, or a line for each record.
pub(super) async fn run(args: DuArgs, context: &Context) -> Result<(), Failure> {
    let usage = match context.has_no_cache()? {
        true => Usage::default(),
        false => context.manager().await?.usage(&args.filter).await?,
    };
    if context.json() {
        let records: Vec<Value> = usage.entries.iter().map(document).collect();
        return output::json(&json!({"total": sums(&usage.totals), "records": records}));
    }
    if args.records {
        return table::show(RECORDS, &usage.entries.iter().map(row).collect::<Vec<_>>());
    }
    let Totals { blobs, snapshots, mutable, mounts, trash, partials, reclaimable, lazy, .. } = usage.totals;
    let sum = |what: &str, bytes: u64| [what.to_owned(), HumanBytes(bytes).to_string()];
    let rows = [
        sum("blobs", blobs),
        sum("snapshots", snapshots),
        sum("mutable", mutable),
        sum("unfinished", partials),
        sum("mounts", mounts),
        sum("trash", trash),
        sum("reclaimable", reclaimable),
        sum("lazy", lazy),
    ];
    table::show(TOTALS, &rows)
}

fn sums(totals: &Totals) -> Value {
    json!({
        "blobs": totals.blobs,
        "snapshots": totals.snapshots,
        "mutable": totals.mutable,
        "unfinished": totals.partials,
        "mounts": totals.mounts,
        "trash": totals.trash,
        "reclaimable": totals.reclaimable,
        "lazy": totals.lazy,
    })
}

fn document(entry: &Entry) -> Value {
    let Entry { record, last_use, in_use, named, size, shared_size, lazy_size } = entry;
    json!({
        "id": record.id.as_str(),
        "type": record.record_type.name(),
        "description": record.description,
        "digest": record.blob.as_ref().map(|blob| blob.descriptor.digest()),
        "mutable": record.mutable,
        "size": size,
        "shared": shared_size,
        "lazy": lazy_size,
        "in_use": in_use,
        "named": named,
        "created": record.created / 1000,
        "used": {"at": last_use.at / 1000, "count": last_use.count},
    })
}

fn row(entry: &Entry) -> [String; 8] {
    let size = |bytes: u64| HumanBytes(bytes).to_string();
    let kept = match (entry.in_use, entry.named) {
        (true, _) => "use",
        (false, true) => "name",
        (false, false) => "-",
    };
    [
        entry.record.id.as_str().to_owned(),
        entry.record.record_type.name().to_owned(),
        size(entry.size),
        size(entry.shared_size),
        size(entry.lazy_size),
        kept.to_owned(),
        table::ago(entry.last_use.at),
        printable(&entry.record.description).into_owned(),
    ]
}
