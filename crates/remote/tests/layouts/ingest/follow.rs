//! Reading a blob while it is received: exactly its bytes, an end when it is whole, and an error otherwise.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lazyblob_remote::layout::{
    Begun, Cut, Follower, Ingest, IngestSettings, Ingests, Received, Tail, Waiting,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::support::{Bench, Ending, eager};
use crate::support::noise;

/// Longer than anything here takes on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);
const SIZE: usize = 900_000;

async fn begin(bench: &Bench) -> Ingest {
    bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap()
}

fn follow(bench: &Bench) -> Follower {
    bench.ingests.follow(&bench.blob).unwrap()
}

async fn tail(follower: &Follower) -> Tail {
    match tokio::time::timeout(LONG, follower.begun()).await.unwrap().unwrap() {
        Begun::Tail(tail) => tail,
        Begun::Here => panic!("it is there already"),
    }
}

async fn is_here(follower: &Follower) -> bool {
    let begun = tokio::time::timeout(LONG, follower.begun()).await.unwrap().unwrap();
    matches!(begun, Begun::Here)
}

/// Whether there is nothing to read yet; where the clock is paused, it goes on only when nothing happens any more.
async fn waits(follower: &Follower) -> bool {
    tokio::time::timeout(LONG, follower.begun()).await.is_err()
}

/// Reads to the end in a blocking thread, in small pieces.
fn read(mut tail: Tail) -> JoinHandle<(Vec<u8>, Result<(), Cut>)> {
    tokio::task::spawn_blocking(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 7000]);
        loop {
            match tail.read(&mut piece) {
                Ok(0) => {
                    assert_eq!(tail.position(), all.len() as u64);
                    assert_eq!(tail.read(&mut piece).unwrap(), 0, "an end stays one");
                    return (all, Ok(()));
                }
                Ok(read) => all.extend_from_slice(&piece[..read]),
                Err(error) => {
                    let cut = Cut::of(&error).unwrap_or_else(|| panic!("{error}"));
                    let again = tail.read(&mut piece).unwrap_err();
                    assert_eq!(Cut::of(&again), Some(cut), "an error stays one");
                    assert_ne!(error.kind(), io::ErrorKind::Interrupted, "readers would try again for ever");
                    return (all, Err(cut));
                }
            }
        }
    })
}

/// Tells when a tail waits, and for a moment it is known to do nothing else.
fn watched(tail: Tail) -> (Tail, Receiver<Waiting>) {
    let (tell, told) = channel();
    (
        tail.on_wait(move |waiting| {
            let _ = tell.send(waiting);
        }),
        told,
    )
}

/// Waits in a blocking thread until `told` has said `waiting`.
async fn until(told: Receiver<Waiting>, waiting: Waiting) -> Receiver<Waiting> {
    let wait = move || {
        assert_eq!(told.recv_timeout(LONG).unwrap(), waiting);
        told
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_tail_reads_what_is_written_and_ends_when_the_blob_is_there() {
    let bench = Bench::new(SIZE);
    let follower = follow(&bench);
    assert!(waits(&follower).await, "nobody writes it yet");
    let mut ingest = begin(&bench).await;
    let (tail, mut told) = watched(tail(&follower).await);
    let reader = read(tail);
    for piece in bench.bytes.chunks(300_000) {
        told = until(told, Waiting::Begins).await;
        ingest.write(piece.to_vec().into()).await.unwrap();
        ingest.save().await.unwrap();
        told = until(told, Waiting::Ends).await;
    }
    // Everything is written, and nothing verified: it waits.
    told = until(told, Waiting::Begins).await;
    assert!(told.try_recv().is_err());
    assert!(!reader.is_finished());
    assert!(!bench.place().exists());
    ingest.commit().await.unwrap();
    let (bytes, end) = reader.await.unwrap();
    assert_eq!(end, Ok(()));
    assert!(bytes == bench.bytes, "other bytes than the blob's");
    until(told, Waiting::Ends).await;
    bench.assert_stored();
}

/// The end comes when the blob is in its place, not when its bytes are known to be right.
#[tokio::test]
async fn a_tail_of_what_cannot_be_published_does_not_end() {
    let bench = Bench::new(10_000);
    let follower = follow(&bench);
    let mut ingest = begin(&bench).await;
    let reader = read(tail(&follower).await);
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    fs::create_dir_all(bench.place()).unwrap();
    ingest.commit().await.unwrap_err();
    let (bytes, end) = reader.await.unwrap();
    assert_eq!(end, Err(Cut::Abandoned));
    assert!(bench.bytes.starts_with(&bytes));
}

#[tokio::test]
async fn ten_tails_read_the_same_whenever_they_come() {
    let bench = Bench::with(noise(SIZE, 4711), eager());
    let source = bench.source([]);
    let followers: Vec<_> = (0..5).map(|_| follow(&bench)).collect();
    let early = async {
        let mut readers = Vec::new();
        for follower in &followers {
            readers.push(read(tail(follower).await));
        }
        readers
    };
    let mut ingest = begin(&bench).await;
    let mut readers = early.await;
    for piece in bench.bytes.chunks(180_000) {
        ingest.write(piece.to_vec().into()).await.unwrap();
        ingest.save().await.unwrap();
        readers.push(read(tail(&follow(&bench)).await));
    }
    assert_eq!(readers.len(), 10);
    ingest.commit().await.unwrap();
    for reader in readers {
        let (bytes, end) = reader.await.unwrap();
        assert_eq!(end, Ok(()));
        assert!(bytes == bench.bytes, "other bytes than the blob's");
    }
    assert!(source.asked().is_empty(), "nobody read it a second time");
}

#[tokio::test]
async fn a_tail_of_a_resumed_blob_begins_with_what_is_on_disk() {
    let bench = Bench::new(SIZE);
    bench.leave(500_000).await;
    let source = bench.source([Ending::Stalls(500_000), Ending::Refused]);
    let follower = follow(&bench);
    let cancel = CancellationToken::new();
    let receiving = bench.receive(&source);
    let reading = async {
        let (tail, told) = watched(tail(&follower).await.until(cancel.clone()));
        let reader = read(tail);
        drop(until(told, Waiting::Begins).await);
        cancel.cancel();
        reader.await.unwrap()
    };
    let (bytes, end) = tokio::select! {
        received = receiving => panic!("{received:?}"),
        read = reading => read,
    };
    assert_eq!(end, Err(Cut::Cancelled));
    assert!(bytes == bench.bytes[..500_000], "what was there, and nothing that was not");
    // And on to the end, with another source.
    let source = bench.source([]);
    let (received, read) =
        tokio::join!(bench.receive(&source), async { read(tail(&follower).await).await.unwrap() });
    assert_eq!(received.unwrap(), Received::Stored);
    assert_eq!(source.asked(), [500_000]);
    assert!(read == (bench.bytes.clone(), Ok(())));
}

/// What an earlier run has left is wrong, which is found out at the end: all that was made of it is thrown away.
#[tokio::test]
async fn a_tail_is_cut_when_its_beginning_proves_wrong() {
    let bench = Bench::new(SIZE);
    bench.leave(500_000).await;
    let data = File::options().write(true).open(bench.partial().join("data")).unwrap();
    data.write_all_at(b"wrong", 0).unwrap();
    // The hash state is another's, and so the digest will be.
    let other = Bench::with(noise(SIZE, 4712), IngestSettings::default());
    other.leave(500_000).await;
    let state = fs::read_to_string(other.partial().join("state")).unwrap();
    let hash: serde_json::Value = serde_json::from_str(state.lines().next().unwrap()).unwrap();
    bench.edit_state(|state| state["hash"] = hash["hash"].clone());
    let follower = follow(&bench);
    let mut ingest = begin(&bench).await;
    let reader = read(tail(&follower).await);
    ingest.write(bench.bytes[500_000..].to_vec().into()).await.unwrap();
    assert_eq!(ingest.saved(), 500_000);
    ingest.release().await;
    assert_eq!(reader.await.unwrap().1, Err(Cut::Abandoned));
    // Now to the end; whether a tail sees the first attempt or the second one, it ends with the second.
    let source = bench.source([]);
    let reading = async {
        loop {
            match follower.begun().await.unwrap() {
                Begun::Tail(tail) => match read(tail).await.unwrap() {
                    (bytes, Ok(())) => return bytes,
                    (_, Err(cut)) => assert_eq!(cut, Cut::Restarted),
                },
                Begun::Here => return fs::read(bench.place()).unwrap(),
            }
        }
    };
    let (received, bytes) = tokio::join!(bench.receive(&source), reading);
    assert_eq!(received.unwrap(), Received::Stored);
    assert_eq!(source.asked(), [500_000, 0]);
    assert!(bytes == bench.bytes);
}

#[tokio::test]
async fn a_restart_cuts_and_the_next_tail_begins_at_the_first_byte() {
    let bench = Bench::new(SIZE);
    let follower = follow(&bench);
    let mut ingest = begin(&bench).await;
    ingest.write(noise(600_000, 1).into()).await.unwrap();
    ingest.save().await.unwrap();
    // One has read some of it and one nothing; neither gets a byte more.
    let (some, told) = watched(tail(&follower).await);
    let mut none = tail(&follower).await;
    let reader = read(some);
    drop(until(told, Waiting::Begins).await);
    ingest.restart().await.unwrap();
    let (bytes, end) = reader.await.unwrap();
    assert_eq!((bytes.len(), end), (600_000, Err(Cut::Restarted)));
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    assert_eq!(Cut::of(&none.read(&mut [0; 10]).unwrap_err()), Some(Cut::Restarted));
    let reader = read(tail(&follower).await);
    ingest.commit().await.unwrap();
    assert!(reader.await.unwrap() == (bench.bytes.clone(), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_cuts_and_the_next_attempt_is_followed() {
    let bench = Bench::new(SIZE);
    let follower = follow(&bench);
    let source = bench.source([Ending::Breaks(600_000)]);
    let reading = async { read(tail(&follower).await).await.unwrap() };
    let (received, (bytes, end)) = tokio::join!(bench.receive(&source), reading);
    received.unwrap_err();
    assert_eq!(end, Err(Cut::Abandoned));
    assert!(bench.bytes.starts_with(&bytes));
    assert!(waits(&follower).await, "nobody writes it now");
    let source = bench.source([]);
    let reading = async { read(tail(&follower).await).await.unwrap() };
    let (received, read) = tokio::join!(bench.receive(&source), reading);
    received.unwrap();
    assert!(read == (bench.bytes.clone(), Ok(())));
}

#[tokio::test]
async fn wrong_bytes_never_come_to_an_end() {
    let bench = Bench::new(SIZE);
    for wrong in [noise(SIZE, 5), noise(SIZE + 1, 5), noise(SIZE - 1, 5)] {
        let follower = follow(&bench);
        let mut ingest = begin(&bench).await;
        let reader = read(tail(&follower).await);
        match ingest.write(wrong.into()).await {
            Ok(()) => drop(ingest.commit().await.unwrap_err()),
            Err(_) => ingest.release().await,
        }
        reader.await.unwrap().1.unwrap_err();
        assert!(!bench.place().exists());
        drop(bench.ingests.abort(bench.blob.digest()).await);
    }
}

#[tokio::test]
async fn who_writes_does_not_care_who_reads() {
    let bench = Bench::new(SIZE);
    let follower = follow(&bench);
    let mut ingest = begin(&bench).await;
    let mut one = tail(&follower).await;
    ingest.write(bench.bytes[..600_000].to_vec().into()).await.unwrap();
    assert!(one.read(&mut [0; 100]).unwrap() > 0);
    drop(one);
    let idle = tail(&follower).await;
    drop(follower);
    ingest.write(bench.bytes[600_000..].to_vec().into()).await.unwrap();
    ingest.commit().await.unwrap();
    // Whoever comes late reads what is there now, by a file that has another name.
    assert!(read(idle).await.unwrap() == (bench.bytes.clone(), Ok(())));
    bench.assert_stored();
}

/// Dropped with its future, without a word: it is no end.
#[tokio::test]
async fn an_ingest_that_is_dropped_cuts() {
    let bench = Bench::new(SIZE);
    let follower = follow(&bench);
    let mut ingest = begin(&bench).await;
    let (tail, told) = watched(tail(&follower).await);
    let reader = read(tail);
    drop(until(told, Waiting::Begins).await);
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    drop(ingest);
    assert_eq!(reader.await.unwrap().1, Err(Cut::Abandoned));
}

/// The file of an unfinished blob is gone on with by others, and cut for that: a tail does not read what they write.
#[tokio::test]
async fn a_tail_does_not_read_what_others_write_in_the_same_file() {
    let bench = Bench::with(noise(SIZE, 4711), eager());
    let follower = follow(&bench);
    let mut ingest = begin(&bench).await;
    let mut tail = tail(&follower).await;
    ingest.write(bench.bytes[..600_000].to_vec().into()).await.unwrap();
    ingest.save().await.unwrap();
    let mut first = [0; 1000];
    tail.read_exact(&mut first).unwrap();
    assert_eq!(first[..], bench.bytes[..1000]);
    drop(ingest);
    let others = Ingests::new(bench.temp.path().join("layout"), bench.ingests.dir());
    let mut other = others.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
    assert_eq!(other.position(), 600_000);
    other.restart().await.unwrap();
    other.write(noise(600_000, 9).into()).await.unwrap();
    assert_eq!(Cut::of(&tail.read(&mut first).unwrap_err()), Some(Cut::Abandoned));
    other.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_here_is_not_waited_for() {
    let bench = Bench::new(SIZE);
    // Stored in memory while somebody waits.
    let follower = follow(&bench);
    let store = bench.ingests.store(&bench.blob, bench.bytes.clone().into());
    let (here, stored) = tokio::join!(is_here(&follower), store);
    stored.unwrap();
    assert!(here);
    // Stored before anybody followed.
    drop(follower);
    assert!(is_here(&follow(&bench)).await);
    // A file of another size is not the blob.
    fs::write(bench.place(), "short").unwrap();
    assert!(waits(&follow(&bench)).await);
}

/// Stored by another process, which this one has waited for.
#[tokio::test]
async fn a_blob_that_others_store_is_opened_where_it_is() {
    let bench = Bench::new(SIZE);
    let others = Ingests::new(bench.temp.path().join("layout"), bench.ingests.dir());
    let mut other = others.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
    let follower = follow(&bench);
    let source = bench.source([]);
    let work = async {
        other.write(bench.bytes.clone().into()).await.unwrap();
        while bench.notes.all().is_empty() {
            tokio::task::yield_now().await;
        }
        other.commit().await.unwrap();
    };
    let (received, here, ()) = tokio::join!(bench.receive(&source), is_here(&follower), work);
    assert_eq!(received.unwrap(), Received::Present);
    assert!(here);
    assert!(source.asked().is_empty());
}

#[tokio::test]
async fn a_tail_that_is_cancelled_before_it_reads_reads_nothing() {
    let bench = Bench::new(SIZE);
    let mut ingest = begin(&bench).await;
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    let token = CancellationToken::new();
    token.cancel();
    let mut tail = tail(&follow(&bench)).await.until(token);
    assert_eq!(Cut::of(&tail.read(&mut [0; 9]).unwrap_err()), Some(Cut::Cancelled));
    ingest.commit().await.unwrap();
    bench.assert_stored();
}

#[test]
fn a_cut_is_found_behind_what_readers_make_of_it() {
    #[derive(Debug, thiserror::Error)]
    #[error("entry 7")]
    struct Entry(#[source] io::Error);
    let error = io::Error::from(Cut::Restarted);
    let error = io::Error::other(Entry(io::Error::other(error)));
    assert_eq!(Cut::of(&error), Some(Cut::Restarted));
    assert_eq!(Cut::of(&Entry(error)), Some(Cut::Restarted));
    assert_eq!(Cut::of(&io::Error::from(io::ErrorKind::NotFound)), None);
}
