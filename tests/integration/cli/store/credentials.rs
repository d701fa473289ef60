//! Whose credentials fetch a lazy layer: those of whoever asks for it, and nobody's are kept.

use lazyblob::remote::server::Action;
use lazyblob::remote::testing::{TestRegistry, TokenServer};

use super::support::lazily;
use crate::support::{Desk, holds, image};

fn known_as(desk: &Desk, host: &str, user: &str) -> String {
    let file = desk.file(&format!("password-{user}"), &format!("secret-of-{user}\n"));
    format!("--creds {host}={user} --password-file {host}={}", file.display())
}

#[tokio::test]
async fn a_layer_is_fetched_as_whoever_asks_for_it() {
    let tokens = TokenServer::new("registry.test")
        .user("annabel", "secret-of-annabel")
        .user("bobsley", "secret-of-bobsley")
        .user("evelina", "secret-of-evelina")
        .allow("annabel", "app", &[Action::Pull])
        .allow("bobsley", "app", &[Action::Pull]);
    let (desk, registry) = (Desk::new(), TestRegistry::builder().tokens(tokens).start().await);
    let other = TestRegistry::start().await;
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let app = format!("{}/app:1", registry.host());
    let users = || -> Vec<String> {
        let log = registry.tokens().unwrap().requests();
        log.into_iter().filter_map(|request| request.user).collect()
    };
    desk.ok(&format!("{} pull {app}", known_as(&desk, registry.host(), "annabel"))).await;
    assert_eq!(users(), ["annabel"], "one token for both requests");

    // Nobody's, and those of somebody who may not.
    let push = format!("push {app} {}/app:1", other.host());
    desk.run(&push).await.exits(3).says(&["not authorised"]);
    desk.run(&format!("{} {push}", known_as(&desk, registry.host(), "evelina"))).await.exits(3);
    let stored = super::support::stored(&desk);
    assert_eq!(stored, lazily(&image), "nothing was fetched with what annabel has");

    desk.ok(&format!("{} {push}", known_as(&desk, registry.host(), "bobsley"))).await;
    assert_eq!(users().last().map(String::as_str), Some("bobsley"));
    for user in ["annabel", "bobsley", "evelina"] {
        assert!(!holds(&desk.path("root"), &format!("secret-of-{user}")), "{user}");
        assert!(!holds(&desk.path("root"), user), "no name of a user either: {user}");
    }
}
