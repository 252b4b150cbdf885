//! Operations on numbers, and checks.

use super::*;
use cranelift_codegen::ir::condcodes::FloatCC;
use larder_trace::Cond;

impl Lower<'_, '_> {
    /// Goes on while an object has more owners than these, not counting places of the frame that the trace overwrites.
    fn guard_shared(&mut self, o: Value, owners: i64, exit: ExitId) {
        let snapshots = self.tree.exits.iter().flat_map(|e| &e.snapshot.slots);
        let slots: HashSet<Slot> = snapshots
            .map(|s| s.0)
            .chain(self.tree.inputs.iter().map(|i| i.slot))
            .collect();
        // An iterator on the stack may hold one thing several times.
        let places = slots.len() as i64 + 8 * i64::from(self.tree.depth);
        let (seldom, on) = (self.b.create_block(), self.b.create_block());
        // The count of an immortal object is large, taken as unsigned.
        let count = self.b.ins().load(I32, MEM, o, layout::REFCOUNT as i32);
        let enough = self.b.ins().iconst(I32, owners + places);
        let many = self.b.ins().icmp(IntCC::UnsignedGreaterThan, count, enough);
        self.b.ins().brif(many, on, &[], seldom, &[]);
        self.b.switch_to_block(seldom);
        let owners = self.b.ins().iconst(I64, owners);
        if let Some(held) = self.call(self.host.helpers.held, &[o, owners], Some(I64)) {
            self.exit_unless(held, exit);
        }
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(on);
    }

    pub(super) fn guard(&mut self, op: Op, imm: i64, exit: ExitId, [x, y, _]: [Value; 3]) {
        let l = self.host.layout;
        let holds = match op {
            Op::GuardFalse => return self.exit_if(x, exit),
            Op::GuardTrue => x,
            Op::GuardType => {
                let found = self.b.ins().load(I64, MEM, x, layout::TYPE as i32);
                self.b.ins().icmp_imm_s(IntCC::Equal, found, imm)
            }
            Op::GuardExact => {
                let moved = self.b.ins().iadd_imm_s(x, 1 << 53);
                self.b.ins().icmp_imm_s(IntCC::UnsignedLessThanOrEqual, moved, 1 << 54)
            }
            Op::GuardSome => self.b.ins().icmp_imm_s(IntCC::NotEqual, x, 0),
            Op::GuardNull => self.b.ins().icmp_imm_s(IntCC::Equal, x, 0),
            Op::GuardSame => self.b.ins().icmp(IntCC::Equal, x, y),
            Op::GuardShared if imm > 0 => return self.guard_shared(x, imm, exit),
            Op::GuardShared => {
                let count = self.b.ins().load(I32, MEM, x, layout::REFCOUNT as i32);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, count, 1)
            }
            Op::GuardHeld => {
                let count = self.b.ins().load(I32, MEM, x, layout::REFCOUNT as i32);
                let shared = self.b.ins().icmp_imm_s(IntCC::NotEqual, count, 1);
                if self.ends_containers {
                    shared
                } else {
                    let none = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
                    self.b.ins().bor(shared, none)
                }
            }
            Op::GuardImmortal => {
                let count = self.b.ins().load(I32, MEM, x, layout::REFCOUNT as i32);
                self.b.ins().icmp_imm_s(IntCC::SignedLessThan, count, 0)
            }
            Op::GuardObject => {
                let odd = self.b.ins().band_imm_s(x, 1);
                self.b.ins().icmp_imm_s(IntCC::Equal, odd, 0)
            }
            Op::GuardQuiet => match self.call(self.host.helpers.quiet, &[x], Some(I64)) {
                Some(quiet) => quiet,
                None => return,
            },
            Op::GuardByte => {
                let byte = self.b.ins().uload8(I32, MEM, x, imm as i32);
                let mask = imm >> 32 & 0xff;
                let bits = match mask {
                    0xff => byte,
                    _ => self.b.ins().band_imm_s(byte, mask),
                };
                self.b.ins().icmp_imm_s(IntCC::NotEqual, bits, 0)
            }
            _ => {
                let state = self.b.ins().load(I32, MEM, x, l.str_state as i32);
                let bits = self.b.ins().band_imm_s(state, i64::from(l.str_mask));
                self.b.ins().icmp_imm_s(IntCC::Equal, bits, i64::from(l.str_ascii))
            }
        };
        self.exit_unless(holds, exit);
    }

    pub(super) fn number(&mut self, op: Op, imm: i64, exit: ExitId, [x, y, _]: [Value; 3]) -> Option<Value> {
        Some(match op {
            Op::AddO | Op::SubO | Op::MulO => {
                let (v, over) = match op {
                    Op::AddO => self.b.ins().sadd_overflow(x, y),
                    Op::SubO => self.b.ins().ssub_overflow(x, y),
                    _ => self.b.ins().smul_overflow(x, y),
                };
                self.exit_if(over, exit);
                v
            }
            Op::NegO => {
                let zero = self.b.ins().iconst(I64, 0);
                let (v, over) = self.b.ins().ssub_overflow(zero, x);
                self.exit_if(over, exit);
                v
            }
            Op::ShlO => {
                let v = self.b.ins().ishl(x, y);
                let back = self.b.ins().sshr(v, y);
                let same = self.b.ins().icmp(IntCC::Equal, back, x);
                self.exit_unless(same, exit);
                v
            }
            Op::AddW => self.b.ins().iadd(x, y),
            Op::SubW => self.b.ins().isub(x, y),
            Op::MulW => self.b.ins().imul(x, y),
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
            Op::FFloor => self.b.ins().floor(x),
            Op::FCeil => self.b.ins().ceil(x),
            Op::FNear => self.b.ins().nearest(x),
            Op::FCall => self.call(self.host.helpers.calls[imm as usize], &[x], Some(F64))?,
            Op::FCall2 => self.call(self.host.helpers.calls[imm as usize], &[x, y], Some(F64))?,
            Op::IToF => self.b.ins().fcvt_from_sint(F64, x),
            Op::FToI => {
                let size = self.b.ins().fabs(x);
                let limit = self.b.ins().f64const(4e18);
                let fits = self.b.ins().fcmp(FloatCC::LessThan, size, limit);
                self.exit_unless(fits, exit);
                self.b.ins().fcvt_to_sint_sat(I64, x)
            }
            Op::BToI => self.b.ins().uextend(I64, x),
            Op::NotB => self.b.ins().bxor_imm_s(x, 1),
            Op::AndB => self.b.ins().band(x, y),
            Op::OrB => self.b.ins().bor(x, y),
            Op::XorB => self.b.ins().bxor(x, y),
            Op::CmpI => self.b.ins().icmp(int_cc(Cond::from_imm(imm)), x, y),
            Op::CmpF => self.b.ins().fcmp(float_cc(Cond::from_imm(imm)), x, y),
            Op::CmpP => self.b.ins().icmp(IntCC::Equal, x, y),
            _ => return None,
        })
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
