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

/// Posterior mean touches of each object, shrunk toward its container.
///
/// | argument  | shape          | unit  | meaning                                |
/// |-----------|----------------|-------|----------------------------------------|
/// | `touches` | `[n_objects]`  | count | seen per object                        |
/// | `group`   | `[n_objects]`  | index | its container, `0..n_groups`           |
///
/// Within a container, counts are Poisson around rates that are Gamma with the container's mean and the pooled
/// within-container dispersion; without excess dispersion every object gets its container's mean.
pub fn shrink(touches: &[u32], group: &[u32]) -> Vec<f64> {
    let groups = group.iter().max().map_or(0, |last| *last as usize + 1);
    let (mut sum, mut count) = (vec![0.0; groups], vec![0.0; groups]);
    for (seen, at) in touches.iter().zip(group) {
        sum[*at as usize] += f64::from(*seen);
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
        let m = mean[*at as usize];
        excess += (f64::from(*seen) - m).powi(2) - m;
        square += m * m;
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
                m * (shape + f64::from(*seen)) / (shape + m)
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
        let touches: Vec<u32> = group
            .iter()
            .map(|at| u32::from(random() < if *at < 100 { 0.3 } else { 0.01 }))
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
        let raw: Vec<f64> = touches.iter().map(|seen| f64::from(*seen)).collect();
        assert!(recall(&raw) < 0.45);
        assert!(recall(&shrink(&touches, &group)) > 0.95);
    }

    #[test]
    fn shrinkage_keeps_an_outlier_inside_a_cold_container() {
        let mut touches = vec![0u32; 1000];
        touches[7] = 200;
        let posterior = shrink(&touches, &vec![0; 1000]);
        assert!(posterior[7] > 50.0 * posterior[8].max(1e-9));
    }
}
