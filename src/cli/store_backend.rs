//! The cache behind the distribution API. Names and manifests are the store's; a blob that is not here is unknown, or
//! fetched with the credentials of whoever serves, if that was allowed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use lazyblob::cache::image::StoreSource;
use lazyblob::cache::{self, Manager};
use lazyblob::remote::body::ByteStream;
use lazyblob::remote::endpoint::{Name, Source};
use lazyblob::remote::server::{Applied, Backend, Change, Ingest, Named};
use lazyblob::remote::{Access, Descriptor, Digest, Error, Reference, Result, What};

/// Bytes read at a time.
const PIECE: u64 = 512 * 1024;

/// The cache, to be read.
#[derive(Debug)]
pub(crate) struct StoreBackend {
    manager: Manager,
    /// With which what is not here is fetched; nothing where it is not.
    upstream: Option<Access>,
    /// What the images name, and one image that names it.
    known: Mutex<HashMap<Digest, (Descriptor, Reference)>>,
}

impl StoreBackend {
    /// The cache of `manager`; `upstream` fetches what is not in it.
    pub(crate) fn new(manager: &Manager, upstream: Option<Access>) -> Self {
        Self { manager: manager.clone(), upstream, known: Mutex::default() }
    }

    fn known(&self, digest: &Digest) -> Option<(Descriptor, Reference)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Remembers the manifest of an image, those below it that are here, and their blobs.
    async fn learn(&self, root: &Descriptor, reference: &Reference) {
        let mut waiting = vec![root.clone()];
        let mut seen: HashSet<Digest> = HashSet::new();
        while let Some(descriptor) = waiting.pop() {
            if !seen.insert(descriptor.digest().clone()) {
                continue;
            }
            let name = Name::Digest(descriptor.digest().clone());
            // One that is not here, or is damaged, is not served.
            let Ok(manifest) = Source::manifest(self.manager.store().layout(), &name).await else { continue };
            waiting.extend(manifest.child_manifests().into_iter().cloned());
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for each in manifest.child_blobs().into_iter().chain([manifest.descriptor()]) {
                known.insert(each.digest().clone(), (each.clone(), reference.clone()));
            }
        }
    }
}

#[async_trait]
impl Backend for StoreBackend {
    /// Each image as `HOST/REPO`, and as `REPO` where that is said of one host alone.
    async fn names(&self) -> Result<Vec<Named>> {
        let stored = self.manager.names().await.map_err(outwards)?;
        let mut hosts: HashMap<String, HashSet<String>> = HashMap::new();
        for named in &stored {
            let repository = named.reference.repository();
            hosts.entry(repository.path().to_owned()).or_default().insert(repository.host().to_owned());
        }
        let mut names = Vec::new();
        for named in stored {
            self.learn(&named.root, &named.reference).await;
            let repository = named.reference.repository();
            let mut repositories = vec![full(repository.host(), repository.path())];
            if hosts.get(repository.path()).is_some_and(|hosts| hosts.len() == 1) {
                repositories.push(repository.path().to_owned());
            }
            for repository in repositories {
                names.push(Named {
                    repository,
                    tag: named.reference.tag().map(str::to_owned),
                    manifest: named.root.clone(),
                    absent: Vec::new(),
                });
            }
        }
        Ok(names)
    }

    async fn change(&self, repository: &str, _: Change, _: Applied) -> Result<()> {
        Err(read_only(repository))
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let Some((blob, _)) = self.known(digest) else { return Ok(None) };
        let served = self.upstream.is_some() || self.manager.store().holds(&blob).await.map_err(outwards)?;
        Ok(served.then(|| blob.size()))
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<ByteStream> {
        let unknown = || Error::not_found("read blob", digest, "no image in the cache names it");
        let (blob, reference) = self.known(digest).ok_or_else(unknown)?;
        if let Some(access) = &self.upstream
            && !self.manager.store().holds(&blob).await.map_err(outwards)?
        {
            let source = StoreSource::new(&self.manager, &reference, access, None).await?;
            if let Some(held) = source.bring(&blob).await? {
                // It may be pruned at once, and what is held is not.
                return Ok(cut(held.open(&blob, range.clone()).await?, range));
            }
        }
        let (store, opened) = (self.manager.store().clone(), blob);
        let start = range.start;
        let file = blocking(digest.clone(), move || {
            let mut file = store.open_file(&opened).map_err(outwards)?;
            let path = || store.path(opened.digest()).unwrap_or_default();
            let sought = file.seek(SeekFrom::Start(start));
            sought.map_err(|error| io("read blob", opened.digest(), path(), error))?;
            Ok(file)
        })
        .await?;
        Ok(pieces(file, digest.clone(), range.end.saturating_sub(range.start)))
    }

    async fn ingest(&self) -> Result<Box<dyn Ingest>> {
        Err(read_only("a blob"))
    }
}

/// What comes of `range` or of more than that, cut to it.
fn cut(unverified: lazyblob::remote::verify::Unverified, range: Range<u64>) -> ByteStream {
    let begins = unverified.range().start;
    let skip = range.start.saturating_sub(begins);
    let left = range.end.saturating_sub(range.start);
    let cut = unverified.into_stream().try_filter_map({
        let (mut skip, mut left) = (skip, left);
        move |mut bytes| {
            let drop = skip.min(bytes.len() as u64);
            skip -= drop;
            let mut bytes = bytes.split_off(usize::try_from(drop).unwrap_or(usize::MAX));
            let keep = left.min(bytes.len() as u64);
            left -= keep;
            bytes.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            std::future::ready(Ok((!bytes.is_empty()).then_some(bytes)))
        }
    });
    cut.boxed()
}

/// The next `left` bytes of a file.
fn pieces(file: File, digest: Digest, left: u64) -> ByteStream {
    let stream = futures::stream::try_unfold((file, left), move |(mut file, left)| {
        let digest = digest.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            blocking(digest.clone(), move || {
                let want = left.min(PIECE);
                let mut piece = Vec::with_capacity(usize::try_from(want).unwrap_or_default());
                let read = (&mut file).take(want).read_to_end(&mut piece).map(|read| read as u64);
                match read {
                    Ok(read) if read == want => Ok(Some((piece.into(), (file, left - want)))),
                    Ok(_) => {
                        Err(io("read blob", &digest, "the store", std::io::ErrorKind::UnexpectedEof.into()))
                    }
                    Err(error) => Err(io("read blob", &digest, "the store", error)),
                }
            })
            .await
        }
    });
    stream.boxed()
}

async fn blocking<T: Send + 'static>(
    digest: Digest,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Cancelled { what: What::new("read blob", digest) }),
    }
}

fn io(
    operation: &'static str,
    digest: &Digest,
    path: impl Into<std::path::PathBuf>,
    source: std::io::Error,
) -> Error {
    Error::Io { what: What::new(operation, digest), path: path.into(), source }
}

fn read_only(object: &str) -> Error {
    Error::refused("write", object, "the cache is served for reading alone")
}

/// A repository's name here: a port's colon has no place in one.
fn full(host: &str, path: &str) -> String {
    format!("{}/{path}", host.replace(':', "_").to_ascii_lowercase())
}

/// An error of the cache's on the way through the server.
fn outwards(error: cache::Error) -> Error {
    match error {
        cache::Error::Remote(error) => error,
        cache::Error::NotFound { what, reason } => Error::NotFound { what, reason },
        cache::Error::Io { what, path, source } => Error::Io { what, path, source },
        error => Error::Unavailable {
            what: What::new("read", "the cache"),
            reason: error.to_string(),
            retry_after: None,
            transient: false,
        },
    }
}
