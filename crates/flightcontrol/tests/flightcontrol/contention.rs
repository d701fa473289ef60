//! Many threads on few keys, with callers that leave at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use lazyblob_flightcontrol::{Context, Error, Failure};
use tokio::runtime::Builder;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::*;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Counts runs of a key and fails where two overlap.
#[derive(Default)]
struct Gauge {
    running: AtomicU32,
    runs: AtomicUsize,
}

struct Running(Arc<Gauge>);

impl Gauge {
    fn enter(self: Arc<Self>) -> Running {
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "two runs of one key overlap");
        self.runs.fetch_add(1, Ordering::SeqCst);
        Running(self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Some calls of one caller; every answer must be one the work can give. Returns how many were left half-way.
async fn call(group: &Group, gauges: &[Arc<Gauge>], calls: usize, leave: bool, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut left = 0;
    for _ in 0..calls {
        let index = random.usize(..gauges.len());
        let gauge = Arc::clone(&gauges[index]);
        let (steps, end) = (random.u32(0..4), random.u32(0..16));
        let work = async move |context: Context| {
            let _running = gauge.enter();
            for _ in 0..steps {
                tokio::task::yield_now().await;
                if context.is_cancelled() {
                    return Err(Oops("cancelled").into());
                }
            }
            match end {
                0 => Err(Oops("shared").into()),
                1 => Err(Failure::Personal(Oops("personal"))),
                2 => std::panic::resume_unwind(Box::new("boom")),
                _ => Ok(u32::try_from(index).unwrap()),
            }
        };
        let patience = if leave && random.bool() { random.u32(0..6) } else { u32::MAX };
        let impatient = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        let answer = tokio::select! {
            answer = group.run(KEYS[index], work) => answer,
            () = impatient => {
                left += 1;
                continue;
            }
        };
        match answer {
            Ok(value) => assert_eq!(value as usize, index),
            Err(Error::Failed(error)) => assert_eq!(*error, Oops("shared"), "a foreign cancellation"),
            Err(Error::Personal(error)) => assert_eq!((error, end), (Oops("personal"), 1)),
            Err(Error::Panicked(message)) => assert_eq!(&*message, "boom"),
            Err(other) => panic!("{other:?}"),
        }
    }
    left
}

async fn contend(keys: usize, callers: usize, calls: usize, leave: bool) {
    let group = Arc::new(Group::<()>::new());
    let gauges: Arc<[Arc<Gauge>]> = (0..keys).map(|_| Arc::default()).collect();
    let seed = fastrand::u64(..);
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (group, gauges) = (Arc::clone(&group), Arc::clone(&gauges));
        tasks.spawn(async move { call(&group, &gauges, calls, leave, seed + caller as u64).await });
    }
    let left: usize = tasks.join_all().await.into_iter().sum();
    let runs: usize = gauges.iter().map(|gauge| gauge.runs.load(Ordering::SeqCst)).sum();
    assert!(runs > 0 && runs <= callers * calls);
    assert_eq!(left > 0, leave);
    group.close().await;
    assert_eq!(group.in_flight(), 0);
    assert!(gauges.iter().all(|gauge| gauge.running.load(Ordering::SeqCst) == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn one_key() {
    contend(1, 100, rounds(100, 10_000), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn one_key_with_leavers() {
    contend(1, 100, rounds(100, 10_000), true).await;
}

/// BuildKit row 57: many callers that come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn few_keys_with_leavers() {
    contend(KEYS.len(), 100, rounds(100, 10_000), true).await;
}

/// Threads with a runtime each: owners of one drive the work of the others.
#[test]
fn runtimes_share_a_group() {
    let threads = 4;
    let group = Group::<()>::new();
    let gauges: Vec<Arc<Gauge>> = (0..2).map(|_| Arc::default()).collect();
    let done = Barrier::new(threads);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (group, gauges, done) = (&group, &gauges, &done);
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    call(group, gauges, rounds(1_000, 100_000), true, thread as u64).await;
                    // A runtime that ends would abandon what others wait for.
                    done.wait().await;
                    group.close().await;
                    done.wait().await;
                });
            });
        }
    });
    assert_eq!(group.in_flight(), 0);
}

/// Closing in the midst of it: every caller gets an answer, and nothing runs afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn closing_under_contention() {
    for _ in 0..rounds(100, 5_000) {
        let group = Arc::new(Group::<()>::new());
        let gauge = Arc::new(Gauge::default());
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let (group, gauge) = (Arc::clone(&group), Arc::clone(&gauge));
            callers.spawn(async move {
                loop {
                    let gauge = Arc::clone(&gauge);
                    let work = async move |_| {
                        let _running = gauge.enter();
                        tokio::task::yield_now().await;
                        Ok(1)
                    };
                    match group.run("key", work).await {
                        Ok(_) => {}
                        Err(Error::Closed) => return,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
        }
        tokio::task::yield_now().await;
        group.close().await;
        let runs = gauge.runs.load(Ordering::SeqCst);
        assert_eq!((gauge.running.load(Ordering::SeqCst), group.in_flight()), (0, 0));
        callers.join_all().await;
        assert_eq!(gauge.runs.load(Ordering::SeqCst), runs, "a run began after the close");
    }
}
