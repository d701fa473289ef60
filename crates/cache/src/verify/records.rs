//! Rows are readable and found by what they should be; what they say of each other is true.

use std::collections::HashSet;
use std::sync::Arc;

use super::facts::{Facts, TURN};
use super::{Check, Object, Repair};
use crate::blocking::blocking;
use crate::chain::Chains;
use crate::error::{Result, What};
use crate::record::{Audit, Kind, Pointer, Record, RecordId, Rows};
use crate::root::Pin;
use crate::snapshot::SnapshotKey;

impl Check<'_> {
    /// What is wrong with the rows themselves. Reading them has shown that the database opens.
    pub(super) async fn rows(&mut self) -> Result<()> {
        self.found.records = self.facts.records.len();
        let (stray, lacking) = (self.facts.stray.len(), self.facts.lacking.len());
        let is_wrong = stray + lacking > 0;
        let broken = std::mem::take(&mut self.facts.broken);
        if self.repairs() {
            self.mend_rows(&broken).await?;
        }
        let repair = |how: &str| match self.options.repair {
            true => Repair::Done(how.to_owned()),
            false => Repair::NotAsked,
        };
        let gone = repair("its row is removed; the record is made anew when its image is opened");
        let anew = repair("they are made anew");
        for (id, reason) in broken {
            self.problem(Object::Record(id), reason, gone.clone());
        }
        if is_wrong {
            let reason = format!("{stray} rows find records that are not there, and {lacking} are missing");
            self.problem(Object::Database, reason, anew);
        }
        Ok(())
    }

    /// Removes records that cannot be read, and puts right what records are found by.
    async fn mend_rows(&self, broken: &[(String, String)]) -> Result<()> {
        for part in broken.chunks(TURN) {
            let ids: Vec<String> = part.iter().map(|(id, _)| id.clone()).collect();
            let write =
                self.manager.write(move |rows| ids.iter().try_for_each(|id| Audit::remove_broken(rows, id)));
            write.await?;
        }
        let Facts { stray, lacking, of_broken, .. } = &self.facts;
        let pointers: Vec<Pointer> = [stray, lacking, of_broken].into_iter().flatten().cloned().collect();
        for part in pointers.chunks(TURN) {
            let part = part.to_vec();
            let write = self
                .manager
                .write(move |rows| part.iter().try_for_each(|pointer| Audit::mend(rows, pointer)));
            write.await?;
        }
        Ok(())
    }

    /// What records say of each other, and of what is here.
    pub(super) async fn records(&mut self) -> Result<()> {
        let mut wrong: Vec<(RecordId, String)> = Vec::new();
        for record in self.facts.records.values() {
            let absent = record.kind.parents().find(|parent| !self.facts.records.contains_key(*parent));
            if let Some(parent) = absent {
                wrong.push((record.id.clone(), format!("what it stands on, {parent}, is gone")));
            } else if let Some(reason) = self.wrong_chain(record).or_else(|| self.wrong_size(record)) {
                wrong.push((record.id.clone(), reason));
            }
        }
        wrong.sort();
        let mut gone: HashSet<RecordId> = HashSet::new();
        for (id, reason) in wrong {
            let repair = self.remove_with_children(&id, &mut gone).await?;
            self.problem(Object::from(&id), reason, repair);
        }
        for id in &gone {
            self.facts.records.remove(id);
        }
        self.lost_trees().await
    }

    /// What its blob is known to have, where that is something else than it says.
    fn wrong_size(&self, record: &Record) -> Option<String> {
        let blob = &record.blob.as_ref()?.descriptor;
        let size = self.facts.good.get(blob.digest())?;
        (*size != blob.size()).then(|| {
            format!("it says that its blob {} has {} bytes, and it has {size}", blob.digest(), blob.size())
        })
    }

    /// What its chains should be.
    fn wrong_chain(&self, record: &Record) -> Option<String> {
        let (Kind::Layer { parent }, Some(blob)) = (&record.kind, &record.blob) else { return None };
        let (digest, diff_id) = (blob.descriptor.digest(), &blob.diff_id);
        let below = parent.as_ref().and_then(|parent| self.facts.records.get(parent));
        let below = match below {
            None => None,
            Some(below) => Some(Chains { chain: below.chain.clone()?, blobs: below.blob_chain.clone()? }),
        };
        let Chains { chain, blobs: blob_chain } = Chains::on(below.as_ref(), digest, diff_id);
        if record.chain.as_ref().is_some_and(|said| *said != chain) {
            return Some(format!("its chain is {chain}, and not what is written of it"));
        }
        if record.blob_chain.as_ref().is_some_and(|said| *said != blob_chain) {
            return Some(format!("its blobs' chain is {blob_chain}, and not what is written of it"));
        }
        let says_chain = record.snapshot.as_ref().filter(|key| key.as_chain().is_some());
        if says_chain.is_some_and(|key| *key != SnapshotKey::chain(&chain)) {
            return Some("its snapshot is that of another chain".to_owned());
        }
        None
    }

    /// Removes a record that is of no use and what stands on it: they are made anew of the images they belong to.
    async fn remove_with_children(&self, id: &RecordId, gone: &mut HashSet<RecordId>) -> Result<Repair> {
        if !self.repairs() {
            return Ok(Repair::NotAsked);
        }
        let mut all = vec![id.clone()];
        let mut at = 0;
        while let Some(id) = all.get(at).cloned() {
            let children = self.facts.records.values();
            let children = children.filter(|record| record.kind.parents().any(|parent| *parent == id));
            let new: Vec<RecordId> =
                children.map(|child| child.id.clone()).filter(|child| !all.contains(child)).collect();
            all.extend(new);
            at += 1;
        }
        let is_lost = |id: &RecordId| self.facts.records.get(id).is_some_and(|record| record.blob.is_none());
        if let Some(lost) = all.iter().find(|id| is_lost(id)) {
            return Ok(Repair::Impossible(format!("{lost} has no blob that it could be made anew of")));
        }
        let (live, ids) = (Arc::clone(self.manager.root().live()), all.clone());
        let removed = self.manager.write(move |rows| {
            let pinned = live.pinned()?;
            if ids.iter().any(|id| pinned.contains(&Pin::Record(id.as_str().into()))) {
                return Ok(false);
            }
            for id in &ids {
                if let Some(record) = Rows::get(rows, id)? {
                    Rows::delete(rows, &record);
                }
            }
            Ok(true)
        });
        if !removed.await? {
            return Ok(Repair::InUse);
        }
        gone.extend(all);
        Ok(Repair::Done("it is removed, and made anew when its image is opened".to_owned()))
    }

    /// Trees that nothing can be made anew of, and are gone.
    async fn lost_trees(&mut self) -> Result<()> {
        let manager = self.manager;
        let (snapshots, what) =
            (Arc::clone(manager.snapshots()), || What::new("verify", manager.root().path().display()));
        let actives: HashSet<SnapshotKey> =
            blocking(what, move || snapshots.actives()).await?.into_iter().collect();
        let has_tree = |record: &Record| {
            let key = record.snapshot.as_ref();
            key.is_none_or(|key| self.facts.snapshots.contains_key(key) || actives.contains(key))
        };
        let records = self.facts.records.values();
        let mut lost: Vec<RecordId> = records
            .filter(|record| matches!(record.kind, Kind::Layer { .. }))
            .filter(|record| record.blob.is_none() && record.twin.is_none() && !has_tree(record))
            .map(|record| record.id.clone())
            .collect();
        lost.sort();
        let live = Arc::clone(manager.root().live());
        let pinned =
            if lost.is_empty() { HashSet::new() } else { blocking(what, move || live.pinned()).await? };
        for id in lost {
            // Who makes one writes the record first.
            if pinned.contains(&Pin::Record(id.as_str().into())) {
                continue;
            }
            let why = Repair::Impossible("what was made here and never became a blob is lost".to_owned());
            let repair = if self.repairs() { why } else { Repair::NotAsked };
            self.problem(Object::from(&id), "its tree is gone, and no blob was made of it", repair);
        }
        Ok(())
    }
}
