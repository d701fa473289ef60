//! Addresses on the way of a request: where it is led, and how one is told.

use http::header;
use url::Url;

use crate::body::Body;

/// `HOST[:PORT]` of a URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Same scheme, host and port.
pub(super) fn same_origin(url: &Url, base: &str) -> bool {
    Url::parse(base).is_ok_and(|base| base.origin() == url.origin())
}

/// The address that a host at `from` means by `to`. Behind a proxy that ends TLS many believe that they are asked in
/// plain HTTP; what they say of themselves is taken to mean the way they were asked.
pub(super) fn resolve(from: &Url, to: &str) -> Option<Url> {
    let mut to = from.join(to).ok()?;
    if (from.scheme(), to.scheme()) == ("https", "http") && to.host() == from.host() && to.port().is_none() {
        to.set_scheme("https").ok()?;
        to.set_port(from.port()).ok()?;
    }
    Some(to)
}

/// Where a redirect leads, or why it must not be followed.
pub(super) fn redirect(response: &http::Response<Body>, from: &Url) -> Option<Result<Url, String>> {
    let followed = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).filter(|_| followed)?;
    let resolved = location.to_str().ok().and_then(|location| resolve(from, location));
    Some(match resolved {
        Some(to) if !matches!(to.scheme(), "http" | "https") || !to.has_host() => {
            Err(format!("a redirect leads to a {} address", to.scheme()))
        }
        Some(to) if from.scheme() == "https" && to.scheme() != "https" => {
            Err(format!("a redirect leads from https to http://{}", authority(&to)))
        }
        Some(to) => Ok(to),
        None => Err("a redirect leads to a malformed address".to_owned()),
    })
}

/// An address without query and user: signed addresses hold secrets.
pub(super) fn redacted(uri: &http::Uri) -> String {
    let host = uri.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let query = if uri.query().is_some() { "?…" } else { "" };
    format!("{}://{}{}{query}", uri.scheme_str().unwrap_or_default(), host.unwrap_or_default(), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved_against_the_one_that_answered() {
        for (from, to, expected) in [
            ("https://h/v2/a/b", "/v2/x?_s=1%2F2", "https://h/v2/x?_s=1%2F2"),
            ("https://h:5000/v2/a/b", "c?d", "https://h:5000/v2/a/c?d"),
            ("https://h/v2/", "http://h/v2/x", "https://h/v2/x"),
            ("https://h:5000/v2/", "http://h/v2/x", "https://h:5000/v2/x"),
            // Another host, or a port that was said, is meant as it is.
            ("https://h/v2/", "http://g/v2/x", "http://g/v2/x"),
            ("https://h/v2/", "http://h:8080/v2/x", "http://h:8080/v2/x"),
            ("http://h/v2/", "https://h/v2/x", "https://h/v2/x"),
        ] {
            assert_eq!(resolve(&Url::parse(from).unwrap(), to).unwrap().as_str(), expected);
        }
        assert!(resolve(&Url::parse("https://h/").unwrap(), "https://").is_none());
    }

    /// Row 54b: a traced address shows neither query nor user.
    #[test]
    fn what_is_traced_holds_no_signature() {
        let uri: http::Uri = "https://u:secret@h:1/v2/x?X-Signature=secret".parse().unwrap();
        assert_eq!(redacted(&uri), "https://h:1/v2/x?…");
    }
}
