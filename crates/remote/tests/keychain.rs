//! Credential files, helpers and logins on a real file system, with real helper programs.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lazyblob_remote::keychain::{
    Credential, DockerConfig, Environment, Fixed, Helpers, Keychain, Login, Podman, Secret, standard,
};
use lazyblob_remote::{Error, Result};
use tempfile::TempDir;

const SECRET: &str = "s3cr3t";

/// A home directory, with helpers in `bin`.
struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(home.path("bin")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn environment(&self) -> Environment {
        Environment {
            home: Some(self.path("")),
            docker_config: Some(self.path("docker")),
            xdg_runtime_dir: Some(self.path("run")),
            path: Some(self.path("bin").into()),
            ..Environment::default()
        }
    }

    fn helpers(&self) -> Arc<Helpers> {
        Arc::new(Helpers::new(&self.environment(), Helpers::DEFAULT_TIMEOUT))
    }

    fn docker(&self) -> DockerConfig {
        DockerConfig::of(&self.environment(), self.helpers())
    }

    fn podman(&self) -> Podman {
        Podman::of(&self.environment(), self.helpers())
    }

    fn login(&self) -> Login {
        Login::of(&self.environment(), self.helpers()).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes a helper. A child writes it: while a file is open for writing in this process, another test's fork would
    /// keep it from being run.
    fn helper(&self, name: &str, script: &str) {
        let file = self.path(&format!("bin/docker-credential-{name}"));
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\ndir={}\n{script}\n", self.directory.path().display());
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }
}

/// What a keychain says, in short: `user:password`, `id:token`, `bearer:token`, `-`, or the error.
fn short(answer: Result<Credential>) -> String {
    match answer {
        Ok(Credential::Anonymous) => "-".to_owned(),
        Ok(Credential::Basic { username, password }) => format!("{username}:{}", password.expose()),
        Ok(Credential::IdentityToken(token)) => format!("id:{}", token.expose()),
        Ok(Credential::RegistryToken(token)) => format!("bearer:{}", token.expose()),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

async fn said(keychain: &dyn Keychain, host: &str, repository: &str) -> String {
    short(keychain.credential(host, repository).await)
}

#[tokio::test]
async fn docker_s_file_is_read_in_all_its_forms() {
    let home = Home::new();
    assert_eq!(said(&home.docker(), "h.io", "r").await, "-");
    // dTpw is u:p, PHRva2VuPjppZA== is <token>:id.
    home.write(
        "docker/config.json",
        r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "plain.io": {"username": "u", "password": "q"},
            "https://schemed.io/v2/": {"auth": "dTpw"},
            "id.io": {"auth": "dTpw", "identitytoken": "i"},
            "bearer.io": {"identitytoken": "i", "registrytoken": "b"},
            "token.io": {"auth": "PHRva2VuPjppZA=="},
            "empty.io": {}, "null.io": {"auth": null},
            "port.io:5000": {"auth": "dTpw"},
            "two.io": {}, "https://two.io": {"auth": "dTpw"}
        }}"#,
    );
    let docker = home.docker();
    for (host, expected) in [
        ("docker.io", "u:p"),
        ("plain.io", "u:q"),
        ("schemed.io", "u:p"),
        ("id.io", "id:i"),
        ("bearer.io", "bearer:b"),
        ("token.io", "id:id"),
        ("empty.io", "-"),
        ("null.io", "-"),
        ("port.io:5000", "u:p"),
        ("port.io", "-"),
        ("port.io:5001", "-"),
        ("two.io", "u:p"),
        ("elsewhere.io", "-"),
    ] {
        assert_eq!(said(&docker, host, "library/x").await, expected, "{host}");
    }
}

#[tokio::test]
async fn a_malformed_file_is_an_error_without_its_contents() {
    let home = Home::new();
    for (text, reason) in [
        ("{\"auths\": s3cr3t}", "not JSON (line 1"),
        ("[\"s3cr3t\"]", "not a JSON object"),
        ("{\"auths\": \"s3cr3t\"}", "`auths` is not an object"),
        ("{\"auths\": {\"h.io\": \"s3cr3t\"}}", "`auths.h.io` is not an object"),
        ("{\"auths\": {\"h.io\": {\"auth\": \"s3cr3t!\"}}}", "`auths.h.io.auth` is not the base64"),
        ("{\"auths\": {\"h.io\": {\"identitytoken\": [\"s3cr3t\"]}}}", "`auths.h.io.identitytoken`"),
        ("{\"credHelpers\": {\"h.io\": 1}}", "`credHelpers.h.io` is not a string"),
        ("{\"credsStore\": 1}", "`credsStore` is not a string"),
    ] {
        home.write("docker/config.json", text);
        let error = home.docker().credential("h.io", "r").await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(reason) && error.contains("docker/config.json"), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    // A broken entry of another host is none of this host's business.
    home.write("docker/config.json", r#"{"auths": {"bad.io": {"auth": "!"}, "h.io": {"auth": "dTpw"}}}"#);
    assert_eq!(said(&home.docker(), "h.io", "r").await, "u:p");
}

#[tokio::test]
async fn podman_s_longest_path_wins_and_its_files_have_an_order() {
    let home = Home::new();
    home.write(
        ".config/containers/auth.json",
        r#"{"auths": {"h.io": {"auth": "dTpw"}, "only.io/team": {"auth": "dTpw"}}}"#,
    );
    assert_eq!(said(&home.podman(), "h.io", "team/app").await, "u:p");
    assert_eq!(said(&home.podman(), "only.io", "team/app").await, "u:p");
    assert_eq!(said(&home.podman(), "only.io", "other/app").await, "-");
    home.write("run/containers/auth.json", r#"{"auths": {"h.io/team": {"username": "t", "password": "p"}}}"#);
    assert_eq!(said(&home.podman(), "h.io", "team/app").await, "t:p");
    assert_eq!(said(&home.podman(), "h.io", "teamwork/app").await, "u:p");

    let named = Environment { registry_auth_file: Some(home.path("named.json")), ..home.environment() };
    let podman = Podman::of(&named, home.helpers());
    assert!(said(&podman, "h.io", "team/app").await.contains("named.json"));
    home.write("named.json", "{}");
    assert_eq!(said(&podman, "h.io", "team/app").await, "-");
}

#[tokio::test]
async fn helpers_come_before_the_file_and_the_host_s_before_the_common_one() {
    let home = Home::new();
    let echo = |user: &str| {
        format!(
            "read server; echo \"$server\" >> \"$dir/asked\"; echo '{{\"ServerURL\":\"x\",\"Username\":\"{user}\",\"Secret\":\"p\"}}'"
        )
    };
    home.helper("own", &echo("own"));
    home.helper("common", &echo("common"));
    home.helper("token", "echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}'");
    home.helper("none", "echo 'credentials not found in native keychain'; exit 1");
    home.write(
        "docker/config.json",
        r#"{"auths": {"own.io": {"auth": "dTpw"}, "none.io": {"auth": "dTpw"}, "file.io": {"auth": "dTpw"}},
            "credsStore": "common",
            "credHelpers": {"own.io": "own", "none.io": "none", "no.io": "none", "file.io": "", "t.io": "token"}}"#,
    );
    let docker = home.docker();
    for (host, expected) in [
        ("own.io", "own:p"),
        ("any.io", "common:p"),
        ("docker.io", "common:p"),
        ("none.io", "u:p"),
        ("no.io", "-"),
        ("file.io", "u:p"),
        ("t.io", "id:t"),
    ] {
        assert_eq!(said(&docker, host, "r").await, expected, "{host}");
        assert_eq!(said(&docker, host, "another").await, expected, "{host}");
    }
    // Each was asked once, Docker Hub by docker's own name for it.
    assert_eq!(home.read("asked"), "own.io\nany.io\nhttps://index.docker.io/v1/\n");
}

#[tokio::test]
async fn a_helper_that_fails_is_no_anonymity() {
    let home = Home::new();
    home.helper("angry", "echo 'the vault is locked' >&2; exit 3");
    home.helper("loud", "printf '\\033[2Jlocked\\342\\200\\256\\n' >&2; exit 3");
    home.helper("silent", "exit 1");
    home.helper("leaky", "echo '{\"Username\":\"u\",\"Secret\":\"s3cr3t\"'; exit 1");
    home.helper("garbage", "echo 's3cr3t is not JSON'");
    home.helper("empty", "exit 0");
    home.helper("typed", "echo '{\"Username\":1,\"Secret\":\"s3cr3t\"}'");
    for (name, reason) in [
        ("angry", "the vault is locked"),
        ("loud", "\u{fffd}[2Jlocked\u{fffd}"),
        ("silent", "without a word"),
        ("leaky", "without a word"),
        ("garbage", "not the JSON of a credential"),
        ("empty", "not the JSON of a credential"),
        ("typed", "not the JSON of a credential"),
        ("missing", "no such program on PATH"),
    ] {
        home.write("docker/config.json", &format!("{{\"credsStore\": \"{name}\"}}"));
        let keychain = standard(Fixed::default(), &home.environment(), &home.helpers());
        let error = keychain.credential("h.io", "r").await.unwrap_err();
        assert!(matches!(error.root(), Error::Unauthorized { .. }), "{error:?}");
        let error = error.to_string();
        assert!(error.contains(&format!("docker-credential-{name}")) && error.contains(reason), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    for name in ["../evil", "/bin/evil", "a b", "a;b", "a\\\\b"] {
        home.write("docker/config.json", &format!("{{\"credsStore\": \"{name}\"}}"));
        let error = home.docker().credential("h.io", "r").await.unwrap_err();
        assert!(matches!(error.root(), Error::Invalid { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_helper_that_hangs_is_given_up_once_for_all_who_wait() {
    let home = Home::new();
    home.helper("hang", "echo x >> \"$dir/asked\"; exec sleep 600");
    let helpers = Helpers::new(&home.environment(), Duration::from_millis(300));
    let answers = futures::future::join_all((0..8).map(|_| helpers.get("hang", "h.io"))).await;
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(error.root(), Error::Unauthorized { .. }));
        assert!(error.to_string().contains("no answer within 300ms"), "{error}");
        assert!(!error.is_transient());
    }
    // On a busy machine it may have been given up before its first word.
    let asked = std::fs::read_to_string(home.path("asked")).unwrap_or_default();
    assert!(asked.lines().count() <= 1, "{asked}");
}

#[tokio::test]
async fn what_is_fixed_comes_first() {
    let home = Home::new();
    home.write("docker/config.json", r#"{"auths": {"h.io": {"auth": "dTpw"}}}"#);
    home.write(
        "run/containers/auth.json",
        r#"{"auths": {"h.io": {"auth": "cDpw"}, "p.io": {"auth": "cDpw"}}}"#,
    );
    home.write("named.json", r#"{"auths": {"h.io": {"username": "n", "password": "p"}}}"#);
    let keychain = standard(Fixed::default(), &home.environment(), &home.helpers());
    assert_eq!(said(&*keychain, "h.io", "r").await, "u:p");
    assert_eq!(said(&*keychain, "p.io", "r").await, "p:p");
    let named = Environment { registry_auth_file: Some(home.path("named.json")), ..home.environment() };
    let keychain = standard(Fixed::default(), &named, &home.helpers());
    assert_eq!(said(&*keychain, "h.io", "r").await, "n:p");
    let fixed = Fixed::default().with("h.io", Credential::basic("f", "p"));
    let keychain = standard(fixed, &home.environment(), &home.helpers());
    assert_eq!(said(&*keychain, "h.io", "r").await, "f:p");
    assert_eq!(said(&*keychain, "p.io", "r").await, "p:p");
}

#[tokio::test]
async fn a_login_leaves_the_rest_of_the_file_alone() {
    let home = Home::new();
    let login = home.login();
    let credential = Credential::basic("u", SECRET);
    login.store("h.io", &credential).await.unwrap();
    let mode = |name: &str| std::fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("docker"), mode("docker/config.json")), (0o700, 0o600));
    assert_eq!(home.docker().credential("h.io", "r").await.unwrap(), credential);

    home.write(
        "docker/config.json",
        r#"{"zeta": [1, {"b": 2, "a": 3}], "auths": {"z.io": {"auth": "dTpw"}, "https://h.io": {"auth": "dTpw"}}, "alpha": 1.5}"#,
    );
    login.store("h.io", &credential).await.unwrap();
    login.store("index.docker.io", &Credential::IdentityToken(Secret::new("i"))).await.unwrap();
    let text = home.read("docker/config.json");
    let order: Vec<usize> =
        ["zeta", "\"b\"", "\"a\"", "z.io", "https://h.io", "index.docker.io/v1/", "alpha"]
            .map(|word| text.find(word).unwrap())
            .to_vec();
    assert!(order.is_sorted(), "{text}");
    assert_eq!(said(&home.docker(), "h.io", "r").await, "u:s3cr3t");
    assert_eq!(said(&home.docker(), "docker.io", "r").await, "id:i");
    assert_eq!(said(&home.docker(), "z.io", "r").await, "u:p");
    assert_eq!(mode("docker/config.json"), 0o600);
    assert_eq!(std::fs::read_dir(home.path("docker")).unwrap().count(), 1);

    assert!(login.erase("h.io").await.unwrap());
    assert!(!login.erase("h.io").await.unwrap());
    assert!(!home.read("docker/config.json").contains("h.io"));
    assert!(login.erase("docker.io").await.unwrap());
    assert_eq!(said(&home.docker(), "z.io", "r").await, "u:p");
}

#[tokio::test]
async fn a_login_goes_through_the_helper_where_there_is_one() {
    let home = Home::new();
    home.helper(
        "vault",
        "case $1 in
            store) cat > \"$dir/vault\" ;;
            get) cat > /dev/null; cat \"$dir/vault\" 2> /dev/null || { echo credentials not found in native keychain; exit 1; } ;;
            erase) cat > /dev/null; rm \"$dir/vault\" 2> /dev/null || { echo credentials not found in native keychain; exit 1; } ;;
            list) echo '{\"https://h.io\": \"u\"}' ;;
        esac",
    );
    home.write("docker/config.json", r#"{"credsStore": "vault"}"#);
    let login = home.login();
    login.store("h.io", &Credential::basic("u", SECRET)).await.unwrap();
    assert!(home.read("vault").contains(r#""Secret":"s3cr3t""#));
    let text = home.read("docker/config.json");
    assert!(text.contains("h.io") && !text.contains(SECRET), "{text}");
    assert_eq!(said(&home.docker(), "h.io", "r").await, "u:s3cr3t");
    assert_eq!(home.helpers().list("vault").await.unwrap()["https://h.io"], "u");
    assert!(login.erase("h.io").await.unwrap());
    assert!(!login.erase("h.io").await.unwrap());
    assert_eq!(said(&home.docker(), "h.io", "r").await, "-");
}

#[tokio::test]
async fn a_login_that_cannot_be_kept_changes_nothing() {
    let home = Home::new();
    let login = home.login();
    for credential in [
        Credential::Anonymous,
        Credential::RegistryToken(Secret::new(SECRET)),
        Credential::basic("a:b", SECRET),
        Credential::basic("", SECRET),
    ] {
        let error = login.store("h.io", &credential).await.unwrap_err().to_string();
        assert!(!error.contains(SECRET), "{error}");
    }
    assert!(!home.path("docker").exists());
    home.write("docker/config.json", "{broken");
    assert!(login.store("h.io", &Credential::basic("u", "p")).await.is_err());
    assert_eq!(home.read("docker/config.json"), "{broken");

    std::fs::rename(home.path("docker/config.json"), home.path("docker/real.json")).unwrap();
    home.write("docker/real.json", "{}");
    std::os::unix::fs::symlink(home.path("docker/real.json"), home.path("docker/config.json")).unwrap();
    login.store("h.io", &Credential::basic("u", "p")).await.unwrap();
    assert!(std::fs::symlink_metadata(home.path("docker/config.json")).unwrap().is_symlink());
    assert!(home.read("docker/real.json").contains("h.io"));
}
