//! Bearer tokens: users, rules, what was asked for, and a server that can lie.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use tokio::time::Instant;

use super::jwt::Signer;
use crate::server::sync::lock;
use crate::server::{Action, Authorizer, Need, Refusal};

/// A token server and the registry's memory of its tokens.
#[derive(Debug)]
pub struct TokenServer {
    pub(super) service: String,
    realm: OnceLock<String>,
    pub(super) users: HashMap<String, String>,
    pub(super) refresh: HashMap<String, String>,
    rules: Vec<Rule>,
    pub(super) ttl: Option<Duration>,
    uses: Option<u32>,
    pub(super) post: bool,
    pub(super) field: &'static str,
    pub(super) signer: Option<Signer>,
    pub(super) lie: Mutex<Option<Lie>>,
    tokens: Mutex<HashMap<String, Grant>>,
    pub(super) log: Mutex<Vec<TokenRequest>>,
}

/// Who may do what; nobody in particular is anonymous.
#[derive(Clone, Debug)]
struct Rule {
    user: Option<String>,
    repository: String,
    actions: Vec<Action>,
}

/// What a token is good for, and how long.
#[derive(Clone, Debug)]
struct Grant {
    access: Access,
    expires: Option<Instant>,
    uses: Option<u32>,
}

/// Repositories and what may be done to them.
pub type Access = BTreeMap<String, BTreeSet<Action>>;

/// How a token server lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// 200 with something that is not JSON.
    Garbage,
    /// 200 with an empty token.
    Empty,
    /// 200 with a document without any token.
    Nothing,
    /// 200 with a document of many MiB.
    Endless,
    /// 500.
    Broken,
    /// 200 with a token the registry never accepts.
    Unaccepted,
}

/// One request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// GET or POST.
    pub method: http::Method,
    /// The user whose credentials were right.
    pub user: Option<String>,
    /// Every scope asked for, in its order.
    pub scopes: Vec<String>,
    /// The service named.
    pub service: Option<String>,
    /// The status of the answer.
    pub status: http::StatusCode,
}

impl TokenServer {
    /// A server for the registry called `service`. Nobody may do anything yet.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            realm: OnceLock::new(),
            users: HashMap::new(),
            refresh: HashMap::new(),
            rules: Vec::new(),
            ttl: None,
            uses: None,
            post: true,
            field: "token",
            signer: None,
            lie: Mutex::default(),
            tokens: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Knows a user by password.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.insert(name.to_owned(), password.to_owned());
        self
    }

    /// Knows a user by refresh token (`grant_type=refresh_token`).
    #[must_use]
    pub fn refresh_token(mut self, user: &str, token: &str) -> Self {
        self.refresh.insert(token.to_owned(), user.to_owned());
        self
    }

    /// Lets a user do something to a repository; `*` is any.
    #[must_use]
    pub fn allow(mut self, user: &str, repository: &str, actions: &[Action]) -> Self {
        self.rules.push(Rule {
            user: Some(user.to_owned()),
            repository: repository.to_owned(),
            actions: actions.to_vec(),
        });
        self
    }

    /// Lets everybody do something to a repository; `*` is any.
    #[must_use]
    pub fn allow_everybody(mut self, repository: &str, actions: &[Action]) -> Self {
        self.rules.push(Rule { user: None, repository: repository.to_owned(), actions: actions.to_vec() });
        self
    }

    /// Tokens end after this time, and say so in `expires_in`.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Tokens end after so many requests, and do not say so.
    #[must_use]
    pub fn uses(mut self, uses: u32) -> Self {
        self.uses = Some(uses);
        self
    }

    /// Answers POST with 404, as some do.
    #[must_use]
    pub fn without_post(mut self) -> Self {
        self.post = false;
        self
    }

    /// Calls the token `access_token` in its answers.
    #[must_use]
    pub fn as_access_token(mut self) -> Self {
        self.field = "access_token";
        self
    }

    /// Names this address as the place to get tokens, wherever it really is.
    #[must_use]
    pub fn realm(self, realm: &str) -> Self {
        self.set_realm(realm);
        self
    }

    /// Signs its tokens, so that another registry accepts them too.
    #[must_use]
    pub fn signing(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Lies from now on, or not any more.
    pub fn lie(&self, lie: Option<Lie>) {
        *lock(&self.lie) = lie;
    }

    /// No token given out so far is accepted any more.
    pub fn revoke_all(&self) {
        lock(&self.tokens).clear();
    }

    /// Every request for a token so far.
    #[must_use]
    pub fn requests(&self) -> Vec<TokenRequest> {
        lock(&self.log).clone()
    }

    /// The first realm said counts.
    pub(super) fn set_realm(&self, realm: &str) {
        let _ = self.realm.set(realm.to_owned());
    }

    /// What of `asked` a user may do.
    pub(super) fn permitted(&self, user: Option<&str>, asked: &Access) -> Access {
        let may = |repository: &str, action: Action| {
            self.rules.iter().any(|rule| {
                (rule.user.is_none() || rule.user.as_deref() == user)
                    && (rule.repository == "*" || rule.repository == repository)
                    && rule.actions.contains(&action)
            })
        };
        let permitted = asked.iter().map(|(repository, actions)| {
            let actions = actions.iter().copied().filter(|action| may(repository, *action));
            (repository.clone(), actions.collect::<BTreeSet<_>>())
        });
        permitted.filter(|(_, actions)| !actions.is_empty()).collect()
    }

    /// Remembers a token.
    pub(super) fn grant(&self, token: &str, access: Access) {
        let expires = self.ttl.map(|ttl| Instant::now() + ttl);
        lock(&self.tokens).insert(token.to_owned(), Grant { access, expires, uses: self.uses });
    }

    /// The access a token gives, or nothing where it is not good (any more).
    fn redeem(&self, token: &str) -> Option<Access> {
        let mut tokens = lock(&self.tokens);
        let grant = tokens.get_mut(token)?;
        if grant.expires.is_some_and(|expires| Instant::now() >= expires) {
            return None;
        }
        if let Some(uses) = &mut grant.uses {
            *uses = uses.checked_sub(1)?;
        }
        Some(grant.access.clone())
    }

    fn challenge(&self, needs: &[Need], error: Option<&str>) -> Refusal {
        let mut scopes: Vec<String> = Vec::new();
        let mut access = Access::new();
        let mut order: Vec<&str> = Vec::new();
        for need in needs {
            if !order.contains(&need.repository.as_str()) {
                order.push(&need.repository);
            }
            access.entry(need.repository.clone()).or_default().insert(need.action);
        }
        for repository in order {
            let actions: Vec<_> = access[repository].iter().map(|action| action.name()).collect();
            scopes.push(format!("repository:{repository}:{}", actions.join(",")));
        }
        let realm = self.realm.get().map(String::as_str).unwrap_or_default();
        let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{}\"", self.service);
        if !scopes.is_empty() {
            challenge.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
        }
        if let Some(error) = error {
            challenge.push_str(&format!(",error=\"{error}\""));
        }
        Refusal::Challenge(HeaderValue::try_from(challenge).into_iter().collect())
    }
}

#[async_trait]
impl Authorizer for TokenServer {
    async fn authorize(&self, headers: &HeaderMap, needs: &[Need]) -> Result<(), Refusal> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token else { return Err(self.challenge(needs, None)) };
        let Some(access) = self.redeem(token) else {
            return Err(self.challenge(needs, Some("invalid_token")));
        };
        let covered =
            |need: &Need| access.get(&need.repository).is_some_and(|actions| actions.contains(&need.action));
        if needs.iter().all(covered) {
            return Ok(());
        }
        Err(self.challenge(needs, Some("insufficient_scope")))
    }
}
