//! Partials that cannot be trusted: each is started over, and said to be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use lazyblob_remote::Error;
use serde_json::json;

use super::support::{Bench, Source};
use crate::support::noise;

const SAVED: u64 = 70_000;
const TAIL: usize = 64 * 1024;

/// The files of a partial, to be put back as often as a test likes.
struct Left {
    bench: Bench,
    data: Vec<u8>,
    state: Vec<u8>,
}

impl Left {
    async fn new(size: usize, saved: u64) -> Self {
        let bench = Bench::new(size);
        bench.leave(saved).await;
        let (data, state) = (bench.partial().join("data"), bench.partial().join("state"));
        let (data, state) = (fs::read(data).unwrap(), fs::read(state).unwrap());
        Self { bench, data, state }
    }

    /// Puts these files back; nothing else is there.
    fn put(&self, data: &[u8], state: &[u8]) {
        let _ = fs::remove_file(self.bench.place());
        let dir = self.bench.partial();
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("data"), data).unwrap();
        fs::write(dir.join("state"), state).unwrap();
    }

    /// All of the blob is read, it comes out right, and the reason is said, in these words.
    async fn is_started_over(&self, reason: &str) {
        let (source, before) = (self.bench.source([]), self.bench.notes.all().len());
        self.bench.receive(&source).await.unwrap();
        assert_eq!(source.asked(), [0], "{reason}");
        self.bench.assert_stored();
        let notes = self.bench.notes.all();
        let [note] = &notes[before..] else { panic!("{notes:?}") };
        assert!(note.contains(reason) && note.contains("starting over"), "{reason}: {note}");
        assert!(note.contains(self.bench.blob.digest().as_ref()), "{note}");
    }
}

/// Row 47: a state that was cut at any length is not trusted; the whole one is.
#[tokio::test]
async fn a_state_cut_at_any_length_is_started_over() {
    let left = Left::new(2000, 1500).await;
    for length in 0..left.state.len() {
        left.put(&left.data, &left.state[..length]);
        left.is_started_over("its state is damaged").await;
    }
    left.put(&left.data, &left.state);
    let source = left.bench.source([]);
    left.bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [1500]);
}

/// Row 47: a bit that flipped anywhere in the state is noticed.
#[tokio::test]
async fn a_state_with_a_flipped_bit_is_started_over() {
    let left = Left::new(2000, 1500).await;
    for at in 0..left.state.len() {
        let mut state = left.state.clone();
        state[at] ^= 1 << (at % 8);
        left.put(&left.data, &state);
        left.is_started_over("its state is damaged").await;
    }
}

/// Row 47: other bytes before the offset than those that were saved there are noticed.
#[tokio::test]
async fn a_flipped_bit_in_the_tail_is_started_over() {
    let saved = usize::try_from(SAVED).unwrap();
    let left = Left::new(100_000, SAVED).await;
    for at in [saved - TAIL, saved - TAIL + 1, saved - TAIL / 2, saved - 1] {
        let mut data = left.data.clone();
        data[at] ^= 1;
        left.put(&data, &left.state);
        left.is_started_over("its last bytes are not those that were saved").await;
    }
}

/// Row 47: data that is shorter than the state says, or gone.
#[tokio::test]
async fn data_that_is_not_all_there_is_started_over() {
    let left = Left::new(100_000, SAVED).await;
    left.put(&left.data[..69_999], &left.state);
    left.is_started_over("it has 69999 bytes and should have 70000").await;
    left.put(b"", &left.state);
    left.is_started_over("it has 0 bytes").await;
    left.put(b"", &left.state);
    fs::remove_file(left.bench.partial().join("data")).unwrap();
    left.is_started_over("its data is missing").await;
    left.put(&left.data, b"");
    fs::remove_file(left.bench.partial().join("state")).unwrap();
    left.is_started_over("it was never saved").await;
}

/// Row 47: a state that is intact and not this blob's, or not this program's.
#[tokio::test]
async fn a_state_of_something_else_is_started_over() {
    let left = Left::new(100_000, SAVED).await;
    let cases: [(&str, serde_json::Value, &str); 7] = [
        ("version", json!(2), "its state is of version 2, 1 is known"),
        ("version", json!(0), "its state is damaged"),
        ("digest", json!(lazyblob_remote::digest::sha256(b"other")), "it is of sha256:"),
        ("size", json!(99_999), "it is of a blob of 99999 bytes, not 100000"),
        ("offset", json!(100_001), "100000"),
        ("hash", json!("AAAA"), "its hash state is damaged"),
        ("hash", json!("?"), "its hash state is damaged"),
    ];
    for (field, value, reason) in cases {
        left.put(&left.data, &left.state);
        left.bench.edit_state(|state| state[field] = value);
        left.is_started_over(reason).await;
    }
    // The edits themselves are not what is refused.
    left.put(&left.data, &left.state);
    left.bench.edit_state(|state| state["later"] = json!("field"));
    let source = left.bench.source([]);
    left.bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [SAVED]);
}

/// Row 47: starting over forgets the old state before new data comes, so that the two never meet.
#[tokio::test]
async fn a_state_does_not_outlive_its_data() {
    let left = Left::new(100_000, SAVED).await;
    let mut data = left.data.clone();
    data[69_999] ^= 1;
    left.put(&data, &left.state);
    let other = Arc::new(Source::new(noise(100_000, 99), [super::support::Ending::Stalls(90_000)]));
    tokio::select! {
        done = left.bench.receive(&other) => panic!("it cannot end: {done:?}"),
        () = other.stalled.notified() => {}
    }
    assert_eq!(other.asked(), [0]);
    left.bench.assert_nothing_unfinished();
    let source = left.bench.source([]);
    left.bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [0]);
    left.bench.assert_stored();
}

/// A layout may come from anywhere: what its links lead to is neither read nor written.
#[tokio::test]
async fn links_in_the_place_of_files_are_refused() {
    let left = Left::new(100_000, SAVED).await;
    let outside = left.bench.temp.path().join("outside");
    let refused = async |planted: &Path| {
        let received = left.bench.receive(&left.bench.source([])).await;
        let error = received.expect_err(&planted.display().to_string());
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&planted.display().to_string()), "{error}");
        assert_eq!(fs::read(&outside).unwrap(), b"precious");
        assert!(left.bench.ingests.list().await.unwrap().is_empty());
        left.bench.ingests.sweep().await.unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"precious");
    };
    fs::write(&outside, "precious").unwrap();
    for name in ["data", "state", "state.new", "lock"] {
        left.put(&left.data, &left.state);
        let planted = left.bench.partial().join(name);
        let _ = fs::remove_file(&planted);
        symlink(&outside, &planted).unwrap();
        refused(&planted).await;
    }
    let dir = left.bench.partial();
    fs::remove_dir_all(&dir).unwrap();
    symlink(left.bench.temp.path(), &dir).unwrap();
    refused(&dir).await;
}
