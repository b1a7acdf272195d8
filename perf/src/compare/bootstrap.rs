//! Which differences are more than noise: bootstrap intervals of medians, seeded, so that the same reports always give
//! the same answer. Pure.
//!
//! A plain percentile interval is too narrow for five values. It is widened as Hesterberg proposes ("What Teachers
//! Should Know about the Bootstrap", 2015, expanded percentile): taken so far out that it would be right for a normal
//! distribution. With five values on each side that means: a difference is real when all of one side lie above all of the other,
//! which happens by chance in 1 of 126 comparisons.

/// Bounds of what a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Bounds {
    pub(crate) fn exclude_zero(self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Enough for the outermost quantile that is asked for.
const RESAMPLES: usize = 4_000;
/// Fewer values than this say nothing about their noise.
pub(crate) const VALUES_MIN: usize = 4;

/// The middle one, or the mean of the two middle ones. NaN: no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    median_of(&mut values.to_vec())
}

/// Sorts them on the way.
fn median_of(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// The 95 % interval of the median; `None`: too few values.
pub(crate) fn median_bounds(values: &[f64], seed: u64) -> Option<Bounds> {
    let count = enough(values.len())?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut drawn = Vec::new();
    bounds(count, || resampled_median(values, &mut rng, &mut drawn))
}

/// The 95 % interval of `median(b) - median(a)`; `None`: too few values.
pub(crate) fn difference_bounds(a: &[f64], b: &[f64], seed: u64) -> Option<Bounds> {
    bounds_of_two(a, b, seed, |a, b| b - a)
}

/// The 95 % interval of `median(b) / median(a)`; `None`: too few values, or a part of `a` that is 0.
pub(crate) fn ratio_bounds(a: &[f64], b: &[f64], seed: u64) -> Option<Bounds> {
    bounds_of_two(a, b, seed, |a, b| b / a).filter(|bounds| bounds.low.is_finite() && bounds.high.is_finite())
}

fn bounds_of_two(a: &[f64], b: &[f64], seed: u64, of: impl Fn(f64, f64) -> f64) -> Option<Bounds> {
    let count = enough(a.len().min(b.len()))?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut drawn = Vec::new();
    bounds(count, || {
        let of_b = resampled_median(b, &mut rng, &mut drawn);
        of(resampled_median(a, &mut rng, &mut drawn), of_b)
    })
}

fn enough(count: usize) -> Option<usize> {
    (count >= VALUES_MIN).then_some(count)
}

/// `drawn` is only room to work in.
fn resampled_median(values: &[f64], rng: &mut fastrand::Rng, drawn: &mut Vec<f64>) -> f64 {
    drawn.clear();
    drawn.extend(values.iter().map(|_| values[rng.usize(..values.len())]));
    median_of(drawn)
}

fn bounds(count: usize, mut draw: impl FnMut() -> f64) -> Option<Bounds> {
    let mut found: Vec<f64> = (0..RESAMPLES).map(|_| draw()).collect();
    found.sort_by(f64::total_cmp);
    let cut = (tail(count) * RESAMPLES as f64) as usize;
    Some(Bounds { low: found[cut], high: found[RESAMPLES - 1 - cut] })
}

/// How much of the resamples lies outside on each side, for `count` values.
fn tail(count: usize) -> f64 {
    let count = count as f64;
    normal_below(-(count / (count - 1.0)).sqrt() * t_quantile(count - 1.0))
}

/// The 97.5 % quantile of Student's t, by Cornish and Fisher's expansion: true to 1 % from three degrees of freedom on.
fn t_quantile(freedom: f64) -> f64 {
    const Z: f64 = 1.959_964;
    let z2 = Z * Z;
    let g1 = Z * (z2 + 1.0) / 4.0;
    let g2 = Z * ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
    let g3 = Z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
    Z + g1 / freedom + g2 / freedom.powi(2) + g3 / freedom.powi(3)
}

/// The standard normal distribution below `x <= 0` (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn normal_below(x: f64) -> f64 {
    let k = 1.0 / (1.0 + 0.231_641_9 * -x);
    let poly = k
        * (0.319_381_530
            + k * (-0.356_563_782 + k * (1.781_477_937 + k * (-1.821_255_978 + k * 1.330_274_429))));
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_agree_with_their_tables() {
        for (freedom, expect) in [(3.0, 3.182), (4.0, 2.776), (9.0, 2.262), (30.0, 2.042)] {
            assert!((t_quantile(freedom) / expect - 1.0_f64).abs() < 0.01, "{freedom}");
        }
        for (x, expect) in [(0.0, 0.5), (-1.0, 0.158_655), (-1.96, 0.024_998), (-3.0, 0.001_35)] {
            assert!((normal_below(x) - expect).abs() < 1e-5, "{x}");
        }
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn five_against_five_differ_when_they_do_not_overlap() {
        let a = [10.0, 11.0, 12.0, 13.0, 14.0];
        assert!(difference_bounds(&a, &[15.0, 16.0, 17.0, 18.0, 19.0], 1).unwrap().exclude_zero());
        assert!(!difference_bounds(&a, &[13.5, 16.0, 17.0, 18.0, 19.0], 1).unwrap().exclude_zero());
        assert_eq!(difference_bounds(&a, &[1.0, 2.0, 3.0], 1), None, "three values tell no noise");
        assert_eq!(difference_bounds(&a, &a, 7), difference_bounds(&a, &a, 7), "seeded");
        assert_eq!(median_bounds(&[5.0; 6], 1), Some(Bounds { low: 5.0, high: 5.0 }));
        assert_eq!(median_bounds(&a, 1), Some(Bounds { low: 10.0, high: 14.0 }), "of five: all of them");
    }

    #[test]
    fn a_ratio_has_an_interval_unless_it_divides_by_nothing() {
        let twice =
            ratio_bounds(&[10.0, 11.0, 12.0, 13.0, 14.0], &[20.0, 22.0, 24.0, 26.0, 28.0], 1).unwrap();
        assert!(
            twice.low >= 20.0 / 14.0 && twice.low < 2.0 && twice.high > 2.0 && twice.high <= 2.8,
            "{twice:?}"
        );
        assert_eq!(ratio_bounds(&[0.0; 5], &[1.0; 5], 1), None);
        assert_eq!(ratio_bounds(&[1.0; 5], &[1.0; 3], 1), None);
    }

    type Draw = fn(&mut fastrand::Rng) -> f64;

    /// Known distributions, each with median 100.
    const DISTRIBUTIONS: [(&str, Draw); 4] = [
        ("normal", |rng| 100.0 + 5.0 * normal(rng)),
        ("skewed", |rng| 100.0 * (0.3 * normal(rng)).exp()),
        ("even", |rng| 80.0 + 40.0 * rng.f64()),
        ("outliers", |rng| 100.0 + 2.0 * normal(rng) * if rng.f64() < 0.1 { 30.0 } else { 1.0 }),
    ];

    fn normal(rng: &mut fastrand::Rng) -> f64 {
        (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (2.0 * std::f64::consts::PI * rng.f64()).cos()
    }

    const TRIALS: u32 = 200;

    #[test]
    fn nineteen_intervals_of_twenty_hold_the_truth() {
        for (name, draw) in DISTRIBUTIONS {
            for count in [5, 10] {
                let mut rng = fastrand::Rng::with_seed(42);
                let mut sample = || (0..count).map(|_| draw(&mut rng)).collect::<Vec<f64>>();
                let (mut same, mut holds) = (0, 0);
                for trial in 0..TRIALS {
                    let (a, b) = (sample(), sample());
                    same += u32::from(!difference_bounds(&a, &b, trial.into()).unwrap().exclude_zero());
                    let own = median_bounds(&a, trial.into()).unwrap();
                    holds += u32::from(own.low <= 100.0 && 100.0 <= own.high);
                }
                // 95 % of 200 are 190; a true 95 % falls below 184 once in 100 times, and the seed is fixed.
                assert!(same >= 184, "{name}, {count} values: {same} of {TRIALS} pairs without a difference");
                assert!(holds >= 180, "{name}, {count} values: {holds} of {TRIALS} medians");
            }
        }
    }

    #[test]
    fn a_difference_of_four_deviations_is_seen() {
        let mut rng = fastrand::Rng::with_seed(43);
        let mut sample = |middle: f64| (0..5).map(|_| middle + normal(&mut rng)).collect::<Vec<f64>>();
        let seen = (0..TRIALS).filter(|trial| {
            let found = difference_bounds(&sample(100.0), &sample(104.0), u64::from(*trial)).unwrap();
            found.low > 0.0
        });
        let seen = seen.count();
        assert!(seen >= 170, "{seen} of {TRIALS}");
    }
}
