//! A step of an upload that fails for a while is done again, and not what came before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use lazyblob_remote::body::{self, Body};
use lazyblob_remote::copy::Report;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::{Dropped, Service};
use lazyblob_remote::testing::{Effect, MemoryTransport, TestRegistry, Toxic};
use lazyblob_remote::{Access, Error};

use crate::support::{bytes, chunking_client, client, copy, layers, lines};
use crate::upload::{methods, pieces, put, stored};

const HOST: &str = "to.test";

/// The requests of one upload of 100,000 bytes to a host that does this.
async fn upload(toxics: &[Toxic]) -> (Vec<String>, Result<(), Error>) {
    let registry = TestRegistry::in_memory(HOST).await;
    toxics.iter().for_each(|toxic| registry.add(toxic.clone()));
    let content = bytes(100_000);
    let outcome = put(&client(registry.transport()), &content).await;
    let methods = methods(&registry);
    registry.behave();
    assert_eq!(stored(&registry, &content).await, outcome.is_ok());
    (methods, outcome)
}

/// Which requests of an upload a toxic concerns.
fn post(toxic: Toxic) -> Toxic {
    // Its target has no query, and no session.
    toxic.on(Kind::Upload).path("blobs/uploads/")
}

fn patch(toxic: Toxic) -> Toxic {
    toxic.path("_state=0")
}

fn close(toxic: Toxic) -> Toxic {
    toxic.path("digest=")
}

#[tokio::test(start_paused = true)]
async fn a_session_is_asked_for_again_and_the_source_is_not() {
    for toxic in [Toxic::status(503), Toxic::too_many_requests(None), Toxic::new(Effect::Drop)] {
        let from = TestRegistry::in_memory("from.test").await;
        from.seed_image("a", "1", &[]).await;
        let to = TestRegistry::in_memory(HOST).await;
        to.add(post(toxic).times(3));
        let client = client(from.transport().with(&to));
        copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous()).run().await.unwrap();
        assert_eq!(to.requests(Kind::Upload), 3 + 3, "{:?}", to.lines());
        assert_eq!(from.requests(Kind::BlobGet), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_step_is_tried_more_often_than_the_ladder_is_long() {
    let (methods, outcome) = upload(&[post(Toxic::status(503))]).await;
    assert!(matches!(outcome, Err(Error::Unavailable { .. })));
    assert_eq!(methods, ["POST"; 6]);

    let (methods, outcome) = upload(&[patch(Toxic::too_many_requests(None))]).await;
    assert!(matches!(outcome, Err(Error::RateLimited { .. })));
    assert_eq!(methods, ["POST", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH"]);

    let (methods, outcome) = upload(&[close(Toxic::too_many_requests(None))]).await;
    assert!(matches!(outcome, Err(Error::RateLimited { .. })));
    assert_eq!(methods, ["POST", "PATCH", "PUT", "PUT", "PUT", "PUT", "PUT", "PUT"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_turned_away_is_sent_again_and_nothing_else() {
    let busy = || Toxic::too_many_requests(None).times(2);
    let (methods, outcome) = upload(&[patch(busy())]).await;
    outcome.unwrap();
    assert_eq!(methods, ["POST", "PATCH", "PATCH", "PATCH", "PUT"]);

    let (methods, outcome) = upload(&[close(busy())]).await;
    outcome.unwrap();
    assert_eq!(methods, ["POST", "PATCH", "PUT", "PUT", "PUT"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_in_trouble_is_asked_what_it_has() {
    for status in [500, 502, 503, 504, 408] {
        let (methods, outcome) = upload(&[patch(Toxic::status(status).times(1))]).await;
        outcome.unwrap();
        assert_eq!(methods, ["POST", "PATCH", "GET", "PATCH", "PUT"], "{status}");
        // After a PUT what it has is the blob, or not.
        let (methods, outcome) = upload(&[close(Toxic::status(status).times(1))]).await;
        outcome.unwrap();
        assert_eq!(methods, ["POST", "PATCH", "PUT", "HEAD", "PUT"], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_the_trouble_is_given_up() {
    // Neither taken nor looked up.
    let (methods, outcome) = upload(&[patch(Toxic::status(500).times(2))]).await;
    outcome.unwrap();
    assert_eq!(methods, ["POST", "PATCH", "GET", "POST", "PATCH", "PUT", "DELETE"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_what_was_sent_twice_is_not_the_last_word() {
    let toxics = [patch(Toxic::too_many_requests(None).times(1)), close(Toxic::status(400).times(1))];
    let (methods, outcome) = upload(&toxics).await;
    outcome.unwrap();
    assert_eq!(methods, ["POST", "PATCH", "PATCH", "PUT", "POST", "PATCH", "PUT", "DELETE"]);

    let (methods, outcome) = upload(&[close(Toxic::status(400).times(1))]).await;
    assert!(matches!(outcome, Err(Error::Rejected { status: 400, .. })));
    assert_eq!(methods, ["POST", "PATCH", "PUT", "DELETE"]);
}

/// A host that stores the first bytes of the first PATCH and then answers as if it had not.
#[derive(Debug)]
struct Forgetful {
    inner: Arc<dyn Service>,
    stores: usize,
    answers: StatusCode,
    done: AtomicBool,
}

#[async_trait]
impl Service for Forgetful {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        if request.method() != Method::PATCH || self.done.swap(true, Ordering::SeqCst) {
            return self.inner.call(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let whole = body::collect(body, u64::MAX).await.unwrap();
        parts.headers.insert(http::header::CONTENT_LENGTH, self.stores.into());
        let request = Request::from_parts(parts, body::full(whole.slice(..self.stores)));
        let mut answer = self.inner.call(request).await?;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        *answer.status_mut() = self.answers;
        answer.headers_mut().clear();
        Ok(answer)
    }
}

/// Row 44: what the host has is not sent again; the rest follows in the same session.
#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_where_the_host_is() {
    let content = bytes(1_000_000);
    for stores in [0, 1, 400_000, 999_999, 1_000_000] {
        let registry = TestRegistry::in_memory(HOST).await;
        let host = Forgetful {
            inner: registry.service(),
            stores,
            answers: StatusCode::SERVICE_UNAVAILABLE,
            done: AtomicBool::new(false),
        };
        let transport = MemoryTransport::new().host(HOST, Arc::new(host));
        put(&client(transport), &content).await.unwrap();
        assert!(stored(&registry, &content).await);
        let range = format!("{stores}-999999");
        let (methods, pieces) = (methods(&registry), pieces(&registry));
        match stores {
            0 => assert_eq!(
                (methods.join(" "), pieces),
                ("POST PATCH GET PATCH PUT HEAD".into(), vec![None, None])
            ),
            // Of one byte a host says the same as of none: the digest tells, and it begins anew.
            1 => assert_eq!(methods.join(" "), "POST PATCH GET PATCH PUT POST PATCH PUT DELETE HEAD"),
            1_000_000 => assert_eq!(methods.join(" "), "POST PATCH GET PUT HEAD"),
            _ => assert_eq!(
                (methods.join(" "), pieces),
                ("POST PATCH GET PATCH PUT HEAD".into(), vec![None, Some(range)])
            ),
        }
        if stores != 1 {
            assert_eq!(registry.traffic().bytes_in(), 1_000_000);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_kept_what_it_turned_away_gets_a_new_session() {
    let registry = TestRegistry::in_memory(HOST).await;
    let host = Forgetful {
        inner: registry.service(),
        stores: 400_000,
        answers: StatusCode::TOO_MANY_REQUESTS,
        done: AtomicBool::new(false),
    };
    let transport = MemoryTransport::new().host(HOST, Arc::new(host));
    let content = bytes(1_000_000);
    put(&client(transport), &content).await.unwrap();
    assert!(stored(&registry, &content).await);
    assert_eq!(pieces(&registry), [None, None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_was_turned_away_is_sent_again() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(100_000));
    // POST, PATCH (413) and POST come before the chunks.
    registry.add(Toxic::too_many_requests(None).on(Kind::Upload).after(4).times(2));
    let content = bytes(500_000);
    put(&chunking_client(registry.transport(), 100_000), &content).await.unwrap();
    assert!(stored(&registry, &content).await);
    assert!(!methods(&registry).contains(&"GET".to_owned()));
    assert_eq!(pieces(&registry).len(), 1 + 5 + 2);
}

/// A copy of 60 layers between two registries of which either turns away every tenth request from the `offset`-th on.
async fn copy_past(offset: Option<u32>) -> (Report, u64) {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory(HOST).await);
    from.seed_image("a", "1", &layers(60)).await;
    if let Some(offset) = offset {
        for nth in 0..60 {
            from.add(Toxic::too_many_requests(None).after(10 * nth + offset).times(1));
            to.add(Toxic::too_many_requests(None).after(10 * nth + offset).times(1));
        }
    }
    let client = client(from.transport().with(&to));
    let job = copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
    let report = job.run().await.unwrap();
    let refused = lines(&from, " 429").len() + lines(&to, " 429").len();
    assert_eq!(refused > 20, offset.is_some(), "{refused}");
    assert_eq!(to.requests(Kind::Upload) > 3 * 61, offset.is_some());
    (report, client.stats().requests.total())
}

/// Every refusal costs hardly more than the request that was refused: 1 / 0.9 would be the least.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_every_tenth_request_costs_no_more_than_15_percent() {
    let (report, least) = copy_past(None).await;
    for offset in [0, 3, 7, 9] {
        let (past, requests) = copy_past(Some(offset)).await;
        assert_eq!((past.root, past.blobs.len()), (report.root.clone(), report.blobs.len()));
        assert!(requests * 100 <= least * 115, "{requests} instead of {least}");
        assert!(requests * 100 >= least * 110, "{requests} instead of {least}");
    }
}
