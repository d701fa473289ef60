//! TLS, client certificates and mirrors, and what is said when they do not fit.

use lazyblob::remote::testing::{Authority, TestRegistry, installed};

use crate::support::{Desk, DockerRegistry, Guard, Written, image};

#[tokio::test]
async fn a_certificate_is_trusted_when_its_authority_is() {
    let (desk, authority) = (Desk::new(), Authority::new());
    let registry = TestRegistry::builder().tls(authority.server()).start().await;
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    let ca = authority.ca().display().to_string();
    let unknown = desk.run(&format!("--tries 1 --tls {host} inspect {host}/app:1")).await.exits(1);
    unknown.says(&["certificate", "--ca"]);
    desk.ok(&format!("--tls {host} --ca {ca} inspect {host}/app:1")).await;
    desk.ok(&format!("--tls {host} --insecure-skip-verify {host} inspect {host}/app:1")).await;
    // Another authority's word is worth nothing here.
    let other = Authority::new().ca().display().to_string();
    desk.run(&format!("--tries 1 --tls {host} --ca {other} inspect {host}/app:1")).await.exits(1);
    let none = desk.path("none.pem").display().to_string();
    desk.run(&format!("--tls {host} --ca {none} inspect {host}/app:1")).await.exits(1).says(&["none.pem"]);
}

#[tokio::test]
async fn the_wrong_scheme_is_told_with_what_to_do() {
    let (desk, authority) = (Desk::new(), Authority::new());
    let tls = TestRegistry::builder().tls(authority.server()).start().await;
    let plain = TestRegistry::start().await;
    let (tls, plain) = (tls.host(), plain.host());
    let run = desk.run(&format!("--tries 1 inspect {tls}/app:1")).await.exits(1);
    run.says(&[tls, "--tls"]);
    let run = desk.run(&format!("--tries 1 --tls {plain} inspect {plain}/app:1")).await.exits(1);
    run.says(&[plain, "--plain-http"]);
}

#[tokio::test]
async fn a_real_registry_over_tls_takes_and_gives() {
    if !installed("docker-registry over TLS", &["docker-registry"]) {
        return;
    }
    let (desk, authority) = (Desk::new(), Authority::new());
    let registry = DockerRegistry::start(Guard::Tls(authority.server())).await;
    let host = registry.host();
    let image = image(2, "app");
    Written::at(&desk, "image").image("1", &image);
    let known = format!("--tls {host} --ca {}", authority.ca().display());
    desk.ok(&format!("{known} copy {}:1 {host}/app:1", desk.at("oci", "image"))).await;
    let back = desk.ok(&format!("{known} copy {host}/app:1 {}:1", desk.at("oci", "back"))).await;
    assert_eq!(back.digest(), image.manifest.digest().to_string());
    // It answers in plain words to plain HTTP.
    desk.run(&format!("inspect {host}/app:1")).await.exits(1).says(&["HTTPS server", "--tls"]);
}

#[tokio::test]
async fn a_client_certificate_opens_what_asks_for_one() {
    let (desk, authority) = (Desk::new(), Authority::new());
    let registry = TestRegistry::builder().tls(authority.server_that_asks()).start().await;
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    let known = format!("--tries 1 --tls {host} --ca {}", authority.ca().display());
    desk.run(&format!("{known} inspect {host}/app:1")).await.exits(1).says(&["get manifest"]);
    let (cert, key) = authority.client();
    let (cert, key) = (cert.display(), key.display());
    desk.ok(&format!("{known} --cert {cert} --key {key} inspect {host}/app:1")).await;
    // A key that is not the certificate's is told before anything is sent.
    let stranger = Authority::new();
    let wrong = stranger.client().1.display().to_string();
    desk.run(&format!("{known} --cert {cert} --key {wrong} inspect {host}/app:1")).await.exits(1);
}

/// Row 59: a proxy of the environment is asked for what is elsewhere, and not for what it is not meant for.
#[tokio::test]
async fn proxies_of_the_environment_are_heeded() {
    let (desk, proxy, direct) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    for registry in [&proxy, &direct] {
        registry.seed("app", "1", &image(1, "app")).await;
    }
    let through = format!("http://{}", proxy.host());
    // A name that leads nowhere: only the proxy can know it.
    for (host, proxied) in [("elsewhere.invalid:5000", true), (direct.host(), false)] {
        let words = format!("--plain-http {host} inspect {host}/app:1");
        let set = |command: &mut tokio::process::Command| {
            command.env("http_proxy", &through).env("no_proxy", "127.0.0.1");
        };
        desk.run_into(&words, set).await.exits(0);
        assert_eq!(proxy.log().iter().any(|entry| entry.host == host), proxied, "{host}: {:?}", proxy.log());
    }
    assert!(!direct.log().is_empty());
}

/// Rows 56, 58a, 58b, 59: mirrors first, with the switch no other, and no file is passed over.
#[tokio::test]
async fn a_mirror_is_asked_first_and_with_no_upstream_alone() {
    let (desk, mirror, upstream) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    let image = image(1, "app");
    mirror.seed("app", "1", &image).await;
    upstream.seed("app", "1", &image).await;
    upstream.seed("app", "2", &image).await;
    let host = upstream.host();
    let directory = desk.path("hosts");
    let file = format!("hosts/{}/hosts.toml", host.replace(':', "_") + "_");
    let text = format!("[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", mirror.host());
    desk.file(&file, &text);
    let hosts = format!("--hosts-dir {}", directory.display());
    upstream.reset();

    desk.ok(&format!("{hosts} inspect {host}/app:1")).await;
    assert_eq!(upstream.lines(), [""; 0]);
    desk.run(&format!("{hosts} --no-upstream inspect {host}/app:2")).await.exits(4);
    assert_eq!(upstream.lines(), [""; 0]);
    desk.ok(&format!("{hosts} inspect {host}/app:2")).await;
    assert_eq!(upstream.lines().len(), 1);
    // A file that is wrong is not passed over.
    desk.file(&file, "[host.\"http://x\"]\ncapabilities = \"pull\"\n");
    desk.run(&format!("{hosts} inspect {host}/app:1")).await.exits(1).says(&["hosts.toml"]);
}
