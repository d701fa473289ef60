//! `lazyblob version`

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Prints name and version.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if context.json() {
        return output::json(&json!({"name": "lazyblob", "version": version}));
    }
    output::lines(&format!("lazyblob {version}"))
}
