//! Several processes on one root: this test program runs itself again.
#![allow(clippy::print_stdout, reason = "processes tell each other so")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lazyblob_cache::Error;
use lazyblob_cache::metadata::{Database, Engine, Redb, Settings, Sled};

use crate::support::{COUNTERS, HINTS, RECORDS, all, get, persistent, put};

const ROLE: &str = "LAZYBLOB_METADATA_ROLE";
const ROOT: &str = "LAZYBLOB_METADATA_ROOT";
const ENGINE: &str = "LAZYBLOB_METADATA_ENGINE";

/// What the other process does. In an ordinary run of the tests there is no other process.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = std::env::var_os(ROOT).unwrap();
    let engine: Arc<dyn Engine> = match &*std::env::var(ENGINE).unwrap() {
        "sled" => Arc::new(Sled),
        _ => Arc::new(Redb),
    };
    // A journal that is written anew again and again: what kills a process kills it there, too.
    let database = Database::new(Settings { dead_lines: 50, ..Settings::new(Path::new(&root), engine) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match &*role {
            "counting" => count(&database).await,
            "busy" => busy(&database).await,
            _ => attempt(&database).await,
        }
    });
}

/// Writes one key after the other, a hint and a record each, and says so when it is durable.
async fn count(database: &Database) {
    let begin = all(database, RECORDS).await.unwrap().len();
    for number in begin.. {
        let write = database.write(move |transaction| {
            let key = format!("{number:06}");
            for counter in [b"one", b"two", b"six"] {
                transaction.put(&COUNTERS, counter, key.clone())?;
            }
            transaction.put(&RECORDS, key.as_bytes(), key.clone())?;
            transaction.put(&HINTS, key.as_bytes(), key.clone())
        });
        write.await.unwrap();
        println!("\nacked {number:06}");
    }
}

/// Writes all the time, eight at once.
async fn busy(database: &Database) {
    let me = std::process::id().to_string();
    println!("\nbegun");
    let writers = (0..8).map(|_| async {
        loop {
            let key = me.clone();
            let write = database.write(move |transaction| {
                use lazyblob_cache::metadata::Read as _;
                let count =
                    transaction.get(&RECORDS, key.as_bytes())?.map(|count| String::from_utf8(count).unwrap());
                let count = count.map_or(0, |count| count.parse::<u64>().unwrap());
                transaction.put(&RECORDS, key.as_bytes(), (count + 1).to_string())
            });
            write.await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
}

/// Tries to write, and says what came of it.
async fn attempt(database: &Database) {
    let outcome = put(database, RECORDS, "k", "v").await;
    match outcome.as_ref().map_err(Error::root) {
        Ok(()) => println!("\nwritten"),
        Err(Error::Io { .. }) => println!("\nio: {}", outcome.unwrap_err()),
        Err(error) => println!("\nother: {error}"),
    }
}

/// Ends with the test that it is part of.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(role: &str, root: &Path, engine: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::child", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::piped());
    command.env(ROLE, role).env(ROOT, root).env(ENGINE, engine);
    command
}

fn start(role: &str, root: &Path, engine: &dyn Engine) -> Other {
    Other(command(role, root, engine.name()).spawn().unwrap())
}

/// What a process without privileges says that tries to write below `root`.
pub(crate) fn unprivileged(root: &Path, engine: &str) -> String {
    let mut command = command("attempt", root, engine);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Whether there is time.
pub(crate) fn soaks() -> bool {
    std::env::var_os("LAZYBLOB_SOAK").is_some()
}

/// What a process that counts has been told is durable.
pub(crate) struct Counting {
    child: Other,
    lines: Lines<BufReader<ChildStdout>>,
    acked: BTreeSet<String>,
}

impl Counting {
    pub(crate) fn start(root: &Path, engine: &dyn Engine) -> Self {
        let mut child = start("counting", root, engine);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        Self { child, lines, acked: BTreeSet::new() }
    }

    /// Waits until so much more was acknowledged.
    pub(crate) fn wait_for(&mut self, acks: usize) {
        let acked = self.lines.by_ref().filter_map(acknowledged).take(acks);
        let before = self.acked.len();
        self.acked.extend(acked);
        assert_eq!(self.acked.len(), before + acks, "it goes on until it is killed");
    }

    /// Kills it; what it was told up to then.
    pub(crate) fn kill(mut self) -> BTreeSet<String> {
        self.child.0.kill().unwrap();
        self.acked.extend(self.lines.filter_map(acknowledged));
        self.child.0.wait().unwrap();
        self.acked
    }
}

fn acknowledged(line: std::io::Result<String>) -> Option<String> {
    line.unwrap().strip_prefix("acked ").map(str::to_owned)
}

/// All that was acknowledged is there, all of a batch or none, and nothing had to be mended.
pub(crate) async fn assert_acked(
    root: &Path,
    engine: &Arc<dyn Engine>,
    acked: &BTreeSet<String>,
    when: &str,
) {
    let database = crate::support::database(root, engine);
    let records = all(&database, RECORDS).await.unwrap();
    let keys: BTreeSet<String> = records.iter().map(|(key, _)| key.clone()).collect();
    let lost: Vec<_> = acked.difference(&keys).collect();
    assert!(lost.is_empty(), "{}: {when}: lost {lost:?}: {:?}", engine.name(), database.take_notices());
    assert!(records.iter().all(|(key, value)| key == value));
    assert_eq!(all(&database, HINTS).await.unwrap(), records, "both of a batch or none");
    for (_, counter) in all(&database, COUNTERS).await.unwrap() {
        assert_eq!(Some(&counter), records.last().map(|(key, _)| key), "{}: {when}", engine.name());
    }
    assert_eq!(database.take_notices(), [""; 0], "{}: {when}", engine.name());
    database.close().await;
}

/// Without its database, all that was acknowledged comes back from the journal.
pub(crate) async fn assert_journalled(root: &Path, engine: &Arc<dyn Engine>, acked: &BTreeSet<String>) {
    std::fs::remove_dir_all(root.join("meta")).unwrap();
    let database = crate::support::database(root, engine);
    let hints: BTreeSet<String> =
        all(&database, HINTS).await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert!(acked.is_subset(&hints), "{}: {:?}", engine.name(), acked.difference(&hints));
    database.close().await;
}

/// Ten times a process is killed while it writes.
#[tokio::test]
async fn what_was_acknowledged_outlives_kill_9() {
    let rounds = if soaks() { 100 } else { 10 };
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let mut acked = BTreeSet::new();
        let mut random = fastrand::Rng::with_seed(9);
        for round in 0..rounds {
            let mut counting = Counting::start(root.path(), &*engine);
            counting.wait_for(random.usize(1..80));
            acked.extend(counting.kill());
            assert_acked(root.path(), &engine, &acked, &format!("round {round}")).await;
        }
        assert_journalled(root.path(), &engine, &acked).await;
    }
}

/// One that is killed while it fills a new database from the journal: the next one begins again, and nothing is taken for
/// damage.
#[tokio::test]
async fn who_is_killed_while_filling_has_done_no_harm() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let database = crate::support::database(root.path(), &engine);
        for thousands in 0..5 {
            let write = database.write(move |transaction| {
                for ones in 0..1000 {
                    transaction.put(&HINTS, format!("{thousands}{ones:03}").as_bytes(), vec![b'v'; 100])?;
                }
                Ok(())
            });
            write.await.unwrap();
        }
        database.close().await;
        let mut random = fastrand::Rng::with_seed(5);
        let dir = root.path().join("meta").join(engine.name());
        for _ in 0..10 {
            std::fs::remove_dir_all(&dir).unwrap();
            let mut child = start("attempt", root.path(), &*engine);
            while !dir.join(if engine.name() == "sled" { "db" } else { "data.redb" }).exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
            child.0.kill().unwrap();
            child.0.wait().unwrap();
            let database = crate::support::database(root.path(), &engine);
            assert_eq!(all(&database, HINTS).await.unwrap().len(), 5000, "{}", engine.name());
            let notices = database.take_notices();
            assert!(
                notices.iter().all(|notice| notice.contains("5000 entries from the journal")),
                "{notices:?}"
            );
            assert_eq!(crate::support::aside(root.path()), [""; 0], "{}", engine.name());
            database.close().await;
        }
    }
}

/// While another process writes all the time, who reads now and then is served soon.
#[tokio::test]
async fn a_reader_does_not_wait_long_for_who_writes_all_the_time() {
    let time = Duration::from_secs(if soaks() { 60 } else { 3 });
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let busy = start("busy", root.path(), &*engine);
        let database = crate::support::database(root.path(), &engine);
        begun(&database, 1).await;
        let (begun, mut waits) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let asked = Instant::now();
            get(&database, RECORDS, "k").await.unwrap();
            waits.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        drop(busy);
        waits.sort_unstable();
        let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        println!("{}: {} reads, median {median:?}, longest {longest:?}", engine.name(), waits.len());
        assert!(median < Duration::from_millis(100), "{}: {waits:?}", engine.name());
        assert!(longest < Duration::from_secs(1), "{}: {waits:?}", engine.name());
        database.close().await;
    }
}

/// Two processes that write all the time have it in turn.
#[tokio::test]
async fn busy_processes_take_turns() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let children = [start("busy", root.path(), &*engine), start("busy", root.path(), &*engine)];
        let database = crate::support::database(root.path(), &engine);
        begun(&database, 2).await;
        let before = all(&database, RECORDS).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = all(&database, RECORDS).await.unwrap();
        drop(children);
        let done: Vec<u64> =
            before.iter().zip(&after).map(|((_, from), (_, to))| number(to) - number(from)).collect();
        println!("{}: writes of each process: {done:?}", engine.name());
        assert!(done[0].min(done[1]) * 5 > done[0].max(done[1]), "{}: {done:?}", engine.name());
        database.close().await;
    }
}

/// Waits until `processes` have written something.
async fn begun(database: &Database, processes: usize) {
    while all(database, RECORDS).await.unwrap().len() < processes {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

/// What another process has written is seen, and that there is something to see costs no lock.
#[tokio::test]
async fn a_generation_tells_that_another_has_written() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let ours = crate::support::database(root.path(), &engine);
        put(&ours, RECORDS, "k", "ours").await.unwrap();
        let generation = ours.generation().unwrap();
        let said = command("attempt", root.path(), engine.name()).output().unwrap();
        assert!(String::from_utf8(said.stdout).unwrap().contains("written"));
        assert_eq!(ours.generation().unwrap(), generation + 1);
        assert_eq!(get(&ours, RECORDS, "k").await.unwrap().unwrap(), "v");
        ours.close().await;
    }
}

/// Who holds the database and is not asked lets go of it at once when another wants it, and by himself after a while.
#[tokio::test]
async fn who_is_idle_lets_go() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let patient =
            Settings { idle: Duration::from_secs(3600), ..crate::support::settings(root.path(), &engine) };
        let ours = Database::new(patient);
        put(&ours, RECORDS, "k", "ours").await.unwrap();
        let theirs = crate::support::database(root.path(), &engine);
        let waited = tokio::time::timeout(Duration::from_secs(10), put(&theirs, RECORDS, "k", "theirs"));
        waited.await.expect("it was let go").unwrap();
        let lock = std::fs::File::open(root.path().join("meta/db.lock")).unwrap();
        let mut looks = 0;
        while lock.try_lock().is_err() {
            looks += 1;
            assert!(looks < 1000, "idle for 200 ms, and not let go after 10 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lock.unlock().unwrap();
        assert_eq!(get(&ours, RECORDS, "k").await.unwrap().unwrap(), "theirs");
        ours.close().await;
        theirs.close().await;
    }
}

/// Who waits for the database and loses interest does not keep `close` waiting.
#[tokio::test]
async fn nobody_waits_for_a_lock_that_nobody_wants_any_more() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("meta")).unwrap();
        let lock = std::fs::File::create(root.path().join("meta/db.lock")).unwrap();
        lock.lock().unwrap();
        let ours = crate::support::database(root.path(), &engine);
        let mut write = Box::pin(put(&ours, RECORDS, "k", "v"));
        assert!(futures::poll!(&mut write).is_pending());
        drop(write);
        tokio::time::timeout(Duration::from_secs(10), ours.close()).await.expect("it gave up");
        assert!(
            !root.path().join("meta").join(engine.name()).exists(),
            "nothing was opened without the lock"
        );
    }
}
