//! Layers for a reader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lazyblob_remote::transfer::{Layers, Limits, Transfers, Wanted};
use tokio::time::Instant;

use crate::support::{
    Act, Asker, Gate, Link, Spring, Store, assert_at_rest, bytes, engine, not_found, settle, unlimited,
    wanted,
};

struct Image {
    gates: Vec<Arc<Gate>>,
    springs: Vec<Arc<Spring>>,
    store: Arc<Store>,
}

impl Image {
    fn of(count: u8) -> Self {
        let gates: Vec<_> = (0..count).map(|_| Gate::shut()).collect();
        let spring = |(seed, gate)| Spring::of(&bytes(seed, 500)).at("a.test").through(gate).shared();
        let springs = (0..count).zip(&gates).map(spring).collect();
        Self { gates, springs, store: Store::here("a").shared() }
    }

    fn layers(&self, engine: &Transfers) -> Layers {
        engine.layers(self.springs.iter().map(|spring| wanted(spring, &self.store)).collect())
    }
}

/// Row 28: they come out bottom-up, though they arrive in the opposite order; each as soon as those below are whole.
#[tokio::test(start_paused = true)]
async fn layers_come_out_bottom_up_whatever_the_order_of_arrival() {
    let (engine, image) = (engine(unlimited()), Image::of(4));
    let mut layers = image.layers(&engine);
    for gate in image.gates[1..].iter().rev() {
        assert!(futures::poll!(layers.next()).is_pending());
        settle().await;
        gate.open();
        settle().await;
    }
    assert!(futures::poll!(layers.next()).is_pending(), "the bottom one is missing");
    image.gates[0].open();
    let mut out = Vec::new();
    while let Some(layer) = layers.next().await {
        let layer = layer.unwrap();
        assert_eq!(layer.blob, image.springs[layer.index].descriptor());
        out.push(layer.index);
    }
    assert_eq!(out, [0, 1, 2, 3]);
    assert_at_rest(&engine).await;
}

/// Row 29: a layer that fails for good ends those above at once, and the error names it.
#[tokio::test(start_paused = true)]
async fn a_layer_that_fails_ends_those_above_it() {
    let (engine, mut image) = (engine(Limits::at_once(3)), Image::of(6));
    image.springs[1] = Spring::of(&bytes(1, 500)).at("a.test").then(Act::Fail(not_found())).shared();
    let began = Instant::now();
    let mut layers = image.layers(&engine);
    let error = layers.next().await.unwrap().unwrap_err();
    assert_eq!((error.index, began.elapsed()), (1, Duration::ZERO));
    let text = error.to_string();
    assert!(text.contains(image.springs[1].descriptor().digest().as_ref()), "{text}");
    assert!(text.contains("layer 1 ") && error.error.is_not_found(), "{text}");
    // The others end though the stream is still held.
    assert_at_rest(&engine).await;
    assert!(layers.next().await.is_none());
    // The fourth may have got the slot of the one that failed.
    assert!(image.springs[4..].iter().all(|spring| spring.opened().is_empty()), "they never began");
}

/// Row 30: the first failure comes out at once, though nothing below it has ended.
#[tokio::test(start_paused = true)]
async fn the_first_failure_comes_out_before_what_is_below_it() {
    let (engine, mut image) = (engine(unlimited()), Image::of(8));
    image.springs[7] = Spring::of(&bytes(7, 500)).at("a.test").then(Act::Fail(not_found())).shared();
    let mut layers = image.layers(&engine);
    let error = layers.next().await.unwrap().unwrap_err();
    assert_eq!(error.index, 7);
    drop(layers);
    assert_at_rest(&engine).await;
}

/// Row 29: another reader of the same layers is not harmed by the failure of one that it does not need.
#[tokio::test(start_paused = true)]
async fn who_wants_other_layers_goes_on() {
    let (engine, mut image) = (engine(unlimited()), Image::of(3));
    image.springs[2] = Spring::of(&bytes(2, 500)).at("a.test").then(Act::Fail(not_found())).shared();
    let other = Asker::of(&engine, wanted(&image.springs[0], &image.store));
    settle().await;
    let mut layers = image.layers(&engine);
    assert_eq!(layers.next().await.unwrap().unwrap_err().index, 2);
    settle().await;
    assert_eq!(engine.in_flight(), 1);
    image.gates[0].open();
    other.outcome().await.unwrap();
    assert_eq!(image.springs[0].opened().len(), 1);
    assert_at_rest(&engine).await;
}

/// Row 31: a blob that is in an image twice is brought once and comes out at both its places.
#[tokio::test(start_paused = true)]
async fn a_blob_twice_in_an_image_is_brought_once() {
    let (engine, image) = (engine(unlimited()), Image::of(2));
    image.gates.iter().for_each(|gate| gate.open());
    let order = [0, 1, 0];
    let layers = order.map(|nth: usize| wanted(&image.springs[nth], &image.store)).to_vec();
    let out: Vec<_> = engine.layers(layers).map(Result::unwrap).collect().await;
    assert_eq!(out.iter().map(|layer| layer.index).collect::<Vec<_>>(), [0, 1, 2]);
    for (layer, nth) in out.iter().zip(order) {
        assert_eq!(layer.blob, image.springs[nth].descriptor());
    }
    assert_eq!((image.springs[0].opened().len(), image.springs[1].opened().len()), (1, 1));
    assert_eq!(image.store.puts(), 2);
}

/// Row 32: a blob at different heights of two images is brought once, and as early as the lower place asks for.
#[tokio::test(start_paused = true)]
async fn a_blob_at_two_heights_of_two_images_is_brought_once() {
    let (engine, image) = (engine(Limits::at_once(1)), Image::of(5));
    let of = |places: &[usize]| -> Vec<Wanted> {
        places.iter().map(|nth| wanted(&image.springs[*nth], &image.store)).collect()
    };
    // The blob 4 is at the top of one and at the bottom of the other.
    let mut one = engine.layers(of(&[0, 1, 2, 4]));
    let mut other = engine.layers(of(&[4, 3]));
    assert!(futures::poll!(one.next()).is_pending());
    settle().await;
    assert!(futures::poll!(other.next()).is_pending());
    settle().await;
    image.gates.iter().for_each(|gate| gate.open());
    let (one, other) = futures::join!(one.count(), other.count());
    assert_eq!((one, other), (4, 2));
    assert!(image.springs.iter().all(|spring| spring.opened().len() == 1));
    let blobs: Vec<Bytes> = (0..5).map(|seed| bytes(seed, 500)).collect();
    // 0 was under way; then what is at the bottom of the other one.
    assert_eq!(image.store.order(&blobs)[..2], [0, 4]);
}

/// Layers of each of two images.
const HEIGHT: u8 = 20;

/// A layer of one of two images: which, and its place, zero at the bottom.
type Place = (u8, u8);

/// Whether layers are queued as what they are, or all alike: those go in the order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heights {
    Known,
    Ignored,
}

/// When the first bottom layer, both bottom layers and all layers were whole.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    first: Duration,
    bottoms: Duration,
    all: Duration,
}

/// Asks for layers in `order` while `limit` other blobs are under way, on a line that all share.
async fn on_a_thin_line(limit: usize, order: &[Place], heights: Heights) -> Whole {
    let (engine, link) = (engine(Limits::at_once(limit)), Link::of(100_000));
    let (store, other) = (Store::here("a").shared(), Store::here("other").shared());
    let began = Instant::now();
    let ask = async |seed: u8, store: &Arc<Store>, height: u8| {
        let spring = Spring::of(&bytes(seed, 10_000)).at("a.test").in_pieces(500).over(&link).shared();
        let asker = Asker::of(&engine, Wanted { height: height.into(), ..wanted(&spring, store) });
        settle().await;
        asker
    };
    let mut before = Vec::new();
    for seed in 0..u8::try_from(limit).unwrap() {
        before.push(ask(100 + seed, &other, 0).await);
    }
    let mut coming = Vec::new();
    for (image, height) in order.iter().copied() {
        let said = if heights == Heights::Known { height } else { 0 };
        coming.push((height, ask(image * HEIGHT + height, &store, said).await));
    }
    assert_eq!((engine.scheduler().active(), began.elapsed()), (limit, Duration::ZERO), "all stand in line");
    let ends = coming.into_iter().map(|(height, asker)| async move {
        asker.outcome().await.unwrap();
        (height, began.elapsed())
    });
    let ends = futures::future::join_all(ends).await;
    for asker in before {
        asker.outcome().await.unwrap();
    }
    assert_at_rest(&engine).await;
    let bottoms = || ends.iter().filter(|(height, _)| *height == 0).map(|(_, end)| *end);
    Whole { first: bottoms().min().unwrap(), bottoms: bottoms().max().unwrap(), all: began.elapsed() }
}

/// Asks in `order` once with heights and once without. The whole is there no later for them, and no bottom layer is.
async fn with_heights_and_without(limit: usize, order: &[Place]) -> (Whole, Whole) {
    let ours = on_a_thin_line(limit, order, Heights::Known).await;
    let theirs = on_a_thin_line(limit, order, Heights::Ignored).await;
    assert!(
        ours.all.as_secs_f64() <= theirs.all.as_secs_f64() * 1.05,
        "{limit}: {ours:?} against {theirs:?}"
    );
    assert!(ours.first <= theirs.first, "{limit}: {ours:?} against {theirs:?}");
    assert!(ours.bottoms <= theirs.bottoms, "{limit}: {ours:?} against {theirs:?}");
    (ours, theirs)
}

/// Row 21: on a thin line, with the same limits, a bottom layer is whole at least twice as soon as where the queue goes by
/// the order of asking, and all layers are there no later.
#[tokio::test(start_paused = true)]
async fn on_a_thin_line_a_bottom_layer_is_whole_twice_as_soon() {
    for limit in [2, 3] {
        // Two images, the top of each first.
        let top_first: Vec<Place> = (0..HEIGHT).rev().flat_map(|height| [(0, height), (1, height)]).collect();
        let (ours, theirs) = with_heights_and_without(limit, &top_first).await;
        assert!(ours.first * 2 <= theirs.first, "{limit}: {ours:?} against {theirs:?}");
        // One after the other, each from its bottom: the second does not wait for the top of the first.
        let in_turn: Vec<Place> =
            (0..2).flat_map(|image| (0..HEIGHT).map(move |height| (image, height))).collect();
        let (ours, theirs) = with_heights_and_without(limit, &in_turn).await;
        assert!(ours.bottoms * 2 <= theirs.bottoms, "{limit}: {ours:?} against {theirs:?}");
        // As it happens. By chance a bottom layer may be the first asked for: the sum counts.
        let (mut all_of_ours, mut all_of_theirs) = (Duration::ZERO, Duration::ZERO);
        for seed in 0..10 {
            let mut mixed = in_turn.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut mixed);
            let (ours, theirs) = with_heights_and_without(limit, &mixed).await;
            all_of_ours += ours.first;
            all_of_theirs += theirs.first;
        }
        assert!(all_of_ours * 2 <= all_of_theirs, "{limit}: {all_of_ours:?} against {all_of_theirs:?}");
    }
}

/// Row 21: one reader's bottom layer does not wait for the top layers of another that came before.
#[tokio::test(start_paused = true)]
async fn bottom_layers_of_a_second_image_go_before_top_layers_of_the_first() {
    let (engine, store) = (engine(Limits::at_once(1)), Store::here("a").shared());
    let blobs: Vec<Bytes> = (0..8).map(|seed| bytes(seed, 500)).collect();
    let gate = Gate::shut();
    let spring = |blob| Spring::of(blob).at("a.test").through(&gate).shared();
    let springs: Vec<_> = blobs.iter().map(spring).collect();
    let image = |from: usize| -> Vec<Wanted> {
        springs[from..from + 4].iter().map(|spring| wanted(spring, &store)).collect()
    };
    let (mut one, mut other) = (engine.layers(image(0)), engine.layers(image(4)));
    for layers in [&mut one, &mut other] {
        assert!(futures::poll!(layers.next()).is_pending());
        settle().await;
    }
    gate.open();
    let (one, other) = futures::join!(one.count(), other.count());
    assert_eq!((one, other), (4, 4));
    assert_eq!(store.order(&blobs), [0, 4, 1, 5, 2, 6, 3, 7]);
}
