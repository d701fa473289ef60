//! One layer on its way into a docker-archive. Its size is known when it has been decompressed: the header is written
//! last, and only then does the layer belong to the archive.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::unpack::Unpacker;
use super::writer::Writer;
use crate::error::{Error, Result, What};
use crate::layout::disk::{self, CHUNK};
use crate::transfer::Blob;

/// The name of a layer with this diffID.
pub(super) fn layer_name(diff_id: &str) -> String {
    format!("{}.tar", diff_id.rsplit(':').next().unwrap_or(diff_id))
}

/// A layer under way. Fields are dropped in order: the turn goes last, when nothing writes any more.
struct Layer {
    unpacker: Unpacker,
    turn: OwnedSemaphorePermit,
}

/// Reads a layer, decompresses it and adds it to the archive unless its content is `known` to be there. Returns its
/// diffID. `turn` is the right to write at the end of the archive; it is with the writing thread, so that a dropped
/// future does not pass it on too early.
pub(super) async fn add(
    writer: &Arc<Writer>,
    blob: &Blob,
    known: HashSet<String>,
    turn: OwnedSemaphorePermit,
) -> Result<(String, OwnedSemaphorePermit)> {
    let what = What::new("write layer", format_args!("{} to {}", blob.descriptor().digest(), writer.place()));
    let failed = |error| unpack_error(&what, writer, error);
    let mut bytes = blob.read().await?;
    let (start, content) = writer.open_ended();
    let mut layer = Layer { unpacker: Unpacker::new(Arc::clone(writer.file()), content), turn };
    let (mut gathered, mut size) = (Vec::new(), 0);
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk?;
        size += chunk.len();
        gathered.push(chunk);
        if size >= CHUNK {
            let chunks = std::mem::take(&mut gathered);
            layer = disk::blocking(|| what.clone(), || unpack(layer, chunks)).await?.map_err(failed)?;
            size = 0;
        }
    }
    let archive = Arc::clone(writer);
    let close = move || {
        let Layer { unpacker, turn } = unpack(layer, gathered)?;
        let (size, diff_id) = unpacker.finish()?;
        if !known.contains(&diff_id) {
            archive.close_open_ended(start, &layer_name(&diff_id), size)?;
        }
        Ok((diff_id, turn))
    };
    disk::blocking(|| what.clone(), close).await?.map_err(failed)
}

fn unpack(layer: Layer, chunks: Vec<Bytes>) -> io::Result<Layer> {
    let Layer { mut unpacker, turn } = layer;
    for chunk in chunks {
        unpacker = unpacker.write(&chunk)?;
    }
    Ok(Layer { unpacker, turn })
}

/// An error of the file system has a number, one of a decoder has not.
fn unpack_error(what: &What, writer: &Writer, error: io::Error) -> Error {
    let what = what.clone();
    if error.raw_os_error().is_some() {
        return Error::Io { what, path: writer.temp_path().to_owned(), source: error };
    }
    Error::Invalid { what, reason: format!("the layer cannot be decompressed: {error}") }
}
