//! The frame probe: what running Python code holds on its stack and in its locals, seen from another thread.
//!
//! A look asks the kernel for each thread's state and for a window of memory at its running frame (through
//! [`gather`](crate::heat_refs::gather)), and reports the words that were not in that window before. They are only numbers:
//! the caller compares them with addresses it knows. Meanwhile frames come and go, threads end, and memory is given back;
//! then the kernel reads less, or the words are other words, and nothing else happens. That is why no hook into the
//! interpreter's allocators is needed.
//!
//! Invariants
//!
//! - No address found by a look is dereferenced by this process; all reading is the kernel's.
//! - [`FrameAt::find`] has seen, in this process, nested frames with known locals through the offset used, or refused.
//! - A thread whose state no longer names this interpreter is forgotten.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::heat_refs::gather;

/// Words of a window: a frame's header, its locals and stack, and the frames it calls, which lie behind it.
const WINDOW_WORDS: usize = 64;
/// The running frame may lie so far into a window before the window moves.
const WINDOW_MOVES_AT: usize = 40;
/// Windows remembered per thread, so that going back and forth between frames does not look like news.
const WINDOWS: usize = 4;
/// Words of the thread state that are read; the pointer to the frame is among them.
const STATE_WORDS: usize = 32;
const THREADS_MAX: usize = 16;
/// Where every version from 3.11 on keeps the neighbours and the interpreter in its thread state.
const PREVIOUS: usize = 0;
const NEXT: usize = 1;
const INTERPRETER: usize = 2;
/// Low bits that tell kinds of stack references apart since 3.14.
const TAGS: u64 = 7;

/// Where the thread state keeps the running frame, found by looking and proven on nested calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameAt {
    word: usize,
    /// Through one more pointer, and at which of its words (the C frame of 3.11 and 3.12).
    through: Option<usize>,
}

impl FrameAt {
    fn frame(self, state: &[u64]) -> usize {
        let word = state[self.word] as usize;
        match self.through {
            None => word,
            Some(index) => {
                let mut out = [0u64];
                match word.checked_add(index * 8).map(|at| gather(&[(at, 1)], &mut out)) {
                    Some(1) => out[0] as usize,
                    _ => 0,
                }
            }
        }
    }

    /// Looks for the offset at which this thread's state leads to frames with the locals they are known to have.
    ///
    /// # Errors
    /// Inside: why the frames of this build are not read. Outside: what running a function of three lines raises.
    pub fn find(py: Python<'_>) -> PyResult<Result<FrameAt, String>> {
        let sys = py.import("sys")?;
        let gil = sys.getattr("_is_gil_enabled").and_then(|ask| ask.call0());
        if gil.is_ok_and(|on| !on.is_truthy().unwrap_or(true)) {
            return Ok(Err("a free-threaded build: frames change while they are read".into()));
        }
        let space = PyDict::new(py);
        py.run(c"def look(marker, then):\n    return then()", Some(&space), None)?;
        let look = space.get_item("look")?.ok_or_else(|| {
            PyErr::new::<pyo3::exceptions::PyRuntimeError, _>("a function that was defined is not there")
        })?;
        let code = look.getattr("__code__")?.as_ptr() as u64;
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::<Vec<FrameAt>>::new()));
        let mut markers = Vec::new();
        for depth in 1..4usize {
            let marker = py.eval(c"object()", None, None)?;
            let (address, told) = (marker.as_ptr() as u64, std::sync::Arc::clone(&seen));
            let inner = PyCFunction::new_closure(
                py,
                None,
                None,
                move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                    if let Ok(mut told) = told.lock() {
                        told.push(candidates(code, address));
                    }
                },
            )?;
            // Around the call with the marker, others with other locals: the frame found must be the innermost.
            let partial = py.import("functools")?.getattr("partial")?;
            let other = py.eval(c"object()", None, None)?;
            let mut call = partial.call1((&look, &marker, inner))?;
            for _ in 1..depth {
                call = partial.call1((&look, &other, call))?;
            }
            call.call0()?;
            markers.push(marker);
        }
        let seen = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        let mut left = seen.first().cloned().unwrap_or_default();
        left.retain(|at| seen.iter().all(|those| those.contains(at)));
        Ok(match left.as_slice() {
            [] => Err("the running frame is not where this version knows to look".into()),
            [first, ..] => Ok(*first),
        })
    }
}

fn this_state() -> usize {
    // SAFETY: called with the GIL held, so there is a current thread state.
    unsafe { ffi::PyThreadState_Get() as usize }
}

/// Every way from this thread's state to a frame of `code` with `marker` among its first words.
fn candidates(code: u64, marker: u64) -> Vec<FrameAt> {
    let mut state = [0u64; STATE_WORDS];
    let words = gather(&[(this_state(), STATE_WORDS)], &mut state);
    let mut found = Vec::new();
    for word in 3..words {
        for through in [None, Some(0), Some(1)] {
            let at = FrameAt { word, through };
            let mut window = [0u64; 24];
            let read = gather(&[(at.frame(&state), window.len())], &mut window);
            let has = |range: std::ops::Range<usize>, value: u64| {
                window[range.start.min(read)..range.end.min(read)]
                    .iter()
                    .any(|w| w & !TAGS == value)
            };
            if has(0..10, code) && has(5..24, marker) {
                found.push(at);
            }
        }
    }
    found
}

#[derive(Clone)]
struct Window {
    base: usize,
    read: usize,
    words: [u64; WINDOW_WORDS],
}

struct Thread {
    state: usize,
    windows: Vec<Window>,
    /// Index of the window the running frame was in last.
    current: usize,
}

/// Looks at the frames of all threads of this interpreter.
pub struct FrameProbe {
    at: FrameAt,
    interpreter: u64,
    threads: Vec<Thread>,
    scratch: Vec<u64>,
}

impl FrameProbe {
    /// Called by a thread of the interpreter, which is the first one looked at.
    pub fn new(_py: Python<'_>, at: FrameAt) -> FrameProbe {
        // SAFETY: the GIL is held.
        let interpreter = unsafe { ffi::PyInterpreterState_Get() } as u64;
        let mut probe = FrameProbe {
            at,
            interpreter,
            threads: vec![Thread::new(this_state())],
            scratch: vec![0; THREADS_MAX * (STATE_WORDS + WINDOW_WORDS)],
        };
        probe.refresh();
        probe
    }

    /// Finds threads that came and forgets those that went.
    pub fn refresh(&mut self) {
        let mut states: Vec<usize> = self.threads.iter().map(|thread| thread.state).collect();
        let mut at = 0;
        let mut kept = Vec::new();
        while at < states.len() && kept.len() < THREADS_MAX {
            let mut words = [0u64; 3];
            if gather(&[(states[at], 3)], &mut words) == 3 && words[INTERPRETER] == self.interpreter {
                kept.push(states[at]);
                for neighbour in [words[PREVIOUS], words[NEXT]] {
                    let neighbour = neighbour as usize;
                    if neighbour != 0 && !states.contains(&neighbour) {
                        states.push(neighbour);
                    }
                }
            }
            at += 1;
        }
        self.threads.retain(|thread| kept.contains(&thread.state));
        for state in kept {
            if !self.threads.iter().any(|thread| thread.state == state) {
                self.threads.push(Thread::new(state));
            }
        }
    }

    /// Forgets all windows: what is in the next ones is no news.
    pub fn forget(&mut self) {
        for thread in &mut self.threads {
            thread.windows.clear();
            thread.current = 0;
        }
    }

    /// Appends the words that came into any thread's window since the last look, without their tags.
    pub fn look(&mut self, fresh: &mut Vec<usize>) {
        let mut pieces = [(0usize, 0usize); 2 * THREADS_MAX];
        let mut used = 0;
        for thread in &self.threads {
            pieces[used] = (thread.state, STATE_WORDS);
            pieces[used + 1] = thread
                .windows
                .get(thread.current)
                .map_or((thread.state, 0), |window| (window.base, window.read));
            used += 2;
        }
        let read = gather(&pieces[..used], &mut self.scratch);
        let mut from = 0;
        let mut lost = false;
        for (thread, pair) in self.threads.iter_mut().zip(pieces[..used].chunks_exact(2)) {
            let (state, window) = (from..from + pair[0].1, from + pair[0].1..from + pair[0].1 + pair[1].1);
            from = window.end;
            if state.end > read || self.scratch[state.start + INTERPRETER] != self.interpreter {
                lost = true;
                break;
            }
            let frame = self.at.frame(&self.scratch[state]);
            if frame == 0 {
                continue;
            }
            let inside = pair[1].1 > 0 && frame >= pair[1].0 && frame - pair[1].0 < WINDOW_MOVES_AT * 8;
            if inside && window.end <= read {
                thread.windows[thread.current].news(&self.scratch[window], fresh);
            } else {
                thread.turn_to(frame, fresh);
            }
        }
        if lost {
            self.refresh();
        }
    }
}

impl Window {
    /// Takes the words over and appends those it did not hold anywhere.
    fn news(&mut self, words: &[u64], fresh: &mut Vec<usize>) {
        for (at, word) in words.iter().enumerate() {
            if *word != self.words[at] && *word > 4096 && !self.words[..self.read].contains(word) {
                let address = (*word & !TAGS) as usize;
                if !fresh.contains(&address) {
                    fresh.push(address);
                }
            }
        }
        self.words[..words.len()].copy_from_slice(words);
    }
}

impl Thread {
    fn new(state: usize) -> Thread {
        Thread {
            state,
            windows: Vec::with_capacity(WINDOWS),
            current: 0,
        }
    }

    /// The running frame has left the window: another one holds it from now on. Nothing in a new window is news.
    fn turn_to(&mut self, frame: usize, fresh: &mut Vec<usize>) {
        let holds = |window: &Window| frame >= window.base && frame - window.base < WINDOW_MOVES_AT * 8;
        let mut words = [0u64; WINDOW_WORDS];
        if let Some(index) = self.windows.iter().position(holds) {
            self.current = index;
            let window = &mut self.windows[index];
            if gather(&[(window.base, window.read)], &mut words) == window.read {
                window.news(&words[..window.read], fresh);
                return;
            }
            self.windows.remove(index);
        }
        let read = gather(&[(frame, WINDOW_WORDS)], &mut words);
        if self.windows.len() == WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push(Window {
            base: frame,
            read,
            words,
        });
        self.current = self.windows.len() - 1;
    }
}
