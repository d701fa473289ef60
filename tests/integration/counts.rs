//! What a retag and a copy cost at a real registry, counted in its access log and equal to what `--stats` says.

use std::collections::BTreeMap;

use lazyblob::remote::testing::{Image, installed};
use serde_json::Value;

use crate::support::{Desk, DockerRegistry, Guard, PASSWORD, Ran, USER, Written, image};

type Counts = BTreeMap<String, u64>;

/// Puts an image of `layers` layers into `repository:1`.
async fn seed(desk: &Desk, registry: &DockerRegistry, repository: &str, layers: usize) -> Image {
    let image = image(layers, repository);
    Written::at(desk, repository).image("1", &image);
    let host = registry.host();
    desk.ok(&format!("copy {} {host}/{repository}:1", desk.at("oci", repository))).await;
    registry.answered().await;
    image
}

/// The kinds of which a run has sent any, by its own account.
fn said(run: &Ran) -> Counts {
    let stats = run.stats();
    let requests = stats["requests"].as_object().unwrap();
    let kinds = requests.iter().filter(|(kind, _)| !["total", "retries"].contains(&kind.as_str()));
    let counts: Counts = kinds
        .map(|(kind, count)| (kind.clone(), count.as_u64().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(requests["total"], Value::from(counts.values().sum::<u64>()), "{stats}");
    counts
}

fn counts(expected: &[(&str, u64)]) -> Counts {
    expected.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}

#[tokio::test]
async fn a_retag_is_one_get_and_one_put_a_name() {
    if !installed("requests of a retag", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let image = seed(&desk, &registry, "app", 3).await;
    let host = registry.host();

    let run = desk.ok(&format!("--stats retag {host}/app:1 :stable")).await;
    let expected = counts(&[("manifest_get", 1), ("manifest_put", 1)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    assert_eq!(run.stats()["bytes"]["down"], image.manifest.bytes().len());

    let run = desk.ok(&format!("--stats retag {host}/app:1 :a :b {host}/app:c :d")).await;
    let expected = counts(&[("manifest_get", 1), ("manifest_put", 4)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
    // This registry lists in whatever order its file system does.
    let listed = desk.ok(&format!("tags {host}/app")).await.stdout;
    let mut tags: Vec<_> = listed.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "a", "b", "c", "d", "stable"]);
}

#[tokio::test]
async fn a_retag_to_another_repository_mounts_once_whatever_the_number_of_names() {
    if !installed("requests of a retag elsewhere", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let image = seed(&desk, &registry, "app", 5).await;
    let host = registry.host();

    let other = format!("{host}/prod");
    let run =
        desk.ok(&format!("--stats retag {host}/app:1 {other}:1 :here {other}:2 {other}:3 {other}:2")).await;

    let expected =
        counts(&[("manifest_get", 1), ("manifest_head", 1), ("manifest_put", 3 + 1), ("mount", 5 + 1)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
    // N + 4 for the first name in the other repository, a PUT for each of two more, and one for `:here`.
    assert_eq!(expected.values().sum::<u64>(), (5 + 4) + 2 + 1);
    for name in [format!("{other}:1"), format!("{other}:2"), format!("{other}:3"), format!("{host}/app:here")]
    {
        let raw = desk.ok(&format!("inspect --raw {name}")).await.stdout;
        assert_eq!(raw.as_bytes(), image.manifest.bytes(), "{name}");
    }
}

#[tokio::test]
async fn a_copy_within_a_registry_is_n_plus_4_and_again_2() {
    if !installed("requests of a copy", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let image = seed(&desk, &registry, "app", 5).await;
    let host = registry.host();
    let copy = format!("--stats copy {host}/app:1 {host}/team/prod:1");

    let run = desk.ok(&copy).await;
    let expected =
        counts(&[("manifest_get", 1), ("manifest_head", 1), ("manifest_put", 1), ("mount", 5 + 1)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
    assert_eq!(expected.values().sum::<u64>(), 5 + 4);
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    assert_eq!(run.stats()["blobs"]["mounted"], 6);
    assert_eq!(run.stats()["bytes"]["up"], image.manifest.bytes().len());

    let run = desk.ok(&copy).await;
    let expected = counts(&[("manifest_get", 1), ("manifest_head", 1)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
}

#[tokio::test]
async fn an_index_is_1_plus_m_gets_b_mounts_and_m_plus_1_puts() {
    if !installed("requests of an index's copy", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let images = [image(2, "amd64"), image(3, "arm64"), image(1, "s390x")];
    let manifests = [&images[0].manifest, &images[1].manifest, &images[2].manifest];
    let index = Image::index(&manifests, &["amd64", "arm64", "s390x"]);
    images.iter().fold(Written::at(&desk, "multi"), Written::unnamed).name("1", &index);
    let host = registry.host();
    desk.ok(&format!("copy {} {host}/multi:1", desk.at("oci", "multi"))).await;
    registry.answered().await;

    let run = desk.ok(&format!("--stats copy {host}/multi:1 {host}/other:1")).await;
    let blobs = (2 + 1) + (3 + 1) + (1 + 1);
    let expected =
        counts(&[("manifest_get", 1 + 3), ("manifest_head", 1), ("manifest_put", 3 + 1), ("mount", blobs)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
    assert_eq!(run.digest(), index.digest().to_string());
}

/// Options by which the registry knows [`USER`].
fn credentials(desk: &Desk, host: &str) -> String {
    let password = desk.file("password", &format!("{PASSWORD}\n"));
    format!("--creds {host}={USER} --password-file {host}={}", password.display())
}

#[tokio::test]
async fn tokens_cost_one_401_and_one_request_with_both_scopes() {
    if !installed("requests with tokens", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::start(Guard::Token).await);
    let host = registry.host();
    let login = credentials(&desk, host);
    let image = image(3, "guarded");
    Written::at(&desk, "image").image("1", &image);
    desk.ok(&format!("{login} copy {} {host}/app:1", desk.at("oci", "image"))).await;
    registry.answered().await;
    let asked = registry.tokens().requests().len();
    assert_eq!(asked, 1, "a push is one token, too");

    let run = desk.ok(&format!("--stats {login} retag {host}/app:1 :stable")).await;
    let mut expected = counts(&[("manifest_get", 1 + 1), ("manifest_put", 1)]);
    assert_eq!(registry.counts().await, expected);
    expected.insert("token".to_owned(), 1);
    assert_eq!(said(&run), expected);

    let run = desk.ok(&format!("--stats {login} copy {host}/app:1 {host}/prod:1")).await;
    let mut expected =
        counts(&[("manifest_get", 1 + 1), ("manifest_head", 1), ("manifest_put", 1), ("mount", 4)]);
    assert_eq!(registry.counts().await, expected);
    expected.insert("token".to_owned(), 1);
    assert_eq!(said(&run), expected);
    let requests = registry.tokens().requests();
    assert_eq!(requests.len(), asked + 2);
    let last = requests.last().unwrap();
    assert_eq!(last.user.as_deref(), Some(USER));
    let (mut scopes, wanted) = (last.scopes.clone(), ["repository:app:pull", "repository:prod:pull,push"]);
    scopes.sort();
    assert_eq!(scopes, wanted);

    // Without credentials the token given opens nothing.
    let run = desk.run(&format!("--stats retag {host}/app:1 :stolen")).await.exits(3);
    assert!(run.stdout.is_empty());
    assert!(!registry.counts().await.contains_key("manifest_put"));
}

#[tokio::test]
async fn a_password_costs_one_401() {
    if !installed("requests with htpasswd", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::start(Guard::Htpasswd).await);
    let host = registry.host();
    let login = credentials(&desk, host);
    let image = image(2, "guarded");
    Written::at(&desk, "image").image("1", &image);
    desk.ok(&format!("{login} copy {} {host}/app:1", desk.at("oci", "image"))).await;
    registry.answered().await;

    let run = desk.ok(&format!("--stats {login} retag {host}/app:1 :stable")).await;
    let expected = counts(&[("manifest_get", 1 + 1), ("manifest_put", 1)]);
    let answered = registry.answered().await;
    assert_eq!(answered.iter().map(|request| request.status).collect::<Vec<_>>(), [401, 200, 201]);
    assert_eq!(said(&run), expected);

    let run = desk.ok(&format!("--stats {login} copy {host}/app:1 {host}/prod:1")).await;
    let expected =
        counts(&[("manifest_get", 1 + 1), ("manifest_head", 1), ("manifest_put", 1), ("mount", 3)]);
    assert_eq!(registry.counts().await, expected);
    assert_eq!(said(&run), expected);
}
