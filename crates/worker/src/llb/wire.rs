//! Counts what is in a protobuf message without reading it into memory.

use crate::error::{Error, Result};

use super::limits;

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) number: u32,
    /// What is in it, if it has a length of its own.
    pub(super) body: Option<&'a [u8]>,
}

/// The fields of a message. It ends early only where the bytes are none, and there the reader of the message fails, too: what
/// is read has been counted.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let body = match key & 7 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            // A group is skipped by whoever reads the message; what is in it counts as if it stood here.
            3 | 4 => None,
            5 => self.take(4).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(self.take(length)?)
            }
            _ => return None,
        };
        Some(Field { number, body })
    }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = *self.0.get(at)?;
            value |= u64::from(byte & 0x7f) << (7 * at).min(63);
            if byte < 0x80 {
                self.0 = self.0.get(at + 1..)?;
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

/// Holds a definition against the [limits] before it is read.
pub(super) fn within_limits(bytes: &[u8]) -> Result<()> {
    at_most("bytes", limits::DEFINITION_BYTES, bytes.len())?;
    let (mut vertices, mut said, mut parts, mut fields) = (0, 0, 0, 0);
    for field in Fields(bytes) {
        let body = field.body.unwrap_or_default();
        match field.number {
            1 => {
                vertices += 1;
                at_most("vertices", limits::VERTICES, vertices)?;
                count_op(body, &mut parts, &mut fields)?;
            }
            2 => {
                said += 1;
                at_most("vertices with metadata", limits::VERTICES, said)?;
                // An entry of a map is a key and a value.
                let values = Fields(body).filter_map(|entry| entry.body);
                fields += values.map(|value| Fields(value).count()).sum::<usize>();
                at_most("fields", limits::FIELDS, fields)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The number of file operations among what an op may do.
const FILE: u32 = 4;

fn count_op(op: &[u8], parts: &mut usize, fields: &mut usize) -> Result<()> {
    for field in Fields(op) {
        *parts += 1;
        match (field.number, field.body) {
            // What an op does is made of parts, mounts and actions for one.
            (number @ 2..=9, Some(kind)) => {
                for part in Fields(kind) {
                    *parts += 1;
                    // An action is one message more; elsewhere what is deeper down is text.
                    let deeper = |field: Field<'_>| {
                        if number == FILE { Fields(field.body.unwrap_or_default()).count() } else { 0 }
                    };
                    *fields +=
                        Fields(part.body.unwrap_or_default()).map(|field| 1 + deeper(field)).sum::<usize>();
                    at_most("fields", limits::FIELDS, *fields)?;
                    at_most("inputs, mounts and actions", limits::PARTS, *parts)?;
                }
            }
            (_, body) => *fields += Fields(body.unwrap_or_default()).count(),
        }
        at_most("inputs, mounts and actions", limits::PARTS, *parts)?;
        at_most("fields", limits::FIELDS, *fields)?;
    }
    Ok(())
}

fn at_most(what: &'static str, limit: usize, found: usize) -> Result<()> {
    if found > limit { Err(Error::TooLarge { what, limit, found }) } else { Ok(()) }
}
