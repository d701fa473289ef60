//! What is told of a build when it is over.

use std::path::Path;

use lazyblob::worker::engine::Build;
use lazyblob::worker::spec::{Dest, OutputKind};
use serde_json::{Map, Value, json};

use super::Made;
use crate::cli::build_args::BuildArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

/// The digest of each image on standard output, and everything in the metadata file.
pub(super) fn tell(made: &Made, args: &BuildArgs, context: &Context) -> Result<(), Failure> {
    for warning in made.caches.iter().flat_map(|cache| &cache.warnings) {
        context.watch().say(warning);
    }
    let metadata = metadata(made);
    if let Some(path) = &args.metadata_file {
        write(path, &format!("{metadata:#}\n"))?;
    }
    let takes_stdout = args.output.iter().any(|spec| {
        matches!(
            &spec.kind,
            OutputKind::Oci { dest: Dest::Stdout, .. }
                | OutputKind::Docker { dest: Dest::Stdout, .. }
                | OutputKind::Tar { dest: Dest::Stdout, .. }
        )
    });
    if takes_stdout {
        return Ok(());
    }
    if context.json() {
        return output::json(&metadata);
    }
    for digest in made.outputs.iter().filter_map(|output| output.digest.as_ref()) {
        output::lines(digest.as_ref())?;
    }
    Ok(())
}

/// What BuildKit's clients write to their metadata file, of all outputs; of several images the last one's digest.
fn metadata(made: &Made) -> Value {
    let mut all = Map::new();
    for output in &made.outputs {
        all.extend(output.response.clone());
    }
    let mut digests = made.caches.iter().filter_map(|cache| cache.manifest.as_ref());
    if let Some(manifest) = digests.next_back() {
        all.insert("cache.manifest".to_owned(), json!(manifest));
    }
    Value::Object(all)
}

/// Why vertices ran, and the graph as it is now.
pub(super) async fn explain(build: &Build, args: &BuildArgs) -> Result<(), Failure> {
    if let Some(path) = &args.graph {
        let graph = build.graph().await?;
        let text =
            if path.extension().is_some_and(|end| end == "json") { graph.to_json() } else { graph.to_dot() };
        write(path, &text)?;
    }
    if args.why {
        for why in build.why().await? {
            output::note(&format!("why: {why}"));
        }
    }
    Ok(())
}

/// Writes a file beside its place, and then there: nothing partial has the name.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        Failure::Local(format!("write {}: {error}", path.display()))
    })
}
