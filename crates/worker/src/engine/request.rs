//! What is to be built.

use std::sync::Arc;

use lazyblob_solver::CacheSource;

use crate::llb::Definition;
use crate::llb::pb::Platform;
use crate::result::WorkerRef;
use crate::session::OpenSession;

/// What is to be built, and for whom.
pub struct Request<'a> {
    /// The definition.
    pub definition: &'a Definition,
    /// Who asks.
    pub session: &'a OpenSession,
    /// What the result is built for, each in turn: ops that name no platform are of this one. The engine's own if there is
    /// none.
    pub platforms: Vec<Platform>,
    /// Every vertex runs, whatever the cache has.
    pub no_cache: bool,
    /// Caches to look in besides the engine's own.
    pub imports: Vec<Arc<dyn CacheSource<WorkerRef>>>,
    /// Whether it is written down why each vertex that ran was not found in the cache.
    pub explain: bool,
}

impl<'a> Request<'a> {
    /// A build of `definition` for the session, and nothing out of the ordinary.
    #[must_use]
    pub fn new(definition: &'a Definition, session: &'a OpenSession) -> Self {
        Self {
            definition,
            session,
            platforms: Vec::new(),
            no_cache: false,
            imports: Vec::new(),
            explain: false,
        }
    }
}
