//! GET, HEAD, PUT and DELETE of manifests.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use http::{Request, Response, StatusCode};
use oci_spec::image::{Descriptor, Digest};

use super::backend::Change;
use super::blobs::{CONTENT_DIGEST, accepted, declared, text};
use super::catalogue::{Entry, Repository};
use super::problem::{Answer, Problem};
use super::registry::Registry;
use super::route::{self, Name};
use super::sync::lock;
use crate::body::{self, Body, TooLong};
use crate::manifest::{MAX_MANIFEST, Manifest};
use crate::reference::RepositoryName;

/// Says that a manifest's subject was understood, so that the client need not keep a fallback tag.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// How long a client may take to send a manifest, which is held in memory meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

impl Registry {
    pub(super) async fn get_manifest(&self, repository: &RepositoryName, name: &str, head: bool) -> Answer {
        let name = route::name(repository, name)?;
        let descriptor = {
            let catalogue = lock(&self.catalogue);
            let Some(entries) = catalogue.get(repository.path()) else {
                return Err(Problem::name_unknown(repository.path()));
            };
            find(entries, &name).cloned().ok_or_else(|| unknown(&name))?
        };
        let size = self.backend.size(descriptor.digest()).await?.ok_or_else(|| unknown(&name))?;
        let body = if head {
            body::empty()
        } else {
            body::streaming(self.backend.read(descriptor.digest(), 0..size).await?, Some(size))
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, text(descriptor.media_type()));
        headers.insert(CONTENT_LENGTH, size.into());
        headers.insert(CONTENT_DIGEST, text(descriptor.digest()));
        Ok(response)
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &RepositoryName,
        name: &str,
        request: Request<Body>,
    ) -> Answer {
        let name = route::name(repository, name)?;
        if declared(&request).is_some_and(|length| length > MAX_MANIFEST) {
            return Err(too_large());
        }
        let (parts, body) = request.into_parts();
        let whole = tokio::time::timeout(PATIENCE, body::collect(body, MAX_MANIFEST)).await;
        let whole = whole.map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "MANIFEST_INVALID", "the manifest did not come in time")
        })?;
        let bytes = whole
            .map_err(|error| if error.is::<TooLong>() { too_large() } else { Problem::body_broke(error) })?;
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let expected = match &name {
            Name::Digest(digest) => Some(digest),
            Name::Tag(_) => None,
        };
        let manifest = Manifest::parse(bytes, content_type, expected, "the request")?;
        let absent = self.require_children(repository.path(), &manifest)?;
        self.store_manifest(repository.path(), &manifest, absent, &name).await?;

        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(
            LOCATION,
            text(format_args!("/v2/{}/manifests/{}", repository.path(), manifest.digest())),
        );
        headers.insert(CONTENT_DIGEST, text(manifest.digest()));
        if let (true, Some(subject)) = (self.settings.referrers, manifest.subject()) {
            headers.insert(SUBJECT, text(subject.digest()));
        }
        Ok(response)
    }

    pub(super) async fn delete_manifest(&self, repository: &RepositoryName, name: &str) -> Answer {
        if !self.settings.delete {
            return Err(Problem::unsupported());
        }
        let name = route::name(repository, name)?;
        let there = lock(&self.catalogue).get(repository.path()).and_then(|r| find(r, &name)).is_some();
        if !there {
            return Err(unknown(&name));
        }
        let change = match name {
            Name::Tag(tag) => Change::Untag(tag),
            Name::Digest(digest) => Change::Delete(digest),
        };
        self.change(repository.path(), change, None).await?;
        Ok(accepted())
    }

    /// Refuses a manifest whose children are not here; returns those that need not be and are not.
    fn require_children(&self, repository: &str, manifest: &Manifest) -> Result<Vec<Digest>, Problem> {
        let nothing = Repository::default();
        let missing = {
            let catalogue = lock(&self.catalogue);
            catalogue.get(repository).unwrap_or(&nothing).missing(manifest)
        };
        if missing.required.is_empty() {
            return Ok(missing.elsewhere);
        }
        let reason = "blob unknown to this repository";
        let problem = Problem::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", reason);
        Err(missing.required.into_iter().fold(problem, |problem, digest| problem.about(digest.to_string())))
    }

    /// Bytes first, the name after them.
    pub(crate) async fn store_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        absent: Vec<Digest>,
        name: &Name,
    ) -> Result<(), Problem> {
        let mut ingest = self.backend.ingest().await?;
        ingest.append(vec![manifest.bytes().clone()]).await?;
        ingest.commit(manifest.digest()).await?;
        let tag = match name {
            Name::Tag(tag) => Some(tag.clone()),
            Name::Digest(_) => None,
        };
        let change = Change::Put { manifest: Box::new(manifest.descriptor().clone()), absent, tag };
        self.change(repository, change, Some(Entry::of(manifest))).await
    }

    async fn change(&self, repository: &str, change: Change, entry: Option<Entry>) -> Result<(), Problem> {
        let catalogue = Arc::clone(&self.catalogue);
        let (name, made) = (repository.to_owned(), change.clone());
        let applied = Box::new(move || lock(&catalogue).follow(&name, &made, entry));
        Ok(self.backend.change(repository, change, applied).await?)
    }
}

fn find<'a>(repository: &'a Repository, name: &Name) -> Option<&'a Descriptor> {
    match name {
        Name::Tag(tag) => repository.tagged(tag),
        Name::Digest(digest) => repository.manifest(digest),
    }
}

fn unknown(name: &Name) -> Problem {
    match name {
        Name::Tag(tag) => Problem::manifest_unknown(tag),
        Name::Digest(digest) => Problem::manifest_unknown(digest),
    }
}

fn too_large() -> Problem {
    Problem::too_large(format!("the manifest is larger than {MAX_MANIFEST} bytes"))
}
