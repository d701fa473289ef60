//! Where effects meet requests and answers.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_RANGE, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Uri};

use super::broken_body;
use super::storage::Storage;
use super::toxic::{Effect, RetryAfter};
use crate::body::{self, Body, TooLong};
use crate::server::sync::lock;
use crate::server::{Dropped, Problem};
use crate::server::{htpasswd, route};

/// `Range` of the first answer to a PATCH, by session.
pub(super) type FirstRanges = Mutex<HashMap<String, HeaderValue>>;

/// What becomes of a request before the registry sees it.
pub(super) enum Before {
    /// The registry answers.
    Pass(Request<Body>),
    /// It was answered already.
    Answer(Response<Body>),
}

/// Lets the effects act on a request.
pub(super) async fn before(effects: &[Effect], mut request: Request<Body>) -> Result<Before, Dropped> {
    for effect in effects {
        match effect {
            Effect::Delay(pause) => tokio::time::sleep(*pause).await,
            Effect::Hang => std::future::pending().await,
            Effect::Drop => return Err(Dropped),
            Effect::TooManyRequests { retry_after, document } => {
                return Ok(Before::Answer(too_many(*retry_after, *document)));
            }
            Effect::Status(status) => {
                let problem = Problem::new(*status, "UNKNOWN", "a fault made for the test");
                return Ok(Before::Answer(problem.into_response()));
            }
            Effect::Answer { status, headers, body } => {
                let mut response = Response::new(body::full(body.clone()));
                *response.status_mut() = *status;
                response.headers_mut().extend(headers.iter().cloned());
                return Ok(Before::Answer(response));
            }
            Effect::Echo(status) => {
                let sent = request.headers().get(AUTHORIZATION);
                let decoded = sent.and_then(htpasswd::basic).map_or_else(String::new, |(user, password)| {
                    let encoded: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect();
                    format!(" for {user}:{password} or {encoded}")
                });
                let sent = sent.and_then(|value| value.to_str().ok()).unwrap_or("nothing");
                let problem = Problem::new(*status, "DENIED", format!("you sent {sent}{decoded}"));
                return Ok(Before::Answer(problem.about(format!("{sent}{decoded}")).into_response()));
            }
            Effect::CutRequest(after) => request = request.map(|body| broken_body::cut(body, *after)),
            Effect::SlowRequest { piece, pause } => {
                request = request.map(|body| broken_body::slow(body, *piece, *pause));
            }
            Effect::BodyCap { bytes, status } => {
                let (parts, body) = request.into_parts();
                let kept = match body::collect(body, *bytes).await {
                    Ok(kept) => kept,
                    Err(error) if error.is::<TooLong>() => {
                        let problem = Problem::new(*status, "SIZE_INVALID", "the body is too large");
                        return Ok(Before::Answer(problem.into_response()));
                    }
                    Err(_) => return Err(Dropped),
                };
                request = Request::from_parts(parts, body::full(kept));
            }
            Effect::RefuseMount => *request.uri_mut() = without_mount(request.uri()),
            Effect::IgnoreRange => {
                request.headers_mut().remove(RANGE);
            }
            _ => {}
        }
    }
    Ok(Before::Pass(request))
}

/// What effects on answers need to know.
pub(super) struct Scene<'a> {
    pub(super) method: Method,
    pub(super) target: String,
    /// `SCHEME://HOST` of the registry, and of the other host.
    pub(super) own: String,
    pub(super) other: String,
    pub(super) storage: &'a Storage,
    pub(super) first_ranges: &'a FirstRanges,
}

/// Lets the effects act on an answer.
pub(super) fn after(
    effects: &[Effect],
    scene: &Scene<'_>,
    mut response: Response<Body>,
) -> Result<Response<Body>, Dropped> {
    for effect in effects {
        match effect {
            Effect::DropAnswer => return Err(Dropped),
            // The client that broke off hears nothing any more.
            Effect::CutRequest(_) if response.status() == StatusCode::BAD_REQUEST => return Err(Dropped),
            Effect::CutBody(after) => response = response.map(|body| broken_body::cut(body, *after)),
            Effect::Corrupt(at) => response = response.map(|body| broken_body::corrupt(body, *at)),
            Effect::Slow { piece, pause } => {
                response = response.map(|body| broken_body::slow(body, *piece, *pause));
            }
            Effect::OmitHeader(name) => {
                response.headers_mut().remove(name);
            }
            Effect::SetHeader(name, value) => {
                response.headers_mut().insert(name, value.clone());
            }
            Effect::ShiftContentRange(by) => shift(&mut response, *by),
            Effect::StuckRange => stick(&mut response, scene),
            Effect::AbsoluteLocation => relocate(&mut response, |path| format!("{}{path}", scene.own)),
            Effect::ForeignLocation => {
                relocate(&mut response, |path| format!("{}{}", scene.other, Storage::foreign(path)));
            }
            Effect::RedirectToStorage(expiry) if response.status().is_success() => {
                let address = format!("{}{}", scene.other, scene.storage.ticket(&scene.target, *expiry));
                response = Response::new(body::empty());
                *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                set(&mut response, LOCATION, &address);
            }
            _ => {}
        }
    }
    Ok(response)
}

/// Moves an upload's Location; blobs and manifests have theirs at the registry.
pub(super) fn relocate(response: &mut Response<Body>, to: impl FnOnce(&str) -> String) {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(moved) =
        location.filter(|path| path.starts_with('/') && path.contains("/blobs/uploads/")).map(to)
    {
        set(response, LOCATION, &moved);
    }
}

fn too_many(retry_after: Option<RetryAfter>, document: bool) -> Response<Body> {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = if document {
        Problem::new(status, "TOOMANYREQUESTS", "too many requests").into_response()
    } else {
        let mut response = Response::new(body::empty());
        *response.status_mut() = status;
        response
    };
    let value = retry_after.map(|retry_after| match retry_after {
        RetryAfter::Seconds(seconds) => seconds.to_string(),
        RetryAfter::Date(seconds) => {
            httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
        }
    });
    if let Some(value) = value {
        set(&mut response, RETRY_AFTER, &value);
    }
    response
}

fn shift(response: &mut Response<Body>, by: u64) {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let shifted = range.and_then(|range| {
        let (part, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = part.split_once('-')?;
        let (first, last) = (first.parse::<u64>().ok()? + by, last.parse::<u64>().ok()? + by);
        Some(format!("bytes {first}-{last}/{size}"))
    });
    if let Some(shifted) = shifted {
        set(response, CONTENT_RANGE, &shifted);
    }
}

fn stick(response: &mut Response<Body>, scene: &Scene<'_>) {
    if scene.method != Method::PATCH || response.status() != StatusCode::ACCEPTED {
        return;
    }
    let Some(range) = response.headers().get(RANGE).cloned() else { return };
    let session = scene.target.split('?').next().unwrap_or_default().to_owned();
    let first = lock(scene.first_ranges).entry(session).or_insert(range).clone();
    response.headers_mut().insert(RANGE, first);
}

fn without_mount(uri: &Uri) -> Uri {
    let others = route::parameters(uri).filter(|(name, _)| name != "mount" && name != "from");
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
    format!("{}?{query}", uri.path()).parse().unwrap_or_default()
}

fn set(response: &mut Response<Body>, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
