//! Parts of inputs.

use lazyblob_solver::testing::Script;

use crate::support::{asked, once, solver};

/// BuildKit row 67: the part of an input that is read is joined with its key (BuildKit: TestCacheWithSelector).
#[tokio::test(start_paused = true)]
async fn another_part_of_the_same_input_is_another_key() {
    let (solver, shelf) = solver();
    let input = Script::new("input", 1);
    let top = |part: Option<&str>| {
        let top = Script::new(&format!("top {part:?}"), 100).key("top").input(&input);
        if let Some(part) = part { top.selecting(part) } else { top }
    };
    let mut loads = 0;
    let parts = [Some("/a"), Some("/b"), None];
    for (round, part) in parts.into_iter().enumerate() {
        let op = top(part);
        assert_eq!(once(&solver, &[&input, &op]).await, (101, false), "{part:?}");
        assert_eq!(op.counts().execs(), 1);
        // The input ran once, and is loaded for each other part.
        loads += usize::from(round > 0);
        assert_eq!((input.counts().execs(), shelf.loads()), (1, loads));
    }
    for part in parts {
        let op = top(part);
        assert_eq!(once(&solver, &[&input, &op]).await, (101, true), "{part:?}");
        loads += 1;
        assert_eq!((asked([&op]), shelf.loads()), ([(1, 0)], loads));
    }
    assert_eq!(input.counts().execs(), 1);
    solver.close().await;
}

/// BuildKit row 67: the same input twice, a part of it each: neither stands for the other, and their order counts.
#[tokio::test(start_paused = true)]
async fn parts_are_told_apart_by_position() {
    let (solver, _) = solver();
    let input = Script::new("input", 1);
    let top = |name: &str, parts: [&str; 2]| {
        let top = Script::new(name, 100).key("top").input(&input).selecting(parts[0]);
        top.input(&input).selecting(parts[1])
    };
    let tops = [top("ab", ["/a", "/b"]), top("ba", ["/b", "/a"]), top("aa", ["/a", "/a"])];
    for op in &tops {
        assert_eq!(once(&solver, &[&input, op]).await, (102, false));
    }
    for op in &tops {
        assert_eq!(once(&solver, &[&input, op]).await, (102, true));
    }
    assert_eq!(asked(tops.each_ref()), [(2, 1); 3]);
    solver.close().await;
}
