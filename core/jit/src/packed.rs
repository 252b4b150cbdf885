//! What a compiled tree keeps beside its code, packed: how to enter it and how to put the frame right at each exit.
//!
//! The tree's instructions are needed only while it grows. What every entry and exit needs is written here as bytes:
//! small numbers in one byte, objects as indices into one list. Exits write much the same, so what they write is there
//! once, and an exit is a set of it; exits that write the same share that too.
//!
//! ```text
//! objects      six bytes each, the lowest first; numbers below 16 stand for those of the process ([`set_common`])
//! names        namespace and key, a byte each or two (WIDE)
//! outside      if there are any: count, then the dicts of other modules whose names are kept in registers (SPACES);
//!              if there are any: count, then what must hold, (kind, object, version or code) each (CONDITIONS)
//! inputs       count, then slot * 16 + type each, a slot from 15 on behind it, and the object of some types;
//!              or words * 16 + SKIPPED for inputs that are written before they are read
//! overwritten  behind them: count, then slots: those, but for the stack's, that may hold more than a number at entry
//! entries      what exits write: (kind, slot, its one source) or (kind + LONG, distance of a long entry in two bytes)
//! long         slot, then what its kind needs, one source per component; of neighbours (RUN) only the first
//! sets         where an exit leads and which entries it writes: depth * 2 + whether to another loop's head, then bits
//! exits        how often it was taken, up to 255; its set, distance of its pc from the head: a byte each, then the
//!              second bytes of both if one of the tree needs them (FAR)
//!              a kind is of what earlier passes changed (CARRIED); a number's, of what passes changed that are not counted (RUN too)
//! slot         index * 2, or a name's index * 2 + 1
//! source       2 + the word, counted from the first;  or 1 and a constant;  or 0 for the constant 0
//! ```

mod read;
mod write;

pub use read::{Buffer, Place, Value, input, kind};
pub use write::overwritten;

use crate::lower::{Code, Item, Source};
use larder_trace::ir::Condition;
use larder_trace::record::ANOTHER;
use larder_trace::{Name, Namespace, Obj, Slot, Tree, Val};
use read::Reader;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use write::{Written, pack_inputs, place, put, put_slot, within};

#[derive(Debug)]
pub struct Packed {
    /// As many as `len` says; a box would take a word to say it.
    bytes: NonNull<u8>,
    len: u16,
    /// Where each part begins in the bytes; the objects lie before the names.
    names: u16,
    outside: u16,
    inputs: u16,
    entries: u16,
    sets: u16,
    exits: u16,
    /// The word of the buffer behind which the counters of side traces lie, and how many there are.
    counters: u16,
    locals: u16,
    /// Passes of the head that pay for one entry, in sixteenths; who enters says.
    pub due: u16,
    flags: u8,
    sides: u8,
    /// Bytes of a set, with where it leads.
    set: u8,
    pub depth: u8,
}

impl Drop for Packed {
    fn drop(&mut self) {
        let all = std::ptr::slice_from_raw_parts_mut(self.bytes.as_ptr(), usize::from(self.len));
        // SAFETY: `new` has taken them out of a box of this length, and nobody else has them.
        drop(unsafe { Box::from_raw(all) });
    }
}

const FAR: u8 = 1;
const WIDE: u8 = 2;
const FRESH: u8 = 4;
const SPACES: u8 = 8;
const CONDITIONS: u8 = 16;
const MODULE: u8 = 32;

/// One slot an exit writes: its kind of value (of references only identities), where its components are, and the items
/// of a tuple that is made there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub slot: Slot,
    pub val: Val,
    pub sources: [Source; 4],
    pub items: Vec<Item>,
    /// It only takes along what earlier passes changed: nothing, if there were none.
    pub carried: bool,
    /// The same of those passes that are not counted; see [`crate::lower::ExitMap::fresh`].
    pub fresh: bool,
}

/// What passes there were before the one that an exit leaves: none, only such as are counted ([`Packed::past`]), or others too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    None,
    Counted,
    Any,
}

/// Where an exit leads, counted from the head, and what it writes.
pub struct Exit {
    pub distance: isize,
    pub depth: usize,
    /// It leads to the head of another loop: it grows nothing.
    pub linked: bool,
    pub entries: Vec<Entry>,
}

/// A slot read at entry, or some that are not read ([`input::SKIPPED`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    pub place: Place,
    /// One of [`input`], and the object it names.
    pub ty: u8,
    pub object: Obj,
    /// Words for which what the frame holds does not matter: they are written before they are read.
    pub skipped: u8,
}

/// See [`Packed::inputs`].
pub struct Inputs<'a> {
    from: Reader<'a>,
    left: u64,
    of: &'a Packed,
}

impl<'a> Inputs<'a> {
    /// When all inputs were read: the slots some exit writes, without the stack's and without those that hold a number at
    /// entry, whose death is seen by nobody.
    #[inline(always)]
    pub fn overwritten(mut self) -> impl Iterator<Item = Slot> + 'a {
        debug_assert!(self.left == 0);
        let count = self.from.number();
        (0..count).map(move |_| self.from.place().slot())
    }
}

impl Iterator for Inputs<'_> {
    type Item = Input;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let byte = self.from.byte();
        let (ty, slot) = (byte & 15, byte >> 4);
        if ty == input::SKIPPED {
            return Some(Input {
                place: Place(0),
                ty,
                object: Obj::NULL,
                skipped: slot,
            });
        }
        let place = if slot < 15 {
            Place(slot.into())
        } else {
            self.from.place()
        };
        let object = match ty {
            input::PTR | input::KNOWN => self.of.object(self.from.number() as usize),
            _ => Obj::NULL,
        };
        Some(Input {
            place,
            ty,
            object,
            skipped: 0,
        })
    }
}

impl Packed {
    /// # Errors
    /// Text when the tree is larger than the packing allows.
    ///
    /// `dies` says of a pinned object whether it could go away at all.
    pub fn new(tree: &Tree, code: &Code, dies: impl Fn(Obj) -> bool) -> Result<Packed, String> {
        let maps = &code.exits;
        let mut objects = Vec::new();
        let mut flags = if tree.module_level { MODULE } else { 0 };
        flags |= if code.fresh { FRESH } else { 0 };
        let mut names = Vec::new();
        let mut spaces = Vec::new();
        for name in &tree.names {
            let space = match name.space {
                Namespace::Globals => 0,
                Namespace::Builtins => 1,
                Namespace::Dict(o) => 2 + index(&mut objects, o),
            };
            names.extend([space as usize, index(&mut objects, name.key) as usize]);
            if let Namespace::Dict(dict) = name.space
                && !spaces.contains(&dict)
            {
                spaces.push(dict);
            }
        }
        let mut bytes = Vec::new();
        if !spaces.is_empty() {
            flags |= SPACES;
            put(&mut bytes, spaces.len() as u64);
            for dict in spaces {
                put(&mut bytes, index(&mut objects, dict));
            }
        }
        if !tree.conditions.is_empty() {
            flags |= CONDITIONS;
            put(&mut bytes, tree.conditions.len() as u64);
        }
        for condition in &tree.conditions {
            let (tag, o, n) = match *condition {
                Condition::TypeVersion(t, version) => (0, t, u64::from(version)),
                Condition::SharedNames(t, count) => (1, t, u64::from(count)),
                Condition::Code(f, code) => (2, f, index(&mut objects, code)),
                Condition::Globals(dict) => (3, dict, 0),
                Condition::Module(o) => (4, o, 0),
                Condition::Unwatched(code) => (5, code, 0),
            };
            bytes.push(tag);
            put(&mut bytes, index(&mut objects, o));
            put(&mut bytes, n);
        }
        let inputs = bytes.len();
        pack_inputs(&mut bytes, &mut objects, tree);
        let on_stack = |slot: Slot| slot.as_frame().is_some_and(|i| i >= tree.locals as usize);
        let mut slots = overwritten(tree, code);
        slots.retain(|slot| !on_stack(*slot)); // those are inputs, and go at an exit in any case
        put(&mut bytes, slots.len() as u64);
        for slot in slots {
            put_slot(&mut bytes, slot);
        }
        let mut written = Written::default();
        let mut exits = Vec::with_capacity(maps.len());
        for (number, map) in maps.iter().enumerate() {
            let snapshot = &tree.exits[number].snapshot;
            let linked = tree.exits[number].reason == ANOTHER;
            let distance = i64::from(snapshot.pc) - i64::from(tree.header);
            let distance = i16::try_from(distance).map_err(|_| LARGE)?;
            let depth = u8::try_from(snapshot.depth).ok().filter(|d| *d < 128).ok_or(LARGE)?;
            let leads = depth << 1 | u8::from(linked);
            exits.push((distance, written.exit(&mut objects, map, leads, &dies)));
        }
        let entries = bytes.len();
        let (table, long) = written.table()?;
        bytes.extend(table);
        bytes.extend(long);
        let sets = bytes.len();
        let set = written.entries.len().div_ceil(8);
        for (leads, of) in &written.sets {
            let mut bits = vec![0u8; set];
            of.iter().for_each(|n| bits[n / 8] |= 1 << (n % 8));
            bytes.push(*leads);
            bytes.extend(bits);
        }
        let at = bytes.len();
        let far = written.sets.len() > 256 || exits.iter().any(|e| i8::try_from(e.0).is_err());
        flags |= if far { FAR } else { 0 };
        for (distance, set) in exits {
            bytes.extend([0, set as u8, distance as u8]);
            if far {
                bytes.extend([(set >> 8) as u8, (distance >> 8) as u8]);
            }
        }
        for o in &tree.pins {
            if dies(*o) {
                index(&mut objects, *o);
            }
        }
        let small = tree.traces.len() <= 250 && tree.depth < 256 && objects.iter().all(|o| o.0 >> 48 == 0);
        // The parts are read without asking again: each must be there, and each word one of the buffer.
        let whole = !maps.is_empty() && maps.iter().all(within);
        if set >= 255 || written.sets.len() > 1 << 16 || !small || !whole {
            return Err(LARGE.into());
        }
        let wide = names.iter().any(|n| *n > 255);
        flags |= if wide { WIDE } else { 0 };
        let mut packed: Vec<u8> = Vec::with_capacity(OBJECT * objects.len() + 4 * names.len() + bytes.len());
        objects.iter().for_each(|o| packed.extend(&o.0.to_le_bytes()[..OBJECT]));
        let first = packed.len();
        for n in names {
            packed.extend(&u16::try_from(n).map_err(|_| LARGE)?.to_le_bytes()[..1 + usize::from(wide)]);
        }
        let rest = packed.len();
        packed.extend(bytes);
        let len = u16::try_from(packed.len()).map_err(|_| LARGE)?;
        let packed = Box::into_raw(packed.into_boxed_slice());
        Ok(Packed {
            bytes: NonNull::new(packed.cast()).ok_or(LARGE)?,
            len,
            names: first as u16,
            outside: rest as u16,
            inputs: (rest + inputs) as u16,
            entries: (rest + entries) as u16,
            sets: (rest + sets) as u16,
            exits: (rest + at) as u16,
            counters: code.counters,
            locals: tree.locals as u16,
            due: 0,
            flags,
            sides: (tree.traces.len() - 1) as u8,
            set: 1 + set as u8,
            depth: tree.depth as u8,
        })
    }

    /// The objects the tree keeps alive.
    pub fn objects(&self) -> impl Iterator<Item = Obj> + '_ {
        (0..usize::from(self.names) / OBJECT).map(|index| self.held(index))
    }
}

/// What reads while a frame is put right, which cannot be begun again: nothing of it panics. What is looked for is where `new`
/// has put it, of which machine code and the bytes themselves name the numbers.
#[deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
impl Packed {
    /// So many bytes, as `new` has put them.
    #[inline(always)]
    fn bytes(&self, at: usize, count: usize) -> &[u8] {
        debug_assert!(at + count <= usize::from(self.len));
        // SAFETY: they lie within the bytes.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(at), count) }
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        debug_assert!(at < usize::from(self.len));
        // SAFETY: it lies within the bytes.
        unsafe { *self.bytes.as_ptr().add(at) }
    }

    /// What lies behind a place where `new` has put something.
    #[inline(always)]
    fn from(&self, at: usize) -> Reader<'_> {
        debug_assert!(at < usize::from(self.len));
        // SAFETY: it lies within the bytes.
        unsafe { Reader::new(self.bytes(at, usize::from(self.len) - at)) }
    }

    /// An object by its number.
    #[inline(always)]
    fn object(&self, index: usize) -> Obj {
        match COMMON.get(index) {
            Some(common) => Obj(common.load(Relaxed)),
            None => self.held(index - COMMON.len()),
        }
    }

    #[inline(always)]
    fn held(&self, index: usize) -> Obj {
        debug_assert!(OBJECT * index + 8 <= usize::from(self.len));
        // SAFETY: within the bytes: what follows the objects is longer than two.
        let word = unsafe { self.bytes.as_ptr().add(OBJECT * index).cast::<usize>().read_unaligned() };
        Obj(word & ((1 << (8 * OBJECT)) - 1))
    }

    /// Bytes this takes.
    pub fn size(&self) -> usize {
        size_of::<Packed>() + usize::from(self.len)
    }

    /// Words of the buffer that count how often each side trace was begun.
    #[inline(always)]
    pub fn counters(&self) -> std::ops::Range<usize> {
        let first = usize::from(self.counters) + 1;
        first..first + usize::from(self.sides)
    }

    /// What passes came before the last one, of so many there were, given the word behind those counters: code counts in it the
    /// passes of some traces.
    #[inline(always)]
    pub fn past(&self, passes: u64, counted: impl FnOnce() -> u64) -> Past {
        if passes <= 1 {
            Past::None
        } else if self.flags & FRESH != 0 && passes - 1 <= counted() {
            Past::Counted
        } else {
            Past::Any
        }
    }

    /// How many locals the frame has, with what lies between them and the stack.
    #[inline(always)]
    pub fn locals(&self) -> usize {
        usize::from(self.locals)
    }

    /// Whether it was recorded at a module's level.
    #[inline(always)]
    pub fn module_level(&self) -> bool {
        self.flags & MODULE != 0
    }

    /// Bytes of an exit.
    #[inline(always)]
    fn record_size(&self) -> usize {
        3 + 2 * usize::from(self.flags & FAR)
    }

    /// Where the bytes of an exit lie: first the count.
    #[inline(always)]
    fn record(&self, exit: usize) -> usize {
        usize::from(self.exits) + self.record_size() * exit
    }

    /// How often an exit was taken, up to 255.
    #[inline(always)]
    pub fn taken(&self, exit: usize) -> u8 {
        self.byte(self.record(exit))
    }

    /// Counts one more exit.
    #[inline(always)]
    pub fn take(&mut self, exit: usize) {
        let count = self.taken(exit).saturating_add(1);
        self.set_taken(exit, count);
    }

    #[inline(always)]
    fn set_taken(&mut self, exit: usize, count: u8) {
        let at = self.record(exit);
        if at < usize::from(self.len) {
            // SAFETY: within the bytes, which are ours.
            unsafe { *self.bytes.as_ptr().add(at) = count };
        }
    }

    /// Goes on counting where the tree's last code stopped.
    pub fn take_over(&mut self, old: &Packed) {
        let count = |p: &Packed| usize::from(p.len - p.exits) / p.record_size();
        for exit in 0..count(self).min(count(old)) {
            self.set_taken(exit, old.taken(exit));
        }
    }

    pub fn name(&self, number: usize) -> Name {
        let width = if self.flags & WIDE == 0 { 1 } else { 2 };
        let at = usize::from(self.names) + 2 * width * number;
        let word = |k: usize| {
            let high = if width == 2 { self.byte(at + 2 * k + 1) } else { 0 };
            usize::from(u16::from_le_bytes([self.byte(at + width * k), high]))
        };
        let space = match word(0) {
            0 => Namespace::Globals,
            1 => Namespace::Builtins,
            dict => Namespace::Dict(self.object(dict - 2)),
        };
        Name {
            space,
            key: self.object(word(1)),
        }
    }

    /// The dicts of other modules whose names are kept in registers.
    #[inline(always)]
    pub fn spaces(&self) -> impl Iterator<Item = Obj> + '_ {
        let mut from = self.from(self.outside.into());
        let count = if self.flags & SPACES == 0 { 0 } else { from.number() };
        (0..count).map(move |_| self.object(from.number() as usize))
    }

    /// Where what must hold is told, and how much that is.
    #[inline(always)]
    fn behind_spaces(&self) -> (Reader<'_>, u64) {
        let mut from = self.from(self.outside.into());
        if self.flags & SPACES != 0 {
            for _ in 0..from.number() {
                from.number();
            }
        }
        let count = if self.flags & CONDITIONS == 0 { 0 } else { from.number() };
        (from, count)
    }

    /// What must hold at entry.
    #[inline(always)]
    pub fn conditions(&self) -> impl Iterator<Item = Condition> + '_ {
        let (mut from, count) = self.behind_spaces();
        (0..count).map(move |_| {
            let tag = from.byte();
            let (o, n) = (self.object(from.number() as usize), from.number());
            match tag {
                0 => Condition::TypeVersion(o, n as u32),
                1 => Condition::SharedNames(o, n as u32),
                2 => Condition::Code(o, self.object(n as usize)),
                3 => Condition::Globals(o),
                4 => Condition::Module(o),
                _ => Condition::Unwatched(o),
            }
        })
    }

    /// The slots read at entry, with the type each must have, in the order the code expects their components.
    #[inline(always)]
    pub fn inputs(&self) -> Inputs<'_> {
        let mut from = self.from(self.inputs.into());
        Inputs {
            left: from.number(),
            from,
            of: self,
        }
    }

    /// See [`Inputs::overwritten`].
    pub fn overwritten(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut inputs = self.inputs();
        while inputs.next().is_some() {}
        inputs.overwritten()
    }

    /// Slots an exit writes at most.
    #[inline]
    pub fn writes(&self) -> usize {
        8 * (usize::from(self.set) - 1)
    }

    /// The set of an exit: where it leads, then its bits.
    #[inline(always)]
    fn set_of(&self, exit: usize) -> &[u8] {
        let record = self.record(exit);
        let mut number = usize::from(self.byte(record + 1));
        if self.flags & FAR != 0 {
            number |= usize::from(self.byte(record + 3)) << 8;
        }
        let size = usize::from(self.set);
        self.bytes(usize::from(self.sets) + size * number, size)
    }

    /// Whether an exit leads to the head of another loop: it grows nothing then.
    #[inline(always)]
    pub fn linked(&self, exit: usize) -> bool {
        self.set_of(exit).first().is_some_and(|leads| leads & 1 != 0)
    }

    /// Gives every entry of an exit: its kind with its flags, and its other bytes. Where the exit leads: how many units behind
    /// the head, and the depth of the stack there.
    #[inline(always)]
    fn each_entry<'a>(&'a self, exit: usize, mut take: impl FnMut(u8, Reader<'a>)) -> (isize, usize) {
        let entries = usize::from(self.entries);
        let Some((leads, set)) = self.set_of(exit).split_first() else {
            return (0, 0);
        };
        for (at, bits) in set.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let n = 8 * at + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let mut at = entries + 3 * n + 1;
                let kind = self.byte(at - 1);
                if kind & LONG != 0 {
                    at = entries + usize::from(u16::from_le_bytes([self.byte(at), self.byte(at + 1)]));
                }
                take(kind, self.from(at));
            }
        }
        let record = self.record(exit);
        let near = self.byte(record + 2);
        let mut distance = isize::from(near as i8);
        if self.flags & FAR != 0 {
            distance = isize::from(i16::from_le_bytes([near, self.byte(record + 4)]));
        }
        (distance, usize::from(leads >> 1))
    }

    /// Gives every slot an exit writes with the value to be made there, which `make` reads; not those that only take along
    /// what passes changed of which there were none. Where the exit leads: how many units behind the head, and the depth
    /// of the stack there.
    #[inline(always)]
    pub fn each<'a>(&'a self, exit: usize, past: Past, mut make: impl FnMut(Place, Value<'a>)) -> (isize, usize) {
        self.each_entry(exit, |kind, mut reader| {
            if past == Past::Any || kind & CARRIED == 0 || past == Past::Counted && !is_fresh(kind) {
                let place = reader.place();
                let (run, kind) = (kind & RUN != 0, kind & KIND);
                make(
                    place,
                    Value {
                        kind,
                        run,
                        reader,
                        of: self,
                    },
                );
            }
        })
    }

    /// An exit, for looking at.
    pub fn exit(&self, number: usize) -> Exit {
        let mut entries = Vec::new();
        let (distance, depth) = self.each_entry(number, |kind, mut reader| {
            let (slot, mut items) = (reader.place().slot(), Vec::new());
            let fresh = is_fresh(kind);
            let run = if fresh { 0 } else { RUN };
            let (val, sources) = reader.value(kind & (KIND | run), self, &mut items);
            entries.push(Entry {
                slot,
                val,
                sources,
                items,
                carried: kind & CARRIED != 0,
                fresh,
            });
        });
        Exit {
            distance,
            depth,
            linked: self.linked(number),
            entries,
        }
    }
}

/// Bytes of an object.
const OBJECT: usize = 6;

/// Objects that never die and that many trees name: they take no bytes of a tree.
static COMMON: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

/// Says which objects those are, before any tree is packed.
pub fn set_common(objects: &[Obj]) {
    for (place, o) in COMMON.iter().zip(objects) {
        place.store(o.0, Relaxed);
    }
}

fn index(objects: &mut Vec<Obj>, o: Obj) -> u64 {
    let common = COMMON.iter().position(|have| have.load(Relaxed) == o.0);
    common.unwrap_or_else(|| COMMON.len() + place(objects, o)) as u64
}

/// Bits beside a value's kind: its components lie in words that follow each other.
const RUN: u8 = 0x20;
const CARRIED: u8 = 0x40;
/// A number has one component, so beside its kind [`RUN`] means that it is of [`crate::lower::ExitMap::fresh`].
#[inline(always)]
fn is_fresh(kind: u8) -> bool {
    kind & !(LONG | 1) == CARRIED | RUN
}

const LONG: u8 = 0x80;
const KIND: u8 = 0x1f;

const LARGE: &str = "a tree that is too large";

#[cfg(test)]
mod tests;
