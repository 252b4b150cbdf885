//! Calls: built-in functions with a meaning of their own, and Python functions inlined.

use super::arith::fresh_int;
use super::*;
use crate::ops::Cond;

impl<W: World> Recorder<'_, W> {
    pub(super) fn call_with_null(&mut self, v: Val, with_null: bool) -> Step<()> {
        if with_null && !self.layout.null_above_callable {
            self.push(Val::Null)?;
        }
        self.push(v)?;
        if with_null && self.layout.null_above_callable {
            self.push(Val::Null)?;
        }
        Ok(())
    }

    /// A call with so many arguments, the last of them by these names; above them are further entries of the stack.
    pub(super) fn call(&mut self, arg: usize, next: usize, names: &[Obj], above: usize) -> Step<()> {
        let mut args = Vec::with_capacity(arg + 1);
        for n in (1..=arg).rev() {
            args.push(match self.peek(n + above)? {
                range @ Val::Range { .. } => range,
                _ => self.copy(n + above)?,
            });
        }
        let operands = arg + above + 2;
        let (upper, lower) = (self.peek(operands - 1)?, self.peek(operands)?);
        let (f, this) = match (self.layout.null_above_callable, upper, lower) {
            (_, v, Val::Null) if !self.layout.null_above_callable => (v, Val::Null),
            (true, this, f) => (f, this),
            (false, this, f) => (f, this),
        };
        if this != Val::Null {
            args.insert(0, this);
        }
        let known = match f {
            Val::Known(f) => f,
            Val::Ptr(r, _) => self.o(r),
            _ => return Err("a call that is not traced yet"),
        };
        if let Some(callee) = self.world.function(known) {
            return self.inline(f, callee, args, names, operands, next);
        }
        let Val::Known(f) = f else {
            return Err("a call that is not traced yet");
        };
        let builtin = self.world.builtin(f);
        let counted = builtin == Some(Builtin::Enumerate) && names.len() == 1 && args.len() == 2;
        let by_name = !names.is_empty();
        if by_name && !(counted && self.world.is_text(names[0], "start")) {
            return Err("a call that is not traced yet");
        }
        let v = match builtin {
            // What these give is iterated at once, or not followed.
            Some(which @ (Builtin::Keys | Builtin::Values | Builtin::Items)) => {
                let iterated = self
                    .ins
                    .get(next)
                    .filter(|ins| ins.bc == Bc::GET_ITER)
                    .map(|ins| ins.next);
                let (Some(after), [Val::Ptr(dict, _)]) = (iterated, &args[..]) else {
                    return Err("a view of a dict that is not traced yet");
                };
                if self.world.class(self.o(*dict)) != Class::Dict {
                    return Err("a view of a dict that is not traced yet");
                }
                let gives = match which {
                    Builtin::Keys => Gives::Keys,
                    Builtin::Values => Gives::Values,
                    _ => Gives::Items,
                };
                let it = self.dict_iterator(*dict, gives)?;
                self.replace(operands, it)?;
                self.s.pc = after as usize;
                self.beside(Val::Null)?;
                return Ok(());
            }
            Some(Builtin::OfFloat) if args.len() == 1 => self.of_floats(f, &args)?,
            Some(Builtin::OfFloats) if args.len() == 2 => self.of_floats(f, &args)?,
            Some(Builtin::Sum) => match args[..] {
                [Val::Range { start, stop, step }] => self.sum_range(start, stop, step)?,
                [v] => match self.real(v)? {
                    Val::Ptr(r, _) => self.sum(f, r)?,
                    _ => return Err("a call that is not traced yet"),
                },
                _ => return Err("a call that is not traced yet"),
            },
            Some(which) => self.builtin(which, &args)?,
            None => self.bound(f, &args)?,
        };
        self.replace(operands, v)?;
        self.s.pc = next;
        Ok(())
    }

    /// `random.random` is a method bound to the module's generator.
    fn bound(&mut self, f: Obj, args: &[Val]) -> Step<Val> {
        let generator = self.world.generator_of(f);
        if generator.is_null() || !args.is_empty() {
            return Err("a call that is not traced yet");
        }
        // It changes the generator: no exit may follow within this instruction, and none does.
        self.tree.pin(f);
        self.effect_now()?;
        self.written = true;
        let g = self.object(generator);
        let r = self.emit(Op::Random, &[g], 0, ExitId::NONE, 0.5f64.to_bits());
        Ok(arith::fresh_float(r))
    }

    fn builtin(&mut self, which: Builtin, args: &[Val]) -> Step<Val> {
        const NOT_YET: &str = "a call that is not traced yet";
        match (which, args) {
            (Builtin::Range, _) if (1..=3).contains(&args.len()) => {
                let mut r = [Ref::NONE; 3];
                for (k, v) in args.iter().enumerate() {
                    let Val::Int { value, .. } = v else {
                        return Err("a range of something else");
                    };
                    r[k] = *value;
                }
                let (start, stop) = if args.len() == 1 {
                    (self.int(0), r[0])
                } else {
                    (r[0], r[1])
                };
                let step = if args.len() == 3 { r[2] } else { self.int(1) };
                Ok(Val::Range { start, stop, step })
            }
            (Builtin::Len, [Val::Ptr(r, _)]) => Ok(fresh_int(self.length(*r)?)),
            (Builtin::Abs, [Val::Float { value, .. }]) => {
                let v = self.f(*value).abs().to_bits();
                Ok(arith::fresh_float(self.pure(Op::FAbs, &[*value], v)))
            }
            (Builtin::Abs, [v @ Val::Int { value, .. }]) => {
                let zero = self.int(0);
                let c = self.compare_ints(Cond::Ge, *value, zero);
                let e = self.fork("the other sign");
                self.guard(c, e);
                if self.b(c) {
                    return Ok(*v);
                }
                let n = self.i(*value).checked_neg();
                Ok(fresh_int(self.checked(Op::NegO, &[*value], n)?))
            }
            (Builtin::Float, [v @ Val::Float { .. }]) | (Builtin::Int, [v @ Val::Int { .. }]) => Ok(*v),
            (Builtin::Float, [v @ (Val::Int { .. } | Val::Bool(_))]) => Ok(arith::fresh_float(self.as_float(*v)?)),
            (Builtin::Int, [Val::Float { value, .. }]) => self.truncate(*value),
            (Builtin::Int, [v @ Val::Bool(_)]) => Ok(self.number(*v)),
            (Builtin::Round, [v @ Val::Int { .. }]) => Ok(*v),
            (Builtin::Round, [Val::Float { value, .. }]) => {
                let c = self.f(*value).round_ties_even().to_bits();
                let near = self.pure(Op::FNear, &[*value], c);
                self.truncate(near)
            }
            (Builtin::Pow, [a, b]) => self.binary(8, *a, *b),
            (Builtin::Divmod, [a @ Val::Int { .. }, b @ Val::Int { .. }]) => {
                let (quotient, rest) = (self.binary(2, *a, *b)?, self.binary(6, *a, *b)?);
                let pair = vec![self.name_it(quotient), self.name_it(rest)];
                self.tree.tuples.push(pair);
                Ok(Val::Tuple(self.tree.tuples.len() as u32 - 1))
            }
            (Builtin::Bool, [v]) => Ok(Val::Bool(self.truth(*v)?)),
            (Builtin::Min | Builtin::Max, [first, rest @ ..]) if !rest.is_empty() => {
                let mut best = *first;
                for v in rest {
                    let cond = if which == Builtin::Max { Cond::Gt } else { Cond::Lt };
                    let c = self.compare(cond, *v, best)?;
                    let e = self.fork("the other one is chosen");
                    self.guard(c, e);
                    best = if self.b(c) { *v } else { best };
                }
                Ok(best)
            }
            (Builtin::Min | Builtin::Max, [Val::Ptr(r, _)]) => self.best(which == Builtin::Max, *r),
            (Builtin::Min | Builtin::Max, [Val::Tuple(t)]) => {
                let items = self.tree.tuples[*t as usize].clone();
                if items.len() < 2 {
                    return Err(NOT_YET);
                }
                self.builtin(which, &items)
            }
            (Builtin::Str, [v]) => self.text(*v, 1, None),
            (Builtin::Repr, [v]) => self.text(*v, 2, None),
            (Builtin::Format, [v, spec]) => self.text(*v, 0, Some(*spec)),
            (Builtin::Ord, [Val::Ptr(r, _)]) => {
                if self.world.class(self.o(*r)) != Class::Str {
                    return Err(NOT_YET);
                }
                self.latin(*r)?;
                let n = self.length(*r)?;
                self.require_int(Cond::Eq, n, 1, "a string that is not one character")?;
                let byte = self.world.byte(self.o(*r), 0).ok_or(NOT_YET)?;
                let zero = self.int(0);
                let code = self.emit(Op::Byte, &[*r, zero], 0, ExitId::NONE, u64::from(byte));
                Ok(fresh_int(code))
            }
            (Builtin::Chr, [Val::Int { value, .. }]) => {
                self.require_int(Cond::Below, *value, 256, "a wide character")?;
                self.char(*value)
            }
            (Builtin::Enumerate, [Val::Ptr(list, _), rest @ ..]) if rest.len() <= 1 => {
                if self.world.class(self.o(*list)) != Class::List {
                    return Err(NOT_YET);
                }
                let zero = self.int(0);
                let count = match rest {
                    [] => zero,
                    [Val::Int { value, .. }] => *value,
                    _ => return Err(NOT_YET),
                };
                Ok(Val::Enumerate {
                    count,
                    list: *list,
                    index: zero,
                    object: Ref::NONE,
                })
            }
            (Builtin::Zip, [Val::Ptr(a, _), Val::Ptr(b, _)]) => {
                if self.world.class(self.o(*a)) != Class::List || self.world.class(self.o(*b)) != Class::List {
                    return Err(NOT_YET);
                }
                let zero = self.int(0);
                Ok(Val::Zip {
                    first: *a,
                    second: *b,
                    index: zero,
                    object: Ref::NONE,
                })
            }
            (
                Builtin::Degrees
                | Builtin::Radians
                | Builtin::IsNan
                | Builtin::IsInf
                | Builtin::IsFinite
                | Builtin::Trunc
                | Builtin::Gcd
                | Builtin::Isqrt,
                _,
            ) => self.math_simple(which, args),
            (Builtin::IsInstance, [v, wanted]) => {
                let [int, float, boolean] = self.world.number_types();
                let ty = match v {
                    Val::Int { .. } => int,
                    Val::Float { .. } => float,
                    Val::Bool(_) => boolean,
                    Val::Ptr(_, t) => *t,
                    Val::Known(o) => {
                        self.stays_module(*o);
                        self.world.type_of(*o)
                    }
                    Val::Tuple(_) => self.world.container_types()[1],
                    _ => return Err(NOT_YET),
                };
                let classes = match wanted {
                    Val::Known(class) => vec![*class],
                    Val::Tuple(t) => {
                        let items = self.tree.tuples[*t as usize].iter().map(|v| match v {
                            Val::Known(class) => Ok(*class),
                            _ => Err(NOT_YET),
                        });
                        items.collect::<Step<Vec<Obj>>>()?
                    }
                    _ => return Err(NOT_YET),
                };
                let mut is = false;
                for class in classes {
                    let (yes, version) = self.world.is_instance(ty, class).ok_or(NOT_YET)?;
                    if let Some(version) = version {
                        self.tree.condition(Condition::TypeVersion(ty, version));
                        self.tree.pin(ty);
                    }
                    self.tree.pin(class);
                    is |= yes;
                }
                Ok(Val::Bool(self.bool(is)))
            }
            (Builtin::Append, [Val::Ptr(list, _), v]) if self.world.class(self.o(*list)) == Class::List => {
                self.append(*list, *v)?;
                Ok(Val::Known(self.world.none()))
            }
            (Builtin::Pop, [Val::Ptr(list, _)]) if self.world.class(self.o(*list)) == Class::List => self.pop(*list),
            (Builtin::Len, [Val::Tuple(t)]) => {
                let n = self.tree.tuples[*t as usize].len() as i64;
                Ok(fresh_int(self.int(n)))
            }
            (Builtin::Add, [Val::Ptr(set, _), key]) if self.world.class(self.o(*set)) == Class::Set => {
                self.add_to_set(*set, *key)?;
                Ok(Val::Known(self.world.none()))
            }
            (Builtin::Get, [Val::Ptr(dict, _), key, rest @ ..]) if rest.len() <= 1 => {
                if self.world.class(self.o(*dict)) != Class::Dict {
                    return Err(NOT_YET);
                }
                let (place, found) = self.dict_find(*dict, *key)?;
                let e = self.fork("a key that is there, or not");
                if !found.is_null() {
                    self.emit(Op::GuardSome, &[place], 0, e, 0);
                    return self.dict_load(place, found);
                }
                self.emit(Op::GuardNull, &[place], 0, e, 0);
                Ok(rest.first().copied().unwrap_or(Val::Known(self.world.none())))
            }
            (
                Builtin::Sqrt
                | Builtin::Sin
                | Builtin::Cos
                | Builtin::Tan
                | Builtin::Atan
                | Builtin::Exp
                | Builtin::Log
                | Builtin::Floor
                | Builtin::Ceil
                | Builtin::Fabs,
                [v @ (Val::Int { .. } | Val::Float { .. })],
            ) => self.math1(which, *v),
            (
                Builtin::Atan2,
                [
                    a @ (Val::Int { .. } | Val::Float { .. }),
                    b @ (Val::Int { .. } | Val::Float { .. }),
                ],
            ) => self.math2(which, *a, *b),
            _ => Err(NOT_YET),
        }
    }

    // --- inlining ---

    fn inline(
        &mut self,
        called: Val,
        callee: Callee,
        args: Vec<Val>,
        names: &[Obj],
        operands: usize,
        next: usize,
    ) -> Step<()> {
        if !callee.simple {
            return Err("a function whose call is not simple");
        }
        if self.callers.len() >= INLINE_MAX {
            return Err("calls nested too deep");
        }
        for v in &args {
            Self::storable(*v)?;
        }
        if self.callers.is_empty() {
            self.call_exit = self.fork("something else in a function called");
            self.written = false;
        }
        let args = if names.is_empty() && callee.arguments == args.len() && callee.keyword_only == 0 {
            args
        } else {
            let function = match called {
                Val::Known(f) => self.object(f),
                called => called.components().0[0],
            };
            self.arguments(function, &callee, args, names)?
        };
        let cells = if callee.closure.is_null() {
            0
        } else {
            self.world.size(callee.closure)
        };
        let mut closure = Vec::new();
        if let Val::Ptr(r, _) = called {
            // Not this function for sure, but one of the same code in the same module.
            self.tree.condition(Condition::Unwatched(callee.code));
            let e = self.exit("another function");
            let l = self.layout;
            for (offset, wanted) in [(l.func_code, callee.code), (l.func_globals, callee.globals)] {
                let field = self.emit(Op::Field, &[r], offset as i64, ExitId::NONE, wanted.0 as u64);
                let wanted = self.object(wanted);
                self.emit(Op::GuardSame, &[field, wanted], 0, e, 0);
            }
            if cells > 0 {
                let c = callee.closure.0 as u64;
                let tuple = self.emit(Op::Field, &[r], l.func_closure as i64, ExitId::NONE, c);
                for k in 0..cells {
                    let (at, cell) = (self.int(k), self.world.item(callee.closure, k));
                    closure.push((
                        self.pure(Op::LoadT, &[tuple, at], cell.0 as u64),
                        self.world.type_of(cell),
                    ));
                }
            }
        } else if let Val::Known(f) = called {
            self.tree.condition(Condition::Code(f, callee.code));
            self.tree.pin(f);
            for k in 0..cells {
                let cell = self.world.item(callee.closure, k);
                closure.push((self.object(cell), self.world.type_of(cell)));
            }
        }
        self.tree.pin(callee.code);
        let width = callee.locals + STACK_MAX;
        let mut vals: Vec<Option<Val>> = vec![None; width];
        for (k, v) in args.into_iter().enumerate() {
            vals[k] = Some(v);
        }
        let first = callee.locals.saturating_sub(closure.len());
        for (k, (r, ty)) in closure.into_iter().enumerate() {
            vals[first + k] = Some(Val::Ptr(r, ty));
        }
        let dirty = vec![false; width];
        self.callers.push(Caller {
            code: std::mem::replace(&mut self.code, callee.code),
            ins: std::mem::replace(&mut self.ins, callee.ins),
            locals: std::mem::replace(&mut self.locals, callee.locals),
            globals: std::mem::replace(&mut self.globals, callee.globals),
            vals: std::mem::replace(&mut self.s.vals, vals),
            dirty: std::mem::replace(&mut self.s.dirty, dirty),
            depth: std::mem::replace(&mut self.s.depth, 0) - operands,
            next,
        });
        self.s.pc = 0;
        Ok(())
    }

    pub(super) fn leave(&mut self, v: Val) -> Step<()> {
        let v = Self::storable(v)?;
        // On the stack it learns of the object that storing it may make.
        self.push(v)?;
        if self.callers.len() == 1 {
            self.flush()?;
        }
        let v = self.peek(1)?;
        let c = self.callers.pop().ok_or("the end of the function")?;
        self.code = c.code;
        self.ins = c.ins;
        self.locals = c.locals;
        self.globals = c.globals;
        self.s.vals = c.vals;
        self.s.dirty = c.dirty;
        self.s.depth = c.depth;
        self.s.pc = c.next;
        if self.callers.is_empty() {
            self.written = false;
        }
        self.push(v)
    }
}
