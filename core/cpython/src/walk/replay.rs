//! Walking again what was walked before: memory is compared with what the last walk said of it, and nothing else is done.
//!
//! A walk leaves a [`Trace`]: all words it said, and a [`Record`] of each object it went into, in the order in which it came
//! to them. To replay it means to run the same code for the same objects, with two differences: each word is compared with the
//! one that was said there, instead of being digested; and an object's parts are taken from the records, instead of being
//! looked at, classified, and looked for among those met before. Whatever differs ends the replay, and the walk is done in full.
//!
//! Why a replay that ends well says what the walk would say:
//!
//! - A walk is a function of the memory and the answers it reads, in order. Each word of a *plain* record (see [`Record::plain`]) is said by
//!   the code of the walk from what is there now. So is each of the others, with Python's answers of now.
//! - Which parts an object has is in its words, by address. A part at the same address is the same leaf (leaves are held by
//!   the result of the walk that left the trace, which has to be held itself), or one that was met before in this walk as in
//!   that one, or the next record, which is compared in turn.
//! - Whether an object was met before depends on the addresses before it, which were the same.
//! - How an object is walked depends on its type, which is compared, and on what was said of the type: that has to be known
//!   still, under the version the type had then. What is asked anew in each round is no plain record. Types of leaves
//!   and what else `classify` goes by are counted in [`Kinds::epoch`].
//!
//! Why it may read at the addresses of records: plain ones are compared in the order of the walk, so that whoever holds an object has been
//! seen to hold it still, and no Python code runs in between (`Walk::again`). Objects that Python is asked about are held, and
//! asked when all plain records were compared that do not hang on an answer.
//! (What such an answer changes elsewhere, a cache that is filled, shows in the next walk, as it does in a walk in full that has passed
//! there.)

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;

use super::held::{AHEAD, fetch};
use super::kinds::{Kind, Kinds};
use super::{Stop, TAG, Walk};
use crate::object::load;

/// Fewer objects are walked as fast.
pub const RECORDS_MIN: usize = 64;
/// More than that is not remembered.
const RECORDS_MAX: usize = 1 << 15;
const WORDS_MAX: usize = 1 << 18;

/// What a walk said, and of what.
pub struct Trace {
    words: Vec<u64>,
    records: Vec<Record>,
    /// Of plain records: types and their versions.
    types: Vec<(usize, u32)>,
    epoch: u64,
}

/// An object a walk went into.
struct Record {
    at: usize,
    class: usize,
    kind: Arc<Kind>,
    /// No Python code runs to say its words, and its type is not asked about anew.
    plain: bool,
    /// Whether it was met in the value of a reduction.
    below: bool,
    /// Its words and those of what is below it: from behind its address on.
    words: (u32, u32),
    /// Behind the last record below it.
    end: u32,
    /// Where what it holds was when the trace was made: only ever fetched.
    near: [usize; 2],
}

/// So much of what lies at the addresses in `near` is fetched.
const NEAR_LINES: usize = 4;
const LINE: usize = 64;

impl Record {
    /// Has the processor fetch it and what it held. Nothing is read: it may be gone.
    fn fetch(&self) {
        fetch(self.at.wrapping_sub(2 * LINE / 4)); // where its `__dict__` is named
        fetch(self.at);
        for near in self.near.iter().filter(|near| **near != 0) {
            for line in 0..NEAR_LINES {
                fetch(near.wrapping_add(line * LINE));
            }
        }
    }
}

/// A trace that is being made.
#[derive(Default)]
pub(super) struct Recording {
    pub(super) words: Vec<u64>,
    records: Vec<Record>,
}

/// A trace that is being compared.
pub(super) struct Replay<'a, 'py> {
    trace: &'a Trace,
    /// The next word.
    cursor: usize,
    /// The next record.
    next: usize,
    /// What is below the object in hand is compared by its own record.
    bulk: bool,
    differs: bool,
    /// What Python is to be asked about, with its record; the first of these is asked about next, as it was in the walk.
    queue: BTreeMap<usize, Bound<'py, PyAny>>,
}

impl Replay<'_, '_> {
    pub(super) fn say(&mut self, word: u64) {
        self.differs |= self.trace.words.get(self.cursor) != Some(&word);
        self.cursor += 1;
    }

    /// Says the addresses of items, if these are compared by their own records; else false, and nothing said.
    pub(super) fn takes_all(&mut self, words: &[usize]) -> bool {
        if !self.bulk {
            return false;
        }
        let said = self.trace.words.get(self.cursor..self.cursor + words.len());
        self.differs |= said.is_none_or(|said| !said.iter().zip(words).all(|(a, b)| *a == *b as u64));
        self.cursor += words.len();
        true
    }

    fn is(&self, at: usize, word: u64) -> bool {
        self.trace.words.get(at) == Some(&word)
    }
}

impl Trace {
    /// Whether it can be replayed: types are what they were. They count as met.
    pub fn fits(&self, kinds: &mut Kinds) -> bool {
        self.epoch == kinds.epoch && self.types.iter().all(|(class, version)| kinds.meet(*class) == *version)
    }
}

impl<'a, 'py> Walk<'a, 'py> {
    /// Whether a walk below `object` would say what is in a trace that one has left, which [`Trace::fits`].
    ///
    /// # Errors
    /// [`Stop::Raised`] if what Python was asked raised what is no `Exception`.
    pub fn same(&mut self, object: &Bound<'py, PyAny>, trace: &'a Trace) -> Result<bool, Stop> {
        self.recording = None;
        self.replay = Some(Replay {
            trace,
            cursor: 0,
            next: 0,
            bulk: false,
            differs: false,
            queue: BTreeMap::new(),
        });
        match self.enter(object).and_then(|()| self.ask_again()) {
            Ok(()) => Ok(true),
            Err(Stop::Changed | Stop::Opaque(_)) => Ok(false),
            Err(raised) => Err(raised),
        }
    }

    /// Whether parts are compared by their own records.
    pub(super) fn bulk(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.bulk)
    }

    /// What [`Walk::meet`] does when a trace is replayed.
    pub(super) fn meet_again(&mut self, object: &Bound<'py, PyAny>, said: bool) -> Result<(), Stop> {
        self.in_frame = false;
        let at = object.as_ptr() as usize;
        let Some(replay) = &mut self.replay else {
            return Ok(());
        };
        if replay.differs {
            return Err(Stop::Changed);
        }
        let (cursor, next, trace) = (replay.cursor, replay.next, replay.trace);
        let here = replay.is(cursor, at as u64);
        if let Some(record) = trace.records.get(next)
            && record.at == at
            && record.words.0 as usize == cursor + 1
        {
            let bulk = replay.bulk;
            if !bulk {
                self.again(next)?;
            }
            if let Some(replay) = &mut self.replay {
                replay.cursor = record.words.1 as usize;
                replay.next = record.end as usize;
            }
            return Ok(());
        }
        if here && replay.is(cursor + 1, TAG | 1) {
            replay.cursor += 2;
        } else if here {
            replay.cursor += 1; // a leaf whose address is said here, or short bytes
        } else if !said {
            return Err(Stop::Changed);
        }
        Ok(())
    }

    /// Compares a record and those below it. No Python code runs in here.
    fn again(&mut self, first: usize) -> Result<(), Stop> {
        let Some(trace) = self.replay.as_ref().map(|replay| replay.trace) else {
            return Ok(());
        };
        let below = self.below;
        let mut later = Vec::new();
        let mut i = first;
        while i < trace.records[first].end as usize {
            let record = &trace.records[i];
            if let Some(ahead) = trace.records.get(i + AHEAD) {
                ahead.fetch();
            }
            // SAFETY: a live object: `first` is one that the caller has, and of the others what holds them was just seen to
            // hold them; no Python code ran since.
            let object = unsafe { Bound::from_borrowed_ptr(self.py, record.at as *mut ffi::PyObject) };
            if object.get_type_ptr() as usize != record.class {
                return Err(Stop::Changed);
            }
            let Some(replay) = &mut self.replay else {
                return Ok(());
            };
            if !record.plain {
                replay.queue.insert(i, object);
                i = record.end as usize;
                continue;
            }
            replay.cursor = record.words.0 as usize;
            replay.next = i + 1;
            replay.bulk = true;
            self.below = usize::from(record.below);
            let looked = self.look_into(&object, &record.kind, false, None, &mut later);
            later.clear();
            if let Some(replay) = &mut self.replay {
                replay.bulk = false;
                if replay.differs {
                    return Err(Stop::Changed);
                }
            }
            looked?;
            i += 1;
        }
        self.below = below;
        Ok(())
    }

    /// Compares what Python says of the objects it is asked about.
    fn ask_again(&mut self) -> Result<(), Stop> {
        while let Some(replay) = &mut self.replay
            && let Some((at, object)) = replay.queue.pop_first()
        {
            let record = &replay.trace.records[at];
            (replay.cursor, replay.next) = (record.words.0 as usize, at + 1);
            self.below = usize::from(record.below);
            let kind = self.kinds.of(self.py, object.get_type_ptr())?;
            let mut later = Vec::new();
            self.look_into(&object, &kind, false, None, &mut later)?;
            self.all(later)?;
            let Some(replay) = &self.replay else {
                return Ok(());
            };
            if replay.differs || (replay.cursor, replay.next) != (record.words.1 as usize, record.end as usize) {
                return Err(Stop::Changed);
            }
        }
        match &self.replay {
            Some(replay) if replay.differs => Err(Stop::Changed),
            _ => Ok(()),
        }
    }

    /// An object is gone into, whose address was said; its record, if one is made.
    pub(super) fn begin_record(&mut self, object: &Bound<'py, PyAny>, kind: &Arc<Kind>) -> Option<usize> {
        let near = self.near(object, kind);
        let recording = self.recording.as_mut()?;
        let from = recording.words.len() + self.words.len();
        if recording.records.len() >= RECORDS_MAX || from >= WORDS_MAX {
            self.recording = None;
            return None;
        }
        let class = object.get_type_ptr() as usize;
        let by_memory = matches!(
            **kind,
            Kind::List
                | Kind::Tuple
                | Kind::Dict
                | Kind::Set
                | Kind::FrozenSet
                | Kind::Bytes
                | Kind::ByteArray
                | Kind::Array
                | Kind::Instance
                | Kind::Own(..)
                | Kind::Method
                | Kind::Tree
        );
        recording.records.push(Record {
            at: object.as_ptr() as usize,
            class,
            kind: kind.clone(),
            plain: by_memory && self.kinds.meet(class) != 0,
            below: self.below > 0,
            words: (from as u32, 0),
            end: 0,
            near,
        });
        Some(recording.records.len() - 1)
    }

    /// Where an object has what it holds, as far as that is known.
    fn near(&self, object: &Bound<'py, PyAny>, kind: &Kind) -> [usize; 2] {
        let (at, true, Some(l)) = (object.as_ptr() as usize, self.recording.is_some(), self.kinds.layout) else {
            return [0; 2];
        };
        // SAFETY: fields of a live object of this kind.
        unsafe {
            match kind {
                Kind::List => [load(at, l.list_items), 0],
                Kind::Dict => [load(at, l.dict_keys), load(at, l.dict_values)],
                Kind::Array => [load(at, 32), load(at, 56)],
                _ => [0; 2],
            }
        }
    }

    /// The `__dict__` of an object that has a record is here.
    pub(super) fn has_its_own(&mut self, record: Option<usize>, dict: usize) {
        if let (Some(recording), Some(at), Some(l)) = (&mut self.recording, record, self.kinds.layout) {
            // SAFETY: a field of a live dict.
            recording.records[at].near = [dict, unsafe { load(dict, l.dict_keys) }];
        }
    }

    /// Python was asked about it after all.
    pub(super) fn asked_in(&mut self, record: Option<usize>) {
        if let (Some(recording), Some(at)) = (&mut self.recording, record) {
            recording.records[at].plain = false;
        }
    }

    pub(super) fn end_record(&mut self, record: Option<usize>) {
        if let (Some(recording), Some(at)) = (&mut self.recording, record) {
            recording.records[at].words.1 = (recording.words.len() + self.words.len()) as u32;
            recording.records[at].end = recording.records.len() as u32;
        }
    }

    /// What was recorded, if it is worth it; everything was said and flushed.
    pub(super) fn trace(&mut self) -> Option<Trace> {
        let Recording { mut words, mut records } = self.recording.take()?;
        if records.len() < self.kinds.records_min || words.len() > WORDS_MAX {
            return None;
        }
        words.shrink_to_fit();
        records.shrink_to_fit();
        let mut classes: Vec<usize> = records.iter().filter(|one| one.plain).map(|one| one.class).collect();
        classes.sort_unstable();
        classes.dedup();
        let types = classes.iter().map(|class| (*class, self.kinds.meet(*class))).collect();
        Some(Trace {
            words,
            records,
            types,
            epoch: self.kinds.epoch,
        })
    }
}
