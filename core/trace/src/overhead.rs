//! What the interpreter does besides the program's own work, and how much of it a trace keeps.
//!
//! The fourteen categories are those of the studies of CPython's overhead. Both tables below count *operations*, not
//! time: how many of each kind one execution of a bytecode performs in CPython 3.13, in the specialised form that a hot
//! loop runs; and how many one execution of a trace operation performs. The recorder adds up the first for every
//! bytecode it walks and the second is added up over the finished body, so both are exact for each trace; multiplied by
//! the times the trace ran they are what the interpreter would have done and what was done instead.

use crate::bytecode::Bc;
use crate::ir::{ExitId, Tree};
use crate::ops::{self, Op};
use std::sync::OnceLock;

pub const CATEGORIES: usize = 14;

/// Name and meaning, in the order of the counts.
pub const NAMES: [(&str, &str); CATEGORIES] = [
    ("error check", "asking whether an operation failed or is out of range"),
    ("GC", "reference counts going up and down"),
    (
        "rich control flow",
        "iterator protocol and polling for signals and threads",
    ),
    ("type check", "comparing an object's type or version"),
    ("boxing", "taking numbers out of objects and putting them in"),
    ("name resolution", "finding a name in a namespace, or an attribute"),
    ("function resolution", "finding out what is called"),
    ("function set-up", "frames and argument arrays"),
    ("dispatch", "fetching and decoding an instruction"),
    ("stack", "pushing to and popping from the value stack"),
    ("const load", "fetching constants from the code object"),
    ("object allocation", "making objects, most of which die at once"),
    (
        "register transfer",
        "moving values between the frame's variables and the stack, saving the interpreter's registers",
    ),
    ("C call", "calling functions of the runtime"),
];

/// Counts by category.
pub type Counts = [u32; CATEGORIES];

type Row = (&'static str, [u8; CATEGORIES]);

#[rustfmt::skip]
const BYTECODES: &[Row] = &[
    //                      err gc flow type box name func set disp stack const alloc reg call
    ("NOP",                 [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ("NOT_TAKEN",           [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ("RESUME",              [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ("POP_TOP",             [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("POP_ITER",            [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("END_FOR",             [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("PUSH_NULL",           [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("COPY",                [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("SWAP",                [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0]),
    ("LOAD_FAST",           [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0]),
    ("LOAD_FAST_BORROW",    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0]),
    ("LOAD_FAST_CHECK",     [1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0]),
    ("LOAD_FAST_LOAD_FAST", [0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 0]),
    ("LOAD_FAST_BORROW_LOAD_FAST_BORROW", [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 0]),
    ("STORE_FAST",          [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0]),
    ("STORE_FAST_LOAD_FAST",  [0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 0]),
    ("STORE_FAST_STORE_FAST", [0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 0]),
    ("LOAD_CONST",          [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]),
    ("LOAD_CONST_IMMORTAL", [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]),
    ("LOAD_CONST_MORTAL",   [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]),
    ("LOAD_SMALL_INT",      [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]),
    // Names of a cell are looked up in its dict by a function of the runtime, found or not.
    ("LOAD_NAME",           [1, 1, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 1]),
    ("STORE_NAME",          [1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1]),
    ("STORE_GLOBAL",        [1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1]),
    ("LOAD_GLOBAL",         [0, 1, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("LOAD_ATTR",           [0, 2, 0, 1, 0, 2, 0, 0, 1, 2, 0, 0, 0, 0]),
    ("STORE_ATTR",          [0, 2, 0, 1, 0, 1, 0, 0, 1, 2, 0, 0, 0, 0]),
    ("BINARY_OP",           [1, 2, 0, 2, 3, 0, 0, 0, 1, 3, 0, 1, 0, 1]),
    ("BINARY_SUBSCR",       [2, 3, 0, 2, 1, 0, 0, 0, 1, 3, 0, 0, 0, 0]),
    ("STORE_SUBSCR",        [2, 3, 0, 2, 1, 0, 0, 0, 1, 3, 0, 0, 0, 0]),
    ("COMPARE_OP",          [0, 2, 0, 2, 2, 0, 0, 0, 1, 3, 0, 0, 0, 0]),
    ("IS_OP",               [0, 2, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0]),
    ("CONTAINS_OP",         [1, 2, 0, 1, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1]),
    ("TO_BOOL",             [0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0]),
    ("UNARY_NOT",           [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0]),
    ("UNARY_NEGATIVE",      [1, 1, 0, 1, 2, 0, 0, 0, 1, 2, 0, 1, 2, 1]),
    ("UNARY_INVERT",        [1, 1, 0, 1, 2, 0, 0, 0, 1, 2, 0, 1, 2, 1]),
    ("POP_JUMP_IF_FALSE",   [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("POP_JUMP_IF_TRUE",    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("POP_JUMP_IF_NONE",    [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("POP_JUMP_IF_NOT_NONE", [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
    ("JUMP_FORWARD",        [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ("JUMP_BACKWARD",       [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ("FOR_ITER",            [1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1]),
    ("GET_ITER",            [1, 1, 1, 1, 0, 0, 0, 0, 1, 2, 0, 1, 2, 1]),
    ("CALL",                [1, 2, 0, 1, 0, 0, 2, 2, 1, 3, 0, 1, 2, 1]),
    ("CALL_KW",             [1, 2, 0, 1, 0, 0, 2, 3, 1, 4, 0, 1, 2, 2]),
    ("KW_NAMES",            [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0]),
    ("FORMAT_SIMPLE",       [1, 1, 0, 1, 1, 0, 0, 0, 1, 2, 0, 1, 2, 1]),
    ("FORMAT_WITH_SPEC",    [1, 2, 0, 1, 1, 0, 0, 0, 1, 3, 0, 1, 3, 1]),
    ("FORMAT_VALUE",        [1, 1, 0, 1, 1, 0, 0, 0, 1, 2, 0, 1, 2, 1]),
    ("CONVERT_VALUE",       [1, 1, 0, 1, 1, 0, 0, 0, 1, 2, 0, 1, 2, 1]),
    ("BUILD_STRING",        [1, 3, 0, 3, 0, 0, 0, 0, 1, 4, 0, 1, 2, 1]),
    ("RETURN_VALUE",        [0, 1, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 2, 0]),
    ("RETURN_CONST",        [0, 1, 0, 0, 0, 0, 0, 2, 1, 1, 1, 0, 2, 0]),
    ("UNPACK_SEQUENCE",     [1, 3, 0, 1, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0]),
    ("BUILD_TUPLE",         [1, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 1, 2, 1]),
    ("BUILD_LIST",          [1, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 1, 2, 1]),
    ("LIST_EXTEND",         [1, 1, 0, 2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 1]),
    ("BINARY_SLICE",        [1, 3, 0, 1, 2, 0, 0, 0, 1, 4, 0, 2, 3, 2]),
    ("STORE_SLICE",         [1, 4, 0, 2, 2, 0, 0, 0, 1, 4, 0, 1, 3, 2]),
    ("LIST_APPEND",         [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]),
];

#[rustfmt::skip]
const OPS: &[Row] = &[
    //                 err gc flow type box name func set disp stack const alloc reg call
    ("add",            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("sub",            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("mul",            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("neg",            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("shl",            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("ftoi",           [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("round",          [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardtype",      [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardexact",     [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardlatin",     [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardsome",      [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardnull",      [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardsame",      [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ("guardbyte",      [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardshared",    [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardheld",      [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardimmortal",  [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("unboxi",         [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("unboxf",         [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("unboxb",         [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("boxb",           [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardobject",    [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("guardquiet",     [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("newlist",        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("listof",         [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("newtuple",       [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("slice",          [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("putslice",       [1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("pop",            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("dictnext",       [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("dictstep",       [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("dictdone",       [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("newdictiter",    [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("newi",           [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("newf",           [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("makei",          [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("makef",          [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("replacei",       [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("replacef",       [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("incref",         [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("release",        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("keep",           [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("append",         [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("fcall",          [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("fcall2",         [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("fpy",            [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2, 0, 2]),
    ("gcd",            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("isqrt",          [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("seti",           [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("setp",           [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("setadd",         [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("dicti",          [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("dictp",          [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("dictput",        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("best",           [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("sumi",           [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("sumf",           [1, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 0, 2]),
    ("formati",        [1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 2]),
    ("formatf",        [1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 2]),
    ("formatp",        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("join",           [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
    ("streq",          [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("strcmp",         [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("random",         [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
];

const ERROR: usize = 0;
const FLOW: usize = 2;
const TYPE: usize = 3;
const BOX: usize = 4;
const NAME: usize = 5;
const DISPATCH: usize = 8;
const ALLOCATION: usize = 11;

/// How many bytecodes these counts are of: each is dispatched once.
pub fn bytecodes(counts: &Counts) -> u32 {
    counts[DISPATCH]
}

/// What one execution of a bytecode does in the interpreter.
pub fn of_bytecode(bc: Bc) -> [u8; CATEGORIES] {
    static TABLE: OnceLock<Vec<(Bc, [u8; CATEGORIES])>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        BYTECODES
            .iter()
            .map(|(name, counts)| (Bc::named(name), *counts))
            .collect()
    });
    let mut plain = [0; CATEGORIES];
    plain[DISPATCH] = 1;
    table.iter().find(|row| row.0 == bc).map_or(plain, |row| row.1)
}

fn of_op(op: Op) -> [u8; CATEGORIES] {
    static TABLE: OnceLock<Vec<[u8; CATEGORIES]>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let counts = |op: &Op| {
            OPS.iter()
                .find(|row| row.0 == op.info().name)
                .map_or([0; CATEGORIES], |row| row.1)
        };
        ops::ALL.iter().map(counts).collect()
    });
    table[op as usize]
}

pub fn add(counts: &mut Counts, more: [u8; CATEGORIES]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += u32::from(more);
    }
}

/// What one run of a trace still does, up to an exit or to its end. A branch of the program is its own work; a branch on
/// the loop's end or on a bound is not.
pub fn of_trace(tree: &Tree, index: usize, until: Option<ExitId>) -> Counts {
    let mut counts = [0; CATEGORIES];
    // The root polls once a pass.
    counts[FLOW] += u32::from(index == 0);
    for r in &tree.traces[index].body {
        let inst = tree.inst(*r);
        add(&mut counts, of_op(inst.op));
        if matches!(inst.op, Op::GuardTrue | Op::GuardFalse) {
            let why = tree.exits[inst.exit.at()].reason;
            if why.contains("loop") || why.contains("range that is empty") {
                counts[FLOW] += 1;
            } else if !why.contains("branch") && !why.contains("other one") && !why.contains("other sign") {
                counts[ERROR] += 1;
            }
        }
        if until == Some(inst.exit) {
            break;
        }
    }
    counts
}

/// What one entry does: every input's type is checked, numbers are unboxed, names are looked up.
pub fn of_entry(tree: &Tree) -> Counts {
    let mut counts = [0; CATEGORIES];
    for input in &tree.inputs {
        counts[TYPE] += 1;
        counts[NAME] += u32::from(input.slot.as_name().is_some());
        counts[BOX] += u32::from(matches!(
            input.ty,
            crate::Type::Int | crate::Type::Float | crate::Type::Bool
        ));
    }
    counts
}

/// What one exit does that makes so many numbers into objects.
pub fn of_exit(made: u32) -> Counts {
    let mut counts = [0; CATEGORIES];
    (counts[BOX], counts[ALLOCATION]) = (made, made);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bytecode_that_is_followed_has_its_row_and_is_dispatched_once() {
        for (name, counts) in BYTECODES {
            assert_eq!(counts[DISPATCH], 1, "{name}");
            if Bc::named(name) != Bc::Unknown {
                assert_eq!(of_bytecode(Bc::named(name)), *counts, "{name}");
            }
        }
    }

    #[test]
    fn operations_that_no_trace_has_are_not_in_the_table_of_names() {
        for op in ops::ALL {
            let info = op.info();
            let known = OPS.iter().any(|row| row.0 == info.name);
            let exits = info.exits && !matches!(op, Op::GuardTrue | Op::GuardFalse);
            assert!(
                known || !exits,
                "{} exits, so it checks something: give it a row",
                info.name
            );
        }
    }
}
