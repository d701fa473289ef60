//! The states of a blob, and their order.

use std::fmt;

use super::retrying;

/// The state a blob is in, in the words of the peers' own displays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Queued behind others. A blob that gets its slot at once is never in this state.
    Waiting,
    /// Bytes come in, to stay here.
    Downloading,
    /// Bytes go to a registry, straight from where they are.
    Uploading,
    /// Something went wrong; it is tried again after this many seconds.
    Retrying {
        /// Seconds left, rounded up; 0 where it starts over at once.
        seconds: u64,
    },
    /// All bytes are there and are checked against the digest.
    Verifying,
    /// The blob is whole, verified and durable; it is still to be unpacked.
    Complete,
    /// The blob is being unpacked.
    Extracting,
    /// The target had it; no byte moved.
    Present,
    /// The target took it from another of its repositories; no byte moved.
    Mounted,
    /// All that was to happen to it has happened.
    Done,
    /// It ended without success; the error is the caller's.
    Failed,
}

impl State {
    /// The word for the state alone, the same in every display.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Downloading => "downloading",
            Self::Uploading => "uploading",
            Self::Retrying { .. } => "retrying",
            Self::Verifying => "verifying",
            Self::Complete => "complete",
            Self::Extracting => "extracting",
            Self::Present => "present",
            Self::Mounted => "mounted",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing may come after it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Present | Self::Mounted | Self::Done | Self::Failed)
    }

    /// Whether bytes move in it, so that there are positions to tell.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Downloading | Self::Uploading)
    }

    /// Whether a blob whose state was `before`, none at first, may enter this one.
    ///
    /// ```text
    /// [waiting] -> downloading | uploading -> verifying -> [complete -> [extracting]] -> done
    ///     ^              |    ^                  |  |
    ///     |              v    '--- it was wrong -'  |
    ///     '----------- retrying <-------------------'
    /// ```
    ///
    /// An upload may be done without a state for its verification: it is verified on its way. What is present or
    /// mounted has moved no byte, so it comes of no state but waiting; anything may fail; nothing follows an end.
    /// A countdown may be told second by second.
    #[must_use]
    pub fn may_follow(self, before: Option<Self>) -> bool {
        use State::{Complete, Downloading, Extracting, Retrying, Uploading, Verifying, Waiting};
        let Some(before) = before else {
            return matches!(self, Waiting | Self::Present | Self::Mounted | Self::Failed)
                || self.is_moving();
        };
        if before.is_final() {
            return false;
        }
        match self {
            Waiting => matches!(before, Retrying { .. }),
            Downloading | Uploading => matches!(before, Waiting | Retrying { .. } | Verifying),
            Retrying { seconds } => match before {
                Retrying { seconds: before } => seconds < before,
                Downloading | Uploading | Verifying => true,
                _ => false,
            },
            Verifying => before.is_moving(),
            Complete => before == Verifying,
            Extracting => before == Complete,
            Self::Present | Self::Mounted => before == Waiting,
            Self::Done => matches!(before, Uploading | Verifying | Complete | Extracting),
            Self::Failed => true,
        }
    }
}

/// The word, and for a retry when it will be.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrying { seconds } => f.pad(&retrying(*seconds)),
            _ => f.pad(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 11] = [
        State::Waiting,
        State::Downloading,
        State::Uploading,
        State::Retrying { seconds: 3 },
        State::Verifying,
        State::Complete,
        State::Extracting,
        State::Present,
        State::Mounted,
        State::Done,
        State::Failed,
    ];

    /// Row 90: the legal order, for every pair of states there is.
    #[test]
    fn every_pair_is_legal_or_not() {
        let table = [
            ("", "waiting downloading uploading present mounted failed"),
            ("waiting", "downloading uploading present mounted failed"),
            ("downloading", "retrying verifying failed"),
            ("uploading", "retrying verifying done failed"),
            ("retrying", "waiting downloading uploading failed"),
            ("verifying", "downloading uploading retrying complete done failed"),
            ("complete", "extracting done failed"),
            ("extracting", "done failed"),
            ("present", ""),
            ("mounted", ""),
            ("done", ""),
            ("failed", ""),
        ];
        assert_eq!(table.len(), ALL.len() + 1);
        for (before, legal) in table {
            let state = ALL.into_iter().find(|state| state.word() == before);
            assert_eq!(state.is_none(), before.is_empty(), "{before}");
            for after in ALL {
                let expected = legal.split(' ').any(|word| word == after.word());
                assert_eq!(after.may_follow(state), expected, "{before} -> {}", after.word());
            }
        }
    }

    /// Row 90: a countdown only goes down.
    #[test]
    fn a_countdown_goes_down() {
        let (three, two) = (State::Retrying { seconds: 3 }, State::Retrying { seconds: 2 });
        assert!(two.may_follow(Some(three)));
        assert!(!three.may_follow(Some(two)) && !two.may_follow(Some(two)));
    }

    /// Row 90: the words are the peers'; only a retry has more to say.
    #[test]
    fn a_state_is_its_word() {
        for state in ALL {
            let said = state.to_string();
            let retries = matches!(state, State::Retrying { .. });
            assert_eq!(said == state.word(), !retries, "{said}");
        }
        assert_eq!(ALL[3].to_string(), "retrying in 3 seconds");
        assert_eq!(format!("{:9}|", State::Done), "done     |");
    }
}
