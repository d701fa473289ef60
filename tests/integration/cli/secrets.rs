//! No password and no token in any log, trace, message or document.

use std::sync::Arc;

use lazyblob::remote::request::Kind;
use lazyblob::remote::server::{Action, Anonymous, Htpasswd};
use lazyblob::remote::testing::{Effect, Expiry, TestRegistry, TokenServer, Toxic};
use serde_json::Value;

use crate::support::{Desk, PASSWORD, Ran, USER, holds, htpasswd, image};

/// What must be nowhere: the password, and user and password as Basic sends them.
fn basic() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

fn clean(run: &Ran, secret: &str) {
    assert!(!run.stderr.contains(secret), "standard error has `{secret}`: {}", run.stderr);
    assert!(!run.stdout.contains(secret), "standard output has `{secret}`");
}

#[tokio::test]
async fn logs_and_traces_have_requests_and_no_passwords() {
    let users = Htpasswd::parse(&htpasswd(), Anonymous::Nothing, "the test").unwrap();
    let (desk, registry) = (Desk::new(), TestRegistry::builder().guarded_by(Arc::new(users)).start().await);
    registry.seed("app", "1", &image(2, "app")).await;
    let host = registry.host();
    let trace = desk.path("trace.jsonl");
    for (command, code) in [
        (format!("copy {host}/app:1 {host}/b:1"), 0),
        (format!("copy {host}/app:1 {}:1", desk.at("oci", "layout")), 0),
        (format!("inspect {host}/none:1"), 4),
    ] {
        let login = format!("--creds {host}={USER} --password-stdin");
        // Everything everybody has to say, the HTTP library included.
        let words =
            format!("--log trace,hyper=trace,reqwest=trace --trace {} {login} {command}", trace.display());
        let run = desk.run_with_input(&words, PASSWORD).await.exits(code);
        for secret in [PASSWORD, &basic()] {
            clean(&run, secret);
            assert!(!holds(&trace, secret), "the trace has `{secret}`");
        }
        let text = std::fs::read_to_string(&trace).unwrap();
        assert!(!text.is_empty(), "{command}");
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(event.is_object());
        }
        assert!(text.contains(host), "no request in: {text}");
    }
    assert!(!holds(&desk.path("layout"), PASSWORD));
}

/// Row 54b: the command shows neither tokens nor signed addresses, whatever is logged.
#[tokio::test]
async fn tokens_and_signed_addresses_are_secrets_too() {
    let tokens =
        TokenServer::new("test").user(USER, PASSWORD).allow(USER, "*", &[Action::Pull, Action::Push]);
    let (desk, registry) = (Desk::new(), TestRegistry::builder().tokens(tokens).start().await);
    registry.seed("app", "1", &image(2, "app")).await;
    registry.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    let host = registry.host();
    let trace = desk.path("trace.jsonl");
    let login = format!("--creds {host}={USER} --password-stdin");
    let words = format!(
        "--log trace --trace {} {login} copy {host}/app:1 {}:1",
        trace.display(),
        desk.at("oci", "layout")
    );
    let run = desk.run_with_input(&words, PASSWORD).await.exits(0);
    assert!(registry.requests(Kind::Redirect) > 0, "{:?}", registry.lines());
    // Tokens of this server begin so, and its storage's addresses are signed so.
    for secret in [PASSWORD, &basic(), "opaque-", "X-Signature"] {
        clean(&run, secret);
        assert!(!holds(&trace, secret), "the trace has `{secret}`");
    }
}
