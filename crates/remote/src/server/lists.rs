//! Lists of tags and referrers, in pages (distribution-spec "Listing Tags", "Listing Referrers").

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use http::{StatusCode, Uri};
use serde_json::json;

use super::blobs::text;
use super::problem::{Answer, Problem, json_response};
use super::registry::Registry;
use super::route::{self, parameter};
use super::sync::lock;
use crate::media;
use crate::reference::RepositoryName;

/// Names the filters that were applied, so that the client need not filter again.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Registry {
    pub(super) fn list_tags(&self, repository: &RepositoryName, uri: &Uri) -> Answer {
        let asked = match parameter(uri, "n").map(|n| n.parse::<usize>()) {
            Some(Err(_)) => {
                return Err(Problem::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", "n is not a number"));
            }
            Some(Ok(asked)) => Some(asked),
            None => None,
        };
        let limit = asked.into_iter().chain(self.settings.page).min();
        let last = parameter(uri, "last");
        let (tags, more) = {
            let catalogue = lock(&self.catalogue);
            let Some(entries) = catalogue.get(repository.path()) else {
                return Err(Problem::name_unknown(repository.path()));
            };
            page(entries.tags_after(last.as_deref()).map(str::to_owned), limit)
        };
        let mut response = json_response(StatusCode::OK, &json!({ "name": repository.path(), "tags": tags }));
        if let (true, Some(last)) = (more, tags.last()) {
            let next = format!("/v2/{}/tags/list?n={}&last={last}", repository.path(), tags.len());
            response.headers_mut().insert(LINK, link(&next));
        }
        Ok(response)
    }

    pub(super) fn list_referrers(&self, repository: &RepositoryName, subject: &str, uri: &Uri) -> Answer {
        if !self.settings.referrers {
            return Err(Problem::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such address"));
        }
        let subject = route::digest(subject)?;
        let wanted = parameter(uri, "artifactType").filter(|kind| !kind.is_empty());
        let last = parameter(uri, "last");
        let (manifests, more) = {
            let catalogue = lock(&self.catalogue);
            let all = catalogue.get(repository.path()).into_iter().flat_map(|r| r.referrers(&subject));
            let after =
                all.filter(|referrer| last.as_deref().is_none_or(|last| referrer.digest().as_ref() > last));
            let of_kind = after.filter(|referrer| {
                let kind = referrer.artifact_type().as_ref().map(AsRef::as_ref);
                wanted.as_deref().is_none_or(|wanted| kind == Some(wanted))
            });
            page(of_kind.cloned(), self.settings.page)
        };
        let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests });
        let mut response = json_response(StatusCode::OK, &index);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media::OCI_INDEX));
        if wanted.is_some() {
            headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        if let (true, Some(last)) = (more, manifests.last()) {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("last", last.digest().as_ref());
            if let Some(wanted) = &wanted {
                query.append_pair("artifactType", wanted);
            }
            let next = format!("/v2/{}/referrers/{subject}?{}", repository.path(), query.finish());
            headers.insert(LINK, link(&next));
        }
        Ok(response)
    }
}

/// The first `limit` items, and whether there are more.
fn page<T>(mut items: impl Iterator<Item = T>, limit: Option<usize>) -> (Vec<T>, bool) {
    let page: Vec<T> = items.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    (page, items.next().is_some())
}

fn link(next: &str) -> HeaderValue {
    text(format_args!("<{next}>; rel=\"next\""))
}
