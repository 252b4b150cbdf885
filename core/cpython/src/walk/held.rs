//! Containers of many items: what was seen to be leaves is held, and not looked at again while it stays where it is.

use std::sync::Arc;

use larder_trace::{Layout, Obj};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use xxhash_rust::xxh3::xxh3_128;

use super::{Stop, Walk, bytes_of};
use crate::object::{decref, incref, load, obj};
use crate::walkers::entries;

/// Fewer items are looked at one by one.
pub const MANY: usize = 32;
/// So many items ahead of the one that is looked at, objects are fetched.
pub const AHEAD: usize = 12;
/// Room for so many addresses is kept.
pub(super) const KEPT_MAX: usize = 1 << 18;

/// The leaves of one container, where they are in it; `None` where something else was.
///
/// They are held, so an item that is still at the same address is the same leaf.
pub struct Held {
    items: Vec<Option<Py<PyAny>>>,
    /// The digest of the addresses of all items, if leaves are all there is.
    leaves: Option<u128>,
    /// Counts of references may be changed where they are.
    direct: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.direct {
            let mut items = std::mem::take(&mut self.items);
            Python::try_attach(|_| {
                for i in 0..items.len() {
                    if let Some(Some(ahead)) = items.get(i + AHEAD) {
                        fetch(ahead.as_ptr() as usize);
                    }
                    let Some(item) = items[i].take() else { continue };
                    // SAFETY: the GIL is held, and the reference is ours.
                    unsafe { decref(obj(item.into_ptr())) };
                }
            });
        }
    }
}

impl Held {
    /// Whether these addresses, one after the other in memory, are those of the leaves held here, and nothing else is.
    ///
    /// # Safety
    /// `len` addresses can be read at `at`.
    unsafe fn are_at(&self, at: usize, len: usize) -> bool {
        // SAFETY: the caller's promise; a `Py` is an address, and `None` is a null one.
        len == self.items.len()
            && unsafe {
                std::slice::from_raw_parts(at as *const u8, 8 * len)
                    == std::slice::from_raw_parts(self.items.as_ptr().cast::<u8>(), 8 * len)
            }
    }
}

/// Where the items of a container are read from; asked again if Python code ran.
pub(super) trait Items {
    /// Their addresses, as they are now: in full or not at all (a failed lookup leaves a short list).
    fn read(&self, into: &mut Vec<usize>, layout: Option<&Layout>);

    /// Whether they are the leaves held here, seen without reading them one by one; false if that cannot be told.
    fn are(&self, _held: &Held, _layout: &Layout) -> bool {
        false
    }
}

impl<'py> Walk<'_, 'py> {
    /// Says the addresses of the items of the container at `key`, keeps leaves if that is wanted, the rest for later.
    pub(super) fn many(
        &mut self,
        key: usize,
        items: &impl Items,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<(), Stop> {
        let bulk = self.bulk();
        if let (Some((held, met)), Some(layout)) = (self.kinds.held.get_mut(&key), self.kinds.layout) {
            *met |= bulk;
            if let Some(sum) = held.leaves
                && items.are(held, layout)
            {
                *met = true;
                let held = held.clone();
                self.sum(held.items.len(), sum);
                if self.pinning {
                    self.helds.push(held);
                }
                return Ok(());
            }
        }
        let mut at = std::mem::take(&mut self.kinds.scratch);
        if bulk {
            at.clear();
            items.read(&mut at, self.kinds.layout);
            self.sum(at.len(), xxh3_128(bytes_of(&at)));
            self.kinds.scratch = at;
            return Ok(());
        }
        let before = self.kinds.held.get(&key).map(|(held, _)| held.clone());
        let found = loop {
            at.clear();
            items.read(&mut at, self.kinds.layout);
            match self.look(&at, before.as_deref(), later) {
                Look::Same => break before,
                Look::New(items) => {
                    let leaves = items.iter().all(Option::is_some).then(|| xxh3_128(bytes_of(&at)));
                    let direct = self.kinds.layout.is_some();
                    break Some(Arc::new(Held { items, leaves, direct }));
                }
                Look::Ask(kinds) => {
                    later.clear();
                    for kind in kinds {
                        self.kinds.of(self.py, kind.as_type_ptr())?;
                    }
                }
            }
        };
        let sum = found.as_ref().and_then(|held| held.leaves);
        self.sum(at.len(), sum.unwrap_or_else(|| xxh3_128(bytes_of(&at))));
        self.kinds.scratch = at;
        if let Some(held) = found {
            if self.pinning {
                self.helds.push(held.clone());
            }
            self.kinds.held.insert(key, (held, true));
        }
        Ok(())
    }

    /// Looks at the items that are not held where they were. No Python code runs in here.
    fn look(&mut self, at: &[usize], before: Option<&Held>, later: &mut Vec<Bound<'py, PyAny>>) -> Look<'py> {
        let known: &[Option<Py<PyAny>>] = before.map_or(&[], |held| &held.items);
        let address = |one: &Option<Py<PyAny>>| one.as_ref().map_or(0, |one| one.as_ptr() as usize);
        let mut ask: Vec<Bound<'py, PyType>> = Vec::new();
        let mut same = known.len() == at.len()
            && known
                .iter()
                .zip(at)
                .all(|(one, item)| one.is_none() || address(one) == *item);
        if same {
            // What was no leaf may be one now: another one took its place.
            for (_, &item) in known.iter().zip(at).filter(|(one, item)| one.is_none() && **item != 0) {
                // SAFETY: a live object, held by its container: no Python code ran since its address was read.
                let kind = unsafe { ffi::Py_TYPE(item as *mut ffi::PyObject) };
                same &= !self.is_leaf(kind as usize);
                self.later(item, kind, &mut ask, later);
            }
            if same {
                return if ask.is_empty() { Look::Same } else { Look::Ask(ask) };
            }
            later.clear();
            ask.clear();
        }
        let (py, direct) = (self.py, self.kinds.layout.is_some());
        let hold = |item: usize| {
            // SAFETY: a live object, held by its container: no Python code ran since its address was read; or null.
            unsafe {
                if direct && item != 0 {
                    incref(Obj(item));
                    return Bound::from_owned_ptr_or_opt(py, item as *mut ffi::PyObject).map(Bound::unbind);
                }
                Bound::from_borrowed_ptr_or_opt(py, item as *mut ffi::PyObject).map(Bound::unbind)
            }
        };
        let mut leaves: Vec<Option<Py<PyAny>>> = Vec::with_capacity(at.len());
        for (i, &item) in at.iter().enumerate() {
            if let Some(&ahead) = at.get(i + AHEAD) {
                fetch(ahead);
            }
            if item == 0 || known.get(i).is_some_and(|one| address(one) == item) {
                leaves.push(hold(item));
                continue;
            }
            // SAFETY: a live object, as above.
            let kind = unsafe { ffi::Py_TYPE(item as *mut ffi::PyObject) };
            if self.is_leaf(kind as usize) {
                leaves.push(hold(item));
                continue;
            }
            leaves.push(None);
            self.later(item, kind, &mut ask, later);
        }
        if !ask.is_empty() {
            return Look::Ask(ask);
        }
        Look::New(leaves)
    }
}

impl<'py> Walk<'_, 'py> {
    /// Something of a container that is no leaf, and perhaps of a type nothing is known of.
    fn later(
        &self,
        item: usize,
        kind: *mut ffi::PyTypeObject,
        ask: &mut Vec<Bound<'py, PyType>>,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) {
        if !self.kinds.known.contains_key(&(kind as usize)) && !ask.iter().any(|one| one.as_type_ptr() == kind) {
            // SAFETY: the type of a live object.
            ask.push(unsafe { Bound::from_borrowed_ptr(self.py, kind.cast()).cast_into_unchecked() });
        }
        // SAFETY: a live object, held by its container: no Python code ran since its address was read.
        later.push(unsafe { Bound::from_borrowed_ptr(self.py, item as *mut ffi::PyObject) });
    }
}

enum Look<'py> {
    /// What was held is what is there.
    Same,
    New(Vec<Option<Py<PyAny>>>),
    /// These types are not known yet.
    Ask(Vec<Bound<'py, PyType>>),
}

pub(super) struct ListItems(pub *mut ffi::PyObject);
pub(super) struct TupleItems(pub *mut ffi::PyObject);
pub(super) struct DictItems(pub *mut ffi::PyObject);
/// Pointers in memory: `low..high`.
pub(super) struct Pointers(pub usize, pub usize);
/// Objects that are held here.
pub(super) struct These<'a, 'py>(pub &'a [Bound<'py, PyAny>]);

impl Items for ListItems {
    fn read(&self, into: &mut Vec<usize>, layout: Option<&Layout>) {
        // SAFETY: an exact list that is held; no Python code runs meanwhile, so its size stays.
        unsafe {
            let len = ffi::PyList_Size(self.0);
            if let Some(l) = layout {
                return copy(load(self.0 as usize, l.list_items), len as usize, into);
            }
            into.extend((0..len).map(|i| ffi::PyList_GetItem(self.0, i) as usize));
        }
    }

    fn are(&self, held: &Held, l: &Layout) -> bool {
        let at = self.0 as usize;
        // SAFETY: an exact list that is held, whose items are where the layout says.
        unsafe { held.are_at(load(at, l.list_items), load(at, l.var_size)) }
    }
}

impl Items for TupleItems {
    fn read(&self, into: &mut Vec<usize>, layout: Option<&Layout>) {
        // SAFETY: an exact tuple that is held.
        unsafe {
            let len = ffi::PyTuple_Size(self.0);
            if let Some(l) = layout {
                return copy(self.0 as usize + l.tuple_items, len as usize, into);
            }
            into.extend((0..len).map(|i| ffi::PyTuple_GetItem(self.0, i) as usize));
        }
    }

    fn are(&self, held: &Held, l: &Layout) -> bool {
        let at = self.0 as usize;
        // SAFETY: an exact tuple that is held.
        unsafe { held.are_at(at + l.tuple_items, load(at, l.var_size)) }
    }
}

impl Items for DictItems {
    fn read(&self, into: &mut Vec<usize>, layout: Option<&Layout>) {
        let (mut key, mut value, mut position) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: a dict that is held; no Python code runs meanwhile, so it does not change under it.
        unsafe {
            if let Some(Entries { at, count, width: 16 }) = layout.and_then(|l| Entries::of(self.0 as usize, l)) {
                return copy(at, 2 * count, into);
            }
            into.reserve(2 * ffi::PyDict_Size(self.0) as usize);
            while ffi::PyDict_Next(self.0, &mut position, &mut key, &mut value) != 0 {
                into.push(key as usize);
                into.push(value as usize);
            }
        }
    }

    fn are(&self, held: &Held, l: &Layout) -> bool {
        // SAFETY: a dict that is held.
        unsafe {
            let Some(Entries { at, count, width }) = Entries::of(self.0 as usize, l) else {
                return false;
            };
            if width == 16 {
                return held.are_at(at, 2 * count);
            }
            let keys = held.items.as_ptr().cast::<usize>();
            let same = |i: usize, of: usize| load::<usize>(at, width * i + 8 * of) == *keys.add(2 * i + of);
            2 * count == held.items.len() && (0..count).all(|i| same(i, 0) && same(i, 1))
        }
    }
}

/// Where a dict without gaps has its items in order: keys and values.
struct Entries {
    /// The first key; its value follows it.
    at: usize,
    count: usize,
    /// From one key to the next.
    width: usize,
}

impl Entries {
    /// `None` for a dict that is split or has gaps.
    ///
    /// # Safety
    /// A live dict, and the GIL.
    unsafe fn of(dict: usize, l: &Layout) -> Option<Entries> {
        // SAFETY: the fields of a live dict; if the entries that were ever made are as many as its items, all are in use.
        unsafe {
            if load::<usize>(dict, l.dict_values) != 0 {
                return None;
            }
            let (first, width, value, count) = entries(dict, l);
            let at = first + value - 8;
            (load::<usize>(dict, l.dict_used) == count).then_some(Entries { at, count, width })
        }
    }
}

/// # Safety
/// `len` addresses can be read at `at`.
unsafe fn copy(at: usize, len: usize, into: &mut Vec<usize>) {
    if len == 0 {
        return;
    }
    into.reserve(len);
    // SAFETY: the caller's promise, and there is room; addresses in objects are aligned as any.
    unsafe {
        let end = into.as_mut_ptr().add(into.len());
        std::ptr::copy_nonoverlapping(at as *const u8, end.cast::<u8>(), 8 * len);
        into.set_len(into.len() + len);
    }
}

impl Items for Pointers {
    fn read(&self, into: &mut Vec<usize>, _: Option<&Layout>) {
        // SAFETY: the memory of an array of objects that is held.
        unsafe { copy(self.0, (self.1 - self.0) / 8, into) }
    }

    fn are(&self, held: &Held, _: &Layout) -> bool {
        // SAFETY: the memory of an array of objects that is held.
        unsafe { held.are_at(self.0, (self.1 - self.0) / 8) }
    }
}

impl Items for These<'_, '_> {
    fn read(&self, into: &mut Vec<usize>, _: Option<&Layout>) {
        into.extend(self.0.iter().map(|one| one.as_ptr() as usize));
    }
}

/// Has the processor fetch what lies at an address, if it can be asked to.
pub fn fetch(at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and is without effect for an address that is not there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at as *const i8) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
