//! Takes a trace's stack frame away: its spill slots lie in the frame of the arena's entry.
//!
//! Cranelift gives every function a prologue, an epilogue at every return, and spill slots at `rsp + distance`, which
//! take a byte more than `rbp + distance` does and three more from 128 bytes on. No trace calls another, so the entry
//! reserves one frame for all, and points rbp into its middle.
//!
//! Invariants
//!
//! - Only code in which rsp and rbp serve nothing but prologue, epilogues and whole spill slots is changed.
//! - Slots keep their extent, and none overlaps another.

use iced_x86::{Code as C, Instruction, InstructionInfoFactory, MemorySize, OpKind, Register};

/// Bytes of spill slots there is room for.
pub const ROOM: u32 = 1024;
/// rbp points this far into them.
pub const MIDDLE: i64 = 128;
/// A slot that is nobody's spill slot, one byte from rbp.
pub const SPARE: i64 = 120;
/// The last slot, which has the buffer's address.
pub const BUFFER: i64 = ROOM as i64 - 8 - MIDDLE;

/// Rewrites the code to use the entry's frame; false, with nothing changed, when it is not understood.
pub fn share(all: &mut Vec<Instruction>, targets: &dyn Fn(u64) -> bool) -> bool {
    let frame = prologue(all).unwrap_or(Frame { size: 0, length: 0 });
    let Some((slots, gone)) = slots(all, &frame, targets) else {
        return false;
    };
    let mut place: Vec<(u64, i64)> = Vec::new();
    let mut order = slots;
    // The slots used most, by their size, come first: within 128 bytes of rbp.
    order.sort_by_key(|s| (std::cmp::Reverse(s.uses * 16 / s.size), s.at));
    let mut next = -MIDDLE;
    for s in &order {
        if next <= SPARE && next + s.size as i64 > SPARE {
            next = SPARE + 8;
        }
        place.push((s.at, next));
        next += s.size as i64;
    }
    if next > BUFFER {
        return false;
    }
    for i in all.iter_mut() {
        if is_slot(i) {
            let at = i.memory_displacement64();
            let Some(to) = place.iter().find(|p| p.0 == at) else {
                return false; // not reached: every slot was collected
            };
            i.set_memory_base(Register::RBP);
            i.set_memory_displacement64(to.1 as u64);
            i.set_memory_displ_size(if i8::try_from(to.1).is_ok() { 1 } else { 8 });
        }
    }
    // A jump to the first of an epilogue arrives at its return, one to the first of all at what follows the prologue.
    let mut carry = None;
    let mut kept = Vec::with_capacity(all.len());
    for (k, mut i) in all.drain(..).enumerate() {
        if gone.contains(&k) {
            carry.get_or_insert(i.ip());
        } else {
            if let Some(ip) = carry.take() {
                i.set_ip(ip);
            }
            kept.push(i);
        }
    }
    *all = kept;
    true
}

/// What Cranelift put around the code: nothing, if it needs no stack.
struct Frame {
    size: u32,
    /// Instructions of the prologue.
    length: usize,
}

/// `push rbp; mov rbp, rsp; sub rsp, size`, the last only when there are slots.
fn prologue(all: &[Instruction]) -> Option<Frame> {
    let [push, copy, rest @ ..] = all else { return None };
    let pushed = push.code() == C::Push_r64 && push.op0_register() == Register::RBP;
    if !pushed || !is_move(copy, Register::RBP, Register::RSP) {
        return None;
    }
    let size = rest.first().and_then(|i| moves_top(i, true));
    Some(Frame {
        size: size.unwrap_or(0),
        length: 2 + usize::from(size.is_some()),
    })
}

fn is_move(i: &Instruction, to: Register, from: Register) -> bool {
    matches!(i.code(), C::Mov_r64_rm64 | C::Mov_rm64_r64)
        && i.op0_kind() == OpKind::Register
        && i.op1_kind() == OpKind::Register
        && i.op0_register() == to
        && i.op1_register() == from
}

/// How far `sub rsp, n` or `add rsp, n` moves the top of the stack.
fn moves_top(i: &Instruction, down: bool) -> Option<u32> {
    let fits = if down {
        matches!(i.code(), C::Sub_rm64_imm8 | C::Sub_rm64_imm32)
    } else {
        matches!(i.code(), C::Add_rm64_imm8 | C::Add_rm64_imm32)
    };
    (fits && i.op0_kind() == OpKind::Register && i.op0_register() == Register::RSP).then(|| i.immediate(1) as u32)
}

#[derive(Clone, Copy)]
struct Slot {
    at: u64,
    size: u64,
    uses: u64,
}

fn is_slot(i: &Instruction) -> bool {
    (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Memory) && i.memory_base() == Register::RSP
}

/// All spill slots, and the instructions that belong to prologue and epilogues; none when rsp or rbp serve anything else.
fn slots(all: &[Instruction], frame: &Frame, targets: &dyn Fn(u64) -> bool) -> Option<(Vec<Slot>, Vec<usize>)> {
    let mut gone: Vec<usize> = (0..frame.length).collect();
    let mut slots: Vec<Slot> = Vec::new();
    let mut info = InstructionInfoFactory::new();
    let mut k = frame.length;
    while let Some(i) = all.get(k) {
        let start = k;
        if moves_top(i, false) == Some(frame.size) {
            k += 1;
        }
        if all.get(k).is_some_and(|i| is_move(i, Register::RSP, Register::RBP)) {
            let (pop, ret) = (all.get(k + 1)?, all.get(k + 2)?);
            let popped = pop.code() == C::Pop_r64 && pop.op0_register() == Register::RBP;
            let entered = (start + 1..=k + 2).any(|at| targets(all[at].ip()));
            if !popped || ret.code() != C::Retnq || entered {
                return None;
            }
            gone.extend(start..k + 2);
            k += 3;
            continue;
        }
        if k != start {
            return None;
        }
        k += 1;
        if is_slot(i) {
            let size = i.memory_size().size() as u64;
            let at = i.memory_displacement64();
            let plain = i.memory_index() == Register::None && i.memory_size() != MemorySize::Unknown && size > 0;
            if !plain || at + size > u64::from(frame.size) {
                return None;
            }
            match slots.iter_mut().find(|s| s.at == at) {
                Some(s) => (s.size, s.uses) = (s.size.max(size), s.uses + 1),
                None => slots.push(Slot { at, size, uses: 1 }),
            }
        }
        let call = i.code() == C::Call_rel32_64;
        if call && frame.length == 0 {
            return None; // the stack would not be aligned
        }
        let used = info.info(i).used_registers().iter();
        let ours = |r: &iced_x86::UsedRegister| matches!(r.register().full_register(), Register::RSP | Register::RBP);
        // A call pushes; a slot's base is read.
        let allowed = usize::from(call || is_slot(i) || i.code() == C::Retnq);
        if !call && i.code() != C::Retnq && used.filter(|r| ours(r)).count() > allowed {
            return None;
        }
    }
    slots.iter_mut().for_each(|s| s.size = s.size.next_multiple_of(8));
    slots.sort_by_key(|s| s.at);
    let apart = slots.windows(2).all(|w| w[0].at + w[0].size <= w[1].at);
    apart.then_some((slots, gone))
}
