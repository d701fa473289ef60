//! Actions in a row, and what becomes of them.

use std::time::Instant;

use lazyblob_solver::Edge;
use lazyblob_worker::llb::pb::{
    Action, Definition as Written, FileAction, FileActionCopy, FileActionMkFile, FileOp, Input, Kind, Op,
};
use lazyblob_worker::llb::{Definition, Files, Mkdir, Mkfile, Rm, State, Symlink, merge, scratch};
use prost::Message as _;

use crate::support::{World, files, kinds, tree};

/// All kinds of actions in one op make one layer.
#[tokio::test(flavor = "multi_thread")]
async fn actions_in_a_row_make_one_layer() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let base = scratch().file(Mkfile::new("/old", 0o644, "old"));
        let steps = Files::new()
            .then(Mkdir::new("/a/b", 0o755).parents())
            .then(Mkfile::new("/a/b/f", 0o600, "text"))
            .then(Symlink::new("b/f", "/a/l"))
            .then(Rm::new("/old"));
        let state = base.file(steps);
        let built = world.try_build(&state).await.unwrap();
        let wanted = tree([("a/", ""), ("a/b/", ""), ("a/b/f", "text"), ("a/l", "-> b/f")]);
        assert_eq!(files(&built.result).await, wanted);
        assert_eq!(built.result.tree().unwrap().layers().len(), 2, "one on top of the base");
        // The base is what it was.
        assert_eq!(world.files(&base).await, tree([("old", "old")]));
        drop(built);
        world.assert_clean().await;
        world.close().await;
    }
}

/// Another run finds all of it, and makes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_found_again() {
    let world = World::new(kinds()[0]).await;
    let state = scratch().file(Mkfile::new("/f", 0o644, "x")).file(Mkfile::new("/g", 0o644, "y"));
    let first = world.try_build(&state).await.unwrap();
    let again = world.try_build(&state).await.unwrap();
    assert!(!first.cached && again.cached);
    assert_eq!(first.result.tree().unwrap().id(), again.result.tree().unwrap().id());
    world.close().await;
}

fn make(path: &str, data: &str) -> Action {
    let (path, data) = (path.to_owned(), data.as_bytes().to_vec());
    Action::MkFile(FileActionMkFile { path, mode: 0o644, data, timestamp: -1, ..FileActionMkFile::default() })
}

fn copy(src: &str, dest: &str) -> Action {
    let (src, dest) = (src.to_owned(), dest.to_owned());
    Action::Copy(FileActionCopy { src, dest, mode: -1, timestamp: -1, ..FileActionCopy::default() })
}

/// An op of these actions, by input, second input and output, on the results of these; and the output that is asked for.
fn op(bases: &[&State], actions: Vec<(i64, i64, i64, Action)>, output: i64) -> Definition {
    let platform = lazyblob_worker::llb::host_platform();
    let mut def = Vec::new();
    let mut inputs = Vec::new();
    for base in bases {
        let mut written = Written::decode(base.marshal(&platform).as_slice()).unwrap();
        let last = Op::decode(written.def.pop().unwrap().as_slice()).unwrap();
        inputs.extend(last.inputs);
        def.extend(written.def);
    }
    let actions = actions.into_iter().map(|(input, secondary_input, output, action)| FileAction {
        input,
        secondary_input,
        output,
        action: Some(action),
    });
    let file = Op { inputs, kind: Some(Kind::File(FileOp { actions: actions.collect() })), ..Op::default() };
    let bytes = file.encode_to_vec();
    let digest = lazyblob_remote::digest::sha256(&bytes).to_string();
    def.push(bytes);
    let last = Op { inputs: vec![Input { digest, index: output }], ..Op::default() };
    def.push(last.encode_to_vec());
    Definition::parse(&Written { def, ..Written::default() }.encode_to_vec()).unwrap()
}

/// Two outputs, of which one goes on from the other; a tree that is only copied from; and one that nobody needs, which
/// would fail.
#[tokio::test(flavor = "multi_thread")]
async fn actions_that_are_no_chain() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let base = scratch().file(Mkfile::new("/base", 0o644, "base"));
        let actions = || {
            vec![
                (0, -1, 1, make("/one", "1")),
                (1, -1, -1, make("/two", "2")),
                (-1, -1, -1, make("/passing", "p")),
                (2, 3, 0, copy("/passing", "/copied")),
                (-1, -1, -1, make("/no/such/directory", "")),
            ]
        };
        let first = world.run(&op(&[&base], actions(), 1)).await.unwrap().result;
        assert_eq!(files(&first).await, tree([("base", "base"), ("one", "1")]));
        let second = world.run(&op(&[&base], actions(), 0)).await.unwrap().result;
        let wanted = tree([("base", "base"), ("one", "1"), ("two", "2"), ("copied", "p")]);
        assert_eq!(files(&second).await, wanted);
        assert_eq!(second.tree().unwrap().layers().len(), 3);
        drop((first, second));
        world.assert_clean().await;
        world.close().await;
    }
}

/// A copy within a tree reads it as it was before, whatever was done to it since.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_from_the_tree_that_is_changed() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let base = scratch().file(Mkfile::new("/f", 0o644, "before"));
        let actions = vec![(0, -1, -1, make("/f", "after")), (1, 0, 0, copy("/f", "/g"))];
        let built = world.run(&op(&[&base], actions, 0)).await.unwrap();
        assert_eq!(files(&built.result).await, tree([("f", "after"), ("g", "before")]));
        // From what an earlier action made, into what goes on from it.
        let actions = vec![(0, -1, -1, make("/f", "after")), (1, 1, 0, copy("/f", "/g"))];
        let built = world.run(&op(&[&base], actions, 0)).await.unwrap();
        assert_eq!(files(&built.result).await, tree([("f", "after"), ("g", "after")]));
        drop(built);
        world.assert_clean().await;
        world.close().await;
    }
}

/// A chain of ops and a fan of them, as long and wide as people make them; what they take is printed.
#[tokio::test(flavor = "multi_thread")]
async fn many_ops() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let (long, wide) = if wanted == kinds()[0] && kinds().len() > 1 { (10, 50) } else { (100, 200) };
        let chain = (0..long)
            .fold(scratch(), |state, at| state.file(Mkfile::new(format!("/f{at}"), 0o644, at.to_string())));
        let begun = Instant::now();
        let built = world.try_build(&chain).await.unwrap();
        println!("{wanted:?}: a chain of {long}: {:?}", begun.elapsed());
        assert_eq!(files(&built.result).await.len(), long);
        let fan: Vec<State> = (0..wide)
            .map(|at| scratch().file(Mkfile::new(format!("/g{at}"), 0o644, at.to_string())))
            .collect();
        let begun = Instant::now();
        let built = world.try_build(&merge(&fan)).await.unwrap();
        println!("{wanted:?}: a fan of {wide}: {:?}", begun.elapsed());
        assert!(built.result.tree().is_some());
        drop(built);
        world.assert_clean().await;
        world.close().await;
    }
}

/// One build that asks for both outputs of an op runs it once.
#[tokio::test(flavor = "multi_thread")]
async fn both_outputs_of_one_run() {
    let world = World::new(kinds()[0]).await;
    let actions = || vec![(-1, -1, 0, make("/a", "a")), (-1, -1, 1, make("/b", "b"))];
    let definition = op(&[], actions(), 0);
    let (job, edge) = world.job(&definition).await;
    let other = Edge { output: 1, ..edge.clone() };
    let (one, two) = (job.build(&edge).await.unwrap(), job.build(&other).await.unwrap());
    assert_eq!(files(&one.result).await, tree([("a", "a")]));
    assert_eq!(files(&two.result).await, tree([("b", "b")]));
    let told = {
        use futures::{FutureExt as _, StreamExt as _};
        let mut status = job.status();
        std::iter::from_fn(|| status.next().now_or_never().flatten()).collect::<Vec<_>>()
    };
    let begun = told.iter().filter(|event| matches!(event.what, lazyblob_solver::What::Started)).count();
    assert_eq!(begun, 1);
    drop((one, two));
    job.discard();
    world.close().await;
}
