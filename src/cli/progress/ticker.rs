//! Something done again and again, until it is no longer wanted.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A thread that does one thing every so often. It is a thread and no task, for what it shows is wanted most when tasks
/// are slow. Dropping it ends and joins it.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Calls `tick` once every `interval`, not at once. Without a thread to be had it is never called.
    pub(super) fn every(interval: Duration, mut tick: impl FnMut() + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                tick();
            }
        };
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(run).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Had it panicked, there would be nothing more to show.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 97: it goes on by itself, and not beyond its end.
    #[test]
    fn it_ticks_until_it_is_dropped() {
        let (sender, ticks) = mpsc::channel();
        let ticker = Ticker::every(Duration::from_millis(1), move || sender.send(()).unwrap());
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
        drop(ticker);
        let rest = ticks.try_iter().count();
        assert_eq!(
            ticks.try_recv(),
            Err(mpsc::TryRecvError::Disconnected),
            "after {rest} more there is no thread"
        );
    }

    #[test]
    fn it_does_not_tick_at_once() {
        let (sender, ticks) = mpsc::channel();
        drop(Ticker::every(Duration::from_secs(3600), move || sender.send(()).unwrap()));
        assert_eq!(ticks.try_recv(), Err(mpsc::TryRecvError::Disconnected), "an hour has not passed");
    }
}
