//! Pickles of what is made of Python's own plain types, written without asking anything of Python.
//!
//! `None`, `bool`, `int`, `float`, `str`, `bytes`, `bytearray`, `list`, `tuple`, `dict`, `set` and `frozenset` of exactly these
//! types are written as pickle (protocol 5) would, so that `pickle.loads` reads them, and NumPy's integers, `bool` and `float64`
//! as a call of their type. Anything else, and what is nested deeper than [`DEPTH_MAX`], is refused as a whole: pickle has to be
//! asked then, and says what is wrong if something is.
//!
//! | met                   | memo                                            |
//! |-----------------------|-------------------------------------------------|
//! | numbers, `None`, `()` | none, as pickle (of NumPy's only their types)   |
//! | `np.nan`, `math.nan`  | its name, once: the module has it               |
//! | the rest              | only where more than one reference to it exists |
//!
//! An object that a single reference counts for is known by the one place we found it in: it is not met again, so nobody asks
//! the memo for it. That holds because no Python code runs here (nothing is called, and nothing dies), every container met owns
//! its items, and we own none of them while their counts are read. References that nobody counts (a borrowed one on the stack of
//! a frame) are in no container.
//!
//! Invariant: nothing here calls Python code, lets an object die or releases the GIL, so what is written is one state of it all.

mod memo;
mod scalars;

use larder_trace::Layout;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

use self::memo::{Memo, Met};
use self::scalars::{Scalars, Value};
use crate::abi;
use crate::object::{load, obj, refcount};
use crate::walk::{AHEAD, fetch};

/// What is nested deeper is refused: each level is a call of ours.
pub const DEPTH_MAX: usize = 400;
/// So many items go onto the reader's stack at once.
const BATCH: usize = 1000;
/// Room that is kept for the next time.
const KEPT_BYTES_MAX: usize = 4 << 20;

mod op {
    pub const PROTO: [u8; 2] = [0x80, 5];
    pub const STOP: u8 = b'.';
    pub const MARK: u8 = b'(';
    pub const POP: u8 = b'0';
    pub const POP_MARK: u8 = b'1';
    pub const NONE: u8 = b'N';
    pub const TRUE: u8 = 0x88;
    pub const FALSE: u8 = 0x89;
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const LONG4: u8 = 0x8b;
    pub const BINFLOAT: u8 = b'G';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const BINUNICODE: u8 = b'X';
    pub const BINUNICODE8: u8 = 0x8d;
    pub const SHORT_BINBYTES: u8 = b'C';
    pub const BINBYTES: u8 = b'B';
    pub const BINBYTES8: u8 = 0x8e;
    pub const BYTEARRAY8: u8 = 0x96;
    pub const EMPTY_LIST: u8 = b']';
    pub const APPENDS: u8 = b'e';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const TUPLE: u8 = b't';
    /// Of one, two and three items.
    pub const TUPLES: [u8; 3] = [0x85, 0x86, 0x87];
    pub const EMPTY_DICT: u8 = b'}';
    pub const SETITEMS: u8 = b'u';
    pub const EMPTY_SET: u8 = 0x8f;
    pub const ADDITEMS: u8 = 0x90;
    pub const FROZENSET: u8 = 0x91;
    pub const MEMOIZE: u8 = 0x94;
    /// A name in a module, each ended by a new line.
    pub const GLOBAL: u8 = b'c';
    pub const REDUCE: u8 = b'R';
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
}

/// Something is not ours to write, or there was no memory for it.
pub struct Refused;

type Done = Result<(), Refused>;

/// Writes pickles, one after the other.
pub struct Plain {
    layout: &'static Layout,
    out: Vec<u8>,
    memo: Memo,
    /// Addresses of items of the sets we are in.
    items: Vec<usize>,
    /// Containers met that others may hold and change.
    shared: Option<Vec<u64>>,
    depth: usize,
    /// Where the objects are that modules have for what is no number, of which programs ask with `is`, `in` and as keys.
    no_numbers: [usize; 2],
    scalars: Scalars,
}

/// Module and name of each.
const NO_NUMBERS: [(&str, &[u8]); 2] = [("numpy", b"numpy\nnan\n"), ("math", b"math\nnan\n")];

fn no_numbers(py: Python<'_>) -> [usize; 2] {
    let modules = py
        .import(intern!(py, "sys"))
        .and_then(|sys| sys.getattr(intern!(py, "modules")));
    NO_NUMBERS.map(|(module, _)| {
        let nan = modules
            .as_ref()
            .ok()
            .and_then(|all| all.get_item(module).ok()?.getattr(intern!(py, "nan")).ok());
        nan.filter(|nan| nan.is_exact_instance_of::<PyFloat>())
            .map_or(0, |nan| nan.as_ptr() as usize)
    })
}

/// A pickle, and the addresses of what others than its containers may hold and change, if they were asked for.
pub struct Written<'a> {
    pub stream: &'a [u8],
    pub shared: Option<Vec<u64>>,
}

impl Plain {
    /// `None` where the objects of this interpreter are laid out in a way nothing is known of.
    pub fn new(py: Python<'_>) -> PyResult<Option<Plain>> {
        let Some(layout) = abi::of(py)? else {
            return Ok(None);
        };
        Ok(Some(Plain {
            layout,
            out: Vec::new(),
            memo: Memo::default(),
            items: Vec::new(),
            shared: None,
            depth: 0,
            no_numbers: [0; 2],
            scalars: Scalars::default(),
        }))
    }

    /// The pickle of `value`.
    ///
    /// # Errors
    /// [`Refused`], with no exception set, if something in it is not plain.
    pub fn write(&mut self, value: &Bound<'_, PyAny>, sharing: bool) -> Result<Written<'_>, Refused> {
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES_MAX);
        self.memo.clear();
        self.items.clear();
        self.shared = sharing.then(Vec::new);
        self.depth = 0;
        self.no_numbers = no_numbers(value.py());
        self.scalars.look(value.py());
        // What the caller borrowed to us may be in it as well: then there is one more reference, whoever counts the first.
        let _ours = value.clone();
        // SAFETY: the GIL is held.
        let collecting = unsafe { ffi::PyGC_Disable() } == 1;
        let done = self.all(value.as_ptr() as usize);
        if collecting {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
        done?;
        Ok(Written {
            stream: &self.out,
            shared: self.shared.take(),
        })
    }

    fn all(&mut self, at: usize) -> Done {
        self.put(&op::PROTO)?;
        // SAFETY: a live object under the GIL, which the caller holds.
        unsafe { self.save(at)? };
        self.put(&[op::STOP])
    }

    /// # Safety
    /// A live object, the GIL, and no Python code since its container was read.
    unsafe fn save(&mut self, at: usize) -> Done {
        // SAFETY: as promised; all below goes by the exact type of a live object.
        unsafe {
            let kind = ffi::Py_TYPE(at as *mut ffi::PyObject);
            if kind == &raw mut ffi::PyUnicode_Type {
                return self.text(at);
            }
            if kind == &raw mut ffi::PyLong_Type {
                return self.int(at);
            }
            if kind == &raw mut ffi::PyFloat_Type {
                let value: f64 = load(at, self.layout.float_value);
                if value.is_nan()
                    && let Some(which) = self.no_numbers.iter().position(|one| *one == at)
                {
                    return self.no_number(at, NO_NUMBERS[which].1);
                }
                return self.put2(op::BINFLOAT, &value.to_be_bytes());
            }
            if at == ffi::Py_None() as usize {
                return self.put(&[op::NONE]);
            }
            if kind == &raw mut ffi::PyBool_Type {
                return self.put(&[if at == ffi::Py_True() as usize {
                    op::TRUE
                } else {
                    op::FALSE
                }]);
            }
            if kind == &raw mut ffi::PyBytes_Type {
                return self.bytes(at);
            }
            if let Some(which) = self.scalars.of(kind as usize) {
                return self.scalar(at, which);
            }
            if self.known(at)? {
                return Ok(());
            }
            if kind == &raw mut ffi::PyByteArray_Type {
                return self.byte_array(at);
            }
            if self.depth == DEPTH_MAX {
                return Err(Refused);
            }
            self.depth += 1;
            if kind == &raw mut ffi::PyTuple_Type {
                self.tuple(at)?;
            } else if kind == &raw mut ffi::PyList_Type {
                self.list(at)?;
            } else if kind == &raw mut ffi::PyDict_Type {
                self.dict(at)?;
            } else if kind == &raw mut ffi::PySet_Type {
                self.set(at)?;
            } else if kind == &raw mut ffi::PyFrozenSet_Type {
                self.frozen_set(at)?;
            } else {
                return Err(Refused);
            }
            self.depth -= 1;
            Ok(())
        }
    }

    /// Whether more than one reference to an object is counted; an immortal one has any number.
    unsafe fn several(&self, at: usize) -> bool {
        // SAFETY: a live object.
        unsafe { refcount(obj(at as *mut ffi::PyObject)) != 1 }
    }

    /// Whether it was written before; then that is said.
    unsafe fn known(&mut self, at: usize) -> Result<bool, Refused> {
        // SAFETY: a live object.
        if !unsafe { self.several(at) } {
            return Ok(false);
        }
        match self.memo.get(at) {
            Some(index) => self.get(index).map(|()| true),
            None => Ok(false),
        }
    }

    /// What was just written is on the reader's stack: it is remembered, if it may be met again.
    unsafe fn remember(&mut self, at: usize) -> Done {
        // SAFETY: a live object.
        if !unsafe { self.several(at) } {
            return Ok(());
        }
        self.memo.add(at).ok_or(Refused)?;
        self.put(&[op::MEMOIZE])
    }

    /// The same for what can change.
    unsafe fn remember_shared(&mut self, at: usize) -> Done {
        // SAFETY: a live object.
        unsafe {
            if let Some(shared) = &mut self.shared
                && refcount(obj(at as *mut ffi::PyObject)) != 1
            {
                shared.try_reserve(1).map_err(|_| Refused)?;
                shared.push(at as u64);
            }
            self.remember(at)
        }
    }

    fn get(&mut self, index: u32) -> Done {
        match u8::try_from(index) {
            Ok(index) => self.put(&[op::BINGET, index]),
            Err(_) => self.put2(op::LONG_BINGET, &index.to_le_bytes()),
        }
    }

    fn no_number(&mut self, at: usize, name: &[u8]) -> Done {
        if let Met::Before(index) = self.memo.meet(at).ok_or(Refused)? {
            return self.get(index);
        }
        self.put2(op::GLOBAL, name)?;
        self.put(&[op::MEMOIZE])
    }

    /// A call of its type.
    unsafe fn scalar(&mut self, at: usize, which: usize) -> Done {
        let (kind, name) = self.scalars.name(which);
        match self.memo.meet(kind).ok_or(Refused)? {
            Met::Before(index) => self.get(index)?,
            Met::New => {
                let written = [b"numpy\n", name, b"\n"].concat();
                self.put2(op::GLOBAL, &written)?;
                self.put(&[op::MEMOIZE])?;
            }
        }
        // SAFETY: a live scalar of this type.
        match unsafe { self.scalars.value(at, which) } {
            Value::Bool(value) => self.put(&[if value { op::TRUE } else { op::FALSE }])?,
            Value::Float(value) => self.put2(op::BINFLOAT, &value.to_be_bytes())?,
            Value::Int(value) => match i32::try_from(value) {
                Ok(small @ 0..=0xff) => self.put(&[op::BININT1, small as u8])?,
                Ok(small) => self.put2(op::BININT, &small.to_le_bytes())?,
                Err(_) => {
                    self.put(&[op::LONG1, 9])?;
                    self.put(&value.to_le_bytes()[..9])?;
                }
            },
        }
        self.put(&[op::TUPLES[0], op::REDUCE])
    }

    unsafe fn text(&mut self, at: usize) -> Done {
        // SAFETY: an exact str that its container holds; ASCII ones have their characters where the layout says.
        unsafe {
            let several = self.several(at);
            if several && let Met::Before(index) = self.memo.meet(at).ok_or(Refused)? {
                return self.get(index);
            }
            let l = self.layout;
            if load::<u32>(at, l.str_state) & l.str_mask == l.str_ascii {
                let len = load::<usize>(at, l.str_length);
                self.sized_text(std::slice::from_raw_parts((at + l.str_data) as *const u8, len))?;
            } else {
                let utf8 = ffi::PyUnicode_AsUTF8String(at as *mut ffi::PyObject);
                if utf8.is_null() {
                    ffi::PyErr_Clear(); // surrogates, or no memory
                    return Err(Refused);
                }
                let len = ffi::PyBytes_Size(utf8) as usize;
                let bytes = std::slice::from_raw_parts(ffi::PyBytes_AsString(utf8).cast::<u8>(), len);
                let done = self.sized_text(bytes);
                ffi::Py_DECREF(utf8); // bytes of our own
                done?;
            }
            if several { self.put(&[op::MEMOIZE]) } else { Ok(()) }
        }
    }

    fn sized_text(&mut self, utf8: &[u8]) -> Done {
        self.sized(op::SHORT_BINUNICODE, op::BINUNICODE, op::BINUNICODE8, utf8)
    }

    unsafe fn bytes(&mut self, at: usize) -> Done {
        // SAFETY: an exact bytes that its container holds.
        unsafe {
            if self.known(at)? {
                return Ok(());
            }
            let len = ffi::PyBytes_Size(at as *mut ffi::PyObject) as usize;
            let data = ffi::PyBytes_AsString(at as *mut ffi::PyObject).cast::<u8>();
            let bytes = std::slice::from_raw_parts(data, len);
            self.sized(op::SHORT_BINBYTES, op::BINBYTES, op::BINBYTES8, bytes)?;
            self.remember(at)
        }
    }

    unsafe fn byte_array(&mut self, at: usize) -> Done {
        // SAFETY: an exact bytearray that its container holds; nothing runs that could change it.
        unsafe {
            let len = ffi::PyByteArray_Size(at as *mut ffi::PyObject) as usize;
            self.put2(op::BYTEARRAY8, &(len as u64).to_le_bytes())?;
            if len > 0 {
                let data = ffi::PyByteArray_AsString(at as *mut ffi::PyObject).cast::<u8>();
                self.put(std::slice::from_raw_parts(data, len))?;
            }
            self.remember_shared(at)
        }
    }

    unsafe fn int(&mut self, at: usize) -> Done {
        // SAFETY: an exact int; the tag says how many digits of 30 bits it has, and its sign.
        unsafe {
            let (tag, digits) = (load::<usize>(at, self.layout.long_tag), at + self.layout.long_digits);
            let negative = tag & 3 == 2;
            if tag >> 3 <= 1 {
                let digit = if tag & 3 == 1 {
                    0
                } else {
                    i64::from(load::<u32>(digits, 0))
                };
                return match if negative { -digit } else { digit } {
                    value @ 0..=0xff => self.put(&[op::BININT1, value as u8]),
                    value @ 0x100..=0xffff => self.put2(op::BININT2, &(value as u16).to_le_bytes()),
                    value => self.put2(op::BININT, &(value as i32).to_le_bytes()),
                };
            }
            self.large_int(digits, tag >> 3, negative)
        }
    }

    /// Two's complement, the lowest byte first, with room for the sign.
    #[cold]
    unsafe fn large_int(&mut self, digits: usize, count: usize, negative: bool) -> Done {
        let room = count.checked_mul(30).ok_or(Refused)? / 8 + 2;
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve(room).map_err(|_| Refused)?;
        let (mut held, mut bits, mut carry) = (0_u64, 0, u8::from(negative));
        let mut push = |bytes: &mut Vec<u8>, byte: u8| {
            let (byte, over) = if negative {
                (!byte).overflowing_add(carry)
            } else {
                (byte, false)
            };
            carry = u8::from(over);
            bytes.push(byte);
        };
        for at in 0..count {
            // SAFETY: the digits of a live int.
            held |= u64::from(unsafe { load::<u32>(digits, 4 * at) }) << bits;
            bits += 30;
            while bits >= 8 {
                push(&mut bytes, held as u8);
                held >>= 8;
                bits -= 8;
            }
        }
        push(&mut bytes, held as u8);
        push(&mut bytes, 0);
        let sign = if negative { 0xff } else { 0 };
        while let [.., next, last] = bytes[..]
            && last == sign
            && (next ^ sign) & 0x80 == 0
        {
            bytes.pop();
        }
        if let Ok(len) = u8::try_from(bytes.len()) {
            self.put(&[op::LONG1, len])?;
        } else {
            let len = i32::try_from(bytes.len()).map_err(|_| Refused)?;
            self.put2(op::LONG4, &len.to_le_bytes())?;
        }
        self.put(&bytes)
    }

    unsafe fn list(&mut self, at: usize) -> Done {
        // SAFETY: an exact list, whose items are where the layout says; nothing runs that could change it.
        unsafe {
            self.put(&[op::EMPTY_LIST])?;
            self.remember_shared(at)?;
            let items: usize = load(at, self.layout.list_items);
            let len: usize = load(at, self.layout.var_size);
            for from in (0..len).step_by(BATCH) {
                self.put(&[op::MARK])?;
                for i in from..len.min(from + BATCH) {
                    if i + AHEAD < len {
                        fetch(load(items, 8 * (i + AHEAD)));
                    }
                    self.save(load(items, 8 * i))?;
                }
                self.put(&[op::APPENDS])?;
            }
            Ok(())
        }
    }

    unsafe fn tuple(&mut self, at: usize) -> Done {
        // SAFETY: an exact tuple, whose items are where the layout says.
        unsafe {
            let len: usize = load(at, self.layout.var_size);
            if len == 0 {
                return self.put(&[op::EMPTY_TUPLE]);
            }
            if len > 3 {
                self.put(&[op::MARK])?;
            }
            for i in 0..len {
                self.save(load(at, self.layout.tuple_items + 8 * i))?;
            }
            if self.held_itself(at, if len > 3 { 0 } else { len })? {
                return Ok(());
            }
            self.put(&[if len > 3 { op::TUPLE } else { op::TUPLES[len - 1] }])?;
            self.remember(at)
        }
    }

    /// Whether what could only be made after its items was made by one of them: the items are dropped then, `pops` of them
    /// or those behind the mark.
    unsafe fn held_itself(&mut self, at: usize, pops: usize) -> Result<bool, Refused> {
        // SAFETY: a live object.
        if !unsafe { self.several(at) } {
            return Ok(false);
        }
        let Some(index) = self.memo.get(at) else {
            return Ok(false);
        };
        match pops {
            0 => self.put(&[op::POP_MARK])?,
            _ => self.put(&[op::POP; 3][..pops])?,
        }
        self.get(index)?;
        Ok(true)
    }

    unsafe fn dict(&mut self, at: usize) -> Done {
        let (mut key, mut value, mut position) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        let (mut next_key, mut next_value, mut ahead) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: an exact dict; nothing runs that could change it.
        unsafe {
            self.put(&[op::EMPTY_DICT])?;
            self.remember_shared(at)?;
            let (dict, mut count) = (at as *mut ffi::PyObject, 0);
            for _ in 0..AHEAD {
                ffi::PyDict_Next(dict, &mut ahead, &mut next_key, &mut next_value);
            }
            while ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) != 0 {
                if ffi::PyDict_Next(dict, &mut ahead, &mut next_key, &mut next_value) != 0 {
                    fetch(next_key as usize);
                    fetch(next_value as usize);
                }
                if count == 0 {
                    self.put(&[op::MARK])?;
                }
                self.save(key as usize)?;
                self.save(value as usize)?;
                count += 1;
                if count == BATCH {
                    self.put(&[op::SETITEMS])?;
                    count = 0;
                }
            }
            if count > 0 { self.put(&[op::SETITEMS]) } else { Ok(()) }
        }
    }

    unsafe fn set(&mut self, at: usize) -> Done {
        // SAFETY: an exact set; nothing runs that could change it, and it holds its items.
        unsafe {
            self.put(&[op::EMPTY_SET])?;
            self.remember_shared(at)?;
            let (from, to) = self.items_of(at)?;
            for start in (from..to).step_by(BATCH) {
                self.put(&[op::MARK])?;
                for i in start..to.min(start + BATCH) {
                    self.save(self.items[i])?;
                }
                self.put(&[op::ADDITEMS])?;
            }
            self.items.truncate(from);
            Ok(())
        }
    }

    unsafe fn frozen_set(&mut self, at: usize) -> Done {
        // SAFETY: as for a set.
        unsafe {
            let (from, to) = self.items_of(at)?;
            self.put(&[op::MARK])?;
            for i in from..to {
                self.save(self.items[i])?;
            }
            self.items.truncate(from);
            if self.held_itself(at, 0)? {
                return Ok(());
            }
            self.put(&[op::FROZENSET])?;
            self.remember(at)
        }
    }

    /// Which of `items` are those of a set: borrowed, so that their counts are what they are without us.
    unsafe fn items_of(&mut self, set: usize) -> Result<(usize, usize), Refused> {
        let from = self.items.len();
        // SAFETY: an exact set or frozenset, which holds what its iterator gives; dropping our own references kills nothing.
        unsafe {
            let len = ffi::PySet_Size(set as *mut ffi::PyObject) as usize;
            self.items.try_reserve(len).map_err(|_| Refused)?;
            let each = ffi::PyObject_GetIter(set as *mut ffi::PyObject);
            if each.is_null() {
                ffi::PyErr_Clear();
                return Err(Refused);
            }
            for _ in 0..len {
                let item = ffi::PyIter_Next(each);
                if item.is_null() {
                    break;
                }
                ffi::Py_DECREF(item);
                self.items.push(item as usize);
            }
            ffi::Py_DECREF(each);
            if self.items.len() - from != len {
                ffi::PyErr_Clear();
                return Err(Refused);
            }
        }
        Ok((from, self.items.len()))
    }

    fn sized(&mut self, short: u8, usual: u8, long: u8, bytes: &[u8]) -> Done {
        let len = bytes.len();
        self.room(9 + len)?;
        if let Ok(len) = u8::try_from(len) {
            self.out.extend_from_slice(&[short, len]);
        } else if let Ok(len) = u32::try_from(len) {
            self.out.push(usual);
            self.out.extend_from_slice(&len.to_le_bytes());
        } else {
            self.out.push(long);
            self.out.extend_from_slice(&(len as u64).to_le_bytes());
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Done {
        self.room(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn put2(&mut self, op: u8, bytes: &[u8]) -> Done {
        self.room(1 + bytes.len())?;
        self.out.push(op);
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn room(&mut self, bytes: usize) -> Done {
        if self.out.capacity() - self.out.len() < bytes {
            self.out.try_reserve(bytes).map_err(|_| Refused)?;
        }
        Ok(())
    }
}
