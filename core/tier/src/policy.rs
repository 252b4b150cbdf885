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

/// Share of the limit below which promotion may fill up again.
pub const LOW_WATER: f64 = 0.9;
/// A variable hotter than this is worth bringing back.
pub const WARM: f64 = 0.05;

/// Moves that bring `used_bytes` of DRAM under `limit_bytes`, coldest first; else promotions of warm variables that fit.
pub fn plan(candidates: &[Candidate], used_bytes: u64, limit_bytes: u64) -> Vec<Move> {
    let heat = |at: &usize| candidates[*at].heat.unwrap_or(0.5);
    let mut moves = Vec::new();
    let mut used = used_bytes;
    let low_water = (limit_bytes as f64 * LOW_WATER) as u64;
    let can = |c: &Candidate| c.movable && !c.pinned && c.dram_bytes > 0;
    let mut cold: Vec<usize> = (0..candidates.len()).filter(|at| can(&candidates[*at])).collect();
    cold.sort_by(|a, b| {
        heat(a)
            .total_cmp(&heat(b))
            .then(candidates[*b].dram_bytes.cmp(&candidates[*a].dram_bytes))
    });
    if used > limit_bytes {
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
    fn the_coldest_leave_until_the_low_water_mark() {
        let all = [candidate(40, 0, 0.9), candidate(40, 0, 0.0), candidate(40, 0, 0.3)];
        assert_eq!(plan(&all, 120, 100), [Move::Demote(1)]);
        assert_eq!(plan(&all, 120, 60), [Move::Demote(1), Move::Demote(2)]);
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
        assert_eq!(plan(&all, 40, 100), [Move::Promote(0)]);
        assert_eq!(plan(&all, 55, 100), [Move::Promote(1)]);
        assert_eq!(plan(&all, 95, 100), []);
    }
}
