//! What finished code does last: exits' numbers, and calls whose trampoline does what is around them.
//!
//! Invariants
//!
//! - An exit's number is whole, or in the lowest byte of rax and the arena's entry takes no more.
//! - A trampoline that knows the buffer is called only where rbp is the entry's.

use crate::arena::BYTE_OF_EXIT;
use crate::flow::{Flow, bit};
use crate::fuse::Known;
use crate::lower::{LOGGED, SCRATCH, word};
use crate::shrink::{Calls, HELPERS, OLD, helper, is_call, is_jump, targets};
use iced_x86::{Code as C, FlowControl, Instruction, MemoryOperand, OpKind, Register};
use std::collections::{HashMap, HashSet};

/// The number of an exit in the lowest byte of rax, where it is set or, from another register, where it is given back: the
/// entry takes no more of it. Other small numbers on the way out as `push small; pop r`: three bytes for five, and slow, which
/// an exit may be.
pub fn numbers_of_exits(all: &mut Vec<Instruction>, narrow: bool, known: &Known) {
    let flow = Flow::of(all, known.given);
    let place: HashMap<u64, usize> = all.iter().enumerate().map(|(k, i)| (i.ip(), k)).collect();
    let targets = targets(all);
    let touches = |k: usize| (flow.uses[k].reads | flow.uses[k].writes) & bit(Register::RAX) != 0;
    // Whether nothing touches rax on the way to the return, if that is where it leads to.
    let leaves = |from: usize| {
        let (mut k, mut alone) = (from + 1, true);
        for _ in 0..60 {
            let i = all.get(k)?;
            k = match i.flow_control() {
                FlowControl::Return => return Some(alone),
                FlowControl::UnconditionalBranch if is_jump(i) => *place.get(&i.near_branch_target())?,
                FlowControl::Next => {
                    alone &= !touches(k);
                    k + 1
                }
                _ => return None,
            };
        }
        None
    };
    let copies = |i: &Instruction, from: Register| {
        matches!(i.code(), C::Mov_r64_rm64 | C::Mov_rm64_r64)
            && (i.op0_kind(), i.op1_kind()) == (OpKind::Register, OpKind::Register)
            && (i.op0_register(), i.op1_register()) == (Register::RAX, from)
    };
    let mut short: Vec<(usize, u32)> = Vec::new();
    let mut pairs = HashSet::new();
    let mut gone = vec![false; all.len()];
    for (k, i) in all.iter().enumerate() {
        if i.code() != C::Mov_r32_imm32 || i.immediate32() > 255 {
            continue;
        }
        let Some(alone) = leaves(k) else { continue };
        let register = i.op0_register().full_register();
        if narrow && register == Register::RAX && alone {
            short.push((k, i.immediate32()));
            continue;
        }
        // Nothing before the copy asks for the register, and nothing behind it.
        let set = bit(register);
        let plain = |j: &usize| {
            let uses = &flow.uses[*j];
            all[*j].flow_control() == FlowControl::Next
                && (uses.reads | uses.writes) & set == 0
                && !targets.contains(&all[*j].ip())
        };
        let at = (k + 1..all.len())
            .find(|j| !plain(j))
            .filter(|at| copies(&all[*at], register) && !targets.contains(&all[*at].ip()) && flow.dead(*at, set));
        match at.filter(|at| narrow && register != Register::RAX && leaves(*at) == Some(true)) {
            Some(at) => {
                gone[k] = true;
                short.push((at, i.immediate32()));
            }
            None if i.immediate32() < 128 => {
                pairs.insert(k);
            }
            None => {}
        }
    }
    for (at, n) in short {
        if let Ok(mut made) = Instruction::with2(C::Mov_r8_imm8, Register::AL, n) {
            made.set_ip(all[at].ip());
            all[at] = made;
        }
    }
    let mut out = Vec::with_capacity(all.len() + 16);
    let mut left = Vec::with_capacity(all.len() + 16);
    for (k, i) in all.iter().enumerate() {
        let pair = pairs.contains(&k).then(|| {
            let push = Instruction::with1(C::Pushq_imm8, i.immediate32() as i32);
            (push, Instruction::with1(C::Pop_r64, i.op0_register().full_register()))
        });
        if let Some((Ok(mut push), Ok(mut pop))) = pair {
            push.set_ip(i.ip());
            pop.set_ip(i.ip() + 1); // inside the old instruction, so nothing else's
            out.extend([push, pop]);
            left.extend([false, false]);
        } else {
            out.push(*i);
            left.push(gone[k]);
        }
    }
    crate::fuse::remove(&mut out, &left);
    *all = out;
}

/// Returns behind what the entry does with the lowest byte: for numbers that need more.
pub fn step_over(all: &mut Vec<Instruction>) -> Option<()> {
    let mut out = Vec::with_capacity(all.len() + 16);
    for i in all.iter() {
        if i.flow_control() == FlowControl::Return {
            let top = MemoryOperand::with_base(Register::RSP);
            let mut step = Instruction::with2(C::Add_rm64_imm8, top, i32::from(BYTE_OF_EXIT)).ok()?;
            step.set_ip(i.ip());
            let mut ret = *i;
            ret.set_ip(i.ip() + 1 + OLD); // nothing else's
            out.extend([step, ret]);
        } else {
            out.push(*i);
        }
    }
    *all = out;
    Some(())
}

/// `lea rsi, [LOGGED]; call h; mov rdi, [SCRATCH]` as a call by the trampoline that does both.
pub fn by_those_that_know(all: &mut Vec<Instruction>, host: &Calls, known: &Known) {
    let Some((asks, knows)) = host.knows else { return };
    let flow = Flow::of(all, known.given);
    let mut gone = vec![false; all.len()];
    let at = |i: &Instruction, index: usize| {
        i.op1_kind() == OpKind::Memory
            && i.memory_index() == Register::None
            && i.memory_displacement64() as i64 == i64::from(word(index))
    };
    for k in 2..all.len() {
        let (call, load) = (all[k - 1], all[k]);
        let buffer = load.memory_base();
        let loads = load.code() == C::Mov_r64_rm64 && load.op0_register() == Register::RDI && at(&load, SCRATCH);
        let ours = is_call(&call) && helper(&call) == asks && !flow.entered[k] && !flow.entered[k - 1];
        if !loads || !ours || matches!(buffer, Register::None | Register::RSP | Register::RBP | Register::RIP) {
            continue;
        }
        let rsi = bit(Register::RSI);
        // Where the address is made: what is between it and the call leaves it alone, and nobody wants it afterwards.
        let mut from = k - 1;
        while from > 0 {
            from -= 1;
            let (i, uses) = (&all[from], &flow.uses[from]);
            if uses.writes & rsi != 0 {
                let made = i.code() == C::Lea_r64_m && i.memory_base() == buffer && at(i, LOGGED);
                if made && flow.dead(k - 1, rsi) && !gone[from] {
                    all[k - 1].set_near_branch64(HELPERS + 16 * u64::from(knows));
                    (gone[from], gone[k]) = (true, true);
                }
                break;
            }
            if i.flow_control() != FlowControl::Next || uses.reads & rsi != 0 || flow.entered[from] {
                break;
            }
        }
    }
    crate::fuse::remove(all, &gone);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{Arena, Helper, Link, Target};
    use crate::lower::{BUFFER_WORDS, ORIGIN};
    use crate::shrink::shrink;
    use iced_x86::MemoryOperand;

    /// Runs code as a trace is run.
    fn entered(code: &[u8], helpers: &[Helper], links: &[Link]) -> u64 {
        let mut arena = Arena::new(1 << 16, 4096, helpers).unwrap();
        let piece = arena.publish(code, links).unwrap();
        let mut buffer = [0u64; BUFFER_WORDS];
        // SAFETY: the tests publish code that keeps to what traces do.
        unsafe {
            let entry = std::mem::transmute::<*const u8, extern "C" fn(*const u8, *mut u64) -> u64>(arena.entry());
            entry(arena.address(piece), buffer.as_mut_ptr().add(ORIGIN))
        }
    }

    /// `mov eax, n; mov [rdi], rcx; ret`.
    fn exit(n: u32) -> Vec<u8> {
        [&[0xb8][..], &n.to_le_bytes(), &[0x48, 0x89, 0x0f, 0xc3]].concat()
    }

    #[test]
    fn a_number_takes_one_byte_and_a_large_one_all_of_them() {
        let (short, ..) = shrink(&exit(200), &[], &Calls::UNKNOWN, true);
        assert_eq!(short, [0xb0, 200, 0x48, 0x89, 0x0f, 0xc3]);
        assert_eq!(entered(&short, &[], &[]), 200);
        for n in [5, 200, 300, 1 << 30 | 7] {
            let (long, ..) = shrink(&exit(n), &[], &Calls::UNKNOWN, false);
            assert_eq!(entered(&long, &[], &[]), u64::from(n));
        }
        // What is not understood has a frame of its own, and steps over as well: `mov eax, n; ret; .byte 0x06`
        let odd = [&exit(300)[..], &[0x06]].concat();
        let (wrapped, ..) = shrink(
            &[&[0x90, 0xe9, 1, 0, 0, 0, 0x06], &exit(300)[..]].concat(),
            &[],
            &Calls::UNKNOWN,
            true,
        );
        assert!(wrapped.len() > odd.len());
        assert_eq!(entered(&wrapped, &[], &[]), 300);
    }

    #[test]
    fn a_number_that_is_stored_too_is_whole() {
        // `mov eax, 1; mov [rdi], rax; xor eax, eax; ret`, and `mov ecx, 3; mov [rdi], rax; mov rax, rcx; ret`
        let code = [0xb8, 1, 0, 0, 0, 0x48, 0x89, 0x07, 0x31, 0xc0, 0xc3];
        let (short, ..) = shrink(&code, &[], &Calls::UNKNOWN, true);
        assert_eq!(short, [0x6a, 1, 0x58, 0x48, 0x89, 0x07, 0x31, 0xc0, 0xc3]);
        let code = [0xb9, 3, 0, 0, 0, 0x48, 0x89, 0x07, 0x48, 0x89, 0xc8, 0xc3];
        let (short, ..) = shrink(&code, &[], &Calls::UNKNOWN, true);
        assert_eq!(short, [0x48, 0x89, 0x07, 0xb0, 3, 0xc3]);
    }

    #[test]
    fn a_trampoline_that_knows_the_buffer_gives_its_address_and_what_is_made() {
        extern "C" fn more(old: u64, logged: *mut u64) {
            // SAFETY: the word LOGGED of the buffer; SCRATCH lies before it.
            unsafe { *logged.sub(LOGGED - SCRATCH) = old + 1 };
        }
        let helper = Helper {
            address: more as *const () as usize,
            keeps: true,
            knows: true,
        };
        // `mov rdi, 41; mov rsi, 1; call; lea rax, [rdi + rsi]; ret`
        let code = [
            0x48, 0xc7, 0xc7, 41, 0, 0, 0, 0x48, 0xc7, 0xc6, 1, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x8d, 0x04, 0x37, 0xc3,
        ];
        let link = Link {
            at: 15,
            to: Target::Helper(0),
        };
        assert_eq!(entered(&code, &[helper], &[link]), 43);
    }

    #[test]
    fn it_is_called_where_nobody_wants_the_address_afterwards() {
        use Register::*;
        let m = |base, n| MemoryOperand::with_base_displ(base, i64::from(word(n)));
        let with = |made: Register, base: Register, behind: Register| {
            let mut all = vec![
                Instruction::with2(C::Lea_r64_m, made, m(R15, LOGGED)).unwrap(),
                Instruction::with_branch(C::Call_rel32_64, HELPERS + 16 * 3).unwrap(),
                Instruction::with2(C::Mov_r64_rm64, RDI, m(base, SCRATCH)).unwrap(),
                Instruction::with2(C::Mov_rm64_r64, m(RDX, 20), RDI).unwrap(),
                Instruction::with2(C::Mov_rm64_r64, m(RDX, 21), behind).unwrap(),
                Instruction::with(C::Retnq),
            ];
            all.iter_mut().zip(OLD..).for_each(|(i, ip)| i.set_ip(ip));
            let host = Calls {
                given: &|_| Some(2),
                knows: Some((3, 7)),
            };
            let known = Known {
                constant: &|_| Option::None,
                given: &|_| Some(2),
            };
            by_those_that_know(&mut all, &host, &known);
            (all.len(), all.iter().find(|i| is_call(i)).map(helper))
        };
        assert_eq!(with(RSI, R15, RDI), (4, Some(7)));
        assert_eq!(with(RSI, R15, RSI), (6, Some(3)), "somebody wants it");
        assert_eq!(with(RSI, RBP, RDI), (6, Some(3)), "a place of the frame");
        assert_eq!(with(RSI, R14, RDI), (6, Some(3)), "another address");
        assert_eq!(with(RCX, R15, RDI), (6, Some(3)), "another register");
    }
}
