//! Each image resolved once, whoever asks, for as long as somebody keeps the table.

use std::sync::Arc;

use lazyblob_flightcontrol::{CachedGroup, Context, Error as FlightError, Failure};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Access, Manifest};

use super::resolve::{Resolve, Resolved};
use crate::error::{Error, Result, What};
use crate::manager::Manager;

/// Images that were resolved, each once: what a tag stands for does not change as long as this lives, and is asked for
/// once, for however many platforms. Clones are the same. Errors are not remembered. Made for one build, and dropped with
/// it.
#[derive(Clone, Debug, Default)]
pub struct Resolutions(Arc<Flights>);

#[derive(Debug, Default)]
struct Flights {
    /// What names stand for, indexes among it.
    roots: CachedGroup<Named, Manifest, Error>,
    images: CachedGroup<(Named, Platforms), Arc<Resolved>, Error>,
}

/// A name, where it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Named {
    reference: String,
    origin: Origin,
    name: Name,
}

/// Those that do, the best first.
type Platforms = Vec<String>;

impl Resolutions {
    /// The image that `ask` is about: as it was known before, or found out now, together with all who want to know it. What
    /// keeps one asker from it, its credentials, is told to that one alone; then another's are used.
    ///
    /// # Errors
    /// Those of [`Manager::resolve_image`].
    pub async fn resolve(&self, manager: &Manager, ask: Resolve, access: &Access) -> Result<Arc<Resolved>> {
        let named = Named {
            reference: ask.reference.to_string(),
            origin: ask.source.origin(),
            name: ask.name.clone(),
        };
        let platforms = ask.platforms.iter().map(ToString::to_string).collect();
        let what = What::new("resolve", &ask.reference);
        let (this, manager, access, about) = (self.clone(), manager.clone(), access.clone(), what.clone());
        let key = (named.clone(), platforms);
        let work = move |context: Context<()>| async move {
            let resolving = async {
                let root = this.root(named, &manager, &ask).await?;
                Box::pin(manager.resolve_from(root, &ask, &access)).await
            };
            let resolved = context.token().run_until_cancelled(Box::pin(resolving)).await;
            resolved.unwrap_or(Err(Error::Cancelled { what })).map(Arc::new).map_err(failure)
        };
        self.0.images.run(key, work).await.map_err(|error| told(error, about))
    }

    /// What a name stands for, for all platforms alike.
    async fn root(&self, named: Named, manager: &Manager, ask: &Resolve) -> Result<Manifest> {
        let what = What::new("resolve", &ask.reference);
        let (manager, ask, about) = (manager.clone(), ask.clone(), what.clone());
        let work = move |context: Context<()>| async move {
            let found = context.token().run_until_cancelled(manager.root_to_resolve(&ask)).await;
            found.unwrap_or(Err(Error::Cancelled { what })).map_err(failure)
        };
        self.0.roots.run(named, work).await.map_err(|error| told(error, about))
    }
}

fn told(error: FlightError<Error>, about: What) -> Error {
    match error {
        FlightError::Failed(error) => Error::Shared(error),
        FlightError::Personal(error) => error,
        FlightError::Closed | FlightError::Abandoned => Error::Cancelled { what: about },
        panicked => Error::Lost { what: about, reason: panicked.to_string() },
    }
}

/// What another asker may do better is this one's own trouble.
fn failure(error: Error) -> Failure<Error> {
    let is_personal = match error.root() {
        Error::Cancelled { .. } => true,
        Error::Remote(error) => matches!(error.root(), lazyblob_remote::Error::Unauthorized { .. }),
        _ => false,
    };
    if is_personal { Failure::Personal(error) } else { Failure::Shared(error) }
}
