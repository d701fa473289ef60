//! The digest of a blob decides what it is, whatever somebody says of its size.

use std::sync::Arc;

use lazyblob_cache::manager::NewLayer;
use lazyblob_cache::record::Source;
use lazyblob_cache::verify::{Object, Problem};
use lazyblob_cache::{DescHandler, GetOptions, record::LayerBlob};
use lazyblob_remote::{Access, Manifest};
use oci_spec::image::Descriptor;

use crate::support::Cache;
use crate::trees::layers;
use crate::verify::{blob, filled, only, repair, verify};

/// A record that lies is the problem: the one good copy stays, whoever else is said to have the blob.
#[tokio::test]
async fn a_record_of_another_size_costs_no_blob() {
    let (cache, image) = filled(false).await;
    let good = image.layers[0].clone();
    drop(image);
    let other = Cache::new().await;
    let path = blob(&cache, good.descriptor.digest());
    let bytes = std::fs::read(&path).unwrap();
    other.manager.store().ingests().store(&good.descriptor, bytes.clone().into()).await.unwrap();
    let evil = Source { host: "evil.test".into(), repository: "x".into() };
    let descriptor = Descriptor::new(
        good.descriptor.media_type().clone(),
        good.descriptor.size() - 10,
        good.descriptor.digest().clone(),
    );
    let lies = LayerBlob { descriptor, diff_id: good.diff_id.clone() };
    let new = NewLayer { blob: lies, sources: vec![evil] };
    let handler = Arc::new(DescHandler::new(|_| panic!("nobody is asked")));
    let handlers = [(good.descriptor.digest().clone(), handler)].into_iter().collect();
    let options = GetOptions { handlers, ..GetOptions::default() };
    let lying = other.manager.import(vec![new], None, options).await.unwrap();
    let id = lying.id();
    drop(lying);

    let verified = verify(&other.manager).await;
    assert_eq!(only(&verified).object, Object::from(&id));
    assert!(only(&verified).reason.contains("bytes"), "{:?}", verified.problems);
    let verified = repair(&other.manager).await;
    assert_eq!(only(&verified).object, Object::from(&id));
    assert!(only(&verified).is_repaired(), "{:?}", verified.problems);
    let kept = blob(&other, good.descriptor.digest());
    assert_eq!(std::fs::read(kept).unwrap(), bytes, "its bytes are what its digest says");
    assert_eq!(verify(&other.manager).await.problems, []);
}

/// A manifest that lies is told by its name, for as long as the name is there.
#[tokio::test]
async fn a_manifest_of_another_size_is_a_matter_of_its_name() {
    let cache = Cache::new().await;
    let image = cache.pull(&layers()).await;
    image.top.as_ref().unwrap().unlazy(&Access::anonymous()).await.unwrap();
    let good = image.layers[0].clone();
    let manifest = std::fs::read(blob(&cache, image.root.digest())).unwrap();
    drop(image);
    let mut value: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    value["layers"][0]["size"] = (good.descriptor.size() - 10).into();
    let lying = value.to_string().into_bytes();
    let lying = Manifest::parse(lying.into(), None, None, "a test's").unwrap();
    cache.registry.seed_manifest("app", "1", &lying).await;
    let image = cache.pull_seeded().await;
    drop(image);
    for _ in 0..2 {
        let verified = repair(&cache.manager).await;
        let names = verified.problems.iter().filter(|problem| problem.object.kind() == "name");
        assert_eq!(names.filter(|problem| problem.remains()).count(), 1, "{:#?}", verified.problems);
        let is_blob = |problem: &Problem| problem.object.kind() == "blob";
        assert!(!verified.problems.iter().any(is_blob), "{:#?}", verified.problems);
        assert!(blob(&cache, good.descriptor.digest()).exists());
    }
}
