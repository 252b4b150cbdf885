//! The live trace kept from cell to cell: what each variable reaches, walked again only when it has changed.
//!
//! Python drives it, one variable at a time: `mend` brings a record up to date or says that it takes a new walk, which
//! `begin` begins; `enter` and `buffer` add what leaves hold, and `finish` ends either. Temperatures of single objects live
//! here too, beside the objects they belong to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_cpython::heat_live::{Layout, Reached, Walk};
use larder_cpython::heat_table::AddressTable;
use larder_cpython::heat_trail::{Mended, Trail};
use larder_tier::heat;
use larder_tier::os::sampler::Known;
use larder_tier::ranges::{self, Range};
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::tier::{TierSurvey, TierTracked};

/// What is known of one variable.
struct Record {
    name: String,
    reached: Reached,
    buffers: Vec<Range>,
    /// Something in it changes without showing: it is walked every time.
    restless: bool,
    /// Decayed times each object of the trail came onto a stack; empty while none has.
    touches: Vec<f32>,
    /// Where its objects begin among those tracked.
    first: usize,
}

impl Record {
    fn trail(&self) -> &Trail {
        static NONE: std::sync::OnceLock<Trail> = std::sync::OnceLock::new();
        self.reached
            .trail
            .as_ref()
            .unwrap_or_else(|| NONE.get_or_init(Trail::default))
    }
}

/// Objects of fewer than this share a table that is made anew when one of them has changed.
const SMALL: usize = 1024;

/// Tables of many variables as one.
#[derive(Default)]
pub(crate) struct Parts {
    small: AddressTable,
    /// `(first number, how many numbers, table)`.
    large: Vec<(usize, usize, Arc<AddressTable>)>,
    count: usize,
}

impl Parts {
    /// Object `i` of `addresses` has number `i`; of two equal addresses the later counts.
    pub(crate) fn of(addresses: &[u64]) -> Parts {
        let mut made = Parts::default();
        made.add(addresses.iter().copied());
        made
    }

    fn add(&mut self, addresses: impl Iterator<Item = u64>) {
        for address in addresses {
            self.small.insert(address, self.count as u32);
            self.count += 1;
        }
    }
}

impl Known for Parts {
    fn find(&self, address: u64) -> Option<usize> {
        if let Some(number) = self.small.get(address) {
            return Some(number as usize);
        }
        self.large.iter().find_map(|(first, count, table)| {
            let number = table.get(address)? as usize;
            (number < *count).then(|| first + number)
        })
    }

    fn count(&self) -> usize {
        self.count
    }
}

/// A leaf and its step.
type Leaf = (Py<PyAny>, u32);

/// A record being made or brought up to date.
struct Making {
    walk: Walk,
    record: Record,
    /// Where among the records it was and goes back to.
    place: Option<usize>,
}

/// How to walk: addresses to skip, types of leaves, of what has a buffer of its own and of what is skipped, the most objects,
/// seconds.
#[derive(FromPyObject)]
struct Rules(Vec<usize>, Vec<Py<PyAny>>, Vec<Py<PyAny>>, Vec<Py<PyAny>>, u64, f64);

impl Rules {
    fn walk(self, py: Python<'_>) -> PyResult<Walk> {
        let Rules(skip, leaf_types, own_types, skip_types, objects_max, budget_s) = self;
        let proof = Layout::verify(py)?.map_err(PyRuntimeError::new_err)?;
        let mut walk = Walk::new(proof, &skip, leaf_types, own_types, skip_types, objects_max);
        walk.until(Instant::now() + Duration::from_secs_f64(budget_s.clamp(0.0, 1e6)));
        Ok(walk)
    }
}

#[pyclass]
pub struct TierTrace {
    records: Vec<Record>,
    /// Records that replace older ones once they are whole.
    growing: Vec<Record>,
    making: Option<Making>,
    refused: Option<String>,
    /// Decayed seconds of looking at frames.
    seconds: f64,
    changed: bool,
    tracked: Option<Arc<Parts>>,
}

#[pymethods]
impl TierTrace {
    #[new]
    fn new(py: Python<'_>) -> PyResult<TierTrace> {
        Ok(TierTrace {
            records: Vec::new(),
            growing: Vec::new(),
            making: None,
            refused: Layout::verify(py)?.err(),
            seconds: 0.0,
            changed: true,
            tracked: None,
        })
    }

    /// Why objects are not walked on this interpreter; `None` when they are.
    #[getter]
    fn refused(&self) -> Option<String> {
        self.refused.clone()
    }

    /// Brings the record of `name` up to date: `same`, `mended` (with the new leaves, for Python to resolve; then `finish`),
    /// `late` (the time was too short; nothing has changed), or `anew` (it takes a new walk).
    fn mend(
        &mut self,
        py: Python<'_>,
        name: &str,
        root: &Bound<'_, PyAny>,
        rules: Rules,
    ) -> PyResult<(&'static str, Vec<Leaf>)> {
        let grows = self.growing.iter().any(|record| record.name == name);
        let from = if grows { &mut self.growing } else { &mut self.records };
        let known = from.iter().position(|record| record.name == name);
        let Some(at) =
            known.filter(|at| !from[*at].restless && (!from[*at].reached.cut || from[*at].trail().unfinished()))
        else {
            return Ok(("anew", Vec::new()));
        };
        let mut walk = rules.walk(py)?;
        // Nobody else holds the table while it changes.
        self.tracked = None;
        match walk.mend(root, &mut from[at].reached) {
            Ok(Mended::Same) => Ok(("same", Vec::new())),
            Ok(Mended::Late) => Ok(("late", Vec::new())),
            Ok(Mended::Anew) => {
                self.growing.retain(|record| record.name != name);
                Ok(("anew", Vec::new()))
            }
            Ok(Mended::Mended) => {
                let mut record = from.remove(at);
                let leaves = std::mem::take(&mut record.reached.leaves);
                self.making = Some(Making {
                    walk,
                    record,
                    place: (!grows).then_some(at),
                });
                self.changed = true;
                Ok(("mended", leaves))
            }
            Err(error) => {
                from.remove(at);
                self.changed = true;
                Err(error)
            }
        }
    }

    /// Begins a new record of `name`; the old one stays until `finish`.
    fn begin(&mut self, py: Python<'_>, name: String, rules: Rules) -> PyResult<()> {
        let walk = rules.walk(py)?;
        self.growing.retain(|record| record.name != name);
        let record = Record {
            name,
            reached: Reached {
                trail: Some(Trail::default()),
                ..Reached::default()
            },
            buffers: Vec::new(),
            restless: false,
            touches: Vec::new(),
            first: 0,
        };
        self.making = Some(Making {
            walk,
            record,
            place: None,
        });
        Ok(())
    }

    /// Walks from `root` for the record begun, held by the leaf given with its step; returns the leaves met, with their
    /// steps, for Python to resolve.
    #[pyo3(signature = (root, held_by=None))]
    fn enter(&mut self, root: &Bound<'_, PyAny>, held_by: Option<(Bound<'_, PyAny>, u32)>) -> PyResult<Vec<Leaf>> {
        let Some(Making { walk, record, .. }) = self.making.as_mut() else {
            return Err(PyRuntimeError::new_err("begin() or mend() comes before enter()"));
        };
        let held_by = held_by.as_ref().map(|(leaf, step)| (leaf, *step));
        walk.enter(root, 0, held_by, &mut record.reached)?;
        Ok(std::mem::take(&mut record.reached.leaves))
    }

    /// Adds payload bytes to the record begun, which the leaf of `step` shows; `own` if nothing else does.
    fn buffer(&mut self, step: u32, start: u64, bytes: u64, own: bool) {
        if let Some(making) = self.making.as_mut().filter(|_| bytes > 0) {
            let range = (start, start.saturating_add(bytes));
            making.record.buffers.push(range);
            let reached = &mut making.record.reached;
            reached.ranges.push(range);
            reached.trail.get_or_insert_default().shows(step, range, own);
        }
    }

    /// The record begun takes the place of the old one; temperatures of objects found in both are kept. `False`: the time was
    /// up before it was whole. While the old one says more, that stays, and the new one goes on growing.
    fn finish(&mut self, restless: bool) -> PyResult<bool> {
        let Some(Making {
            walk,
            mut record,
            place,
        }) = self.making.take()
        else {
            return Err(PyRuntimeError::new_err("begin() or mend() comes before finish()"));
        };
        let full = walk.is_full();
        walk.end(&mut record.reached);
        record.restless |= restless;
        record.buffers = record
            .reached
            .trail
            .as_mut()
            .and_then(Trail::buffers_left)
            .unwrap_or(record.buffers);
        ranges::normalise(&mut record.buffers);
        ranges::normalise_tail(&mut record.reached.ranges, record.reached.sorted);
        if !record.touches.is_empty() {
            let objects = &record.reached.trail.get_or_insert_default().objects;
            record.touches.resize(objects.len(), 0.0);
            for (touches, _) in record
                .touches
                .iter_mut()
                .zip(objects)
                .filter(|(_, object)| object.address == 0)
            {
                *touches = 0.0;
            }
        }
        let (cut, objects) = (record.reached.cut, record.reached.objects);
        let Some(old) = self.records.iter_mut().find(|old| old.name == record.name) else {
            self.records
                .insert(place.unwrap_or(self.records.len()).min(self.records.len()), record);
            self.changed = true;
            return Ok(!cut || full);
        };
        if cut && old.reached.objects > objects {
            if !record.restless {
                self.growing.push(record);
            }
            return Ok(false);
        }
        if !old.touches.is_empty() {
            let known: HashMap<u64, f32> = old
                .trail()
                .objects
                .iter()
                .zip(&old.touches)
                .filter(|(_, touches)| **touches > 0.0)
                .map(|(object, touches)| (object.address, *touches))
                .collect();
            let now = &record.trail().objects;
            record.touches = now
                .iter()
                .map(|at| known.get(&at.address).copied().unwrap_or(0.0))
                .collect();
        }
        *old = record;
        self.changed = true;
        Ok(!cut || full)
    }

    /// Whether a walk of `name` was cut short and can go on with `mend`.
    fn goes_on(&self, name: &str) -> bool {
        let all = self.growing.iter().chain(&self.records);
        all.filter(|record| record.name == name)
            .any(|record| !record.restless && record.trail().unfinished())
    }

    /// Forgets every variable that is not named.
    fn keep(&mut self, names: Vec<String>) {
        let before = self.records.len();
        self.records.retain(|record| names.contains(&record.name));
        self.growing.retain(|record| names.contains(&record.name));
        self.changed |= self.records.len() != before;
    }

    /// The first `count_max` objects of all variables, ready to be looked for in frames.
    fn tracked(&mut self, count_max: usize) -> TierTracked {
        let known = self.tracked.take().filter(|_| !self.changed);
        let parts = known.unwrap_or_else(|| {
            let mut parts = Parts::default();
            for record in &mut self.records {
                record.first = parts.count;
                let trail = record.reached.trail.get_or_insert_default();
                let room = count_max.saturating_sub(parts.count).min(trail.objects.len());
                if room < SMALL {
                    parts.add(trail.objects[..room].iter().map(|object| object.address));
                } else {
                    parts.large.push((parts.count, room, Arc::clone(&trail.table)));
                    parts.count += room;
                }
            }
            Arc::new(parts)
        });
        self.changed = false;
        self.tracked = Some(Arc::clone(&parts));
        TierTracked { table: parts }
    }

    /// Folds one run in: what was seen of the objects tracked since, over `seconds` of looking. Returns per name the
    /// times any of its objects was seen in this run.
    fn fold(&mut self, touched: Vec<(usize, u32)>, seconds: f64, half_life_s: f64) -> HashMap<String, u64> {
        let keep = if seconds > 0.0 {
            (-seconds / half_life_s).exp2()
        } else {
            1.0
        };
        self.seconds = self.seconds * keep + seconds;
        let mut seen = HashMap::new();
        let mut from = 0;
        for record in &mut self.records {
            let last = record.first + record.trail().objects.len();
            let mine = touched[from..].iter().take_while(|touch| touch.0 < last).count();
            for value in &mut record.touches {
                *value *= keep as f32;
            }
            if mine > 0 {
                let count = record.trail().objects.len();
                record.touches.resize(count, 0.0);
                for (number, times) in &touched[from..from + mine] {
                    record.touches[number - record.first] += *times as f32;
                }
                let sum: u64 = touched[from..from + mine].iter().map(|touch| u64::from(touch.1)).sum();
                seen.insert(record.name.clone(), sum);
            }
            from += mine;
        }
        seen
    }

    /// `(address, times a second)` of each object of `name`, shrunk toward the mean of what refers to it.
    fn temperatures(&self, py: Python<'_>, name: &str) -> PyResult<Vec<(u64, f64)>> {
        let record = self.record(name)?;
        let objects = &record.trail().objects;
        let here = objects.iter().filter(|object| object.address != 0);
        if record.touches.is_empty() || self.seconds <= 0.0 {
            return Ok(here.map(|object| (object.address, 0.0)).collect());
        }
        Ok(py.detach(|| {
            let roots = record.trail().len() as u32;
            let known = || {
                objects
                    .iter()
                    .zip(&record.touches)
                    .filter(|(object, _)| object.address != 0)
            };
            let touches: Vec<f64> = known().map(|(_, touches)| f64::from(*touches)).collect();
            let group: Vec<u32> = known().map(|(object, _)| object.parent.min(roots)).collect();
            let shrunk = heat::shrink(&touches, &group);
            known()
                .zip(shrunk)
                .map(|((object, _), touches)| (object.address, touches / self.seconds))
                .collect()
        }))
    }

    /// `(start, end)` of the bytes `name` reaches, sorted; with `payload`, of its buffers only.
    fn ranges(&self, name: &str, payload: bool) -> PyResult<Vec<Range>> {
        let record = self.record(name)?;
        Ok(if payload {
            record.buffers.clone()
        } else {
            record.reached.ranges.clone()
        })
    }

    /// `{objects, containers, cut, restless}` of one record.
    fn about<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        let record = self.record(name)?;
        let out = PyDict::new(py);
        out.set_item("objects", record.reached.objects)?;
        out.set_item("containers", record.trail().len())?;
        out.set_item("cut", record.reached.cut)?;
        out.set_item("restless", record.restless)?;
        Ok(out)
    }

    fn names(&self) -> Vec<String> {
        self.records.iter().map(|record| record.name.clone()).collect()
    }

    /// The records as a survey, variables numbered as named.
    fn survey(&self, names: Vec<String>) -> PyResult<TierSurvey> {
        let mut parts = Vec::with_capacity(names.len());
        for name in &names {
            let record = self.record(name)?;
            let reached = Reached {
                ranges: record.reached.ranges.clone(),
                objects: record.reached.objects,
                cut: record.reached.cut,
                ..Reached::default()
            };
            parts.push((reached, record.buffers.clone()));
        }
        Ok(TierSurvey::of(parts, self.refused.clone()))
    }

    /// Bytes the records take.
    fn memory_bytes(&self) -> usize {
        let records = self.records.iter().chain(&self.growing).map(|record| {
            let ranges = record.reached.ranges.capacity() + record.buffers.capacity();
            record.trail().memory_bytes() + ranges * size_of::<Range>() + record.touches.capacity() * 4
        });
        records.sum::<usize>() + self.tracked.as_ref().map_or(0, |parts| parts.small.memory_bytes())
    }
}

impl TierTrace {
    fn record(&self, name: &str) -> PyResult<&Record> {
        self.records
            .iter()
            .find(|record| record.name == name)
            .ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }
}
