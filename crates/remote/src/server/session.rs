//! Upload sessions: one owner at a time, and what came stays when a connection breaks.
//!
//! A connection that broke on the client's side may look alive on ours. A client that comes again waits a little for
//! the request before it, and then takes the session over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backend::Ingest;
use super::sync::lock;

/// How long a request waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// All open sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    idle: Duration,
}

/// One session. The ingest is in its place unless a [`Turn`] has it.
#[derive(Debug)]
struct Session {
    repository: String,
    turns: Arc<Semaphore>,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    ingest: Option<Box<dyn Ingest>>,
    touched: Instant,
    /// Bytes taken in when the last turn began.
    position: u64,
    /// Ends the turn under way.
    stop: CancellationToken,
}

/// The right to change a session. Others wait for their turn; dropping it, even in the middle, gives the ingest back.
#[derive(Debug)]
pub(crate) struct Turn {
    session: Arc<Session>,
    ingest: Option<Box<dyn Ingest>>,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Sessions {
    pub(crate) fn new(idle: Duration) -> Self {
        Self { open: Mutex::default(), idle }
    }

    /// Opens a session and returns its id. Sessions nobody came back to are forgotten on the way.
    pub(crate) async fn open(&self, repository: &str, ingest: Box<dyn Ingest>) -> String {
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let now = Instant::now();
        let session = Session {
            repository: repository.to_owned(),
            turns: Arc::new(Semaphore::new(1)),
            place: Mutex::new(Place {
                ingest: Some(ingest),
                touched: now,
                position: 0,
                stop: CancellationToken::new(),
            }),
        };
        let stale: Vec<_> = {
            let mut open = lock(&self.open);
            let stale = open.extract_if(|_, session| {
                let place = lock(&session.place);
                place.ingest.is_some() && now.duration_since(place.touched) > self.idle
            });
            let stale = stale.map(|(_, session)| session).collect();
            open.insert(id.clone(), Arc::new(session));
            stale
        };
        discard(stale).await;
        id
    }

    /// Waits for a turn at a session and in the end takes it; nothing where the repository has none of that id (any
    /// more).
    pub(crate) async fn turn(&self, repository: &str, id: &str) -> Option<Turn> {
        let session = self.find(repository, id)?;
        let turn = Arc::clone(&session.turns).acquire_owned();
        let permit = match tokio::time::timeout(PATIENCE, turn).await {
            Ok(permit) => permit,
            Err(_) => {
                lock(&session.place).stop.cancel();
                Arc::clone(&session.turns).acquire_owned().await
            }
        };
        begin(session, permit.ok()?).await
    }

    /// Bytes a session has taken in. Does not take it over: where the request before it goes on, the answer is what it
    /// began with.
    pub(crate) async fn position(&self, repository: &str, id: &str) -> Option<u64> {
        let session = self.find(repository, id)?;
        let turn = Arc::clone(&session.turns).acquire_owned();
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(permit) => Some(begin(session, permit.ok()?).await?.position()),
            Err(_) => Some(lock(&session.place).position),
        }
    }

    fn find(&self, repository: &str, id: &str) -> Option<Arc<Session>> {
        lock(&self.open).get(id).filter(|session| session.repository == repository).cloned()
    }

    /// Ends a session and hands out what it took in.
    pub(crate) fn end(&self, id: &str, mut turn: Turn) -> Option<Box<dyn Ingest>> {
        lock(&self.open).remove(id);
        turn.ingest.take()
    }

    /// Ends all sessions.
    pub(crate) async fn discard_all(&self) {
        let all: Vec<_> = lock(&self.open).drain().map(|(_, session)| session).collect();
        discard(all).await;
    }
}

async fn discard(sessions: Vec<Arc<Session>>) {
    for session in sessions {
        let ingest = lock(&session.place).ingest.take();
        if let Some(ingest) = ingest {
            ingest.discard().await;
        }
    }
}

async fn begin(session: Arc<Session>, permit: OwnedSemaphorePermit) -> Option<Turn> {
    let stop = CancellationToken::new();
    let ingest = {
        let mut place = lock(&session.place);
        place.stop = stop.clone();
        place.ingest.take()?
    };
    let mut turn = Turn { session, ingest: Some(ingest), stop, _permit: permit };
    if let Some(ingest) = turn.ingest() {
        ingest.settle().await;
    }
    lock(&turn.session.place).position = turn.position();
    Some(turn)
}

impl Turn {
    /// Cancelled when somebody else takes the session over.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Bytes taken in so far.
    pub(crate) fn position(&self) -> u64 {
        self.ingest.as_ref().map_or(0, |ingest| ingest.position())
    }

    /// The ingest, there until the turn ends.
    pub(crate) fn ingest(&mut self) -> Option<&mut Box<dyn Ingest>> {
        self.ingest.as_mut()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(ingest) = self.ingest.take() {
            let mut place = lock(&self.session.place);
            place.ingest = Some(ingest);
            place.touched = Instant::now();
        }
    }
}
