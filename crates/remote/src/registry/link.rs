//! `Link: <…>; rel="next"`: the next page (distribution-spec "Listing Tags", RFC 8288).

use std::collections::HashSet;

use http::{HeaderMap, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::Repository;
use super::exchange::Call;
use super::response::Answer;
use crate::body;
use crate::error::{Error, Result, What};
use crate::request::Kind;

/// A page may not be longer than this.
const MAX_PAGE: u64 = 16 * 1024 * 1024;
/// Pages without end are a fault of the registry.
const MAX_PAGES: usize = 10_000;

impl Repository {
    /// GETs `first` and every page after it. `see` gets the head of each page first and says whether to read on.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        kind: Kind,
        what: &What,
        first: Url,
        mut see: impl FnMut(&Answer),
    ) -> Result<Vec<T>> {
        let mut pages = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(first);
        while let Some(url) = next.take() {
            if !seen.insert(url.clone()) || pages.len() >= MAX_PAGES {
                let reason = "the registry's pages lead in a circle";
                return Err(Error::invalid(what.operation, &what.object, reason));
            }
            let call = Call::new(kind, Method::GET, what.clone());
            let call =
                call.header(header::ACCEPT, "application/json, application/vnd.oci.image.index.v1+json");
            let answer = self.exchange(&self.host.upstream, url, call).await?;
            if answer.status != StatusCode::OK {
                return Err(answer.into_error(what.clone()).await);
            }
            see(&answer);
            next = next_page(&answer.headers, &answer.url);
            let bytes = body::collect(answer.body, MAX_PAGE)
                .await
                .map_err(|error| Error::broken(what.operation, &what.object, &error))?;
            let page = serde_json::from_slice(&bytes).map_err(|error| {
                Error::invalid(what.operation, &what.object, format_args!("a page: {error}"))
            })?;
            pages.push(page);
        }
        Ok(pages)
    }
}

/// The address of the next page; only ever one of the same origin, so that a page cannot lead elsewhere.
fn next_page(headers: &HeaderMap, from: &Url) -> Option<Url> {
    for value in headers.get_all(header::LINK) {
        for link in value.to_str().unwrap_or_default().split(", ") {
            let Some((address, parameters)) =
                link.trim().strip_prefix('<').and_then(|rest| rest.split_once('>'))
            else {
                continue;
            };
            let is_next = parameters.split(';').any(|parameter| {
                let parameter = parameter.trim().replace('"', "");
                parameter.eq_ignore_ascii_case("rel=next")
            });
            let resolved = from.join(address).ok().filter(|next| next.origin() == from.origin());
            if let Some(next) = resolved.filter(|_| is_next) {
                return Some(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(link: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, link.parse().unwrap());
        let from = Url::parse("http://h:5000/v2/a/tags/list?n=1").unwrap();
        next_page(&headers, &from).map(String::from)
    }

    #[test]
    fn relative_and_absolute_links_of_the_same_origin() {
        let expected = Some("http://h:5000/v2/a/tags/list?last=x&n=1".to_owned());
        assert_eq!(next(r#"</v2/a/tags/list?last=x&n=1>; rel="next""#), expected);
        assert_eq!(next("<http://h:5000/v2/a/tags/list?last=x&n=1>; rel=next"), expected);
    }

    #[test]
    fn other_links_lead_nowhere() {
        assert_eq!(next(r#"</v2/x>; rel="prev""#), None);
        assert_eq!(next(r#"<http://elsewhere/v2/x>; rel="next""#), None);
        assert_eq!(next("garbage"), None);
    }
}
