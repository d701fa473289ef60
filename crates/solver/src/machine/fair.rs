//! A queue in which jobs take turns.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::JobId;

/// First in, first out within a job; one of each job in turn.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    of_job: BTreeMap<JobId, VecDeque<T>>,
    /// Jobs that have something, in the order of their turns.
    turns: VecDeque<JobId>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { of_job: BTreeMap::new(), turns: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    pub(super) fn push(&mut self, job: JobId, item: T) {
        let queue = self.of_job.entry(job).or_default();
        if queue.is_empty() {
            self.turns.push_back(job);
        }
        queue.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let job = self.turns.pop_front()?;
        let queue = self.of_job.get_mut(&job)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.of_job.remove(&job);
        } else {
            self.turns.push_back(job);
        }
        item
    }

    /// Drops what waits in the turns of a job that has gone.
    pub(super) fn forget(&mut self, job: JobId) {
        if self.of_job.remove(&job).is_some() {
            self.turns.retain(|turn| *turn != job);
        }
    }

    /// Jobs that have something.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.of_job.keys().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_with_little_does_not_wait_for_one_with_much() {
        let mut queue = FairQueue::default();
        (0..100).for_each(|item| queue.push(JobId(1), item));
        queue.push(JobId(2), 1000);
        let first: Vec<_> = std::iter::from_fn(|| queue.pop()).take(4).collect();
        assert_eq!(first, [0, 1000, 1, 2]);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 97);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_job_that_has_gone_has_no_turn() {
        let mut queue = FairQueue::default();
        (0..3).for_each(|item| queue.push(JobId(1), item));
        queue.push(JobId(2), 1000);
        queue.forget(JobId(1));
        queue.forget(JobId(3));
        queue.push(JobId(1), 5);
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [1000, 5]);
    }
}
