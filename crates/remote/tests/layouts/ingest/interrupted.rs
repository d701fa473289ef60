//! Interruptions of every kind at random places.

use std::sync::Arc;

use lazyblob_remote::layout::IngestSettings;
use proptest::collection::vec;
use proptest::prelude::*;

use super::support::{Bench, Ending, Source, eager};
use crate::support::noise;

const SIZE: usize = 1_500_000;

fn ending() -> impl Strategy<Value = Ending> {
    let place = || 0..SIZE as u64;
    prop_oneof![
        place().prop_map(Ending::Breaks),
        place().prop_map(Ending::Cancelled),
        place().prop_map(Ending::Ends),
        place().prop_map(Ending::Stalls),
        Just(Ending::Refused),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Rows 46, 47: wherever runs end, each goes on from what is durable, at least from where the last save point was,
    /// and the blob comes out right.
    #[test]
    fn a_blob_survives_every_interruption(
        endings in vec((ending(), 1_usize..700_000, any::<bool>()), 0..6),
        ignoring in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::with(noise(SIZE, 13), IngestSettings::default());
            for (ending, chunk, saves) in endings {
                if saves {
                    bench.ingests = bench.ingests.with_settings(eager());
                }
                let before = bench.offset().await.unwrap_or_default();
                let source = Source::new(bench.bytes.clone(), [ending]).in_chunks_of(chunk);
                let source = Arc::new(if ignoring { source.ignoring_ranges() } else { source });
                tokio::select! {
                    received = bench.receive(&source) => prop_assert!(received.is_err(), "{:?}", received),
                    () = source.stalled.notified() => {}
                }
                prop_assert!(!bench.place().exists());
                // The save point of a receiver that was dropped may still be made.
                let claimed = bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
                prop_assert!(claimed.position() >= before, "{} after {before}", claimed.position());
                if let (Ending::Breaks(end) | Ending::Cancelled(end), false) = (ending, ignoring) {
                    prop_assert_eq!(claimed.position(), end.max(before));
                }
                drop(claimed);
                prop_assert_eq!(source.asked(), [before]);
            }
            let before = bench.offset().await.unwrap_or_default();
            let source = bench.source([]);
            bench.receive(&source).await.unwrap();
            prop_assert_eq!(source.asked(), [before]);
            bench.assert_stored();
            Ok(())
        })?;
    }
}
