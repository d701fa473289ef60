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

/// The time until the bottom layer, and until all `count`, are whole on a line that they share.
async fn on_a_thin_line(engine: &Transfers, count: u8, in_order: bool) -> (Duration, Duration) {
    let link = Link::of(100_000);
    let spring = |seed| Spring::of(&bytes(seed, 10_000)).at("a.test").in_pieces(500).over(&link).shared();
    let springs: Vec<_> = (0..count).map(spring).collect();
    let store = Store::here("a").shared();
    let layers: Vec<Wanted> = springs.iter().map(|spring| wanted(spring, &store)).collect();
    let began = Instant::now();
    if in_order {
        let mut layers = engine.layers(layers);
        assert_eq!(layers.next().await.unwrap().unwrap().index, 0);
        let first = began.elapsed();
        assert_eq!(layers.count().await, usize::from(count) - 1);
        return (first, began.elapsed());
    }
    // As they come: all of one height, the bottom one anywhere among them.
    let mut coming: futures::stream::FuturesUnordered<_> = layers
        .into_iter()
        .enumerate()
        .map(|(index, wanted)| async move { (index, engine.bring(wanted).await.unwrap()) })
        .collect();
    let mut first = None;
    while let Some((index, _)) = coming.next().await {
        if index == 0 {
            first = Some(began.elapsed());
        }
    }
    (first.unwrap(), began.elapsed())
}

/// Rows 21, 28: on a thin line the bottom layer is whole at least twice as soon as where all layers share the line, and
/// the whole image is there no later.
#[tokio::test(start_paused = true)]
async fn on_a_thin_line_the_bottom_layer_is_whole_twice_as_soon() {
    let (ours, all_by_us) = on_a_thin_line(&engine(Limits::default()), 20, true).await;
    let (theirs, all_at_once) = on_a_thin_line(&engine(unlimited()), 20, false).await;
    assert!(ours * 2 <= theirs, "{ours:?} against {theirs:?}");
    assert!(all_by_us <= all_at_once + Duration::from_millis(100), "{all_by_us:?} against {all_at_once:?}");
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
