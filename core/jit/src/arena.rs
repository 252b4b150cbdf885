//! Packed machine code: one memory file mapped twice, writable here and executable there.
//!
//! Pieces of any length lie back to back, sixteen bytes apart at most, or 64 where a short loop lies better so, so hundreds share a page. A piece is named by a
//! [`Piece`], not by its address: [`Arena::compact`] slides the living pieces together and puts their links right.
//!
//! ```text
//! | entry, trampolines | piece | piece |cccccc| piece |cccccccccccccccc .. limit          .. reserve |
//!                                      hole           free: every freed byte is a trap
//! ```
//!
//! Invariants
//!
//! - No page is writable and executable through the same mapping.
//! - A piece reaches out only through its links: 32-bit distances the arena knows, and writes again when either end moves.
//! - Bytes change only while nothing runs (see [`Arena::enter`]): what is freed meanwhile is freed afterwards.
//! - A byte that was code and is none now is 0xcc, so a stale address traps instead of running something else's code.

use crate::frame;
use crate::lines::{LINE, badness, short_loops};
use crate::lower::{LOGGED, SCRATCH, word};
use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::fd::FromRawFd;

use memmap2::{Mmap, MmapOptions, MmapRaw};

pub(crate) const ALIGN: usize = 16;
const TRAP: u8 = 0xcc;
/// What a link to a helper reaches.
const TRAMPOLINE: usize = 16;
/// `fn(code, buffer) -> u64` in C's convention: keeps the registers that C wants kept, makes room for spill slots, and calls
/// the code, which keeps no register and has no frame. The stack is aligned inside the code, rbp points at
/// `frame::MIDDLE` in the slots.
#[rustfmt::skip]
const ENTRY: [u8; 64] = [
    0x55, 0x53, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, // push rbp, rbx, r12, r13, r14, r15
    0x48, 0x81, 0xec, 0, (frame::ROOM >> 8) as u8, 0, 0,        // sub rsp, ROOM
    0x48, 0x8d, 0xac, 0x24, frame::MIDDLE as u8, 0, 0, 0,       // lea rbp, [rsp + MIDDLE]
    0x48, 0x89, 0xb5, BUFFER[0], BUFFER[1], BUFFER[2], BUFFER[3], // mov [rbp + BUFFER], rsi
    0x48, 0x87, 0xfe,                                           // xchg rsi, rdi
    0xff, 0xd6,                                                 // call rsi
    0x0f, 0xb6, 0xc0,                                           // movzx eax, al: BYTE_OF_EXIT bytes
    0x48, 0x81, 0xc4, 0, (frame::ROOM >> 8) as u8, 0, 0,        // add rsp, ROOM
    0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5b, 0x5d, // pop r15, r14, r13, r12, rbx, rbp
    0xc3,                                                       // ret
    TRAP, TRAP, TRAP, TRAP, TRAP, TRAP,
];
/// What the entry does with the number of an exit takes so many bytes: code whose numbers need more returns behind it.
pub(crate) const BYTE_OF_EXIT: u8 = 3;
/// Where the entry keeps the buffer's address, from rbp.
const BUFFER: [u8; 4] = (frame::BUFFER as i32).to_le_bytes();

/// What the trampolines of helpers that keep every register go on with: the helper in rax, rax itself on the stack;
/// for those that know the buffer, see [`Helper::knows`].
fn keep(knows: bool) -> Vec<u8> {
    // push rcx, rdx, rsi, rdi, r8, r9, r10, r11; sub rsp, 256
    let mut code = vec![0x51, 0x52, 0x56, 0x57, 0x41, 0x50, 0x41, 0x51, 0x41, 0x52, 0x41, 0x53];
    code.extend([0x48, 0x81, 0xec, 0, 1, 0, 0]);
    // movups [rsp + 16 * n], xmm n, or back
    let vectors = |code: &mut Vec<u8>, op: u8| {
        for n in 0..16u8 {
            if n > 7 {
                code.push(0x44);
            }
            code.extend([0x0f, op, 0x84 | (n & 7) << 3, 0x24]);
            code.extend((u32::from(n) * 16).to_le_bytes());
        }
    };
    vectors(&mut code, 0x11);
    if knows {
        // mov rsi, [rbp + BUFFER]; add rsi, word(LOGGED)
        code.extend([0x48, 0x8b, 0xb5]);
        code.extend(BUFFER);
        code.extend([0x48, 0x83, 0xc6, word(LOGGED) as i8 as u8]);
    }
    code.extend([0xff, 0xd0]); // call rax
    vectors(&mut code, 0x10);
    // add rsp, 256; pop r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax; ret
    code.extend([0x48, 0x81, 0xc4, 0, 1, 0, 0]);
    code.extend([
        0x41, 0x5b, 0x41, 0x5a, 0x41, 0x59, 0x41, 0x58, 0x5f, 0x5e, 0x5a, 0x59, 0x58,
    ]);
    if knows {
        // mov rdi, [rbp + BUFFER]; mov rdi, [rdi + word(SCRATCH)]
        code.extend([0x48, 0x8b, 0xbd]);
        code.extend(BUFFER);
        code.extend([0x48, 0x8b, 0x7f, word(SCRATCH) as i8 as u8]);
    }
    code.push(0xc3);
    code.resize(code.len().next_multiple_of(TRAMPOLINE), TRAP);
    code
}

/// A function outside the arena that code may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    pub address: usize,
    /// Its trampoline keeps every register; the function must give nothing back.
    pub keeps: bool,
    /// That trampoline gives it the address of the buffer's word LOGGED as its second argument, and leaves in rdi what it
    /// has put into the word SCRATCH. Only for code that leaves rbp as the entry has set it.
    pub knows: bool,
}

/// A name for code in the arena; good until it is released, wherever the code moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece(u32);

impl Piece {
    /// For tests: the name of no piece.
    pub const NONE: Piece = Piece(u32::MAX);
}

/// Where a link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A function outside the arena, by its index among those given to [`Arena::new`].
    Helper(u16),
    /// The first byte of a piece.
    Piece(Piece),
}

/// A 32-bit distance inside a piece, counted from its own end as x86 does: `call` and `jmp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub at: u32,
    pub to: Target,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    offset: u32,
    /// In units of [`ALIGN`], times four; plus two if it has links, plus one if it was released while something ran.
    size: NonZeroU32,
}

impl Held {
    fn offset(&self) -> usize {
        self.offset as usize
    }
    fn len(&self) -> usize {
        (self.size.get() >> 2) as usize * ALIGN
    }
    fn has_links(&self) -> bool {
        self.size.get() & 2 != 0
    }
    fn dying(&self) -> bool {
        self.size.get() & 1 != 0
    }
}

/// What [`pack`] has packed.
fn unpack(packed: &[u8]) -> Vec<Link> {
    let mut bytes = packed.iter();
    let mut number = || {
        let (mut n, mut shift) = (0u32, 0);
        loop {
            let byte = bytes.next()?;
            n |= u32::from(byte & 127) << shift;
            shift += 7;
            if *byte < 128 {
                return Some(n);
            }
        }
    };
    let (mut links, mut last) = (Vec::new(), 0);
    while let (Some(distance), Some(to)) = (number(), number()) {
        last += distance;
        let to = if to & 1 == 0 {
            Target::Helper((to >> 1) as u16)
        } else {
            Target::Piece(Piece(to >> 1))
        };
        links.push(Link { at: last, to });
    }
    links
}

/// Links in the order of their places: the distance from the last, and where it leads, seven bits a byte.
fn pack(links: &[Link]) -> Vec<u8> {
    let mut links = links.to_vec();
    links.sort_by_key(|l| l.at);
    let (mut out, mut last) = (Vec::new(), 0);
    let mut put = |mut n: u32| {
        while n > 127 {
            out.push(n as u8 | 128);
            n >>= 7;
        }
        out.push(n as u8);
    };
    for link in links {
        put(link.at - last);
        last = link.at;
        put(match link.to {
            Target::Helper(index) => u32::from(index) << 1,
            Target::Piece(piece) => piece.0 << 1 | 1,
        });
    }
    out
}

/// How full the arena is, and what it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub pieces: usize,
    /// Bytes of living pieces, with their padding.
    pub used: usize,
    /// Bytes up to the end of the last piece.
    pub spread: usize,
    pub limit: usize,
    pub compactions: u64,
    pub moved: u64,
}

pub struct Arena {
    write: MmapRaw,
    exec: Mmap,
    held: Vec<Option<Held>>,
    vacant: Vec<u32>,
    /// Free stretches by offset; neighbours are always merged. The last may reach beyond the limit.
    holes: Vec<(usize, usize)>,
    /// Where pieces begin: behind the trampolines.
    base: usize,
    limit: usize,
    used: usize,
    running: u32,
    dying: u32,
    compactions: u64,
    moved: u64,
}

impl Arena {
    /// Reserves addresses for `reserve` bytes of code, of which `limit` may be filled; memory is taken page by page as
    /// code comes. `helpers` are what links may call.
    ///
    /// # Errors
    /// What the system says when it refuses memory files or mappings.
    pub fn new(reserve: usize, limit: usize, helpers: &[Helper]) -> io::Result<Arena> {
        // SAFETY: a constant name; the result is checked before it becomes an owned descriptor nobody else has.
        let file = unsafe {
            let fd = libc::memfd_create(c"larder-traces".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        file.set_len(reserve as u64)?;
        let write = MmapOptions::new().len(reserve).map_raw(&file)?;
        // SAFETY: the file is anonymous and ours; it changes only through `write`, where nothing executes at the time.
        let exec = unsafe { MmapOptions::new().len(reserve).map_exec(&file)? };
        let after = ENTRY.len() + helpers.len() * TRAMPOLINE;
        let keeps = [keep(false), keep(true)].concat();
        let base = after + keeps.len();
        let mut arena = Arena {
            write,
            exec,
            held: Vec::new(),
            vacant: Vec::new(),
            holes: vec![(base, reserve - base)],
            base,
            limit: limit.min(reserve),
            used: 0,
            running: 0,
            dying: 0,
            compactions: 0,
            moved: 0,
        };
        arena.bytes(0, &ENTRY);
        for (index, helper) in helpers.iter().enumerate() {
            let at = ENTRY.len() + index * TRAMPOLINE;
            let mut code = [TRAP; TRAMPOLINE];
            let address = helper.address.to_le_bytes();
            if helper.keeps {
                let to = after + if helper.knows { keep(false).len() } else { 0 };
                let distance = (to - (at + TRAMPOLINE)) as u32;
                code[..3].copy_from_slice(&[0x50, 0x48, 0xb8]); // push rax; mov rax, helper; jmp keep
                code[3..11].copy_from_slice(&address);
                code[11] = 0xe9;
                code[12..].copy_from_slice(&distance.to_le_bytes());
            } else {
                code[..2].copy_from_slice(&[0x48, 0xb8]); // mov rax, helper; jmp rax
                code[2..10].copy_from_slice(&address);
                code[10..12].copy_from_slice(&[0xff, 0xe0]);
            }
            arena.bytes(at, &code);
        }
        arena.bytes(after, &keeps);
        Ok(arena)
    }

    pub fn usage(&self) -> Usage {
        let spread = self.holes.last().filter(|h| h.0 + h.1 == self.write.len());
        Usage {
            pieces: self.held.iter().flatten().filter(|h| !h.dying()).count(),
            used: self.used,
            spread: spread.map_or(self.write.len(), |h| h.0) - self.base,
            limit: self.limit,
            compactions: self.compactions,
            moved: self.moved,
        }
    }

    /// How much more code fits under the limit, once compacted.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Bytes of code at most, from now on; pieces that are over it stay until they are released.
    /// The limit set: never more than was reserved.
    pub fn set_limit(&mut self, limit: usize) -> usize {
        self.limit = limit.min(self.write.len() - self.base);
        self.limit
    }

    /// Copies code in and connects its links; none when it does not fit under the limit. Compacts when only the holes
    /// between the pieces are large enough together, unless something runs.
    pub fn publish(&mut self, code: &[u8], links: &[Link]) -> Option<Piece> {
        let mut packed = pack(links);
        if !packed.is_empty() {
            let length = u16::try_from(packed.len()).ok()?;
            packed.extend(length.to_le_bytes());
        }
        let len = (code.len() + packed.len()).next_multiple_of(ALIGN).max(ALIGN);
        if len > self.room() {
            return None;
        }
        let loops = short_loops(code);
        let offset = match self.take(len, &loops) {
            Some(offset) => offset,
            None => {
                self.compact();
                self.take(len, &loops)?
            }
        };
        self.used += len;
        let held = Held {
            offset: offset as u32,
            size: NonZeroU32::new((len / ALIGN) as u32 * 4 + if packed.is_empty() { 0 } else { 2 })?,
        };
        let piece = match self.vacant.pop() {
            Some(index) => {
                self.held[index as usize] = Some(held);
                Piece(index)
            }
            None => {
                self.held.push(Some(held));
                Piece(self.held.len() as u32 - 1)
            }
        };
        self.bytes(offset, code);
        self.bytes(offset + code.len(), &vec![TRAP; len - code.len() - packed.len()]);
        self.bytes(offset + len - packed.len(), &packed);
        self.connect(piece);
        Some(piece)
    }

    /// Room in the smallest hole that is large enough, and under the limit, where these loops lie well, if there is one.
    fn take(&mut self, len: usize, loops: &[Range<usize>]) -> Option<usize> {
        let end = self.base + self.limit;
        let shifts = (0..if loops.is_empty() { 1 } else { LINE }).step_by(ALIGN);
        let places = (0..self.holes.len()).flat_map(|i| shifts.clone().map(move |shift| (i, shift)));
        let (at, shift) = places
            .filter(|(i, shift)| {
                let (offset, room) = self.holes[*i];
                room.min(end.saturating_sub(offset)) >= shift + len
            })
            .min_by_key(|(i, shift)| {
                let (offset, room) = self.holes[*i];
                (badness(loops, offset + shift), room, *shift)
            })?;
        let (offset, room) = self.holes.remove(at);
        let rest = room - shift - len;
        if rest > 0 {
            self.holes.insert(at, (offset + shift + len, rest));
        }
        if shift > 0 {
            self.holes.insert(at, (offset, shift));
        }
        Some(offset + shift)
    }

    fn bytes(&mut self, offset: usize, code: &[u8]) {
        assert!(offset + code.len() <= self.write.len());
        // SAFETY: inside the mapping, by the line above; only this arena writes, and nothing executes these bytes.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.write.as_mut_ptr().add(offset), code.len()) };
    }

    #[inline]
    fn held(&self, piece: Piece) -> &Held {
        self.held[piece.0 as usize].as_ref().expect("a piece that was released")
    }

    /// The links of a piece, which lie behind its code, their length last.
    fn links(&self, held: &Held) -> Vec<Link> {
        if !held.has_links() {
            return Vec::new();
        }
        // SAFETY: a piece lies inside the mapping; only this arena writes, and not while the slice lives.
        let bytes = unsafe { std::slice::from_raw_parts(self.write.as_ptr().add(held.offset()), held.len()) };
        let Some((rest, length)) = bytes.split_last_chunk::<2>() else {
            return Vec::new();
        };
        unpack(&rest[rest.len() - usize::from(u16::from_le_bytes(*length))..])
    }

    /// Writes the distances of a piece's links.
    fn connect(&mut self, piece: Piece) {
        let held = self.held(piece);
        let (offset, len) = (held.offset(), held.len());
        for link in self.links(held) {
            let to = match link.to {
                Target::Helper(index) => ENTRY.len() + index as usize * TRAMPOLINE,
                Target::Piece(other) => self.held(other).offset(),
            };
            assert!(link.at as usize + 4 <= len, "a link outside its piece");
            let at = offset + link.at as usize;
            let distance = to as i64 - (at as i64 + 4);
            self.bytes(at, &(distance as i32).to_le_bytes());
        }
    }

    /// Where a piece is executed now; asked for at every entry, since compaction moves it.
    #[inline]
    pub fn address(&self, piece: Piece) -> *const u8 {
        let offset = self.held(piece).offset();
        // SAFETY: pieces lie inside the mapping.
        unsafe { self.exec.as_ptr().add(offset) }
    }

    /// Runs a piece: `entry(address, buffer)`, where the code takes `(buffer)` and keeps no register.
    pub fn entry(&self) -> *const u8 {
        self.exec.as_ptr()
    }

    pub fn len(&self, piece: Piece) -> usize {
        self.held(piece).len()
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes kept beside a piece, which has its links: its place.
    pub fn metadata(&self, _: Piece) -> usize {
        size_of::<Option<Held>>()
    }

    /// Says that code of the arena begins to run; [`Arena::stop`] and [`Arena::free`] must follow. Nothing is freed or moved
    /// in between, for a helper may run programs of any kind, which may compile and discard.
    #[inline]
    pub fn enter(&mut self) {
        self.running += 1;
    }

    /// Says that the code has run. What was released meanwhile is freed by [`Arena::free`]: this cannot panic.
    #[inline]
    pub fn stop(&mut self) {
        self.running = self.running.wrapping_sub(1);
    }

    /// Frees what was released while code ran.
    #[inline]
    pub fn free(&mut self) {
        if self.dying > 0 {
            self.sweep();
        }
    }

    pub fn is_running(&self) -> bool {
        self.running > 0
    }

    /// Gives a piece back: its bytes become traps, at once or when nothing runs any more. No link may lead to it.
    pub fn release(&mut self, piece: Piece) {
        debug_assert!(
            !self
                .held
                .iter()
                .flatten()
                .any(|h| !h.dying() && self.links(h).iter().any(|l| l.to == Target::Piece(piece))),
            "a piece that others link to"
        );
        if self.running > 0 {
            let held = self.held[piece.0 as usize].as_mut().expect("a piece that was released");
            held.size |= 1;
            self.dying += 1;
            return;
        }
        let held = self.held[piece.0 as usize].take().expect("a piece that was released");
        let (offset, len) = (held.offset(), held.len());
        self.vacant.push(piece.0);
        self.used -= len;
        self.bytes(offset, &vec![TRAP; len]);
        let at = self.holes.partition_point(|hole| hole.0 < offset);
        self.holes.insert(at, (offset, len));
        if at + 1 < self.holes.len() && self.holes[at].0 + self.holes[at].1 == self.holes[at + 1].0 {
            self.holes[at].1 += self.holes.remove(at + 1).1;
        }
        if at > 0 && self.holes[at - 1].0 + self.holes[at - 1].1 == self.holes[at].0 {
            self.holes[at - 1].1 += self.holes.remove(at).1;
        }
    }

    #[cold]
    fn sweep(&mut self) {
        if self.running > 0 {
            return;
        }
        self.dying = 0;
        for index in 0..self.held.len() as u32 {
            if self.held[index as usize].as_ref().is_some_and(Held::dying) {
                self.release(Piece(index));
            }
        }
    }

    /// Slides all pieces together and poisons what they leave; false, with nothing done, while code runs.
    pub fn compact(&mut self) -> bool {
        if self.running > 0 {
            return false;
        }
        let mut order: Vec<u32> = (0..self.held.len() as u32)
            .filter(|i| self.held[*i as usize].is_some())
            .collect();
        order.sort_unstable_by_key(|i| self.held(Piece(*i)).offset());
        let mut to = self.base;
        for index in &order {
            let Some(held) = self.held[*index as usize].as_mut() else {
                continue;
            };
            let (offset, len) = (held.offset(), held.len());
            if offset != to {
                // SAFETY: both stretches lie inside the mapping, `to` below `offset`; `copy` allows overlap, and
                // nothing executes here.
                unsafe {
                    let base = self.write.as_mut_ptr();
                    std::ptr::copy(base.add(offset), base.add(to), len);
                }
                self.moved += len as u64;
                held.offset = to as u32;
            }
            to += len;
        }
        // Everything above was either moved away or is a trap already, beyond the old end.
        let end = self
            .holes
            .last()
            .filter(|h| h.0 + h.1 == self.write.len())
            .map_or(self.write.len(), |h| h.0);
        if end > to {
            self.bytes(to, &vec![TRAP; end - to]);
        }
        self.holes = if to < self.write.len() {
            vec![(to, self.write.len() - to)]
        } else {
            vec![]
        };
        for index in order {
            self.connect(Piece(index));
        }
        self.compactions += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(limit: usize) -> Arena {
        Arena::new(1 << 16, limit, &[]).unwrap()
    }

    fn poisoned(arena: &Arena, from: usize, to: usize) -> bool {
        // SAFETY: inside the mapping.
        let bytes = unsafe { std::slice::from_raw_parts(arena.exec.as_ptr().add(from), to - from) };
        bytes.iter().all(|b| *b == TRAP)
    }

    fn call(arena: &Arena, piece: Piece) -> i32 {
        // SAFETY: the tests publish functions of this shape only.
        let f = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> i32>(arena.address(piece)) };
        f()
    }

    /// `mov eax, n; ret`.
    fn constant(n: i32) -> Vec<u8> {
        [&[0xb8], &n.to_le_bytes()[..], &[0xc3]].concat()
    }

    #[test]
    fn holes_are_merged_so_that_everything_freed_can_be_used_again() {
        let mut arena = arena(4096);
        let pieces: Vec<Piece> = (0..4).map(|_| arena.publish(&[0x90; 1000], &[]).unwrap()).collect();
        assert!(arena.publish(&[0x90; 1000], &[]).is_none());
        for i in [2, 0, 3, 1] {
            arena.release(pieces[i]);
        }
        assert_eq!(
            (arena.is_empty(), arena.holes.clone()),
            (true, vec![(arena.base, (1 << 16) - arena.base)])
        );
        assert!(arena.publish(&[0x90; 4096], &[]).is_some());
    }

    #[test]
    fn freed_code_is_traps_and_so_is_the_padding() {
        let mut arena = arena(4096);
        let piece = arena.publish(&constant(7), &[]).unwrap();
        assert_eq!(call(&arena, piece), 7);
        assert!(poisoned(&arena, arena.base + 6, arena.base + 16));
        arena.release(piece);
        assert!(poisoned(&arena, arena.base, arena.base + 16));
    }

    #[test]
    fn code_runs_where_it_was_moved_to_and_its_links_follow() {
        extern "C" fn ninety() -> i32 {
            90
        }
        let mut arena = Arena::new(
            1 << 16,
            4096,
            &[Helper {
                address: ninety as *const () as usize,
                keeps: false,
                knows: false,
            }],
        )
        .unwrap();
        let first = arena.publish(&[0x90; 100], &[]).unwrap();
        let callee = arena.publish(&constant(5), &[]).unwrap();
        // `sub rsp, 8; call callee; add rsp, 8; ret`, and the same for the helper.
        let code = [0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];
        let caller = arena
            .publish(
                &code,
                &[Link {
                    at: 5,
                    to: Target::Piece(callee),
                }],
            )
            .unwrap();
        let outside = arena
            .publish(
                &code,
                &[Link {
                    at: 5,
                    to: Target::Helper(0),
                }],
            )
            .unwrap();
        let before = arena.usage();
        arena.release(first);
        let was = arena.address(caller);
        assert!(arena.compact());
        assert!(arena.address(caller) < was);
        assert_eq!((call(&arena, caller), call(&arena, outside)), (5, 90));
        let usage = arena.usage();
        assert_eq!(
            (usage.used, usage.spread, usage.pieces),
            (before.used - 112, before.used - 112, 3)
        );
        assert!(poisoned(&arena, arena.base + usage.spread, arena.base + before.spread));
    }

    #[test]
    fn nothing_moves_or_dies_while_code_runs() {
        let mut arena = arena(4096);
        let (first, second) = (
            arena.publish(&constant(1), &[]).unwrap(),
            arena.publish(&constant(2), &[]).unwrap(),
        );
        arena.enter();
        arena.release(first);
        assert!(!arena.compact());
        assert_eq!((call(&arena, first), call(&arena, second)), (1, 2));
        arena.stop();
        arena.free();
        assert!(poisoned(&arena, arena.base, arena.base + 16));
        assert_eq!((arena.usage().used, call(&arena, second)), (16, 2));
    }

    #[test]
    fn holes_that_are_large_enough_together_are_made_one() {
        let mut arena = arena(4096);
        let pieces: Vec<Piece> = (0..16)
            .map(|i| arena.publish(&[&constant(i)[..], &[0x90; 250]].concat(), &[]).unwrap())
            .collect();
        for piece in pieces.iter().step_by(2) {
            arena.release(*piece);
        }
        let large = arena
            .publish(&[&constant(99)[..], &[0x90; 1000]].concat(), &[])
            .unwrap();
        assert_eq!((arena.usage().compactions, call(&arena, large)), (1, 99));
        for (i, piece) in pieces.iter().enumerate().skip(1).step_by(2) {
            assert_eq!(call(&arena, *piece), i as i32);
        }
    }

    #[test]
    fn short_loops_lie_well_wherever_the_last_piece_ended() {
        // `inc rax` 18 times and a jump back, behind three bytes.
        let code = [vec![0x90; 3], [0x48, 0xff, 0xc0].repeat(18), vec![0xeb, 200]].concat();
        let loops = short_loops(&code);
        assert_eq!(loops, vec![3..59]);
        for before in 1..=4 {
            let mut arena = arena(4096);
            arena.publish(&vec![0x90; 16 * before], &[]).unwrap();
            let piece = arena.publish(&code, &[]).unwrap();
            assert_eq!(badness(&loops, arena.held(piece).offset()), 0);
            let rest: usize = arena.holes.iter().map(|h| h.1).sum();
            assert_eq!(rest + arena.used + arena.base, 1 << 16);
            arena.release(piece);
            assert_eq!(arena.holes.len(), 1);
        }
    }

    #[test]
    fn a_lower_limit_refuses_more_and_keeps_what_is_there() {
        let mut arena = arena(4096);
        let piece = arena.publish(&constant(3), &[]).unwrap();
        assert_eq!(arena.set_limit(16), 16);
        assert!(arena.publish(&constant(4), &[]).is_none());
        assert_eq!(call(&arena, piece), 3);
        assert_eq!(arena.set_limit(1 << 30), (1 << 16) - arena.base);
        assert!(arena.publish(&constant(4), &[]).is_some());
    }
}
