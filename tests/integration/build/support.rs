//! What the tests of builds share: definitions, images with a shell, and runs of `lazyblob build`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use lazyblob::remote::digest::sha256;
use lazyblob::remote::testing::{Image, TestRegistry};
use lazyblob::remote::{Descriptor, Manifest, media};
use lazyblob::worker::llb::{State, host_platform};
use serde_json::{Value, json};

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
    eprintln!("skipped: commands cannot be run without {missing}");
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
    let mut blobs = Vec::new();
    for tar in tars {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
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
    let definition = define(desk, &sha256(words.as_bytes()).digest()[..12].to_owned(), state);
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
