//! Layouts and archives.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};

use lazyblob_remote::archive::{DockerArchive, OciArchive};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::{Source, media};
use lazyblob_worker::export::{Part, export};
use lazyblob_worker::spec::OutputSpec;

use crate::support::{World, access, close, made, part, platform};

fn spec(text: &str) -> OutputSpec {
    text.parse().unwrap()
}

/// Takes what goes to standard output.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<u8>>>);

impl Write for Taken {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An archive has every layer, once fetched, and is the same on standard output.
/// BuildKit row 105: what leaves the cache is whole.
#[tokio::test]
async fn an_oci_archive_has_all_of_it() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.tar");
    let parts = vec![part(&app, Some(&base))];
    let to_file = spec(&format!("type=oci,name=h.test/x:tag,dest={}", file.display()));
    let exported = export(&worker, &to_file, parts.clone(), None, &access()).await.unwrap();
    assert_eq!(exported.digest.as_ref(), Some(world.image.manifest.digest()));
    assert_eq!(world.pulls(), 3);
    let archive = OciArchive::open(&file).await.unwrap();
    let manifest = archive.manifest(&Name::Tag("tag".to_owned())).await.unwrap();
    assert_eq!(manifest.bytes(), world.image.manifest.bytes());
    for layer in manifest.layers() {
        let bytes = crate::support::read(&*archive.blobs(), layer).await;
        assert_eq!(bytes.len() as u64, layer.size());
    }
    let taken = Taken::default();
    let out: Box<dyn Write + Send> = Box::new(taken.clone());
    export(&worker, &spec("type=oci,name=h.test/x:tag"), parts.clone(), Some(out), &access()).await.unwrap();
    let again = dir.path().join("again.tar");
    fs::write(&again, &*taken.0.lock().unwrap()).unwrap();
    let again = OciArchive::open(&again).await.unwrap();
    assert_eq!(again.resolve(&Name::Only).await.unwrap(), *manifest.digest());
    assert_eq!(fs::read_dir(world.dir.path().join("staging")).unwrap().count(), 0, "nothing is left");
    let error = export(&worker, &spec("type=oci"), parts.clone(), None, &access()).await.unwrap_err();
    assert!(error.to_string().contains("`dest`"), "{error}");
    assert_eq!(world.pulls(), 3, "and never again");
    drop((app, base, parts));
    close(worker).await;
}

/// A layout keeps what is in it.
#[tokio::test]
async fn a_layout_takes_one_image_after_the_other() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (one, two) = (made(&worker, None, "one", 5).await, made(&worker, None, "two", 5).await);
    let dir = tempfile::tempdir().unwrap();
    for (result, tag) in [(&one, "1"), (&two, "2")] {
        let to =
            spec(&format!("type=oci,tar=false,name=h.test/x:{tag},dest={}", dir.path().join("l").display()));
        export(&worker, &to, vec![part(result, None)], None, &access()).await.unwrap();
    }
    let layout = Layout::open(dir.path().join("l")).await.unwrap();
    let tags: Vec<_> = layout.roots().await.unwrap().into_iter().map(|(tag, _)| tag.unwrap()).collect();
    assert_eq!(tags, ["1", "2"]);
    drop((one, two));
    close(worker).await;
}

/// What `docker load` reads has the layers uncompressed and one platform.
#[tokio::test]
async fn a_docker_archive_has_one_platform() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.tar");
    let to = spec(&format!("type=docker,\"name=h.test/x:1,h.test/y:2\",dest={}", file.display()));
    export(&worker, &to, vec![part(&app, Some(&base))], None, &access()).await.unwrap();
    let archive = DockerArchive::open(&file).await.unwrap();
    for tag in ["h.test/x:1", "h.test/y:2"] {
        let manifest = archive.manifest(&Name::Tag(tag.to_owned())).await.unwrap();
        assert_eq!(manifest.layers().len(), 3);
        assert_eq!(manifest.config().unwrap().digest(), world.image.config().digest());
    }
    let arm = Part { platform: platform("linux/arm64"), ..part(&app, None) };
    let parts = vec![part(&app, Some(&base)), arm];
    fs::remove_file(&file).unwrap();
    let error = export(&worker, &to, parts.clone(), None, &access()).await.unwrap_err();
    assert!(error.to_string().contains("one platform"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let oci = spec(&format!("type=oci,dest={}", file.display()));
    export(&worker, &oci, parts, None, &access()).await.unwrap();
    let index = OciArchive::open(&file).await.unwrap().manifest(&Name::Only).await.unwrap();
    assert_eq!((index.media_type(), index.entries().len()), (media::OCI_INDEX, 2));
    drop((app, base));
    close(worker).await;
}
