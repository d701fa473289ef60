//! Users and bcrypt hashes of an htpasswd file.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::auth::{Authorizer, Need, Refusal, only_reads};
use super::sync::lock;
use crate::digest::sha256;
use crate::error::{Error, Result};

/// What clients without credentials may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nothing.
    #[default]
    Nothing,
    /// Read.
    Read,
}

/// Lets the users of an htpasswd file do everything.
pub struct Htpasswd {
    users: HashMap<String, String>,
    anonymous: Anonymous,
    /// Hashes of credentials that were right: bcrypt is slow on purpose, and a push asks hundreds of times.
    known: Mutex<HashSet<String>>,
    /// Verified where the user is unknown, so that an answer's time does not tell which users exist.
    decoy: Option<String>,
}

impl Htpasswd {
    /// Reads a file of `user:hash` lines; bcrypt is the only hash.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Invalid`] for a line that is no such pair.
    pub fn read(path: &Path, anonymous: Anonymous) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::io("read htpasswd", path.display(), path, e))?;
        Self::parse(&text, anonymous, &path.display().to_string())
    }

    /// Reads the text of such a file; `source` is named in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &str, anonymous: Anonymous, source: &str) -> Result<Self> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let invalid =
                |reason| Error::invalid("read htpasswd", source, format!("line {}: {reason}", at + 1));
            let (user, hash) = line.split_once(':').ok_or_else(|| invalid("not USER:HASH"))?;
            if !["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) {
                return Err(invalid("only bcrypt hashes ($2a$, $2b$, $2y$) are supported"));
            }
            users.insert(user.to_owned(), hash.to_owned());
        }
        let decoy = users.values().next().cloned();
        Ok(Self { users, anonymous, known: Mutex::default(), decoy })
    }

    async fn is_right(&self, user: &str, password: &str) -> bool {
        let stored = self.users.get(user);
        let Some(hash) = stored.or(self.decoy.as_ref()).cloned() else { return false };
        // The stored hash is part of what is remembered, so what is known is known of exactly this password.
        let known = sha256(format!("{hash}\0{user}\0{password}").as_bytes()).to_string();
        if stored.is_some() && lock(&self.known).contains(&known) {
            return true;
        }
        let password = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        let right = verified.await.unwrap_or(false) && stored.is_some();
        if right {
            lock(&self.known).insert(known);
        }
        right
    }
}

#[async_trait]
impl Authorizer for Htpasswd {
    async fn authorize(&self, headers: &HeaderMap, needs: &[Need]) -> Result<(), Refusal> {
        // Some clients say "nobody" by empty credentials. `/v2/` is always challenged: there clients learn whether it is
        // worth sending any.
        let nobody = || self.anonymous == Anonymous::Read && !needs.is_empty() && only_reads(needs);
        let admitted = match headers.get(AUTHORIZATION).map(basic) {
            None => nobody(),
            Some(Some((user, password))) if user.is_empty() && password.is_empty() => nobody(),
            Some(Some((user, password))) => self.is_right(&user, &password).await,
            Some(None) => false,
        };
        if admitted {
            return Ok(());
        }
        Err(Refusal::Challenge(vec![HeaderValue::from_static("Basic realm=\"lazyblob\"")]))
    }
}

/// User and password of a Basic header (RFC 7617).
pub(crate) fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

impl std::fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = self.users.len();
        f.debug_struct("Htpasswd")
            .field("users", &users)
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}
