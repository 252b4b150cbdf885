//! Gives registers other names, so that the code is shorter: an operand in r8 to r15 takes a prefix where nothing else needs
//! one, an address in r12 a byte more, one in r13 a distance.
//!
//! Invariants
//!
//! - Only registers that no instruction, call, entry or exit of this code wants by name change theirs, all over the code.
//! - Where a function is called that does not keep every register, they change theirs among those that C keeps.

use iced_x86::Mnemonic::{Div, Idiv, Imul, Mul, Mulx, Pop, Push, Rol, Ror, Sar, Shl, Shr};
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};
use std::collections::BTreeMap;

/// Registers by number, as one set of bits.
type Set = u16;

const R12: usize = 12;
const R13: usize = 13;
/// rbx and r12 to r15: what C keeps.
const KEPT: Set = 0xf008;
/// rcx, rdx, rbx, r8 to r15. Not rax, with the exit's number, nor rdi and rsi, which are given; nor the stack and its slots.
const ALL: Set = 0xff0e;

/// What the names of registers cost.
#[derive(Default)]
struct Costs {
    /// Sets of registers of which each takes a prefix alone, and how often.
    prefixes: BTreeMap<Set, u32>,
    /// How often each is an address without another register, and one without a distance.
    bases: [u32; 16],
    bare: [u32; 16],
}

/// `given` says of a call that keeps every register how many words it is given.
pub fn rename(all: &mut [Instruction], given: &dyn Fn(&Instruction) -> Option<usize>) {
    let Some(free) = free(all, given) else { return };
    let costs = Costs::of(all, free);
    let mut names: [usize; 16] = std::array::from_fn(|r| r);
    let mut now = costs.sum(&names);
    // The best exchange of two, until none is left.
    loop {
        let mut best: Option<(u32, usize, usize)> = None;
        for a in (0..16).filter(|r| free >> r & 1 != 0) {
            for b in (a + 1..16).filter(|r| free >> r & 1 != 0) {
                names.swap(a, b);
                let then = costs.sum(&names);
                names.swap(a, b);
                if then < best.map_or(now, |(sum, ..)| sum) {
                    best = Some((then, a, b));
                }
            }
        }
        let Some((then, a, b)) = best else { break };
        names.swap(a, b);
        now = then;
    }
    if names.iter().enumerate().any(|(r, name)| r != *name) {
        all.iter_mut().for_each(|i| give(i, &names));
    }
}

/// The registers that may change their names; none if there is one whose name is not understood.
fn free(all: &[Instruction], given: &dyn Fn(&Instruction) -> Option<usize>) -> Option<Set> {
    let (mut free, mut info) = (ALL, InstructionInfoFactory::new());
    for i in all {
        if i.flow_control() == FlowControl::Call {
            free &= match given(i) {
                Some(words) if words <= 2 => ALL,
                Some(3) => !(1 << Register::RDX.number()),
                _ => KEPT,
            };
            continue;
        }
        let named = |r: Register| r.full_register().is_gpr64();
        let explicit = operands(i).fold(0, |set: Set, r| set | 1 << r.full_register().number());
        let high = operands(i).any(|r| matches!(r, Register::AH | Register::CH | Register::DH | Register::BH));
        if high {
            return None;
        }
        for used in info.info(i).used_registers() {
            let r = used.register();
            if named(r) && explicit >> r.full_register().number() & 1 == 0 {
                free &= !(1 << r.full_register().number());
            }
        }
        // What has one of its operands in this register only, though the same may be named for another.
        free &= !match i.mnemonic() {
            Shl | Shr | Sar | Rol | Ror => 1 << Register::RCX.number(),
            Mul | Imul | Div | Idiv | Mulx if i.op_count() != 2 => 1 << Register::RDX.number(),
            _ => 0,
        };
    }
    Some(free)
}

/// The general registers an instruction names.
fn operands(i: &Instruction) -> impl Iterator<Item = Register> + '_ {
    let direct = (0..i.op_count()).filter(|k| i.op_kind(*k) == OpKind::Register);
    let direct = direct
        .map(|k| i.op_register(k))
        .chain([i.memory_base(), i.memory_index()]);
    direct.filter(|r| r.full_register().is_gpr64())
}

impl Costs {
    fn of(all: &[Instruction], free: Set) -> Costs {
        let mut costs = Costs::default();
        for i in all.iter().filter(|i| i.flow_control() != FlowControl::Call) {
            let base = i.memory_base();
            if base.is_gpr64() {
                costs.bases[base.number()] += u32::from(i.memory_index() == Register::None);
                costs.bare[base.number()] += u32::from(i.memory_displacement64() == 0);
            }
            let registers = || (0..i.op_count()).filter(|k| i.op_kind(*k) == OpKind::Register);
            let direct = || registers().map(|k| i.op_register(k));
            // What has its prefix in any case: 64 bits, or a vector register above the seventh.
            let wide = direct().any(|r| r.is_gpr64()) && !matches!(i.mnemonic(), Push | Pop);
            let word = direct().next().is_none() && base != Register::None && i.memory_size().size() == 8;
            let set = operands(i).fold(0, |set: Set, r| set | 1 << r.full_register().number());
            let other = direct().any(|r| r.is_xmm() && r.number() > 7) || (set & !free) >> 8 != 0;
            if !(wide || word || other) && set & free != 0 {
                *costs.prefixes.entry(set & free).or_default() += 1;
            }
        }
        costs
    }

    fn sum(&self, names: &[usize; 16]) -> u32 {
        let long = (0..16).filter(|r| names[*r] > 7).fold(0, |set: Set, r| set | 1 << r);
        let prefixes: u32 = self.prefixes.iter().filter(|p| p.0 & long != 0).map(|p| p.1).sum();
        let at = |of: &[u32; 16], name: usize| names.iter().position(|n| *n == name).map_or(0, |r| of[r]);
        prefixes + at(&self.bases, R12) + at(&self.bare, R13)
    }
}

/// An instruction with the new names.
fn give(i: &mut Instruction, names: &[usize; 16]) {
    for k in 0..i.op_count() {
        if i.op_kind(k) == OpKind::Register {
            i.set_op_register(k, named(i.op_register(k), names));
        }
    }
    i.set_memory_base(named(i.memory_base(), names));
    i.set_memory_index(named(i.memory_index(), names));
}

fn named(r: Register, names: &[usize; 16]) -> Register {
    let full = r.full_register();
    if !full.is_gpr64() || names[full.number()] == full.number() {
        return r;
    }
    let name = names[full.number()] as u32;
    if r.is_gpr64() {
        Register::RAX + name
    } else if r.is_gpr32() {
        Register::EAX + name
    } else if r.is_gpr16() {
        Register::AX + name
    } else if name > 3 {
        // Behind those are the second bytes of the first four.
        Register::SPL + (name - 4)
    } else {
        Register::AL + name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Encoder};

    fn decoded(code: &[u8]) -> Vec<Instruction> {
        Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
            .into_iter()
            .collect()
    }

    fn renamed(code: &[u8], given: Option<usize>) -> Vec<u8> {
        let mut all = decoded(code);
        rename(&mut all, &|_| given);
        let mut encoder = Encoder::new(64);
        for i in &all {
            encoder.encode(i, i.ip()).unwrap();
        }
        encoder.take_buffer()
    }

    #[test]
    fn an_address_leaves_r12_and_a_prefix_goes() {
        // movsd xmm0, [r12+8]; addsd xmm0, [r12+16]; xor r12d, r12d; mov rbx, rcx; ret
        let code = [
            0xf2, 0x41, 0x0f, 0x10, 0x44, 0x24, 8, 0xf2, 0x41, 0x0f, 0x58, 0x44, 0x24, 16, 0x45, 0x31, 0xe4, 0x48,
            0x89, 0xcb, 0xc3,
        ];
        // The same with rcx for r12 and r12 for rcx.
        let short = [
            0xf2, 0x0f, 0x10, 0x41, 8, 0xf2, 0x0f, 0x58, 0x41, 16, 0x31, 0xc9, 0x4c, 0x89, 0xe3, 0xc3,
        ];
        assert_eq!(renamed(&code, None), short);
    }

    #[test]
    fn what_is_wanted_by_name_keeps_it() {
        // mov r8d, [r8]; shl r8d, cl; mul rdx; ret: rcx counts, rdx is written; rbx is free.
        let code = [0x45, 0x8b, 0, 0x41, 0xd3, 0xe0, 0x48, 0xf7, 0xe2, 0xc3];
        assert_eq!(renamed(&code, None), [0x8b, 0x1b, 0xd3, 0xe3, 0x48, 0xf7, 0xe2, 0xc3]);
        // xor r8d, r8d; xor r12d, r12d; xor r12d, r12d; call: only what C keeps changes its name, unless all is kept.
        let code = [
            0x45, 0x31, 0xc0, 0x45, 0x31, 0xe4, 0x45, 0x31, 0xe4, 0xe8, 0, 0, 0, 0, 0xc3,
        ];
        let short = [0x45, 0x31, 0xc0, 0x31, 0xdb, 0x31, 0xdb, 0xe8, 0, 0, 0, 0, 0xc3];
        assert_eq!(renamed(&code, None)[..7], short[..7]);
        assert_eq!(renamed(&code, Some(3)).len(), 4 + 2 + 5 + 1);
        // r12 is rcx then, r8 rbx.
        assert_eq!(renamed(&code, Some(3))[..6], [0x31, 0xdb, 0x31, 0xc9, 0x31, 0xc9]);
    }

    #[test]
    fn every_width_has_its_name() {
        for (r, name) in [
            (Register::R9L, Register::CL),
            (Register::R9W, Register::CX),
            (Register::R9D, Register::ECX),
            (Register::R9, Register::RCX),
            (Register::CL, Register::R9L),
            (Register::XMM9, Register::XMM9),
            (Register::SIL, Register::SIL),
            (Register::None, Register::None),
        ] {
            let mut names: [usize; 16] = std::array::from_fn(|r| r);
            names.swap(1, 9);
            assert_eq!(named(r, &names), name);
        }
    }
}
