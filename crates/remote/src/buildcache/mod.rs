//! BuildKit's caches as registry objects (`application/vnd.buildkit.cacheconfig.v0`).
//!
//! A cache is a manifest that names layers and one [`Config`]: records, each with the ways that lead to it from other
//! records and with the layers that its result is made of. What is read is checked before it is believed; what is written
//! follows from its content alone, so that equal caches have equal digests.

mod config;
mod form;
mod gojson;
mod manifest;
mod order;
mod read;
mod time;

pub use config::{Chain, Config, Input, Layer, Record, Top};
pub use form::{Form, convert};
pub use manifest::{CREATED_AT, DESCRIPTION, Names, UNCOMPRESSED, assemble};
pub use read::{MAX_CONFIG, MAX_VALUES};
pub use time::{parse as parse_time, write as write_time};
