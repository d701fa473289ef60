//! Tags of a repository.

use serde::Deserialize;

use super::Repository;
use crate::error::{Result, What};
use crate::reference::is_tag;
use crate::request::Kind;

#[derive(Deserialize)]
struct Page {
    /// Some registries say `null` where there are none, and list nulls (Nexus) and digests (Artifactory) among tags.
    #[serde(default)]
    tags: Option<Vec<Option<String>>>,
}

impl Repository {
    /// All tags, page by page, in the registry's order. What is listed among them and is no tag, which no one could
    /// ask for, is left out: digests, and texts that would steer a terminal.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where there is no such repository, and those of the way.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let what = What::new("list tags", &self.name);
        let pages: Vec<Page> = self.pages(Kind::Tags, &what, "tags/list").await?;
        let tags = pages.into_iter().flat_map(|page| page.tags.unwrap_or_default()).flatten();
        Ok(tags.filter(|tag| is_tag(tag)).collect())
    }
}
