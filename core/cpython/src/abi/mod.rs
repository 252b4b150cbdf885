//! The layouts of the CPython versions served, one file per minor, and which one this process runs.
//!
//! A version without a file, a free-threaded build, or one whose own description of itself differs from the file is
//! refused with a reason; nothing below is then ever used.

pub mod check;
mod v312;
mod v313;
mod v314;
mod v315;

use larder_trace::Layout;
use pyo3::prelude::*;

/// The layout for `sys.version_info`, or why there is none.
pub fn layout(major: u8, minor: u8, free_threaded: bool, debug: bool) -> Result<&'static Layout, String> {
    if free_threaded {
        return Err("this is a free-threaded build of CPython, where frames cannot be edited safely".into());
    }
    if debug {
        return Err("this is a debug build of CPython, whose objects are laid out differently".into());
    }
    match (major, minor) {
        (3, 11) => Err("CPython 3.11 has no sys.monitoring; loops are counted from 3.12 on".into()),
        (3, 12) => Ok(&v312::LAYOUT),
        (3, 13) => Ok(&v313::LAYOUT),
        (3, 14) => Ok(&v314::LAYOUT),
        (3, 15) => Ok(&v315::LAYOUT),
        _ => Err(format!(
            "the frames of CPython {major}.{minor} are not known to this build; those of 3.12 to 3.15 are"
        )),
    }
}

/// The layout of the interpreter that runs; `None` where there is none.
pub fn of(py: Python<'_>) -> PyResult<Option<&'static Layout>> {
    let version = py.version_info();
    let sys = py.import("sys")?;
    let free_threaded = sys.hasattr("_is_gil_enabled")? && !sys.call_method0("_is_gil_enabled")?.is_truthy()?;
    let debug = sys.hasattr("gettotalrefcount")?;
    Ok(layout(version.major, version.minor, free_threaded, debug).ok())
}

/// Compares the running interpreter with its layout: what it says of itself (3.13 and later), then samples of known
/// content, then, on the main thread, the word it polls.
///
/// # Errors
/// What differs.
///
/// # Safety
/// The GIL is held, and the samples are as `larder/optimiser.py` makes them.
pub unsafe fn check(l: &Layout, hex_version: u32, samples: &check::Samples, main_thread: bool) -> Result<(), String> {
    let words = match l.minor {
        13 => Some(&v313::WORDS),
        14 => Some(&v314::WORDS),
        15 => Some(&v315::WORDS),
        _ => None,
    };
    if let Some(words) = words {
        check::own_description(l, words, hex_version)?;
    }
    // SAFETY: by contract.
    unsafe {
        check::samples(l, samples)?;
        if main_thread { check::polled_word(l) } else { Ok(()) }
    }
}
