//! The variables of a command.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::llb::pb::{ExecOp, Meta, ProxyEnv};
use crate::session::Session;

use super::secret;

/// Where programs are looked for if nothing is said (BuildKit's own).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `NAME=VALUE`, of each name once: those of the definition, then proxies and `PATH` where it does not set them, and secrets
/// over all of them.
///
/// # Errors
/// [`Error::Failed`] for a secret that no session has, or that no variable can hold.
pub(super) fn of(op: &ExecOp, meta: &Meta, sessions: &[Arc<Session>]) -> Result<Vec<String>> {
    let mut env = meta.env.clone();
    if let Some(proxies) = &meta.proxy_env {
        for (name, value) in proxies_of(proxies) {
            // Programs do not agree on which of the two they read.
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                add(&mut env, &name, value);
            }
        }
    }
    add(&mut env, "PATH", PATH);
    for wanted in &op.secretenv {
        let Some(secret) = secret::find(sessions, &wanted.id, wanted.optional)? else { continue };
        let unfit = |what: &str| {
            Error::failed(
                "use secret",
                &wanted.id,
                format!("{what}, which no variable can hold: mount it as a file"),
            )
        };
        // The configuration of a runtime is JSON.
        let secret = std::str::from_utf8(secret.expose()).map_err(|_| unfit("it is not UTF-8"))?;
        if secret.contains('\0') {
            return Err(unfit("it has a NUL in it"));
        }
        env.retain(|set| !is_of(set, &wanted.name));
        env.push(format!("{}={secret}", wanted.name));
    }
    Ok(env)
}

fn proxies_of(proxies: &ProxyEnv) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [
        ("HTTP_PROXY", proxies.http_proxy.as_str()),
        ("HTTPS_PROXY", proxies.https_proxy.as_str()),
        ("FTP_PROXY", proxies.ftp_proxy.as_str()),
        ("NO_PROXY", proxies.no_proxy.as_str()),
        ("ALL_PROXY", proxies.all_proxy.as_str()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty())
}

fn add(env: &mut Vec<String>, name: &str, value: &str) {
    if !env.iter().any(|set| is_of(set, name)) {
        env.push(format!("{name}={value}"));
    }
}

/// Whether `set` sets this variable.
fn is_of(set: &str, name: &str) -> bool {
    set.split('=').next() == Some(name)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::llb::pb::SecretEnv;
    use crate::session::Secret;

    fn session() -> Vec<Arc<Session>> {
        let secrets = [
            ("token".to_owned(), Secret::new("hunter2")),
            ("nul".to_owned(), Secret::new("a\0b")),
            ("raw".to_owned(), Secret::new(b"a\xffb")),
        ];
        vec![Arc::default(), Arc::new(Session { secrets: secrets.into(), ..Session::default() })]
    }

    fn secret(id: &str, name: &str, optional: bool) -> SecretEnv {
        SecretEnv { id: id.to_owned(), name: name.to_owned(), optional }
    }

    fn env(meta: &Meta, secretenv: Vec<SecretEnv>) -> Result<Vec<String>> {
        of(&ExecOp { secretenv, ..ExecOp::default() }, meta, &session())
    }

    #[test]
    fn a_path_and_proxies_are_set_where_the_definition_does_not() {
        let meta = Meta { env: vec!["A=1".to_owned()], ..Meta::default() };
        assert_eq!(env(&meta, vec![]).unwrap(), ["A=1".to_owned(), format!("PATH={PATH}")]);
        let proxy_env = Some(ProxyEnv {
            http_proxy: "http://p".to_owned(),
            no_proxy: "local".to_owned(),
            ..ProxyEnv::default()
        });
        let env_of = ["PATH=/bin", "http_proxy=own"].map(str::to_owned).to_vec();
        let meta = Meta { env: env_of, proxy_env, ..Meta::default() };
        let wanted =
            ["PATH=/bin", "http_proxy=own", "HTTP_PROXY=http://p", "NO_PROXY=local", "no_proxy=local"];
        assert_eq!(env(&meta, vec![]).unwrap(), wanted);
    }

    #[test]
    fn secrets_take_the_place_of_variables_and_are_in_no_error() {
        let meta =
            Meta { env: ["PATH=/bin", "T=old", "TT=x"].map(str::to_owned).to_vec(), ..Meta::default() };
        let wanted = vec![secret("token", "T", false), secret("none", "N", true)];
        assert_eq!(env(&meta, wanted).unwrap(), ["PATH=/bin", "TT=x", "T=hunter2"]);
        let missing = env(&meta, vec![secret("none", "N", false)]).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
        let bad = env(&meta, vec![secret("nul", "N", false)]).unwrap_err().to_string();
        assert!(bad.contains("nul") && !bad.contains('\0'), "{bad}");
        let bad = env(&meta, vec![secret("raw", "N", false)]).unwrap_err().to_string();
        assert!(bad.contains("raw: it is not UTF-8") && !bad.contains('\u{fffd}'), "{bad}");
    }
}
