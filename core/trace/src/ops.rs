//! The one table of trace operations: recorder, IR, passes, printer, lowering and documentation all read it.
//!
//! Kinds of values: `i` 64-bit integer, `f` double, `b` bool, `p` borrowed pointer (an object, or a list's items), `-` none.
//!
//! Invariants
//!
//! - A *pure* operation gives the same result for the same operands wherever it stands, and may be dropped or merged.
//! - An operation that *exits* leaves the trace before it has changed anything: the interpreter executes the
//!   instruction again from the state its snapshot describes. Within one bytecode every exit precedes every effect.
//! - Owned objects go straight to their owner: an operation that makes one is followed, before any exit, by the one
//!   that takes it.
//! - No object dies while a trace runs: a store that would drop the last reference hands it to the release log, which
//!   is emptied after the exit. So every `p` value stays valid until then.

/// Memory as the passes see it: what an operation reads stays as it is until an operation that writes the same part.
pub mod part {
    /// Items of lists.
    pub const ITEMS: u8 = 1;
    /// A list's length and where its items are.
    pub const SHAPE: u8 = 2;
    /// The value inside a number object: a store may reuse an object that only the list holds.
    pub const NUMBER: u8 = 4;
    /// Attributes of instances.
    pub const FIELDS: u8 = 8;
    /// Keys of dicts, and where their values are.
    pub const DICT: u8 = 16;
    /// Where iterators are.
    pub const ITER: u8 = 32;
}

/// What an operation produces and how the passes may treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpInfo {
    pub name: &'static str,
    /// One letter per operand.
    pub takes: &'static str,
    pub gives: Kind,
    pub pure: bool,
    pub exits: bool,
    /// Must stay though nothing uses its result: it writes, counts references or makes an object.
    pub effect: bool,
    /// Parts of memory it depends on, and parts it changes; see [`part`].
    pub reads: u8,
    pub writes: u8,
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

impl Kind {
    /// The kinds that what changes from round to round may have; a phi's immediate counts them.
    pub const PHIS: [Kind; 4] = [Kind::Int, Kind::Float, Kind::Bool, Kind::Ptr];
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

macro_rules! flag {
    ($info:ident pure) => {
        $info.pure = true
    };
    ($info:ident exits) => {
        $info.exits = true
    };
    ($info:ident effect) => {
        $info.effect = true
    };
    ($info:ident reads $part:ident) => {
        $info.reads |= part::$part
    };
    ($info:ident writes $part:ident) => {
        $info.writes |= part::$part;
        $info.effect = true
    };
}

macro_rules! ops {
    ($($op:ident $name:literal $takes:literal $gives:ident [$($flag:ident $($part:ident)?),*] $imm:literal $doc:literal;)*) => {
        /// One operation of a trace; see [`TABLE`] for what each means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op { $($op),* }

        pub const ALL: &[Op] = &[$(Op::$op),*];

        /// The operations in declaration order.
        pub const TABLE: &[OpInfo] = &[$({
            #[allow(unused_mut)]
            let mut info = OpInfo {
                name: $name, takes: $takes, gives: kind!($gives), pure: false, exits: false, effect: false, reads: 0,
                writes: 0, imm: $imm, doc: $doc,
            };
            $(flag!(info $flag $($part)?);)*
            info
        }),*];
    };
}

ops! {
    Input "input" "" n [] "input, component" "a register the loop head brings";
    Phi "phi" "" n [] "kind" "what a round of a loop inside a trace gets from the round before, or from before the loop; never in a body";
    Round "round" "" n [exits, writes ITEMS, writes SHAPE, writes NUMBER, writes FIELDS, writes DICT, writes ITER] "" "begins a round, so anything may have been written; exits when the interpreter wants control";
    ConstI "consti" "" i [pure] "value" "an integer";
    ConstF "constf" "" f [pure] "bits" "a float";
    ConstB "constb" "" b [pure] "0 or 1" "a bool";
    ConstP "constp" "" p [pure] "address" "an object the tree keeps alive";

    AddO "add" "ii" i [exits] "" "sum; exits on overflow";
    SubO "sub" "ii" i [exits] "" "difference; exits on overflow";
    MulO "mul" "ii" i [exits] "" "product; exits on overflow";
    NegO "neg" "i" i [exits] "" "negation; exits for the smallest integer";
    ShlO "shl" "ii" i [exits] "" "shift left by 0..63; exits when bits are lost";
    AddW "addw" "ii" i [pure] "" "sum known to fit: iterator steps and wrapped indices";
    SubW "subw" "ii" i [pure] "" "difference known to fit";
    MulW "mulw" "ii" i [pure] "" "product known to fit";
    Shr "shr" "ii" i [pure] "" "arithmetic shift right by 0..63";
    And "and" "ii" i [pure] "" "bits";
    Or "or" "ii" i [pure] "" "bits";
    Xor "xor" "ii" i [pure] "" "bits";
    Not "not" "i" i [pure] "" "bits";
    FloorDiv "floordiv" "ii" i [pure] "" "floor division by a positive number";
    Mod "mod" "ii" i [pure] "" "remainder by a positive number, never negative";

    FAdd "fadd" "ff" f [pure] "" "float sum";
    FSub "fsub" "ff" f [pure] "" "float difference";
    FMul "fmul" "ff" f [pure] "" "float product";
    FDiv "fdiv" "ff" f [pure] "" "float quotient; the divisor is known not to be zero";
    FNeg "fneg" "f" f [pure] "" "float negation";
    FAbs "fabs" "f" f [pure] "" "float magnitude";
    FSqrt "fsqrt" "f" f [pure] "" "square root of a number known not to be negative";
    FFloor "ffloor" "f" f [pure] "" "the largest whole number not above";
    FCeil "fceil" "f" f [pure] "" "the smallest whole number not below";
    FNear "fnear" "f" f [pure] "" "the nearest whole number, the even one of two";
    FCall "fcall" "f" f [pure] "function" "one of C's functions of one number; see [`Call`]";
    FCall2 "fcall2" "ff" f [pure] "function" "one of C's functions of two numbers";

    FPy "fpy" "pff" f [pure] "arguments" "a function of the math module, called as it is; not a number when it raises";
    Gcd "gcd" "ii" i [pure] "" "greatest common divisor of numbers of less than 60 bits";
    Isqrt "isqrt" "i" i [pure] "" "the whole root of a number known not to be negative";

    IToF "itof" "i" f [pure] "" "integer to float, known exact or rounded as CPython rounds";
    FToI "ftoi" "f" i [exits] "" "float to integer towards zero; exits beyond 62 bits";
    BToI "btoi" "b" i [pure] "" "False 0, True 1";
    NotB "notb" "b" b [pure] "" "negation";
    AndB "andb" "bb" b [pure] "" "both";
    OrB "orb" "bb" b [pure] "" "either";
    XorB "xorb" "bb" b [pure] "" "one but not the other";
    CmpI "cmpi" "ii" b [pure] "condition" "integer comparison";
    CmpF "cmpf" "ff" b [pure] "condition" "float comparison; false with nan, except not-equal";
    CmpP "same" "pp" b [pure] "" "whether two pointers are the same object";
    StrEq "streq" "pp" b [pure] "" "whether two strings are equal";
    StrCmp "strcmp" "pp" i [pure] "bytes" "how two strings, or bytes objects, compare: negative, zero, positive";

    Best "best" "p" p [exits, reads ITEMS, reads SHAPE, reads NUMBER] "largest, kind" "the smallest or largest item of a list or tuple, the first of equals; exits unless all are ints of 64 bits (kind 0), floats (1) or strings (2)";
    SumI "sumi" "p" i [exits, reads ITEMS, reads SHAPE, reads NUMBER] "" "sum of a list's or tuple's items; exits unless all are ints, and so is every sum, of 64 bits";
    SumF "sumf" "pp" f [exits, reads ITEMS, reads SHAPE, reads NUMBER] "" "what the built-in sum, the first operand, gives for a list or tuple of ints and floats; exits unless that is a float";

    SetI "seti" "pi" i [exits, reads DICT] "" "whether an int is in a set; exits when only Python can compare";
    SetP "setp" "pp" i [exits, reads DICT] "" "the same for a str";
    SetAdd "setadd" "pp" n [writes DICT] "" "adds a new key that compares without Python; does not own it";

    GuardTrue "guard" "b" n [exits] "" "exits unless true";
    GuardFalse "guardnot" "b" n [exits] "" "exits when true";
    GuardType "guardtype" "p" n [exits] "type" "exits unless the object has exactly this type";
    GuardExact "guardexact" "i" n [exits] "" "exits unless the integer is exact as a float (+-2^53)";
    GuardSome "guardsome" "p" n [exits] "" "exits when the pointer is null";
    GuardNull "guardnull" "p" n [exits] "" "exits unless the pointer is null";
    GuardSame "guardsame" "pp" n [exits] "" "exits unless both are the same object";
    GuardShared "guardshared" "p" n [exits] "owners" "exits when the object has no more owners than these, not counting places of the frame that are overwritten; with 0, when it has one owner";
    GuardHeld "guardheld" "pp" n [exits] "" "exits when the object has one owner only and that may be the iterator: where there is one, or the tree lets go of containers";
    GuardImmortal "guardimmortal" "p" n [exits] "" "exits when the object is counted";
    GuardByte "guardbyte" "p" n [exits] "mask, offset" "exits when no bit of the mask is set in the byte at this offset: attributes moved";
    GuardObject "guardobject" "p" n [exits] "" "exits when an identity is a name, and no object has been made of it";
    GuardQuiet "guardquiet" "p" n [exits] "" "exits when the death of the object could be noticed";
    GuardLatin "guardlatin" "p" n [exits] "" "exits unless the string keeps one byte a character, in itself";

    UnboxI "unboxi" "p" i [exits, reads NUMBER] "" "value of an int object; exits when it needs more than 64 bits";
    UnboxF "unboxf" "p" f [reads NUMBER] "" "value of a float object";
    UnboxB "unboxb" "p" b [pure] "" "value of a bool object";
    BoxB "boxb" "b" p [pure] "" "True or False";
    Named "named" "p" p [pure] "token" "an identity: the object if there is one, else a name unique to this pass of the head";

    Size "size" "p" i [reads SHAPE] "" "length of a list";
    Items "items" "p" p [reads SHAPE] "" "where a list keeps its items";
    Load "load" "pi" p [reads ITEMS] "" "object among a list's items, at an index known to be in range";
    SizeT "sizet" "p" i [pure] "" "length of a tuple or bytes object";
    LoadT "loadt" "pi" p [pure] "" "object in a tuple, at an index known to be in range";
    Len "len" "p" i [pure] "" "length of a string";
    LenD "lend" "p" i [reads DICT] "" "length of a dict";
    Byte "byte" "pi" i [pure] "offset" "a byte of a string or bytes object, at an index known to be in range";
    Char "char" "i" p [pure] "" "the string of one Latin-1 character";
    Field "field" "p" p [reads FIELDS] "offset" "an attribute, null when it is not set";
    DictI "dicti" "pi" p [exits, reads DICT] "" "where a dict keeps the value of an int key, null when there is none; exits when only Python can compare";
    DictP "dictp" "pp" p [exits, reads DICT] "" "the same for a str key";

    Raw "raw" "p" i [reads ITER] "offset" "a number that an iterator keeps";
    PutRaw "putraw" "pi" n [writes ITER] "offset" "moves an iterator";
    DictNext "dictnext" "p" p [reads DICT, reads ITER] "" "where a dict or set keeps what its iterator gives next, null at its end, 1 when only the interpreter can tell";
    DictStep "dictstep" "pp" n [writes ITER] "" "moves a dict's iterator past that";
    DictDone "dictdone" "p" n [writes ITER, writes FIELDS] "offset" "makes a dict's iterator let go of the dict, which somebody else owns too";
    NewDictIter "newdictiter" "p" p [effect, reads DICT] "keys, values or items" "an owned iterator of a dict";

    NewI "newi" "i" p [effect] "" "an int object of its own; whoever comes next in the body owns it";
    NewF "newf" "f" p [effect] "" "a float object of its own";
    MakeI "makei" "ip" p [exits, effect] "" "the object of an int, owned: the one it has, or a new one; exits when it is shared without an object";
    MakeF "makef" "fp" p [exits, effect] "" "the object of a float, owned";
    NewList "newlist" "i" p [effect] "" "an owned list of empty places, unknown to the collector";
    ListOf "listof" "p" p [effect] "" "an owned list of a constant tuple's items, unknown to the collector";
    NewTuple "newtuple" "i" p [effect] "quiet" "an owned tuple of empty places; unknown to the collector if quiet";
    Fill "fill" "pip" n [effect] "tuple" "puts an owned object in an empty place of a new list or tuple";
    Slice "slice" "pii" p [exits, effect, reads ITEMS, reads SHAPE] "" "an owned slice; exits when it is long, or when it is not quiet";
    FormatI "formati" "ip" p [exits, effect] "how" "an owned str: of an int, by a format (null for none), or by str, repr or ascii; exits when that raises, or gives a long one";
    FormatF "formatf" "fp" p [exits, effect] "how" "the same for a float";
    FormatP "formatp" "pp" p [exits, effect] "how" "the same for None, a bool or a str";
    Join "join" "p" p [effect] "" "an owned str: the strings of a tuple that nobody else holds, which is let go";
    PutSlice "putslice" "ppi" i [exits, writes ITEMS, writes SHAPE] "" "stores the items of a list or tuple in place of a list's, from the first bound (the upper half of the number) to the second; the old ones are kept in the release log until the exit. Exits when there are many, or one is not quiet";
    Pop "pop" "p" p [writes ITEMS, writes SHAPE] "" "takes the last object out of a list that is not empty; it is owned";
    ReplaceI "replacei" "pi" p [writes NUMBER] "holders" "an owned object for an int: the int object given, if only its place holds it, else a new one and the old is let go";
    ReplaceF "replacef" "pf" p [writes NUMBER] "holders" "the same for a float";
    Incref "incref" "p" n [effect] "" "one more owner";
    Release "release" "p" n [effect] "" "one owner less; the last one is kept in the release log until the exit";
    Keep "keep" "p" n [effect] "" "hands an owned object to the release log";
    Put "put" "pip" n [writes ITEMS] "" "stores an owned object among a list's items";
    PutField "putfield" "pp" n [writes FIELDS] "offset" "stores an owned object in an attribute";
    Append "append" "pp" n [writes ITEMS, writes SHAPE] "" "appends an owned object to a list";
    DictPut "dictput" "ppp" n [writes DICT] "" "stores under a new key that compares without Python; owns neither";
    Random "random" "p" f [writes NUMBER] "" "the next number of a generator of the random module";
}

/// The functions `fcall` and `fcall2` know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Call {
    Sin = 0,
    Cos = 1,
    Tan = 2,
    Atan = 3,
    Exp = 4,
    Log = 5,
    FloatMod = 6,
    FloatFloor = 7,
    Pow = 8,
    Atan2 = 9,
    Hypot = 10,
}

impl Op {
    pub fn info(self) -> &'static OpInfo {
        &TABLE[self as usize]
    }

    /// The operation of this printed name.
    pub fn named(name: &str) -> Option<Op> {
        ALL.iter().copied().find(|op| op.info().name == name)
    }

    pub fn is_guard(self) -> bool {
        self.info().exits && self.info().gives == Kind::None
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
