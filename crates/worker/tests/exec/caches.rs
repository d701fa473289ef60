//! Trees that outlive the build, and who may have them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::snapshot::Wanted;
use lazyblob_solver::What;
use lazyblob_worker::WorkerRef;
use lazyblob_worker::llb::{self, CacheSharing, Mount, State};
use tokio_util::sync::CancellationToken;

use crate::base::Base;
use crate::support::{World, bound, kinds, run};

fn with(sharing: CacheSharing, script: &[&str]) -> State {
    run(&llb::scratch(), script).mount("/c", Mount::cache("id").sharing(sharing)).root()
}

/// Where a command has its cache.
fn at(world: &World, first: &str) -> PathBuf {
    bound(&world.theatre.process(first), "/c")
}

#[tokio::test]
async fn a_cache_is_there_for_the_next_build_and_the_next_process() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let first = with(CacheSharing::Shared, &["cat /c/log", "append /c/log one"]);
        assert_eq!(world.said(&first).await, "nothing");
        let second = with(CacheSharing::Locked, &["cat /c/log", "append /c/log two"]);
        assert_eq!(world.said(&second).await, "one");
        let other = run(&llb::scratch(), &["cat /c/log"]).mount("/c", Mount::cache("other")).root();
        assert_eq!(world.said(&other).await, "nothing");
        assert_eq!(world.caches().await.len(), 2);
        world.assert_clean().await;
        let next = world.another(kind).await;
        world.close().await;
        let third = with(CacheSharing::Private, &["cat /c/log"]);
        assert_eq!(next.said(&third).await, "onetwo");
        assert_eq!(next.caches().await.len(), 2);
        next.close().await;
    }
}

async fn both_at_once(one: &World, two: &World, sharing: CacheSharing) -> (PathBuf, PathBuf) {
    let states =
        (with(sharing, &["gate one", "append /c/log 1"]), with(sharing, &["gate two", "append /c/log 2"]));
    let builds = join(one.build(&states.0), two.build(&states.1));
    let (first, second) = (one.theatre.gate("one"), two.theatre.gate("two"));
    let look = async {
        first.reached(1).await;
        second.reached(1).await;
        first.open();
        second.open();
    };
    join(builds, look).await;
    (at(one, "gate one"), at(two, "gate two"))
}

#[tokio::test]
async fn a_shared_cache_is_one_tree_for_all_at_once() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let (one, two) = both_at_once(&world, &world, CacheSharing::Shared).await;
        assert_eq!(one, two);
        assert_eq!(world.caches().await.len(), 1);
        world.close().await;
    }
}

/// And for all processes.
#[tokio::test]
async fn a_shared_cache_is_one_tree_for_two_processes_at_once() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let other = world.another(kind).await;
        let (one, two) = both_at_once(&world, &other, CacheSharing::Shared).await;
        assert_eq!(one, two);
        assert_eq!(other.caches().await.len(), 1);
        world.close().await;
        other.close().await;
    }
}

#[tokio::test]
async fn a_private_cache_that_somebody_has_is_another_tree_and_both_are_used_again() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let other = world.another(kind).await;
        let (one, two) = both_at_once(&world, &other, CacheSharing::Private).await;
        assert_ne!(one, two);
        assert_eq!(world.caches().await.len(), 2);
        world.build(&with(CacheSharing::Private, &["say again"])).await;
        let again = at(&world, "say again");
        assert!(again == one || again == two);
        assert_eq!(world.caches().await.len(), 2);
        world.close().await;
        other.close().await;
    }
}

/// The second one says that it waits, and has what the first one left; another process waits as well.
#[tokio::test]
async fn a_locked_cache_is_waited_for() {
    for two_processes in [false, true] {
        let world = World::new(Wanted::Plain).await;
        let other = world.another(Wanted::Plain).await;
        let waiting = if two_processes { &other } else { &world };
        let gate = world.theatre.gate("first");
        let (job, edge) = waiting.job(&with(CacheSharing::Locked, &["cat /c/log", "append /c/log 2"])).await;
        let mut told = job.status();
        let holds = with(CacheSharing::Locked, &["gate first", "append /c/log 1"]);
        let first = world.build(&holds);
        let second = async {
            gate.reached(1).await;
            let opens = async {
                let is_waiting =
                    |what: &What| matches!(what, What::Progress(part) if part.action.contains("locked"));
                while !told.next().await.is_some_and(|event| is_waiting(&event.what)) {}
                let had = waiting.executor.runs();
                gate.open();
                had
            };
            let (built, had) = join(job.build(&edge), opens).await;
            built.unwrap();
            had
        };
        let (_, had) = join(first, second).await;
        assert_eq!(had, usize::from(!two_processes), "it did not run before it had it");
        assert_eq!(at(waiting, "cat /c/log"), at(&world, "gate first"));
        assert_eq!(fs::read_to_string(at(waiting, "cat /c/log").join("log")).unwrap(), "12");
        assert_eq!(world.caches().await.len(), 1);
        world.close().await;
        other.close().await;
    }
}

#[tokio::test]
async fn who_waits_for_a_cache_can_be_cancelled() {
    let world = World::new(Wanted::Plain).await;
    let gate = world.theatre.gate("first");
    let (first, first_edge) = world.job(&with(CacheSharing::Locked, &["gate first"])).await;
    let (second, edge) = world.job(&with(CacheSharing::Locked, &["say never"])).await;
    let cancels = async {
        gate.reached(1).await;
        let mut told = second.status();
        let mut building = std::pin::pin!(second.build(&edge));
        let is_waiting = |what: &What| matches!(what, What::Progress(part) if part.action.contains("locked"));
        loop {
            tokio::select! {
                built = &mut building => panic!("{:?}", built.map(drop)),
                event = told.next() => if is_waiting(&event.unwrap().what) { break },
            }
        }
    };
    let (built, ()) = join(first.build(&first_edge), async {
        cancels.await;
        gate.open();
    })
    .await;
    built.unwrap();
    first.discard();
    second.discard();
    world.stop().await;
    assert_eq!(world.executor.runs(), 1);
    world.assert_clean().await;
    world.close().await;
}

/// Two commands that want the same two caches locked, the one in the other order, do not wait for each other.
#[tokio::test]
async fn the_order_of_mounts_is_not_that_of_waiting() {
    let world = World::new(Wanted::Plain).await;
    let locked = |id: &str| Mount::cache(id).sharing(CacheSharing::Locked);
    let both = |name: &str, one: &str, two: &str| {
        run(&llb::scratch(), &[&format!("say {name}")])
            .mount("/1", locked(one))
            .mount("/2", locked(two))
            .root()
    };
    for round in 0..20 {
        let (a, b) = (both(&format!("a{round}"), "x", "y"), both(&format!("b{round}"), "y", "x"));
        let built = join(world.build(&a), world.build(&b));
        tokio::time::timeout(Duration::from_secs(60), built).await.unwrap();
    }
    assert_eq!(world.caches().await.len(), 2);
    world.close().await;
}

/// One cache twice in a command is one tree.
#[tokio::test]
async fn a_command_does_not_wait_for_itself() {
    let world = World::new(Wanted::Plain).await;
    let state = run(&llb::scratch(), &["write /1/a b", "cat /2/a"])
        .mount("/1", Mount::cache("x").sharing(CacheSharing::Locked))
        .mount("/2", Mount::cache("x").sharing(CacheSharing::Private).read_only())
        .root();
    assert_eq!(world.said(&state).await, "b");
    world.close().await;
}

#[tokio::test]
async fn a_cache_in_use_is_not_pruned_and_one_that_was_is_made_anew() {
    let world = World::new(Wanted::Plain).await;
    let prune =
        || async { world.manager.prune(&PruneOptions::default(), &CancellationToken::new()).await.unwrap() };
    let gate = world.theatre.gate("used");
    let state = with(CacheSharing::Shared, &["write /c/kept x", "gate used", "cat /c/kept"]);
    let pruned = async {
        gate.reached(1).await;
        prune().await;
        gate.open();
    };
    let (said, ()) = join(world.said(&state), pruned).await;
    assert_eq!(said, "x");
    assert_eq!(world.caches().await.len(), 1);
    prune().await;
    assert_eq!(world.caches().await.len(), 0);
    assert_eq!(world.said(&with(CacheSharing::Shared, &["cat /c/kept"])).await, "nothing");
    assert_eq!(world.caches().await.len(), 1);
    world.close().await;
}

fn seeded(seed: &State, script: &[&str]) -> State {
    let mount = Mount::cache("id").seeded(seed).content_keys(false);
    run(&llb::scratch(), script).mount("/c", mount).root()
}

#[tokio::test]
async fn a_cache_begins_as_a_tree_and_goes_its_own_way() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let seed = run(&llb::scratch(), &["write /d/who seed", "link /l d/who"]).root();
        assert_eq!(world.said(&seeded(&seed, &["cat /c/d/who", "write /c/d/who own"])).await, "seed");
        assert_eq!(world.said(&seeded(&seed, &["say ", "cat /c/l"])).await, "own");
        let other = run(&llb::scratch(), &["write /d/who other"]).root();
        assert_eq!(world.said(&seeded(&other, &["cat /c/d/who"])).await, "other", "another cache");
        let none = with(CacheSharing::Shared, &["cat /c/d/who"]);
        assert_eq!(world.said(&none).await, "nothing", "another one again");
        assert_eq!(world.caches().await.len(), 3);
        assert_eq!(world.files(&seed).await["d/who"], "seed");
        world.assert_clean().await;
        world.close().await;
    }
}

/// A cache whose base is lazy: dagger/dagger#8884 and #5560 of BuildKit's users. The base is pulled once, when the cache is
/// made; the cache is there the next time, and nothing is pulled for it.
#[tokio::test]
async fn a_cache_on_a_lazy_base_is_kept_and_the_base_stays_lazy() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let base = Base::new(&world);
        base.upload(&world).await;
        let gets = || base.gets(&world);
        // What stands for an image that was found in the cache.
        let seed = run(&llb::scratch(), &["say seed"]).root();
        let made = world.build(&seed).await.result;
        let tree = base.import(&world).await;
        assert_eq!(world.results.exchange(&made, &tree), 1);
        drop(made);
        assert_eq!(gets(), 0);
        assert_eq!(world.said(&seeded(&seed, &["cat /c/d/who", "write /c/own x"])).await, "lazy");
        assert_eq!((gets(), world.caches().await.len()), (1, 1));
        // The base becomes lazy again, as another record.
        let (solver_result, nothing) = (tree, WorkerRef::scratch());
        assert_eq!(world.results.exchange(&solver_result, &nothing), 1);
        drop(solver_result);
        let caches = world.caches().await;
        let options =
            PruneOptions { filters: vec!["type=regular".parse().unwrap()], ..PruneOptions::default() };
        world.manager.prune(&options, &CancellationToken::new()).await.unwrap();
        assert_eq!(world.caches().await, caches);
        let tree = base.import(&world).await;
        assert_eq!(world.results.exchange(&nothing, &tree), 1);
        assert_eq!(world.said(&seeded(&seed, &["cat /c/own"])).await, "x");
        assert_eq!((gets(), world.caches().await), (1, caches), "nothing was pulled for it");
        drop(tree);
        world.close().await;
    }
}

#[tokio::test]
async fn a_cache_may_be_selected_from() {
    if !rustix::process::geteuid().is_root() {
        println!("not run: mounting takes root");
        return;
    }
    let world = World::new(Wanted::Plain).await;
    let seed = run(&llb::scratch(), &["write /d/who seed"]).root();
    let part = |path: &str| {
        let mount = Mount::cache("id").seeded(&seed).content_keys(false).select(path);
        run(&llb::scratch(), &["cat /c/who"]).mount("/c", mount).root()
    };
    assert_eq!(world.said(&part("d")).await, "seed");
    let error = world.try_build(&part("none")).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("/none"), "{error}");
    let process = world.theatre.process("cat /c/who");
    assert!(!bound(&process, "/c").exists(), "what was shown of it is gone");
    assert_eq!(world.said(&seeded(&seed, &["cat /c/d/who"])).await, "seed", "and nothing else");
    world.assert_clean().await;
    world.close().await;
}

/// A cache whose base could not be had is filled by the next command that can have it.
#[tokio::test]
async fn a_cache_that_was_not_filled_is_filled_by_the_next_one() {
    let world = World::new(Wanted::Plain).await;
    let base = Base::new(&world);
    let seed = run(&llb::scratch(), &["write /d/who run-again"]).root();
    let made = world.build(&seed).await.result;
    let lazy = base.import(&world).await;
    assert_eq!(world.results.exchange(&made, &lazy), 1);
    // What stands for it is gone: the command that made it runs again, and what it makes is the base.
    assert_eq!(world.said(&seeded(&seed, &["cat /c/d/who"])).await, "run-again");
    assert_eq!(world.caches().await.len(), 2, "one of them empty");
    let again = world.build(&seed).await.result;
    base.upload(&world).await;
    assert_eq!(world.results.exchange(&again, &lazy), 1);
    assert_eq!(world.said(&seeded(&seed, &["say ", "cat /c/d/who"])).await, "lazy");
    assert_eq!(world.caches().await.len(), 2);
    drop((made, again, lazy));
    world.close().await;
}

/// Who waits for a cache keeps nobody else from running.
#[tokio::test]
async fn who_waits_for_a_cache_takes_no_place() {
    let world = World::narrow(Wanted::Plain, 1).await;
    let gate = world.theatre.gate("first");
    let holds = with(CacheSharing::Locked, &["gate first"]);
    let (job, edge) = world.job(&with(CacheSharing::Locked, &["say waits"])).await;
    let mut told = job.status();
    let others = async {
        gate.reached(1).await;
        let other = async {
            let is_waiting =
                |what: &What| matches!(what, What::Progress(part) if part.action.contains("locked"));
            while !told.next().await.is_some_and(|event| is_waiting(&event.what)) {}
            let plain = run(&llb::scratch(), &["say other"]).root();
            let other = world.build(&plain);
            tokio::time::timeout(Duration::from_secs(60), other).await.unwrap();
            assert_eq!(world.executor.runs(), 2, "who waits has not run");
            gate.open();
        };
        join(job.build(&edge), other).await.0.unwrap();
    };
    join(world.build(&holds), others).await;
    drop(job);
    world.close().await;
}
