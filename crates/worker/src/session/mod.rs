//! Who asks for a build, and what they brought: credentials, directories, secrets, and what they allow.
//!
//! The solver knows sessions as opaque ids; what they mean is known here alone. Work that several builds share asks at the
//! time of use whose it is *now* ([`Sessions::access`]): a session that has ended takes its credentials with it.

mod entitlement;
mod keychain;
mod progress;
mod routes;
mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lazyblob_remote::{Access, Keychain};
use lazyblob_solver::{LoadCx, SessionGroup, SessionId};

pub use entitlement::Entitlement;
use keychain::OfSessions;
use progress::OfVertex;
pub(crate) use routes::{Routed, Routes};
pub use secret::Secret;

/// Hears of files of local directories.
pub trait LocalReads: Send + Sync + fmt::Debug {
    /// The content of a file is about to be read: it is new, or not what it was. The file is open. Called from a thread that
    /// may block.
    fn reads(&self, path: &Path);
}

/// What a session brings to a build. Everything is optional.
#[derive(Clone, Debug)]
pub struct Session {
    /// Asked for credentials at the time they are used.
    pub keychain: Arc<dyn Keychain>,
    /// Directories by the name that `local://NAME` has.
    pub locals: BTreeMap<String, PathBuf>,
    /// Told of the files of these directories whose content is read.
    pub local_reads: Option<Arc<dyn LocalReads>>,
    /// OCI image layouts by the name of their store (`oci.store`).
    pub layouts: BTreeMap<String, PathBuf>,
    /// Secrets by id. They are never written down, shown, or part of a key.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of SSH agents by id; `default` is that of mounts that name none.
    pub ssh: BTreeMap<String, PathBuf>,
    /// What its builds may do beyond what every build may.
    pub allowed: Vec<Entitlement>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            keychain: Arc::new(lazyblob_remote::keychain::Anonymous),
            locals: BTreeMap::new(),
            local_reads: None,
            layouts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            allowed: Vec::new(),
        }
    }
}

/// The sessions that are open. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub struct Sessions {
    table: Arc<Mutex<Table>>,
    routes: Routes,
}

#[derive(Default)]
struct Table {
    opened: u64,
    /// Random: what is remembered for one session alone must not be found by one of another process.
    nonce: RandomState,
    open: BTreeMap<SessionId, Arc<Session>>,
}

impl Sessions {
    /// Opens a session; it ends when what is returned is dropped.
    pub fn open(&self, session: Session) -> OpenSession {
        let mut table = self.lock();
        table.opened += 1;
        let id =
            SessionId::new(format!("session-{}-{:016x}", table.opened, table.nonce.hash_one(table.opened)));
        table.open.insert(id.clone(), Arc::new(session));
        OpenSession { id, of: self.clone() }
    }

    /// The session of this id, if it is still open.
    #[must_use]
    pub fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.lock().open.get(id).cloned()
    }

    /// The sessions that want a vertex at this moment, in the order in which they came to it.
    pub async fn of(&self, group: &SessionGroup) -> Vec<Arc<Session>> {
        let ids = group.current().await;
        ids.iter().filter_map(|id| self.get(id)).collect()
    }

    /// Access on behalf of whoever wants the vertex of `cx` when credentials are used; what moves is told to that
    /// vertex, or to that of the image whose layer it is.
    #[must_use]
    pub fn access(&self, cx: &LoadCx) -> Access {
        Access::new(Arc::new(OfSessions::new(self.clone(), cx.sessions())))
            .watched_by(Arc::new(OfVertex::new(cx.clone(), self.routes.clone())))
    }

    /// Whose work blobs are.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().open.keys()).finish()
    }
}

/// An open session. Dropping it ends it.
#[derive(Debug)]
#[must_use = "a session ends when this is dropped"]
pub struct OpenSession {
    id: SessionId,
    of: Sessions,
}

impl OpenSession {
    /// What the solver knows it by.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.of.lock().open.remove(&self.id);
    }
}
