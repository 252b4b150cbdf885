//! Holds stores back while pages of a view change hands.
//!
//! To spill a chunk is to write it to the file and to map it anew; a store by another thread in between would be lost.
//! So the pages are read-only meanwhile: who stores into them faults, and the SIGSEGV handler lets that thread wait.
//! A system call that writes into such a page just then fails with EFAULT instead, as it would on read-only memory.
//!
//! Invariants
//!
//! - A fault inside a view of the table is a store that came too early: outside a hold, views are writable.
//! - The handler takes no lock and allocates nothing; whoever holds pages takes no lock that a storing thread may have.

use crate::format::PAGE;
use crate::mprotect::chain;
use crate::view::View;
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

const VIEWS_MAX: usize = 8192;

struct Range {
    start: AtomicUsize,
    end: AtomicUsize,
}

/// Views that were ever held.
static TABLE: [Range; VIEWS_MAX] = [const { Range::empty() }; VIEWS_MAX];
static USED: AtomicUsize = AtomicUsize::new(0);
/// What is held now, and by which process: a child forked in the middle has nobody who lets it go.
static HELD: Range = Range::empty();
static HOLDER: AtomicU32 = AtomicU32::new(0);
static CHANGE: Mutex<()> = Mutex::new(());
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

impl Range {
    const fn empty() -> Range {
        Range {
            start: AtomicUsize::new(usize::MAX),
            end: AtomicUsize::new(0),
        }
    }
    fn contains(&self, address: usize) -> bool {
        (self.start.load(Ordering::Acquire)..self.end.load(Ordering::Acquire)).contains(&address)
    }
    fn set(&self, start: usize, end: usize) {
        self.end.store(end, Ordering::Release);
        self.start.store(start, Ordering::Release);
    }
    fn clear(&self) {
        self.start.store(usize::MAX, Ordering::Release);
    }
}

/// While this lives, nobody can store into these pages of the view.
pub struct Held<'a> {
    pages: Option<(&'a View, u32, u32)>,
    _one: Option<MutexGuard<'static, ()>>,
}

/// Holds stores into `count` pages of `view` from `first` on back.
///
/// # Errors
/// `Unsupported` if somebody else's SIGSEGV handler took the place of ours.
pub fn hold(view: &View, first: u32, count: u32) -> io::Result<Held<'_>> {
    if !view.is_mapped() {
        // Memory of tests: nobody else knows it.
        return Ok(Held {
            pages: None,
            _one: None,
        });
    }
    let one = CHANGE.lock();
    install()?;
    list(view)?;
    let start = view.addr() + first as usize * PAGE as usize;
    HOLDER.store(std::process::id(), Ordering::Release);
    HELD.set(start, start + count as usize * PAGE as usize);
    let held = Held {
        pages: Some((view, first, count)),
        _one: Some(one),
    };
    view.protect_range(first, count, true)?;
    Ok(held)
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some((view, first, count)) = self.pages else { return };
        if let Err(error) = view.protect_range(first, count, false) {
            // Who stores there now waits for ever; to go on without tracking would lose what is stored.
            tracing::error!(%error, "pages of a shelf cannot be made writable again");
        }
        HELD.clear();
    }
}

fn list(view: &View) -> io::Result<()> {
    let used = USED.load(Ordering::Acquire);
    if TABLE[..used].iter().any(|range| range.contains(view.addr())) {
        return Ok(());
    }
    let free = |range: &Range| range.start.load(Ordering::Acquire) == usize::MAX;
    let slot = TABLE[..used].iter().position(free).unwrap_or(used);
    let full = || io::Error::other("8192 views are spilled already");
    TABLE
        .get(slot)
        .ok_or_else(full)?
        .set(view.addr(), view.addr() + view.mapped_len());
    USED.store(used.max(slot + 1), Ordering::Release);
    Ok(())
}

/// Forgets a view, before its addresses are used for something else.
pub fn remove(start: usize) {
    for range in &TABLE[..USED.load(Ordering::Acquire)] {
        if range.start.load(Ordering::Acquire) == start {
            range.clear();
        }
    }
}

/// Installs the handler at the first use; later only looks whether it is still there.
fn install() -> io::Result<()> {
    // SAFETY: `sigaction` is plain data for which zero is valid; the structures outlive the calls, and the handler only
    // does what is allowed in one.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &mut now) != 0 {
            return Err(io::Error::last_os_error());
        }
        let ours = on_fault as *const () as usize;
        if now.sa_sigaction == ours {
            return Ok(());
        }
        if PREVIOUS.set(now).is_err() {
            // To put ours on top again would make a circle with a handler that calls the one before it.
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "another SIGSEGV handler was installed",
            ));
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ours;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        if libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to an SA_SIGINFO handler.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    const SEGV_ACCERR: libc::c_int = 2;
    let known = TABLE[..USED.load(Ordering::Acquire)]
        .iter()
        .any(|range| range.contains(address));
    if code != SEGV_ACCERR || !known {
        return chain(&PREVIOUS, signal, info, context);
    }
    while HELD.contains(address) {
        if HOLDER.load(Ordering::Acquire) != std::process::id() {
            let (start, end) = (HELD.start.load(Ordering::Acquire), HELD.end.load(Ordering::Acquire));
            // SAFETY: pages of a view, which is writable outside a hold; the thread that held them is not in this process.
            unsafe { libc::mprotect(start as *mut _, end - start, libc::PROT_READ | libc::PROT_WRITE) };
            return;
        }
        let pause = libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000,
        };
        // SAFETY: `pause` outlives the call, and a sleep is allowed in a signal handler.
        unsafe { libc::nanosleep(&pause, std::ptr::null_mut()) };
    }
    // The store runs again.
}
