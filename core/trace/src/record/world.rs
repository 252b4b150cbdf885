//! What the recorder may ask of the interpreter.

use super::{Gives, Walker};
use crate::bytecode::Ins;
use crate::ir::*;
use std::rc::Rc;

/// What an object is, as far as the recorder can use it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    Int(i64),
    Float(f64),
    Bool(bool),
    List,
    Tuple,
    Dict,
    Set,
    Str,
    Bytes,
    RangeIter(i64, i64, i64),
    /// A range object: start, stop, step.
    Range(i64, i64, i64),
    SeqIter(Seq, Obj, i64),
    Enumerate(i64, Obj, i64),
    Zip(Obj, Obj, i64),
    /// No object: where a `for` of 3.15 stands.
    Position(i64),
    /// The place of a variable that functions share.
    Cell,
    /// None, a function, a type, a module: treated as this very object.
    Known,
    Other,
}

/// An item of an object made for the recorder to look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Concrete {
    Int(i64),
    Float(f64),
    Object(Obj),
}

/// Callables with a meaning of their own in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    Range,
    Abs,
    Len,
    Float,
    Int,
    Bool,
    Round,
    Divmod,
    Pow,
    Min,
    Max,
    Ord,
    Chr,
    Enumerate,
    Zip,
    IsInstance,
    Sum,
    Str,
    Repr,
    Format,
    Sqrt,
    Sin,
    Cos,
    Tan,
    Atan,
    Atan2,
    Exp,
    Log,
    Floor,
    Ceil,
    Fabs,
    /// Functions of `math` that are called as they are: of one float, or two.
    OfFloat,
    OfFloats,
    Degrees,
    Radians,
    IsNan,
    IsInf,
    IsFinite,
    Trunc,
    Gcd,
    Isqrt,
    /// `list.append`, `list.pop` and `dict.get`, the methods of the types.
    Append,
    Pop,
    /// The methods of dict that give what it can be iterated by.
    Keys,
    Values,
    Items,
    /// `set.add`.
    Add,
    Get,
    /// `random.random`, the method of the type; the module's function is bound to its generator.
    Random,
}

impl Builtin {
    pub fn named(name: &str) -> Option<Builtin> {
        use Builtin::*;
        Some(match name {
            "range" => Range,
            "abs" => Abs,
            "len" => Len,
            "float" => Float,
            "int" => Int,
            "bool" => Bool,
            "round" => Round,
            "divmod" => Divmod,
            "pow" => Pow,
            "min" => Min,
            "max" => Max,
            "sum" => Sum,
            "str" => Str,
            "repr" => Repr,
            "format" => Format,
            "ord" => Ord,
            "chr" => Chr,
            "enumerate" => Enumerate,
            "zip" => Zip,
            "isinstance" => IsInstance,
            "math.sqrt" => Sqrt,
            "math.sin" => Sin,
            "math.cos" => Cos,
            "math.tan" => Tan,
            "math.atan" => Atan,
            "math.atan2" => Atan2,
            "math.exp" => Exp,
            "math.log" => Log,
            "math.floor" => Floor,
            "math.ceil" => Ceil,
            "math.fabs" => Fabs,
            "math.asin" | "math.acos" | "math.sinh" | "math.cosh" | "math.tanh" | "math.asinh" | "math.acosh"
            | "math.atanh" | "math.log2" | "math.log10" | "math.log1p" | "math.expm1" | "math.exp2" | "math.cbrt"
            | "math.erf" | "math.erfc" | "math.gamma" | "math.lgamma" => OfFloat,
            "math.pow" | "math.hypot" | "math.fmod" | "math.copysign" => OfFloats,
            "math.degrees" => Degrees,
            "math.radians" => Radians,
            "math.isnan" => IsNan,
            "math.isinf" => IsInf,
            "math.isfinite" => IsFinite,
            "math.trunc" => Trunc,
            "math.gcd" => Gcd,
            "math.isqrt" => Isqrt,
            "list.append" => Append,
            "list.pop" => Pop,
            "dict.keys" => Keys,
            "set.add" => Add,
            "dict.values" => Values,
            "dict.items" => Items,
            "dict.get" => Get,
            "random.random" => Random,
            _ => return None,
        })
    }
}

/// A Python function as inlining sees it.
pub struct Callee {
    pub code: Obj,
    pub globals: Obj,
    pub locals: usize,
    pub arguments: usize,
    /// How many of these cannot be named.
    pub positional_only: usize,
    /// Arguments that must be named.
    pub keyword_only: usize,
    /// The tuple of the names of its variables, arguments first.
    pub names: Obj,
    /// The tuple of the last arguments' defaults, and the dict of those that must be named; null when there is none.
    pub defaults: Obj,
    pub keyword_defaults: Obj,
    /// The tuple of its cells, null when it has none.
    pub closure: Obj,
    /// No generator, no `*`.
    pub simple: bool,
    pub ins: Rc<[Ins]>,
}

/// Where an attribute lives, if it lives at a fixed place of every instance of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `__slots__`: bytes from the object's start.
    Slot(usize),
    /// Inline values: bytes from the object's start, where the byte is that says they are in use, and where a pointer
    /// is that is null while no dict was made of them.
    Inline { offset: usize, valid: usize, dict: usize },
    /// 3.12: behind the pointer at this place of the object, as long as its bit 0 is set; bytes from that odd address.
    Tagged { pointer: usize, offset: usize },
    /// A function of the class, that no instance hides: of the names instances share there are so many, and this is not
    /// among them (and the byte says that a value is in use); or instances have no names of their own.
    Method {
        function: Obj,
        keys: Option<(u32, ByteTest)>,
    },
    /// The same for an object that is given as it is.
    OfClass { value: Obj, keys: Option<(u32, ByteTest)> },
}

/// A byte of an object, by its offset, in which one of these bits is set as long as attributes are where they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteTest {
    pub offset: usize,
    pub mask: u8,
}

impl ByteTest {
    /// As the immediate of [`Op::GuardByte`].
    pub fn imm(self) -> i64 {
        i64::from(self.offset as u32) | i64::from(self.mask) << 32
    }
}

/// The interpreter's objects, read-only.
pub trait World {
    fn class(&self, o: Obj) -> Class;
    fn type_of(&self, o: Obj) -> Obj;
    /// Whether this is the type of imports that a look-up by name has yet to do.
    fn is_lazy(&self, ty: Obj) -> bool;
    /// The types int, float and bool.
    fn number_types(&self) -> [Obj; 3];
    fn bool_object(&self, value: bool) -> Obj;
    /// An exact type whose death runs no code: numbers, strings, bytes.
    fn is_leaf(&self, o: Obj) -> bool;
    fn is_leaf_type(&self, ty: Obj) -> bool;
    /// Whether nobody could notice the death of an object: a leaf, None or the like, or a tuple of such.
    fn is_quiet(&self, o: Obj) -> bool;
    /// The types list and tuple.
    fn container_types(&self) -> [Obj; 2];
    /// A list or tuple of these items that the program never sees; it lives as long as the recording.
    fn example(&self, tuple: bool, items: &[Concrete]) -> Obj;
    /// The same for a slice; none when the trace would not make it.
    fn slice(&self, o: Obj, start: i64, stop: i64) -> Option<Obj>;
    /// Start and stop of a slice object without a step, as it stands among a function's constants from CPython 3.14 on.
    fn bounds(&self, o: Obj) -> Option<[Obj; 2]>;
    /// The same for a value's text; none when making it raises, or when the trace would not make it.
    fn text(&self, value: Concrete, spec: Obj, how: i64) -> Option<Obj>;
    /// The same for strings that are joined.
    fn joined(&self, pieces: &[Obj]) -> Obj;
    fn is_immortal(&self, o: Obj) -> bool;
    /// Whether more than one owner holds it.
    fn is_shared(&self, o: Obj) -> bool;
    /// A fast local or stack entry of the frame being recorded.
    fn slot(&self, index: usize) -> Obj;
    /// A name of a code object, and a constant; a null code object is the recorded frame's.
    fn name(&self, code: Obj, index: usize) -> Obj;
    fn constant(&self, code: Obj, index: usize) -> Obj;
    /// One of the ints that exist once, and a constant that all code shares (null when it is not known).
    fn small_int(&self, value: i64) -> Obj;
    fn common_constant(&self, index: usize) -> Obj;
    /// The object bound to a name, null when there is none.
    fn lookup(&self, space: Namespace, key: Obj) -> Obj;
    /// The namespace of a module object, null for anything else.
    fn module_dict(&self, o: Obj) -> Obj;
    /// The frame's globals, and its builtins.
    fn namespaces(&self) -> [Obj; 2];
    /// Whether the frame runs at module level: its locals are its globals.
    fn module_level(&self) -> bool;
    fn builtin(&self, o: Obj) -> Option<Builtin>;
    /// The generator object a bound `random` belongs to, null when it is not one.
    fn generator_of(&self, o: Obj) -> Obj;
    /// Length and items of a list, tuple, string, bytes object or dict.
    fn size(&self, o: Obj) -> i64;
    fn item(&self, o: Obj, index: i64) -> Obj;
    fn byte(&self, o: Obj, index: i64) -> Option<u8>;
    /// A string that keeps one byte a character, in itself.
    fn is_latin(&self, o: Obj) -> bool;
    /// The string of one character below 256.
    fn char(&self, c: u8) -> Obj;
    /// Whether a str is this one.
    fn is_text(&self, o: Obj, text: &str) -> bool;
    fn compare_strings(&self, a: Obj, b: Obj) -> i64;
    fn compare_bytes(&self, a: Obj, b: Obj) -> i64;
    /// Where a dict keeps the value of a key, null when there is none; none when only Python can tell.
    fn dict_int(&self, dict: Obj, key: i64) -> Option<Obj>;
    fn dict_str(&self, dict: Obj, key: Obj) -> Option<Obj>;
    /// Whether a key is in a set; none when only Python can compare.
    fn set_int(&self, set: Obj, key: i64) -> Option<bool>;
    fn set_str(&self, set: Obj, key: Obj) -> Option<bool>;
    fn none(&self) -> Obj;
    /// A method of list or dict by name.
    fn method(&self, ty: Obj, name: Obj) -> Obj;
    /// Where an attribute of an instance is, and the version of its type this is true for.
    fn attribute(&self, o: Obj, name: Obj) -> Option<(Attribute, u32)>;
    /// The object that is a class's attribute, and the version of the class this is true for.
    fn class_attribute(&self, class: Obj, name: Obj) -> Option<(Obj, u32)>;
    /// Whether objects of a type are instances of a class, and the version of the type this is true for, if it can change;
    /// none when only Python can tell.
    fn is_instance(&self, ty: Obj, class: Obj) -> Option<(bool, Option<u32>)>;
    /// How an iterator that stays an object goes on.
    fn walker(&self, o: Obj) -> Option<Walker>;
    /// Where a dict keeps what its iterator gives next, null at the end; none when only the interpreter can tell.
    fn dict_next(&self, it: Obj) -> Option<Obj>;
    /// An iterator of a dict that the program never sees; it lives as long as the recording.
    fn dict_iterator(&self, dict: Obj, gives: Gives) -> Option<Obj>;
    /// What a function of floats gives; none when it raises, or gives something else.
    fn call_float(&self, f: Obj, x: f64, y: Option<f64>) -> Option<f64>;
    /// The number at an offset of an object.
    fn raw(&self, o: Obj, offset: usize) -> i64;
    /// The object at an offset, possibly null.
    fn field(&self, o: Obj, offset: usize) -> Obj;
    fn function(&self, o: Obj) -> Option<Callee>;
}
