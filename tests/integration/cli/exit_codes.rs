//! Each exit code, by a situation that leads to it.

use http::StatusCode;
use lazyblob::remote::request::Kind;
use lazyblob::remote::server::Action;
use lazyblob::remote::testing::{Effect, Lie, TestRegistry, TokenServer, Toxic};

use crate::support::{Desk, Written, get, image};

#[tokio::test]
async fn usage_is_2_and_nothing_is_sent() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    let file = desk.file("password", "x\n").display().to_string();
    for words in [
        String::new(),
        "retag".to_owned(),
        "promote a b".to_owned(),
        format!("retag {host}/app:1"),
        format!("retag {host}/app:1 :bad/tag"),
        format!("retag {host}/app:1 elsewhere.test/app:1"),
        format!("retag {host}/app:1 {host}/app@sha256:{}", "a".repeat(64)),
        format!("inspect {host}/App:1"),
        format!("inspect {host}/app:"),
        format!("inspect {host}/app@sha256:12"),
        format!("inspect docker://{host}/app:1"),
        "inspect oci:".to_owned(),
        format!("copy {host}/app:1 {}@sha256:{}", desk.at("oci", "x"), "a".repeat(64)),
        format!("copy --platform linux {host}/app:1 {host}/b:1"),
        format!("copy --cache-form both {host}/app:1 {host}/b:1"),
        format!("copy --concurrency 0 {host}/app:1 {host}/b:1"),
        format!("inspect --tries 0 {host}/app:1"),
        format!("inspect --timeout soon {host}/app:1"),
        format!("inspect --log loud=x=y {host}/app:1"),
        format!("inspect --creds {host}=mary {host}/app:1"),
        format!("inspect --password-file {host}={file} {host}/app:1"),
        format!("inspect --cert x.pem {host}/app:1"),
        "serve --addr 0.0.0.0:0".to_owned(),
        "serve --addr [::]:0 .".to_owned(),
        format!("login {host}"),
    ] {
        let run = desk.run(&words).await.exits(2);
        assert!(!run.stderr.is_empty(), "{words}");
        assert_eq!(run.stdout, "", "{words}");
    }
    assert_eq!(registry.lines(), [""; 0]);
}

#[tokio::test]
async fn hosts_that_do_not_answer_are_1() {
    let desk = Desk::new();
    // Port 1 is nobody's, and .invalid never resolves (RFC 2606).
    for host in ["127.0.0.1:1", "registry.invalid"] {
        let run = desk.run(&format!("--tries 1 inspect {host}/app:1")).await.exits(1);
        run.says(&["get manifest", &format!("{host}/app:1")]);
    }
    let layout = Written::at(&desk, "layout").image("1", &image(1, "app"));
    drop(layout);
    let push = format!("--tries 1 copy {}:1 127.0.0.1:1/app:1", desk.at("oci", "layout"));
    desk.run(&push).await.exits(1).says(&["127.0.0.1:1", "refused"]);
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_counted() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(1, "app")).await;
    registry.add(Toxic::status(503).on(Kind::ManifestGet).times(1));
    let host = registry.host();
    registry.reset();
    let run = desk.ok(&format!("--stats retag {host}/app:1 :2")).await;
    let stats = run.stats();
    let requests = &stats["requests"];
    assert_eq!((&requests["retries"], &requests["manifest_get"]), (&1.into(), &2.into()), "{stats}");
    assert_eq!(requests["total"], registry.counter().total());
    assert!(run.stderr.contains("; retrying in 1 second\n"), "{}", run.stderr);
}

#[tokio::test]
async fn missing_rights_are_3() {
    let tokens =
        || TokenServer::new("test").user("mary", "secret-word").allow("mary", "app", &[Action::Pull]);
    let (desk, registry) = (Desk::new(), TestRegistry::builder().tokens(tokens()).start().await);
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    desk.run(&format!("inspect {host}/app:1")).await.exits(3).says(&["not authorised", "app:1"]);
    let file = desk.file("password", "secret-word\n").display().to_string();
    let mary = format!("--creds {host}=mary --password-file {host}={file}");
    desk.ok(&format!("{mary} inspect {host}/app:1")).await;
    // She may read and not write.
    desk.run(&format!("{mary} retag {host}/app:1 :2")).await.exits(3).says(&["not authorised"]);
    let wrong = desk.file("wrong", "other-word\n").display().to_string();
    let run = desk.run(&format!("--creds {host}=mary --password-file {host}={wrong} tags {host}/app")).await;
    let run = run.exits(3);
    assert!(!run.stderr.contains("other-word"), "{}", run.stderr);
    run.says(&["not authorised"]);
}

#[tokio::test]
async fn tokens_that_end_midway_are_renewed() {
    let everything = [Action::Pull, Action::Push];
    let tokens = TokenServer::new("test").allow_everybody("*", &everything).uses(3);
    let (desk, registry) = (Desk::new(), TestRegistry::builder().tokens(tokens).start().await);
    registry.seed("app", "1", &image(8, "app")).await;
    let host = registry.host();
    let run = desk.ok(&format!("--stats copy --concurrency 1 {host}/app:1 {host}/prod:1")).await;
    assert!(run.stats()["requests"]["token"].as_u64().unwrap() >= 3, "{}", run.stderr);
    assert_eq!(registry.requests(Kind::BlobGet), 0);
}

#[tokio::test]
async fn a_token_server_that_lies_is_found_out() {
    for (lie, code) in [
        (Lie::Garbage, 3),
        (Lie::Empty, 3),
        (Lie::Nothing, 3),
        (Lie::Endless, 3),
        (Lie::Broken, 1),
        (Lie::Unaccepted, 3),
    ] {
        let tokens = TokenServer::new("test").allow_everybody("*", &[Action::Pull]);
        tokens.lie(Some(lie));
        let (desk, registry) = (Desk::new(), TestRegistry::builder().tokens(tokens).start().await);
        registry.seed("app", "1", &image(1, "app")).await;
        let run = desk.run(&format!("--tries 1 inspect {}/app:1", registry.host())).await;
        assert_eq!(run.code, Some(code), "{lie:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{lie:?}");
        assert!(registry.counter().total() < 6, "{lie:?}: {:?}", registry.lines());
    }
}

#[tokio::test]
async fn what_is_not_there_is_4() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(1, "app");
    registry.seed("app", "1", &image).await;
    Written::at(&desk, "layout").image("1", &image);
    let host = registry.host();
    for words in [
        format!("inspect {host}/app:none"),
        format!("inspect {host}/none:1"),
        format!("inspect {host}/app@sha256:{}", "0".repeat(64)),
        format!("retag {host}/app:none :2"),
        format!("copy {host}/app:none {host}/b:1"),
        format!("tags {host}/none"),
        format!("copy --platform linux/s390x {host}/app:1 {host}/b:1"),
        format!("inspect {}:none", desk.at("oci", "layout")),
        format!("inspect {}", desk.at("oci", "none")),
        format!("inspect {}", desk.at("oci-archive", "none.tar")),
        format!("inspect {}", desk.at("docker-archive", "none.tar")),
    ] {
        desk.run(&words).await.exits(4).says(&[]);
    }
    assert!(get(host, "/v2/b/tags/list").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn too_many_requests_are_5() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    registry.add(Toxic::too_many_requests(None));
    desk.run(&format!("--tries 1 inspect {host}/app:1")).await.exits(5).says(&["rate limited"]);
    registry.behave();
    // Nobody waits for an hour: that is said at once.
    registry.add(Toxic::too_many_requests(Some(3600)));
    desk.run(&format!("inspect {host}/app:1")).await.exits(5).says(&["rate limited", "3600 s"]);
}

#[tokio::test]
async fn other_bytes_than_promised_are_6() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let host = registry.host();
    let layer = image.blobs[2].0.digest().to_string();
    registry.add(Toxic::new(Effect::Corrupt(40)).on(Kind::BlobGet).path(&layer));
    let other = TestRegistry::start().await;
    for (target, name) in [
        (format!("{}/app:1", other.host()), ""),
        (format!("{}:1", desk.at("oci-archive", "a.tar")), "a.tar"),
        (format!("{}:a:1", desk.at("docker-archive", "d.tar")), "d.tar"),
        (format!("{}:1", desk.at("oci", "layout")), ""),
    ] {
        let run = desk.run(&format!("--tries 2 copy {host}/app:1 {target}")).await.exits(6);
        run.says(&[&layer]);
        assert!(name.is_empty() || !desk.path(name).exists(), "{name}");
    }
    assert!(get(other.host(), "/v2/app/manifests/1").await.starts_with("HTTP/1.1 404"));
    assert!(get(other.host(), &format!("/v2/app/blobs/{layer}")).await.starts_with("HTTP/1.1 404"));
    assert!(!desk.path("layout/blobs/sha256").join(&layer[7..]).exists());
    desk.run(&format!("inspect {}:1", desk.at("oci", "layout"))).await.exits(4);

    // A manifest that is not the one asked for.
    let digest = image.manifest.digest();
    registry.add(Toxic::new(Effect::Corrupt(40)).on(Kind::ManifestGet));
    let run = desk.run(&format!("--tries 2 retag {host}/app@{digest} {host}/app:2")).await.exits(6);
    run.says(&[digest.as_ref()]);
    assert!(get(host, "/v2/app/manifests/2").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn some_names_of_several_are_7() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    registry.add(Toxic::status(400).on(Kind::ManifestPut).path("manifests/bad"));
    let run = desk.run(&format!("retag {host}/app:1 :good :bad :better")).await.exits(7);
    run.says(&["app:bad", "2 of 3"]);
    assert_eq!(desk.ok(&format!("tags {host}/app")).await.stdout, "1\nbetter\ngood\n");
    // With none done, the cause decides.
    registry.add(Toxic::new(Effect::Status(StatusCode::FORBIDDEN)).on(Kind::ManifestPut));
    desk.run(&format!("retag {host}/app:1 :worse :worst")).await.exits(3);
}
