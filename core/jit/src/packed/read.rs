//! Reading what is packed: numbers, slots, and the values of exits part by part.
//!
//! A frame is put right with this, which cannot be begun again: nothing here panics on the way. `Packed::new` has seen to
//! it that what is read lies where it is looked for; the lints are there to keep it so.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Packed, RUN};
use crate::lower::{BUFFER_WORDS, FIRST, Item, Source};
use larder_trace::ir::Seq;
use larder_trace::{Obj, Ref, Slot, Val};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// The kinds of values, as packed.
pub mod kind {
    pub const INT: u8 = 0;
    pub const FLOAT: u8 = 1;
    pub const BOOL: u8 = 2;
    pub const PTR: u8 = 3;
    pub const KNOWN: u8 = 4;
    pub const NULL: u8 = 5;
    pub const RANGE_ITER: u8 = 6;
    pub const LIST_ITER: u8 = 7;
    pub const RANGE: u8 = 8;
    /// Numbers with an object, if there is one: the number, the object. Its word tells who shares it.
    pub const SHARED_INT: u8 = 9;
    pub const SHARED_FLOAT: u8 = 10;
    /// A tuple to be made: its identity, how many items, the items.
    pub const TUPLE: u8 = 11;
    pub const TUPLE_ITER: u8 = 12;
    pub const STR_ITER: u8 = 13;
    pub const ENUMERATE: u8 = 14;
    pub const ZIP: u8 = 15;
    pub const POSITION: u8 = 16;
    /// Numbers without an object that several places hold: the number, whose word tells which.
    pub const TWIN_INT: u8 = 17;
    pub const TWIN_FLOAT: u8 = 18;
    /// The same where words do not tell: an identity, the number.
    pub const NAMED_INT: u8 = 19;
    pub const NAMED_FLOAT: u8 = 20;
}

/// The types of inputs, as packed.
pub mod input {
    pub const INT: u8 = 0;
    pub const FLOAT: u8 = 1;
    pub const BOOL: u8 = 2;
    /// An object of a type, which follows; this very object, which follows.
    pub const PTR: u8 = 3;
    pub const KNOWN: u8 = 4;
    pub const NULL: u8 = 5;
    pub const RANGE_ITER: u8 = 6;
    pub const LIST_ITER: u8 = 7;
    pub const TUPLE_ITER: u8 = 8;
    pub const STR_ITER: u8 = 9;
    pub const ENUMERATE: u8 = 10;
    pub const ZIP: u8 = 11;
    pub const POSITION: u8 = 12;
    /// Words that no slot is read for.
    pub const SKIPPED: u8 = 13;
}

/// Components of each kind.
#[cfg(test)]
pub const COMPONENTS: [u8; 21] = [1, 1, 1, 1, 0, 0, 4, 3, 3, 2, 2, 0, 3, 3, 4, 4, 1, 1, 1, 1, 1];

/// A value about to be read, part by part: what its kind says comes before its components, then those.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub kind: u8,
    /// Its components lie in words that follow each other: only the first is told. See [`Value::words`].
    pub(super) run: bool,
    pub(super) reader: Reader<'a>,
    pub(super) of: &'a Packed,
}

impl<'a> Value<'a> {
    /// The object of [`kind::KNOWN`].
    #[inline(always)]
    pub fn object(&mut self) -> Obj {
        self.of.object(self.reader.number() as usize)
    }

    /// An identity, or how many items follow.
    #[inline(always)]
    pub fn number(&mut self) -> u64 {
        self.reader.number()
    }

    /// The next component, of values that have one.
    ///
    /// # Safety
    /// The code that left here has written every word this exit names.
    #[inline(always)]
    pub unsafe fn word(&mut self, buffer: &Buffer) -> u64 {
        // SAFETY: by contract.
        unsafe { self.placed(buffer).1 }
    }

    /// The next component, and where it lies, as a source.
    ///
    /// # Safety
    /// As [`Value::word`].
    #[inline(always)]
    pub unsafe fn placed(&mut self, buffer: &Buffer) -> (u64, u64) {
        let place = self.reader.number();
        let word = match place {
            0 => 0,
            1 => unzigzag(self.reader.number()) as u64,
            // SAFETY: by contract; a word of the buffer.
            n => unsafe { at(buffer, n) },
        };
        (place, word)
    }

    /// All components of a value that has several, and where the last lies, as a source.
    ///
    /// # Safety
    /// As [`Value::word`].
    #[inline(always)]
    pub unsafe fn words<const N: usize>(&mut self, buffer: &Buffer) -> ([u64; N], u64) {
        // SAFETY: by contract.
        unsafe {
            if self.run {
                let first = self.reader.number();
                let words = std::array::from_fn(|k| at(buffer, first + k as u64));
                (words, first + N as u64 - 1)
            } else {
                let mut last = 0;
                let words = std::array::from_fn(|_| {
                    let (place, word) = self.placed(buffer);
                    last = place;
                    word
                });
                (words, last)
            }
        }
    }

    /// In parts, to be handed on in registers.
    #[inline(always)]
    pub fn parts(self) -> (u8, bool, *const u8, &'a Packed) {
        (self.kind, self.run, self.reader.at, self.of)
    }

    /// # Safety
    /// The parts of one value.
    #[inline(always)]
    pub unsafe fn of_parts(kind: u8, run: bool, at: *const u8, of: &'a Packed) -> Value<'a> {
        let reader = Reader { at, of: PhantomData };
        Value { kind, run, reader, of }
    }

    /// The next item of a tuple; [`Value::after`] goes on behind it.
    pub fn item(&mut self) -> Value<'a> {
        let kind = self.reader.byte();
        Value {
            kind,
            run: false,
            ..*self
        }
    }

    /// Goes on behind an item that was read.
    pub fn after(&mut self, item: &Value<'a>) {
        self.reader = item.reader;
    }
}

/// What machine code has written where it was told to.
pub type Buffer = [MaybeUninit<u64>; BUFFER_WORDS];

/// A word by its source.
///
/// # Safety
/// As [`Value::word`]; a source that is a word, and not a constant.
#[inline(always)]
unsafe fn at(buffer: &Buffer, source: u64) -> u64 {
    let word = (source as usize).wrapping_sub(2).wrapping_add(FIRST);
    debug_assert!(word < BUFFER_WORDS);
    // SAFETY: by contract; `Packed::new` packs no word beyond.
    unsafe { buffer.get_unchecked(word).assume_init() }
}

/// A slot as it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub(super) usize);

impl Place {
    /// The index into the frame's locals and stack.
    #[inline(always)]
    pub fn as_frame(self) -> Option<usize> {
        (self.0 & 1 == 0).then_some(self.0 >> 1)
    }

    /// The number of a name, for anything else.
    #[inline(always)]
    pub fn as_name(self) -> Option<usize> {
        (self.0 & 1 != 0).then_some(self.0 >> 1)
    }

    #[inline(always)]
    pub fn slot(self) -> Slot {
        self.as_frame().map_or_else(|| Slot::name(self.0 >> 1), Slot::frame)
    }
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Reads what [`Packed::new`](super::Packed::new) has written, in the order it was written.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    at: *const u8,
    of: PhantomData<&'a [u8]>,
}

impl<'a> Reader<'a> {
    /// # Safety
    /// What is read from here on was written there: every part says how much follows.
    #[inline(always)]
    pub(super) unsafe fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            at: bytes.as_ptr(),
            of: PhantomData,
        }
    }

    #[inline(always)]
    pub(super) fn byte(&mut self) -> u8 {
        // SAFETY: by the contract of `new`, a byte that is asked for is there.
        unsafe {
            let byte = *self.at;
            self.at = self.at.add(1);
            byte
        }
    }

    #[inline(always)]
    pub(super) fn number(&mut self) -> u64 {
        let byte = self.byte();
        if byte < 128 { u64::from(byte) } else { self.long(byte) }
    }

    /// The rest of a number of several bytes.
    #[cold]
    fn long(&mut self, first: u8) -> u64 {
        let (mut n, mut shift) = (u64::from(first & 127), 7);
        loop {
            let byte = self.byte();
            n |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return n;
            }
            shift += 7;
        }
    }

    #[inline(always)]
    pub(super) fn place(&mut self) -> Place {
        Place(self.number() as usize)
    }

    pub(super) fn value(&mut self, kind: u8, of: &Packed, items: &mut Vec<Item>) -> (Val, [Source; 4]) {
        let r = Ref::NONE;
        let seq = |seq| Val::SeqIter {
            seq,
            on: r,
            index: r,
            object: r,
        };
        let mut count = None;
        let run = kind & RUN != 0;
        let mut name = None;
        let val = match kind & !RUN {
            0 | 1 => {
                count = Some(1);
                let boxed = r;
                if kind == 0 {
                    Val::Int { value: r, boxed }
                } else {
                    Val::Float { value: r, boxed }
                }
            }
            2 => Val::Bool(r),
            3 => Val::Ptr(r, Obj::NULL),
            4 => Val::Known(of.object(self.number() as usize)),
            5 => Val::Null,
            6 => Val::RangeIter {
                next: r,
                step: r,
                left: r,
                object: r,
            },
            7 => seq(Seq::List),
            8 => Val::Range {
                start: r,
                stop: r,
                step: r,
            },
            // Who shares an object is told by its word, or by the number's.
            9 | 10 | 17..=20 => {
                count = Some(if kind & !RUN < 17 { 2 } else { 1 });
                name = (kind >= 19 && !run).then(|| Ref(self.number() as u32 | 1 << 20));
                if kind & !RUN == 9 || kind & 1 == 1 && kind & !RUN >= 17 {
                    Val::Int { value: r, boxed: r }
                } else {
                    Val::Float { value: r, boxed: r }
                }
            }
            11 => Val::Tuple(self.number() as u32),
            12 => seq(Seq::Tuple),
            13 => seq(Seq::Str),
            14 => Val::Enumerate {
                count: r,
                list: r,
                index: r,
                object: r,
            },
            16 => Val::Position(r),
            _ => Val::Zip {
                first: r,
                second: r,
                index: r,
                object: r,
            },
        };
        let mut sources = [Source::Const(0); 4];
        let mut last = None;
        for source in sources.iter_mut().take(count.unwrap_or(val.components().1)) {
            let n = match last.filter(|_| run) {
                Some(last) => last + 1,
                None => self.number(),
            };
            last = Some(n);
            *source = match n {
                0 => Source::Const(0),
                1 => Source::Const(unzigzag(self.number())),
                n => Source::Buffer(n as u16 - 2 + FIRST as u16),
            };
        }
        let shared = matches!(kind & !RUN, 9 | 10 | 17..=20);
        let val = match last.filter(|_| shared) {
            Some(last) => val.with_identity(name.unwrap_or(Ref(last as u32))),
            None => val,
        };
        if let Val::Tuple(_) = val {
            for _ in 0..self.number() {
                let kind = self.byte();
                let mut none = Vec::new();
                let item = self.value(kind, of, &mut none);
                items.push(item);
            }
        }
        (val, sources)
    }
}
