//! What a build is given on the command line: directories, layouts, secrets, agents.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use lazyblob::worker::session::Secret;
use lazyblob::worker::spec;

use crate::cli::exit::Failure;

/// The largest secret that is taken, in bytes (BuildKit's limit).
const SECRET: u64 = 500 * 1024;

/// `NAME=DIR`.
pub(crate) fn named_directory(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => Ok((name.to_owned(), dir.into())),
        _ => Err("it must be NAME=DIR".to_owned()),
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    File(PathBuf),
    Variable(String),
}

/// `id=ID[,src=FILE|,env=NAME]`: without either, the variable called ID if there is one, else the file.
pub(crate) fn secret(text: &str) -> Result<(String, SecretSource), String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for (key, value) in spec::attributes("secret", text).map_err(|error| error.to_string())? {
        let slot = match &*key {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            _ => return Err(format!("`{key}` is not known: there are id, src, env and type")),
        };
        *slot = Some(value);
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("a secret needs an id: id=ID,src=FILE")?;
    let source = match (kind.as_deref(), file, variable) {
        (None | Some("file"), Some(file), None) => SecretSource::File(file.into()),
        (None | Some("env"), None, Some(variable)) => SecretSource::Variable(variable),
        // As with buildctl, a source of type env may be given in src.
        (Some("env"), Some(variable), None) => SecretSource::Variable(variable),
        (Some("file"), None, None) => SecretSource::File(id.clone().into()),
        (Some("env"), None, None) => SecretSource::Variable(id.clone()),
        (None, None, None) if std::env::var_os(&id).is_some() => SecretSource::Variable(id.clone()),
        (None, None, None) => SecretSource::File(id.clone().into()),
        (Some(kind), ..) if kind != "file" && kind != "env" => {
            return Err(format!("type `{kind}` is not known: there are file and env"));
        }
        _ => {
            return Err(
                "a secret is in a file (src=FILE) or in a variable (env=NAME), not in both".to_owned()
            );
        }
    };
    Ok((id, source))
}

/// Reads secrets. What they are is shown nowhere.
pub(super) fn secrets(given: &[(String, SecretSource)]) -> Result<BTreeMap<String, Secret>, Failure> {
    let mut secrets = BTreeMap::new();
    for (id, source) in given {
        let secret = match source {
            SecretSource::Variable(name) => std::env::var_os(name)
                .ok_or_else(|| Failure::Usage(format!("--secret id={id}: the variable {name} is not set")))?
                .into_vec(),
            SecretSource::File(path) => read(id, path)?,
        };
        secrets.insert(id.clone(), Secret::new(secret));
    }
    Ok(secrets)
}

fn read(id: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Local(format!("read secret {id}: {}: {error}", path.display()))
    };
    let length = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > SECRET {
        return Err(failed(&format_args!("it has {length} bytes, past the limit of {SECRET}")));
    }
    std::fs::read(path).map_err(|error| failed(&error))
}

/// `default` or `ID[=SOCKET]`; without a socket that of `$SSH_AUTH_SOCK`.
pub(crate) fn agent(text: &str) -> Result<(String, Option<PathBuf>), String> {
    match text.split_once('=') {
        None if !text.is_empty() => Ok((text.to_owned(), None)),
        Some((id, socket)) if !id.is_empty() && !socket.is_empty() => {
            Ok((id.to_owned(), Some(socket.into())))
        }
        _ => Err("it must be ID or ID=SOCKET".to_owned()),
    }
}

/// The sockets of agents, each looked at.
pub(super) fn agents(given: &[(String, Option<PathBuf>)]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    use std::os::unix::fs::FileTypeExt as _;
    let mut agents = BTreeMap::new();
    for (id, socket) in given {
        let socket = match socket {
            Some(socket) => socket.clone(),
            None => std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from).ok_or_else(|| {
                let usage = format!(
                    "--ssh {id}: there is no agent: $SSH_AUTH_SOCK is not set, and no socket is named"
                );
                Failure::Usage(usage)
            })?,
        };
        let found = std::fs::metadata(&socket)
            .map_err(|error| Failure::Local(format!("--ssh {id}: {}: {error}", socket.display())))?;
        if !found.file_type().is_socket() {
            let usage = format!("--ssh {id}: {}: not the socket of an agent", socket.display());
            return Err(Failure::Usage(usage));
        }
        agents.insert(id.clone(), socket);
    }
    Ok(agents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_as_with_buildctl() {
        let file = |file: &str| SecretSource::File(file.into());
        let variable = |name: &str| SecretSource::Variable(name.to_owned());
        assert_eq!(secret("id=a,src=/b"), Ok(("a".to_owned(), file("/b"))));
        assert_eq!(secret("src=/b,id=a,type=file"), Ok(("a".to_owned(), file("/b"))));
        assert_eq!(secret("id=a,env=B"), Ok(("a".to_owned(), variable("B"))));
        assert_eq!(secret("id=a,type=env,src=B"), Ok(("a".to_owned(), variable("B"))));
        assert_eq!(secret("id=PATH"), Ok(("PATH".to_owned(), variable("PATH"))));
        assert_eq!(
            secret("id=no.such.variable"),
            Ok(("no.such.variable".to_owned(), file("no.such.variable")))
        );
        for wrong in ["", "id=", "a", "src=/b", "id=a,src=b,env=c", "id=a,type=vault", "id=a,colour=red"] {
            assert!(secret(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn agents_have_ids() {
        assert_eq!(agent("default"), Ok(("default".to_owned(), None)));
        assert_eq!(agent("a=/s"), Ok(("a".to_owned(), Some("/s".into()))));
        assert!(agent("").is_err() && agent("=/s").is_err() && agent("a=").is_err());
        assert!(agents(&[("a".to_owned(), Some("/dev/null".into()))]).is_err(), "no socket");
    }

    #[test]
    fn a_secret_that_is_not_there_is_named_and_not_shown() {
        let missing = secrets(&[("a".to_owned(), SecretSource::File("/nonexistent/b".into()))]).unwrap_err();
        assert!(missing.to_string().contains("secret a: /nonexistent/b"), "{missing}");
    }
}
