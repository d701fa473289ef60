//! Files copied, made and removed.
//!
//! ```text
//! FileOp ─ plan: runs of actions ─ for each: a mutable tree, those it reads ─ one blocking thread ─ commit ─ output
//! ```
//! What an action does is what BuildKit makes of it, since results are found under the same keys; what it says of files it
//! says by [`tree`], which nothing leads out of. Where we differ:
//!
//! * modes of [`mkdir`] and [`mkfile`] are taken as a whole, with set-ID and sticky bits;
//! * a link to nothing can be removed ([`rm`]), and `X` in a mode counts wherever `x` may stand ([`chmod`]);
//! * patterns that are not well formed are errors, and where what is before a wildcard is not there nothing is found
//!   ([`wildcard`]);
//! * attributes that cannot be set, but for kinds that a file or a file system does not have, are errors; and so are devices
//!   that would be whiteouts ([`copy`]).

mod action;
mod chmod;
mod copy;
mod fault;
mod mkdir;
mod mkfile;
mod owner;
mod plan;
mod rm;
mod run;
mod symlink;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod wildcard;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_solver::{CacheMap, Op, OpCx, OpError};

use self::plan::Plan;
use self::run::Running;
use super::Made;
use crate::llb;
use crate::llb::pb::FileOp;
use crate::result::WorkerRef;

/// Copies, makes and removes files. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct File(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    made: Made,
    plan: Plan,
    nothing: FileOp,
}

impl File {
    pub(crate) fn new(made: Made) -> Self {
        let nothing = FileOp::default();
        let plan = match &made.vertex.op {
            llb::Op::File(file) => Plan::new(file, made.vertex.inputs.len()),
            _ => Plan::new(&nothing, 0),
        };
        Self(Arc::new(Inner { made, plan, nothing }))
    }

    fn made(&self) -> &Made {
        &self.0.made
    }

    fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// What is done: what is in files may be large, and is there once.
    fn file(&self) -> &FileOp {
        match &self.0.made.vertex.op {
            llb::Op::File(file) => file,
            _ => &self.0.nothing,
        }
    }
}

#[async_trait]
impl Op<WorkerRef> for File {
    fn kind(&self) -> &str {
        "file"
    }

    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let mut map = self.made().cache_map(true);
        for (input, dep) in map.deps.iter_mut().enumerate() {
            if !self.plan().uses(self.file(), input) {
                dep.preprocess = None;
            }
        }
        Ok(map)
    }

    async fn exec(&self, cx: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        Running::new(self, cx, inputs).all().await
    }
}

/// The permission bits of an action, all of them.
fn mode_bits(mode: i32) -> u32 {
    u32::try_from(mode & 0o7777).unwrap_or(0)
}
