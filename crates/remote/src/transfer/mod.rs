//! Everything about a transfer that goes beyond one request: retries, resume, alternates, verification. Nowhere else.

mod blob;
mod keyed;
mod locations;
mod retry;
mod tasks;

pub use blob::Blob;
pub use keyed::{Guard, Keyed};
pub use locations::{Caps, Locations};
pub use retry::Retry;
pub use tasks::Tasks;
