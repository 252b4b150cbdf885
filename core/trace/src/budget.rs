//! What compiling a loop may cost.
//!
//! Every growth of a tree compiles all of it, so a tree that grows often, or is large, can take longer to compile than its loop will
//! ever run. What has been spent on a loop and what the next compilation will take stay, together, within what is free or
//! within a share of what the interpreter would have needed for the passes that ran natively. So compiling is paid for by
//! time that has already been saved, and the more a tree has cost the longer it waits before it is compiled again.
//!
//! Invariants
//!
//! - A loop costs its program no more than what is free and a [`SHARE`]th of what the loop takes plain.
//! - Where nothing is timed the same holds of operations, so a program is compiled the same way every time.

use crate::Tree;

/// Processor time for recording and compiling that a loop need not earn, ns.
pub const FREE_NS: u64 = 50_000_000;
/// Of the interpreter's time for what ran natively, so much may be spent: one in this many.
pub const SHARE: u64 = 4;
/// Work that is free where nothing is timed.
pub const FREE_WORK: u64 = 20_000;
/// What a unit of work is thought to take before any was measured, ns, and what is believed of a measurement.
const RATE_NS: u64 = 25_000;
const RATES_NS: std::ops::RangeInclusive<u64> = 5_000..=250_000;
/// Compilations of less work say little: they find the caches cold.
const TELLING: u64 = 100;

/// The work of compiling a tree: what its machine code grows with.
pub fn work(tree: &Tree) -> u64 {
    let bodies: usize = tree.traces.iter().map(|t| t.body.len()).sum();
    (bodies + tree.exits.len()) as u64
}

/// Whether the next compilation may be, after what was spent: it is free, or the loop has earned it.
pub fn allows(spent: u64, next: u64, free: u64, worth: u64) -> bool {
    let all = spent.saturating_add(next);
    all <= free || all <= worth / SHARE
}

/// What a unit of work takes on this machine, as the last compilations told.
#[derive(Clone, Copy, Debug)]
pub struct Rate(u64);

impl Default for Rate {
    fn default() -> Rate {
        Rate(RATE_NS)
    }
}

impl Rate {
    /// So much work took so long.
    pub fn learn(&mut self, work: u64, ns: u64) {
        if work >= TELLING {
            let now = (ns / work).clamp(*RATES_NS.start(), *RATES_NS.end());
            self.0 = (3 * self.0 + now) / 4;
        }
    }

    /// ns that so much work will take.
    pub fn of(self, work: u64) -> u64 {
        work.saturating_mul(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compilations of a tree that takes `each` ns and asks for the next at once, in a loop that runs for `ns`, and what all took.
    fn grown(each: u64, ns: u64) -> (u32, u64) {
        let (mut times, mut spent) = (0, 0);
        for worth in (0..ns).step_by(1_000_000) {
            while allows(spent, each, FREE_NS, worth) {
                (times, spent) = (times + 1, spent + each);
            }
        }
        (times, spent)
    }

    #[test]
    fn what_is_free_is_spent_at_once_and_no_more() {
        assert_eq!(grown(10_000_000, 1_000_000), (5, FREE_NS));
        assert_eq!(
            grown(FREE_NS + 1, 1_000_000),
            (0, 0),
            "too large for a loop that has not run"
        );
        assert_eq!(grown(FREE_NS + 1, 300_000_000).0, 1, "but not for one that has");
    }

    #[test]
    fn a_loop_that_asks_for_ever_pays_a_share_of_its_time() {
        for each in [1_000_000, 30_000_000, 400_000_000, u64::MAX] {
            for run in [0, 100_000_000, 1_000_000_000, 60_000_000_000] {
                let spent = grown(each, run).1;
                assert!(spent <= FREE_NS.max(run / SHARE), "{each} {run}: {spent}");
            }
        }
        assert_eq!(grown(30_000_000, 60_000_000_000).0, 499, "and gets what it has earned");
    }

    #[test]
    fn one_slow_compilation_is_not_the_rule() {
        let mut rate = Rate::default();
        rate.learn(10, 1_000_000_000);
        assert_eq!(rate.of(1), RATE_NS, "too small to say anything");
        rate.learn(1_000, 1_000_000_000);
        assert_eq!(
            rate.of(4),
            3 * RATE_NS + RATES_NS.end(),
            "a page fault or two are believed in part"
        );
        for _ in 0..40 {
            rate.learn(1_000, 10_000_000);
        }
        assert!((9_990..=10_010).contains(&rate.of(1)));
    }
}
