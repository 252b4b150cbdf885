//! What happened to the notebook's large arrays since a cell ended, told by the pages they lie on.
//!
//! Two sorts of memory are watched: blocks of the arena (`larder_tier::os::arena`), where NumPy makes large arrays, and private
//! mappings of a shelf that recovered arrays lie on. [`Tracked::begin`] is called when a cell has ended; what
//! [`Tracked::version`] says afterwards holds until the next `begin`.
//!
//! Invariants
//!
//! - A block has one serial for its life; memory that is freed and made anew has another one.
//! - `version` grows whenever a scan finds a written page; a unit's stamp is the version at which it was last found so.
//! - Nothing is said of a block that could not be watched or scanned: its bytes have to be read.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use larder_pages::{Sort, Watch};
use larder_tier::os::arena::{self, Backing};
use parking_lot::Mutex;

/// Writes are told to this many bytes.
pub const UNIT_BYTES: usize = 64 << 10;
const PAGE: usize = 4096;

struct Block {
    serial: u64,
    bytes: usize,
    sort: Sort,
    /// The arena's serial; `None` for a mapping that was adopted.
    made: Option<u64>,
    version: u64,
    stamps: Vec<u64>,
    watched: bool,
}

#[derive(Default)]
struct Table {
    blocks: BTreeMap<usize, Block>,
    next: u64,
}

/// What is known of a range within one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub serial: u64,
    /// Where the block starts.
    pub start: usize,
    pub version: u64,
}

/// The watched blocks of this process.
pub struct Tracked {
    watch: Watch,
    table: Mutex<Table>,
}

static TRACKED: OnceLock<Result<Tracked, String>> = OnceLock::new();

/// The process's tracker, tried at the first call.
///
/// # Errors
/// Why pages cannot be watched here.
pub fn tracked() -> Result<&'static Tracked, String> {
    let made = TRACKED.get_or_init(|| {
        if std::env::var_os("LARDER_TRACKER").is_some_and(|kind| kind != "wp") {
            return Err("LARDER_TRACKER asks for another way".into());
        }
        let watch = Watch::open().map_err(|error| error.to_string())?;
        Ok(Tracked {
            watch,
            table: Mutex::default(),
        })
    });
    made.as_ref().map_err(Clone::clone)
}

impl Tracked {
    /// A cell has ended: looks at every block, and starts to watch the new ones.
    pub fn begin(&self) {
        let mut table = self.table.lock();
        let live = arena::existing().map(arena::Arena::blocks).unwrap_or_default();
        let mut there = BTreeMap::new();
        for block in &live {
            let sort = match block.backing {
                Backing::Anonymous => Sort::Whole,
                Backing::TierFile => Sort::SharedFile,
                Backing::Inherited => continue,
            };
            there.insert(block.start, (block.serial, block.bytes, sort));
        }
        table
            .blocks
            .retain(|start, block| block.made.is_none() || there.get(start).map(|live| live.0) == block.made);
        for (start, block) in &mut table.blocks {
            if block.watched {
                block.scan(&self.watch, *start);
            }
        }
        for (start, (made, bytes, sort)) in there {
            if !table.blocks.contains_key(&start) {
                let watched = self.watch.arm(start, bytes, sort).is_ok();
                if let Some(arena) = arena::existing().filter(|_| watched) {
                    arena.set_watched(start);
                }
                table.add(start, bytes, sort, Some(made), watched);
            }
        }
    }

    /// Watches a private mapping of a file from here on, until [`Tracked::drop_mapping`]; all of it counts as unwritten, also
    /// pages that were copied before.
    pub fn adopt(&self, start: usize, bytes: usize) -> Option<Place> {
        let bytes = bytes.next_multiple_of(PAGE);
        self.watch.arm(start, bytes, Sort::PrivateFile).ok()?;
        if self.watch.take(start, bytes, Sort::PrivateFile, true).is_err() {
            self.watch.disarm(start, bytes);
            return None;
        }
        let mut table = self.table.lock();
        let serial = table.add(start, bytes, Sort::PrivateFile, None, true);
        Some(Place {
            serial,
            start,
            version: 0,
        })
    }

    /// The mapping goes away.
    pub fn drop_mapping(&self, start: usize) {
        let mut table = self.table.lock();
        if let Some(block) = table.blocks.remove(&start) {
            self.watch.disarm(start, block.bytes);
        }
    }

    /// The block that all of `low..high` lies in, if it is watched.
    pub fn place(&self, low: usize, high: usize) -> Option<Place> {
        let table = self.table.lock();
        let (start, block) = table.blocks.range(..=low).next_back()?;
        (block.watched && high <= start + block.bytes).then_some(Place {
            serial: block.serial,
            start: *start,
            version: block.version,
        })
    }

    /// Parts of `low..high` written after `version` of block `serial`, as ranges of addresses in whole units. With `now`,
    /// what was written since the last [`Tracked::begin`] counts too. `None` if nothing is known.
    pub fn written(
        &self,
        serial: u64,
        low: usize,
        high: usize,
        version: u64,
        now: bool,
    ) -> Option<Vec<(usize, usize)>> {
        let table = self.table.lock();
        let (start, block) = table.blocks.range(..=low).next_back()?;
        if block.serial != serial || !block.watched || high > start + block.bytes || low >= high {
            return None;
        }
        let mut units: Vec<bool> = block.stamps.iter().map(|stamp| *stamp > version).collect();
        if now {
            for (from, to) in self.watch.take(*start, block.bytes, block.sort, false).ok()? {
                units[(from - start) / UNIT_BYTES..=(to - 1 - start) / UNIT_BYTES].fill(true);
            }
        }
        let mut found: Vec<(usize, usize)> = Vec::new();
        let (first, last) = ((low - start) / UNIT_BYTES, (high - 1 - start) / UNIT_BYTES);
        for (unit, written) in units.iter().enumerate().take(last + 1).skip(first) {
            if !written {
                continue;
            }
            let from = (start + unit * UNIT_BYTES).max(low);
            let to = (start + (unit + 1) * UNIT_BYTES).min(high);
            match found.last_mut() {
                Some((_, end)) if *end == from => *end = to,
                _ => found.push((from, to)),
            }
        }
        Some(found)
    }

    /// `(blocks, bytes)` watched now.
    pub fn size(&self) -> (usize, usize) {
        let table = self.table.lock();
        let watched = table.blocks.values().filter(|block| block.watched);
        watched.fold((0, 0), |(count, bytes), block| (count + 1, bytes + block.bytes))
    }
}

impl Table {
    fn add(&mut self, start: usize, bytes: usize, sort: Sort, made: Option<u64>, watched: bool) -> u64 {
        self.next += 1;
        let block = Block {
            serial: self.next,
            bytes,
            sort,
            made,
            version: 0,
            stamps: vec![0; bytes.div_ceil(UNIT_BYTES)],
            watched,
        };
        self.blocks.insert(start, block);
        self.next
    }
}

impl Block {
    fn scan(&mut self, watch: &Watch, start: usize) {
        match watch.take(start, self.bytes, self.sort, true) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                self.version += 1;
                for (from, to) in found {
                    self.stamps[(from - start) / UNIT_BYTES..=(to - 1 - start) / UNIT_BYTES].fill(self.version);
                }
            }
            Err(_) => self.watched = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_a_block_of_the_arena_is_told_until_it_is_made_anew() {
        let Ok(tracked) = tracked() else { return };
        let arena = arena::arena().unwrap();
        let block = arena.alloc(40 * UNIT_BYTES).unwrap();
        let (low, high) = (block.start, block.start + 40 * UNIT_BYTES);
        // SAFETY: a live block of this test alone.
        let store = |at: usize| unsafe { ((low + at) as *mut u8).write_volatile(9) };
        store(0);
        assert_eq!(tracked.place(low, high), None);
        tracked.begin();
        let place = tracked.place(low, high).unwrap();
        tracked.begin();
        assert_eq!(tracked.place(low, high), Some(place));
        store(3 * UNIT_BYTES + 5);
        store(30 * UNIT_BYTES);
        let unit = |index: usize| (low + index * UNIT_BYTES, low + (index + 1) * UNIT_BYTES);
        assert_eq!(tracked.written(place.serial, low, high, 0, false), Some(vec![]));
        assert_eq!(
            tracked.written(place.serial, low, high, 0, true),
            Some(vec![unit(3), unit(30)])
        );
        tracked.begin();
        let later = tracked.place(low, high).unwrap();
        assert!(later.version > place.version && later.serial == place.serial);
        let (from, to) = (low + 3 * UNIT_BYTES + 100, low + 5 * UNIT_BYTES);
        assert_eq!(
            tracked.written(place.serial, from, to, 0, false),
            Some(vec![(from, unit(3).1)])
        );
        assert_eq!(
            tracked.written(place.serial, low, high, later.version, true),
            Some(vec![])
        );
        assert_eq!(tracked.place(low, high + PAGE), None, "past its end");
        assert!(arena.free(block.start));
        let again = arena.alloc(40 * UNIT_BYTES).unwrap();
        assert_eq!(again.start, block.start);
        tracked.begin();
        assert_ne!(tracked.place(low, high).unwrap().serial, place.serial);
        assert_eq!(tracked.written(place.serial, low, high, 0, true), None);
        arena.free(again.start);
    }
}
