//! Unfinished blobs of layouts, in words.

use std::time::SystemTime;

use indicatif::{HumanBytes, HumanDuration};
use lazyblob::remote::layout::{Layout, Partial};
use serde_json::{Value, json};

/// What a run that failed leaves in `layout` for a later one to go on with: these, at least one.
pub(crate) fn stays(layout: &Layout, left: &[Partial]) -> String {
    let bytes = HumanBytes(left.iter().map(|partial| partial.offset).sum());
    let ingests = layout.ingests();
    let (blobs, stay, them) = match left.len() {
        1 => ("1 unfinished blob".to_owned(), "stays", "it"),
        many => (format!("{many} unfinished blobs"), "stay", "them"),
    };
    let (place, long) = (ingests.dir().display(), HumanDuration(ingests.settings().keep));
    format!(
        "{blobs} ({bytes}) {stay} in {place} for {long}; the next copy that needs {them} goes on from there"
    )
}

/// `254.02 MiB of 900.00 MiB, saved 3 minutes ago`.
pub(crate) fn line(partial: &Partial) -> String {
    let (have, all) = (HumanBytes(partial.offset), HumanBytes(partial.size));
    match partial.in_use {
        true => format!("{have} of {all}, being written"),
        false => format!("{have} of {all}, saved {} ago", HumanDuration(age(partial))),
    }
}

/// The same as JSON; sizes in bytes, times in seconds.
pub(crate) fn document(partial: &Partial) -> Value {
    json!({
        "digest": partial.digest,
        "size": partial.size,
        "offset": partial.offset,
        "age": age(partial).as_secs(),
        "in_use": partial.in_use,
    })
}

fn age(partial: &Partial) -> std::time::Duration {
    // A clock that was set back makes nothing older.
    SystemTime::now().duration_since(partial.updated).unwrap_or_default()
}
