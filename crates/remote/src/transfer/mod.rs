//! Everything about a transfer that goes beyond one request: retries, resume, alternates, verification. Nowhere else.

mod blob;
mod retry;

pub use blob::Blob;
pub use retry::Retry;
