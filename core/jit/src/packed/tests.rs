//! Packing and reading back.

use super::read::COMPONENTS;
use super::*;
use larder_trace::{Exit as TreeExit, Input, Snapshot};
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
            slots,
            tuples: vec![],
        },
    )
}

/// Reading an exit's values one by one gives the words that its entries name.
fn check_each(packed: &Packed, number: usize) {
    let buffer: Vec<MaybeUninit<u64>> = (0..600).map(|w| MaybeUninit::new(1000 + w)).collect();
    let mut seen = Vec::new();
    let to = packed.each(number, false, |slot, mut v| {
        match v.kind {
            kind::KNOWN => drop(v.object()),
            kind::SHARED_INT | kind::SHARED_FLOAT => drop(v.number()),
            kind::TUPLE => drop((v.number(), v.number())),
            _ => {}
        }
        let count = COMPONENTS[usize::from(v.kind)];
        // SAFETY: every word is written above.
        seen.push((
            slot,
            (0..count).map(|_| unsafe { v.word(&buffer) }).collect::<Vec<u64>>(),
        ));
    });
    let exit = packed.exit(number);
    assert_eq!((to, packed.linked(number)), ((exit.pc, exit.depth), exit.linked));
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
    let mut own = 0;
    packed.each(number, true, |_, _| own += 1);
    assert_eq!(own, entries.iter().filter(|e| !e.carried).count());
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
        boxed: Ref(0),
    };
    let shared = (
        Slot(12),
        shared,
        [Source::Buffer(4), Source::Buffer(5), Source::Const(0), Source::Const(0)],
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
    maps[5].tuples = vec![(3, inside.clone())];
    tree.exits = exits;
    tree.exits[3].reason = ANOTHER;
    let trace = || larder_trace::Trace {
        body: vec![],
        end: larder_trace::End::Head(vec![]),
        bytecodes: 0,
        from: None,
        outer: false,
        before: None,
        phis: Vec::new(),
    };
    tree.traces = vec![trace(), trace(), trace()];
    let code = Code {
        bytes: vec![],
        links: vec![],
        exits: maps.clone(),
        counters: 40,
    };
    let mut packed = Packed::new(&tree, &code, |o| o != immortal).unwrap();
    assert_eq!(packed.counters(), 41..43);
    for (number, map) in maps.iter().enumerate() {
        let found = packed.exit(number);
        assert_eq!((found.pc, found.depth), (tree.exits[number].snapshot.pc as usize, 3));
        assert_eq!(found.linked, number == 3);
        check_each(&packed, number);
        let mut found = found.entries;
        let wanted = map.slots.iter().enumerate().map(|(k, (slot, val, sources))| Entry {
            slot: *slot,
            val: *val,
            sources: *sources,
            items: if *val == Val::Tuple(3) { inside.clone() } else { vec![] },
            carried: k >= map.carried,
        });
        let mut wanted: Vec<Entry> = wanted.collect();
        found.sort_by_key(|e| e.slot);
        wanted.sort_by_key(|e| e.slot);
        assert_eq!(found, wanted, "exit {number}");
    }
    assert_eq!(
        packed.inputs().collect::<Vec<_>>(),
        [(Slot(3), input::INT, Obj::NULL), (Slot::name(1), input::PTR, o)].map(|(slot, ty, object)| super::Input {
            slot,
            ty,
            object,
            write_only: false,
        })
    );
    let slots: Vec<Slot> = packed.overwritten().collect();
    assert_eq!(
        slots,
        [
            Slot(1),
            Slot(2),
            Slot(4),
            Slot(7),
            Slot(11),
            Slot(12),
            Slot(13),
            Slot::name(2)
        ]
    );
    assert_eq!([packed.name(0), packed.name(1)], [tree.names[0], tree.names[1]]);
    assert_eq!(packed.spaces().collect::<Vec<_>>(), [dict]);
    assert_eq!(packed.objects().collect::<Vec<_>>(), [dict, o, mortal]);
    let entries: usize = maps.iter().map(|m| m.slots.len()).sum();
    assert!(
        packed.bytes.len() < 9 * entries,
        "{} bytes for {entries} entries",
        packed.bytes.len()
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
