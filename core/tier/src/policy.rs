//! Policy: what to demote and promote so that DRAM use stays under a limit.
//!
//! Decisions only; the caller carries them out between cells. Coldest bytes leave first; something comes back only when it
//! is hot and fits below a low-water mark, so that nothing bounces.

/// One variable as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub dram_bytes: u64,
    pub slow_bytes: u64,
    /// Share of running time in use, `0..=1`; `None` when never observed (treated as in use: not demoted first).
    pub heat: Option<f64>,
    pub movable: bool,
    pub pinned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Demote(usize),
    Promote(usize),
}

/// Shares of the limit: above the high mark the coldest leave, down to the low one, which is also as far as warm
/// variables come back by themselves; what a cell is known to need may come in up to the full mark.
pub const HIGH_WATER: f64 = 0.9;
pub const LOW_WATER: f64 = 0.75;
pub const FULL_WATER: f64 = 0.95;
/// What is expected to come never empties more than this.
const KEEP_WATER: f64 = 0.5;
/// What is left of a variable that has moved (headers, an edge) is not worth another move.
#[cfg(not(test))]
pub const WORTH_BYTES: u64 = 1 << 20;
#[cfg(test)]
pub const WORTH_BYTES: u64 = 1;
/// A variable hotter than this is worth bringing back.
pub const WARM: f64 = 0.05;

/// What is in DRAM, what may be, and what is likely to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// What lately came in before runs; `None` when nothing is known.
    pub coming_bytes: Option<u64>,
}

impl Room {
    fn mark(self, share: f64) -> u64 {
        (self.limit_bytes as f64 * share) as u64
    }

    /// `(above which something leaves, until what is left)`: with a known need just that much is kept free, always, as room
    /// made now is made while nobody waits.
    fn marks(self) -> (u64, u64) {
        match self.coming_bytes {
            None => (self.mark(HIGH_WATER), self.mark(LOW_WATER)),
            Some(coming) => {
                let target = self.mark(FULL_WATER).saturating_sub(coming);
                let target = target.clamp(self.mark(KEEP_WATER), self.mark(HIGH_WATER));
                (target, target)
            }
        }
    }
}

/// Moves between runs: coldest first out until there is room; else promotions of warm variables that fit.
pub fn plan(candidates: &[Candidate], room: Room) -> Vec<Move> {
    let heat = |at: &usize| candidates[*at].heat.unwrap_or(0.5);
    let mut moves = Vec::new();
    let mut used = room.used_bytes;
    let (above, until) = room.marks();
    let can = |c: &Candidate| c.movable && !c.pinned && c.dram_bytes >= WORTH_BYTES;
    let mut cold: Vec<usize> = (0..candidates.len()).filter(|at| can(&candidates[*at])).collect();
    cold.sort_by(|a, b| {
        heat(a)
            .total_cmp(&heat(b))
            .then(candidates[*b].dram_bytes.cmp(&candidates[*a].dram_bytes))
    });
    if used > above {
        for at in cold {
            if used <= until {
                break;
            }
            used = used.saturating_sub(candidates[at].dram_bytes);
            moves.push(Move::Demote(at));
        }
        return moves;
    }
    let mut warm: Vec<usize> = (0..candidates.len())
        .filter(|at| candidates[*at].slow_bytes > 0 && candidates[*at].heat.is_some_and(|heat| heat >= WARM))
        .collect();
    warm.sort_by(|a, b| heat(b).total_cmp(&heat(a)));
    for at in warm {
        if used + candidates[at].slow_bytes <= until.min(room.mark(LOW_WATER)) {
            used += candidates[at].slow_bytes;
            moves.push(Move::Promote(at));
        }
    }
    moves
}

/// Moves before a run that is known to use the `wanted` candidates: coldest others leave until the wanted ones fit under
/// the full mark, then the wanted ones come in, hottest first, as far as they fit. Nothing when all are in already.
pub fn prepare(candidates: &[Candidate], wanted: &[usize], room: Room) -> Vec<Move> {
    let heat = |at: &usize| candidates[*at].heat.unwrap_or(0.5);
    let full = room.mark(FULL_WATER);
    let mut coming: Vec<usize> = wanted
        .iter()
        .copied()
        .filter(|at| candidates.get(*at).is_some_and(|c| c.slow_bytes > 0))
        .collect();
    coming.sort_by(|a, b| heat(b).total_cmp(&heat(a)));
    let need: u64 = coming.iter().map(|at| candidates[*at].slow_bytes).sum();
    let mut leaving: Vec<usize> = (0..candidates.len())
        .filter(|at| {
            let c = &candidates[*at];
            c.movable && !c.pinned && c.dram_bytes >= WORTH_BYTES && !wanted.contains(at)
        })
        .collect();
    leaving.sort_by(|a, b| heat(a).total_cmp(&heat(b)));
    let (mut moves, mut used) = (Vec::new(), room.used_bytes);
    for at in leaving {
        if need == 0 || used + need <= full {
            break;
        }
        used = used.saturating_sub(candidates[at].dram_bytes);
        moves.push(Move::Demote(at));
    }
    for at in coming {
        if used + candidates[at].slow_bytes <= full {
            used += candidates[at].slow_bytes;
            moves.push(Move::Promote(at));
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(dram: u64, slow: u64, heat: f64) -> Candidate {
        Candidate {
            dram_bytes: dram,
            slow_bytes: slow,
            heat: Some(heat),
            movable: true,
            pinned: false,
        }
    }

    fn room(used_bytes: u64, limit_bytes: u64) -> Room {
        Room {
            used_bytes,
            limit_bytes,
            coming_bytes: None,
        }
    }

    fn expecting(used_bytes: u64, coming: u64) -> Room {
        Room {
            coming_bytes: Some(coming),
            ..room(used_bytes, 100)
        }
    }

    #[test]
    fn the_coldest_leave_until_the_low_mark() {
        let all = [candidate(40, 0, 0.9), candidate(50, 0, 0.0), candidate(40, 0, 0.3)];
        assert_eq!(plan(&all, room(120, 100)), [Move::Demote(1)]);
        assert_eq!(plan(&all, room(120, 60)), [Move::Demote(1), Move::Demote(2)]);
        assert_eq!(plan(&all, room(89, 100)), [], "between the marks nothing moves");
    }

    #[test]
    fn room_is_kept_for_what_lately_came_and_for_no_more() {
        let all = [candidate(10, 0, 0.9), candidate(10, 0, 0.0), candidate(10, 0, 0.3)];
        assert_eq!(plan(&all, expecting(80, 20)), [Move::Demote(1)], "95 - 20 = 75");
        assert_eq!(plan(&all, expecting(80, 10)), [], "10 more fit");
        assert_eq!(plan(&all, expecting(92, 0)), [Move::Demote(1)], "the high mark holds");
        assert_eq!(plan(&all, expecting(55, 500)), [Move::Demote(1)], "half stays");
        assert_eq!(
            plan(&[candidate(0, 10, 0.4)], expecting(60, 30)),
            [],
            "not into the room kept"
        );
    }

    #[test]
    fn pinned_and_unmovable_stay_even_when_cold() {
        let mut all = [candidate(40, 0, 0.0), candidate(40, 0, 0.0), candidate(40, 0, 0.9)];
        all[0].pinned = true;
        all[1].movable = false;
        assert_eq!(plan(&all, room(120, 100)), [Move::Demote(2)]);
    }

    #[test]
    fn warm_variables_come_back_only_where_they_fit() {
        let all = [candidate(0, 50, 0.4), candidate(0, 30, 0.2), candidate(0, 10, 0.01)];
        assert_eq!(plan(&all, room(25, 100)), [Move::Promote(0)]);
        assert_eq!(plan(&all, room(40, 100)), [Move::Promote(1)]);
        assert_eq!(plan(&all, room(95, 100)), []);
    }

    #[test]
    fn what_the_next_cell_names_comes_in_and_the_coldest_make_room() {
        let all = [
            candidate(0, 40, 0.0), // wanted, out
            candidate(40, 0, 0.5),
            candidate(30, 0, 0.1),
            candidate(20, 0, 0.0), // wanted, in already
        ];
        assert_eq!(
            prepare(&all, &[0, 3], room(90, 100)),
            [Move::Demote(2), Move::Demote(1), Move::Promote(0)]
        );
        assert_eq!(prepare(&all, &[0, 3], room(40, 100)), [Move::Promote(0)]);
        assert_eq!(
            prepare(&all, &[3], room(99, 100)),
            [],
            "nothing to bring in, nothing to move"
        );
        assert_eq!(
            prepare(&[candidate(0, 95, 0.9)], &[0], room(10, 100)),
            [],
            "what cannot fit stays out"
        );
    }
}
