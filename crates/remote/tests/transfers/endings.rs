//! What is left of a transfer that is over: nothing that others have to wait for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use lazyblob_remote::endpoint::{Mounted, Name, Target};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::{RegistryTarget, Settings};
use lazyblob_remote::transfer::{Blob, Limits, Wanted};
use lazyblob_remote::transport::{self, HttpTransport};
use lazyblob_remote::{
    Access, Descriptor, Digest, Manifest, Provider, Registry, RepositoryName, Result, Scopes,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::support::{Asker, Spring, Store, bytes, engine, settle, wanted};

/// A target that keeps what it was given.
#[derive(Debug, Default)]
struct Keeper(Mutex<Vec<Blob>>);

#[async_trait]
impl Target for Keeper {
    async fn resolve(&self, _: &Name) -> Result<Option<Digest>> {
        Ok(None)
    }

    async fn has_blob(&self, _: &Descriptor) -> Result<bool> {
        Ok(false)
    }

    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }

    async fn put_blob(&self, blob: &Blob, _: Option<String>) -> Result<()> {
        self.0.lock().unwrap().push(blob.clone());
        let mut bytes = blob.read().await?;
        while let Some(chunk) = bytes.next().await {
            chunk?;
        }
        Ok(())
    }

    async fn put_manifest(&self, _: &Manifest, _: &Name) -> Result<()> {
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn origin(&self) -> Origin {
        Origin { host: "to.test".to_owned(), repository: "a".to_owned() }
    }

    fn host(&self) -> Option<&str> {
        Some("to.test")
    }
}

/// Row 16: a slot ends with its transfer, whoever still has the blob in hand; and that one reads nothing more.
#[tokio::test(start_paused = true)]
async fn what_a_target_keeps_holds_no_slot() {
    let engine = engine(Limits::at_once(1));
    let spring = Spring::of(&bytes(1, 100)).at("a.test").shared();
    let keeper = Arc::new(Keeper::default());
    let wanted = Wanted {
        blob: spring.descriptor(),
        sources: vec![Arc::<Spring>::clone(&spring) as Arc<dyn Provider>],
        target: Arc::<Keeper>::clone(&keeper),
        height: 0,
        shared: 1,
        access: Access::anonymous(),
    };
    Asker::of(&engine, wanted).outcome().await.unwrap();
    settle().await;
    assert_eq!((engine.in_flight(), engine.scheduler().active()), (0, 0));
    let kept = keeper.0.lock().unwrap().pop().unwrap();
    assert!(kept.read().await.is_err());
    assert_eq!((spring.opened().len(), engine.scheduler().active()), (1, 0));
}

/// Row 16: sources that are here are opened in turn, too: each holds a file and memory.
#[tokio::test(start_paused = true)]
async fn what_is_here_is_opened_when_its_turn_has_come() {
    let (engine, gate) = (engine(Limits::at_once(2)), crate::support::Gate::shut());
    let store = Store::here("x").at("to.test").committing_through(&gate).shared();
    let springs: Vec<_> = (0..40).map(|seed| Spring::of(&bytes(seed, 100)).shared()).collect();
    let askers: Vec<_> = springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    assert_eq!(springs.iter().filter(|spring| !spring.opened().is_empty()).count(), 2);
    gate.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
}

/// Row 16: a blob that waits for its slot has nothing open in the layout it goes to: an image may have more layers than a
/// process may have files.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_has_no_file_open() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Arc::new(Layout::create_or_open(temp.path()).await.unwrap());
    let (engine, gate) = (engine(Limits::at_once(2)), crate::support::Gate::shut());
    let askers: Vec<_> = (0..30)
        .map(|seed| {
            let spring = Spring::of(&bytes(seed, 100)).at("a.test").through(&gate).shared();
            let wanted = Wanted {
                blob: spring.descriptor(),
                sources: vec![spring as Arc<dyn Provider>],
                target: Arc::<Layout>::clone(&layout),
                height: 0,
                shared: 1,
                access: Access::anonymous(),
            };
            Asker::of(&engine, wanted)
        })
        .collect();
    // The clock stands still while files are worked on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = std::fs::read_dir(layout.ingests().dir()).unwrap().count();
    assert_eq!((begun, engine.scheduler().active(), engine.scheduler().waiting()), (2, 2, 28));
    gate.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
}

/// Answers a PATCH with 403 before it has read the body, reads no more, and keeps the connection.
async fn refuse(mut connection: TcpStream, port: u16) {
    let mut head = Vec::new();
    while let Ok(byte) = connection.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let answer = match head.split(|byte| *byte == b' ').next() {
            Some(b"HEAD") => "404 Not Found".to_owned(),
            Some(b"POST") => {
                format!("202 Accepted\r\nlocation: http://127.0.0.1:{port}/v2/a/blobs/uploads/1")
            }
            _ => "403 Forbidden".to_owned(),
        };
        let patch = head.starts_with(b"PATCH");
        head.clear();
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).await.unwrap();
        if patch {
            return std::future::pending().await;
        }
    }
}

/// Row 16: so does the slot of an upload that the host has refused in the middle, though it leaves the connection open
/// with the body in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_refused_early_holds_no_slot() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = TaskTracker::new();
    let connections = server.clone();
    server.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            connections.spawn(refuse(connection, port));
        }
    });
    let settings = transport::Settings { environment_proxies: false, ..transport::Settings::default() };
    let client = Registry::new(Arc::new(HttpTransport::new(settings)), Hosts::default(), Settings::default());
    let name: RepositoryName = format!("127.0.0.1:{port}/a").parse().unwrap();
    let repository = client.repository(&name, Scopes::push(&name), &Access::anonymous()).unwrap();
    // More than the connection's buffers take.
    let spring = Spring::of(&Bytes::from(vec![7; 64 << 20])).in_pieces(64 * 1024).shared();
    let wanted = Wanted {
        blob: spring.descriptor(),
        sources: vec![spring as Arc<dyn Provider>],
        target: Arc::new(RegistryTarget::new(repository)),
        height: 0,
        shared: 1,
        access: Access::anonymous(),
    };
    let error = Asker::of(client.transfers(), wanted).outcome().await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
    let at_rest = async {
        while (client.transfers().in_flight(), client.transfers().scheduler().active()) != (0, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), at_rest).await.expect("the slot is free");
}
