//! Trail: what a walk met and in which order, so that later only what has changed is walked again.
//!
//! Whoever holds the root can ask whether everything is still as it was. Each step (a container or a leaf) has a fingerprint
//! of what it referred to, and is itself referred to by an earlier one. So once that one's fingerprint is found again, this
//! one is alive and may be read. Objects that are no containers are not visited, which is what makes asking cheaper than
//! walking. Where a container refers to other objects than before, those that came are walked and those that went are
//! forgotten; a walk that was cut short goes on in the same way.
//!
//! Invariants
//!
//! - Nothing is read through an address before an unchanged or just read container was seen to refer to it, in the same call
//!   and with nothing run in between that could drop a reference.
//! - A step's referring step has a lower number. Objects that went keep their number and have address 0.
//! - Until everything that has changed is known, nothing is changed here: a call that ran out of time leaves all as it was.
//!
//! What it cannot see: an object that was freed and replaced by another at the same address, in the same place of its
//! container.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::Instant;

use pyo3::ffi;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use crate::heat_layout::{
    APART_SHIFT, DEQUE_LEFT_AT, DEQUE_RIGHT_AT, DICT_KEYS_AT, Holds, LIST_ALLOCATED_AT, LIST_ITEMS_AT, SET_TABLE_AT,
    SIZE_AT, TYPE_AT, refer, word,
};
use crate::heat_live::{
    ARRAY_DIMENSIONS_AT, ARRAY_DIMENSIONS_MAX, ARRAY_LENGTHS_AT, Extent, Kind, NOBODY, Reached, TypeInfo, Walk,
    without_collector,
};
use crate::heat_table::AddressTable;

/// In a leaf's step: its lengths are part of the fingerprint, as `resize` may change nothing else.
pub(crate) const WITH_LENGTHS: u32 = 1 << 31;
/// In a leaf's step: what it shows is not all its own, or in several pieces.
const FOREIGN: u32 = 1 << 30;
/// In a leaf's step: the bytes of its body.
const BODY: u32 = FOREIGN - 1;
/// An extent in 8 bytes has so many bits, what lies before the object (in 16 bytes) the two above.
const EXTENT_BITS: u32 = 30;
const EXTENT_MAX: u32 = (1 << EXTENT_BITS) - 1;
const CLOCK_EVERY: usize = 1024;

/// An object counted: 16 bytes each.
#[derive(Clone, Copy)]
pub struct Object {
    /// 0: it went.
    pub address: u64,
    /// The step that refers to it; `u32::MAX` for a root.
    pub parent: u32,
    extent: u32,
}

impl Object {
    /// Where it was, rounded up to 8 bytes; `None` when it is larger than is kept.
    fn body(self) -> Option<(u64, u64)> {
        let size = self.extent & EXTENT_MAX;
        let start = self.address - u64::from(self.extent >> EXTENT_BITS) * 16;
        (size < EXTENT_MAX).then(|| (start, start + u64::from(size) * 8))
    }
}

fn packed(before: usize, extent: &Extent) -> u32 {
    let size = (extent.body.1 - extent.body.0).div_ceil(8).min(u64::from(EXTENT_MAX)) as u32;
    size | ((before / 16) as u32) << EXTENT_BITS
}

/// One container or leaf as a walk met it.
#[derive(Clone, Copy)]
struct Step {
    object: u32,
    /// For a leaf the bytes of its body, with [`WITH_LENGTHS`] for an array; for a container what it [`Holds`], and where.
    what: u32,
    class: usize,
    traverse: Option<ffi::traverseproc>,
    print: u64,
    payload: u64,
    payload_8: u64,
}

impl Step {
    /// # Safety
    /// `address` is alive and of this step's class.
    unsafe fn print_now(&self, address: usize) -> u64 {
        // SAFETY: the caller's promise; `fingerprint` keeps to the protocol and runs no Python.
        unsafe {
            let Some(traverse) = self.traverse else {
                return body_print(address, self.what);
            };
            let mut print = head_print(address, self.what);
            refer(traverse, address, self.what, fingerprint, (&raw mut print).cast());
            print
        }
    }

    fn is_leaf(&self) -> bool {
        self.traverse.is_none()
    }
}

/// The containers and leaves of one walk, and every object it counted.
#[derive(Default)]
pub struct Trail {
    steps: Vec<Step>,
    pub objects: Vec<Object>,
    /// Each object's number by its address.
    pub table: Arc<AddressTable>,
    /// Objects still to be walked, with the steps that refer to them: a walk was cut short.
    pub(crate) pending: Vec<(u64, u32)>,
    /// Objects that went.
    gone: usize,
    /// Some leaf holds an object that its body does not name.
    indirect: bool,
    /// Pieces of objects that are neither body nor payload, by the object's number.
    pieces: FxHashMap<u32, Vec<(u64, u64)>>,
    /// Buffers of leaves that others may show too, or that are in several pieces.
    pub(crate) foreign: Vec<(u64, u64)>,
    /// Leaves went since the buffers were asked for.
    left: bool,
}

/// What [`Walk::mend`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// Nothing has changed.
    Same,
    /// The time was up before that was known; nothing was changed.
    Late,
    /// It has changed in a way that only a new walk can follow.
    Anew,
    /// The trail and what was reached are as they are now, except for what new leaves hold.
    Mended,
}

/// What has changed, before anything is done about it.
#[derive(Default)]
struct Changes {
    state: Vec<State>,
    /// Steps whose referents differ.
    changed: Vec<u32>,
    /// Objects that nothing known refers to any more.
    lost: Vec<u32>,
    /// Objects that another changed step refers to now.
    moved: Vec<(u32, u32)>,
    /// What the changed steps refer to now, in order; address 0 for what they referred to before as well.
    referents: Vec<(u64, u32)>,
    /// Of each changed step the part of `referents` that has not been met yet, from its end, by the step's number + 1.
    spans: Vec<(usize, usize)>,
    span_of: AddressTable,
    /// The first changed step that refers to each; made when it is needed, of so many `referents`.
    holder: AddressTable,
    held: usize,
    /// Lost objects that an unchanged step refers to after all.
    rescued: Vec<(u64, u32)>,
    /// Objects to be walked again where they are, each with the step that refers to it.
    again: Vec<(u64, u32)>,
}

/// How far the next referent that is met again may lie: those in between belong to others or to nobody.
const SPAN: usize = 8;

impl Changes {
    /// Notes what step `step` refers to now: all behind the first `from`.
    fn refers(&mut self, step: u32, from: usize) {
        self.span_of.insert(u64::from(step) + 1, self.spans.len() as u32);
        self.spans.push((from, self.referents.len()));
    }

    /// A changed step that refers to `address`, of the object that `parent` referred to before.
    fn holder(&mut self, address: u64, parent: u32) -> Option<u32> {
        // A walk meets referents last first, and so do we: mostly the next one is the one asked for.
        if let Some(span) = self.span_of.get(u64::from(parent) + 1) {
            let (from, to) = self.spans[span as usize];
            for at in (from.max(to.saturating_sub(SPAN))..to).rev() {
                if self.referents[at].0 == address {
                    self.referents[at].0 = 0;
                    self.spans[span as usize].1 = at;
                    return Some(parent);
                }
            }
        }
        if self.held == 0 {
            self.holder = AddressTable::with_room(self.referents.len());
        }
        for (address, step) in &self.referents[self.held..] {
            if self.holder.get(*address).is_none() {
                self.holder.insert(*address, *step);
            }
        }
        self.held = self.referents.len();
        self.holder.get(address)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Same,
    Changed,
    Lost,
}

enum Found {
    Same,
    Late,
    Anew,
    Changes(Box<Changes>),
}

impl Trail {
    /// Adds an object; returns its number.
    pub(crate) fn object(&mut self, address: usize, parent: u32, info: TypeInfo, extent: &Extent) -> u32 {
        let number = self.objects.len() as u32;
        self.objects.push(Object {
            address: address as u64,
            parent,
            extent: packed(info.before, extent),
        });
        // A step has room for one payload.
        let payload = Some(extent.payload).filter(|range| !info.steps() && range.1 > range.0);
        if payload.is_some() || !extent.more.is_empty() {
            let pieces = extent.more.iter().copied().chain(payload).collect();
            self.pieces.insert(number, pieces);
        }
        number
    }

    /// Adds a piece of an object.
    pub(crate) fn piece(&mut self, number: u32, range: (u64, u64)) {
        self.pieces.entry(number).or_default().push(range);
    }

    /// Adds what the leaf of a step shows: `own` if it is one piece that no other object shows.
    pub fn shows(&mut self, step: u32, range: (u64, u64), own: bool) {
        let Some(step) = self.steps.get_mut(step as usize).filter(|step| step.is_leaf()) else {
            self.foreign.push(range);
            return;
        };
        if own && step.payload == 0 {
            (step.payload, step.payload_8) = (range.0, (range.1 - range.0).div_ceil(8));
        } else {
            step.what |= FOREIGN;
            self.foreign.push(range);
        }
    }

    /// All that leaves show, unsorted, if some of them have gone since this was asked.
    pub fn buffers_left(&mut self) -> Option<Vec<(u64, u64)>> {
        if !std::mem::take(&mut self.left) {
            return None;
        }
        let leaves = self.steps.iter().filter(|step| step.is_leaf() && step.payload != 0);
        let own = leaves.map(|step| (step.payload, step.payload + step.payload_8 * 8));
        Some(own.chain(self.foreign.iter().copied()).collect())
    }

    /// Whether a leaf can go without a new walk: what it shows is its own, and nobody else's.
    fn can_go(&self, step: &Step) -> bool {
        let (start, end) = (step.payload, step.payload + step.payload_8 * 8);
        let after = self.foreign.partition_point(|range| range.1 <= start);
        step.what & FOREIGN == 0 && self.foreign.get(after).is_none_or(|range| range.0 >= end)
    }

    /// Adds a step for the object last added; returns its number.
    pub(crate) fn step(
        &mut self,
        object: u32,
        class: usize,
        what: u32,
        traverse: Option<ffi::traverseproc>,
        print: u64,
        payload: (u64, u64),
    ) -> u32 {
        self.steps.push(Step {
            object,
            what,
            class,
            traverse,
            print,
            payload: payload.0,
            payload_8: (payload.1 - payload.0).div_ceil(8),
        });
        self.steps.len() as u32 - 1
    }

    /// Notes that `leaf`, of step `by`, holds the object at `address`; the step, or none where it is not that leaf's.
    pub(crate) fn held(&mut self, address: u64, leaf: &Bound<'_, PyAny>, by: u32) -> u32 {
        let at = leaf.as_ptr() as usize;
        let of = |step: &&Step| self.objects[step.object as usize].address == at as u64 && step.is_leaf();
        let Some(step) = self.steps.get(by as usize).filter(of) else {
            self.indirect = true;
            return NOBODY;
        };
        // SAFETY: the leaf is the caller's, and as large as its type said when the step was made.
        let mut words = (2..(step.what & BODY) as usize / 8).map(|word_at| unsafe { word(at, word_at * 8) });
        self.indirect |= !words.any(|found| found as u64 == address);
        by
    }

    /// Containers and leaves met, those that went included.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the walk was cut short and can go on.
    pub fn unfinished(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes this takes.
    pub fn memory_bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>()
            + self.objects.capacity() * size_of::<Object>()
            + self.pending.capacity() * 16
            + self.pieces.capacity() * 40
            + self.pieces.values().map(|pieces| pieces.capacity() * 16).sum::<usize>()
            + self.table.memory_bytes()
    }

    fn changes(&self, walk: &mut Walk, root: &Bound<'_, PyAny>) -> PyResult<Found> {
        if self
            .objects
            .first()
            .is_none_or(|first| first.address != root.as_ptr() as u64)
        {
            return Ok(Found::Anew);
        }
        let deadline = walk.deadline;
        let late = |at: usize| at % CLOCK_EVERY == CLOCK_EVERY - 1 && deadline.is_some_and(|end| Instant::now() > end);
        for (at, step) in self.steps.iter().enumerate() {
            if late(at) {
                return Ok(Found::Late);
            }
            let address = self.objects[step.object as usize].address as usize;
            if address == 0 {
                continue;
            }
            // SAFETY: alive: the root is the caller's, and every other step is referred to by one whose fingerprint, found to
            // be the same, contains its address. Its class is compared before anything behind the head is read.
            let same = unsafe { word(address, TYPE_AT) == step.class && step.print_now(address) == step.print };
            if !same {
                return self.from(at, walk, root.py(), &late);
            }
        }
        if self.pending.is_empty() {
            return Ok(Found::Same);
        }
        Ok(Found::Changes(Box::new(Changes {
            state: vec![State::Same; self.steps.len()],
            ..Changes::default()
        })))
    }

    /// What has changed from step `from` on, the first that has.
    fn from(&self, from: usize, walk: &mut Walk, py: Python<'_>, late: &dyn Fn(usize) -> bool) -> PyResult<Found> {
        if self.gone > self.objects.len() / 3 + 4096 {
            return Ok(Found::Anew);
        }
        let mut seen = Changes {
            state: vec![State::Same; self.steps.len()],
            ..Changes::default()
        };
        let mut next = from;
        for number in self.steps[from].object as usize..self.objects.len() {
            if late(number) {
                return Ok(Found::Late);
            }
            let object = self.objects[number];
            let step = self.steps.get(next).filter(|step| step.object as usize == number);
            let at = next;
            next += usize::from(step.is_some());
            if object.address == 0 {
                continue;
            }
            let holder = match seen.state.get(object.parent as usize) {
                None | Some(State::Same) => Some(object.parent),
                Some(State::Lost) => None,
                Some(State::Changed) => self.kept(object, step, walk, py, &mut seen)?,
            };
            let Some(holder) = holder else {
                if step.is_some_and(|step| step.is_leaf() && !self.can_go(step)) || object.body().is_none() {
                    return Ok(Found::Anew);
                }
                seen.lost.push(number as u32);
                if step.is_some() {
                    seen.state[at] = State::Lost;
                }
                continue;
            };
            if holder != object.parent {
                seen.moved.push((number as u32, holder));
            }
            let Some(step) = step else { continue };
            let address = object.address as usize;
            // SAFETY: alive: an unchanged step, or a changed one that has just been read, refers to it.
            unsafe {
                let same_class = word(address, TYPE_AT) == step.class;
                if same_class && step.print_now(address) == step.print {
                    continue;
                }
                let Some(traverse) = step.traverse.filter(|_| same_class) else {
                    // Another object, or an array with another buffer: what there was goes, what is there comes.
                    if number == 0 || object.body().is_none() || step.is_leaf() && !self.can_go(step) {
                        return Ok(Found::Anew);
                    }
                    seen.lost.push(number as u32);
                    seen.state[at] = State::Lost;
                    seen.again.push((object.address, holder));
                    continue;
                };
                seen.state[at] = State::Changed;
                seen.changed.push(at as u32);
                let before = seen.referents.len();
                let mut into = Collect {
                    to: &mut seen.referents,
                    step: at as u32,
                };
                refer(traverse, address, step.what, collect, (&raw mut into).cast());
                seen.refers(at as u32, before);
            }
        }
        if !seen.lost.is_empty() && !self.rescue(&mut seen, late) {
            return Ok(if self.indirect || !seen.rescued.is_empty() {
                Found::Anew
            } else {
                Found::Late
            });
        }
        Ok(Found::Changes(Box::new(seen)))
    }

    /// Which changed step refers to an object of one, if one does and the object is of the sort it was.
    fn kept(
        &self,
        object: Object,
        step: Option<&Step>,
        walk: &mut Walk,
        py: Python<'_>,
        seen: &mut Changes,
    ) -> PyResult<Option<u32>> {
        let Some(holder) = seen.holder(object.address, object.parent) else {
            return Ok(None);
        };
        // SAFETY: a container that has just been read refers to it, so it is alive.
        let class = unsafe { word(object.address as usize, TYPE_AT) };
        let same = match step {
            Some(step) => step.class == class,
            None => {
                let info = walk.info(py, class)?;
                let steps = info.steps();
                let extent = |walk: &mut Walk| walk.extent(py, object.address as *mut ffi::PyObject, info);
                !steps && info.kind != Kind::Skip && object.extent == packed(info.before, &extent(walk)?)
            }
        };
        if !same {
            // Another object has come in its place.
            seen.referents.push((object.address, holder));
        }
        Ok(same.then_some(holder))
    }

    /// Which lost objects something unchanged still refers to. `false`: the time was up, or only a new walk can tell (then
    /// something was rescued, or leaves hold what their bodies do not name).
    fn rescue(&self, seen: &mut Changes, late: &dyn Fn(usize) -> bool) -> bool {
        if self.indirect {
            return false;
        }
        let mut lost = AddressTable::with_room(seen.lost.len());
        for number in &seen.lost {
            lost.insert(self.objects[*number as usize].address, 0);
        }
        for (at, step) in self.steps.iter().enumerate() {
            if late(at) {
                seen.rescued.clear();
                return false;
            }
            let address = self.objects[step.object as usize].address as usize;
            if address == 0 || seen.state[at] == State::Lost {
                continue;
            }
            // SAFETY: alive: found so in this call, and nothing has run since that could drop a reference.
            unsafe {
                if let Some(traverse) = step.traverse {
                    let mut into = Look {
                        among: &lost,
                        to: &mut seen.rescued,
                        step: at as u32,
                    };
                    refer(traverse, address, step.what, look, (&raw mut into).cast());
                } else {
                    let mut words = (2..(step.what & BODY) as usize / 8).map(|at| word(address, at * 8));
                    if words.any(|found| lost.get(found as u64).is_some()) {
                        // A word of a leaf may be a reference or just look like one.
                        seen.rescued.push((0, 0));
                        return false;
                    }
                }
            }
        }
        true
    }
}

impl Walk {
    /// Brings what `root` reached up to date: compares every container, walks what came, forgets what went, and goes on where
    /// a walk was cut short. New leaves are in `out.leaves`.
    ///
    /// # Errors
    /// Only what asking a type for its attributes raises; `out` is not to be used any more then.
    pub fn mend(&mut self, root: &Bound<'_, PyAny>, out: &mut Reached) -> PyResult<Mended> {
        let found = without_collector(|| self.mend_all(root, out));
        self.forget_types();
        found
    }

    fn mend_all(&mut self, root: &Bound<'_, PyAny>, out: &mut Reached) -> PyResult<Mended> {
        let Some(mut trail) = out.trail.take() else {
            return Ok(Mended::Anew);
        };
        let changes = match trail.changes(self, root) {
            Ok(Found::Changes(changes)) => changes,
            other => {
                out.trail = Some(trail);
                return Ok(match other? {
                    Found::Same => Mended::Same,
                    Found::Late => Mended::Late,
                    _ => Mended::Anew,
                });
            }
        };
        self.seen = Arc::unwrap_or_clone(std::mem::take(&mut trail.table));
        self.skip();
        self.budget = self.budget.saturating_sub(out.objects);
        let py = root.py();
        let (mut went, mut stack) = (Vec::new(), Vec::new());
        // Pending objects whose referring step is as it was are alive; what changed steps refer to now is entered below.
        for (address, step) in std::mem::take(&mut trail.pending) {
            if changes
                .state
                .get(step as usize)
                .is_none_or(|state| *state == State::Same)
            {
                stack.push((address as *mut ffi::PyObject, step));
            }
        }
        for number in &changes.lost {
            let object = &mut trail.objects[*number as usize];
            went.extend(object.body());
            went.extend(trail.pieces.remove(number).unwrap_or_default());
            self.seen.remove(object.address);
            object.address = 0;
        }
        trail.gone += changes.lost.len();
        out.objects -= changes.lost.len() as u64;
        for (number, holder) in &changes.moved {
            trail.objects[*number as usize].parent = *holder;
        }
        for (at, state) in changes
            .state
            .iter()
            .enumerate()
            .filter(|(_, state)| **state != State::Same)
        {
            let step = &mut trail.steps[at];
            if step.payload != 0 {
                went.push((step.payload, step.payload + step.payload_8 * 8));
            }
            trail.left |= step.is_leaf();
            went.extend(trail.pieces.remove(&step.object).unwrap_or_default());
            if *state == State::Lost {
                (step.payload, step.payload_8) = (0, 0);
            }
        }
        subtract(&mut out.ranges, &mut went);
        out.sorted = out.ranges.len();
        for at in &changes.changed {
            let step = &mut trail.steps[*at as usize];
            let object = trail.objects[step.object as usize].address as *mut ffi::PyObject;
            let info = self.info(py, step.class)?;
            let Extent { payload, more, .. } = self.extent(py, object, info)?;
            (step.payload, step.payload_8) = (payload.0, (payload.1 - payload.0).div_ceil(8));
            out.ranges.extend(Some(payload).filter(|range| range.1 > range.0));
            if !more.is_empty() {
                out.ranges.extend_from_slice(&more);
                trail.pieces.insert(step.object, more);
            }
            // SAFETY: alive and of this class: it was read above, and nothing has run since that could drop a reference.
            step.print = unsafe { step.print_now(object as usize) };
        }
        let came = changes
            .referents
            .iter()
            .chain(&changes.rescued)
            .chain(&changes.again)
            .rev();
        stack.extend(
            came.filter(|(address, _)| *address != 0 && self.seen.get(*address).is_none())
                .map(|(address, step)| (*address as *mut ffi::PyObject, *step)),
        );
        out.trail = Some(trail);
        out.cut = false;
        self.run(py, stack, 0, out)?;
        Ok(Mended::Mended)
    }
}

struct Collect<'a> {
    to: &'a mut Vec<(u64, u32)>,
    step: u32,
}

extern "C" fn collect(object: *mut ffi::PyObject, into: *mut c_void) -> c_int {
    // SAFETY: `into` is the exclusive borrow passed to tp_traverse, handed through unchanged.
    let into = unsafe { &mut *into.cast::<Collect<'_>>() };
    into.to.push((object as u64, into.step));
    0
}

struct Look<'a> {
    among: &'a AddressTable,
    to: &'a mut Vec<(u64, u32)>,
    step: u32,
}

extern "C" fn look(object: *mut ffi::PyObject, into: *mut c_void) -> c_int {
    // SAFETY: as above.
    let into = unsafe { &mut *into.cast::<Look<'_>>() };
    if into.among.get(object as u64).is_some() {
        into.to.push((object as u64, into.step));
    }
    0
}

extern "C" fn fingerprint(object: *mut ffi::PyObject, into: *mut c_void) -> c_int {
    // SAFETY: as above.
    let print = unsafe { &mut *into.cast::<u64>() };
    *print = fold(*print, object as u64);
    0
}

/// Takes `went` out of `ranges`; both become sorted, and `ranges` were so and apart before.
fn subtract(ranges: &mut Vec<(u64, u64)>, went: &mut [(u64, u64)]) {
    if went.is_empty() {
        return;
    }
    went.sort_unstable();
    let mut out = Vec::with_capacity(ranges.len() + went.len());
    let mut next = 0;
    for &(mut start, end) in ranges.iter() {
        while next < went.len() && went[next].1 <= start {
            next += 1;
        }
        let mut at = next;
        while at < went.len() && went[at].0 < end {
            if went[at].0 > start {
                out.push((start, went[at].0));
            }
            start = start.max(went[at].1);
            at += 1;
        }
        if start < end {
            out.push((start, end));
        }
    }
    *ranges = out;
}

/// The words of a container that say where the rest of it is, mixed; 0 for others.
///
/// # Safety
/// A live object, of the sort that `what` says and of a verified layout.
pub(crate) unsafe fn head_print(address: usize, what: u32) -> u64 {
    let apart = (what >> APART_SHIFT) as usize;
    // SAFETY: the caller's promise.
    unsafe {
        let values = if apart > 0 { word(address - apart, 0) } else { 0 };
        let (first, second) = match Holds::of(what) {
            Holds::Items => (word(address, LIST_ITEMS_AT), word(address, LIST_ALLOCATED_AT)),
            Holds::Keys | Holds::Nodes => (word(address, DICT_KEYS_AT), word(address, SIZE_AT)),
            Holds::Entries => (word(address, SET_TABLE_AT), 0),
            Holds::Blocks => (word(address, DEQUE_LEFT_AT), word(address, DEQUE_RIGHT_AT)),
            Holds::Nothing | Holds::Bytes if apart == 0 => return 0,
            Holds::Nothing | Holds::Bytes => (0, 0),
        };
        fold(fold(first as u64, second as u64), values as u64)
    }
}

/// All words of a leaf behind its count and type, mixed: an array's address and base among them, and its lengths.
///
/// # Safety
/// A live object of at least as many bytes as `what` says; one of NumPy's arrays, of a verified layout, where so said.
pub(crate) unsafe fn body_print(address: usize, what: u32) -> u64 {
    // SAFETY: the caller's promise.
    let body = |at: usize| unsafe { word(address, at) };
    let print = (2..(what & BODY) as usize / 8).fold(1, |print, at| fold(print, body(at * 8) as u64));
    if what < WITH_LENGTHS {
        return print;
    }
    let (count, lengths) = (body(ARRAY_DIMENSIONS_AT) as u32 as usize, body(ARRAY_LENGTHS_AT));
    // SAFETY: a live array's lengths, as many as it has dimensions.
    (0..count.min(ARRAY_DIMENSIONS_MAX)).fold(print, |print, at| fold(print, unsafe { word(lengths, at * 8) } as u64))
}

pub(crate) fn fold(print: u64, word: u64) -> u64 {
    let mixed = (print.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_taken_out_and_nothing_else() {
        let mut ranges = vec![(0, 100), (200, 300), (400, 500)];
        subtract(
            &mut ranges,
            &mut [(450, 460), (10, 20), (90, 210), (300, 400), (20, 30), (495, 600)],
        );
        assert_eq!(ranges, [(0, 10), (30, 90), (210, 300), (400, 450), (460, 495)]);
    }
}
