//! For tests: exits taken for no reason.
//!
//! An operation that may leave does so before it has changed anything, so leaving there is right at any time: the
//! interpreter goes on from the exit's snapshot. A test that wants to see every snapshot at work has the compiler put a
//! countdown before each such operation; when it reaches zero, the trace leaves as if the check had failed, once.
//!
//! Invariants
//!
//! - A forced exit never begins a side trace, which may rely on why its exit was taken.
//! - It leads to where the trace itself goes on ([`larder_trace::ir::Exit::onward`]), not to the other side of a branch.

use super::*;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// Set in the number of an exit that was forced; word [`SCRATCH`] has the unit it leads to.
pub const FORCED: u64 = 1 << 30;
/// Operations with a countdown; beyond these, the first ones are used again.
const PLACES: usize = 1 << 20;

pub(super) struct Force {
    /// Machine code refers to it for as long as it lives.
    counts: &'static [AtomicI32],
    pub(super) after: u32,
    next: usize,
}

impl Compiler {
    /// Has code compiled from now on leave at each operation that can, once: within the first `after` times it is reached,
    /// which differs from one to the next. 0: no longer.
    pub fn force(&mut self, after: u32) {
        let make = || Box::leak((0..PLACES).map(|_| AtomicI32::new(0)).collect::<Box<[_]>>());
        let force = self.force.get_or_insert_with(|| Force {
            counts: make(),
            after,
            next: 0,
        });
        force.after = after;
    }

    /// Of the operations compiled so: how many there are, were reached, and left.
    pub fn forced(&self) -> [usize; 3] {
        let Some(force) = &self.force else { return [0; 3] };
        let made = force.next.min(PLACES);
        let count = |wanted: &dyn Fn(usize, i32) -> bool| {
            let now = force.counts[..made].iter().map(|c| c.load(Relaxed)).enumerate();
            now.filter(|(at, c)| wanted(*at, *c)).count()
        };
        [
            made,
            count(&|at, c| c != Force::start(at, force.after)),
            count(&|_, c| c <= 0),
        ]
    }
}

impl Force {
    fn start(at: usize, after: u32) -> i32 {
        let spread = (at as u32).wrapping_mul(2_654_435_761) >> 16;
        (1 + spread % after.max(1)) as i32
    }

    /// The countdown for one more operation.
    fn place(&mut self) -> usize {
        let at = self.next % PLACES;
        self.next += 1;
        self.counts[at].store(Force::start(at, self.after), Relaxed);
        self.counts[at].as_ptr() as usize
    }
}

impl Lower<'_, '_> {
    /// Puts a countdown here; at its end the trace leaves by this exit.
    pub(super) fn countdown(&mut self, exit: ExitId) {
        let Some(force) = self.force.as_mut().filter(|f| f.after > 0 && exit != ExitId::NONE) else {
            return;
        };
        let at = force.place() as i64;
        let at = self.b.ins().iconst(I64, at);
        let count = self.b.ins().load(I32, MEM, at, 0);
        let count = self.b.ins().iadd_imm_s(count, -1);
        self.b.ins().store(MEM, count, at, 0);
        // What is before the innermost loop leaves by the head in any case.
        let out = self.exit_block(exit);
        let out = match self.before {
            Some(_) => out,
            None => match self.forced.get(&exit.0) {
                Some(block) => *block,
                None => {
                    let block = self.b.create_block();
                    self.forced.insert(exit.0, block);
                    block
                }
            },
        };
        let ends = self.b.ins().icmp_imm_s(IntCC::Equal, count, 0);
        let on = self.b.create_block();
        self.b.ins().brif(ends, out, &[], on, &[]);
        self.b.switch_to_block(on);
    }

    /// What a forced exit does before it writes what the exit writes: its number.
    pub(super) fn leave_forced(&mut self, exit: ExitId, block: Block) -> Value {
        self.b.switch_to_block(block);
        self.b.set_cold_block(block);
        let onward = i64::from(self.tree.exits[exit.at()].onward);
        let onward = self.b.ins().iconst(I64, onward);
        self.b.ins().store(MEM, onward, self.buffer, word(SCRATCH));
        self.b.ins().iconst(I64, (u64::from(exit.0) | FORCED) as i64)
    }
}
