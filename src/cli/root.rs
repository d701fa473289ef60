//! The cache of a run: opened by the first who needs it, closed with the run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use lazyblob::cache::layer::Limits;
use lazyblob::cache::metadata::{Engine, Redb, Sled};
use lazyblob::cache::root::RootSettings;
use lazyblob::cache::snapshot::{self, Places, Wanted};
use lazyblob::cache::{self, Components, Manager, manager};
use lazyblob::remote::Registry;
use lazyblob::remote::layout::Layout;
use tokio::sync::OnceCell;

use super::args::{Global, MetadataEngine, SnapshotterKind};
use super::exit::Failure;
use super::progress::Watch;

/// Where root has its cache.
const OF_THE_SYSTEM: &str = "/var/lib/lazyblob";

/// Where a run's cache is, and the cache once it is open.
#[derive(Debug)]
pub(crate) struct Root {
    asked: Option<PathBuf>,
    engine: MetadataEngine,
    snapshotter: SnapshotterKind,
    limits: Limits,
    holder: &'static str,
    manager: OnceCell<Manager>,
}

impl Root {
    /// The root that the global options name. `holder` is what other processes are told that this one is.
    pub(crate) fn new(global: &Global, holder: &'static str) -> Self {
        Self {
            asked: global.root.clone(),
            engine: global.metadata,
            snapshotter: global.snapshotter,
            limits: global.max_layer_size.map_or_else(Limits::default, Limits::up_to),
            holder,
            manager: OnceCell::new(),
        }
    }

    /// The cache in it; what it has to say of what it found is said to `watch`.
    pub(super) async fn manager(&self, registry: &Registry, watch: &Watch) -> Result<&Manager, Failure> {
        self.manager.get_or_try_init(|| self.open(registry, watch)).await
    }

    /// Where the cache is to be, if there is nothing yet.
    pub(super) fn missing(&self) -> Result<Option<PathBuf>, Failure> {
        let path = self.path()?;
        let looked = std::fs::symlink_metadata(&path);
        Ok(looked.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound).then_some(path))
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        match &self.asked {
            Some(path) => Ok(path.clone()),
            None => default(),
        }
    }

    async fn open(&self, registry: &Registry, watch: &Watch) -> Result<Manager, Failure> {
        let path = self.path()?;
        let settings = RootSettings { holder: Some(self.holder), ..RootSettings::default() };
        let root = cache::Root::open(path, settings).await?;
        root.removed().iter().for_each(|removed| watch.tell(&removed.to_string()));
        let (places, wanted) = (Places::below(root.path()), self.wanted());
        let snapshots = tokio::task::spawn_blocking(move || snapshot::open(places, wanted))
            .await
            .map_err(|error| Failure::Local(format!("open snapshots: {error}")))??;
        let components = Components {
            transfers: registry.transfers().clone(),
            remotes: Arc::new(registry.clone()),
            engine: self.engine(),
            snapshots,
        };
        let settings = manager::Settings { limits: self.limits, ..manager::Settings::default() };
        let opened = Manager::open(root, components, settings).await?;
        tell(&opened, watch);
        Ok(opened)
    }

    fn engine(&self) -> Arc<dyn Engine> {
        match self.engine {
            MetadataEngine::Sled => Arc::new(Sled),
            MetadataEngine::Redb => Arc::new(Redb),
        }
    }

    fn wanted(&self) -> Wanted {
        match self.snapshotter {
            SnapshotterKind::Auto => Wanted::Auto,
            SnapshotterKind::Overlay => Wanted::Overlay,
            SnapshotterKind::Plain => Wanted::Plain,
        }
    }

    /// Where its blobs are, once it is open.
    pub(super) fn layout(&self) -> Option<Layout> {
        self.manager.get().map(|manager| manager.store().layout().clone())
    }

    /// Ends what is under way in the cache and lets its database go. Nothing where it was never opened.
    pub(super) async fn close(&self, watch: &Watch) {
        let Some(manager) = self.manager.get() else { return };
        if let Err(error) = manager.close().await {
            // All that was asked for is durable already.
            watch.say(&format!("when refs were used last could not be written down: {error}"));
        }
        tell(manager, watch);
    }
}

/// Says what the database has to say.
fn tell(manager: &Manager, watch: &Watch) {
    manager.database().take_notices().iter().for_each(|notice| watch.say(notice));
}

/// Where the cache is if nobody says.
fn default() -> Result<PathBuf, Failure> {
    let is_root = rustix::process::geteuid().is_root();
    usual(is_root, std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME")).ok_or_else(|| {
        let usage = "there is no home directory to have a cache in: --root DIR, or $LAZYBLOB_ROOT";
        Failure::Usage(usage.to_owned())
    })
}

/// XDG Base Directory Specification: a relative path counts as none.
fn usual(is_root: bool, data: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from(OF_THE_SYSTEM));
    }
    let absolute = |text: Option<OsString>| text.map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute(data).or_else(|| absolute(home).map(|home| home.join(".local/share")));
    data.map(|data| data.join("lazyblob"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_data_is_kept() {
        let at = |is_root, data: &str, home: &str| {
            let path = usual(is_root, Some(data.into()), Some(home.into()));
            path.map(|path| path.display().to_string()).unwrap_or_default()
        };
        assert_eq!(at(true, "/data", "/home/mary"), "/var/lib/lazyblob");
        assert_eq!(at(false, "/data", "/home/mary"), "/data/lazyblob");
        assert_eq!(at(false, "", "/home/mary"), "/home/mary/.local/share/lazyblob");
        assert_eq!(at(false, "data", "/home/mary"), "/home/mary/.local/share/lazyblob");
        assert_eq!((at(false, "", "mary"), usual(false, None, None)), (String::new(), None));
    }
}
