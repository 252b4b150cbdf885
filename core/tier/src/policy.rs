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
/// What is left of a variable that has moved (headers, an edge) is not worth another move.
#[cfg(not(test))]
pub const WORTH_BYTES: u64 = 1 << 20;
#[cfg(test)]
pub const WORTH_BYTES: u64 = 1;
/// A variable hotter than this is worth bringing back.
pub const WARM: f64 = 0.05;

/// Moves between runs: coldest first out until the low mark when above the high one; else promotions of warm variables
/// that fit. Room is made while nobody waits, so that the next run finds some.
pub fn plan(candidates: &[Candidate], used_bytes: u64, limit_bytes: u64) -> Vec<Move> {
    let heat = |at: &usize| candidates[*at].heat.unwrap_or(0.5);
    let mut moves = Vec::new();
    let mut used = used_bytes;
    let low_water = (limit_bytes as f64 * LOW_WATER) as u64;
    let can = |c: &Candidate| c.movable && !c.pinned && c.dram_bytes >= WORTH_BYTES;
    let mut cold: Vec<usize> = (0..candidates.len()).filter(|at| can(&candidates[*at])).collect();
    cold.sort_by(|a, b| {
        heat(a)
            .total_cmp(&heat(b))
            .then(candidates[*b].dram_bytes.cmp(&candidates[*a].dram_bytes))
    });
    if used > (limit_bytes as f64 * HIGH_WATER) as u64 {
        for at in cold {
            if used <= low_water {
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
        if used + candidates[at].slow_bytes <= low_water {
            used += candidates[at].slow_bytes;
            moves.push(Move::Promote(at));
        }
    }
    moves
}

/// Moves before a run that is known to use the `wanted` candidates: coldest others leave until the wanted ones fit under
/// the full mark, then the wanted ones come in, hottest first, as far as they fit. Nothing when all are in already.
pub fn prepare(candidates: &[Candidate], wanted: &[usize], used_bytes: u64, limit_bytes: u64) -> Vec<Move> {
    let heat = |at: &usize| candidates[*at].heat.unwrap_or(0.5);
    let full = (limit_bytes as f64 * FULL_WATER) as u64;
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
    let (mut moves, mut used) = (Vec::new(), used_bytes);
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

    #[test]
    fn the_coldest_leave_until_the_low_mark() {
        let all = [candidate(40, 0, 0.9), candidate(50, 0, 0.0), candidate(40, 0, 0.3)];
        assert_eq!(plan(&all, 120, 100), [Move::Demote(1)]);
        assert_eq!(plan(&all, 120, 60), [Move::Demote(1), Move::Demote(2)]);
        assert_eq!(plan(&all, 89, 100), [], "between the marks nothing moves");
    }

    #[test]
    fn pinned_and_unmovable_stay_even_when_cold() {
        let mut all = [candidate(40, 0, 0.0), candidate(40, 0, 0.0), candidate(40, 0, 0.9)];
        all[0].pinned = true;
        all[1].movable = false;
        assert_eq!(plan(&all, 120, 100), [Move::Demote(2)]);
    }

    #[test]
    fn warm_variables_come_back_only_where_they_fit() {
        let all = [candidate(0, 50, 0.4), candidate(0, 30, 0.2), candidate(0, 10, 0.01)];
        assert_eq!(plan(&all, 25, 100), [Move::Promote(0)]);
        assert_eq!(plan(&all, 40, 100), [Move::Promote(1)]);
        assert_eq!(plan(&all, 95, 100), []);
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
            prepare(&all, &[0, 3], 90, 100),
            [Move::Demote(2), Move::Demote(1), Move::Promote(0)]
        );
        assert_eq!(prepare(&all, &[0, 3], 40, 100), [Move::Promote(0)]);
        assert_eq!(prepare(&all, &[3], 99, 100), [], "nothing to bring in, nothing to move");
        assert_eq!(
            prepare(&[candidate(0, 95, 0.9)], &[0], 10, 100),
            [],
            "what cannot fit stays out"
        );
    }
}
