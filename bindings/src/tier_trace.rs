//! The live trace kept from cell to cell: what each variable reaches, walked again only when it has changed.
//!
//! Python drives it, one variable at a time: `holds` asks whether the record is still true, `begin`, `enter`, `buffer`
//! and `finish` make a new one. Temperatures of single objects live here too, beside the objects they belong to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_cpython::heat_live::{Layout, Reached, Trail, Walk};
use larder_tier::heat;
use larder_tier::os::sampler::Tracked;
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

#[pyclass]
pub struct TierTrace {
    records: Vec<Record>,
    making: Option<(Walk, Record)>,
    refused: Option<String>,
    /// Decayed seconds of looking at frames.
    seconds: f64,
    changed: bool,
    tracked: Arc<Tracked>,
}

#[pymethods]
impl TierTrace {
    #[new]
    fn new(py: Python<'_>) -> PyResult<TierTrace> {
        Ok(TierTrace {
            records: Vec::new(),
            making: None,
            refused: Layout::verify(py)?.err(),
            seconds: 0.0,
            changed: true,
            tracked: Arc::default(),
        })
    }

    /// Why objects are not walked on this interpreter; `None` when they are.
    #[getter]
    fn refused(&self) -> Option<String> {
        self.refused.clone()
    }

    /// Whether the record of `name` is still what a walk from `root` would find; `None` when `budget_s` was too short
    /// to tell. `False` without a record, or where changes would not show.
    fn holds(&self, name: &str, root: &Bound<'_, PyAny>, budget_s: f64) -> Option<bool> {
        match self.records.iter().find(|record| record.name == name) {
            Some(record) if !record.restless && !record.reached.cut => record
                .trail()
                .holds(root, Instant::now() + Duration::from_secs_f64(budget_s.clamp(0.0, 1e6))),
            _ => Some(false),
        }
    }

    /// Begins a new record of `name`; the old one stays until `finish`.
    #[allow(clippy::too_many_arguments)]
    fn begin(
        &mut self,
        py: Python<'_>,
        name: String,
        skip: Vec<usize>,
        leaf_types: Vec<Py<PyAny>>,
        own_types: Vec<Py<PyAny>>,
        skip_types: Vec<Py<PyAny>>,
        objects_max: u64,
        budget_s: f64,
    ) -> PyResult<()> {
        let proof = Layout::verify(py)?.map_err(PyRuntimeError::new_err)?;
        let mut walk = Walk::new(proof, &skip, leaf_types, own_types, skip_types, objects_max);
        walk.until(Instant::now() + Duration::from_secs_f64(budget_s.clamp(0.0, 1e6)));
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
        self.making = Some((walk, record));
        Ok(())
    }

    /// Walks from `root` for the record begun; returns the leaves met, for Python to resolve.
    fn enter(&mut self, root: &Bound<'_, PyAny>) -> PyResult<Vec<Py<PyAny>>> {
        let Some((walk, record)) = self.making.as_mut() else {
            return Err(PyRuntimeError::new_err("begin() comes before enter()"));
        };
        walk.enter(root, 0, &mut record.reached)?;
        Ok(std::mem::take(&mut record.reached.leaves))
    }

    /// Adds payload bytes to the record begun.
    fn buffer(&mut self, start: u64, bytes: u64) {
        if let Some((_, record)) = self.making.as_mut().filter(|_| bytes > 0) {
            record.buffers.push((start, start.saturating_add(bytes)));
        }
    }

    /// The record begun takes the place of the old one; temperatures of objects found in both are kept. `False`: it was cut
    /// short, and the old one says more, so that stays.
    fn finish(&mut self, restless: bool) -> PyResult<bool> {
        let Some((_, mut record)) = self.making.take() else {
            return Err(PyRuntimeError::new_err("begin() comes before finish()"));
        };
        record.restless = restless;
        let old = self.records.iter().find(|old| old.name == record.name);
        if record.reached.cut && old.is_some_and(|old| old.reached.objects > record.reached.objects) {
            return Ok(false);
        }
        ranges::normalise(&mut record.buffers);
        record.reached.ranges.extend_from_slice(&record.buffers);
        ranges::normalise(&mut record.reached.ranges);
        self.changed = true;
        match self.records.iter_mut().find(|old| old.name == record.name) {
            Some(old) => {
                if !old.touches.is_empty() {
                    let known: HashMap<u64, f32> = old
                        .trail()
                        .objects
                        .iter()
                        .zip(&old.touches)
                        .filter(|(_, touches)| **touches > 0.0)
                        .map(|(object, touches)| (object.0, *touches))
                        .collect();
                    let now = &record.trail().objects;
                    record.touches = now.iter().map(|at| known.get(&at.0).copied().unwrap_or(0.0)).collect();
                }
                *old = record;
            }
            None => self.records.push(record),
        }
        Ok(true)
    }

    /// Forgets every variable that is not named.
    fn keep(&mut self, names: Vec<String>) {
        let before = self.records.len();
        self.records.retain(|record| names.contains(&record.name));
        self.changed |= self.records.len() != before;
    }

    /// The first `count_max` objects of all variables, ready to be looked for in frames.
    fn tracked(&mut self, py: Python<'_>, count_max: usize) -> TierTracked {
        if self.changed {
            let mut all: Vec<u64> = Vec::new();
            for record in &mut self.records {
                record.first = all.len();
                let objects = &record.trail().objects;
                let room = count_max.saturating_sub(all.len()).min(objects.len());
                all.extend(objects[..room].iter().map(|object| object.0));
            }
            self.tracked = py.detach(|| Arc::new(Tracked::new(&all)));
            self.changed = false;
        }
        TierTracked {
            table: Arc::clone(&self.tracked),
        }
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
        if record.touches.is_empty() || self.seconds <= 0.0 {
            return Ok(objects.iter().map(|object| (object.0, 0.0)).collect());
        }
        Ok(py.detach(|| {
            let roots = record.trail().len() as u32;
            let touches: Vec<f64> = record.touches.iter().map(|touches| f64::from(*touches)).collect();
            let group: Vec<u32> = objects.iter().map(|object| object.1.min(roots)).collect();
            let shrunk = heat::shrink(&touches, &group);
            objects
                .iter()
                .zip(shrunk)
                .map(|(object, touches)| (object.0, touches / self.seconds))
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
        let records: usize = self
            .records
            .iter()
            .map(|record| {
                let ranges = record.reached.ranges.capacity() + record.buffers.capacity();
                record.trail().memory_bytes() + ranges * size_of::<Range>() + record.touches.capacity() * 4
            })
            .sum();
        records + self.tracked.memory_bytes()
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
