//! What is extracted is what the layers say, whatever they are taken from.

use std::time::Duration;

use lazyblob_cache::layer::{Form, Limits, Options, apply};
use lazyblob_cache::testing::tars::Header;
use lazyblob_cache::testing::tree::Part;
use lazyblob_cache::testing::{Tar, Tree, adversarial};
use lazyblob_cache::{Error, ExtractOptions, manager};
use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};
use tokio_util::sync::CancellationToken;

use crate::support::{Cache, HOST, is_root, names};

/// Layers that take from each other all that layers can.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    let one = Tar::new()
        .dir("etc/", 0o751)
        .file("etc/passwd", "root")
        .file("etc/gone", "soon")
        .dir("srv/", 0o755)
        .file("srv/hidden", "below")
        .link("srv/hard", "etc/passwd")
        .symlink("link", "etc");
    let two =
        Tar::new().whiteout("etc", "gone").file("etc/new", vec![7; 100_000]).file("srv/.wh..wh..opq", "");
    let two = two.file("srv/shown", "above").link("again", "etc/passwd");
    let three = Tar::new().file("link/through", "a link of a layer below").dir("etc/", 0o700);
    [one, two, three].map(Tar::end).into()
}

/// What applying the layers one after the other makes.
fn sequential(tars: &[Vec<u8>], options: &Options) -> Tree {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("tree");
    std::fs::create_dir(&dir).unwrap();
    for tar in tars {
        apply(&**tar, &dir, options, &CancellationToken::new()).unwrap();
    }
    Tree::of(&dir).unwrap()
}

fn options() -> Options {
    if is_root() { Options::privileged(Form::Tree) } else { Options::unprivileged(Form::Tree) }
}

/// When a directory was made that no layer names is nobody's business, and neither is the root of a tree of such.
fn comparable(tree: Tree) -> Tree {
    tree.without(Part::DirectoryTimes).without(Part::Root)
}

/// BuildKit row 44: a tree takes each blob once, from wherever it is, and is the same from blobs and from snapshots.
#[tokio::test]
async fn blobs_and_snapshots_make_the_tree_of_a_sequential_apply() {
    let (cache, tars) = (Cache::new().await, layers());
    let image = cache.pull(&tars).await;
    let expected = comparable(sequential(&tars, &options()));
    cache.registry.reset();

    let extracted = cache.extract(&image, "lazy").await.unwrap();
    comparable(Tree::of(&cache.out("lazy")).unwrap()).assert_equals(&expected);
    assert_eq!(extracted.entries, expected.nodes.len() as u64);
    assert!(extracted.bytes >= 100_000, "{extracted:?}");
    assert_eq!(cache.registry.requests(Kind::BlobGet), 3, "each blob once");
    assert_eq!(names(&cache.root().join("snapshots")), ["kind"], "no snapshot was made");

    cache.registry.reset();
    cache.extract(&image, "local").await.unwrap();
    comparable(Tree::of(&cache.out("local")).unwrap()).assert_equals(&expected);
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    for layer in image.layers.iter().take(2) {
        cache.manager.store().remove(layer.descriptor.digest()).unwrap();
    }
    cache.extract(&image, "copied").await.unwrap();
    comparable(Tree::of(&cache.out("copied")).unwrap()).assert_equals(&expected);
    assert_eq!(cache.registry.log().len(), 0, "what is in the root is not asked for");
    assert_eq!(cache.beside(), ["copied", "lazy", "local"]);
    cache.manager.close().await.unwrap();
}

/// The bottom layer has a snapshot and no blob, those above have blobs and no snapshots.
#[tokio::test]
async fn a_tree_is_made_of_what_there_is() {
    let (cache, tars) = (Cache::new().await, layers());
    let image = cache.pull(&tars).await;
    let layers = image.top.as_ref().unwrap().layers();
    let bottom = layers.first().unwrap().record().id.clone();
    let bottom = cache.manager.get(
        &bottom,
        lazyblob_cache::GetOptions {
            handlers: image.top.as_ref().unwrap().handlers().clone(),
            ..Default::default()
        },
    );
    bottom.await.unwrap().extract(&Access::anonymous()).await.unwrap();
    cache.manager.store().remove(image.layers[0].descriptor.digest()).unwrap();
    cache.registry.reset();
    cache.extract(&image, "tree").await.unwrap();
    let expected = comparable(sequential(&tars, &options()));
    comparable(Tree::of(&cache.out("tree")).unwrap()).assert_equals(&expected);
    assert_eq!(cache.registry.requests(Kind::BlobGet), 2, "not the one that is unpacked");
}

#[tokio::test]
async fn adversarial_images_are_what_a_sequential_apply_makes_of_them() {
    for (name, layers) in adversarial::images() {
        let cache = Cache::new().await;
        let pulled = cache.pull(&layers).await;
        cache.extract(&pulled, "tree").await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = comparable(sequential(&layers, &options()));
        let differences = comparable(Tree::of(&cache.out("tree")).unwrap()).diff(&expected);
        assert!(differences.is_empty(), "{name}: {differences:#?}");
    }
}

#[tokio::test]
async fn eight_at_once_fetch_each_blob_once() {
    let (cache, tars) = (Cache::new().await, layers());
    let image = cache.pull(&tars).await;
    cache.registry.reset();
    let outs: Vec<String> = (0..8).map(|at| format!("tree-{at}")).collect();
    let all = outs.iter().map(|name| cache.extract(&image, name));
    futures::future::try_join_all(all).await.unwrap();
    assert_eq!(cache.registry.requests(Kind::BlobGet), 3);
    let expected = comparable(sequential(&tars, &options()));
    for name in &outs {
        comparable(Tree::of(&cache.out(name)).unwrap()).assert_equals(&expected);
    }
}

fn privileged_things() -> Vec<u8> {
    let device = Header::new(b'3', "null").device(1, 3);
    let setuid = Header::new(b'0', "su").mode(0o4755).owner(7, 8);
    Tar::new().entry(&device, "").entry(&setuid, "program").file("file", "").end()
}

#[tokio::test]
async fn what_a_user_may_not_have_is_left_out_and_counted() {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let cache = Cache::new().await;
    let image = cache.pull(&[privileged_things()]).await;
    let options = ExtractOptions { unprivileged: true, ..ExtractOptions::default() };
    let extracted = cache.extract_with(&image, "plain", options).await.unwrap();
    assert_eq!((extracted.skipped.devices, extracted.skipped.setuid), (1, 1));
    assert_eq!((names(&cache.out("plain")), extracted.entries), (vec!["file".into(), "su".into()], 2));
    let su = std::fs::metadata(cache.out("plain/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid()), (0o755, rustix::process::geteuid().as_raw()));

    let options = ExtractOptions { keep_setuid: true, ..options };
    let extracted = cache.extract_with(&image, "kept", options).await.unwrap();
    assert_eq!((extracted.skipped.devices, extracted.skipped.setuid), (1, 0));
    assert_eq!(std::fs::metadata(cache.out("kept/su")).unwrap().mode() & 0o7777, 0o4755);

    if is_root() {
        let extracted = cache.extract(&image, "all").await.unwrap();
        assert_eq!(extracted.skipped, Default::default());
        let null = std::fs::symlink_metadata(cache.out("all/null")).unwrap();
        assert!(null.file_type().is_char_device());
        let su = std::fs::metadata(cache.out("all/su")).unwrap();
        assert_eq!((su.mode() & 0o7777, su.uid(), su.gid()), (0o4755, 7, 8));
    }
}

/// A snapshot that has less than is to be kept is not what the tree is made of, as long as there is a blob.
#[tokio::test]
async fn a_snapshot_that_lacks_something_gives_way_to_the_blob() {
    use std::os::unix::fs::MetadataExt as _;
    let settings = manager::Settings { privileged: false, ..manager::Settings::default() };
    let cache = Cache::with(TestRegistry::in_memory(HOST).await, settings).await;
    let image = cache.pull(&[privileged_things()]).await;
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    let options = ExtractOptions { keep_setuid: true, ..ExtractOptions::default() };
    cache.extract_with(&image, "kept", options).await.unwrap();
    assert_eq!(std::fs::metadata(cache.out("kept/su")).unwrap().mode() & 0o7777, 0o4755);
    // Where nothing is to be kept that it lacks, it will do, and what it lacks is counted all the same.
    cache.registry.reset();
    cache.manager.store().remove(image.layers[0].descriptor.digest()).unwrap();
    let extracted = cache.extract(&image, "copied").await.unwrap();
    assert_eq!((extracted.skipped.devices, extracted.skipped.setuid), (1, 1));
    assert_eq!(cache.registry.log().len(), 0);
}

#[tokio::test]
async fn a_reception_that_breaks_is_gone_on_with_and_one_that_lies_is_not() {
    let (cache, tars) = (Cache::new().await, layers());
    cache.registry.add(Toxic::new(Effect::CutBody(50_000)).on(Kind::BlobGet).times(2));
    let image = cache.pull(&tars).await;
    cache.extract(&image, "tree").await.unwrap();
    let expected = comparable(sequential(&tars, &options()));
    comparable(Tree::of(&cache.out("tree")).unwrap()).assert_equals(&expected);

    let cache = Cache::new().await;
    cache.registry.add(Toxic::new(Effect::Corrupt(600)).on(Kind::BlobGet));
    let image = cache.pull(&tars).await;
    let error = cache.extract(&image, "tree").await.unwrap_err();
    let is_integrity = matches!(error.root(), Error::Integrity { .. } | Error::Invalid { .. })
        || matches!(error.root(), Error::Remote(error) if matches!(error.root(), lazyblob_remote::Error::Integrity { .. }));
    assert!(is_integrity, "{error:?}");
    assert!(cache.beside().is_empty(), "{:?}", cache.beside());
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let mut cases: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![Tar::new().file("../outside", "x").end()], "traversal"),
        (
            vec![Tar::new().symlink("l", "/").end(), Tar::new().link("h", "../../etc/passwd").end()],
            "hard link out",
        ),
        (vec![Tar::new().file("a", "b").cut()[..700].to_vec()], "cut off"),
    ];
    cases.extend(adversarial::refused().into_iter().map(|(name, layers, _)| (layers, name)));
    for (tars, name) in cases {
        let cache = Cache::new().await;
        let image = cache.pull(&tars).await;
        let outcome = cache.extract(&image, "tree").await;
        let Err(error) = outcome else { panic!("{name}: {outcome:?}") };
        let is_typed = matches!(error.root(), Error::Refused { .. } | Error::Invalid { .. });
        assert!(is_typed, "{name}: {error:?}");
        assert!(cache.beside().is_empty(), "{name}: {:?}", cache.beside());
    }
}

#[tokio::test]
async fn a_limit_ends_it_and_a_wrong_diff_id_does() {
    let limits = Limits { size: 50_000, ..Limits::default() };
    let settings = manager::Settings { limits, ..manager::Settings::default() };
    let cache = Cache::with(TestRegistry::in_memory(HOST).await, settings).await;
    let image = cache.pull(&layers()).await;
    let error = cache.extract(&image, "tree").await.unwrap_err();
    assert!(matches!(error.root(), Error::Refused { .. }), "{error:?}");
    assert!(cache.beside().is_empty());

    let cache = Cache::new().await;
    // A config that names other diffIDs: those of the compressed bytes.
    let (blob, _) = lazyblob_remote::testing::gzip_layer("file", b"content");
    let image = lazyblob_remote::testing::Image::of(&[blob]);
    cache.registry.seed("app", "1", &image).await;
    let image = cache.pull_seeded().await;
    let error = cache.extract(&image, "tree").await.unwrap_err();
    assert!(matches!(error.root(), Error::Integrity { .. }), "{error:?}");
    assert!(cache.beside().is_empty());
}

/// What nobody knows a way to is said of all blobs at once, before anything moves.
#[tokio::test]
async fn all_that_is_missing_is_named() {
    let cache = Cache::new().await;
    let layers: Vec<_> = layers().into_iter().map(bytes::Bytes::from).collect();
    let image = lazyblob_remote::testing::Image::of(&layers);
    let new = image.layers().map(|layer| manager::NewLayer {
        blob: lazyblob_cache::record::LayerBlob {
            descriptor: layer.clone(),
            diff_id: layer.digest().clone(),
        },
        sources: Vec::new(),
    });
    // The handle that brought it in knew a way, the one that is asked does not.
    let handler = std::sync::Arc::new(lazyblob_cache::DescHandler::new(|_| unreachable!("nobody reads")));
    let handlers = image.layers().map(|layer| (layer.digest().clone(), std::sync::Arc::clone(&handler)));
    let options = lazyblob_cache::GetOptions { handlers: handlers.collect(), ..Default::default() };
    let first = cache.manager.import(new.collect(), None, options).await.unwrap();
    let keep = lazyblob_cache::GetOptions { handlers: first.handlers().clone(), ..Default::default() };
    let id = first.id();
    drop(first);
    let opened = cache.manager.get(&id, keep).await.unwrap();
    let missing = cache.manager.get(&id, Default::default()).await.unwrap_err();
    let Error::NeedsRemoteProviders { missing } = missing else { panic!("{missing:?}") };
    assert_eq!(missing.len(), 3);
    drop(opened);
}

/// Row 71: who withdraws in the middle leaves nothing, and close waits for that.
#[tokio::test]
async fn who_withdraws_leaves_nothing() {
    let (cache, tars) = (Cache::new().await, layers());
    let slow = Effect::Slow { piece: 4096, pause: Duration::from_millis(20) };
    cache.registry.add(Toxic::new(slow).on(Kind::BlobGet));
    let image = cache.pull(&tars).await;
    let extraction = cache.extract(&image, "tree");
    let begun = async {
        while cache.beside().is_empty() || cache.registry.requests(Kind::BlobGet) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        outcome = extraction => panic!("{outcome:?}"),
        () = begun => {}
    }
    cache.manager.close().await.unwrap();
    assert!(cache.beside().is_empty(), "{:?}", cache.beside());
}
