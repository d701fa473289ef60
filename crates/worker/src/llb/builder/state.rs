//! A tree that will be there, and how commands are run in it.

use std::sync::Arc;

use super::exec::Exec;
use super::file::Files;
use super::marshal;
use super::node::{Kind, Node, Output};
use crate::error::Result;
use crate::llb::Definition;
use crate::llb::name::CUSTOM_NAME;
use crate::llb::paths;
use crate::llb::pb::{ExportCache, OpMetadata, Platform, ProgressGroup};

/// A tree that will be there when it is built: an output of a vertex, or the empty tree. It also says in which surroundings
/// commands are run that are made of it: variables, directory, user, platform. They are handed on.
#[derive(Clone, Debug, Default)]
#[must_use = "a state does nothing until it is marshalled"]
pub struct State {
    pub(super) output: Option<Output>,
    pub(super) around: Arc<Surroundings>,
}

/// How commands are run.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    pub(super) env: Vec<(String, String)>,
    /// Empty is `/`.
    pub(super) cwd: String,
    pub(super) user: String,
    pub(super) platform: Option<Platform>,
}

impl Surroundings {
    pub(super) fn cwd(&self) -> &str {
        if self.cwd.is_empty() { "/" } else { &self.cwd }
    }

    /// Goes to a directory, which may be relative.
    pub(super) fn enter(&mut self, path: &str) {
        let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.cwd()) };
        self.cwd = paths::clean(&whole);
    }
}

impl State {
    pub(super) fn of(node: Node) -> Self {
        let output = Output { node: Arc::new(node), index: 0 };
        Self { output: Some(output), around: Arc::default() }
    }

    /// Another tree in the same surroundings.
    pub(super) fn with(&self, kind: Kind) -> Self {
        let node = Node::new(kind, self.around.platform.clone());
        Self { output: Some(Output { node: Arc::new(node), index: 0 }), around: Arc::clone(&self.around) }
    }

    /// Sets a variable for commands that are made of it.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        let around = Arc::make_mut(&mut self.around);
        around.env.retain(|(known, _)| *known != key);
        around.env.push((key, value));
        self
    }

    /// Sets the directory of commands, and of relative paths, that are made of it. It may itself be relative.
    pub fn cwd(mut self, path: impl AsRef<str>) -> Self {
        Arc::make_mut(&mut self.around).enter(path.as_ref());
        self
    }

    /// Sets the user of commands that are made of it.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.around).user = user.into();
        self
    }

    /// Sets the platform of the vertex it is an output of, and of those that are made of it. What is set nowhere is the
    /// platform that the definition is written for.
    pub fn platform(mut self, platform: Platform) -> Self {
        Arc::make_mut(&mut self.around).platform = Some(platform.clone());
        self.node(|node| node.platform = Some(platform))
    }

    /// Runs a command in it.
    pub fn run<A: Into<String>>(&self, args: impl IntoIterator<Item = A>) -> Exec {
        Exec::new(self, args.into_iter().map(Into::into).collect())
    }

    /// Copies, makes and removes files in it, as one vertex. Relative paths are in its directory.
    pub fn file(&self, files: impl Into<Files>) -> Self {
        let steps = files.into().resolved(self.around.cwd());
        self.with(Kind::File { base: self.output.clone(), steps })
    }

    /// Gives the vertex it is an output of a name for people.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.described(CUSTOM_NAME, name)
    }

    /// Says something about the vertex it is an output of.
    pub fn described(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.said(|metadata| {
            metadata.description.insert(key.into(), value.into());
        })
    }

    /// Has the vertex it is an output of run whatever the cache has.
    pub fn ignore_cache(self) -> Self {
        self.said(|metadata| metadata.ignore_cache = true)
    }

    /// Keeps records of the vertex it is an output of in exported caches, or out of them.
    pub fn export_cache(self, value: bool) -> Self {
        self.said(|metadata| metadata.export_cache = Some(ExportCache { value }))
    }

    /// Shows the vertex it is an output of together with others of this group.
    pub fn progress_group(self, id: impl Into<String>, name: impl Into<String>) -> Self {
        let group = ProgressGroup { id: id.into(), name: name.into(), weak: false };
        self.said(|metadata| metadata.progress_group = Some(group))
    }

    /// The definition as `buildctl build` takes it, for this platform where none was set. That of the empty tree is empty.
    #[must_use]
    pub fn marshal(&self, platform: &Platform) -> Vec<u8> {
        marshal::definition(self.output.as_ref(), platform)
    }

    /// The definition, checked, for this platform where none was set.
    ///
    /// # Errors
    /// Those of [`Definition::parse`]; the empty tree is [`Error::Malformed`](crate::Error::Malformed).
    pub fn definition(&self, platform: &Platform) -> Result<Definition> {
        Definition::parse(&self.marshal(platform))
    }

    fn said(self, change: impl FnOnce(&mut OpMetadata)) -> Self {
        self.node(|node| change(&mut node.metadata))
    }

    /// Changes the vertex, if there is one. Others who have it keep what they have.
    fn node(mut self, change: impl FnOnce(&mut Node)) -> Self {
        if let Some(output) = &mut self.output {
            change(Arc::make_mut(&mut output.node));
        }
        self
    }
}
