//! A float that only its place holds is changed there; one that something else may name is not.

use larder_jit::lower::{BREAKER, BUFFER_WORDS, FIRST, LOGGED, ORIGIN, SCRATCH};
use larder_jit::{Arena, Compiler, Helpers, Host};
use larder_trace::{Layout, Op, Ref, text};

/// A float object: owners, type, value. Where a list keeps its items is its word 2.
type Object = [u64; 3];

static MADE: std::sync::Mutex<Object> = std::sync::Mutex::new([1, 0, 0]);

extern "C" fn instead(_old: u64, logged: *mut u64) {
    let made = MADE.lock().unwrap().as_mut_ptr();
    // SAFETY: the word LOGGED of the buffer; SCRATCH lies before it.
    unsafe { *logged.sub(LOGGED - SCRATCH) = made as u64 };
}

/// Whether the object in place 0 is changed there, with so many owners, where something holds what is in this place.
fn changed(owners: u64, held: usize) -> bool {
    let text = "
        in list ptr
        in i ibox int
        in j jbox int
        in x xbox float
        items = items list
        held = load items j
        old = load items i
        new = replacef old x #0
        put items i new
    ";
    let mut tree = text::parse(text).unwrap();
    let loads = tree.insts.iter().position(|i| i.op == Op::Load).unwrap();
    tree.holders[0].floats.push(Ref(loads as u32));
    let helpers = Helpers {
        replace_float: instead as *const () as usize,
        ..Helpers::default()
    };
    let mut log = [0u64; 64];
    let host = Host {
        layout: Layout {
            list_items: 16,
            float_value: 16,
            ..Layout::default()
        },
        breaker_mask: 1,
        true_object: 0,
        false_object: 0,
        chars: 0,
        log: log.as_mut_ptr() as usize,
        helpers,
    };
    let code = Compiler::new(host).unwrap().compile(&tree).unwrap();
    let mut arena = Arena::new(1 << 16, 1 << 14, &helpers.all()).unwrap();
    let piece = arena.publish(&code.bytes, &code.links).unwrap();
    let mut objects: [Object; 2] = [[owners, 0, 5f64.to_bits()], [1, 0, 6f64.to_bits()]];
    let mut items = [&raw mut objects[0] as u64, &raw mut objects[1] as u64];
    let list = [1, 0, items.as_mut_ptr() as u64];
    let breaker = 0u32;
    let mut buffer = [0u64; BUFFER_WORDS];
    buffer[BREAKER] = &raw const breaker as u64;
    for (at, word) in [&raw const list as u64, 0, 0, held as u64, 0, 7.5f64.to_bits(), 0]
        .into_iter()
        .enumerate()
    {
        buffer[FIRST + at] = word;
    }
    arena.enter();
    // SAFETY: the code was compiled for a buffer of this size, and what it is given are objects of this layout.
    unsafe {
        let entry = std::mem::transmute::<*const u8, unsafe extern "C" fn(*const u8, *mut u64) -> u64>(arena.entry());
        entry(arena.address(piece), buffer.as_mut_ptr().add(ORIGIN));
    }
    arena.stop();
    let first = &raw const objects[0] as u64;
    // SAFETY: an object of this test, which nothing has taken away.
    let value = unsafe { std::ptr::read_volatile((items[0] + 16) as *const u64) };
    assert_eq!(f64::from_bits(value), 7.5, "the place has the number in any case");
    items[0] == first
}

#[test]
fn a_float_is_changed_where_it_lies_unless_somebody_else_may_see_it() {
    assert!(changed(1, 1), "only its place holds it");
    assert!(!changed(2, 1), "it has two owners");
    assert!(!changed(1, 0), "a register names it without owning it");
}
