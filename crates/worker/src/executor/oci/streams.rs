//! What a command writes, while it writes it.

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use tokio::net::unix::pipe::Receiver;

use crate::executor::Output;

/// So much is handed on at once: what a pipe holds.
const CHUNK: usize = 64 << 10;
/// So much of the end of standard error is kept.
const TAIL: usize = 4 << 10;

/// The two pipes of a command.
#[derive(Debug)]
pub(super) struct Streams {
    out: Stream,
    err: Stream,
    tail: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    number: u8,
    /// None at its end.
    pipe: Option<Receiver>,
    buffer: BytesMut,
}

impl Streams {
    /// Two pipes, and the ends to be written to.
    pub(super) fn new() -> io::Result<(Self, (OwnedFd, OwnedFd))> {
        let ((out, stdout), (err, stderr)) = (Stream::new(1)?, Stream::new(2)?);
        Ok((Self { out, err, tail: Vec::new() }, (stdout, stderr)))
    }

    /// Hands on what comes next; never returns when nothing more comes. Nothing is lost if it is dropped.
    pub(super) async fn forward(&mut self, output: &dyn Output) {
        let Self { out, err, .. } = self;
        let (number, data) = tokio::select! {
            data = out.next() => (1, data),
            data = err.next() => (2, data),
        };
        self.hand_on(number, data, output);
    }

    /// Hands on what is in the pipes by now.
    pub(super) fn drain(&mut self, output: &dyn Output) {
        while let Some(data) = self.out.ready() {
            self.hand_on(1, data, output);
        }
        while let Some(data) = self.err.ready() {
            self.hand_on(2, data, output);
        }
    }

    /// The end of what was written to standard error.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn hand_on(&mut self, number: u8, data: Bytes, output: &dyn Output) {
        if number == 2 {
            self.tail.extend_from_slice(&data[data.len().saturating_sub(TAIL)..]);
            self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        }
        output.write(number, data);
    }
}

impl Stream {
    fn new(number: u8) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let pipe = Receiver::from_owned_fd(reader.into())?;
        Ok((Self { number, pipe: Some(pipe), buffer: BytesMut::new() }, writer.into()))
    }

    async fn next(&mut self) -> Bytes {
        loop {
            let Some(pipe) = &self.pipe else { return std::future::pending().await };
            if let Err(error) = pipe.readable().await {
                self.end(&error);
            } else if let Some(data) = self.ready() {
                return data;
            }
        }
    }

    /// What there is, but not its end.
    fn ready(&mut self) -> Option<Bytes> {
        let pipe = self.pipe.as_ref()?;
        self.buffer.reserve(CHUNK);
        match pipe.try_read_buf(&mut self.buffer) {
            Ok(0) => self.pipe = None,
            Ok(_) => return Some(self.buffer.split().freeze()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.end(&error),
        }
        None
    }

    fn end(&mut self, error: &io::Error) {
        tracing::warn!(%error, stream = self.number, "output is lost");
        self.pipe = None;
    }
}
