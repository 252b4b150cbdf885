//! Packing and reading back.

use super::read::COMPONENTS;
use super::*;
use crate::lower::ExitMap;
use larder_trace::{Exit as TreeExit, Input, Ref, Snapshot, Type};
use std::mem::MaybeUninit;

type Place = (Slot, Val, [Source; 4]);

fn exit(pc: u32, slots: Vec<Place>) -> (TreeExit, ExitMap) {
    let snapshot = Snapshot {
        pc,
        depth: 3,
        slots: vec![],
    };
    (
        TreeExit {
            snapshot,
            reason: "",
            side: None,
            owner: 0,
            onward: 0,
        },
        ExitMap {
            carried: slots.len(),
            fresh: slots.len(),
            slots,
            tuples: vec![],
        },
    )
}

/// Reading an exit's values one by one gives the words that its entries name.
fn check_each(packed: &Packed, number: usize) {
    let buffer: Buffer = std::array::from_fn(|w| MaybeUninit::new(1000 + w as u64));
    let mut seen = Vec::new();
    let to = packed.each(number, Past::Any, |place, mut v| {
        let slot = place.slot();
        match v.kind {
            kind::KNOWN => drop(v.object()),
            kind::NAMED_INT | kind::NAMED_FLOAT => drop(v.number()),
            kind::TUPLE => drop((v.number(), v.number())),
            _ => {}
        }
        let count = COMPONENTS[usize::from(v.kind)];
        // SAFETY: every word is written above.
        seen.push((slot, unsafe {
            match count {
                0 => vec![],
                1 => vec![v.word(&buffer)],
                2 => v.words::<2>(&buffer).0.to_vec(),
                3 => v.words::<3>(&buffer).0.to_vec(),
                _ => v.words::<4>(&buffer).0.to_vec(),
            }
        }));
    });
    let exit = packed.exit(number);
    assert_eq!((to, packed.linked(number)), ((exit.distance, exit.depth), exit.linked));
    let entries = exit.entries;
    let word = |s: &Source| match *s {
        Source::Buffer(at) => 1000 + u64::from(at),
        Source::Const(v) => v as u64,
    };
    let wanted: Vec<(Slot, Vec<u64>)> = entries
        .iter()
        .zip(&seen)
        .map(|(e, (_, words))| (e.slot, e.sources[..words.len()].iter().map(word).collect()))
        .collect();
    assert_eq!(seen, wanted, "exit {number}");
    let written = |past| {
        let mut count = 0;
        packed.each(number, past, |_, _| count += 1);
        count
    };
    assert_eq!(written(Past::None), entries.iter().filter(|e| !e.carried).count());
    assert_eq!(written(Past::Counted), entries.iter().filter(|e| !e.fresh).count());
}

#[test]
fn exits_come_back_as_they_were_packed_in_fewer_bytes() {
    let r = Ref::NONE;
    let int = |slot: u32, word: u16| -> Place {
        let val = Val::Int { value: r, boxed: r };
        (
            Slot(slot),
            val,
            [
                Source::Buffer(word + 10),
                Source::Const(0),
                Source::Const(0),
                Source::Const(0),
            ],
        )
    };
    let shared = Val::Float {
        value: r,
        boxed: Ref(4), // told by its object's place
    };
    let shared = (
        Slot(12),
        shared,
        [Source::Buffer(5), Source::Buffer(6), Source::Const(0), Source::Const(0)],
    );
    let pair = (Slot(13), Val::Tuple(3), [Source::Const(0); 4]);
    let inside = vec![(int(0, 7).1, int(0, 7).2), (shared.1, shared.2)];
    let (o, dict) = (Obj(0x1000), Obj(0x2000));
    let known = (Slot(7), Val::Known(o), [Source::Const(0); 4]);
    let big = (
        Slot::name(2),
        Val::RangeIter {
            next: r,
            step: r,
            left: r,
            object: r,
        },
        [
            Source::Const(i64::MIN),
            Source::Const(-1),
            Source::Buffer(500),
            Source::Buffer(30),
        ],
    );
    let mut tree = Tree::new(9, 1, 4);
    let (mortal, immortal) = (Obj(0x3000), Obj(0x4000));
    tree.pins = vec![immortal, o, mortal];
    tree.names = vec![
        Name {
            space: Namespace::Builtins,
            key: o,
        },
        Name {
            space: Namespace::Dict(dict),
            key: o,
        },
    ];
    tree.inputs = vec![
        Input {
            slot: Slot(3),
            ty: Type::Int,
            refs: [r; 4],
            read: true,
        },
        Input {
            slot: Slot::name(1),
            ty: Type::Ptr(o),
            refs: [r; 4],
            read: true,
        },
    ];
    let all = vec![
        exit(5, vec![int(1, 2), int(2, 3), known, big, int(4, 9)]),
        exit(6, vec![int(1, 2), int(2, 3), known, big]),
        exit(600, vec![int(1, 30), int(4, 9), known, big]),
        exit(7, vec![]),
        exit(8, vec![int(11, 2)]),
        exit(9, vec![shared, pair, int(1, 2)]),
    ];
    let (exits, mut maps): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    maps[5].carried = 2;
    (maps[4].carried, maps[4].fresh) = (0, 0);
    maps[5].tuples = vec![(3, inside.clone())];
    tree.exits = exits;
    tree.exits[3].reason = ANOTHER;
    tree.traces = vec![one_trace(), one_trace(), one_trace()];
    let code = Code {
        bytes: vec![],
        links: vec![],
        exits: maps.clone(),
        counters: 40,
        fresh: true,
    };
    let mut packed = Packed::new(&tree, &code, |o| o != immortal).unwrap();
    assert_eq!(packed.counters(), 41..43);
    // Passes, and how many of them are counted.
    let past = [(1, 0), (1, 9), (3, 2), (3, 1)].map(|(passes, counted)| packed.past(passes, || counted));
    assert_eq!(past, [Past::None, Past::None, Past::Counted, Past::Any]);
    for (number, map) in maps.iter().enumerate() {
        let found = packed.exit(number);
        let distance = tree.exits[number].snapshot.pc as isize - 9;
        assert_eq!((found.distance, found.depth), (distance, 3));
        assert_eq!(found.linked, number == 3);
        check_each(&packed, number);
        let mut found = found.entries;
        let wanted = map.slots.iter().enumerate().map(|(k, (slot, val, sources))| Entry {
            slot: *slot,
            val: *val,
            sources: *sources,
            items: if *val == Val::Tuple(3) { inside.clone() } else { vec![] },
            carried: k >= map.carried,
            fresh: k >= map.fresh,
        });
        let mut wanted: Vec<Entry> = wanted.collect();
        found.sort_by_key(|e| e.slot);
        wanted.sort_by_key(|e| e.slot);
        assert_eq!(found, wanted, "exit {number}");
    }
    assert_eq!(
        packed
            .inputs()
            .map(|i| (i.place.slot(), i.ty, i.object, i.skipped))
            .collect::<Vec<_>>(),
        [(Slot(3), input::INT, Obj::NULL, 0), (Slot::name(1), input::PTR, o, 0)]
    );
    let slots: Vec<Slot> = packed.overwritten().collect();
    // What lies on the stack (four locals) is an input in any case.
    assert_eq!(slots, [Slot(1), Slot(2), Slot::name(2)]);
    assert_eq!([packed.name(0), packed.name(1)], [tree.names[0], tree.names[1]]);
    assert_eq!(packed.spaces().collect::<Vec<_>>(), [dict]);
    assert_eq!(packed.objects().collect::<Vec<_>>(), [o, dict, mortal]);
    let entries: usize = maps.iter().map(|m| m.slots.len()).sum();
    assert!(
        usize::from(packed.len) < 9 * entries,
        "{} bytes for {entries} entries",
        usize::from(packed.len)
    );
    for _ in 0..300 {
        packed.take(5);
    }
    packed.take(0);
    let mut grown = Packed::new(&tree, &code, |_| true).unwrap();
    grown.take_over(&packed);
    let taken: Vec<u8> = (0..6).map(|exit| grown.taken(exit)).collect();
    assert_eq!(taken, [1, 0, 0, 0, 0, 255]);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_tree_has_few_bytes_beside_its_list() {
    assert_eq!(size_of::<Packed>(), 32);
}

fn nothing(_: Obj) -> bool {
    false
}

fn code(exits: &[ExitMap]) -> Code {
    Code {
        bytes: vec![],
        links: vec![],
        exits: exits.to_vec(),
        counters: 40,
        fresh: false,
    }
}

fn one_trace() -> larder_trace::Trace {
    larder_trace::Trace {
        body: vec![],
        end: larder_trace::End::Head(vec![]),
        bytecodes: 0,
        from: None,
        outer: false,
        before: None,
        phis: Vec::new(),
    }
}

#[test]
fn who_shares_a_number_is_told_by_words_where_they_tell_it() {
    let (one, two) = (Ref(100), Ref(200));
    let int = |boxed| Val::Int {
        value: Ref::NONE,
        boxed,
    };
    let at = |number, object| [number, object, Source::Const(0), Source::Const(0)];
    let (none, word) = (Source::Const(0), Source::Buffer);
    let exits = [
        // Nobody shares it; two do; two each, of the same number; with an object; a constant, and one with an object.
        vec![(0, int(one), at(word(5), none))],
        vec![(0, int(one), at(word(5), none)), (1, int(one), at(word(5), none))],
        vec![
            (0, int(one), at(word(5), none)),
            (1, int(one), at(word(5), none)),
            (2, int(two), at(word(5), none)),
            (3, int(two), at(word(5), none)),
        ],
        vec![(0, int(one), at(word(5), word(6))), (1, int(one), at(word(5), word(6)))],
        vec![
            (0, int(one), at(Source::Const(7), none)),
            (1, int(one), at(Source::Const(7), none)),
            (2, int(two), at(Source::Const(1 << 40), Source::Const(0x5000))),
        ],
        vec![(2, int(one), at(word(5), word(9)))],
    ];
    let (exits, maps): (Vec<_>, Vec<_>) = exits
        .into_iter()
        .map(|slots| {
            exit(
                9,
                slots
                    .into_iter()
                    .map(|(slot, val, sources)| (Slot(slot), val, sources))
                    .collect(),
            )
        })
        .unzip();
    let mut tree = Tree::new(9, 1, 4);
    (tree.exits, tree.traces) = (exits, vec![one_trace()]);
    let packed = Packed::new(&tree, &code(&maps), nothing).unwrap();
    let kinds = |number: usize| {
        let mut kinds = Vec::new();
        packed.each(number, Past::Any, |place, v| {
            kinds.push((place.slot().0, v.kind, v.run))
        });
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(kinds(0), [(0, kind::INT, false)]);
    assert_eq!(kinds(1), [(0, kind::TWIN_INT, false), (1, kind::TWIN_INT, false)]);
    assert_eq!(kinds(2), [0, 1, 2, 3].map(|slot| (slot, kind::NAMED_INT, false)));
    // Words that follow each other are told by the first.
    assert_eq!(kinds(3), [(0, kind::SHARED_INT, true), (1, kind::SHARED_INT, true)]);
    assert_eq!(
        kinds(4),
        [
            (0, kind::NAMED_INT, false),
            (1, kind::NAMED_INT, false),
            (2, kind::KNOWN, false)
        ]
    );
    assert_eq!(kinds(5), [(2, kind::SHARED_INT, false)]);
    (0..6).for_each(|number| check_each(&packed, number));
    let identities = |number: usize| -> Vec<Ref> {
        let mut entries = packed.exit(number).entries;
        entries.sort_by_key(|e| e.slot);
        entries.iter().map(|e| e.val.identity().unwrap_or(Ref::NONE)).collect()
    };
    let four = identities(2);
    assert!(
        four[0] == four[1] && four[2] == four[3] && four[0] != four[2],
        "{four:?}"
    );
    for number in [1, 3] {
        assert!(identities(number)[0] == identities(number)[1]);
    }
    assert_eq!(packed.objects().collect::<Vec<_>>(), [Obj(0x5000)]);
    // A constant that would have to be held is not named.
    let packed = Packed::new(&tree, &code(&maps), |_| true).unwrap();
    assert_eq!(packed.objects().count(), 0);
    check_each(&packed, 4);
    let (kind, object) = (kind::SHARED_INT, Source::Const(0x5000));
    packed.each(4, Past::Any, |place, v| assert_eq!(v.kind == kind, place.slot().0 == 2));
    assert!(packed.exit(4).entries.iter().any(|e| e.sources[1] == object));
}

#[test]
fn large_trees_come_back_as_small_ones() {
    let mut tree = Tree::new(1000, 1, 4);
    tree.traces = vec![one_trace()];
    tree.names = (0..200)
        .map(|n| Name {
            space: Namespace::Builtins,
            key: Obj(0x1000 * (n + 1)),
        })
        .collect();
    let val = Val::Int {
        value: Ref::NONE,
        boxed: Ref::NONE,
    };
    let place = |n: u32| {
        (
            Slot(n),
            val,
            [
                Source::Buffer(5 + n as u16),
                Source::Const(0),
                Source::Const(0),
                Source::Const(0),
            ],
        )
    };
    // 300 sets; distances of two bytes.
    let all = (0..300u32).map(|n| exit(900 + n, (0..9).filter(|k| n >> k & 1 != 0).map(place).collect()));
    let (exits, maps): (Vec<_>, Vec<_>) = all.unzip();
    tree.exits = exits;
    for ty in [Type::RangeIter, Type::Int, Type::RangeIter] {
        let slot = Slot(tree.inputs.len() as u32 * 40);
        tree.inputs.push(Input {
            slot,
            ty,
            refs: [Ref::NONE; 4],
            read: true,
        });
    }
    // Two that are written before they are read.
    for slot in [120, 160] {
        let (slot, ty, refs) = (Slot(slot), Type::Ptr(Obj(0x1000)), [Ref::NONE; 4]);
        tree.inputs.push(Input {
            slot,
            ty,
            refs,
            read: false,
        });
    }
    tree.traces[0].end = larder_trace::End::Head(vec![(3, [Ref::NONE; 4]), (4, [Ref::NONE; 4])]);
    let mut packed = Packed::new(&tree, &code(&maps), nothing).unwrap();
    packed.take(299);
    assert_eq!((packed.taken(299), packed.taken(298), packed.taken(0)), (1, 0, 0));
    for number in 0..300 {
        let found = packed.exit(number);
        assert_eq!((found.distance, found.depth), (number as isize - 100, 3));
        let mut slots: Vec<u32> = found.entries.iter().map(|e| e.slot.0).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..9).filter(|k| number >> k & 1 != 0).collect::<Vec<u32>>());
        check_each(&packed, number);
    }
    let inputs: Vec<_> = packed.inputs().map(|i| (i.place.slot().0, i.ty, i.skipped)).collect();
    let wanted = [(0, input::RANGE_ITER), (40, input::INT), (80, input::RANGE_ITER)].map(|(s, ty)| (s, ty, 0));
    assert_eq!(
        (&inputs[..3], &inputs[3..]),
        (&wanted[..], &[(0, input::SKIPPED, 2)][..])
    );
    assert!((0..200).all(|n| packed.name(n) == tree.names[n]));
}

#[test]
fn what_the_process_names_takes_no_bytes_of_a_tree() {
    set_common(&[Obj(0x7000_0000), Obj(0x7000_1000)]);
    let types = [Obj(0x7000_1000), Obj(0x7000_2000), Obj(0x7000_0000)];
    let mut tree = Tree::new(9, 1, 4);
    tree.traces = vec![one_trace()];
    tree.names = types
        .map(|key| Name {
            space: Namespace::Builtins,
            key,
        })
        .to_vec();
    tree.pins = types.to_vec();
    for (slot, ty) in types.iter().map(|o| Type::Ptr(*o)).enumerate() {
        let slot = Slot(slot as u32);
        tree.inputs.push(Input {
            slot,
            ty,
            refs: [Ref::NONE; 4],
            read: true,
        });
    }
    let (of_exit, map) = exit(9, vec![]);
    tree.exits = vec![of_exit];
    let packed = Packed::new(&tree, &code(&[map]), |_| true).unwrap();
    assert_eq!(packed.objects().collect::<Vec<_>>(), [types[1]]);
    assert_eq!(packed.inputs().map(|i| i.object).collect::<Vec<_>>(), types);
    assert!((0..3).all(|n| packed.name(n).key == types[n]));
}
