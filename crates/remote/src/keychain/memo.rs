//! Asking once: a slow helper must not be asked for each of a hundred blobs.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use dashmap::DashMap;
use tokio::sync::OnceCell;

use super::{Credential, Keychain};
use crate::error::{Error, Result};

type Question = (String, String);
type Answer = Arc<OnceCell<Result<Credential, Arc<Error>>>>;

/// Answers by question. All who ask at the same time share one answer, errors included; credentials stay, errors go.
#[derive(Default)]
pub(super) struct Answers(DashMap<Question, Answer>);

impl Answers {
    /// The answer to `question`; `ask` runs only if nobody has asked yet.
    pub(super) async fn get(
        &self,
        question: Question,
        ask: impl Future<Output = Result<Credential>>,
    ) -> Result<Credential> {
        let answer = Arc::clone(&self.0.entry(question.clone()).or_default());
        let found = answer.get_or_init(|| async { ask.await.map_err(Arc::new) }).await;
        match found {
            Ok(credential) => Ok(credential.clone()),
            Err(error) => {
                self.0.remove_if(&question, |_, present| Arc::ptr_eq(present, &answer));
                Err(Error::Shared(Arc::clone(error)))
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answers({})", self.0.len())
    }
}

/// Remembers what another keychain said. One for each run of a command; a process that lives long calls
/// [`Memo::forget`] when a credential was refused.
#[derive(Debug)]
pub struct Memo<K> {
    keychain: K,
    answers: Answers,
}

impl<K: Keychain> Memo<K> {
    /// Remembers for `keychain`.
    pub fn new(keychain: K) -> Self {
        Self { keychain, answers: Answers::default() }
    }

    /// Forgets what was said so far.
    pub fn forget(&self) {
        self.answers.clear();
    }
}

#[async_trait]
impl<K: Keychain> Keychain for Memo<K> {
    async fn credential(&self, host: &str, repository: &str) -> Result<Credential> {
        let question = (host.to_owned(), repository.to_owned());
        self.answers.get(question, self.keychain.credential(host, repository)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[derive(Debug)]
    struct Slow {
        asked: AtomicUsize,
        gate: Semaphore,
        fails: bool,
    }

    #[async_trait]
    impl Keychain for &Slow {
        async fn credential(&self, host: &str, _repository: &str) -> Result<Credential> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let _permit = self.gate.acquire().await;
            if self.fails {
                return Err(Error::invalid("ask", host, "broken"));
            }
            Ok(Credential::basic(host, "p"))
        }
    }

    fn slow(fails: bool) -> &'static Slow {
        Box::leak(Box::new(Slow { asked: AtomicUsize::new(0), gate: Semaphore::new(0), fails }))
    }

    #[tokio::test]
    async fn many_who_ask_at_once_ask_once() {
        let keychain = slow(false);
        let memo = Memo::new(keychain);
        let all = futures::future::join_all((0..20).map(|_| memo.credential("h", "r")));
        let (answers, ()) = tokio::join!(all, async { keychain.gate.add_permits(1) });
        assert!(answers.into_iter().all(|answer| answer.unwrap() == Credential::basic("h", "p")));
        assert_eq!(keychain.asked.load(Ordering::SeqCst), 1);
        memo.credential("h", "other").await.unwrap();
        assert_eq!(keychain.asked.load(Ordering::SeqCst), 2);
        memo.forget();
        memo.credential("h", "r").await.unwrap();
        assert_eq!(keychain.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn an_error_is_shared_but_not_kept() {
        let keychain = slow(true);
        let memo = Memo::new(keychain);
        let all = futures::future::join_all((0..20).map(|_| memo.credential("h", "r")));
        let (answers, ()) = tokio::join!(all, async { keychain.gate.add_permits(1) });
        assert!(answers.into_iter().all(|answer| answer.unwrap_err().to_string().contains("broken")));
        assert_eq!(keychain.asked.load(Ordering::SeqCst), 1);
        assert!(memo.credential("h", "r").await.is_err());
        assert_eq!(keychain.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_who_gives_up_does_not_take_the_answer_along() {
        let keychain = slow(false);
        let memo = Memo::new(keychain);
        let mut first = Box::pin(memo.credential("h", "r"));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let second = memo.credential("h", "r");
        drop(first);
        keychain.gate.add_permits(1);
        assert!(second.await.is_ok());
    }
}
