//! Credentials of the command line, and after them those docker and podman keep.

use std::collections::HashMap;
use std::io::{ErrorKind, IsTerminal as _, Read as _};
use std::sync::Arc;

use lazyblob::remote::keychain::{Environment, Fixed, Helpers, standard};
use lazyblob::remote::{Credential, Keychain};

use super::args::HostArgs;
use super::exit::Failure;

/// A longer password is none.
const MAX_PASSWORD: u64 = 64 * 1024;

/// The keychain of a run. Files and helpers are asked only when a host asks.
pub(crate) fn keychain(hosts: &HostArgs) -> Result<Arc<dyn Keychain>, Failure> {
    let mut files: HashMap<&str, &str> =
        hosts.password_file.iter().map(|(host, file)| (host.as_str(), file.as_str())).collect();
    let mut fixed = Fixed::default();
    let mut from_stdin = None;
    for (host, user) in &hosts.creds {
        let password = match files.remove(host.as_str()) {
            Some(file) => from_file(file)?,
            None if hosts.password_stdin && from_stdin.is_none() => {
                from_stdin.insert(stdin_password()?).clone()
            }
            None => {
                let usage = format!(
                    "--creds {host}={user} needs a password: --password-file {host}=FILE, or --password-stdin for one"
                );
                return Err(Failure::Usage(usage));
            }
        };
        fixed = fixed.with(host, Credential::basic(user, password));
    }
    if let Some(host) = files.keys().next() {
        return Err(Failure::Usage(format!("--password-file {host}=… goes with --creds {host}=USER")));
    }
    let (environment, helpers) = environment();
    Ok(standard(fixed, &environment, &helpers))
}

/// Where docker and podman keep credentials, and how their helpers are run.
pub(crate) fn environment() -> (Environment, Arc<Helpers>) {
    let environment = Environment::from_env();
    let helpers = Arc::new(Helpers::new(&environment, Helpers::DEFAULT_TIMEOUT));
    (environment, helpers)
}

/// The password on standard input, without its line end.
pub(crate) fn stdin_password() -> Result<String, Failure> {
    let mut password = String::new();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return rpassword::prompt_password("Password: ").map_err(|error| match error.kind() {
            // Ctrl-C at the prompt.
            ErrorKind::Interrupted => Failure::Interrupted(2),
            _ => Failure::Local(format!("read the password: {error}")),
        });
    }
    stdin
        .lock()
        .take(MAX_PASSWORD)
        .read_to_string(&mut password)
        .map_err(|error| Failure::Local(format!("read the password from standard input: {error}")))?;
    checked(&password, "standard input")
}

fn from_file(file: &str) -> Result<String, Failure> {
    let password = std::fs::read_to_string(file)
        .map_err(|error| Failure::Local(format!("read the password from {file}: {error}")))?;
    checked(&password, file)
}

fn checked(password: &str, source: &str) -> Result<String, Failure> {
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage(format!("the password from {source} is empty")));
    }
    Ok(password.to_owned())
}
