//! `lazyblob verify`: everything in the cache is read, and what is damaged is named.

use indicatif::HumanBytes;
use lazyblob::cache::verify::{Problem, Repair, Verified, VerifyOptions};
use lazyblob::remote::error::printable;
use serde_json::{Value, json};

use crate::cli::args::VerifyArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output::{self, counted};

/// Verifies.
pub(super) async fn run(args: VerifyArgs, context: &Context) -> Result<(), Failure> {
    let options = VerifyOptions { repair: args.repair };
    let verified = context.manager().await?.verify(options, context.access()).await?;
    context.watch().end();
    if context.json() {
        output::json(&document(&verified))?;
    } else {
        output::lines(&text(&verified))?;
    }
    outcome(&verified, args.repair)
}

/// Damage that remains is an error: 6, or 7 where some of it was mended.
fn outcome(verified: &Verified, repaired: bool) -> Result<(), Failure> {
    let damage = || verified.problems.iter().filter(|problem| !problem.is_leftover);
    let remaining = damage().filter(|problem| problem.remains()).count();
    let mended = damage().count() - remaining;
    match (remaining, mended) {
        (0, _) => Ok(()),
        (left, 0) if !repaired => {
            let left = counted(left, "thing in the cache is", "things in the cache are");
            Err(Failure::Damaged(format!(
                "{left} damaged: `lazyblob verify --repair` mends what can be mended"
            )))
        }
        (left, 0) => Err(Failure::Damaged(format!(
            "{} damaged",
            counted(left, "thing in the cache is", "things in the cache are")
        ))),
        (left, mended) => Err(Failure::Incomplete(format!("{mended} mended, {left} still damaged"))),
    }
}

fn document(verified: &Verified) -> Value {
    let Verified { blobs, bytes, names, records, snapshots, compared, partials, problems } = verified;
    json!({
        "checked": {
            "blobs": blobs, "bytes": bytes, "names": names, "records": records,
            "snapshots": snapshots, "compared": compared, "partials": partials,
        },
        "clean": !problems.iter().any(Problem::remains),
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn problem(problem: &Problem) -> Value {
    let (repair, note) = match &problem.repair {
        Repair::Done(how) => ("done", Some(how.as_str())),
        Repair::InUse => ("in use", None),
        Repair::Impossible(why) => ("impossible", Some(why.as_str())),
        // One of a newer library is told as one that nobody asked for.
        _ => ("none", None),
    };
    json!({
        "object": problem.object.kind(),
        "name": problem.object.name(),
        "reason": problem.reason,
        "severity": if problem.is_leftover { "leftover" } else { "damage" },
        "repair": repair,
        "note": note,
    })
}

fn text(verified: &Verified) -> String {
    let Verified { blobs, bytes, names, records, snapshots, compared, partials, problems } = verified;
    let mut text = String::new();
    for problem in problems {
        text += &format!("{}\n", printable(&problem.to_string()));
    }
    text += &format!(
        "{} ({}), {}, {}, {} ({compared} held against their layers), {}: ",
        counted(*blobs, "blob", "blobs"),
        HumanBytes(*bytes),
        counted(*names, "name", "names"),
        counted(*records, "record", "records"),
        counted(*snapshots, "snapshot", "snapshots"),
        counted(*partials, "unfinished blob", "unfinished blobs"),
    );
    let damaged = problems.iter().filter(|problem| !problem.is_leftover).count();
    text + &if damaged == 0 { "clean".to_owned() } else { format!("{damaged} damaged") }
}
