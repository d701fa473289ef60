//! `lazyblob serve`, as its user starts it.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

use super::{Desk, Ran, signal};

/// Starting takes less than this, and ending too.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that ends with this value.
pub(crate) struct Served {
    words: String,
    scheme: String,
    host: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Served {
    /// Starts `lazyblob serve WORDS` on a free port and waits until it has said which.
    pub(crate) async fn start(desk: &Desk, words: &str) -> Self {
        let words = format!("serve --addr 127.0.0.1:0 {words}");
        let mut child = desk.command(&words).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await.unwrap().unwrap();
        let Some((scheme, host)) = line.trim_end().split_once("://") else {
            let ended = Ran::of(&words, child.wait_with_output().await.unwrap());
            panic!("it says no address: {ended:?}");
        };
        let (scheme, host) = (scheme.to_owned(), host.to_owned());
        Self { words, scheme, host, child, stdout }
    }

    /// `HOST:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `http` or `https`, as it has said.
    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Sends a signal and waits for its end.
    pub(crate) async fn end(mut self, name: &str) -> Ran {
        signal(&self.child, name);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await.expect("it ends");
        let mut ran = Ran::of(&self.words, ended.unwrap());
        self.stdout.read_to_string(&mut ran.stdout).await.unwrap();
        ran
    }
}
