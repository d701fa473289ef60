//! What is unpacked begins to be written to disk while more of it comes.
//!
//! Left alone, the kernel keeps new data in memory until somebody syncs: first the cores are busy and the disk is idle,
//! then the other way round. Only the sync says that data are durable; what is asked for here is a beginning that nobody
//! waits for, and what goes wrong with it is told to who syncs.

use std::num::NonZero;
use std::os::fd::AsFd;

use rustix::fs::{Advice, fadvise};

/// Below this size a file is left to the sync: most files are small, most bytes are in large ones.
const WORTH: u64 = 64 << 10;

/// A large file is begun before it is whole, each time that so much of it has come.
const STRETCH: u64 = 4 << 20;

/// How far a file has been given to the disk.
#[derive(Debug, Default)]
pub(super) struct WriteOut {
    begun: u64,
}

impl WriteOut {
    /// The file has its data up to `offset`, and more will come.
    pub(super) fn reached(&mut self, file: impl AsFd, offset: u64) {
        if offset.saturating_sub(self.begun) >= STRETCH {
            // A page that is not full yet would be written twice.
            self.give(file, offset / WORTH * WORTH);
        }
    }

    /// The file has its data up to `end`, and that is all.
    pub(super) fn whole(&mut self, file: impl AsFd, end: u64) {
        if end >= WORTH {
            self.give(file, end);
        }
    }

    /// "Not needed" has the kernel write what is dirty without waiting for it; what is being written stays in memory.
    fn give(&mut self, file: impl AsFd, end: u64) {
        let Some(length) = NonZero::new(end.saturating_sub(self.begun)) else { return };
        // A file system that takes no advice writes at the sync.
        let _ = fadvise(file, self.begun, Some(length), Advice::DontNeed);
        self.begun = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_large_file_is_given_once_and_none_of_a_small_one() {
        let file = tempfile::tempfile().unwrap();
        let mut small = WriteOut::default();
        small.reached(&file, WORTH - 1);
        small.whole(&file, WORTH - 1);
        assert_eq!(small.begun, 0);

        let mut large = WriteOut::default();
        large.reached(&file, STRETCH - 1);
        assert_eq!(large.begun, 0);
        large.reached(&file, STRETCH + 1);
        assert_eq!(large.begun, STRETCH, "the page that more will come into waits");
        large.reached(&file, STRETCH + 2);
        assert_eq!(large.begun, STRETCH);
        large.whole(&file, STRETCH + 3);
        assert_eq!(large.begun, STRETCH + 3);
    }
}
