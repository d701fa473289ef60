//! `Link: <…>; rel="next"`: the next page (distribution-spec "Listing Tags", RFC 8288).

use std::collections::HashSet;

use http::{HeaderMap, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::Repository;
use super::exchange::Call;
use super::hops::{authority, resolve};
use crate::body;
use crate::error::{Error, Result, What};
use crate::request::Kind;

/// A page may not be longer than this.
const MAX_PAGE: u64 = 16 * 1024 * 1024;
/// Pages without end are a fault of the registry.
const MAX_PAGES: usize = 10_000;

impl Repository {
    /// GETs the list at `path` and every page after it. Lists come from the upstream, since a mirror may know a part of
    /// them only; where the upstream is switched off, from the first mirror that resolves tags.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        kind: Kind,
        what: &What,
        path: &str,
    ) -> Result<Vec<T>> {
        let place =
            if self.host.fall_back { Some(&self.host.upstream) } else { self.near(true).first().copied() };
        let place = place.ok_or_else(|| {
            let reason = "no mirror may be asked for this and the upstream is switched off";
            Error::refused(what.operation, &what.object, reason)
        })?;
        let first = self.url_for(place, path, what)?;
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
            let answer = self.exchange(place, url, call).await?;
            if answer.status != StatusCode::OK {
                return Err(answer.into_error(what.clone()).await);
            }
            next = next_page(&answer.headers, &answer.url)
                .map_err(|reason| Error::refused(what.operation, &what.object, reason))?;
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

/// The address of the next page. It must be one of the same origin, so that a page cannot lead elsewhere; a list that
/// goes on where we do not follow is an error and not a shorter list.
fn next_page(headers: &HeaderMap, from: &Url) -> std::result::Result<Option<Url>, String> {
    let fields = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    let Some((address, _)) = fields.flat_map(links).find(|(_, parameters)| is_next(parameters)) else {
        return Ok(None);
    };
    let next = resolve(from, address).ok_or("the address of the next page is malformed")?;
    if next.origin() != from.origin() {
        let (from, to) = (authority(from), authority(&next));
        return Err(format!("the next page of {from} is said to be at {}://{to}", next.scheme()));
    }
    Ok(Some(next))
}

/// The links of one field: each address with its parameters.
fn links(field: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    let mut rest = field;
    while let Some((address, after)) = rest.split_once('<').and_then(|(_, after)| after.split_once('>')) {
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let end = end.unwrap_or(after.len());
        links.push((address, &after[..end]));
        rest = &after[end..];
    }
    links
}

/// Whether `rel`, which may list several relations, has `next` among them.
fn is_next(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_whitespace();
        name.trim().eq_ignore_ascii_case("rel")
            && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(link: &str) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, link.parse().unwrap());
        let from = Url::parse("http://h:5000/v2/a/tags/list?n=1").unwrap();
        next_page(&headers, &from).map(|next| next.map(String::from))
    }

    #[test]
    fn relative_and_absolute_links_of_the_same_origin() {
        let expected = Ok(Some("http://h:5000/v2/a/tags/list?last=x&n=1".to_owned()));
        assert_eq!(next(r#"</v2/a/tags/list?last=x&n=1>; rel="next""#), expected);
        assert_eq!(next("<http://h:5000/v2/a/tags/list?last=x&n=1>; rel=next"), expected);
        assert_eq!(next(r#"<?last=x&n=1>; title="a, b; rel=prev"; REL = "last next""#), expected);
    }

    #[test]
    fn the_right_one_of_several_links() {
        let expected = Ok(Some("http://h:5000/b,c".to_owned()));
        assert_eq!(next(r#"</a>; rel="prev",</b,c>; rel="next""#), expected);
        assert_eq!(next(r#"</a>; rel="prev", </b,c>; rel="next", </d>; rel="next""#), expected);
    }

    #[test]
    fn other_links_lead_nowhere() {
        assert_eq!(next(r#"</v2/x>; rel="prev""#), Ok(None));
        assert_eq!(next("garbage"), Ok(None));
        assert_eq!(next("<a; rel=next"), Ok(None));
        let error = next(r#"<http://u:secret@elsewhere/v2/x>; rel="next""#).unwrap_err();
        assert!(error.contains("elsewhere") && !error.contains("secret"), "{error}");
        assert!(next("<http://h/v2/x>; rel=next").is_err());
    }

    #[test]
    fn a_proxy_that_ends_tls_is_forgiven() {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, "<http://h/v2/x>; rel=next".parse().unwrap());
        let from = Url::parse("https://h/v2/a").unwrap();
        assert_eq!(next_page(&headers, &from).unwrap().unwrap().as_str(), "https://h/v2/x");
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic_or_leave_the_origin(field in "[ -~]{0,60}|(<[ -~]{0,20}>;? ?rel=\"?next\"?,?){0,3}") {
            if let Ok(Some(next)) = next(&field) {
                prop_assert!(next.starts_with("http://h:5000/"), "{}", next);
            }
        }
    }
}
