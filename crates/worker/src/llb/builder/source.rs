//! Where trees come from.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use lazyblob_remote::{Digest, Reference};

use super::node::{Kind, Node};
use super::state::State;
use crate::keys::go_strings;
use crate::llb::{LocalSource, ResolveMode};

/// Which part of an image is wanted, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Whether what is here already may do.
    pub resolve_mode: ResolveMode,
    /// How many of its layers, from the bottom; `None` is all.
    pub layer_limit: Option<usize>,
    /// What the name must stand for; the build fails where it stands for something else.
    pub checksum: Option<Digest>,
}

/// The empty tree.
pub fn scratch() -> State {
    State::default()
}

/// An image of a registry. A name without a host is Docker Hub's, one without a tag is `latest`.
pub fn image(reference: impl AsRef<str>) -> State {
    image_with(reference, ImageOptions::default())
}

/// An image of a registry, or part of it.
pub fn image_with(reference: impl AsRef<str>, options: ImageOptions) -> State {
    // What is no reference is refused when the definition is read.
    let reference = reference.as_ref();
    let whole =
        Reference::from_str(reference).map_or_else(|_| reference.to_owned(), |whole| whole.to_string());
    let mut source = Described::new(format!("docker-image://{whole}"), "source.image");
    let mode = match options.resolve_mode {
        ResolveMode::Default => None,
        ResolveMode::Pull => Some("pull"),
        ResolveMode::Local => Some("local"),
    };
    source.set("image.resolvemode", mode.map(str::to_owned), "source.image.resolvemode");
    source.set("image.layerlimit", options.layer_limit.map(|n| n.to_string()), "source.image.layerlimit");
    let checksum = options.checksum.map(|checksum| checksum.to_string());
    source.set("image.checksum", checksum, "source.image.checksum");
    source.state(true)
}

/// An image of a layout on this machine, `NAME@DIGEST`; `store` is what the layout is called when building.
pub fn oci_layout(reference: impl AsRef<str>, store: impl Into<String>) -> State {
    let mut source = Described::new(format!("oci-layout://{}", reference.as_ref()), "source.ocilayout");
    source.attrs.insert("oci.store".to_owned(), store.into());
    source.state(true)
}

/// A directory of the client's, by the name it is given when building.
pub fn local(name: impl Into<String>) -> State {
    local_with(LocalSource { name: name.into(), ..LocalSource::default() })
}

/// A directory of the client's, or part of it.
pub fn local_with(local: LocalSource) -> State {
    let LocalSource {
        name,
        session,
        unique,
        include_patterns,
        exclude_patterns,
        follow_paths,
        shared_key_hint,
    } = local;
    let mut source = Described::new(format!("local://{name}"), "source.local");
    let list = |patterns: Vec<String>| (!patterns.is_empty()).then(|| go_strings(&patterns));
    source.set("local.session", session, "source.local.sessionid");
    source.set("local.unique", unique, "source.local.unique");
    source.set("local.includepattern", list(include_patterns), "source.local.includepatterns");
    source.set("local.excludepatterns", list(exclude_patterns), "source.local.excludepatterns");
    source.set("local.followpaths", list(follow_paths), "source.local.followpaths");
    source.set("local.sharedkeyhint", shared_key_hint, "source.local.sharedkeyhint");
    source.state(false)
}

struct Described {
    identifier: String,
    attrs: BTreeMap<String, String>,
    caps: Vec<&'static str>,
}

impl Described {
    fn new(identifier: String, cap: &'static str) -> Self {
        Self { identifier, attrs: BTreeMap::new(), caps: vec![cap] }
    }

    fn set(&mut self, name: &str, value: Option<String>, cap: &'static str) {
        if let Some(value) = value {
            self.attrs.insert(name.to_owned(), value);
            self.caps.push(cap);
        }
    }

    fn state(self, on_platform: bool) -> State {
        let Self { identifier, attrs, caps } = self;
        State::of(Node::new(Kind::Source { identifier, attrs, caps, on_platform }, None))
    }
}
