//! Which registers and flags are still needed where, for [`crate::fuse`].
//!
//! Invariants
//!
//! - What is not known to be overwritten counts as needed: a call is taken to need every argument register and to change
//!   nothing, a write of a part of a register to keep the rest. Of a call that keeps every register it is known how many
//!   arguments it is given.

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};
use std::collections::HashMap;

/// Registers (0 to 15 general, 16 to 31 vector) and flags, as one set of bits.
type Set = u64;

/// What one instruction needs and overwrites.
#[derive(Clone, Copy, Default)]
pub struct Uses {
    pub reads: Set,
    /// Overwritten as a whole.
    pub kills: Set,
    /// Written at all.
    pub writes: Set,
    pub stores: bool,
}

/// The set of one register; none for those that are not kept account of.
pub fn bit(r: Register) -> Set {
    let full = r.full_register();
    if full.is_gpr64() {
        1 << full.number()
    } else if r.is_xmm() || r.is_ymm() {
        1 << (16 + r.number())
    } else {
        0
    }
}

fn flags(rflags: u32) -> Set {
    u64::from(rflags) << 32
}

/// All flags.
pub const FLAGS: Set = 0xffff_ffff << 32;
/// rdi, rsi, rdx, rcx, r8, r9, rax, and the first eight vector registers: what a function may be given.
const ARGUMENTS: Set = 0b11_1100_0111 | 0xff << 16;

impl Uses {
    pub fn of(
        i: &Instruction,
        info: &mut InstructionInfoFactory,
        given: &dyn Fn(&Instruction) -> Option<usize>,
    ) -> Uses {
        let mut uses = Uses::default();
        match i.flow_control() {
            FlowControl::Return => {
                uses.reads = bit(Register::RAX);
                return uses;
            }
            FlowControl::Call => {
                let registers = [Register::RDI, Register::RSI, Register::RDX];
                (uses.reads, uses.writes) = match given(i).and_then(|n| registers.get(..n)) {
                    Some(some) => (some.iter().fold(0, |set, r| set | bit(*r)), 0),
                    None => (ARGUMENTS, !FLAGS),
                };
                uses.stores = true;
                return uses;
            }
            _ => {}
        }
        let found = info.info(i);
        for used in found.used_registers() {
            let (r, set) = (used.register(), bit(used.register()));
            let (reads, writes) = match used.access() {
                OpAccess::Read | OpAccess::CondRead => (true, false),
                OpAccess::Write | OpAccess::CondWrite => (false, true),
                OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
                _ => (false, false),
            };
            uses.reads |= if reads { set } else { 0 };
            uses.writes |= if writes { set } else { 0 };
            // Writing 32 bits clears the upper half; of vectors only plain loads are known to.
            let whole = if r.is_gpr() { r.size() >= 4 } else { plain_load(i) };
            if used.access() == OpAccess::Write && whole {
                uses.kills |= set;
            }
        }
        uses.stores = found.used_memory().iter().any(|m| {
            !matches!(
                m.access(),
                OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            )
        });
        uses.reads |= flags(i.rflags_read());
        uses.kills |= flags(i.rflags_modified());
        uses.writes |= flags(i.rflags_modified());
        uses
    }
}

fn plain_load(i: &Instruction) -> bool {
    use iced_x86::Code as C;
    i.op_count() == 2
        && i.op1_kind() == iced_x86::OpKind::Memory
        && matches!(
            i.code(),
            C::Movsd_xmm_xmmm64 | C::Movaps_xmm_xmmm128 | C::Movups_xmm_xmmm128
        )
}

/// What is needed behind each instruction.
pub struct Flow {
    pub uses: Vec<Uses>,
    pub after: Vec<Set>,
    /// Whether a jump leads here.
    pub entered: Vec<bool>,
}

impl Flow {
    /// `given` says of a call that keeps every register how many words it is given.
    pub fn of(all: &[Instruction], given: &dyn Fn(&Instruction) -> Option<usize>) -> Flow {
        let mut info = InstructionInfoFactory::new();
        let uses: Vec<Uses> = all.iter().map(|i| Uses::of(i, &mut info, given)).collect();
        let place: HashMap<u64, usize> = all.iter().enumerate().map(|(k, i)| (i.ip(), k)).collect();
        let mut entered = vec![false; all.len()];
        let to: Vec<Option<usize>> = all
            .iter()
            .map(|i| {
                let jump = crate::shrink::is_jump(i);
                jump.then(|| place.get(&i.near_branch_target()).copied()).flatten()
            })
            .collect();
        for k in to.iter().flatten() {
            entered[*k] = true;
        }
        let (mut before, mut after) = (vec![0; all.len()], vec![0; all.len()]);
        let mut changed = true;
        while changed {
            changed = false;
            for k in (0..all.len()).rev() {
                let mut out = to[k].map_or(0, |to| before[to]);
                if !crate::shrink::goes_nowhere_on(&all[k]) && k + 1 < all.len() {
                    out |= before[k + 1];
                }
                let needed = out & !uses[k].kills | uses[k].reads;
                changed |= needed != before[k] || out != after[k];
                (before[k], after[k]) = (needed, out);
            }
        }
        Flow { uses, after, entered }
    }

    /// Whether nobody asks for any of these behind an instruction.
    pub fn dead(&self, k: usize, set: Set) -> bool {
        self.after[k] & set == 0
    }
}
