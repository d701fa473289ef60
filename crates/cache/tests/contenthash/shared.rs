//! Several who ask of one tree at once.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use lazyblob_cache::contenthash::{ContentHash, Meta, Node, Root, Selector, Source, Table};
use lazyblob_cache::{Error, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::support::Memory;

/// A tree whose content comes when the test says so.
struct Gated {
    tree: Memory,
    reached: UnboundedSender<String>,
    opened: Arc<Mutex<Receiver<()>>>,
}

impl Source for Gated {
    fn node(&mut self, path: &[u8]) -> Result<Option<Node>> {
        self.tree.node(path)
    }

    fn list(&mut self, directory: &[u8]) -> Result<Vec<(Vec<u8>, Node)>> {
        self.tree.list(directory)
    }

    fn meta(&mut self, path: &[u8]) -> Result<Meta> {
        self.tree.meta(path)
    }

    fn read(&mut self, path: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.reached.send(String::from_utf8(path.to_vec()).unwrap()).unwrap();
        // Closed: open for good.
        let _ = self.opened.lock().unwrap().recv();
        self.tree.read(path, each)
    }
}

struct Test {
    tree: Memory,
    shared: ContentHash,
    reached: (UnboundedSender<String>, UnboundedReceiver<String>),
    open: Sender<()>,
    opened: Arc<Mutex<Receiver<()>>>,
}

impl Test {
    fn new() -> Self {
        let (open, opened) = channel();
        Self {
            tree: Memory::of(&["a=1", "b=2"]),
            shared: ContentHash::new(Table::unread(Root::Snapshot)),
            reached: unbounded_channel(),
            open,
            opened: Arc::new(Mutex::new(opened)),
        }
    }

    fn source(&self) -> Box<dyn Source> {
        let (tree, reached) = (self.tree.clone(), self.reached.0.clone());
        Box::new(Gated { tree, reached, opened: Arc::clone(&self.opened) })
    }
}

#[tokio::test]
async fn two_who_ask_read_once() {
    let mut test = Test::new();
    let cancel = CancellationToken::new();
    let whole = vec![Selector::path("/")];
    let one = test.shared.checksum(test.source(), whole.clone(), &cancel);
    let other = test.shared.checksum(test.source(), whole.clone(), &cancel);
    test.open.send(()).unwrap();
    test.open.send(()).unwrap();
    // A third read would wait for ever.
    let (one, other) = tokio::join!(one, other);
    let digest = one.unwrap();
    assert_eq!(other.unwrap(), digest);
    let mut reached = Vec::new();
    while let Ok(path) = test.reached.1.try_recv() {
        reached.push(path);
    }
    assert_eq!(reached, ["a", "b"]);
    assert_eq!(test.shared.known(whole.clone(), &cancel).await.unwrap(), Some(digest.clone()));
    let bytes = test.shared.with(|table| table.encode()).await;
    let again = ContentHash::new(Table::decode(&bytes).unwrap());
    assert_eq!(again.known(whole, &cancel).await.unwrap(), Some(digest));
}

#[tokio::test]
async fn who_is_dropped_ends_at_the_next_piece_and_leaves_what_is_known() {
    let mut test = Test::new();
    let cancel = CancellationToken::new();
    let whole = vec![Selector::path("/")];
    {
        let dropped = test.shared.checksum(test.source(), whole.clone(), &cancel);
        tokio::pin!(dropped);
        test.open.send(()).unwrap();
        tokio::select! {
            _ = &mut dropped => panic!("b is not open"),
            () = async {
                assert_eq!(test.reached.1.recv().await.unwrap(), "a");
                assert_eq!(test.reached.1.recv().await.unwrap(), "b");
            } => {}
        }
    }
    assert!(!cancel.is_cancelled(), "nobody else is");
    // Its work is still at `b`; the next one begins when it has ended.
    let next = test.shared.checksum(test.source(), whole.clone(), &cancel);
    tokio::pin!(next);
    assert!(futures::poll!(&mut next).is_pending());
    let stopped = CancellationToken::new();
    let withdrawn = test.shared.known(whole, &stopped);
    tokio::pin!(withdrawn);
    assert!(futures::poll!(&mut withdrawn).is_pending());
    stopped.cancel();
    assert!(matches!(withdrawn.await.unwrap_err(), Error::Cancelled { .. }));
    drop(std::mem::replace(&mut test.open, channel().0));
    assert_eq!(next.await.unwrap().to_string().len(), 71);
    assert_eq!(test.reached.1.try_recv().unwrap(), "b", "the first one did not finish it");
    assert!(test.reached.1.try_recv().is_err(), "but a was known");
}
