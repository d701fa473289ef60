//! Images that are made of results: what they are made of, and what is sent for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use lazyblob::remote::digest::sha256;
use lazyblob::remote::testing::Image;
use lazyblob::remote::{Descriptor, Digest, Manifest, media};
use lazyblob::worker::llb::{self, Copy, Files, Mkfile};
use serde_json::{Value, json};

use super::hub::Hub;
use super::support::{
    all_cached, all_released, build, built, can_run, digests, file, gets, image_at, into_dir, layers, only,
    plain_image, read, shell, shell_image, tar_of,
};
use crate::support::Desk;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The files of a tar on the desk.
struct Archive(BTreeMap<String, Vec<u8>>);

impl Archive {
    fn read(desk: &Desk, name: &str) -> Self {
        let mut tar = tar::Archive::new(std::fs::File::open(desk.path(name)).unwrap());
        let files = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (path, bytes)
        });
        Self(files.filter(|(path, _)| !path.ends_with('/')).collect())
    }

    fn file(&self, path: &str) -> &[u8] {
        self.0.get(path).unwrap_or_else(|| panic!("no {path} among {:?}", self.0.keys()))
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(self.file(path)).unwrap()
    }

    fn blob(&self, digest: &Value) -> &[u8] {
        self.file(&format!("blobs/{}", digest.as_str().unwrap().replace(':', "/")))
    }

    /// The manifest of the only image.
    fn manifest(&self) -> Value {
        let index = self.json("index.json");
        serde_json::from_slice(self.blob(&index["manifests"][0]["digest"])).unwrap()
    }
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// testPullZstdImage, testBuildExportZstd: an image of zstd layers is pushed, pulled by somebody else, and given away as it is.
#[tokio::test]
async fn zstd_images_go_out_and_come_back() {
    for hub in Hub::all("zstd_images_go_out_and_come_back").await {
        for (oci, kind) in [
            (true, "application/vnd.oci.image.layer.v1.tar+zstd"),
            (false, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
        ] {
            let (desk, fresh) = (Desk::new(), Desk::new());
            let name = format!("{}/zstd:{oci}", hub.host());
            let words = format!("-o type=image,name={name},push=true,compression=zstd,oci-mediatypes={oci}");
            built(&desk, &file("/data", "zstandard"), &words).await;
            let manifest = hub.json(&format!("zstd/manifests/{oci}")).await;
            assert_eq!(manifest["layers"][0]["mediaType"], kind);
            let pushed = digests(&manifest["layers"]);

            let words =
                format!("-o type=oci,dest={},oci-mediatypes={oci}", fresh.path("image.tar").display());
            let pulls = llb::image(&name);
            built(&fresh, &pulls.file(Files::new().then(Copy::new(&pulls, "/data", "/copy"))), &words).await;
            let asked = hub.asked().await;
            assert_eq!(gets(&asked, &pushed), 1, "{asked:#?}");
            let archive = Archive::read(&fresh, "image.tar");
            let manifest = archive.manifest();
            assert_eq!(manifest["layers"][0]["mediaType"], kind, "{manifest:#}");
            assert_eq!(archive.blob(&manifest["layers"][0]["digest"])[..4], ZSTD);
            built(&fresh, &pulls, &into_dir(&fresh, "out")).await;
            assert_eq!(read(&fresh, "out/data"), "zstandard");
        }
    }
}

/// testBuildExportWithUncompressed: what is not compressed stays so where nobody asks for more, and all of it is where somebody
/// does; with the names of either family.
#[tokio::test]
async fn an_uncompressed_base_stays_as_it_is_until_forced() {
    for hub in Hub::all("an_uncompressed_base_stays_as_it_is_until_forced").await {
        let desk = Desk::new();
        let base = format!("{}/base:1", hub.host());
        let plain = "compression=uncompressed";
        built(&desk, &file("/below", "below"), &format!("-o type=image,name={base},push=true,{plain}")).await;
        let state = llb::image(&base).file(Files::new().then(Mkfile::new("/above", 0o644, "above")));
        for (oci, tar, gzip) in [
            (true, "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"),
            (
                false,
                "application/vnd.docker.image.rootfs.diff.tar",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
        ] {
            for (words, kinds) in [
                ("", [tar, gzip]),
                (",compression=uncompressed", [tar, tar]),
                (",force-compression=true", [gzip, gzip]),
                (",compression=gzip,force-compression=true", [gzip, gzip]),
            ] {
                // A desk that has made nothing else, so that nothing is found that another turn compressed.
                let other = Desk::new();
                let name = format!("{}/child:1", hub.host());
                let words = format!("-o type=image,name={name},push=true,oci-mediatypes={oci}{words}");
                built(&other, &state, &words).await;
                let manifest = hub.json("child/manifests/1").await;
                let found: Vec<&str> = manifest["layers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|layer| layer["mediaType"].as_str().unwrap())
                    .collect();
                assert_eq!(found, kinds, "{words}");
            }
        }
    }
}

/// testBuildExportWithForeignLayer: a layer that is not to be distributed stays where it is if that is asked for, and is an
/// ordinary one if not.
#[tokio::test]
async fn foreign_layers_stay_foreign_where_that_is_asked_for() {
    const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let plain = plain_image(1);
    let url = "https://elsewhere.invalid/layer";
    let (layer, _) = &plain.blobs[1];
    let mut foreign = Descriptor::new(FOREIGN.into(), layer.size(), layer.digest().clone());
    foreign.set_urls(Some(vec![url.to_owned()]));
    let config = Descriptor::new(
        media::DOCKER_CONFIG.into(),
        plain.blobs[0].0.size(),
        plain.blobs[0].0.digest().clone(),
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::DOCKER_MANIFEST, "config": config, "layers": [foreign],
    });
    let manifest =
        Manifest::parse(manifest.to_string().into(), Some(media::DOCKER_MANIFEST), None, "the test").unwrap();
    let image = Image { manifest, blobs: plain.blobs.clone() };
    let (hub, target) = (Hub::counting().await, Hub::counting().await);
    let base = hub.seed("base", "1", &image).await;
    let state = llb::image(base);
    let digest = layer.digest().to_string();
    for (prefer, repository) in [(true, "kept"), (false, "turned")] {
        let desk = Desk::new();
        let name = format!("{}/{repository}:1", target.host());
        let words = format!(
            "-o type=image,name={name},push=true,oci-mediatypes=false,prefer-nondist-layers={prefer}"
        );
        built(&desk, &state, &words).await;
        let manifest = target.json(&format!("{repository}/manifests/1")).await;
        let there = target.status(&format!("{repository}/blobs/{digest}")).await;
        let asked = hub.asked().await;
        if prefer {
            assert_eq!(manifest["layers"][0]["mediaType"], FOREIGN);
            assert_eq!(manifest["layers"][0]["urls"], json!([url]));
            assert_eq!((there, gets(&asked, std::slice::from_ref(&digest))), (404, 0), "{asked:#?}");
        } else {
            assert_eq!(manifest["layers"][0]["mediaType"], media::DOCKER_LAYER_GZIP);
            assert!(manifest["layers"][0].get("urls").is_none(), "{manifest:#}");
            assert_eq!((there, gets(&asked, std::slice::from_ref(&digest))), (200, 1), "{asked:#?}");
        }
    }
}

/// testPushByDigest: an image without a tag is found by its digest alone; a name with a tag is refused.
#[tokio::test]
async fn an_image_is_pushed_by_its_digest() {
    for hub in Hub::all("an_image_is_pushed_by_its_digest").await {
        let desk = Desk::new();
        let (state, host) = (file("/x", "x"), hub.host());
        let words = "push=true,push-by-digest=true";
        let ran = built(&desk, &state, &format!("-o type=image,name={host}/digest/app,{words}")).await;
        let asked = hub.asked().await;
        assert_eq!(hub.status("digest/app/manifests/latest").await, 404);
        assert_eq!(hub.status(&format!("digest/app/manifests/{}", ran.digest())).await, 200);
        let puts: Vec<_> =
            asked.iter().filter(|line| line.contains("/manifests/") && line.starts_with("PUT")).collect();
        assert!(puts.len() == 1 && puts[0].contains(&ran.digest()), "{asked:#?}");
        let tagged = build(&desk, &state, &format!("-o type=image,name={host}/digest/app:1,{words}")).await;
        let tagged = tagged.exits(2);
        assert!(tagged.stderr.contains("push-by-digest"), "{}", tagged.stderr);
        assert_eq!(hub.asked().await, [""; 0]);
    }
}

/// testBuildPushAndValidate: what was built and pushed is what the registry has: config, history, layers, and nothing that the
/// command saw but did not make.
#[tokio::test]
async fn what_is_pushed_is_what_was_built() {
    if !can_run() {
        return;
    }
    for hub in Hub::all("what_is_pushed_is_what_was_built").await {
        let (desk, fresh) = (Desk::new(), Desk::new());
        let base = llb::image(hub.seed("base", "1", &shell_image(0)).await);
        let script =
            "mkdir -p /foo/sub; echo first > /foo/sub/bar; chmod 0741 /foo; echo second > /foo/sub/baz";
        let made = base.run(shell(script)).root();
        let state = llb::scratch().file(Files::new().then(Copy::new(&made, "/foo", "/foo")));
        let name = format!("{}/app:1", hub.host());
        let ran = built(&desk, &state, &format!("-o type=image,name={name},push=true")).await;
        let manifest = hub.json("app/manifests/1").await;
        let config = hub.json(&format!("app/blobs/{}", manifest["config"]["digest"].as_str().unwrap())).await;
        assert_eq!((&config["os"], &config["rootfs"]["type"]), (&json!("linux"), &json!("layers")));
        assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(1), "{config:#}");
        assert_eq!(config["history"].as_array().map(Vec::len), Some(1));
        let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
        let bytes = std::fs::read(desk.path("root/store/blobs/sha256").join(layer.digest())).unwrap();
        let plain = inflated(&bytes);
        assert_eq!(config["rootfs"]["diff_ids"][0], json!(sha256(&plain)));
        let mut names: Vec<String> = tar::Archive::new(&plain[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.sort();
        // A layer on nothing has its root.
        assert_eq!(names, ["./", "foo/", "foo/sub/", "foo/sub/bar", "foo/sub/baz"]);
        // And somebody else gets it.
        hub.asked().await;
        built(&fresh, &llb::image(&name), &into_dir(&fresh, "out")).await;
        assert_eq!(read(&fresh, "out/foo/sub/baz"), "second\n");
        assert_eq!(gets(&hub.asked().await, &[layer.to_string()]), 1);
        let again = built(&desk, &state, &format!("-o type=image,name={name},push=true")).await;
        assert_eq!(again.digest(), ran.digest());
        all_cached(&again);
    }
}

/// testOCIExporter: a layout in a tar file has everything its index names, and docker's has what `docker load` reads.
#[tokio::test]
async fn archives_are_whole() {
    let image = plain_image(2);
    for hub in Hub::all("archives_are_whole").await {
        let desk = Desk::new();
        let base = llb::image(hub.seed("base", "1", &image).await);
        let state = base.file(Files::new().then(Mkfile::new("/top", 0o644, "top")));
        let dest = |name: &str| desk.path(name).display().to_string();
        let words = format!(
            "-o type=oci,name=test/app:1,dest={} -o type=docker,name=test/app:1,dest={}",
            dest("oci.tar"),
            dest("docker.tar")
        );
        built(&desk, &state, &words).await;
        let asked = hub.asked().await;
        assert_eq!(gets(&asked, &layers(&image)), 2, "both at once, each blob once: {asked:#?}");
        let oci = Archive::read(&desk, "oci.tar");
        let manifest = oci.manifest();
        let config: Value = serde_json::from_slice(oci.blob(&manifest["config"]["digest"])).unwrap();
        let found = digests(&manifest["layers"]);
        assert_eq!((found.len(), &found[..2]), (3, &layers(&image)[..]));
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        for (digest, diff_id) in found.iter().zip(diff_ids) {
            let bytes = oci.blob(&json!(digest));
            assert_eq!(sha256(bytes).to_string(), *digest);
            assert_eq!(json!(sha256(&inflated(bytes))), *diff_id);
        }
        // Three layers, a config, a manifest, the index and the layout's mark, and nothing else.
        assert_eq!(oci.0.len(), 7, "{:?}", oci.0.keys());

        let docker = Archive::read(&desk, "docker.tar");
        let images = docker.json("manifest.json");
        assert_eq!(images[0]["RepoTags"], json!(["docker.io/test/app:1"]));
        let config = docker.json(images[0]["Config"].as_str().unwrap());
        assert_eq!(config["rootfs"]["diff_ids"].as_array(), Some(diff_ids));
        let listed = images[0]["Layers"].as_array().unwrap();
        assert_eq!(listed.len(), 3);
        for (path, diff_id) in listed.iter().zip(diff_ids) {
            let bytes = docker.file(path.as_str().unwrap());
            let plain = if bytes.starts_with(&[0x1f, 0x8b]) { inflated(bytes) } else { bytes.to_vec() };
            assert_eq!(json!(sha256(&plain)), *diff_id);
        }
    }
}

/// testSnapshotWithMultipleBlobs: the same tree under two blobs; who has unpacked the one can use the other, and each image
/// keeps its own.
#[tokio::test]
async fn one_tree_may_have_two_blobs() {
    for hub in Hub::all("one_tree_may_have_two_blobs").await {
        let desk = Desk::new();
        let tar = tar_of(&[("data", "many words ".repeat(1000).as_bytes())]);
        // The second has a layer more: alone, it would be found to be the first.
        let more = tar_of(&[("more", b"more")]);
        let (first, second) = (image_at(0, std::slice::from_ref(&tar)), image_at(9, &[tar, more]));
        let names = [hub.seed("level", "0", &first).await, hub.seed("level", "9", &second).await];
        let (mut found, mut diff_ids) = (Vec::new(), BTreeSet::new());
        for (at, name) in names.iter().enumerate() {
            let state = llb::image(name).file(Files::new().then(Mkfile::new("/top", 0o644, "top")));
            let dest = format!("{at}.tar");
            built(&desk, &state, &format!("-o type=oci,dest={}", desk.path(&dest).display())).await;
            let archive = Archive::read(&desk, &dest);
            let manifest = archive.manifest();
            assert_eq!(archive.blob(&manifest["layers"][0]["digest"])[..2], [0x1f, 0x8b]);
            let config: Value = serde_json::from_slice(archive.blob(&manifest["config"]["digest"])).unwrap();
            diff_ids.insert(config["rootfs"]["diff_ids"][0].to_string());
            found.push(digests(&manifest["layers"])[0].clone());
        }
        assert_ne!(found[0], found[1]);
        assert_eq!(diff_ids.len(), 1, "one tree: {diff_ids:?}");
        all_released(&desk).await;
    }
}

/// testCacheReleased: two builds, one after the other, and nothing of them is held.
#[tokio::test]
async fn what_was_built_can_go() {
    if !can_run() {
        return;
    }
    let desk = Desk::new();
    let hub = Hub::counting().await;
    let base = llb::image(hub.seed("app", "1", &shell_image(1)).await);
    desk.file("ctx/given", "given");
    let words = format!("--local ctx={}", desk.path("ctx").display());
    for text in ["one", "two"] {
        let from = base.file(Files::new().then(Copy::new(&llb::local("ctx"), "/given", "/given")));
        let made = from.run(shell(&format!("cat /given /srv/0 > /{text}"))).root();
        let out = only(&made, &format!("/{text}"));
        built(&desk, &out, &format!("{words} {}", into_dir(&desk, text))).await;
        assert_eq!(read(&desk, &format!("{text}/{text}")), "givenlayer 0");
    }
    assert_eq!(gets(&hub.asked().await, &layers(&shell_image(1))), 2);
    all_released(&desk).await;
}
