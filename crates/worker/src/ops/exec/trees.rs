//! Trees that a command sees.

use std::path::PathBuf;

use lazyblob_cache::{GetOptions, MutableRef};
use lazyblob_solver::OpError;

use super::cleanup::Output;
use super::failed;
use super::mounts::{Mounts, is_root};
use crate::llb::pb::Mount;
use crate::result::WorkerRef;

impl Mounts<'_> {
    /// Shows the tree of a mount.
    ///
    /// What may be written to is a new tree on top of the input, whether it is an output or thrown away; so is the root of
    /// every command, since mount points are made there. What may not is the input itself, for its output as well.
    pub(super) async fn tree(&mut self, mount: &Mount) -> Result<PathBuf, OpError> {
        let output = usize::try_from(mount.output).ok();
        if mount.readonly && !is_root(mount) {
            return self.view(mount, output).await;
        }
        let (input, mutable) = self.on_top(mount).await?;
        let tree = mutable.tree().await;
        // It is ours to let go of, whether it is shown or not.
        match output {
            Some(output) => drop(self.held.outputs.insert(output, Output::Changed(mutable))),
            None => self.held.thrown_away.push(mutable),
        }
        let tree = tree.map_err(|error| failed::of(input, error))?;
        let path = tree.path().to_owned();
        self.held.trees.push(tree);
        Ok(path)
    }

    async fn view(&mut self, mount: &Mount, output: Option<usize>) -> Result<PathBuf, OpError> {
        let Some((input, tree)) = self.input(mount).map(|(input, tree)| (input, tree.clone())) else {
            if let Some(output) = output {
                self.held.outputs.insert(output, Output::Shown(WorkerRef::scratch()));
            }
            return self.nothing().await;
        };
        let access = self.worker.access(self.cx);
        let view = self.cx.cancellation().run_until_cancelled(tree.view(&access)).await;
        let view = view.ok_or(OpError::Cancelled)?.map_err(|error| failed::of(Some(input), error))?;
        let path = view.path().to_owned();
        self.held.trees.push(view);
        if let Some(output) = output {
            self.held.outputs.insert(output, Output::Shown(WorkerRef::new(tree)));
        }
        Ok(path)
    }

    /// An empty directory that nobody keeps.
    async fn nothing(&mut self) -> Result<PathBuf, OpError> {
        let mutable = self.new_mutable(None).await?;
        let tree = mutable.tree().await;
        self.held.thrown_away.push(mutable);
        let tree = tree.map_err(failed::op)?;
        let path = tree.path().to_owned();
        self.held.trees.push(tree);
        Ok(path)
    }

    async fn on_top(&self, mount: &Mount) -> Result<(Option<usize>, MutableRef), OpError> {
        let input = self.input(mount).map(|(input, _)| input);
        Ok((input, self.new_mutable(input).await?))
    }

    async fn new_mutable(&self, input: Option<usize>) -> Result<MutableRef, OpError> {
        let parent = input.and_then(|input| self.inputs.get(input)).and_then(WorkerRef::tree);
        let description = Some(self.vertex.name.name.to_string());
        let options = GetOptions { description, ..GetOptions::default() };
        let access = self.worker.access(self.cx);
        let made = self.worker.manager().new_mutable(parent, &access, options);
        let made = self.cx.cancellation().run_until_cancelled(made).await;
        made.ok_or(OpError::Cancelled)?.map_err(|error| failed::of(input, error))
    }
}
