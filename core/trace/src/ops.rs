//! The one table of trace operations: recorder, IR, passes, printer, lowering and documentation all read it.
//!
//! Kinds of values: `i` 64-bit integer, `f` double, `b` bool, `p` borrowed object pointer, `-` none.
//!
//! Invariants
//!
//! - A *pure* operation gives the same result for the same operands wherever it stands, and may be dropped or merged.
//! - An operation that *exits* leaves the trace before it has changed anything: the interpreter executes the
//!   instruction again from the state its snapshot describes.
//! - No operation writes to an object, so none dies while a trace runs and every `p` value stays valid until the exit.

/// What an operation produces and how the passes may treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpInfo {
    pub name: &'static str,
    /// One letter per operand.
    pub takes: &'static str,
    pub gives: Kind,
    pub pure: bool,
    pub exits: bool,
    /// Reads memory that the program may change between two runs of the trace.
    pub reads: bool,
    /// What the immediate means; empty when there is none.
    pub imm: &'static str,
    pub doc: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Int,
    Float,
    Bool,
    Ptr,
    None,
}

macro_rules! kind {
    (i) => {
        Kind::Int
    };
    (f) => {
        Kind::Float
    };
    (b) => {
        Kind::Bool
    };
    (p) => {
        Kind::Ptr
    };
    (n) => {
        Kind::None
    };
}

macro_rules! ops {
    ($($op:ident $name:literal $takes:literal $gives:ident [$($flag:ident)*] $imm:literal $doc:literal;)*) => {
        /// One operation of a trace; see [`TABLE`] for what each means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Op { $($op),* }

        pub const ALL: &[Op] = &[$(Op::$op),*];

        /// One row per operation, in the order of [`Op`].
        pub const TABLE: &[OpInfo] = &[$({
            #[allow(unused_mut)]
            let mut info = OpInfo {
                name: $name, takes: $takes, gives: kind!($gives), pure: false, exits: false, reads: false,
                imm: $imm, doc: $doc,
            };
            $(info.$flag = true;)*
            info
        }),*];
    };
}

ops! {
    Input "in" "" i [pure] "input * 8 + component" "a slot of the frame as the loop head sees it; its kind is the input's";
    ConstI "int" "" i [pure] "value" "integer constant";
    ConstF "float" "" f [pure] "bits" "float constant";
    ConstB "bool" "" b [pure] "0 or 1" "bool constant";
    ConstP "object" "" p [pure] "address" "object the tree keeps alive";

    AddO "add" "ii" i [exits] "" "sum; exits when it leaves 64 bits";
    SubO "sub" "ii" i [exits] "" "difference; exits when it leaves 64 bits";
    MulO "mul" "ii" i [exits] "" "product; exits when it leaves 64 bits";
    NegO "neg" "i" i [exits] "" "negation; exits for the smallest integer";
    ShlO "shl" "ii" i [exits] "" "shift left by 0..63; exits when bits are lost";
    AddW "addw" "ii" i [pure] "" "sum known to fit: iterator steps and wrapped indices";
    Shr "shr" "ii" i [pure] "" "arithmetic shift right by 0..63";
    And "and" "ii" i [pure] "" "bits";
    Or "or" "ii" i [pure] "" "bits";
    Xor "xor" "ii" i [pure] "" "bits";
    Not "not" "i" i [pure] "" "bits";
    FloorDiv "floordiv" "ii" i [] "" "floor division; the divisor is known to be positive";
    Mod "mod" "ii" i [] "" "Python's remainder; the divisor is known to be positive";

    FAdd "fadd" "ff" f [pure] "" "float sum";
    FSub "fsub" "ff" f [pure] "" "float difference";
    FMul "fmul" "ff" f [pure] "" "float product";
    FDiv "fdiv" "ff" f [pure] "" "float quotient; the divisor is known not to be zero";
    FNeg "fneg" "f" f [pure] "" "float negation";
    FAbs "fabs" "f" f [pure] "" "float magnitude";
    FSqrt "fsqrt" "f" f [pure] "" "square root of a number known not to be negative";

    IToF "itof" "i" f [pure] "" "integer to float, known exact or rounded as CPython rounds";
    BToI "btoi" "b" i [pure] "" "False 0, True 1";
    NotB "notb" "b" b [pure] "" "negation";
    CmpI "cmpi" "ii" b [pure] "condition" "integer comparison";
    CmpF "cmpf" "ff" b [pure] "condition" "float comparison; false with nan, except not-equal";

    GuardTrue "guard" "b" n [exits] "" "exits unless true";
    GuardFalse "guardnot" "b" n [exits] "" "exits when true";
    GuardType "guardtype" "p" n [exits] "type" "exits unless the object has exactly this type";
    GuardExact "guardexact" "i" n [exits] "" "exits unless the integer is exact as a float (+-2^53)";

    UnboxI "unboxi" "p" i [exits] "" "value of an int object; exits when it needs more than 64 bits";
    UnboxF "unboxf" "p" f [pure] "" "value of a float object";
    UnboxB "unboxb" "p" b [pure] "" "value of a bool object";

    ListLen "listlen" "p" i [reads] "" "length of a list";
    ListItem "listitem" "pi" p [reads] "" "item of a list, index in range";
}

impl Op {
    pub fn info(self) -> &'static OpInfo {
        &TABLE[self as usize]
    }

    /// The operation of this printed name.
    pub fn named(name: &str) -> Option<Op> {
        ALL.iter().copied().find(|op| op.info().name == name)
    }

    pub fn is_const(self) -> bool {
        matches!(self, Op::ConstI | Op::ConstF | Op::ConstB | Op::ConstP)
    }
}

/// Conditions of `cmpi` and `cmpf`, in CPython's order; the last is for integers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Cond {
    Lt = 0,
    Le = 1,
    Eq = 2,
    Ne = 3,
    Gt = 4,
    Ge = 5,
    /// Unsigned less-than: `0 <= a < b` in one test.
    Below = 6,
}

impl Cond {
    pub fn from_imm(imm: i64) -> Cond {
        [Cond::Lt, Cond::Le, Cond::Eq, Cond::Ne, Cond::Gt, Cond::Ge, Cond::Below][imm as usize]
    }

    pub fn ints(self, a: i64, b: i64) -> bool {
        match self {
            Cond::Lt => a < b,
            Cond::Le => a <= b,
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Gt => a > b,
            Cond::Ge => a >= b,
            Cond::Below => (a as u64) < (b as u64),
        }
    }

    pub fn floats(self, a: f64, b: f64) -> bool {
        match self {
            Cond::Lt => a < b,
            Cond::Le => a <= b,
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Gt => a > b,
            Cond::Ge | Cond::Below => a >= b,
        }
    }
}
