//! Fewer instructions for the same work: what Cranelift loads into a register to use it once is used where it lies.
//!
//! ```text
//! mov rax, [rcx + 16]; cmp r13, rax       ->  cmp r13, [rcx + 16]
//! mov rsi, [rdi + 8]; cmp rsi, [type]     ->  cmp [rdi + 8], r11        with the type in a register nobody uses
//! mov rax, -1; add rax, [rdi + 16]        ->  mov rax, [rdi + 16]; add rax, -1
//! mov rax, r12; imul qword [constant]     ->  imul rax, r12, constant
//! mov qword [rdi], 0; ...                 ->  xor eax, eax; mov [rdi], rax; ...
//! ```
//!
//! Invariants
//!
//! - Registers and flags have the same values wherever [`Flow`] says that somebody asks for them.
//! - A load moves down over instructions that leave its address and its memory alone, and over no jump and no jump's
//!   target.

use crate::flow::{FLAGS, Flow, bit};
use crate::frame;
use iced_x86::{Code as C, FlowControl, Instruction, MemoryOperand, OpKind, Register};
use std::collections::HashMap;

/// How far down a load is moved.
const REACH: usize = 8;

/// What is known of code that is not in the instructions.
pub struct Known<'a> {
    /// The eight bytes of a constant at an address.
    pub constant: &'a dyn Fn(u64) -> Option<u64>,
    /// How many words a call is given that keeps every register.
    pub given: &'a dyn Fn(&Instruction) -> Option<usize>,
}

/// Rewrites the code in place; jumps may lead anywhere but into what `all` does not hold.
pub fn fuse(all: &mut Vec<Instruction>, known: &Known) {
    for _ in 0..6 {
        let flow = Flow::of(all, known.given);
        let mut gone = vec![false; all.len()];
        let mut changed = false;
        for k in 0..all.len() {
            if !gone[k] {
                changed |= unused(all, &flow, k, &mut gone)
                    || load_where_used(all, &flow, k, &mut gone)
                    || copy_where_used(all, &flow, k, &mut gone)
                    || overwritten(all, &flow, k, &mut gone)
                    || times(all, &flow, k, &mut gone, known)
                    || constant_second(all, &flow, k);
            }
        }
        remove(all, &gone);
        if !changed {
            break;
        }
    }
    exchanges(all, known);
    wide_constants(all, known);
    zeros(all, known);
    shorter(all, known);
}

/// Takes instructions out; a jump to one arrives at what follows it.
pub(crate) fn remove(all: &mut Vec<Instruction>, gone: &[bool]) {
    let mut to = HashMap::new();
    let mut next = None;
    for (i, gone) in all.iter().zip(gone).rev() {
        if *gone {
            to.extend(next.map(|next| (i.ip(), next)));
        } else {
            next = Some(i.ip());
        }
    }
    let mut gone = gone.iter();
    all.retain(|_| !gone.next().is_some_and(|gone| *gone));
    for i in all.iter_mut().filter(|i| crate::shrink::is_jump(i)) {
        if let Some(to) = to.get(&i.near_branch_target()) {
            i.set_near_branch64(*to);
        }
    }
}

fn memory(i: &Instruction) -> MemoryOperand {
    MemoryOperand::new(
        i.memory_base(),
        i.memory_index(),
        i.memory_index_scale(),
        i.memory_displacement64() as i64,
        i.memory_displ_size(),
        false,
        Register::None,
    )
}

/// The instruction made, in the place of another.
fn instead(made: Result<Instruction, iced_x86::IcedError>, of: &Instruction) -> Option<Instruction> {
    let mut made = made.ok()?;
    made.set_ip(of.ip());
    Some(made)
}

/// Whether an instruction only computes what it writes to a register.
fn only_computes(i: &Instruction) -> bool {
    let into_register = i.op_count() > 0 && i.op0_kind() == OpKind::Register;
    into_register
        && matches!(
            i.code(),
            C::Mov_r64_rm64
                | C::Mov_rm64_r64
                | C::Mov_r32_rm32
                | C::Mov_rm32_r32
                | C::Mov_r64_imm64
                | C::Mov_r32_imm32
                | C::Mov_rm64_imm32
                | C::Movzx_r32_rm8
                | C::Movzx_r64_rm8
                | C::Movsd_xmm_xmmm64
                | C::Movaps_xmm_xmmm128
                | C::Lea_r64_m
                | C::Xor_r64_rm64
                | C::Xor_rm64_r64
                | C::Xor_r32_rm32
                | C::Xor_rm32_r32
        )
}

/// What nobody asks for.
fn unused(all: &[Instruction], flow: &Flow, k: usize, gone: &mut [bool]) -> bool {
    let i = &all[k];
    let nothing = i.code() == C::Add_rm64_imm8
        && i.op0_kind() == OpKind::Register
        && i.immediate(1) == 0
        && flow.dead(k, flow.uses[k].writes & FLAGS);
    gone[k] = nothing || only_computes(i) && flow.dead(k, flow.uses[k].writes);
    gone[k]
}

/// Whether what one instruction stores is surely not what another loads.
fn apart(store: &Instruction, load: &Instruction) -> bool {
    let frame = |i: &Instruction| i.memory_base() == Register::RBP;
    if frame(store) != frame(load) {
        return true; // spill slots are nobody else's memory
    }
    let plain = |i: &Instruction| i.memory_index() == Register::None && i.memory_base() != Register::None;
    let (a, b) = (
        store.memory_displacement64() as i64,
        load.memory_displacement64() as i64,
    );
    plain(store) && plain(load) && store.memory_base() == load.memory_base() && a.abs_diff(b) >= 16
}

/// A load whose value is used once becomes an operand there.
fn load_where_used(all: &mut [Instruction], flow: &Flow, k: usize, gone: &mut [bool]) -> bool {
    let load = all[k];
    let loads = matches!(
        load.code(),
        C::Mov_r64_rm64 | C::Mov_r32_rm32 | C::Movzx_r32_rm8 | C::Movzx_r64_rm8
    );
    if !loads || load.op1_kind() != OpKind::Memory {
        return false;
    }
    let r = bit(load.op0_register());
    let address = bit(load.memory_base()) | bit(load.memory_index());
    for j in k + 1..(k + REACH).min(all.len()) {
        if flow.entered[j] {
            return false;
        }
        if gone[j] {
            continue;
        }
        let (i, uses) = (all[j], flow.uses[j]);
        if uses.reads & r != 0 {
            if !flow.dead(j, r) {
                return false;
            }
            let Some(made) = used_in_place(&load, &i, load.op0_register().full_register()) else {
                return false;
            };
            all[j] = made;
            gone[k] = true;
            return true;
        }
        let blocked = i.flow_control() != FlowControl::Next
            || uses.writes & (r | address) != 0
            || uses.stores && !apart(&i, &load);
        if blocked {
            return false;
        }
    }
    false
}

/// Whether an instruction copies one general register to another, and which: to, from.
fn copy(i: &Instruction) -> Option<(Register, Register)> {
    let copies = matches!(i.code(), C::Mov_r64_rm64 | C::Mov_rm64_r64)
        && (i.op0_kind(), i.op1_kind()) == (OpKind::Register, OpKind::Register);
    copies.then(|| (i.op0_register(), i.op1_register()))
}

/// A copy that is used once, before its original changes: the original is used.
fn copy_where_used(all: &mut [Instruction], flow: &Flow, k: usize, gone: &mut [bool]) -> bool {
    let Some((to, from)) = copy(&all[k]) else { return false };
    if matches!(from, Register::RSP | Register::RBP) || to == from {
        return false;
    }
    for j in k + 1..(k + REACH).min(all.len()) {
        if flow.entered[j] {
            return false;
        }
        if gone[j] {
            continue;
        }
        let (mut i, uses) = (all[j], flow.uses[j]);
        if uses.reads & bit(to) != 0 {
            // Both have the same value: nothing is left of it.
            if matches!(i.code(), C::Xor_r64_rm64 | C::Xor_rm64_r64)
                && (i.op0_kind(), i.op1_kind()) == (OpKind::Register, OpKind::Register)
                && (i.op0_register(), i.op1_register()) == (from, to)
                && flow.dead(j, bit(to))
            {
                i.set_op_register(1, from);
                (all[j], gone[k]) = (i, true);
                return true;
            }
            let plain = matches!(
                i.code(),
                C::Mov_rm64_r64 | C::Mov_r64_rm64 | C::Cmp_r64_rm64 | C::Cmp_rm64_r64
            );
            if !plain || uses.writes & bit(to) != 0 || !flow.dead(j, bit(to)) {
                return false;
            }
            for op in 0..i.op_count() {
                let read = op == 1 || i.op0_kind() == OpKind::Memory || uses.writes == uses.writes & FLAGS;
                if i.op_kind(op) == OpKind::Register && i.op_register(op) == to && read {
                    i.set_op_register(op, from);
                }
            }
            if i.memory_base() == to {
                i.set_memory_base(from);
            }
            if i.memory_index() == to {
                i.set_memory_index(from);
            }
            all[j] = i;
            gone[k] = true;
            return true;
        }
        if i.flow_control() != FlowControl::Next || uses.writes & (bit(to) | bit(from)) != 0 {
            return false;
        }
    }
    false
}

/// A store into a spill slot that is written again before anybody reads it.
fn overwritten(all: &[Instruction], flow: &Flow, k: usize, gone: &mut [bool]) -> bool {
    let slot = |i: &Instruction| {
        let plain = i.memory_base() == Register::RBP && i.memory_index() == Register::None;
        let stores = i.code() == C::Mov_rm64_r64 && i.op0_kind() == OpKind::Memory;
        (plain && stores).then(|| i.memory_displacement64())
    };
    let Some(at) = slot(&all[k]) else { return false };
    for j in k + 1..(k + REACH).min(all.len()) {
        if flow.entered[j] || all[j].flow_control() != FlowControl::Next {
            return false;
        }
        if !gone[j] && all[j].memory_base() == Register::RBP {
            gone[k] = slot(&all[j]) == Some(at);
            return gone[k];
        }
    }
    false
}

/// `mov c, a; mov a, b; mov b, c` as `xchg a, b`, where nobody wants c.
fn exchanges(all: &mut Vec<Instruction>, known: &Known) {
    let flow = Flow::of(all, known.given);
    let mut gone = vec![false; all.len()];
    for k in 2..all.len() {
        let three = (copy(&all[k - 2]), copy(&all[k - 1]), copy(&all[k]));
        let (Some((c, a)), Some((to, b)), Some((last, from))) = three else {
            continue;
        };
        let turns = to == a && last == b && from == c && a != b && a != c && b != c;
        let alone = !flow.entered[k] && !flow.entered[k - 1] && !gone[k - 2];
        if turns
            && alone
            && flow.dead(k, bit(c))
            && let Some(made) = instead(Instruction::with2(C::Xchg_rm64_r64, a, b), &all[k])
        {
            all[k] = made;
            (gone[k - 2], gone[k - 1]) = (true, true);
        }
    }
    remove(all, &gone);
}

/// The instruction that takes from memory what it took from a register.
fn used_in_place(load: &Instruction, i: &Instruction, r: Register) -> Option<Instruction> {
    let width = match load.code() {
        C::Mov_r64_rm64 => 8,
        C::Mov_r32_rm32 => 4,
        _ => 1,
    };
    let m = memory(load);
    let is_register = |k: u32| k < i.op_count() && i.op_kind(k) == OpKind::Register;
    let is = |k: u32| is_register(k) && i.op_register(k).full_register() == r;
    let other = |k: u32| is_register(k) && i.op_register(k).full_register() != r;
    let low =
        |k: u32| i.op_register(k).is_gpr8() && crate::shrink::low_byte(r.full_register32()) == Some(i.op_register(k));
    let made = match i.code() {
        C::Cmp_r64_rm64 | C::Cmp_rm64_r64 if width == 8 => {
            if other(0) && is(1) {
                Instruction::with2(C::Cmp_r64_rm64, i.op0_register(), m)
            } else if is(0) && other(1) {
                Instruction::with2(C::Cmp_rm64_r64, m, i.op1_register())
            } else {
                return None;
            }
        }
        C::Cmp_r32_rm32 | C::Cmp_rm32_r32 if width >= 4 => {
            if other(0) && is(1) {
                Instruction::with2(C::Cmp_r32_rm32, i.op0_register(), m)
            } else if is(0) && other(1) {
                Instruction::with2(C::Cmp_rm32_r32, m, i.op1_register())
            } else {
                return None;
            }
        }
        C::Test_rm64_r64 if width == 8 && is(0) && is(1) => Instruction::with2(C::Cmp_rm64_imm8, m, 0),
        C::Test_rm32_r32 if width >= 4 && is(0) && is(1) => Instruction::with2(C::Cmp_rm32_imm8, m, 0),
        C::Test_rm8_r8 if is(0) && is(1) && low(0) && low(1) => Instruction::with2(C::Cmp_rm8_imm8, m, 0),
        C::Cmp_rm8_imm8 | C::Cmp_AL_imm8 if is(0) && low(0) => {
            Instruction::with2(C::Cmp_rm8_imm8, m, u32::from(i.immediate8()))
        }
        C::Cmp_rm64_imm8 if width == 8 && is(0) => Instruction::with2(C::Cmp_rm64_imm8, m, i.immediate(1) as i32),
        C::Cmp_rm64_imm32 | C::Cmp_RAX_imm32 if width == 8 && is(0) => {
            Instruction::with2(C::Cmp_rm64_imm32, m, i.immediate(1) as i32)
        }
        C::Cmp_rm32_imm8 if width >= 4 && is(0) => Instruction::with2(C::Cmp_rm32_imm8, m, i.immediate(1) as i32),
        C::Cmp_rm32_imm32 | C::Cmp_EAX_imm32 if width >= 4 && is(0) => {
            Instruction::with2(C::Cmp_rm32_imm32, m, i.immediate(1) as i32)
        }
        code if width == 8 && other(0) && is(1) => {
            let code = match code {
                C::Add_r64_rm64 | C::Add_rm64_r64 => C::Add_r64_rm64,
                C::Sub_r64_rm64 | C::Sub_rm64_r64 => C::Sub_r64_rm64,
                C::And_r64_rm64 | C::And_rm64_r64 => C::And_r64_rm64,
                C::Or_r64_rm64 | C::Or_rm64_r64 => C::Or_r64_rm64,
                C::Xor_r64_rm64 | C::Xor_rm64_r64 => C::Xor_r64_rm64,
                C::Mov_r64_rm64 | C::Mov_rm64_r64 => C::Mov_r64_rm64,
                C::Imul_r64_rm64 => C::Imul_r64_rm64,
                C::Cvtsi2sd_xmm_rm64 => C::Cvtsi2sd_xmm_rm64,
                _ => return None,
            };
            Instruction::with2(code, i.op0_register(), m)
        }
        _ => return None,
    };
    instead(made, i)
}

/// The constant a register is given, if it fits 32 bits with its sign.
fn constant(i: &Instruction) -> Option<(Register, i32)> {
    let n = match i.code() {
        C::Mov_rm64_imm32 if i.op0_kind() == OpKind::Register => i.immediate(1) as i64,
        C::Mov_r32_imm32 => i64::from(i.immediate32()),
        _ => return None,
    };
    Some((i.op0_register().full_register(), i32::try_from(n).ok()?))
}

/// A product of two words in rdx and rax, of which only the lower is wanted, with a constant.
fn times(all: &mut [Instruction], flow: &Flow, k: usize, gone: &mut [bool], known: &Known) -> bool {
    let i = all[k];
    let wanted = i.code() == C::Imul_rm64 && flow.dead(k, bit(Register::RDX));
    if !wanted || k == 0 || gone[k - 1] {
        return false;
    }
    let before = (!flow.entered[k]).then(|| all[k - 1]);
    let (from, n, first) = if i.is_ip_rel_memory_operand() {
        let Some(n) = (known.constant)(i.ip_rel_memory_address()).and_then(|n| i32::try_from(n as i64).ok()) else {
            return false;
        };
        let copy = before.filter(|b| {
            matches!(b.code(), C::Mov_r64_rm64 | C::Mov_rm64_r64)
                && b.op0_kind() == OpKind::Register
                && b.op1_kind() == OpKind::Register
                && b.op0_register() == Register::RAX
        });
        (copy.map_or(Register::RAX, |b| b.op1_register()), n, copy.is_some())
    } else if i.op0_kind() == OpKind::Register && i.op0_register() != Register::RAX {
        let Some((Register::RAX, n)) = before.as_ref().and_then(constant) else {
            return false;
        };
        (i.op0_register(), n, true)
    } else {
        return false;
    };
    let code = if i8::try_from(n).is_ok() {
        C::Imul_r64_rm64_imm8
    } else {
        C::Imul_r64_rm64_imm32
    };
    let Some(made) = instead(Instruction::with3(code, Register::RAX, from, n), &i) else {
        return false;
    };
    all[k] = made;
    gone[k - 1] |= first;
    true
}

/// `mov r, n; add r, x` as `mov r, x; add r, n`, whose constant takes one byte.
fn constant_second(all: &mut [Instruction], flow: &Flow, k: usize) -> bool {
    let (Some((r, n)), Some(add)) = (constant(&all[k]), all.get(k + 1).copied()) else {
        return false;
    };
    let onto = matches!(add.code(), C::Add_r64_rm64 | C::Add_rm64_r64)
        && add.op0_kind() == OpKind::Register
        && add.op0_register() == r;
    let from_it = match add.op1_kind() {
        OpKind::Register => add.op1_register() == r,
        _ => add.memory_base() == r || add.memory_index() == r,
    };
    if !onto || from_it || flow.entered[k + 1] || i8::try_from(n).is_err() {
        return false;
    }
    let load = match add.op1_kind() {
        OpKind::Register => Instruction::with2(C::Mov_r64_rm64, r, add.op1_register()),
        _ => Instruction::with2(C::Mov_r64_rm64, r, memory(&add)),
    };
    let made = (
        instead(load, &all[k]),
        instead(Instruction::with2(C::Add_rm64_imm8, r, n), &add),
    );
    let (Some(load), Some(add)) = made else { return false };
    (all[k], all[k + 1]) = (load, add);
    true
}

/// The register's 32 bits.
fn half(r: Register) -> Register {
    r.full_register32()
}

/// Registers no instruction touches, those first that take fewer bytes.
fn free_registers(all: &[Instruction], flow: &Flow, known: &Known) -> Vec<Register> {
    use Register::*;
    let touched = |set: u64, k: usize| {
        // A call that keeps registers touches none but those it is given.
        let writes = if all[k].flow_control() == FlowControl::Call {
            0
        } else {
            flow.uses[k].writes
        };
        set | flow.uses[k].reads | writes
    };
    let used = (0..all.len()).fold(bit(RDI) | bit(RAX), touched);
    let calls = |i: &Instruction| i.flow_control() == FlowControl::Call && (known.given)(i).is_none();
    let kept = [RBX, R12, R13, R14, R15];
    let all_of_them = [RCX, RDX, RBX, RSI, R8, R9, R10, R11, R12, R13, R14, R15];
    let candidates = if all.iter().any(calls) {
        &kept[..]
    } else {
        &all_of_them[..]
    };
    candidates.iter().copied().filter(|r| used & bit(*r) == 0).collect()
}

/// Where a constant of eight bytes is used.
struct Wide {
    n: u64,
    /// With the bytes that each use takes less if the constant is in a register.
    uses: Vec<(usize, usize)>,
    /// It lies behind the code meanwhile.
    pooled: bool,
}

/// Constants of eight bytes, most of them types that objects are compared with, lie in registers that are free in the
/// whole trace, and one that none is left for in the frame's own place.
fn wide_constants(all: &mut Vec<Instruction>, known: &Known) {
    let flow = Flow::of(all, known.given);
    let mut found: Vec<Wide> = Vec::new();
    // A value that is loaded to be compared and for nothing else.
    let loaded = |k: usize| {
        let load = &all[k - 1];
        load.code() == C::Mov_r64_rm64
            && load.op1_kind() == OpKind::Memory
            && !load.is_ip_rel_memory_operand()
            && load.op0_register() == all[k].op0_register()
            && !flow.entered[k]
            && flow.dead(k, bit(load.op0_register()))
    };
    for (k, i) in all.iter().enumerate().skip(1) {
        let (n, less, pooled) = if i.code() == C::Cmp_r64_rm64 && i.is_ip_rel_memory_operand() {
            let less = if loaded(k) { 7 } else { 4 };
            ((known.constant)(i.ip_rel_memory_address()), less, true)
        } else if i.code() == C::Mov_r64_imm64 {
            (Some(i.immediate64()), 7, false)
        } else {
            continue;
        };
        let Some(n) = n else { continue };
        match found.iter_mut().find(|f| f.n == n) {
            Some(f) => {
                f.uses.push((k, less));
                f.pooled |= pooled;
            }
            None => found.push(Wide {
                n,
                uses: vec![(k, less)],
                pooled,
            }),
        }
    }
    let less = |f: &Wide| f.uses.iter().map(|u| u.1).sum::<usize>() + if f.pooled { 8 } else { 0 };
    found.sort_by_key(|f| std::cmp::Reverse(less(f)));
    found.retain(|f| less(f) > 10);
    let mut gone = vec![false; all.len()];
    let mut first = Vec::new();
    let free = free_registers(all, &flow, known);
    for (number, f) in found.iter().enumerate() {
        let place = free.get(number).copied();
        let at = MemoryOperand::with_base_displ_size(Register::RBP, frame::SPARE, 1);
        let last = number == free.len() && f.uses.len() > 5;
        if place.is_none() && !last {
            break;
        }
        // Before everything, only the buffer's register is in use.
        let load = Instruction::with2(C::Mov_r64_imm64, place.unwrap_or(Register::RAX), f.n).into_iter();
        let store = Instruction::with2(C::Mov_rm64_r64, at, Register::RAX);
        first.extend(load.chain(store.into_iter().filter(|_| place.is_none())));
        for (k, less) in &f.uses {
            let i = all[*k];
            let made = match (place, less) {
                (Some(r), _) if i.code() == C::Mov_r64_imm64 => {
                    Instruction::with2(C::Mov_r64_rm64, i.op0_register(), r)
                }
                (Some(r), 7) => Instruction::with2(C::Cmp_rm64_r64, memory(&all[k - 1]), r),
                (Some(r), _) => Instruction::with2(C::Cmp_r64_rm64, i.op0_register(), r),
                (None, _) if i.code() == C::Mov_r64_imm64 => Instruction::with2(C::Mov_r64_rm64, i.op0_register(), at),
                (None, _) => Instruction::with2(C::Cmp_r64_rm64, i.op0_register(), at),
            };
            if let Some(made) = instead(made, &i) {
                gone[k - 1] |= place.is_some() && *less == 7 && i.code() == C::Cmp_r64_rm64;
                all[*k] = made;
            }
        }
    }
    remove(all, &gone);
    let ip = all[0].ip();
    let before = first.len() as u64;
    for (k, i) in first.iter_mut().enumerate() {
        i.set_ip(ip - before + k as u64);
    }
    all.splice(0..0, first);
}

/// `mov qword [m], small` as `push small; pop [m]`: five bytes for eight. Such stores are of outer loops.
fn by_stack(i: &Instruction) -> Option<[Instruction; 2]> {
    let stores = i.code() == C::Mov_rm64_imm32 && i.op0_kind() == OpKind::Memory;
    let small = stores
        .then(|| i8::try_from(i.immediate(1) as i64).ok())?
        .filter(|n| *n != 0)?;
    let mut push = Instruction::with1(C::Pushq_imm8, i32::from(small)).ok()?;
    let mut pop = Instruction::with1(C::Pop_rm64, memory(i)).ok()?;
    push.set_ip(i.ip());
    pop.set_ip(i.ip() + 1); // inside the old instruction, so nothing else's
    Some([push, pop])
}

/// Zeros are stored from a register, where two or more are and one is free; else in five bytes instead of eight.
fn zeros(all: &mut Vec<Instruction>, known: &Known) {
    let flow = Flow::of(all, known.given);
    let zero = |i: &Instruction| i.code() == C::Mov_rm64_imm32 && i.op0_kind() == OpKind::Memory && i.immediate(1) == 0;
    let mut out = Vec::with_capacity(all.len() + 8);
    let mut k = 0;
    while k < all.len() {
        if !zero(&all[k]) || !flow.dead(k, FLAGS) {
            match by_stack(&all[k]) {
                Some(pair) => out.extend(pair),
                None => out.push(all[k]),
            }
            k += 1;
            continue;
        }
        // To the last zero of the stretch that nothing enters or leaves.
        let ends = |j: &usize| all[*j].flow_control() == FlowControl::Next && !flow.entered[*j];
        let stretch = (k + 1..all.len()).take_while(ends);
        let places: Vec<usize> = std::iter::once(k).chain(stretch.filter(|j| zero(&all[*j]))).collect();
        let last = places[places.len() - 1];
        let busy = (k..=last).fold(0, |set, j| {
            set | flow.uses[j].reads | flow.uses[j].writes | flow.after[j]
        });
        let free = [
            Register::RAX,
            Register::RCX,
            Register::RDX,
            Register::RSI,
            Register::RBX,
        ]
        .into_iter()
        .find(|r| busy & bit(*r) == 0);
        let made = free.filter(|_| places.len() > 1).and_then(|r| {
            let mut clear = Instruction::with2(C::Xor_r32_rm32, half(r), half(r)).ok()?;
            clear.set_ip(all[k].ip());
            Some((clear, r))
        });
        if let Some((clear, r)) = made {
            out.push(clear);
            for (j, mut i) in all.iter().copied().enumerate().take(last + 1).skip(k) {
                if places.contains(&j)
                    && let Some(store) = instead(Instruction::with2(C::Mov_rm64_r64, memory(&i), r), &i)
                {
                    i = store;
                }
                if j == k {
                    i.set_ip(clear.ip() + 1); // inside the old instruction, so nothing else's
                }
                out.push(i);
            }
            k = last + 1;
        } else {
            let made = instead(Instruction::with2(C::And_rm64_imm8, memory(&all[k]), 0), &all[k]);
            out.push(made.unwrap_or(all[k]));
            k += 1;
        }
    }
    *all = out;
}

/// The same in fewer bytes.
fn shorter(all: &mut [Instruction], known: &Known) {
    let flow = Flow::of(all, known.given);
    for (k, i) in all.iter_mut().enumerate() {
        let same = i.op_count() == 2
            && i.op0_kind() == OpKind::Register
            && i.op1_kind() == OpKind::Register
            && i.op0_register() == i.op1_register();
        let made = match i.code() {
            C::Xor_r64_rm64 | C::Xor_rm64_r64 if same => {
                Instruction::with2(C::Xor_r32_rm32, half(i.op0_register()), half(i.op0_register()))
            }
            C::Mov_rm64_imm32
                if i.op0_kind() == OpKind::Register && i.immediate(1) as i64 == -1 && flow.dead(k, FLAGS) =>
            {
                Instruction::with2(C::Or_rm64_imm8, i.op0_register(), -1)
            }
            _ => continue,
        };
        if let Some(made) = instead(made, i) {
            *i = made;
        }
    }
}

/// Stretches of code follow each other where a jump from one to the next can go.
pub fn lay_out(all: &mut Vec<Instruction>) {
    let ends: Vec<usize> = (0..all.len())
        .filter(|k| crate::shrink::goes_nowhere_on(&all[*k]))
        .collect();
    let begins: Vec<usize> = std::iter::once(0)
        .chain(ends.iter().map(|e| e + 1))
        .take(ends.len())
        .collect();
    let at: HashMap<u64, usize> = begins.iter().enumerate().map(|(s, k)| (all[*k].ip(), s)).collect();
    let entered: std::collections::HashSet<u64> = all
        .iter()
        .filter(|i| crate::shrink::is_jump(i))
        .map(Instruction::near_branch_target)
        .collect();
    let mut placed = vec![false; ends.len()];
    if placed.is_empty() {
        return;
    }
    let mut out: Vec<Instruction> = Vec::with_capacity(all.len());
    let mut dropped: HashMap<u64, u64> = HashMap::new();
    let (mut next, mut before) = (Some(0), 0);
    while let Some(s) = next.or_else(|| (before..placed.len()).find(|s| !placed[*s])) {
        before = if next.is_none() { s } else { before };
        placed[s] = true;
        next = None;
        let (first, last) = (begins[s], ends[s]);
        out.extend(&all[first..=last]);
        let jump = all[last];
        if !crate::shrink::is_jump(&jump) {
            continue;
        }
        let open = |ip: u64| at.get(&ip).copied().filter(|s| !placed[*s]);
        let onward = open(jump.near_branch_target());
        // `jcc a; jmp b`: either may follow; what was put first before is run more often.
        let over = (last > first)
            .then(|| all[last - 1])
            .filter(|i| i.flow_control() == FlowControl::ConditionalBranch && !entered.contains(&jump.ip()));
        let aside = over.and_then(|i| open(i.near_branch_target()));
        if let (Some(a), Some(mut i)) = (aside.filter(|a| onward.is_none_or(|b| *a < b)), over) {
            out.truncate(out.len() - 2);
            i.negate_condition_code();
            i.set_near_branch64(jump.near_branch_target());
            out.push(i);
            next = Some(a);
        } else if onward.is_some() {
            out.pop();
            dropped.insert(jump.ip(), jump.near_branch_target());
            next = onward;
        }
    }
    for i in out.iter_mut().filter(|i| crate::shrink::is_jump(i)) {
        while let Some(to) = dropped.get(&i.near_branch_target()) {
            i.set_near_branch64(*to);
        }
    }
    *all = out;
}

#[cfg(test)]
mod tests;
