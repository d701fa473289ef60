//! Several processes and one layout: this test binary runs itself as the other one.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use lazyblob_remote::Error;
use lazyblob_remote::layout::{IngestSettings, Ingests, Received};

use super::support::{Bench, Ending, eager};
use crate::support::noise;

const SIZE: usize = 6_000_000;
const PIECE: usize = 512 * 1024;
/// Where the other process finds the layout, and what it does there.
const LAYOUT: &str = "LAZYBLOB_TEST_LAYOUT";
const ROLE: &str = "LAZYBLOB_TEST_ROLE";

fn bench(settings: IngestSettings) -> Bench {
    Bench::with(noise(SIZE, 4711), settings)
}

/// The other process. Its stderr is what it has to say.
struct Other {
    process: Child,
    says: Lines<BufReader<ChildStderr>>,
}

impl Other {
    fn start(role: &str, bench: &Bench) -> Self {
        Self::command(&mut Command::new(std::env::current_exe().unwrap()), role, bench)
    }

    fn command(command: &mut Command, role: &str, bench: &Bench) -> Self {
        let mut process = command
            .args(["--exact", "ingest::processes::the_other_process", "--nocapture"])
            .env(LAYOUT, bench.temp.path().join("layout"))
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, says }
    }

    /// What follows `word` on the line that begins with it.
    fn wait_for(&mut self, word: &str) -> String {
        let mut said = Vec::new();
        for line in self.says.by_ref() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
            said.push(line);
        }
        panic!("it ended without saying {word}: {said:#?}");
    }

    /// Tells it to go on.
    fn go(&mut self) {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}

/// Does nothing unless it is run by one of the tests below.
#[tokio::test]
async fn the_other_process() {
    let (Ok(layout), Ok(role)) = (std::env::var(LAYOUT), std::env::var(ROLE)) else { return };
    let bench = bench(eager());
    let root = Path::new(&layout);
    let ingests = Ingests::new(root, root.join(".ingest")).with_settings(eager());
    match role.as_str() {
        "receive" => receive_a_little(&bench, &ingests).await,
        "hold" => hold(&bench, &ingests).await,
        "fill" => {
            let error = ingests.receive(&bench.read_by(&bench.source([]), 1)).await.unwrap_err();
            let Error::Io { path, source, .. } = &error else { panic!("{error}") };
            say(&format!("failed {} {}", source.kind(), path.display()));
        }
        other => panic!("{other}"),
    }
}

/// What [`Other::wait_for`] waits for.
#[allow(clippy::print_stderr, reason = "it is how the processes talk")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Receives three pieces more than there are, and says when at least one of them is saved.
async fn receive_a_little(bench: &Bench, ingests: &Ingests) {
    let offset = async || ingests.list().await.unwrap().first().map_or(0, |partial| partial.offset);
    let before = offset().await;
    let source = bench.source([Ending::Stalls(before + 3 * PIECE as u64 + 10_000)]);
    let watch = async {
        source.stalled.notified().await;
        while offset().await == before {
            tokio::task::yield_now().await;
        }
        say("saved");
        std::future::pending::<()>().await;
    };
    let blob = bench.read_by(&source, 1);
    let (received, ()) = tokio::join!(ingests.receive(&blob), watch);
    panic!("it cannot end: {received:?}");
}

/// Writes a part, saves a part of that, waits to be told, and writes the rest.
async fn hold(bench: &Bench, ingests: &Ingests) {
    let Some(mut ingest) = ingests.begin(&bench.blob, &*bench.notes).await.unwrap() else {
        say("has found it");
        return;
    };
    ingest.write(bench.bytes[..PIECE].to_vec().into()).await.unwrap();
    ingest.save().await.unwrap();
    ingest.write(bench.bytes[PIECE..PIECE + 1000].to_vec().into()).await.unwrap();
    say("holds");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
    ingest.write(bench.bytes[PIECE + 1000..].to_vec().into()).await.unwrap();
    ingest.commit().await.unwrap();
    say("has written it");
}

/// Row 47: after kill -9, again and again, each run asks only from a durable offset on, and the blob comes out right.
#[tokio::test]
async fn a_killed_run_is_gone_on_with() {
    let bench = bench(eager());
    let mut offsets = vec![0];
    for _ in 0..3 {
        let mut other = Other::start("receive", &bench);
        other.wait_for("saved");
        other.kill();
        offsets.push(bench.offset().await.unwrap());
        assert!(!bench.place().exists());
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "every run gets on: {offsets:?}");
    let last = *offsets.last().unwrap();
    let source = bench.source([]);
    assert_eq!(bench.receive(&source).await.unwrap(), Received::Stored);
    assert_eq!(source.asked(), [last]);
    assert_eq!(source.served(), SIZE as u64 - last);
    bench.assert_stored();
}

/// Row 68a: who waits for another process says for which, and finds the blob when that one has committed it.
#[tokio::test]
async fn a_blob_that_another_process_commits_is_not_read_again() {
    let bench = bench(IngestSettings::default());
    let mut other = Other::start("hold", &bench);
    other.wait_for("holds");
    let list = bench.ingests.list().await.unwrap();
    assert!(list[0].in_use && list[0].offset == PIECE as u64, "{list:?}");
    let source = bench.source([]);
    let blob = bench.read_by(&source, 1);
    let say = async {
        while bench.notes.all().is_empty() {
            tokio::task::yield_now().await;
        }
        other.go();
    };
    let (received, ()) = tokio::join!(bench.ingests.receive(&blob), say);
    assert_eq!(received.unwrap(), Received::Present);
    assert!(source.asked().is_empty());
    let note = &bench.notes.all()[0];
    assert!(note.contains(&format!("waiting for process {}: ", other.process.id())), "{note}");
    let program = std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert!(note.ends_with(&format!(": {program}")), "no argument of it: {note}");
    assert!(other.process.wait().unwrap().success());
    bench.assert_stored();
}

/// Row 68b: when the other process is killed, who waits for it takes over at what it has saved.
#[tokio::test]
async fn a_waiter_takes_over_from_a_killed_process() {
    let bench = bench(IngestSettings::default());
    let mut other = Other::start("hold", &bench);
    other.wait_for("holds");
    let source = bench.source([]);
    let blob = bench.read_by(&source, 1);
    let kill = async {
        while bench.notes.all().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(source.asked().is_empty());
        other.kill();
    };
    let (received, ()) = tokio::join!(bench.ingests.receive(&blob), kill);
    assert_eq!(received.unwrap(), Received::Stored);
    assert_eq!(source.asked(), [PIECE as u64]);
    bench.assert_stored();
}

/// Row 98: what another process writes is neither removed nor aborted, whatever its age; after its end it is.
#[tokio::test]
async fn what_another_process_writes_is_never_touched() {
    let bench = bench(IngestSettings::default());
    let mut other = Other::start("hold", &bench);
    other.wait_for("holds");
    assert_eq!(bench.ingests.expire(Duration::ZERO).await.unwrap().len(), 0);
    let error = bench.ingests.abort(bench.blob.digest()).await.unwrap_err();
    let Error::Refused { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains(&format!("process {}: ", other.process.id())), "{reason}");
    assert_eq!(bench.offset().await, Some(PIECE as u64));
    other.kill();
    bench.ingests.sweep().await.unwrap();
    assert_eq!(bench.offset().await, Some(PIECE as u64), "it is young");
    assert_eq!(bench.ingests.expire(Duration::ZERO).await.unwrap().len(), 1);
    bench.assert_nothing_unfinished();
}

/// Row 95a: a file system that takes no more bytes is an error that names the file; what it took is gone on with.
#[tokio::test]
async fn where_there_is_no_room_what_fitted_is_kept() {
    let bench = bench(IngestSettings::default());
    // A limit on the size of files instead of a small file system, which takes root to make. In units of 512 or 1024
    // bytes, as the shell pleases.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh"]);
    limited.arg(std::env::current_exe().unwrap());
    let mut other = Other::command(&mut limited, "fill", &bench);
    let said = other.wait_for("failed");
    assert!(said.ends_with(&bench.partial().join("data").display().to_string()), "{said}");
    assert!(said.contains("file too large"), "{said}");
    assert!(other.process.wait().unwrap().success());
    let offset = bench.offset().await.unwrap();
    assert!((PIECE as u64..=4000 * 1024).contains(&offset), "{offset}");
    assert_eq!(fs::metadata(bench.partial().join("data")).unwrap().len(), offset, "the torn end is cut off");
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [offset]);
    bench.assert_stored();
}

/// Row 68a: two processes that begin at the same time do not both write.
#[tokio::test]
async fn processes_that_begin_together_write_one_after_the_other() {
    let bench = bench(IngestSettings::default());
    let mut others: Vec<_> = (0..3).map(|_| Other::start("hold", &bench)).collect();
    others.iter_mut().for_each(Other::go);
    let outcomes: Vec<_> = others.iter_mut().map(|other| other.wait_for("has ")).collect();
    assert_eq!(outcomes.iter().filter(|one| *one == "written it").count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|one| *one == "found it").count(), 2, "{outcomes:?}");
    for other in &mut others {
        assert!(other.process.wait().unwrap().success());
    }
    bench.assert_stored();
}
