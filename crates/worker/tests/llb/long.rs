//! Long chains, which no stack is deep enough for.

use lazyblob_worker::llb::{self, Definition, Mkfile, State, host_platform};

const LENGTH: usize = 100_000;

#[test]
fn a_chain_is_made_written_read_and_dropped() {
    let mut state = llb::scratch();
    for at in 0..LENGTH {
        state = state.file(Mkfile::new(format!("/{at}"), 0o644, ""));
    }
    let bytes = state.marshal(&host_platform());
    drop(state);
    let definition = Definition::parse(&bytes).unwrap();
    assert_eq!(definition.vertices().len(), LENGTH);
    assert_eq!(*definition.vertices().last().unwrap().digest(), definition.result().vertex);
}

/// Diamonds on diamonds have few vertices and many ways through.
#[test]
fn what_is_shared_is_written_once() {
    let mut state: State = llb::scratch().file(Mkfile::new("/a", 0o644, "a"));
    for _ in 0..64 {
        state = llb::merge([&state, &state]);
    }
    let definition = state.definition(&host_platform()).unwrap();
    assert_eq!(definition.vertices().len(), 65);
}
