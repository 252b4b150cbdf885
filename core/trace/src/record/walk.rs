//! One bytecode at a time.

use super::*;

impl<W: World> Recorder<'_, W> {
    fn jump_if(&mut self, c: Ref, wanted: bool, next: usize, target: usize) {
        self.s.depth -= 1;
        let (here, other) = if self.b(c) == wanted {
            (target, next)
        } else {
            (next, target)
        };
        if self.tree.inst(c).op != Op::ConstB {
            let e = self.exit_to(other, here, "a branch went the other way");
            self.guard(c, e);
        }
        self.s.pc = here;
    }

    pub(super) fn step(&mut self, first: bool) -> Step<()> {
        let outside = self.callers.is_empty();
        self.written &= !outside;
        self.late = false;
        self.effects = false;
        self.last_fork = ExitId::NONE;
        self.instruction(first)?;
        if self.effects {
            self.checkpoint = None;
        }
        if self.late {
            return Err("an inlined function that goes on after changing something");
        }
        Ok(())
    }

    fn instruction(&mut self, first: bool) -> Step<()> {
        let ins = *self.ins.get(self.s.pc).ok_or("outside the code")?;
        let (next, arg) = (ins.next as usize, ins.arg as usize);
        match ins.bc {
            Bc::NOP | Bc::RESUME | Bc::NOT_TAKEN | Bc::COPY_FREE_VARS => {}
            Bc::POP_TOP => self.drop_top()?,
            Bc::POP_ITER => {
                for _ in 0..self.layout.for_width {
                    self.drop_top()?;
                }
            }
            Bc::PUSH_NULL => self.push(Val::Null)?,
            Bc::COPY => {
                let v = self.copy(arg)?;
                self.push(v)?;
            }
            Bc::SWAP => {
                let (a, b) = (self.peek(1)?, self.peek(arg)?);
                self.set(1, b);
                self.set(arg, a);
            }
            Bc::LOAD_FAST | Bc::LOAD_FAST_CHECK => {
                let v = self.local(arg)?;
                self.push(v)?;
            }
            Bc::LOAD_FAST_LOAD_FAST => {
                let (a, b) = (self.local(arg >> 4)?, self.local(arg & 15)?);
                let a = if arg >> 4 == arg & 15 { b } else { a };
                self.push(a)?;
                self.push(b)?;
            }
            Bc::STORE_FAST => {
                self.store_local(arg, 1)?;
                self.s.depth -= 1;
            }
            Bc::STORE_FAST_LOAD_FAST => {
                self.store_local(arg >> 4, 1)?;
                self.s.depth -= 1;
                let v = self.local(arg & 15)?;
                self.push(v)?;
            }
            Bc::STORE_FAST_STORE_FAST => {
                self.store_local(arg >> 4, 1)?;
                self.store_local(arg & 15, 2)?;
                self.s.depth -= 2;
            }
            Bc::LOAD_CONST => {
                let v = self.constant(self.world.constant(self.code, arg))?;
                self.push(v)?;
            }
            Bc::LOAD_SMALL_INT => {
                let v = self.constant(self.world.small_int(arg as i64))?;
                self.push(v)?;
            }
            Bc::LOAD_COMMON_CONSTANT => {
                let v = self.constant(self.world.common_constant(arg))?;
                self.push(v)?;
            }
            Bc::LOAD_NAME => {
                self.at_module_level()?;
                let v = self.global(self.world.name(self.code, arg))?;
                self.push(v)?;
            }
            Bc::STORE_NAME => {
                self.at_module_level()?;
                self.store_global(self.world.name(self.code, arg))?;
            }
            Bc::STORE_GLOBAL => self.store_global(self.world.name(self.code, arg))?,
            Bc::LOAD_GLOBAL => {
                let v = self.global(self.world.name(self.code, arg >> 1))?;
                self.call_with_null(v, arg & 1 != 0)?;
            }
            Bc::LOAD_DEREF => {
                let v = self.load_cell(arg)?;
                self.push(v)?;
            }
            Bc::STORE_DEREF => self.store_cell(arg)?,
            Bc::LOAD_ATTR => self.load_attr(arg)?,
            Bc::STORE_ATTR => self.store_attr(arg)?,
            Bc::BINARY_OP => {
                let (b, a) = (self.peek(1)?, self.peek(2)?);
                let v = self.binary(arg as u32 % 13, a, b)?;
                self.replace(2, v)?;
            }
            Bc::BINARY_SUBSCR => {
                let (key, on) = (self.peek(1)?, self.peek(2)?);
                let v = self.subscript(on, key)?;
                self.replace(2, v)?;
            }
            Bc::STORE_SUBSCR => {
                let (key, on, v) = (self.peek(1)?, self.peek(2)?, self.peek(3)?);
                self.store_subscript(on, key, v)?;
                self.s.depth -= 3;
            }
            Bc::STORE_SLICE => {
                let (stop, start, on, v) = (self.peek(1)?, self.peek(2)?, self.peek(3)?, self.peek(4)?);
                self.store_slice(on, start, stop, v)?;
                self.s.depth -= 4;
            }
            Bc::COMPARE_OP => {
                let (b, a) = (self.peek(1)?, self.peek(2)?);
                let cond = Cond::from_imm((arg >> self.layout.compare_shift) as i64);
                let c = self.compare(cond, a, b)?;
                self.replace(2, Val::Bool(c))?;
            }
            Bc::IS_OP => {
                let (b, a) = (self.peek(1)?, self.peek(2)?);
                let c = self.same(a, b)?;
                self.push_bool(c, arg & 1 != 0)?;
            }
            Bc::CONTAINS_OP => {
                let (on, v) = (self.peek(1)?, self.peek(2)?);
                let c = self.contains(on, v)?;
                self.push_bool(c, arg & 1 != 0)?;
            }
            Bc::TO_BOOL => {
                let v = self.peek(1)?;
                let c = self.truth(v)?;
                self.replace(1, Val::Bool(c))?;
            }
            Bc::UNARY_NOT => {
                let v = self.peek(1)?;
                let c = self.truth(v)?;
                let r = self.opposite(c);
                self.replace(1, Val::Bool(r))?;
            }
            Bc::UNARY_NEGATIVE => {
                let v = self.peek(1)?;
                let v = self.negate(v)?;
                self.replace(1, v)?;
            }
            Bc::UNARY_INVERT => {
                let Val::Int { value, .. } = self.peek(1)? else {
                    return Err("an inversion that is not traced yet");
                };
                let n = !self.i(value) as u64;
                let r = self.pure(Op::Not, &[value], n);
                self.replace(1, arith::fresh_int(r))?;
            }
            Bc::POP_JUMP_IF_FALSE | Bc::POP_JUMP_IF_TRUE => {
                let v = self.peek(1)?;
                let c = self.truth(v)?;
                self.jump_if(c, ins.bc == Bc::POP_JUMP_IF_TRUE, next, next + arg);
                return Ok(());
            }
            Bc::POP_JUMP_IF_NONE | Bc::POP_JUMP_IF_NOT_NONE => {
                let v = self.peek(1)?;
                let c = self.same(v, Val::Known(self.world.none()))?;
                self.jump_if(c, ins.bc == Bc::POP_JUMP_IF_NONE, next, next + arg);
                return Ok(());
            }
            Bc::JUMP_FORWARD => {
                self.s.pc = next + arg;
                return Ok(());
            }
            Bc::JUMP_BACKWARD => {
                let target = next.checked_sub(arg).ok_or("outside the code")?;
                if !self.callers.is_empty() || target != self.tree.header as usize {
                    let pc = self.s.pc + (self.callers.len() << 24);
                    match self.backs.iter_mut().find(|b| b.0 == pc) {
                        Some(b) if b.1 >= UNROLL_MAX => return Err("an inner loop"),
                        Some(b) => b.1 += 1,
                        None => self.backs.push((pc, 1)),
                    }
                }
                self.cross(target);
                self.s.pc = target;
                return Ok(());
            }
            Bc::FOR_ITER => return self.for_iter(first, next, arg),
            Bc::END_FOR => {}
            Bc::GET_ITER if arg != 0 && self.layout.for_width == 2 => {
                return Err("an iteration that is not traced yet");
            }
            Bc::GET_ITER => self.get_iter()?,
            Bc::LIST_APPEND => {
                let v = self.peek(1)?;
                let Val::Ptr(list, _) = self.peek(arg + 1)? else {
                    return Err("an append that is not traced yet");
                };
                if self.world.class(self.o(list)) != Class::List {
                    return Err("an append that is not traced yet");
                }
                let v = Self::storable(v)?;
                self.append(list, v)?;
                self.s.depth -= 1;
            }
            Bc::BUILD_LIST => {
                // `[1, 2, 3]` is an empty list that is extended by a constant.
                let following = self.ins.get(next).copied();
                let extended = following.and_then(|load| Some((load, *self.ins.get(load.next as usize)?)));
                if let (0, Some((load, extend))) = (arg, extended)
                    && (load.bc, extend.bc, extend.arg) == (Bc::LOAD_CONST, Bc::LIST_EXTEND, 1)
                {
                    let v = self.list_of(self.world.constant(self.code, load.arg as usize))?;
                    self.push(v)?;
                    self.s.pc = extend.next as usize;
                    return Ok(());
                }
                let v = self.build_list(arg)?;
                self.replace(arg, v)?;
            }
            Bc::BINARY_SLICE => {
                let (stop, start, on) = (self.peek(1)?, self.peek(2)?, self.peek(3)?);
                let v = self.slice(on, start, stop)?;
                self.replace(3, v)?;
            }
            Bc::BUILD_TUPLE => {
                let v = self.build_tuple(arg)?;
                self.replace(arg, v)?;
            }
            Bc::UNPACK_SEQUENCE => {
                let v = self.peek(1)?;
                let items = self.unpack(v, arg)?;
                self.s.depth -= 1;
                for v in items.into_iter().rev() {
                    self.push(v)?;
                }
            }
            Bc::CALL => return self.call(arg, next, &[], 0),
            Bc::CALL_KW => {
                let Val::Ptr(names, _) = self.peek(1)? else {
                    return Err("a call that is not traced yet");
                };
                let names = self.names_in(self.o(names));
                return self.call(arg, next, &names, 1);
            }
            Bc::KW_NAMES => {
                let call = self.ins.get(next).copied().filter(|call| call.bc == Bc::CALL);
                let call = call.ok_or("a call that is not traced yet")?;
                let names = self.names_in(self.world.constant(self.code, arg));
                return self.call(call.arg as usize, call.next as usize, &names, 0);
            }
            Bc::FORMAT_SIMPLE => {
                let v = self.peek(1)?;
                let v = self.text(v, 0, None)?;
                self.replace(1, v)?;
            }
            Bc::FORMAT_WITH_SPEC => {
                let (spec, v) = (self.peek(1)?, self.peek(2)?);
                let v = self.text(v, 0, Some(spec))?;
                self.replace(2, v)?;
            }
            Bc::CONVERT_VALUE => {
                let v = self.peek(1)?;
                let v = self.text(v, arg as i64, None)?;
                self.replace(1, v)?;
            }
            Bc::FORMAT_VALUE => {
                let operands = 1 + (arg >> 2 & 1);
                let mut v = self.peek(operands)?;
                let spec = if operands == 2 { Some(self.peek(1)?) } else { None };
                if arg & 3 != 0 {
                    v = self.text(v, arg as i64 & 3, None)?;
                }
                let v = self.text(v, 0, spec)?;
                self.replace(operands, v)?;
            }
            Bc::BUILD_STRING => {
                let v = self.join(arg)?;
                self.replace(arg, v)?;
            }
            Bc::RETURN_VALUE => {
                let v = self.peek(1)?;
                return self.leave(v);
            }
            Bc::RETURN_CONST => {
                let v = self.constant(self.world.constant(self.code, arg))?;
                return self.leave(v);
            }
            Bc::Unknown | Bc::CACHE | Bc::EXTENDED_ARG | Bc::LIST_EXTEND => {
                return Err("a bytecode that is not traced yet");
            }
        }
        self.s.pc = next;
        Ok(())
    }

    fn names_in(&self, tuple: Obj) -> Vec<Obj> {
        (0..self.world.size(tuple)).map(|k| self.world.item(tuple, k)).collect()
    }

    fn opposite(&mut self, c: Ref) -> Ref {
        let n = !self.b(c);
        if self.tree.inst(c).op == Op::ConstB {
            return self.bool(n);
        }
        self.pure(Op::NotB, &[c], u64::from(n))
    }
    fn push_bool(&mut self, c: Ref, negate: bool) -> Step<()> {
        let c = if negate { self.opposite(c) } else { c };
        self.replace(2, Val::Bool(c))
    }

    fn at_module_level(&mut self) -> Step<()> {
        if !self.callers.is_empty() || !self.world.module_level() {
            return Err("a namespace that is not the globals");
        }
        self.tree.module_level = true;
        Ok(())
    }
}
