//! Lines on a terminal: what is over scrolls up, what is going on changes in place below.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lazyblob::solver::{Event, What};

use super::Show;
use super::steps::{Stage, Step, Steps, part, shown};
use super::tails::Tails;
use crate::cli::progress::ticker::Ticker;

/// How often the lines are drawn anew.
const EVERY: Duration = Duration::from_millis(100);
/// So many lines change in place, and no more: what is shown must fit on the screen.
const LINES: usize = 16;

/// The lines, and what draws them.
pub(super) struct Screen {
    canvas: Arc<Canvas>,
    /// Runs until the end.
    ticker: Option<Ticker>,
    tails: Tails,
}

struct Canvas {
    steps: Mutex<Steps>,
    screen: MultiProgress,
    lines: Mutex<Vec<ProgressBar>>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(100));
        let canvas = Arc::new(Canvas { steps: Mutex::default(), screen, lines: Mutex::default() });
        let drawn = Arc::clone(&canvas);
        let ticker = Some(Ticker::every(EVERY, move || drawn.draw(SystemTime::now())));
        Self { canvas, ticker, tails: Tails::default() }
    }
}

impl Canvas {
    fn draw(&self, now: SystemTime) {
        let frame = frame(&self.steps.lock().unwrap_or_else(PoisonError::into_inner), now);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.len() > frame.len() {
            lines.pop().iter().for_each(|line| self.erase(line));
        }
        for (at, text) in frame.into_iter().enumerate() {
            if at == lines.len() {
                let style = ProgressStyle::with_template("{wide_msg}");
                let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
                lines.push(self.screen.add(ProgressBar::no_length().with_style(style)));
            }
            if lines[at].message() != text {
                lines[at].set_message(text);
            }
        }
    }

    fn erase(&self, line: &ProgressBar) {
        line.finish_and_clear();
        self.screen.remove(line);
    }

    /// A line that stays. A screen that cannot be written to is no reason to stop.
    fn stays(&self, line: &str) {
        let _ = self.screen.println(line);
    }
}

/// What is going on now.
fn frame(steps: &Steps, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    for step in steps.active() {
        lines.push(format!(" => {} {:.1}s", shown(&step.name.name), step.time(now).as_secs_f64()));
        lines.extend(step.parts.iter().map(|each| format!("    {}", part(each))));
        if !step.last.is_empty() && step.stage == Stage::Running {
            lines.push(format!("    # {}", shown(&step.last)));
        }
    }
    let hidden = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if hidden > 0 {
        lines.push(format!("    … {hidden} more"));
    }
    if !lines.is_empty() {
        let (over, all) = steps.count();
        lines.push(format!("[{over}/{all}]"));
    }
    lines
}

/// The line that stays of a vertex that is over.
fn over(step: &Step, event: &Event) -> Option<String> {
    let name = shown(&step.name.name);
    match &event.what {
        What::Cached => Some(format!(" => CACHED {name}")),
        What::Completed => Some(format!(" => {name} {:.1}s", step.time(event.at).as_secs_f64())),
        What::Failed(_) => Some(format!(" => ERROR {name} {:.1}s", step.time(event.at).as_secs_f64())),
        What::Lost(cause) => Some(format!(" => {name}: its result is gone, and is made again: {cause}")),
        What::Warning(warning) => Some(format!(" => {name}: warning: {warning}")),
        _ => None,
    }
}

impl Show for Screen {
    fn event(&mut self, event: &Event) {
        let mut stays = Vec::new();
        let mut number = None;
        {
            let mut steps = self.canvas.steps.lock().unwrap_or_else(PoisonError::into_inner);
            match steps.event(event) {
                Some((step, _)) => {
                    stays.extend(over(step, event));
                    number = Some(step.number);
                }
                None => {
                    if let What::Warning(warning) = &event.what {
                        stays.push(format!("warning: {warning}"));
                    }
                }
            }
        }
        match (&event.what, number) {
            (What::Log(log), Some(number)) => self.tails.keep(number, &log.data),
            (What::Failed(_), Some(number)) => {
                let lines = self.tails.take(number);
                stays.extend(lines.iter().map(|line| format!("    # {}", shown(line))));
            }
            _ => {}
        }
        stays.iter().for_each(|line| self.canvas.stays(line));
    }

    fn end(&mut self) {
        self.clear();
    }
}

impl Screen {
    fn clear(&mut self) {
        // Joined, so nothing is drawn any more.
        self.ticker = None;
        for line in self.canvas.lines.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.canvas.erase(&line);
        }
        let _ = self.canvas.screen.clear();
    }
}

/// An interrupted build leaves no line behind that would have changed.
impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::tests::{event, log, moved};
    use super::*;

    #[test]
    fn a_frame_has_what_is_going_on() {
        let mut steps = Steps::default();
        for each in [
            event("done", 0, What::Started),
            event("done", 1, What::Completed),
            event("image", 0, What::Preparing),
            event("image", 0, moved(1024, false)),
            event("make", 0, What::Started),
            event("make", 10, log("first\nsecond\n")),
        ] {
            steps.event(&each);
        }
        let expected = [
            " => image 2.0s",
            "    sha256:abababababab downloading 1.00 KiB / 2.00 KiB",
            " => make 2.0s",
            "    # second",
            "[1/3]",
        ];
        assert_eq!(frame(&steps, SystemTime::UNIX_EPOCH + Duration::from_secs(2)), expected);
    }

    #[test]
    fn a_frame_fits_on_the_screen() {
        let mut steps = Steps::default();
        for number in 0..100 {
            steps.event(&event(&number.to_string(), 0, What::Started));
        }
        let lines = frame(&steps, SystemTime::UNIX_EPOCH);
        assert_eq!(lines.len(), LINES + 2);
        assert_eq!(lines[LINES], "    … 84 more");
    }
}
