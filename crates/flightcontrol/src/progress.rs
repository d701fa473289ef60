//! Progress of a run: the last state of each thing for whoever comes late, then live.
//!
//! One board per generation holds the last state per id, ordered by when it changed. A watcher owns nothing but its
//! place in that order, so a slow one costs nobody anything: what it has not read yet is overwritten by what is newer,
//! and memory is bounded by the number of ids, not by the number of events or watchers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// One piece of progress: the state of the thing that [`Item::id`] names. Cloned once per watcher; keep it small.
///
/// Pairs `(id, state)` are items; `()` is the item of a group whose work reports nothing.
pub trait Item: Clone + Send + Sync + 'static {
    /// What the state is of: a blob's digest, a vertex.
    type Id: Eq + Hash + Send + Sync + 'static;

    /// Names the thing. A later item with the same id replaces an earlier one.
    fn id(&self) -> Self::Id;
}

impl Item for () {
    type Id = ();

    fn id(&self) {}
}

impl<I, S> Item for (I, S)
where
    I: Clone + Eq + Hash + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    type Id = I;

    fn id(&self) -> I {
        self.0.clone()
    }
}

/// The last item per id, by the moment it came.
struct Board<P: Item> {
    items: BTreeMap<u64, P>,
    moments: HashMap<P::Id, u64>,
    now: u64,
}

impl<P: Item> Board<P> {
    fn new() -> Self {
        Self { items: BTreeMap::new(), moments: HashMap::new(), now: 0 }
    }

    /// Puts an item up and returns the one it replaces.
    fn put(&mut self, item: P) -> Option<P> {
        self.now += 1;
        let before = self.moments.insert(item.id(), self.now);
        self.items.insert(self.now, item);
        before.and_then(|moment| self.items.remove(&moment))
    }

    fn after(&self, moment: u64) -> Option<(u64, P)> {
        self.items.range(moment + 1..).next().map(|(moment, item)| (*moment, item.clone()))
    }
}

/// The writing side of a generation's progress. Its end is the end of every feed taken from it.
pub(crate) struct Broadcast<P: Item>(Arc<watch::Sender<Board<P>>>);

impl<P: Item> Broadcast<P> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Board::new())))
    }

    pub(crate) fn emitter(&self) -> Emitter<P> {
        Emitter(Arc::downgrade(&self.0))
    }

    pub(crate) fn feed(&self) -> Feed<P> {
        Feed { board: self.0.subscribe(), seen: 0 }
    }
}

/// What the work emits through. Weak: work that leaks its context cannot keep watchers waiting after the end.
pub(crate) struct Emitter<P: Item>(Weak<watch::Sender<Board<P>>>);

impl<P: Item> Clone for Emitter<P> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<P: Item> Emitter<P> {
    pub(crate) fn emit(&self, item: P) {
        let Some(board) = self.0.upgrade() else { return };
        let mut replaced = None;
        board.send_modify(|board| replaced = board.put(item));
        // Dropped here, not under the board's lock.
        drop(replaced);
    }
}

/// A watcher's place on the board of one generation.
pub(crate) struct Feed<P: Item> {
    board: watch::Receiver<Board<P>>,
    seen: u64,
}

impl<P: Item> Feed<P> {
    /// Loses nothing when dropped half-way: the place moves only as an item is returned.
    async fn next(&mut self) -> Option<P> {
        loop {
            let found = self.board.borrow_and_update().after(self.seen);
            if let Some((moment, item)) = found {
                self.seen = moment;
                return Some(item);
            }
            self.board.changed().await.ok()?;
        }
    }
}

/// Makes a pair: the [`Sink`] goes into [`Group::run_with_progress`](crate::Group::run_with_progress), the [`Watcher`]
/// is read by whoever shows the progress.
#[must_use]
pub fn watcher<P: Item>() -> (Sink<P>, Watcher<P>) {
    let (attach, attached) = oneshot::channel();
    let left = CancellationToken::new();
    let presence = Presence(left.clone().drop_guard());
    (Sink { attach: Attach(attach), presence }, Watcher { stage: Stage::Waiting(attached), left })
}

/// The end of a pair that a caller brings into its run.
pub struct Sink<P: Item> {
    attach: Attach<P>,
    presence: Presence,
}

impl<P: Item> Sink<P> {
    pub(crate) fn split(self) -> (Attach<P>, Presence) {
        (self.attach, self.presence)
    }
}

impl<P: Item> fmt::Debug for Sink<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

/// Brings the watcher to the board of its generation, once that generation begins.
pub(crate) struct Attach<P: Item>(oneshot::Sender<Feed<P>>);

impl<P: Item> Attach<P> {
    pub(crate) fn to(self, feed: Feed<P>) {
        // The watcher may be gone; then nobody watches.
        let _ = self.0.send(feed);
    }
}

/// Dropped, it ends the watcher at once: the caller has left.
pub(crate) struct Presence(DropGuard);

impl Presence {
    /// The caller stayed to the end: its watcher may read what is left.
    pub(crate) fn stayed(self) {
        self.0.disarm();
    }
}

/// Reads the progress of one caller's run.
///
/// First comes the last state of each id that was reported before the caller joined, in the order of those reports,
/// each once; then what is reported live. A watcher that reads slowly misses intermediate states but never the last
/// state of an id, and slows nobody.
///
/// It may be read in the caller's own task, next to the run, or in another one.
pub struct Watcher<P: Item> {
    stage: Stage<P>,
    left: CancellationToken,
}

enum Stage<P: Item> {
    /// The generation has not begun.
    Waiting(oneshot::Receiver<Feed<P>>),
    Reading(Feed<P>),
    Ended,
}

impl<P: Item> Stage<P> {
    async fn next(&mut self) -> Option<P> {
        loop {
            match self {
                Self::Waiting(attached) => {
                    let feed = attached.await.ok()?;
                    *self = Self::Reading(feed);
                }
                Self::Reading(feed) => return feed.next().await,
                Self::Ended => return None,
            }
        }
    }
}

impl<P: Item> Watcher<P> {
    /// Waits for the next state. `None`, and `None` ever after, once the run has ended and all last states were read;
    /// or at once when the caller has left: its run was dropped, refused, or ended with an error of its own.
    ///
    /// Safe to drop half-way: no state is lost.
    pub async fn next(&mut self) -> Option<P> {
        let item = tokio::select! {
            biased;
            () = self.left.cancelled() => None,
            item = self.stage.next() => item,
        };
        if item.is_none() {
            self.stage = Stage::Ended;
        }
        item
    }

    /// Calls `show` with every state until the end; what to put next to the run in a `join!`.
    pub async fn for_each(mut self, mut show: impl FnMut(P)) {
        while let Some(item) = self.next().await {
            show(item);
        }
    }
}

impl<P: Item> fmt::Debug for Watcher<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
