//! Writing credentials where docker looks for them.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::auth_file::{self, Key, Scopes, best_key, encode};
use super::{Credential, Environment, Helpers, Secret};
use crate::error::{Error, Result};
use crate::reference::DOCKER_HUB;

/// Logs in and out: in docker's `config.json`, or in the helper it names.
#[derive(Debug)]
pub struct Login {
    file: PathBuf,
    helpers: Arc<Helpers>,
}

impl Login {
    /// Logins in the configuration at `file`, which need not exist yet.
    pub fn at(file: impl Into<PathBuf>, helpers: Arc<Helpers>) -> Self {
        Self { file: file.into(), helpers }
    }

    /// Logins in the configuration `environment` leads to.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it leads nowhere.
    pub fn of(environment: &Environment, helpers: Arc<Helpers>) -> Result<Self> {
        let file = environment.docker_config_file().ok_or_else(|| {
            Error::invalid(
                "find docker's configuration",
                "config.json",
                "neither DOCKER_CONFIG nor HOME is set",
            )
        })?;
        Ok(Self { file, helpers })
    }

    /// Keeps `credential` for `host` (`HOST[:PORT]`, `docker.io` for Docker Hub). What else the file holds stays as it
    /// is, in its order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a user name with a colon or a malformed file, [`Error::Io`], or what the helper says.
    pub async fn store(&self, host: &str, credential: &Credential) -> Result<()> {
        let host = auth_file::canonical(host);
        let (username, secret, inline) = spelled(host, credential)?;
        let file = auth_file::read(&self.file).await?;
        let helper = match &file {
            Some(file) => file.helper(host, "", Scopes::Lenient)?,
            None => None,
        };
        let mut document = file.map(auth_file::AuthFile::into_document).unwrap_or_default();
        let entry = match helper {
            Some((helper, server)) => {
                self.helpers.store(&helper, &server, username, secret).await?;
                // As docker does: the entry says that there is a login, the helper has it.
                json!({})
            }
            None => inline,
        };
        let auths = self.auths(&mut document)?;
        let usual = if host == DOCKER_HUB { auth_file::DOCKER_HUB_KEY } else { host };
        let key =
            best_key(auths.keys().map(String::as_str), host, "", Scopes::Strict).unwrap_or(usual).to_owned();
        auths.insert(key, entry);
        self.replace(document).await
    }

    /// Forgets what is kept for `host`, and says whether there was anything.
    ///
    /// # Errors
    /// As [`Login::store`].
    pub async fn erase(&self, host: &str) -> Result<bool> {
        let host = auth_file::canonical(host);
        let Some(file) = auth_file::read(&self.file).await? else { return Ok(false) };
        let mut known = false;
        if let Some((helper, server)) = file.helper(host, "", Scopes::Lenient)? {
            known = self.helpers.erase(&helper, &server).await?;
        }
        let mut document = file.into_document();
        let auths = self.auths(&mut document)?;
        let before = auths.len();
        auths.retain(|key, _| !Key::of(key).is_for(host));
        if auths.len() == before {
            return Ok(known);
        }
        self.replace(document).await?;
        Ok(true)
    }

    fn auths<'d>(&self, document: &'d mut Map<String, Value>) -> Result<&'d mut Map<String, Value>> {
        document.entry("auths").or_insert_with(|| json!({})).as_object_mut().ok_or_else(|| {
            Error::invalid("write credentials", self.file.display(), "`auths` is not an object")
        })
    }

    async fn replace(&self, document: Map<String, Value>) -> Result<()> {
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || replace(&file, &document)).await;
        written
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| Error::io("write credentials", self.file.display(), &self.file, error))
    }
}

/// User name and secret for a helper, and the entry for the file.
fn spelled<'c>(host: &str, credential: &'c Credential) -> Result<(&'c str, &'c Secret, Value)> {
    let fault = |reason: &str| Error::invalid("write credentials", host, reason);
    match credential {
        Credential::Basic { username, .. } if username.is_empty() || username.contains(':') => {
            Err(fault("a user name is not empty and has no colon"))
        }
        Credential::Basic { username, password } => {
            let auth = encode(username, password.expose());
            Ok((username, password, json!({ "auth": auth })))
        }
        Credential::IdentityToken(token) => {
            Ok(("<token>", token, json!({ "identitytoken": token.expose() })))
        }
        Credential::RegistryToken(_) => Err(fault("a bearer token is not kept: it ends by itself")),
        Credential::Anonymous => Err(fault("there is no credential to keep")),
    }
}

/// Puts the document in the place of the file, in one step and for its owner alone.
fn replace(file: &Path, document: &Map<String, Value>) -> std::io::Result<()> {
    // A link stays a link; what it leads to is replaced.
    let file = match std::fs::canonicalize(file) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let directory = match file.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    create_private(directory)?;
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
    text.push(b'\n');
    // Made with mode 0600.
    let mut temporary = tempfile::Builder::new().prefix(".config.json.").tempfile_in(directory)?;
    temporary.write_all(&text)?;
    temporary.as_file().sync_all()?;
    temporary.persist(&file).map_err(|error| error.error)?;
    #[cfg(unix)]
    std::fs::File::open(directory)?.sync_all()?;
    Ok(())
}

fn create_private(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
