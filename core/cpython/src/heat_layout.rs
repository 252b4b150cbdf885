//! Layout: where the bytes of an object lie that are not in its body, on the interpreter that runs.
//!
//! Lists, dicts and sets keep their items elsewhere; so do instances (3.11 and 3.12), deques, ordered dicts, and texts with
//! a copy in UTF-8. Every offset is compared with live objects of known contents once, before anything is read through it.
//!
//! Invariants
//!
//! - What an offset leads to while it is checked is read by the kernel ([`gather`]), which answers "gone" where there is
//!   nothing; only what has been checked is dereferenced later.
//! - A list, dict, set, int or tuple that is not as expected refuses the build. Of the other sorts each is left out alone, and
//!   named in [`Layout::missing`].

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyString, PyType};

use crate::heat_refs::gather;

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

pub(crate) const FLAG_INLINE: u64 = 1 << 2;
pub(crate) const FLAG_MANAGED_WEAK: u64 = 1 << 3;
pub(crate) const FLAG_MANAGED_DICT: u64 = 1 << 4;
pub(crate) const FLAG_HEAP: u64 = 1 << 9;

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

/// A word or a byte of memory that may not be there.
fn ask(address: usize, at: usize) -> Option<usize> {
    let mut out = [0u64];
    let aligned = address.checked_add(at).filter(|at| at.is_multiple_of(8))?;
    (gather(&[(aligned, 1)], &mut out) == 1).then_some(out[0] as usize)
}

fn ask_byte(address: usize, at: usize) -> Option<u8> {
    let at = address.checked_add(at)?;
    Some((ask(at & !7, 0)? >> (at % 8 * 8)) as u8)
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

/// Makes what the checks look at: nobody else refers to any of it.
const SAMPLES: &std::ffi::CStr = c"
import collections, io
class Plain: pass
class Slots:
    __slots__ = ('__weakref__',)
class Text(str): pass
one, two = object(), object()
made = []
for _ in range(40):
    made.append(Plain())
    made[-1].first, made[-1].second = one, two
shared = made[0].__dict__
list_ = []
list_.append(one); list_.append(two)
dict_ = {1: 2}
dict_[7] = one
dicts = [{1: 2}, {'a': 1}, {i: i for i in range(300)}, {str(i): i for i in range(300)}, {str(i): i for i in range(7)}]
set_ = set(range(1000, 1100))
ints = [1 << 29, 1 << 100, -(1 << 100)]
deque = collections.deque([one, two] * 100)
deque_less = collections.deque([one] * 300)
for _ in range(200): deque_less.pop()
ordered = collections.OrderedDict({one: 1, two: 2})
text = '\\u00e9' * 99 + str(id(one))
ascii = 'a' * 99 + str(id(one))
derived = Text('a' * 99 + str(id(one)))
bytes_ = bytes(range(200))
stream = io.BytesIO(bytes_)
array = bytearray(100)
array.extend(bytes(300))
";

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
        let found = Layout::look(py)?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    fn look(py: Python<'_>) -> PyResult<Result<Layout, String>> {
        let sys = py.import("sys")?;
        if sys.hasattr("gettotalrefcount")? || sys.hasattr("getobjects")? {
            return Ok(Err("a debug build of CPython: its objects have extra words".into()));
        }
        if sys.getattr("implementation")?.getattr("name")?.extract::<String>()? != "cpython" {
            return Ok(Err("not CPython: objects are laid out differently".into()));
        }
        let space = PyDict::new(py);
        space.set_item("__name__", "larder.samples")?;
        py.run(SAMPLES, Some(&space), None)?;
        let get = |name: &str| -> PyResult<Bound<'_, PyAny>> {
            space
                .get_item(name)?
                .ok_or_else(|| PyErr::new::<pyo3::exceptions::PyKeyError, _>(name.to_owned()))
        };
        if !containers_fit(&get)? {
            return Ok(Err(
                "the layout of list, dict or set is not one this version knows".into()
            ));
        }
        let Some(digits_shift) = digits_shift(&get)? else {
            return Ok(Err("the layout of int is not one this version knows".into()));
        };
        let kept = |fits: bool, name: &str| -> PyResult<usize> {
            // The type stays for as long as its address is known here.
            let class = get(name)?.get_type();
            Ok(if fits {
                class.into_any().unbind().into_ptr() as usize
            } else {
                0
            })
        };
        Ok(Ok(Layout {
            attributes: attributes(&get, &sys)?,
            texts: texts(&get)?,
            byte_arrays: byte_arrays(&get)?,
            digits_shift,
            deque: kept(deques_fit(&get)?, "deque")?,
            ordered: kept(ordered_fit(&get)?, "ordered")?,
            bytes_io: kept(
                ask(at(&get("stream")?), BYTES_IO_AT) == Some(at(&get("bytes_")?)),
                "stream",
            )?,
        }))
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
            () if flags & 1 << 25 != 0 => Holds::Items,
            () if is_a(self.ordered) => Holds::Nodes,
            () if flags & 1 << 29 != 0 => Holds::Keys,
            () if is_set => Holds::Entries,
            () if is_a(self.deque) => Holds::Blocks,
            () if is_a(self.bytes_io) => Holds::Bytes,
            () => Holds::Nothing,
        }
    }

    /// How far before an instance of such a type the pointer to its values, or to its dict, lies; 0 where there is none.
    pub(crate) fn apart(&self, flags: u64) -> usize {
        match self.attributes {
            Attributes::Apart { before, .. } if flags & FLAG_MANAGED_DICT != 0 && flags & FLAG_HEAP != 0 => before,
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

type Get<'a, 'py> = &'a dyn Fn(&str) -> PyResult<Bound<'py, PyAny>>;

fn containers_fit(get: Get<'_, '_>) -> PyResult<bool> {
    let (list, dict, set) = (get("list_")?, get("dict_")?, get("set_")?);
    let (first, second) = (at(&get("one")?), at(&get("two")?));
    if basic(&list)? < LIST_ALLOCATED_AT + 8 || basic(&dict)? < DICT_VALUES_AT + 8 || basic(&set)? < SET_TABLE_AT + 8 {
        return Ok(false);
    }
    // SAFETY: live, and at least as large as the words read (checked above); what they lead to is asked of the kernel.
    unsafe {
        let (items, allocated) = (word(at(&list), LIST_ITEMS_AT), word(at(&list), LIST_ALLOCATED_AT));
        let list_fits = word(at(&list), TYPE_AT) == list.get_type().as_ptr() as usize
            && word(at(&list), SIZE_AT) == 2
            && (2..64).contains(&allocated)
            && sized(&list)? == basic(&list)? + allocated * 8
            && ask(items, 0) == Some(first)
            && ask(items, 8) == Some(second);
        // A set says how large its table is; that it lies elsewhere shows in its address.
        let table = word(at(&set), SET_TABLE_AT);
        let set_fits = sized(&set)? == basic(&set)? + (word(at(&set), SET_MASK_AT) + 1) * SET_ENTRY_BYTES
            && table.is_multiple_of(8)
            && table.wrapping_sub(at(&set)) >= basic(&set)?;
        let keys = word(at(&dict), DICT_KEYS_AT);
        let mut dict_fits = (0..(sized(&dict)? - basic(&dict)?) / 8).any(|index| ask(keys, index * 8) == Some(first));
        for dict in get("dicts")?.try_iter()? {
            let dict = dict?;
            let keys = word(at(&dict), DICT_KEYS_AT);
            let head: Option<Vec<u8>> = (0..KEYS_HEAD_BYTES).map(|index| ask_byte(keys, index)).collect();
            dict_fits &= word(at(&dict), DICT_VALUES_AT) == 0
                && head.is_some_and(|head| {
                    head[..4] == [1, 0, 0, 0]
                        && sized(&dict).ok() == basic(&dict).ok().map(|basic| basic + keys_bytes(|at| head[at]))
                })
                && ask(keys, KEYS_ENTRIES_AT) == dict.len().ok();
            // A table of texts: pairs behind the index.
            let (Some(index), Some(kind)) = (ask_byte(keys, KEYS_INDEX_AT), ask_byte(keys, KEYS_KIND_AT)) else {
                return Ok(false);
            };
            let last = dict.call_method0("keys")?.try_iter()?.last();
            if let Some(last) = last.filter(|_| kind != KEYS_GENERAL) {
                let entries = keys + KEYS_HEAD_BYTES + (1usize << index.min(60));
                dict_fits &= ask(entries, (dict.len()? - 1) * 16) == Some(at(&last?));
            }
        }
        Ok(list_fits && set_fits && dict_fits)
    }
}

fn digits_shift(get: Get<'_, '_>) -> PyResult<Option<u32>> {
    let mut shifts = vec![0u32, 3];
    for int in get("ints")?.try_iter()? {
        let int = int?;
        let digits = (sized(&int)? - basic(&int)?) / 4;
        // SAFETY: a live int is larger than three words.
        let size = unsafe { word(at(&int), SIZE_AT) } as isize;
        shifts.retain(|shift| match shift {
            0 => size.unsigned_abs() == digits,
            _ => size as usize >> shift == digits,
        });
    }
    Ok(shifts.first().copied())
}

fn attributes(get: Get<'_, '_>, sys: &Bound<'_, PyModule>) -> PyResult<Attributes> {
    let class = get("Plain")?;
    let (first, second) = (at(&get("one")?), at(&get("two")?));
    let made = get("made")?;
    // The last one has its values as they are made, the first one's belong to a dict by now.
    let (with_dict, plain, shared) = (made.get_item(0)?, made.get_item(-1)?, get("shared")?);
    // SAFETY: a type, a dict.
    let (flags, keys, values) = unsafe {
        (
            ffi::PyType_GetFlags(class.as_ptr().cast()) as u64,
            word(at(&shared), DICT_KEYS_AT),
            word(at(&shared), DICT_VALUES_AT),
        )
    };
    let getsizeof = sys.getattr("getsizeof")?;
    let before = |object: &Bound<'_, PyAny>| -> PyResult<usize> {
        Ok(getsizeof.call1((object,))?.extract::<usize>()? - sized(object)?)
    };
    let slots = get("Slots")?;
    // SAFETY: a type.
    let weak = unsafe { ffi::PyType_GetFlags(slots.as_ptr().cast()) } as u64 & FLAG_MANAGED_WEAK != 0;
    let slots_before = GC_HEAD_BYTES + if weak { MANAGED_BYTES } else { 0 };
    if flags & FLAG_MANAGED_DICT == 0
        || before(&plain)? != GC_HEAD_BYTES + MANAGED_BYTES
        || before(&slots.call0()?)? != slots_before
    {
        return Ok(Attributes::Unknown);
    }
    if flags & FLAG_INLINE != 0 {
        let values_at = at(&plain) + basic(&plain)?;
        let head: Option<Vec<u8>> = (0..4).map(|index| ask_byte(values_at, index)).collect();
        let Some(count) = head
            .filter(|head| head[1..] == [2, 1, 1] && (2..=VALUES_MAX).contains(&usize::from(head[0])))
            .map(|head| usize::from(head[0]))
        else {
            return Ok(Attributes::Unknown);
        };
        let fits = ask(values_at, VALUES_AT) == Some(first)
            && ask(values_at, VALUES_AT + 8) == Some(second)
            && ask_byte(values_at, VALUES_AT + count * 8) == Some(0)
            && ask_byte(values_at, VALUES_AT + count * 8 + 1) == Some(1)
            && values == at(&with_dict) + basic(&with_dict)?
            && ask(at(&with_dict) - DICT_BEFORE, 0) == Some(at(&shared))
            && ask(at(&plain) - DICT_BEFORE, 0) == Some(0)
            && ask(keys, KEYS_USABLE_AT)
                .zip(ask(keys, KEYS_ENTRIES_AT))
                .map(|(a, b)| a + b)
                == Some(count);
        return Ok(if fits { Attributes::Inline } else { Attributes::Unknown });
    }
    let size: usize = class.get_type().getattr("__basicsize__")?.extract()?;
    let places: Vec<usize> = (0..size / 8)
        .map(|index| index * 8)
        .filter(|place| ask(at(&class), *place) == Some(keys))
        .collect();
    let [place] = places[..] else {
        return Ok(Attributes::Unknown);
    };
    for (before, bit) in [(32, 0), (24, 1)] {
        let Some(pointer) = ask(at(&plain) - before, 0).filter(|pointer| pointer & 1 == bit) else {
            continue;
        };
        let values_at = pointer + bit;
        let (Some(bytes), Some(used)) = (
            ask_byte(values_at.wrapping_sub(1), 0),
            ask_byte(values_at.wrapping_sub(2), 0),
        ) else {
            continue;
        };
        let bytes = usize::from(bytes);
        let free = ask(keys, KEYS_USABLE_AT)
            .zip(ask(keys, KEYS_ENTRIES_AT))
            .map_or(0, |(a, b)| a + b);
        let fits = pointer != 0
            && used == 2
            && bytes == (free + 2).next_multiple_of(8)
            && ask(values_at, 0) == Some(first)
            && ask(values_at, 8) == Some(second)
            && ask_byte(values_at.wrapping_sub(3), 0) == Some(0)
            && ask_byte(values_at.wrapping_sub(4), 0) == Some(1)
            && sized(&shared)? == basic(&shared)? + free * 8
            && ask(values, 0) == Some(first);
        if fits {
            return Ok(Attributes::Apart {
                before,
                bit,
                keys: place,
            });
        }
    }
    Ok(Attributes::Unknown)
}

fn texts(get: Get<'_, '_>) -> PyResult<Option<Texts>> {
    let (text, ascii, derived) = (get("text")?, get("ascii")?, get("derived")?);
    let length = text.len()?;
    let head = sized(&text)? - length - 1;
    let ascii_head = sized(&ascii)? - ascii.len()? - 1;
    let says: usize = text
        .py()
        .get_type::<PyString>()
        .getattr("__sizeof__")?
        .call1((&derived,))?
        .extract()?;
    let interned = text.py().import("sys")?.getattr("intern")?.call1((&ascii,))?;
    // What these give is where the copy, and the characters, are.
    let copy = text.cast::<PyString>()?.to_str()?.as_bytes();
    let data = derived.cast::<PyString>()?.to_str()?.as_ptr() as usize;
    let utf8_at = head - 8;
    let utf8_at = [utf8_at, utf8_at - 8]
        .into_iter()
        .find(|place| ask(at(&text), *place) == Some(copy.as_ptr() as usize));
    let state = |object: &Bound<'_, PyAny>| ask_byte(at(object), TEXT_STATE_AT).map(|state| state & 3);
    Ok(utf8_at
        .filter(|place| {
            ask(at(&text), place - 8) == Some(copy.len())
                && sized(&text).ok() == Some(head + length + 1 + copy.len() + 1)
                && ask(at(&derived), head) == Some(data)
                && says == head + 8 + derived.len().unwrap_or(0) + 1
                && ask(at(&text), SIZE_AT) == Some(length)
                && state(&text) == Some(0)
                && state(&derived) == Some(0)
                && state(&interned).is_some_and(|state| state != 0)
        })
        .map(|utf8_at| Texts {
            utf8_at,
            ascii_head,
            head,
        }))
}

fn byte_arrays(get: Get<'_, '_>) -> PyResult<Option<Bytes>> {
    let array = get("array")?;
    let spare = sized(&array)? - basic(&array)?;
    let Some((start, length)) = crate::heat_live::buffer_of(&array) else {
        return Ok(None);
    };
    let words = basic(&array)? / 8;
    let holds = |value: usize| {
        (3..words)
            .map(|index| index * 8)
            .find(|place| ask(at(&array), *place) == Some(value))
    };
    let empty = array
        .py()
        .get_type::<pyo3::types::PyBytes>()
        .getattr("__basicsize__")?
        .extract::<usize>()?;
    // In a bytes object: its head, the bytes, a zero.
    let inside = start.wrapping_sub(empty - 1);
    let is_bytes = ask(inside, TYPE_AT) == Some(array.py().get_type::<pyo3::types::PyBytes>().as_ptr() as usize);
    if let Some(place) = holds(inside).filter(|_| is_bytes && spare >= empty + length) {
        return Ok(Some(Bytes::Object(place)));
    }
    Ok(holds(start).filter(|_| spare > length).map(Bytes::Plain))
}

fn deques_fit(get: Get<'_, '_>) -> PyResult<bool> {
    let (deque, less) = (get("deque")?, get("deque_less")?);
    let (first, second) = (at(&get("one")?), at(&get("two")?));
    let left = ask(at(&deque), DEQUE_LEFT_AT);
    let right = ask(at(&deque), DEQUE_RIGHT_AT);
    let next = |block: Option<usize>| block.and_then(|block| ask(block, BLOCK_NEXT_AT));
    let holds = |block: Option<usize>, value| {
        (0..=BLOCK_ITEMS).any(|index| block.and_then(|block| ask(block, index * 8)) == Some(value))
    };
    let mut count = 1;
    let mut block = left;
    while block.is_some() && block != right && count < 10 {
        (block, count) = (next(block), count + 1);
    }
    // How many are spare shows in one that was longer; which they are, in what they are: no null among them.
    let spare = ask(at(&less), DEQUE_FREE_AT).unwrap_or(usize::MAX);
    Ok(block == right
        && sized(&deque)? == basic(&deque)? + count * BLOCK_BYTES
        && ask(at(&deque), SIZE_AT) == Some(200)
        && holds(left, first)
        && holds(right, second)
        && (1..=DEQUE_FREE_MAX).contains(&spare)
        && basic(&deque)? >= DEQUE_FREE_AT + 8 + DEQUE_FREE_MAX * 8
        && (0..spare).all(|index| {
            let block = ask(at(&less), DEQUE_FREE_AT + 8 + index * 8);
            block.is_some_and(|block| block != 0 && ask(block, 0).is_some() && ask(block, BLOCK_NEXT_AT).is_some())
        }))
}

fn ordered_fit(get: Get<'_, '_>) -> PyResult<bool> {
    let ordered = get("ordered")?;
    let (one, two) = (at(&get("one")?), at(&get("two")?));
    if basic(&ordered)? < ORDERED_FAST_AT + 16 {
        return Ok(false);
    }
    let keys = ask(at(&ordered), DICT_KEYS_AT).unwrap_or(0);
    let head: Option<Vec<u8>> = (0..KEYS_HEAD_BYTES).map(|index| ask_byte(keys, index)).collect();
    let first = ask(at(&ordered), ORDERED_FIRST_AT);
    let second = first.and_then(|node| ask(node, NODE_NEXT_AT));
    let key = |node: Option<usize>| node.and_then(|node| ask(node, 0));
    let fast = ask(at(&ordered), ORDERED_FAST_AT + 8).unwrap_or(usize::MAX);
    Ok(head.is_some_and(|head| {
        sized(&ordered).ok()
            == basic(&ordered)
                .ok()
                .map(|basic| basic + keys_bytes(|at| head[at]) + fast * 8 + 2 * NODE_BYTES)
    }) && key(first) == Some(one)
        && key(second) == Some(two)
        && second.and_then(|node| ask(node, NODE_NEXT_AT)) == Some(0))
}

/// A type's basic or item size, through `type`'s own descriptors: a metaclass cannot get in between and run Python code here.
pub(crate) fn of_type(class: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<usize> {
    let descriptor = class.py().get_type::<PyType>().getattr("__dict__")?.get_item(name)?;
    let found = descriptor.call_method1(pyo3::intern!(class.py(), "__get__"), (class,))?;
    Ok(found.extract::<isize>()?.max(0).unsigned_abs())
}
