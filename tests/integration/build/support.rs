//! What the tests of builds share: definitions, images with a shell, and runs of `lazyblob build`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use lazyblob::remote::digest::sha256;
use lazyblob::remote::testing::{Image, TestRegistry, not_run};
use lazyblob::remote::{Descriptor, Manifest, media};
use lazyblob::worker::llb::{self, Copy, Files, Mkfile, State, host_platform};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Desk, Ran};

/// Whether commands can be run here; if not, it is said why.
pub(super) fn can_run() -> bool {
    let missing = match () {
        () if !rustix::process::geteuid().is_root() => "root",
        () if !Path::new("/bin/busybox").exists() => "busybox-static",
        () if !["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"]
            .iter()
            .any(|path| Path::new(path).exists()) =>
        {
            "runc or crun"
        }
        () => return true,
    };
    not_run("builds with commands", &format!("they cannot be run without {missing}"));
    false
}

/// A tar of these entries: directories end in `/`, links have ` -> ` in their names.
pub(super) fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_000_000_000);
        match path.split_once(" -> ") {
            Some((path, target)) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                archive.append_link(&mut header, path, target).unwrap();
            }
            None if path.ends_with('/') => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                header.set_mode(0o755);
                archive.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            None => {
                header.set_size(content.len() as u64);
                header.set_mode(0o755);
                archive.append_data(&mut header, path, *content).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

/// An image of these tars, gzipped, the bottom one first, with a variable in its config.
pub(super) fn image_of(tars: &[Vec<u8>]) -> Image {
    image_at(1, tars)
}

/// The same with a level of compression.
pub(super) fn image_at(level: u32, tars: &[Vec<u8>]) -> Image {
    let mut blobs = Vec::new();
    for tar in tars {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        gzip.write_all(tar).unwrap();
        blobs.push(bytes::Bytes::from(gzip.finish().unwrap()));
    }
    let diff_ids: Vec<String> = tars.iter().map(|tar| sha256(tar).to_string()).collect();
    let config = json!({
        "architecture": host_platform().architecture, "os": "linux", "config": {"Env": ["FROM_BASE=1"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": tars.iter().map(|_| json!({"created_by": "the test"})).collect::<Vec<_>>(),
    });
    let config = bytes::Bytes::from(config.to_string());
    let described = |media_type: &str, bytes: &bytes::Bytes| {
        (Descriptor::new(media_type.into(), bytes.len() as u64, sha256(bytes)), bytes.clone())
    };
    let mut all = vec![described(media::OCI_CONFIG, &config)];
    all.extend(blobs.iter().map(|blob| described(media::OCI_LAYER_GZIP, blob)));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": all[0].0,
        "layers": all[1..].iter().map(|(layer, _)| layer).collect::<Vec<_>>(),
    });
    let manifest = bytes::Bytes::from(manifest.to_string());
    let manifest = Manifest::parse(manifest, Some(media::OCI_MANIFEST), None, "the test").unwrap();
    Image { manifest, blobs: all }
}

/// busybox and what it is called, in one layer, and `layers` more with a file each.
pub(super) fn shell_image(layers: usize) -> Image {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let mut entries: Vec<(String, Vec<u8>)> =
        ["bin/", "etc/", "tmp/", "proc/", "sys/", "dev/"].map(|name| (name.to_owned(), Vec::new())).into();
    entries.push(("bin/busybox".to_owned(), busybox));
    for name in [
        "sh", "cat", "echo", "ls", "mkdir", "rm", "true", "false", "sleep", "test", "id", "env", "head",
        "od", "wc", "grep", "touch", "cp", "mv", "ln", "chmod", "ip",
    ] {
        entries.push((format!("bin/{name} -> busybox"), Vec::new()));
    }
    entries.push((
        "etc/passwd".to_owned(),
        b"root:x:0:0:root:/root:/bin/sh\nmary:x:1000:1000::/home/mary:/bin/sh\n".to_vec(),
    ));
    entries.push(("etc/group".to_owned(), b"root:x:0:\nmary:x:1000:\n".to_vec()));
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, data)| (&**name, &**data)).collect();
    let mut tars = vec![tar_of(&entries)];
    tars.extend(
        (0..layers)
            .map(|at| tar_of(&[("srv/", b""), (&format!("srv/{at}"), format!("layer {at}").as_bytes())])),
    );
    image_of(&tars)
}

/// An image of so many layers with a file each, and nothing that could be run.
pub(super) fn plain_image(layers: usize) -> Image {
    let layer =
        |at| tar_of(&[("srv/", b"" as &[u8]), (&format!("srv/{at}"), format!("layer {at}").as_bytes())]);
    image_of(&(0..layers).map(layer).collect::<Vec<_>>())
}

/// Writes the definition of `state` to the desk, as `NAME.llb`.
pub(super) fn define(desk: &Desk, name: &str, state: &State) -> String {
    let path = desk.path(&format!("{name}.llb"));
    std::fs::write(&path, state.marshal(&host_platform())).unwrap();
    path.display().to_string()
}

/// Builds `state` with these words.
pub(super) async fn build(desk: &Desk, state: &State, words: &str) -> Ran {
    let definition = define(desk, &sha256(words.as_bytes()).digest()[..12], state);
    desk.run(&format!("build --stats --progress json {words} {definition}")).await
}

/// Builds it and expects success.
pub(super) async fn built(desk: &Desk, state: &State, words: &str) -> Ran {
    build(desk, state, words).await.exits(0)
}

/// The lines of `--progress json`.
pub(super) fn events(ran: &Ran) -> Vec<Value> {
    ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How each vertex ended, by its name: `completed`, `cached`, `failed`.
pub(super) fn vertices(ran: &Ran) -> BTreeMap<String, String> {
    let events = events(ran);
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let of_vertices = || events.iter().filter(|event| event["type"] == "vertex");
    let names: BTreeMap<String, String> = of_vertices()
        .filter(|event| event["state"] == "known")
        .map(|event| (text(event, "vertex"), text(event, "name")))
        .collect();
    let mut states = BTreeMap::new();
    for event in of_vertices() {
        let state = text(event, "state");
        if ["completed", "cached", "failed"].contains(&&*state) {
            states.insert(names[&text(event, "vertex")].clone(), state);
        }
    }
    states
}

/// Expects that every vertex came from the cache, and that there are some.
#[track_caller]
pub(super) fn all_cached(ran: &Ran) {
    let vertices = vertices(ran);
    assert!(
        !vertices.is_empty() && vertices.values().all(|state| state == "cached"),
        "{vertices:#?}\n{}",
        ran.stderr
    );
}

/// Digests of the layers of an image.
pub(super) fn layers(image: &Image) -> Vec<String> {
    image.manifest.layers().iter().map(|layer| layer.digest().to_string()).collect()
}

/// Which of the layers of an image are in the desk's cache.
pub(super) fn pulled(desk: &Desk, image: &Image) -> Vec<String> {
    let blobs = desk.path("root/store/blobs/sha256");
    let here = |digest: &String| blobs.join(digest.trim_start_matches("sha256:")).exists();
    layers(image).into_iter().filter(here).collect()
}

/// A desk, a registry, and this image in it as `app:1`, under its full name.
pub(super) async fn with_image(image: &Image) -> (Desk, TestRegistry, String) {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", image).await;
    let name = format!("{}/app:1", registry.host());
    (desk, registry, name)
}

/// How many of these requests got one of these blobs.
pub(super) fn gets(asked: &[String], blobs: &[String]) -> usize {
    let of_blob = |line: &&String| line.starts_with("GET") && blobs.iter().any(|blob| line.contains(&**blob));
    asked.iter().filter(of_blob).count()
}

/// How many of these requests got any blob, by its name's address.
pub(super) fn blob_gets(asked: &[String]) -> Vec<&String> {
    asked.iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/sha256:")).collect()
}

/// Expects that these vertices ran, each called by a part of its name, and that all others came from the cache.
#[track_caller]
pub(super) fn ran_only(ran: &Ran, parts: &[&str]) {
    let vertices = vertices(ran);
    assert!(!vertices.is_empty(), "{}", ran.stderr);
    for (name, state) in &vertices {
        let expected = if parts.iter().any(|part| name.contains(part)) { "completed" } else { "cached" };
        assert_eq!(state, expected, "{name}: {vertices:#?}\n{}", ran.stderr);
    }
    for part in parts {
        assert!(vertices.keys().any(|name| name.contains(part)), "no {part}: {vertices:#?}");
    }
}

/// A file on nothing.
pub(super) fn file(path: &str, text: &str) -> State {
    llb::scratch().file(Files::new().then(Mkfile::new(path, 0o644, text)))
}

/// A file of a tree, alone.
pub(super) fn only(tree: &State, path: &str) -> State {
    llb::scratch().file(Files::new().then(Copy::new(tree, path, "/")))
}

/// What puts a result into a directory of the desk.
pub(super) fn into_dir(desk: &Desk, name: &str) -> String {
    format!("-o type=local,dest={}", desk.path(name).display())
}

/// Expects that nothing is left when everything unused is removed.
pub(super) async fn all_released(desk: &Desk) {
    desk.ok("prune --all").await;
    let left = desk.ok("du --json").await.json();
    assert_eq!(left["records"].as_array().map(Vec::len), Some(0), "{left:#}");
    for what in ["blobs", "snapshots", "mutable", "unfinished", "mounts"] {
        assert_eq!(left["total"][what], 0, "{what}: {left:#}");
    }
}

/// `/bin/sh -c SCRIPT`.
pub(super) fn shell(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

/// What a file is that a build wrote with `type=local`.
pub(super) fn read(desk: &Desk, path: &str) -> String {
    let path = desk.path(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A command that reaches this door waits until it is let go.
pub(super) struct Door(TcpListener);

impl Door {
    pub(super) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// What a command says to wait here.
    pub(super) fn knock(&self) -> String {
        format!("/bin/busybox nc 127.0.0.1 {} < /dev/null", self.0.local_addr().unwrap().port())
    }

    /// Waits until somebody waits. They go on when what is returned is dropped.
    pub(super) async fn somebody(&self) -> TcpStream {
        self.0.accept().await.unwrap().0
    }
}

/// Takes the image's name away, and expects that nothing is left then.
pub(super) async fn wiped(desk: &Desk, name: &str) {
    desk.ok(&format!("rm store:{name}")).await;
    all_released(desk).await;
}

/// Digests of a list of descriptors.
pub(super) fn digests(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap().to_owned()).collect()
}

/// Which of these blobs are in the desk's cache.
pub(super) fn here(desk: &Desk, blobs: &[String]) -> Vec<String> {
    let at = desk.path("root/store/blobs/sha256");
    let is_here = |blob: &&String| at.join(blob.trim_start_matches("sha256:")).exists();
    blobs.iter().filter(is_here).cloned().collect()
}
