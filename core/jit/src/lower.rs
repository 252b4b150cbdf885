//! Lowers a whole trace tree to one machine function.
//!
//! `fn(buffer) -> exit`: the buffer brings the inputs' components in order, and takes back what the exit's map names; the
//! word at [`ITERATIONS`] gets the passes of the loop head, those behind the inputs the side traces begun. `buffer` points
//! at word [`ORIGIN`]; what the word at [`BREAKER`] points at is polled at every pass.
//!
//! Invariants
//!
//! - The code has no relocations but calls of helpers, which are the arena's links.
//! - Every exit writes all it needs before it returns, and changes no object.
//!
//! ```text
//! entry -> outer head -> [what was hoisted] -> head -> root and inner side traces -> head
//!               ^------------------- side traces that leave the innermost loop ---+
//! ```

mod exits;
mod force;
mod host;
mod numbers;
mod objects;

pub use force::FORCED;
pub use host::{Helpers, Host};

use crate::arena::{Helper, Link};
use crate::shrink::{Calls, shrink};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::ExternalName;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F64, I8, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, ExtFuncData, Function, InstBuilder, MemFlagsData, Signature, Type as ClType,
    UserExternalName, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use larder_trace::{End, ExitId, Kind, Op, Ref, Slot, Trace, Tree, Type, Val, layout};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Words of the buffer.
pub const BUFFER_WORDS: usize = 512;
/// The code is given the address of this word, so that the first 32 words are near: one byte of distance each.
pub const ORIGIN: usize = 16;
/// The word that gets the passes of the loop head.
pub const ITERATIONS: usize = 0;
/// The word a helper uses for its result, and the one that tells whether there is any: passes are written there when the
/// trace is left, and not before.
pub const SCRATCH: usize = 1;
pub const FITS: usize = ITERATIONS;
/// The word that counts objects in the release log.
pub const LOGGED: usize = 2;
/// The word with the address that is polled at every pass.
pub const BREAKER: usize = 3;
/// Where inputs, counters of side traces, and values of exits begin.
pub const FIRST: usize = 4;

/// Distance of a word from the address the code is given.
pub(crate) fn word(index: usize) -> i32 {
    (index as i32 - ORIGIN as i32) * 8
}

/// Objects the release log has room for.
pub const LOG_WORDS: usize = 8192;
/// Bits of a made-up identity that tell those of one pass apart.
const NAME_BITS: i64 = 12;

/// Where one component of a value is found after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Buffer(u16),
    Const(i64),
}

/// A value, and where its components are.
pub type Item = (Val, [Source; 4]);

/// How to rebuild the frame after one exit: every slot that may differ, and where its components are.
#[derive(Clone, Debug, Default)]
pub struct ExitMap {
    pub slots: Vec<(Slot, Val, [Source; 4])>,
    /// From here on `slots` only carries what earlier passes changed: nothing, if there were none.
    pub carried: usize,
    /// From here on only what those passes changed that ended otherwise than the traces counted in the word behind the
    /// side traces' counters: nothing, if there were none of them.
    pub fresh: usize,
    /// The items of the tuples that `slots` names.
    pub tuples: Vec<(u32, Vec<Item>)>,
}

pub struct Code {
    pub bytes: Vec<u8>,
    /// Calls of helpers, by their place in [`Helpers::all`].
    pub links: Vec<Link>,
    pub exits: Vec<ExitMap>,
    /// The word before the one that counts how often the first side trace was begun.
    pub counters: u16,
    /// Whether the word behind those counts passes; see [`ExitMap::fresh`].
    pub fresh: bool,
}

pub struct Compiler {
    isa: OwnedTargetIsa,
    context: Context,
    builder: FunctionBuilderContext,
    host: Host,
    pub hoist: bool,
    warm: bool,
    force: Option<force::Force>,
}

/// What [`Compiler::warm_up`] compiles: a little of everything.
const SAMPLE: &str = "
    in i box int
    in x xbox float
    in list ptr
    n = size list
    c = cmpi i n #6
    guard c !1
    items = items list
    a = load items i
    guardtype a #7 !1
    v = unboxf a
    p = fmul v x
    half = constf 0.5
    q = fadd p half
    f = fcall q #0
    k = consti 1000003
    j = mul i k !2
    s = addw j i
    live s f
";

const MEM: MemFlagsData = MemFlagsData::trusted();

impl Compiler {
    /// # Errors
    /// Text saying why this machine has no back end.
    pub fn new(host: Host) -> Result<Compiler, String> {
        let mut flags = settings::builder();
        for (name, value) in [
            // Our passes have been over it: Cranelift's own take longer than they save, and make more of constants.
            ("opt_level", "none"),
            ("enable_verifier", "false"),
            ("is_pic", "false"),
            ("enable_probestack", "false"),
        ] {
            flags.set(name, value).map_err(|e| e.to_string())?;
        }
        let mut target =
            cranelift_codegen::isa::lookup_by_name("x86_64-unknown-linux-gnu").map_err(|e| e.to_string())?;
        if cfg!(not(target_arch = "x86_64")) {
            return Err("traces are compiled on x86-64 only".into());
        }
        #[cfg(target_arch = "x86_64")]
        for (name, there) in [
            ("has_sse41", is_x86_feature_detected!("sse4.1")),
            ("has_bmi1", is_x86_feature_detected!("bmi1")),
            ("has_bmi2", is_x86_feature_detected!("bmi2")),
        ] {
            if there {
                target.enable(name).map_err(|e| e.to_string())?;
            }
        }
        let isa = target.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())?;
        Ok(Compiler {
            isa,
            context: Context::new(),
            builder: FunctionBuilderContext::new(),
            host,
            hoist: true,
            warm: false,
            force: None,
        })
    }

    /// Compiles a small loop and throws it away, once: the back end builds tables and touches its pages when it is first
    /// used, and the first real loop need not wait for that.
    ///
    /// # Errors
    /// Text saying what is wrong with the sample.
    pub fn warm_up(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.warm, true) {
            return Ok(());
        }
        let mut tree = larder_trace::text::parse(SAMPLE)?;
        let live = std::mem::take(&mut tree.exits[0].snapshot.slots);
        let changed = live.iter().enumerate().map(|(k, (_, v))| (k as u32, v.components().0));
        tree.traces[0].end = End::Head(changed.collect());
        larder_trace::opt::optimise(&mut tree, 0, &Default::default());
        let code = self.compile(&tree)?;
        crate::Packed::new(&tree, &code, |_| true).map(drop)
    }

    /// # Errors
    /// Text from the back end, or that the tree is too wide for the buffer.
    pub fn compile(&mut self, tree: &Tree) -> Result<Code, String> {
        self.context.clear();
        // Arguments as in C, but no register is kept: the arena's entry keeps them all, once.
        let mut signature = Signature::new(CallConv::Winch);
        signature.params = vec![AbiParam::new(I64)];
        signature.returns = vec![AbiParam::new(I64)];
        self.context.func = Function::with_name_signature(UserFuncName::user(0, 0), signature);
        let mut exits = vec![ExitMap::default(); tree.exits.len()];
        let (counters, fresh);
        {
            let mut b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
            (counters, fresh) = match lower(&mut b, tree, &self.host, self.hoist, &mut exits, self.force.as_mut()) {
                Ok(found) => found,
                Err(why) => {
                    // What is left of it there would be found by the next trace.
                    self.builder = FunctionBuilderContext::new();
                    return Err(why);
                }
            };
            b.seal_all_blocks();
            b.finalize(self.isa.frontend_config());
        }
        let names = self.context.func.params.user_named_funcs().clone();
        let compiled = self
            .context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| format!("the code generator refused a trace: {:?}", e.inner))?;
        let mut calls = Vec::new();
        for reloc in compiled.buffer.relocs() {
            match (&reloc.target, reloc.kind) {
                (FinalizedRelocTarget::ExternalName(ExternalName::User(name)), Reloc::X86CallPCRel4) => {
                    let index = u16::try_from(names[*name].index).map_err(|_| "a helper without a name")?;
                    calls.push((reloc.offset, index));
                }
                _ => return Err("a trace would need a relocation".into()),
            }
        }
        let helpers = self.host.helpers.all();
        let three = self.host.helpers.replace_int;
        let given = |h: u16| {
            let helper = helpers.get(usize::from(h)).filter(|h| h.keeps)?;
            Some(if helper.address == three { 3 } else { 2 })
        };
        let replaces = |knows: bool| {
            let same = |h: &Helper| h.address == self.host.helpers.replace_float && h.knows == knows;
            helpers.iter().position(same).map(|at| at as u16)
        };
        let known = Calls {
            given: &given,
            knows: replaces(false).zip(replaces(true)),
        };
        // The number of a forced exit has a bit above those of a byte.
        let narrow = tree.exits.len() <= 256 && self.force.as_ref().is_none_or(|f| f.after == 0);
        let (bytes, links) = shrink(compiled.code_buffer(), &calls, &known, narrow);
        Ok(Code {
            bytes,
            links,
            exits,
            counters,
            fresh,
        })
    }
}

fn type_of(kind: Kind) -> ClType {
    match kind {
        Kind::Float => F64,
        Kind::Bool => I8,
        Kind::Int | Kind::Ptr | Kind::None => I64,
    }
}

struct Lower<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    tree: &'a Tree,
    host: &'a Host,
    values: Vec<Option<Value>>,
    blocks: HashMap<u32, Block>,
    pending: Vec<ExitId>,
    leaves: Vec<ExitId>,
    hoisted: HashSet<Ref>,
    /// Inputs whose object no longer matters.
    forgotten: HashSet<u32>,
    /// Those of them whose object matters until one of some traces has come back to the head, and the other traces.
    fresh: Fresh,
    /// The two loop heads, with the input components each carries.
    outer: Block,
    outer_carried: Vec<(u32, u8)>,
    inner: Block,
    inner_carried: Vec<(u32, u8)>,
    /// Inputs that stay the same inside the innermost loop, and the words of the buffer where they are kept: only the
    /// end of an outer trace writes there.
    homes: HashMap<Ref, usize>,
    /// The words exits may write: those without a home that any of them names.
    exit_words: Vec<usize>,
    /// The word before the counters of side traces.
    counters: usize,
    /// Where rounds of loops inside side traces begin, by their traces.
    rounds: HashMap<u32, Block>,
    /// Passes of the head so far.
    count: Value,
    buffer: Value,
    /// While operations run before the innermost loop: where their exits go.
    before: Option<Block>,
    /// See [`Tree::ends_containers`].
    ends_containers: bool,
    /// See [`Tree::borrowing`].
    borrowing: Vec<bool>,
    /// The helpers' addresses, in the order of the arena's.
    helpers: Vec<Helper>,
    /// Values of the trace at hand that need not be loaded or made again.
    kept: HashMap<Ref, Value>,
    /// See [`force`]: where to, and the exits that are forced somewhere.
    force: Option<&'a mut force::Force>,
    forced: HashMap<u32, Block>,
}

/// Whether an input's object is not carried: its number is new in every pass but the first, and nothing else asks
/// for the object.
fn is_forgotten(tree: &Tree, input: u32) -> bool {
    leaves_alone(tree, input).is_some_and(|alone| alone.is_empty())
}

/// Inputs whose object is not carried: until one of the other traces has come back to the head the frame holds it, and then
/// there is none. These leave the innermost loop, and leave the inputs alone.
#[derive(Default)]
struct Fresh {
    inputs: HashSet<u32>,
    alone: Vec<usize>,
}

impl Fresh {
    /// As many as one count of passes can tell of: of those in which these traces come back to the head.
    fn new(tree: &Tree) -> Fresh {
        let mut groups: BTreeMap<Vec<usize>, HashSet<u32>> = BTreeMap::new();
        let heads = tree.traces.iter().filter(|t| matches!(t.end, End::Head(_))).count();
        for input in 0..tree.inputs.len() as u32 {
            let Some(alone) = leaves_alone(tree, input) else {
                continue;
            };
            if !alone.is_empty() && alone.len() < heads && alone.iter().all(|at| tree.traces[*at].outer) {
                groups.entry(alone).or_default().insert(input);
            }
        }
        let most = groups.into_iter().max_by_key(|g| g.1.len());
        most.map_or_else(Fresh::default, |(alone, inputs)| Fresh { inputs, alone })
    }
}

/// The traces that come back to the head and leave a number alone, if all others bring one without an object and nothing
/// asks for its object.
fn leaves_alone(tree: &Tree, input: u32) -> Option<Vec<usize>> {
    let of = &tree.inputs[input as usize];
    let own = of.refs[1];
    if !matches!(of.ty, Type::Int | Type::Float) {
        return None;
    }
    let ends = tree.traces.iter().all(|t| match &t.end {
        End::Leave(_) => true,
        End::Into(_, args) | End::Again(args) => !args.contains(&own),
        End::Head(changed) => changed.iter().all(|(i, refs)| {
            let k = tree.inputs[*i as usize].ty.components().len();
            if *i == input {
                refs[..2] == of.refs[..2] || refs[1].is_none() || exists_once(tree, refs[0], refs[1])
            } else {
                !refs[..k].contains(&own)
            }
        }),
    });
    // A pass that leaves it alone takes the object along.
    let alone = |t: &Trace| match &t.end {
        End::Head(changed) => changed.iter().all(|(i, refs)| *i != input || refs[..2] == of.refs[..2]),
        _ => false,
    };
    let named = |v: &Val| v.identity() == Some(own);
    let in_exits = tree.exits.iter().flat_map(|e| &e.snapshot.slots).any(|(_, v)| named(v));
    let in_tuples = tree.tuples.iter().flatten().any(named);
    let used = tree
        .traces
        .iter()
        .flat_map(|t| &t.body)
        .any(|r| tree.inst(*r).args.contains(&own));
    let traces = 0..tree.traces.len();
    (ends && !in_exits && !in_tuples && !used).then(|| traces.filter(|at| alone(&tree.traces[*at])).collect())
}

/// Whether a number's object is a constant, one of the ints that exist once: made anew, it is the same object.
fn exists_once(tree: &Tree, value: Ref, boxed: Ref) -> bool {
    let constant = |r: Ref, op: Op| r.is_inst() && tree.inst(r).op == op;
    constant(boxed, Op::ConstP) && constant(value, Op::ConstI) && (-5..=256).contains(&tree.inst(value).imm)
}

fn lower(
    b: &mut FunctionBuilder,
    tree: &Tree,
    host: &Host,
    hoist: bool,
    exits: &mut [ExitMap],
    force: Option<&mut force::Force>,
) -> Result<(u16, bool), String> {
    let (entry, outer, inner) = (b.create_block(), b.create_block(), b.create_block());
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let buffer = b.block_params(entry)[0];
    let before = if hoist {
        larder_trace::opt::hoist(tree)
    } else {
        Vec::new()
    };
    let fresh = Fresh::new(tree);
    let forgotten: HashSet<u32> = (0..tree.inputs.len() as u32)
        .filter(|i| fresh.inputs.contains(i) || is_forgotten(tree, *i))
        .collect();
    let keep = |c: &(u32, u8)| c.1 != 1 || !forgotten.contains(&c.0);
    let (mut outer_carried, mut inner_carried) = (tree.carried(), tree.carried_by(|t| !t.outer));
    outer_carried.retain(keep);
    inner_carried.retain(keep);
    let zero = b.ins().iconst(I64, 0);
    let mut l = Lower {
        b,
        tree,
        host,
        values: vec![None; tree.insts.len()],
        blocks: HashMap::new(),
        pending: Vec::new(),
        leaves: Vec::new(),
        hoisted: before.iter().copied().collect(),
        helpers: host.helpers.all(),
        ends_containers: tree.ends_containers(),
        borrowing: tree.borrowing(),
        forgotten,
        fresh,
        outer,
        outer_carried,
        inner,
        inner_carried,
        homes: HashMap::new(),
        exit_words: Vec::new(),
        counters: 0,
        rounds: HashMap::new(),
        count: zero,
        buffer,
        before: None,
        kept: HashMap::new(),
        force,
        forced: HashMap::new(),
    };
    let mut next = FIRST;
    let mut args: Vec<BlockArg> = Vec::new();
    for (index, input) in tree.inputs.iter().enumerate() {
        for (k, kind) in input.ty.components().iter().enumerate() {
            let (r, at) = (input.refs[k], next);
            next += 1;
            if k == 1 && l.forgotten.contains(&(index as u32)) {
                l.values[r.at()] = Some(l.b.ins().iconst(I64, 0));
            } else if l.inner_carried.contains(&(index as u32, k as u8)) {
                args.push(l.b.ins().load(type_of(*kind), MEM, buffer, word(at)).into());
                l.values[r.at()] = Some(l.b.append_block_param(outer, type_of(*kind)));
            } else {
                l.homes.insert(r, at);
            }
        }
    }
    let counters = next - 1;
    l.counters = counters;
    // One more: see [`Lower::fresh`].
    next += tree.traces.len();
    if next > BUFFER_WORDS {
        return Err("a trace with too many inputs".into());
    }
    args.push(zero.into());
    l.count = l.b.append_block_param(outer, I64);
    l.b.ins().jump(outer, &args);
    l.b.switch_to_block(outer);
    for r in l.used_inside(&before) {
        l.values[r.at()] = Some(l.v(r)?);
    }
    // What does not change inside the innermost loop; a check that fails here leaves at the head.
    let early = l.b.create_block();
    l.before = Some(early);
    for r in &before {
        l.inst(*r)?;
    }
    l.before = None;
    let mut args: Vec<BlockArg> = Vec::new();
    let outside = (l.values.clone(), l.count);
    for (input, k) in l.inner_carried.clone() {
        let r = tree.inputs[input as usize].refs[k as usize];
        args.push(l.v(r)?.into());
        l.values[r.at()] = Some(l.b.append_block_param(inner, type_of(tree.kind(r))));
    }
    args.push(l.count.into());
    let passes = l.b.append_block_param(inner, I64);
    l.b.ins().jump(inner, &args);
    l.b.switch_to_block(inner);
    l.count = l.b.ins().iadd_imm_s(passes, 1);
    l.poll(ExitId::HEAD)?;
    l.trace(0)?;
    while let Some(exit) = l.pending.pop() {
        let block = l.blocks[&exit.0];
        l.b.switch_to_block(block);
        l.b.set_cold_block(block);
        match tree.exits[exit.at()].side {
            Some(side) => {
                l.begins(side as usize);
                l.trace(side as usize)?;
                if l.forced.contains_key(&exit.0) {
                    l.leaves.push(exit);
                }
            }
            None => l.leaves.push(exit),
        }
    }
    l.kept.clear();
    // The early exit sees the values as they were outside.
    l.stubs(exits, early, outside)?;
    Ok((counters as u16, !l.fresh.alone.is_empty()))
}

impl Lower<'_, '_> {
    /// Counts one more run of a side trace.
    fn begins(&mut self, trace: usize) {
        self.one_more(self.counters + trace);
    }

    fn one_more(&mut self, at: usize) {
        let counter = word(at);
        let count = self.b.ins().load(I64, MEM, self.buffer, counter);
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(MEM, count, self.buffer, counter);
    }

    /// Leaves when the interpreter wants control, or there is no more room in the release log for all traces once.
    fn poll(&mut self, exit: ExitId) -> Result<(), String> {
        self.countdown(exit);
        // Another thread sets this word: the load must happen every time.
        let breaker = self.b.ins().load(I64, MEM, self.buffer, word(BREAKER));
        let wanted = if self.host.breaker_mask == 0xff {
            self.b.ins().atomic_load(I8, MEM, breaker)
        } else {
            let flags = self.b.ins().atomic_load(I32, MEM, breaker);
            self.b.ins().band_imm_s(flags, i64::from(self.host.breaker_mask as i32))
        };
        self.exit_if(wanted, exit);
        let releases = self.tree.releases();
        if releases > 0 {
            if releases * 2 >= LOG_WORDS {
                return Err("a trace that lets go of too much".into());
            }
            // Whether there is room is seen in one byte, unless a pass lets go of more than that byte counts by.
            let full = if releases <= 256 {
                let high = self.b.ins().load(I8, MEM, self.buffer, word(LOGGED) + 1);
                let most = (LOG_WORDS >> 8) as i64 - 1;
                self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThanOrEqual, high, most)
            } else {
                let logged = self.b.ins().load(I64, MEM, self.buffer, word(LOGGED));
                let room = (LOG_WORDS - releases) as i64;
                self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, logged, room)
            };
            self.exit_if(full, exit);
        }
        Ok(())
    }

    fn exit_block(&mut self, exit: ExitId) -> Block {
        if let Some(early) = self.before {
            return early;
        }
        if let Some(block) = self.blocks.get(&exit.0) {
            return *block;
        }
        let block = self.b.create_block();
        self.blocks.insert(exit.0, block);
        self.pending.push(exit);
        block
    }

    fn exit_if(&mut self, c: Value, exit: ExitId) {
        let (out, on) = (self.exit_block(exit), self.b.create_block());
        self.b.ins().brif(c, out, &[], on, &[]);
        self.b.switch_to_block(on);
    }

    fn exit_unless(&mut self, c: Value, exit: ExitId) {
        let (out, on) = (self.exit_block(exit), self.b.create_block());
        self.b.ins().brif(c, on, &[], out, &[]);
        self.b.switch_to_block(on);
    }

    /// The value of an operand; constants are made anew at each use.
    fn v(&mut self, r: Ref) -> Result<Value, String> {
        if r.is_none() {
            return Ok(self.b.ins().iconst(I64, 0));
        }
        if let Some(token) = r.as_token() {
            return Ok(self.name(i64::from(token)));
        }
        let inst = self.tree.inst(r);
        if let (None, Some(at)) = (self.values[r.at()], self.homes.get(&r)) {
            let ty = type_of(self.tree.kind(r));
            return Ok(self.b.ins().load(ty, MEM, self.buffer, word(*at)));
        }
        Ok(match inst.op {
            Op::ConstI | Op::ConstP => self.b.ins().iconst(I64, inst.imm),
            Op::ConstB => self.b.ins().iconst(I8, inst.imm),
            Op::ConstF => self.b.ins().f64const(f64::from_bits(inst.imm as u64)),
            _ => self.values[r.at()].ok_or_else(|| format!("{:?} used before it is made", inst.op))?,
        })
    }

    /// As [`Lower::v`], on the trace's way itself: what follows finds it again.
    fn on_the_way(&mut self, r: Ref) -> Result<Value, String> {
        let lasts = r.as_token().is_some() || self.homes.contains_key(&r);
        if let Some(v) = self.kept.get(&r) {
            return Ok(*v);
        }
        let v = self.v(r)?;
        if lasts && self.before.is_none() {
            self.kept.insert(r, v);
        }
        Ok(v)
    }

    /// As [`Lower::word`], on the trace's way itself.
    fn word_of(&mut self, r: Ref) -> Result<Value, String> {
        self.on_the_way(r)?;
        self.word(r)
    }

    /// A value as it lies in the buffer.
    fn word(&mut self, r: Ref) -> Result<Value, String> {
        let x = match self.kept.get(&r) {
            Some(x) => *x,
            None => self.v(r)?,
        };
        let bool = r.is_inst() && self.tree.kind(r) == Kind::Bool;
        Ok(if bool { self.b.ins().uextend(I64, x) } else { x })
    }

    /// The homes that the innermost loop, or what runs before it, reads: better in registers.
    fn used_inside(&self, before: &[Ref]) -> Vec<Ref> {
        let tree = self.tree;
        let inner = || tree.traces.iter().filter(|t| !t.outer);
        let body = inner().flat_map(|t| &t.body).chain(before);
        let mut used: Vec<Ref> = body.flat_map(|r| tree.inst(*r).args).collect();
        for t in inner() {
            if let End::Head(changed) = &t.end {
                used.extend(changed.iter().flat_map(|c| c.1));
            }
        }
        used.retain(|r| self.homes.contains_key(r));
        used.sort_unstable();
        used.dedup();
        used
    }

    /// An odd word, unlike any object's address: an identity of this pass.
    fn name(&mut self, token: i64) -> Value {
        let pass = self.b.ins().ishl_imm_s(self.count, NAME_BITS + 1);
        let tag = (token & ((1 << NAME_BITS) - 1)) << 1 | 1;
        self.b.ins().bor_imm_s(pass, tag)
    }

    fn trace(&mut self, index: usize) -> Result<(), String> {
        let tree = self.tree;
        self.kept.clear();
        let hoisted = self.hoisted.clone();
        let mut body = tree.traces[index].body.iter().filter(|r| !hoisted.contains(r));
        let mut at = body.next();
        while let Some(r) = at {
            let next = body.next();
            at = match next {
                Some(then) if self.replace_in_place(*r, *then)? => body.next(),
                _ => {
                    self.inst(*r)?;
                    next
                }
            };
        }
        match &tree.traces[index].end {
            End::Leave(exit) => {
                let block = self.exit_block(*exit);
                self.b.ins().jump(block, &[]);
            }
            End::Into(round, first) => {
                let args = self.all(first)?;
                let block = self.b.create_block();
                self.b.ins().jump(block, &args);
                self.b.switch_to_block(block);
                for phi in &tree.traces[*round as usize].phis {
                    let ty = type_of(tree.kind(*phi));
                    self.values[phi.at()] = Some(self.b.append_block_param(block, ty));
                }
                self.rounds.insert(*round, block);
                self.begins(*round as usize);
                self.trace(*round as usize)?;
            }
            End::Again(now) => {
                let args = self.all(now)?;
                let block = *self.rounds.get(&(index as u32)).ok_or("a round of no loop")?;
                self.b.ins().jump(block, &args);
            }
            End::Head(changed) => {
                let outer = tree.traces[index].outer;
                if self.fresh.alone.contains(&index) {
                    self.one_more(self.counters + tree.traces.len());
                }
                let mut args: Vec<BlockArg> = Vec::new();
                let now = |input: u32, k: u8| {
                    let changed = changed.iter().find(|c| c.0 == input);
                    let refs = changed.map_or(tree.inputs[input as usize].refs, |c| c.1);
                    let number = tree.inputs[input as usize].ty == Type::Int;
                    if k == 1 && number && exists_once(tree, refs[0], refs[1]) {
                        Ref::NONE
                    } else {
                        refs[k as usize]
                    }
                };
                for (input, k) in self.inner_carried.clone() {
                    args.push(self.on_the_way(now(input, k))?.into());
                }
                if outer {
                    // All are read before any is written.
                    let mut moves = Vec::new();
                    for (input, k) in self.outer_carried.clone() {
                        let own = tree.inputs[input as usize].refs[k as usize];
                        if let Some(at) = self.homes.get(&own).copied()
                            && now(input, k) != own
                        {
                            moves.push((at, self.word_of(now(input, k))?));
                        }
                    }
                    for (at, x) in moves {
                        self.b.ins().store(MEM, x, self.buffer, word(at));
                    }
                }
                args.push(self.count.into());
                let to = if outer { self.outer } else { self.inner };
                self.b.ins().jump(to, &args);
            }
        }
        Ok(())
    }

    fn all(&mut self, refs: &[Ref]) -> Result<Vec<BlockArg>, String> {
        refs.iter().map(|r| Ok(self.on_the_way(*r)?.into())).collect()
    }

    fn inst(&mut self, r: Ref) -> Result<(), String> {
        let inst = *self.tree.inst(r);
        if inst.op == Op::Round {
            return self.poll(inst.exit);
        }
        if inst.op.is_const() || inst.op == Op::Input {
            return Ok(());
        }
        // A branch that goes the other way is none of ours: there the countdown comes behind the check.
        let branch = inst.exit != ExitId::NONE && {
            let exit = &self.tree.exits[inst.exit.at()];
            exit.onward != exit.snapshot.pc
        };
        if !branch {
            self.countdown(inst.exit);
        }
        let takes = inst.op.info().takes.len();
        let mut a = [self.buffer; 3];
        for (value, arg) in a.iter_mut().zip(inst.args).take(takes) {
            *value = self.on_the_way(arg)?;
        }
        if inst.op.is_guard() {
            self.guard(inst.op, inst.imm, inst.exit, a);
            if branch {
                self.countdown(inst.exit);
            }
            return Ok(());
        }
        let made = match self.number(inst.op, inst.imm, inst.exit, a) {
            Some(made) => Some(made),
            None => self.object(inst.op, inst.imm, inst.exit, a)?,
        };
        self.values[r.at()] = made;
        Ok(())
    }
}
