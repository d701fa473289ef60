//! Single flight owned by its last waiter, with progress replay.
//!
//! A [`Group`] runs work once per key at a time, however many ask for it, and gives the outcome to all of them. What
//! tells it from a map of shared futures is who owns the work. **The last waiter does, not the first caller**: work
//! ends early only when nobody wants it any more, and the next work of that key begins only after it *has* ended.
//!
//! ```
//! use lazyblob_flightcontrol::{Context, Failure, Group, watcher};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let group: Group<&str, u64, std::io::Error, (&str, u64)> = Group::new();
//! let pull = |context: Context<(&'static str, u64)>| async move {
//!     for position in [0, 512, 1024] {
//!         if context.is_cancelled() {
//!             return Err(Failure::Shared(std::io::ErrorKind::Interrupted.into()));
//!         }
//!         context.emit(("sha256:abc…", position));
//!     }
//!     Ok(1024)
//! };
//!
//! let (sink, watcher) = watcher();
//! let mut last = None;
//! let (one, other, ()) = tokio::join!(
//!     group.run_with_progress("sha256:abc…", pull, sink),
//!     group.run("sha256:abc…", pull), // joins: its closure is not run
//!     watcher.for_each(|(_, position)| last = Some(position)),
//! );
//! assert_eq!((one.unwrap(), other.unwrap(), last), (1024, 1024, Some(1024)));
//!
//! group.close().await; // whatever was cancelled has returned by now
//! # }
//! ```
//!
//! # One key
//!
//! A key that somebody wants has an *owner*, a task of the group. It runs one *generation* after the other and gives
//! the key up when nobody waits. A generation is a run and those *present* in it. Who comes when all of them have left,
//! but their run has not returned yet, *queues* for the next.
//!
//! ```text
//!              run(key) of a free key
//!                       |
//!                       v            run(key): joins those present
//!   next closure   +---------+ <--.  drop: withdraws; others stay
//!     .----------> | RUNNING |    |
//!     |            +---------+ ---'
//!     |             |   |   |
//!     |   Personal  |   |   | the last one present is dropped:
//!     |   others    |   |   | the token is cancelled
//!     '----present--'   |   v
//!                       |  +--------------+ <--.  run(key): queues
//!    value, error,      |  | WINDING DOWN |    |  drop: leaves the queue at once
//!    panic: to all      |  +--------------+ ---'
//!    present            |   |  the work returns (nobody hears of it)
//!                       v   v
//!               the generation is over
//!                |                  |
//!        nobody queues         some queue: they are present now
//!                |                  |
//!                v                  '---> RUNNING, with a new token
//!        the key is free
//!
//!    time ->
//!    A  run ------x dropped
//!    B     run -------x dropped: the last one, cancel
//!    C                  run (queues) ......[ present ]--------> value
//!    D                     run ...x dropped, at once
//!    work    [== generation 1 ==~~ winds down ~~|== generation 2 ==]
//! ```
//!
//! * **All present get the same**: clones of one value, or the same `Arc` of one error. A panic is caught and is an
//!   error for all present.
//! * **Nothing is remembered.** A caller comes either before the end, and is served, or after it, and starts anew. The
//!   key is free before the waiters are told.
//! * **No foreign cancellation.** A cancelled run has nobody present, so nobody is given its outcome.
//! * **No overlap.** The next run of a key, by the same owner or another, begins after the last one's future has
//!   returned and was dropped. Nothing is ever aborted.
//! * **Personal trouble stays personal.** Work that fails with [`Failure::Personal`] fails for its caller alone; the
//!   closure of whoever has waited longest runs next, in the same generation: with its own credentials, and with what
//!   was reported so far still on the board. If a closure's caller leaves, the closure goes on for the others.
//! * **No wait cannot be left**, and no wait is a sleep: no back-off, no retry limit, a queue instead.
//! * **One lock**, over the table of keys, held for a step of a few map operations; never across an await, nor while
//!   work, wakers or values run or are dropped.
//!
//! Progress is in [`Watcher`]; [`CachedGroup`] remembers.
//!
//! # What is not here
//!
//! No deadlines: a caller's deadline is its own, drop the future. No limit on concurrency: that is the work's to take.
//! No task-locals in the work: it runs in the owner's task, only the tracing span is carried over. What work needs of
//! its caller it captures.
#![forbid(unsafe_code)]

mod cached;
mod error;
mod group;
mod leg;
mod owner;
mod progress;
mod table;
mod work;

pub use cached::CachedGroup;
pub use error::{Error, Failure};
pub use group::Group;
pub use progress::{Item, Sink, Watcher, watcher};
pub use work::Context;
