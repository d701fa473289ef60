//! Showing a build: its vertices, what moves under each of them, and what its commands write.

mod json;
mod plain;
mod screen;
mod steps;

use std::io::IsTerminal as _;

use futures::StreamExt as _;
use lazyblob::solver::{Event, Status};

use crate::cli::args::ProgressMode;
use crate::cli::output;

/// One way of showing.
trait Show: Send {
    fn event(&mut self, event: &Event);
    /// Nothing comes any more.
    fn end(&mut self) {}
}

/// Shows what a build tells, until it ends.
pub(crate) async fn show(mut status: Status, mode: ProgressMode) {
    let mut show: Box<dyn Show> = match mode {
        ProgressMode::Auto | ProgressMode::Tty if std::io::stderr().is_terminal() => {
            Box::new(screen::Screen::new())
        }
        ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => Box::new(plain::Plain::default()),
        ProgressMode::Json => Box::new(json::Lines::default()),
        ProgressMode::Quiet => Box::new(Quiet),
    };
    while let Some(event) = status.next().await {
        show.event(&event);
    }
    show.end();
}

/// Shows nothing but warnings.
struct Quiet;

impl Show for Quiet {
    fn event(&mut self, event: &Event) {
        if let lazyblob::solver::What::Warning(warning) = &event.what {
            output::note(warning);
        }
    }
}
