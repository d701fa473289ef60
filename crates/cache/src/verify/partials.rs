//! What was saved of unfinished blobs is what was received.

use lazyblob_remote::layout::Damaged;

use super::{Check, Object, Repair};
use crate::error::Result;

impl Check<'_> {
    pub(super) async fn partials(&mut self) -> Result<()> {
        let ingests = self.manager.store().ingests().clone();
        let (read, damaged) = ingests.check(self.repairs(), self.cancel).await?;
        self.found.partials = read;
        for Damaged { digest, reason, removed } in damaged {
            let repair = match removed {
                true => {
                    Repair::Done("it is removed, and fetched from its beginning when it is wanted".to_owned())
                }
                false => Repair::NotAsked,
            };
            self.problem(Object::Partial(digest), reason, repair);
        }
        Ok(())
    }
}
