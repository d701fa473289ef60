//! `--log` to standard error, `--trace` to a file.

use std::fs::File;
use std::io::IsTerminal as _;
use std::sync::Mutex;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use super::args::Global;
use super::exit::Failure;

/// Starts whatever was asked for; without either nothing is set up and nothing is paid.
pub(crate) fn start(global: &Global) -> Result<(), Failure> {
    if global.log.is_none() && global.trace.is_none() {
        return Ok(());
    }
    let mut layers: Vec<Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>> = Vec::new();
    if let Some(level) = &global.log {
        // A bare level is about us; what the libraries below have to say is asked for by name.
        let directives = if level.contains(['=', ',']) {
            level.clone()
        } else {
            format!("warn,lazyblob={level},lazyblob_remote={level},lazyblob_flightcontrol={level}")
        };
        let filter = EnvFilter::try_new(directives)
            .map_err(|error| Failure::Usage(format!("--log {level}: {error}")))?;
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        layers.push(layer.with_filter(filter).boxed());
    }
    if let Some(path) = &global.trace {
        let file = File::create(path)
            .map_err(|error| Failure::Local(format!("create trace file {}: {error}", path.display())))?;
        let layer = tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(file));
        let ours = tracing_subscriber::filter::Targets::new()
            .with_target("lazyblob", LevelFilter::TRACE)
            .with_target("lazyblob_remote", LevelFilter::TRACE)
            .with_target("lazyblob_flightcontrol", LevelFilter::TRACE);
        layers.push(layer.with_filter(ours).boxed());
    }
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|error| Failure::Local(format!("start logging: {error}")))
}
