//! No input is computed, or even loaded, while a cheaper key may still decide.
//!
//! Names of ops beginning alike are the same op in another version: its vertex and its cache key differ.

use lazyblob_solver::testing::Script;

use crate::support::{asked, once, solver};

/// BuildKit row 67: where one input is known by its content, the other is only asked for its key (BuildKit:
/// TestOptimizedCacheAccess).
#[tokio::test(start_paused = true)]
async fn an_input_that_matches_is_not_touched_while_another_is_looked_into() {
    let (solver, shelf) = solver();
    let [plain, inside] = [Script::new("plain", 1), Script::new("inside", 2)];
    let top = |plain: &Script, inside: &Script| {
        let name = format!("top {} {}", plain.edge(), inside.edge());
        Script::new(&name, 100).key("top").input(plain).input(inside).by_content()
    };
    let first = top(&plain, &inside);
    assert_eq!(once(&solver, &[&plain, &inside, &first]).await, (103, false));
    assert_eq!((asked([&plain, &inside, &first]), first.counts().digests()), ([(1, 1); 3], 1));

    // Of the same content: it has to run for that to be known, but `plain` is not even loaded.
    let inside2 = Script::new("inside 2", 2);
    let second = top(&plain, &inside2);
    assert_eq!(once(&solver, &[&plain, &inside2, &second]).await, (103, true));
    assert_eq!(asked([&plain, &inside2, &second]), [(2, 1), (1, 1), (1, 0)]);
    assert_eq!((second.counts().digests(), shelf.loads()), (1, 1));

    // Now known by its definition, too: nothing is looked into.
    let third = top(&plain, &inside2);
    assert_eq!(once(&solver, &[&plain, &inside2, &third]).await, (103, true));
    assert_eq!(asked([&plain, &inside2, &third]), [(3, 1), (2, 1), (1, 0)]);
    assert_eq!((third.counts().digests(), shelf.loads()), (0, 2));

    // The other input has changed, and only its definition counts: no content of `inside` can help, so it is loaded for
    // the run alone.
    let plain2 = Script::new("plain 2", 1);
    let fourth = top(&plain2, &inside);
    assert_eq!(once(&solver, &[&plain2, &inside, &fourth]).await, (103, false));
    assert_eq!(asked([&plain2, &inside, &fourth]), [(1, 1), (2, 1), (1, 1)]);
    assert_eq!(shelf.loads(), 3);
    solver.close().await;
}

/// BuildKit row 67: of two inputs known by their contents only the one that has changed is computed (BuildKit:
/// TestOptimizedCacheAccess2).
#[tokio::test(start_paused = true)]
async fn only_the_input_that_changed_is_looked_into() {
    let (solver, shelf) = solver();
    let top = |one: &Script, two: &Script| {
        let name = format!("top {} {}", one.edge(), two.edge());
        Script::new(&name, 100).key("top").input(one).by_content().input(two).by_content()
    };
    let [one, two] = [Script::new("one", 1), Script::new("two", 2)];
    let first = top(&one, &two);
    assert_eq!(once(&solver, &[&one, &two, &first]).await, (103, false));
    assert_eq!((first.counts().digests(), shelf.loads()), (2, 0));

    // One of them changed: it runs. The other is not loaded.
    let one2 = Script::new("one 2", 1);
    let second = top(&one2, &two);
    assert_eq!(once(&solver, &[&one2, &two, &second]).await, (103, true));
    assert_eq!(asked([&one2, &two, &second]), [(1, 1), (2, 1), (1, 0)]);
    assert_eq!((second.counts().digests(), shelf.loads()), (1, 1));

    // Both changed: both run, and their contents decide.
    let [one3, two3] = [Script::new("one 3", 1), Script::new("two 3", 2)];
    let third = top(&one3, &two3);
    assert_eq!(once(&solver, &[&one3, &two3, &third]).await, (103, true));
    assert_eq!(asked([&one3, &two3, &third]), [(1, 1), (1, 1), (1, 0)]);
    assert_eq!((third.counts().digests(), shelf.loads()), (2, 2));

    // Both changed before, in different builds: the definitions lead there, and nothing is looked into.
    let fourth = top(&one2, &two3);
    assert_eq!(once(&solver, &[&one2, &two3, &fourth]).await, (103, true));
    assert_eq!(asked([&one2, &two3, &fourth]), [(2, 1), (2, 1), (1, 0)]);
    assert_eq!((fourth.counts().digests(), shelf.loads()), (0, 3));

    // One changed in content: no key is left for it, so the other is loaded, for the run.
    let one5 = Script::new("one 5", 5);
    let fifth = top(&one5, &two);
    assert_eq!(once(&solver, &[&one5, &two, &fifth]).await, (107, false));
    assert_eq!(asked([&one5, &two, &fifth]), [(1, 1), (3, 1), (1, 1)]);
    assert_eq!(shelf.loads(), 4);
    solver.close().await;
}

/// BuildKit row 67: no content is looked at where the definition leads to the key (BuildKit: TestSlowCacheAvoidAccess).
#[tokio::test(start_paused = true)]
async fn content_is_not_looked_at_where_the_definition_matches() {
    let (solver, shelf) = solver();
    let bottom = Script::new("bottom", 1);
    let middle = Script::new("middle", 10).input(&bottom).by_content();
    let top = Script::new("top", 100).input(&middle).by_content();
    assert_eq!(once(&solver, &[&bottom, &middle, &top]).await, (111, false));
    assert_eq!((middle.counts().digests(), top.counts().digests()), (1, 1));

    assert_eq!(once(&solver, &[&bottom, &middle, &top]).await, (111, true));
    assert_eq!(asked([&bottom, &middle, &top]), [(2, 1); 3]);
    assert_eq!((middle.counts().digests(), top.counts().digests(), shelf.loads()), (1, 1, 1));

    // Another top over the same: it runs, with the middle loaded. Its content is looked at once, for the key to be saved;
    // that of the bottom is not, which is not even loaded.
    let top2 = Script::new("top 2", 200).input(&middle).by_content();
    assert_eq!(once(&solver, &[&bottom, &middle, &top2]).await, (211, false));
    assert_eq!(asked([&bottom, &middle, &top2]), [(3, 1), (3, 1), (1, 1)]);
    assert_eq!((middle.counts().digests(), top2.counts().digests(), shelf.loads()), (1, 1, 2));
    solver.close().await;
}

/// BuildKit row 67: inputs whose keys are known by their contents are not loaded themselves when what is above them is known
/// (BuildKit: TestSlowCacheAvoidLoadOnCache).
#[tokio::test(start_paused = true)]
async fn nothing_between_the_changed_input_and_the_top_is_loaded() {
    let (solver, shelf) = solver();
    let [source, other] = [Script::new("source", 1), Script::new("other", 2)];
    let graph = |source: &Script| {
        let middle = Script::new(&format!("middle {}", source.edge()), 10).key("middle");
        let middle = middle.input(source).by_content().input(&other);
        let side = Script::new("side", 20).input(&other).by_content();
        let top = Script::new(&format!("top {}", source.edge()), 100).key("top").input(&middle).by_content();
        let top = top.input(&side).by_content();
        [middle, side, top]
    };
    let [middle, side, top] = graph(&source);
    assert_eq!(once(&solver, &[&source, &other, &middle, &side, &top]).await, (135, false));
    assert_eq!((shelf.len(), shelf.loads()), (5, 0));

    let [middle, side, top] = graph(&source);
    assert_eq!(once(&solver, &[&source, &other, &middle, &side, &top]).await, (135, true));
    assert_eq!(shelf.loads(), 1, "the top alone");

    // The source has changed and its content has not: its content gives the middle its key, and that the top.
    let source2 = Script::new("source 2", 1);
    let [middle, side, top] = graph(&source2);
    assert_eq!(once(&solver, &[&source2, &other, &middle, &side, &top]).await, (135, true));
    assert_eq!(asked([&source2, &other, &middle, &side, &top]), [(1, 1), (3, 1), (1, 0), (1, 0), (1, 0)]);
    let digests = [&middle, &side, &top].map(|op| op.counts().digests());
    assert_eq!((digests, shelf.loads()), ([1, 0, 0], 2));

    // Now the definitions alone lead there, though nothing but the source has run and nothing but the top was loaded.
    let [middle, side, top] = graph(&source2);
    assert_eq!(once(&solver, &[&source2, &other, &middle, &side, &top]).await, (135, true));
    assert_eq!(asked([&source2, &middle, &side, &top]), [(2, 1), (1, 0), (1, 0), (1, 0)]);
    let digests = [&middle, &side, &top].map(|op| op.counts().digests());
    assert_eq!((digests, shelf.loads()), ([0, 0, 0], 3));
    solver.close().await;
}
