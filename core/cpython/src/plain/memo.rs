//! Which objects were written before, by their addresses.
//!
//! A table for each piece of memory in which an object was met, with a place for each 32 bytes: two of the objects that are
//! remembered never begin in the same ones, because the smallest are longer (`b""` has 33). What was made one after the other
//! lies in one piece for the most part, and the last piece is remembered, so that a list of many strings costs a look-up for a
//! few of them only.
//!
//! Invariant: indices are given in order, from 0 on: the reader counts along.

use std::collections::TryReserveError;

use rustc_hash::FxHashMap;

const PIECE_BYTES: usize = 1 << 10;
const PLACES: usize = PIECE_BYTES / OBJECT_BYTES_MIN;
const OBJECT_BYTES_MIN: usize = 32;
/// So many tables are kept for the next pickle.
const KEPT_MAX: usize = 1 << 15;

#[derive(Default)]
pub(super) struct Memo {
    /// Which table is that of a piece of memory.
    pieces: FxHashMap<usize, u32>,
    /// Index of the object that begins there, plus 1; 0 where none was met.
    tables: Vec<[u32; PLACES]>,
    /// The piece looked for last and its table; no memory is in the piece 0.
    last: (usize, u32),
    count: u32,
}

pub(super) enum Met {
    New,
    /// With this index.
    Before(u32),
}

impl Memo {
    /// Forget everything.
    pub(super) fn clear(&mut self) {
        self.tables.clear();
        self.tables.shrink_to(KEPT_MAX);
        self.pieces.clear();
        self.pieces.shrink_to(KEPT_MAX);
        self.last = (0, 0);
        self.count = 0;
    }

    pub(super) fn get(&self, at: usize) -> Option<u32> {
        let (piece, place) = place(at);
        let table = if self.last.0 == piece {
            self.last.1
        } else {
            *self.pieces.get(&piece)?
        };
        self.tables[table as usize][place].checked_sub(1)
    }

    /// Gives an object that is not known the next index; `None` if there is no memory for that.
    pub(super) fn add(&mut self, at: usize) -> Option<()> {
        self.meet(at).map(|_| ())
    }

    /// Whether an object was met before; it is known from now on. `None` if there is no memory for that.
    pub(super) fn meet(&mut self, at: usize) -> Option<Met> {
        let (piece, place) = place(at);
        if self.last.0 != piece {
            self.last = (piece, self.table(piece).ok()?);
        }
        let known = &mut self.tables[self.last.1 as usize][place];
        if let Some(index) = known.checked_sub(1) {
            return Some(Met::Before(index));
        }
        self.count = self.count.checked_add(1)?;
        *known = self.count;
        Some(Met::New)
    }

    fn table(&mut self, piece: usize) -> Result<u32, TryReserveError> {
        self.pieces.try_reserve(1)?;
        self.tables.try_reserve(1)?;
        let next = self.tables.len() as u32;
        let table = *self.pieces.entry(piece).or_insert(next);
        if table == next {
            self.tables.push([0; PLACES]);
        }
        Ok(table)
    }
}

fn place(at: usize) -> (usize, usize) {
    (at / PIECE_BYTES, at % PIECE_BYTES / OBJECT_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_the_index_of_its_first_meeting_wherever_addresses_lie() {
        for stride in [33, 40, 48, 64, 4096, 1 << 16, 1 << 20, 1 << 22, 1 << 30] {
            let mut memo = Memo::default();
            memo.clear();
            let address = |i: usize| 0x7f00_0000_0008 + i * stride;
            for i in 0..3000 {
                assert!(memo.get(address(i)).is_none());
                assert!(matches!(memo.meet(address(i)), Some(Met::New)));
            }
            for i in 0..3000 {
                assert_eq!(memo.get(address(i)), Some(i as u32));
                assert!(matches!(memo.meet(address(i)), Some(Met::Before(index)) if index == i as u32));
            }
        }
    }

    #[test]
    fn what_another_pickle_met_is_not_known() {
        let mut memo = Memo::default();
        memo.add(0x1000).unwrap();
        memo.add(0x2000).unwrap();
        memo.clear();
        assert_eq!(memo.get(0x1000), None);
        memo.add(0x2000).unwrap();
        assert_eq!(memo.get(0x2000), Some(0));
    }
}
