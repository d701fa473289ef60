//! `lazyblob mount [REF DIR]`: the files of an image where they are wanted, for longer than this process.

use lazyblob::cache::MountOptions;
use lazyblob::cache::mount::{Mode, Mounted, Trusts};
use lazyblob::remote::error::printable;
use serde_json::{Value, json};

use crate::cli::args::MountArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::{image, output, table};

const HEAD: [&str; 4] = ["DIRECTORY", "MODE", "STATE", "IMAGE"];

/// Mounts, or lists.
pub(super) async fn run(args: MountArgs, context: &Context) -> Result<(), Failure> {
    let (Some(reference), Some(dir)) = (&args.reference, &args.dir) else { return list(context).await };
    let image = image::files(context, reference, args.image).await?;
    let options = MountOptions {
        mode: if args.rw { Mode::ReadWrite } else { Mode::ReadOnly },
        trusts: Trusts { setuid: args.trusted, devices: args.trusted },
        command: "lazyblob mount",
    };
    let manager = context.manager().await?;
    let record = image.mount(manager, dir, options, context.access()).await?;
    context.watch().end();
    if context.json() {
        return output::json(&json!({
            "reference": reference.to_string(),
            "digest": image.root.digest(),
            "manifest": image.manifest.digest(),
            "directory": record.dir,
            "mode": mode(record.mode),
        }));
    }
    context.watch().tell(&format!("{reference} is at {} ({})", record.dir.display(), mode(record.mode)));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let mounts = context.manager().await?.mounts().await?;
    if context.json() {
        return output::json(&mounts.iter().map(document).collect::<Vec<_>>());
    }
    table::show(HEAD, &mounts.iter().map(row).collect::<Vec<_>>())
}

fn row(Mounted { record, state }: &Mounted) -> [String; 4] {
    let dir = record.dir.display().to_string();
    let image = record.image.as_deref().unwrap_or("-");
    [
        printable(&dir).into_owned(),
        mode(record.mode).to_owned(),
        state.to_string(),
        printable(image).into_owned(),
    ]
}

fn document(Mounted { record, state }: &Mounted) -> Value {
    json!({
        "directory": record.dir,
        "reference": record.image,
        "mode": mode(record.mode),
        "state": state.to_string(),
        "live": state.is_live(),
        "since": record.since,
        "process": record.pid,
        "command": record.command,
    })
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::ReadOnly => "ro",
        Mode::ReadWrite => "rw",
    }
}
