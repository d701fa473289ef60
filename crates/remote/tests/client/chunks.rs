//! Hosts that take chunks so small that an upload would not end.

use lazyblob_remote::Error;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};

use crate::support::{answer, bytes, chunking_client};
use crate::upload::{pieces, put};

/// Row 45: an upload that would go on byte by byte ends.
#[tokio::test]
async fn a_host_that_stores_a_byte_of_every_chunk_is_given_up() {
    let registry = TestRegistry::in_memory("to.test").await;
    registry.add(
        Toxic::new(Effect::BodyCap { bytes: 100_000, status: http::StatusCode::PAYLOAD_TOO_LARGE })
            .on(Kind::Upload),
    );
    // After the POST and the PATCH of everything, which is too much for it.
    for nth in 2..100_u32 {
        let range = format!("0-{nth}");
        let crumb = answer(202, &[("range", &range), ("location", "/v2/b/blobs/uploads/x")], "");
        registry.add(crumb.on(Kind::Upload).after(nth).times(1));
    }
    let error = put(&chunking_client(registry.transport(), 100_000), &bytes(300_000)).await.unwrap_err();
    assert!(matches!(error.root(), Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("16 times in a row"), "{error}");
    assert_eq!(pieces(&registry).len(), 1 + 16, "{:?}", registry.lines());
}
