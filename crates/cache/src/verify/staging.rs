//! What killed makers have left in `staging/`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::time::Duration;

use lazyblob_remote::progress::Silent;

use super::{Check, Object, Repair};
use crate::blocking::blocking;
use crate::error::{IoContext as _, Result};
use crate::root::Pin;

/// Who makes something and lives has its lock; nobody is waited for.
const LOCK: Duration = Duration::from_millis(50);

impl Check<'_> {
    pub(super) async fn staging(&mut self) -> Result<()> {
        let dir = self.manager.root().staging();
        let list = dir.clone();
        let names: Vec<OsString> = blocking(
            || self.what(),
            move || {
                let names = fs::read_dir(&list).and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()
                });
                names.during("verify staging", list.display(), &list)
            },
        )
        .await?;
        for name in names {
            let path = dir.join(&name);
            let Some(text) = name.to_str().filter(|text| !text.ends_with(".lock")) else { continue };
            let Some(made) = text.split('.').next().filter(|made| !made.is_empty()) else { continue };
            if self.is_pinned(made).await? {
                continue;
            }
            let locks = self.manager.root().staging_locks();
            let claim = locks.claim(made, &Silent, self.cancel);
            let Ok(claim) = tokio::time::timeout(LOCK, claim).await else { continue };
            let claim = claim?;
            let (trash, there, repair) = (self.manager.root().trash().clone(), path.clone(), self.repairs());
            let is_there = blocking(
                || self.what(),
                move || {
                    let is_there = there.symlink_metadata().is_ok();
                    if is_there && repair {
                        trash.put(&there)?;
                    }
                    drop(claim);
                    Ok(is_there)
                },
            );
            if is_there.await? {
                let done = Repair::Done("it is removed".to_owned());
                let repair = if repair { done } else { Repair::NotAsked };
                self.leftover(Object::Staging(path), "nobody works on it any more", repair);
            }
        }
        Ok(())
    }

    /// Whether it is of a record that a living process uses: who prepares a tree for one has no lock.
    async fn is_pinned(&self, made: &str) -> Result<bool> {
        let made = made.strip_prefix("active-").unwrap_or(made);
        let Some(id) = made.strip_prefix("record-").map(str::to_owned) else { return Ok(false) };
        let live = std::sync::Arc::clone(self.manager.root().live());
        let pinned = blocking(|| self.what(), move || live.pinned()).await?;
        Ok(pinned.contains(&Pin::Record(id.as_str().into())))
    }
}
