//! Decoding of CPython bytecode, with the opcode numbers and cache sizes of the running interpreter.

macro_rules! bytecodes {
    ($($name:ident)*) => {
        /// The bytecodes the recorder can follow; everything else is `Unknown`.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bc { Unknown, $($name),* }

        impl Bc {
            pub fn named(name: &str) -> Bc {
                match name { $(stringify!($name) => Bc::$name,)* _ => Bc::Unknown }
            }
        }
    };
}

bytecodes! {
    NOP RESUME NOT_TAKEN CACHE EXTENDED_ARG POP_TOP PUSH_NULL END_FOR POP_ITER COPY SWAP
    LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_LOAD_FAST
    STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST LOAD_CONST LOAD_SMALL_INT LOAD_COMMON_CONSTANT
    LOAD_NAME STORE_NAME LOAD_GLOBAL STORE_GLOBAL LOAD_ATTR STORE_ATTR
    BINARY_OP BINARY_SUBSCR COMPARE_OP IS_OP TO_BOOL UNARY_NEGATIVE UNARY_NOT UNARY_INVERT
    POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE
    JUMP_FORWARD JUMP_BACKWARD FOR_ITER GET_ITER CALL CALL_KW KW_NAMES
    FORMAT_SIMPLE FORMAT_WITH_SPEC FORMAT_VALUE CONVERT_VALUE BUILD_STRING
    UNPACK_SEQUENCE BUILD_LIST LIST_EXTEND BINARY_SLICE BUILD_TUPLE LIST_APPEND LOAD_DEREF STORE_DEREF COPY_FREE_VARS STORE_SUBSCR STORE_SLICE CONTAINS_OP RETURN_VALUE RETURN_CONST
}

/// What other versions call the same: a trace owns nothing on the stack, so whether the interpreter only borrows there
/// makes no difference.
fn common(name: &str) -> &str {
    match name {
        "LOAD_FAST_BORROW" => "LOAD_FAST",
        "LOAD_FAST_BORROW_LOAD_FAST_BORROW" => "LOAD_FAST_LOAD_FAST",
        name => name,
    }
}

/// The operator of `BINARY_OP` that is a subscript, from 3.14 on.
const SUBSCRIPT: u32 = 26;

/// What the running interpreter's opcode numbers mean.
pub struct Opcodes {
    pub base: [Bc; 256],
    /// Inline cache entries after each instruction, in code units.
    pub caches: [u8; 256],
}

impl Opcodes {
    pub fn new(numbers: impl Iterator<Item = (String, u8)>, caches: [u8; 256]) -> Opcodes {
        let mut base = [Bc::Unknown; 256];
        for (name, number) in numbers {
            base[number as usize] = Bc::named(common(&name));
        }
        Opcodes { base, caches }
    }
}

/// One instruction, at the code unit where its prefixes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ins {
    pub bc: Bc,
    pub arg: u32,
    /// Code unit of the following instruction.
    pub next: u32,
    pub opcode: u8,
}

/// Decodes plain (not specialised, not instrumented) bytecode; entry `i` describes the instruction that starts at
/// unit `i`, and units inside an instruction decode to `CACHE`.
pub fn decode(code: &[u8], opcodes: &Opcodes) -> Vec<Ins> {
    let units = code.len() / 2;
    let mut out = vec![
        Ins {
            bc: Bc::CACHE,
            arg: 0,
            next: 0,
            opcode: 0
        };
        units
    ];
    let mut at = 0;
    while at < units {
        let start = at;
        let mut opcode = code[2 * at];
        let mut arg = u32::from(code[2 * at + 1]);
        while opcodes.base[opcode as usize] == Bc::EXTENDED_ARG && at + 1 < units {
            at += 1;
            opcode = code[2 * at];
            arg = arg << 8 | u32::from(code[2 * at + 1]);
        }
        at += 1 + opcodes.caches[opcode as usize] as usize;
        let bc = match opcodes.base[opcode as usize] {
            Bc::BINARY_OP if arg == SUBSCRIPT => Bc::BINARY_SUBSCR,
            bc => bc,
        };
        out[start] = Ins {
            bc,
            arg,
            next: at as u32,
            opcode,
        };
    }
    out
}
