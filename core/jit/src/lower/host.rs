//! What the machine code is told of the interpreter.

use crate::arena::Helper;
use larder_trace::Layout;

/// What the code needs to know of the interpreter.
pub struct Host {
    pub layout: Layout,
    pub breaker_mask: u32,
    pub true_object: usize,
    pub false_object: usize,
    /// The strings of the characters 0 to 255.
    pub chars: usize,
    /// Where references go that were the last ones, [`super::LOG_WORDS`] of them.
    pub log: usize,
    pub helpers: Helpers,
}

/// Addresses of what machine code calls.
#[derive(Clone, Copy, Default)]
pub struct Helpers {
    /// `fn(int object, *mut word SCRATCH)`: the value, and in word FITS whether 64 bits hold it.
    pub unbox_int: usize,
    /// `fn(i64) -> owned int object`, `fn(f64) -> owned float object`.
    pub new_int: usize,
    pub new_float: usize,
    /// `fn(old object, number, *mut word LOGGED)`: an owned object in word SCRATCH. That for floats takes no number: the
    /// caller writes it.
    pub replace_int: usize,
    pub replace_float: usize,
    /// `fn(list, owned object)`.
    pub append: usize,
    /// `fn(dict, key) -> borrowed value, 0 when there is none, 1 when only Python can tell`.
    pub dict_int: usize,
    pub dict_str: usize,
    /// `fn(set, key) -> whether it is there, 2 when only Python can tell`, `fn(set, key)`.
    pub set_int: usize,
    pub set_str: usize,
    pub set_add: usize,
    /// `fn(dict, key, value)`.
    pub dict_put: usize,
    /// `fn(str, str) -> 0 or 1`, and `-> order`.
    pub str_eq: usize,
    pub str_cmp: usize,
    pub bytes_cmp: usize,
    /// `fn(function, f64, f64, how many) -> f64`.
    pub call_float: usize,
    pub gcd: usize,
    pub isqrt: usize,
    /// `fn(generator) -> f64`.
    pub random: usize,
    /// `fn(count) -> owned list`, `fn(count, quiet) -> owned tuple`, `fn(tuple) -> owned list`.
    pub new_list: usize,
    pub new_tuple: usize,
    pub list_of: usize,
    /// `fn(sequence, start, stop) -> owned slice, or 0`.
    pub slice: usize,
    /// `fn(list) -> owned object`.
    pub pop: usize,
    /// `fn(object) -> 0 or 1`.
    pub quiet: usize,
    /// `fn(object, owners) -> 0 or 1`.
    pub held: usize,
    /// `fn(iterator) -> place, 0 at the end, 1 when only the interpreter can tell`, `fn(iterator, place)`.
    pub dict_next: usize,
    pub dict_step: usize,
    /// `fn(iterator)`, `fn(dict, what it gives) -> owned iterator`.
    pub dict_done: usize,
    pub dict_iterator: usize,
    /// The functions of [`larder_trace::ops::Call`], in order.
    pub calls: [usize; 11],
}

impl Helpers {
    /// Every helper, each once: what [`crate::Arena::new`] wants.
    pub fn all(&self) -> Vec<Helper> {
        let h = self;
        let seldom = [h.unbox_int, h.replace_int, h.replace_float, h.append];
        let mut all: Vec<Helper> = Vec::new();
        let often = [
            h.new_int,
            h.new_float,
            h.dict_int,
            h.dict_str,
            h.dict_put,
            h.str_eq,
            h.str_cmp,
            h.random,
        ];
        let often = often
            .into_iter()
            .chain([h.new_list, h.new_tuple, h.list_of, h.slice, h.pop, h.quiet])
            .chain([
                h.bytes_cmp,
                h.call_float,
                h.gcd,
                h.isqrt,
                h.set_int,
                h.set_str,
                h.set_add,
                h.held,
            ])
            .chain([h.dict_next, h.dict_step, h.dict_done, h.dict_iterator])
            .chain(h.calls);
        for (address, keeps) in seldom.map(|a| (a, true)).into_iter().chain(often.map(|a| (a, false))) {
            if !all.iter().any(|have| have.address == address) {
                all.push(Helper { address, keeps });
            }
        }
        all
    }
}
