//! The mprotect tracker: armed views are read-only, and a SIGSEGV handler opens 64 KiB at a time and notes it.
//!
//! Only used when forced: a system call that writes into a protected page fails with EFAULT instead of faulting.
//!
//! The handler may run on any thread at any instruction, so it takes no lock and allocates nothing: the table is a
//! fixed array of atomics, and pages are noted in bitmaps that are allocated before a view is protected.

use crate::format::PAGE;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

const VIEWS_MAX: usize = 4096;
const UNIT: usize = 64 << 10;

struct Entry {
    start: AtomicUsize,
    len: AtomicUsize,
    /// One bit per page; leaked per view size, reused by later views of the same slot only if large enough.
    bits: AtomicPtr<AtomicU64>,
    words: AtomicUsize,
}

static TABLE: [Entry; VIEWS_MAX] = [const {
    Entry {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        bits: AtomicPtr::new(std::ptr::null_mut()),
        words: AtomicUsize::new(0),
    }
}; VIEWS_MAX];
static USED: AtomicUsize = AtomicUsize::new(0);
static CHANGE: Mutex<()> = Mutex::new(());
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler once per process; faults that are not ours go to the handler before it.
pub fn install() -> io::Result<()> {
    let _guard = CHANGE.lock().unwrap_or_else(|poison| poison.into_inner());
    if PREVIOUS.get().is_some() {
        return Ok(());
    }
    // SAFETY: `sigaction` is plain data for which zero is valid; both structures outlive the call, and the handler
    // only does what is allowed in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut old: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &mut old) != 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = PREVIOUS.set(old);
        if libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

pub fn add(start: usize, len: usize) -> io::Result<()> {
    let _guard = CHANGE.lock().unwrap_or_else(|poison| poison.into_inner());
    let used = USED.load(Ordering::Relaxed);
    let slot = (0..used)
        .find(|i| TABLE[*i].start.load(Ordering::Relaxed) == 0)
        .unwrap_or(used);
    let Some(entry) = TABLE.get(slot) else {
        return Err(io::Error::other(
            "the mprotect tracker holds 4096 writable views at most",
        ));
    };
    let words = (len / PAGE as usize).div_ceil(64);
    if entry.words.load(Ordering::Relaxed) < words {
        let fresh: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        // The old bitmap leaks on purpose: a handler on another thread may still be looking at it.
        entry
            .bits
            .store(Box::leak(fresh.into_boxed_slice()).as_mut_ptr(), Ordering::Release);
        entry.words.store(words, Ordering::Release);
    }
    entry.len.store(len, Ordering::Release);
    entry.start.store(start, Ordering::Release);
    if slot == used {
        USED.store(used + 1, Ordering::Release);
    }
    drop(_guard);
    take(start, len);
    Ok(())
}

pub fn remove(start: usize) {
    for entry in &TABLE[..USED.load(Ordering::Acquire)] {
        if entry.start.load(Ordering::Acquire) == start {
            entry.start.store(0, Ordering::Release);
            return;
        }
    }
}

/// Pages noted since the last call, cleared.
pub fn take(start: usize, _len: usize) -> Vec<u32> {
    let mut pages = Vec::new();
    for entry in &TABLE[..USED.load(Ordering::Acquire)] {
        if entry.start.load(Ordering::Acquire) == start {
            let bits = entry.bits.load(Ordering::Acquire);
            let words = (entry.len.load(Ordering::Acquire) / PAGE as usize).div_ceil(64);
            for index in 0..words {
                // SAFETY: the bitmap has `words` words or more and is never freed.
                let mut word = unsafe { &*bits.add(index) }.swap(0, Ordering::AcqRel);
                while word != 0 {
                    pages.push(index as u32 * 64 + word.trailing_zeros());
                    word &= word - 1;
                }
            }
        }
    }
    pages
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to an SA_SIGINFO handler.
    let address = unsafe { (*info).si_addr() } as usize;
    for entry in &TABLE[..USED.load(Ordering::Acquire)] {
        let start = entry.start.load(Ordering::Acquire);
        let len = entry.len.load(Ordering::Acquire);
        if start == 0 || address < start || address >= start + len {
            continue;
        }
        let from = (address - start) / UNIT * UNIT;
        let to = (from + UNIT).min(len);
        let bits = entry.bits.load(Ordering::Acquire);
        for page in from / PAGE as usize..to / PAGE as usize {
            // SAFETY: the bitmap covers `len` and is never freed.
            unsafe { &*bits.add(page / 64) }.fetch_or(1 << (page % 64), Ordering::AcqRel);
        }
        // SAFETY: the range lies within one of our views; opening it lets the faulting store run again.
        unsafe { libc::mprotect((start + from) as *mut _, to - from, libc::PROT_READ | libc::PROT_WRITE) };
        return;
    }
    chain(&PREVIOUS, signal, info, context);
}

/// Hands a fault that is not ours to the handler that was there before.
pub(crate) fn chain(
    previous: &OnceLock<libc::sigaction>,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let Some(previous) = previous.get() else { return };
    // SAFETY: either calls the handler that was there before with the arguments the kernel gave us, or puts the
    // default action back, so that the fault happens again and ends the process as it would have.
    unsafe {
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                libc::sigaction(libc::SIGSEGV, previous, std::ptr::null_mut());
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let call: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                call(signal, info, context);
            }
            handler => {
                let call: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                call(signal);
            }
        }
    }
}
