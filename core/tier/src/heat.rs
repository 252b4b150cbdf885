//! Mapping: from evidence (touches seen while sampling) to temperature.
//!
//! Temperature is touches per second of running code, decayed so that the past counts half after each half-life. Where
//! objects are too many to be observed one by one, [`shrink`] pulls each toward its container's mean: a Gamma-Poisson
//! posterior, whose prior is fitted to how much the containers themselves differ.
//!
//! Invariants
//!
//! - Temperatures are finite and never negative.
//! - An object never observed has confidence [`Confidence::Unknown`], whatever its number says.

/// One object's decayed evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Temperature {
    /// Decayed touches.
    pub touches: f64,
    /// Decayed seconds in which they could have been seen.
    pub seconds: f64,
    /// Samples that looked at the object, ever.
    pub looks: u64,
}

/// How much a temperature rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    Unknown,
    Low,
    Medium,
    High,
}

impl Confidence {
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Unknown => "?",
            Confidence::Low => "low",
            Confidence::Medium => "med",
            Confidence::High => "high",
        }
    }
}

impl Temperature {
    /// Folds one window of sampling in.
    ///
    /// | argument      | unit  | meaning                                         |
    /// |---------------|-------|-------------------------------------------------|
    /// | `touches`     | count | touches seen in the window, >= 0                |
    /// | `window_s`    | s     | sampled running time, > 0 or nothing is folded  |
    /// | `half_life_s` | s     | of running time; > 0                            |
    /// | `looks`       | count | samples taken in the window                     |
    pub fn fold(self, touches: f64, window_s: f64, half_life_s: f64, looks: u64) -> Temperature {
        if !(window_s > 0.0 && half_life_s > 0.0 && touches >= 0.0) {
            return self;
        }
        let keep = (-window_s / half_life_s).exp2();
        Temperature {
            touches: self.touches * keep + touches,
            seconds: self.seconds * keep + window_s,
            looks: self.looks.saturating_add(looks),
        }
    }

    /// Touches per second; 0 when nothing was observed.
    pub fn rate(self) -> f64 {
        if self.seconds > 0.0 {
            self.touches / self.seconds
        } else {
            0.0
        }
    }

    pub fn confidence(self) -> Confidence {
        match self.looks {
            0 => Confidence::Unknown,
            1..30 => Confidence::Low,
            30..300 => Confidence::Medium,
            _ => Confidence::High,
        }
    }
}

/// What bursts of looks at one variable saw.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evidence {
    /// Looks, and those that found it in use.
    pub looks: u64,
    pub in_use: u64,
    /// Bursts, and those whose first look found it in use.
    pub bursts: u64,
    pub firsts: u64,
    /// Operations seen to begin inside bursts, and the seconds in which they would have been seen.
    pub starts: u64,
    pub exposed_s: f64,
    /// Operations known to have begun at all; a lower bound.
    pub begun: u64,
    pub seconds: f64,
    /// Variables of one kind (type and size) are used for about equally long at a time.
    pub kind: u32,
}

/// How many beginnings of its own a variable needs before they count as much as its kind's.
const KIND_WEIGHT: f64 = 4.0;

/// Operations per second on each variable.
///
/// A burst meets an operation at its first look or sees it begin: `n + m = rate * (bursts * d + exposed)`, with `d` the
/// length of an operation. That length is the time in use over the beginnings, drawn toward that of the variable's kind
/// while it rests on few beginnings, and at most what the operations known to have begun leave room for.
pub fn operations(seen: &[Evidence]) -> Vec<f64> {
    let used_s = |e: &Evidence| match e.looks {
        0 => 0.0,
        looks => e.in_use as f64 / looks as f64 * e.exposed_s,
    };
    let mut kinds = std::collections::HashMap::<u32, (f64, f64)>::new();
    for e in seen {
        let sums = kinds.entry(e.kind).or_default();
        sums.0 += used_s(e);
        sums.1 += e.starts as f64;
    }
    seen.iter()
        .map(|e| {
            let (kind_used_s, kind_starts) = kinds[&e.kind];
            let met = (e.firsts + e.starts) as f64;
            let least = if e.seconds > 0.0 {
                e.begun as f64 / e.seconds
            } else {
                0.0
            };
            if met == 0.0 || kind_starts == 0.0 {
                return least;
            }
            let own = (KIND_WEIGHT * kind_used_s / kind_starts + used_s(e)) / (KIND_WEIGHT + e.starts as f64);
            let share = if e.looks > 0 {
                e.in_use as f64 / e.looks as f64
            } else {
                0.0
            };
            let most = if least > 0.0 { share / least } else { own };
            let room_s = e.bursts as f64 * own.min(most.max(f64::MIN_POSITIVE)) + e.exposed_s;
            if room_s > 0.0 { (met / room_s).max(least) } else { least }
        })
        .collect()
}

/// Posterior mean touches of each object, shrunk toward its container.
///
/// | argument  | shape          | unit  | meaning                                |
/// |-----------|----------------|-------|----------------------------------------|
/// | `touches` | `[n_objects]`  | count | seen per object, possibly decayed      |
/// | `group`   | `[n_objects]`  | index | its container, `0..n_groups`           |
///
/// Within a container, counts are Poisson around rates that are Gamma with the container's mean and the pooled
/// within-container dispersion; without excess dispersion every object gets its container's mean.
pub fn shrink(touches: &[f64], group: &[u32]) -> Vec<f64> {
    let groups = group.iter().max().map_or(0, |last| *last as usize + 1);
    let (mut sum, mut count) = (vec![0.0; groups], vec![0.0; groups]);
    for (seen, at) in touches.iter().zip(group) {
        sum[*at as usize] += *seen;
        count[*at as usize] += 1.0;
    }
    let mean: Vec<f64> = sum
        .iter()
        .zip(&count)
        .map(|(s, n)| if *n > 0.0 { s / n } else { 0.0 })
        .collect();
    // Pooled dispersion: E[(x - m)^2] = m + m^2 / shape for Gamma-mixed Poisson counts.
    let (mut excess, mut square) = (0.0, 0.0);
    for (seen, at) in touches.iter().zip(group) {
        let (m, n) = (mean[*at as usize], count[*at as usize]);
        // One object alone says nothing about how its container's objects differ.
        if n > 1.0 {
            excess += (*seen - m).powi(2) * n / (n - 1.0) - m;
            square += m * m;
        }
    }
    let shape = if excess > 0.0 && square > 0.0 {
        square / excess
    } else {
        f64::INFINITY
    };
    touches
        .iter()
        .zip(group)
        .map(|(seen, at)| {
            let m = mean[*at as usize];
            if m == 0.0 || shape.is_infinite() {
                m
            } else {
                m * (shape + *seen) / (shape + m)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_and_an_old_one_fades() {
        let mut heat = Temperature::default();
        assert_eq!(heat.confidence(), Confidence::Unknown);
        for _ in 0..100 {
            heat = heat.fold(50.0, 1.0, 10.0, 10);
        }
        assert!((heat.rate() - 50.0).abs() < 1e-9);
        for _ in 0..10 {
            heat = heat.fold(0.0, 1.0, 10.0, 10);
        }
        assert!(
            (20.0..30.0).contains(&heat.rate()),
            "half after one half-life, was {}",
            heat.rate()
        );
        assert_eq!(heat.confidence(), Confidence::High);
    }

    #[test]
    fn windows_without_time_or_sense_change_nothing() {
        let heat = Temperature::default().fold(5.0, 1.0, 10.0, 3);
        assert_eq!(heat.fold(5.0, 0.0, 10.0, 1), heat);
        assert_eq!(heat.fold(f64::NAN, 1.0, 10.0, 1), heat);
    }

    #[test]
    fn operations_are_counted_whatever_their_length() {
        // 1,000 bursts of 50 us in 2 s. Short: 20 us, 2,000/s. Long: 10 ms, 40/s: in use for 0.4 of the time.
        let burst = |looks, in_use, firsts, starts, begun, kind| Evidence {
            looks,
            in_use,
            bursts: 1000,
            firsts,
            starts,
            exposed_s: 0.05,
            begun,
            seconds: 2.0,
            kind,
        };
        let seen = [
            burst(10_000, 400, 40, 100, 130, 1),
            burst(10_000, 4_000, 400, 2, 79, 2),
            burst(10_000, 40, 4, 9, 12, 1), // a tenth of the first, of its kind
            burst(10_000, 0, 0, 0, 0, 1),
        ];
        let rates = operations(&seen);
        assert!((1900.0..2100.0).contains(&rates[0]), "{rates:?}");
        assert!((35.0..60.0).contains(&rates[1]), "{rates:?}");
        assert!((150.0..250.0).contains(&rates[2]), "{rates:?}");
        assert_eq!(rates[3], 0.0);
    }

    #[test]
    fn shrinkage_finds_hot_containers_that_single_counts_miss() {
        // 1,000 containers of 1,000 objects, the first 100 hot; each object is seen about 0.3 times when hot.
        let mut state = 9u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        let group: Vec<u32> = (0..1_000_000u32).map(|at| at / 1000).collect();
        let touches: Vec<f64> = group
            .iter()
            .map(|at| f64::from(u8::from(random() < if *at < 100 { 0.3 } else { 0.01 })))
            .collect();
        let recall = |score: &[f64]| {
            let mut order: Vec<usize> = (0..score.len()).collect();
            order.sort_by(|a, b| {
                score[*b]
                    .total_cmp(&score[*a])
                    .then(((*a * 7919) % 1_000_003).cmp(&((*b * 7919) % 1_000_003)))
            });
            order[..100_000].iter().filter(|at| **at < 100_000).count() as f64 / 100_000.0
        };
        assert!(recall(&touches) < 0.45);
        assert!(recall(&shrink(&touches, &group)) > 0.95);
    }

    #[test]
    fn shrinkage_keeps_an_outlier_inside_a_cold_container() {
        let mut touches = vec![0.0; 1000];
        touches[7] = 200.0;
        let posterior = shrink(&touches, &vec![0; 1000]);
        assert!(posterior[7] > 50.0 * posterior[8].max(1e-9));
    }
}
