//! Thousands of real traces in a small arena: compiled, run, freed, moved and run again, against a model in Rust.

use larder_jit::lower::{BREAKER, BUFFER_WORDS, FIRST, ITERATIONS, ORIGIN};
use larder_jit::{Arena, Code, Compiler, Helpers, Host, Piece, Source};
use larder_trace::{Cond, End, Exit, ExitId, Input, Inst, Layout, Op, Ref, Slot, Snapshot, Trace, Tree, Type, Val};

type Entry = unsafe extern "C" fn(*const u8, *mut u64) -> u64;

/// Counters a program works on: slot 0 counts down to zero, the others are mixed.
const SLOTS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Step {
    op: Op,
    to: usize,
    from: usize,
    constant: Option<i64>,
}

/// `while x[0] > 0: x[0] -= 1; steps`: what the trace must do.
#[derive(Clone, Debug)]
struct Program(Vec<Step>);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

impl Program {
    fn random(random: &mut Random) -> Program {
        let ops = [Op::AddW, Op::Xor, Op::And, Op::Or, Op::AddO];
        let count = 1 + random.below(12);
        let step = |random: &mut Random| Step {
            op: ops[random.below(5) as usize],
            to: 1 + random.below(SLOTS as u64 - 1) as usize,
            from: random.below(SLOTS as u64) as usize,
            constant: (random.below(2) == 0).then(|| random.below(1 << 20) as i64 - (1 << 19)),
        };
        Program((0..count).map(|_| step(random)).collect())
    }

    /// The exit (1 at the loop's end, 2 + step when a sum overflows), and the slots then.
    fn model(&self, mut x: [i64; SLOTS]) -> (u64, [i64; SLOTS]) {
        while x[0] > 0 {
            let head = x;
            x[0] -= 1;
            for (number, step) in self.0.iter().enumerate() {
                let (a, b) = (x[step.to], step.constant.unwrap_or(x[step.from]));
                x[step.to] = match step.op {
                    Op::AddW => a.wrapping_add(b),
                    Op::Xor => a ^ b,
                    Op::And => a & b,
                    Op::Or => a | b,
                    _ => match a.checked_add(b) {
                        Some(sum) => sum,
                        None => return (2 + number as u64, head),
                    },
                };
            }
        }
        (1, x)
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new(0, 0, SLOTS as u32);
        let no = [Ref::NONE; 3];
        let mut body = Vec::new();
        let emit = |tree: &mut Tree, op, args: &[Ref], imm, exit| {
            let mut all = no;
            all[..args.len()].copy_from_slice(args);
            tree.insts.push(Inst {
                op,
                args: all,
                imm,
                exit,
            });
            Ref(tree.insts.len() as u32 - 1)
        };
        let mut now = Vec::new();
        for index in 0..SLOTS {
            let mut refs = [Ref::NONE; 4];
            for (k, r) in refs.iter_mut().enumerate().take(2) {
                *r = emit(&mut tree, Op::Input, &[], (index << 3 | k) as i64, ExitId::NONE);
            }
            tree.inputs.push(Input {
                slot: Slot::frame(index),
                ty: Type::Int,
                refs,
                read: true,
            });
            now.push(refs[0]);
        }
        let exit = |tree: &mut Tree| {
            let snapshot = Snapshot {
                pc: tree.exits.len() as u32,
                depth: 0,
                slots: vec![],
            };
            tree.exits.push(Exit {
                snapshot,
                reason: "",
                side: None,
                owner: 0,
                onward: 0,
            });
            ExitId(tree.exits.len() as u32 - 1)
        };
        let zero = emit(&mut tree, Op::ConstI, &[], 0, ExitId::NONE);
        let minus = emit(&mut tree, Op::ConstI, &[], -1, ExitId::NONE);
        let more = emit(&mut tree, Op::CmpI, &[now[0], zero], Cond::Gt as i64, ExitId::NONE);
        let end = exit(&mut tree);
        let guard = emit(&mut tree, Op::GuardTrue, &[more], 0, end);
        body.extend([more, guard]);
        now[0] = emit(&mut tree, Op::AddW, &[now[0], minus], 0, ExitId::NONE);
        body.push(now[0]);
        for step in &self.0 {
            let b = match step.constant {
                Some(v) => emit(&mut tree, Op::ConstI, &[], v, ExitId::NONE),
                None => now[step.from],
            };
            // Every step has an exit, so that numbers agree with the model; only sums take it.
            let out = exit(&mut tree);
            let out = if step.op == Op::AddO { out } else { ExitId::NONE };
            now[step.to] = emit(&mut tree, step.op, &[now[step.to], b], 0, out);
            body.push(now[step.to]);
        }
        let changed = now
            .iter()
            .enumerate()
            .map(|(i, r)| (i as u32, [*r, Ref::NONE, Ref::NONE, Ref::NONE]))
            .collect();
        tree.traces.push(Trace {
            body,
            end: End::Head(changed),
            bytecodes: 1,
            from: None,
            outer: false,
            before: None,
            phis: Vec::new(),
        });
        tree
    }
}

fn compiler() -> Compiler {
    let layout: Layout = Layout::default();
    Compiler::new(Host {
        layout,
        breaker_mask: 1,
        true_object: 0,
        false_object: 0,
        chars: 0,
        log: 0,
        helpers: Helpers::default(),
    })
    .unwrap()
}

/// Runs published code on a program's slots and reads back what its exit's map names.
fn run(arena: &mut Arena, piece: Piece, code: &Code, x: [i64; SLOTS]) -> (u64, [i64; SLOTS]) {
    let mut buffer = [0u64; BUFFER_WORDS];
    for (index, v) in x.iter().enumerate() {
        buffer[FIRST + 2 * index] = *v as u64;
    }
    let breaker = 0u32;
    buffer[BREAKER] = &raw const breaker as u64;
    arena.enter();
    // SAFETY: the code was compiled for a buffer of this size and published whole.
    let exit = unsafe {
        let entry = std::mem::transmute::<*const u8, Entry>(arena.entry());
        entry(arena.address(piece), buffer.as_mut_ptr().add(ORIGIN))
    };
    arena.stop();
    arena.free();
    let mut out = x;
    for (slot, val, sources) in &code.exits[exit as usize].slots {
        assert!(matches!(val, Val::Int { .. }));
        out[slot.as_frame().unwrap()] = match sources[0] {
            Source::Buffer(at) => buffer[at as usize] as i64,
            Source::Const(v) => v,
        };
    }
    assert!(buffer[ITERATIONS] > 0);
    (exit, out)
}

#[test]
fn thousands_of_traces_run_the_same_after_others_died_and_all_moved() {
    let (mut random, mut compiler) = (Random(20_261_121), compiler());
    let limit = 128 << 10;
    let mut arena = Arena::new(1 << 20, limit, &[]).unwrap();
    let mut alive: Vec<(Program, Code, Piece)> = Vec::new();
    let (mut made, mut freed, mut exits) = (0, 0, 0);
    while made < 5_000 {
        let program = Program::random(&mut random);
        let code = compiler.compile(&program.tree()).unwrap();
        let piece = loop {
            if let Some(piece) = arena.publish(&code.bytes, &code.links) {
                break piece;
            }
            // Full: half of what there is goes, here and there.
            for _ in 0..alive.len() / 2 {
                let (_, _, old) = alive.swap_remove(random.below(alive.len() as u64) as usize);
                arena.release(old);
                freed += 1;
            }
        };
        alive.push((program, code, piece));
        made += 1;
        if made % 250 == 0 {
            assert!(arena.compact());
            let usage = arena.usage();
            assert_eq!(
                (usage.pieces, usage.used),
                (alive.len(), usage.spread),
                "no hole is left"
            );
            assert!(usage.used <= limit);
            for (program, code, piece) in &alive {
                let small = |random: &mut Random| random.below(1 << 16) as i64 - (1 << 15);
                let big = i64::MAX - random.below(1 << 22) as i64;
                let x = [random.below(9) as i64, small(&mut random), small(&mut random), big];
                let found = run(&mut arena, *piece, code, x);
                assert_eq!(found, program.model(x), "{program:?} on {x:?}");
                exits += u64::from(found.0 > 1);
            }
        }
    }
    assert!(freed > 500 && exits > 100, "{freed} freed, {exits} exits by overflow");
    assert!(arena.usage().moved > 1 << 19, "{:?}", arena.usage());
}

#[test]
fn the_sample_that_wakes_the_back_end_compiles() {
    let mut compiler = compiler();
    compiler.warm_up().unwrap();
    compiler.warm_up().unwrap();
}
