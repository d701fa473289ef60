//! Seeds that are made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use flate2::write::GzEncoder;
use lazyblob_cache::testing::adversarial::{images, refused};
use lazyblob_cache::testing::tars::{Header, Tar};
use lazyblob_remote::digest::sha256;

use crate::replay::directory;

/// Larger ones are left out: what they show a smaller one shows, too.
const LARGEST: usize = 3 << 10;
/// All of them together.
const ALL: u64 = 300_000;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// By target and name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

fn made() -> Seeds {
    let mut seeds = Seeds::new();
    let tars = tars();
    for (name, tar) in &tars {
        seeds.insert(("apply", name.clone()), tar.clone());
    }
    for (name, tar) in tars.iter().filter(|(name, _)| !name.starts_with("refused")) {
        seeds.insert(("round_trip", name.clone()), tar.clone());
    }
    for (name, blob) in blobs() {
        seeds.insert(("unpack", name.to_owned()), blob);
    }
    let texts = [("references", references()), ("manifests", manifests()), ("configs", configs())];
    let texts = texts.into_iter().chain([("build_caches", build_caches()), ("journal", journals())]);
    let texts = texts.chain([("cache_configs", cache_configs())]);
    for (target, texts) in texts {
        for (number, text) in texts.into_iter().enumerate() {
            seeds.insert((target, format!("made-{number:02}")), text.into_bytes());
        }
    }
    seeds
}

/// The last layers of the odd and the wrong images, and some more; without the zeros at their end.
fn tars() -> Vec<(String, Vec<u8>)> {
    let odd =
        images().into_iter().filter_map(|(name, mut layers)| Some((format!("made-{name}"), layers.pop()?)));
    let wrong = refused()
        .into_iter()
        .filter_map(|(name, mut layers, _)| Some((format!("refused-{name}"), layers.pop()?)));
    let more = [
        (
            "before the epoch",
            Tar::new()
                .pax(&[("mtime", b"-1.5")])
                .file("f", "f")
                .pax(&[("mtime", b"-0.25")])
                .dir("d", 0o755)
                .end(),
        ),
        ("the end of time", Tar::new().pax(&[("mtime", b"9223372036854775807")]).file("f", "f").end()),
        (
            "a hole as large as a disk",
            Tar::new()
                .pax(&[("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"4096,2")])
                .file("s", "xy")
                .end(),
        ),
        ("all bits", Tar::new().entry(&Header::new(b'0', "f").mode(0o7777), "f").dir("d", 0o7777).end()),
        (
            "through a link below",
            Tar::new()
                .file("a/new", "n")
                .file("up/new", "n")
                .file("d/up/new", "n")
                .link("h", "b")
                .file("b", "b")
                .file("c/x", "c")
                .end(),
        ),
        ("large device", Tar::new().entry(&Header::new(b'3', "c").device(0o777_7777, 0o777_7777), []).end()),
        (
            "libarchive's xattr",
            Tar::new().pax(&[("LIBARCHIVE.xattr.user.a%3Db", b"eA==")]).file("f", "f").end(),
        ),
    ];
    let more = more.into_iter().map(|(name, tar)| (format!("made-{name}"), tar));
    let cut = |(name, mut tar): (String, Vec<u8>)| {
        let end = tar.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(512));
        tar.truncate(end);
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        (!tar.is_empty() && tar.len() <= LARGEST).then_some((name, tar))
    };
    odd.chain(wrong).chain(more).filter_map(cut).collect()
}

fn blobs() -> Vec<(&'static str, Vec<u8>)> {
    let tar = Tar::new().dir("d", 0o755).file("d/f", "f".repeat(700)).symlink("l", "d").end();
    let gzip = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 19).unwrap();
    let (half, rest) = tar.split_at(1000);
    let skipped = [&b"\x50\x2a\x4d\x18\x04\0\0\0skip"[..], &zstd(half), &zstd(rest)].concat();
    let mut bomb = Tar::new().file("zeros", vec![0; 2 << 20]).end();
    bomb.truncate(2 << 20);
    let cut = gzip(&tar)[..60].to_vec();
    vec![
        ("made-bare", tar.clone()),
        ("made-gzip", gzip(&tar)),
        ("made-gzip-members", [gzip(half), gzip(rest)].concat()),
        ("made-gzip-padding", [gzip(&tar), vec![0; 20]].concat()),
        ("made-gzip-garbage", [gzip(&tar), b"garbage".to_vec()].concat()),
        ("made-gzip-cut", cut),
        ("made-gzip-bomb", gzip(&bomb)),
        ("made-zstd", zstd(&tar)),
        ("made-zstd-frames", skipped),
        ("made-zstd-bomb", zstd(&bomb)),
        ("made-nothing", Vec::new()),
        ("made-gzip-of-nothing", gzip(b"")),
    ]
}

fn references() -> Vec<String> {
    let mut texts: Vec<String> = [
        "alpine",
        "library/alpine:3.20",
        "ghcr.io/team/app:v1.2.3",
        "localhost:5000/a/b_c/d--e.f:latest",
        "[::1]:5000/x:y",
        "Host.Example:443/team/app",
        "oci:dir:tag",
        "oci-archive:a/b.tar",
        "docker-archive:x.tar:name/repo:tag",
        "docker://alpine",
        "store:alpine",
        "registry.test/A/b",
        "a//b",
        ":tag",
        "@",
        "oci::",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("registry.test/team/app@{DIGEST}"));
    texts.push(format!("registry.test/team/app:1@{DIGEST}"));
    texts.push(format!("oci:dir@{DIGEST}"));
    texts.push(format!("x@sha512:{}", "a".repeat(128)));
    texts
}

fn descriptor(media_type: &str, more: &str) -> String {
    let digest = sha256(format!("{media_type}{more}").as_bytes());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":7{more}}}"#)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CACHE: &str = "application/vnd.buildkit.cacheconfig.v0";

fn manifest(config: &str, layers: &[String], more: &str) -> String {
    let (config, layers) = (descriptor(config, ""), layers.join(","));
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layers}]{more}}}"#)
}

fn index(entries: &[String], more: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]{more}}}"#, entries.join(","))
}

fn manifests() -> Vec<String> {
    let layer = descriptor(LAYER, r#","annotations":{"a":"b"},"urls":["https://x.test/l"]"#);
    let platform = r#","platform":{"architecture":"arm64","os":"linux","variant":"v8","os.features":["f"]}"#;
    let subject = format!(r#","subject":{},"artifactType":"a/b""#, descriptor(MANIFEST, ""));
    vec![
        manifest(CONFIG, &[layer.clone(), layer.clone()], ""),
        manifest(CONFIG, &[], &subject),
        manifest("application/vnd.oci.empty.v1+json", &[descriptor("x/y", r#","data":"e30=""#)], r#","annotations":{"k":"v"}"#),
        index(&[descriptor(MANIFEST, platform), descriptor(INDEX, ""), descriptor("odd/type; a=b", "")], ""),
        index(&[], r#","annotations":null"#),
        r#"{"schemaVersion":2,"config":null,"layers":null,"manifests":null}"#.to_owned(),
        r#"{"schemaVersion":1,"fsLayers":[],"signatures":[]}"#.to_owned(),
        r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}"#.to_owned(),
        "[".repeat(300),
    ]
}

fn configs() -> Vec<String> {
    let ids = |ids: &str| {
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":{ids}}}}}"#
        )
    };
    vec![
        ids("[]"),
        ids("null"),
        ids(&format!(r#"["{DIGEST}"]"#)),
        ids(&format!(r#"["{DIGEST}","{DIGEST}","sha512:{}"]"#, "0".repeat(128))),
        ids(r#"["sha256:short"]"#),
        "{}".to_owned(),
        r#"{"rootfs":null,"os":"x","os":"y"}"#.to_owned(),
        r#"{"os":"\ud800"}"#.to_owned(),
    ]
}

fn build_caches() -> Vec<String> {
    let note = r#","annotations":{"containerd.io/uncompressed":"sha256:x","buildkit/createdat":"t"}"#;
    let (layer, config) = (descriptor(LAYER, note), descriptor(CACHE, ""));
    vec![
        manifest(CACHE, &[layer.clone(), layer.clone()], ""),
        manifest(CACHE, &[], r#","annotations":{"x":"y"},"more":1"#),
        index(&[layer.clone(), config.clone()], ""),
        index(&[config.clone(), layer.clone(), config.clone()], ""),
        index(&[config, descriptor(MANIFEST, "")], r#","annotations":{"x":"y"}"#),
        manifest(CONFIG, &[layer], ""),
    ]
}

fn cache_configs() -> Vec<String> {
    let blob = |more: &str| format!(r#"{{"blob":"{DIGEST}"{more}}}"#);
    let record = |more: &str| format!(r#"{{"digest":"{DIGEST}"{more}}}"#);
    let config = |layers: &[String], records: &[String]| {
        format!(r#"{{"layers":[{}],"records":[{}]}}"#, layers.join(","), records.join(","))
    };
    // Without a parent: the first one, which is then the layer itself.
    let (first, second) = (blob(r#","parent":-1"#), blob(""));
    let result = record(r#","layers":[{"layer":1,"createdAt":"2026-01-01T00:00:00Z"}]"#);
    let linked = record(r#","inputs":[[{"selector":"sha256:x","link":0},{"link":0}],[{"link":0}]]"#);
    let chains = record(r#","chains":[{"layers":[0,1],"createdAt":"2026-01-01T00:00:00.5Z"}]"#);
    let (to_next, to_first) = (record(r#","inputs":[[{"link":1}]]"#), record(r#","inputs":[[{"link":0}]]"#));
    vec![
        "{}".to_owned(),
        config(&[first.clone(), second.clone()], &[result.clone(), linked]),
        config(&[first.clone(), second.clone()], &[chains]),
        config(&[second], &[]),
        config(&[first, blob(r#","annotations":{"mediaType":"t","size":3,"createdAt":"t"}"#)], &[result]),
        config(&[], &[to_next, to_first]),
    ]
}

/// Lines as the journal has them.
fn line(body: &str) -> String {
    format!("{} {body}\n", &sha256(body.as_bytes()).digest()[..16])
}

fn journals() -> Vec<String> {
    // `r/a/k`, `v`; `m/schema`, which does not come from here.
    let (put, delete, strange) = (line("P ci9hL2s dg"), line("D ci9hL2s"), line("P bS9zY2hlbWE dg"));
    let (header, commit) = (line("J 1 3"), line("C 4 1"));
    vec![
        String::new(),
        [&header[..], &put, &commit].concat(),
        [&header[..], &put, &delete, &line("C 5 2"), &put].concat(),
        [&header[..], &commit, &header, &strange, &commit, "no line\n", &commit[..20]].concat(),
        [&put[..], &header, &line("C 18446744073709551615 18446744073709551615")].concat(),
        [&header[..], &"x".repeat(3000), "\n", &put, &commit].concat(),
        line("J 2 3"),
    ]
}

#[test]
fn seeds_are_as_they_are_made() {
    let made = made();
    let at = |target: &str, name: &str| directory().join(target).join(name);
    if std::env::var("LAZYBLOB_SEEDS").is_ok_and(|mode| mode == "write") {
        for ((target, name), bytes) in &made {
            fs::create_dir_all(directory().join(target)).unwrap();
            fs::write(at(target, name), bytes).unwrap();
        }
        return;
    }
    let other: Vec<_> = made
        .iter()
        // What compresses may do so in another way tomorrow, and that is as good.
        .filter(|((target, _), _)| *target != "unpack")
        .filter(|((target, name), bytes)| fs::read(at(target, name)).ok().as_ref() != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert!(other.is_empty(), "LAZYBLOB_SEEDS=write writes these anew: {other:#?}");
}

#[test]
fn seeds_are_small() {
    let mut all = 0;
    for target in fs::read_dir(directory()).unwrap() {
        for seed in fs::read_dir(target.unwrap().path()).unwrap() {
            all += seed.unwrap().metadata().unwrap().len();
        }
    }
    assert!(all < ALL, "{all} bytes");
}
