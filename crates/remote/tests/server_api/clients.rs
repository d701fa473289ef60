//! Real programs against us: skopeo as a client, Debian's registry as a judge of our tokens.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_remote::media;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::server::{Backend, Front, LayoutBackend, Memory};
use lazyblob_remote::testing::{Image, Signer, TestRegistry, TokenServer, gzip_layer, installed};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

async fn skopeo(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("skopeo");
    // Blob locations it remembers from other runs would change what it does.
    command.env("HOME", home).env("XDG_DATA_HOME", home).args(["--insecure-policy"]).args(arguments);
    let output = command.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn image() -> Image {
    let (first, _) = gzip_layer("etc/first", &vec![1; 200_000]);
    let (second, _) = gzip_layer("etc/second", b"second");
    let image = Image::with(&[first, second], media::OCI_LAYER_GZIP, &json!({}));
    assert_eq!(image.blobs.len(), 3);
    image
}

async fn pushes_and_pulls(backend: Arc<dyn Backend>) {
    if !installed("skopeo at our registry", &["skopeo"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let registry = TestRegistry::builder().backend(backend).start().await;
    let image = image();
    registry.seed("team/app", "1", &image).await;
    let at = |name: &str| format!("docker://{}/{name}", registry.host());
    let layout = format!("oci:{}", home.path().join("layout").display());
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];

    skopeo(home.path(), &["copy", plain[0], &at("team/app:1"), &format!("{layout}:pulled")]).await;
    skopeo(home.path(), &["copy", plain[1], &format!("{layout}:pulled"), &at("other/app:pushed")]).await;
    skopeo(home.path(), &["copy", plain[0], plain[1], &at("team/app:1"), &at("team/copy:2")]).await;
    for name in ["other/app:pushed", "team/copy:2"] {
        let raw = skopeo(home.path(), &["inspect", "--raw", "--tls-verify=false", &at(name)]).await.stdout;
        assert_eq!(raw, image.manifest.bytes()[..], "{name}");
    }
    let tags = skopeo(home.path(), &["list-tags", "--tls-verify=false", &at("team/app")]).await.stdout;
    assert!(String::from_utf8_lossy(&tags).contains("\"1\""));
    assert!(registry.requests(Kind::Upload) > 0 && registry.traffic().bytes_in() > 0);

    skopeo(home.path(), &["delete", "--tls-verify=false", &at("team/copy:2")]).await;
    assert!(!registry.lines().iter().any(|line| line.ends_with(" 500")));
    registry.close().await;
}

#[tokio::test]
async fn skopeo_and_a_registry_in_memory() {
    pushes_and_pulls(Arc::new(Memory::new())).await;
}

#[tokio::test]
async fn skopeo_and_a_registry_over_a_layout() {
    let directory = tempfile::tempdir().unwrap();
    pushes_and_pulls(Arc::new(LayoutBackend::open(directory.path()).await.unwrap())).await;
    assert_eq!(std::fs::read_dir(directory.path().join(".ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn skopeo_logs_in_with_tokens() {
    if !installed("skopeo at our registry", &["skopeo"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let tokens = TokenServer::new("registry").user("alice", "wonderland").allow("alice", "*", &[Pull, Push]);
    let registry = TestRegistry::builder().tokens(tokens).start().await;
    registry.seed("team/app", "1", &image()).await;
    let source = format!("docker://{}/team/app:1", registry.host());
    let target = format!("docker://{}/other/app:1", registry.host());
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let credentials = ["--src-creds=alice:wonderland", "--dest-creds=alice:wonderland"];
    let mut arguments = vec!["copy"];
    arguments.extend(plain.iter().chain(&credentials));
    arguments.extend([source.as_str(), target.as_str()]);
    skopeo(home.path(), &arguments).await;
    let asked = registry.tokens().unwrap().requests();
    assert!(asked.iter().all(|request| request.user.as_deref() == Some("alice")), "{asked:?}");
    registry.close().await;
}

/// A registry in a process of its own.
struct Running {
    process: Child,
    host: String,
    /// Kept open: it ends when it cannot write its log.
    log: Lines<BufReader<ChildStderr>>,
}

/// Debian's registry with token authentication, on a free port.
async fn debian_registry(directory: &Path, realm: &str, certificate: &str) -> Running {
    let bundle = directory.join("root.pem");
    std::fs::write(&bundle, certificate).unwrap();
    let config = directory.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}\n\
         http: {{addr: \"127.0.0.1:0\", secret: fixed}}\n\
         auth: {{token: {{realm: \"{realm}\", service: registry, issuer: lazyblob, rootcertbundle: {}}}}}\n",
        directory.join("data").display(),
        bundle.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, rest)) = line.split_once("listening on ") {
                return rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
            }
        }
        panic!("the registry ended");
    };
    let host: String = tokio::time::timeout(Duration::from_secs(20), listening).await.unwrap();
    Running { process: child, host, log: lines }
}

#[tokio::test]
async fn debian_s_registry_accepts_our_tokens() {
    if !installed("our tokens at docker-registry", &["docker-registry", "skopeo"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let signer = Signer::new("lazyblob");
    let certificate = signer.certificate().to_owned();
    let tokens = TokenServer::new("registry")
        .user("alice", "wonderland")
        .allow("alice", "*", &[Pull, Push])
        .signing(signer);
    let tokens = Arc::new(tokens);
    let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let front = Front::listen(address, None, Arc::clone(&tokens) as _).await.unwrap();
    let realm = format!("http://localhost:{}/token", front.address().port());
    let Running { mut process, host, log } = debian_registry(home.path(), &realm, &certificate).await;

    let ours = TestRegistry::start().await;
    ours.seed("team/app", "1", &image()).await;
    let source = format!("docker://{}/team/app:1", ours.host());
    let target = format!("docker://{host}/team/app:1");
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(home.path(), &["copy", plain[0], plain[1], "--dest-creds=alice:wonderland", &source, &target])
        .await;
    let asked = tokens.requests();
    assert!(asked.iter().any(|request| request.scopes == ["repository:team/app:pull,push"]), "{asked:?}");

    let client = reqwest_plain();
    let manifest = format!("http://{host}/v2/team/app/manifests/1");
    let anonymous = client.get(&manifest).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    let foreign = Signer::new("lazyblob").mint(
        "registry",
        "alice",
        &[("team/app".to_owned(), [Pull].into())].into(),
        None,
    );
    let refused = client.get(&manifest).bearer_auth(foreign).send().await.unwrap();
    assert_eq!(refused.status(), 401, "another key's token");

    process.kill().await.unwrap();
    drop(log);
    front.close(Duration::ZERO).await;
    ours.close().await;
}

fn reqwest_plain() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[test]
fn layers_are_tars_in_gzip() {
    use std::io::Read as _;
    let (layer, diff_id) = gzip_layer("etc/name", b"content");
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut tar).unwrap();
    assert_eq!(lazyblob_remote::digest::sha256(&tar).to_string(), diff_id);
    assert_ne!(Bytes::from(tar), layer);
}
