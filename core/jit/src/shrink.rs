//! Makes finished machine code smaller: short jumps, short constants, tests of the overflow flag itself.
//!
//! Cranelift writes every jump with 32 bits of distance, constants of one byte as four, and asks for an overflow in three
//! instructions. Cold exits are many and small in a trace, so that is a fifth of it. Calls of helpers become links.
//!
//! Invariants
//!
//! - Code that is not understood to the last byte is left as it is.
//! - A constant lies at a multiple of its size.

use crate::arena::{ALIGN, BYTE_OF_EXIT, Link, Target};
use crate::fuse::{Known, fuse, lay_out};
use crate::leave::{by_those_that_know, numbers_of_exits, step_over};
use crate::names::rename;
use crate::places::near_together;
use crate::tails::merge_tails;
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code as C, Decoder, DecoderOptions, FlowControl, Instruction, InstructionBlock,
    OpKind, Register, RflagsBits,
};
use std::collections::{HashMap, HashSet};

/// Where the code is thought to lie while it is worked on; far from where it is put.
pub(crate) const OLD: u64 = 0x1000_0000;
const NEW: u64 = 0x2000_0000;
/// Where helpers are thought to lie: one every 16 bytes.
pub(crate) const HELPERS: u64 = 0x4000_0000;

/// A call of a helper: offset of its distance in the code, and the helper's index.
pub type Call = (u32, u16);

/// What is known of helpers, by their index.
pub struct Calls<'a> {
    /// Of one that keeps every register how many words it is given.
    pub given: &'a dyn Fn(u16) -> Option<usize>,
    /// One that is given the address of the buffer's word LOGGED and leaves what it gives in SCRATCH, and the same by a
    /// trampoline that knows the buffer ([`crate::arena::Helper::knows`]).
    pub knows: Option<(u16, u16)>,
}

impl Calls<'_> {
    /// For tests: of none is anything known.
    #[cfg(test)]
    pub const UNKNOWN: Calls<'static> = Calls {
        given: &|_| None,
        knows: None,
    };
}

/// `add qword [rsp], 3`, which steps over what the arena's entry does with the number of an exit.
const STEP: [u8; 5] = [0x48, 0x83, 0x04, 0x24, BYTE_OF_EXIT];
/// `call code; add qword [rsp], 3; ret`: the stack as C aligns it, for code with a frame of its own.
const WRAP: [u8; 16] = [
    0xe8, 11, 0, 0, 0, STEP[0], STEP[1], STEP[2], STEP[3], STEP[4], 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
];

/// The same code in fewer bytes, with links for the calls, to be run by the arena's entry.
///
/// What the code returns is below 256 if `narrow`: the entry takes the lowest byte of it, unless the code steps over that.
pub fn shrink(code: &[u8], calls: &[Call], host: &Calls, narrow: bool) -> (Vec<u8>, Vec<Link>) {
    smaller(code, calls, host, narrow).unwrap_or_else(|| {
        let link = |call: &Call| Link {
            at: call.0 + WRAP.len() as u32,
            to: Target::Helper(call.1),
        };
        ([&WRAP, code].concat(), calls.iter().map(link).collect())
    })
}

fn smaller(code: &[u8], calls: &[Call], host: &Calls, narrow: bool) -> Option<(Vec<u8>, Vec<Link>)> {
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
    let known = Known {
        constant: &|ip| {
            let at = ip.checked_sub(OLD)? as usize;
            Some(u64::from_le_bytes(code.get(at..at + 8)?.try_into().ok()?))
        },
        given: &|i| (host.given)(helper(i)),
    };
    fuse(&mut all, &known);
    by_those_that_know(&mut all, host, &known);
    by_one(&mut all);
    short_test(&mut all);
    numbers_of_exits(&mut all, narrow, &known);
    if !narrow {
        step_over(&mut all)?;
    }
    thread_jumps(&mut all);
    merge_tails(&mut all);
    rename(&mut all, known.given);
    lay_out(&mut all);
    jumps_over_jumps(&mut all);
    near_together(&mut all);
    chain_jumps(&mut all);
    if !stays_inside(&all) {
        return None;
    }
    let data = Data::collect(&mut all, &code[pool..], pool)?;
    let mut found = None;
    // The first round tells how long the code is, the second knows where the constants lie behind it.
    let mut room = code.len();
    for _ in 0..3 {
        let place = room.next_multiple_of(data.align);
        let moved: Vec<Instruction> = all.iter().map(|i| data.placed(*i, place)).collect();
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let done = BlockEncoder::encode(64, InstructionBlock::new(&moved, NEW), options).ok()?;
        room = done.code_buffer.len();
        found = (room.next_multiple_of(data.align) == place || data.bytes.is_empty()).then_some((done, place));
        if found.is_some() {
            break;
        }
    }
    let (done, place) = found?;
    let mut links = Vec::new();
    for (i, at) in all.iter().zip(&done.new_instruction_offsets) {
        if is_call(i) {
            links.push(Link {
                at: at.checked_add(1)?,
                to: Target::Helper(helper(i)),
            });
        }
    }
    let mut out = done.code_buffer;
    if !data.bytes.is_empty() {
        out.resize(place, 0xcc);
        out.extend_from_slice(&data.bytes);
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
        if goes_nowhere_on(&i) {
            ends = all.len();
        }
    }
    all.truncate(ends);
    stays_inside(&all).then_some((all, pool))
}

/// Whether every jump leads to an instruction that is there.
fn stays_inside(all: &[Instruction]) -> bool {
    let mut starts: Vec<u64> = all.iter().map(Instruction::ip).collect();
    starts.sort_unstable();
    let inside = |i: &Instruction| starts.binary_search(&i.near_branch_target()).is_ok();
    all.iter().filter(|i| is_jump(i)).all(inside)
}

pub(crate) fn is_jump(i: &Instruction) -> bool {
    matches!(
        i.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

/// Whether nothing follows: the instruction behind it is reached by jumps only.
pub(crate) fn goes_nowhere_on(i: &Instruction) -> bool {
    matches!(
        i.flow_control(),
        FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::Exception
    )
}

pub(crate) fn is_call(i: &Instruction) -> bool {
    i.code() == C::Call_rel32_64
}

/// The helper a call calls.
pub(crate) fn helper(call: &Instruction) -> u16 {
    ((call.near_branch_target() - HELPERS) / 16) as u16
}

/// The constants behind the code, each once and no further apart than they need to be.
struct Data {
    bytes: Vec<u8>,
    align: usize,
}

impl Data {
    /// Where constants are thought to lie meanwhile: their address is this and their place.
    const BASE: u64 = 0x3000_0000;

    fn collect(all: &mut [Instruction], pool: &[u8], start: usize) -> Option<Data> {
        let mut data = Data {
            bytes: Vec::new(),
            align: 1,
        };
        let size = |i: &Instruction| i.memory_size().size();
        let mut users: Vec<usize> = (0..all.len()).filter(|k| all[*k].is_ip_rel_memory_operand()).collect();
        users.sort_by_key(|k| std::cmp::Reverse(size(&all[*k])));
        for k in users {
            let i = &mut all[k];
            let (size, at) = (
                size(i),
                i.ip_rel_memory_address().checked_sub(OLD + start as u64)? as usize,
            );
            let wanted = pool.get(at..at + size).filter(|w| !w.is_empty())?;
            data.align = data.align.max(size);
            let found = (0..data.bytes.len())
                .step_by(size)
                .find(|at| data.bytes[*at..].starts_with(wanted));
            let place = found.unwrap_or_else(|| {
                let place = data.bytes.len().next_multiple_of(size);
                data.bytes.resize(place, 0);
                data.bytes.extend_from_slice(wanted);
                place
            });
            i.set_memory_displacement64(Data::BASE + place as u64);
        }
        (data.align <= ALIGN).then_some(data)
    }

    fn placed(&self, mut i: Instruction, place: usize) -> Instruction {
        if i.is_ip_rel_memory_operand() {
            let at = i.ip_rel_memory_address() - Data::BASE;
            i.set_memory_displacement64(NEW + place as u64 + at);
        }
        i
    }
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

pub(crate) fn targets(all: &[Instruction]) -> HashSet<u64> {
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
        if n.unsigned_abs() != 1 || carry_is_used(&all[k + 1..]) {
            continue;
        }
        let up = (n == 1) == matches!(i.code(), C::Add_rm64_imm8 | C::Add_rm32_imm8);
        let code = match (up, wide) {
            (true, true) => C::Inc_rm64,
            (false, true) => C::Dec_rm64,
            (true, false) => C::Inc_rm32,
            (false, false) => C::Dec_rm32,
        };
        all[k].set_code(code);
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

/// A test of a register's low byte as a test of that byte, where only zero or not is asked.
fn short_test(all: &mut [Instruction]) {
    for k in 1..all.len() {
        let (i, next) = (all[k - 1], all[k]);
        let asked = matches!(
            next.code(),
            C::Je_rel32_64 | C::Jne_rel32_64 | C::Je_rel8_64 | C::Jne_rel8_64
        );
        let whole = matches!(
            i.code(),
            C::Test_EAX_imm32 | C::Test_rm32_imm32 | C::Test_RAX_imm32 | C::Test_rm64_imm32
        );
        let whole = whole && i.op0_kind() == OpKind::Register;
        if !asked || !whole || !(1..=255).contains(&i.immediate(1)) {
            continue;
        }
        let Some(byte) = low_byte(i.op0_register().full_register32()) else {
            continue;
        };
        let made = match i.immediate(1) {
            255 => Instruction::with2(C::Test_rm8_r8, byte, byte),
            n if byte == Register::AL => Instruction::with2(C::Test_AL_imm8, byte, n as u32),
            n => Instruction::with2(C::Test_rm8_imm8, byte, n as u32),
        };
        if let Ok(mut short) = made {
            short.set_ip(i.ip());
            all[k - 1] = short;
        }
    }
}

pub(crate) fn low_byte(r: Register) -> Option<Register> {
    const BYTES: [Register; 16] = [
        Register::AL,
        Register::CL,
        Register::DL,
        Register::BL,
        Register::SPL,
        Register::BPL,
        Register::SIL,
        Register::DIL,
        Register::R8L,
        Register::R9L,
        Register::R10L,
        Register::R11L,
        Register::R12L,
        Register::R13L,
        Register::R14L,
        Register::R15L,
    ];
    r.is_gpr32().then(|| BYTES[r.number()])
}

/// `jcc a; jmp b; a:` as `jncc b; a:`.
fn jumps_over_jumps(all: &mut Vec<Instruction>) {
    let targets = targets(all);
    let mut gone = vec![false; all.len()];
    for k in 0..all.len().saturating_sub(2) {
        let (mut over, jump, to) = (all[k], all[k + 1], all[k + 2].ip());
        let skips = over.flow_control() == FlowControl::ConditionalBranch && over.near_branch_target() == to;
        let plain = jump.flow_control() == FlowControl::UnconditionalBranch && is_jump(&jump);
        if skips && plain && !targets.contains(&jump.ip()) {
            over.negate_condition_code();
            over.set_near_branch64(jump.near_branch_target());
            all[k] = over;
            gone[k + 1] = true;
        }
    }
    let mut gone = gone.into_iter();
    all.retain(|_| !gone.next().unwrap_or(false));
}

/// A far jump on a condition goes to the next one on the same condition that leads to the same place: that one is taken then,
/// as a jump changes no flag. Four bytes less for each but the last of a row, and nothing lost where none is taken.
fn chain_jumps(all: &mut [Instruction]) {
    /// What one byte of distance reaches, less what an instruction may be longer than it is now.
    const NEAR: usize = 112;
    // Lengths as they were: instructions made here say nothing of theirs. If it is further after all, the jump is long.
    let length = |i: &Instruction| if i.len() == 0 { 8 } else { i.len() };
    let mut starts = Vec::with_capacity(all.len());
    all.iter().fold(0, |at, i| {
        starts.push(at);
        at + length(i)
    });
    let place: HashMap<u64, usize> = all.iter().enumerate().map(|(k, i)| (i.ip(), k)).collect();
    let conditional = |i: &Instruction| i.flow_control() == FlowControl::ConditionalBranch;
    for k in (0..all.len()).rev() {
        let jump = all[k];
        let near = |to: &usize| starts[k].abs_diff(starts[*to]) <= NEAR;
        if !conditional(&jump) || place.get(&jump.near_branch_target()).is_none_or(near) {
            continue;
        }
        let reached = (k + 1..all.len()).take_while(near);
        // Those behind it have been looked at: one that goes on along the row leads to the same place in the end.
        let same = |to: &usize| conditional(&all[*to]) && all[*to].condition_code() == jump.condition_code();
        let end = |i: &Instruction| {
            let mut to = i.near_branch_target();
            for _ in 0..200 {
                match place.get(&to).map(|k| &all[*k]) {
                    Some(next) if conditional(next) && next.condition_code() == jump.condition_code() => {
                        to = next.near_branch_target();
                    }
                    _ => break,
                }
            }
            to
        };
        let next = reached
            .filter(same)
            .find(|to| end(&all[*to]) == jump.near_branch_target());
        if let Some(next) = next {
            let ip = all[next].ip();
            all[k].set_near_branch64(ip);
        }
    }
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
mod random;

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
        let (short, links) = shrink(&code, &[], &Calls::UNKNOWN, true);
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
    fn far_jumps_of_a_row_go_from_one_to_the_next() {
        // `cmp rdi, n; je out` for 1, 2, 3, and `cmp rdi, rsi; jl out`; far behind: `out: xor rax, rax; ret`
        let body = [[0x48, 0x6b, 0xc0, 3]; 40].concat();
        let mut code = Vec::new();
        for n in 1..=4u8 {
            code.extend(if n == 4 {
                [0x48, 0x3b, 0xfe, 0x90]
            } else {
                [0x48, 0x83, 0xff, n]
            });
            let rest = usize::from(4 - n) * 10 + 3 + body.len() + 1;
            code.extend([0x0f, if n == 4 { 0x8c } else { 0x84 }]);
            code.extend((rest as u32).to_le_bytes());
        }
        code.extend([0x48, 0x89, 0xf8]);
        code.extend(&body);
        code.extend([0xc3, 0x48, 0x33, 0xc0, 0xc3]);
        let (short, ..) = shrink(&code, &[], &Calls::UNKNOWN, true);
        // The first two take two bytes; the one before `jl` has nothing to go to. And `xor` needs no prefix.
        assert_eq!(code.len() - short.len(), 9);
        for x in [0, 1, 2, 3, 5, 9] {
            for y in [4, 100] {
                assert_eq!(run(&short, x, y), run(&code, x, y), "{x} {y}");
                let left = (1..=3).contains(&x) || x < y;
                assert_eq!(run(&short, x, y) == 0, left, "{x} {y}");
            }
        }
    }

    #[test]
    fn stretches_lie_where_jumps_to_them_are_short() {
        // `cmp rdi, 1; je a; cmp rdi, 2; je b`, then 80 bytes and `ret`; `b:` 100 bytes and `ret`; `a: xor rax, rax; ret`
        let times = |n: u8, times: usize| [0x48, 0x6b, 0xc0, n].repeat(times);
        let mut code = vec![0x48, 0x89, 0xf8, 0x48, 0x83, 0xff, 1, 0x0f, 0x84];
        code.extend((4 + 6 + 81 + 101u32).to_le_bytes());
        code.extend([0x48, 0x83, 0xff, 2, 0x0f, 0x84]);
        code.extend(81u32.to_le_bytes());
        code.extend(
            [
                times(3, 20),
                vec![0xc3],
                times(5, 25),
                vec![0xc3, 0x48, 0x33, 0xc0, 0xc3],
            ]
            .concat(),
        );
        let (short, ..) = shrink(&code, &[], &Calls::UNKNOWN, true);
        // Both jumps are short, and `xor` needs no prefix.
        assert_eq!(code.len() - short.len(), 9);
        for x in [0, 1, 2, 3] {
            assert_eq!(run(&short, x, 0), run(&code, x, 0), "{x}");
        }
    }

    #[test]
    fn a_test_of_one_byte_names_that_byte() {
        // `mov rax, rdi; test r, n; jne out; ret; out: xor rax, rax; ret` for rdi and for rax
        for (test, less) in [([0x48, 0xf7, 0xc7], 3), ([0x48, 0xf7, 0xc0], 5)] {
            for n in [1u8, 0x42, 0x80, 0xff] {
                let mut code = vec![0x48, 0x89, 0xf8];
                code.extend(test);
                code.extend([n, 0, 0, 0, 0x0f, 0x85, 1, 0, 0, 0, 0xc3, 0x48, 0x33, 0xc0, 0xc3]);
                let (short, ..) = shrink(&code, &[], &Calls::UNKNOWN, true);
                // A byte with itself takes no constant, and is named in two of three bytes only in rax.
                let less = less + i32::from(n == 0xff && less == 3);
                assert_eq!((code.len() - short.len()) as i32, less + 4 + 1, "{n} {short:x?}");
                for x in [0, 1, 2, 0x42, 0x80, 0x100, 0x4200, 0xff, -1, -256] {
                    assert_eq!(run(&short, x, 0), run(&code, x, 0), "{x} {n}");
                }
            }
        }
    }

    #[test]
    fn calls_become_links_where_they_are_now() {
        // `push rbp; mov rbp, rsp; add rax, 1 (long); call h; mov rsp, rbp; pop rbp; ret`
        let code = [
            0x55, 0x48, 0x89, 0xe5, 0x48, 0x05, 1, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x89, 0xec, 0x5d, 0xc3,
        ];
        let (short, links) = shrink(&code, &[(11, 3)], &Calls::UNKNOWN, true);
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
        assert_eq!(
            shrink(&junk, &[], &Calls::UNKNOWN, true),
            ([&WRAP[..], &junk].concat(), vec![])
        );
        let outside = [0xe9, 0x00, 0x10, 0, 0];
        assert_eq!(
            shrink(&outside, &[], &Calls::UNKNOWN, true),
            ([&WRAP[..], &outside].concat(), vec![])
        );
    }
}
