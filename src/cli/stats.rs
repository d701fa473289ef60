//! `--stats`: what a run has sent and moved, in one JSON line.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::context::Context;

/// The line of design §5.
pub(crate) fn line(context: &Context, elapsed: Duration) -> Value {
    let stats = context.registry().stats();
    let mut requests = Map::new();
    requests.insert("total".to_owned(), json!(stats.requests.total()));
    for (kind, count) in stats.requests.snapshot() {
        requests.insert(kind.name().to_owned(), json!(count));
    }
    requests.insert("retries".to_owned(), json!(context.watch().retries()));
    let [present, mounted, moved] = context.watch().blobs();
    let (from_registry, to_registry) = context.ends();
    json!({
        "type": "stats",
        "requests": requests,
        "bytes": {"down": stats.bytes_down(), "up": stats.bytes_up()},
        "blobs": {
            "present": present,
            "mounted": mounted,
            "uploaded": if to_registry { moved } else { 0 },
            "fetched": context.watch().passed() + if from_registry { moved } else { 0 },
        },
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}
