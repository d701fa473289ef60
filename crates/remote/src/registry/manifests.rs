//! Manifests: GET, HEAD, PUT, DELETE, always as raw bytes.

use futures::future::{BoxFuture, FutureExt};
use http::{Method, StatusCode, header};
use oci_spec::image::Digest;
use url::Url;

use super::Repository;
use super::exchange::{Call, Payload};
use super::response::Answer;
use crate::body;
use crate::digest::Hasher;
use crate::endpoint::Name;
use crate::error::{Error, Mismatch, Result, What};
use crate::hosts::Address;
use crate::manifest::{MAX_MANIFEST, Manifest, too_large};
use crate::media::ACCEPT_MANIFESTS;
use crate::request::Kind;

/// The header a registry names a manifest's digest in.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Repository {
    /// GETs a manifest; the bytes are verified against the digest asked for and against the one the host names.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Integrity`], [`Error::Invalid`] for what is not a manifest, and those of the way.
    pub async fn get_manifest(&self, name: &Name) -> Result<Manifest> {
        let what = self.about("get manifest", name);
        self.manifest_from(self.near(resolves(name)), name, &what).await
    }

    /// The manifest that the upstream itself has, whatever its mirrors have: for what is about to be written anew.
    pub(super) async fn upstream_manifest(&self, name: &Name) -> Result<Manifest> {
        let what = self.about("get manifest", name);
        self.manifest_from(vec![&self.host.upstream], name, &what).await
    }

    async fn manifest_from(&self, from: Vec<&Address>, name: &Name, what: &What) -> Result<Manifest> {
        let path = format!("manifests/{}", self.identifier(name)?);
        let ask = || {
            Call::new(Kind::ManifestGet, Method::GET, what.clone()).header(header::ACCEPT, ACCEPT_MANIFESTS)
        };
        let read = |answer| self.read_manifest(name, what, answer).boxed();
        let (address, manifest) = self.first_of(from, &path, what, ask, read).await?;
        tracing::debug!(address, digest = %manifest.digest(), "manifest read");
        Ok(manifest)
    }

    /// HEADs a manifest for its digest; asks with GET where the host knows no HEAD (405) or names no digest.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the way.
    pub async fn head_manifest(&self, name: &Name) -> Result<Digest> {
        let what = self.about("look up manifest", name);
        let found = self.digest_from(self.near(resolves(name)), name, &what, false).await?;
        match found {
            Some(digest) => Ok(digest),
            None => Ok(self.get_manifest(name).await?.digest().clone()),
        }
    }

    /// The digest that the upstream itself has under a name, whatever its mirrors have: a mirror's word must not keep
    /// anything from being written. Some hosts say 403 of what they lack, which counts as lacking here.
    pub(super) async fn upstream_digest(&self, name: &Name) -> Result<Digest> {
        let what = self.about("look up manifest", name);
        match self.digest_from(vec![&self.host.upstream], name, &what, true).await? {
            Some(digest) => Ok(digest),
            None => Ok(self.upstream_manifest(name).await?.digest().clone()),
        }
    }

    async fn digest_from(
        &self,
        from: Vec<&Address>,
        name: &Name,
        what: &What,
        forbidden_is_absent: bool,
    ) -> Result<Option<Digest>> {
        let path = format!("manifests/{}", self.identifier(name)?);
        let ask = || {
            Call::new(Kind::ManifestHead, Method::HEAD, what.clone()).header(header::ACCEPT, ACCEPT_MANIFESTS)
        };
        let read = |answer: Answer| {
            async move {
                if forbidden_is_absent && answer.status == StatusCode::FORBIDDEN {
                    let error = answer.into_error(what.clone()).await;
                    return Err(Error::not_found(what.operation, &what.object, error));
                }
                read_head(name, what, answer).await
            }
            .boxed()
        };
        Ok(self.first_of(from, &path, what, ask, read).await?.1)
    }

    /// PUTs a manifest's bytes under `name`. Says whether the host has taken note of its subject.
    ///
    /// # Errors
    /// [`Error::Rejected`] where blobs or children are missing; [`Error::Integrity`] where the host answers with
    /// another digest than that of the bytes sent.
    pub async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<bool> {
        let what = self.about("put manifest", name);
        let url = self.url(&self.host.upstream, &format!("manifests/{}", self.identifier(name)?), &what)?;
        let call = Call::new(Kind::ManifestPut, Method::PUT, what.clone())
            .header(header::CONTENT_TYPE, manifest.media_type())
            .payload(Payload::Whole(manifest.bytes().clone()));
        let answer = self.exchange(&self.host.upstream, url, call).await?;
        if !answer.status.is_success() {
            return Err(answer.into_error(what).await);
        }
        // It may name another algorithm's digest of the same bytes.
        verify_named(manifest.bytes(), answer.header(CONTENT_DIGEST), &what)?;
        let subject_noted = answer.headers.contains_key("oci-subject");
        answer.discard().await;
        Ok(subject_noted)
    }

    /// DELETEs a manifest by digest, or a tag.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Rejected`] where the host deletes nothing.
    pub async fn delete_manifest(&self, name: &Name) -> Result<()> {
        let what = self.about("delete manifest", name);
        let url = self.url(&self.host.upstream, &format!("manifests/{}", self.identifier(name)?), &what)?;
        let call = Call::new(Kind::Delete, Method::DELETE, what.clone());
        let answer = self.exchange(&self.host.upstream, url, call).await?;
        if !answer.status.is_success() {
            return Err(answer.into_error(what).await);
        }
        answer.discard().await;
        Ok(())
    }

    async fn read_manifest(&self, name: &Name, what: &What, answer: Answer) -> Result<Manifest> {
        if answer.status != StatusCode::OK {
            return Err(answer.into_error(what.clone()).await);
        }
        let source = self.at(name);
        let length = answer.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| *length > MAX_MANIFEST) {
            return Err(too_large(&source, length));
        }
        let content_type = answer.header(header::CONTENT_TYPE).map(str::to_owned);
        let named = answer.header(CONTENT_DIGEST).map(str::to_owned);
        let bytes = body::collect(answer.body, MAX_MANIFEST).await.map_err(|error| {
            if error.is::<body::TooLong>() {
                return Error::refused(what.operation, &what.object, error);
            }
            Error::broken(what.operation, &what.object, &error)
        })?;
        if let Some(length) = length.filter(|length| *length != bytes.len() as u64) {
            let mismatch = Mismatch::Size { expected: length, actual: bytes.len() as u64 };
            return Err(Error::Integrity { what: what.clone(), mismatch });
        }
        verify_named(&bytes, named.as_deref(), what)?;
        let expected = match name {
            Name::Digest(digest) => Some(digest),
            _ => None,
        };
        Manifest::parse(bytes, content_type.as_deref(), expected, &source)
    }

    /// Asks `addresses` in their order; the answer of the first that has it. Says who answered.
    pub(super) async fn first_of<'a, T>(
        &self,
        addresses: Vec<&Address>,
        path: &str,
        what: &What,
        ask: impl Fn() -> Call,
        read: impl Fn(Answer) -> BoxFuture<'a, Result<T>>,
    ) -> Result<(String, T)> {
        let mut failed: Option<Error> = None;
        let mut addresses = addresses.into_iter().peekable();
        while let Some(address) = addresses.next() {
            let url = self.url_for(address, path, what)?;
            // The last one is waited for. The others may have it, too, once they can be asked.
            if addresses.peek().is_some()
                && let Some(error) = self.paused(&url, what)
            {
                failed.get_or_insert(error);
                continue;
            }
            let outcome = match self.exchange(address, url, ask()).await {
                Ok(answer) => read(answer).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => return Ok((address.base.clone(), value)),
                Err(error) => {
                    tracing::debug!(address = address.base, %error, "source failed");
                    // That a mirror lacks something is in its nature.
                    if addresses.peek().is_some() && !error.is_not_found() {
                        self.registry.note_once(&address.base, &self.access, || {
                            format!("{error}; going on with the next host")
                        });
                    }
                    // Where only mirrors are asked, that one of them lacks it does not settle what another has.
                    let hopeful = failed.as_ref().is_some_and(Error::is_transient) && error.is_not_found();
                    if !hopeful || address.base == self.host.upstream.base {
                        failed = Some(error);
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| {
            let reason = "no mirror may be asked for this and the upstream is switched off";
            Error::refused(what.operation, &what.object, reason)
        }))
    }

    /// Who is asked when something is read: the mirrors that may answer, then the upstream unless it is switched off.
    pub(super) fn near(&self, resolves: bool) -> Vec<&Address> {
        let able = |mirror: &&crate::hosts::Mirror| if resolves { mirror.resolve } else { mirror.pull };
        let mirrors = self.host.mirrors.iter().filter(able).map(|mirror| &mirror.address);
        mirrors.chain(self.host.fall_back.then_some(&self.host.upstream)).collect()
    }

    /// The address of `path` below this repository, for reading at an upstream or a mirror.
    pub(super) fn url_for(&self, at: &Address, path: &str, what: &What) -> Result<Url> {
        let mut url = self.url(at, path, what)?;
        if at.base != self.host.upstream.base {
            // distribution-spec "Registry Proxying": tells a mirror whose content is meant.
            url.query_pairs_mut().append_pair("ns", self.name.host());
        }
        Ok(url)
    }

    /// The address of `path` below this repository.
    pub(super) fn url(&self, at: &Address, path: &str, what: &What) -> Result<Url> {
        let whole = format!("{}/{}/{path}", at.base, self.name.path());
        Url::parse(&whole).map_err(|error| Error::invalid(what.operation, &what.object, error))
    }

    fn identifier(&self, name: &Name) -> Result<String> {
        match name {
            Name::Tag(tag) => Ok(tag.clone()),
            Name::Digest(digest) => Ok(digest.to_string()),
            Name::Only => {
                Err(Error::invalid("name manifest", &self.name, "a registry wants a tag or a digest"))
            }
        }
    }

    fn at(&self, name: &Name) -> String {
        match name {
            Name::Digest(digest) => format!("{}@{digest}", self.name),
            other => format!("{}:{other}", self.name),
        }
    }

    fn about(&self, operation: &'static str, name: &Name) -> What {
        What::new(operation, self.at(name))
    }
}

/// Whether a mirror must be able to resolve tags to be asked for this.
fn resolves(name: &Name) -> bool {
    !matches!(name, Name::Digest(_))
}

/// The digest a HEAD names; nothing where the host knows no HEAD or names none.
async fn read_head(name: &Name, what: &What, answer: Answer) -> Result<Option<Digest>> {
    match answer.status {
        StatusCode::OK => {}
        StatusCode::METHOD_NOT_ALLOWED => return Ok(None),
        _ => return Err(answer.into_error(what.clone()).await),
    }
    let named: Option<Digest> = answer.header(CONTENT_DIGEST).and_then(|digest| digest.parse().ok());
    match (named, name) {
        (Some(named), Name::Digest(asked)) if named != *asked => {
            let mismatch = Mismatch::Digest { expected: asked.to_string(), actual: named.to_string() };
            Err(Error::Integrity { what: what.clone(), mismatch })
        }
        (None, Name::Digest(asked)) => Ok(Some(asked.clone())),
        (named, _) => Ok(named),
    }
}

/// Holds the host to the digest it names itself, which guards the way of a manifest fetched by tag.
fn verify_named(bytes: &[u8], named: Option<&str>, what: &What) -> Result<()> {
    let Some(named) = named.and_then(|named| named.parse::<Digest>().ok()) else { return Ok(()) };
    let Some(mut hasher) = Hasher::new(named.algorithm()) else { return Ok(()) };
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == named.as_ref() {
        return Ok(());
    }
    let mismatch = Mismatch::Digest { expected: named.to_string(), actual };
    Err(Error::Integrity { what: what.clone(), mismatch })
}
