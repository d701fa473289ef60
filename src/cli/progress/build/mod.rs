//! Showing a build: its vertices, what moves under each of them, and what its commands write.

mod json;
mod plain;
mod screen;
mod steps;
mod tails;

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
        ProgressMode::Quiet => Box::new(Quiet::default()),
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

/// Shows nothing but warnings, and the last words of commands that fail.
#[derive(Default)]
struct Quiet {
    steps: steps::Steps,
    tails: tails::Tails,
}

impl Show for Quiet {
    fn event(&mut self, event: &Event) {
        if let What::Warning(warning) = &event.what {
            output::note(warning);
        }
        let Some((step, _)) = self.steps.event(event) else { return };
        let number = step.number;
        match &event.what {
            What::Log(log) => self.tails.keep(number, &log.data),
            What::Failed(_) => self.tails.take(number).iter().for_each(|line| output::note(line)),
            What::Completed => drop(self.tails.take(number)),
            _ => {}
        }
    }
}
