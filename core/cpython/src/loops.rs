//! One loop head of one code object: where it stands, its machine code, and whether that pays.

use crate::clock::{Took, Watch, worth_ns};
use crate::run::{Buffer, Compiled};
use larder_jit::lower::ITERATIONS;
use larder_trace::Tree;
use larder_trace::budget::{self, Rate};
use larder_trace::overhead::bytecodes;
use larder_trace::policy::Head;
use larder_trace::worth::{Account, Pace};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Entries refused by its checks after which a loop that is seldom entered is left alone.
const REFUSED_WINDOW: u16 = 256;
/// Processor time for recording and compiling after which a tree grows only if its machine code has saved half of that, ns.
const DOUBTS_NS: u64 = 10_000_000;
/// Passes an entry has, if it is not entering and leaving that takes the time.
const LONG: u32 = 40;

/// Timed entries after a long one that may be long too.
const LONG_AGAIN: u8 = 64;

/// How often any loop's tree was put in place, settled or went. Code of the program that runs in the middle of ours (a finalizer
/// when a trace is left, a signal's handler while one is recorded) may do all of that to the loop in hand.
static CHANGES: AtomicUsize = AtomicUsize::new(0);

/// Notes that a tree was put in place, settled or went.
pub fn changed() {
    CHANGES.fetch_add(1, Ordering::Relaxed);
}

/// Says whether [`changed`] was called since the last time: another number.
pub fn changes() -> usize {
    CHANGES.load(Ordering::Relaxed)
}

/// One loop head of one code object.
pub struct Loop {
    pub header: u32,
    pub head: Head,
    /// Index into [`Engine::rows`].
    pub row: Option<usize>,
    /// Its row was forgotten: the next back edge gives it another.
    pub unlisted: bool,
    pub compiled: Option<Box<Compiled>>,
    /// Compiled since the last tick.
    pub grown: bool,
    /// Times it was recorded anew because an exit became hot after it had settled.
    pub reopened: u8,
    /// Times it was discarded because something died that it was compiled for.
    pub lost: u8,
    /// How long an interpreted pass takes, and what entries have cost and saved since it was compiled last.
    pub pace: Pace,
    pub account: Account,
    /// Timed entries to come that may be long ones.
    long: u8,
    /// Processor time its recording and compiling took, and what its machine code saved before it was compiled last, ns.
    pub compile_ns: u64,
    saved_ns: u64,
    /// What the interpreter would have taken for what ran natively before it was compiled last, ns.
    worth_ns: u64,
    /// What was compiled in all, in work ([`budget::work`]), and at first; and what a compilation that was put off would have been.
    compiled_work: u64,
    first_work: u64,
    put_off: u64,
    /// ns of a usual pass when it was compiled; 0 if that is not known.
    pub usual: u32,
    /// Bytecodes of the root trace, and what each side trace adds to them where it begins.
    root: u32,
    sides: Box<[i32]>,
}

impl Loop {
    pub fn new(header: u32, row: Option<usize>) -> Loop {
        Loop {
            header,
            head: Head::NEW,
            row,
            unlisted: false,
            compiled: None,
            grown: false,
            reopened: 0,
            lost: 0,
            pace: Pace::default(),
            account: Account::default(),
            long: 0,
            compile_ns: 0,
            saved_ns: 0,
            worth_ns: 0,
            compiled_work: 0,
            first_work: 0,
            put_off: 0,
            usual: 0,
            root: 0,
            sides: Box::default(),
        }
    }

    /// Forgets all but where it is.
    pub fn forget(&mut self) {
        *self = Loop::new(self.header, None);
        self.unlisted = true;
    }

    /// Takes in what was compiled.
    pub fn install(&mut self, compiled: Box<Compiled>) {
        if let Some(growth) = &compiled.growth {
            let traces = &growth.tree.traces;
            self.root = traces.first().map_or(0, |t| t.bytecodes);
            let of = |t: &larder_trace::Trace| {
                let skipped = t.from.map_or(0, |e| missed(&growth.tree, e.at()));
                t.bytecodes as i32 - skipped as i32
            };
            self.sides = traces.iter().skip(1).map(of).collect();
        }
        changed();
        self.saved_ns = self.saved();
        self.worth_ns += self.account.sums().1;
        (self.compiled, self.grown, self.account) = (Some(compiled), true, Account::default());
        self.usual = self.pace.usual().unwrap_or(0);
    }

    /// An entry begins; it is timed if it has to be.
    #[inline]
    pub fn begin(&mut self) -> Option<Watch> {
        self.account
            .enters()
            .then(|| Watch::start(self.long > 0 || self.account.early()))
    }

    /// An entry that was timed has ended; what it cost before it began, and what it is worth, in ns.
    pub fn end(&mut self, watch: Watch, before: u64, worth: u64) {
        let took = watch.stop(worth);
        self.long = match took {
            Took::Short(_) => self.long.saturating_sub(1),
            _ => LONG_AGAIN,
        };
        if let Took::Short(ns) | Took::Long(ns) = took {
            self.account.add(ns + before, worth);
        }
    }

    /// What the interpreter would have taken for the entry that ended at this exit, in ns.
    ///
    /// # Safety
    /// The buffer is that of an entry that has ended, and these words of it count the side traces that were begun.
    pub unsafe fn worth(&self, buffer: &Buffer, counters: Range<usize>, exit: usize) -> u64 {
        // SAFETY: both were set before the code ran.
        let (passes, beside) = unsafe {
            let begun = buffer[counters].iter().zip(&self.sides);
            let beside = begun.map(|(n, bytecodes)| (n.assume_init() as i64).saturating_mul(i64::from(*bytecodes)));
            (
                buffer[ITERATIONS].assume_init() as i64,
                beside.fold(0, i64::saturating_add),
            )
        };
        let growth = self.compiled.as_ref().and_then(|c| c.growth.as_ref());
        // The last pass ended somewhere on its way.
        let last = growth
            .filter(|g| exit < g.tree.exits.len())
            .map_or(self.root / 2, |g| missed(&g.tree, exit));
        let run = passes.saturating_mul(i64::from(self.root)).saturating_add(beside) - i64::from(last);
        worth_ns(self.usual, self.root, run.max(0) as u64)
    }

    /// What its machine code has saved, ns.
    fn saved(&self) -> u64 {
        let (spent, worth) = self.account.sums();
        self.saved_ns + worth.saturating_sub(spent)
    }

    /// Whether so much work may be compiled; what may not is put off until the loop has earned it. Without a rate nothing is
    /// timed.
    pub fn affords(&mut self, work: u64, rate: Option<Rate>) -> bool {
        let may = match rate {
            Some(rate) => {
                let worth = self.worth_ns + self.account.sums().1;
                budget::allows(self.compile_ns, rate.of(work), budget::FREE_NS, worth)
            }
            None => budget::allows(self.compiled_work, work, budget::FREE_WORK, 0),
        };
        self.put_off = if may { 0 } else { work };
        may
    }

    /// Whether compiling it has taken much more than its machine code has saved.
    pub fn doubtful(&self) -> bool {
        self.compile_ns >= DOUBTS_NS && self.compile_ns / 2 >= self.saved()
    }

    /// Whether its tree, of so much work, may grow: every growth compiles all of it, which has to be earned.
    pub fn may_grow(&mut self, work: u64, rate: Option<Rate>) -> bool {
        !(rate.is_some() && self.doubtful()) && self.affords(work.max(self.put_off), rate)
    }

    /// Whether it may be recorded, for the first time or again.
    pub fn may_begin(&mut self, rate: Option<Rate>) -> bool {
        self.first_work == 0 || self.affords(self.first_work, rate)
    }

    /// So much work was compiled.
    pub fn worked(&mut self, work: u64) {
        self.compiled_work += work;
        if self.first_work == 0 {
            self.first_work = work;
        }
    }

    /// Why it does not pay.
    pub fn why_not(&self) -> &'static str {
        let long = self.compiled.as_ref().is_some_and(|c| c.passed / LONG > c.entries);
        if long {
            "no faster than the interpreter"
        } else {
            "leaves too soon to pay"
        }
    }

    /// Whether entering its machine code pays, as far as is known.
    #[inline(always)]
    pub fn pays(&self) -> bool {
        self.compiled.as_ref().is_none_or(|c| {
            // A tree that has just grown is judged anew.
            let measured = if self.usual == 0 { None } else { self.account.pays() };
            measured.unwrap_or_else(|| c.pays()) && (c.refused < REFUSED_WINDOW || u32::from(c.refused) / 4 < c.entries)
        })
    }

    /// Whether side traces wait to be compiled soon, and may take in what is around the loop.
    pub fn learns(&self) -> bool {
        let growth = self.compiled.as_ref().and_then(|c| c.growth.as_ref());
        self.put_off == 0 && growth.is_some_and(|g| g.ahead.is_some())
    }
}

/// The bytecodes of its trace that lie behind an exit.
fn missed(tree: &Tree, exit: usize) -> u32 {
    let all = tree
        .traces
        .get(tree.exits[exit].owner as usize)
        .map_or(0, |t| t.bytecodes);
    let before = tree.walked_to.get(exit).map_or(0, bytecodes);
    all.saturating_sub(before)
}
