//! Credentials are those of whoever asks at the time they are used.

use std::sync::Arc;

use lazyblob_remote::keychain::Fixed;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action;
use lazyblob_remote::testing::{Image, TestRegistry, TokenServer};
use lazyblob_remote::{Credential, Digest};
use lazyblob_worker::llb::{State, image, merge};
use lazyblob_worker::session::{OpenSession, Session};

use crate::support::{Engine, HOST, World, tree};

/// A registry that ann and bob may read, and carl may not.
async fn guarded() -> (World, Image) {
    let tokens = TokenServer::new("registry")
        .user("ann", "a")
        .user("bob", "b")
        .user("carl", "c")
        .allow("ann", "app", &[Action::Pull])
        .allow("bob", "app", &[Action::Pull]);
    let world = World::of(TestRegistry::builder().tokens(tokens)).await;
    let app = world.push("app", "1", &["base", "top"]).await;
    (world, app)
}

fn log_in(engine: &Engine, user: &str, password: &str) -> OpenSession {
    let keychain = Fixed::default().with(HOST, Credential::basic(user, password));
    engine.session(Session { keychain: Arc::new(keychain), ..Session::default() })
}

/// Who was given tokens, and who was not.
fn minted(world: &World) -> Vec<String> {
    let requests = world.registry.tokens().unwrap().requests();
    requests.into_iter().map(|request| request.user.unwrap_or_else(|| "nobody".to_owned())).collect()
}

fn app() -> State {
    image("registry.test/app:1")
}

fn holds(engine: &Engine, digest: &Digest) -> bool {
    engine.worker.manager().store().path(digest).unwrap().exists()
}

/// BuildKit row 109: one token for all that is asked of a repository, in one build and in the next.
#[tokio::test]
async fn a_token_is_used_by_all_builds() {
    let (world, image) = guarded().await;
    let engine = world.engine().await;
    let ann = log_in(&engine, "ann", "a");
    let (job, built) = engine.build_as(&ann, &app()).await;
    drop((job, built));
    assert_eq!(minted(&world), ["ann"]);
    let reader = engine.reader("reads");
    let (graph, edge) = engine.read(&app(), &reader);
    let (job, built) = engine.run(graph, &edge, Some(&ann)).await;
    drop((job, built.unwrap()));
    assert_eq!(world.pulls(&image), 2);
    assert_eq!(minted(&world), ["ann"]);
    drop(ann);
    engine.close().await;
}

/// testRegistryCacheImportSessionRebind, for images: the first session and its credentials are gone; who reads then reads
/// with its own.
/// BuildKit row 108: what one session has found out, another has too.
#[tokio::test]
async fn credentials_that_are_gone_with_the_first_session() {
    let (world, image) = guarded().await;
    let engine = world.engine().await;
    let ann = log_in(&engine, "ann", "a");
    let (first, built) = engine.build_as(&ann, &app()).await;
    let bob = log_in(&engine, "bob", "b");
    // The vertex is active, and shared: what it knows was found out by ann.
    let (second, same) = engine.build_as(&bob, &app()).await;
    assert_eq!(tree(&built).id(), tree(&same).id());
    assert_eq!(minted(&world), ["ann"]);
    drop((first, built, ann));
    world.registry.tokens().unwrap().revoke_all();

    let reader = engine.reader("reads");
    let (graph, edge) = engine.read(&app(), &reader);
    second.load(graph).await.unwrap();
    drop(second.build(&edge).await.unwrap());
    assert_eq!(world.pulls(&image), 2, "{:?}", world.registry.lines());
    assert_eq!(minted(&world).last().unwrap(), "bob");
    assert!(!minted(&world)[1..].contains(&"ann".to_owned()), "{:?}", minted(&world));
    drop((second, same, bob));
    engine.close().await;
}

/// Of several sessions that have a vertex the next one's credentials are tried where those of the first are refused.
/// BuildKit row 109: credentials are those of the sessions that want it at that moment.
#[tokio::test]
async fn the_next_session_s_credentials_are_tried() {
    let (world, image) = guarded().await;
    let engine = world.engine().await;
    let carl = log_in(&engine, "carl", "c");
    let (job, refused) = engine.try_build(&app(), Some(&carl)).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("not authorised") && error.contains("registry.test"), "{error}");
    drop(job);

    // Both have the vertex when its layers are pulled; carl came first.
    let bob = log_in(&engine, "bob", "b");
    let (graph, _) = engine.graph(&app());
    let options = || lazyblob_solver::JobOptions { session: Some(carl.id().clone()), ..Default::default() };
    let first = engine.solver.job(options()).await.unwrap();
    first.load(graph).await.unwrap();
    let (second, built) = engine.build_as(&bob, &app()).await;
    let layers: Vec<_> = image.layers().cloned().collect();
    let access = engine.worker.access(built.cx());
    tree(&built).extract(&access).await.unwrap();
    for layer in &layers {
        assert!(holds(&engine, layer.digest()));
    }
    drop((first, second, built, bob, carl));
    engine.close().await;
}

/// Without anybody's credentials the refusal says so, and nobody's are made up.
#[tokio::test]
async fn nobody_s_credentials() {
    let (world, _) = guarded().await;
    let engine = world.engine().await;
    let (job, refused) = engine.try_build(&merge([&app(), &image("registry.test/app:2")]), None).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("not authorised"), "{error}");
    assert_eq!(world.registry.requests(Kind::BlobGet), 0);
    drop(job);
    engine.close().await;
}
