//! Decompression in a thread of its own, some buffers ahead of who applies the tar.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use lazyblob_remote::What;
use tokio_util::sync::CancellationToken;

use super::decoder::Decoder;
use super::{CHUNK, Source};
use crate::error::{Error, Result};
use crate::layer::Limits;

/// How many buffers may wait; with the one being filled and the one being read this is what a layer takes of memory.
const AHEAD: usize = 6;

/// The end that decompresses.
pub(in crate::layer) struct Feed {
    full: SyncSender<Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    what: What,
}

/// The end that reads.
pub(in crate::layer) struct Pipe {
    full: Receiver<Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
}

impl Pipe {
    /// Both ends.
    pub(in crate::layer) fn new(what: What) -> (Feed, Self) {
        let (full, filled) = sync_channel(AHEAD);
        let (empty, emptied) = channel();
        let feed = Feed { full, empty: emptied, what };
        (feed, Self { full: filled, empty, buffer: Vec::new(), at: 0 })
    }
}

impl Source for Pipe {
    fn chunk(&mut self) -> Result<&[u8]> {
        if self.at >= self.buffer.len() {
            let spent = std::mem::take(&mut self.buffer);
            self.at = 0;
            if spent.capacity() > 0 {
                // Nobody takes it where the blob has ended.
                let _ = self.empty.send(spent);
            }
            // The other end hangs up when all is sent, and not before it has sent its error.
            self.buffer = self.full.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Feed {
    /// Decompresses all of `blob`. Ends early where the other end is gone.
    pub(in crate::layer) fn run(
        self,
        blob: impl Read,
        media_type: &str,
        limits: &Limits,
        cancel: &CancellationToken,
    ) {
        let decoded = Decoder::new(blob, media_type, self.what.clone())
            .and_then(|mut decoder| self.pump(&mut decoder, limits, cancel));
        if let Err(error) = decoded {
            // Who does not listen any more has an error of its own.
            let _ = self.full.send(Err(error));
        }
    }

    fn pump(
        &self,
        decoder: &mut Decoder<impl Read>,
        limits: &Limits,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let mut size = 0_u64;
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: self.what.clone() });
            }
            let mut buffer = self.empty.try_recv().unwrap_or_default();
            buffer.resize(CHUNK, 0);
            let length = full_read(decoder, &mut buffer)?;
            buffer.truncate(length);
            size = size.saturating_add(length.try_into().unwrap_or(u64::MAX));
            if size > limits.ratio_above && size > decoder.consumed().saturating_mul(limits.ratio) {
                let ratio = limits.ratio;
                let reason =
                    format!("it grows to more than {ratio} times its size, the limit of a layer's ratio");
                return Err(Error::Refused { what: self.what.clone(), reason });
            }
            if length == 0 || self.full.send(Ok(buffer)).is_err() {
                return Ok(());
            }
        }
    }
}

/// Reads until the buffer is full or the stream ends.
fn full_read(decoder: &mut Decoder<impl Read>, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match decoder.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
