//! Commands.
//!
//! ```text
//! exec ─ caches are waited for, in the order of their keys ─┐
//!        trees are shown: the root, and what is bound in it │
//!        secrets and sockets get a place in memory          ├─ Executor::run ─ all of it goes ─ what was changed is kept
//!        sessions are asked                                 ┘
//! ```
//! Everything a command sees is [`Held`] until it has ended. However it ends, the mounts are taken away, and what memory
//! had of secrets is gone, before the op returns; what was changed and is no output goes with its handle.
//!
//! A secret is in no key, since keys are made of the definition alone; it is in no layer, since it is bound over a tree and
//! not written into it; and it is in no error, since a command is shown as the definition has it.

mod agents;
mod blocking;
mod cache;
mod cleanup;
mod command;
mod entitled;
mod env;
mod failed;
mod logs;
mod mounts;
mod private;
mod secret;
mod select;
mod trees;

use async_trait::async_trait;
use lazyblob_solver::{CacheMap, Op, OpCx, OpError};

pub(crate) use cache::CacheMounts;
pub use entitled::{check_entitlements, entitlements};

use self::cleanup::Held;
use self::logs::Logs;
use self::mounts::Mounts;
use super::Made;
use crate::error::Error;
use crate::executor;
use crate::llb::pb::{ExecOp, Meta, MountType};
use crate::result::WorkerRef;

/// Runs a command.
#[derive(Debug)]
pub(crate) struct Exec {
    made: Made,
    op: ExecOp,
}

impl Exec {
    pub(crate) fn new(made: Made, op: &ExecOp) -> Self {
        Self { made, op: op.clone() }
    }

    /// Whether a tree of this input is shown, and not only the beginning of a cache, which may be there already.
    fn is_shown(&self, input: usize) -> bool {
        let is_it = |number: i64| usize::try_from(number) == Ok(input);
        self.op.mounts.iter().any(|mount| mount.mount_type() == MountType::Bind && is_it(mount.input))
    }

    async fn run(&self, cx: &OpCx<WorkerRef>, inputs: &[WorkerRef], held: &mut Held) -> Result<(), OpError> {
        let worker = &self.made.worker;
        let meta = self.op.meta.clone().unwrap_or_default();
        let sessions = worker.sessions().of(&cx.sessions()).await;
        entitled::check(&self.made.vertex.name, &self.op, &sessions).map_err(failed::op)?;
        if private::uses_secrets(&self.op)
            && let Some(warning) = private::warning(executor::memory().as_deref())
        {
            cx.warn(warning);
        }
        let mut mounts = Mounts { worker, cx, inputs, sessions: &sessions, vertex: &self.made.vertex, held };
        let seen = mounts.make(&self.op, &meta).await?;
        let env = env::of(&self.op, &meta, &sessions).map_err(failed::op)?;
        let process = command::process(&self.op, &meta, env, seen);
        let ran = worker.executor().run(process, &Logs(cx), cx.cancellation()).await;
        let exit = ran.map_err(failed::op)?;
        if is_success(&meta, exit.code) {
            return Ok(());
        }
        Err(failed::op(Error::Exited { command: command::shown(&meta.args), code: exit.code }))
    }
}

/// Whether a command that ended like this did what it should.
fn is_success(meta: &Meta, code: u32) -> bool {
    match meta.valid_exit_codes.as_slice() {
        [] => code == 0,
        valid => valid.iter().any(|valid| u32::try_from(*valid) == Ok(code)),
    }
}

#[async_trait]
impl Op<WorkerRef> for Exec {
    /// Commands that want a cache locked are of another kind, of which any number may run: one that waits for its cache
    /// must not keep others from running, and those that have the same cache run one after the other as it is.
    fn kind(&self) -> &str {
        if cache::is_waited_for(&self.op) { "exec with a locked cache" } else { "exec" }
    }

    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let mut map = self.made.cache_map(true);
        for (input, dep) in map.deps.iter_mut().enumerate() {
            if dep.slow_digest.is_none() && !self.is_shown(input) {
                dep.preprocess = None;
            }
        }
        Ok(map)
    }

    async fn exec(&self, cx: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        let mut held = Held::default();
        let ran = self.run(cx, &inputs, &mut held).await;
        let left = held.take_away().await;
        ran?;
        left?.keep(self.made.vertex.outputs).await
    }
}
