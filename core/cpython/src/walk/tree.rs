//! Trees of scikit-learn's forests, read where they have what their pickles hold: `stated.tree` tries on one that it makes whether that
//! is here.

use pyo3::prelude::*;

use super::{Stop, TAG, Walk, type_name};
use crate::object::load;

const FEATURES: usize = 24;
const CLASSES: usize = 32;
const OUTPUTS: usize = 40;
const CLASSES_MAX: usize = 48;
const DEPTH: usize = 56;
const COUNT: usize = 64;
const ROOM: usize = 72;
const NODES: usize = 80;
const VALUES: usize = 88;
const STRIDE: usize = 96;
/// Of a node.
const NODE_BYTES: usize = 64;

impl<'py> Walk<'_, 'py> {
    /// What `__reduce__` would give: a few numbers, how many classes there are, the nodes and their values.
    pub(super) fn tree(&mut self, object: &Bound<'py, PyAny>) -> Result<(), Stop> {
        self.simple = false;
        let at = object.as_ptr() as usize;
        // SAFETY: a live tree, which has these fields.
        let field = |offset: usize| unsafe { load::<usize>(at, offset) };
        let (count, outputs, stride) = (field(COUNT), field(OUTPUTS), field(STRIDE));
        let nodes = count.checked_mul(NODE_BYTES);
        let values = count.checked_mul(stride).and_then(|count| count.checked_mul(8));
        let (Some(nodes), Some(values), Some(classes), true) =
            (nodes, values, outputs.checked_mul(8), count <= field(ROOM))
        else {
            return Err(Stop::Opaque(type_name(object)));
        };
        self.say(TAG | 23);
        self.say(object.get_type_ptr() as u64);
        for word in [FEATURES, OUTPUTS, CLASSES_MAX, DEPTH, COUNT, STRIDE, NODES, VALUES] {
            self.say(field(word) as u64);
        }
        for (low, len) in [
            (field(CLASSES), classes),
            (field(NODES), nodes),
            (field(VALUES), values),
        ] {
            if low == 0 || len == 0 {
                self.say(0);
                continue;
            }
            // SAFETY: memory of the tree, of the size that its fields say: no Python code runs while it is read.
            self.digest(unsafe { std::slice::from_raw_parts(low as *const u8, len) });
        }
        for (low, len) in [(field(NODES), nodes), (field(VALUES), values)] {
            if low != 0 && len != 0 {
                self.spans.push((low, low + len));
                self.framed.push(false);
            }
        }
        Ok(())
    }
}
