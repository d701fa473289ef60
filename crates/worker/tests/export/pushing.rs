//! Pushes: what is asked, what moves, and what is left when it fails.

use lazyblob_remote::media;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::Toxic;
use lazyblob_worker::Error;
use lazyblob_worker::export::{Part, export, image};
use lazyblob_worker::spec::OutputSpec;

use crate::support::{World, access, actions, close, made, name, part, plain, platform};

/// testLazyImagePush: an image under another name in its repository is the same manifest, and no layer is asked for more
/// than whether it is there. BuildKit rows 16, 106.
#[tokio::test]
async fn a_lazy_image_is_tagged_anew() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let made = image(&worker, &[part(&app, Some(&base))], &plain(), &access()).await.unwrap();
    assert_eq!(world.registry.lines(), Vec::<String>::new(), "making it asks nobody");
    assert_eq!(made.digest(), world.image.manifest.digest());
    assert_eq!(made.root().bytes(), world.image.manifest.bytes());
    let pushed = made.push(&worker, &[name("app:2")], &access()).await.unwrap();
    assert_eq!(world.pulls(), 0, "{:?}", world.registry.lines());
    assert_eq!((world.count(Kind::Upload), world.count(Kind::Mount)), (0, 0), "{:?}", world.registry.lines());
    assert_eq!(actions(&pushed[0]), ["present"; 4]);
    assert_eq!(world.pushed("app:2").await.0.bytes(), world.image.manifest.bytes());
    assert!(app.is_lazy().await.unwrap());
    drop((app, base, made));
    close(worker).await;
}

/// BuildKit rows 103, 106: one layer on top goes up; those of the base are mounted and never read. What was pushed is
/// remembered: the next repository mounts all of it, in the next process too.
#[tokio::test]
async fn a_new_layer_goes_up_and_the_others_are_mounted() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    // Nothing is read of what is below: the layer is made without it.
    let over = made(&worker, None, "new", 1_700_000_000).await;
    let below = [app, over];
    let stacked =
        worker.manager().merge(&below, lazyblob_cache::GetOptions::default()).await.unwrap().unwrap();
    drop(below);
    let parts = [part(&stacked, Some(&base))];
    let first = image(&worker, &parts, &plain(), &access()).await.unwrap();
    let pushed = first.push(&worker, &[name("other:1")], &access()).await.unwrap();
    assert_eq!(world.pulls(), 0, "{:?}", world.registry.lines());
    assert_eq!(actions(&pushed[0]), ["transfer", "mount", "mount", "mount", "transfer"]);
    assert_eq!(world.count(Kind::BlobGet), 0, "{:?}", world.registry.lines());
    let (manifest, config) = world.pushed("other:1").await;
    assert_eq!(manifest.layers().len(), 4);
    assert_eq!(config["history"].as_array().unwrap().len(), 4, "the base has no history, and gets one");
    assert_eq!(config["history"][3]["created_by"], "write new");
    drop((parts, first, stacked, base));
    close(worker).await;

    let (worker, _dir) = (world.worker().await, ());
    let (_, base) = world.known(&worker, "other:1").await;
    let top = world.known(&worker, "other:1").await.0;
    let again = image(&worker, &[part(&top, Some(&base))], &plain(), &access()).await.unwrap();
    let pushed = again.push(&worker, &[name("third:1")], &access()).await.unwrap();
    assert_eq!(pushed[0].digest, *manifest.digest());
    assert_eq!(actions(&pushed[0])[1..], ["mount"; 4], "{:?}", world.registry.lines());
    drop((top, base, again));
    close(worker).await;
}

/// A push that says nothing new sends one HEAD.
#[tokio::test]
async fn what_is_there_is_not_pushed_again() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let image = image(&worker, &[part(&one, None)], &plain(), &access()).await.unwrap();
    image.push(&worker, &[name("one:1")], &access()).await.unwrap();
    world.registry.reset();
    let pushed = image.push(&worker, &[name("one:1")], &access()).await.unwrap();
    assert!(pushed[0].unchanged && pushed[0].blobs.is_empty());
    assert_eq!(world.registry.lines().len(), 1, "{:?}", world.registry.lines());
    world.registry.reset();
    let pushed = image.push(&worker, &[name("two:1")], &access()).await.unwrap();
    assert_eq!(actions(&pushed[0])[1], "mount", "where it went is known: {:?}", world.registry.lines());
    drop((one, image));
    close(worker).await;
}

/// Several names: those of one repository share its blobs, another repository mounts them.
#[tokio::test]
async fn several_names_are_one_image() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let spec: OutputSpec =
        "type=image,\"name=registry.test/a:1,registry.test/a:2,registry.test/b:1\",push=true"
            .parse()
            .unwrap();
    let exported = export(&worker, &spec, vec![part(&one, None)], None, &access()).await.unwrap();
    assert_eq!(exported.pushed.len(), 2);
    assert_eq!(exported.pushed[0].tags, ["1", "2"]);
    assert_eq!(actions(&exported.pushed[0]), ["transfer", "transfer"]);
    assert_eq!(actions(&exported.pushed[1])[1], "mount");
    let digest = exported.digest.unwrap();
    for called in ["a:1", "a:2", "b:1"] {
        assert_eq!(*world.pushed(called).await.0.digest(), digest, "{called}");
        assert_eq!(worker.manager().named(&name(called)).await.unwrap(), digest, "here, too: {called}");
    }
    let response = exported.response;
    assert_eq!(response["containerimage.digest"], digest.to_string());
    assert_eq!(response["containerimage.descriptor"]["mediaType"], media::OCI_MANIFEST);
    assert_eq!(response["image.name"], "registry.test/a:1,registry.test/a:2,registry.test/b:1");
    let config = world.pushed("a:1").await.0.config().unwrap().digest().to_string();
    assert_eq!(response["containerimage.config.digest"], config);
    drop(one);
    close(worker).await;
}

/// testPushByDigest: no tag is made, a tagged name is an error, and the digest resolves. BuildKit row 104.
#[tokio::test]
async fn a_push_by_digest_makes_no_tag() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let spec: OutputSpec = "type=image,name=registry.test/d,push=true,push-by-digest=true".parse().unwrap();
    let exported = export(&worker, &spec, vec![part(&one, None)], None, &access()).await.unwrap();
    assert!(exported.pushed[0].tags.is_empty());
    assert!(!world.has("d:latest").await);
    world.pushed(&format!("d@{}", exported.digest.unwrap())).await;
    let tagged = "type=image,name=registry.test/d:1,push=true,push-by-digest=true".parse::<OutputSpec>();
    let error = tagged.unwrap_err();
    assert!(
        matches!(error, Error::Spec { .. }) && error.to_string().contains("registry.test/d:1"),
        "{error}"
    );
    drop(one);
    close(worker).await;
}

/// A push that fails in the middle leaves no name, and the name it had stays what it was.
#[tokio::test]
async fn a_failed_push_leaves_no_name() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let spec: OutputSpec =
        "type=image,\"name=registry.test/app:1,registry.test/app:new\",push=true".parse().unwrap();
    world.registry.add(Toxic::status(403).on(Kind::Upload));
    export(&worker, &spec, vec![part(&one, None)], None, &access()).await.unwrap_err();
    world.registry.behave();
    assert!(!world.has("app:new").await);
    assert_eq!(world.pushed("app:1").await.0.digest(), world.image.manifest.digest());
    assert!(worker.manager().named(&name("app:new")).await.unwrap_err().is_not_found(), "nor here");
    export(&worker, &spec, vec![part(&one, None)], None, &access()).await.unwrap();
    assert!(world.has("app:new").await);
    drop(one);
    close(worker).await;
}

/// A push that nobody waits for any more ends, and leaves no name.
#[tokio::test]
async fn a_push_that_is_dropped_ends() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let image = image(&worker, &[part(&one, None)], &plain(), &access()).await.unwrap();
    world.registry.add(Toxic::new(lazyblob_remote::testing::Effect::Hang).on(Kind::Upload));
    let names = [name("app:new")];
    let who = access();
    let push = image.push(&worker, &names, &who);
    let began = async {
        while world.count(Kind::Upload) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        pushed = push => panic!("{pushed:?}"),
        () = began => {}
    }
    // It waits for what was begun.
    worker.registry().transfers().close().await;
    assert_eq!(worker.registry().transfers().in_flight(), 0);
    world.registry.behave();
    assert!(!world.has("app:new").await);
    drop((one, image));
    close(worker).await;
}

/// An index of several platforms, with annotations where they belong.
#[tokio::test]
async fn platforms_are_an_index() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let arm = Part { platform: platform("linux/arm/v7"), ..part(&one, None) };
    let spec: OutputSpec =
        "type=image,name=registry.test/multi:1,push=true,annotation.a=all,annotation[linux/arm/v7].b=arm,\
                            annotation-index.i=index,annotation-manifest-descriptor.d=entry"
            .parse()
            .unwrap();
    let parts = vec![part(&one, None), arm];
    let exported = export(&worker, &spec, parts, None, &access()).await.unwrap();
    let (index, _) = world.pushed("multi:1").await;
    assert!(index.is_index());
    assert_eq!(Some(index.digest().clone()), exported.digest);
    assert!(!exported.response.contains_key("containerimage.config.digest"), "there are several");
    let said: serde_json::Value = serde_json::from_slice(index.bytes()).unwrap();
    assert_eq!(said["annotations"], serde_json::json!({ "i": "index" }));
    assert_eq!(said["manifests"][1]["platform"]["variant"], "v7");
    assert_eq!(said["manifests"][1]["annotations"], serde_json::json!({ "d": "entry" }));
    let child = |at: usize| format!("multi@{}", said["manifests"][at]["digest"].as_str().unwrap());
    let of = |manifest: &lazyblob_remote::Manifest| manifest.annotations().cloned().unwrap();
    let (amd, config) = world.pushed(&child(0)).await;
    assert_eq!((of(&amd).len(), &of(&amd)["a"]), (1, &serde_json::json!("all")));
    assert_eq!(config["architecture"], "amd64");
    let (arm, config) = world.pushed(&child(1)).await;
    assert_eq!(of(&arm)["b"], "arm");
    assert_eq!((&config["architecture"], &config["variant"]), (&"arm".into(), &"v7".into()));
    let spec: OutputSpec = "type=image,name=registry.test/x,annotation-index.i=x".parse().unwrap();
    let error = export(&worker, &spec, vec![part(&one, None)], None, &access()).await.unwrap_err();
    assert!(error.to_string().contains("no index"), "{error}");
    drop(one);
    close(worker).await;
}

/// An image in the cache under a name is as lazy as the result was, and opens in the next process.
/// BuildKit row 105: it is whole when somebody reads it.
#[tokio::test]
async fn a_name_in_the_cache_pulls_nothing() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let options = lazyblob_worker::export::ImageOptions { epoch: Some(9), ..plain() };
    let image = image(&worker, &[part(&app, Some(&base))], &options, &access()).await.unwrap();
    image.store(&worker, &[name("mine:1")], true, &access()).await.unwrap();
    assert_eq!(world.registry.lines(), Vec::<String>::new());
    assert_ne!(image.digest(), world.image.manifest.digest(), "it has another time");
    let digest = image.digest().clone();
    drop((app, base, image));
    close(worker).await;

    let (next, canonical) = (world.worker().await, name(&format!("mine@{digest}")));
    assert_eq!(next.manager().named(&canonical).await.unwrap(), digest);
    let opened = next.manager().open_image(&name("mine:1"), None, &access()).await.unwrap();
    assert_eq!(*opened.root.digest(), digest);
    assert_eq!(world.registry.lines(), Vec::<String>::new());
    opened.top.as_ref().unwrap().unlazy(&access()).await.unwrap();
    assert_eq!(world.pulls(), 3, "from where its layers were seen");
    drop(opened);
    close(next).await;
}
