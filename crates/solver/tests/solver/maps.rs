//! Ops without inputs that have several keys.

use lazyblob_solver::testing::{Script, digest};

use crate::support::{asked, once, solver};

fn root(name: &str, value: i64, keys: &[&str]) -> Script {
    Script::new(name, value).keys(keys.iter().map(|key| digest(key)).collect())
}

/// BuildKit row 59: the next cache map is asked for only where the last has led to nothing; a result is remembered under all
/// that were asked for (BuildKit: TestCacheMultipleMaps).
#[tokio::test(start_paused = true)]
async fn the_next_map_is_asked_for_where_the_last_led_to_nothing() {
    let (solver, shelf) = solver();
    let op = root("op", 1, &["one", "two", "three"]);
    assert_eq!(once(&solver, &[&op]).await, (1, false));
    assert_eq!((asked([&op]), shelf.len()), ([(3, 1)], 1));
    for (round, (name, keys, maps)) in [
        ("first", &["one", "no"][..], 1),
        ("second", &["no", "two", "nor"], 2),
        ("third", &["no", "nor", "three"], 3),
        ("only", &["three"], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let same = root(name, 9, keys);
        assert_eq!(once(&solver, &[&same]).await, (1, true), "{name}");
        assert_eq!((asked([&same]), shelf.loads()), ([(maps, 0)], round + 1), "{name}");
    }
    let other = root("other", 5, &["no", "nor"]);
    assert_eq!(once(&solver, &[&other]).await, (5, false));
    assert_eq!((asked([&other]), shelf.loads()), ([(2, 1)], 4));
    solver.close().await;
}

/// BuildKit row 59: the same for an input: what is above it is found by any of its keys, and its own next map is asked for
/// only where the keys so far lead nowhere above (BuildKit: TestCacheInputMultipleMaps).
#[tokio::test(start_paused = true)]
async fn an_input_is_known_by_any_of_its_keys() {
    let (solver, shelf) = solver();
    let top =
        |input: &Script| Script::new(&format!("top over {}", input.edge()), 100).key("top").input(input);
    let input = root("input", 1, &["one", "two"]);
    let first = top(&input);
    assert_eq!(once(&solver, &[&input, &first]).await, (101, false));
    assert_eq!(asked([&input, &first]), [(2, 1), (1, 1)]);
    for (round, (name, keys, maps)) in
        [("by the first", ["one", "no"], 1), ("by the second", ["no", "two"], 2)].into_iter().enumerate()
    {
        let input = root(name, 9, &keys);
        let same = top(&input);
        assert_eq!(once(&solver, &[&input, &same]).await, (101, true), "{name}");
        assert_eq!(asked([&input, &same]), [(maps, 0), (1, 0)], "{name}");
        assert_eq!(shelf.loads(), round + 1, "{name}: the input is not loaded");
    }
    // No key is known: everything runs.
    let input = root("by none", 5, &["no", "nor"]);
    let other = top(&input);
    assert_eq!(once(&solver, &[&input, &other]).await, (105, false));
    assert_eq!((asked([&input, &other]), shelf.loads()), ([(2, 1), (1, 1)], 2));
    solver.close().await;
}
