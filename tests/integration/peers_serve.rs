//! `lazyblob serve` as the registry of somebody else's client.

use std::fs;

use lazyblob::remote::testing::{Authority, Image, installed};

use crate::support::{Desk, PASSWORD, Served, USER, Written, get, htpasswd, image, skopeo};

/// Pushes, copies within and pulls with skopeo, and expects what went in.
async fn round_trip(desk: &Desk, host: &str, image: &Image, options: [&str; 3]) {
    let [push, within, pull] = options;
    let (from, to) = (desk.at("oci", "image"), desk.at("oci", "pulled"));
    let at = |name: &str| format!("docker://{host}/{name}");
    skopeo(desk, &format!("copy {push} {from}:1 {}", at("team/app:1"))).await;
    skopeo(desk, &format!("copy {within} {} {}", at("team/app:1"), at("prod:1"))).await;
    skopeo(desk, &format!("copy {pull} {} {to}:1", at("prod:1"))).await;
    let raw = desk.ok(&format!("inspect --raw {to}:1")).await.stdout;
    assert_eq!(raw.as_bytes(), &image.manifest.bytes()[..]);
    for (blob, bytes) in &image.blobs {
        let read = fs::read(desk.path("pulled/blobs/sha256").join(blob.digest().digest())).unwrap();
        assert_eq!(read, bytes[..]);
    }
}

const PLAIN: [&str; 3] =
    ["--dest-tls-verify=false", "--src-tls-verify=false --dest-tls-verify=false", "--src-tls-verify=false"];

#[tokio::test]
async fn skopeo_pushes_to_memory_and_pulls() {
    if !installed("serving skopeo from memory", &["skopeo"]) {
        return;
    }
    let desk = Desk::new();
    let image = image(3, "memory");
    Written::at(&desk, "image").image("1", &image);
    let served = Served::start(&desk, "").await;
    assert_eq!(served.scheme(), "http");
    round_trip(&desk, served.host(), &image, PLAIN).await;
    served.end("INT").await.exits(130);
}

#[tokio::test]
async fn what_skopeo_pushes_to_a_directory_is_a_layout_that_stays() {
    if !installed("serving skopeo from a directory", &["skopeo", "umoci"]) {
        return;
    }
    let desk = Desk::new();
    let image = image(2, "directory");
    Written::at(&desk, "image").image("1", &image);
    let words = desk.path("store").display().to_string();
    let served = Served::start(&desk, &words).await;
    round_trip(&desk, served.host(), &image, PLAIN).await;
    served.end("TERM").await.exits(143);

    // Another process serves it again, and everything is as it was.
    let served = Served::start(&desk, &words).await;
    let host = served.host();
    let digest = desk.ok(&format!("copy {host}/team/app:1 {}:1", desk.at("oci", "again"))).await.digest();
    assert_eq!(digest, image.manifest.digest().to_string());
    // A blob is served by the repositories that have it, and by no other.
    let blob = format!("blobs/{}", image.config().digest());
    assert!(get(host, &format!("/v2/prod/{blob}")).await.starts_with("HTTP/1.1 200"));
    assert!(get(host, &format!("/v2/other/{blob}")).await.starts_with("HTTP/1.1 404"));
    served.end("TERM").await.exits(143);
}

#[tokio::test]
async fn skopeo_needs_the_password_of_the_htpasswd_file() {
    if !installed("serving skopeo with passwords", &["skopeo"]) {
        return;
    }
    let desk = Desk::new();
    let image = image(1, "guarded");
    Written::at(&desk, "image").image("1", &image);
    let file = desk.file("htpasswd", &htpasswd());
    let served = Served::start(&desk, &format!("--htpasswd {}", file.display())).await;
    let host = served.host();
    let login = format!("{USER}:{PASSWORD}");
    let (dest, src) = (format!("--dest-creds {login}"), format!("--src-creds {login}"));
    let [push, within, pull] = PLAIN;
    let options = [format!("{push} {dest}"), format!("{within} {dest} {src}"), format!("{pull} {src}")];
    round_trip(&desk, host, &image, [&options[0], &options[1], &options[2]]).await;

    assert!(get(host, "/v2/").await.starts_with("HTTP/1.1 401"));
    desk.run(&format!("inspect {host}/prod:1")).await.exits(3);
}

#[tokio::test]
async fn skopeo_trusts_a_certificate_and_we_do() {
    if !installed("serving skopeo over TLS", &["skopeo"]) {
        return;
    }
    let desk = Desk::new();
    let image = image(2, "tls");
    Written::at(&desk, "image").image("1", &image);
    let authority = Authority::new();
    let server = authority.server();
    let (cert, key) = (server.chain.display(), server.key.display());
    let served = Served::start(&desk, &format!("--tls-cert {cert} --tls-key {key}")).await;
    assert_eq!(served.scheme(), "https");
    let host = served.host();
    fs::create_dir(desk.path("certs")).unwrap();
    fs::copy(authority.ca(), desk.path("certs/ca.crt")).unwrap();
    let certs = desk.path("certs").display().to_string();
    let (src, dest) = (format!("--src-cert-dir {certs}"), format!("--dest-cert-dir {certs}"));
    round_trip(&desk, host, &image, [&dest, &format!("{src} {dest}"), &src]).await;

    let ca = authority.ca();
    let run = desk.ok(&format!("--tls {host} --ca {} inspect --raw {host}/prod:1", ca.display())).await;
    assert_eq!(run.stdout.as_bytes(), &image.manifest.bytes()[..]);
}
