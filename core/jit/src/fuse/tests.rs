//! Each rule where it applies, and where it must not.

use super::*;
use Register::*;

fn m(base: Register, at: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, at)
}

/// Numbers the instructions, 16 apart.
fn code(all: Vec<Result<Instruction, iced_x86::IcedError>>) -> Vec<Instruction> {
    let place = |(k, i): (usize, Result<Instruction, _>)| {
        let mut i = i.unwrap();
        i.set_ip(0x1000 + 16 * k as u64);
        i
    };
    all.into_iter().enumerate().map(place).collect()
}

fn ret() -> Result<Instruction, iced_x86::IcedError> {
    Ok(Instruction::with(C::Retnq))
}

fn fused(all: Vec<Result<Instruction, iced_x86::IcedError>>) -> Vec<Instruction> {
    let mut all = code(all);
    let known = Known {
        constant: &|at| (at == 0x9000).then_some(77),
        given: &|_| Option::None,
    };
    fuse(&mut all, &known);
    all
}

fn codes(all: &[Instruction]) -> Vec<C> {
    all.iter().map(Instruction::code).collect()
}

type Two = Result<Instruction, iced_x86::IcedError>;

fn load(r: Register, from: MemoryOperand) -> Two {
    Instruction::with2(C::Mov_r64_rm64, r, from)
}

fn store(to: MemoryOperand, r: Register) -> Two {
    Instruction::with2(C::Mov_rm64_r64, to, r)
}

fn compare(a: Register, b: Register) -> Two {
    Instruction::with2(C::Cmp_r64_rm64, a, b)
}

fn less(to: usize) -> Two {
    Instruction::with_branch(C::Jl_rel32_64, 0x1000 + 16 * to as u64)
}

#[test]
fn a_value_used_once_is_taken_from_memory() {
    let all = fused(vec![
        load(RCX, m(RDI, 8)),
        compare(RSI, RCX),
        less(3),
        store(m(RDI, 0), RSI),
        ret(),
    ]);
    assert_eq!(
        codes(&all),
        [C::Cmp_r64_rm64, C::Jl_rel32_64, C::Mov_rm64_r64, C::Retnq]
    );
    assert_eq!(
        (
            all[0].op0_register(),
            all[0].memory_base(),
            all[0].memory_displacement64()
        ),
        (RSI, RDI, 8)
    );
    // On the other side too; and a jump to the load arrives at what there is now.
    let all = fused(vec![load(RCX, m(RDI, 8)), compare(RCX, RSI), less(0), ret()]);
    assert_eq!(codes(&all), [C::Cmp_rm64_r64, C::Jl_rel32_64, C::Retnq]);
    assert_eq!(all[1].near_branch_target(), all[0].ip());
}

#[test]
fn a_value_used_again_is_loaded() {
    let again = vec![
        load(RCX, m(RDI, 8)),
        compare(RSI, RCX),
        less(3),
        store(m(RDI, 0), RCX),
        ret(),
    ];
    assert_eq!(codes(&fused(again))[0], C::Mov_r64_rm64);
    // Behind a jump back as well.
    let round = vec![load(RCX, m(RDI, 8)), compare(RSI, RCX), less(1), ret()];
    assert_eq!(codes(&fused(round))[0], C::Mov_r64_rm64);
}

#[test]
fn a_load_stays_above_what_may_change_what_it_loads() {
    let with = |between: Two| {
        let all = vec![load(RCX, m(RDI, 8)), between, compare(RSI, RCX), less(4), ret()];
        codes(&fused(all)).len()
    };
    assert_eq!(with(store(m(RDX, 8), RSI)), 5);
    assert_eq!(with(store(m(RDI, 0), RSI)), 5);
    assert_eq!(with(load(RDI, m(RDX, 0))), 3); // one that nobody needs goes first
    assert_eq!(with(store(m(RDI, 64), RSI)), 4);
    assert_eq!(with(store(m(RBP, 8), RSI)), 4);
    // The address changes, and somebody asks for it.
    let moved = vec![
        load(RCX, m(RDI, 8)),
        load(RDI, m(RDX, 0)),
        compare(RSI, RCX),
        less(4),
        store(m(RDX, 0), RDI),
        ret(),
    ];
    assert_eq!(codes(&fused(moved)).len(), 6);
}

#[test]
fn a_test_of_part_of_a_value_reads_that_part() {
    let byte = Instruction::with2(C::Movzx_r64_rm8, R12, m(RDI, 8));
    let test = Instruction::with2(C::Test_rm8_r8, R12L, R12L);
    let all = fused(vec![byte, test, less(3), ret()]);
    assert_eq!(codes(&all), [C::Cmp_rm8_imm8, C::Jl_rel32_64, C::Retnq]);
    // 32 bits were loaded, 64 are asked for.
    let half = Instruction::with2(C::Mov_r32_rm32, ECX, m(RDI, 8));
    let all = fused(vec![half, compare(RSI, RCX), less(3), ret()]);
    assert_eq!(all.len(), 4);
}

#[test]
fn a_product_with_a_constant_takes_it_along_unless_its_upper_half_is_wanted() {
    let product = |after: Two| {
        let constant = MemoryOperand::with_base_displ(RIP, 0x9000);
        let copy = Instruction::with2(C::Mov_r64_rm64, RAX, R12);
        let times = Instruction::with1(C::Imul_rm64, constant);
        codes(&fused(vec![copy, times, after, ret()]))
    };
    assert_eq!(product(store(m(RDI, 0), RAX))[0], C::Imul_r64_rm64_imm8);
    assert_eq!(product(store(m(RDI, 0), RDX))[1], C::Imul_rm64);
}

#[test]
fn types_lie_in_registers_nobody_uses() {
    let constant = || MemoryOperand::with_base_displ(RIP, 0x9000);
    let ask = || Instruction::with2(C::Cmp_r64_rm64, RCX, constant());
    let all = fused(vec![
        load(RCX, m(RDI, 8)),
        ask(),
        less(5),
        load(RCX, m(RSI, 8)),
        ask(),
        less(5),
        ret(),
    ]);
    let wanted = [
        C::Mov_r64_imm64,
        C::Cmp_rm64_r64,
        C::Jl_rel32_64,
        C::Cmp_rm64_r64,
        C::Jl_rel32_64,
        C::Retnq,
    ];
    assert_eq!(codes(&all), wanted);
    let r = all[0].op0_register();
    assert_eq!(
        (all[0].immediate64(), all[1].op1_register(), all[3].op1_register()),
        (77, r, r)
    );
    assert!(![RAX, RCX, RDI, RSI, RSP, RBP].contains(&r));
    // A call keeps only those that C keeps.
    let call = Instruction::with_branch(C::Call_rel32_64, 0x4000_0000);
    let ask = Instruction::with2(C::Cmp_r64_rm64, RBX, constant());
    let all = fused(vec![load(RBX, m(RDI, 8)), ask, less(4), call, ret()]);
    assert!(
        [RBX, R12, R13, R14, R15].contains(&all[0].op0_register()),
        "{:?}",
        all[0].op0_register()
    );
}

#[test]
fn zeros_come_from_a_register_that_is_free() {
    let zero = |at| Instruction::with2(C::Mov_rm64_imm32, m(RDI, at), 0);
    let all = fused(vec![zero(0), store(m(RDI, 16), RCX), zero(8), ret()]);
    assert_eq!(
        codes(&all),
        [
            C::Xor_r32_rm32,
            C::Mov_rm64_r64,
            C::Mov_rm64_r64,
            C::Mov_rm64_r64,
            C::Retnq
        ]
    );
    let r = all[0].op0_register().full_register();
    assert_eq!(
        (all[1].op1_register(), all[2].op1_register(), all[3].op1_register()),
        (r, RCX, r)
    );
    // rax is what the code gives back.
    assert!(r != RAX && r != RCX);
    assert_eq!(codes(&fused(vec![zero(0), ret()])), [C::And_rm64_imm8, C::Retnq]);
    // Flags that are asked for stay.
    let asked = vec![compare(RSI, RCX), zero(0), less(3), ret()];
    assert_eq!(codes(&fused(asked))[1], C::Mov_rm64_imm32);
}

#[test]
fn stretches_follow_each_other() {
    let jump = |to: usize| Instruction::with_branch(C::Jmp_rel32_64, 0x1000 + 16 * to as u64);
    // 0: jl 6; jmp 3   2: ret   3: inc; jmp 6   5: ret (not reached)   6: dec; ret
    let mut all = code(vec![
        less(6),
        jump(3),
        ret(),
        Instruction::with1(C::Inc_rm64, RAX),
        jump(6),
        ret(),
        Instruction::with1(C::Dec_rm64, RAX),
        ret(),
    ]);
    lay_out(&mut all);
    let wanted = [C::Jl_rel32_64, C::Inc_rm64, C::Dec_rm64, C::Retnq, C::Retnq, C::Retnq];
    assert_eq!(codes(&all), wanted);
    assert_eq!(all[0].near_branch_target(), all[2].ip());
}

#[test]
fn three_copies_are_one_exchange() {
    let turn = |last: Register| {
        vec![
            copied(RCX, RSI),
            copied(RSI, RDX),
            copied(RDX, RCX),
            store(m(RDI, 0), RSI),
            store(m(RDI, 8), RDX),
            store(m(RDI, 16), RDX),
            store(m(RDI, 24), last),
            ret(),
        ]
    };
    assert_eq!(codes(&fused(turn(RSI)))[0], C::Xchg_rm64_r64);
    assert_eq!(fused(turn(RSI)).len(), 6);
    // Somebody wants what was kept meanwhile.
    assert_eq!(fused(turn(RCX)).len(), 8);
}

fn copied(to: Register, from: Register) -> Two {
    Instruction::with2(C::Mov_r64_rm64, to, from)
}

#[test]
fn the_original_is_used_where_its_copy_was() {
    let all = fused(vec![
        copied(RCX, RSI),
        load(RAX, m(RDI, 8)),
        store(m(RAX, 0), RCX),
        copied(RDX, RSI),
        store(m(RDX, 8), RAX),
        ret(),
    ]);
    assert_eq!(codes(&all)[..3], [C::Mov_r64_rm64, C::Mov_rm64_r64, C::Mov_rm64_r64]);
    assert_eq!((all[1].op1_register(), all[2].memory_base()), (RSI, RSI));
    // Not where the original has changed, nor where the copy is wanted again.
    let other = vec![copied(RCX, RSI), load(RSI, m(RDI, 8)), store(m(RSI, 0), RCX), ret()];
    assert_eq!(fused(other).len(), 4);
    let again = vec![copied(RCX, RSI), store(m(RDI, 0), RCX), store(m(RDI, 8), RCX), ret()];
    assert_eq!(fused(again).len(), 4);
    // Two names for one value leave nothing.
    let zero = fused(vec![
        copied(RCX, RSI),
        store(m(RBP, 0), RSI),
        Instruction::with2(C::Xor_r64_rm64, RSI, RCX),
        store(m(RBP, 0), RSI),
        ret(),
    ]);
    assert_eq!(codes(&zero), [C::Xor_r32_rm32, C::Mov_rm64_r64, C::Retnq]);
}

#[test]
fn a_place_of_the_frame_that_is_written_again_unread_is_written_once() {
    let with = |between: Two| fused(vec![store(m(RBP, 8), RSI), between, store(m(RBP, 8), RDX), ret()]).len();
    assert_eq!(with(store(m(RDI, 8), RSI)), 3);
    assert_eq!(with(store(m(RBP, 16), RSI)), 4);
    assert_eq!(with(Instruction::with2(C::Cmp_r64_rm64, RSI, m(RBP, 8))), 4);
}

#[test]
fn a_byte_is_compared_where_it_lies() {
    let all = fused(vec![
        Instruction::with2(C::Movzx_r64_rm8, RCX, m(RDI, 8)),
        Instruction::with2(C::Cmp_rm8_imm8, CL, 31u32),
        less(2),
        ret(),
    ]);
    assert_eq!(codes(&all), [C::Cmp_rm8_imm8, C::Jl_rel32_64, C::Retnq]);
    assert_eq!((all[0].memory_base(), all[0].immediate8()), (RDI, 31));
}

#[test]
fn small_numbers_are_stored_by_the_stack() {
    let with = |n: i32| codes(&fused(vec![Instruction::with2(C::Mov_rm64_imm32, m(RDI, 8), n), ret()]));
    assert_eq!(with(1), [C::Pushq_imm8, C::Pop_rm64, C::Retnq]);
    assert_eq!(with(-128), [C::Pushq_imm8, C::Pop_rm64, C::Retnq]);
    assert_eq!(with(128), [C::Mov_rm64_imm32, C::Retnq]);
}

#[test]
fn a_small_constant_is_added_second_unless_the_other_operand_needs_it() {
    let add = |n: i32, other: MemoryOperand| {
        let constant = Instruction::with2(C::Mov_rm64_imm32, RCX, n);
        let add = Instruction::with2(C::Add_r64_rm64, RCX, other);
        codes(&fused(vec![constant, add, store(m(RDI, 0), RCX), ret()]))[..2].to_vec()
    };
    assert_eq!(add(-5, m(RDX, 8)), [C::Mov_r64_rm64, C::Add_rm64_imm8]);
    let as_it_was = [C::Mov_rm64_imm32, C::Add_r64_rm64];
    assert_eq!(add(128, m(RDX, 8)), as_it_was, "four bytes in any case");
    assert_eq!(add(-5, m(RCX, 8)), as_it_was, "its address");
    let index = MemoryOperand::with_base_index_scale_displ_size(RDX, RCX, 8, 8, 1);
    assert_eq!(add(-5, index), as_it_was, "part of its address");
    // A jump leads between the two.
    let all = fused(vec![
        Instruction::with2(C::Mov_rm64_imm32, RCX, 5),
        Instruction::with2(C::Add_r64_rm64, RCX, m(RDX, 8)),
        compare(RCX, RSI),
        less(1),
        store(m(RDI, 0), RCX),
        ret(),
    ]);
    assert_eq!(codes(&all)[..2], as_it_was);
}

#[test]
fn a_product_that_a_jump_leads_to_takes_its_constant_from_where_it_is() {
    let with = |from: Register, constant: Register, to: usize| {
        let all = vec![
            Instruction::with2(C::Mov_rm64_imm32, constant, 5),
            Instruction::with1(C::Imul_rm64, from),
            compare(RAX, RSI),
            less(to),
            store(m(RDI, 0), RAX),
            store(m(RDI, 8), RCX),
            ret(),
        ];
        codes(&fused(all)).contains(&C::Imul_rm64)
    };
    assert!(!with(RCX, RAX, 4));
    assert!(with(RCX, RAX, 1), "with another number in rax");
    assert!(with(RAX, RAX, 4), "both factors are the constant");
    assert!(with(RDX, RCX, 4), "another register has the constant");
}

#[test]
fn what_is_stored_by_the_stack_is_the_number_and_nobody_jumps_between() {
    let store = Instruction::with2(C::Mov_rm64_imm32, m(RDX, 24), -3);
    let all = fused(vec![store, compare(RAX, RSI), less(0), ret()]);
    assert_eq!(
        (
            all[0].immediate(0) as i64,
            all[1].memory_base(),
            all[1].memory_displacement64()
        ),
        (-3, RDX, 24)
    );
    assert_eq!(all[3].near_branch_target(), all[0].ip());
    assert_ne!(all[1].ip(), all[0].ip());
    // A register is given its number without.
    let given = vec![
        Instruction::with2(C::Mov_rm64_imm32, RCX, 1),
        compare(RCX, RSI),
        less(3),
        self::store(m(RDI, 0), RCX),
        ret(),
    ];
    assert!(!codes(&fused(given)).contains(&C::Pushq_imm8));
}

#[test]
fn copies_that_turn_no_two_registers_are_no_exchange() {
    let exchanged = |second: Two, third: Two, to: usize| {
        let all = vec![
            copied(RCX, RSI),
            second,
            third,
            compare(RSI, RDX),
            less(to),
            store(m(RDI, 0), RSI),
            store(m(RDI, 8), RDX),
            store(m(RDI, 16), R8),
            store(m(RDI, 24), RDX),
            ret(),
        ];
        codes(&fused(all)).contains(&C::Xchg_rm64_r64)
    };
    assert!(exchanged(copied(RSI, RDX), copied(RDX, RCX), 6));
    assert!(
        !exchanged(copied(R8, RDX), copied(RDX, RCX), 6),
        "another gets the second"
    );
    assert!(
        !exchanged(copied(RSI, RDX), copied(R8, RCX), 6),
        "another gets the first"
    );
    assert!(!exchanged(copied(RSI, RDX), copied(RDX, R9), 6), "of another");
    assert!(
        !exchanged(copied(RSI, RDX), copied(RDX, RCX), 1),
        "a jump leads between"
    );
    assert!(
        !exchanged(copied(RSI, RDX), copied(RDX, RCX), 2),
        "a jump leads between"
    );
}

#[test]
fn no_more_is_read_than_was_loaded() {
    let kept = |load: Two, question: Two| fused(vec![load, question, less(3), ret()]).len() == 4;
    let byte = || Instruction::with2(C::Movzx_r64_rm8, RCX, m(RDI, 8));
    let half = || Instruction::with2(C::Mov_r32_rm32, ECX, m(RDI, 8));
    let whole = || load(RCX, m(RDI, 8));
    let test = || Instruction::with2(C::Test_rm64_r64, RCX, RCX);
    let test_half = || Instruction::with2(C::Test_rm32_r32, ECX, ECX);
    let large = |code, r| Instruction::with2(code, r, 1000);
    assert!(!kept(whole(), test()) && kept(half(), test()) && kept(byte(), test()));
    assert!(!kept(half(), test_half()) && kept(byte(), test_half()));
    assert!(!kept(whole(), large(C::Cmp_rm64_imm32, RCX)) && kept(half(), large(C::Cmp_rm64_imm32, RCX)));
    assert!(!kept(half(), large(C::Cmp_rm32_imm32, ECX)) && kept(byte(), large(C::Cmp_rm32_imm32, ECX)));
    assert!(
        kept(whole(), Instruction::with2(C::Cmp_rm8_imm8, CH, 1u32)),
        "the second byte"
    );
}
