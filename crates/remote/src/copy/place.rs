//! One blob to its target, moving as little as possible: present? mount? and only then its bytes.

use std::sync::Arc;

use oci_spec::image::Descriptor;

use super::Copy;
use crate::endpoint::Mounted;
use crate::error::{Error, Result};
use crate::media;
use crate::progress::State;
use crate::transfer::Blob;

/// What became of a blob, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// The target has it.
    Present,
    /// The target takes it from another of its repositories. In a plan a forecast: it may refuse, and then the bytes
    /// move.
    Mount,
    /// Its bytes move from source to target.
    Transfer,
    /// It must not be distributed (image-spec "Non-Distributable Layers"); whoever needs it follows its `urls`.
    Foreign,
}

impl Action {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Mount => "mount",
            Self::Transfer => "transfer",
            Self::Foreign => "foreign",
        }
    }
}

impl Copy {
    /// Whether both ends are one place that keeps what it has. An archive is none: it is written anew, even onto itself.
    pub(super) fn within_one_place(&self) -> bool {
        self.target.vouches_for_blobs() && self.source.origin() == self.target.origin()
    }

    /// Whether no request is needed to know what becomes of `blob`.
    pub(super) fn known(&self, blob: &Descriptor) -> Option<Action> {
        if self.within_one_place() {
            return Some(Action::Present);
        }
        let elsewhere = blob.urls().as_ref().is_some_and(|urls| !urls.is_empty());
        (media::is_foreign(blob.media_type().as_ref()) && elsewhere).then_some(Action::Foreign)
    }

    /// Whether both ends are repositories of one registry.
    pub(super) fn may_mount(&self) -> bool {
        self.target.mounts() && self.source.origin().host == self.target.origin().host
    }

    /// The blob as it is read from the source.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Blob {
        let sources = vec![self.source.blobs()];
        Blob::new(descriptor.clone(), sources, self.options.retry, self.access.clone())
    }

    /// Brings one blob to the target.
    pub(super) async fn place(self: Arc<Self>, blob: Descriptor) -> Result<(Descriptor, Action)> {
        let progress = &self.access.progress;
        progress.start(&blob, State::Waiting);
        let outcome = self.place_watched(&blob).await;
        progress.finish(
            &blob,
            match &outcome {
                Ok(Action::Present | Action::Foreign) => State::Present,
                Ok(Action::Mount) => State::Mounted,
                Ok(Action::Transfer) => State::Done,
                Err(_) => State::Failed,
            },
        );
        outcome.map(|action| (blob, action))
    }

    async fn place_watched(&self, blob: &Descriptor) -> Result<Action> {
        if let Some(action) = self.known(blob) {
            return Ok(action);
        }
        let mut session = None;
        if self.may_mount() {
            match self.target.mount(blob, &self.source.origin()).await? {
                Mounted::Yes => return Ok(Action::Mount),
                Mounted::No { session: opened } => session = opened,
            }
        }
        if self.target.has_blob(blob).await? {
            return Ok(Action::Present);
        }
        self.access.progress.start(blob, State::Uploading);
        let source = self.blob(blob);
        let mut put = self.target.put_blob(&source, session).await;
        // What is wrong at a mirror may be right at the next one. Nothing of it has become visible.
        while let Err(error) = &put
            && matches!(error.root(), Error::Integrity { .. })
            && source.distrust()
        {
            self.access.progress.note(&format!("{error}; going on with the next source"));
            put = self.target.put_blob(&source, None).await;
        }
        put.map(|()| Action::Transfer)
    }
}
