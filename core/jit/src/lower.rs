//! Lowers a whole trace tree to one machine function.
//!
//! `fn(buffer, breaker) -> exit`: the buffer brings the inputs' components in order, and takes back what the exit's
//! map names; the word at [`ITERATIONS`] counts passes of the loop head, those at [`COUNTERS`] the side traces begun.
//! `buffer` points at word [`ORIGIN`]; `breaker` is polled at every pass.
//!
//! Invariants
//!
//! - The code has no relocations: helpers are called through absolute addresses.
//! - Every exit writes all it needs before it returns, and changes no object.

use crate::stubs::Plan;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F64, I8, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Function, InstBuilder, MemFlagsData, Signature, Type as ClType, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use larder_trace::{Cond, End, ExitId, Kind, Layout, Op, Ref, Slot, Tree, Val, layout};
use std::collections::HashMap;

/// Words of the buffer.
pub const BUFFER_WORDS: usize = 512;
/// The code is given the address of this word, so that the first 32 words are near: one byte of distance each.
pub const ORIGIN: usize = 16;
/// The word that counts passes of the loop head.
pub const ITERATIONS: usize = 0;
/// The word a helper uses for its result.
const SCRATCH: usize = 1;
/// Where inputs and values of exits begin.
pub const FIRST: usize = 2;
/// Where they end. Behind it are the counters: how often each side trace was begun.
pub const COUNTERS: usize = BUFFER_WORDS - 64;

/// Distance of a word from the address the code is given.
fn word(index: usize) -> i32 {
    (index as i32 - ORIGIN as i32) * 8
}

/// What the code needs to know of the interpreter.
pub struct Host {
    pub layout: Layout,
    pub breaker_mask: u32,
    pub true_object: usize,
    /// `fn(int object, *mut i64) -> 1 or 0`: the value when 64 bits hold it.
    pub unbox_int: usize,
}

/// Where one component of a value is found after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Buffer(u16),
    Const(i64),
}

/// How to rebuild the frame after one exit: every slot that may differ, and where its components are.
#[derive(Clone, Debug, Default)]
pub struct ExitMap {
    pub slots: Vec<(Slot, Val, [Source; 4])>,
}

pub struct Code {
    pub bytes: Vec<u8>,
    pub exits: Vec<ExitMap>,
}

pub struct Compiler {
    isa: OwnedTargetIsa,
    context: Context,
    builder: FunctionBuilderContext,
    host: Host,
}

const MEM: MemFlagsData = MemFlagsData::trusted();

impl Compiler {
    /// # Errors
    /// Text saying why this machine has no back end.
    pub fn new(host: Host) -> Result<Compiler, String> {
        let mut flags = settings::builder();
        for (name, value) in [
            ("opt_level", "speed"),
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
        })
    }

    /// # Errors
    /// Text from the back end, or that the tree is too wide for the buffer.
    pub fn compile(&mut self, tree: &Tree) -> Result<Code, String> {
        self.context.clear();
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(I64), AbiParam::new(I64)];
        signature.returns = vec![AbiParam::new(I64)];
        self.context.func = Function::with_name_signature(UserFuncName::user(0, 0), signature);
        let mut exits = vec![ExitMap::default(); tree.exits.len()];
        {
            let mut b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
            lower(&mut b, tree, &self.host, &mut exits)?;
            b.seal_all_blocks();
            b.finalize(self.isa.frontend_config());
        }
        let compiled = self
            .context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| format!("the code generator refused a trace: {:?}", e.inner))?;
        if !compiled.buffer.relocs().is_empty() {
            return Err("a trace would need a relocation".into());
        }
        Ok(Code {
            bytes: compiled.code_buffer().to_vec(),
            exits,
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
    header: Block,
    carried: Vec<(u32, u8)>,
    /// Inputs whose object no longer matters.
    forgotten: Vec<u32>,
    buffer: Value,
}

/// The component of an input that is the object its number came from.
fn is_box(tree: &Tree, input: u32, component: u8) -> bool {
    component == 1 && tree.inputs[input as usize].ty.components().len() == 2
}

fn lower(b: &mut FunctionBuilder, tree: &Tree, host: &Host, exits: &mut [ExitMap]) -> Result<(), String> {
    let entry = b.create_block();
    let header = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let (buffer, breaker) = (b.block_params(entry)[0], b.block_params(entry)[1]);
    // An input's object is carried only if some trace brings one; else it is forgotten once the number changes.
    let mut carried = tree.carried();
    let mut forgotten = Vec::new();
    carried.retain(|(input, k)| {
        if !is_box(tree, *input, *k) {
            return true;
        }
        let brought = tree.traces.iter().any(|t| {
            let End::Head(changed) = &t.end else { return false };
            changed
                .iter()
                .any(|(i, refs)| i == input && !refs[1].is_none() && refs[1] != tree.inputs[*input as usize].refs[1])
        });
        if !brought {
            forgotten.push(*input);
        }
        brought
    });
    let mut l = Lower {
        b,
        tree,
        host,
        values: vec![None; tree.insts.len()],
        blocks: HashMap::new(),
        pending: Vec::new(),
        leaves: Vec::new(),
        header,
        carried,
        forgotten,
        buffer,
    };
    let mut next = FIRST;
    let mut args: Vec<BlockArg> = Vec::new();
    for (index, input) in tree.inputs.iter().enumerate() {
        for (k, kind) in input.ty.components().iter().enumerate() {
            let x = if k == 1 && l.forgotten.contains(&(index as u32)) {
                l.b.ins().iconst(I64, 0)
            } else {
                l.b.ins().load(type_of(*kind), MEM, buffer, word(next))
            };
            next += 1;
            l.values[input.refs[k].at()] = Some(if l.carried.contains(&(index as u32, k as u8)) {
                args.push(x.into());
                l.b.append_block_param(header, type_of(*kind))
            } else {
                x
            });
        }
    }
    if next > COUNTERS {
        return Err("a trace with too many inputs".into());
    }
    l.b.ins().jump(header, &args);
    l.b.switch_to_block(header);
    l.count(ITERATIONS);
    // Another thread sets this word: the load must happen every time.
    let flags = l.b.ins().atomic_load(I32, MEM, breaker);
    let wanted = l.b.ins().band_imm_s(flags, i64::from(host.breaker_mask as i32));
    l.exit_if(wanted, ExitId::HEAD);
    l.trace(0)?;
    while let Some(exit) = l.pending.pop() {
        let block = l.blocks[&exit.0];
        l.b.switch_to_block(block);
        l.b.set_cold_block(block);
        match tree.exits[exit.at()].side {
            Some(side) => {
                l.count(COUNTERS + side as usize);
                l.trace(side as usize)?;
            }
            None => l.leaves.push(exit),
        }
    }
    l.stubs(exits)
}

impl Lower<'_, '_> {
    fn count(&mut self, counter: usize) {
        let count = self.b.ins().load(I64, MEM, self.buffer, word(counter));
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(MEM, count, self.buffer, word(counter));
    }

    fn exit_block(&mut self, exit: ExitId) -> Block {
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
        let inst = self.tree.inst(r);
        Ok(match inst.op {
            Op::ConstI | Op::ConstP => self.b.ins().iconst(I64, inst.imm),
            Op::ConstB => self.b.ins().iconst(I8, inst.imm),
            Op::ConstF => self.b.ins().f64const(f64::from_bits(inst.imm as u64)),
            _ => self.values[r.at()].ok_or_else(|| format!("{:?} used before it is made", inst.op))?,
        })
    }

    fn trace(&mut self, index: usize) -> Result<(), String> {
        let tree = self.tree;
        for r in &tree.traces[index].body {
            self.inst(*r)?;
        }
        match &tree.traces[index].end {
            End::Leave(exit) => {
                let block = self.exit_block(*exit);
                self.b.ins().jump(block, &[]);
            }
            End::Head(changed) => {
                let mut args: Vec<BlockArg> = Vec::new();
                for (input, k) in self.carried.clone() {
                    let refs = changed
                        .iter()
                        .find(|c| c.0 == input)
                        .map_or(tree.inputs[input as usize].refs, |c| c.1);
                    args.push(self.v(refs[k as usize])?.into());
                }
                let header = self.header;
                self.b.ins().jump(header, &args);
            }
        }
        Ok(())
    }

    fn inst(&mut self, r: Ref) -> Result<(), String> {
        let inst = *self.tree.inst(r);
        if inst.op.is_const() || inst.op == Op::Input {
            return Ok(());
        }
        let takes = inst.op.info().takes.len();
        let mut a = [self.buffer; 3];
        for (value, arg) in a.iter_mut().zip(inst.args).take(takes) {
            *value = self.v(arg)?;
        }
        let [x, y, _] = a;
        let l = self.host.layout;
        let made = match inst.op {
            Op::Input | Op::ConstI | Op::ConstF | Op::ConstB | Op::ConstP => return Ok(()),
            Op::AddO | Op::SubO | Op::MulO => {
                let (v, over) = match inst.op {
                    Op::AddO => self.b.ins().sadd_overflow(x, y),
                    Op::SubO => self.b.ins().ssub_overflow(x, y),
                    _ => self.b.ins().smul_overflow(x, y),
                };
                self.exit_if(over, inst.exit);
                v
            }
            Op::NegO => {
                let zero = self.b.ins().iconst(I64, 0);
                let (v, over) = self.b.ins().ssub_overflow(zero, x);
                self.exit_if(over, inst.exit);
                v
            }
            Op::ShlO => {
                let v = self.b.ins().ishl(x, y);
                let back = self.b.ins().sshr(v, y);
                let same = self.b.ins().icmp(IntCC::Equal, back, x);
                self.exit_unless(same, inst.exit);
                v
            }
            Op::AddW => self.b.ins().iadd(x, y),
            Op::Shr => self.b.ins().sshr(x, y),
            Op::And => self.b.ins().band(x, y),
            Op::Or => self.b.ins().bor(x, y),
            Op::Xor => self.b.ins().bxor(x, y),
            Op::Not => self.b.ins().bnot(x),
            Op::FloorDiv => {
                let quotient = self.b.ins().sdiv(x, y);
                let product = self.b.ins().imul(quotient, y);
                let rest = self.b.ins().isub(x, product);
                let sign = self.b.ins().sshr_imm_s(rest, 63);
                self.b.ins().iadd(quotient, sign)
            }
            Op::Mod => {
                let rest = self.b.ins().srem(x, y);
                let sign = self.b.ins().sshr_imm_s(rest, 63);
                let fix = self.b.ins().band(sign, y);
                self.b.ins().iadd(rest, fix)
            }
            Op::FAdd => self.b.ins().fadd(x, y),
            Op::FSub => self.b.ins().fsub(x, y),
            Op::FMul => self.b.ins().fmul(x, y),
            Op::FDiv => self.b.ins().fdiv(x, y),
            Op::FNeg => self.b.ins().fneg(x),
            Op::FAbs => self.b.ins().fabs(x),
            Op::FSqrt => self.b.ins().sqrt(x),
            Op::IToF => self.b.ins().fcvt_from_sint(F64, x),
            Op::BToI => self.b.ins().uextend(I64, x),
            Op::NotB => self.b.ins().bxor_imm_s(x, 1),
            Op::CmpI => self.b.ins().icmp(int_cc(Cond::from_imm(inst.imm)), x, y),
            Op::CmpF => self.b.ins().fcmp(float_cc(Cond::from_imm(inst.imm)), x, y),
            Op::GuardTrue => {
                return {
                    self.exit_unless(x, inst.exit);
                    Ok(())
                };
            }
            Op::GuardFalse => {
                return {
                    self.exit_if(x, inst.exit);
                    Ok(())
                };
            }
            Op::GuardType => {
                let found = self.b.ins().load(I64, MEM, x, layout::TYPE as i32);
                let same = self.b.ins().icmp_imm_s(IntCC::Equal, found, inst.imm);
                return {
                    self.exit_unless(same, inst.exit);
                    Ok(())
                };
            }
            Op::GuardExact => {
                let moved = self.b.ins().iadd_imm_s(x, 1 << 53);
                let inside = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThanOrEqual, moved, 1 << 54);
                return {
                    self.exit_unless(inside, inst.exit);
                    Ok(())
                };
            }
            Op::UnboxI => self.unbox_int(x, inst.exit),
            Op::UnboxF => self.b.ins().load(F64, MEM, x, l.float_value as i32),
            Op::UnboxB => self.b.ins().icmp_imm_s(IntCC::Equal, x, self.host.true_object as i64),
            Op::ListLen => self.b.ins().load(I64, MEM, x, l.var_size as i32),
            Op::ListItem => {
                let items = self.b.ins().load(I64, MEM, x, l.list_items as i32);
                let offset = self.b.ins().ishl_imm_s(y, 3);
                let at = self.b.ins().iadd(items, offset);
                self.b.ins().load(I64, MEM, at, 0)
            }
        };
        self.values[r.at()] = Some(made);
        Ok(())
    }

    fn unbox_int(&mut self, o: Value, exit: ExitId) -> Value {
        let l = self.host.layout;
        let (fast, slow, done) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(done, I64);
        let tag = self.b.ins().load(I64, MEM, o, l.long_tag as i32);
        let small = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, tag, 16);
        self.b.ins().brif(small, fast, &[], slow, &[]);
        self.b.switch_to_block(fast);
        let digit = self.b.ins().uload32(MEM, o, l.long_digits as i32);
        let negative = self.b.ins().band_imm_s(tag, 3);
        let one = self.b.ins().iconst(I64, 1);
        let sign = self.b.ins().isub(one, negative);
        let value = self.b.ins().imul(digit, sign);
        self.b.ins().jump(done, &[value.into()]);
        self.b.switch_to_block(slow);
        self.b.set_cold_block(slow);
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(I64), AbiParam::new(I64)];
        signature.returns = vec![AbiParam::new(I64)];
        let signature = self.b.import_signature(signature);
        let helper = self.b.ins().iconst(I64, self.host.unbox_int as i64);
        let scratch = self.b.ins().iadd_imm_s(self.buffer, i64::from(word(SCRATCH)));
        let call = self.b.ins().call_indirect(signature, helper, &[o, scratch]);
        let fits = self.b.inst_results(call)[0];
        self.exit_unless(fits, exit);
        let value = self.b.ins().load(I64, MEM, scratch, 0);
        self.b.ins().jump(done, &[value.into()]);
        self.b.switch_to_block(done);
        result
    }

    /// What an exit writes: what its snapshot names, and what earlier passes of the loop changed.
    fn written(&self, exit: ExitId) -> Vec<(Slot, Val)> {
        let tree = self.tree;
        let snapshot = &tree.exits[exit.at()].snapshot;
        let mut vals = snapshot.slots.clone();
        let mut changed: Vec<u32> = tree.carried().iter().map(|c| c.0).collect();
        changed.dedup();
        for index in changed {
            let input = &tree.inputs[index as usize];
            let popped = input
                .slot
                .as_frame()
                .is_some_and(|i| i >= (tree.locals + snapshot.depth) as usize);
            if !popped && !vals.iter().any(|v| v.0 == input.slot) {
                vals.push((input.slot, input.val()));
            }
        }
        vals
    }

    /// The constant a component is, if it is one; what is not there counts as zero.
    fn constant(&self, r: Ref) -> Option<i64> {
        if r.is_none() {
            return Some(0);
        }
        let inst = self.tree.inst(r);
        if inst.op.is_const() {
            return Some(inst.imm);
        }
        let (input, component) = ((inst.imm >> 3) as u32, inst.imm & 7);
        (inst.op == Op::Input && component == 1 && self.forgotten.contains(&input)).then_some(0)
    }

    /// The blocks behind all exits that leave; see [`crate::stubs`].
    fn stubs(&mut self, exits: &mut [ExitMap]) -> Result<(), String> {
        let leaves = std::mem::take(&mut self.leaves);
        let vals: Vec<Vec<(Slot, Val)>> = leaves.iter().map(|e| self.written(*e)).collect();
        let needed = |vals: &Vec<(Slot, Val)>| -> Vec<Ref> {
            let all = vals.iter().flat_map(|(_, val)| {
                let (refs, count) = val.components();
                refs.into_iter().take(count)
            });
            all.filter(|r| self.constant(*r).is_none()).collect()
        };
        let plan = Plan::new(&vals.iter().map(needed).collect::<Vec<_>>());
        let leave = self.b.create_block();
        self.b.append_block_param(leave, I64);
        let mut blocks = Vec::new();
        for _ in &plan.nodes {
            let block = self.b.create_block();
            self.b.append_block_param(block, I64);
            blocks.push(block);
        }
        let begin = |at: Option<u32>| at.map_or(leave, |at| blocks[at as usize]);
        for (number, exit) in leaves.iter().enumerate() {
            let block = self.blocks[&exit.0];
            self.b.switch_to_block(block);
            let id = self.b.ins().iconst(I64, i64::from(exit.0));
            self.b.ins().jump(begin(plan.begins[number]), &[id.into()]);
            for (slot, val) in &vals[number] {
                let (refs, count) = val.components();
                let mut sources = [Source::Const(0); 4];
                for (source, r) in sources.iter_mut().zip(refs).take(count) {
                    *source = match (self.constant(r), plan.word(number, r)) {
                        (Some(v), _) => Source::Const(v),
                        (None, Some(at)) => Source::Buffer(FIRST as u16 + at),
                        (None, None) => return Err("a value that no exit stores".into()),
                    };
                }
                exits[exit.at()].slots.push((*slot, *val, sources));
            }
        }
        for (node, block) in plan.nodes.iter().zip(&blocks) {
            self.b.switch_to_block(*block);
            self.b.set_cold_block(*block);
            for (r, at) in &node.stores {
                let at = FIRST + usize::from(*at);
                if at >= COUNTERS {
                    return Err("an exit with too many values".into());
                }
                let x = self.v(*r)?;
                let x = if self.tree.kind(*r) == Kind::Bool {
                    self.b.ins().uextend(I64, x)
                } else {
                    x
                };
                self.b.ins().store(MEM, x, self.buffer, word(at));
            }
            let id = self.b.block_params(*block)[0];
            self.b.ins().jump(begin(node.next), &[id.into()]);
        }
        self.b.switch_to_block(leave);
        self.b.set_cold_block(leave);
        let id = self.b.block_params(leave)[0];
        self.b.ins().return_(&[id]);
        Ok(())
    }
}

fn int_cc(cond: Cond) -> IntCC {
    match cond {
        Cond::Lt => IntCC::SignedLessThan,
        Cond::Le => IntCC::SignedLessThanOrEqual,
        Cond::Eq => IntCC::Equal,
        Cond::Ne => IntCC::NotEqual,
        Cond::Gt => IntCC::SignedGreaterThan,
        Cond::Ge => IntCC::SignedGreaterThanOrEqual,
        Cond::Below => IntCC::UnsignedLessThan,
    }
}

fn float_cc(cond: Cond) -> FloatCC {
    match cond {
        Cond::Lt => FloatCC::LessThan,
        Cond::Le => FloatCC::LessThanOrEqual,
        Cond::Eq => FloatCC::Equal,
        Cond::Ne => FloatCC::NotEqual,
        Cond::Gt => FloatCC::GreaterThan,
        Cond::Ge | Cond::Below => FloatCC::GreaterThanOrEqual,
    }
}
