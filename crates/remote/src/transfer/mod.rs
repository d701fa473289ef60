//! Everything about a transfer that goes beyond one request: retries, resume, alternates, verification. Nowhere else.

mod blob;
mod retry;
mod tasks;

pub use blob::Blob;
pub use retry::Retry;
pub use tasks::Tasks;
