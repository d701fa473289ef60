//! `lazyblob extract REF DIR`: all files of an image, or nothing.

use indicatif::HumanBytes;
use lazyblob::cache::layer::Skipped;
use lazyblob::cache::{ExtractOptions, Extracted};
use serde_json::{Value, json};

use crate::cli::args::ExtractArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output::counted;
use crate::cli::{image, output};

/// Extracts.
pub(super) async fn run(args: ExtractArgs, context: &Context) -> Result<(), Failure> {
    let image = image::files(context, &args.reference, args.image).await?;
    let options = ExtractOptions { keep_setuid: args.keep_setuid, ..ExtractOptions::default() };
    let manager = context.manager().await?;
    let unpacking = format!("unpacking {}", counted(image.layers.len(), "layer", "layers"));
    let extracted = image.extract_to(manager, &args.dir, options, context.access());
    let extracted = context.watch().during(&unpacking, extracted).await?;
    context.watch().end();
    let Extracted { entries, bytes, skipped } = extracted;
    if context.json() {
        output::json(&json!({
            "reference": args.reference.to_string(),
            "digest": image.root.digest(),
            "manifest": image.manifest.digest(),
            "directory": args.dir,
            "entries": entries,
            "bytes": bytes,
            "skipped": document(skipped),
        }))?;
    }
    let (dir, size) = (args.dir.display(), HumanBytes(bytes));
    let left_out = left_out(skipped);
    let made = counted(entries, "file or directory", "files and directories");
    context.watch().tell(&format!("{dir}: {made}, {size}"));
    // What is not as the image has it is a warning.
    if let Some(what) = &left_out {
        context.watch().say(&format!("{dir}: left out: {what}"));
    }
    match left_out {
        Some(what) if args.strict => Err(Failure::Incomplete(format!("{dir} lacks {what} (--strict)"))),
        _ => Ok(()),
    }
}

fn document(skipped: Skipped) -> Value {
    json!({"devices": skipped.devices, "setuid": skipped.setuid, "xattrs": skipped.xattrs})
}

/// What was left out, in words.
fn left_out(skipped: Skipped) -> Option<String> {
    let counts = [
        (skipped.devices, "device", "devices"),
        (skipped.setuid, "setuid or setgid bit", "setuid or setgid bits"),
        (skipped.xattrs, "extended attribute", "extended attributes"),
    ];
    let some = counts.iter().filter(|(count, ..)| *count > 0);
    let words: Vec<String> = some.map(|(count, one, many)| counted(*count, one, many)).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_in_words() {
        assert_eq!(left_out(Skipped::default()), None);
        let skipped = Skipped { devices: 1, setuid: 2, xattrs: 0 };
        assert_eq!(left_out(skipped).unwrap(), "1 device, 2 setuid or setgid bits");
    }
}
