//! Answers that are not success, as errors that say what the host said.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::auth::Secrets;
use crate::body::{self, Body};
use crate::error::{Error, What, printable};

/// Longer error documents are cut off: they are for people.
const MAX_DOCUMENT: u64 = 64 * 1024;
/// As much of a text that is no error document as is shown.
const MAX_SHOWN: usize = 300;
/// As much of all messages together as is shown.
const MAX_SAID: usize = 2000;

/// An answer with its body still to come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// The address that answered, after redirects.
    pub(crate) url: url::Url,
    /// Whether another host than the registry answered.
    pub(crate) elsewhere: bool,
    /// What the user may do about a refusal; may be empty.
    pub(crate) hint: String,
    /// What the host was shown; it is taken out of whatever it says.
    pub(crate) secrets: Secrets,
}

/// distribution-spec "Error Codes".
#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

impl Answer {
    /// One header field as text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads the error document and makes an error of the whole.
    pub(crate) async fn into_error(self, what: What) -> Error {
        let Self { status, headers, body, url, elsewhere, hint, secrets } = self;
        // A document that does not arrive changes nothing about the status.
        let document = body::collect(body, MAX_DOCUMENT).await.unwrap_or_default();
        let (codes, said) = read_document(&document, &secrets);
        let place =
            if elsewhere { format!(" from {}", url.host_str().unwrap_or_default()) } else { String::new() };
        let reason =
            if said.is_empty() { format!("{status}{place}") } else { format!("{status}{place}: {said}") };
        let retry_after = retry_after(&headers, SystemTime::now());
        let reason = match retry_after.filter(|wait| !wait.is_zero()) {
            Some(wait) => format!("{reason}; it asks to be left alone for {} s", wait.as_secs()),
            None => reason,
        };
        match status {
            // The host behind a redirect checks a signature that has a short life: ask the registry for a new one.
            _ if elsewhere && status.is_client_error() && status != StatusCode::NOT_FOUND => {
                Error::Unavailable { what, reason, retry_after, transient: true }
            }
            StatusCode::NOT_FOUND => Error::NotFound { what, reason: said },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Unauthorized { what, reason: format!("{reason}{hint}") }
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let quota = is_quota(&said);
                Error::RateLimited { what, reason, retry_after, quota }
            }
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
                Error::Rejected { what, status: status.as_u16(), codes, reason }
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Error::Unavailable { what, reason, retry_after, transient: true }
            }
            _ => Error::Rejected { what, status: status.as_u16(), codes, reason },
        }
    }

    /// Reads and forgets a short body, so that its connection can be used again.
    pub(crate) async fn discard(self) {
        let _ = body::collect(self.body, MAX_DOCUMENT).await;
    }
}

/// Codes, and everything that was said in one line, without `secrets` and without what would steer a terminal.
fn read_document(bytes: &[u8], secrets: &Secrets) -> (Vec<String>, String) {
    let clean = |text: &str| printable(&secrets.redact(text)).into_owned();
    let document: Document = serde_json::from_slice(bytes).unwrap_or_default();
    if document.errors.is_empty() {
        // Before anything is cut off: half a secret would not be known for one.
        let text = secrets.redact(&String::from_utf8_lossy(bytes));
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // An HTML page tells a person nothing.
        let shown = if line.starts_with('<') { String::new() } else { cut(&printable(&line), MAX_SHOWN) };
        return (Vec::new(), shown);
    }
    let say = |entry: &Entry| {
        let detail = match &entry.detail {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => format!(" ({})", clean(text)),
            other => format!(" ({})", clean(&other.to_string())),
        };
        let (code, message, detail) = (clean(&entry.code), clean(&entry.message), cut(&detail, MAX_SHOWN));
        match (code.as_str(), message.as_str()) {
            ("", message) => format!("{message}{detail}"),
            (code, "") => format!("{code}{detail}"),
            (code, message) => format!("{code}: {message}{detail}"),
        }
    };
    let mut said: Vec<String> = document.errors.iter().map(say).collect();
    said.dedup();
    let codes = document.errors.iter().map(|entry| clean(&entry.code)).collect();
    (codes, cut(&said.join("; "), MAX_SAID))
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A used-up quota, as against too many requests in this second.
fn is_quota(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    // Some speak of a quota by the minute (Artifact Registry): that one fills up again.
    let soon = said.contains("per minute") || said.contains("per second");
    said.contains("pull rate limit") || said.contains("quota") && !soon
}

/// `Retry-After` in either form (RFC 9110 §10.2.3), counted from `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // A date that has passed asks for no wait.
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(value: &str, now: SystemTime) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, now)
    }

    /// Row 26a: both forms of the time a host asks for.
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(asked("7", now), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(now + Duration::from_secs(30));
        assert_eq!(asked(&date, now), Some(Duration::from_secs(30)));
        assert_eq!(asked(&httpdate::fmt_http_date(now - Duration::from_secs(30)), now), Some(Duration::ZERO));
        assert_eq!(asked("soon", now), None);
    }

    proptest! {
        #[test]
        fn no_field_and_no_document_makes_it_panic(field in "[ -~]{0,40}", document in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = asked(&field, SystemTime::now());
            let (_, said) = read_document(&document, &Secrets::default());
            prop_assert!(!said.contains(char::is_control));
            let message = String::from_utf8_lossy(&document).into_owned();
            let (_, said) = read_document(serde_json::json!({"errors": [{"message": message}]}).to_string().as_bytes(), &Secrets::default());
            prop_assert!(!said.contains(char::is_control));
        }

        #[test]
        fn seconds_and_dates_are_read_as_written(seconds in 0_u64..4_000_000_000) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let wait = Duration::from_secs(seconds);
            prop_assert_eq!(asked(&seconds.to_string(), now), Some(wait));
            prop_assert_eq!(asked(&httpdate::fmt_http_date(now + wait), now), Some(wait));
        }
    }

    #[test]
    fn documents_turn_no_text_about() {
        let document = r#"{"errors":[{"code":"\u001bX","message":"a\u202eb\n","detail":"\u2066\u009b"}]}"#;
        let (codes, said) = read_document(document.as_bytes(), &Secrets::default());
        assert_eq!(codes, ["\u{fffd}X"]);
        assert_eq!(said, "\u{fffd}X: a\u{fffd}b  (\u{fffd}\u{fffd})");
        assert_eq!(read_document("a\u{202e}b".as_bytes(), &Secrets::default()).1, "a\u{fffd}b");
    }

    #[test]
    fn documents_are_told_in_one_line() {
        let document = br#"{"errors":[{"code":"DENIED","message":"no","detail":{"a":1}},{"code":"X"}]}"#;
        let (codes, said) = read_document(document, &Secrets::default());
        assert_eq!(codes, ["DENIED", "X"]);
        assert_eq!(said, "DENIED: no ({\"a\":1}); X");
        assert_eq!(read_document(b"<html>oops</html>", &Secrets::default()).1, "");
        assert_eq!(read_document(b"plain\n text", &Secrets::default()).1, "plain text");
    }
}
