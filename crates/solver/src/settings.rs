//! What an embedder may choose.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a solver works. Durations and counts alone; what it works with are components.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How many ops of a kind run at once; kinds that are not here may run any number. Jobs take turns for a free place. An
    /// op that waits for a build within its own has no place meanwhile ([`OpCx::solve`](crate::OpCx::solve)).
    pub parallelism: BTreeMap<String, usize>,
    /// How many cache maps are asked for at once, over all jobs.
    pub cache_maps: usize,
    /// How long an op may take for each of cache map and exec; `None` for any time. A vertex may say otherwise.
    pub deadline: Option<Duration>,
    /// How long cancelled work may go on before it is given up on and told as an error. It is not aborted.
    pub cancel_grace: Duration,
    /// How long an imported cache may take for each answer before the job goes on without it.
    pub source_deadline: Duration,
    /// How long [`Solver::status`](crate::Solver::status) still replays what a job told after the job was discarded.
    pub status_grace: Duration,
    /// How many bytes of what a vertex writes are kept, for each job that has it, for readers that come late: half of them
    /// its beginning, half its end. Each write counts 128 bytes more than it has; the last one is kept, however large.
    pub log_limit: usize,
    /// Whether the invariants of the state machine are checked after every step. Slow: for tests.
    pub check: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallelism: BTreeMap::new(),
            cache_maps: 256,
            deadline: None,
            cancel_grace: Duration::from_secs(30),
            source_deadline: Duration::from_secs(30),
            status_grace: Duration::from_secs(10),
            log_limit: 2 << 20,
            check: false,
        }
    }
}
