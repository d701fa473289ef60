//! Images by name: manifests and configs in the store, layers as refs.
//!
//! A name is an entry of `store/index.json`. What a name stands for is found from there: its manifest, its config, and
//! by the blobs that these name the records. Nothing of it is in the database, so nothing has to be kept in step with it;
//! what is in there are the repositories that manifests and configs were seen in, as hints.

mod about;
/// An index in an index in an index: nobody needs more.
pub(crate) const MAX_DEPTH: usize = 8;

mod config;
mod give_name;
mod list;
mod open;
mod origins;
mod pull;
mod pushed;
mod remove;
mod resolutions;
mod resolve;
mod source;
mod target;
mod unlazy;

pub use about::{About, AboutBlob, AboutImage};
pub use config::Config;
pub use list::Named;
pub use open::Image;
pub(crate) use origins::Origins;
pub use pull::{Pull, Pulled};
pub use resolutions::Resolutions;
pub use resolve::{Resolve, Resolved};
pub use source::StoreSource;
pub use target::StoreTarget;
