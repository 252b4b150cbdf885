//! The active trace: a thread that watches reference counts, frames and accessed bits while a cell runs, without the
//! interpreter's lock.
//!
//! Time goes in bursts: a look every few microseconds for some tens of them, then nothing for a millisecond. Within a burst
//! the beginning of an operation is seen as a count that rises or an address new on a stack, so operations are counted
//! however short or long each is; the share of looks that find a variable in use is the time it was in use. Accessed bits
//! come in epochs: `clear_refs`, wait, smaps `Referenced` per mapping. Both slow down to stay under the share of a core
//! they are given.
//!
//! Invariants
//!
//! - Memory of the interpreter is read through [`ReadPairs`] and [`Frames`], which answer "gone" where there is none. Nothing
//!   read is ever followed further here: addresses are compared with those known, and that is all.
//! - Of a burst only what was seen between its first and last look counts as observed time.

mod epochs;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use epochs::Epochs;
pub use epochs::{Mapping, referenced};

/// Two words at an address, or `None` when they cannot be read.
pub type ReadPairs = fn(&[usize], &mut Vec<Option<[u64; 2]>>);

/// Looks at what running Python frames hold.
pub trait Frames: Send {
    /// Appends the addresses that came onto a stack or into a local since the last look.
    fn look(&mut self, fresh: &mut Vec<usize>);
    /// Between bursts: threads may have come and gone.
    fn refresh(&mut self);
    /// What is there now counts as having been there.
    fn forget(&mut self);
}

/// Which objects are looked for in frames.
pub trait Known: Send + Sync {
    /// The object's number, `None` for any other address.
    fn find(&self, address: u64) -> Option<usize>;
    /// Numbers are smaller than this.
    fn count(&self) -> usize;
}

/// No object at all.
impl Known for () {
    fn find(&self, _: u64) -> Option<usize> {
        None
    }
    fn count(&self) -> usize {
        0
    }
}

pub struct Plan {
    /// Variables' own objects, whose first word is a reference count.
    pub roots: Vec<usize>,
    /// Single objects, looked for in frames only.
    pub tracked: Arc<dyn Known>,
    /// The frames' door; `None` where frames are not known.
    pub frames: Option<Box<dyn Frames>>,
    /// Buffers, as page-aligned ranges that are mappings of their own.
    pub ranges: Vec<(u64, u64)>,
    /// At least this long between bursts.
    pub interval: Duration,
    /// How long a burst lasts.
    pub burst: Duration,
    pub epoch: Duration,
    /// Pages found accessed in the last epoch of the run before, and running time since the bits were cleared; `None`: none was.
    pub before: Option<(u64, f64)>,
    /// Share of one core, `0..1`.
    pub cpu_max: f64,
    /// The thread whose core the sampler keeps away from: beside it, it would only ever see it stand still.
    pub beside: Option<i32>,
}

/// What a run of the sampler saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Per root: looks in which its count stood above its rest.
    pub touches: Vec<u64>,
    /// Per root: looks taken.
    pub looks: Vec<u64>,
    /// Per root: operations seen to begin within bursts, and the seconds in which they could be.
    pub starts: Vec<u64>,
    pub start_seconds: Vec<f64>,
    /// Per root: operations known to have begun at all, between bursts too; a lower bound.
    pub begun: Vec<u64>,
    /// Per root: bursts about it, and those whose first look found it in use.
    pub root_bursts: Vec<u64>,
    pub firsts: Vec<u64>,
    /// Per tracked object: times it came onto a stack.
    pub frame_touches: Vec<u32>,
    /// Numbers of those that came onto one at all.
    pub frame_touched: Vec<u32>,
    /// Looks at frames, and those that found a tracked object.
    pub frame_looks: u64,
    pub frame_hits: u64,
    /// Per range: bytes accessed, summed over epochs.
    pub accessed: Vec<u64>,
    /// Per range: epochs with any access.
    pub hot_epochs: Vec<u64>,
    pub epochs: u64,
    /// Pages of any size accessed in the last epoch, and running time since the bits were cleared, for the next run.
    pub touched_pages: u64,
    pub since_clear_s: f64,
    pub bursts: u64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Why accessed bits were not read, if so.
    pub refused: Option<String>,
}

/// What the sampling thread is told.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    pause: AtomicBool,
    /// The thread's answer: a burst is under way.
    busy: AtomicBool,
    /// The thread's answer: accessed bits have been read for the last time.
    read: AtomicBool,
    /// Too late to read them: they would be of what came after.
    late: AtomicBool,
}

impl Told {
    /// Ends the burst under way, and lets none begin.
    fn quiet(&self) {
        self.pause.store(true, Ordering::SeqCst);
        let asked = Instant::now();
        while self.busy.load(Ordering::SeqCst) && asked.elapsed() < QUIET_AFTER {
            std::thread::yield_now();
        }
    }
}

pub struct Sampler {
    told: Arc<Told>,
    thread: Option<JoinHandle<Seen>>,
}

/// A count that has not moved for so long is the new rest.
const REST_AFTER: Duration = Duration::from_secs(1);
/// Roots looked at in one burst; more take turns.
const ROOTS_PER_BURST: usize = 96;
/// Looks at frames for one look at counts, which costs about ten times as much.
const FRAMES_PER_COUNT: usize = 8;
/// Share of the allowance that is left unused.
const SPARE_SHARE: f64 = 0.05;
/// How long a pause waits for the burst under way: one that lasts longer stands still, for want of a core.
const QUIET_AFTER: Duration = Duration::from_millis(5);
/// How long the end of a cell waits for the last reading of accessed bits, where it does not wait for all of it.
const READ_AFTER: Duration = Duration::from_millis(20);
const REFRESH_AFTER: Duration = Duration::from_millis(20);

impl Sampler {
    /// # Errors
    /// When no thread can be started.
    pub fn start(plan: Plan, read: ReadPairs) -> io::Result<Sampler> {
        let told = Arc::new(Told::default());
        let hears = Arc::clone(&told);
        let thread = std::thread::Builder::new()
            .name("larder-heat".into())
            .spawn(move || run(plan, read, &hears))?;
        Ok(Sampler {
            told,
            thread: Some(thread),
        })
    }

    /// Tells the thread that it has seen enough, and waits until it looks no more; `stop` takes what it saw.
    pub fn halt(&self) {
        self.told.quiet();
        self.told.stop.store(true, Ordering::SeqCst);
        let Some(thread) = &self.thread else { return };
        thread.thread().unpark();
        let asked = Instant::now();
        while !self.told.read.load(Ordering::SeqCst) && !thread.is_finished() {
            if asked.elapsed() > READ_AFTER {
                self.told.late.store(true, Ordering::SeqCst);
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Nothing is looked at until this is taken back: what the process does meanwhile is not what is sampled.
    pub fn pause(&self, on: bool) {
        if on {
            self.told.quiet();
        } else {
            self.told.pause.store(false, Ordering::SeqCst);
        }
    }

    /// Ends the thread and takes what it saw.
    pub fn stop(&mut self) -> Seen {
        self.told.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is known of one root's count.
struct Root {
    class: u64,
    last: u64,
    rest: u64,
    since: Instant,
    in_use: bool,
    gone: bool,
}

/// The reference counts of the roots, looked at in turns.
struct Counts {
    read: ReadPairs,
    /// Sorted: neighbours in memory are cheaper to read together.
    addresses: Vec<usize>,
    /// Which root of the plan each is.
    numbers: Vec<usize>,
    roots: Vec<Root>,
    pairs: Vec<Option<[u64; 2]>>,
    from: usize,
    looked: Option<Instant>,
}

impl Counts {
    fn new(plan: &[usize], read: ReadPairs) -> Counts {
        let mut numbers: Vec<usize> = (0..plan.len()).collect();
        numbers.sort_unstable_by_key(|number| plan[*number]);
        let addresses: Vec<usize> = numbers.iter().map(|number| plan[*number]).collect();
        let mut pairs = Vec::new();
        read(&addresses, &mut pairs);
        let now = Instant::now();
        let roots = pairs
            .iter()
            .map(|pair| {
                let [count, class] = pair.unwrap_or_default();
                Root {
                    class,
                    last: count,
                    rest: count,
                    since: now,
                    in_use: false,
                    gone: pair.is_none(),
                }
            })
            .collect();
        Counts {
            read,
            addresses,
            numbers,
            roots,
            pairs,
            from: 0,
            looked: None,
        }
    }

    /// The next burst is about the next roots, when there are too many for one.
    fn begin_burst(&mut self) {
        self.looked = None;
        if self.addresses.len() > ROOTS_PER_BURST {
            self.from = (self.from + ROOTS_PER_BURST) % self.addresses.len();
        }
    }

    /// A look that counts for nothing: it takes a few microseconds and brings the counts' memory near.
    fn warm(&mut self) {
        let to = (self.from + ROOTS_PER_BURST).min(self.addresses.len());
        (self.read)(&self.addresses[self.from..to], &mut self.pairs);
    }

    /// What is read once a pause is asked for counts for nothing: it may be of what comes after.
    fn look(&mut self, seen: &mut Seen, pause: &AtomicBool) {
        if self.addresses.is_empty() {
            return;
        }
        let to = (self.from + ROOTS_PER_BURST).min(self.addresses.len());
        let now = Instant::now();
        (self.read)(&self.addresses[self.from..to], &mut self.pairs);
        if pause.load(Ordering::SeqCst) {
            return;
        }
        let passed = self.looked.map(|before| (now - before).as_secs_f64());
        for (at, pair) in (self.from..to).zip(&self.pairs) {
            let (root, at) = (&mut self.roots[at], self.numbers[at]);
            // Another type at this address: the object is gone and its memory serves something else.
            let Some([count, _]) = pair.filter(|pair| !root.gone && pair[1] == root.class) else {
                root.gone = true;
                continue;
            };
            seen.looks[at] += 1;
            seen.touches[at] += u64::from(count > root.rest);
            let begins = count > root.rest && !root.in_use || count > root.last && root.in_use && passed.is_none();
            seen.begun[at] += u64::from(begins);
            match passed {
                Some(passed) => {
                    seen.starts[at] += u64::from(begins);
                    seen.start_seconds[at] += passed;
                }
                None => {
                    seen.root_bursts[at] += 1;
                    seen.firsts[at] += u64::from(count > root.rest);
                }
            }
            root.in_use = count > root.rest;
            if count != root.last {
                root.since = now;
            }
            if count < root.rest || now - root.since > REST_AFTER {
                root.rest = count; // one alias less, or one more that stays
                root.in_use = false;
            }
            root.last = count;
        }
        self.looked = Some(now);
    }
}

fn run(mut plan: Plan, read: ReadPairs, told: &Told) -> Seen {
    let roots = plan.roots.len();
    let mut seen = Seen {
        touches: vec![0; roots],
        looks: vec![0; roots],
        starts: vec![0; roots],
        start_seconds: vec![0.0; roots],
        begun: vec![0; roots],
        root_bursts: vec![0; roots],
        firsts: vec![0; roots],
        frame_touches: vec![0; plan.tracked.count()],
        accessed: vec![0; plan.ranges.len()],
        hot_epochs: vec![0; plan.ranges.len()],
        ..Seen::default()
    };
    let mut counts = Counts::new(&plan.roots, read);
    let mut frames = plan.frames.take();
    let mut fresh: Vec<usize> = Vec::new();
    let began = Instant::now();
    let cpu_began = cpu_seconds();
    let bits = !plan.ranges.is_empty();
    let bursts = roots > 0 || frames.is_some() && plan.tracked.count() > 0;
    let allowance = plan.cpu_max * (1.0 - SPARE_SHARE);
    let mut wait = plan.interval;
    let mut epochs = Epochs::new(&plan);
    let mut refreshed = Instant::now();
    let allowed = allowed_cpus();
    let mut runs = Runs::new(plan.beside);
    plan.beside.inspect(|thread| keep_away(*thread, &allowed));
    let mut cpu_last = cpu_seconds();
    let mut paused = false;
    while !told.stop.load(Ordering::Relaxed) {
        if bursts {
            std::thread::park_timeout(wait);
            if told.stop.load(Ordering::Relaxed) {
                break;
            }
            told.busy.store(true, Ordering::SeqCst);
            if told.pause.load(Ordering::SeqCst) {
                told.busy.store(false, Ordering::SeqCst);
                paused = true;
                continue;
            }
            if let Some(frames) = frames.as_deref_mut().filter(|_| paused) {
                frames.forget();
            }
            paused = false;
            burst(
                &plan,
                &mut counts,
                &mut runs,
                frames.as_deref_mut(),
                &mut fresh,
                &mut seen,
                &told.pause,
            );
            told.busy.store(false, Ordering::SeqCst);
            if refreshed.elapsed() > REFRESH_AFTER {
                if let Some(frames) = frames.as_deref_mut() {
                    frames.refresh();
                }
                plan.beside.inspect(|thread| keep_away(*thread, &allowed));
                refreshed = Instant::now();
            }
        } else {
            std::thread::park_timeout(epochs.left().max(Duration::from_millis(1)));
        }
        let cpu_now = cpu_seconds();
        let cost = cpu_now - cpu_last;
        cpu_last = cpu_now;
        // As if the next burst cost the same, and what was saved so far may be spent, but not all at once.
        let due = (cpu_now - cpu_began + cost) / allowance - began.elapsed().as_secs_f64();
        let even = cost / allowance;
        wait = plan
            .interval
            .max(Duration::from_secs_f64(due.clamp(even / 2.0, even * 3.0).min(1.0)));
        if bits && seen.refused.is_none() && epochs.left().is_zero() {
            epochs.turn(&plan, &mut seen, &told.late);
            let cpu_now = cpu_seconds();
            epochs.cost_s = cpu_now - cpu_last;
            cpu_last = cpu_now;
        }
    }
    if bits && seen.refused.is_none() {
        epochs.end(&plan, &mut seen, &told.late);
    }
    told.read.store(true, Ordering::SeqCst);
    seen.seconds = began.elapsed().as_secs_f64();
    seen.cpu_seconds = cpu_seconds() - cpu_began;
    seen
}

/// Tells running from standing still: a variable on the stack of a thread that waits for a core is not in use.
struct Runs {
    clock: Option<libc::clockid_t>,
    process: (f64, f64, Instant),
}

impl Runs {
    fn new(beside: Option<i32>) -> Runs {
        // How the kernel names a thread's own clock: its number inverted, and what is measured (scheduled time).
        const PER_THREAD_SCHEDULED: i32 = 4 | 2;
        Runs {
            clock: beside.map(|thread| (!thread << 3) | PER_THREAD_SCHEDULED),
            process: (
                seconds_of(libc::CLOCK_PROCESS_CPUTIME_ID),
                cpu_seconds(),
                Instant::now(),
            ),
        }
    }

    /// Whether the watched thread runs now, or else the process's other threads have since the last time.
    fn now(&mut self, act: impl FnOnce()) -> bool {
        let Some(clock) = self.clock else {
            act();
            return true;
        };
        let (before, began) = (seconds_of(clock), Instant::now());
        act();
        let ran = seconds_of(clock) - before > 0.3 * began.elapsed().as_secs_f64();
        let (all, own, since) = self.process;
        self.process = (
            seconds_of(libc::CLOCK_PROCESS_CPUTIME_ID),
            cpu_seconds(),
            Instant::now(),
        );
        let others = (self.process.0 - all) - (self.process.1 - own);
        ran || others > 0.5 * since.elapsed().as_secs_f64()
    }
}

/// Looks at counts and frames in turns until the burst's time is over, or a pause begins; at least two looks at counts.
fn burst<'a>(
    plan: &Plan,
    counts: &mut Counts,
    runs: &mut Runs,
    mut frames: Option<&mut (dyn Frames + 'a)>,
    fresh: &mut Vec<usize>,
    seen: &mut Seen,
    pause: &AtomicBool,
) {
    counts.begin_burst();
    if !runs.now(|| counts.warm()) {
        return;
    }
    let began = Instant::now();
    seen.bursts += 1;
    counts.look(seen, pause);
    loop {
        if let Some(frames) = frames.as_deref_mut().filter(|_| plan.tracked.count() > 0) {
            for _ in 0..FRAMES_PER_COUNT {
                fresh.clear();
                frames.look(fresh);
                if pause.load(Ordering::SeqCst) {
                    return; // what this look found may be of after it
                }
                seen.frame_looks += 1;
                let mut hit = false;
                for address in fresh.iter() {
                    if let Some(number) = plan.tracked.find(*address as u64) {
                        if seen.frame_touches[number] == 0 {
                            seen.frame_touched.push(number as u32);
                        }
                        seen.frame_touches[number] = seen.frame_touches[number].saturating_add(1);
                        hit = true;
                    }
                }
                seen.frame_hits += u64::from(hit);
            }
        }
        if pause.load(Ordering::SeqCst) {
            return;
        }
        counts.look(seen, pause);
        if began.elapsed() >= plan.burst {
            return;
        }
    }
}

/// This thread's number, as the kernel counts them.
pub fn thread_id() -> i32 {
    // SAFETY: gettid takes nothing.
    unsafe { libc::gettid() }
}

fn allowed_cpus() -> libc::cpu_set_t {
    // SAFETY: an all-zero set is a value, and the call fills a set of this size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    }
}

/// Leaves the core that `thread` ran on last, when this thread is on it too and may run on another.
fn keep_away(thread: i32, allowed: &libc::cpu_set_t) {
    let Ok(stat) = fs::read_to_string(format!("/proc/self/task/{thread}/stat")) else {
        return; // the thread has ended
    };
    const PROCESSOR_AFTER_NAME: usize = 36;
    let after = stat.rsplit_once(')').map_or("", |parts| parts.1);
    let Some(Ok(cpu)) = after
        .split_whitespace()
        .nth(PROCESSOR_AFTER_NAME)
        .map(str::parse::<usize>)
    else {
        return;
    };
    // SAFETY: calls about this thread alone, with sets of the size given; `cpu` is below the size of a set.
    unsafe {
        if usize::try_from(libc::sched_getcpu()) != Ok(cpu) || cpu >= size_of::<libc::cpu_set_t>() * 8 {
            return;
        }
        let mut others = *allowed;
        libc::CPU_CLR(cpu, &mut others);
        if libc::CPU_COUNT(&others) > 0 {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &others);
        }
    }
}

fn cpu_seconds() -> f64 {
    seconds_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// What a clock shows; 0 for one that is gone.
fn seconds_of(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec of ours to fill.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_by_their_beginnings_and_time_by_looks() {
        // A count that stands at 2 for three of five looks, then at 1 for two: one operation per five looks.
        fn read(addresses: &[usize], out: &mut Vec<Option<[u64; 2]>>) {
            use std::sync::atomic::AtomicU64;
            static LOOK: AtomicU64 = AtomicU64::new(4);
            let look = LOOK.fetch_add(1, Ordering::Relaxed);
            out.clear();
            out.extend(addresses.iter().map(|_| Some([if look % 5 < 3 { 2 } else { 1 }, 77])));
        }
        let mut counts = Counts::new(&[64], read);
        let mut seen = Seen {
            touches: vec![0],
            looks: vec![0],
            starts: vec![0],
            start_seconds: vec![0.0],
            begun: vec![0],
            root_bursts: vec![0],
            firsts: vec![0],
            ..Seen::default()
        };
        counts.begin_burst();
        for _ in 0..501 {
            counts.look(&mut seen, &AtomicBool::new(false));
        }
        assert_eq!(seen.looks[0], 501);
        assert!((100..=101).contains(&seen.begun[0]), "{}", seen.begun[0]);
        assert!((299..=302).contains(&seen.touches[0]), "{}", seen.touches[0]);
        assert!(seen.start_seconds[0] > 0.0);
    }
}
