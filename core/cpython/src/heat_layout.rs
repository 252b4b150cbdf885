//! Layout: where the bytes of an object lie that are not in its body, on the interpreter that runs.
//!
//! Lists, dicts and sets keep their items elsewhere; so do instances (3.11 and 3.12), deques, ordered dicts, and texts with
//! a copy in UTF-8. Every offset is compared with live objects of known contents once, before anything is read through it.
//!
//! Invariants
//!
//! - Only what has been checked ([`proof`]) is dereferenced.
//! - A list, dict, set, int or tuple that is not as expected refuses the build. Of the other sorts each is left out alone, and
//!   named in [`Layout::missing`].

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyString, PyType};

mod proof;

pub(crate) const TYPE_AT: usize = 8;
pub(crate) const SIZE_AT: usize = 16;
pub(crate) const LIST_ITEMS_AT: usize = 24;
pub(crate) const LIST_ALLOCATED_AT: usize = 32;
pub(crate) const DICT_KEYS_AT: usize = 32;
const DICT_VALUES_AT: usize = 40;
pub(crate) const SET_MASK_AT: usize = 32;
pub(crate) const SET_TABLE_AT: usize = 40;
const SET_ENTRY_BYTES: usize = 16;
pub(crate) const GC_HEAD_BYTES: usize = 16;
/// Before objects with a managed dict or weak references, further out than the collector's words.
pub(crate) const MANAGED_BYTES: usize = 16;
/// A dict's key table: logarithms of slots and of bytes of the index, what the entries are, how many there are.
const KEYS_SLOTS_AT: usize = 8;
const KEYS_INDEX_AT: usize = 9;
const KEYS_KIND_AT: usize = 10;
const KEYS_USABLE_AT: usize = 16;
const KEYS_ENTRIES_AT: usize = 24;
const KEYS_HEAD_BYTES: usize = 32;
const KEYS_GENERAL: u8 = 0;
/// Values of an instance, inline: their count, and whether they are in an object; then themselves.
const VALUES_IN_OBJECT_AT: usize = 2;
const VALUES_AT: usize = 8;
const VALUES_MAX: usize = 30;
/// The pointer to the dict of an instance with values inline.
const DICT_BEFORE: usize = 24;
pub(crate) const DEQUE_LEFT_AT: usize = 24;
pub(crate) const DEQUE_RIGHT_AT: usize = 32;
const DEQUE_FREE_AT: usize = 72;
const DEQUE_FREE_MAX: usize = 16;
const BLOCK_BYTES: usize = 528;
const BLOCK_NEXT_AT: usize = 520;
const BLOCK_ITEMS: usize = 64;
const ORDERED_FIRST_AT: usize = 48;
const ORDERED_FAST_AT: usize = 64;
const NODE_BYTES: usize = 32;
const NODE_NEXT_AT: usize = 16;
const TEXT_STATE_AT: usize = 32;
const BYTES_IO_AT: usize = 16;

// Flags of a type that the limited API, and so pyo3, has no names for.
pub(crate) const FLAG_INLINE: u64 = 1 << 2;
pub(crate) const FLAG_MANAGED_WEAK: u64 = 1 << 3;
pub(crate) const FLAG_MANAGED_DICT: u64 = 1 << 4;

/// Reads the word at `address + at`.
///
/// # Safety
/// The word lies inside a live object.
pub(crate) unsafe fn word(address: usize, at: usize) -> usize {
    // SAFETY: the caller's promise; object words are aligned to 8 bytes.
    unsafe { ((address + at) as *const usize).read() }
}

/// Reads the byte at `address + at`.
///
/// # Safety
/// The byte lies inside a live object.
unsafe fn byte(address: usize, at: usize) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { ((address + at) as *const u8).read() }
}

/// Where the attributes of instances are kept that have no dict of their own (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attributes {
    Unknown,
    /// Behind a pointer that lies so far before the object, with a bit set in it or not; a type's word at `keys` leads to the
    /// names that its instances share (3.11, 3.12).
    Apart {
        before: usize,
        bit: usize,
        keys: usize,
    },
    /// In the object, behind its fixed part (3.13 on).
    Inline,
}

/// Where texts keep what they have besides their characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Texts {
    /// The copy in UTF-8; its length lies before it.
    utf8_at: usize,
    /// Bytes before the characters of an ASCII text, and of another.
    ascii_head: usize,
    head: usize,
}

/// How a byte array keeps its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// At the address in the word given.
    Plain(usize),
    /// In a bytes object, whose address is in the word given (3.15).
    Object(usize),
}

/// What a container keeps outside of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Holds {
    Nothing = 0,
    /// A list's items.
    Items = 1,
    /// A dict's keys.
    Keys = 2,
    /// A set's table.
    Entries = 3,
    /// A deque's blocks.
    Blocks = 4,
    /// An ordered dict's keys and nodes.
    Nodes = 5,
    /// The bytes of `io.BytesIO`, which it does not show to the collector.
    Bytes = 6,
}

/// In a container's step, beside what it holds: values lie behind its fixed part.
pub(crate) const INLINE: u32 = 1 << 7;
/// In a container's step: how far before it a pointer to its values, or to its dict, lies.
pub(crate) const APART_SHIFT: u32 = 8;

impl Holds {
    /// What the container of a step holds.
    pub(crate) fn of(what: u32) -> Holds {
        match what & (INLINE - 1) {
            1 => Holds::Items,
            2 => Holds::Keys,
            3 => Holds::Entries,
            4 => Holds::Blocks,
            5 => Holds::Nodes,
            6 => Holds::Bytes,
            _ => Holds::Nothing,
        }
    }
}

/// Proof that this interpreter lays out its objects as they are read here.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    attributes: Attributes,
    texts: Option<Texts>,
    byte_arrays: Option<Bytes>,
    /// By how much the third word of an int is shifted to give its digits.
    digits_shift: u32,
    /// The types themselves, which never go; 0 for one that is not as expected.
    deque: usize,
    ordered: usize,
    bytes_io: usize,
}

fn sized(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    object.call_method0("__sizeof__")?.extract()
}

fn basic(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    object.get_type().getattr("__basicsize__")?.extract()
}

fn at(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

impl Layout {
    /// Compares every offset with live objects whose contents are known; once in a process.
    ///
    /// # Errors
    /// Inside: the reason why this build is refused: a debug build, or a layout this file does not know. Outside: what making
    /// a few objects raises.
    pub fn verify(py: Python<'_>) -> PyResult<Result<Layout, String>> {
        static FOUND: OnceLock<Result<Layout, String>> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = proof::look(py)?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    /// What is not counted on this build, in words; empty where all of it is.
    pub fn missing(&self) -> Vec<&'static str> {
        let sorts = [
            (self.attributes == Attributes::Unknown, "attributes of instances"),
            (self.texts.is_none(), "copies of texts in UTF-8"),
            (self.byte_arrays.is_none(), "spare bytes of byte arrays"),
            (self.deque == 0, "items of deques"),
            (self.ordered == 0, "nodes of ordered dicts"),
            (self.bytes_io == 0, "bytes in BytesIO"),
        ];
        sorts.into_iter().filter(|sort| sort.0).map(|sort| sort.1).collect()
    }

    /// What instances of a type keep elsewhere, of those sorts that are told by the type itself.
    pub(crate) fn holds(&self, class: *mut ffi::PyTypeObject) -> Holds {
        // SAFETY: both are type objects, and alive: those known here are never freed.
        let is_a =
            |other: usize| other != 0 && unsafe { ffi::PyType_IsSubtype(class, other as *mut ffi::PyTypeObject) } != 0;
        // SAFETY: as above.
        let is_set = unsafe {
            ffi::PyType_IsSubtype(class, &raw mut ffi::PySet_Type) != 0
                || ffi::PyType_IsSubtype(class, &raw mut ffi::PyFrozenSet_Type) != 0
        };
        // SAFETY: a type object.
        let flags = unsafe { ffi::PyType_GetFlags(class) } as u64;
        match () {
            () if flags & ffi::Py_TPFLAGS_LIST_SUBCLASS != 0 => Holds::Items,
            () if is_a(self.ordered) => Holds::Nodes,
            () if flags & ffi::Py_TPFLAGS_DICT_SUBCLASS != 0 => Holds::Keys,
            () if is_set => Holds::Entries,
            () if is_a(self.deque) => Holds::Blocks,
            () if is_a(self.bytes_io) => Holds::Bytes,
            () => Holds::Nothing,
        }
    }

    /// How far before an instance of such a type the pointer to its values, or to its dict, lies; 0 where there is none.
    pub(crate) fn apart(&self, flags: u64) -> usize {
        match self.attributes {
            Attributes::Apart { before, .. }
                if flags & FLAG_MANAGED_DICT != 0 && flags & ffi::Py_TPFLAGS_HEAPTYPE != 0 =>
            {
                before
            }
            Attributes::Inline if flags & FLAG_INLINE != 0 => DICT_BEFORE,
            _ => 0,
        }
    }

    /// What a step says of the values of an instance of such a type.
    pub(crate) fn values_of(&self, flags: u64) -> u32 {
        if self.inline(flags) {
            INLINE | (self.apart(flags) as u32) << APART_SHIFT
        } else {
            0
        }
    }

    /// Whether an instance of such a type ends with its values.
    pub(crate) fn inline(&self, flags: u64) -> bool {
        self.attributes == Attributes::Inline && flags & FLAG_INLINE != 0
    }

    /// Bytes of the values in an instance, behind its fixed part.
    ///
    /// # Safety
    /// A live instance of a type that is [`Layout::inline`] and whose fixed part is so large.
    pub(crate) unsafe fn inline_bytes(address: usize, basic: usize) -> usize {
        // SAFETY: the caller's promise: the first byte of the values is their number.
        values_bytes(unsafe { byte(address, basic) })
    }

    /// The values of an instance that lie apart, if they do.
    ///
    /// # Safety
    /// A live instance of a type with a pointer before its instances ([`Layout::apart`]).
    pub(crate) unsafe fn apart_values(&self, address: usize, class: usize) -> Option<(u64, u64)> {
        let Attributes::Apart { before, bit, .. } = self.attributes else {
            return None;
        };
        // SAFETY: the caller's promise: the word before the object is the pointer.
        let pointer = unsafe { word(address - before, 0) };
        if pointer == 0 || pointer & 1 != bit {
            return None; // a dict, or nothing yet
        }
        // SAFETY: a pointer to values: a byte before them says how many bytes lie before them.
        unsafe { self.values(pointer + bit, class) }
    }

    /// # Safety
    /// `values` are those of an instance of the heap type at `class`, or of the dict of one.
    unsafe fn values(&self, values: usize, class: usize) -> Option<(u64, u64)> {
        let Attributes::Apart { keys, .. } = self.attributes else {
            return None;
        };
        // SAFETY: the caller's promise.
        let table = unsafe { word(class, keys) };
        // SAFETY: as above; the table is one of shared names or null.
        (table != 0).then(|| unsafe { values_of(values, table) })
    }

    /// The memory of a dict besides its body: its own keys, and values that lie apart.
    ///
    /// # Safety
    /// A live dict, or instance of a class on top of it.
    pub(crate) unsafe fn dict_parts(&self, address: usize) -> [(u64, u64); 2] {
        // SAFETY: the caller's promise; a dict always has a key table.
        unsafe {
            let (keys, values) = (word(address, DICT_KEYS_AT), word(address, DICT_VALUES_AT));
            if values == 0 {
                return [own_keys(keys), (0, 0)];
            }
            // The names belong to the class.
            let range = match self.attributes {
                Attributes::Unknown => (0, 0),
                Attributes::Apart { .. } => values_of(values, keys),
                Attributes::Inline if byte(values, VALUES_IN_OBJECT_AT) != 0 => (0, 0),
                Attributes::Inline => (values as u64, (values + values_bytes(byte(values, 0))) as u64),
            };
            [range, (0, 0)]
        }
    }

    /// The items of a list, the table of a set.
    ///
    /// # Safety
    /// A live list or set, or instance of a class on top, of a body of `basic` bytes.
    pub(crate) unsafe fn table(holds: Holds, address: usize, basic: usize) -> (u64, u64) {
        // SAFETY: the caller's promise.
        let (start, bytes) = unsafe {
            if holds == Holds::Items {
                (word(address, LIST_ITEMS_AT), word(address, LIST_ALLOCATED_AT) * 8)
            } else {
                let table = word(address, SET_TABLE_AT);
                let inside = table.wrapping_sub(address) < basic;
                (
                    if inside { 0 } else { table },
                    (word(address, SET_MASK_AT) + 1) * SET_ENTRY_BYTES,
                )
            }
        };
        if start == 0 || bytes >= 1 << 48 {
            (0, 0)
        } else {
            (start as u64, (start + bytes) as u64)
        }
    }

    /// Appends the blocks of a deque, those it keeps for later too.
    ///
    /// # Safety
    /// A live deque, of [`Holds::Blocks`].
    pub(crate) unsafe fn blocks(address: usize, out: &mut Vec<(u64, u64)>) {
        // SAFETY: the caller's promise: a chain of blocks from the left to the right one, and some free ones.
        unsafe {
            let (mut block, right) = (word(address, DEQUE_LEFT_AT), word(address, DEQUE_RIGHT_AT));
            let mut left = word(address, SIZE_AT) / BLOCK_ITEMS + 2;
            while block != 0 && left > 0 {
                out.push((block as u64, (block + BLOCK_BYTES) as u64));
                if block == right {
                    break;
                }
                (block, left) = (word(block, BLOCK_NEXT_AT), left - 1);
            }
            for spare in 0..word(address, DEQUE_FREE_AT).min(DEQUE_FREE_MAX) {
                let block = word(address, DEQUE_FREE_AT + 8 + spare * 8);
                out.push((block as u64, (block + BLOCK_BYTES) as u64));
            }
        }
    }

    /// Appends the nodes of an ordered dict and the table that leads to them.
    ///
    /// # Safety
    /// A live ordered dict, of [`Holds::Nodes`].
    pub(crate) unsafe fn nodes(address: usize, out: &mut Vec<(u64, u64)>) {
        // SAFETY: the caller's promise: a table of so many words, and a chain that ends in null.
        unsafe {
            let (fast, count) = (word(address, ORDERED_FAST_AT), word(address, ORDERED_FAST_AT + 8));
            if fast != 0 {
                out.push((fast as u64, (fast + count * 8) as u64));
            }
            let mut node = word(address, ORDERED_FIRST_AT);
            while node != 0 {
                out.push((node as u64, (node + NODE_BYTES) as u64));
                node = word(node, NODE_NEXT_AT);
            }
        }
    }

    /// Bytes of an int's digits.
    ///
    /// # Safety
    /// A live int, or instance of a class on top of it.
    pub(crate) unsafe fn digits_bytes(&self, address: usize) -> usize {
        // SAFETY: the caller's promise.
        let size = unsafe { word(address, SIZE_AT) } as isize;
        let digits = if self.digits_shift > 0 {
            size as usize >> self.digits_shift
        } else {
            size.unsigned_abs()
        };
        digits.max(1) * 4
    }

    /// The body of a text and what it keeps elsewhere, of the bytes it says it has (`str.__sizeof__`).
    ///
    /// # Safety
    /// A live str, or instance of a class on top of it, which is not `exact`.
    pub(crate) unsafe fn text(
        &self,
        address: usize,
        says: usize,
        exact: bool,
        basic: usize,
    ) -> (usize, [(u64, u64); 2]) {
        let nothing = (if exact { says } else { basic }, [(0, 0); 2]);
        let Some(Texts {
            utf8_at,
            ascii_head,
            head,
        }) = self.texts
        else {
            return nothing;
        };
        // SAFETY: the caller's promise; words behind the head of an ASCII text are its characters, so it is told first.
        unsafe {
            let length = word(address, SIZE_AT);
            if exact && says == ascii_head + length + 1 {
                return nothing;
            }
            let (copy, copied) = (word(address, utf8_at), word(address, utf8_at - 8) + 1);
            let data = if exact { 0 } else { word(address, head) };
            // Of an ASCII text that is in two pieces the copy is the text.
            let (utf8, apart) = match copy {
                0 => ((0, 0), 0),
                _ if copy == data || copied > says => ((0, 0), 0),
                _ => ((copy as u64, (copy + copied) as u64), copied),
            };
            if exact {
                return (says - apart, [utf8, (0, 0)]);
            }
            let size = says.saturating_sub(head + 8 + apart);
            let characters = if data == 0 {
                (0, 0)
            } else {
                (data as u64, (data + size) as u64)
            };
            (basic, [characters, utf8])
        }
    }

    /// Whether a text belongs to the interpreter's table of texts.
    ///
    /// # Safety
    /// A live str.
    pub(crate) unsafe fn interned(&self, address: usize) -> bool {
        // SAFETY: the caller's promise; checked on texts that are and that are not.
        self.texts.is_some() && unsafe { byte(address, TEXT_STATE_AT) } & 3 != 0
    }

    /// All memory of a byte array besides its body.
    pub(crate) fn byte_array(&self, object: &Bound<'_, PyByteArray>) -> Option<(usize, usize)> {
        let spare = sized(object).ok()?.checked_sub(basic(object).ok()?)?;
        let (Bytes::Plain(from) | Bytes::Object(from)) = self.byte_arrays?;
        // SAFETY: a live byte array of a verified layout.
        let start = unsafe { word(at(object), from) };
        (start != 0 && spare > 0).then_some((start, spare))
    }
}

/// Lets `visit` see all that a container refers to: what its type tells the collector, and what it does not.
///
/// # Safety
/// A live object whose type's `tp_traverse` is given, of the sort said; `visit` keeps to the protocol with `into` and runs no
/// Python.
pub(crate) unsafe fn refer(
    traverse: ffi::traverseproc,
    address: usize,
    what: u32,
    visit: extern "C" fn(*mut ffi::PyObject, *mut c_void) -> c_int,
    into: *mut c_void,
) {
    // SAFETY: the caller's promise. Key tables of texts only, which the collector need not see, hold pairs of key and value.
    unsafe {
        traverse(address as *mut ffi::PyObject, visit, into);
        if what & INLINE != 0 {
            // 3.13 tells of what is in the dict, not of the dict.
            let dict = word(address - (what >> APART_SHIFT) as usize, 0);
            if dict != 0 {
                visit(dict as *mut ffi::PyObject, into);
            }
        }
        let holds = Holds::of(what);
        if matches!(holds, Holds::Keys | Holds::Nodes) && word(address, DICT_VALUES_AT) == 0 {
            let keys = word(address, DICT_KEYS_AT);
            if byte(keys, KEYS_KIND_AT) == KEYS_GENERAL {
                return;
            }
            let entries = keys + KEYS_HEAD_BYTES + (1usize << byte(keys, KEYS_INDEX_AT));
            for entry in 0..word(keys, KEYS_ENTRIES_AT) {
                let key = word(entries, entry * 16);
                if key != 0 {
                    visit(key as *mut ffi::PyObject, into);
                }
            }
        } else if holds == Holds::Bytes {
            let kept = word(address, BYTES_IO_AT);
            if kept != 0 {
                visit(kept as *mut ffi::PyObject, into);
            }
        }
    }
}

fn values_bytes(capacity: u8) -> usize {
    let capacity = usize::from(capacity);
    VALUES_AT + capacity * 8 + capacity.next_multiple_of(8)
}

/// Values that lie apart: some bytes before them, which say how many they are, then as many as there were names free when
/// they were made. That was not noted; it is at least what it would be now, and not so few that fewer bytes were needed.
///
/// # Safety
/// Values of an instance, and the table of the names they are for.
unsafe fn values_of(values: usize, table: usize) -> (u64, u64) {
    // SAFETY: the caller's promise.
    let (before, free) = unsafe {
        (
            usize::from(byte(values - 1, 0)),
            word(table, KEYS_USABLE_AT) + word(table, KEYS_ENTRIES_AT),
        )
    };
    let count = free
        .max(before.saturating_sub(9))
        .min(before.saturating_sub(2))
        .min(VALUES_MAX);
    ((values - before) as u64, (values + count * 8) as u64)
}

/// A dict's key table, unless others share it (a class, or every empty dict).
///
/// # Safety
/// The key table of a live dict.
unsafe fn own_keys(keys: usize) -> (u64, u64) {
    // SAFETY: the caller's promise; the reference count is the first word.
    unsafe {
        if keys == 0 || word(keys, 0) as u32 != 1 {
            return (0, 0);
        }
        (keys as u64, (keys + keys_bytes(|at| byte(keys, at))) as u64)
    }
}

fn keys_bytes(byte_at: impl Fn(usize) -> u8) -> usize {
    let entry = if byte_at(KEYS_KIND_AT) == KEYS_GENERAL { 24 } else { 16 };
    let slots = 1usize << byte_at(KEYS_SLOTS_AT).min(60);
    KEYS_HEAD_BYTES + (1usize << byte_at(KEYS_INDEX_AT).min(60)) + (slots << 1) / 3 * entry
}

/// A type's basic or item size, through `type`'s own descriptors: a metaclass cannot get in between and run Python code here.
pub(crate) fn of_type(class: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<usize> {
    let descriptor = class.py().get_type::<PyType>().getattr("__dict__")?.get_item(name)?;
    let found = descriptor.call_method1(pyo3::intern!(class.py(), "__get__"), (class,))?;
    Ok(found.extract::<isize>()?.max(0).unsigned_abs())
}
