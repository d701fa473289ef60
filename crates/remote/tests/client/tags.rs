//! Lists of tags, page by page.

use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Error, Manifest};

use crate::support::{answer, client, layers, pulling};

async fn paged(page: usize) -> TestRegistry {
    let registry =
        TestRegistry::builder().settings(|settings| settings.page = Some(page)).in_memory("h.test").await;
    let image: Manifest = registry.seed_image("a", "0", &layers(1)).await.manifest;
    for tag in 1..7 {
        registry.seed_manifest("a", &tag.to_string(), &image).await;
    }
    registry
}

async fn tags(registry: &TestRegistry) -> Result<Vec<String>, Error> {
    pulling(&client(registry.transport()), "h.test/a").tags().await
}

#[tokio::test]
async fn every_page_is_read_once() {
    let registry = paged(3).await;
    assert_eq!(tags(&registry).await.unwrap(), ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(registry.requests(Kind::Tags), 3);
    assert_eq!(registry.counter().total(), 3);
}

#[tokio::test]
async fn pages_in_a_circle_are_an_error() {
    let registry = paged(100).await;
    for link in ["</v2/a/tags/list>; rel=next", "</v2/a/tags/list?last=3>; rel=\"next\""] {
        registry.reset();
        registry.behave();
        registry.add(answer(200, &[("link", link)], r#"{"tags":["x"]}"#).on(Kind::Tags));
        let error = tags(&registry).await.unwrap_err();
        assert!(error.to_string().contains("in a circle"), "{error}");
        assert!(registry.counter().total() <= 2);
    }
}

#[tokio::test]
async fn a_link_to_another_host_is_not_followed_and_no_end_of_the_list() {
    let registry = paged(100).await;
    let link = "<https://storage.h.test/v2/a/tags/list?last=x>; rel=\"next\"";
    registry.add(answer(200, &[("link", link)], r#"{"tags":["x"]}"#).on(Kind::Tags));
    let error = tags(&registry).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("storage.h.test"), "{error}");
    assert_eq!(registry.counter().total(), 1);
}

#[tokio::test]
async fn odd_lists_are_read() {
    for (page, expected) in [
        (r#"{"name":"a","tags":null}"#.to_owned(), &[][..]),
        (r#"{"name":"a"}"#.to_owned(), &[]),
        (format!(r#"{{"tags":[null,"1","sha256:{}"]}}"#, "a".repeat(64)), &["1"]),
        (
            r#"{"tags":["1","\u001b]0;x\u0007","a\nb","\u202ea","a\u2066","",".a","a b","v1_0-rc.1"]}"#
                .to_owned(),
            &["1", "v1_0-rc.1"],
        ),
        (format!(r#"{{"tags":["1","{}"]}}"#, "a".repeat(129)), &["1"]),
    ] {
        let registry = paged(100).await;
        registry.add(answer(200, &[], page).on(Kind::Tags));
        assert_eq!(tags(&registry).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_is_no_list_is_said() {
    let registry = paged(100).await;
    registry.add(answer(200, &[("content-type", "text/html")], "<html>").on(Kind::Tags));
    let error = tags(&registry).await.unwrap_err();
    assert!(
        matches!(error, Error::Invalid { .. }) && error.to_string().contains("list tags h.test/a"),
        "{error}"
    );
    registry.behave();
    let missing = pulling(&client(registry.transport()), "h.test/none").tags().await.unwrap_err();
    assert!(missing.is_not_found());
}
