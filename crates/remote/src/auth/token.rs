//! Asking a token server for a token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::Secrets;
use crate::body;
use crate::error::{Error, Result, What};
use crate::keychain::{Credential, Secret};

/// A longer answer is no token.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Docker's token specification: the life of a token whose server does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A bearer token and when it stops being one.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    pub(crate) expires: Instant,
}

/// What to ask for, and where.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) credential: Credential,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds. What is not a number of them counts as not said.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl TokenRequest {
    /// The request to send: a GET, or for an identity token a POST.
    pub(crate) fn build(&self) -> Result<Request<body::Body>> {
        match &self.credential {
            Credential::IdentityToken(token) => self.post(token),
            other => self.get(other),
        }
    }

    /// The GET to fall back to where a server does not know the POST (404, 405) or does not like it (400, 401).
    pub(crate) fn fallback(&self, status: StatusCode) -> Option<Result<Request<body::Body>>> {
        let Credential::IdentityToken(token) = &self.credential else { return None };
        let unknown = matches!(
            status,
            StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::BAD_REQUEST
                | StatusCode::UNAUTHORIZED
        );
        let as_password = Credential::Basic { username: String::new(), password: token.clone() };
        unknown.then(|| self.get(&as_password))
    }

    fn get(&self, credential: &Credential) -> Result<Request<body::Body>> {
        let mut address = self.realm.clone();
        {
            let mut query = address.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in &self.scopes {
                query.append_pair("scope", scope);
            }
        }
        let mut request = Request::builder().method(Method::GET).uri(address.as_str());
        if let Credential::Basic { username, password } = credential {
            request = request.header(header::AUTHORIZATION, basic(username, password));
        }
        self.finish(request, body::empty())
    }

    fn post(&self, token: &Secret) -> Result<Request<body::Body>> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token.expose())
            .append_pair("client_id", "lazyblob")
            .append_pair("scope", &self.scopes.join(" "));
        if let Some(service) = &self.service {
            form.append_pair("service", service);
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.realm.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.finish(request, body::full(form.finish()))
    }

    fn finish(&self, request: http::request::Builder, body: body::Body) -> Result<Request<body::Body>> {
        request.body(body).map_err(|error| Error::invalid("get token", self.server(), error))
    }

    /// What must not come out of the token server's answers.
    pub(crate) fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add_credential(&self.credential);
        secrets
    }

    /// The token server without the query.
    pub(crate) fn server(&self) -> String {
        let mut server = self.realm.clone();
        server.set_query(None);
        let _ = server.set_password(None);
        let _ = server.set_username("");
        server.to_string()
    }
}

/// Reads a token server's answer of status 200.
pub(crate) async fn read(request: &TokenRequest, answer: body::Body) -> Result<Token> {
    let what = || What::new("get token", format_args!("from {}", request.server()));
    let bytes =
        body::collect(answer, MAX_ANSWER).await.map_err(|error| match error.is::<body::TooLong>() {
            true => {
                Error::Unauthorized { what: what(), reason: format!("the token server's answer: {error}") }
            }
            false => Error::broken("get token", format_args!("from {}", request.server()), &error),
        })?;
    // The answer is never quoted: it may hold a token.
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| Error::Unauthorized {
        what: what(),
        reason: "the token server's answer is not the JSON document it should be".to_owned(),
    })?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let token = token.filter(|token| http::HeaderValue::from_str(token).is_ok()).ok_or_else(|| {
        Error::Unauthorized { what: what(), reason: "the token server's answer holds no token".to_owned() }
    })?;
    let life =
        answer.expires_in.as_u64().map_or(DEFAULT_LIFE, Duration::from_secs).max(Duration::from_secs(1));
    // A tenth of its life, but no more than ten seconds, is left for the request that will carry it.
    let usable = life - (life / 10).min(Duration::from_secs(10));
    let now = Instant::now();
    Ok(Token { secret: Secret::new(token), expires: now.checked_add(usable).unwrap_or(now + DEFAULT_LIFE) })
}

/// The value of an `Authorization` field for Basic.
pub(crate) fn basic(username: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose())))
}
