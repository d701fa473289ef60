//! Single flight owned by its last waiter, with progress replay.
#![forbid(unsafe_code)]
