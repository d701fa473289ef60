//! What a command sees, made.

use std::path::PathBuf;
use std::sync::Arc;

use lazyblob_cache::ImmutableRef;
use lazyblob_solver::{OpCx, OpError};

use super::agents::{self, Agents};
use super::blocking::blocking;
use super::cache;
use super::cleanup::Held;
use super::failed;
use super::private::Private;
use super::{secret, select};
use crate::error::Error;
use crate::executor::{MountSource, Mounted};
use crate::llb::pb::{ExecOp, Meta, Mount, MountType, SecretOpt, SshOpt};
use crate::llb::{Vertex, paths};
use crate::result::WorkerRef;
use crate::session::Session;
use crate::worker::Worker;

/// What a command sees.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) root: PathBuf,
    pub(super) read_only_root: bool,
    /// Outer ones before those within them.
    pub(super) mounts: Vec<Mounted>,
}

/// Makes mounts.
pub(super) struct Mounts<'a> {
    pub(super) worker: &'a Worker,
    pub(super) cx: &'a OpCx<WorkerRef>,
    pub(super) inputs: &'a [WorkerRef],
    /// Those who want the command to run.
    pub(super) sessions: &'a [Arc<Session>],
    pub(super) vertex: &'a Vertex,
    /// Takes over whatever is made, as soon as it is.
    pub(super) held: &'a mut Held,
}

impl Mounts<'_> {
    /// Makes all mounts of a command.
    pub(super) async fn make(&mut self, op: &ExecOp, meta: &Meta) -> Result<Seen, OpError> {
        // First what may be waited for: nobody else waits meanwhile for what we have.
        cache::lease_all(self, op).await?;
        let mut root = None;
        let mut mounts = Vec::new();
        for (number, mount) in op.mounts.iter().enumerate() {
            if is_root(mount) {
                root = Some((self.path(number, mount).await?, mount.readonly));
                continue;
            }
            let dest = dest(mount, meta);
            let Some(source) = self.source(number, mount).await? else { continue };
            let is_file = matches!(mount.mount_type(), MountType::Secret | MountType::Ssh);
            let is_own = match mount.mount_type() {
                MountType::Cache => mount.cache_opt.as_ref().is_some_and(|opt| !cache::is_shared(opt)),
                _ => true,
            };
            mounts.push(Mounted { dest, source, read_only: mount.readonly || is_file, is_own });
        }
        // Those of one depth stay in their order, so that the last of two at one place is the one that is seen.
        mounts.sort_by_key(|mount| mount.dest.split('/').filter(|part| !part.is_empty()).count());
        let (root, read_only_root) = root.unwrap_or_default();
        Ok(Seen { root, read_only_root, mounts })
    }

    /// What is to be mounted; nothing for what is absent and may be.
    async fn source(&mut self, number: usize, mount: &Mount) -> Result<Option<MountSource>, OpError> {
        match mount.mount_type() {
            MountType::Bind | MountType::Cache => {
                Ok(Some(MountSource::Bind(self.path(number, mount).await?)))
            }
            MountType::Tmpfs => {
                let size = mount.tmpfs_opt.and_then(|opt| u64::try_from(opt.size).ok());
                Ok(Some(MountSource::Tmpfs { size: size.filter(|size| *size > 0) }))
            }
            MountType::Secret => {
                let opt = mount.secret_opt.clone().unwrap_or_default();
                Ok(self.secret(number, opt).await?.map(MountSource::Bind))
            }
            MountType::Ssh => {
                let opt = mount.ssh_opt.clone().unwrap_or_default();
                Ok(self.agent(number, &opt).await?.map(MountSource::Bind))
            }
        }
    }

    /// Where the tree of a mount is, or what it shows of it.
    async fn path(&mut self, number: usize, mount: &Mount) -> Result<PathBuf, OpError> {
        let (selector, dest) = (mount.selector.clone(), mount.dest.clone());
        if mount.mount_type() != MountType::Cache {
            let root = self.tree(mount).await?;
            return blocking("select", move || select::within(&root, &selector, &dest))
                .await
                .map_err(failed::op);
        }
        let root = self.cache(number, mount)?;
        if select::is_whole(&selector) {
            return Ok(root);
        }
        // Others have the cache, too, and may put a link there between a look and a mount: what was found is held on to.
        let private = self.private().await?;
        let show = move || private.show(number, &select::open(&root, &selector, &dest)?);
        blocking("select", show).await.map_err(failed::op)
    }

    fn cache(&self, number: usize, mount: &Mount) -> Result<PathBuf, OpError> {
        let lease = self.held.caches.get(&number).map(|lease| lease.directory().to_owned());
        lease.ok_or_else(|| failed::op(Error::failed("mount cache at", &mount.dest, "it was not taken")))
    }

    async fn secret(&mut self, number: usize, opt: SecretOpt) -> Result<Option<PathBuf>, OpError> {
        let found = secret::find(self.sessions, &opt.id, opt.optional).map_err(failed::op)?;
        let Some(secret) = found else { return Ok(None) };
        let private = self.private().await?;
        let written = blocking("write secret", move || secret::write(private.path(), number, &opt, &secret));
        Ok(Some(written.await.map_err(failed::op)?))
    }

    async fn agent(&mut self, number: usize, opt: &SshOpt) -> Result<Option<PathBuf>, OpError> {
        let found = agents::find(self.sessions, opt).map_err(failed::op)?;
        let Some(agent) = found else { return Ok(None) };
        let private = self.private().await?;
        let agents = self.held.agents.get_or_insert_with(Agents::default);
        Ok(Some(agents.forward(private.path(), number, opt, agent).map_err(failed::op)?))
    }

    /// The directory for what must not reach a disk.
    async fn private(&mut self) -> Result<Arc<Private>, OpError> {
        if let Some(private) = &self.held.private {
            return Ok(Arc::clone(private));
        }
        let made = blocking("make a private directory", || Ok(Arc::new(Private::make()?))).await;
        Ok(Arc::clone(self.held.private.insert(made.map_err(failed::op)?)))
    }

    /// The input that a mount begins as, if it does not begin empty, and its number.
    pub(super) fn input(&self, mount: &Mount) -> Option<(usize, &ImmutableRef)> {
        let number = usize::try_from(mount.input).ok()?;
        Some((number, self.inputs.get(number)?.tree()?))
    }
}

/// Whether it is what the command runs in.
pub(super) fn is_root(mount: &Mount) -> bool {
    mount.dest == "/"
}

/// Where it is seen: a path that is not absolute is one of the working directory.
fn dest(mount: &Mount, meta: &Meta) -> String {
    if mount.dest.starts_with('/') {
        return paths::rooted(&mount.dest);
    }
    paths::rooted(&format!("{}/{}", meta.cwd, mount.dest))
}
