//! Mounts, and what a registry that refuses them costs.

use lazyblob_remote::Access;
use lazyblob_remote::copy::{Action, Report};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};

use crate::support::{answer, client, copy, layers, lines, tagged};

async fn run(registry: &TestRegistry, count: u8) -> Report {
    registry.seed_image("a", "1", &layers(count)).await;
    let client = client(registry.transport());
    let access = Access::anonymous();
    copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &access).run().await.unwrap()
}

fn moved(report: &Report) -> usize {
    report.blobs.iter().filter(|(_, action)| *action == Action::Transfer).count()
}

/// Row 40a: what is mounted moves no byte.
///
/// BuildKit row 103: what the host has elsewhere is mounted.
#[tokio::test]
async fn where_all_are_mounted_nothing_is_looked_up() {
    let registry = TestRegistry::in_memory("registry.test").await;
    run(&registry, 20).await;
    assert_eq!(registry.requests(Kind::Mount), 21);
    assert_eq!(registry.requests(Kind::BlobHead) + registry.requests(Kind::Upload), 0);
    assert_eq!(registry.traffic().bytes_in() + registry.traffic().bytes_out(), 0);
}

/// Row 40b: the session that the refusal opened takes the upload.
#[tokio::test]
async fn of_twenty_blobs_one_is_refused() {
    let registry = TestRegistry::in_memory("registry.test").await;
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
    let report = run(&registry, 20).await;
    assert_eq!(moved(&report), 21);
    assert_eq!(registry.requests(Kind::Mount), 1);
    assert_eq!(registry.requests(Kind::BlobHead), 21);
    // PATCH and PUT each, and a POST for all but the one whose refusal opened a session.
    assert_eq!(registry.requests(Kind::Upload), 3 * 21 - 1);
    assert_eq!(tagged(&registry, "b", "1").await, Some(report.root.to_string()));
}

#[tokio::test]
async fn the_refusal_is_remembered_for_the_next_copy() {
    let registry = TestRegistry::in_memory("registry.test").await;
    registry.seed_image("a", "1", &layers(1)).await;
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
    let client = client(registry.transport());
    let access = Access::anonymous();
    for repository in ["registry.test/b", "registry.test/c"] {
        copy(&client, ("registry.test/a", "1"), (repository, "1"), &access).run().await.unwrap();
    }
    assert_eq!(registry.requests(Kind::Mount), 1);
}

#[tokio::test]
async fn a_later_refusal_ends_the_mounts_too() {
    let registry = TestRegistry::in_memory("registry.test").await;
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount).after(1));
    let report = run(&registry, 40).await;
    assert_eq!(moved(&report), 40);
    // As many as were under way at once.
    assert!(registry.requests(Kind::Mount) <= 1 + 6, "{}", registry.requests(Kind::Mount));
}

/// Row 41: whatever the refusal is, the blob goes up like any other.
#[tokio::test]
async fn any_other_refusal_is_none_of_the_job_s_end() {
    for status in [400, 401, 403, 404, 405] {
        let registry = TestRegistry::in_memory("registry.test").await;
        registry.add(Toxic::status(status).on(Kind::Mount));
        let report = run(&registry, 3).await;
        assert_eq!(moved(&report), 4, "{status}");
        assert_eq!(registry.requests(Kind::Mount), 1, "{status}");
        assert_eq!(registry.requests(Kind::Upload), 3 * 4, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_breaks_is_tried_again_and_is_no_refusal() {
    for toxic in [
        Toxic::status(503),
        Toxic::new(Effect::Drop),
        Toxic::new(Effect::DropAnswer),
        Toxic::too_many_requests(None),
    ] {
        let registry = TestRegistry::in_memory("registry.test").await;
        registry.add(toxic.on(Kind::Mount).times(2));
        let report = run(&registry, 3).await;
        assert_eq!(moved(&report), 0);
        assert_eq!(registry.requests(Kind::Mount), 4 + 2);
    }
}

/// Row 37: what the look before the upload finds is not sent.
#[tokio::test]
async fn what_the_target_has_after_a_refusal_does_not_move() {
    let registry = TestRegistry::in_memory("registry.test").await;
    registry.seed_image("b", "old", &layers(2)).await;
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
    let report = run(&registry, 3).await;
    // The config is another, and one layer is new.
    assert_eq!(moved(&report), 2);
}

#[tokio::test]
async fn a_202_without_a_location_opens_no_session() {
    let registry = TestRegistry::in_memory("registry.test").await;
    registry.add(answer(202, &[], "").on(Kind::Mount));
    let report = run(&registry, 1).await;
    assert_eq!(moved(&report), 2);
    assert_eq!(lines(&registry, "POST /v2/b/blobs/uploads/ 202").len(), 2);
}
