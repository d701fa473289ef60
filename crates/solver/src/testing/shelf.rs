//! Results in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::testing::Gate;
use crate::{LoadCx, LoadError, ResultId, ResultStore, StoreError, StoredResult};

/// Keeps integers. Each save makes a result of its own, a second younger than the one before if it does not say how old it
/// is.
pub struct Shelf {
    name: String,
    results: Mutex<HashMap<ResultId, (i64, SystemTime)>>,
    next: AtomicUsize,
    loads: AtomicUsize,
    jammed: AtomicBool,
    gate: Mutex<Option<Gate>>,
}

impl Shelf {
    /// An empty one; its name begins the names of its results.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            results: Mutex::default(),
            next: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
            jammed: AtomicBool::new(false),
            gate: Mutex::default(),
        }
    }

    fn results(&self) -> MutexGuard<'_, HashMap<ResultId, (i64, SystemTime)>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many loads were asked for, those that failed included.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// How many results there are.
    pub fn len(&self) -> usize {
        self.results().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Loses all results of this value, and says how many there were.
    pub fn lose(&self, value: i64) -> usize {
        let mut results = self.results();
        let before = results.len();
        results.retain(|_, (kept, _)| *kept != value);
        before - results.len()
    }

    /// Has all loads fail, with nothing lost, or no more.
    pub fn set_jammed(&self, jammed: bool) {
        self.jammed.store(jammed, Ordering::SeqCst);
    }

    /// Waits here before each load from now on. A load that is cancelled meanwhile fails.
    pub fn load_at(&self, gate: &Gate) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate.clone());
    }

    /// Loses everything.
    pub fn lose_all(&self) {
        self.results().clear();
    }
}

#[async_trait]
impl ResultStore<i64> for Shelf {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let id = ResultId::new(format!("{}-{number}", self.name));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(number).unwrap_or(u64::MAX));
        let created_at = created_at.unwrap_or(now);
        self.results().insert(id.clone(), (*result, created_at));
        Ok(StoredResult { id, created_at })
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<i64, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(gate) = gate {
            tokio::select! {
                biased;
                () = cx.cancelled() => return Err(LoadError::failed("cancelled")),
                () = gate.pass() => {}
            }
        }
        if self.jammed.load(Ordering::SeqCst) {
            return Err(LoadError::failed("the shelf is jammed"));
        }
        let found = self.results().get(id).map(|(value, _)| *value);
        found.ok_or_else(|| LoadError::gone(format!("no result {id}")))
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        Ok(self.results().contains_key(id))
    }

    async fn remotes(&self, _: &LoadCx, id: &ResultId, _: bool) -> Result<Vec<i64>, LoadError> {
        let found = self.results().get(id).map(|(value, _)| *value);
        found.map(|value| vec![value]).ok_or_else(|| LoadError::gone(format!("no result {id}")))
    }
}
