//! Operations on objects: loads, stores, reference counts, boxes, calls of the runtime's helpers.

use super::*;
use cranelift_codegen::ir::{InstructionData, Opcode};
use larder_trace::Type;

/// Where a replaced number lies.
#[derive(Clone, Copy)]
enum Place {
    Item(Value, Value),
    Field(Value, i32),
}

impl Lower<'_, '_> {
    pub(super) fn object(
        &mut self,
        op: Op,
        imm: i64,
        exit: ExitId,
        [x, y, z]: [Value; 3],
    ) -> Result<Option<Value>, String> {
        let (l, h) = (self.host.layout, self.host.helpers);
        Ok(Some(match op {
            Op::UnboxI => self.unbox_int(x, exit),
            Op::UnboxF => self.b.ins().load(F64, MEM, x, l.float_value as i32),
            Op::UnboxB => self.b.ins().icmp_imm_s(IntCC::Equal, x, self.host.true_object as i64),
            Op::BoxB if self.known(x).is_some() => {
                let object = if self.known(x) == Some(0) {
                    self.host.false_object
                } else {
                    self.host.true_object
                };
                self.b.ins().iconst(I64, object as i64)
            }
            Op::BoxB => {
                let yes = self.b.ins().iconst(I64, self.host.true_object as i64);
                let no = self.b.ins().iconst(I64, self.host.false_object as i64);
                self.b.ins().select(x, yes, no)
            }
            Op::Named => {
                let name = self.name(imm);
                let there = self.b.ins().icmp_imm_s(IntCC::NotEqual, x, 0);
                self.b.ins().select(there, x, name)
            }
            Op::Size | Op::SizeT => self.b.ins().load(I64, MEM, x, l.var_size as i32),
            Op::Len => self.b.ins().load(I64, MEM, x, l.str_length as i32),
            Op::LenD => self.b.ins().load(I64, MEM, x, l.dict_used as i32),
            Op::Items => self.b.ins().load(I64, MEM, x, l.list_items as i32),
            Op::Load => {
                let at = self.item(x, y);
                self.b.ins().load(I64, MEM, at, 0)
            }
            Op::LoadT => {
                let at = self.item(x, y);
                self.b.ins().load(I64, MEM, at, l.tuple_items as i32)
            }
            Op::Byte => {
                let at = self.b.ins().iadd(x, y);
                let data = if imm == 0 { l.str_data } else { l.bytes_data };
                self.b.ins().uload8(I64, MEM, at, data as i32)
            }
            Op::Char => {
                let table = self.b.ins().iconst(I64, self.host.chars as i64);
                let at = self.item(table, x);
                self.b.ins().load(I64, MEM, at, 0)
            }
            Op::Field => self.b.ins().load(I64, MEM, x, imm as i32),
            Op::DictI | Op::DictP => {
                let helper = if op == Op::DictI { h.dict_int } else { h.dict_str };
                let found = self.called(helper, &[x, y], I64)?;
                let odd = self.b.ins().icmp_imm_s(IntCC::Equal, found, 1);
                self.exit_if(odd, exit);
                found
            }
            Op::StrEq => {
                let found = self.called(h.str_eq, &[x, y], I64)?;
                self.b.ins().icmp_imm_s(IntCC::NotEqual, found, 0)
            }
            Op::StrCmp if imm == 1 => self.called(h.bytes_cmp, &[x, y], I64)?,
            Op::StrCmp => self.called(h.str_cmp, &[x, y], I64)?,
            Op::FPy => {
                let count = self.b.ins().iconst(I64, imm);
                self.called(h.call_float, &[x, y, z, count], F64)?
            }
            Op::Gcd => self.called(h.gcd, &[x, y], I64)?,
            Op::Isqrt => self.called(h.isqrt, &[x], I64)?,
            Op::Random => self.called(h.random, &[x], F64)?,
            Op::NewI => self.called(h.new_int, &[x], I64)?,
            Op::NewF => self.called(h.new_float, &[x], I64)?,
            Op::SetI | Op::SetP => {
                let helper = if op == Op::SetI { h.set_int } else { h.set_str };
                let found = self.called(helper, &[x, y], I64)?;
                let odd = self.b.ins().icmp_imm_s(IntCC::Equal, found, 2);
                self.exit_if(odd, exit);
                found
            }
            Op::SetAdd => {
                self.call(h.set_add, &[x, y], None);
                return Ok(None);
            }
            Op::Raw => self.b.ins().load(I64, MEM, x, imm as i32),
            Op::PutRaw => {
                self.b.ins().store(MEM, y, x, imm as i32);
                return Ok(None);
            }
            Op::DictNext => self.called(h.dict_next, &[x], I64)?,
            Op::DictStep => {
                self.call(h.dict_step, &[x, y], None);
                return Ok(None);
            }
            Op::DictDone => {
                self.call(h.dict_done, &[x], None);
                return Ok(None);
            }
            Op::NewDictIter => {
                let gives = self.b.ins().iconst(I64, imm);
                self.called(h.dict_iterator, &[x, gives], I64)?
            }
            Op::NewList => self.called(h.new_list, &[x], I64)?,
            Op::ListOf => self.called(h.list_of, &[x], I64)?,
            Op::NewTuple => {
                let quiet = self.b.ins().iconst(I64, imm);
                self.called(h.new_tuple, &[x, quiet], I64)?
            }
            Op::Fill => {
                let (base, first) = if imm == 0 {
                    (self.b.ins().load(I64, MEM, x, l.list_items as i32), 0)
                } else {
                    (x, l.tuple_items as i32)
                };
                let at = self.item(base, y);
                self.b.ins().store(MEM, z, at, first);
                return Ok(None);
            }
            Op::Slice => {
                let made = self.called(h.slice, &[x, y, z], I64)?;
                self.exit_unless(made, exit);
                made
            }
            Op::Best => {
                let (largest, kind) = (self.b.ins().iconst(I64, imm & 1), self.b.ins().iconst(I64, imm >> 1));
                let found = self.called(h.best, &[x, largest, kind], I64)?;
                self.exit_unless(found, exit);
                found
            }
            Op::SumI | Op::SumF => {
                let (sum, ty) = match op {
                    Op::SumI => (self.called(h.sum_int, &[x], I64)?, I64),
                    _ => (self.called(h.sum_float, &[x, y], I64)?, F64),
                };
                self.exit_unless(sum, exit);
                self.b.ins().load(ty, MEM, sum, 0)
            }
            Op::FormatI | Op::FormatF | Op::FormatP => {
                let helper = match op {
                    Op::FormatI => h.text_int,
                    Op::FormatF => h.text_float,
                    _ => h.text_object,
                };
                let how = self.b.ins().iconst(I64, imm);
                let made = self.called(helper, &[x, y, how], I64)?;
                self.exit_unless(made, exit);
                made
            }
            Op::PutSlice => {
                let logged = self.b.ins().iadd_imm_s(self.buffer, i64::from(word(LOGGED)));
                let done = self.called(h.put_slice, &[x, y, z, logged], I64)?;
                self.exit_unless(done, exit);
                done
            }
            Op::Join => self.called(h.join, &[x], I64)?,
            Op::Pop => self.called(h.pop, &[x], I64)?,
            Op::MakeI | Op::MakeF => self.make(op == Op::MakeI, x, y, exit)?,
            Op::ReplaceI | Op::ReplaceF => self.replace(op == Op::ReplaceI, x, y, imm, None)?,
            Op::Incref => {
                self.incref(x);
                return Ok(None);
            }
            Op::Release => {
                self.release(x);
                return Ok(None);
            }
            Op::Keep => {
                self.log(x);
                return Ok(None);
            }
            Op::Put => {
                let at = self.item(x, y);
                self.b.ins().store(MEM, z, at, 0);
                return Ok(None);
            }
            Op::PutField => {
                self.b.ins().store(MEM, y, x, imm as i32);
                return Ok(None);
            }
            Op::Append => {
                self.append(x, y);
                return Ok(None);
            }
            Op::DictPut => {
                self.call(h.dict_put, &[x, y, z], None);
                return Ok(None);
            }
            _ => return Err(format!("{op:?} has no machine code")),
        }))
    }

    fn item(&mut self, base: Value, index: Value) -> Value {
        if let Some(index) = self.known(index).and_then(|v| i32::try_from(v * 8).ok()) {
            return match index {
                0 => base,
                _ => self.b.ins().iadd_imm_s(base, i64::from(index)),
            };
        }
        let offset = self.b.ins().ishl_imm_s(index, 3);
        self.b.ins().iadd(base, offset)
    }

    /// The number a value is, if it is a constant of 32 bits.
    fn known(&self, v: Value) -> Option<i64> {
        let dfg = &self.b.func.dfg;
        let inst = dfg.value_def(v).inst()?;
        match dfg.insts[inst] {
            InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } => i32::try_from(imm.bits()).ok().map(i64::from),
            _ => None,
        }
    }

    pub(super) fn call(&mut self, helper: usize, args: &[Value], gives: Option<ClType>) -> Option<Value> {
        self.call_by(CallConv::SystemV, helper, args, gives)
    }

    /// Calls a helper that is seldom called: its trampoline keeps every register, so nothing moves out of its way.
    fn keeping(&mut self, helper: usize, args: &[Value]) {
        self.call_by(CallConv::PreserveAll, helper, args, None);
    }

    fn call_by(&mut self, convention: CallConv, helper: usize, args: &[Value], gives: Option<ClType>) -> Option<Value> {
        let mut signature = Signature::new(convention);
        for a in args {
            let ty = self.b.func.dfg.value_type(*a);
            signature.params.push(AbiParam::new(ty));
        }
        signature.returns = gives.map(AbiParam::new).into_iter().collect();
        let signature = self.b.import_signature(signature);
        let index = self
            .helpers
            .iter()
            .position(|h| h.address == helper)
            .unwrap_or(usize::MAX >> 32);
        let name = self
            .b
            .func
            .declare_imported_user_function(UserExternalName::new(0, index as u32));
        let function = self.b.func.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        });
        let call = self.b.ins().call(function, args);
        self.b.inst_results(call).first().copied()
    }
    pub(super) fn called(&mut self, helper: usize, args: &[Value], gives: ClType) -> Result<Value, String> {
        self.call(helper, args, Some(gives))
            .ok_or_else(|| "a call without a result".into())
    }

    fn incref(&mut self, o: Value) {
        let (count_it, done) = (self.b.create_block(), self.b.create_block());
        let count = self.b.ins().load(I32, MEM, o, layout::REFCOUNT as i32);
        let mortal = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, count, 0);
        self.b.ins().brif(mortal, count_it, &[], done, &[]);
        self.b.switch_to_block(count_it);
        // Read again: so it is counted in memory, and no register is needed.
        let count = self.b.ins().load(I32, MEM, o, layout::REFCOUNT as i32);
        let more = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(MEM, more, o, layout::REFCOUNT as i32);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
    }

    fn release(&mut self, o: Value) {
        let (count_it, less_it, log_it, done) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let count = self.b.ins().load(I32, MEM, o, layout::REFCOUNT as i32);
        let mortal = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, count, 0);
        self.b.ins().brif(mortal, count_it, &[], done, &[]);
        self.b.switch_to_block(count_it);
        let last = self.b.ins().icmp_imm_s(IntCC::Equal, count, 1);
        self.b.ins().brif(last, log_it, &[], less_it, &[]);
        self.b.switch_to_block(less_it);
        let count = self.b.ins().load(I32, MEM, o, layout::REFCOUNT as i32);
        let less = self.b.ins().iadd_imm_s(count, -1);
        self.b.ins().store(MEM, less, o, layout::REFCOUNT as i32);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(log_it);
        self.log(o);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
    }

    /// Keeps a reference until the exit.
    fn log(&mut self, o: Value) {
        let n = self.b.ins().load(I64, MEM, self.buffer, word(LOGGED));
        let base = self.b.ins().iconst(I64, self.host.log as i64);
        let at = self.item(base, n);
        self.b.ins().store(MEM, o, at, 0);
        let n = self.b.ins().iadd_imm_s(n, 1);
        self.b.ins().store(MEM, n, self.buffer, word(LOGGED));
    }

    fn append(&mut self, list: Value, o: Value) {
        let l = self.host.layout;
        let (fast, slow, done) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let size = self.b.ins().load(I64, MEM, list, l.var_size as i32);
        let room = self.b.ins().load(I64, MEM, list, l.list_allocated as i32);
        let fits = self.b.ins().icmp(IntCC::SignedLessThan, size, room);
        self.b.ins().brif(fits, fast, &[], slow, &[]);
        self.b.switch_to_block(fast);
        let items = self.b.ins().load(I64, MEM, list, l.list_items as i32);
        let at = self.item(items, size);
        self.b.ins().store(MEM, o, at, 0);
        let size = self.b.ins().iadd_imm_s(size, 1);
        self.b.ins().store(MEM, size, list, l.var_size as i32);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(slow);
        self.b.set_cold_block(slow);
        self.keeping(self.host.helpers.append, &[list, o]);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
    }

    /// An owned object for a number that may have one already.
    fn make(&mut self, int: bool, number: Value, object: Value, exit: ExitId) -> Result<Value, String> {
        let (there, new, done) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        if exit != ExitId::NONE {
            let odd = self.b.ins().band_imm_s(object, 1);
            self.exit_if(odd, exit);
        }
        let result = self.b.append_block_param(done, I64);
        self.b.ins().brif(object, there, &[], new, &[]);
        self.b.switch_to_block(there);
        self.incref(object);
        self.b.ins().jump(done, &[object.into()]);
        self.b.switch_to_block(new);
        let h = self.host.helpers;
        let made = self.called(if int { h.new_int } else { h.new_float }, &[number], I64)?;
        self.b.ins().jump(done, &[made.into()]);
        self.b.switch_to_block(done);
        Ok(result)
    }

    /// An owned object for a number that takes an old one's place: the old object, when nobody else can see it change.
    /// `put` says where it is stored then; the old object is there already.
    fn replace(
        &mut self,
        int: bool,
        old: Value,
        number: Value,
        holders: i64,
        put: Option<Place>,
    ) -> Result<Value, String> {
        let (l, h) = (self.host.layout, self.host.helpers);
        let (slow, done) = (self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(done, I64);
        let unless = |l: &mut Self, c: Value| {
            let on = l.b.create_block();
            l.b.ins().brif(c, slow, &[], on, &[]);
            l.b.switch_to_block(on);
        };
        let count = self.b.ins().load(I32, MEM, old, layout::REFCOUNT as i32);
        let shared = self.b.ins().icmp_imm_s(IntCC::NotEqual, count, 1);
        unless(self, shared);
        for r in self.others(int, holders) {
            let o = self.v(r)?;
            let same = self.b.ins().icmp(IntCC::Equal, o, old);
            unless(self, same);
        }
        if int {
            let tag = self.b.ins().load(I64, MEM, old, l.long_tag as i32);
            let large = self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThanOrEqual, tag, 16);
            unless(self, large);
            // One digit, and not among the ints that exist once.
            let size = self.b.ins().iabs(number);
            let wide = self
                .b
                .ins()
                .icmp_imm_s(IntCC::UnsignedGreaterThanOrEqual, size, 1 << 30);
            unless(self, wide);
            let moved = self.b.ins().iadd_imm_s(number, 5);
            let single = self
                .b
                .ins()
                .icmp_imm_s(IntCC::UnsignedLessThanOrEqual, moved, l.long_single + 5);
            unless(self, single);
            let sign = self.b.ins().ushr_imm_s(number, 63);
            let sign = self.b.ins().ishl_imm_s(sign, 1);
            let tag = self.b.ins().bor_imm_s(sign, 8);
            self.b.ins().store(MEM, tag, old, l.long_tag as i32);
            self.b.ins().istore32(MEM, size, old, l.long_digits as i32);
        }
        self.b.ins().jump(done, &[old.into()]);
        self.b.switch_to_block(slow);
        self.b.set_cold_block(slow);
        let log = self.b.ins().iadd_imm_s(self.buffer, i64::from(word(LOGGED)));
        if int {
            self.keeping(h.replace_int, &[old, number, log]);
        } else {
            self.keeping(h.replace_float, &[old, log]);
        }
        let made = self.b.ins().load(I64, MEM, self.buffer, word(SCRATCH));
        match put {
            Some(Place::Item(items, index)) => {
                let at = self.item(items, index);
                self.b.ins().store(MEM, made, at, 0);
            }
            Some(Place::Field(on, offset)) => {
                self.b.ins().store(MEM, made, on, offset);
            }
            None => {}
        }
        self.b.ins().jump(done, &[made.into()]);
        self.b.switch_to_block(done);
        if !int {
            // Here and not before: a number used in both arms would be computed in both.
            self.b.ins().store(MEM, number, result, l.float_value as i32);
        }
        Ok(result)
    }

    /// `replace` and the store that follows it, as one, if they are about the same place.
    pub(super) fn replace_in_place(&mut self, r: Ref, then: Ref) -> Result<bool, String> {
        let (tree, inst, store) = (self.tree, *self.tree.inst(r), *self.tree.inst(then));
        if !matches!(inst.op, Op::ReplaceI | Op::ReplaceF) {
            return Ok(false);
        }
        let old = tree.inst(inst.args[0]);
        let same = match store.op {
            Op::Put => old.op == Op::Load && old.args[..2] == store.args[..2] && store.args[2] == r,
            Op::PutField => {
                old.op == Op::Field && old.args[0] == store.args[0] && old.imm == store.imm && store.args[1] == r
            }
            _ => false,
        };
        if !same {
            return Ok(false);
        }
        let (old, number, on) = (self.v(inst.args[0])?, self.v(inst.args[1])?, self.v(store.args[0])?);
        let place = if store.op == Op::Put {
            Place::Item(on, self.v(store.args[1])?)
        } else {
            Place::Field(on, store.imm as i32)
        };
        let made = self.replace(inst.op == Op::ReplaceI, old, number, inst.imm, Some(place))?;
        self.values[r.at()] = Some(made);
        Ok(true)
    }

    /// Who else may name the object of a number: identities of that kind which the frame does not own.
    fn others(&self, int: bool, holders: i64) -> Vec<Ref> {
        let (tree, holders) = (self.tree, &self.tree.holders[holders as usize]);
        let wanted = if int { Type::Int } else { Type::Float };
        let mut others: Vec<Ref> = Vec::new();
        // What the frame owns has a second owner if it is in the place that is written: only what is borrowed counts.
        for (index, k) in &self.outer_carried {
            let input = &tree.inputs[*index as usize];
            let borrowed = self.borrowing[*index as usize];
            if input.ty == wanted && *k == 1 && borrowed && !holders.over.contains(&input.slot) {
                others.push(input.refs[1]);
            }
        }
        let named = if int { &holders.ints } else { &holders.floats };
        for r in named {
            if tree.is_borrowed(*r, &self.borrowing) && !others.contains(r) {
                others.push(*r);
            }
        }
        others
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
        let scratch = self.b.ins().iadd_imm_s(self.buffer, i64::from(word(SCRATCH)));
        self.keeping(self.host.helpers.unbox_int, &[o, scratch]);
        let fits = self.b.ins().load(I64, MEM, self.buffer, word(FITS));
        self.exit_unless(fits, exit);
        if let Some(on) = self.b.current_block() {
            self.b.set_cold_block(on);
        }
        let value = self.b.ins().load(I64, MEM, self.buffer, word(SCRATCH));
        self.b.ins().jump(done, &[value.into()]);
        self.b.switch_to_block(done);
        result
    }
}
