//! Scalars of NumPy: which types there are, and where their objects have the number.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use crate::object::load;

/// Where an object has it, behind its count and type.
const NUMBER: usize = 16;

#[derive(Clone, Copy)]
enum Sort {
    Bool,
    Signed(usize),
    Unsigned(usize),
    Float,
}

pub(super) enum Value {
    Bool(bool),
    /// Of 64 bits with or without a sign.
    Int(i128),
    Float(f64),
}

struct Scalar {
    /// Held for good: nobody lets go of NumPy.
    kind: Py<PyType>,
    name: Box<[u8]>,
    sort: Sort,
}

/// Those of the NumPy that is imported.
#[derive(Default)]
pub(super) struct Scalars(Vec<Scalar>);

const CODES: [(&str, Sort); 12] = [
    ("d", Sort::Float),
    ("q", Sort::Signed(8)),
    ("l", Sort::Signed(8)),
    ("?", Sort::Bool),
    ("i", Sort::Signed(4)),
    ("h", Sort::Signed(2)),
    ("b", Sort::Signed(1)),
    ("B", Sort::Unsigned(1)),
    ("H", Sort::Unsigned(2)),
    ("I", Sort::Unsigned(4)),
    ("L", Sort::Unsigned(8)),
    ("Q", Sort::Unsigned(8)),
];

impl Scalars {
    /// Learns the types, once NumPy is there.
    pub(super) fn look(&mut self, py: Python<'_>) {
        if self.0.is_empty()
            && let Ok(found) = types(py)
        {
            self.0 = found;
        }
    }

    pub(super) fn of(&self, kind: usize) -> Option<usize> {
        self.0.iter().position(|one| one.kind.as_ptr() as usize == kind)
    }

    pub(super) fn name(&self, which: usize) -> (usize, &[u8]) {
        (self.0[which].kind.as_ptr() as usize, &self.0[which].name)
    }

    /// # Safety
    /// A live object of that type.
    pub(super) unsafe fn value(&self, at: usize, which: usize) -> Value {
        // SAFETY: its memory was seen to be so laid out when the type was met.
        unsafe {
            match self.0[which].sort {
                Sort::Bool => Value::Bool(load::<u8>(at, NUMBER) != 0),
                Sort::Float => Value::Float(load(at, NUMBER)),
                Sort::Signed(1) => Value::Int(load::<i8>(at, NUMBER).into()),
                Sort::Signed(2) => Value::Int(load::<i16>(at, NUMBER).into()),
                Sort::Signed(4) => Value::Int(load::<i32>(at, NUMBER).into()),
                Sort::Signed(_) => Value::Int(load::<i64>(at, NUMBER).into()),
                Sort::Unsigned(1) => Value::Int(load::<u8>(at, NUMBER).into()),
                Sort::Unsigned(2) => Value::Int(load::<u16>(at, NUMBER).into()),
                Sort::Unsigned(4) => Value::Int(load::<u32>(at, NUMBER).into()),
                Sort::Unsigned(_) => Value::Int(load::<u64>(at, NUMBER).into()),
            }
        }
    }
}

fn types(py: Python<'_>) -> PyResult<Vec<Scalar>> {
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let numpy = modules.get_item("numpy")?;
    let dtype = numpy.getattr("dtype")?;
    let mut found: Vec<Scalar> = Vec::new();
    for (code, sort) in CODES {
        let of = dtype.call1((code,))?;
        let size: usize = of.getattr("itemsize")?.extract()?;
        let expected = match sort {
            Sort::Bool => 1,
            Sort::Float => 8,
            Sort::Signed(size) | Sort::Unsigned(size) => size,
        };
        let kind = of.getattr("type")?.cast_into::<PyType>()?;
        let name: String = kind.getattr("__name__")?.extract()?;
        let is_known = found.iter().any(|one| one.kind.is(&kind));
        if is_known || size != expected || !numpy.getattr(name.as_str())?.is(&kind) || !laid_out_so(&kind, size)? {
            continue;
        }
        found.push(Scalar {
            kind: kind.unbind(),
            name: name.into_bytes().into(),
            sort,
        });
    }
    Ok(found)
}

/// Whether objects of a type have their number where we read it.
fn laid_out_so(kind: &Bound<'_, PyType>, size: usize) -> PyResult<bool> {
    let least: usize = kind.getattr("__basicsize__")?.extract()?;
    if least < NUMBER + size {
        return Ok(false);
    }
    for number in [0, 1, 77] {
        let one = kind.call1((number,))?;
        let bytes = one.call_method0("tobytes")?.cast_into::<PyBytes>()?;
        // SAFETY: inside a live object, whose size is `least`.
        let there = unsafe { std::slice::from_raw_parts((one.as_ptr() as usize + NUMBER) as *const u8, size) };
        if bytes.as_bytes() != there {
            return Ok(false);
        }
    }
    Ok(true)
}
