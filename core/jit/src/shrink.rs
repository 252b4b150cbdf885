//! Makes finished machine code smaller: short jumps, short constants, tests of the overflow flag itself.
//!
//! Cranelift writes every jump with 32 bits of distance, constants of one byte as four, and asks for an overflow in three
//! instructions. Cold exits are many and small in a trace, so that is a fifth of it. Calls of helpers become links.
//!
//! Invariants
//!
//! - Code that is not understood to the last byte is left as it is.
//! - Constants keep their place modulo 16 bytes.

use crate::arena::{Link, Target};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code as C, Decoder, DecoderOptions, FlowControl, Instruction, InstructionBlock,
    OpKind, RflagsBits,
};
use std::collections::{HashMap, HashSet};

/// Where the code is thought to lie while it is worked on; far from where it is put.
const OLD: u64 = 0x1000_0000;
const NEW: u64 = 0x2000_0000;
/// Where helpers are thought to lie: one every 16 bytes.
const HELPERS: u64 = 0x4000_0000;
const ALIGN: usize = 16;

/// A call of a helper: offset of its distance in the code, and the helper's index.
pub type Call = (u32, u16);

/// `sub rsp, 8; call code; add rsp, 8; ret`: the stack as C aligns it, for code with a frame of its own.
const WRAP: [u8; ALIGN] = [
    0x48, 0x83, 0xec, 8, 0xe8, 7, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3, 0xcc, 0xcc,
];

/// The same code in fewer bytes, with links for the calls, to be run by the arena's entry.
pub fn shrink(code: &[u8], calls: &[Call]) -> (Vec<u8>, Vec<Link>) {
    smaller(code, calls).unwrap_or_else(|| {
        let link = |call: &Call| Link {
            at: call.0 + ALIGN as u32,
            to: Target::Helper(call.1),
        };
        ([&WRAP, code].concat(), calls.iter().map(link).collect())
    })
}

fn smaller(code: &[u8], calls: &[Call]) -> Option<(Vec<u8>, Vec<Link>)> {
    let (mut all, pool) = decode(code, calls)?;
    for i in &mut all {
        short_constant(i);
        short_vector(i);
    }
    overflow_jumps(&mut all);
    let targets = targets(&all);
    if !crate::frame::share(&mut all, &|ip| targets.contains(&ip)) {
        return None;
    }
    by_one(&mut all);
    numbers_of_exits(&mut all, &targets);
    thread_jumps(&mut all);
    let mut found = None;
    // The first round tells how long the code is, the second knows where the constants lie behind it.
    let mut room = code.len();
    for _ in 0..2 {
        let place = room + (pool + ALIGN - room % ALIGN) % ALIGN;
        let moved: Vec<Instruction> = all.iter().map(|i| with_pool(*i, pool, place)).collect();
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let done = BlockEncoder::encode(64, InstructionBlock::new(&moved, NEW), options).ok()?;
        room = done.code_buffer.len();
        let place_now = room + (pool + ALIGN - room % ALIGN) % ALIGN;
        found = (place_now == place || pool == code.len()).then_some((done, place));
    }
    let (done, place) = found?;
    let mut links = Vec::new();
    for (i, at) in all.iter().zip(&done.new_instruction_offsets) {
        if is_call(i) {
            let helper = (i.near_branch_target() - HELPERS) / 16;
            links.push(Link {
                at: at.checked_add(1)?,
                to: Target::Helper(helper as u16),
            });
        }
    }
    if links.len() != calls.len() {
        return None;
    }
    let mut out = done.code_buffer;
    if pool < code.len() {
        out.resize(place, 0xcc);
        out.extend_from_slice(&code[pool..]);
    }
    Some((out, links))
}

/// All instructions, and where the constants behind them begin.
fn decode(code: &[u8], calls: &[Call]) -> Option<(Vec<Instruction>, usize)> {
    let mut decoder = Decoder::with_ip(64, code, OLD, DecoderOptions::NONE);
    let (mut all, mut pool, mut ends) = (Vec::new(), code.len(), 0);
    while decoder.can_decode() && decoder.position() < pool {
        let at = decoder.position();
        let mut i = decoder.decode();
        if i.is_invalid() {
            return None;
        }
        if i.is_ip_rel_memory_operand() {
            pool = pool.min(i.ip_rel_memory_address().checked_sub(OLD)? as usize);
        }
        if is_call(&i) {
            let call = calls.iter().find(|c| c.0 as usize == at + 1)?;
            i.set_near_branch64(HELPERS + 16 * u64::from(call.1));
        }
        all.push(i);
        // Between the last jump or return and the constants there is only padding.
        if matches!(i.flow_control(), FlowControl::Return | FlowControl::UnconditionalBranch) {
            ends = all.len();
        }
    }
    all.truncate(ends);
    // Every jump must lead to an instruction that is there.
    let mut starts: Vec<u64> = all.iter().map(Instruction::ip).collect();
    starts.sort_unstable();
    let inside = |i: &Instruction| starts.binary_search(&i.near_branch_target()).is_ok();
    let jumps = all.iter().filter(|i| is_jump(i));
    (jumps.clone().all(inside)).then_some((all, pool))
}

fn is_jump(i: &Instruction) -> bool {
    matches!(
        i.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

fn is_call(i: &Instruction) -> bool {
    i.code() == C::Call_rel32_64
}

fn with_pool(mut i: Instruction, pool: usize, place: usize) -> Instruction {
    if i.is_ip_rel_memory_operand() {
        let at = i.ip_rel_memory_address() - OLD - pool as u64;
        i.set_memory_displacement64(NEW + place as u64 + at);
    }
    i
}

/// `add r, 1` with four bytes for the one.
fn short_constant(i: &mut Instruction) {
    let (code, wide) = match i.code() {
        C::Add_rm64_imm32 | C::Add_RAX_imm32 => (C::Add_rm64_imm8, true),
        C::Sub_rm64_imm32 | C::Sub_RAX_imm32 => (C::Sub_rm64_imm8, true),
        C::And_rm64_imm32 | C::And_RAX_imm32 => (C::And_rm64_imm8, true),
        C::Or_rm64_imm32 | C::Or_RAX_imm32 => (C::Or_rm64_imm8, true),
        C::Xor_rm64_imm32 | C::Xor_RAX_imm32 => (C::Xor_rm64_imm8, true),
        C::Cmp_rm64_imm32 | C::Cmp_RAX_imm32 => (C::Cmp_rm64_imm8, true),
        C::Add_rm32_imm32 | C::Add_EAX_imm32 => (C::Add_rm32_imm8, false),
        C::Sub_rm32_imm32 | C::Sub_EAX_imm32 => (C::Sub_rm32_imm8, false),
        C::And_rm32_imm32 | C::And_EAX_imm32 => (C::And_rm32_imm8, false),
        C::Cmp_rm32_imm32 | C::Cmp_EAX_imm32 => (C::Cmp_rm32_imm8, false),
        _ => return,
    };
    let n = if wide {
        i.immediate(1) as i64
    } else {
        i64::from(i.immediate(1) as i32)
    };
    if i8::try_from(n).is_err() {
        return;
    }
    i.set_code(code);
    if wide {
        i.set_op1_kind(OpKind::Immediate8to64);
        i.set_immediate8to64(n);
    } else {
        i.set_op1_kind(OpKind::Immediate8to32);
        i.set_immediate8to32(n as i32);
    }
}

/// `seto r; test r, r; jnz x` is `jo x`: the register holds the flag for that one question.
fn overflow_jumps(all: &mut Vec<Instruction>) {
    let targets = targets(all);
    let mut gone = vec![false; all.len()];
    for k in 0..all.len().saturating_sub(2) {
        let (set, test, jump) = (all[k], all[k + 1], all[k + 2]);
        let same = test.code() == C::Test_rm8_r8
            && test.op0_kind() == OpKind::Register
            && test.op0_register() == test.op1_register()
            && set.op0_register() == test.op0_register();
        let to = match jump.code() {
            C::Jne_rel32_64 => C::Jo_rel32_64,
            C::Je_rel32_64 => C::Jno_rel32_64,
            _ => continue,
        };
        let alone = !targets.contains(&test.ip()) && !targets.contains(&jump.ip());
        if set.code() == C::Seto_rm8 && set.op0_kind() == OpKind::Register && same && alone {
            all[k + 2].set_code(to);
            // A jump to the first of the three arrives at the last.
            all[k + 2].set_ip(set.ip());
            (gone[k], gone[k + 1]) = (true, true);
        }
    }
    let mut gone = gone.into_iter();
    all.retain(|_| !gone.next().unwrap_or(false));
}

fn targets(all: &[Instruction]) -> HashSet<u64> {
    let jumps = all.iter().filter(|i| is_jump(i));
    jumps.map(Instruction::near_branch_target).collect()
}

/// Moves of whole vector registers, by the names that are a byte shorter.
fn short_vector(i: &mut Instruction) {
    let code = match i.code() {
        C::Movdqa_xmm_xmmm128 | C::Movapd_xmm_xmmm128 => C::Movaps_xmm_xmmm128,
        C::Movdqa_xmmm128_xmm | C::Movapd_xmmm128_xmm => C::Movaps_xmmm128_xmm,
        C::Movdqu_xmm_xmmm128 | C::Movupd_xmm_xmmm128 => C::Movups_xmm_xmmm128,
        C::Movdqu_xmmm128_xmm | C::Movupd_xmmm128_xmm => C::Movups_xmmm128_xmm,
        C::Xorpd_xmm_xmmm128 | C::Pxor_xmm_xmmm128 => C::Xorps_xmm_xmmm128,
        C::Andpd_xmm_xmmm128 | C::Pand_xmm_xmmm128 => C::Andps_xmm_xmmm128,
        _ => return,
    };
    i.set_code(code);
}

/// `add r, 1` as `inc r`, which leaves the carry alone: only where nobody asks for it.
fn by_one(all: &mut [Instruction]) {
    for k in 0..all.len() {
        let i = all[k];
        let wide = match i.code() {
            C::Add_rm64_imm8 | C::Sub_rm64_imm8 => true,
            C::Add_rm32_imm8 | C::Sub_rm32_imm8 => false,
            _ => continue,
        };
        let n = i.immediate(1) as i8;
        if i.op0_kind() != OpKind::Register || n.unsigned_abs() != 1 || carry_is_used(&all[k + 1..]) {
            continue;
        }
        let up = (n == 1) == matches!(i.code(), C::Add_rm64_imm8 | C::Add_rm32_imm8);
        let code = match (up, wide) {
            (true, true) => C::Inc_rm64,
            (false, true) => C::Dec_rm64,
            (true, false) => C::Inc_rm32,
            (false, false) => C::Dec_rm32,
        };
        if let Ok(mut short) = Instruction::with1(code, i.op0_register()) {
            short.set_ip(i.ip());
            all[k] = short;
        }
    }
}

/// Whether the carry flag may be read before it is written. Flags never live across a block's end.
fn carry_is_used(rest: &[Instruction]) -> bool {
    for i in rest {
        if i.rflags_read() & RflagsBits::CF != 0 {
            return true;
        }
        let ends = matches!(
            i.flow_control(),
            FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::Call
        );
        if ends || i.rflags_modified() & RflagsBits::CF != 0 {
            return false;
        }
    }
    true
}

/// `mov r, small` at the beginning of an exit as `push small; pop r`: three bytes for five, and slow, which an exit may be.
fn numbers_of_exits(all: &mut Vec<Instruction>, targets: &HashSet<u64>) {
    let mut out = Vec::with_capacity(all.len() + 16);
    for (k, i) in all.iter().enumerate() {
        let small = i.code() == C::Mov_r32_imm32 && i.immediate32() < 128;
        let stub = targets.contains(&i.ip())
            && all[k + 1..]
                .iter()
                .find(|i| !matches!(i.code(), C::Mov_rm64_r64 | C::Mov_r64_rm64 | C::Movsd_xmmm64_xmm))
                .is_some_and(|i| i.flow_control() == FlowControl::UnconditionalBranch);
        let register = i.op0_register().full_register();
        let pair = (small && stub).then(|| {
            let push = Instruction::with1(C::Pushq_imm8, i.immediate32() as i32);
            (push, Instruction::with1(C::Pop_r64, register))
        });
        if let Some((Ok(mut push), Ok(pop))) = pair {
            push.set_ip(i.ip());
            out.extend([push, pop]);
        } else {
            out.push(*i);
        }
    }
    *all = out;
}

/// A jump to a jump goes where that goes.
fn thread_jumps(all: &mut [Instruction]) {
    let jumps: HashMap<u64, u64> = all
        .iter()
        .filter(|i| i.flow_control() == FlowControl::UnconditionalBranch && is_jump(i))
        .map(|i| (i.ip(), i.near_branch_target()))
        .collect();
    for i in all.iter_mut().filter(|i| is_jump(i)) {
        for _ in 0..4 {
            match jumps.get(&i.near_branch_target()) {
                Some(to) => i.set_near_branch64(*to),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: &[u8], x: i64, y: i64) -> i64 {
        let mut arena = crate::Arena::new(1 << 16, 4096, &[]).unwrap();
        let piece = arena.publish(code, &[]).unwrap();
        // SAFETY: the tests publish functions of this shape only.
        let f = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64, i64) -> i64>(arena.address(piece)) };
        f(x, y)
    }

    /// `mov rax, rdi; add rax, rsi; seto cl; test cl, cl; jne out; add rax, 1; imul rax, [rip + k]; ret; out: xor rax, rax;
    /// ret; padding; k: 10`.
    fn sum() -> Vec<u8> {
        let mut code = vec![
            0x48, 0x89, 0xf8, 0x48, 0x01, 0xf0, 0x0f, 0x90, 0xc1, 0x84, 0xc9, 0x0f, 0x85, 0x10, 0, 0, 0,
        ];
        code.extend([0x48, 0x81, 0xc0, 1, 0, 0, 0]);
        code.extend([0x48, 0x0f, 0xaf, 0x05, 0x10, 0, 0, 0, 0xc3]);
        code.extend([0x48, 0x33, 0xc0, 0xc3]);
        assert_eq!(code.len(), 37);
        code.resize(48, 0);
        code.extend(10i64.to_le_bytes());
        code
    }

    #[test]
    fn shorter_code_does_the_same() {
        let code = sum();
        let (short, links) = shrink(&code, &[]);
        assert!(
            short.len() < code.len() && links.is_empty(),
            "{} of {}",
            short.len(),
            code.len()
        );
        for (x, y) in [(1, 2), (-5, 4), (i64::MAX, 1), (i64::MIN, -1), (0, 0)] {
            let wanted = if x.checked_add(y).is_some() {
                (x + y + 1) * 10
            } else {
                0
            };
            assert_eq!((run(&code, x, y), run(&short, x, y)), (wanted, wanted), "{x} {y}");
        }
    }

    #[test]
    fn calls_become_links_where_they_are_now() {
        // `push rbp; mov rbp, rsp; add rax, 1 (long); call h; mov rsp, rbp; pop rbp; ret`
        let code = [
            0x55, 0x48, 0x89, 0xe5, 0x48, 0x05, 1, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x89, 0xec, 0x5d, 0xc3,
        ];
        let (short, links) = shrink(&code, &[(11, 3)]);
        assert_eq!(
            links,
            [Link {
                at: 4,
                to: Target::Helper(3)
            }]
        );
        // `inc rax; call h; ret`
        assert_eq!((&short[..4], &short[8..]), (&[0x48, 0xff, 0xc0, 0xe8][..], &[0xc3][..]));
    }

    #[test]
    fn what_is_not_understood_stays() {
        let junk = [0x06, 0x07, 0xff, 0xff, 0xff];
        assert_eq!(shrink(&junk, &[]), ([&WRAP[..], &junk].concat(), vec![]));
        let outside = [0xe9, 0x00, 0x10, 0, 0];
        assert_eq!(shrink(&outside, &[]), ([&WRAP[..], &outside].concat(), vec![]));
    }
}
