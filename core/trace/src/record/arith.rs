//! Numbers: arithmetic, comparison, truth, and the functions of `math`.

use super::*;
use crate::ops::Call;

const EXACT: i64 = 1 << 53;

pub(super) fn fresh_int(value: Ref) -> Val {
    Val::Int {
        value,
        boxed: Ref::NONE,
    }
}
pub(super) fn fresh_float(value: Ref) -> Val {
    Val::Float {
        value,
        boxed: Ref::NONE,
    }
}

/// Python's remainder of floats.
pub fn float_mod(a: f64, b: f64) -> f64 {
    let m = a % b;
    if m == 0.0 {
        0.0f64.copysign(b)
    } else if (b < 0.0) != (m < 0.0) {
        m + b
    } else {
        m
    }
}

/// Greatest common divisor, never negative.
pub fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a as i64
}

/// Python's floor division of floats.
pub fn float_floor(a: f64, b: f64) -> f64 {
    let m = a % b;
    let mut div = (a - m) / b;
    if m != 0.0 && (b < 0.0) != (m < 0.0) {
        div -= 1.0;
    }
    if div == 0.0 {
        return 0.0f64.copysign(a / b);
    }
    let floor = div.floor();
    if div - floor > 0.5 { floor + 1.0 } else { floor }
}

impl<W: World> Recorder<'_, W> {
    pub(super) fn number(&mut self, v: Val) -> Val {
        match v {
            Val::Bool(r) => {
                let c = self.conc[r.at()];
                fresh_int(self.pure(Op::BToI, &[r], c))
            }
            v => v,
        }
    }
    pub(super) fn as_float(&mut self, v: Val) -> Step<Ref> {
        match self.number(v) {
            Val::Float { value, .. } => Ok(value),
            Val::Int { value, .. } => {
                let c = self.i(value) as f64;
                if self.const_int(value).is_some() {
                    return Ok(self.float(c));
                }
                Ok(self.pure(Op::IToF, &[value], c.to_bits()))
            }
            _ => Err("not a number"),
        }
    }
    fn exact(&mut self, v: Val) -> Step<()> {
        const WHY: &str = "an integer that no float holds exactly";
        if let Val::Int { value, .. } = v {
            if self.i(value).unsigned_abs() > EXACT as u64 {
                return Err(WHY);
            }
            if self.const_int(value).is_none() {
                let e = self.exit(WHY);
                self.emit(Op::GuardExact, &[value], 0, e, 0);
            }
        }
        Ok(())
    }
    pub(super) fn checked(&mut self, op: Op, args: &[Ref], v: Option<i64>) -> Step<Ref> {
        let v = v.ok_or("an integer beyond 64 bits")?;
        let e = self.exit("an integer beyond 64 bits");
        Ok(self.emit(op, args, 0, e, v as u64))
    }
    /// Goes on only while a float comparison holds, which it does now.
    fn require_float(&mut self, cond: Cond, x: Ref, limit: f64, why: &'static str) -> Step<()> {
        if !cond.floats(self.f(x), limit) {
            return Err(why);
        }
        if self.tree.inst(x).op != Op::ConstF {
            let limit = self.float(limit);
            let c = self.emit(Op::CmpF, &[x, limit], cond as i64, ExitId::NONE, 1);
            let e = self.exit(why);
            self.guard(c, e);
        }
        Ok(())
    }
    /// The same for integers.
    pub(super) fn require_int(&mut self, cond: Cond, x: Ref, limit: i64, why: &'static str) -> Step<()> {
        if !cond.ints(self.i(x), limit) {
            return Err(why);
        }
        if self.const_int(x).is_none() {
            let limit = self.int(limit);
            let c = self.compare_ints(cond, x, limit);
            let e = self.exit(why);
            self.guard(c, e);
        }
        Ok(())
    }

    pub(super) fn binary(&mut self, op: u32, a: Val, b: Val) -> Step<Val> {
        if let (Val::Bool(x), Val::Bool(y), 1 | 7 | 12) = (a, b, op) {
            let (p, q) = (self.b(x), self.b(y));
            let (op, c) = match op {
                1 => (Op::AndB, p && q),
                7 => (Op::OrB, p || q),
                _ => (Op::XorB, p != q),
            };
            return Ok(Val::Bool(self.pure(op, &[x, y], u64::from(c))));
        }
        let (a, b) = (self.number(a), self.number(b));
        if let (Val::Int { value: x, .. }, Val::Int { value: y, .. }) = (a, b) {
            return self.binary_int(op, a, b, x, y);
        }
        let (x, y) = (self.as_float(a)?, self.as_float(b)?);
        let (cx, cy) = (self.f(x), self.f(y));
        const ZERO: &str = "a division by zero";
        Ok(fresh_float(match op {
            0 => self.pure(Op::FAdd, &[x, y], (cx + cy).to_bits()),
            10 => self.pure(Op::FSub, &[x, y], (cx - cy).to_bits()),
            5 => self.pure(Op::FMul, &[x, y], (cx * cy).to_bits()),
            11 => {
                self.require_float(Cond::Ne, y, 0.0, ZERO)?;
                self.pure(Op::FDiv, &[x, y], (cx / cy).to_bits())
            }
            6 => {
                self.require_float(Cond::Ne, y, 0.0, ZERO)?;
                let c = float_mod(cx, cy).to_bits();
                self.emit(Op::FCall2, &[x, y], Call::FloatMod as i64, ExitId::NONE, c)
            }
            2 => {
                self.require_float(Cond::Ne, y, 0.0, ZERO)?;
                let c = float_floor(cx, cy).to_bits();
                self.emit(Op::FCall2, &[x, y], Call::FloatFloor as i64, ExitId::NONE, c)
            }
            8 => {
                // A finite result of a positive base is what C's pow gives; everything else may raise.
                self.require_float(Cond::Gt, x, 0.0, "a power of something not positive")?;
                let c = cx.powf(cy);
                if !c.is_finite() {
                    return Err("a power that is not finite");
                }
                let r = self.emit(Op::FCall2, &[x, y], Call::Pow as i64, ExitId::NONE, c.to_bits());
                self.require_float(Cond::Lt, r, f64::INFINITY, "a power that is not finite")?;
                r
            }
            _ => return Err("a float operation that is not traced yet"),
        }))
    }

    fn binary_int(&mut self, op: u32, a: Val, b: Val, x: Ref, y: Ref) -> Step<Val> {
        let (cx, cy) = (self.i(x), self.i(y));
        let value = match op {
            0 => self.checked(Op::AddO, &[x, y], cx.checked_add(cy))?,
            10 => self.checked(Op::SubO, &[x, y], cx.checked_sub(cy))?,
            5 => self.checked(Op::MulO, &[x, y], cx.checked_mul(cy))?,
            1 => self.pure(Op::And, &[x, y], (cx & cy) as u64),
            7 => self.pure(Op::Or, &[x, y], (cx | cy) as u64),
            12 => self.pure(Op::Xor, &[x, y], (cx ^ cy) as u64),
            2 | 6 => {
                self.require_int(Cond::Gt, y, 0, "a division by something not positive")?;
                if op == 2 {
                    self.pure(Op::FloorDiv, &[x, y], cx.div_euclid(cy) as u64)
                } else if self.remainder_is_itself(x, y)? {
                    return Ok(a);
                } else {
                    self.pure(Op::Mod, &[x, y], cx.rem_euclid(cy) as u64)
                }
            }
            3 | 9 => {
                self.require_int(Cond::Below, y, 63, "a shift that is negative or wide")?;
                if op == 9 {
                    if self.shift_is_itself(x, y)? {
                        return Ok(a);
                    }
                    self.pure(Op::Shr, &[x, y], (cx >> cy) as u64)
                } else {
                    let v = cx << cy;
                    self.checked(Op::ShlO, &[x, y], (v >> cy == cx).then_some(v))?
                }
            }
            8 => {
                let Some(n @ 2..=4) = self.const_int(y) else {
                    return Err("a power that is not traced yet");
                };
                let square = self.checked(Op::MulO, &[x, x], cx.checked_mul(cx))?;
                let c = self.i(square);
                match n {
                    2 => square,
                    3 => self.checked(Op::MulO, &[square, x], c.checked_mul(cx))?,
                    _ => self.checked(Op::MulO, &[square, square], c.checked_mul(c))?,
                }
            }
            11 => {
                self.require_int(Cond::Ne, y, 0, "a division by zero")?;
                self.exact(a)?;
                self.exact(b)?;
                let (fx, fy) = (self.as_float(a)?, self.as_float(b)?);
                let v = self.f(fx) / self.f(fy);
                return Ok(fresh_float(self.pure(Op::FDiv, &[fx, fy], v.to_bits())));
            }
            _ => return Err("an integer operation that is not traced yet"),
        };
        Ok(fresh_int(value))
    }

    /// CPython gives the dividend itself back when the divisor has more digits of 30 bits, or a larger first one; only
    /// for divisors of one digit there is a way around that always makes a new object.
    fn remainder_is_itself(&mut self, x: Ref, y: Ref) -> Step<bool> {
        const DIGIT: u32 = 30;
        let c = self.i(y);
        if c < 1 << DIGIT {
            self.require_int(Cond::Lt, y, 1 << DIGIT, "a division by something large")?;
            return Ok(false);
        }
        if self.const_int(y).is_none() {
            return Err("a division by something large");
        }
        let shift = (63 - c.leading_zeros()) / DIGIT * DIGIT;
        let by = self.int(i64::from(shift));
        let first = self.pure(Op::Shr, &[x, by], (self.i(x) >> shift) as u64);
        let limit = self.int(c >> shift);
        let less = self.compare_ints(Cond::Below, first, limit);
        let e = self.fork("a remainder that is the number itself, or not");
        self.guard(less, e);
        Ok(self.b(less))
    }

    /// A negative number of more than one digit of 30 bits that is shifted by 0 is given back itself; others are made anew.
    fn shift_is_itself(&mut self, x: Ref, y: Ref) -> Step<bool> {
        const WHY: &str = "a shift by nothing";
        if self.i(y) != 0 {
            self.require_int(Cond::Ne, y, 0, WHY)?;
            return Ok(false);
        }
        self.require_int(Cond::Eq, y, 0, WHY)?;
        let limit = self.int(-(1 << 30));
        let long = self.compare_ints(Cond::Le, x, limit);
        let e = self.fork("a number of several digits, or not");
        self.guard(long, e);
        Ok(self.b(long))
    }

    pub(super) fn negate(&mut self, v: Val) -> Step<Val> {
        Ok(match self.number(v) {
            Val::Int { value, .. } => {
                let n = self.i(value).checked_neg();
                fresh_int(self.checked(Op::NegO, &[value], n)?)
            }
            Val::Float { value, .. } => {
                let n = (-self.f(value)).to_bits();
                fresh_float(self.pure(Op::FNeg, &[value], n))
            }
            _ => return Err("a negation that is not traced yet"),
        })
    }

    pub(super) fn compare(&mut self, cond: Cond, a: Val, b: Val) -> Step<Ref> {
        let (a, b) = (self.number(a), self.number(b));
        match (a, b) {
            (Val::Int { value: x, .. }, Val::Int { value: y, .. }) => Ok(self.compare_ints(cond, x, y)),
            (Val::Int { .. } | Val::Float { .. }, Val::Int { .. } | Val::Float { .. }) => {
                self.exact(a)?;
                self.exact(b)?;
                let (x, y) = (self.as_float(a)?, self.as_float(b)?);
                let v = u64::from(cond.floats(self.f(x), self.f(y)));
                Ok(self.emit(Op::CmpF, &[x, y], cond as i64, ExitId::NONE, v))
            }
            (Val::Ptr(x, t), Val::Ptr(y, u)) if t == u && self.world.class(self.o(x)) == Class::Str => {
                self.compare_strings(cond, x, y)
            }
            (Val::Ptr(x, t), Val::Ptr(y, u)) if t == u && self.world.class(self.o(x)) == Class::Bytes => {
                let c = self.world.compare_bytes(self.o(x), self.o(y));
                let r = self.emit(Op::StrCmp, &[x, y], 1, ExitId::NONE, c as u64);
                let zero = self.int(0);
                Ok(self.compare_ints(cond, r, zero))
            }
            _ => Err("a comparison that is not traced yet"),
        }
    }
    fn compare_strings(&mut self, cond: Cond, x: Ref, y: Ref) -> Step<Ref> {
        let (p, q) = (self.o(x), self.o(y));
        if matches!(cond, Cond::Eq | Cond::Ne) {
            let same = self.world.compare_strings(p, q) == 0;
            let r = self.pure(Op::StrEq, &[x, y], u64::from(same));
            return Ok(match cond {
                Cond::Eq => r,
                _ => self.pure(Op::NotB, &[r], u64::from(!same)),
            });
        }
        let c = self.world.compare_strings(p, q);
        let r = self.pure(Op::StrCmp, &[x, y], c as u64);
        let zero = self.int(0);
        Ok(self.compare_ints(cond, r, zero))
    }

    pub(super) fn truth(&mut self, v: Val) -> Step<Ref> {
        match v {
            Val::Bool(r) => Ok(r),
            Val::Int { value, .. } => {
                let zero = self.int(0);
                Ok(self.compare_ints(Cond::Ne, value, zero))
            }
            Val::Float { value, .. } => {
                let zero = self.float(0.0);
                let v = u64::from(self.f(value) != 0.0);
                Ok(self.emit(Op::CmpF, &[value, zero], Cond::Ne as i64, ExitId::NONE, v))
            }
            Val::Known(o) if o == self.world.none() => Ok(self.bool(false)),
            Val::Ptr(r, _) => {
                let n = self.length(r)?;
                let zero = self.int(0);
                Ok(self.compare_ints(Cond::Ne, n, zero))
            }
            _ => Err("a truth test that is not traced yet"),
        }
    }

    /// `a is b`; numbers by their objects, of which one that has none is its own.
    pub(super) fn same(&mut self, a: Val, b: Val) -> Step<Ref> {
        match (a, b) {
            (Val::Known(x), Val::Known(y)) => Ok(self.bool(x == y)),
            (Val::Known(k), v) | (v, Val::Known(k)) => match v {
                Val::Ptr(r, t) if t == self.world.type_of(k) => {
                    let k_ref = self.object(k);
                    let c = u64::from(self.o(r) == k);
                    Ok(self.pure(Op::CmpP, &[r, k_ref], c))
                }
                Val::Ptr(..) | Val::Int { .. } | Val::Float { .. } | Val::Tuple(_) => {
                    self.stays_module(k);
                    Ok(self.bool(false))
                }
                Val::Bool(_) if self.world.none() == k => Ok(self.bool(false)),
                _ => Err("a comparison of identities that is not traced yet"),
            },
            (Val::Ptr(x, t), Val::Ptr(y, u)) => {
                if t != u {
                    return Ok(self.bool(false));
                }
                let c = u64::from(self.o(x) == self.o(y));
                Ok(self.pure(Op::CmpP, &[x, y], c))
            }
            (Val::Bool(x), Val::Bool(y)) => {
                let c = self.b(x) != self.b(y);
                let r = self.pure(Op::XorB, &[x, y], u64::from(c));
                Ok(self.pure(Op::NotB, &[r], u64::from(!c)))
            }
            _ => Err("a comparison of identities that is not traced yet"),
        }
    }

    pub(super) fn math1(&mut self, which: Builtin, v: Val) -> Step<Val> {
        const WHY: &str = "a result that is not finite";
        if matches!(v, Val::Int { .. }) {
            self.exact(v)?;
        }
        let x = self.as_float(v)?;
        let c = self.f(x);
        let (call, y) = match which {
            Builtin::Sqrt => {
                self.require_float(Cond::Ge, x, 0.0, "the root of a negative number")?;
                return Ok(fresh_float(self.pure(Op::FSqrt, &[x], c.sqrt().to_bits())));
            }
            Builtin::Fabs => return Ok(fresh_float(self.pure(Op::FAbs, &[x], c.abs().to_bits()))),
            Builtin::Floor | Builtin::Ceil => {
                if matches!(v, Val::Int { .. }) {
                    return Ok(v);
                }
                let (op, y) = if which == Builtin::Floor {
                    (Op::FFloor, c.floor())
                } else {
                    (Op::FCeil, c.ceil())
                };
                let whole = self.pure(op, &[x], y.to_bits());
                return self.truncate(whole);
            }
            Builtin::Sin => (Call::Sin, c.sin()),
            Builtin::Cos => (Call::Cos, c.cos()),
            Builtin::Tan => (Call::Tan, c.tan()),
            Builtin::Atan => (Call::Atan, c.atan()),
            Builtin::Exp => (Call::Exp, c.exp()),
            Builtin::Log => {
                self.require_float(Cond::Gt, x, 0.0, "the logarithm of something not positive")?;
                (Call::Log, c.ln())
            }
            _ => return Err("a call that is not traced yet"),
        };
        if !y.is_finite() {
            return Err(WHY);
        }
        let r = self.emit(Op::FCall, &[x], call as i64, ExitId::NONE, y.to_bits());
        let magnitude = self.pure(Op::FAbs, &[r], y.abs().to_bits());
        self.require_float(Cond::Lt, magnitude, f64::INFINITY, WHY)?;
        Ok(fresh_float(r))
    }

    pub(super) fn math2(&mut self, which: Builtin, a: Val, b: Val) -> Step<Val> {
        const WHY: &str = "a result that is not finite";
        for v in [a, b] {
            if matches!(v, Val::Int { .. }) {
                self.exact(v)?;
            }
        }
        let (x, y) = (self.as_float(a)?, self.as_float(b)?);
        let (call, c) = match which {
            Builtin::Atan2 => (Call::Atan2, self.f(x).atan2(self.f(y))),
            _ => return Err("a call that is not traced yet"),
        };
        for r in [x, y] {
            let magnitude = self.pure(Op::FAbs, &[r], self.f(r).abs().to_bits());
            self.require_float(Cond::Lt, magnitude, f64::INFINITY, WHY)?;
        }
        Ok(fresh_float(self.emit(
            Op::FCall2,
            &[x, y],
            call as i64,
            ExitId::NONE,
            c.to_bits(),
        )))
    }

    /// A float towards zero.
    pub(super) fn truncate(&mut self, x: Ref) -> Step<Val> {
        let c = self.f(x);
        if c.is_nan() || c.abs() >= 4e18 {
            return Err("a float beyond 62 bits");
        }
        let e = self.exit("a float beyond 62 bits");
        Ok(fresh_int(self.emit(Op::FToI, &[x], 0, e, c as i64 as u64)))
    }

    /// A function of `math` called as it is, whose result is finite.
    pub(super) fn of_floats(&mut self, f: Obj, args: &[Val]) -> Step<Val> {
        const WHY: &str = "a result that is not finite";
        let mut xs = Vec::new();
        for v in args {
            if !matches!(v, Val::Int { .. } | Val::Float { .. }) {
                return Err("a call that is not traced yet");
            }
            if matches!(v, Val::Int { .. }) {
                self.exact(*v)?;
            }
            xs.push(self.as_float(*v)?);
        }
        let (&x, y) = (xs.first().ok_or(WHY)?, xs.get(1).copied());
        let c = self.world.call_float(f, self.f(x), y.map(|y| self.f(y))).ok_or(WHY)?;
        if !c.is_finite() {
            return Err(WHY);
        }
        let function = self.object(f);
        let r = self.emit(
            Op::FPy,
            &[function, x, y.unwrap_or(x)],
            args.len() as i64,
            ExitId::NONE,
            c.to_bits(),
        );
        let magnitude = self.pure(Op::FAbs, &[r], c.abs().to_bits());
        self.require_float(Cond::Lt, magnitude, f64::INFINITY, WHY)?;
        Ok(fresh_float(r))
    }

    /// Functions of `math` that are a few operations.
    pub(super) fn math_simple(&mut self, which: Builtin, args: &[Val]) -> Step<Val> {
        const NOT_YET: &str = "a call that is not traced yet";
        const SMALL: i64 = 1 << 60;
        match (which, args) {
            (Builtin::Trunc, [v @ Val::Int { .. }]) => Ok(*v),
            (Builtin::Trunc, [Val::Float { value, .. }]) => self.truncate(*value),
            (Builtin::Gcd, [Val::Int { value: x, .. }, Val::Int { value: y, .. }]) => {
                for r in [*x, *y] {
                    self.require_int(Cond::Gt, r, -SMALL, "a divisor of something large")?;
                    self.require_int(Cond::Lt, r, SMALL, "a divisor of something large")?;
                }
                let c = gcd(self.i(*x), self.i(*y));
                Ok(fresh_int(self.pure(Op::Gcd, &[*x, *y], c as u64)))
            }
            (Builtin::Isqrt, [Val::Int { value, .. }]) => {
                self.require_int(Cond::Ge, *value, 0, "the root of a negative number")?;
                let c = self.i(*value).isqrt();
                Ok(fresh_int(self.pure(Op::Isqrt, &[*value], c as u64)))
            }
            (_, [v @ (Val::Int { .. } | Val::Float { .. })]) => {
                if matches!(v, Val::Int { .. }) {
                    self.exact(*v)?;
                }
                let x = self.as_float(*v)?;
                let c = self.f(x);
                let by = match which {
                    Builtin::Degrees => 180.0 / std::f64::consts::PI,
                    Builtin::Radians => std::f64::consts::PI / 180.0,
                    Builtin::IsNan => {
                        let r = self.emit(Op::CmpF, &[x, x], Cond::Ne as i64, ExitId::NONE, u64::from(c.is_nan()));
                        return Ok(Val::Bool(r));
                    }
                    _ => {
                        let (cond, is) = match which {
                            Builtin::IsInf => (Cond::Eq, c.is_infinite()),
                            Builtin::IsFinite => (Cond::Lt, c.is_finite()),
                            _ => return Err(NOT_YET),
                        };
                        let size = self.pure(Op::FAbs, &[x], c.abs().to_bits());
                        let limit = self.float(f64::INFINITY);
                        let r = self.emit(Op::CmpF, &[size, limit], cond as i64, ExitId::NONE, u64::from(is));
                        return Ok(Val::Bool(r));
                    }
                };
                let factor = self.float(by);
                Ok(fresh_float(self.pure(Op::FMul, &[x, factor], (c * by).to_bits())))
            }
            _ => Err(NOT_YET),
        }
    }
}
