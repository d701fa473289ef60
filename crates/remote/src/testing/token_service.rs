//! The token endpoint: GET with Basic credentials, POST with a refresh token or a password.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::tokens::{Access, Lie, TokenRequest, TokenServer};
use crate::body::{self, Body};
use crate::server::htpasswd::basic;
use crate::server::sync::lock;
use crate::server::{Action, Dropped, Service};

/// Where it answers.
pub(super) const TOKEN_PATH: &str = "/token";
/// What an endless answer has, in bytes.
const ENDLESS: usize = 16 * 1024 * 1024;

/// What a client asked for and showed.
struct Asked {
    /// Right credentials name a user, none name nobody, and wrong ones are an error.
    user: Result<Option<String>, ()>,
    scopes: Vec<String>,
    service: Option<String>,
}

impl TokenServer {
    /// Answers one request for a token and logs it.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let method = request.method().clone();
        let asked = match method {
            Method::GET => self.by_get(&request),
            Method::POST if self.post => self.by_post(request).await,
            _ => Asked { user: Err(()), scopes: Vec::new(), service: None },
        };
        let response = match (&asked.user, &method) {
            (_, &Method::POST) if !self.post => document(StatusCode::NOT_FOUND, &json!({})),
            (Err(()), _) => {
                document(StatusCode::UNAUTHORIZED, &json!({"details": "incorrect username or password"}))
            }
            (Ok(user), _) => self.issue(user.as_deref(), &asked.scopes),
        };
        lock(&self.log).push(TokenRequest {
            method,
            user: asked.user.ok().flatten(),
            scopes: asked.scopes,
            service: asked.service,
            status: response.status(),
        });
        response
    }

    fn by_get(&self, request: &Request<Body>) -> Asked {
        let (scopes, service, _) = fields(request.uri().query().unwrap_or_default().as_bytes());
        let user = match request.headers().get(AUTHORIZATION).map(basic) {
            None => Ok(None),
            Some(Some((user, password))) if self.users.get(&user) == Some(&password) => Ok(Some(user)),
            Some(_) => Err(()),
        };
        Asked { user, scopes, service }
    }

    async fn by_post(&self, request: Request<Body>) -> Asked {
        let form = body::collect(request.into_body(), 1 << 20).await.unwrap_or_else(|_| Bytes::new());
        let (scopes, service, others) = fields(&form);
        let other = |name: &str| others.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let user = match other("grant_type") {
            Some("refresh_token") => {
                other("refresh_token").and_then(|token| self.refresh.get(token)).cloned()
            }
            Some("password") => other("username")
                .filter(|user| self.users.get(*user).map(String::as_str) == other("password"))
                .map(str::to_owned),
            _ => None,
        };
        Asked { user: user.map(Some).ok_or(()), scopes, service }
    }

    fn issue(&self, user: Option<&str>, scopes: &[String]) -> Response<Body> {
        let lie = *lock(&self.lie);
        let asked = parsed(scopes);
        let access = self.permitted(user, &asked);
        let token = match &self.signer {
            Some(signer) => signer.mint(&self.service, user.unwrap_or_default(), &access, self.ttl),
            None => format!("opaque-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        };
        let mut answer = json!({ self.field: token });
        if let Some(ttl) = self.ttl {
            answer["expires_in"] = json!(ttl.as_secs());
        }
        match lie {
            None => self.grant(&token, access),
            Some(Lie::Unaccepted) => {}
            Some(Lie::Empty) => answer[self.field] = json!(""),
            Some(Lie::Nothing) => answer = json!({}),
            Some(Lie::Endless) => answer[self.field] = json!("x".repeat(ENDLESS)),
            Some(Lie::Garbage) => return Response::new(body::full("<html>not a token</html>")),
            Some(Lie::Broken) => return document(StatusCode::INTERNAL_SERVER_ERROR, &json!({})),
        }
        document(StatusCode::OK, &answer)
    }
}

#[async_trait]
impl Service for TokenServer {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        Ok(self.answer(request).await)
    }
}

/// Scopes, service, and everything else of a query or form. One parameter may hold several scopes.
fn fields(encoded: &[u8]) -> (Vec<String>, Option<String>, Vec<(String, String)>) {
    let (mut scopes, mut service, mut others) = (Vec::new(), None, Vec::new());
    for (name, value) in url::form_urlencoded::parse(encoded).into_owned() {
        match name.as_str() {
            "scope" => scopes.extend(value.split_whitespace().map(str::to_owned)),
            "service" => service = Some(value),
            _ => others.push((name, value)),
        }
    }
    (scopes, service, others)
}

/// `repository:NAME:ACTION,ACTION`; a name may have colons of a host's port.
fn parsed(scopes: &[String]) -> Access {
    let mut access = Access::new();
    for scope in scopes {
        let Some((name, actions)) = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'))
        else {
            continue;
        };
        let known = [Action::Pull, Action::Push, Action::Delete];
        let actions =
            known.into_iter().filter(|known| actions.split(',').any(|action| action == known.name()));
        access.entry(name.to_owned()).or_default().extend(actions);
    }
    access
}

fn document(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(body::full(document.to_string()));
    *response.status_mut() = status;
    response
}
