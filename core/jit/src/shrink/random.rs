//! Random code, shaped as the compiler's, does the same after [`shrink`] as before.

use super::*;
use crate::arena::Arena;
use crate::lower::{BUFFER_WORDS, ORIGIN};
use Register::*;
use iced_x86::MemoryOperand;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n as u64) as usize
    }
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Numbers; addresses in the buffer; distances of 0, 8 or 16. rdi is the buffer.
const NUMBERS: [Register; 6] = [RAX, RCX, RDX, RBX, R11, R12];
const ADDRESSES: [Register; 2] = [RSI, R8];
const DISTANCES: [Register; 2] = [R9, R10];
/// Words of the buffer that are read and written, and those with addresses.
const WORDS: usize = 14;
const PLACES: usize = 20;
const SLOTS: usize = 4;
const POOL: u64 = 4096;
const CONSTANTS: [u64; 5] = [
    3,
    0xffff_ffff_ffff_fff9,
    1000,
    0x1234_5678_9abc_def0,
    0x7000_0000_0000_0001,
];
const EDGES: [u64; 10] = [
    0,
    1,
    u64::MAX,
    1 << 63,
    1 << 32,
    0xff,
    0x80,
    0x7fff_ffff,
    0xffff_ffff,
    0x1234_5678_9abc_def0,
];

/// The operands are chosen before the instruction is put.
macro_rules! put {
    ($to:expr, $made:expr $(,)?) => {{
        let made = $made;
        $to.put(made)
    }};
}

type Made = Result<Instruction, iced_x86::IcedError>;

/// Instructions, and which of the program's places jumps lead to.
struct Program {
    random: Random,
    all: Vec<(Instruction, Option<usize>)>,
    starts: Vec<usize>,
    loaded: Register,
}

impl Program {
    fn put(&mut self, made: Made) {
        self.all.push((made.unwrap(), Option::None));
    }
    fn number(&mut self) -> Register {
        // A few of them, so that they meet, and what was loaded last.
        if self.random.below(4) == 0 {
            return self.loaded;
        }
        let few = if self.random.below(3) == 0 { 6 } else { 3 };
        self.random.one(&NUMBERS[..few])
    }
    fn memory(&mut self) -> MemoryOperand {
        let at = 8 * self.random.below(6) as i64;
        match self.random.below(8) {
            0..3 => MemoryOperand::with_base_displ(RSP, 8 * self.random.below(SLOTS) as i64),
            3..5 => MemoryOperand::with_base_displ(RDI, at),
            5..7 => MemoryOperand::with_base_displ(self.random.one(&ADDRESSES), at),
            _ => {
                let (base, index) = (self.random.one(&[RDI, RSI, R8]), self.random.one(&DISTANCES));
                MemoryOperand::with_base_index_scale_displ_size(base, index, 1, at, 1)
            }
        }
    }
    fn constant(&mut self) -> MemoryOperand {
        let at = NEW + POOL + 8 * self.random.below(CONSTANTS.len()) as u64;
        MemoryOperand::with_base_displ(RIP, at as i64)
    }
    fn small(&mut self) -> i32 {
        self.random.one(&[0, 1, -1, 5, -128, 127, 128, 1000, -1000])
    }
    fn jump(&mut self, code: C, to: usize) {
        let jump = Instruction::with_branch(code, NEW).unwrap();
        self.all.push((jump, Some(to)));
    }

    /// What sets flags, all that are asked for.
    fn question(&mut self) {
        let (a, b) = (self.number(), self.number());
        let (half, byte) = (half_of(a), low_byte(half_of(a)).unwrap());
        let n = self.small();
        let made = match self.random.below(16) {
            0 => Instruction::with2(C::Cmp_r64_rm64, a, b),
            1 => Instruction::with2(C::Cmp_rm64_r64, a, b),
            2 => Instruction::with2(C::Cmp_r32_rm32, half, half_of(b)),
            3 => Instruction::with2(C::Test_rm64_r64, a, self.random.one(&[a, a, b])),
            4 => Instruction::with2(C::Test_rm32_r32, half, half_of(self.random.one(&[a, a, b]))),
            5 => {
                let other = low_byte(half_of(b)).unwrap();
                Instruction::with2(C::Test_rm8_r8, byte, self.random.one(&[byte, byte, other]))
            }
            6 => Instruction::with2(C::Cmp_rm8_imm8, byte, n & 0xff),
            7 => Instruction::with2(C::Cmp_rm64_imm8, a, i32::from(n as i8)),
            8 => Instruction::with2(C::Cmp_rm64_imm32, a, n),
            9 => Instruction::with2(C::Cmp_rm32_imm8, half, i32::from(n as i8)),
            10 => Instruction::with2(C::Cmp_rm32_imm32, half, n),
            11 => Instruction::with2(C::Test_rm64_imm32, a, n),
            12 => Instruction::with2(C::Add_rm64_imm32, a, n),
            13 => Instruction::with2(C::Sub_r64_rm64, a, b),
            14 => {
                let m = self.memory();
                Instruction::with2(C::Cmp_r64_rm64, a, m)
            }
            _ => {
                let m = self.constant();
                Instruction::with2(C::Cmp_r64_rm64, a, m)
            }
        };
        put!(self, made);
    }

    /// What asks for them: each kind of jump, or a register that is set or not.
    fn answer(&mut self, ends: usize) {
        let to = self.starts.len() + self.random.below(4);
        let to = if self.random.below(3) == 0 {
            usize::MAX - self.random.below(ends)
        } else {
            to
        };
        match self.random.below(6) {
            0 => {
                let (a, b) = (self.number(), self.number());
                put!(self, Instruction::with2(C::Cmovl_r64_rm64, a, b));
            }
            1 => {
                // As the compiler asks for an overflow: nobody else asks for that register.
                let byte = R13L;
                put!(self, Instruction::with1(C::Seto_rm8, byte));
                put!(self, Instruction::with2(C::Test_rm8_r8, byte, byte));
                let code = self.random.one(&[C::Jne_rel32_64, C::Je_rel32_64]);
                self.jump(code, to);
            }
            _ => {
                let codes = [
                    C::Je_rel32_64,
                    C::Jne_rel32_64,
                    C::Jl_rel32_64,
                    C::Jb_rel32_64,
                    C::Jo_rel32_64,
                    C::Jg_rel32_64,
                ];
                let code = self.random.one(&codes);
                self.jump(code, to);
            }
        }
    }

    fn step(&mut self, ends: usize) {
        let (a, b) = (self.number(), self.number());
        match self.random.below(30) {
            0..5 => {
                let m = self.memory();
                let code = self.random.below(6);
                put!(
                    self,
                    match code {
                        0 => Instruction::with2(C::Mov_r32_rm32, half_of(a), m),
                        1 => Instruction::with2(C::Movzx_r64_rm8, a, m),
                        2 => Instruction::with2(C::Movzx_r32_rm8, half_of(a), m),
                        _ => Instruction::with2(C::Mov_r64_rm64, a, m),
                    }
                );
                self.loaded = a;
                // Often used at once, with what may come between.
                if self.random.below(2) == 0 {
                    self.question();
                    self.answer(ends);
                }
            }
            5..8 => {
                let m = self.memory();
                put!(self, Instruction::with2(C::Mov_rm64_r64, m, a));
            }
            8..11 => put!(self, Instruction::with2(C::Mov_r64_rm64, a, b)),
            11 => {
                // Three that turn two registers, or nearly; some jump may lead between them.
                let c = self.number();
                let mut three = [(c, a), (a, b), (b, c)];
                let wrong = self.random.below(6);
                if wrong < 3 {
                    three[wrong] = (self.number(), self.number());
                }
                for (to, from) in three {
                    put!(self, Instruction::with2(C::Mov_r64_rm64, to, from));
                    if self.random.below(4) == 0 {
                        self.starts.push(self.all.len());
                    }
                }
            }
            29 => {
                // Two ways on.
                self.question();
                let (one, other) = (self.random.below(4), self.random.below(4));
                let code = self.random.one(&[C::Je_rel32_64, C::Jge_rel32_64]);
                self.jump(code, self.starts.len() + one);
                self.jump(C::Jmp_rel32_64, self.starts.len() + other);
            }
            27 => {
                // A slot is written again, perhaps read between.
                let slot = MemoryOperand::with_base_displ(RSP, 8 * self.random.below(SLOTS) as i64);
                put!(self, Instruction::with2(C::Mov_rm64_r64, slot, a));
                match self.random.below(4) {
                    0 => {
                        self.question();
                        self.answer(ends);
                    }
                    1 => self.starts.push(self.all.len()),
                    2 => put!(self, Instruction::with2(C::Mov_r64_rm64, b, slot)),
                    _ => {}
                }
                put!(self, Instruction::with2(C::Mov_rm64_r64, slot, b));
            }
            28 => {
                // Loaded, stored elsewhere, perhaps to the same place, and used.
                let at = 8 * self.random.below(5) as i64;
                let (base, other) = (self.random.one(&[RDI, RSI]), self.random.one(&[RDI, RSI, R8]));
                let index = self.random.one(&DISTANCES);
                let far = MemoryOperand::with_base_index_scale_displ_size(other, index, 1, at & 8, 1);
                let near = MemoryOperand::with_base_displ(other, at ^ 16);
                let m = self.random.one(&[far, near]);
                let from = self.random.one(&[MemoryOperand::with_base_displ(base, at), far]);
                put!(self, Instruction::with2(C::Mov_r64_rm64, a, from));
                put!(self, Instruction::with2(C::Mov_rm64_r64, m, b));
                put!(self, Instruction::with2(C::Add_r64_rm64, b, a));
                put!(self, Instruction::with2(C::Mov_rm64_imm32, a, 3));
            }
            12..14 => {
                let (m, n) = (self.memory(), self.random.one(&[0, 0, 0, 1, -1, 200]));
                put!(self, Instruction::with2(C::Mov_rm64_imm32, m, n));
            }
            14..16 => {
                let n = self.small();
                put!(
                    self,
                    match n {
                        128.. => Instruction::with2(C::Mov_r32_imm32, half_of(a), n.unsigned_abs() | 0x8000_0000),
                        _ => Instruction::with2(C::Mov_rm64_imm32, a, n),
                    }
                );
                if self.random.below(2) == 0 {
                    let c = self.random.one(&[a, a, b]);
                    let made = if self.random.below(2) == 0 {
                        let m = self.memory();
                        Instruction::with2(C::Add_r64_rm64, c, m)
                    } else {
                        Instruction::with2(C::Add_r64_rm64, c, b)
                    };
                    put!(self, made);
                }
            }
            16..19 => {
                let codes = [
                    C::Add_r64_rm64,
                    C::Sub_r64_rm64,
                    C::And_r64_rm64,
                    C::Or_r64_rm64,
                    C::Xor_r64_rm64,
                    C::Imul_r64_rm64,
                ];
                let code = self.random.one(&codes);
                put!(self, Instruction::with2(code, a, b));
            }
            19 => {
                // The upper half may be wanted.
                let (n, kind) = (self.small(), self.random.below(3));
                match kind {
                    0 => {
                        put!(
                            self,
                            Instruction::with2(C::Mov_r64_rm64, self.random.one(&[RAX, RAX, RCX]), b,)
                        );
                        let m = self.constant();
                        put!(self, Instruction::with1(C::Imul_rm64, m));
                    }
                    _ => {
                        put!(
                            self,
                            Instruction::with2(C::Mov_rm64_imm32, self.random.one(&[RAX, RAX, RCX]), n,)
                        );
                        put!(self, Instruction::with1(C::Imul_rm64, b));
                    }
                }
                if self.random.below(3) > 0 {
                    put!(self, Instruction::with2(C::Mov_rm64_imm32, RDX, 9));
                }
            }
            20 => {
                let to = self.random.one(&ADDRESSES);
                let made = match self.random.below(4) {
                    0 => Instruction::with2(C::Mov_r64_rm64, to, self.random.one(&[RDI, RSI, R8])),
                    1 => Instruction::with2(C::Lea_r64_m, to, MemoryOperand::with_base_displ(RDI, 16)),
                    _ => {
                        let place = 8 * (PLACES + self.random.below(2)) as i64;
                        Instruction::with2(C::Mov_r64_rm64, to, MemoryOperand::with_base_displ(RDI, place))
                    }
                };
                put!(self, made);
            }
            21 => {
                let to = self.random.one(&DISTANCES);
                let made = match self.random.below(2) {
                    0 => Instruction::with2(C::Mov_r32_imm32, half_of(to), self.random.one(&[0u32, 8, 16])),
                    _ => Instruction::with2(C::Mov_r64_rm64, to, self.random.one(&DISTANCES)),
                };
                put!(self, made);
            }
            22 => {
                let n = self.random.one(&[0, 1, -1]);
                let code = self.random.one(&[C::Add_rm64_imm32, C::Sub_rm64_imm32]);
                put!(self, Instruction::with2(code, a, n));
            }
            23 => {
                let n = self.random.one(&CONSTANTS);
                put!(self, Instruction::with2(C::Mov_r64_imm64, a, n));
            }
            24 => put!(self, Instruction::with2(C::Xor_r64_rm64, a, a)),
            25 => put!(
                self,
                Instruction::with2(C::Mov_rm8_imm8, low_byte(half_of(a)).unwrap(), 0x5au32,)
            ),
            26 => {
                // By the count in rcx, which has no other name.
                put!(self, Instruction::with2(C::Shl_rm64_CL, b, CL));
            }
            _ => {
                self.question();
                // Between the two nothing changes flags.
                if self.random.below(3) == 0 {
                    let m = self.memory();
                    put!(
                        self,
                        match self.random.below(3) {
                            0 => Instruction::with2(C::Mov_rm64_imm32, m, 0),
                            1 => Instruction::with2(C::Mov_rm64_imm32, a, -1),
                            _ => Instruction::with2(C::Mov_r64_rm64, a, m),
                        }
                    );
                }
                self.answer(ends);
            }
        }
    }

    /// Code as the compiler gives it: a frame, long jumps, exits behind each other, constants behind everything.
    fn code(seed: u64) -> Vec<u8> {
        let mut p = Program {
            random: Random(seed),
            all: Vec::new(),
            starts: Vec::new(),
            loaded: RCX,
        };
        put!(p, Instruction::with1(C::Push_r64, RBP));
        put!(p, Instruction::with2(C::Mov_rm64_r64, RBP, RSP));
        put!(p, Instruction::with2(C::Sub_rm64_imm32, RSP, 8 * SLOTS as i32));
        for k in 0..SLOTS {
            put!(
                p,
                Instruction::with2(C::Mov_r64_rm64, RAX, MemoryOperand::with_base_displ(RDI, 8 * k as i64),)
            );
            put!(
                p,
                Instruction::with2(C::Mov_rm64_r64, MemoryOperand::with_base_displ(RSP, 8 * k as i64), RAX,)
            );
        }
        for (k, r) in NUMBERS.into_iter().enumerate() {
            put!(
                p,
                Instruction::with2(
                    C::Mov_r64_rm64,
                    r,
                    MemoryOperand::with_base_displ(RDI, 8 * (k + 3) as i64),
                )
            );
        }
        for (k, r) in ADDRESSES.into_iter().enumerate() {
            put!(
                p,
                Instruction::with2(
                    C::Mov_r64_rm64,
                    r,
                    MemoryOperand::with_base_displ(RDI, 8 * (PLACES + k) as i64),
                )
            );
        }
        for r in DISTANCES {
            put!(p, Instruction::with2(C::Mov_r32_imm32, half_of(r), 8u32));
        }
        // Where the constants begin is told by the first that is used.
        let first = MemoryOperand::with_base_displ(RIP, (NEW + POOL) as i64);
        put!(p, Instruction::with2(C::Cmp_r64_rm64, RAX, first));
        let (steps, ends) = (4 + p.random.below(16), 1 + p.random.below(3));
        for _ in 0..steps {
            let at = p.all.len();
            p.starts.push(at);
            p.step(ends);
        }
        let last = p.all.len();
        let mut exits = Vec::new();
        for k in 0..ends {
            exits.push(p.all.len());
            for _ in 0..p.random.below(3) {
                let (r, at) = (
                    p.number(),
                    MemoryOperand::with_base_displ(RDI, 8 * p.random.below(WORDS) as i64),
                );
                put!(p, Instruction::with2(C::Mov_rm64_r64, at, r));
            }
            let n = (17 * k + p.random.below(16)) as u32 * if p.random.below(3) == 0 { 4 } else { 1 };
            let (r, stored) = (p.random.one(&[RAX, RAX, RCX]), p.number());
            put!(p, Instruction::with2(C::Mov_r32_imm32, half_of(r), n));
            for _ in 0..p.random.below(3) {
                let at = MemoryOperand::with_base_displ(RDI, 8 * p.random.below(WORDS) as i64);
                put!(p, Instruction::with2(C::Mov_rm64_r64, at, stored));
            }
            if r != RAX {
                put!(p, Instruction::with2(C::Mov_r64_rm64, RAX, r));
            }
            put!(p, Instruction::with2(C::Add_rm64_imm32, RSP, 8 * SLOTS as i32));
            put!(p, Instruction::with2(C::Mov_rm64_r64, RSP, RBP));
            put!(p, Instruction::with1(C::Pop_r64, RBP));
            put!(p, Ok(Instruction::with(C::Retnq)));
        }
        let place = |to: usize| match to.checked_add(exits.len()) {
            Some(_) => p.starts.get(to).copied().unwrap_or(last),
            Option::None => exits[usize::MAX - to],
        };
        let all: Vec<Instruction> = p
            .all
            .iter()
            .enumerate()
            .map(|(k, (i, to))| {
                let mut i = *i;
                i.set_ip(k as u64 + 1);
                if let Some(to) = to {
                    i.set_near_branch64(place(*to) as u64 + 1);
                }
                i
            })
            .collect();
        let options = BlockEncoderOptions::DONT_FIX_BRANCHES;
        let mut code = BlockEncoder::encode(64, InstructionBlock::new(&all, NEW), options)
            .unwrap()
            .code_buffer;
        assert!(code.len() < POOL as usize);
        code.resize(POOL as usize, 0x90);
        code.extend(CONSTANTS.iter().flat_map(|n| n.to_le_bytes()));
        code
    }
}

fn half_of(r: Register) -> Register {
    r.full_register32()
}

/// What the code gives back, and the buffer after it.
fn run(arena: &mut Arena, code: &[u8], seed: u64) -> (u64, Vec<u64>) {
    let (mut random, mut buffer) = (Random(seed), [0u64; BUFFER_WORDS]);
    for at in 0..WORDS {
        buffer[ORIGIN + at] = match random.below(3) {
            0 => random.below(1 << 31) as u64 * 0x1_0000_0003,
            1 => random.below(3) as u64,
            _ => random.one(&EDGES),
        };
    }
    let middle = &raw mut buffer[ORIGIN];
    for k in 0..2 {
        buffer[ORIGIN + PLACES + k] = middle as u64 + 16 * k as u64;
    }
    let piece = arena.publish(code, &[]).unwrap();
    arena.enter();
    // SAFETY: the code keeps to the buffer, its own frame and the registers that the entry saves.
    let gives = unsafe {
        let entry = std::mem::transmute::<*const u8, extern "C" fn(*const u8, *mut u64) -> u64>(arena.entry());
        entry(arena.address(piece), middle)
    };
    arena.stop();
    arena.release(piece);
    (gives, buffer[ORIGIN..ORIGIN + WORDS].to_vec())
}

#[test]
fn random_code_does_the_same_in_fewer_bytes() {
    let mut arena = Arena::new(1 << 18, 1 << 16, &[]).unwrap();
    for seed in 0..4000 {
        let code = Program::code(seed);
        let (short, links) = shrink(&code, &[], &Calls::UNKNOWN, true);
        assert!(
            links.is_empty() && short.len() < POOL as usize,
            "{seed} is not understood"
        );
        let plain = [&WRAP[..], &code].concat();
        for k in 0..3 {
            let (wanted, found) = (run(&mut arena, &plain, seed + k), run(&mut arena, &short, seed + k));
            assert_eq!(found, wanted, "program {seed}, numbers {k}");
        }
    }
}
