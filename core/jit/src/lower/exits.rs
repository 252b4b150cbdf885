//! The way out: what each exit writes, and the shared blocks that write it.

use super::*;
use crate::stubs::Plan;

/// What an exit writes, and where what earlier passes changed begins in it.
type Written = (Vec<(Slot, Val)>, [usize; 2]);

impl Lower<'_, '_> {
    /// What an exit writes: what its snapshot names, and from the numbers given on, what earlier passes changed: those
    /// inputs; last those of [`ExitMap::fresh`].
    fn written(&self, exit: ExitId, changed: &[u32]) -> Written {
        let tree = self.tree;
        let snapshot = &tree.exits[exit.at()].snapshot;
        let mut vals = snapshot.slots.clone();
        vals.iter_mut().for_each(|v| v.1 = self.plain(v.1));
        let carried = vals.len();
        let mut fresh = Vec::new();
        for index in changed {
            let input = &tree.inputs[*index as usize];
            let popped = input
                .slot
                .as_frame()
                .is_some_and(|i| i >= (tree.locals + snapshot.depth) as usize);
            if !popped && !vals.iter().any(|v| v.0 == input.slot) {
                // What is forgotten nobody names: it is new, and held here only.
                let val = input.val();
                let alone = self.forgotten.contains(index);
                let to = if self.fresh.inputs.contains(index) {
                    &mut fresh
                } else {
                    &mut vals
                };
                to.push((input.slot, if alone { val.with_identity(Ref::NONE) } else { val }));
            }
        }
        let first = vals.len();
        vals.extend(fresh);
        (vals, [carried, first])
    }

    /// Without the object of an int that exists once.
    fn plain(&self, val: Val) -> Val {
        match val {
            Val::Int { value, boxed } if exists_once(self.tree, value, boxed) => val.with_identity(Ref::NONE),
            _ => val,
        }
    }

    /// The constant a component is, if it is one; what is not there counts as zero.
    fn constant(&self, r: Ref) -> Option<i64> {
        if !r.is_inst() {
            return Some(0);
        }
        let inst = self.tree.inst(r);
        if inst.op.is_const() {
            return Some(inst.imm);
        }
        let (input, component) = ((inst.imm >> 3) as u32, inst.imm & 7);
        (inst.op == Op::Input && component == 1 && self.forgotten.contains(&input)).then_some(0)
    }

    /// The components of a value that an exit needs: of a number whose object is there for sure, only that.
    fn needed(&self, val: Val) -> Vec<Ref> {
        let (refs, count) = val.components();
        let sure = |r: Ref| r.is_inst() && !matches!(self.tree.inst(r).op, Op::Input | Op::Named | Op::Phi);
        let number = matches!(val, Val::Int { .. } | Val::Float { .. });
        let first = usize::from(number && sure(refs[1]));
        let mut out = refs[first..count].to_vec();
        if let Val::Tuple(t) = val {
            out.extend(self.tree.tuples[t as usize].iter().flat_map(|item| self.needed(*item)));
        }
        out.retain(|r| self.constant(*r).is_none() && !self.homes.contains_key(r));
        out
    }

    /// The words of a value's components that are at home.
    fn at_home(&self, val: Val, words: &mut HashSet<usize>) {
        let (refs, count) = val.components();
        words.extend(refs[..count].iter().filter_map(|r| self.homes.get(r)));
        if let Val::Tuple(t) = val {
            for item in &self.tree.tuples[t as usize] {
                self.at_home(*item, words);
            }
        }
    }

    /// The words, as places among those exits may write, in which components follow each other: those where their slot's input
    /// lay, or beside a component that is at home; near ones only.
    fn wanted(&self, vals: &[Written]) -> BTreeMap<u32, u16> {
        let tree = self.tree;
        let mut wanted = BTreeMap::new();
        for (slot, val) in vals.iter().flat_map(|v| &v.0) {
            let (refs, count) = val.components();
            if count < 2 {
                continue;
            }
            let at_home = (0..count).find_map(|k| self.homes.get(&refs[k])?.checked_sub(k));
            let read = || {
                let before = tree.inputs.iter().take_while(|i| i.slot != *slot);
                let first = FIRST + before.map(|i| i.ty.components().len()).sum::<usize>();
                let input = tree.inputs.iter().find(|i| i.slot == *slot)?;
                (input.ty.components().len() == count).then_some(first)
            };
            let Some(first) = at_home.or_else(read) else { continue };
            for (k, r) in refs.iter().enumerate().take(count) {
                let place = self
                    .exit_words
                    .binary_search(&(first + k))
                    .ok()
                    .filter(|_| first + k < 2 * ORIGIN);
                if let Some(place) = place {
                    wanted.entry(r.0).or_insert(place as u16);
                }
            }
        }
        wanted
    }

    /// The blocks behind all exits that leave; see [`crate::stubs`].
    pub(super) fn stubs(
        &mut self,
        exits: &mut [ExitMap],
        early: Block,
        outside: (Vec<Option<Value>>, Value),
    ) -> Result<(), String> {
        let leaves = std::mem::take(&mut self.leaves);
        let mut changed: Vec<u32> = self.tree.carried().iter().map(|c| c.0).collect();
        changed.dedup();
        let vals: Vec<_> = leaves.iter().map(|e| self.written(*e, &changed)).collect();
        // A home that no exit names is of no use to anybody when the trace is left.
        let mut named = HashSet::new();
        for (_, val) in vals.iter().flat_map(|v| &v.0) {
            self.at_home(*val, &mut named);
        }
        let counts = self.tree.traces.len() + usize::from(!self.fresh.alone.is_empty());
        let counters = self.counters + 1..self.counters + counts;
        let taken = |at: &usize| named.contains(at) || counters.contains(at);
        self.exit_words = (FIRST..BUFFER_WORDS).filter(|at| !taken(at)).collect();
        let needed = |vals: &Written| -> Vec<Ref> { vals.0.iter().flat_map(|(_, val)| self.needed(*val)).collect() };
        let plan = Plan::new(&vals.iter().map(needed).collect::<Vec<_>>(), &self.wanted(&vals));
        let leave = self.b.create_block();
        self.b.append_block_param(leave, I64);
        let mut blocks = Vec::new();
        for _ in &plan.nodes {
            let block = self.b.create_block();
            self.b.append_block_param(block, I64);
            blocks.push(block);
        }
        let begin = |at: Option<u32>| at.map_or(leave, |at| blocks[at as usize]);
        for (number, exit) in leaves.iter().enumerate() {
            if self.tree.exits[exit.at()].side.is_none() {
                let block = self.blocks[&exit.0];
                self.b.switch_to_block(block);
                let id = self.b.ins().iconst(I64, i64::from(exit.0));
                self.b.ins().jump(begin(plan.begins[number]), &[id.into()]);
            }
            if let Some(block) = self.forced.get(&exit.0).copied() {
                let id = self.leave_forced(*exit, block);
                self.b.ins().jump(begin(plan.begins[number]), &[id.into()]);
            }
            let map = &mut exits[exit.at()];
            [map.carried, map.fresh] = vals[number].1;
            for (slot, val) in &vals[number].0 {
                map.slots.push((*slot, *val, self.sources(*val, &plan, number)));
                if let Val::Tuple(t) = val
                    && !map.tuples.iter().any(|have| have.0 == *t)
                {
                    let items = self.tree.tuples[*t as usize].iter();
                    let items = items.map(|item| (*item, self.sources(*item, &plan, number)));
                    map.tuples.push((*t, items.collect()));
                }
            }
        }
        for (node, block) in plan.nodes.iter().zip(&blocks) {
            self.b.switch_to_block(*block);
            self.b.set_cold_block(*block);
            for (r, at) in &node.stores {
                let at = *self
                    .exit_words
                    .get(usize::from(*at))
                    .ok_or("an exit with too many values")?;
                let x = self.word(*r)?;
                self.b.ins().store(MEM, x, self.buffer, word(at));
            }
            let id = self.b.block_params(*block)[0];
            self.b.ins().jump(begin(node.next), &[id.into()]);
        }
        self.b.switch_to_block(leave);
        self.b.set_cold_block(leave);
        let id = self.b.block_params(leave)[0];
        self.b.ins().store(MEM, self.count, self.buffer, word(ITERATIONS));
        self.b.ins().return_(&[id]);
        // The exit at the head, from before the innermost loop.
        self.b.switch_to_block(early);
        self.b.set_cold_block(early);
        (self.values, self.count) = outside;
        let head = leaves
            .iter()
            .position(|e| *e == ExitId::HEAD)
            .ok_or("a loop that never looks up")?;
        let mut done = HashSet::new();
        let wanted: Vec<Ref> = vals[head].0.iter().flat_map(|(_, val)| self.needed(*val)).collect();
        for r in wanted {
            if let Some(at) = plan.word(head, r).filter(|_| done.insert(r)) {
                let x = self.word(r)?;
                let at = self.exit_words[usize::from(at)];
                self.b.ins().store(MEM, x, self.buffer, word(at));
            }
        }
        // This pass of the head counts as well: that it leaves at once does not make it the first.
        let passes = self.b.ins().iadd_imm_s(self.count, 1);
        self.b.ins().store(MEM, passes, self.buffer, word(ITERATIONS));
        let id = self.b.ins().iconst(I64, i64::from(ExitId::HEAD.0));
        self.b.ins().return_(&[id]);
        Ok(())
    }

    fn sources(&self, val: Val, plan: &Plan, number: usize) -> [Source; 4] {
        let (refs, count) = val.components();
        let mut sources = [Source::Const(0); 4];
        for (source, r) in sources.iter_mut().zip(refs).take(count) {
            *source = match (self.constant(r), plan.word(number, r)) {
                (Some(v), _) => Source::Const(v),
                (None, _) if self.homes.contains_key(&r) => Source::Buffer(self.homes[&r] as u16),
                (None, Some(at)) => Source::Buffer(self.exit_words[usize::from(at)] as u16),
                // Not needed.
                (None, None) => Source::Const(0),
            };
        }
        sources
    }
}
