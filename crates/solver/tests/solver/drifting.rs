//! Ops that come out differently under one definition: what is found by content is what was made of that content.

use lazyblob_solver::testing::Script;
use lazyblob_solver::{OpError, Solver};

use crate::support::{once, solver};

fn top(name: &str, of: &Script) -> Script {
    Script::new(name, 100).key("key of top").input(of).by_content()
}

/// Whoever has content 1 by another definition gets what was made of content 1.
async fn content_one_leads_to_101(solver: &Solver<i64>) {
    let other = Script::new("other", 1);
    let top = top("top of other", &other);
    assert_eq!(once(solver, &[&other, &top]).await.0, 101);
    assert_eq!(other.counts().execs(), 1);
}

/// BuildKit row 67: an input that is run again whatever the cache has, and comes out differently.
#[tokio::test(start_paused = true)]
async fn what_was_made_of_new_content_is_not_found_by_the_old() {
    let (solver, _) = solver();
    let base = Script::new("base", 1);
    assert_eq!(once(&solver, &[&base, &top("top", &base)]).await, (101, false));
    let base = Script::new("base", 2).ignoring_cache();
    assert_eq!(once(&solver, &[&base, &top("top", &base)]).await, (102, false));
    content_one_leads_to_101(&solver).await;
    // By its definition it is what was made last.
    let base = Script::new("base", 3);
    assert_eq!(once(&solver, &[&base, &top("top", &base)]).await, (102, true));
    assert_eq!(base.counts().execs(), 0);
    solver.close().await;
}

/// The same where records cannot be had for a while, so that what was found by definition is run.
#[tokio::test(start_paused = true)]
async fn what_was_run_for_want_of_a_record_is_not_found_by_the_old_content() {
    let (solver, shelf) = solver();
    let base = Script::new("base", 1);
    assert_eq!(once(&solver, &[&base, &top("top", &base)]).await, (101, false));
    shelf.set_jammed(true);
    let base = Script::new("base", 2);
    assert_eq!(once(&solver, &[&base, &top("top", &base)]).await, (102, false));
    shelf.set_jammed(false);
    content_one_leads_to_101(&solver).await;
    solver.close().await;
}

/// The same where the input is lost, and made again as something else.
#[tokio::test(start_paused = true)]
async fn what_was_run_after_a_loss_is_not_found_by_the_old_content() {
    let (solver, shelf) = solver();
    let root = Script::new("root", 0);
    let base = Script::new("base", 1).input(&root);
    assert_eq!(once(&solver, &[&root, &base, &top("top", &base)]).await, (101, false));
    shelf.set_jammed(true);
    let grows = |_, _, before: usize| async move { Ok(vec![1 + i64::try_from(before).unwrap()]) };
    let base = Script::new("growing base", 0).input(&root).running(grows);
    let top = top("top of growing", &base).running(|_, inputs, before| async move {
        if before == 0 { Err(OpError::lost(0, "no bytes")) } else { Ok(vec![100 + inputs[0]]) }
    });
    assert_eq!(once(&solver, &[&root, &base, &top]).await, (102, false));
    assert_eq!((base.counts().execs(), top.counts().execs()), (2, 2));
    shelf.set_jammed(false);
    content_one_leads_to_101(&solver).await;
    solver.close().await;
}
