//! What BuildKit says of a definition.

use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
pub(crate) struct Expect {
    pub(crate) ops: Vec<Op>,
    pub(crate) records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Op {
    pub(crate) vertex: String,
    pub(crate) cache_map: Vec<String>,
    pub(crate) preimage: Vec<String>,
    pub(crate) deps: Vec<Dep>,
    pub(crate) records: Vec<Output>,
}

#[derive(Deserialize)]
pub(crate) struct Output {
    pub(crate) output: u32,
    pub(crate) digests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dep {
    pub(crate) selector: String,
    pub(crate) selector_paths: Vec<String>,
    pub(crate) content_based: bool,
    #[serde(default)]
    pub(crate) selectors: Vec<Part>,
    pub(crate) content_digest: Option<String>,
    pub(crate) slow_record: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Part {
    path: String,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    wild: bool,
    #[serde(default)]
    inc: Vec<String>,
    #[serde(default)]
    exc: Vec<String>,
}

/// Path, whether links are followed, whether it is a pattern, what is looked at and what is left out.
pub(crate) type Described = (String, bool, bool, Vec<String>, Vec<String>);

#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) digest: String,
    pub(crate) inputs: Vec<Vec<Link>>,
}

#[derive(Deserialize)]
pub(crate) struct Link {
    pub(crate) selector: String,
    pub(crate) record: String,
}

impl Expect {
    pub(crate) fn read(name: &str) -> Self {
        serde_json::from_slice(&fixture::file(&format!("{name}.expect.json")))
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

impl Part {
    pub(crate) fn described(&self) -> Described {
        (self.path.clone(), self.follow, self.wild, self.inc.clone(), self.exc.clone())
    }
}
