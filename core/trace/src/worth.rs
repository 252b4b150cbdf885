//! Whether a compiled loop pays, from what was measured.
//!
//! While a loop is interpreted, the time from one back edge to the next is noted: its [`Pace`]. Once it is compiled, some of its
//! entries are timed, and each is written down beside what the interpreter would have taken for as many passes: its
//! [`Account`]. A loop that spends more than it is worth goes back to the interpreter, whatever the reason: entries too short,
//! exits too many, or passes that are slower as machine code, because all they do is call the runtime.
//!
//! Invariants
//!
//! - Without a pace (few iterations, or another loop inside that is counted too) nothing is judged.
//! - What is judged are sums over all entries, so a loop that paid for long is not given up for a few short entries, and a loop
//!   that does not pay loses no more than a quarter of a millisecond: less says little, for entries may become longer once the
//!   tree has grown, as those of the loop around a sieve's do.

/// Passes remembered.
const SAMPLES: usize = 16;
/// Entries timed one by one; later only every so many, and fewer when many were.
const EACH: u32 = 64;
const STRIDE: u32 = 16;
const WIDE: u32 = 64;
/// Entries timed from which a loop must save something.
const MANY: u32 = 256;
/// Time spent after which entries are judged, in ns.
const ENOUGH_NS: u64 = 3_000_000;
/// Time lost after which they are judged, however little was spent.
const LOST_NS: u64 = 250_000;
/// Sums are halved when this much was spent, so that what comes later still counts.
const FULL_NS: u64 = 1 << 40;

/// How long the interpreter takes for a pass: the middle of the last few.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last: [u32; SAMPLES],
    seen: u32,
}

impl Pace {
    /// Notes one pass, in ns.
    pub fn add(&mut self, ns: u32) {
        self.last[self.seen as usize % SAMPLES] = ns;
        self.seen = self.seen.saturating_add(1);
    }

    /// ns of a usual pass, once enough were seen.
    pub fn usual(&self) -> Option<u32> {
        if (self.seen as usize) < SAMPLES {
            return None;
        }
        let mut sorted = self.last;
        sorted.sort_unstable();
        Some(sorted[SAMPLES / 2])
    }
}

/// What entries took and what the interpreter would have taken for their passes, in ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    entries: u32,
    timed: u32,
    spent: u64,
    worth: u64,
}

impl Account {
    /// Counts an entry; whether it is to be timed.
    #[inline]
    pub fn enters(&mut self) -> bool {
        self.entries = self.entries.wrapping_add(1);
        // Strides are powers of two: nothing is divided.
        self.entries & (self.stride() - 1) == 0
    }

    #[inline]
    fn stride(&self) -> u32 {
        match self.timed {
            _ if self.early() => 1,
            0..MANY => STRIDE,
            _ => WIDE,
        }
    }

    /// Whether it is too soon to know what entries are like.
    #[inline]
    pub fn early(&self) -> bool {
        self.entries <= EACH
    }

    /// Writes down one entry that was timed.
    pub fn add(&mut self, spent: u64, worth: u64) {
        let stands_for = u64::from(self.stride());
        self.timed = self.timed.saturating_add(1);
        self.spent += spent.saturating_mul(stands_for);
        self.worth += worth.saturating_mul(stands_for);
        if (self.spent | self.worth) >= FULL_NS {
            (self.spent, self.worth) = (self.spent >> 1, self.worth >> 1);
        }
    }

    /// Whether the entries so far paid; none as long as too few were timed. What is timed is never exact: few entries get the
    /// benefit of the doubt, many must show that they save something.
    #[inline]
    pub fn pays(&self) -> Option<bool> {
        let percent = match self.timed {
            0 | 1 => return None,
            _ if self.spent < ENOUGH_NS && self.spent.saturating_sub(self.worth) < LOST_NS => return None,
            2..EACH => 105,
            EACH..MANY => 100,
            _ => 90,
        };
        Some(self.spent * 100 <= self.worth * percent)
    }

    /// ns spent and saved by entries so far.
    pub fn sums(&self) -> (u64, u64) {
        (self.spent, self.worth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_pass_is_not_the_usual_one() {
        let mut pace = Pace::default();
        for _ in 0..15 {
            pace.add(50);
        }
        assert_eq!(pace.usual(), None);
        pace.add(1_000_000);
        assert_eq!(pace.usual(), Some(50));
        for _ in 0..16 {
            pace.add(70);
        }
        assert_eq!(pace.usual(), Some(70), "the last ones count");
    }

    fn account(entries: u32, spent: u64, worth: u64) -> Account {
        let mut a = Account::default();
        for _ in 0..entries {
            if a.enters() {
                a.add(spent, worth);
            }
        }
        a
    }

    #[test]
    fn short_entries_are_given_up_when_they_have_lost_something() {
        assert_eq!(account(1_000, 200, 100).pays(), None, "0.1 ms is not enough to say");
        assert_eq!(account(3_000, 200, 100).pays(), Some(false));
        assert_eq!(account(10_000, 99, 100).pays(), None, "too close to say");
        assert_eq!(account(50_000, 99, 100).pays(), Some(false), "but not after this many");
        assert_eq!(account(50_000, 85, 100).pays(), Some(true));
    }

    #[test]
    fn entries_that_become_longer_have_the_time_to() {
        let mut a = account(150, 400, 250);
        assert_eq!(a.pays(), None);
        for _ in 0..500 {
            if a.enters() {
                a.add(6_000, 60_000);
            }
        }
        assert_eq!(a.pays(), Some(true));
    }

    #[test]
    fn long_entries_are_judged_by_what_they_took() {
        assert_eq!(
            account(1, 50_000_000, 10_000_000).pays(),
            None,
            "one may have been unlucky"
        );
        assert_eq!(account(2, 50_000_000, 10_000_000).pays(), Some(false));
        assert_eq!(account(2, 50_000_000, 100_000_000).pays(), Some(true));
    }

    #[test]
    fn what_was_gained_pays_for_short_entries_until_it_is_used_up() {
        let mut a = account(4, 1_000_000, 10_000_000);
        let mut short = 0;
        while a.pays() != Some(false) {
            if a.enters() {
                a.add(200, 100);
            }
            short += 1;
        }
        // 32 ms saved beside the tenth that must be, 110 ns lost by each entry.
        assert!((250_000..320_000).contains(&short), "{short}");
    }

    #[test]
    fn sums_stay_in_bounds() {
        let a = account(100_000, 1 << 38, 1 << 39);
        assert_eq!(a.pays(), Some(true));
        assert!(a.spent < 1 << 46);
    }
}
