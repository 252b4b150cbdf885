//! Random traces of numbers give the same after every pass: the same values, and the same exit where one is taken.

use larder_trace::opt::{Passes, optimise};
use larder_trace::{Cond, Op, Ref, Tree, text};
use std::fmt::Write;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n as u64) as usize
    }
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const INTS: [i64; 16] = [
    0,
    1,
    -1,
    2,
    3,
    5,
    8,
    255,
    -8,
    1 << 31,
    1 << 53,
    -(1 << 53),
    (1 << 53) + 1,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
];
const FLOATS: [f64; 8] = [0.0, -0.0, 1.0, -1.5, 2.0, 4.0, 1e300, 0.1];

/// A trace of ints, floats and bools as text; every operation with an exit has one of its own.
fn program(random: &mut Random) -> String {
    let mut out = String::new();
    let (mut ints, mut floats, mut bools) = (Vec::new(), Vec::new(), Vec::new());
    for k in 0..3 {
        let _ = writeln!(out, "in i{k} o{k} int\nin f{k} p{k} float");
        ints.push(format!("i{k}"));
        floats.push(format!("f{k}"));
    }
    for k in 0..4 {
        let small = random.below(7);
        let few = if random.below(3) == 0 { INTS.len() } else { 9 };
        let (n, x) = (random.one(&INTS[..few]), random.one(&FLOATS));
        let _ = writeln!(
            out,
            "ci{k} = consti {}\ncf{k} = constf {x:?}\ncp{k} = consti {}",
            n,
            random.one(&[1, 3, 10]) << small
        );
        ints.extend([format!("ci{k}"), format!("cp{k}")]);
        floats.push(format!("cf{k}"));
    }
    let _ = writeln!(out, "cb0 = constb 0\ncb1 = constb 1");
    bools.extend(["cb0".to_string(), "cb1".to_string()]);
    let steps = 4 + random.below(16);
    for k in 0..steps {
        let (a, b) = (random.one(&ints), random.one(&ints));
        let (x, y) = (random.one(&floats), random.one(&floats));
        // What was made last is asked about often.
        let a = if random.below(3) == 0 {
            ints[ints.len() - 1].clone()
        } else {
            a
        };
        let (c, d) = (random.one(&bools), random.one(&bools));
        let cond = random.below(7);
        let positive = format!("cp{}", random.below(4));
        match random.below(30) {
            0..5 => {
                let op = random.one(&["add", "sub", "mul"]);
                let _ = writeln!(out, "v{k} = {op} {a} {b} !{}", k + 1);
                ints.push(format!("v{k}"));
            }
            5..8 => {
                let op = random.one(&["addw", "subw", "mulw", "and", "and", "or", "xor"]);
                let _ = writeln!(out, "v{k} = {op} {a} {b}");
                ints.push(format!("v{k}"));
            }
            8 => {
                let _ = writeln!(out, "v{k} = not {a}");
                ints.push(format!("v{k}"));
            }
            9 => {
                let _ = writeln!(out, "v{k} = neg {a} !{}", k + 1);
                ints.push(format!("v{k}"));
            }
            10..13 => {
                let op = random.one(&["floordiv", "mod", "mod"]);
                // Also by a number that is only known to be positive.
                let by = match random.below(3) {
                    0 => {
                        let _ = writeln!(out, "w{k} = and {b} {positive}\nu{k} = addw w{k} {positive}");
                        format!("u{k}")
                    }
                    _ => positive,
                };
                let _ = writeln!(out, "v{k} = {op} {a} {by}");
                ints.push(format!("v{k}"));
            }
            13 => {
                let _ = writeln!(
                    out,
                    "s{k} = consti {}\nt{k} = and {b} s{k}\nv{k} = shr {a} {}",
                    random.one(&[0, 1, 7, 63]),
                    random.one(&["s", "t"]).to_string() + &k.to_string()
                );
                ints.push(format!("v{k}"));
            }
            14 => {
                let op = random.one(&["fadd", "fsub", "fmul", "fmul"]);
                let _ = writeln!(out, "v{k} = {op} {x} {y}");
                floats.push(format!("v{k}"));
            }
            15 => {
                let op = random.one(&["fneg", "fabs"]);
                let _ = writeln!(out, "v{k} = {op} {x}");
                floats.push(format!("v{k}"));
            }
            16 => {
                let _ = writeln!(out, "v{k} = itof {a}");
                floats.push(format!("v{k}"));
            }
            17 => {
                let _ = writeln!(out, "v{k} = btoi {c}");
                ints.push(format!("v{k}"));
            }
            18 => {
                let _ = writeln!(out, "v{k} = notb {c}");
                bools.push(format!("v{k}"));
            }
            19 => {
                let _ = writeln!(out, "v{k} = andb {c} {d}");
                bools.push(format!("v{k}"));
            }
            20 => {
                let _ = writeln!(out, "v{k} = cmpf {x} {y} #{}", cond % 6);
                bools.push(format!("v{k}"));
            }
            28 => {
                // What is learned of a number, asked one further.
                let (i, n) = (format!("i{}", random.below(3)), random.below(5) as i64 - 1);
                let _ = writeln!(
                    out,
                    "k{k} = consti {n}\nl{k} = consti {}",
                    n + random.below(3) as i64 - 1
                );
                let two = |random: &mut Random, c: String| {
                    let turned = random.below(2) == 0;
                    if turned { format!("{c} {i}") } else { format!("{i} {c}") }
                };
                let (one, other) = (two(random, format!("k{k}")), two(random, format!("l{k}")));
                let op = random.one(&["guard", "guard", "guardnot"]);
                let _ = writeln!(out, "q{k} = cmpi {one} #{cond}\n{op} q{k} !{}", k + 1);
                let _ = writeln!(out, "v{k} = cmpi {other} #{}", random.below(7));
                bools.push(format!("v{k}"));
            }
            29 => {
                let _ = writeln!(out, "d{k} = constf {:?}", random.one(&[2.5, -4.0, 1e-300]));
                let _ = writeln!(out, "v{k} = fdiv {x} d{k}");
                floats.push(format!("v{k}"));
            }
            21 => {
                let _ = writeln!(out, "guardexact {a} !{}", k + 1);
            }
            22..25 => {
                let op = random.one(&["guard", "guardnot"]);
                let c = bools[bools.len() - 1].clone();
                let _ = writeln!(out, "{op} {c} !{}", k + 1);
            }
            _ => {
                let _ = writeln!(out, "v{k} = cmpi {a} {b} #{cond}");
                bools.push(format!("v{k}"));
                if random.below(2) == 0 {
                    let op = random.one(&["guard", "guardnot"]);
                    let _ = writeln!(out, "{op} v{k} !{}", k + 1);
                }
            }
        }
    }
    let all: Vec<String> = [ints, floats, bools].concat().split_off(6);
    let _ = writeln!(out, "live {}", all.join(" "));
    out
}

/// What a trace gives: the exit it takes, if any, else what is live.
fn run(tree: &Tree, inputs: &[u64]) -> Result<Vec<u64>, u32> {
    let mut values = vec![0u64; tree.insts.len()];
    for (r, inst) in tree.insts.iter().enumerate() {
        values[r] = match inst.op {
            Op::Input if inst.imm & 7 == 0 => inputs[(inst.imm >> 3) as usize],
            op if op.is_const() => inst.imm as u64,
            _ => 0,
        };
    }
    for r in &tree.traces[0].body {
        let inst = tree.inst(*r);
        let get = |k: usize| {
            if inst.args[k].is_none() {
                0
            } else {
                values[inst.args[k].at()]
            }
        };
        let (a, b, out) = (get(0) as i64, get(1) as i64, inst.exit.0);
        let (x, y) = (f64::from_bits(get(0)), f64::from_bits(get(1)));
        let checked = |n: Option<i64>| n.map(|n| n as u64).ok_or(out);
        let float = |x: f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
        values[r.at()] = match inst.op {
            Op::AddO => checked(a.checked_add(b))?,
            Op::SubO => checked(a.checked_sub(b))?,
            Op::MulO => checked(a.checked_mul(b))?,
            Op::NegO => checked(a.checked_neg())?,
            Op::AddW => a.wrapping_add(b) as u64,
            Op::SubW => a.wrapping_sub(b) as u64,
            Op::MulW => a.wrapping_mul(b) as u64,
            Op::And | Op::AndB => (a & b) as u64,
            Op::Or => (a | b) as u64,
            Op::Xor => (a ^ b) as u64,
            Op::Not => !a as u64,
            Op::Shr => a.wrapping_shr(b as u32) as u64,
            // Machine code asks no more of the divisor than that it is positive.
            Op::FloorDiv => a.checked_div_euclid(b).unwrap_or(0) as u64,
            Op::Mod => a.checked_rem_euclid(b).unwrap_or(0) as u64,
            Op::FAdd => float(x + y),
            Op::FSub => float(x - y),
            Op::FMul => float(x * y),
            Op::FDiv => float(x / y),
            Op::FNeg => float(-x),
            Op::FAbs => float(x.abs()),
            Op::IToF => float(a as f64),
            Op::BToI => a as u64,
            Op::NotB => u64::from(a == 0),
            Op::CmpI => u64::from(Cond::from_imm(inst.imm).ints(a, b)),
            Op::CmpF => u64::from(Cond::from_imm(inst.imm).floats(x, y)),
            Op::GuardTrue if a == 0 => return Err(out),
            Op::GuardFalse if a != 0 => return Err(out),
            Op::GuardExact if a.unsigned_abs() > 1 << 53 => return Err(out),
            op if op.is_guard() => 0,
            op => panic!("{op:?}"),
        };
    }
    let live = |v: &larder_trace::Val| v.components().0[0];
    let slots = &tree.exits[0].snapshot.slots;
    let values: Vec<u64> = slots
        .iter()
        .map(|(_, v)| live(v))
        .map(|r: Ref| values[r.at()])
        .collect();
    Ok(values)
}

#[test]
fn random_traces_of_numbers_give_the_same() {
    let mut random = Random(20_261_123);
    let (mut left, mut through, mut less) = (0, 0, 0);
    for number in 0..20_000 {
        let program = program(&mut random);
        let plain = text::parse(&program).unwrap();
        let mut tree = text::parse(&program).unwrap();
        optimise(&mut tree, 0, &Passes::ALL);
        less += plain.traces[0].body.len() - tree.traces[0].body.len();
        for _ in 0..12 {
            let ints = [0; 3].map(|_| match random.below(3) {
                0 => random.one(&INTS) as u64,
                1 => random.below(12) as u64,
                _ => (random.below(40) as i64 - 20) as u64,
            });
            let floats = [0; 3].map(|_| random.one(&FLOATS).to_bits());
            let inputs: Vec<u64> = ints.into_iter().zip(floats).flat_map(|(i, f)| [i, f]).collect();
            let (wanted, found) = (run(&plain, &inputs), run(&tree, &inputs));
            assert_eq!(
                found,
                wanted,
                "trace {number} on {inputs:?}\n{program}\n{}",
                text::body(&tree, &[])
            );
            left += usize::from(wanted.is_err());
            through += usize::from(wanted.is_ok());
        }
    }
    assert!(
        left > 10_000 && through > 10_000 && less > 10_000,
        "{left} {through} {less}"
    );
}
