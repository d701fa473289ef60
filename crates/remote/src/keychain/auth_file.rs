//! The JSON that docker's `config.json` and podman's `auth.json` have in common.

use std::io::ErrorKind;
use std::path::Path;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::{Credential, Helpers, Secret};
use crate::error::{Error, Result};
use crate::reference::DOCKER_HUB;

/// The key docker itself uses for Docker Hub.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How keys with a path are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scopes {
    /// Podman's: such a key is for repositories below that path alone.
    Strict,
    /// Docker's: repositories below it come first, but in want of another key it is good for the whole host.
    Lenient,
}

/// One file, parsed.
#[derive(Debug)]
pub(super) struct AuthFile<'a> {
    path: &'a Path,
    document: Map<String, Value>,
}

/// The file as JSON; nothing where it does not exist.
///
/// # Errors
/// [`Error::Io`] or [`Error::Invalid`] naming the file. Contents are never shown.
pub(super) async fn read(path: &Path) -> Result<Option<AuthFile<'_>>> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read credentials", path.display(), path, error)),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some(AuthFile { path, document: Map::new() }));
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(document)) => Ok(Some(AuthFile { path, document })),
        Ok(_) => Err(invalid(path, "it is not a JSON object")),
        // Not the parser's own words: they may quote the file.
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(invalid(path, format_args!("it is not JSON (line {line}, column {column})")))
        }
    }
}

fn invalid(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::invalid("read credentials", path.display(), reason)
}

impl<'a> AuthFile<'a> {
    /// The JSON of the file.
    pub(super) fn into_document(self) -> Map<String, Value> {
        self.document
    }

    /// The credential for `host` and `repository`: what a helper named for the host says, then what the helper for all
    /// hosts says, then what the file itself holds.
    pub(super) async fn credential(
        &self,
        host: &str,
        repository: &str,
        scopes: Scopes,
        helpers: &Helpers,
    ) -> Result<Credential> {
        if let Some((helper, server)) = self.helper(host, repository, scopes)? {
            let found = helpers.get(&helper, &server).await?;
            if found != Credential::Anonymous {
                return Ok(found);
            }
        }
        let Some(auths) = self.section("auths")? else { return Ok(Credential::Anonymous) };
        let mut entries = Vec::new();
        for (key, entry) in auths {
            if Key::of(key).is_for(host) {
                let credential = self.entry(key, entry)?;
                if credential != Credential::Anonymous {
                    entries.push((key.as_str(), credential));
                }
            }
        }
        let best = best_key(entries.iter().map(|(key, _)| *key), host, repository, scopes);
        let chosen = entries.iter().find(|(key, _)| Some(*key) == best);
        Ok(chosen.map_or(Credential::Anonymous, |(_, credential)| credential.clone()))
    }

    /// The helper for `host` and the name by which it knows the host.
    pub(super) fn helper(
        &self,
        host: &str,
        repository: &str,
        scopes: Scopes,
    ) -> Result<Option<(String, String)>> {
        // Docker's helpers know Docker Hub by an address, podman's know every host by its key.
        let docker_hub = scopes == Scopes::Lenient && canonical(host) == DOCKER_HUB;
        let server = if docker_hub { DOCKER_HUB_KEY } else { host };
        if let Some(helpers) = self.section("credHelpers")?
            && let Some(key) = best_key(helpers.keys().map(String::as_str), host, repository, scopes)
        {
            let name = helpers.get(key).and_then(Value::as_str);
            let name = name.ok_or_else(|| self.fault(format_args!("`credHelpers.{key}` is not a string")))?;
            let server = if scopes == Scopes::Strict { key } else { server };
            // An empty name is docker's way to except a host from `credsStore`.
            return Ok((!name.is_empty()).then(|| (name.to_owned(), server.to_owned())));
        }
        match self.document.get("credsStore") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) => Ok((!name.is_empty()).then(|| (name.clone(), server.to_owned()))),
            Some(_) => Err(self.fault("`credsStore` is not a string")),
        }
    }

    fn section(&self, name: &str) -> Result<Option<&Map<String, Value>>> {
        match self.document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(section)) => Ok(Some(section)),
            Some(_) => Err(self.fault(format_args!("`{name}` is not an object"))),
        }
    }

    /// What one entry of `auths` holds. An entry without anything is what docker leaves when a helper has the rest.
    fn entry(&self, key: &str, entry: &Value) -> Result<Credential> {
        let field = |name: &str| match entry.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(self.fault(format_args!("`auths.{key}.{name}` is not a string"))),
        };
        if !entry.is_object() {
            return Err(self.fault(format_args!("`auths.{key}` is not an object")));
        }
        let (registry_token, identity_token) = (field("registrytoken")?, field("identitytoken")?);
        if !registry_token.is_empty() {
            return Ok(Credential::RegistryToken(Secret::new(registry_token)));
        }
        if !identity_token.is_empty() {
            return Ok(Credential::IdentityToken(Secret::new(identity_token)));
        }
        let auth = field("auth")?;
        if auth.is_empty() {
            let (username, password) = (field("username")?, field("password")?);
            return Ok(match username {
                "" => Credential::Anonymous,
                username => Credential::basic(username, password),
            });
        }
        let (username, password) = decode(auth).ok_or_else(|| {
            self.fault(format_args!("`auths.{key}.auth` is not the base64 of USER:PASSWORD"))
        })?;
        Ok(Credential::basic(username, password))
    }

    fn fault(&self, reason: impl std::fmt::Display) -> Error {
        invalid(self.path, reason)
    }
}

/// `USER:PASSWORD` as docker writes it.
pub(super) fn encode(username: &str, password: &str) -> String {
    BASE64.encode(format!("{username}:{password}"))
}

fn decode(auth: &str) -> Option<(String, String)> {
    let plain = String::from_utf8(BASE64.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = plain.split_once(':')?;
    // Old files are padded with zero bytes.
    (!username.is_empty()).then(|| (username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// A key of `auths` or `credHelpers`: a host, with or without scheme and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    host: &'a str,
    path: &'a str,
}

impl<'a> Key<'a> {
    /// Takes a key apart. The API versions that docker once wrote are no paths.
    pub(super) fn of(key: &'a str) -> Self {
        let rest = key.split_once("://").map_or(key, |(_scheme, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: canonical(host), path }
    }

    /// Whether it is a key of `host` at all.
    pub(super) fn is_for(self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(canonical(host))
    }

    fn covers(self, repository: &str) -> bool {
        let rest = repository.strip_prefix(self.path);
        self.path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// One name for each registry: Docker Hub has several.
pub(super) fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB,
        other => other,
    }
}

/// The key that fits best: the longest path that covers `repository`, then the spelling docker itself uses, then the
/// order of the file.
pub(super) fn best_key<'k>(
    keys: impl Iterator<Item = &'k str>,
    host: &str,
    repository: &str,
    scopes: Scopes,
) -> Option<&'k str> {
    let canonical_host = canonical(host);
    let usual = if canonical_host == DOCKER_HUB { DOCKER_HUB_KEY } else { host };
    let rank = |text: &str| {
        let key = Key::of(text);
        let spelling = match text {
            text if text == usual => 2,
            text if text == canonical_host => 1,
            _ => 0,
        };
        match key.covers(repository) {
            true => Some((true, key.path.len(), spelling)),
            false => (scopes == Scopes::Lenient).then_some((false, 0, spelling)),
        }
    };
    let ranked = keys.filter(|key| Key::of(key).is_for(host)).filter_map(|key| Some((rank(key)?, key)));
    // The first of equals, where `max_by_key` would give the last.
    ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_key_wins() {
        for (keys, host, repository, scopes, best) in [
            (&["h.io", "h.io/a", "h.io/a/b"][..], "h.io", "a/b/c", Scopes::Strict, Some("h.io/a/b")),
            (&["h.io", "h.io/a", "h.io/a/b"], "h.io", "a/bc", Scopes::Strict, Some("h.io/a")),
            (&["h.io/a/b"], "h.io", "a/b", Scopes::Strict, Some("h.io/a/b")),
            (&["h.io/a"], "h.io", "ab", Scopes::Strict, None),
            (&["h.io/a"], "h.io", "b", Scopes::Lenient, Some("h.io/a")),
            (&["h.io/a", "https://h.io"], "h.io", "b", Scopes::Lenient, Some("https://h.io")),
            (&["https://h.io", "http://h.io/v2/", "h.io"], "h.io", "x", Scopes::Strict, Some("h.io")),
            (&["https://h.io/v1/", "http://h.io"], "h.io", "x", Scopes::Strict, Some("https://h.io/v1/")),
            (&["h.io"], "h.io:5000", "x", Scopes::Lenient, None),
            (&["h.io:5000"], "h.io", "x", Scopes::Lenient, None),
            (&["evil.h.io", "h.io.evil"], "h.io", "x", Scopes::Lenient, None),
            (&["docker.io", DOCKER_HUB_KEY], "docker.io", "library/x", Scopes::Lenient, Some(DOCKER_HUB_KEY)),
            (&["registry-1.docker.io", "docker.io"], "docker.io", "x", Scopes::Strict, Some("docker.io")),
            (&["index.docker.io"], "docker.io", "x", Scopes::Strict, Some("index.docker.io")),
        ] {
            let found = best_key(keys.iter().copied(), host, repository, scopes);
            assert_eq!(found, best, "{keys:?} for {host}/{repository}");
        }
    }

    #[test]
    fn auth_is_user_and_password() {
        assert_eq!(decode(&encode("u", "p:q")).unwrap(), ("u".to_owned(), "p:q".to_owned()));
        assert_eq!(decode("dTpw").unwrap(), ("u".to_owned(), "p".to_owned()));
        assert_eq!(decode("dTpwcA").unwrap().1, "pp");
        for auth in ["dTpw!", "bm9jb2xvbg==", "OnA=", "/////w=="] {
            assert_eq!(decode(auth), None, "{auth}");
        }
    }
}
