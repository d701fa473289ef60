//! What the tests of the client share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderName, HeaderValue, StatusCode};
use lazyblob_remote::copy::{Copy, Options, Report};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::keychain::Secret;
use lazyblob_remote::progress::{Progress, State};
use lazyblob_remote::registry::{RegistrySource, RegistryTarget, Repository, Settings};
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};
use lazyblob_remote::transfer::{self, Blob, Limits, Retry};
use lazyblob_remote::{
    Access, Credential, Descriptor, Error, Keychain, Manifest, Registry, RepositoryName, Result, Scopes,
    Transport, media,
};
use serde_json::{Value, json};

/// The ladder of the tests' clients.
pub(crate) fn ladder() -> Retry {
    Retry { first: Duration::from_millis(2), cap: Duration::from_millis(20), ..Retry::default() }
}

/// The values of the tests' clients.
pub(crate) fn settings() -> Settings {
    let transfers = transfer::Settings { retry: ladder(), ..transfer::Settings::default() };
    Settings { transfers, ..Settings::default() }
}

/// From now on `client` does one thing at a time.
pub(crate) fn one_at_a_time(client: &Registry) {
    client.transfers().set_limits(Limits::at_once(1));
}

/// A client that waits as long as one outside of the tests does.
pub(crate) fn client_with_defaults(transport: impl Transport + 'static) -> Registry {
    Registry::new(Arc::new(transport), Hosts::default(), Settings::default())
}

/// A client whose retries wait for milliseconds.
pub(crate) fn client(transport: impl Transport + 'static) -> Registry {
    client_of(transport, Hosts::builder().meters_gets("hub.test").build())
}

/// The same, which reaches hosts as `hosts` says.
pub(crate) fn client_of(transport: impl Transport + 'static, hosts: Hosts) -> Registry {
    Registry::new(Arc::new(transport), hosts, settings())
}

/// The same with small upload chunks.
pub(crate) fn chunking_client(transport: impl Transport + 'static, chunk: u64) -> Registry {
    Registry::new(Arc::new(transport), Hosts::default(), Settings { chunk, ..settings() })
}

/// A repository's name.
pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// A tag.
pub(crate) fn tag(text: &str) -> Name {
    Name::Tag(text.to_owned())
}

/// `count` layers of a few kilobytes, each different, the same every time.
pub(crate) fn layers(count: u8) -> Vec<Bytes> {
    (0..count).map(|layer| Bytes::from(vec![layer; 4096 + usize::from(layer)])).collect()
}

/// `size` bytes without a short period.
pub(crate) fn bytes(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from((at * at / 7 + at) % 251).unwrap()).collect()
}

/// The verbs of a repository, anonymously.
pub(crate) fn pulling(client: &Registry, repository: &str) -> Repository {
    let repository = name(repository);
    client.repository(&repository, Scopes::pull(&repository), &Access::anonymous()).unwrap()
}

/// The same, for writing.
pub(crate) fn pushing(client: &Registry, repository: &str) -> Repository {
    let repository = name(repository);
    client.repository(&repository, Scopes::push(&repository), &Access::anonymous()).unwrap()
}

/// A copy of `REPOSITORY:TAG` to another, as the command makes it.
pub(crate) fn copy(client: &Registry, from: (&str, &str), to: (&str, &str), access: &Access) -> Copy {
    let (source, target) = (name(from.0), name(to.0));
    let scopes = |own: &RepositoryName| {
        let pull = Scopes::pull(&source);
        let push = Scopes::push(&target);
        match (source.host() == target.host(), own == &source) {
            (true, _) => pull.union(&push),
            (false, true) => pull,
            (false, false) => push,
        }
    };
    let reading = RegistrySource::new(client.repository(&source, scopes(&source), access).unwrap());
    let writing = RegistryTarget::new(client.repository(&target, scopes(&target), access).unwrap());
    let tags = vec![tag(to.1)];
    let transfers = client.transfers().clone();
    Copy::new(Arc::new(reading), tag(from.1), Arc::new(writing), tags, access.clone(), transfers)
}

/// Copies `registry.test/a:1` to `registry.test/b:1`.
pub(crate) async fn promote(registry: &TestRegistry, options: Options) -> Result<Report> {
    let client = client(registry.transport());
    let access = Access::anonymous();
    copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &access)
        .with_options(options)
        .run()
        .await
}

/// A manifest or index written in the test.
pub(crate) fn parsed(value: &Value) -> Manifest {
    Manifest::parse(Bytes::from(value.to_string()), None, None, "the test").unwrap()
}

/// An index's entry for a manifest of a platform.
pub(crate) fn entry(manifest: &Manifest, platform: &str) -> Value {
    let mut parts = platform.split('/');
    let mut entry = json!(manifest.descriptor());
    entry["platform"] = json!({"os": parts.next(), "architecture": parts.next()});
    if let Some(variant) = parts.next() {
        entry["platform"]["variant"] = json!(variant);
    }
    entry
}

/// An index of such entries.
pub(crate) fn index_of(entries: &[Value]) -> Manifest {
    parsed(&json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries}))
}

/// A blob to be read from `repository`.
pub(crate) fn blob(repository: &Repository, descriptor: &Descriptor) -> Blob {
    let provider = lazyblob_remote::registry::RepositoryProvider::new(repository.clone());
    Blob::new(descriptor.clone(), &[Arc::new(provider)], settings().transfers, Access::anonymous())
}

/// All bytes of a blob, verified.
pub(crate) async fn read(blob: &Blob) -> Result<Vec<u8>> {
    let mut stream = blob.read().await?;
    let mut whole = Vec::new();
    while let Some(chunk) = stream.next().await {
        whole.extend_from_slice(&chunk?);
    }
    Ok(whole)
}

/// An answer altogether made up.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Toxic {
    let header = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    Toxic::new(Effect::Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers.iter().map(header).collect(),
        body: body.into(),
    })
}

/// The targets of a registry's log whose line has `part`.
pub(crate) fn lines(registry: &TestRegistry, part: &str) -> Vec<String> {
    registry.lines().into_iter().filter(|line| line.contains(part)).collect()
}

/// What is under a tag, without a request that counts.
pub(crate) async fn tagged(registry: &TestRegistry, repository: &str, text: &str) -> Option<String> {
    let client = client(registry.transport());
    let place = pulling(&client, &format!("{}/{repository}", registry.host()));
    match place.get_manifest(&tag(text)).await {
        Ok(manifest) => Some(manifest.digest().to_string()),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Credentials by host; everybody else is anonymous. It remembers who asked.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    keys: HashMap<String, Credential>,
    asked: Mutex<Vec<String>>,
}

impl Keys {
    pub(crate) fn of(host: &str, credential: Credential) -> Arc<Self> {
        Arc::new(Self { keys: HashMap::from([(host.to_owned(), credential)]), asked: Mutex::default() })
    }

    /// Hosts that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Keychain for Keys {
    async fn credential(&self, host: &str, _repository: &str) -> Result<Credential> {
        self.asked.lock().unwrap().push(host.to_owned());
        Ok(self.keys.get(host).cloned().unwrap_or(Credential::Anonymous))
    }
}

/// User name and password.
pub(crate) fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.to_owned(), password: Secret::new(password) }
}

/// Remembers notes and waits.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) notes: Mutex<Vec<String>>,
    pub(crate) waits: Mutex<Vec<Duration>>,
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notes")
    }
}

impl Progress for Notes {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
    }
    fn retry(&self, _: &Error, wait: Duration) {
        self.waits.lock().unwrap().push(wait);
    }
}
