//! The command line: words in, one outcome out.

mod args;
mod build_args;
mod commands;
mod context;
mod credentials;
mod exit;
mod image;
mod interrupt;
mod logging;
mod offline;
mod output;
mod progress;
mod root;
mod stats;
mod store_args;
mod store_backend;
mod table;
mod unfinished;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use serde_json::json;

use args::{Cli, ProgressMode};
use context::Context;
use exit::Failure;

/// Runs the command and says how it ended.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error =
                if error.use_stderr() { args::with_plain_usage().err().unwrap_or(error) } else { error };
            // Help and version are asked for and go to standard output; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let as_json = cli.global.progress == ProgressMode::Json;
    let outcome = logging::start(&cli.global).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Local(format!("start the runtime: {error}")))?;
        let outcome = runtime.block_on(run(cli));
        // Whatever still blocks a thread (a name being looked up) must not hold up the exit.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.code(),
        Err(failure) => {
            report(&failure, as_json, None);
            failure.code()
        }
    }
}

/// Runs the command and says how it went; `--stats` has the last line. An error is one of the set-up, not said yet.
async fn run(cli: Cli) -> Result<Result<(), Failure>, Failure> {
    let began = Instant::now();
    let context = Context::new(&cli.global, &cli.hosts, commands::holder(&cli.command))?;
    let timeout = cli.global.timeout;
    let ends_itself = commands::handles_signals(&cli.command);
    let work = Box::pin(commands::run(cli.command, &context));
    let limited = async {
        match timeout {
            Some(limit) => {
                tokio::time::timeout(limit, work).await.unwrap_or(Err(Failure::TimedOut(limit.as_secs_f64())))
            }
            None => work.await,
        }
    };
    let outcome = tokio::select! {
        outcome = limited => outcome,
        signal = interrupt::signal(), if !ends_itself => Err(Failure::Interrupted(signal?)),
    };
    context.close().await;
    if let Err(failure) = &outcome {
        let as_json = cli.global.progress == ProgressMode::Json;
        report(failure, as_json, context.store().as_deref());
        for (layout, partials) in context.left_behind().await {
            context.watch().say(&unfinished::stays(&layout, &partials));
        }
    }
    if cli.global.stats {
        output::note(&stats::line(&context, began.elapsed()).to_string());
    }
    Ok(outcome)
}

/// The last line of a run that failed.
fn report(failure: &Failure, as_json: bool, store: Option<&Path>) {
    if matches!(failure, Failure::ClosedPipe) {
        return;
    }
    let hint = failure.hint(store);
    if as_json {
        output::note(&json!({"type": "error", "message": failure.to_string(), "hint": hint}).to_string());
        return;
    }
    output::note(&format!("lazyblob: {failure}"));
    if let Some(hint) = hint {
        output::note(&format!("  {hint}"));
    }
}
