//! Handlers belong to handles; bytes come with the credentials of whoever asks now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lazyblob_cache::{DescHandlers, Error, GetOptions, ImmutableRef};
use lazyblob_remote::keychain::Fixed;
use lazyblob_remote::progress::State;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action;
use lazyblob_remote::testing::{Effect, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Credential, Descriptor, Progress};

use crate::support::{
    HOST, Made, World, assert_idle, assert_tree_of, layers, made, read_lazily, stack, until,
};

fn lacks_providers(error: &Error) -> bool {
    matches!(error.root(), Error::NeedsRemoteProviders { .. })
}

/// BuildKit row 3: what one handle knows is not what another one knows.
#[tokio::test]
async fn handlers_belong_to_handles() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    let knows = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let error = manager.get(&knows.id(), GetOptions::default()).await.unwrap_err();
    assert!(lacks_providers(&error), "{error}");
    let clone = knows.clone();
    drop(knows);
    assert!(clone.handlers().has(a.digest()), "a clone knows what its original knew");
    let error = manager.get(&clone.id(), GetOptions::default()).await.unwrap_err();
    assert!(lacks_providers(&error), "{error}");
    drop(clone);
    manager.close().await.unwrap();
}

/// BuildKit row 3: children inherit, and keep, what their parents' handles knew.
#[tokio::test]
async fn children_inherit_handlers() {
    let world = World::new().await;
    let manager = world.manager().await;
    let layers = made(["a", "b", "c", "d"]);
    let [a, b, c, d] = &layers;
    world.seed("app", &[a, b, c, d]).await;
    let access = Access::anonymous();
    let parent = stack(&manager, &[a], &world.handlers("app", &[a])).await;
    let options =
        |layer: &Made| GetOptions { handlers: world.handlers("app", &[layer]), ..GetOptions::default() };
    let child = manager.get_by_blob(b.blob.clone(), Some(&parent), options(b)).await.unwrap();
    let other = manager.get_by_blob(c.blob.clone(), None, options(c)).await.unwrap();
    let unpacked = manager.get_by_blob(d.blob.clone(), None, options(d)).await.unwrap();
    let merge = manager.merge(&[child.clone(), other.clone()], GetOptions::default()).await.unwrap().unwrap();
    let diff = manager.diff(Some(&parent), Some(&child), GetOptions::default()).await.unwrap();
    let mutable = manager.new_mutable(Some(&unpacked), &access, GetOptions::default()).await.unwrap();
    drop((parent, child, other, unpacked));
    let has =
        |handlers: &DescHandlers, layers: &[&Made]| layers.iter().all(|layer| handlers.has(layer.digest()));
    assert!(has(merge.handlers(), &[a, b, c]) && !merge.handlers().has(d.digest()));
    assert!(has(diff.handlers(), &[a, b]));
    assert!(has(mutable.handlers(), &[d]));
    let committed = mutable.commit().await.unwrap();
    assert!(has(committed.handlers(), &[d]));
    merge.extract(&access).await.unwrap();
    assert_tree_of(&merge, &[a, b, c]);
    assert_eq!([a, b, c, d].map(|layer| world.gets(layer.digest())), [1, 1, 1, 1]);
    drop((merge, diff, committed));
    manager.close().await.unwrap();
}

/// Hints make handlers again in the next process, without a request; what nobody remembers stays missing.
#[tokio::test]
async fn hints_make_handlers_again() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b] = made(["a", "b"]);
    world.seed("app", &[&a, &b]).await;
    let options = GetOptions { handlers: world.handlers("app", &[&a, &b]), ..GetOptions::default() };
    let top = manager.import(vec![a.seen(Some("app")), b.seen(None)], None, options).await.unwrap();
    let id = top.id();
    drop(top);
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.process().await;
    let access = Access::anonymous();
    let digests = [a.digest().clone(), b.digest().clone()];
    let handlers = manager.handlers_from_hints(&digests, &access).await.unwrap();
    assert!(handlers.has(a.digest()) && !handlers.has(b.digest()));
    let error = manager.get(&id, GetOptions { handlers: handlers.clone(), ..GetOptions::default() }).await;
    let Error::NeedsRemoteProviders { missing } = error.unwrap_err() else { panic!("one is missing") };
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].descriptor.digest(), missing[0].hints.len()), (b.digest(), 0));
    let both = handlers.union(&world.handlers("app", &[&b]));
    let top = manager.get(&id, GetOptions { handlers: both, ..GetOptions::default() }).await.unwrap();
    assert_eq!(world.registry.lines(), Vec::<String>::new());
    assert_eq!(top.unlazy(&access).await.unwrap(), 2);
    drop(top);
    manager.close().await.unwrap();
}

fn user(name: &str) -> Access {
    let credential = Credential::basic(name, "secret");
    Access::new(Arc::new(Fixed::default().with(HOST, credential)))
}

/// Alice may read `app`; Bob is known and may not.
async fn guarded() -> (World, [Made; 2]) {
    let tokens = TokenServer::new(HOST).user("alice", "secret").user("bob", "secret").allow(
        "alice",
        "app",
        &[Action::Pull],
    );
    let builder = TestRegistry::builder().tokens(tokens);
    let world = World::of(builder, &layers(), super::support::Wanted::Plain).await;
    let made = made(["a", "b"]);
    world.seed("app", &[&made[0], &made[1]]).await;
    (world, made)
}

fn is_refused(error: &Error) -> bool {
    matches!(error.root(), Error::Remote(error)
        if matches!(error.root(), lazyblob_remote::Error::Unauthorized { .. }))
}

/// Blob GETs that were answered with bytes.
fn served(world: &World) -> usize {
    let log = world.registry.log();
    log.iter()
        .filter(|entry| entry.kind == Kind::BlobGet && entry.status.is_some_and(|status| status.is_success()))
        .count()
}

/// The handler is one for all; the credentials are of whoever reads.
#[tokio::test]
async fn bytes_come_with_the_credentials_of_who_asks() {
    let (world, [a, b]) = guarded().await;
    let manager = world.manager().await;
    let opened = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
    assert!(is_refused(&opened.extract(&user("bob")).await.unwrap_err()));
    assert!(is_refused(&opened.unlazy(&user("bob")).await.unwrap_err()));
    assert!(is_refused(&read_lazily(&opened, &a, &user("bob")).await.unwrap_err()));
    assert!(is_refused(&opened.extract(&Access::anonymous()).await.unwrap_err()));
    assert_eq!(served(&world), 0);
    assert!(opened.is_lazy().await.unwrap());
    opened.extract(&user("alice")).await.unwrap();
    assert_eq!(served(&world), 2);
    assert_tree_of(&opened, &[&a, &b]);
    // What is here is here for all who have a handle.
    opened.extract(&user("bob")).await.unwrap();
    assert_eq!(served(&world), 2);
    drop(opened);
    manager.close().await.unwrap();
    drop(manager);
    assert_idle(world.root());
}

/// Whoever is refused first is no trouble for the others, and each blob is still served once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_refused_does_not_spoil_it_for_others() {
    for first in ["bob", "alice"] {
        let (world, [a, b]) = guarded().await;
        let manager = world.manager().await;
        let opened = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
        // The tokens take a while, so that all come together.
        world.registry.add(Toxic::new(Effect::Delay(Duration::from_millis(50))).on(Kind::Token));
        let second = if first == "bob" { "alice" } else { "bob" };
        let ask = |name: &'static str, how: usize| {
            let opened = opened.clone();
            let [a, _] = [a.clone(), b.clone()];
            async move {
                let access = user(name);
                match how % 3 {
                    0 => opened.extract(&access).await,
                    1 => opened.unlazy(&access).await.map(drop),
                    _ => read_lazily(&opened, &a, &access).await.map(drop),
                }
            }
        };
        let bobs = (0..6).map(|how| ask(if first == "bob" { first } else { second }, how));
        let alices = (0..6).map(|how| ask("alice", how));
        let (bobs, alices) = if first == "bob" {
            futures::join!(futures::future::join_all(bobs), futures::future::join_all(alices))
        } else {
            let (alices, bobs) =
                futures::join!(futures::future::join_all(alices), futures::future::join_all(bobs));
            (bobs, alices)
        };
        for alice in alices {
            alice.unwrap();
        }
        for error in bobs.into_iter().filter_map(Result::err) {
            assert!(is_refused(&error), "{error}");
        }
        assert_eq!(served(&world), 2, "{:?}", world.registry.lines());
        assert_tree_of(&opened, &[&a, &b]);
        drop(opened);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

fn slow() -> Toxic {
    Toxic::new(Effect::Slow { piece: 1000, pause: Duration::from_millis(30) }).on(Kind::BlobGet)
}

async fn asked_for(world: &World) {
    until("somebody asks for the blob", || world.registry.requests(Kind::BlobGet) > 0).await;
}

/// Says when somebody's transfer has begun, as a joiner hears of it too.
#[derive(Clone, Debug, Default)]
struct Joined(Arc<AtomicBool>);

impl Progress for Joined {
    fn start(&self, _: &Descriptor, _: State) {
        self.0.store(true, Ordering::SeqCst);
    }
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, _: &str) {}
}

async fn ask(opened: ImmutableRef, how: usize, a: Made, access: Access) -> lazyblob_cache::Result<()> {
    match how {
        0 => opened.extract(&access).await,
        1 => opened.unlazy(&access).await.map(drop),
        _ => read_lazily(&opened, &a, &access).await.map(drop),
    }
}

/// The last waiter, not the first caller, owns the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_leaves_first_takes_nothing_from_the_others() {
    for (first, others) in [(0, [1, 2, 2]), (1, [0, 2, 1]), (2, [1, 0, 2])] {
        let world = World::new().await;
        let manager = world.manager().await;
        let [a] = made(["a"]);
        world.seed("app", &[&a]).await;
        world.registry.add(slow());
        let opened = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
        let spawn = |how| {
            let joined = Joined::default();
            let access = Access::anonymous().watched_by(Arc::new(joined.clone()));
            (tokio::spawn(ask(opened.clone(), how, a.clone(), access)), joined)
        };
        let mut first = Box::pin(ask(opened.clone(), first, a.clone(), Access::anonymous()));
        tokio::select! {
            _ = &mut first => panic!("it takes long"),
            () = asked_for(&world) => {}
        }
        let (others, joined): (Vec<_>, Vec<_>) = others.into_iter().map(spawn).unzip();
        tokio::select! {
            _ = &mut first => panic!("it takes longer"),
            () = until("all have joined", || joined.iter().all(|joined| joined.0.load(Ordering::SeqCst))) => {}
        }
        drop(first);
        for outcome in futures::future::join_all(others).await {
            outcome.unwrap().unwrap();
        }
        assert_eq!(world.registry.requests(Kind::BlobGet), 1, "{:?}", world.registry.lines());
        opened.extract(&Access::anonymous()).await.unwrap();
        assert_tree_of(&opened, &[&a]);
        assert_eq!(world.registry.requests(Kind::BlobGet), 1);
        drop(opened);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// When the last one leaves the transfer stops, what came stays, and the next run goes on behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_last_one_leaves_what_came_stays() {
    let world = World::new().await;
    let manager = world.manager().await;
    let a = Made::of("a", super::support::noise("a", 3_000_000), super::support::Packed::Plain);
    world.seed("app", &[&a]).await;
    world.registry.add(Toxic::new(Effect::CutBody(2_000_000)).on(Kind::BlobGet).times(1));
    world.registry.add(Toxic::new(Effect::Hang).on(Kind::BlobGet).after(1).times(1));
    let opened = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let access = Access::anonymous();
    let mut work = Box::pin(opened.unlazy(&access));
    tokio::select! {
        _ = &mut work => panic!("it hangs"),
        () = until("the second request hangs", || world.registry.requests(Kind::BlobGet) == 2) => {}
    }
    drop(work);
    let ingests = manager.store().ingests();
    let partial = loop {
        match ingests.list().await.unwrap().as_slice() {
            [partial] if !partial.in_use => break partial.clone(),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!((&partial.digest, partial.offset), (a.digest(), 2_000_000));
    assert!(opened.is_lazy().await.unwrap());
    assert_eq!(opened.unlazy(&access).await.unwrap(), 1);
    let ranges: Vec<_> = world.registry.log().into_iter().filter_map(|entry| entry.range).collect();
    assert_eq!(ranges.last().map(String::as_str), Some("bytes=2000000-2999999"), "{ranges:?}");
    assert_eq!(world.registry.requests(Kind::BlobGet), 3);
    assert!(read_lazily(&opened, &a, &access).await.unwrap() == a.bytes);
    drop(opened);
    manager.close().await.unwrap();
    drop(manager);
    assert_idle(world.root());
}

/// Other handles know other ways: where the asker's own source fails, the blob comes from those.
#[tokio::test]
async fn a_source_that_fails_gives_way_to_the_next() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    world.seed("good", &[&a]).await;
    let here = stack(&manager, &[&a], &world.handlers("good", &[&a])).await;
    let wrong = stack(&manager, &[&a], &world.handlers("gone", &[&a])).await;
    wrong.extract(&Access::anonymous()).await.unwrap();
    assert_tree_of(&wrong, &[&a]);
    let asked = world.registry.lines().concat();
    assert!(asked.contains("/v2/gone/") && asked.contains("/v2/good/"), "{asked}");
    drop((here, wrong));
    manager.close().await.unwrap();
}
