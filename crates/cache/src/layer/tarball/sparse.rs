//! Files with holes: GNU's old form, and its forms 0.0, 0.1 and 1.0 in extended headers (GNU tar, "Sparse Formats").

use super::Extent;
use super::header::number;
use super::pax::decimal;

/// More stretches than this no file of an image has; each takes 16 bytes of memory.
pub(super) const MOST: usize = 1 << 16;

/// What an extended header says of holes.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    /// The map is in front of the data.
    pub(super) is_map_in_data: bool,
    pub(super) size: Option<u64>,
    /// Offsets and lengths in turn.
    map: Vec<u64>,
    is_sparse: bool,
}

impl SparseRecords {
    /// Takes one record, whose key begins with `GNU.sparse.`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.is_sparse = true;
        match key {
            b"name" => self.name = (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"major" => self.is_map_in_data = decimal::<u32>(value)? == 1,
            b"offset" | b"numbytes" => {
                // The offset comes first (form 0.0).
                let is_turn = self.map.len() % 2 == usize::from(key == b"numbytes");
                self.map.push(decimal(value).filter(|_| is_turn && self.map.len() < 2 * MOST)?);
            }
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                self.map = numbers.take(2 * MOST + 1).map(decimal).collect::<Option<_>>()?;
                return (self.map.len() <= 2 * MOST).then_some(());
            }
            _ => {}
        }
        Some(())
    }

    /// The map of forms 0.0 and 0.1; nothing where no such was there.
    pub(super) fn extents(&self) -> Option<Vec<Extent>> {
        (self.is_sparse && !self.is_map_in_data && self.size.is_some()).then(|| {
            let pair = |pair: &[u64]| match pair {
                [offset, length] => Some(Extent { offset: *offset, length: *length }),
                _ => None,
            };
            self.map.chunks(2).filter_map(pair).collect()
        })
    }
}

/// Takes the stretches of a block in the old form; says whether all of the fields made sense.
pub(super) fn take_fields(fields: &[u8], extents: &mut Vec<Extent>) -> bool {
    for pair in fields.chunks_exact(24) {
        let (offset, length) = pair.split_at(12);
        // An empty field ends the list.
        if length.first().is_none_or(|byte| *byte == 0) {
            return true;
        }
        let parse = |field| number(field).and_then(|number| u64::try_from(number).ok());
        let (Some(offset), Some(length)) = (parse(offset), parse(length)) else { return false };
        if extents.len() >= MOST {
            return false;
        }
        extents.push(Extent { offset, length });
    }
    true
}

/// Whether the stretches are in order, within the file, and as long as the data that are there.
pub(super) fn is_sound(extents: &[Extent], size: u64, stored: u64) -> bool {
    let mut end = 0;
    let mut total = 0_u64;
    for extent in extents {
        let Some(behind) = extent.offset.checked_add(extent.length) else { return false };
        if extent.offset < end || behind > size {
            return false;
        }
        end = behind;
        // Within the file and never overlapping, so it cannot overflow.
        total += extent.length;
    }
    total == stored && i64::try_from(size).is_ok()
}
