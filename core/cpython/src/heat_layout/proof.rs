//! Proof: every offset compared with live objects of known contents, before anything is read through it.
//!
//! Invariant: what an offset leads to is asked of the kernel ([`gather`]), which answers "gone" where there is nothing; nothing
//! is dereferenced here but words inside of the objects themselves, whose size their type has told.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::*;
use crate::heat_refs::gather;

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

/// What this build is: the layout of its objects, or why it is refused.
///
/// # Errors
/// What making a few objects raises.
pub(super) fn look(py: Python<'_>) -> PyResult<Result<Layout, String>> {
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
