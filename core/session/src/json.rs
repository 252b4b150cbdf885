//! Values between the wire and Python.
//!
//! What a cell shows is made by anyone, so the way out accepts more than JSON: NaN and infinities become their names,
//! bytes become base64 text, lone surrogates are written as escapes, dates become ISO 8601 and keys become text. The
//! way in is exact.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

/// Deeper values than this are refused instead of exhausting the stack.
const DEPTH_MAX: usize = 512;

/// A JSON value as Python objects.
pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(b) => PyBool::new(py, *b).to_owned().into_any(),
        Value::Number(n) => {
            if let Some(i) = n.as_i64() {
                i.into_pyobject(py)?.into_any()
            } else if let Some(u) = n.as_u64() {
                u.into_pyobject(py)?.into_any()
            } else {
                PyFloat::new(py, n.as_f64().unwrap_or(f64::NAN)).into_any()
            }
        }
        Value::String(s) => PyString::new(py, s).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => {
            let dict = PyDict::new(py);
            for (key, item) in map {
                dict.set_item(key, to_python(py, item)?)?;
            }
            dict.into_any()
        }
    })
}

/// A Python value as JSON, forgiving as the module header says.
///
/// # Errors
/// `TypeError` naming the type of a value that has no JSON form, or a nesting deeper than [`DEPTH_MAX`].
pub fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    convert(value, 0)
}

/// The text of a Python string; lone surrogates become `\udXXX` escapes.
pub fn text(value: &Bound<'_, PyString>) -> PyResult<String> {
    match value.to_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => {
            let bytes = value.call_method1("encode", ("utf-8", "backslashreplace"))?;
            Ok(String::from_utf8_lossy(bytes.cast::<PyBytes>()?.as_bytes()).into_owned())
        }
    }
}

fn convert(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > DEPTH_MAX {
        return Err(PyTypeError::new_err(format!(
            "value is nested deeper than {DEPTH_MAX} levels"
        )));
    }
    if let Ok(s) = value.cast::<PyString>() {
        return Ok(Value::String(text(s)?));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(b) = value.cast::<PyBool>() {
        return Ok(Value::Bool(b.is_true()));
    }
    if let Ok(i) = value.cast::<PyInt>() {
        return integer(i);
    }
    if let Ok(f) = value.cast::<PyFloat>() {
        return Ok(float(f.value()));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        let mut map = Map::with_capacity(dict.len());
        for (key, item) in dict.iter() {
            map.insert(key_text(&key)?, convert(&item, depth + 1)?);
        }
        return Ok(Value::Object(map));
    }
    if let Ok(list) = value.cast::<PyList>() {
        return list
            .iter()
            .map(|item| convert(&item, depth + 1))
            .collect::<PyResult<Vec<_>>>()
            .map(Value::Array);
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return tuple
            .iter()
            .map(|item| convert(&item, depth + 1))
            .collect::<PyResult<Vec<_>>>()
            .map(Value::Array);
    }
    other(value, depth)
}

fn other(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let py = value.py();
    if value.cast::<PyBytes>().is_ok() || value.is_instance_of::<pyo3::types::PyByteArray>() || is_memoryview(value)? {
        let encoded = py.import("base64")?.call_method1("b64encode", (value,))?;
        return Ok(Value::String(encoded.call_method1("decode", ("ascii",))?.extract()?));
    }
    if value.hasattr("isoformat")? {
        return Ok(Value::String(value.call_method0("isoformat")?.extract()?));
    }
    let numbers = py.import("numbers")?;
    if value.is_instance(&numbers.getattr("Integral")?)? {
        return integer(&py.get_type::<PyInt>().call1((value,))?.cast_into::<PyInt>()?);
    }
    if value.is_instance(&numbers.getattr("Real")?)? {
        return Ok(float(value.call_method0("__float__")?.extract()?));
    }
    let abc = py.import("collections.abc")?;
    if value.is_instance(&abc.getattr("Mapping")?)? {
        let dict = PyDict::new(py);
        for item in value.call_method0("items")?.try_iter()? {
            let (key, item): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            dict.set_item(key, item)?;
        }
        return convert(dict.as_any(), depth + 1);
    }
    if value.is_instance(&abc.getattr("Iterable")?)? {
        return value
            .try_iter()?
            .map(|item| convert(&item?, depth + 1))
            .collect::<PyResult<Vec<_>>>()
            .map(Value::Array);
    }
    Err(PyTypeError::new_err(format!(
        "a value of type `{}` has no JSON form",
        value.get_type().name()?
    )))
}

fn is_memoryview(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.get_type().name()? == "memoryview")
}

fn key_text(key: &Bound<'_, PyAny>) -> PyResult<String> {
    match key.cast::<PyString>() {
        Ok(s) => text(s),
        Err(_) => text(&key.str()?),
    }
}

/// Integers beyond 64 bits become text: few front ends could read them as numbers.
fn integer(value: &Bound<'_, PyInt>) -> PyResult<Value> {
    if let Ok(i) = value.extract::<i64>() {
        return Ok(Value::Number(i.into()));
    }
    if let Ok(u) = value.extract::<u64>() {
        return Ok(Value::Number(u.into()));
    }
    Ok(Value::String(value.str()?.extract()?))
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::String("nan".into()),
        None if value > 0.0 => Value::String("inf".into()),
        None => Value::String("-inf".into()),
    }
}
