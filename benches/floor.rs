//! The floor under a copy between registries: receive, hash, send, with the libraries lazyblob uses and nothing else.
//! No retries, no resume, no credentials, no progress. `benches/compare` runs it beside the clients.
//!
//! `floor FROM REPO TO REPO`, where FROM and TO are `http://HOST:PORT` and the tag is `v1`.
//!
//! `floor unpack FROM REPO DIR` is the floor under `lazyblob pull --unpack`, of the tag `1`; `floor unpack-sync` writes it all
//! to disk before it ends, as lazyblob does.

#[path = "floor/unpack.rs"]
mod unpack;

use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::stream::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[tokio::main]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [from, from_repository, to, to_repository] = words.as_slice() else {
        return Err("usage: floor FROM REPO TO REPO, or floor unpack|unpack-sync FROM REPO DIR".into());
    };
    if let ["unpack" | "unpack-sync", registry, repository, directory] =
        [from, from_repository, to, to_repository].map(String::as_str)
    {
        return unpack::run(registry, repository, Path::new(directory), from == "unpack-sync").await;
    }
    let client = client()?;
    let source = format!("{from}/v2/{from_repository}");
    let target = format!("{to}/v2/{to_repository}");
    let manifest = client.get(format!("{source}/manifests/v1")).header(ACCEPT, MANIFEST).send().await?;
    let manifest = manifest.error_for_status()?.bytes().await?;
    let document: Value = serde_json::from_slice(&manifest)?;
    let mut blobs = vec![&document["config"]];
    blobs.extend(document["layers"].as_array().into_iter().flatten());
    // A task each, so that both cores have work.
    let mut tasks = JoinSet::new();
    for blob in blobs {
        let (client, source, target) = (client.clone(), source.clone(), target.clone());
        let digest = blob["digest"].as_str().ok_or("no digest")?.to_owned();
        let size = blob["size"].as_u64().ok_or("no size")?;
        tasks.spawn(async move { copy(&client, &source, &target, &digest, size).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let put = client.put(format!("{target}/manifests/v1")).header(CONTENT_TYPE, MANIFEST).body(manifest);
    put.send().await?.error_for_status()?;
    Ok(())
}

async fn copy(client: &reqwest::Client, source: &str, target: &str, digest: &str, size: u64) -> Outcome<()> {
    let received = client.get(format!("{source}/blobs/{digest}")).send().await?.error_for_status()?;
    let session = client.post(format!("{target}/blobs/uploads/")).header(CONTENT_LENGTH, 0);
    let session = location(&session.send().await?.error_for_status()?)?;
    let hasher = Arc::new(Mutex::new(Sha256::new()));
    let hashing = Arc::clone(&hasher);
    let hashed = received.bytes_stream().map(move |chunk| {
        let chunk = chunk?;
        if let Ok(mut hasher) = hashing.lock() {
            hasher.update(&chunk);
        }
        Ok::<_, reqwest::Error>(chunk)
    });
    let sent = client.patch(session).header(CONTENT_LENGTH, size).body(reqwest::Body::wrap_stream(hashed));
    let session = location(&sent.send().await?.error_for_status()?)?;
    let hash = hasher.lock().map_err(|_| "the hasher is poisoned")?.clone().finalize();
    let actual: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != format!("sha256:{actual}") {
        return Err(format!("{digest} is {actual}").into());
    }
    let mark = if session.contains('?') { '&' } else { '?' };
    let close = client.put(format!("{session}{mark}digest={digest}")).header(CONTENT_LENGTH, 0);
    close.send().await?.error_for_status()?;
    Ok(())
}

fn location(answer: &reqwest::Response) -> Outcome<String> {
    let location = answer.headers().get(LOCATION).ok_or("no Location")?;
    Ok(answer.url().join(location.to_str()?)?.into())
}

fn client() -> Outcome<reqwest::Client> {
    Ok(reqwest::Client::builder().tls_backend_preconfigured(no_tls()?).no_proxy().build()?)
}

/// The client wants a TLS configuration even where none is used; this one trusts nobody.
fn no_tls() -> Outcome<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}
