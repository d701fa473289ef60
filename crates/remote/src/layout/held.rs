//! A blob of a layout that stays readable whatever is pruned meanwhile: its file is open.

use std::ops::Range;

use async_trait::async_trait;
use oci_spec::image::Descriptor;

use super::extent::Extent;
use crate::error::{Error, Result};
use crate::provider::{BlobInfo, Origin, Provider};
use crate::verify::Unverified;

/// One blob, held open.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) blob: Descriptor,
    pub(super) extent: Extent,
    pub(super) origin: Origin,
}

impl Held {
    fn extent_of(&self, blob: &Descriptor) -> Result<Extent> {
        if blob.digest() == self.blob.digest() {
            return Ok(self.extent.clone());
        }
        let object = format!("{} from {}", blob.digest(), self.origin);
        Err(Error::not_found("read blob", object, format_args!("what is held is {}", self.blob.digest())))
    }
}

#[async_trait]
impl Provider for Held {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.extent_of(blob)?.open(blob, range, &self.origin.to_string())
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: Some(self.extent_of(blob)?.size) })
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}
