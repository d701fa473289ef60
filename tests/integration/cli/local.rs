//! Layouts and archives that are broken, and disks that are full.

use std::fs;
use std::process::Stdio;

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::TestRegistry;
use serde_json::json;
use tokio::process::Command;

use crate::support::{Desk, Ran, Written, image, sized_image};

#[tokio::test]
async fn a_layout_that_leads_elsewhere_is_refused() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let secret = desk.file("secret", "{\"schemaVersion\":2}");
    let target = format!("{}/app:1", registry.host());
    let up = format!("sha256:../../../{}", secret.file_name().unwrap().to_str().unwrap());
    for (digest, said) in [
        (up.as_str(), "index.json"),
        ("sha256:", "index.json"),
        ("../..:secret", "index.json"),
        ("sha256:abc", "index.json"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "md5 is not supported"),
    ] {
        Written::at(&desk, "layout").image("1", &image(1, "app"));
        let entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 19,
            "annotations": {"org.opencontainers.image.ref.name": "1"},
        });
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        fs::write(desk.path("layout/index.json"), index).unwrap();
        let run = desk.run(&format!("copy {}:1 {target}", desk.at("oci", "layout"))).await.exits(1);
        run.says(&[said]);
    }
    assert_eq!(registry.lines(), [""; 0]);
}

#[tokio::test]
async fn a_broken_layout_is_told_by_what_is_broken() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    let layer = image.blobs[1].0.digest().clone();
    let copy = format!("copy {}:1 {}/app:1", desk.at("oci", "layout"), registry.host());
    let blob = || desk.path("layout/blobs/sha256").join(layer.digest());
    let write = |path: &str, text: &str| fs::write(desk.path(path), text).unwrap();

    Written::at(&desk, "layout").image("1", &image);
    write("layout/index.json", "{");
    desk.run(&copy).await.exits(1).says(&["index.json"]);
    Written::at(&desk, "layout").image("1", &image);
    write("layout/oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#);
    desk.run(&copy).await.exits(1).says(&["2.0.0"]);
    fs::remove_file(desk.path("layout/oci-layout")).unwrap();
    desk.run(&copy).await.exits(1).says(&["oci-layout"]);

    Written::at(&desk, "layout").image("1", &image);
    fs::remove_file(blob()).unwrap();
    desk.run(&copy).await.exits(4).says(&[layer.as_ref()]);
    fs::write(blob(), "too short").unwrap();
    desk.run(&copy).await.exits(6).says(&[layer.as_ref()]);
    let mut bytes = image.blobs[1].1.to_vec();
    bytes[20] ^= 1;
    fs::write(blob(), bytes).unwrap();
    desk.run(&copy).await.exits(6).says(&[layer.as_ref()]);
    let manifest = desk.path("layout/blobs/sha256").join(image.manifest.digest().digest());
    fs::write(manifest, "x".repeat(image.manifest.bytes().len())).unwrap();
    desk.run(&copy).await.exits(6).says(&[image.manifest.digest().as_ref()]);
    assert_eq!(registry.requests(Kind::ManifestPut), 0);
}

#[tokio::test]
async fn an_archive_that_is_none_is_refused_and_a_short_one_too() {
    let desk = Desk::new();
    let image = sized_image(1, 100_000, "app");
    Written::at(&desk, "layout").image("1", &image);
    for (kind, tag) in [("oci-archive", "1"), ("docker-archive", "localhost/app:1")] {
        let file = desk.path("archive.tar");
        let archive = format!("{}:{tag}", desk.at(kind, "archive.tar"));
        let to = format!("{}:1", desk.at("oci", &format!("from-{kind}")));
        desk.ok(&format!("copy {}:1 {archive}", desk.at("oci", "layout"))).await;
        let whole = fs::read(&file).unwrap();
        for bytes in [b"this is not a tar at all".as_slice(), &whole[..whole.len() / 2], &[]] {
            fs::write(&file, bytes).unwrap();
            let run = desk.run(&format!("copy {archive} {to}")).await;
            assert!(matches!(run.code, Some(1 | 4 | 6)), "{kind}, {} bytes: {run:?}", bytes.len());
            assert!(run.stderr.contains("archive.tar"), "{}", run.stderr);
            assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
            desk.run(&format!("inspect {to}")).await.exits(4);
        }
        fs::write(&file, whole).unwrap();
        desk.ok(&format!("copy {archive} {to}")).await;
    }
}

#[tokio::test]
async fn processes_that_write_one_layout_lose_no_name() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let images: Vec<_> = (0..8).map(|at| image(2, &format!("app-{at}"))).collect();
    for (at, image) in images.iter().enumerate() {
        registry.seed("app", &at.to_string(), image).await;
    }
    let layout = desk.at("oci", "layout");
    let words = |at: usize| format!("copy {}/app:{at} {layout}:{at}", registry.host());
    let writers: Vec<_> = (0..images.len()).map(|at| desk.command(&words(at)).spawn().unwrap()).collect();
    for (at, writer) in writers.into_iter().enumerate() {
        let run = Ran::of(&words(at), writer.wait_with_output().await.unwrap()).exits(0);
        assert_eq!(run.digest(), images[at].manifest.digest().to_string());
    }
    for (at, image) in images.iter().enumerate() {
        let raw = desk.ok(&format!("inspect --raw {layout}:{at}")).await.stdout;
        assert_eq!(raw.as_bytes(), &image.manifest.bytes()[..]);
    }
}

#[tokio::test]
async fn paths_may_be_relative() {
    let desk = Desk::new();
    let image = image(1, "app");
    Written::at(&desk, "image").image("1", &image);
    let digest = image.manifest.digest().to_string();
    // The desk is the working directory.
    fs::create_dir(desk.path("sub")).unwrap();
    for target in ["oci:layout:1", "oci:sub/layout:1", "oci-archive:a.tar:1", "oci-archive:./sub/b.tar:1"] {
        assert_eq!(desk.ok(&format!("copy oci:image:1 {target}")).await.digest(), digest);
        assert_eq!(desk.ok(&format!("copy {target} oci:back:1")).await.digest(), digest);
    }
    // That format has no manifest; what is read from it is another one with the same layers.
    desk.ok("copy oci:image:1 docker-archive:d.tar:localhost/app:1").await;
    assert_ne!(desk.ok("copy docker-archive:d.tar:localhost/app:1 oci:from-docker:1").await.digest(), digest);
    let metadata = desk.ok("copy oci:image:1 oci:layout:2 --metadata-file m.json").await;
    assert_eq!(metadata.digest(), digest);
    assert!(desk.path("m.json").exists());
    // A path alone is no location.
    desk.run("copy oci:image:1 ./a.tar").await.exits(2).says(&["oci-archive:FILE"]);
}

#[tokio::test]
async fn an_archive_replaces_a_file_and_nothing_else() {
    let desk = Desk::new();
    Written::at(&desk, "image").image("1", &image(1, "app"));
    let made = std::process::Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap();
    assert!(made.success());
    fs::create_dir(desk.path("directory")).unwrap();
    for kind in ["oci-archive", "docker-archive"] {
        desk.run(&format!("copy oci:image:1 {kind}:pipe:a:1")).await.exits(1).says(&["not a regular file"]);
        assert!(!fs::metadata(desk.path("pipe")).unwrap().is_file());
        desk.run(&format!("copy oci:image:1 {kind}:directory:a:1")).await.exits(1).says(&["is a directory"]);
        desk.file("old", "something else");
        desk.ok(&format!("copy oci:image:1 {kind}:old:a:1")).await;
        desk.ok(&format!("inspect {kind}:old:a:1")).await;
    }
    let mut left: Vec<_> =
        fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["directory", "image", "old", "pipe"]);
}

/// What a shell does before a command to which `directory` is full after a megabyte, with what it is run by and what
/// the system then says.
async fn small_disk(directory: &str) -> (Vec<&'static str>, String, &'static str) {
    let mount = |place: &str| format!("mount -t tmpfs -o size=1m none {place}");
    for options in [vec!["unshare", "--mount"], vec!["unshare", "--mount", "--map-root-user"]] {
        let mut probe = Command::new(options[0]);
        probe.args(&options[1..]).args(["sh", "-c", &mount(directory)]);
        // The file system goes with the process that sees it.
        if probe.stderr(Stdio::null()).status().await.is_ok_and(|status| status.success()) {
            return (options, mount(directory), "No space left on device");
        }
    }
    // A user who may not mount can still forbid himself longer files.
    (vec!["env"], "trap '' XFSZ && ulimit -f 2048".to_owned(), "File too large")
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_half_done_is_visible() {
    let desk = Desk::new();
    // The last layer is past what there is room for, together and alone.
    Written::at(&desk, "image").image("1", &sized_image(2, 1_500_000, "big"));
    let image = format!("{}:1", desk.at("oci", "image"));
    let small = desk.path("small").display().to_string();
    fs::create_dir(&small).unwrap();
    let (runner, limit, said) = small_disk(&small).await;
    for kind in ["oci", "oci-archive", "docker-archive"] {
        let command = format!(
            "{} copy {image} {}:localhost/a:1",
            env!("CARGO_BIN_EXE_lazyblob"),
            desk.at(kind, "small/out")
        );
        let script = format!(
            "{limit} && {command}; code=$?; echo names: $(ls {small}) >&2; \
             test ! -e {small}/out/index.json || cat {small}/out/index.json >&2; exit $code"
        );
        let mut command = Command::new(runner[0]);
        command.args(&runner[1..]).args(["sh", "-c", &script]).env("HOME", desk.path("home"));
        let run = Ran::of(&script, command.kill_on_drop(true).output().await.unwrap()).exits(1);
        let names = if kind == "oci" { "names: out\n" } else { "names:\n" };
        assert!(!run.stderr.contains("ref.name"), "{kind}: {}", run.stderr);
        run.says(&[said, &small, names]);
        fs::remove_dir_all(desk.path("small")).unwrap();
        fs::create_dir(&small).unwrap();
    }
}
