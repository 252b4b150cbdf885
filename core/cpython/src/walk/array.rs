//! NumPy arrays in a walk.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::held::Pointers;
use super::kinds::Sum;
use super::sums::{self, CHUNK_BYTES};
use super::{Stop, TAG, Walk};
use crate::object::load;

impl<'py> Walk<'_, 'py> {
    /// A NumPy array: its header by the offsets NumPy's ABI fixes.
    pub(super) fn array(
        &mut self,
        object: &Bound<'py, PyAny>,
        fresh: bool,
        in_frame: bool,
        later: &mut Vec<Bound<'py, PyAny>>,
    ) -> Result<(), Stop> {
        let at = object.as_ptr() as usize;
        // SAFETY: a `numpy.ndarray`, which holds its dtype and base; see `Header::of` for the layout.
        let (header, base, dtype, flags, kind) = unsafe {
            let dtype: usize = load(at, 56);
            let itemsize = self.itemsize(object)?;
            (
                Header::of(at, itemsize),
                load::<*mut ffi::PyObject>(at, 48),
                dtype,
                load::<i32>(at, 64),
                load::<u8>(dtype, 24),
            )
        };
        let records = kind == b'V';
        if !records && !b"?biufcmMSUO".contains(&kind) {
            return Err(Stop::Opaque(format!("an array of kind {}", kind as char)));
        }
        if in_frame && !fresh {
            self.in_frames.insert(at);
        }
        // An array made for the walk over memory of its own: where that is means nothing.
        let loose = fresh && base.is_null();
        self.say(TAG | 8);
        self.say(if loose { 0 } else { header.data as u64 });
        for word in [base as u64, dtype as u64, flags as u64] {
            self.say(word);
        }
        self.say(header.axes.len() as u64);
        for (extent, stride) in &header.axes {
            self.say(*extent as u64);
            self.say(*stride as u64);
        }
        self.pin(dtype as *mut ffi::PyObject);
        if records {
            // SAFETY: held by the array.
            let dtype = unsafe { Bound::from_borrowed_ptr(self.py, dtype as *mut ffi::PyObject) };
            if dtype.getattr(intern!(self.py, "hasobject"))?.is_truthy()? {
                return Err(Stop::Opaque("an array of records with objects".into()));
            }
            later.push(dtype);
        }
        let (low, high) = (header.low, header.high);
        if low < high && !loose {
            self.spans.push((low, high));
            self.framed.push(in_frame);
        }
        if !base.is_null() {
            // SAFETY: held by the array.
            let base = unsafe { Bound::from_borrowed_ptr(self.py, base) };
            // SAFETY: two live objects; the base is an array if it has this one's type.
            let same = unsafe { ffi::Py_TYPE(base.as_ptr()) == ffi::Py_TYPE(object.as_ptr()) };
            let covered = same && {
                let itemsize = self.itemsize(&base)?;
                // SAFETY: an exact array, as just seen.
                let under = unsafe { Header::of(base.as_ptr() as usize, itemsize) };
                under.low <= low && high <= under.high
            };
            self.in_frame = in_frame;
            if fresh {
                self.part(&base)?;
            } else {
                self.meet(&base, true)?;
            }
            if covered {
                return Ok(());
            }
        }
        if header.count == 0 || low == high {
            return Ok(());
        }
        if kind == b'O' {
            if high - low != header.count * 8 {
                return Err(Stop::Opaque("an array of objects with gaps".into()));
            }
            return self.items(low, header.count, &Pointers(low, high), later);
        }
        // SAFETY: `low..high` lies within memory the array or its base holds: NumPy checks that when it makes them
        // (`as_strided`, which does not, is its caller's risk in every use of the array).
        let bytes = unsafe { std::slice::from_raw_parts(low as *const u8, high - low) };
        if loose {
            self.digest(bytes);
            return Ok(());
        }
        if let Some([which, version]) = self.memory.version(low, high) {
            self.say(TAG | 9);
            self.say(which);
            self.say(version);
            return Ok(());
        }
        if self.below > 0 {
            // It may be gone when the walk ends: not what another array there holds later.
            self.digest(bytes);
            return Ok(());
        }
        let sum = self.kinds.sums.entry((low, high)).or_insert_with(|| {
            if bytes.len() <= CHUNK_BYTES {
                return Sum {
                    whole: xxh3_128(bytes),
                    chunks: None,
                };
            }
            let chunks = sums::of_chunks(bytes, CHUNK_BYTES);
            Sum {
                whole: xxh3_128(&chunks),
                chunks: Some((chunks, object.clone().unbind())),
            }
        });
        let whole = sum.whole;
        self.sum(high - low, whole);
        Ok(())
    }

    /// The size of an array's elements.
    fn itemsize(&mut self, array: &Bound<'py, PyAny>) -> PyResult<usize> {
        // SAFETY: an array holds its dtype.
        let dtype: usize = unsafe { load(array.as_ptr() as usize, 56) };
        if let Some((size, _)) = self.sizes.get(&dtype) {
            return Ok(*size);
        }
        // SAFETY: as above.
        let held = unsafe { Bound::from_borrowed_ptr(self.py, dtype as *mut ffi::PyObject) };
        let size = held.getattr(intern!(self.py, "itemsize"))?.extract()?;
        self.sizes.insert(dtype, (size, held.unbind()));
        Ok(size)
    }

    /// Whether the mask of a masked array is hard, which its own pickle leaves out and ours says.
    pub(super) fn hard_mask(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        if let Some(hard) = object.getattr_opt(intern!(self.py, "_hardmask"))? {
            self.say(u64::from(hard.is_truthy()?));
        }
        Ok(())
    }
}

/// Where an array's elements are.
struct Header {
    data: usize,
    axes: Vec<(isize, isize)>,
    count: usize,
    low: usize,
    high: usize,
}

impl Header {
    /// # Safety
    /// `at` is a live `numpy.ndarray`. `PyArrayObject_fields` and the first fields of `PyArray_Descr` have had this layout
    /// in every NumPy of the stable ABI (1.x and 2.x).
    unsafe fn of(at: usize, itemsize: usize) -> Header {
        // SAFETY: the caller's promise.
        let (data, ndim, shape, strides) = unsafe {
            (
                load::<usize>(at, 16),
                load::<i32>(at, 24) as usize,
                load::<usize>(at, 32),
                load::<usize>(at, 40),
            )
        };
        let (mut low, mut high, mut count) = (data, data + itemsize, 1_usize);
        let mut axes = Vec::with_capacity(ndim);
        for axis in 0..ndim {
            // SAFETY: an array has `ndim` extents and strides.
            let (extent, stride) = unsafe { (load::<isize>(shape, axis * 8), load::<isize>(strides, axis * 8)) };
            axes.push((extent, stride));
            count *= extent as usize;
            let span = (extent - 1).max(0) * stride;
            if span < 0 {
                low = low.wrapping_add_signed(span);
            } else {
                high = high.wrapping_add_signed(span);
            }
        }
        if count == 0 {
            high = low;
        }
        Header {
            data,
            axes,
            count,
            low,
            high,
        }
    }
}
