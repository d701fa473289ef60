//! What goes to standard output, and what to standard error.

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Image, TestRegistry, Toxic};
use serde_json::Value;

use crate::support::{Desk, Ran, Written, image};

/// Each line of standard error, which are all objects with a type.
fn events(run: &Ran) -> Vec<Value> {
    let parse = |line: &str| -> Value {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["type"].is_string(), "{event}");
        event
    };
    run.stderr.lines().map(parse).collect()
}

#[tokio::test]
async fn the_digest_is_all_there_is_on_standard_output() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let host = registry.host();
    for command in [
        format!("retag {host}/app:1 :2"),
        format!("copy {host}/app:1 {host}/other:1"),
        format!("copy {host}/app:1 {}:1", desk.at("oci", "layout")),
        format!("copy {host}/app:1 {}:1", desk.at("oci-archive", "archive.tar")),
    ] {
        for mode in ["auto", "tty", "plain", "json", "quiet"] {
            let run = desk.ok(&format!("--stats --log info --progress {mode} {command}")).await;
            assert_eq!(run.digest(), image.manifest.digest().to_string(), "{mode}: {command}");
            run.stats();
        }
        let silent = desk.ok(&format!("--progress quiet {command}")).await;
        assert_eq!(silent.stderr, "", "{command}");
    }
}

#[tokio::test]
async fn json_is_one_document() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let (host, digest) = (registry.host(), image.manifest.digest().to_string());

    let retagged = desk.ok(&format!("--json retag {host}/app:1 :2 :3")).await.json();
    assert_eq!(retagged["digest"], digest);
    assert_eq!(retagged["targets"], serde_json::json!([format!("{host}/app:2"), format!("{host}/app:3")]));

    let planned = desk.ok(&format!("--json copy --dry-run {host}/app:1 {host}/b:1")).await.json();
    assert_eq!((&planned["digest"], &planned["bytes"]), (&Value::from(digest.clone()), &Value::from(0)));
    let sizes: u64 = image.blobs.iter().map(|(blob, _)| blob.size()).sum();
    assert_eq!(planned["bytes_if_mounts_refused"], sizes);

    let metadata = desk.path("metadata.json");
    let words = format!("--json copy {host}/app:1 {host}/b:1 --metadata-file {}", metadata.display());
    let copied = desk.ok(&words).await.json();
    assert_eq!(
        (&copied["digest"], &copied["unchanged"]),
        (&Value::from(digest.clone()), &Value::from(false))
    );
    let actions = copied["blobs"].as_array().unwrap().iter().map(|blob| blob["action"].clone());
    assert_eq!(actions.collect::<Vec<_>>(), ["mount", "mount", "mount"]);
    let kept: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
    let beside = std::fs::read_dir(metadata.parent().unwrap()).unwrap().flatten();
    assert!(!beside.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("partial")));
    let words =
        format!("copy {host}/app:1 {host}/c:1 --metadata-file {}", desk.path("no/such/file").display());
    let failed = desk.run(&words).await.exits(1);
    assert!(
        failed.stdout.starts_with("sha256:") && failed.stderr.contains("no/such/file"),
        "{}",
        failed.stderr
    );
    assert_eq!(kept, copied);

    let listed = desk.ok(&format!("--json tags {host}/app")).await.json();
    assert_eq!(listed["tags"], serde_json::json!(["1", "2", "3"]));
    let inspected = desk.ok(&format!("--json inspect {host}/app:1")).await.json();
    assert_eq!((&inspected["digest"], &inspected["kind"]), (&Value::from(digest), &Value::from("image")));
    let version = desk.ok("--json version").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_retag_partly_done_says_which_names_there_are() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let host = registry.host();
    registry.add(Toxic::status(403).on(Kind::ManifestPut).path("/manifests/bad"));

    // The first name in the other repository is the one that fails; the others there come through all the same.
    let words = format!("retag {host}/app:1 :ok :ok :bad {host}/prod:bad {host}/prod:a {host}/prod:b");
    let run = desk.run(&format!("--json {words}")).await.exits(7);
    let document = run.json();
    assert_eq!(document["digest"], image.manifest.digest().to_string());
    let done = ["app:ok", "prod:a", "prod:b"].map(|name| format!("{host}/{name}"));
    assert_eq!(document["targets"], serde_json::json!(done));
    let failed = document["failed"].as_array().unwrap();
    let names: Vec<_> = failed.iter().map(|entry| entry["target"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("{host}/app:bad"), format!("{host}/prod:bad")]);
    assert!(
        failed.iter().all(|entry| entry["error"].as_str().unwrap().contains("not authorised")),
        "{document}"
    );
    assert_eq!(registry.requests(Kind::ManifestPut), 5);

    let run = desk.run(&words).await.exits(7);
    assert_eq!(run.stdout, "");
    for name in &done {
        assert!(run.stderr.contains(&format!("lazyblob: {name} done\n")), "{}", run.stderr);
    }
    for name in names {
        assert!(run.stderr.contains(&format!("lazyblob: {name} failed: ")), "{}", run.stderr);
    }
    assert!(run.stderr.contains("lazyblob: 3 of 5 done"), "{}", run.stderr);

    // What went well, or not at all, has no list of failures.
    let document = desk.ok(&format!("--json retag {host}/app:1 :fine")).await.json();
    assert!(document.get("failed").is_none(), "{document}");
    let run = desk.run(&format!("--json retag {host}/app:1 :bad :bad")).await.exits(3);
    assert_eq!(run.stdout, "");
}

#[tokio::test]
async fn every_json_event_has_a_type() {
    let (desk, from, to) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    let image = image(2, "app");
    from.seed("app", "1", &image).await;
    let (host, other) = (from.host(), to.host());

    let run = desk.ok(&format!("--stats --progress json copy {host}/app:1 {other}/app:1")).await;
    let events = events(&run);
    let is_done = |event: &&Value| event["type"] == "blob" && event["state"] == "done";
    let mut done: Vec<_> = events.iter().filter(is_done).map(|event| event["digest"].clone()).collect();
    let mut expected: Vec<_> =
        image.blobs.iter().map(|(blob, _)| Value::from(blob.digest().as_ref())).collect();
    done.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(done, expected);
    assert_eq!(events.last().unwrap()["type"], "stats");

    let failed =
        desk.run(&format!("--stats --progress json copy {host}/none:1 {other}/app:1")).await.exits(4);
    let mut events = self::events(&failed);
    assert_eq!(events.pop().unwrap()["type"], "stats", "--stats has the last line");
    let last = events.pop().unwrap();
    assert_eq!(last["type"], "error");
    assert!(last["message"].as_str().unwrap().contains("not found"), "{last}");
}

#[tokio::test]
async fn stats_add_up_and_say_what_moved() {
    let (desk, from, to) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    let image = image(3, "app");
    from.seed("app", "1", &image).await;
    // The other registry has one of the layers already.
    to.seed_blob("app", image.blobs[1].1.clone()).await;
    let (host, other) = (from.host(), to.host());
    from.reset();
    to.reset();

    let stats = desk.ok(&format!("--stats copy {host}/app:1 {other}/app:1")).await.stats();

    let requests = stats["requests"].as_object().unwrap();
    let kinds = Kind::ALL.map(Kind::name);
    assert_eq!(requests.len(), kinds.len() + 2, "{stats}");
    let sum: u64 = kinds.iter().map(|kind| requests[*kind].as_u64().unwrap()).sum();
    assert_eq!(requests["total"], sum);
    assert_eq!(sum, from.counter().total() + to.counter().total());
    for kind in Kind::ALL {
        assert_eq!(requests[kind.name()], from.requests(kind) + to.requests(kind), "{}", kind.name());
    }
    let blobs = serde_json::json!({"present": 1, "mounted": 0, "uploaded": 3, "fetched": 3});
    assert_eq!(stats["blobs"], blobs);
    let moved: u64 = [0, 2, 3].iter().map(|at: &usize| image.blobs[*at].0.size()).sum();
    let manifest = image.manifest.bytes().len() as u64;
    assert_eq!(stats["bytes"], serde_json::json!({"down": moved + manifest, "up": moved + manifest}));
    assert!(stats["elapsed_ms"].is_u64());
}

#[tokio::test]
async fn a_dry_run_changes_nothing_anywhere() {
    let (desk, from, to) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    let image = image(2, "app");
    from.seed("app", "1", &image).await;
    let (host, other) = (from.host(), to.host());
    from.reset();

    let plan = desk.ok(&format!("copy --dry-run {host}/app:1 {host}/prod:1")).await.stdout;
    assert_eq!(plan.matches("\nmount").count() + usize::from(plan.starts_with("mount")), 3, "{plan}");
    assert!(plan.contains("if every mount is refused"), "{plan}");
    let plan = desk.ok(&format!("copy --dry-run {host}/app:1 {other}/app:1")).await.stdout;
    for (blob, _) in &image.blobs {
        assert!(plan.contains(blob.digest().as_ref()), "{plan}");
    }
    for registry in [&from, &to] {
        for entry in registry.log() {
            assert!(matches!(entry.method.as_str(), "GET" | "HEAD"), "{entry:?}");
        }
    }
    assert_eq!(from.requests(Kind::BlobGet), 0);

    let source = format!("{host}/app:1");
    for (kind, name) in [("oci", "layout"), ("oci-archive", "a.tar"), ("docker-archive", "d.tar")] {
        desk.ok(&format!("copy --dry-run {source} {}:localhost/a:1", desk.at(kind, name))).await;
        assert!(!desk.path(name).exists(), "{kind}");
    }
    let left: Vec<_> = std::fs::read_dir(desk.path("")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_dry_run_names_referrers_that_would_come_along() {
    let (desk, from, to) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    let image = image(1, "app");
    let fields = serde_json::json!({
        "subject": image.manifest.descriptor(),
        "artifactType": "application/vnd.test.signature",
    });
    let signature =
        Image::with(&[bytes::Bytes::from_static(b"signed")], "application/vnd.test.signature", &fields);
    from.seed("app", "1", &image).await;
    from.seed("app", signature.manifest.digest().as_ref(), &signature).await;
    let (source, target) = (format!("{}/app:1", from.host()), format!("{}/app:1", to.host()));
    let digest = signature.manifest.digest();

    let plan = desk.ok(&format!("copy --dry-run --referrers {source} {target}")).await.stdout;
    assert!(plan.contains(&format!("\nput      {digest} ")), "{plan}");
    assert!(plan.ends_with(" would move, with 1 referrer\n"), "{plan}");
    for (blob, _) in &signature.blobs {
        assert!(plan.contains(&format!("transfer {}", blob.digest())), "{plan}");
    }
    let document = desk.ok(&format!("--json copy --dry-run --referrers {source} {target}")).await.json();
    assert_eq!((&document["referrers"], &document["unchanged"]), (&Value::from(1), &Value::from(false)));
    for entry in to.log() {
        assert!(matches!(entry.method.as_str(), "GET" | "HEAD"), "{entry:?}");
    }

    let plan = desk.ok(&format!("copy --dry-run {source} {target}")).await.stdout;
    assert!(!plan.contains(digest.as_ref()) && !plan.contains("referrer"), "{plan}");
    desk.ok(&format!("copy --referrers {source} {target}")).await;
    let plan = desk.ok(&format!("copy --dry-run --referrers {source} {target}")).await.stdout;
    assert_eq!(plan, format!("nothing to do: {} is there\n", image.manifest.digest()));
}

#[tokio::test]
async fn a_closed_pipe_is_the_end_and_no_error() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(1, "app")).await;
    let host = registry.host();
    for words in [
        format!("tags {host}/app"),
        format!("inspect {host}/app:1"),
        format!("--json inspect {host}/app:1"),
        format!("inspect --raw {host}/app:1"),
        format!("retag {host}/app:1 :2"),
        "version".to_owned(),
        "completion bash".to_owned(),
        "--help".to_owned(),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = desk
            .run_into(&words, |command| {
                command.stdout(writer);
            })
            .await
            .exits(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{words}");
    }
    // Nor is it one that nobody hears what is said.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let words = format!("--stats --progress plain retag {host}/app:1 :3");
    let run = desk
        .run_into(&words, |command| {
            command.stderr(writer);
        })
        .await
        .exits(0);
    assert_eq!(run.stderr, "");
    run.digest();
}

#[tokio::test]
async fn offline_sends_nothing() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(1, "app");
    registry.seed("app", "1", &image).await;
    Written::at(&desk, "layout").image("1", &image);
    let host = registry.host();
    registry.reset();
    let layout = desk.at("oci", "layout");
    for words in [
        format!("inspect {host}/app:1"),
        format!("tags {host}/app"),
        format!("retag {host}/app:1 :2"),
        format!("copy {layout}:1 {host}/app:3"),
        format!("copy --dry-run {host}/app:1 {layout}:2"),
    ] {
        desk.run(&format!("--offline {words}")).await.exits(1).says(&["--offline"]);
    }
    assert_eq!(registry.lines(), [""; 0]);
    // What needs no request works.
    let copied = desk.ok(&format!("--offline copy {layout}:1 {}:1", desk.at("oci", "again"))).await;
    assert_eq!(copied.digest(), image.manifest.digest().to_string());
}

#[tokio::test]
async fn help_names_every_command_and_completion_speaks_three_shells() {
    let desk = Desk::new();
    let commands = ["retag", "copy", "tags", "inspect", "serve", "login", "logout", "version", "completion"];
    let help = desk.ok("--help").await.stdout;
    assert!(help.contains("EXIT CODES") && help.contains("oci-archive:FILE"), "{help}");
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let own = desk.ok(&format!("{command} --help")).await.stdout;
        assert!(own.contains(&format!("Usage: lazyblob {command}")), "{own}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.ok(&format!("completion {shell}")).await.stdout;
        for command in commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let version = format!("lazyblob {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(desk.ok("version").await.stdout, version);
    assert_eq!(desk.ok("--version").await.stdout, version);
}

#[tokio::test]
async fn standard_output_that_is_full_is_an_error() {
    let desk = Desk::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = desk
        .run_into("version", |command| {
            command.stdout(full);
        })
        .await
        .exits(1);
    run.says(&["standard output", "No space left on device"]);
}

/// What is only worth knowing is not said to who asked for quiet.
#[tokio::test]
async fn quiet_is_silent_where_all_goes_well() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(2, "app")).await;
    let name = format!("{}/app:1", registry.host());
    for words in [
        "ls".to_owned(),
        format!("pull --unpack {name}"),
        format!("extract {name} tree"),
        "prune --all".to_owned(),
        format!("rm {name}"),
    ] {
        let run = desk.ok(&format!("--progress quiet {words}")).await;
        assert_eq!(run.stderr, "", "{words}");
    }
    let run = desk.run("--progress quiet rm h.test/none:1").await.exits(4);
    run.says(&["h.test/none:1"]);
}

#[tokio::test]
async fn what_is_no_registrys_is_told_how_it_comes_into_the_cache() {
    let desk = Desk::new();
    for words in ["pull oci:a/b:1", "extract oci:a/b:1 tree", "push oci:a/b:1 h.test/b:1"] {
        desk.run(words).await.exits(2).says(&["lazyblob copy oci:a/b:1 store:REF"]);
    }
    desk.run("pull docker-archive:a.tar").await.exits(2).says(&["copy docker-archive:a.tar store:REF"]);
    desk.run("pull store:127.0.0.1:5000/b:1").await.exits(2).says(&["lazyblob pull 127.0.0.1:5000/b:1"]);
}

#[tokio::test]
async fn usage_names_no_option_that_nobody_gave() {
    let desk = Desk::new();
    let run = desk.run("mount h.test/b:1").await.exits(2);
    run.says(&["Usage: lazyblob mount [OPTIONS] [REF DIR]\n"]);
    let run = desk.run("unmount").await.exits(2);
    run.says(&["Usage: lazyblob unmount [OPTIONS] <DIR>\n"]);
    let run = desk.run("extract h.test/b:1").await.exits(2);
    run.says(&["Usage: lazyblob extract [OPTIONS] <REF> <DIR>\n"]);
}

#[tokio::test]
async fn a_commands_own_options_come_first() {
    let desk = Desk::new();
    let help = desk.ok("prune --help").await.stdout;
    let order = ["--all", "--dry-run", "Global options:", "--root", "Hosts and credentials:", "--creds"];
    let at: Vec<_> = order.iter().map(|part| help.find(&format!(" {part}")).or(help.find(part))).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?}: {help}");
    assert!(help.contains("inuse") && help.contains("parent"), "{help}");
}
