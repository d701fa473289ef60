//! `lazyblob build`: a definition in, images and files out.

pub(crate) mod brought;
mod definition;
mod engine;
mod report;

use std::io::Write;
use std::sync::Arc;

use futures::future::try_join_all;
use lazyblob::worker::cache_io::{self, CacheExport, ExportSpec, ExportTarget};
use lazyblob::worker::engine::{Build, Engine, Request};
use lazyblob::worker::export::Exported;
use lazyblob::worker::llb::Definition;
use lazyblob::worker::session::Session;
use lazyblob::worker::spec::{Dest, OutputKind, OutputSpec};

use crate::cli::build_args::BuildArgs;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::{output, progress};

/// What a build has made.
pub(super) struct Made {
    outputs: Vec<Exported>,
    caches: Vec<CacheExport>,
}

/// Builds.
pub(super) async fn run(mut args: BuildArgs, context: &Context) -> Result<(), Failure> {
    check(&args)?;
    for spec in &mut args.output {
        definition::read_config(spec)?;
        definition::date(spec, std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    }
    context.between(false, goes_to_registry(&args));
    let definition = definition::read(args.definition.as_deref()).await?;
    let session = session(&args, context)?;
    let engine = engine::open(&args, context).await?;
    let built = Box::pin(build(&engine, &definition, session, &args, context)).await;
    let closed = context.close_engine().await;
    let made = built?;
    closed?;
    report::tell(&made, &args, context)
}

/// Whether something of the build is pushed.
fn goes_to_registry(args: &BuildArgs) -> bool {
    let pushes = |spec: &OutputSpec| matches!(spec.kind, OutputKind::Image { push: true, .. });
    let to_registry = |spec: &ExportSpec| matches!(spec.target, ExportTarget::Registry { .. });
    args.output.iter().any(pushes) || args.export_cache.iter().any(to_registry)
}

/// Says what is wrong with the words before anything is done.
fn check(args: &BuildArgs) -> Result<(), Failure> {
    let is_stdout = |spec: &&OutputSpec| match &spec.kind {
        OutputKind::Oci { dest, .. } | OutputKind::Docker { dest, .. } | OutputKind::Tar { dest, .. } => {
            *dest == Dest::Stdout
        }
        _ => false,
    };
    let to_stdout = args.output.iter().filter(is_stdout).count();
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    if to_stdout > 1 {
        return usage("only one output can be on standard output: name files with dest=FILE");
    }
    if to_stdout == 1 && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return usage("standard output is a terminal: name a file with dest=FILE, or redirect it");
    }
    let inline = args.export_cache.iter().any(|spec| spec.target == ExportTarget::Inline);
    let is_image =
        |spec: &OutputSpec| !matches!(spec.kind, OutputKind::Local { .. } | OutputKind::Tar { .. });
    if inline && !args.output.iter().any(is_image) {
        return usage("an inline cache is part of an image, and no --output makes one");
    }
    Ok(())
}

fn session(args: &BuildArgs, context: &Context) -> Result<Session, Failure> {
    Ok(Session {
        keychain: Arc::clone(&context.access().keychain),
        locals: args.local.iter().cloned().collect(),
        layouts: args.oci_layout.iter().cloned().collect(),
        secrets: brought::secrets(&args.secret)?,
        ssh: brought::agents(&args.ssh)?,
        allowed: args.allow.clone(),
        ..Session::default()
    })
}

async fn build(
    engine: &Engine,
    definition: &Definition,
    session: Session,
    args: &BuildArgs,
    context: &Context,
) -> Result<Made, Failure> {
    let session = engine.session(session);
    let mut request = Request::new(definition, &session);
    request.platforms = args.platform.iter().map(definition::platform).collect::<Result<_, _>>()?;
    request.no_cache = args.no_cache;
    request.explain = args.why;
    for spec in &args.import_cache {
        request.imports.push(cache_io::import(engine.worker(), spec, &context.in_passing()));
    }
    let build = engine.solve(request).await?;
    let shown = progress::build::show(build.status(), context.progress(), context.watch());
    let work = async {
        let made = work(&build, args, context).await;
        // Also of a build that failed: that is when they are wanted most.
        report::explain(&build, args).await?;
        // The status ends with the build.
        drop(build);
        made
    };
    let (made, ()) = futures::join!(work, shown);
    made
}

/// Everything that is asked for, side by side. A build that fails still gives away its cache.
async fn work(build: &Build, args: &BuildArgs, context: &Context) -> Result<Made, Failure> {
    let built = build.results().await;
    let caches = async {
        let exports = args.export_cache.iter().map(|spec| build.export_cache(spec, context.access()));
        Ok::<_, Failure>(try_join_all(exports).await?)
    };
    if let Err(error) = built {
        // What kept the build from being done is what is told; the caches' own trouble comes with it.
        match caches.await {
            Ok(caches) => caches
                .iter()
                .flat_map(|cache| &cache.warnings)
                .for_each(|warning| context.watch().say(warning)),
            Err(other) => context.watch().say(&other.to_string()),
        }
        return Err(error.into());
    }
    let inline = args.export_cache.iter().any(|spec| spec.target == ExportTarget::Inline);
    let outputs = async {
        let exports = args
            .output
            .iter()
            .map(|spec| build.export(spec, inline, Some(Arc::new(stdout)), context.access()));
        Ok::<_, Failure>(try_join_all(exports).await?)
    };
    // Caches take the blobs that images have, and are made beside the pushes, not beside these.
    for spec in &args.output {
        if let Err(error) = build.make_blobs(spec, context.access()).await {
            tracing::debug!(%error, "blobs are made when the output is");
        }
    }
    let (outputs, caches) = futures::join!(outputs, caches);
    if outputs.is_err() && output::Raw::is_closed() {
        return Err(Failure::ClosedPipe);
    }
    Ok(Made { outputs: outputs?, caches: caches? })
}

fn stdout() -> Box<dyn Write + Send> {
    Box::new(output::Raw::new())
}
