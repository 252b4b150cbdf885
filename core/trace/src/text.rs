//! Traces as text: printed for people, read for tests.
//!
//! ```text
//! in v0 v1 int
//! in v2 ptr
//! v3 = consti 1
//! v4 = add v0 v3 !0
//! guardtype v2 #7 !1
//! live v4
//! ```
//!
//! `in` declares an input with its components, `!` names the exit, `#` is the immediate, `live` what an exit needs.

use crate::ir::{End, Exit, ExitId, Inst, Obj, Ref, Slot, Snapshot, Trace, Tree, Type, Val};
use crate::ops::{Kind, Op};
use std::collections::HashMap;
use std::fmt::Write;

fn name(tree: &Tree, r: Ref) -> String {
    if r.is_none() {
        return "-".into();
    }
    if let Some(t) = r.as_token() {
        return format!("token{t}");
    }
    let inst = tree.inst(r);
    match inst.op {
        Op::ConstI => format!("{}", inst.imm),
        Op::ConstF => format!("{:?}f", f64::from_bits(inst.imm as u64)),
        Op::ConstB => {
            if inst.imm != 0 {
                "true".into()
            } else {
                "false".into()
            }
        }
        Op::ConstP => format!("@{:x}", inst.imm),
        _ => format!("v{}", r.0),
    }
}

fn value(tree: &Tree, v: &Val) -> String {
    let n = |r: &Ref| name(tree, *r);
    match v {
        Val::Int { value, boxed } => format!("int {} {}", n(value), n(boxed)),
        Val::Float { value, boxed } => format!("float {} {}", n(value), n(boxed)),
        Val::Tuple(t) => {
            let items: Vec<String> = tree.tuples[*t as usize].iter().map(|v| value(tree, v)).collect();
            format!("tuple{t}({})", items.join(", "))
        }
        Val::Null => "null".into(),
        Val::Known(o) => format!("known @{:x}", o.0),
        v => {
            let (refs, count) = v.components();
            let parts: Vec<String> = refs[..count].iter().map(n).collect();
            let debug = format!("{v:?}");
            let word = debug.split([' ', '(']).next().unwrap_or("").to_lowercase();
            format!("{word} {}", parts.join(" "))
        }
    }
}

fn slot(s: Slot) -> String {
    match (s.as_frame(), s.as_name()) {
        (Some(i), _) => format!("s{i}"),
        (_, Some(n)) => format!("n{n}"),
        _ => "?".into(),
    }
}

/// One instruction.
pub fn instruction(tree: &Tree, r: Ref) -> String {
    let inst = tree.inst(r);
    let info = inst.op.info();
    let mut out = String::new();
    if info.gives != Kind::None {
        let _ = write!(out, "v{} = ", r.0);
    }
    out.push_str(info.name);
    for arg in &inst.args[..info.takes.len()] {
        let _ = write!(out, " {}", name(tree, *arg));
    }
    if !info.imm.is_empty() {
        let _ = write!(out, " #{}", inst.imm);
    }
    if inst.exit != ExitId::NONE {
        let _ = write!(out, " !{}", inst.exit.0);
    }
    out
}

/// A whole tree, for people.
pub fn listing(tree: &Tree) -> String {
    let mut out = String::new();
    for (i, input) in tree.inputs.iter().enumerate() {
        let refs: Vec<String> = input
            .refs
            .iter()
            .filter(|r| !r.is_none())
            .map(|r| name(tree, *r))
            .collect();
        let flag = if tree.write_only(i as u32) { " (write only)" } else { "" };
        let _ = writeln!(out, "in {} {:?} {}{flag}", slot(input.slot), input.ty, refs.join(" "));
    }
    let before = crate::opt::hoist(tree);
    for r in &before {
        let _ = writeln!(out, "before: {}", instruction(tree, *r));
    }
    for (k, trace) in tree.traces.iter().enumerate() {
        let from = match (trace.from, trace.before) {
            (Some(e), _) => format!("exit {}", e.0),
            (None, Some(lead)) => format!("trace {lead}, round and round"),
            (None, None) => "the head".into(),
        };
        let outer = if trace.outer { ", outer" } else { "" };
        let _ = writeln!(out, "trace {k} from {from}{outer}:");
        for r in trace.body.iter().filter(|r| !before.contains(r)) {
            let _ = writeln!(out, "  {}", instruction(tree, *r));
        }
        match &trace.end {
            End::Leave(e) => {
                let _ = writeln!(out, "  leave !{}", e.0);
            }
            End::Into(_, args) | End::Again(args) => {
                let (word, round) = match &trace.end {
                    End::Into(round, _) => ("into", *round as usize),
                    _ => ("again", k),
                };
                for (phi, now) in tree.traces[round].phis.iter().zip(args) {
                    let _ = writeln!(out, "  v{} <- {}", phi.0, name(tree, *now));
                }
                let _ = writeln!(out, "  {word} trace {round}");
            }
            End::Head(changed) => {
                for (i, refs) in changed {
                    let refs: Vec<String> = refs.iter().map(|r| name(tree, *r)).collect();
                    let _ = writeln!(out, "  {} <- {}", slot(tree.inputs[*i as usize].slot), refs.join(" "));
                }
                let _ = writeln!(out, "  head");
            }
        }
        for e in crate::opt::live_exits(tree, k) {
            let exit = &tree.exits[e.at()];
            let slots: Vec<String> = exit
                .snapshot
                .slots
                .iter()
                .map(|(s, v)| format!("{}: {}", slot(*s), value(tree, v)))
                .collect();
            let side = exit.side.map_or(String::new(), |s| format!(" -> trace {s}"));
            let _ = writeln!(
                out,
                "  exit {} at {} ({}){side} [{}]",
                e.0,
                exit.snapshot.pc,
                exit.reason,
                slots.join("; ")
            );
        }
    }
    out
}

/// A tree with one trace, from text as above.
///
/// # Errors
/// The line that is not understood.
pub fn parse(text: &str) -> Result<Tree, String> {
    let mut tree = Tree::new(0, 0, 0);
    let mut names: HashMap<String, Ref> = HashMap::new();
    let mut body = Vec::new();
    let mut live = Vec::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with("//"))
    {
        let bad = || format!("not understood: {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "in" {
            let (last, components) = words[1..].split_last().ok_or_else(bad)?;
            let ty = match *last {
                "int" => Type::Int,
                "float" => Type::Float,
                "bool" => Type::Bool,
                "ptr" => Type::Ptr(Obj(1)),
                _ => return Err(bad()),
            };
            let (index, mut refs) = (tree.inputs.len(), [Ref::NONE; 4]);
            for (k, place) in refs.iter_mut().enumerate().take(ty.components().len()) {
                *place = Ref(tree.insts.len() as u32);
                tree.insts.push(Inst {
                    op: Op::Input,
                    args: [Ref::NONE; 3],
                    imm: (index << 3 | k) as i64,
                    exit: ExitId::NONE,
                });
                if let Some(c) = components.get(k) {
                    names.insert((*c).to_string(), *place);
                }
            }
            let slot = Slot::frame(index);
            tree.inputs.push(crate::ir::Input {
                slot,
                ty,
                refs,
                read: true,
            });
            continue;
        }
        if words[0] == "live" {
            live.extend(words[1..].iter().map(|w| (*w).to_string()));
            continue;
        }
        let (result, words) = if words.get(1) == Some(&"=") {
            (Some(words[0]), &words[2..])
        } else {
            (None, &words[..])
        };
        let op = Op::named(words[0]).ok_or_else(bad)?;
        let mut inst = Inst {
            op,
            args: [Ref::NONE; 3],
            imm: 0,
            exit: ExitId::NONE,
        };
        let mut args = 0;
        for w in &words[1..] {
            if let Some(imm) = w.strip_prefix('#') {
                inst.imm = imm.parse().map_err(|_| bad())?;
            } else if let Some(exit) = w.strip_prefix('!') {
                let exit: u32 = exit.parse().map_err(|_| bad())?;
                while tree.exits.len() <= exit as usize {
                    tree.exits.push(Exit {
                        snapshot: Snapshot::default(),
                        reason: "",
                        side: None,
                        owner: 0,
                        onward: 0,
                    });
                }
                inst.exit = ExitId(exit);
            } else if op.is_const() {
                inst.imm = match op {
                    Op::ConstF => w.parse::<f64>().map_err(|_| bad())?.to_bits() as i64,
                    _ => w.parse().map_err(|_| bad())?,
                };
            } else {
                inst.args[args] = *names.get(*w).ok_or_else(bad)?;
                args += 1;
            }
        }
        if args != op.info().takes.len() {
            return Err(bad());
        }
        if matches!(op, Op::ReplaceI | Op::ReplaceF) && tree.holders.is_empty() {
            tree.holders.push(crate::ir::Holders::default());
        }
        let r = Ref(tree.insts.len() as u32);
        tree.insts.push(inst);
        if !op.is_const() {
            body.push(r);
        }
        if let Some(result) = result {
            names.insert(result.to_string(), r);
        }
    }
    for (k, name) in live.iter().enumerate() {
        let r = *names.get(name).ok_or_else(|| format!("not made: {name}"))?;
        let val = match tree.kind(r) {
            Kind::Int => Val::Int {
                value: r,
                boxed: Ref::NONE,
            },
            Kind::Float => Val::Float {
                value: r,
                boxed: Ref::NONE,
            },
            Kind::Bool => Val::Bool(r),
            _ => Val::Ptr(r, Obj(1)),
        };
        tree.exits[0].snapshot.slots.push((Slot::frame(100 + k), val));
    }
    tree.traces.push(Trace {
        body,
        end: End::Leave(ExitId::HEAD),
        bytecodes: 0,
        from: None,
        outer: false,
        before: None,
        phis: Vec::new(),
    });
    Ok(tree)
}

/// The body of a tree's first trace, its results numbered as they come; what was moved out of the loop comes first.
pub fn body(tree: &Tree, before: &[Ref]) -> String {
    let mut numbers: HashMap<Ref, usize> = HashMap::new();
    let mut out = String::new();
    let label = |r: Ref, numbers: &HashMap<Ref, usize>| match numbers.get(&r) {
        Some(n) => format!("r{n}"),
        None if tree.inst(r).op == Op::Input => format!("in{}", tree.inst(r).imm >> 3),
        None => name(tree, r),
    };
    let inside = tree.traces[0].body.iter().filter(|r| !before.contains(r));
    for (r, early) in before.iter().map(|r| (r, true)).chain(inside.map(|r| (r, false))) {
        let inst = tree.inst(*r);
        let info = inst.op.info();
        if early {
            out.push_str("before ");
        }
        if info.gives != Kind::None {
            let n = numbers.len();
            numbers.insert(*r, n);
            let _ = write!(out, "r{n} = ");
        }
        out.push_str(info.name);
        for arg in &inst.args[..info.takes.len()] {
            let _ = write!(out, " {}", label(*arg, &numbers));
        }
        if !info.imm.is_empty() && !matches!(inst.op, Op::ReplaceI | Op::ReplaceF) {
            let _ = write!(out, " #{}", inst.imm);
        }
        if inst.exit != ExitId::NONE {
            let _ = write!(out, " !{}", inst.exit.0);
        }
        out.push('\n');
    }
    let live = &tree.exits[0].snapshot.slots;
    if !live.is_empty() {
        let names: Vec<String> = live.iter().map(|(_, v)| label(v.components().0[0], &numbers)).collect();
        let _ = writeln!(out, "live {}", names.join(" "));
    }
    out
}
