//! Putting the frame right when a trace has left: making objects, and writing them into slots and namespaces.
//!
//! Invariants
//!
//! - New objects are made first, and every reference to an old one is taken, before a number's object is written again or
//!   anything is let go.
//! - What slots held is let go last: it may run any code when it dies.
//! - A frame that was half put right cannot be left so, nor begun again: nothing here panics before it is. There are no indices
//!   that could be wrong, and nothing is unwrapped; the lints keep it so. Without memory the process ends, as machine code's does.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::frame::Frame;
use crate::object::{decref, incref, load, obj, ptr, refcount, store, type_of};
use crate::run::Buffer;
use crate::world::namespace;
use larder_jit::Packed;
use larder_jit::packed::{Past, Value, kind};
use larder_trace::{Layout, Obj};
use pyo3::ffi;
use std::mem::MaybeUninit;

/// What tells numbers made at one exit apart, when several places hold them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// By the word that its object would be in, or its number is in.
    Shared(u64),
    /// By a number of its own.
    Alike(u64),
    Named(u64),
    /// Nothing else holds it.
    Alone,
}

/// A number without an object, for a local.
#[derive(Clone, Copy)]
struct Number {
    index: usize,
    float: bool,
    word: u64,
    identity: Identity,
}

struct Restore<'a> {
    buffer: &'a Buffer,
    l: &'a Layout,
    /// Numbers that several places hold, and tuples.
    made: List<'a, (Identity, Obj)>,
    tuples: List<'a, (u64, Obj)>,
    /// What the lists have no room for.
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    made: Vec<(Identity, Obj)>,
    tuples: Vec<(u64, Obj)>,
}

impl Restore<'_> {
    /// [`Restore::object`], for whom a value has no place in memory.
    ///
    /// # Safety
    /// As [`Restore::object`].
    #[inline(always)]
    unsafe fn made(&mut self, v: Value) -> Obj {
        let (kind, run, at, of) = v.parts();
        // SAFETY: by contract.
        unsafe { self.made_of(kind, run, at, of) }
    }

    /// # Safety
    /// As [`Restore::object`]; the parts of one value.
    #[inline(never)]
    unsafe fn made_of(&mut self, kind: u8, run: bool, at: *const u8, of: &Packed) -> Obj {
        // SAFETY: by contract.
        unsafe { self.object(&mut Value::of_parts(kind, run, at, of)) }
    }

    /// A new reference to the object of a value.
    ///
    /// # Safety
    /// GIL held; objects named by the buffer are alive, and every word the exit names is written.
    #[inline]
    unsafe fn object(&mut self, v: &mut Value) -> Obj {
        // SAFETY: by contract; results are checked.
        unsafe {
            match v.kind {
                kind::INT | kind::FLOAT => new_number(v.kind == kind::FLOAT, v.word(self.buffer)),
                kind::SHARED_INT | kind::SHARED_FLOAT => match self.shared(v) {
                    Ok(word) => borrowed(word),
                    Err((identity, word)) => self.number(identity, v.kind == kind::SHARED_FLOAT, word),
                },
                kind::TWIN_INT | kind::TWIN_FLOAT | kind::NAMED_INT | kind::NAMED_FLOAT => {
                    let (identity, word) = self.twin(v);
                    self.number(identity, matches!(v.kind, kind::TWIN_FLOAT | kind::NAMED_FLOAT), word)
                }
                kind::BOOL => {
                    let yes = v.word(self.buffer) & 1 != 0;
                    borrowed(if yes { ffi::Py_True() } else { ffi::Py_False() } as u64)
                }
                kind::PTR => borrowed(v.word(self.buffer)),
                kind::KNOWN => borrowed(v.object().0 as u64),
                kind::NULL => Obj::NULL,
                kind::POSITION => Obj::position(v.word(self.buffer) as i64),
                kind::TUPLE => self.tuple(v),
                _ => self.iterator(v),
            }
        }
    }

    /// The object of a number that several places hold, or what it is and the number if it has none yet.
    ///
    /// # Safety
    /// As [`Restore::object`].
    #[inline(always)]
    unsafe fn shared(&self, v: &mut Value) -> Result<u64, (Identity, u64)> {
        // SAFETY: by contract.
        unsafe {
            let ([number, object], at) = v.words(self.buffer);
            match object {
                0 => Err((Identity::Shared(at), number)),
                o if o & 1 == 0 => Ok(o),
                name => Err((Identity::Named(name), number)),
            }
        }
    }

    /// A number without an object that several places hold.
    ///
    /// # Safety
    /// As [`Restore::object`].
    #[inline(always)]
    unsafe fn twin(&self, v: &mut Value) -> (Identity, u64) {
        // SAFETY: by contract.
        unsafe {
            if matches!(v.kind, kind::NAMED_INT | kind::NAMED_FLOAT) {
                (Identity::Alike(v.number()), v.word(self.buffer))
            } else {
                let (at, word) = v.placed(self.buffer);
                (Identity::Shared(at), word)
            }
        }
    }

    /// A new reference to what was made of a number, if anything was.
    ///
    /// # Safety
    /// GIL held.
    #[inline(always)]
    unsafe fn had(&self, identity: Identity) -> Option<Obj> {
        let same = |m: &(Identity, Obj)| m.0 == identity;
        let more = || self.more.as_ref()?.made.iter().find(|m| same(m)).copied();
        let found = self.made.find(same).or_else(more)?;
        // SAFETY: made here, and held since.
        Some(unsafe { borrowed(found.1.0 as u64) })
    }

    /// Remembers what was made of a number.
    #[inline(always)]
    fn keep(&mut self, identity: Identity, o: Obj) {
        if !self.made.push((identity, o)) {
            self.more.get_or_insert_default().made.push((identity, o));
        }
    }

    /// A new reference to the object of a number that several places hold.
    ///
    /// # Safety
    /// As [`Restore::object`].
    unsafe fn number(&mut self, identity: Identity, float: bool, word: u64) -> Obj {
        // SAFETY: by contract.
        unsafe {
            if let Some(o) = self.had(identity) {
                return o;
            }
            let o = new_number(float, word);
            self.keep(identity, o);
            o
        }
    }

    /// # Safety
    /// As [`Restore::object`].
    unsafe fn tuple(&mut self, v: &mut Value) -> Obj {
        // SAFETY: by contract.
        unsafe {
            let (id, count) = (v.number(), v.number());
            let more = || self.more.as_ref()?.tuples.iter().find(|t| t.0 == id).copied();
            let have = self.tuples.find(|t| t.0 == id).or_else(more).map(|t| t.1);
            let tuple = have.unwrap_or_else(|| checked(ffi::PyTuple_New(count as ffi::Py_ssize_t)));
            for k in 0..count {
                let mut item = v.item();
                let o = self.object(&mut item);
                v.after(&item);
                if have.is_none() {
                    ffi::PyTuple_SetItem(ptr(tuple), k as ffi::Py_ssize_t, ptr(o));
                } else {
                    ffi::Py_DECREF(ptr(o)); // it is in the tuple already
                }
            }
            match have {
                Some(_) => borrowed(tuple.0 as u64),
                None => {
                    if !self.tuples.push((id, tuple)) {
                        self.more.get_or_insert_default().tuples.push((id, tuple));
                    }
                    tuple
                }
            }
        }
    }

    /// # Safety
    /// As [`Restore::object`].
    unsafe fn iterator(&mut self, v: &mut Value) -> Obj {
        let (kind, l) = (v.kind, self.l);
        // SAFETY: by contract; results are checked.
        unsafe {
            let w = if matches!(kind, kind::RANGE_ITER | kind::ENUMERATE | kind::ZIP) {
                v.words(self.buffer).0
            } else {
                let [a, b, c] = v.words(self.buffer).0;
                [a, b, c, 0]
            };
            match kind {
                kind::RANGE_ITER => range_iter(&w, l),
                kind::RANGE => {
                    let [a, b, c] = [w[0], w[1], w[2]].map(|v| checked(ffi::PyLong_FromLongLong(v as i64)));
                    let range = &raw mut ffi::PyRange_Type as *mut ffi::PyObject;
                    let end = std::ptr::null_mut::<ffi::PyObject>();
                    let o = checked(ffi::PyObject_CallFunctionObjArgs(range, ptr(a), ptr(b), ptr(c), end));
                    for n in [a, b, c] {
                        ffi::Py_DECREF(ptr(n));
                    }
                    o
                }
                kind::ENUMERATE => {
                    let have = w[3];
                    let it = if have != 0 {
                        borrowed(have)
                    } else {
                        call_type("enumerate", &[w[1]])
                    };
                    store(it.0, l.enumerate_index, w[0]);
                    store(load::<usize>(it.0, l.enumerate_inner), l.listiter_index, w[2]);
                    it
                }
                kind::ZIP => {
                    let have = w[3];
                    let it = if have != 0 {
                        borrowed(have)
                    } else {
                        call_type("zip", &[w[0], w[1]])
                    };
                    let inner: usize = load(it.0, l.zip_inner);
                    for k in 0..2 {
                        store(load::<usize>(inner, l.tuple_items + 8 * k), l.listiter_index, w[2]);
                    }
                    it
                }
                _ => {
                    let it = match w[2] {
                        0 => checked(ffi::PyObject_GetIter(ptr(Obj(w[0] as usize)))),
                        have => borrowed(have),
                    };
                    store(it.0, l.listiter_index, w[1]);
                    it
                }
            }
        }
    }
}

/// `enumerate(list)` or `zip(list, list)`.
unsafe fn call_type(name: &str, args: &[u64]) -> Obj {
    // SAFETY: the types are there, the arguments are live lists.
    unsafe {
        let symbols = crate::object::symbols();
        let Ok(symbols) = symbols else { std::process::abort() };
        let ty = if name == "zip" {
            symbols.zip_type
        } else {
            symbols.enumerate_type
        };
        let ty = ty as *mut ffi::PyObject;
        let arg = |k: usize| args.get(k).map_or(std::ptr::null_mut(), |a| *a as *mut ffi::PyObject);
        let end = std::ptr::null_mut::<ffi::PyObject>();
        checked(ffi::PyObject_CallFunctionObjArgs(ty, arg(0), arg(1), end))
    }
}

/// Writes a number into the object that a local holds, if nothing else does and it is one for such a number: as if it had
/// died, and the new one had got its memory.
///
/// # Safety
/// GIL held; every other reference to the object that will be needed has been counted.
#[inline(always)]
unsafe fn reused(frame: Frame, index: usize, float: bool, word: u64, l: &Layout) -> bool {
    if l.tagged_slots {
        return false; // other slots may rely on this one without counting
    }
    let o = frame.get(index);
    // SAFETY: a live object, and the fields its type has.
    unsafe {
        if o.is_null() || refcount(o) != 1 {
            return false;
        }
        if float {
            let fits = type_of(o).0 == &raw const ffi::PyFloat_Type as usize;
            if fits {
                store(o.0, l.float_value, word);
            }
            return fits;
        }
        let number = word as i64;
        // One digit before and after, and not among the ints that exist once.
        let fits = type_of(o).0 == &raw const ffi::PyLong_Type as usize
            && load::<usize>(o.0, l.long_tag) < 16
            && number.unsigned_abs() < 1 << 30
            && !(-5..=l.long_single).contains(&number);
        if fits {
            store(o.0, l.long_tag, 8 | usize::from(number < 0) << 1);
            store(o.0, l.long_digits, number.unsigned_abs() as u32);
        }
        fits
    }
}

/// Writes a trace's state into the frame and its namespaces; how far behind the head the exit leads. `past`: what passes came before.
///
/// # Safety
/// GIL held; the frame stands at the tree's head as it was entered, and the buffer is as this exit's code has left it.
#[inline(never)]
pub unsafe fn restore(packed: &Packed, exit: usize, past: Past, frame: Frame, l: &Layout, buffer: &Buffer) -> isize {
    let locals = packed.locals();
    let old_depth = frame.depth(locals);
    let top = locals + old_depth;
    // Numbers that wait, names with their objects, and what slots held: as many as the exit writes, and the stack. What is
    // added below is no more: an entry adds one of each at most, a place that was on the stack one.
    let most = packed.writes() + old_depth;
    let (mut waiting, mut names, mut gone) = (room::<_, ROOM>(), room::<_, ROOM>(), room::<_, ROOM>());
    let mut large = if most <= ROOM { None } else { Some(Rooms::new(most)) };
    let (waiting, names, gone) = match &mut large {
        None => (waiting.as_mut_slice(), names.as_mut_slice(), gone.as_mut_slice()),
        Some(rooms) => (rooms.0.as_mut_slice(), rooms.1.as_mut_slice(), rooms.2.as_mut_slice()),
    };
    let (mut numbers, mut named, mut old) = (List::new(waiting), List::new(names), List::new(gone));
    let (mut made, mut tuples) = (room::<_, 16>(), room::<_, 4>());
    let mut r = Restore {
        buffer,
        l,
        made: List::new(&mut made),
        tuples: List::new(&mut tuples),
        more: None,
    };
    // SAFETY: objects named by the buffer are alive: no object dies in a trace, and what slots held is let go last. New
    // references are counted.
    unsafe {
        let mut put = |index: usize, o: Obj| {
            let was = frame.put(index, o);
            if index < top && !was.is_null() {
                old.add(was);
            }
        };
        // Whether a slot has an object already.
        let has = |index: usize, word: u64| word != 0 && index < top && frame.owned(index).0 as u64 == word;
        let (distance, depth) = packed.each(exit, past, |place, mut value| {
            let Some(index) = place.as_frame() else {
                let o = r.made(value);
                named.add((place.as_name().unwrap_or_default(), o));
                return;
            };
            let float = matches!(
                value.kind,
                kind::FLOAT | kind::SHARED_FLOAT | kind::TWIN_FLOAT | kind::NAMED_FLOAT
            );
            let number = |word, identity| Number {
                index,
                float,
                word,
                identity,
            };
            match value.kind {
                kind::INT | kind::FLOAT if index < locals => {
                    numbers.add(number(value.word(buffer), Identity::Alone));
                }
                kind::SHARED_INT | kind::SHARED_FLOAT if index < locals => match r.shared(&mut value) {
                    Ok(word) if has(index, word) => {}
                    Ok(word) => put(index, borrowed(word)),
                    Err((identity, word)) => {
                        numbers.add(number(word, identity));
                    }
                },
                kind::TWIN_INT | kind::TWIN_FLOAT | kind::NAMED_INT | kind::NAMED_FLOAT if index < locals => {
                    let (identity, word) = r.twin(&mut value);
                    numbers.add(number(word, identity));
                }
                kind::PTR => {
                    let word = value.word(buffer);
                    if !has(index, word) {
                        put(index, borrowed(word));
                    }
                }
                kind::RANGE_ITER => {
                    let words: [u64; 4] = value.words(buffer).0;
                    if has(index, words[3]) {
                        set_range_iter(Obj(words[3] as usize), &words, l);
                    } else {
                        put(index, range_iter(&words, l));
                    }
                }
                _ => put(index, r.made(value)),
            }
        });
        // All references to old objects are taken by now.
        for n in numbers.all() {
            let shared = n.identity != Identity::Alone;
            if shared && let Some(o) = r.had(n.identity) {
                put(n.index, o);
                continue;
            }
            if !reused(frame, n.index, n.float, n.word, l) {
                put(n.index, new_number(n.float, n.word));
            }
            if shared {
                r.keep(n.identity, frame.get(n.index));
            }
        }
        for index in depth..old_depth {
            let was = frame.owned(locals + index);
            if !was.is_null() {
                old.add(was);
            }
        }
        frame.set_depth(locals, depth);
        for (index, o) in named.all() {
            let name = packed.name(*index);
            if ffi::PyDict_SetItem(ptr(namespace(frame, name.space)), ptr(name.key), ptr(*o)) != 0 {
                std::process::abort(); // out of memory, with the frame half written
            }
            decref(*o);
        }
        for o in old.all() {
            decref(*o);
        }
        distance
    }
}

/// Slots an exit writes, with the stack, for which no memory is asked.
const ROOM: usize = 32;

/// The same for larger exits.
struct Rooms(
    Vec<MaybeUninit<Number>>,
    Vec<MaybeUninit<(usize, Obj)>>,
    Vec<MaybeUninit<Obj>>,
);

impl Rooms {
    #[cold]
    fn new(most: usize) -> Rooms {
        let mut rooms = Rooms(Vec::new(), Vec::new(), Vec::new());
        rooms.0.resize(most, MaybeUninit::uninit());
        rooms.1.resize(most, MaybeUninit::uninit());
        rooms.2.resize(most, MaybeUninit::uninit());
        rooms
    }
}

/// A list in the caller's room, which nobody clears.
struct List<'a, T> {
    room: &'a mut [MaybeUninit<T>],
    count: usize,
}

#[inline(always)]
fn room<T: Copy, const N: usize>() -> [MaybeUninit<T>; N] {
    [MaybeUninit::uninit(); N]
}

impl<T: Copy> List<'_, T> {
    #[inline(always)]
    fn new(room: &mut [MaybeUninit<T>]) -> List<'_, T> {
        List { room, count: 0 }
    }

    /// Adds an item.
    ///
    /// # Safety
    /// There is room.
    #[inline(always)]
    unsafe fn add(&mut self, item: T) {
        debug_assert!(self.count < self.room.len());
        // SAFETY: by contract.
        unsafe { self.room.get_unchecked_mut(self.count) }.write(item);
        self.count += 1;
    }

    /// Whether there was room.
    #[inline(always)]
    fn push(&mut self, item: T) -> bool {
        let place = self.room.get_mut(self.count);
        let fits = place.is_some();
        if let Some(place) = place {
            place.write(item);
            self.count += 1;
        }
        fits
    }

    /// What was added so far.
    #[inline(always)]
    fn all(&self) -> &[T] {
        // SAFETY: the first `count` were written, in a room that is as large.
        unsafe { std::slice::from_raw_parts(self.room.as_ptr().cast(), self.count) }
    }

    #[inline(always)]
    fn find(&self, is: impl Fn(&T) -> bool) -> Option<T> {
        self.all().iter().find(|item| is(item)).copied()
    }
}

unsafe fn borrowed(word: u64) -> Obj {
    // SAFETY: a live object by the caller's word.
    unsafe { incref(Obj(word as usize)) };
    Obj(word as usize)
}

/// A new reference to an object for a number.
unsafe fn new_number(float: bool, word: u64) -> Obj {
    // SAFETY: GIL held; the result is checked.
    checked(unsafe {
        if float {
            ffi::PyFloat_FromDouble(f64::from_bits(word))
        } else {
            ffi::PyLong_FromLongLong(word as i64)
        }
    })
}

fn checked(p: *mut ffi::PyObject) -> Obj {
    if p.is_null() {
        std::process::abort(); // out of memory where Python could not be told
    }
    obj(p)
}

/// A new reference to an iterator over a range: next, step, how many are left, and the object if there is one.
unsafe fn range_iter(words: &[u64; 4], l: &Layout) -> Obj {
    // SAFETY: a live iterator by the caller's word, or a new one.
    unsafe {
        let it = match words[3] {
            0 => new_range_iter(),
            have => borrowed(have),
        };
        set_range_iter(it, words, l);
        it
    }
}

#[inline(always)]
unsafe fn set_range_iter(it: Obj, words: &[u64; 4], l: &Layout) {
    // SAFETY: an iterator over a range has these fields.
    unsafe {
        store(it.0, l.range_next, words[0]);
        store(it.0, l.range_step, words[1]);
        store(it.0, l.range_left, words[2]);
    }
}

#[cold]
unsafe fn new_range_iter() -> Obj {
    // SAFETY: `iter(range(0))` with checked results; its fields are overwritten by the caller.
    unsafe {
        let zero = checked(ffi::PyLong_FromLongLong(0));
        let range = &raw mut ffi::PyRange_Type as *mut ffi::PyObject;
        let r = checked(ffi::PyObject_CallFunctionObjArgs(
            range,
            ptr(zero),
            std::ptr::null_mut::<ffi::PyObject>(),
        ));
        let it = checked(ffi::PyObject_GetIter(ptr(r)));
        ffi::Py_DECREF(ptr(r));
        ffi::Py_DECREF(ptr(zero));
        it
    }
}
