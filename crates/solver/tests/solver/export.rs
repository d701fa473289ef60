//! Giving away what a build learned.
#![allow(clippy::unwrap_used, reason = "what is not as it has to be fails the test")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use lazyblob_solver::testing::{Ledger, Script, Shelf, digest, memory_cache, random};
use lazyblob_solver::{
    Batch, CacheIndex, CacheOpts, CacheSource, DropReason, Edge, Error, ExportMode, ExportOptions, Exported,
    Graph, Job, JobOptions, KeyId, KeyStore, Link, LoadCx, LoadError, MemoryKeys, ResultId, ResultStore,
    Selector, Settings, Solver, Stage, StoreError, StoredResult,
};
use oci_spec::image::Digest;

use crate::support::{checked, content, op};

fn mode(mode: ExportMode) -> ExportOptions {
    ExportOptions { mode, ..ExportOptions::default() }
}

const MIN: ExportMode = ExportMode::Min;
const MAX: ExportMode = ExportMode::Max;

fn selector(part: &str) -> Option<Selector> {
    Some(Selector(digest(part)))
}

/// A record without what depends on when it was made: name, ways with the names they come from, results.
type Shape = (KeyId, Vec<Vec<(Option<Selector>, KeyId)>>, Vec<i64>);

/// The records, checked: inputs come first, no input is without a way.
fn shapes(exported: &Exported<i64>) -> Vec<Shape> {
    let shape = |(at, record): (usize, &lazyblob_solver::ExportRecord<i64>)| {
        let inputs = record.inputs.iter().map(|ways| {
            assert!(!ways.is_empty(), "record {at} has an input without a way");
            ways.iter()
                .map(|(selector, below)| {
                    assert!(*below < at, "record {at} comes before its input {below}");
                    (selector.clone(), exported.records[*below].digest)
                })
                .collect()
        });
        (record.digest, inputs.collect(), record.results.iter().map(|(_, form)| *form).collect())
    };
    exported.records.iter().enumerate().map(shape).collect()
}

/// The same in an order of its own, to compare with what is written down.
fn sorted(mut shapes: Vec<Shape>) -> Vec<Shape> {
    shapes.iter_mut().flat_map(|(_, inputs, _)| inputs).for_each(|ways| ways.sort());
    shapes.sort();
    shapes
}

async fn built(solver: &Solver<i64>, options: JobOptions<i64>, ops: &[&Script], edge: &Edge) -> Job<i64> {
    let job = solver.job(options).await.unwrap();
    job.load(Graph::new(ops.iter().map(|op| op.vertex())).unwrap()).await.unwrap();
    job.build(edge).await.unwrap();
    job
}

/// What a build of the last of these ops knows, built for it alone.
async fn export(solver: &Solver<i64>, ops: &[&Script], options: ExportOptions) -> Exported<i64> {
    let edge = ops.last().unwrap().edge();
    let job = built(solver, JobOptions::default(), ops, &edge).await;
    job.export_cache(&edge, options).await.unwrap()
}

/// A cache made of what was exported.
async fn imported(exported: &Exported<i64>) -> (Arc<CacheIndex<i64>>, Arc<Shelf>) {
    let (keys, shelf) = (Arc::new(MemoryKeys::new()), Arc::new(Shelf::new("imported")));
    let mut ids: Vec<KeyId> = Vec::new();
    let mut batch = Batch::default();
    for (at, record) in exported.records.iter().enumerate() {
        let name = digest(&format!("imported {at}"));
        let id = if record.inputs.is_empty() { record.digest } else { KeyId::of_output(&name, 0) };
        for (input, ways) in (0..).zip(&record.inputs) {
            for (selector, below) in ways {
                let link = Link { op: record.digest, input, selector: selector.clone() };
                batch.links.push((ids[*below], link, id));
            }
        }
        for (_, form) in &record.results {
            batch.results.push((id, shelf.save(form, None).await.unwrap()));
        }
        ids.push(id);
    }
    keys.commit(batch).await.unwrap();
    (Arc::new(CacheIndex::new("imported", keys, Arc::clone(&shelf) as _)), shelf)
}

/// A result store in which some results lack something that only the right vertex can supply.
struct Lazy {
    shelf: Shelf,
    lacks: HashMap<i64, Digest>,
    refused: Mutex<Vec<i64>>,
}

/// A result that a store panics over.
const CURSED: i64 = 666;

impl Lazy {
    fn lacking(lacks: impl IntoIterator<Item = (i64, &'static str)>) -> Arc<Self> {
        let lacks = lacks.into_iter().map(|(value, what)| (value, digest(what))).collect();
        Arc::new(Self { shelf: Shelf::new("lazy"), lacks, refused: Mutex::default() })
    }
}

#[async_trait]
impl ResultStore<i64> for Lazy {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        self.shelf.save(result, created_at).await
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<i64, LoadError> {
        self.shelf.load(cx, id).await
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        self.shelf.exists(id).await
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<i64>, LoadError> {
        let forms = self.shelf.remotes(cx, id, make).await?;
        assert!(forms[0] != CURSED, "a curse");
        if let Some(what) = self.lacks.get(&forms[0])
            && !cx.find::<i64>(std::slice::from_ref(what)).await.contains_key(what)
        {
            self.refused.lock().unwrap().push(forms[0]);
            return Err(LoadError::failed(format!("nobody brings what {} lacks", forms[0])));
        }
        Ok(forms)
    }
}

fn bringing(what: &str) -> CacheOpts {
    let mut opts = CacheOpts::default();
    opts.insert(digest(what), Arc::new(0i64));
    opts
}

/// BuildKit row 81: what was executed and what was found in the cache are exported alike.
/// (BuildKit: TestCacheExporting)
#[tokio::test]
async fn a_build_is_exported_with_the_result_of_its_top() {
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    for round in 0..2 {
        let (one, two) = (Script::new("one", 1), Script::new("two", 2));
        let top = Script::new("top", 3).input(&one).input(&two);
        let exported = export(&solver, &[&one, &two, &top], mode(MIN)).await;
        let expected = vec![
            (op("one"), vec![], vec![]),
            (op("two"), vec![], vec![]),
            (op("top"), vec![vec![(None, op("one"))], vec![(None, op("two"))]], vec![6]),
        ];
        assert_eq!(sorted(shapes(&exported)), sorted(expected));
        assert_eq!(exported.records.last().unwrap().digest, op("top"));
        assert!(exported.dropped.is_empty() && exported.warnings.is_empty());
        assert_eq!([&one, &two, &top].map(|op| op.counts().execs()), [1 - round; 3]);
        // The result that the cached build has is loaded; exporting loads nothing.
        assert_eq!(shelf.loads(), round);
    }
    solver.close().await;
}

/// BuildKit row 81: the modes differ in whose results are taken.
/// (BuildKit: TestCacheExportingModeMin)
#[tokio::test]
async fn modes_differ_in_whose_results_are_made() {
    let base = Script::new("base", 1);
    let below = Script::new("below", 10).input(&base);
    let side = Script::new("side", 100);
    let top = Script::new("top", 1000).input(&below).input(&side);
    let ops = [&base, &below, &side, &top];
    let with_results = |exported: &Exported<i64>| {
        let mut values: Vec<_> =
            exported.records.iter().flat_map(|record| &record.results).map(|(_, form)| *form).collect();
        values.sort_unstable();
        values
    };
    for (options, ready, expected) in [
        (mode(MIN), vec![], vec![1111]),
        // What can be given away as it is is taken along.
        (mode(MIN), vec![11], vec![11, 1111]),
        (mode(MAX), vec![], vec![11, 1111]),
        (mode(ExportMode::RemoteOnly), vec![], vec![]),
        (mode(ExportMode::RemoteOnly), vec![11], vec![11]),
        (ExportOptions { mode: MAX, roots: true, ignore_backlinks: false }, vec![], vec![1, 11, 100, 1111]),
    ] {
        let made = Arc::new(Making { shelf: Shelf::new("made"), ready, made: Mutex::default() });
        let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::clone(&made) as _);
        let solver = Solver::new(Arc::new(cache), checked());
        let exported = export(&solver, &ops, options).await;
        assert_eq!(exported.records.len(), 4);
        assert_eq!(with_results(&exported), expected, "{options:?}");
        let only_made: Vec<_> =
            expected.iter().copied().filter(|value| !made.ready.contains(value)).collect();
        let mut asked = made.made.lock().unwrap().clone();
        asked.sort_unstable();
        assert_eq!(asked, only_made, "{options:?}");
        assert!(exported.dropped.is_empty());
        solver.close().await;
    }
}

/// A result store that has to make what is given away, and says for which it had to.
struct Making {
    shelf: Shelf,
    ready: Vec<i64>,
    made: Mutex<Vec<i64>>,
}

#[async_trait]
impl ResultStore<i64> for Making {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        self.shelf.save(result, created_at).await
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<i64, LoadError> {
        self.shelf.load(cx, id).await
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        self.shelf.exists(id).await
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<i64>, LoadError> {
        let mut forms = self.shelf.remotes(cx, id, make).await?;
        if !self.ready.contains(&forms[0]) {
            if !make {
                forms.clear();
            }
            self.made.lock().unwrap().extend(&forms);
        }
        Ok(forms)
    }
}

/// BuildKit row 81: several keys of one result, with and without selector; what the cache knows of other ways is exported,
/// too, unless it is not wanted. (BuildKit: TestCacheExportingPartialSelector)
#[tokio::test]
async fn ways_with_selectors_and_by_content_are_exported_together() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let first = Script::new("first", 7);
    let top = |below: &Script| Script::new("top", 100).input(below).selecting("part").by_content();
    let both = |name: &str| vec![(selector("part"), op(name)), (None, content(7))];
    let expected = |ways: Vec<(Option<Selector>, KeyId)>| {
        let leaves = ways.iter().map(|(_, key)| (*key, vec![], vec![]));
        sorted(leaves.clone().chain([(op("top"), vec![ways.clone()], vec![107])]).collect())
    };
    let exported = export(&solver, &[&first, &top(&first)], mode(MIN)).await;
    assert_eq!(sorted(shapes(&exported)), expected(both("first")));

    // A hit by definition does not look at the content, but the cache knows that way.
    let cached = top(&first);
    let exported = export(&solver, &[&first, &cached], mode(MIN)).await;
    assert_eq!((cached.counts().execs(), cached.counts().digests()), (0, 0));
    assert_eq!(sorted(shapes(&exported)), expected(both("first")));

    let bare = ExportOptions { ignore_backlinks: true, ..mode(MIN) };
    let exported = export(&solver, &[&first, &top(&first)], bare).await;
    assert_eq!(sorted(shapes(&exported)), expected(vec![(selector("part"), op("first"))]));

    // Another input of the same content: its key is one more way.
    let other = Script::new("other", 7);
    let cached = top(&other);
    let exported = export(&solver, &[&other, &cached], mode(MIN)).await;
    assert_eq!(cached.counts().execs(), 0);
    let mut ways = both("first");
    ways.push((selector("part"), op("other")));
    assert_eq!(sorted(shapes(&exported)), expected(ways));
    let cached = top(&other);
    let exported = export(&solver, &[&other, &cached], bare).await;
    assert_eq!(cached.counts().digests(), 0, "a hit by content is one by definition the next time");
    assert_eq!(sorted(shapes(&exported)), expected(vec![(selector("part"), op("other"))]));
    solver.close().await;
}

/// BuildKit rows 70, 81: an edge that another was merged into is exported with the keys of both.
/// (BuildKit: TestCacheExportingMergedKey)
#[tokio::test]
async fn a_merged_edge_is_exported_by_both_ways() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let (one, two) = (Script::new("one", 7), Script::new("two", 7));
    let left = Script::new("left", 10).key("same").input(&one).by_content();
    let right = Script::new("right", 10).key("same").input(&two).by_content();
    let top = Script::new("top", 100).input(&left).input(&right);
    let options = ExportOptions { ignore_backlinks: true, ..mode(MAX) };
    let exported = export(&solver, &[&one, &two, &left, &right, &top], options).await;
    assert_eq!(left.counts().execs() + right.counts().execs(), 1);
    let same = KeyId::of_output(&digest("same"), 0);
    let ways = vec![(None, op("one")), (None, op("two")), (None, content(7))];
    let expected = vec![
        (op("one"), vec![], vec![]),
        (op("two"), vec![], vec![]),
        (content(7), vec![], vec![]),
        (same, vec![ways], vec![17]),
        (op("top"), vec![vec![(None, same)], vec![(None, same)]], vec![134]),
    ];
    assert_eq!(sorted(shapes(&exported)), sorted(expected));
    solver.close().await;
}

/// BuildKit row 82: what holds for a session only does not leave, and what can be reached by content does.
#[tokio::test]
async fn what_holds_for_a_session_only_never_leaves() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let local = Script::new("local", 7).keys(vec![random("local")]);
    let copied = Script::new("copied", 10).input(&local).by_content();
    let bound = Script::new("bound", 100).input(&local);
    let above = Script::new("above", 1000).input(&bound);
    let reached = Script::new("reached", 5000).input(&bound).by_content();
    let top = Script::new("top", 10_000).input(&copied).input(&reached);
    for _ in 0..2 {
        let graph = [&local, &copied, &bound, &above, &reached, &top];
        let exported =
            export(&solver, &graph, ExportOptions { mode: MAX, roots: true, ignore_backlinks: false }).await;
        let expected = vec![
            (content(7), vec![], vec![]),
            (content(107), vec![], vec![]),
            (op("copied"), vec![vec![(None, content(7))]], vec![17]),
            (op("reached"), vec![vec![(None, content(107))]], vec![5107]),
            (op("top"), vec![vec![(None, op("copied"))], vec![(None, op("reached"))]], vec![15_124]),
        ];
        assert_eq!(sorted(shapes(&exported)), sorted(expected));
        assert!(exported.records.iter().all(|record| !record.digest.is_random()));
        let mut told: Vec<_> = exported.dropped.iter().map(ToString::to_string).collect();
        told.sort();
        let below = local.vertex().name;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.contains(&format!("{below}: holds for this session only")));
        let bound = bound.vertex().name;
        assert!(told.contains(&format!("{bound}: input 0 ({below}) cannot be recognised elsewhere")));
    }
    // Nothing of a build that stands on it alone is left but what is below.
    let exported = export(&solver, &[&local, &bound, &above], mode(MAX)).await;
    assert!(exported.records.is_empty());
    assert_eq!(exported.dropped.len(), 3);
    solver.close().await;
}

/// BuildKit row 65: a lazy result is given away with what its own ancestors, or those of the last vertex, bring; stages
/// that were not even loaded included.
#[tokio::test]
async fn lazy_stages_in_the_middle_are_not_dropped() {
    let store = Lazy::lacking([(12, "by its own base"), (33, "by the other base")]);
    let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::clone(&store) as _);
    let solver = Solver::new(Arc::new(cache), checked());
    for round in 0..2 {
        let base = Script::new("base", 2).opts(bringing("by its own base"));
        let stage = Script::new("stage", 10).input(&base);
        let plain = Script::new("plain", 3);
        let second = Script::new("second", 30).input(&plain);
        let joined = Script::new("joined", 100).input(&stage).input(&second);
        let other = Script::new("other", 4).opts(bringing("by the other base"));
        let top = Script::new("top", 1000).input(&joined).input(&other);
        let graph = [&base, &stage, &plain, &second, &joined, &other, &top];
        let exported = export(&solver, &graph, mode(MAX)).await;
        assert!(exported.dropped.is_empty(), "{:?}", exported.dropped);
        let mut values: Vec<_> = shapes(&exported).into_iter().flat_map(|(_, _, results)| results).collect();
        values.sort_unstable();
        assert_eq!(values, [12, 33, 145, 1149]);
        assert_eq!(graph.map(|op| op.counts().execs()), [1 - round; 7]);
        assert_eq!(store.shelf.loads(), round);
    }
    assert!(store.refused.lock().unwrap().is_empty());
    solver.close().await;
}

/// What only an ancestor of a vertex that was merged away brings is found, too.
#[tokio::test]
async fn ancestors_of_what_was_merged_serve_as_well() {
    let store = Lazy::lacking([(17, "by the merged one")]);
    let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::clone(&store) as _);
    let solver = Solver::new(Arc::new(cache), checked());
    let one = Script::new("one", 7);
    let two = Script::new("two", 7).opts(bringing("by the merged one"));
    let left = Script::new("left", 10).key("same").input(&one).by_content();
    let right = Script::new("right", 10).key("same").input(&two).by_content();
    let top = Script::new("top", 100).input(&left);
    let graph = [&one, &two, &left, &right, &top];
    let job = built(&solver, JobOptions::default(), &graph, &top.edge()).await;
    // The second comes when the first is there, and is merged into it. Nothing of the top leads to it.
    job.build(&right.edge()).await.unwrap();
    assert_eq!(right.counts().execs(), 0);
    let exported = job.export_cache(&top.edge(), mode(MAX)).await.unwrap();
    assert!(exported.dropped.is_empty(), "{:?}", exported.dropped);
    assert!(store.refused.lock().unwrap().is_empty());
    drop(job);
    solver.close().await;
}

/// A result that nobody can supply leaves its record without one, and is told of.
#[tokio::test]
async fn a_result_that_cannot_be_had_is_told_of_and_its_record_kept() {
    let store = Lazy::lacking([(12, "what nobody brings")]);
    let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::clone(&store) as _);
    let solver = Solver::new(Arc::new(cache), checked());
    let base = Script::new("base", 2);
    let stage = Script::new("stage", 10).input(&base);
    let top = Script::new("top", 100).input(&stage);
    let exported = export(&solver, &[&base, &stage, &top], mode(MAX)).await;
    let expected = vec![
        (op("base"), vec![], vec![]),
        (op("stage"), vec![vec![(None, op("base"))]], vec![]),
        (op("top"), vec![vec![(None, op("stage"))]], vec![112]),
    ];
    assert_eq!(shapes(&exported), expected);
    let [dropped] = exported.dropped.as_slice() else { panic!("{:?}", exported.dropped) };
    assert_eq!((dropped.vertex.as_ref(), dropped.digest), (stage.vertex().name.as_ref(), Some(op("stage"))));
    let DropReason::Result { source, gone, cause, .. } = &dropped.reason else { panic!("{dropped}") };
    assert_eq!((source.as_ref(), *gone), ("local", false));
    assert_eq!(cause.to_string(), "nobody brings what 12 lacks");
    // The record is there still.
    assert_eq!(store.shelf.len(), 3);
    solver.close().await;
}

/// A result store that panics spoils one result and not the export.
#[tokio::test]
async fn a_panic_over_one_result_leaves_the_others() {
    let store = Lazy::lacking([]);
    let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::clone(&store) as _);
    let solver = Solver::new(Arc::new(cache), checked());
    let base = Script::new("base", 600);
    let stage = Script::new("stage", 66).input(&base);
    let top = Script::new("top", 1000).input(&stage);
    let exported = export(&solver, &[&base, &stage, &top], mode(MAX)).await;
    let results: Vec<_> = shapes(&exported).into_iter().map(|(_, _, results)| results).collect();
    assert_eq!(results, [vec![], vec![], vec![1666]]);
    let [dropped] = exported.dropped.as_slice() else { panic!("{:?}", exported.dropped) };
    let name = stage.vertex().name;
    assert_eq!(dropped.to_string(), format!("{name}: result lazy-1 of local: panicked: a curse"));
    solver.close().await;
}

/// BuildKit row 80: the newest record is taken. One whose result is gone is dropped from its cache, and the next newest
/// taken, if there is one.
#[tokio::test]
async fn a_result_that_is_gone_is_replaced_by_another_record() {
    let (keys, shelf) = (Arc::new(MemoryKeys::new()), Arc::new(Shelf::new("local")));
    let cache = Arc::new(CacheIndex::new("local", Arc::clone(&keys) as _, Arc::clone(&shelf) as _));
    let solver = Solver::new(Arc::clone(&cache), checked());
    let base = Script::new("base", 2);
    let graph = |value: i64| {
        let stage = Script::new("stage", value).input(&base);
        let top = Script::new("top", 100).input(&stage);
        (stage, top)
    };
    // The same op, run twice: two records, the second the newer.
    for value in [10, 20] {
        let (stage, top) = graph(value);
        let stage = stage.ignoring_cache();
        export(&solver, &[&base, &stage, &top], mode(MIN)).await;
        assert_eq!(stage.counts().execs(), 1);
    }
    let (stage, top) = graph(0);
    let job = built(&solver, JobOptions::default(), &[&base, &stage, &top], &top.edge()).await;
    let before = keys.all_results().await.unwrap().len();
    assert_eq!(shelf.lose(22), 1);
    let exported = job.export_cache(&top.edge(), mode(MAX)).await.unwrap();
    let results = |exported: &Exported<i64>, key: KeyId| {
        let record = exported.records.iter().find(|record| record.digest == key).unwrap();
        record.results.iter().map(|(_, form)| *form).collect::<Vec<_>>()
    };
    assert_eq!(results(&exported, op("stage")), [12]);
    let [dropped] = exported.dropped.as_slice() else { panic!("{:?}", exported.dropped) };
    assert!(matches!(&dropped.reason, DropReason::Result { gone: true, .. }), "{dropped}");
    assert_eq!(keys.all_results().await.unwrap().len(), before - 1);
    // With none left, keys remain and that is told.
    assert_eq!(shelf.lose(12), 1);
    let exported = job.export_cache(&top.edge(), mode(MAX)).await.unwrap();
    assert!(results(&exported, op("stage")).is_empty());
    assert!(matches!(&exported.dropped[0].reason, DropReason::Result { gone: true, .. }));
    let exported = job.export_cache(&top.edge(), mode(MAX)).await.unwrap();
    assert!(matches!(&exported.dropped[0].reason, DropReason::NoResult), "{}", exported.dropped[0]);
    assert_eq!((stage.counts().execs(), base.counts().execs()), (0, 1));
    drop(job);
    solver.close().await;
}

/// BuildKit row 59: an op without inputs and with several keys makes a record of each, and whatever is above links to all.
/// So it does when only the first was asked for.
#[tokio::test]
async fn all_keys_of_a_root_are_exported() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let (manifest, chain) = (digest("manifest"), digest("chain"));
    let [first, second] = [&manifest, &chain].map(|key| KeyId::of_output(key, 0));
    for (round, options) in
        [mode(MAX), mode(MAX), ExportOptions { roots: true, ..mode(MAX) }].into_iter().enumerate()
    {
        let image = Script::new("image", 7).keys(vec![manifest.clone(), chain.clone()]);
        let top = Script::new("top", 100).input(&image);
        let exported = export(&solver, &[&image, &top], options).await;
        let results = if options.roots { vec![7] } else { vec![] };
        let expected = vec![
            (first, vec![], results.clone()),
            (second, vec![], results),
            (op("top"), vec![vec![(None, first), (None, second)]], vec![107]),
        ];
        assert_eq!(sorted(shapes(&exported)), sorted(expected));
        assert_eq!(image.counts().maps(), if round == 0 { 2 } else { 1 });
    }
    solver.close().await;
}

/// Two builds that share nothing but what was exported: the second runs nothing, and exports the same again.
#[tokio::test]
async fn what_was_exported_makes_the_next_build_cached_and_is_exported_again() {
    let graph = || {
        let image = Script::new("image", 7).keys(vec![digest("manifest"), digest("chain")]);
        let local = Script::new("local", 3).keys(vec![random("local")]);
        let run = Script::new("run", 10).input(&image);
        let copy = Script::new("copy", 100).input(&run).input(&local).by_content();
        let part = Script::new("part", 1000).input(&copy).selecting("part").by_content();
        let twice = Script::new("twice", 5).input(&part).input(&run).selecting("other");
        [image, local, run, copy, part, twice]
    };
    let (cache, _) = memory_cache("cold");
    let solver = Solver::new(cache, checked());
    let ops = graph();
    let cold = export(&solver, &ops.each_ref(), mode(MAX)).await;
    assert_eq!(cold.dropped.len(), 1);
    let (ops, local) = (graph(), shapes(&cold));
    let again = export(&solver, &ops.each_ref(), mode(MAX)).await;
    assert_eq!(shapes(&again), local);
    assert_eq!(ops.each_ref().map(|op| op.counts().execs())[2..], [0; 4]);
    solver.close().await;

    let (source, shelf) = imported(&cold).await;
    let (cache, own) = memory_cache("fresh");
    let solver = Solver::new(cache, checked());
    let ops = graph();
    let edge = ops[5].edge();
    let options = JobOptions { sources: vec![source as _], ..JobOptions::default() };
    let job = built(&solver, options, &ops.each_ref(), &edge).await;
    // The local source alone has to run: its key holds for a session only.
    assert_eq!(ops.each_ref().map(|op| op.counts().execs()), [0, 1, 0, 0, 0, 0]);
    assert_eq!(shelf.loads(), 1);
    let again = job.export_cache(&edge, mode(MAX)).await.unwrap();
    assert_eq!(shapes(&again), local);
    assert_eq!(again.dropped.len(), 1, "{:?}", again.dropped);
    assert_eq!((shelf.loads(), own.loads()), (1, 0));
    drop(job);
    // What was found is the fresh solver's own now.
    let ops = graph();
    let again = export(&solver, &ops.each_ref(), mode(MIN)).await;
    assert_eq!(ops.each_ref().map(|op| op.counts().execs()), [0; 6]);
    assert!(again.records.iter().any(|record| record.results.iter().any(|(_, form)| *form == 5 + 1120 + 17)));
    solver.close().await;
}

/// Whatever the graph: what was exported is all that the next build needs, and that knows as much as the first.
#[tokio::test]
async fn random_graphs_are_cached_by_what_they_exported() {
    for seed in 0..100 {
        let graph = || {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut ops: Vec<Script> = Vec::new();
            for at in 0..rng.i64(3..14) {
                // Equal values make equal contents, and equal keys equal ops: such vertices are merged.
                let kind = rng.i64(0..6);
                let mut op = Script::new(&format!("op {at}"), kind % 4);
                if at >= 2 {
                    for _ in 0..rng.usize(1..4) {
                        op = op.input(&ops[rng.usize(0..ops.len())]);
                        if rng.u8(0..3) == 0 {
                            op = op.selecting(["part", "other"][rng.usize(0..2)]);
                        }
                        if rng.bool() {
                            op = op.by_content();
                        }
                    }
                }
                // How many inputs an op has belongs to its key.
                let key = format!("key {kind} of {}", op.vertex().inputs.len());
                ops.push(op.key(&key));
            }
            let mut top = Script::new("top", 0);
            for op in &ops {
                top = top.input(op);
            }
            ops.push(top);
            ops
        };
        let ops = graph();
        let (cache, _) = memory_cache("cold");
        let solver = Solver::new(cache, checked());
        let cold = export(&solver, &ops.iter().collect::<Vec<_>>(), mode(MAX)).await;
        assert!(cold.dropped.is_empty(), "seed {seed}: {:?}", cold.dropped);
        solver.close().await;

        let (source, _) = imported(&cold).await;
        let (cache, _) = memory_cache("fresh");
        let solver = Solver::new(cache, checked());
        let ops = graph();
        let (all, edge) = (ops.iter().collect::<Vec<_>>(), ops.last().unwrap().edge());
        let mut options = JobOptions::default();
        options.sources.push(source);
        let job = built(&solver, options, &all, &edge).await;
        // Roots have no results in it; one runs where a way had to be cut because it led in a circle.
        let inner = ops.iter().filter(|op| !op.vertex().inputs.is_empty());
        assert_eq!(inner.map(|op| op.counts().execs()).sum::<usize>(), 0, "seed {seed}");
        let again = job.export_cache(&edge, mode(MAX)).await.unwrap();
        assert!(again.dropped.is_empty(), "seed {seed}: {:?}", again.dropped);
        assert_eq!(shapes(&again), shapes(&cold), "seed {seed}");
        drop(job);
        solver.close().await;
    }
}

/// The same graph makes the same records in the same order, however it is handed in.
#[tokio::test]
async fn the_same_graph_is_exported_the_same_every_time() {
    let mut seen: Vec<Vec<Shape>> = Vec::new();
    for seed in 0..6 {
        let (cache, _) = memory_cache("local");
        let solver = Solver::new(cache, checked());
        let mut rng = fastrand::Rng::with_seed(1);
        let mut ops: Vec<Script> = Vec::new();
        for at in 0..40i64 {
            // Some are equal to others under another name, and merged with them.
            let mut op = Script::new(&format!("op {at}"), at).key(&format!("key {}", at / 2));
            if at >= 4 {
                for _ in 0..rng.usize(1..3) {
                    op = op.input(&ops[rng.usize(0..ops.len())]);
                    if rng.bool() {
                        op = op.by_content();
                    }
                }
            }
            ops.push(op);
        }
        let mut top = Script::new("top", 0);
        for op in &ops {
            top = top.input(op);
        }
        let mut order: Vec<&Script> = ops.iter().chain([&top]).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        let job = built(&solver, JobOptions::default(), &order, &top.edge()).await;
        let first = shapes(&job.export_cache(&top.edge(), mode(MAX)).await.unwrap());
        let second = shapes(&job.export_cache(&top.edge(), mode(MAX)).await.unwrap());
        assert_eq!(first, second);
        seen.push(first);
        drop(job);
        solver.close().await;
    }
    assert!(seen[0].len() > 20);
    assert!(seen.iter().all(|shapes| *shapes == seen[0]));
}

/// Links that a store leads in circles end, and are cut where they would lead back.
/// BuildKit row 86: what is written has none.
#[tokio::test]
async fn circles_among_the_links_of_a_store_are_cut() {
    let (keys, shelf) = (Arc::new(MemoryKeys::new()), Arc::new(Shelf::new("local")));
    let cache = Arc::new(CacheIndex::new("local", Arc::clone(&keys) as _, shelf as _));
    let solver = Solver::new(cache, checked());
    let base = Script::new("base", 1);
    let middle = Script::new("middle", 10).input(&base);
    let top = Script::new("top", 100).input(&middle);
    let cold = shapes(&export(&solver, &[&base, &middle, &top], mode(MIN)).await);
    let middle_key = keys.links_from(op("base")).await.unwrap()[0].1;
    let top_key = keys.links_from(middle_key).await.unwrap()[0].1;
    let stray = KeyId::of_output(&digest("a name"), 0);
    let link = |name: &str| Link { op: op(name), input: 0, selector: None };
    let links = vec![
        // The middle from the top, the stray from the middle and from itself, the middle from the stray.
        (top_key, link("middle"), middle_key),
        (middle_key, link("stray"), stray),
        (stray, link("stray"), stray),
        (stray, link("middle"), middle_key),
        // And a circle that nothing leads into.
        (KeyId::of_output(&digest("islet"), 0), link("islet"), KeyId::of_output(&digest("islet"), 0)),
        (KeyId::of_output(&digest("islet"), 0), link("top"), top_key),
    ];
    keys.commit(Batch { links, results: Vec::new() }).await.unwrap();
    let exported = export(&solver, &[&base, &middle, &top], mode(MIN)).await;
    assert_eq!(shapes(&exported), cold);
    assert!(exported.dropped.is_empty());
    solver.close().await;
}

/// What is not to be exported has no result in it, and what is above it has.
#[tokio::test]
async fn a_vertex_that_is_not_to_be_exported_has_no_result() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let base = Script::new("base", 1);
    let hidden = Script::new("hidden", 10).input(&base);
    let top = Script::new("top", 100).input(&hidden);
    let mut vertices = [&base, &hidden, &top].map(Script::vertex);
    vertices[1].options.no_export = true;
    let job = solver.job(JobOptions::default()).await.unwrap();
    job.load(Graph::new(vertices).unwrap()).await.unwrap();
    let exported = job.export_cache(&top.edge(), mode(MAX)).await.unwrap();
    let expected = vec![
        (op("base"), vec![], vec![]),
        (op("hidden"), vec![vec![(None, op("base"))]], vec![]),
        (op("top"), vec![vec![(None, op("hidden"))]], vec![111]),
    ];
    assert_eq!(shapes(&exported), expected);
    assert!(exported.dropped.is_empty());
    drop(job);
    solver.close().await;
}

/// The solver's own cache must be able to say; an imported one that cannot is warned of.
#[tokio::test]
async fn a_store_that_fails_is_an_error_and_an_import_that_fails_a_warning() {
    let ledger = Arc::new(Ledger::new());
    let cache =
        Arc::new(CacheIndex::new("local", Arc::clone(&ledger) as _, Arc::new(Shelf::new("local")) as _));
    let solver = Solver::new(cache, checked());
    let base = Script::new("base", 1);
    let top = Script::new("top", 100).input(&base);
    let job = built(&solver, JobOptions::default(), &[&base, &top], &top.edge()).await;
    ledger.set_blind(true);
    let error = job.export_cache(&top.edge(), mode(MAX)).await.err().unwrap();
    let Error::Store { vertex, stage: Stage::Export, store, .. } = &error else { panic!("{error}") };
    assert_eq!((vertex, store.as_ref()), (top.vertex().name.as_ref(), "local"));
    // Without a look at the links it is not asked.
    let bare = ExportOptions { ignore_backlinks: true, ..mode(MAX) };
    assert_eq!(job.export_cache(&top.edge(), bare).await.unwrap().records.len(), 2);
    ledger.set_blind(false);
    let exported = job.export_cache(&top.edge(), mode(MAX)).await.unwrap();
    assert_eq!(exported.records.len(), 2);
    drop(job);
    solver.close().await;

    let foreign = Arc::new(Ledger::new());
    let shelf = Arc::new(Shelf::new("import"));
    let import = Arc::new(CacheIndex::new("import", Arc::clone(&foreign) as _, shelf as _));
    for record in [(op("base"), 1i64), (KeyId::of_output(&digest("a name"), 0), 101)] {
        import.save(Vec::new(), &[record.0], Some(&record.1), None).await.unwrap();
    }
    let link = Link { op: op("top"), input: 0, selector: None };
    import
        .save(vec![(op("base"), link, KeyId::of_output(&digest("a name"), 0))], &[], None, None)
        .await
        .unwrap();
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let options = JobOptions {
        sources: vec![Arc::clone(&import) as Arc<dyn CacheSource<i64>>],
        ..JobOptions::default()
    };
    let (base, top) = (Script::new("base", 1), Script::new("top", 100));
    let top = top.input(&base);
    let job = built(&solver, options, &[&base, &top], &top.edge()).await;
    assert_eq!(top.counts().execs(), 0);
    foreign.set_blind(true);
    let exported = job.export_cache(&top.edge(), mode(MIN)).await.unwrap();
    let expected = vec![(op("base"), vec![], vec![]), (op("top"), vec![vec![(None, op("base"))]], vec![101])];
    assert_eq!(shapes(&exported), expected);
    assert_eq!(exported.warnings, ["cache import: not used: the key store is blind"]);
    drop(job);
    solver.close().await;
}

/// An imported cache has so much time for an answer; without it, the export goes on without the cache.
#[tokio::test(start_paused = true)]
async fn an_import_that_is_stuck_is_not_waited_for() {
    let foreign = Arc::new(Ledger::new());
    let import = CacheIndex::new("import", Arc::clone(&foreign) as _, Arc::new(Shelf::new("import")));
    let key = KeyId::of_output(&digest("a name"), 0);
    let link = Link { op: op("top"), input: 0, selector: None };
    import.save(vec![(op("base"), link, key)], &[key], Some(&101), None).await.unwrap();
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let mut options = JobOptions::default();
    options.sources.push(Arc::new(import));
    let base = Script::new("base", 1);
    let top = Script::new("top", 100).input(&base);
    let job = built(&solver, options, &[&base, &top], &top.edge()).await;
    foreign.set_stuck(true);
    let begun = tokio::time::Instant::now();
    let exported = job.export_cache(&top.edge(), mode(MIN)).await.unwrap();
    assert_eq!(begun.elapsed(), Settings::default().source_deadline);
    assert_eq!(shapes(&exported).last().unwrap().2, [101]);
    assert_eq!(exported.warnings, ["cache import: not used: no answer within 30s"]);
    drop(job);
    solver.close().await;
}

/// What was not loaded, or whose build fails, cannot be exported.
#[tokio::test]
async fn exporting_says_what_building_says() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let job = solver.job(JobOptions::default()).await.unwrap();
    let stranger = Script::new("stranger", 1);
    let error = job.export_cache(&stranger.edge(), mode(MIN)).await.err().unwrap();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    // Whoever exports may do so in a task of their own.
    let edge = stranger.edge();
    let exporting: std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>> =
        Box::pin(job.export_cache(&edge, mode(MIN)));
    assert!(exporting.await.is_err());
    assert_eq!(stranger.counts().maps(), 0);
    solver.close().await;
}

/// A long chain is walked without a deep stack and in a time that is linear.
#[tokio::test]
async fn a_long_chain_is_exported() {
    const LENGTH: usize = 20_000;
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, Settings::default());
    let mut ops = vec![Script::new("0", 1)];
    for at in 1..LENGTH {
        let op = Script::new(&at.to_string(), 1).input(&ops[at - 1]);
        ops.push(op);
    }
    let graph: Vec<_> = ops.iter().collect();
    let edge = ops.last().unwrap().edge();
    let job = built(&solver, JobOptions::default(), &graph, &edge).await;
    let exported = job.export_cache(&edge, mode(MAX)).await.unwrap();
    assert_eq!(exported.records.len(), LENGTH);
    let in_order =
        exported.records.iter().enumerate().skip(1).all(|(at, record)| record.inputs == [[(None, at - 1)]]);
    assert!(in_order && exported.dropped.is_empty());
    assert!(exported.records.iter().skip(1).all(|record| record.results.len() == 1));
    solver.close().await;
}

/// Row 99: what a failed build has made is given away all the same, and nothing is run for it.
#[tokio::test]
async fn a_failed_build_is_exported() {
    let below = Script::new("below", 1);
    let made = Script::new("made", 2).input(&below);
    let fails = Script::new("fails", 3).input(&made).failing_runs(usize::MAX);
    let never = Script::new("never", 4).input(&fails);
    let (solver, _) = crate::support::solver();
    let job = crate::support::job(&solver, &[&below, &made, &fails, &never]).await;
    assert!(job.build(&never.edge()).await.is_err());
    assert!(job.export_cache(&never.edge(), mode(MIN)).await.is_err());

    for options in [mode(MIN), mode(MAX)] {
        let exported = job.export_learned(&never.edge(), options).await.unwrap();
        let results: Vec<_> = shapes(&exported).into_iter().flat_map(|(_, _, results)| results).collect();
        assert_eq!(results, [3], "made alone has a result");
    }
    assert_eq!((made.counts().execs(), never.counts().execs()), (1, 0), "nothing was run for it");
}
