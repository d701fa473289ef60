//! Something that those of this process share who are after the same thing.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One value per key, as long as somebody has it: so that a wake-up call for one thing lets those who wait for another
/// sleep on.
#[derive(Debug)]
pub struct PerKey<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for PerKey<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone + Debug, V: Default> PerKey<K, V> {
    /// The value of `key`, a new one where nobody has it.
    pub fn of(&self, key: &K) -> Arc<V> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get(key).and_then(Weak::upgrade) {
            return value;
        }
        values.retain(|_, value| value.strong_count() > 0);
        let value = Arc::default();
        values.insert(key.clone(), Arc::downgrade(&value));
        value
    }

    /// The value of `key` if somebody has it.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn a_value_is_shared_while_somebody_has_it_and_forgotten_afterwards() {
        let calls = PerKey::<&str, Notify>::default();
        assert!(calls.get(&"a").is_none());
        let call = calls.of(&"a");
        assert!(Arc::ptr_eq(&call, &calls.of(&"a")));
        assert!(Arc::ptr_eq(&call, &calls.get(&"a").unwrap()));
        assert!(!Arc::ptr_eq(&call, &calls.of(&"b")), "others sleep on");
        drop(call);
        let _other = calls.of(&"b");
        assert_eq!(calls.0.lock().unwrap().len(), 1);
    }
}
