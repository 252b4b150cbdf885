//! The bytes of a shelf file: superblocks, log records, and the little-endian codec under them.
//!
//! `docs/shelf-format.md` draws the layout; this file is its only implementation. Nothing here does I/O.
//!
//! Invariants
//!
//! - Every integer is little-endian; no structure holds an address.
//! - A superblock is valid only with its magic, its version, known incompatible flags and its CRC.
//! - A record is valid only with the superblock's salt and generation, the expected sequence, the CRC of the
//!   record before it, and its own header and body CRCs.

/// Unit of allocation, tracking and checksums, in bytes.
pub const PAGE: u64 = 4096;
/// Granularity of dense in-place updates: 2 MiB, in pages.
pub const CHUNK_PAGES: u32 = 512;
/// First byte after the two superblocks.
pub const HEAP_START: u64 = 2 * PAGE;
pub const VERSION: u32 = 1;
/// Flags a reader must know to read the file. None yet.
pub const KNOWN_INCOMPAT: u64 = 0;
pub const MAGIC: [u8; 8] = *b"LARDERSH";
const RECORD_MAGIC: u32 = 0x4345_524c; // "LREC"
pub const RECORD_HEADER: usize = 72;
/// Bytes of one entry of a record's page table.
pub const PAGE_REF: usize = 24;

/// Commits and generations stay below this: numbers nobody can reach, that still fit a lock's position.
pub const NUMBER_MAX: u64 = 1 << 55;

pub const NAME_MAX: usize = 4096;
pub const KIND_MAX: usize = 256;
pub const META_MAX: usize = 1 << 20;
pub const MESSAGE_MAX: usize = 4096;

pub fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

pub fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    pub generation: u64,
    pub salt: u64,
    pub log_at: u64,
    pub log_len: u64,
    pub snapshot_at: u64,
    pub snapshot_len: u64,
    pub snapshot_crc: u32,
    /// Last commit the snapshot contains.
    pub commit: u64,
    /// The file is at least this long.
    pub file_len: u64,
    pub id: [u8; 16],
}

/// What a superblock slot holds.
#[derive(Debug)]
pub enum Slot {
    /// All zero: never written.
    Blank,
    Valid(Superblock),
    /// The magic is right and the CRC is right, but the version or a flag is unknown.
    Newer(String),
    /// Neither; `is_shelf` if the magic is there.
    Bad {
        is_shelf: bool,
    },
}

impl Superblock {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes(&MAGIC);
        w.u32(VERSION);
        w.u32(PAGE as u32);
        w.u64(0); // incompatible feature flags
        w.u64(0); // compatible feature flags
        for field in [
            self.generation,
            self.salt,
            self.log_at,
            self.log_len,
            self.snapshot_at,
            self.snapshot_len,
        ] {
            w.u64(field);
        }
        w.u32(self.snapshot_crc);
        w.u32(0);
        w.u64(self.commit);
        w.u64(self.file_len);
        w.bytes(&self.id);
        let mut page = w.0;
        page.resize(508, 0);
        let sum = crc(&page);
        page.extend_from_slice(&sum.to_le_bytes());
        page.resize(PAGE as usize, 0);
        page
    }

    pub fn decode(page: &[u8]) -> Slot {
        if page.iter().all(|b| *b == 0) {
            return Slot::Blank;
        }
        let is_shelf = page.starts_with(&MAGIC);
        if !is_shelf || page.len() < 512 || crc(&page[..508]) != u32::from_le_bytes(page[508..512].try_into().unwrap())
        {
            return Slot::Bad { is_shelf };
        }
        let mut r = Reader::new(&page[8..508]);
        let fields = (|| {
            let (version, page_size, incompat, _compat) = (r.u32()?, r.u32()?, r.u64()?, r.u64()?);
            if version > VERSION {
                return Some(Slot::Newer(format!(
                    "format version {version}, this larder knows {VERSION}"
                )));
            }
            if incompat & !KNOWN_INCOMPAT != 0 || page_size != PAGE as u32 {
                return Some(Slot::Newer(format!(
                    "feature flags {incompat:#x}, page size {page_size}"
                )));
            }
            let (generation, salt, log_at, log_len) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
            let (snapshot_at, snapshot_len, snapshot_crc, _) = (r.u64()?, r.u64()?, r.u32()?, r.u32()?);
            let (commit, file_len, id) = (r.u64()?, r.u64()?, r.take(16)?.try_into().ok()?);
            if generation == 0 || generation > NUMBER_MAX || commit > NUMBER_MAX {
                return Some(Slot::Bad { is_shelf });
            }
            Some(Slot::Valid(Superblock {
                generation,
                salt,
                log_at,
                log_len,
                snapshot_at,
                snapshot_len,
                snapshot_crc,
                commit,
                file_len,
                id,
            }))
        })();
        fields.unwrap_or(Slot::Bad { is_shelf })
    }
}

/// Fixed part of a log record. The body that follows: operations, page table, page images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    pub salt: u64,
    pub generation: u64,
    /// Commit number: exactly one more than the record before.
    pub sequence: u64,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    pub ops_len: u32,
    pub page_count: u32,
    /// CRC over operations and page table; the table holds one CRC per image.
    pub body_crc: u32,
    /// Header CRC of the record before; the superblock's low salt bits for the first.
    pub prev_crc: u32,
}

impl RecordHeader {
    pub fn encode(&self) -> ([u8; RECORD_HEADER], u32) {
        let mut w = Writer::default();
        w.u32(RECORD_MAGIC);
        w.u32(0);
        w.u64(self.salt);
        w.u64(self.generation);
        w.u64(self.sequence);
        w.u64(self.time_ns as u64);
        w.u32(self.ops_len);
        w.u32(self.page_count);
        w.u32(self.body_crc);
        w.u32(self.prev_crc);
        w.u64(0);
        let sum = crc(&w.0);
        w.u32(sum);
        w.u32(0);
        (w.0.try_into().expect("header size"), sum)
    }

    /// The header and its CRC, if `bytes` hold one that checks.
    pub fn decode(bytes: &[u8]) -> Option<(RecordHeader, u32)> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        let mut r = Reader::new(bytes);
        if r.u32()? != RECORD_MAGIC {
            return None;
        }
        r.u32()?;
        let header = RecordHeader {
            salt: r.u64()?,
            generation: r.u64()?,
            sequence: r.u64()?,
            time_ns: r.u64()? as i64,
            ops_len: r.u32()?,
            page_count: r.u32()?,
            body_crc: r.u32()?,
            prev_crc: r.u32()?,
        };
        r.u64()?;
        let sum = r.u32()?;
        (crc(&bytes[..RECORD_HEADER - 8]) == sum).then_some((header, sum))
    }

    /// Bytes from this record's start to the next one's.
    pub fn span(&self) -> u64 {
        record_span(self.ops_len as u64, self.page_count as u64)
    }
}

/// Bytes a record takes in the log, rounded up to the 8-byte grid records start on.
pub fn record_span(ops_len: u64, page_count: u64) -> u64 {
    (RECORD_HEADER as u64 + ops_len + page_count * (PAGE_REF as u64 + PAGE)).next_multiple_of(8)
}

/// One page image of a record: where the page and its checksum live in the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    pub page_at: u64,
    pub crc_at: u64,
    pub crc: u32,
}

impl PageRef {
    pub fn encode(&self, w: &mut Writer) {
        w.u64(self.page_at);
        w.u64(self.crc_at);
        w.u32(self.crc);
        w.u32(0);
    }

    pub fn decode(r: &mut Reader) -> Option<PageRef> {
        let page = PageRef {
            page_at: r.u64()?,
            crc_at: r.u64()?,
            crc: r.u32()?,
        };
        r.u32()?;
        Some(page)
    }
}

#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, v: u8) {
        self.0.push(v);
    }
    pub fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    pub fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    pub fn bytes(&mut self, v: &[u8]) {
        self.0.extend_from_slice(v);
    }
    /// Length-prefixed bytes.
    pub fn blob(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.bytes(v);
    }
}

/// Bounded reader: `None` past the end, never a panic, never an allocation larger than the input.
pub struct Reader<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(part)
    }
    /// What was read since position `from`.
    pub fn since(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }
    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.blob()?).ok()
    }
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }
}
