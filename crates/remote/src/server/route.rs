//! Addresses of the distribution API: what a request is for, and what its sender must be allowed to do.

use http::{Method, Uri};
use oci_spec::image::Digest;

use super::auth::{Action, Need};
use super::problem::Problem;
use crate::reference::RepositoryName;
use crate::request::Kind;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`.
    Base,
    /// Something of a repository; the name is not checked yet.
    Within(String, Resource),
    /// Nothing we have.
    Unknown,
}

/// What of a repository a request is about, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Manifest(String),
    Blob(String),
    Uploads,
    Upload(String),
    Tags,
    Referrers(String),
}

impl Route {
    pub(crate) fn of(uri: &Uri) -> Self {
        let path = decoded(uri.path());
        let Some(path) = path.strip_prefix("/v2") else { return Self::Unknown };
        let Some(path) = path.strip_prefix('/') else {
            return if path.is_empty() { Self::Base } else { Self::Unknown };
        };
        if path.is_empty() {
            return Self::Base;
        }
        let parts: Vec<&str> = path.split('/').collect();
        let (name, resource) = match parts.as_slice() {
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                (name, Resource::Uploads)
            }
            [name @ .., "blobs", "uploads", id] => (name, Resource::Upload((*id).to_owned())),
            [name @ .., "blobs", digest] => (name, Resource::Blob((*digest).to_owned())),
            [name @ .., "manifests", reference] => (name, Resource::Manifest((*reference).to_owned())),
            [name @ .., "tags", "list"] => (name, Resource::Tags),
            [name @ .., "referrers", digest] => (name, Resource::Referrers((*digest).to_owned())),
            _ => return Self::Unknown,
        };
        if name.is_empty() { Self::Unknown } else { Self::Within(name.join("/"), resource) }
    }

    /// The kind a request is counted as.
    pub(crate) fn kind(&self, method: &Method, uri: &Uri) -> Kind {
        let Self::Within(_, resource) = self else { return Kind::Other };
        match (resource, method) {
            (Resource::Manifest(_), &Method::GET) => Kind::ManifestGet,
            (Resource::Manifest(_), &Method::HEAD) => Kind::ManifestHead,
            (Resource::Manifest(_), &Method::PUT) => Kind::ManifestPut,
            (Resource::Manifest(_) | Resource::Blob(_), &Method::DELETE) => Kind::Delete,
            (Resource::Blob(_), &Method::GET) => Kind::BlobGet,
            (Resource::Blob(_), &Method::HEAD) => Kind::BlobHead,
            (Resource::Uploads, &Method::POST) if parameter(uri, "mount").is_some() => Kind::Mount,
            (Resource::Uploads | Resource::Upload(_), _) => Kind::Upload,
            (Resource::Tags, _) => Kind::Tags,
            (Resource::Referrers(_), _) => Kind::Referrers,
            _ => Kind::Other,
        }
    }

    /// What the sender must be allowed to do. Like distribution we decide by the method, and a mount reads its source.
    pub(crate) fn needs(&self, method: &Method, uri: &Uri) -> Vec<Need> {
        let Self::Within(repository, resource) = self else { return Vec::new() };
        let need = |action| Need { repository: repository.clone(), action };
        match *method {
            Method::GET | Method::HEAD => vec![need(Action::Pull)],
            Method::DELETE => vec![need(Action::Delete)],
            _ => {
                let mut needs = vec![need(Action::Pull), need(Action::Push)];
                if let (Resource::Uploads, Some(_), Some(from)) =
                    (resource, parameter(uri, "mount"), parameter(uri, "from"))
                {
                    needs.push(Need { repository: from, action: Action::Pull });
                }
                needs
            }
        }
    }
}

/// The value of a query parameter.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    parameters(uri).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// All query parameters, decoded.
pub(crate) fn parameters(uri: &Uri) -> impl Iterator<Item = (String, String)> + '_ {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned()
}

/// Checks a repository's name (distribution-spec "Pulling manifests").
pub(crate) fn repository(name: &str) -> Result<RepositoryName, Problem> {
    RepositoryName::new("localhost", name).map_err(|_| Problem::name_invalid(name))
}

/// Checks a digest.
pub(crate) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|_| Problem::digest_invalid("not a digest").about(text))
}

/// What a manifest is asked for by.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    Tag(String),
    Digest(Digest),
}

/// Tells tags and digests apart: a tag has no colon.
pub(crate) fn name(repository: &RepositoryName, text: &str) -> Result<Name, Problem> {
    if text.contains(':') {
        return digest(text).map(Name::Digest);
    }
    match repository.tagged(text) {
        Ok(_) => Ok(Name::Tag(text.to_owned())),
        Err(_) => Err(Problem::manifest_invalid("not a tag").about(text)),
    }
}

/// Undoes percent-encoding; what is not UTF-8 afterwards is no address of ours and stays as it is.
fn decoded(path: &str) -> String {
    if !path.contains('%') {
        return path.to_owned();
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        rest = match escape {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                &rest[3..]
            }
            None => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Route {
        Route::of(&path.parse().unwrap())
    }

    #[test]
    fn repositories_may_be_named_like_resources() {
        let manifest = |repo: &str, at: &str| Route::Within(repo.into(), Resource::Manifest(at.into()));
        assert_eq!(route("/v2/a/manifests/latest"), manifest("a", "latest"));
        assert_eq!(route("/v2/blobs/manifests/manifests/x"), manifest("blobs/manifests", "x"));
        assert_eq!(route("/v2/a/manifests/sha256%3Aab"), manifest("a", "sha256:ab"));
        assert_eq!(route("/v2/a/blobs/uploads"), Route::Within("a".into(), Resource::Uploads));
        assert_eq!(route("/v2/a/blobs/uploads/"), Route::Within("a".into(), Resource::Uploads));
        assert_eq!(route("/v2/a/blobs/uploads/7"), Route::Within("a".into(), Resource::Upload("7".into())));
        assert_eq!(route("/v2/"), Route::Base);
        assert_eq!(route("/v2"), Route::Base);
        for unknown in ["/", "/v1/", "/v2x", "/v2/a", "/v2/manifests/x", "/v2/a/tags", "/v2/a/nothing/x"] {
            assert_eq!(route(unknown), Route::Unknown, "{unknown}");
        }
    }

    #[test]
    fn a_mount_needs_its_source_too() {
        let uri: Uri = "/v2/a/b/blobs/uploads/?mount=sha256:ab&from=c/d".parse().unwrap();
        let route = Route::of(&uri);
        assert_eq!(route.kind(&Method::POST, &uri), Kind::Mount);
        let needs = route.needs(&Method::POST, &uri);
        assert!(needs.contains(&Need { repository: "c/d".into(), action: Action::Pull }));
        assert!(!needs.contains(&Need { repository: "c/d".into(), action: Action::Push }));
    }
}
