//! What the end of each cell asks for, each in one call: which variables there are, and whether settings are what they were.

use larder_cpython::body::{Seen, some};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString};

/// What some objects held when they were looked at last.
#[pyclass(module = "larder._larder")]
#[derive(Default)]
struct Contents {
    seen: Vec<Seen>,
}

#[pymethods]
impl Contents {
    #[new]
    fn new() -> Contents {
        Contents::default()
    }

    /// The places of those that hold, or are, something else than at the last call, and of those that are new. A tuple stands
    /// for what is in it. Lists and dictionaries are looked into, and those in them; of others the memory is compared, if it is
    /// of a fixed size.
    fn differ<'py>(&mut self, objects: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        let differ = PyList::empty(objects.py());
        for (at, object) in objects.iter().enumerate() {
            match self.seen.get_mut(at) {
                Some(seen) if seen.same(&object) => continue,
                Some(seen) => *seen = Seen::of(&object)?,
                None => self.seen.push(Seen::of(&object)?),
            }
            differ.append(at)?;
        }
        Ok(differ)
    }
}

/// Whether a name of the namespace is a variable of the notebook.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    No,
    Yes,
    /// If it is bound to something else than what hides it.
    Hidden,
}

/// Tells the notebook's own variables from what else its namespace has.
#[pyclass(module = "larder._larder")]
struct Variables {
    hidden: Py<PySet>,
    module: Py<PyAny>,
    /// By the place in the namespace: the name that was there the last time, and what was said of it.
    known: Vec<(Py<PyAny>, Says)>,
    excluded: usize,
}

#[pymethods]
impl Variables {
    /// Names in `hidden` are the notebook's only if they are bound to something else than the shell has them hidden for.
    #[new]
    fn new(py: Python<'_>, hidden: Py<PySet>) -> PyResult<Variables> {
        Ok(Variables {
            hidden,
            module: py.import("types")?.getattr("ModuleType")?.unbind(),
            known: Vec::new(),
            excluded: 0,
        })
    }

    /// `(variables, modules)` of a namespace: the variables that are no modules, and the names of the others'. `hidden` is what the
    /// shell hides, name -> value; names are only ever added to `excluded`.
    fn split<'py>(
        &mut self,
        space: &Bound<'py, PyDict>,
        hidden: &Bound<'py, PyDict>,
        excluded: &Bound<'py, PySet>,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyDict>)> {
        let py = space.py();
        if excluded.len() != self.excluded {
            self.known.clear();
            self.excluded = excluded.len();
        }
        let found = some(space, |at, key| self.said(at, key) != Some(Says::No));
        let (values, modules, module) = (PyDict::new(py), PyDict::new(py), self.module.clone_ref(py));
        for (at, name, value) in found {
            let says = match self.said(at, name.as_ptr() as usize) {
                Some(says) => says,
                None => {
                    let says = self.say(&name, excluded)?;
                    if at < self.known.len() {
                        self.known[at] = (name.clone().unbind(), says);
                    } else if at == self.known.len() {
                        self.known.push((name.clone().unbind(), says));
                    }
                    says
                }
            };
            let one = match says {
                Says::No => false,
                Says::Yes => true,
                Says::Hidden => hidden.get_item(&name)?.is_none_or(|hides| !hides.is(&value)),
            };
            if !one {
                continue;
            }
            if value.is_instance(module.bind(py))? {
                modules.set_item(name, value.getattr("__name__")?)?;
            } else {
                values.set_item(name, value)?;
            }
        }
        Ok((values, modules))
    }
}

impl Variables {
    /// What was said of the name at this place and address.
    fn said(&self, at: usize, name: usize) -> Option<Says> {
        let known = self.known.get(at).filter(|one| one.0.as_ptr() as usize == name);
        known.map(|one| one.1)
    }

    fn say(&self, name: &Bound<'_, PyAny>, excluded: &Bound<'_, PySet>) -> PyResult<Says> {
        let Ok(text) = name.cast::<PyString>() else {
            return Ok(Says::No);
        };
        let text = text.to_string_lossy();
        if text.starts_with('_') || text.contains('\0') || excluded.contains(name)? {
            return Ok(Says::No);
        }
        Ok(match self.hidden.bind(name.py()).contains(name)? {
            true if text == "In" || text == "Out" => Says::No,
            true => Says::Hidden,
            false => Says::Yes,
        })
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Contents>()?;
    module.add_class::<Variables>()
}
