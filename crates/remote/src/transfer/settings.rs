//! Values that steer transfers.

use std::time::Duration;

use super::limits::Limits;
use super::pace::Pace;
use super::retry::Retry;

/// How transfers go. Every duration of the engine is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The ladder of retries, of requests and of blobs.
    pub retry: Retry,
    /// How much may be under way at once.
    pub limits: Limits,
    /// What a source must bring, so as not to be given up.
    pub pace: Pace,
    /// Positions are told once in this time; the first and the last always are.
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            limits: Limits::default(),
            pace: Pace::default(),
            interval: Duration::from_millis(100),
        }
    }
}
