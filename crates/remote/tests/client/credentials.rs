//! Credentials go to the host they are for and to no other.

use std::sync::Arc;

use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::testing::{Effect, Expiry, TestRegistry, TokenServer, Toxic};

use crate::support::{Keys, basic, bytes, client, copy, layers};

async fn guarded(host: &str) -> TestRegistry {
    let tokens = TokenServer::new(host).user("alice", "s3cret").allow("alice", "*", &[Pull, Push]);
    TestRegistry::builder().tokens(tokens).in_memory(host).await
}

fn alice(host: &str) -> Access {
    Access::new(Keys::of(host, basic("alice", "s3cret")))
}

#[tokio::test]
async fn a_redirect_takes_no_authorization_along() {
    let from = guarded("from.test").await;
    let to = TestRegistry::in_memory("to.test").await;
    from.seed_image("a", "1", &[bytes(200_000)]).await;
    from.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    let client = client(from.transport().with(&to));

    copy(&client, ("from.test/a", "1"), ("to.test/a", "1"), &alice("from.test")).run().await.unwrap();

    let (at_home, elsewhere): (Vec<_>, Vec<_>) =
        from.log().into_iter().filter(|entry| entry.kind != Kind::Token).partition(|e| e.host == "from.test");
    assert_eq!(elsewhere.len(), 2);
    assert!(elsewhere.iter().all(|entry| !entry.authorized));
    assert!(at_home.iter().skip(1).all(|entry| entry.authorized), "{at_home:?}");
    assert!(to.log().iter().all(|entry| !entry.authorized));
}

#[tokio::test]
async fn a_foreign_location_gets_no_authorization() {
    let from = TestRegistry::in_memory("from.test").await;
    let to = guarded("to.test").await;
    from.seed_image("a", "1", &layers(2)).await;
    to.add(Toxic::new(Effect::ForeignLocation).on(Kind::Upload));
    let client = client(from.transport().with(&to));

    copy(&client, ("from.test/a", "1"), ("to.test/a", "1"), &alice("to.test")).run().await.unwrap();

    let foreign: Vec<_> = to.log().into_iter().filter(|entry| entry.host == "storage.to.test").collect();
    // PATCH and PUT of three blobs.
    assert_eq!(foreign.len(), 6, "{:?}", to.lines());
    assert!(foreign.iter().all(|entry| !entry.authorized));
    let posts: Vec<_> = to.log().into_iter().filter(|entry| entry.method == "POST").collect();
    assert!(posts.iter().all(|entry| entry.authorized && entry.host == "to.test"));
}

#[tokio::test]
async fn one_registry_s_credentials_are_not_looked_up_for_another() {
    let from = guarded("from.test").await;
    let to = guarded("to.test").await;
    from.seed_image("a", "1", &layers(1)).await;
    let client = client(from.transport().with(&to));
    let keys = Keys::of("from.test", basic("alice", "s3cret"));

    let access = Access::new(Arc::<Keys>::clone(&keys));
    let error = copy(&client, ("from.test/a", "1"), ("to.test/a", "1"), &access).run().await.unwrap_err();

    assert!(error.to_string().contains("`lazyblob login to.test`"), "{error}");
    assert!(to.tokens().unwrap().requests().iter().all(|asked| asked.user.is_none()));
    assert!(keys.asked().iter().all(|host| host == "from.test" || host == "to.test"));
}
