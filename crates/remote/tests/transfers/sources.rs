//! Several ways to one blob: what joiners bring along, what is refused, and whose trouble it is.

use std::sync::Arc;

use bytes::Bytes;
use lazyblob_remote::transfer::{Action, Limits, Transfers};
use lazyblob_remote::{Descriptor, Error, Provider};

use crate::support::{
    Act, Asker, Gate, Put, Spring, Store, assert_at_rest, broken, bytes, engine, not_found, settle,
    unauthorized, unlimited, wanted,
};

const SIZE: u64 = 1000;

fn blob() -> Bytes {
    bytes(1, 1000)
}

/// One who asks for the blob, and another who joins with a source of its own while the first source is being read.
struct Joined {
    engine: Transfers,
    /// Before each piece of the first source.
    gate: Arc<Gate>,
    first: Arc<Spring>,
    second: Arc<Spring>,
    store: Arc<Store>,
    one: Asker,
    other: Asker,
}

/// The first source breaks in the middle; opened again, it does what `then` says.
async fn joined(limits: Limits, then: Option<Act>) -> Joined {
    let (engine, gate) = (engine(limits), Gate::shut());
    let first = Spring::of(&blob()).at("a.test").in_pieces(100).through(&gate).then(Act::BreakAt(400));
    let first = then.into_iter().fold(first, Spring::then).shared();
    let second = Spring::of(&blob()).at("b.test").shared();
    let store = Store::here("a").shared();
    let one = Asker::of(&engine, wanted(&first, &store));
    settle().await;
    let other = Asker::of(&engine, wanted(&second, &store));
    settle().await;
    Joined { engine, gate, first, second, store, one, other }
}

/// The source of a joiner is an alternate: where the first one is lost in the middle, for whatever reason, it goes on
/// at that offset.
#[tokio::test(start_paused = true)]
async fn a_joiners_source_goes_on_at_the_same_offset() {
    for refusal in [not_found(), unauthorized(), Error::invalid("read blob", "it", "not the range asked for")]
    {
        let said = refusal.to_string();
        let joined = joined(Limits::at_once(1), Some(Act::Fail(refusal))).await;
        let Joined { engine, gate, first, second, store, one, other } = joined;
        gate.open();
        for asker in [one, other] {
            assert_eq!(asker.outcome().await.unwrap().action, Action::Transfer, "{said}");
        }
        assert_eq!(first.opened(), [0..SIZE, 400..SIZE], "{said}");
        assert_eq!(second.opened(), [400..SIZE], "{said}");
        assert!(store.has(&blob()));
        assert_at_rest(&engine).await;
    }
}

/// A source that brings something else is asked no more; the next one brings the whole.
#[tokio::test(start_paused = true)]
async fn a_source_that_lies_is_dropped() {
    let engine = engine(unlimited());
    let liar = Spring::of(&blob()).at("a.test").then(Act::Lie).shared();
    let honest = Spring::of(&blob()).at("b.test").shared();
    let store = Store::here("a").shared();
    let mut both = wanted(&liar, &store);
    both.sources.push(Arc::<Spring>::clone(&honest));
    engine.bring(both).await.unwrap();
    assert_eq!((liar.opened().len(), honest.opened()), (1, vec![0..SIZE]));
    assert!(store.has(&blob()));
}

/// What two sources brought together and is wrong is neither's fault: it is read once more, and only then somebody's.
#[tokio::test(start_paused = true)]
async fn pieces_that_do_not_fit_are_read_once_more_from_the_beginning() {
    let engine = engine(unlimited());
    let first = Spring::of(&blob()).at("a.test").then(Act::BreakAt(400)).then(Act::Lie).shared();
    let store = Store::here("a").shared();
    engine.bring(wanted(&first, &store)).await.unwrap();
    assert_eq!(first.opened(), [0..SIZE, 400..SIZE, 0..SIZE]);
    assert!(store.has(&blob()));
}

/// Bytes that come twice, since a source ignores ranges, are handed on once.
#[tokio::test(start_paused = true)]
async fn a_second_source_that_ignores_ranges_is_of_use() {
    let engine = engine(unlimited());
    let first =
        Spring::of(&blob()).at("a.test").then(Act::BreakAt(400)).then(Act::Fail(not_found())).shared();
    let second = Spring::of(&blob()).at("b.test").in_pieces(150).then(Act::IgnoreRange).shared();
    let store = Store::here("a").shared();
    let mut both = wanted(&first, &store);
    both.sources.push(Arc::<Spring>::clone(&second));
    engine.bring(both).await.unwrap();
    assert_eq!(second.opened(), [400..SIZE]);
    assert!(store.has(&blob()));
}

/// With a joiner its source goes: its credentials serve nobody after it has left.
#[tokio::test(start_paused = true)]
async fn the_source_of_one_who_has_left_is_not_asked() {
    let Joined { engine, gate, one, other, second, .. } =
        joined(unlimited(), Some(Act::Fail(not_found()))).await;
    other.leave().await;
    gate.open();
    assert!(one.outcome().await.unwrap_err().is_not_found());
    assert!(second.opened().is_empty());
    assert_at_rest(&engine).await;
}

/// Row 3: where the one whose source is being read leaves, that read goes on to its end; but it is not opened again.
#[tokio::test(start_paused = true)]
async fn a_read_under_way_outlives_its_owner_and_is_not_resumed_with_its_credentials() {
    let Joined { gate, one, other, first, second, .. } = joined(unlimited(), None).await;
    one.leave().await;
    gate.open();
    other.outcome().await.unwrap();
    assert_eq!(first.opened(), [0..SIZE]);
    assert_eq!(second.opened(), [400..SIZE]);
}

/// What the credentials of one are refused, another one's may do: at the same source …
#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_askers_credentials_is_its_own() {
    let (engine, asking) = (engine(unlimited()), Gate::shut());
    let stranger = Spring::of(&blob()).at("a.test").then(Act::Fail(unauthorized())).shared();
    let friend = Spring::of(&blob()).at("a.test").shared();
    let store = Store::here("a").asking_through(&asking).shared();
    let one = Asker::of(&engine, wanted(&stranger, &store));
    settle().await;
    let other = Asker::of(&engine, wanted(&friend, &store));
    settle().await;
    asking.open();
    assert_eq!(other.outcome().await.unwrap().action, Action::Transfer);
    assert_eq!(one.outcome().await.unwrap().action, Action::Transfer);
    assert_eq!((stranger.opened().len(), friend.opened().len()), (1, 1));
}

/// … and at the target: the one whose credentials are refused there hears of it alone.
#[tokio::test(start_paused = true)]
async fn a_refusal_at_the_target_is_for_the_one_who_wrote() {
    let (engine, asking) = (engine(Limits::at_once(1)), Gate::shut());
    let spring = Spring::of(&blob()).at("a.test").shared();
    let store = || Store::here("a").at("to.test").asking_through(&asking);
    let (refused, good) = (store().then(Put::Fail(unauthorized())).shared(), store().shared());
    let one = Asker::of(&engine, wanted(&spring, &refused));
    settle().await;
    let others: Vec<_> = (0..3).map(|_| Asker::of(&engine, wanted(&spring, &good))).collect();
    settle().await;
    asking.open();
    assert!(matches!(one.outcome().await.unwrap_err().root(), Error::Unauthorized { .. }));
    for asker in others {
        assert_eq!(asker.outcome().await.unwrap().action, Action::Transfer);
    }
    assert_eq!((refused.puts(), good.puts()), (1, 1));
    assert_at_rest(&engine).await;
}

/// Rows 36, 91: one whose descriptor lies about the size fails alone, whoever of them came first; its lie does not bring
/// a good source into discredit.
#[tokio::test(start_paused = true)]
async fn a_descriptor_that_lies_poisons_nobody() {
    for liar_first in [true, false] {
        let (engine, asking) = (engine(unlimited()), Gate::shut());
        let spring = Spring::of(&blob()).at("a.test").shared();
        let store = Store::here("a").asking_through(&asking).shared();
        let mut askers = Vec::new();
        for lies in [liar_first, !liar_first] {
            let mut wanted = wanted(&spring, &store);
            if lies {
                let honest = &wanted.blob;
                wanted.blob = Descriptor::new(honest.media_type().clone(), SIZE - 1, honest.digest().clone());
            }
            askers.push((lies, Asker::of(&engine, wanted)));
            settle().await;
        }
        asking.open();
        for (lies, asker) in askers {
            match asker.outcome().await {
                Ok(_) => assert!(!lies, "liar first: {liar_first}"),
                Err(error) => {
                    assert!(lies, "liar first: {liar_first}: {error}");
                    assert!(matches!(error.root(), Error::Integrity { .. }), "{error}");
                }
            }
        }
        assert!(store.has(&blob()));
        assert_at_rest(&engine).await;
    }
}

/// Row 61: neither the wait for a slot nor a commit counts as the source's silence, nor does a target that is slow.
#[tokio::test(start_paused = true)]
async fn only_the_sources_own_silence_counts() {
    use lazyblob_remote::transfer::{Pace, Settings};
    use std::time::Duration;
    let pace = Pace { stall: Duration::from_secs(10), least: 1000, window: Duration::from_secs(20) };
    let limits = Limits::at_once(1);
    let engine = Transfers::new(Settings { pace, limits, ..engine(unlimited()).settings().clone() });
    let busy = Gate::shut();
    let commit = Gate::shut();
    let blocking = Spring::of(&bytes(9, 10)).shared();
    let slow = Store::here("slow").at("slow.test").committing_through(&busy).shared();
    let first = Asker::of(&engine, wanted(&blocking, &slow));
    settle().await;
    let spring = Spring::of(&blob()).at("a.test").shared();
    let store = Store::here("a").committing_through(&commit).shared();
    let second = Asker::of(&engine, wanted(&spring, &store));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    busy.open();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    commit.open();
    first.outcome().await.unwrap();
    second.outcome().await.unwrap();
    assert_eq!((spring.opened().len(), blocking.opened().len()), (1, 1), "nothing was given up");
    // A source that is silent itself is.
    let never = Gate::shut();
    let silent = Spring::of(&bytes(3, 10)).at("a.test").through(&never).shared();
    let asker = Asker::of(&engine, wanted(&silent, &store));
    let error = asker.outcome().await.unwrap_err();
    assert!(error.to_string().contains("no byte within 10s"), "{error}");
    assert_eq!(silent.opened().len(), 3);
    assert_at_rest(&engine).await;
}

/// A source that breaks each time is given up after its tries, and each next source has its own.
#[tokio::test(start_paused = true)]
async fn each_source_has_its_own_tries() {
    let engine = engine(Limits::at_once(1));
    let flaky = |host: &str| {
        let spring = Spring::of(&blob()).at(host);
        (0..9).fold(spring, |spring, _| spring.then(Act::Fail(broken()))).shared()
    };
    let springs = ["a.test", "b.test"].map(flaky);
    let store = Store::here("a").shared();
    let mut both = wanted(&springs[0], &store);
    both.sources.push(Arc::<Spring>::clone(&springs[1]) as Arc<dyn Provider>);
    assert!(engine.bring(both).await.unwrap_err().is_transient());
    assert_eq!(springs.each_ref().map(|spring| spring.opened().len()), [3, 3]);
    assert_at_rest(&engine).await;
}
