//! What the pickler of groups asks of each object it meets, answered here where the type alone says it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use larder_cpython::arrays;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};
use rustc_hash::{FxHashMap, FxHashSet};

/// How objects of a type are reduced.
#[derive(Clone, Copy)]
enum How {
    /// As pickle does.
    AsItSays,
    /// As pickle does, and the state is put back by ours if it is the object's `__dict__`.
    Instance,
    /// An array: as pickle does, if its memory is its own.
    Array,
    /// Python is asked each time.
    Asked,
}

/// Stands for `reducer_override` of one pickler while it works; says what that would say.
///
/// `asked` is that method. It notes in `kinds` what it found out about a type; `ways` are the three answers of these that stand for
/// a [`How`], in its order.
#[pyclass(frozen, module = "larder._larder")]
struct Reducer {
    asked: Py<PyAny>,
    kinds: Py<PyDict>,
    ways: (Py<PyAny>, Py<PyAny>, Py<PyAny>),
    /// Objects that only Python says how to reduce, by address.
    apart: FxHashSet<usize>,
    /// Puts the state of an instance back.
    state: Py<PyAny>,
    /// Addresses of arrays that are not reduced for what they are: `_frames` and `_fresh`.
    others: (Py<PySet>, Py<PySet>),
    /// Makes a span of a tuple; where they and their arrays are noted.
    span: Py<PyAny>,
    noted: (Py<PyList>, Py<PyList>),
    name: Py<PyAny>,
    /// By the addresses of types, which `kinds` holds.
    known: Mutex<FxHashMap<usize, How>>,
}

#[pymethods]
impl Reducer {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        asked: Py<PyAny>,
        kinds: Py<PyDict>,
        ways: (Py<PyAny>, Py<PyAny>, Py<PyAny>),
        apart: &Bound<'_, PyDict>,
        state: Py<PyAny>,
        others: (Py<PySet>, Py<PySet>),
        span: Py<PyAny>,
        noted: (Py<PyList>, Py<PyList>),
        name: Py<PyAny>,
    ) -> PyResult<Reducer> {
        let apart = apart.keys().iter().map(|key| key.extract()).collect::<PyResult<_>>()?;
        let known = Mutex::default();
        Ok(Reducer {
            asked,
            kinds,
            ways,
            apart,
            state,
            others,
            span,
            noted,
            name,
            known,
        })
    }

    fn __call__<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let at = object.as_ptr() as usize;
        let class = object.get_type_ptr() as usize;
        if self.apart.contains(&at) {
            return self.asked.bind(py).call1((object,));
        }
        let known = self.known().get(&class).copied();
        match known {
            Some(How::AsItSays) => return Ok(py.NotImplemented().into_bound(py)),
            Some(How::Instance) => return self.instance(object),
            Some(How::Array) if self.array(object)? => return Ok(py.NotImplemented().into_bound(py)),
            _ => {}
        }
        let reduced = self.asked.bind(py).call1((object,))?;
        if known.is_none()
            && let Some(found) = self.kinds.bind(py).get_item(object.get_type())?
        {
            let (as_it_says, instance, array) = &self.ways;
            let how = match &found {
                found if found.is(as_it_says) => How::AsItSays,
                found if found.is(instance) => How::Instance,
                found if found.is(array) => How::Array,
                _ => How::Asked,
            };
            self.known().insert(class, how);
        }
        Ok(reduced)
    }
}

impl Reducer {
    fn known(&self) -> MutexGuard<'_, FxHashMap<usize, How>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let reduced = object.call_method1(intern!(py, "__reduce_ex__"), (5,))?;
        let Ok(parts) = reduced.cast_exact::<PyTuple>() else {
            return Ok(reduced);
        };
        let part = |at: usize| parts.get_item(at).unwrap_or_else(|_| py.None().into_bound(py));
        if parts.len() > 2 && part(2).is(object.getattr(intern!(py, "__dict__"))?) {
            let state = self.state.bind(py).clone();
            return Ok(PyTuple::new(py, [part(0), part(1), part(2), part(3), part(4), state])?.into_any());
        }
        Ok(reduced)
    }

    /// Notes where an array's own memory is; false if that is not all there is to say.
    fn array(&self, array: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (py, at) = (array.py(), array.as_ptr() as usize);
        for others in [&self.others.0, &self.others.1] {
            let others = others.bind(py);
            if !others.is_empty() && others.contains(at)? {
                return Ok(false);
            }
        }
        let Some((low, high)) = arrays::own(array)? else {
            return Ok(false);
        };
        let span = self.span.bind(py).call1(((low, high, at, false, at, &self.name),))?;
        self.noted.0.bind(py).append(span)?;
        self.noted.1.bind(py).append(array)?;
        Ok(true)
    }
}

/// The addresses of a dictionary and of whose it is, the name of the type of that, and whether both were met.
type Owned<'py> = (usize, usize, Bound<'py, PyAny>, bool);

/// Of the objects in `memo`, by address, those that `has` says of the type to have a `__dict__` and a pickle of their own: the
/// address of that dictionary, theirs, the type's name, and whether the dictionary is in `memo` too.
#[pyfunction]
fn own_dicts<'py>(memo: &Bound<'py, PyDict>, has: &Bound<'py, PyAny>) -> PyResult<Vec<Owned<'py>>> {
    let py = memo.py();
    let mut kinds: FxHashMap<usize, bool> = FxHashMap::default();
    let mut parts = Vec::new();
    for (key, part) in memo {
        let class = part.get_type_ptr() as usize;
        let one = match kinds.get(&class) {
            Some(one) => *one,
            None => {
                let one = has.call1((part.get_type(),))?.is_truthy()?;
                kinds.insert(class, one);
                one
            }
        };
        if one {
            parts.push((key, part));
        }
    }
    let mut found = Vec::new();
    for (key, part) in parts {
        let Some(dict) = part.getattr_opt(intern!(py, "__dict__"))? else {
            continue;
        };
        if dict.is_exact_instance_of::<PyDict>() {
            let at = dict.as_ptr() as usize;
            let name = part.get_type().getattr(intern!(py, "__name__"))?;
            found.push((at, key.extract()?, name, memo.contains(at)?));
        }
    }
    Ok(found)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(own_dicts, module)?)?;
    module.add_class::<Reducer>()
}
