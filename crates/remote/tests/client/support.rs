//! What the tests of the client share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::Settings;
use lazyblob_remote::transfer::Retry;
use lazyblob_remote::{Registry, RepositoryName, Transport};

/// A client whose retries wait for milliseconds.
pub(crate) fn client(transport: impl Transport + 'static) -> Registry {
    let retry = Retry { first: Duration::from_millis(2), cap: Duration::from_millis(20), ..Retry::default() };
    let hosts = Hosts::builder().meters_gets("hub.test").build();
    Registry::new(Arc::new(transport), hosts, Settings { retry, ..Settings::default() })
}

/// A repository's name.
pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// `count` layers of a few kilobytes, each different, the same every time.
pub(crate) fn layers(count: u8) -> Vec<Bytes> {
    (0..count).map(|layer| Bytes::from(vec![layer; 4096 + usize::from(layer)])).collect()
}
