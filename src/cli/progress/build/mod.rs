//! Showing a build: its vertices, what moves under each of them, and what its commands write.

mod json;
mod plain;
mod screen;
mod steps;

use std::io::IsTerminal as _;

use futures::StreamExt as _;
use lazyblob::remote::progress::State;
use lazyblob::solver::{Event, Status, What};

use crate::cli::args::ProgressMode;
use crate::cli::output;
use crate::cli::progress::Watch;

/// One way of showing.
trait Show: Send {
    fn event(&mut self, event: &Event);
    /// Nothing comes any more.
    fn end(&mut self) {}
}

/// Shows what a build tells, until it ends.
pub(crate) async fn show(mut status: Status, mode: ProgressMode, watch: &Watch) {
    let mut show: Box<dyn Show> = match mode {
        ProgressMode::Auto | ProgressMode::Tty if std::io::stderr().is_terminal() => {
            Box::new(screen::Screen::new())
        }
        ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => Box::new(plain::Plain::default()),
        ProgressMode::Json => Box::new(json::Lines::default()),
        ProgressMode::Quiet => Box::new(Quiet),
    };
    while let Some(event) = status.next().await {
        if is_fetched(&event) {
            watch.fetched();
        }
        show.event(&event);
    }
    show.end();
}

/// Whether a blob has come in.
fn is_fetched(event: &Event) -> bool {
    matches!(&event.what, What::Progress(part) if part.done && *part.action == *State::Done.word())
}

/// Shows nothing but warnings.
struct Quiet;

impl Show for Quiet {
    fn event(&mut self, event: &Event) {
        if let What::Warning(warning) = &event.what {
            output::note(warning);
        }
    }
}
