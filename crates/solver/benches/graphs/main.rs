//! What a vertex costs: graphs of ops that do nothing, cold and cached, with stores in memory.
//!
//! `cargo bench -p lazyblob-solver --features testing --bench graphs [-- PART… SIZE…]` prints tables; the parts are
//! `vertices`, `memory` and `extremes`, and without sizes there are 1 k, 10 k and 100 k vertices. Every worker has a stack
//! of 256 KiB. Times are medians of several rounds.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark talks to who runs it"
)]

mod allocated;
mod extremes;
mod memory;
mod rounds;
mod shapes;
mod vertices;

use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: allocated::Counting = allocated::Counting;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 100_000] } else { sizes };
    let parts: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| word.parse::<usize>().is_err()).collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let shape = |name: &str| parts.iter().all(|part| !is_shape(part)) || parts.contains(&name);
    let part = |name: &str| wanted(name) || parts.iter().all(|part| is_shape(part));
    let runtime = runtime();
    if part("vertices") {
        vertices::table(&runtime, &sizes, shape);
    }
    if part("memory") {
        memory::table(&runtime, &sizes, shape);
    }
    if part("extremes") {
        extremes::table(&runtime, &sizes);
    }
}

fn is_shape(word: &str) -> bool {
    shapes::SHAPES.iter().any(|(name, _)| *name == word)
}

/// Two workers whose stacks a recursion over a long chain would not fit in.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_stack_size(256 << 10).enable_all().build().unwrap()
}
