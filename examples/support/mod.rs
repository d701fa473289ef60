//! What the examples share: an embedded registry, an image of this machine's own files, and a table of what was sent.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use lazyblob::remote::copy::Copy;
use lazyblob::remote::digest;
use lazyblob::remote::endpoint::{Name, Source, Target as _};
use lazyblob::remote::hosts::Hosts;
use lazyblob::remote::layout::Layout;
use lazyblob::remote::media;
use lazyblob::remote::registry::{RegistrySource, RegistryTarget, Settings};
use lazyblob::remote::request::Kind;
use lazyblob::remote::server::{self, Front, Memory, Traffic};
use lazyblob::remote::transport::{self, HttpTransport};
use lazyblob::remote::{Access, Descriptor, Manifest, Registry, RepositoryName, Scopes};
use serde_json::json;

/// Anything that goes wrong; an example ends with it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A registry in this process, on a free loopback port, and a client of it.
pub(crate) struct Embedded {
    pub(crate) host: String,
    pub(crate) client: Registry,
    front: Front,
    service: Arc<server::Registry>,
}

impl Embedded {
    /// Starts it.
    pub(crate) async fn start() -> Outcome<Self> {
        let service = server::Registry::open(Arc::new(Memory::new()), server::Settings::default()).await?;
        let service = Arc::new(service);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let front = Front::listen(any_port, None, Arc::clone(&service) as _).await?;
        let host = front.address().to_string();
        let transport = Arc::new(HttpTransport::new(transport::Settings::default()));
        let client = Registry::new(transport, Hosts::builder().build(), Settings::default());
        Ok(Self { host, client, front, service })
    }

    /// A repository of it.
    pub(crate) fn repository(&self, path: &str) -> Outcome<RepositoryName> {
        Ok(RepositoryName::new(&self.host, path)?)
    }

    /// Both ends of an operation from one repository to another.
    pub(crate) fn ends(
        &self,
        from: &RepositoryName,
        to: &RepositoryName,
    ) -> Outcome<(Arc<RegistrySource>, Arc<RegistryTarget>)> {
        let access = Access::anonymous();
        let scopes = Scopes::pull(from).union(&Scopes::push(to));
        let source = RegistrySource::new(self.client.repository(from, scopes.clone(), &access)?);
        let target = RegistryTarget::new(self.client.repository(to, scopes, &access)?);
        Ok((Arc::new(source), Arc::new(target)))
    }

    /// Pushes `team/app:1`, six layers of this machine's own files, by way of a layout at `path`. Returns where it is, and
    /// its manifest.
    pub(crate) async fn push_an_image(&self, path: &Path) -> Outcome<(Arc<dyn Source>, Manifest)> {
        let layout = Layout::create_or_open(path).await?;
        let image = write_image(&layout, "1", &layers(6, 20 << 20)?).await?;
        let repository = self.repository("team/app")?;
        let (source, target) = self.ends(&repository, &repository)?;
        let (name, names) = (Name::Tag("1".into()), vec![Name::Tag("1".into())]);
        let transfers = self.client.transfers().clone();
        Copy::new(Arc::new(layout), name, target, names, Access::anonymous(), transfers).run().await?;
        Ok((source, image))
    }

    /// What the registry itself has counted.
    pub(crate) fn traffic(&self) -> &Traffic {
        self.service.traffic()
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        self.front.close(Duration::from_secs(1)).await;
        self.service.close().await;
    }
}

/// Prints a row for each step: requests by kind, and bytes of blobs, as the registry counted them.
pub(crate) struct Table {
    began: Instant,
}

impl Table {
    /// Prints the heading.
    pub(crate) fn begin(traffic: &Traffic) -> Self {
        println!(
            "{:34} {:>8} {:>5} {:>5} {:>6} {:>7} {:>9} {:>13} {:>13} {:>8}",
            "step", "requests", "GET", "HEAD", "mount", "upload", "PUT (man)", "blob bytes in", "out", "ms"
        );
        traffic.reset();
        Self { began: Instant::now() }
    }

    /// Prints what has come since the last row.
    pub(crate) fn row(&mut self, step: &str, traffic: &Traffic) {
        let of = |kind| traffic.requests().of(kind);
        println!(
            "{step:34} {:>8} {:>5} {:>5} {:>6} {:>7} {:>9} {:>13} {:>13} {:>8.1}",
            traffic.requests().total(),
            of(Kind::ManifestGet) + of(Kind::BlobGet),
            of(Kind::ManifestHead) + of(Kind::BlobHead),
            of(Kind::Mount),
            of(Kind::Upload),
            of(Kind::ManifestPut),
            traffic.bytes_in(),
            traffic.bytes_out(),
            self.began.elapsed().as_secs_f64() * 1000.0,
        );
        traffic.reset();
        self.began = Instant::now();
    }
}

/// Layers of this machine's own files: `count` of about `bytes` uncompressed bytes each.
pub(crate) fn layers(count: usize, bytes: u64) -> Outcome<Vec<(Bytes, String)>> {
    let mut files = Files::below(["/usr/lib", "/usr/share", "/usr/bin", "/usr/include", "/etc"]);
    let mut layers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut tar = tar::Builder::new(Vec::new());
        let mut size = 0;
        while size < bytes {
            let Some((path, content)) = files.next() else { break };
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            let name = path.strip_prefix("/").unwrap_or(&path).to_owned();
            tar.append_data(&mut header, name, &content[..])?;
            size += content.len() as u64;
        }
        let tar = tar.into_inner()?;
        let diff_id = digest::sha256(&tar).to_string();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar)?;
        layers.push((Bytes::from(gzip.finish()?), diff_id));
    }
    Ok(layers)
}

/// Writes an image of `layers` into `layout` and returns its manifest.
pub(crate) async fn write_image(layout: &Layout, tag: &str, layers: &[(Bytes, String)]) -> Outcome<Manifest> {
    let mut descriptors = Vec::new();
    for (layer, _) in layers {
        descriptors.push(store(layout, media::OCI_LAYER_GZIP, layer.clone()).await?);
    }
    let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = store(layout, media::OCI_CONFIG, Bytes::from(config.to_string())).await?;
    write_manifest(layout, tag, &config, &descriptors).await
}

/// Writes a manifest of blobs that are in `layout`.
pub(crate) async fn write_manifest(
    layout: &Layout,
    tag: &str,
    config: &Descriptor,
    layers: &[Descriptor],
) -> Outcome<Manifest> {
    let text = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": layers,
    });
    let manifest = Manifest::parse(Bytes::from(text.to_string()), None, None, tag)?;
    layout.put_manifest(&manifest, &Name::Tag(tag.to_owned())).await?;
    Ok(manifest)
}

/// Writes one blob into `layout`.
pub(crate) async fn store(layout: &Layout, media_type: &str, bytes: Bytes) -> Outcome<Descriptor> {
    let blob = Descriptor::new(media_type.into(), bytes.len() as u64, digest::sha256(&bytes));
    layout.ingests().store(&blob, bytes).await?;
    Ok(blob)
}

/// Regular files of middling size, in the order of their directories.
struct Files {
    directories: Vec<PathBuf>,
    found: Vec<PathBuf>,
}

impl Files {
    fn below<const N: usize>(roots: [&str; N]) -> Self {
        Self { directories: roots.iter().rev().map(PathBuf::from).collect(), found: Vec::new() }
    }
}

impl Iterator for Files {
    type Item = (PathBuf, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(path) = self.found.pop() {
                let mut content = Vec::new();
                let read = File::open(&path).and_then(|file| file.take(4 << 20).read_to_end(&mut content));
                if read.is_ok() && content.len() > 1024 {
                    return Some((path, content));
                }
            }
            let Ok(entries) = fs::read_dir(self.directories.pop()?) else { continue };
            let mut paths: Vec<_> =
                entries.flatten().map(|entry| (entry.path(), entry.file_type())).collect();
            paths.sort_by(|(a, _), (b, _)| b.cmp(a));
            for (path, kind) in paths {
                match kind {
                    Ok(kind) if kind.is_dir() => self.directories.push(path),
                    Ok(kind) if kind.is_file() => self.found.push(path),
                    _ => {}
                }
            }
        }
    }
}
