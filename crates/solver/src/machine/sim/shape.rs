//! What a seed is like: how large, how alike, how much goes wrong.

use fastrand::Rng;

/// Chances, from 0 to 1, and counts.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) vertices: usize,
    pub(super) classes: usize,
    /// How many machines come one after the other over the same cache.
    pub(super) lives: usize,
    pub(super) jobs: usize,
    /// How often jobs do something before the last has gone.
    pub(super) moves: usize,
    pub(super) limited: bool,
    // What definitions are like.
    pub(super) twins: f64,
    pub(super) sources: f64,
    pub(super) maps: f64,
    pub(super) outputs: f64,
    pub(super) by_content: f64,
    pub(super) parts: f64,
    pub(super) prepared: f64,
    pub(super) ignoring: f64,
    pub(super) subs: f64,
    /// How often a job brings a cache.
    pub(super) imports: f64,
    // What goes wrong, each time it may.
    pub(super) fails: f64,
    pub(super) losses: f64,
    pub(super) gone: f64,
    pub(super) unloadable: f64,
    pub(super) deaf_imports: f64,
    pub(super) broken_store: f64,
    /// How likely a job gives up rather than waits.
    pub(super) hasty: f64,
}

impl Shape {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut some = |most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let mut shape = Self {
            vertices: 0,
            classes: 0,
            lives: 0,
            jobs: 0,
            moves: 0,
            limited: false,
            twins: some(0.7),
            sources: some(0.4),
            maps: some(0.8),
            outputs: some(0.8),
            by_content: some(1.0),
            parts: some(0.6),
            prepared: some(0.6),
            ignoring: some(0.4),
            subs: some(0.3),
            imports: some(0.8),
            fails: some(0.1),
            losses: some(0.3),
            gone: some(0.3),
            unloadable: some(0.3),
            deaf_imports: some(0.2),
            broken_store: some(0.03),
            hasty: some(0.5),
        };
        let most = if rng.u8(..8) == 0 { 40 } else { 12 };
        shape.vertices = rng.usize(2..most);
        shape.classes = rng.usize(1..=6);
        shape.lives = rng.usize(2..=3);
        shape.jobs = rng.usize(1..=4);
        shape.moves = rng.usize(2..20);
        shape.limited = rng.bool();
        // Every third seed nothing goes wrong at all, so that nothing excuses a mistake.
        match rng.u8(..6) {
            0 => shape.calm().definitions_only(),
            1 => shape.calm(),
            2 => shape.of_many_outputs(rng),
            _ => shape,
        }
    }

    /// Few vertices with many outputs that are often lost.
    fn of_many_outputs(mut self, rng: &mut Rng) -> Self {
        (self.vertices, self.classes, self.moves) = (rng.usize(2..7), rng.usize(1..=3), 60);
        (self.outputs, self.losses, self.twins) = (1.0, 0.3 + rng.f64() * 0.5, rng.f64() * 0.7);
        self
    }

    /// The same with nothing going wrong.
    pub(super) fn calm(mut self) -> Self {
        (self.fails, self.losses, self.gone, self.unloadable) = (0.0, 0.0, 0.0, 0.0);
        (self.deaf_imports, self.broken_store, self.hasty, self.ignoring) = (0.0, 0.0, 0.0, 0.0);
        self
    }

    /// Everything follows from definitions.
    fn definitions_only(mut self) -> Self {
        (self.by_content, self.imports, self.subs) = (0.0, 0.0, 0.0);
        self
    }

    /// Whether no job is ever disappointed.
    pub(super) fn is_calm(&self) -> bool {
        self.fails
            + self.losses
            + self.gone
            + self.unloadable
            + self.broken_store
            + self.hasty
            + self.ignoring
            == 0.0
    }
}
