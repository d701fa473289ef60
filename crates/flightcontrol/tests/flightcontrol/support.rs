//! Work that does what a test says, when it says so.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use futures::FutureExt;
use futures::future::BoxFuture;
use lazyblob_flightcontrol::{Context, Error, Failure, Item};
use tokio::sync::oneshot;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oops(pub(crate) &'static str);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Oops {}

pub(crate) type Group<P = ()> = lazyblob_flightcontrol::Group<&'static str, u32, Oops, P>;
pub(crate) type Outcome = Result<u32, Failure<Oops>>;
pub(crate) type Answer = Result<u32, Error<Oops>>;

/// The test's hand on work made by [`scripted`].
pub(crate) struct Script<P: Item = ()> {
    begun: Option<oneshot::Receiver<Context<P>>>,
    end: oneshot::Sender<Outcome>,
}

impl<P: Item> Script<P> {
    /// Waits until the work runs.
    pub(crate) async fn begun(&mut self) -> Context<P> {
        self.begun.take().expect("asked once").await.expect("the work runs")
    }

    /// Whether the work was run.
    pub(crate) fn has_begun(&mut self) -> bool {
        self.begun.as_mut().is_none_or(|begun| begun.try_recv().is_ok())
    }

    /// Makes the work return.
    pub(crate) fn end(self, outcome: Outcome) {
        self.end.send(outcome).expect("the work waits to be ended");
    }
}

/// Work that tells when it begins, ignores its token, and returns when told to.
pub(crate) fn scripted<P: Item>()
-> (impl FnOnce(Context<P>) -> BoxFuture<'static, Outcome> + Send + 'static, Script<P>) {
    let (begin, begun) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let work = move |context| {
        async move {
            assert!(begin.send(context).is_ok(), "the test looks whether the work began");
            ended.await.expect("the test says how the work ends")
        }
        .boxed()
    };
    (work, Script { begun: Some(begun), end })
}

/// Work that must never run.
pub(crate) fn unwanted<P: Item>(_: Context<P>) -> BoxFuture<'static, Outcome> {
    panic!("this closure must not run")
}

/// Work that waits for its token and reports that.
pub(crate) async fn until_cancelled(context: Context) -> Outcome {
    context.cancelled().await;
    Err(Oops("cancelled").into())
}

/// A waiter that has been polled once, which is when it joins.
pub(crate) async fn joined<'a>(
    run: impl Future<Output = Answer> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    let mut run = run.boxed();
    assert!(futures::poll!(&mut run).is_pending());
    run
}

/// Lets all tasks of a current-thread runtime go as far as they can.
pub(crate) async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn shared(answer: Answer) -> std::sync::Arc<Oops> {
    match answer {
        Err(Error::Failed(error)) => error,
        other => panic!("expected a shared error, got {other:?}"),
    }
}

/// How often a counted test goes round: LAZYBLOB_SOAK=1 asks for the long counts.
pub(crate) fn rounds(modest: usize, soak: usize) -> usize {
    if std::env::var_os("LAZYBLOB_SOAK").is_some_and(|value| value == "1") { soak } else { modest }
}
