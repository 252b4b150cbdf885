//! Timing: the interpreter's passes of a loop, between two calls of the hook, and entries into machine code.
//!
//! Invariants
//!
//! - A pass is noted only if the hook was called for nothing else meanwhile, and for the same frame.
//! - A long entry is told by the thread's processor time, since other programs may have run meanwhile; a short one by the
//!   wall clock, which is read in a fraction of the time: the other takes a system call, more than many an entry.
//! - Memory the program touches first, it would have touched in the interpreter too: what the system takes for it is not the
//!   machine code's. A list of 50,000 new floats takes 400 pages, which is more than making them.

use larder_trace::Obj;
use larder_trace::worth::Pace;
use std::sync::OnceLock;
use std::time::Instant;

/// Entries longer than this are told by processor time, ns.
const SHORT_NS: u64 = 20_000;
/// What the interpreter takes to call the hook, as long as it was not measured, ns; and what the hook takes to find the loop.
const CALL_NS: u32 = 50;
const FIND_NS: u64 = 15;
/// Pages touched to see what the system takes for one, and what is believed of that, ns.
const PAGES: usize = 32;
const PAGE_NS: std::ops::RangeInclusive<u64> = 50..=5000;
/// A pass is not taken for shorter than this for each bytecode it has, in tenths of ns.
const BYTECODE_NS_TENTHS: u64 = 11;

/// A back edge: its code, the loop's head, and the frame.
pub type Edge = (Obj, u32, usize);

/// When the hook was left, and after which back edge.
pub struct Clock {
    last: Option<(Edge, Instant)>,
    /// What the interpreter takes to call the hook, ns; this much of the time between two calls is not the program's.
    pub call_ns: u32,
    /// Passes of interpreted loops are timed although nothing is recorded.
    pub gauging: bool,
}

impl Clock {
    pub fn new() -> Clock {
        Clock {
            last: None,
            call_ns: CALL_NS,
            gauging: false,
        }
    }

    /// What an entry costs before it begins, ns.
    pub fn entry_ns(&self) -> u64 {
        u64::from(self.call_ns) + FIND_NS
    }

    /// The hook is called for something else.
    #[inline]
    pub fn disturb(&mut self) {
        self.last = None;
    }

    /// The hook is called at the back edge of a loop that is interpreted.
    pub fn arrive(&mut self, edge: Edge, pace: &mut Pace) {
        if let Some((before, left)) = self.last.take()
            && before == edge
        {
            let took = u32::try_from(left.elapsed().as_nanos()).unwrap_or(u32::MAX);
            pace.add(took.saturating_sub(if self.gauging { 0 } else { self.call_ns }));
        }
    }

    /// The hook is left after it.
    pub fn leave(&mut self, edge: Edge) {
        self.last = Some((edge, Instant::now()));
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// One entry being timed.
pub struct Watch {
    wall: Instant,
    /// Processor time and pages so far.
    processor: Option<(u64, u64)>,
}

/// What a watch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    Short(u64),
    Long(u64),
    /// Long, and processor time was not looked at.
    Unknown,
}

impl Watch {
    /// `long`: the entry may be a long one.
    pub fn start(long: bool) -> Watch {
        Watch {
            processor: long.then(|| (processor_ns(), pages())),
            wall: Instant::now(),
        }
    }

    /// ns since the start. An entry is not believed to have taken many times what it is worth in so short a time: the thread
    /// was not running.
    pub fn stop(self, worth: u64) -> Took {
        let wall = self.wall.elapsed().as_nanos() as u64;
        match self.processor {
            _ if wall < SHORT_NS => Took::Short(wall.min(4 * worth + 1000)),
            Some((before, had)) => {
                let (ns, new) = (processor_ns().saturating_sub(before), pages().saturating_sub(had));
                Took::Long(if new == 0 { ns } else { without(ns, new, page_ns()) })
            }
            None => Took::Unknown,
        }
    }
}

/// What the interpreter would have taken for so many bytecodes of a loop, by the pace of one with so many in a pass.
pub fn worth_ns(pace_ns: u32, pass: u32, bytecodes: u64) -> u64 {
    let pass = u64::from(pass.max(1));
    let pass_tenths = (u64::from(pace_ns) * 10).max(pass * BYTECODE_NS_TENTHS);
    bytecodes.saturating_mul(pass_tenths) / pass / 10
}

/// Processor time of this thread.
pub fn processor_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock every Linux has, and a struct to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// What is left of so many ns without those of new pages.
fn without(ns: u64, pages: u64, page_ns: u64) -> u64 {
    ns.saturating_sub(pages.saturating_mul(page_ns))
}

/// What this thread used so far.
fn used() -> libc::rusage {
    // SAFETY: a struct of numbers.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a question every Linux answers, and a struct to write to.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut used) };
    used
}

/// Pages this thread was given because it touched them first.
fn pages() -> u64 {
    used().ru_minflt as u64
}

/// What the system takes to give this thread a page, ns.
fn page_ns() -> u64 {
    static NS: OnceLock<u64> = OnceLock::new();
    *NS.get_or_init(|| touch(PAGES).1.clamp(*PAGE_NS.start(), *PAGE_NS.end()))
}

/// Touches so many new pages: how many there were, and what each took, ns.
fn touch(count: usize) -> (usize, u64) {
    const PAGE: usize = 4096;
    let Ok(mut map) = memmap2::MmapMut::map_anon(count * PAGE) else {
        return (0, 0);
    };
    let before = processor_ns();
    map.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    std::hint::black_box(&map);
    (count, processor_ns().saturating_sub(before) / count.max(1) as u64)
}

/// How often this thread waited for something so far.
pub fn waits() -> i64 {
    used().ru_nvcsw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_noted_only_between_two_calls_for_the_same_loop_and_frame() {
        let (mut clock, mut pace) = (Clock::new(), Pace::default());
        let edge = (Obj(8), 4, 16);
        for _ in 0..16 {
            clock.leave(edge);
            clock.arrive((Obj(8), 4, 24), &mut pace);
            clock.leave(edge);
            clock.disturb();
            clock.arrive(edge, &mut pace);
        }
        assert_eq!(pace.usual(), None);
        for _ in 0..16 {
            clock.leave(edge);
            clock.arrive(edge, &mut pace);
        }
        assert!(pace.usual().is_some());
    }

    #[test]
    fn a_long_entry_is_told_by_processor_time_or_not_at_all() {
        let long = std::time::Duration::from_millis(5);
        let (told, not) = (Watch::start(true), Watch::start(false));
        std::thread::sleep(long);
        assert_eq!(not.stop(100), Took::Unknown);
        let Took::Long(ns) = told.stop(100) else { panic!("5 ms") };
        assert!(ns < long.as_nanos() as u64, "the thread slept: {ns}");
    }

    #[test]
    fn new_pages_are_not_what_an_entry_took() {
        let had = pages();
        assert_eq!(touch(64).0, 64);
        assert!(pages() - had >= 64, "each was counted");
        assert_eq!(without(900_000, 400, 1600), 260_000);
        assert_eq!(without(100_000, 400, 1600), 0);
        assert!(PAGE_NS.contains(&page_ns()));
    }

    #[test]
    fn bytecodes_are_worth_what_those_of_a_usual_pass_take() {
        assert_eq!(worth_ns(100, 10, 205), 2050);
        assert_eq!(worth_ns(0, 10, 100), 110, "no bytecode takes nothing");
    }
}
