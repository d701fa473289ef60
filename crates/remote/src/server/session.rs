//! Upload sessions: one owner at a time, and what came stays when a connection breaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::backend::Ingest;
use super::sync::lock;

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
}

/// The right to change a session. Others wait for their turn; dropping it, even in the middle, gives the ingest back.
#[derive(Debug)]
pub(crate) struct Turn {
    session: Arc<Session>,
    ingest: Option<Box<dyn Ingest>>,
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
            place: Mutex::new(Place { ingest: Some(ingest), touched: now }),
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

    /// Waits for a turn at a session; nothing where the repository has none of that id (any more).
    pub(crate) async fn turn(&self, repository: &str, id: &str) -> Option<Turn> {
        let session = lock(&self.open).get(id).filter(|session| session.repository == repository).cloned()?;
        let permit = Arc::clone(&session.turns).acquire_owned().await.ok()?;
        let ingest = lock(&session.place).ingest.take()?;
        Some(Turn { session, ingest: Some(ingest), _permit: permit })
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

impl Turn {
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
            *lock(&self.session.place) = Place { ingest: Some(ingest), touched: Instant::now() };
        }
    }
}
