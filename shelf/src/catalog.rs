//! The catalog: which names there are, what each one holds, and where its bytes lie.
//!
//! In memory it is a map from name to [`Item`]; on the medium it is a snapshot plus the operations of the log records
//! after it. Items are immutable: a change makes a new one, so an older commit's catalog is the current one with the
//! replaced items put back ([`Commit::undo`]).

use crate::format::{PAGE, Reader, Writer, pages};
use crate::space::{Extent, Space};
use crate::view::View;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A run of pages of one extent that holds a run of pages of a buffer.
#[derive(Clone, Debug)]
pub struct Segment {
    pub extent: Arc<Extent>,
    /// First page within the extent.
    pub first: u32,
    pub count: u32,
}

impl Segment {
    pub fn whole(extent: Arc<Extent>) -> Segment {
        Segment {
            first: 0,
            count: extent.data_pages,
            extent,
        }
    }
    pub fn at(&self) -> u64 {
        self.extent.page_at(self.first)
    }
}

/// The memory a buffer is mapped to in this process; shared by all in-place versions of it.
pub type ViewCell = Arc<Mutex<Option<Arc<View>>>>;

/// One buffer of an item: its length in bytes and the segments that hold it.
#[derive(Clone)]
pub struct Stored {
    pub len: u64,
    pub segments: Arc<[Segment]>,
    pub cell: ViewCell,
}

impl Stored {
    pub fn new(len: u64, segments: Vec<Segment>) -> Stored {
        Stored {
            len,
            segments: segments.into(),
            cell: ViewCell::default(),
        }
    }

    pub fn pages(&self) -> u32 {
        pages(self.len) as u32
    }

    /// The segment that holds `page`, and the page's number in its extent.
    pub fn locate(&self, page: u32) -> Option<(&Arc<Extent>, u32)> {
        let mut start = 0;
        for segment in self.segments.iter() {
            if page < start + segment.count {
                return Some((&segment.extent, segment.first + (page - start)));
            }
            start += segment.count;
        }
        None
    }

    /// The segments that hold `count` pages from `first` on.
    pub fn slice(&self, first: u32, count: u32) -> Vec<Segment> {
        let (mut start, end) = (0, first + count);
        let mut parts = Vec::new();
        for segment in self.segments.iter() {
            let (from, to) = (first.max(start), end.min(start + segment.count));
            if from < to {
                parts.push(Segment {
                    extent: Arc::clone(&segment.extent),
                    first: segment.first + (from - start),
                    count: to - from,
                });
            }
            start += segment.count;
        }
        parts
    }

    /// This buffer with the pages from `first` on moved to `place`.
    pub fn moved(&self, first: u32, place: &Segment) -> Stored {
        let count = place.count;
        let mut segments = Vec::with_capacity(self.segments.len() + 2);
        let end = first + count;
        let mut start = 0;
        let mut placed = false;
        for segment in self.segments.iter() {
            let stop = start + segment.count;
            if start < first {
                let keep = first.min(stop) - start;
                segments.push(Segment {
                    count: keep,
                    ..segment.clone()
                });
            }
            if stop > first && !placed {
                segments.push(place.clone());
                placed = true;
            }
            if stop > end {
                let skip = end.max(start) - start;
                segments.push(Segment {
                    first: segment.first + skip,
                    count: segment.count - skip,
                    extent: Arc::clone(&segment.extent),
                });
            }
            start = stop;
        }
        Stored {
            len: self.len,
            segments: segments.into(),
            cell: Arc::clone(&self.cell),
        }
    }
}

/// One named value.
#[derive(Clone)]
pub struct Item {
    pub kind: Arc<str>,
    pub meta: Arc<[u8]>,
    pub buffers: Vec<Stored>,
    /// The commit that last changed it; 0 while pending.
    pub commit: u64,
}

impl Item {
    pub fn nbytes(&self) -> u64 {
        self.buffers.iter().map(|b| b.len).sum()
    }

    /// The same item for another reader of it: same places, own views.
    pub fn detached(&self) -> Item {
        let mut item = self.clone();
        for buffer in &mut item.buffers {
            buffer.cell = ViewCell::default();
        }
        item
    }
}

/// One commit, as `log` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitInfo {
    pub id: u64,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    pub message: String,
    pub names_changed: Vec<String>,
    pub bytes_written: u64,
}

/// Names as the snapshot holds them: a count, then each with its length. A commit may change thousands, and few are read.
#[derive(Clone, Default)]
pub struct NameList(Arc<[u8]>);

impl NameList {
    pub fn new<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> NameList {
        let mut w = Writer::default();
        w.u32(names.len() as u32);
        names.for_each(|name| w.blob(name.as_bytes()));
        NameList(w.0.into())
    }

    fn decode(r: &mut Reader) -> Option<NameList> {
        let from = r.at;
        for _ in 0..r.u32()? {
            r.text()?;
        }
        Some(NameList(r.since(from).into()))
    }

    pub fn to_vec(&self) -> Vec<String> {
        let mut r = Reader::new(&self.0);
        let count = r.u32().unwrap_or(0);
        (0..count).map_while(|_| r.text().map(str::to_string)).collect()
    }
}

/// Bytes of names that `log` shows of commits whose state is not kept; older ones show none.
const LOG_NAMES_MAX: usize = 256 << 10;

/// Forgets the changed names of old commits, so that a snapshot stays small whatever was committed before.
pub fn forget_names(history: &mut VecDeque<Commit>) {
    let mut bytes = 0;
    for commit in history.iter_mut().rev().filter(|commit| !commit.kept) {
        bytes += commit.names.0.len();
        if bytes > LOG_NAMES_MAX {
            commit.names = NameList::default();
        }
    }
}

/// What one commit changed, kept while history keeps the state before it.
#[derive(Clone)]
pub struct Commit {
    /// Without its names: see `names`, and [`Commit::info`].
    pub info: CommitInfo,
    pub names: NameList,
    /// The items this commit replaced, `None` where it created the name. Empty once `kept` is false.
    pub undo: Vec<(Arc<str>, Option<Arc<Item>>)>,
    /// True while the state *before* this commit can still be shown.
    pub kept: bool,
}

impl Commit {
    pub fn info(&self) -> CommitInfo {
        CommitInfo {
            names_changed: self.names.to_vec(),
            ..self.info.clone()
        }
    }
}

pub type Names = BTreeMap<Arc<str>, Arc<Item>>;

/// One operation of a log record.
pub enum Op {
    Put(Arc<str>, Item),
    Remove(Arc<str>),
    /// Pages of this name changed in place (the images are in the same record).
    Touch(Arc<str>),
}

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const TOUCH: u8 = 3;

pub fn encode_ops(message: &str, retain: u32, ops: &[Op]) -> Vec<u8> {
    let mut w = Writer::default();
    w.blob(message.as_bytes());
    w.u32(retain);
    w.u32(ops.len() as u32);
    for op in ops {
        match op {
            Op::Put(name, item) => {
                w.u8(PUT);
                w.blob(name.as_bytes());
                encode_item(&mut w, item);
            }
            Op::Remove(name) => {
                w.u8(REMOVE);
                w.blob(name.as_bytes());
            }
            Op::Touch(name) => {
                w.u8(TOUCH);
                w.blob(name.as_bytes());
            }
        }
    }
    w.0
}

/// Message, retention and operations of a record; `Err` says what does not add up.
pub fn decode_ops(bytes: &[u8], space: &Arc<Space>, limit: u64) -> Result<(String, u32, Vec<Op>), String> {
    let mut r = Reader::new(bytes);
    let short = || "a log record ends early".to_string();
    let message = r.text().ok_or_else(short)?.to_string();
    let retain = r.u32().ok_or_else(short)?;
    let count = r.u32().ok_or_else(short)?;
    let mut ops = Vec::new();
    for _ in 0..count {
        let tag = r.u8().ok_or_else(short)?;
        let name: Arc<str> = r.text().ok_or_else(short)?.into();
        ops.push(match tag {
            PUT => Op::Put(name.clone(), decode_item(&mut r, space, limit, &name)?),
            REMOVE => Op::Remove(name),
            TOUCH => Op::Touch(name),
            other => return Err(format!("unknown operation {other} on `{name}`")),
        });
    }
    if r.is_empty() {
        Ok((message, retain, ops))
    } else {
        Err("a log record has bytes left over".into())
    }
}

fn encode_item(w: &mut Writer, item: &Item) {
    w.blob(item.kind.as_bytes());
    w.u64(item.commit);
    w.blob(&item.meta);
    w.u32(item.buffers.len() as u32);
    for buffer in &item.buffers {
        w.u64(buffer.len);
        w.u32(buffer.segments.len() as u32);
        for segment in buffer.segments.iter() {
            w.u64(segment.extent.at);
            w.u32(segment.extent.data_pages);
            w.u32(segment.first);
            w.u32(segment.count);
        }
    }
}

fn decode_item(r: &mut Reader, space: &Arc<Space>, limit: u64, name: &str) -> Result<Item, String> {
    let short = || format!("the entry of `{name}` ends early");
    let kind: Arc<str> = r.text().ok_or_else(short)?.into();
    let commit = r.u64().ok_or_else(short)?;
    let meta: Arc<[u8]> = r.blob().ok_or_else(short)?.into();
    let count = r.u32().ok_or_else(short)?;
    let mut buffers = Vec::new();
    for _ in 0..count {
        let len = r.u64().ok_or_else(short)?;
        let segments = r.u32().ok_or_else(short)?;
        let (mut list, mut covered) = (Vec::new(), 0u64);
        for _ in 0..segments {
            let (at, data_pages) = (r.u64().ok_or_else(short)?, r.u32().ok_or_else(short)?);
            let (first, count) = (r.u32().ok_or_else(short)?, r.u32().ok_or_else(short)?);
            let inside = first.checked_add(count).is_some_and(|end| end <= data_pages);
            let extent = space.adopt(at, data_pages, false, limit);
            let (true, Some(extent)) = (inside && count > 0, extent) else {
                return Err(format!(
                    "`{name}` claims {count} pages at {at:#x}, which it cannot have"
                ));
            };
            covered += u64::from(count);
            list.push(Segment { extent, first, count });
        }
        if covered != pages(len) || len > limit {
            return Err(format!("a buffer of `{name}` has {covered} pages for {len} bytes"));
        }
        buffers.push(Stored::new(len, list));
    }
    Ok(Item {
        kind,
        meta,
        buffers,
        commit,
    })
}

/// Everything a snapshot holds.
pub struct Snapshot {
    pub names: Names,
    pub history: VecDeque<Commit>,
    pub retain: u32,
}

pub fn encode_snapshot(names: &Names, history: &VecDeque<Commit>, retain: u32) -> Vec<u8> {
    let mut w = Writer::default();
    w.u32(retain);
    w.u32(names.len() as u32);
    for (name, item) in names {
        w.blob(name.as_bytes());
        encode_item(&mut w, item);
    }
    w.u32(history.len() as u32);
    for commit in history {
        w.u64(commit.info.id);
        w.u64(commit.info.time_ns as u64);
        w.u64(commit.info.bytes_written);
        w.blob(commit.info.message.as_bytes());
        match &*commit.names.0 {
            [] => w.u32(0),
            names => w.bytes(names),
        }
        w.u8(commit.kept.into());
        w.u32(commit.undo.len() as u32);
        for (name, item) in &commit.undo {
            w.blob(name.as_bytes());
            w.u8(item.is_some().into());
            if let Some(item) = item {
                encode_item(&mut w, item);
            }
        }
    }
    w.0
}

pub fn decode_snapshot(bytes: &[u8], space: &Arc<Space>, limit: u64) -> Result<Snapshot, String> {
    let mut r = Reader::new(bytes);
    let short = || "the catalog snapshot ends early".to_string();
    let retain = r.u32().ok_or_else(short)?;
    let mut names = Names::new();
    for _ in 0..r.u32().ok_or_else(short)? {
        let name: Arc<str> = r.text().ok_or_else(short)?.into();
        let item = decode_item(&mut r, space, limit, &name)?;
        names.insert(name, Arc::new(item));
    }
    let mut history = VecDeque::new();
    for _ in 0..r.u32().ok_or_else(short)? {
        let (id, time_ns) = (r.u64().ok_or_else(short)?, r.u64().ok_or_else(short)? as i64);
        let before = history.back().map_or(id.wrapping_sub(1), |c: &Commit| c.info.id);
        if id == 0 || id - 1 != before {
            return Err(format!("commit {id} follows commit {before} in the history"));
        }
        let bytes_written = r.u64().ok_or_else(short)?;
        let message = r.text().ok_or_else(short)?.to_string();
        let names = NameList::decode(&mut r).ok_or_else(short)?;
        let kept = r.u8().ok_or_else(short)? != 0;
        let mut undo = Vec::new();
        for _ in 0..r.u32().ok_or_else(short)? {
            let name: Arc<str> = r.text().ok_or_else(short)?.into();
            let item = match r.u8().ok_or_else(short)? {
                0 => None,
                _ => Some(Arc::new(decode_item(&mut r, space, limit, &name)?)),
            };
            undo.push((name, item));
        }
        let info = CommitInfo {
            id,
            time_ns,
            message,
            bytes_written,
            ..CommitInfo::default()
        };
        history.push_back(Commit {
            info,
            names,
            undo,
            kept,
        });
    }
    if r.is_empty() {
        Ok(Snapshot { names, history, retain })
    } else {
        Err("the catalog snapshot has bytes left over".into())
    }
}

/// Splits sorted page numbers into runs, never across a multiple of `chunk` pages.
pub fn runs(sorted: &[u32], chunk: u32) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for page in sorted {
        match out.last_mut() {
            Some((first, count)) if *first + *count == *page && !page.is_multiple_of(chunk) => *count += 1,
            _ => out.push((*page, 1)),
        }
    }
    out
}

/// Bytes of page `page` that belong to a buffer of `len` bytes.
pub fn page_bytes(len: u64, page: u32) -> usize {
    (len - u64::from(page) * PAGE).min(PAGE) as usize
}
