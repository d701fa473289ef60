//! Parts of an engine that do what a test tells them.

mod fake_executor;

pub use fake_executor::{FakeExecutor, Stage};
