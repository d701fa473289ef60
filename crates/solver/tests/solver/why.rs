//! Why a vertex was not found in the cache.
#![allow(clippy::unwrap_used, reason = "what is not as it has to be fails the test")]

use std::sync::Arc;

use lazyblob_solver::testing::{Ledger, Script, Shelf, digest, random};
use lazyblob_solver::{
    CacheIndex, Graph, JobOptions, KeyId, KeyStore, Miss, OpError, ResultId, Selector, Settings, Solver, Why,
};

use crate::support::{content, op};

struct Bench {
    solver: Solver<i64>,
    keys: Arc<Ledger>,
    shelf: Arc<Shelf>,
}

impl Bench {
    fn new() -> Self {
        let mut settings = Settings::default();
        settings.check = true;
        let (keys, shelf) = (Arc::new(Ledger::new()), Arc::new(Shelf::new("local")));
        let cache = CacheIndex::new("local", Arc::clone(&keys) as _, Arc::clone(&shelf) as _);
        Self { solver: Solver::new(Arc::new(cache), settings), keys, shelf }
    }

    /// Builds the last of these ops and says why those that ran did.
    async fn build(&self, ops: &[&Script]) -> Vec<Why> {
        self.build_as(ops, true).await
    }

    async fn build_as(&self, ops: &[&Script], explain: bool) -> Vec<Why> {
        let job = self.solver.job(JobOptions { explain, ..JobOptions::default() }).await.unwrap();
        job.load(Graph::new(ops.iter().map(|op| op.vertex())).unwrap()).await.unwrap();
        job.build(&ops.last().unwrap().edge()).await.unwrap();
        job.why().await.unwrap()
    }
}

/// The key of an op over one input that is read as a whole.
fn over(name: &str, below: KeyId) -> KeyId {
    KeyId::derived(op(name), [(None, below)])
}

fn why(op: &Script, misses: Vec<Miss>) -> Why {
    Why { vertex: op.vertex().name, misses }
}

fn ran(input: usize, below: &Script, now: KeyId, before: Vec<KeyId>) -> Miss {
    Miss::Input { input, vertex: below.vertex().name, ran: true, now: vec![now], before }
}

#[tokio::test]
async fn nothing_is_known_at_first_and_nothing_is_to_be_explained_then() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let top = Script::new("top", 10).input(&base);
    let whys = bench.build(&[&base, &top]).await;
    let expected = [why(&base, vec![Miss::Never]), why(&top, vec![ran(0, &base, op("base"), Vec::new())])];
    assert_eq!(whys, expected);
    let name = base.vertex().name;
    assert_eq!(whys[0].to_string(), format!("{name}: nothing like it was ever remembered"));
    let walks = bench.keys.walks();
    assert!(bench.build(&[&base, &top]).await.is_empty());
    assert_eq!(bench.keys.walks(), walks, "what is found is not explained");
    bench.solver.close().await;
}

#[tokio::test]
async fn a_changed_definition_is_told_against_what_was_done_with_the_inputs() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let first = Script::new("first", 10).input(&base);
    // As the second input it is no predecessor.
    let side = Script::new("side", 0);
    let other = Script::new("other", 20).input(&side).input(&base);
    bench.build(&[&base, &first]).await;
    bench.build(&[&base, &side, &other]).await;
    let middle = Script::new("second", 30).input(&base);
    let top = Script::new("top", 100).input(&middle);
    let whys = bench.build(&[&base, &middle, &top]).await;
    let changed = Miss::Definition { now: op("second"), before: vec![op("first")] };
    let expected =
        [why(&middle, vec![changed]), why(&top, vec![ran(0, &middle, over("second", op("base")), vec![])])];
    assert_eq!(whys, expected);
    let line = format!(
        "{}: its definition is new to these inputs: now {}, before {}",
        middle.vertex().name,
        op("second"),
        op("first")
    );
    assert_eq!(whys[0].to_string(), line);
    bench.solver.close().await;
}

#[tokio::test]
async fn what_stands_on_something_that_changed_is_told_against_what_that_was() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    for name in ["before", "now"] {
        let middle = Script::new(name, 10).input(&base);
        let top = Script::new("top", 100).input(&middle);
        let whys = bench.build(&[&base, &middle, &top]).await;
        if name == "now" {
            let (now, before) = (over("now", op("base")), over("before", op("base")));
            let expected = [
                why(&middle, vec![Miss::Definition { now: op("now"), before: vec![op("before")] }]),
                why(&top, vec![ran(0, &middle, now, vec![before])]),
            ];
            assert_eq!(whys, expected);
            let below = middle.vertex().name;
            let line = format!(
                "{}: input 0 ({below}) was not found itself: now {now}, before {before}",
                top.vertex().name
            );
            assert_eq!(whys[1].to_string(), line);
        }
    }
    bench.solver.close().await;
}

#[tokio::test]
async fn one_input_of_several_is_named() {
    let bench = Bench::new();
    let roots = ["a", "b", "c", "d"].map(|name| Script::new(name, 1));
    let [a, b, c, d] = &roots;
    let top = |left: &Script, right: &Script| {
        Script::new(&format!("of {left} and {right}", left = left.digest(), right = right.digest()), 10)
            .key("key of top")
            .input(left)
            .input(right)
    };
    bench.build(&[a, b, &top(a, b)]).await;
    let whys = bench.build(&[a, c, &top(a, c)]).await;
    let expected = [why(c, vec![Miss::Never]), why(&top(a, c), vec![ran(1, c, op("c"), vec![op("b")])])];
    assert_eq!(whys, expected);
    bench.build(&[d, b, &top(d, b)]).await;
    // Each is known to the op, but not together.
    let whys = bench.build(&[d, c, &top(d, c)]).await;
    let miss = |input, below: &Script, now, before| Miss::Input {
        input,
        vertex: below.vertex().name,
        ran: false,
        now: vec![op(now)],
        before: vec![op(before)],
    };
    let expected = [why(&top(d, c), vec![miss(0, d, "d", "a"), miss(1, c, "c", "b")])];
    assert_eq!(whys, expected);
    let line = format!("input 0 ({}) is another one: now {}, before {}", d.vertex().name, op("d"), op("a"));
    assert!(whys[0].to_string().contains(&line), "{}", whys[0]);
    bench.solver.close().await;
}

#[tokio::test]
async fn another_part_of_an_input_is_told_as_such() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let top = |name: &str| Script::new(name, 10).key("key of top").input(&base);
    bench.build(&[&base, &top("first").selecting("part")]).await;
    let second = top("second").selecting("other part");
    let whys = bench.build(&[&base, &second]).await;
    let part = |part: &str| Some(Selector(digest(part)));
    let miss = |now, before| Miss::Selector { input: 0, vertex: base.vertex().name, now, before };
    assert_eq!(whys, [why(&second, vec![miss(part("other part"), vec![part("part")])])]);
    let third = top("third");
    let whys = bench.build(&[&base, &third]).await;
    let mut parts = vec![part("part"), part("other part")];
    parts.sort();
    assert_eq!(whys, [why(&third, vec![miss(None, parts)])]);
    assert!(whys[0].to_string().contains("is read: now all of it, before sha256:"), "{}", whys[0]);
    bench.solver.close().await;
}

#[tokio::test]
async fn a_changed_content_is_told_with_what_is_looked_at() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let copy = |round: i64| {
        let local = Script::new(&format!("local {round}"), round).keys(vec![random(&format!("{round}"))]);
        let copy = Script::new(&format!("copy {round}"), 10).key("key of copy").input(&base).input(&local);
        (local, copy.selecting("src").by_content())
    };
    let (local, top) = copy(3);
    bench.build(&[&base, &local, &top]).await;
    let (local, top) = copy(4);
    let whys = bench.build(&[&base, &local, &top]).await;
    let miss = |now: i64, before: Vec<KeyId>| Miss::Content {
        input: 1,
        vertex: local.vertex().name,
        looks_at: "the integer".to_owned(),
        now: content(now),
        before,
    };
    assert_eq!(whys, [why(&local, vec![Miss::Never]), why(&top, vec![miss(4, vec![content(3)])])]);
    let line = format!(
        "{}: input 1 ({}) contains something else at the integer: now {}, before {}",
        top.vertex().name,
        local.vertex().name,
        content(4),
        content(3)
    );
    assert_eq!(whys[1].to_string(), line);
    // The same content in another input is a hit: there is nothing to be said but of the input.
    let again = Script::new("again", 4).keys(vec![random("again")]);
    let top =
        Script::new("hit", 10).key("key of copy").input(&base).input(&again).selecting("src").by_content();
    assert_eq!(bench.build(&[&base, &again, &top]).await, [why(&again, vec![Miss::Never])]);
    // Alone, there is nothing that it could be told against.
    let alone = Script::new("alone", 10).input(&again).by_content();
    let lone = Script::new("lone", 5).keys(vec![random("lone")]);
    let other = Script::new("other", 10).key("key of alone").input(&lone).by_content();
    bench.build(&[&again, &alone]).await;
    let whys = bench.build(&[&lone, &other]).await;
    let Miss::Content { before, now, .. } = &whys[1].misses[0] else { panic!("{}", whys[1]) };
    assert_eq!((now, before.as_slice()), (&content(5), [].as_slice()));
    bench.solver.close().await;
}

/// An input that is run whatever the cache has, and comes out differently: its definition is known, what it contains is not.
#[tokio::test]
async fn a_content_that_changed_under_one_definition_is_told() {
    let bench = Bench::new();
    let top = |base: &Script| Script::new("top", 10).input(base).by_content();
    let base = Script::new("base", 3);
    bench.build(&[&base, &top(&base)]).await;
    let base = Script::new("base", 4).ignoring_cache();
    let top = top(&base);
    let miss = Miss::Content {
        input: 0,
        vertex: base.vertex().name,
        looks_at: "the integer".to_owned(),
        now: content(4),
        before: vec![content(3)],
    };
    let whys = bench.build(&[&base, &top]).await;
    assert_eq!(whys, [why(&base, vec![Miss::Ignored]), why(&top, vec![miss])]);
    bench.solver.close().await;
}

#[tokio::test]
async fn a_result_that_is_gone_is_told_with_its_key() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let middle = Script::new("middle", 10).input(&base);
    let top = Script::new("top", 100).input(&middle);
    let graph = [&base, &middle, &top];
    bench.build(&graph).await;
    bench.shelf.lose_all();
    let whys = bench.build(&graph).await;
    let gone = |op: &Script, key: KeyId, tried: &str| {
        why(op, vec![Miss::Gone { keys: vec![key], tried: vec![ResultId::new(tried)] }])
    };
    let (of_middle, of_top) = (over("middle", op("base")), over("top", over("middle", op("base"))));
    let expected = [
        gone(&base, op("base"), "local-0"),
        gone(&middle, of_middle, "local-1"),
        gone(&top, of_top, "local-2"),
    ];
    assert_eq!(whys, expected);
    assert!(
        whys[1]
            .to_string()
            .ends_with(&format!("known as {of_middle}, but its result cannot be used: local-1"))
    );
    // Released, the keys that lead on are known still.
    let lost: Vec<_> = bench.keys.all_results().await.unwrap();
    bench.keys.release(&[lost[0].clone(), lost[1].clone()]).await.unwrap();
    let whys = bench.build(&[&base, &middle]).await;
    let gone = |op: &Script, key: KeyId| why(op, vec![Miss::Gone { keys: vec![key], tried: Vec::new() }]);
    assert_eq!(whys, [gone(&base, op("base")), gone(&middle, of_middle)]);
    assert!(whys[0].to_string().ends_with(&format!("known as {}, but its result is gone", op("base"))));
    bench.solver.close().await;
}

#[tokio::test]
async fn what_ignores_the_cache_needs_no_other_reason() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let top = Script::new("top", 10).input(&base);
    bench.build(&[&base, &top]).await;
    let walks = bench.keys.walks();
    let ignoring = Script::new("top", 10).input(&base).ignoring_cache();
    let whys = bench.build(&[&base, &ignoring]).await;
    assert_eq!(whys, [why(&ignoring, vec![Miss::Ignored])]);
    assert_eq!(bench.keys.walks(), walks);
    // What stands on it is told against the definition, not against an input that is the same as ever.
    let above = Script::new("above", 100).input(&ignoring);
    bench.build(&[&base, &ignoring, &above]).await;
    let other = Script::new("other", 100).input(&ignoring);
    let whys = bench.build(&[&base, &ignoring, &other]).await;
    assert_eq!(whys[1], why(&other, vec![Miss::Definition { now: op("other"), before: vec![op("above")] }]));
    bench.solver.close().await;
}

#[tokio::test]
async fn a_store_that_cannot_say_does_no_harm() {
    let bench = Bench::new();
    bench.keys.set_blind(true);
    let base = Script::new("base", 1);
    let top = Script::new("top", 10).input(&base);
    let whys = bench.build(&[&base, &top]).await;
    let unknown = || vec![Miss::Unknown { cause: "the key store is blind".to_owned() }];
    assert_eq!(whys, [why(&base, unknown()), why(&top, unknown())]);
    assert!(whys[0].to_string().ends_with(": unknown: the key store is blind"));
    assert_eq!((base.counts().execs(), top.counts().execs()), (1, 1));
    bench.solver.close().await;
}

#[tokio::test]
async fn nobody_is_asked_if_nobody_wants_to_know() {
    let (silent, curious) = (Bench::new(), Bench::new());
    for changed in ["first", "second"] {
        let base = Script::new("base", 1);
        let middle = Script::new(changed, 10).input(&base).by_content();
        let top = Script::new("top", 100).input(&middle);
        assert!(silent.build_as(&[&base, &middle, &top], false).await.is_empty());
        assert!(!curious.build(&[&base, &middle, &top]).await.is_empty());
    }
    assert_eq!(silent.keys.walks(), 0);
    assert!(curious.keys.walks() > 0);
    silent.solver.close().await;
    curious.solver.close().await;
}

#[tokio::test]
async fn builds_within_a_vertex_are_explained_to_the_jobs_that_have_it() {
    let bench = Bench::new();
    let inner = Script::new("inner", 5);
    let within = inner.clone();
    let outer = Script::new("outer", 1).running(move |cx, _, _| {
        let inner = within.clone();
        async move {
            let graph = Graph::new([inner.vertex()]).map_err(OpError::failed)?;
            let built = cx.solve(graph, &inner.edge()).await.map_err(OpError::failed)?;
            Ok(vec![built.result])
        }
    });
    let whys = bench.build(&[&outer]).await;
    assert_eq!(whys, [why(&outer, vec![Miss::Never]), why(&inner, vec![Miss::Never])]);
    bench.solver.close().await;
}

#[tokio::test]
async fn only_those_who_want_to_know_are_told() {
    let bench = Bench::new();
    let base = Script::new("base", 1);
    let mut jobs = Vec::new();
    for explain in [false, true] {
        let job = bench.solver.job(JobOptions { explain, ..JobOptions::default() }).await.unwrap();
        job.load(Graph::new([base.vertex()]).unwrap()).await.unwrap();
        jobs.push(job);
    }
    jobs[0].build(&base.edge()).await.unwrap();
    jobs[1].build(&base.edge()).await.unwrap();
    assert!(jobs[0].why().await.unwrap().is_empty());
    assert_eq!(jobs[1].why().await.unwrap(), [why(&base, vec![Miss::Never])]);
    assert_eq!(base.counts().execs(), 1);
    drop(jobs);
    bench.solver.close().await;
}
