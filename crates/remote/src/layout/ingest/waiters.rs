//! Who waits in this process for a blob that somebody else writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use oci_spec::image::Digest;
use tokio::sync::Notify;

/// One wake-up call per blob, so that who waits for another blob sleeps on.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<Digest, Weak<Notify>>>);

impl Waiters {
    /// The call for those who wait for `digest`. It is one and the same as long as anybody has it; who writes the blob
    /// does.
    pub(super) fn of(&self, digest: &Digest) -> Arc<Notify> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.get(digest).and_then(Weak::upgrade) {
            return call;
        }
        calls.retain(|_, call| call.strong_count() > 0);
        let call = Arc::default();
        calls.insert(digest.clone(), Arc::downgrade(&call));
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    #[test]
    fn a_call_is_shared_while_somebody_has_it_and_forgotten_afterwards() {
        let waiters = Waiters::default();
        let (a, b) = (digest::sha256(b"a"), digest::sha256(b"b"));
        let call = waiters.of(&a);
        assert!(Arc::ptr_eq(&call, &waiters.of(&a)));
        assert!(!Arc::ptr_eq(&call, &waiters.of(&b)), "others sleep on");
        drop(call);
        let _other = waiters.of(&b);
        assert_eq!(waiters.0.lock().unwrap().len(), 1);
    }
}
