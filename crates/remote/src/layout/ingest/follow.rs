//! Reading a blob while it is still being received, in the process that receives it.
//!
//! ```text
//! Ingest ──how far──> Board (one per blob) ──> Follower: waits until something is written ──> Tail: reads it
//! ```
//!
//! A [`Tail`] reads the ingest's own file, from the blob's first byte, as far as it is written. What it has read is
//! **not verified** before it ends: its end is that of a blob that was verified and is in its place, and every other way
//! out is an error that carries a [`Cut`]. Who makes something of the bytes shows it to nobody before that end.
//!
//! Nobody who writes waits for one who reads. Nothing is locked while bytes are moved: how far the file is written is a
//! number that is exchanged, and a tail that reads looks at it once more after it has read. So what it returns was
//! written by the ingest it follows, even if the file is cut meanwhile, or gone on with by another process.

mod board;
mod tail;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::Descriptor;

pub(super) use board::{Board, Writer};
pub use tail::{Cut, Tail, Waiting};

use self::board::Stage;
use super::{Ingests, blob_path};
use crate::error::{Result, What};
use crate::layout::disk;

/// Waits for a blob to be written in this process.
#[derive(Debug)]
pub struct Follower {
    board: Arc<Board>,
    blob: Descriptor,
    place: PathBuf,
}

/// What became of waiting for a blob to be written.
#[derive(Debug)]
pub enum Begun {
    /// It is being written.
    Tail(Tail),
    /// It is in its place.
    Here,
}

impl Ingests {
    /// Follows `blob`, whether somebody writes it already or will: only those count who write through this very value
    /// or a clone of it.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a digest that cannot be verified.
    pub fn follow(&self, blob: &Descriptor) -> Result<Follower> {
        let place = blob_path(&self.root, blob.digest())?;
        Ok(Follower { board: self.boards.of(blob.digest()), blob: blob.clone(), place })
    }

    /// Tells those who follow a blob that it is in its place: by whoever has seen it there, whichever process has put it.
    pub fn is_here(&self, digest: &oci_spec::image::Digest) {
        if let Some(board) = self.boards.get(digest) {
            board.is_here();
        }
    }
}

impl Follower {
    /// Waits until the blob is being written, or is there whole: stored before, or by another process that this one has
    /// waited for. After a [`Cut`] it is called again.
    ///
    /// While nobody so much as tries to write the blob this waits: who has brought about that somebody does waits for
    /// both, and stops when that has failed.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) if the runtime is shutting down.
    pub async fn begun(&self) -> Result<Begun> {
        let mut stages = self.board.stages();
        let (place, size) = (self.place.clone(), self.blob.size());
        // It may have been stored before anybody followed it.
        let is_here =
            move || fs::symlink_metadata(place).is_ok_and(|file| file.is_file() && file.len() == size);
        if matches!(*stages.borrow_and_update(), Stage::Idle)
            && disk::blocking(|| What::new("follow blob", self.blob.digest()), is_here).await?
        {
            return Ok(Begun::Here);
        }
        loop {
            match stages.borrow_and_update().clone() {
                Stage::Idle => {}
                Stage::Here => return Ok(Begun::Here),
                Stage::Writing(run) => return Ok(Begun::Tail(Tail::new(run))),
            }
            // It does not end as long as there is the board, which we have.
            drop(stages.changed().await);
        }
    }
}
