//! Credential helpers: programs `docker-credential-NAME` that speak docker's protocol over stdin and stdout.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::memo::Answers;
use super::{Credential, Environment, Secret};
use crate::error::{Error, Result, What, printable};

/// More than this many bytes of a helper's output are not read.
const LONGEST_OUTPUT: u64 = 1 << 20;

/// Runs helpers, each with a time limit. What a helper said is kept, so that it is asked once for each server.
#[derive(Debug)]
pub struct Helpers {
    path: Option<OsString>,
    timeout: Duration,
    answers: Answers,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What a helper did.
struct Outcome {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Helpers {
    /// How long a helper may take where nothing else is said: it may have to ask its user.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

    /// Helpers of the `PATH` in `environment`; each may take `timeout`.
    #[must_use]
    pub fn new(environment: &Environment, timeout: Duration) -> Self {
        Self { path: environment.path.clone(), timeout, answers: Answers::default() }
    }

    /// The credential that the helper `name` has for `server`; [`Credential::Anonymous`] where it says that it has none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is no helper's; [`Error::Unauthorized`] where the helper is not on `PATH`,
    /// fails, hangs or talks nonsense.
    pub async fn get(&self, name: &str, server: &str) -> Result<Credential> {
        let question = (name.to_owned(), server.to_owned());
        self.answers.get(question, self.ask(name, server)).await
    }

    async fn ask(&self, name: &str, server: &str) -> Result<Credential> {
        let outcome = self.run(name, "get", server.as_bytes()).await?;
        if !outcome.success {
            return if outcome.is_not_found() {
                Ok(Credential::Anonymous)
            } else {
                Err(failed(name, "get", outcome.message()))
            };
        }
        let entry: Entry = serde_json::from_slice(&outcome.stdout)
            .map_err(|_| failed(name, "get", "its answer is not the JSON of a credential"))?;
        Ok(match (entry.username.as_str(), entry.secret.as_str()) {
            ("", "") => Credential::Anonymous,
            _ => Credential::basic(entry.username, entry.secret),
        })
    }

    /// Hands `username` and `secret` for `server` to the helper `name` for keeping. The user name `<token>` marks an
    /// identity token.
    ///
    /// # Errors
    /// As [`Helpers::get`].
    pub async fn store(&self, name: &str, server: &str, username: &str, secret: &Secret) -> Result<()> {
        let entry = Entry {
            server_url: server.to_owned(),
            username: username.to_owned(),
            secret: secret.expose().to_owned(),
        };
        let input = serde_json::to_vec(&entry).map_err(|_| failed(name, "store", "not representable"))?;
        self.answers.clear();
        let outcome = self.run(name, "store", &input).await?;
        if outcome.success { Ok(()) } else { Err(failed(name, "store", outcome.message())) }
    }

    /// Has the helper `name` forget `server`, and says whether it knew it.
    ///
    /// # Errors
    /// As [`Helpers::get`].
    pub async fn erase(&self, name: &str, server: &str) -> Result<bool> {
        self.answers.clear();
        let outcome = self.run(name, "erase", server.as_bytes()).await?;
        if outcome.success || outcome.is_not_found() {
            Ok(outcome.success)
        } else {
            Err(failed(name, "erase", outcome.message()))
        }
    }

    /// User names by server, as the helper `name` knows them.
    ///
    /// # Errors
    /// As [`Helpers::get`].
    pub async fn list(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let outcome = self.run(name, "list", b"").await?;
        if !outcome.success {
            return Err(failed(name, "list", outcome.message()));
        }
        serde_json::from_slice(&outcome.stdout)
            .map_err(|_| failed(name, "list", "its answer is not a JSON object of user names by server"))
    }

    async fn run(&self, name: &str, action: &'static str, input: &[u8]) -> Result<Outcome> {
        let program = self.find(name)?;
        let unusable = |error: std::io::Error| failed(name, action, error);
        let mut child = Command::new(program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(unusable)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exchange = async {
            let feed = async move {
                if let Some(mut stdin) = stdin {
                    // A helper that does not care for its input may be gone before it is written.
                    let _written = stdin.write_all(input).await;
                }
            };
            let ((), stdout, stderr, status) = tokio::join!(feed, drain(stdout), drain(stderr), child.wait());
            Ok(Outcome { success: status?.success(), stdout: stdout?, stderr: stderr? })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome.map_err(unusable),
            Err(_) => Err(failed(name, action, format_args!("no answer within {:?}", self.timeout))),
        }
    }

    /// The program of the helper `name`.
    fn find(&self, name: &str) -> Result<PathBuf> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(legal) {
            let reason = "its name is not made of letters, digits, `-`, `_` and `.`";
            return Err(Error::invalid("run credential helper", format_args!("`{name}`"), reason));
        }
        let program = format!("docker-credential-{name}{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(self.path.as_deref().unwrap_or_default())
            .map(|directory| directory.join(&program))
            // An empty or relative entry would run what lies in the working directory.
            .find(|candidate| candidate.is_absolute() && candidate.is_file())
            .ok_or_else(|| failed(name, "find", "there is no such program on PATH"))
    }
}

impl Outcome {
    /// Docker's helpers have a fixed sentence for it and no code.
    fn is_not_found(&self) -> bool {
        [&self.stdout, &self.stderr].into_iter().any(|output| {
            String::from_utf8_lossy(output).to_ascii_lowercase().contains("credentials not found")
        })
    }

    /// The first line of what a failed helper said. What looks like a credential is not shown.
    fn message(&self) -> String {
        let said = [&self.stdout, &self.stderr].into_iter().map(|output| String::from_utf8_lossy(output));
        said.filter(|text| !text.contains(['{', '}']))
            .filter_map(|text| text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned))
            .map(|line| printable(&line).chars().take(200).collect())
            .next()
            .unwrap_or_else(|| "it failed without a word".to_owned())
    }
}

async fn drain(output: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(LONGEST_OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn failed(name: &str, action: &'static str, reason: impl std::fmt::Display) -> Error {
    let object = format!("docker-credential-{name}");
    Error::Unauthorized {
        what: What::new("run credential helper", object),
        reason: format!("`{action}` failed: {reason}"),
    }
}
