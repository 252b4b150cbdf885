//! The extension module `larder._larder`: joins the crates and maps their errors to Python exceptions, nothing else.
//!
//! One file per room of the product; each adds its classes and functions to the module in its own `register`.

mod cell;
mod kernel;
mod plain;
mod reducing;
mod session;
mod shelf;
mod tier;
mod tier_trace;
mod trace;

use pyo3::prelude::*;

#[pymodule]
fn _larder(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    shelf::register(module)?;
    kernel::register(module)?;
    cell::register(module)?;
    plain::register(module)?;
    reducing::register(module)?;
    session::register(module)?;
    tier::register(module)?;
    trace::register(module)
}
