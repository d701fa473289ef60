//! Sources and targets that a test holds by the hand, and those who ask for blobs.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use lazyblob_remote::endpoint::{Mounted, Mounting, Name};
use lazyblob_remote::progress::{Progress, State};
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::transfer::{Blob, Brought, Limits, Pace, Retry, Settings, Transfers, Wanted};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{
    Access, Descriptor, Digest, Error, Manifest, Priority, Provider, Result, Target, What, digest,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first wait of the ladder; it doubles, without chance.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// An engine whose sources may take their time, and which tells every position.
pub(crate) fn engine(limits: Limits) -> Transfers {
    let retry = Retry { tries: 3, first: WAIT, jitter: 0.0, ..Retry::default() };
    let pace = Pace { stall: Duration::from_secs(1 << 30), least: 0, ..Pace::default() };
    Transfers::new(Settings { retry, limits, pace, interval: Duration::ZERO })
}

/// No limits at all.
pub(crate) fn unlimited() -> Limits {
    Limits { total: 0, per_host: 0, requests: 0, ..Limits::default() }
}

/// Lets everything go on that can without time passing.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Nothing is under way, and nothing is counted as if it were.
pub(crate) async fn assert_at_rest(engine: &Transfers) {
    settle().await;
    let scheduler = engine.scheduler();
    let counts = (engine.in_flight(), scheduler.active(), scheduler.waiting());
    assert_eq!(counts, (0, 0, 0), "in flight, slots held, in line");
}

/// `size` bytes, other ones for each `seed`.
pub(crate) fn bytes(seed: u8, size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from((at * at / 7 + at) % 251).unwrap() ^ seed).collect()
}

pub(crate) fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream".into(), bytes.len() as u64, digest::sha256(bytes))
}

pub(crate) fn broken() -> Error {
    Error::broken("read blob", "the test's", &"the connection broke".into())
}

pub(crate) fn not_found() -> Error {
    Error::not_found("read blob", "the test's", "gone")
}

pub(crate) fn unauthorized() -> Error {
    Error::Unauthorized { what: What::new("read blob", "the test's"), reason: "who are you?".to_owned() }
}

/// Holds those who come until it lets them through, each once.
#[derive(Debug)]
pub(crate) struct Gate(Semaphore);

impl Gate {
    pub(crate) fn shut() -> Arc<Self> {
        Arc::new(Self(Semaphore::new(0)))
    }

    /// Lets so many through.
    pub(crate) fn pass(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everybody through.
    pub(crate) fn open(&self) {
        self.pass(1 << 30);
    }

    async fn enter(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}

/// How much is under way at once: now, and the most there was; by host, and `""` for all.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<HashMap<String, (usize, usize)>>);

impl Meter {
    pub(crate) fn now(&self, host: &str) -> usize {
        self.0.lock().unwrap().get(host).map_or(0, |(now, _)| *now)
    }

    pub(crate) fn most(&self, host: &str) -> usize {
        self.0.lock().unwrap().get(host).map_or(0, |(_, most)| *most)
    }

    fn enter(self: &Arc<Self>, host: &str) -> Metered {
        for name in ["", host] {
            let mut table = self.0.lock().unwrap();
            let (now, most) = table.entry(name.to_owned()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        Metered { meter: Arc::clone(self), host: host.to_owned() }
    }
}

#[derive(Debug)]
struct Metered {
    meter: Arc<Meter>,
    host: String,
}

impl Drop for Metered {
    fn drop(&mut self) {
        for name in ["", &self.host] {
            if let Some((now, _)) = self.meter.0.lock().unwrap().get_mut(name) {
                *now -= 1;
            }
        }
    }
}

/// What a source does when it is opened.
#[derive(Debug)]
pub(crate) enum Act {
    Fail(Error),
    /// Brings the part up to this offset of the blob, and breaks.
    BreakAt(usize),
    /// The same, and panics.
    PanicAt(usize),
    /// Brings other bytes.
    Lie,
    /// Brings everything from the beginning, whatever was asked for.
    IgnoreRange,
    Panic,
}

/// A source.
#[derive(Debug)]
pub(crate) struct Spring {
    host: Option<String>,
    repository: String,
    bytes: Bytes,
    piece: usize,
    gate: Option<Arc<Gate>>,
    fetches: Option<Arc<Gate>>,
    link: Option<Arc<Link>>,
    meter: Arc<Meter>,
    acts: Mutex<VecDeque<Act>>,
    opened: Mutex<Vec<Range<u64>>>,
}

impl Spring {
    /// Has `bytes` and is here.
    pub(crate) fn of(bytes: &Bytes) -> Self {
        Self {
            host: None,
            repository: "spring".to_owned(),
            bytes: bytes.clone(),
            piece: 1 << 30,
            gate: None,
            fetches: None,
            link: None,
            meter: Arc::default(),
            acts: Mutex::default(),
            opened: Mutex::default(),
        }
    }

    /// Is at a host.
    pub(crate) fn at(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    pub(crate) fn in_repository(self, repository: &str) -> Self {
        Self { repository: repository.to_owned(), ..self }
    }

    /// Brings pieces of so many bytes.
    pub(crate) fn in_pieces(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    /// Brings each piece through `gate`.
    pub(crate) fn through(self, gate: &Arc<Gate>) -> Self {
        Self { gate: Some(Arc::clone(gate)), ..self }
    }

    /// Fetches the blob through `gate` before it is open.
    pub(crate) fn fetching_through(self, gate: &Arc<Gate>) -> Self {
        Self { fetches: Some(Arc::clone(gate)), ..self }
    }

    /// Brings each piece over `link`.
    pub(crate) fn over(self, link: &Arc<Link>) -> Self {
        Self { link: Some(Arc::clone(link)), ..self }
    }

    /// Is counted by `meter` from the answer to the end of the body.
    pub(crate) fn counted_by(self, meter: &Arc<Meter>) -> Self {
        Self { meter: Arc::clone(meter), ..self }
    }

    /// Does this when it is opened the next time; said again, the time after that.
    pub(crate) fn then(self, act: Act) -> Self {
        self.acts.lock().unwrap().push_back(act);
        self
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// The ranges asked for.
    pub(crate) fn opened(&self) -> Vec<Range<u64>> {
        self.opened.lock().unwrap().clone()
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        descriptor(&self.bytes)
    }
}

#[async_trait]
impl Provider for Spring {
    async fn open(&self, _: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.opened.lock().unwrap().push(range.clone());
        if let Some(gate) = &self.fetches {
            gate.enter().await;
        }
        let act = self.acts.lock().unwrap().pop_front();
        let mut bytes = self.bytes.clone();
        let (mut start, mut end, mut panics) = (usize::try_from(range.start).unwrap(), bytes.len(), false);
        match act {
            None => {}
            Some(Act::Fail(error)) => return Err(error),
            Some(Act::Panic) => panic!("the source panics"),
            Some(Act::BreakAt(offset)) => end = offset,
            Some(Act::PanicAt(offset)) => (end, panics) = (offset, true),
            Some(Act::Lie) => bytes = bytes.iter().map(|byte| !byte).collect(),
            Some(Act::IgnoreRange) => start = 0,
        }
        let counted = self.meter.enter(self.host.as_deref().unwrap_or("here"));
        let (piece, gate, link) = (self.piece, self.gate.clone(), self.link.clone());
        let whole = bytes.len();
        let stream = futures::stream::unfold((start, false), move |(at, over)| {
            let (bytes, gate, link) = (bytes.clone(), gate.clone(), link.clone());
            let _counted = &counted;
            async move {
                if over || at >= whole {
                    return None;
                }
                if at >= end {
                    assert!(!panics, "the body panics");
                    return Some((Err(broken()), (at, true)));
                }
                let next = (at + piece).min(end);
                if let Some(gate) = gate {
                    gate.enter().await;
                }
                if let Some(link) = link {
                    link.carry(next - at).await;
                }
                Some((Ok(bytes.slice(at..next)), (next, false)))
            }
        });
        Ok(Unverified::new(start as u64..whole as u64, stream.boxed()))
    }

    async fn info(&self, _: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: None })
    }

    fn origin(&self) -> Origin {
        let host = self.host.clone().unwrap_or_else(|| "here".to_owned());
        Origin { host, repository: self.repository.clone() }
    }

    fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    fn fetches(&self) -> bool {
        self.fetches.is_some()
    }
}

/// A line whose bandwidth all share who use it at once: pieces go one after the other, in the order of asking.
#[derive(Debug)]
pub(crate) struct Link {
    busy: tokio::sync::Mutex<()>,
    bytes_per_second: u32,
}

impl Link {
    pub(crate) fn of(bytes_per_second: u32) -> Arc<Self> {
        Arc::new(Self { busy: tokio::sync::Mutex::default(), bytes_per_second })
    }

    async fn carry(&self, bytes: usize) {
        let _busy = self.busy.lock().await;
        let seconds = f64::from(u32::try_from(bytes).unwrap()) / f64::from(self.bytes_per_second);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}

/// What a target does when it is given a blob.
#[derive(Debug)]
pub(crate) enum Put {
    Fail(Error),
    Panic,
}

/// A target.
#[derive(Debug)]
pub(crate) struct Store {
    host: Option<String>,
    repository: String,
    /// Before it says what it has, before it has what it got, and before it returns though nobody wants it any more.
    pub(crate) asking: Arc<Gate>,
    pub(crate) committing: Arc<Gate>,
    pub(crate) winding_down: Arc<Gate>,
    meter: Arc<Meter>,
    acts: Mutex<VecDeque<Put>>,
    blobs: Mutex<HashMap<Digest, Bytes>>,
    asked: AtomicUsize,
    puts: AtomicUsize,
    /// Blobs given, in order.
    given: Mutex<Vec<Digest>>,
    under_way: Arc<Mutex<HashSet<(Digest, u64)>>>,
    hold: Option<Arc<()>>,
    mounts: bool,
}

impl Store {
    /// Is here, and never keeps anybody waiting.
    pub(crate) fn here(repository: &str) -> Self {
        let gate = || {
            let gate = Gate::shut();
            gate.open();
            gate
        };
        Self {
            host: None,
            repository: repository.to_owned(),
            asking: gate(),
            committing: gate(),
            winding_down: gate(),
            meter: Arc::default(),
            acts: Mutex::default(),
            blobs: Mutex::default(),
            asked: AtomicUsize::default(),
            puts: AtomicUsize::default(),
            given: Mutex::default(),
            under_way: Arc::default(),
            hold: None,
            mounts: false,
        }
    }

    /// Has other repositories beside it, and refuses to take anything from them.
    pub(crate) fn mounting(self) -> Self {
        Self { mounts: true, ..self }
    }

    pub(crate) fn at(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    pub(crate) fn asking_through(self, gate: &Arc<Gate>) -> Self {
        Self { asking: Arc::clone(gate), ..self }
    }

    pub(crate) fn committing_through(self, gate: &Arc<Gate>) -> Self {
        Self { committing: Arc::clone(gate), ..self }
    }

    pub(crate) fn winding_down_through(self, gate: &Arc<Gate>) -> Self {
        Self { winding_down: Arc::clone(gate), ..self }
    }

    pub(crate) fn counted_by(self, meter: &Arc<Meter>) -> Self {
        Self { meter: Arc::clone(meter), ..self }
    }

    /// Gives out clones of `token` as holds.
    pub(crate) fn holding(self, token: &Arc<()>) -> Self {
        Self { hold: Some(Arc::clone(token)), ..self }
    }

    pub(crate) fn then(self, act: Put) -> Self {
        self.acts.lock().unwrap().push_back(act);
        self
    }

    pub(crate) fn with(self, bytes: &Bytes) -> Self {
        self.blobs.lock().unwrap().insert(digest::sha256(bytes), bytes.clone());
        self
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    pub(crate) fn has(&self, bytes: &Bytes) -> bool {
        self.blobs.lock().unwrap().get(&digest::sha256(bytes)).is_some_and(|stored| stored == bytes)
    }

    /// Loses everything.
    pub(crate) fn forget(&self) {
        self.blobs.lock().unwrap().clear();
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn puts(&self) -> usize {
        self.puts.load(Ordering::Relaxed)
    }

    /// Where each of `blobs` stands among those given: their places in the order asked for.
    pub(crate) fn order(&self, blobs: &[Bytes]) -> Vec<usize> {
        let digests: Vec<_> = blobs.iter().map(|bytes| digest::sha256(bytes)).collect();
        let given = self.given.lock().unwrap();
        given.iter().map(|given| digests.iter().position(|digest| digest == given).unwrap()).collect()
    }

    async fn take(&self, blob: &Blob) -> Result<Bytes> {
        let mut stream = blob.read().await?;
        self.given.lock().unwrap().push(blob.descriptor().digest().clone());
        let _counted = self.host.as_deref().map(|host| self.meter.enter(host));
        let mut whole = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            whole.extend_from_slice(&chunk?);
        }
        let commit = self.committing.enter();
        match blob.cancelled().run_until_cancelled(commit).await {
            Some(()) => Ok(whole.freeze()),
            None => Err(Error::Cancelled { what: What::new("commit", blob.descriptor().digest()) }),
        }
    }
}

/// One blob's put under way; two of one blob at once are a bug.
struct UnderWay(Arc<Mutex<HashSet<(Digest, u64)>>>, (Digest, u64));

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

#[async_trait]
impl Target for Store {
    async fn resolve(&self, _: &Name) -> Result<Option<Digest>> {
        Ok(None)
    }

    async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.asking.enter().await;
        let blobs = self.blobs.lock().unwrap();
        Ok(blobs.get(blob.digest()).is_some_and(|bytes| bytes.len() as u64 == blob.size()))
    }

    fn mounts(&self) -> bool {
        self.mounts
    }

    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }

    async fn mount_from(&self, _: &Descriptor, places: &[Origin]) -> Result<Mounting> {
        Ok(Mounting { from: places.first().cloned(), ..Mounting::default() })
    }

    async fn put_blob(&self, blob: &Blob, _: Option<String>) -> Result<()> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let digest = blob.descriptor().digest().clone();
        // What is said to be of another size is another claim, and may be looked into beside it.
        let claim = (digest.clone(), blob.descriptor().size());
        let alone = self.under_way.lock().unwrap().insert(claim.clone());
        assert!(alone, "two at once of {digest}");
        let _under_way = UnderWay(Arc::clone(&self.under_way), claim);
        let act = self.acts.lock().unwrap().pop_front();
        match act {
            None => {}
            Some(Put::Fail(error)) => return Err(error),
            Some(Put::Panic) => panic!("the target panics"),
        }
        let outcome = self.take(blob).await;
        if blob.cancelled().is_cancelled() {
            self.winding_down.enter().await;
        }
        self.blobs.lock().unwrap().insert(digest, outcome?);
        Ok(())
    }

    async fn put_manifest(&self, _: &Manifest, _: &Name) -> Result<()> {
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn origin(&self) -> Origin {
        let host = self.host.clone().unwrap_or_else(|| "here".to_owned());
        Origin { host, repository: self.repository.clone() }
    }

    fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    async fn hold(&self, blob: &Descriptor) -> Result<Option<Arc<dyn Provider>>> {
        let Some(token) = &self.hold else { return Ok(None) };
        let bytes = self.blobs.lock().unwrap()[blob.digest()].clone();
        Ok(Some(Arc::new(Held { spring: Spring::of(&bytes), _token: Arc::clone(token) })))
    }
}

/// A blob that is kept for as long as this is.
#[derive(Debug)]
struct Held {
    spring: Spring,
    _token: Arc<()>,
}

#[async_trait]
impl Provider for Held {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.spring.open(blob, range).await
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        self.spring.info(blob).await
    }

    fn origin(&self) -> Origin {
        self.spring.origin()
    }
}

/// What somebody was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Start(State),
    Advance(u64),
    Finish(State),
    Note(String),
}

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<Told>>);

impl Log {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, told: &Told) -> bool {
        self.0.lock().unwrap().contains(told)
    }

    pub(crate) fn finishes(&self) -> usize {
        self.all().iter().filter(|told| matches!(told, Told::Finish(_))).count()
    }

    fn add(&self, told: Told) {
        self.0.lock().unwrap().push(told);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Progress for Log {
    fn start(&self, _: &Descriptor, state: State) {
        self.add(Told::Start(state));
    }
    fn advance(&self, _: &Descriptor, position: u64) {
        self.add(Told::Advance(position));
    }
    fn finish(&self, _: &Descriptor, state: State) {
        self.add(Told::Finish(state));
    }
    fn note(&self, message: &str) {
        self.add(Told::Note(message.to_owned()));
    }
}

/// `spring`'s blob, wanted at `store`.
pub(crate) fn wanted(spring: &Arc<Spring>, store: &Arc<Store>) -> Wanted {
    Wanted {
        blob: spring.descriptor(),
        sources: vec![Arc::clone(spring) as Arc<dyn Provider>],
        target: Arc::clone(store) as Arc<dyn Target>,
        height: 0,
        shared: 1,
        access: Access::anonymous(),
    }
}

/// The same, as urgently as said.
pub(crate) fn wanted_as(priority: Priority, spring: &Arc<Spring>, store: &Arc<Store>) -> Wanted {
    let mut wanted = wanted(spring, store);
    wanted.access.priority = priority;
    wanted
}

/// Somebody who has asked for a blob, and may leave.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) log: Arc<Log>,
    leaving: CancellationToken,
    task: JoinHandle<Option<Result<Brought>>>,
}

impl Asker {
    /// Asks, in a task of its own.
    pub(crate) fn of(engine: &Transfers, mut wanted: Wanted) -> Self {
        let (log, leaving) = (Arc::<Log>::default(), CancellationToken::new());
        wanted.access = wanted.access.watched_by(Arc::<Log>::clone(&log));
        let (engine, left) = (engine.clone(), leaving.clone());
        let ask = async move { left.run_until_cancelled(engine.bring(wanted)).await };
        Self { log, leaving, task: TaskTracker::new().spawn(ask) }
    }

    /// Waits for the outcome; whatever time that takes, it must come.
    pub(crate) async fn outcome(self) -> Result<Brought> {
        let ended = tokio::time::timeout(Duration::from_secs(100_000), self.task).await;
        ended.expect("it hangs").unwrap().expect("it has left")
    }

    /// Drops the future. Returns when that has happened, and what was told by then.
    pub(crate) async fn leave(self) -> Arc<Log> {
        self.leaving.cancel();
        assert!(self.task.await.unwrap().is_none(), "it was over before");
        self.log
    }

    pub(crate) fn is_done(&self) -> bool {
        self.task.is_finished()
    }
}
