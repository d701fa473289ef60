//! What of its inputs a command has pulled.

use lazyblob_cache::snapshot::Wanted;
use lazyblob_solver::{Event, What};
use lazyblob_worker::llb::{self, Mount, State};

use crate::base::Base;
use crate::support::{World, ended, kinds, run};

/// A world with a lazy tree, and what it is the result of.
async fn lazy(kind: Wanted) -> (World, Base, State) {
    let world = World::new(kind).await;
    let base = Base::new(&world);
    base.upload(&world).await;
    let state = run(&llb::scratch(), &["say base"]).root().named("the base");
    let made = world.build(&state).await.result;
    let tree = base.import(&world).await;
    assert_eq!(world.results.exchange(&made, &tree), 1);
    (world, base, state)
}

async fn told(world: &World, state: &State) -> Vec<Event> {
    let (job, edge) = world.job(state).await;
    job.build(&edge).await.unwrap();
    ended(job).await
}

/// BuildKit row 66: what is pulled for a command is pulled, once, before it runs and under the vertex it is the result of.
#[tokio::test]
async fn what_a_command_reads_is_pulled_under_the_vertex_it_comes_from() {
    for kind in kinds() {
        let (world, base, state) = lazy(kind).await;
        let top = run(&state, &["write /own x"]).mount("/ro", Mount::bind(&state).read_only()).root();
        let events = told(&world, &top).await;
        let of = |event: &Event| event.vertex.as_ref().map(|vertex| vertex.name.to_string());
        let mut pulled = events
            .iter()
            .filter(|event| matches!(&event.what, What::Progress(part) if part.id.as_ref() == base.digest()));
        assert!(pulled.clone().count() > 0);
        assert!(pulled.all(|event| of(event).as_deref() == Some("the base")), "{events:?}");
        assert_eq!(base.gets(&world), 1);
        assert_eq!(world.files(&top).await["d/who"], "lazy");
        world.assert_clean().await;
        world.close().await;
    }
}

/// A command whose result is known reads nothing, and neither does one above it that does not need it.
#[tokio::test]
async fn what_is_known_is_not_pulled_for() {
    let (world, base, state) = lazy(Wanted::Plain).await;
    world.build(&state).await;
    let beside = run(&llb::scratch(), &["say beside"]).root();
    told(&world, &beside).await;
    assert_eq!(base.gets(&world), 0);
    world.close().await;
}
