//! What mounts show is here.

use std::sync::Arc;

use super::{Check, Object, Repair};
use crate::blocking::blocking;
use crate::error::Result;
use crate::mount::{Mounted, Stale, State};

impl Check<'_> {
    pub(super) async fn mounts(&mut self) -> Result<()> {
        let (mounter, repairs) = (Arc::clone(self.manager.mounter()), self.repairs());
        let mounts = blocking(
            || self.what(),
            move || {
                let mounts = mounter.list()?;
                if repairs {
                    mounter.recover()?;
                }
                Ok(mounts)
            },
        );
        for Mounted { record, state } in mounts.await? {
            let object = Object::Mount(record.dir.clone());
            if let State::Stale(stale) = state {
                // What was written to one that was made is somebody's until it is unmounted.
                let repair = match (repairs, stale) {
                    (false, _) => Repair::NotAsked,
                    (true, Stale::NeverMade) => Repair::Done("it is forgotten".to_owned()),
                    (true, _) => Repair::Impossible("unmount it to have it forgotten".to_owned()),
                };
                self.leftover(object, state.to_string(), repair);
                continue;
            }
            let missing = record.stack.iter().find(|key| !self.facts.snapshots.contains_key(*key)).cloned();
            if let Some(key) = missing {
                // It may have been made since the snapshots were listed.
                let (snapshots, name) = (Arc::clone(self.manager.snapshots()), key.clone());
                if blocking(|| self.what(), move || snapshots.info(&name)).await?.is_some() {
                    continue;
                }
                let repair = if repairs { Repair::InUse } else { Repair::NotAsked };
                self.problem(object, format!("it shows the snapshot {key}, which is gone"), repair);
            }
        }
        Ok(())
    }
}
