//! What happened, line by line; the end of it is shown if the seed fails.

/// How much of it is shown.
const SHOWN: usize = 400;

/// The trace of a seed.
pub(super) struct Trace {
    seed: u64,
    lines: Vec<String>,
}

impl Trace {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, lines: Vec::new() }
    }

    pub(super) fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.lines.len().saturating_sub(SHOWN);
            println!("{}", self.lines[from..].join("\n"));
            println!("again: LAZYBLOB_SEED={} cargo test -p lazyblob-solver --lib sim", self.seed);
        }
    }
}
