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
    /// `fn(sequence, largest, kind) -> borrowed item, or 0`.
    pub best: usize,
    /// `fn(sequence) -> address of an i64, or 0`, `fn(the built-in sum, sequence) -> address of an f64, or 0`.
    pub sum_int: usize,
    pub sum_float: usize,
    /// `fn(i64, f64 or object, format or 0, how) -> owned str, or 0`, `fn(owned tuple) -> owned str`.
    pub text_int: usize,
    pub text_float: usize,
    pub text_object: usize,
    pub join: usize,
    /// `fn(list, list or tuple, both bounds, *mut word LOGGED) -> whether it was done`.
    pub put_slice: usize,
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
        // Each by name: one that is forgotten below is an unused variable, and no code that calls it could be linked.
        let Helpers {
            unbox_int,
            new_int,
            new_float,
            replace_int,
            replace_float,
            append,
            dict_int,
            dict_str,
            set_int,
            set_str,
            set_add,
            dict_put,
            str_eq,
            str_cmp,
            bytes_cmp,
            call_float,
            gcd,
            isqrt,
            random,
            new_list,
            new_tuple,
            list_of,
            slice,
            put_slice,
            best,
            sum_int,
            sum_float,
            text_int,
            text_float,
            text_object,
            join,
            pop,
            quiet,
            held,
            dict_next,
            dict_step,
            dict_done,
            dict_iterator,
            calls,
        } = *self;
        let seldom = [unbox_int, replace_int, replace_float, append];
        let often = [
            new_int, new_float, dict_int, dict_str, dict_put, str_eq, str_cmp, bytes_cmp,
        ]
        .into_iter()
        .chain([random, call_float, gcd, isqrt, set_int, set_str, set_add, held])
        .chain([new_list, new_tuple, list_of, slice, pop, quiet])
        .chain([dict_next, dict_step, dict_done, dict_iterator])
        .chain([
            put_slice,
            best,
            sum_int,
            sum_float,
            text_int,
            text_float,
            text_object,
            join,
        ])
        .chain(calls);
        let mut all: Vec<Helper> = Vec::new();
        for (address, keeps) in seldom.map(|a| (a, true)).into_iter().chain(often.map(|a| (a, false))) {
            if !all.iter().any(|have| have.address == address) {
                all.push(Helper {
                    address,
                    keeps,
                    knows: false,
                });
            }
        }
        // Once more, by a trampoline that knows the buffer.
        all.push(Helper {
            address: replace_float,
            keeps: true,
            knows: true,
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_helper_is_linked() {
        let mut next = 0;
        let mut new = || {
            next += 1;
            next
        };
        let helpers = Helpers {
            unbox_int: new(),
            new_int: new(),
            new_float: new(),
            replace_int: new(),
            replace_float: new(),
            append: new(),
            dict_int: new(),
            dict_str: new(),
            set_int: new(),
            set_str: new(),
            set_add: new(),
            dict_put: new(),
            str_eq: new(),
            str_cmp: new(),
            bytes_cmp: new(),
            call_float: new(),
            gcd: new(),
            isqrt: new(),
            random: new(),
            new_list: new(),
            new_tuple: new(),
            list_of: new(),
            slice: new(),
            put_slice: new(),
            best: new(),
            sum_int: new(),
            sum_float: new(),
            text_int: new(),
            text_float: new(),
            text_object: new(),
            join: new(),
            pop: new(),
            quiet: new(),
            held: new(),
            dict_next: new(),
            dict_step: new(),
            dict_done: new(),
            dict_iterator: new(),
            calls: std::array::from_fn(|_| new()),
        };
        let mut addresses: Vec<usize> = helpers.all().iter().map(|h| h.address).collect();
        addresses.sort_unstable();
        addresses.dedup(); // one of them by two trampolines
        assert_eq!(
            addresses,
            (1..=size_of::<Helpers>() / size_of::<usize>()).collect::<Vec<_>>()
        );
    }
}
