//! What every command works with, made of the global options.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lazyblob::cache::Manager;
use lazyblob::cache::image::{StoreSource, StoreTarget};
use lazyblob::remote::archive::{DockerArchive, DockerArchiveTarget, OciArchive, OciArchiveTarget};
use lazyblob::remote::endpoint::{Name, Source, Target};
use lazyblob::remote::hosts::Hosts;
use lazyblob::remote::layout::{IngestSettings, Layout, Partial};
use lazyblob::remote::location::{LocalImage, LocalKind};
use lazyblob::remote::provider::Origin;
use lazyblob::remote::registry::{RegistrySource, RegistryTarget, Repository, Settings};
use lazyblob::remote::transfer::{self, Limits, Retry, Transfers};
use lazyblob::remote::transport::{self, HttpTransport};
use lazyblob::remote::{Access, Location, Reference, Registry, RepositoryName, Scopes, Transport};
use lazyblob::worker::Engine;

use super::args::{Global, HostArgs, ProgressMode};
use super::credentials;
use super::exit::Failure;
use super::offline::Offline;
use super::output::Raw;
use super::progress::{InPassing, Watch};
use super::root::Root;

/// Work that was told to end gets this long before the process does.
const GRACE: Duration = Duration::from_secs(10);

/// A run: its client, its credentials and its display.
#[derive(Debug)]
pub(crate) struct Context {
    registry: Registry,
    access: Access,
    watch: Arc<Watch>,
    json: bool,
    progress: ProgressMode,
    began: SystemTime,
    from_registry: AtomicBool,
    to_registry: AtomicBool,
    holder: &'static str,
    /// Layouts that were opened.
    layouts: Mutex<Vec<Layout>>,
    /// What builds, as long as it is open.
    engine: Mutex<Option<Engine>>,
    root: Root,
}

impl Context {
    /// Sets a run up. Sends nothing and reads no credentials.
    pub(crate) fn new(global: &Global, hosts: &HostArgs, holder: &'static str) -> Result<Self, Failure> {
        let transport: Arc<dyn Transport> = if global.offline {
            Arc::new(Offline)
        } else {
            Arc::new(HttpTransport::new(transport::Settings::default()))
        };
        let mut known = Hosts::builder().no_upstream(hosts.no_upstream);
        for host in &hosts.plain_http {
            known = known.plain_http(host);
        }
        for host in &hosts.tls {
            known = known.tls(host);
        }
        for host in &hosts.insecure_skip_verify {
            known = known.insecure_skip_verify(host);
        }
        for ca in &hosts.ca {
            known = known.ca(ca);
        }
        if let (Some(cert), Some(key)) = (&hosts.cert, &hosts.key) {
            known = known.client_certificate(cert, key);
        }
        for directory in &hosts.hosts_dir {
            known = known.hosts_dir(directory);
        }
        let retry = Retry { tries: global.tries, ..Retry::default() };
        let transfers = transfer::Settings { retry, ..transfer::Settings::default() };
        let registry = Registry::new(transport, known.build(), Settings { transfers, ..Settings::default() });
        let watch = Watch::new(global.progress);
        let access = Access::new(credentials::keychain(hosts)?).watched_by(Arc::clone(&watch) as _);
        let (json, progress, began) = (global.json, global.progress, SystemTime::now());
        let (from_registry, to_registry, layouts, engine) = Default::default();
        let root = Root::new(global, holder);
        Ok(Self {
            registry,
            access,
            watch,
            json,
            progress,
            began,
            from_registry,
            to_registry,
            holder,
            layouts,
            engine,
            root,
        })
    }

    /// The client for all registries.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The ladder of retries.
    pub(crate) fn retry(&self) -> &Retry {
        &self.registry.transfers().settings().retry
    }

    /// On whose behalf the run works.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The display, and its counts.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The engine that blobs move with, at most `concurrency` of them at once.
    pub(crate) fn transfers(&self, concurrency: usize) -> Transfers {
        let transfers = self.registry.transfers();
        transfers.set_limits(Limits::at_once(concurrency));
        transfers.clone()
    }

    /// Whether standard output gets JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// How progress is shown.
    pub(crate) fn progress(&self) -> ProgressMode {
        self.progress
    }

    /// Remembers for `--stats` whether bytes come from and go to registries.
    pub(crate) fn between(&self, from_registry: bool, to_registry: bool) {
        self.from_registry.store(from_registry, Ordering::Relaxed);
        self.to_registry.store(to_registry, Ordering::Relaxed);
    }

    /// What [`Context::between`] was told.
    pub(crate) fn ends(&self) -> (bool, bool) {
        (self.from_registry.load(Ordering::Relaxed), self.to_registry.load(Ordering::Relaxed))
    }

    /// The verbs of a repository.
    pub(crate) fn repository(&self, name: &RepositoryName, scopes: Scopes) -> Result<Repository, Failure> {
        Ok(self.registry.repository(name, scopes, &self.access)?)
    }

    /// The verbs of a repository that is only read.
    pub(crate) fn reading(&self, name: &RepositoryName) -> Result<Repository, Failure> {
        self.repository(name, Scopes::pull(name))
    }

    /// The cache, opened by whoever needs it first. Closed with the run.
    pub(crate) async fn manager(&self) -> Result<&Manager, Failure> {
        self.root.manager(&self.registry, &self.watch).await
    }

    /// Whether there is no cache yet: who only looks makes none, and is told.
    pub(crate) fn has_no_cache(&self) -> Result<bool, Failure> {
        let missing = self.root.missing()?;
        if let Some(path) = &missing {
            self.watch.tell(&format!("there is no cache at {}", path.display()));
        }
        Ok(missing.is_some())
    }

    /// Where the blobs of the cache are, if it was opened.
    pub(crate) fn store(&self) -> Option<PathBuf> {
        self.root.layout().map(|layout| layout.root().to_owned())
    }

    /// On whose behalf blobs come into the cache on their way to somewhere else: they are counted, and shown there.
    pub(crate) fn in_passing(&self) -> Access {
        self.access.clone().watched_by(Arc::new(InPassing::new(&self.watch, self.ends().1)))
    }

    /// `location` as a source; `target` is where it goes, so that one token serves both ends in a registry.
    pub(crate) async fn source(
        &self,
        location: &Location,
        target: Option<&Location>,
    ) -> Result<(Arc<dyn Source>, Name), Failure> {
        let local = match location {
            Location::Registry(reference) => {
                let repository = self.repository(reference.repository(), reading(reference, target))?;
                return Ok((Arc::new(RegistrySource::new(repository)), name_of(reference)));
            }
            Location::Local(local) => local,
            Location::Store(reference) => {
                let source = self.stored(reference, target).await?;
                return Ok((Arc::new(source), Name::Only));
            }
        };
        let path = local.path();
        let source: Arc<dyn Source> = match local.kind() {
            LocalKind::Oci => Arc::new(self.opened(Layout::open(path).await?)),
            LocalKind::OciArchive => Arc::new(OciArchive::open(path).await?),
            LocalKind::DockerArchive => Arc::new(DockerArchive::open(path).await?),
        };
        Ok((source, local.name()))
    }

    /// The image called `reference` in the cache as a source; `target` is where it goes.
    pub(crate) async fn stored(
        &self,
        reference: &Reference,
        target: Option<&Location>,
    ) -> Result<StoreSource, Failure> {
        let towards = match target {
            Some(Location::Registry(reference)) => Some(origin_of(reference.repository())),
            _ => None,
        };
        let (manager, access) = (self.manager().await?, self.in_passing());
        Ok(StoreSource::new(manager, reference, &access, towards.as_ref()).await?)
    }

    /// `location` as a target for what comes from `source`; nothing is created before something is written.
    pub(crate) async fn target(
        &self,
        location: &Location,
        source: &Origin,
    ) -> Result<(Arc<dyn Target>, Name), Failure> {
        match location {
            Location::Registry(reference) => {
                if reference.digest().is_some() && reference.tag().is_some() {
                    let usage = format!("`{reference}`: a target takes a tag or a digest, not both");
                    return Err(Failure::Usage(usage));
                }
                let repository = self.repository(reference.repository(), writing(source, reference))?;
                Ok((Arc::new(RegistryTarget::new(repository)), name_of(reference)))
            }
            Location::Local(local) => Ok((self.open_target(local).await?, target_name(local)?)),
            Location::Store(reference) => {
                if reference.digest().is_some() {
                    let usage = format!("`{location}`: a name in the cache takes a tag and no digest");
                    return Err(Failure::Usage(usage));
                }
                let target = StoreTarget::new(self.manager().await?, reference.repository());
                Ok((Arc::new(target), Name::Tag(reference.identifier())))
            }
        }
    }

    async fn open_target(&self, local: &LocalImage) -> Result<Arc<dyn Target>, Failure> {
        let path = local.path();
        Ok(match local.kind() {
            LocalKind::Oci => {
                let settings = IngestSettings { holder: Some(self.holder), ..IngestSettings::default() };
                let layout = Layout::create_or_open_with(path, settings).await?;
                layout.take_removed().iter().for_each(|removed| self.watch.tell(&removed.to_string()));
                Arc::new(self.opened(layout))
            }
            LocalKind::OciArchive => Arc::new(OciArchiveTarget::create(path).await?),
            LocalKind::DockerArchive => Arc::new(DockerArchiveTarget::create(path).await?),
        })
    }

    fn opened(&self, layout: Layout) -> Layout {
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).push(layout.clone());
        layout
    }

    /// Unfinished blobs of the layouts of this run, each with its layout. Who cannot look has nothing to tell.
    pub(crate) async fn unfinished(&self) -> Vec<(Layout, Vec<Partial>)> {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        layouts.extend(self.root.layout());
        let mut unfinished = Vec::new();
        for layout in layouts {
            let mut partials = layout.ingests().list().await.unwrap_or_default();
            partials.retain(|partial| partial.offset > 0 || partial.in_use);
            if !partials.is_empty() {
                unfinished.push((layout, partials));
            }
        }
        unfinished
    }

    /// Those that this run has brought further, and nobody writes now. Others may be of other images.
    pub(crate) async fn left_behind(&self) -> Vec<(Layout, Vec<Partial>)> {
        let mut unfinished = self.unfinished().await;
        for (_, partials) in &mut unfinished {
            partials.retain(|partial| !partial.in_use && partial.updated >= self.began);
        }
        unfinished.retain(|(_, partials)| !partials.is_empty());
        unfinished
    }

    /// Takes an engine in: a run that is interrupted closes it.
    pub(crate) fn keep(&self, engine: &Engine) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine.clone());
    }

    /// Ends what the engine runs, and waits until nothing is left of it. Nothing where there is none, or it was closed.
    pub(crate) async fn close_engine(&self) -> Result<(), Failure> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(engine) = engine else { return Ok(()) };
        let closed = engine.close().await;
        engine.worker().executor().close().await;
        // Not before: who is interrupted while it closes closes it again.
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(closed?)
    }

    /// Waits for all work to end, but not for ever.
    pub(crate) async fn close(&self) {
        self.watch.close();
        Raw::give_up();
        let all = async {
            if let Err(error) = self.close_engine().await {
                self.watch.say(&error.to_string());
            }
            self.root.close(&self.watch).await;
            self.registry.close().await;
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            self.watch.say("some work has not ended in time");
        }
    }
}

fn target_name(local: &LocalImage) -> Result<Name, Failure> {
    match local.name() {
        Name::Digest(digest) => {
            Err(Failure::Usage(format!("`{local}`: a local target takes a tag and no digest ({digest})")))
        }
        name => Ok(name),
    }
}

/// Where a repository's blobs come from and go to.
pub(crate) fn origin_of(name: &RepositoryName) -> Origin {
    Origin { host: name.host().to_owned(), repository: name.path().to_owned() }
}

/// What a manifest is asked for by: the digest where there is one.
pub(crate) fn name_of(reference: &Reference) -> Name {
    match reference.digest() {
        Some(digest) => Name::Digest(digest.clone()),
        None => Name::Tag(reference.identifier()),
    }
}

/// The rights that reading `source` takes, and with them those for `target` where it is in the same registry.
fn reading(source: &Reference, target: Option<&Location>) -> Scopes {
    match target {
        Some(Location::Registry(target)) if target.repository().host() == source.repository().host() => {
            writing(&origin_of(source.repository()), target)
        }
        _ => Scopes::pull(source.repository()),
    }
}

/// The rights that writing to `target` takes, and with them those to take what is at `source` in the same registry.
fn writing(source: &Origin, target: &Reference) -> Scopes {
    let push = Scopes::push(target.repository());
    if source.host != target.repository().host() {
        return push;
    }
    match RepositoryName::new(&source.host, &source.repository) {
        Ok(source) => Scopes::pull(&source).union(&push),
        Err(_) => push,
    }
}
