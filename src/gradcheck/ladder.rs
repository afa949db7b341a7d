//! Central differences on a ladder of steps, extrapolated, with an error bar.
//!
//! D(h) = (φ(h) − φ(−h))/2h = φ′(0) + a₂h² + a₄h⁴ + …; with steps a factor 4 apart Richardson's table is
//! T(j,k) = T(j,k−1) + (T(j,k−1) − T(j−1,k−1))/(16ᵏ − 1). As Ridders proposed, an entry's truncation error is
//! judged by its distance from the two entries it came from. The rounding error is carried through the
//! same table, and an entry that later, smaller steps contradict is charged with the contradiction: that
//! is what stops a plateau far from the point from passing for a derivative.

use alloc::vec::Vec;

/// Columns of the table: beyond seven, rounding decides.
const COLUMNS: usize = 7;

/// One step of the ladder.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) h: f64,
    /// The central difference.
    pub(super) d: f64,
    /// Right minus left one-sided difference: tends to 0 with h exactly where there is no kink.
    s: f64,
    /// The rounding error of `d`.
    pub(super) noise: f64,
    table: [f64; COLUMNS],
    spread: [f64; COLUMNS],
    carried: [f64; COLUMNS],
    used: usize,
}

/// The steps taken for one functional in one direction.
#[derive(Clone, Default)]
pub(super) struct Ladder {
    steps: Vec<Step>,
}

/// A derivative and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) error: f64,
}

/// Both one-sided derivatives where they differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sides {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) error: f64,
}

/// The spread, or what the one before leads one to expect if that is more: column k converges by 16ᵏ a step, and a
/// spread much smaller is one of many entries meeting by chance.
fn believable(spread: f64, last: &Step, k: usize, ratio: f64) -> f64 {
    if last.used > k && last.spread[k].is_finite() { spread.max(last.spread[k] / ratio) } else { spread }
}

impl Ladder {
    /// Adds the next smaller step.
    pub(super) fn push(&mut self, h: f64, d: f64, s: f64, noise: f64) {
        let mut step = Step {
            h,
            d,
            s,
            noise,
            table: [d; COLUMNS],
            spread: [f64::INFINITY; COLUMNS],
            carried: [noise; COLUMNS],
            used: 1,
        };
        // A step left out, because the function was not finite there, breaks the ratio: start anew.
        if let Some(last) = self.steps.last().filter(|last| last.h == 4.0 * h) {
            step.spread[0] = believable((d - last.d).abs(), last, 0, 16.0);
            let mut ratio = 1.0;
            for k in 1..COLUMNS.min(last.used + 1) {
                ratio *= 16.0;
                let (fine, coarse) = (step.table[k - 1], last.table[k - 1]);
                step.table[k] = fine + (fine - coarse) / (ratio - 1.0);
                let spread = (step.table[k] - fine).abs().max((step.table[k] - coarse).abs());
                step.spread[k] = believable(spread, last, k, ratio);
                step.carried[k] = (ratio * step.carried[k - 1] + last.carried[k - 1]) / (ratio - 1.0);
                step.used = k + 1;
            }
        }
        self.steps.push(step);
    }

    /// The entry of the table with the smallest error bar.
    pub(super) fn best(&self) -> Option<Estimate> {
        let mut best: Option<Estimate> = None;
        for (j, step) in self.steps.iter().enumerate() {
            for k in 0..step.used {
                let plain = 2.0 * step.spread[k] + 6.0 * step.carried[k];
                if !plain.is_finite() || best.is_some_and(|b| b.error <= plain) {
                    continue;
                }
                let value = step.table[k];
                let contradiction = self.steps[j..]
                    .windows(2)
                    .map(|w| (value - w[1].d).abs() - 6.0 * w[1].noise - 2.0 * (w[1].d - w[0].d).abs())
                    .fold(0.0, f64::max);
                // The entry below knows better: two entries that meet by chance part again there.
                let below = self.steps.get(j + 1).filter(|next| next.used > k + 1);
                let parting =
                    below.map_or(0.0, |next| (value - next.table[k]).abs() - 6.0 * next.carried[k]).max(0.0);
                let error = plain + contradiction + parting;
                if best.is_none_or(|b| error < b.error) {
                    best = Some(Estimate { value, error });
                }
            }
        }
        best
    }

    /// Whether the last step shows a smooth function: right and left difference approach each other as h does.
    pub(super) fn smooth(&self) -> bool {
        let [.., before, last] = self.steps.as_slice() else { return false };
        last.s.abs() <= 8.0 * last.noise || last.s.abs() <= 0.4 * before.s.abs()
    }

    /// The one-sided derivatives, if they still differ at the smallest steps that rounding lets one see.
    pub(super) fn kink(&self) -> Option<Sides> {
        let seen = self.steps.iter().rposition(|step| step.s.abs() > 32.0 * step.noise)?;
        let [.., first, second, last] = &self.steps[..=seen] else { return None };
        let steady = |a: f64, b: f64| a * b > 0.0 && (0.7..=1.4).contains(&(b / a));
        if !(steady(first.s, second.s) && steady(second.s, last.s)) {
            return None;
        }
        let error = 4.0 * ((last.d - second.d).abs() + (last.s - second.s).abs()) + 8.0 * last.noise;
        // The two sides must differ by more than they are uncertain.
        (last.s.abs() > 2.0 * error).then(|| Sides {
            left: last.d - last.s / 2.0,
            right: last.d + last.s / 2.0,
            error,
        })
    }

    /// No step, from the largest on, changed the function by more than this.
    pub(super) fn flat(&self, change: f64) -> bool {
        self.steps.iter().all(|step| step.h * (2.0 * step.d.abs()).max(step.s.abs()) <= change)
    }

    /// By how much the function last changed, or was claimed to, before steps too small to change it at all.
    pub(super) fn faded(&self, claim: f64) -> Option<f64> {
        let moves = |step: &Step| step.d != 0.0 || step.s != 0.0;
        let live = self.steps.iter().rposition(moves);
        if live.is_some_and(|last| last + 1 == self.steps.len()) {
            return None;
        }
        let step = self.steps.get(live.unwrap_or(0))?;
        Some(step.h * (2.0 * step.d.abs()).max(step.s.abs()).max(2.0 * claim.abs()))
    }

    /// The smallest step.
    pub(super) fn last(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// The steepest slope seen on the way from the point: the scale of a derivative that is zero there.
    pub(super) fn steepest(&self) -> f64 {
        self.steps.iter().map(|step| step.d.abs() + step.s.abs() / 2.0).fold(0.0, f64::max)
    }

    /// The exponent p of |φ(h) − φ(0) − h·analytic| ~ hᵖ at the smallest steps above rounding.
    pub(super) fn taylor_slope(&self, analytic: f64) -> Option<f64> {
        let seen: Vec<(f64, f64)> = self
            .steps
            .iter()
            .map(|step| (step, (step.d + step.s / 2.0 - analytic).abs()))
            .filter(|(step, gap)| *gap > 16.0 * step.noise)
            .map(|(step, gap)| (step.h, step.h * gap))
            .collect();
        let [.., (h0, r0), (h1, r1)] = seen.as_slice() else { return None };
        Some(num_traits::Float::ln(r0 / r1) / num_traits::Float::ln(h0 / h1))
    }

    /// The steps, largest first.
    pub(super) fn sizes(&self) -> Vec<f64> {
        self.steps.iter().map(|step| step.h).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::{Estimate, Ladder};

    /// The whole ladder of a scalar function, with one unit in the last place of rounding error.
    fn climb(f: impl Fn(f64) -> f64, x: f64, first: f64) -> Ladder {
        let mut ladder = Ladder::default();
        let mut h = first;
        for _ in 0..20 {
            let (above, below, middle) = (f(x + h), f(x - h), f(x));
            let noise = f64::EPSILON * above.abs().max(below.abs()).max(middle.abs());
            ladder.push(h, (above - below) / (2.0 * h), ((above - middle) - (middle - below)) / h, noise / h);
            h /= 4.0;
        }
        ladder
    }

    #[test]
    fn the_error_bar_holds_the_error_and_is_narrow() {
        for i in 0..200 {
            let x = 0.01 + f64::from(i) * 0.017;
            for (f, slope) in [
                (f64::exp as fn(f64) -> f64, x.exp()),
                (f64::sin, x.cos()),
                (f64::ln, 1.0 / x),
                (f64::sqrt, 0.5 / x.sqrt()),
            ] {
                // Powers of two below x, so that logarithm and root are defined.
                let Estimate { value, error } = climb(f, x, 0.0078125).best().expect("an estimate");
                assert!((value - slope).abs() <= error, "{x}: {value} ± {error}, exactly {slope}");
                assert!(error <= 1e-8 * slope.abs().max(0.01), "{x}: ± {error}");
            }
        }
    }

    #[test]
    fn a_plateau_far_away_is_no_derivative() {
        let hump = |x: f64| 1.0 / x.cosh();
        let x = 0.3_f64;
        let slope = -x.tanh() / x.cosh();
        // The first steps lead to where the function is flat on both sides.
        let Estimate { value, error } = climb(hump, x, 1024.0).best().expect("an estimate");
        assert!((value - slope).abs() <= error && error < 1e-6, "{value} ± {error}, exactly {slope}");
    }

    #[test]
    fn kinks_are_told_from_curvature() {
        let sides = climb(f64::abs, 0.0, 1.0).kink().expect("a kink");
        assert!((sides.left + 1.0).abs() <= sides.error && (sides.right - 1.0).abs() <= sides.error);
        for smooth in [|x: f64| 1e6 * x * x, |x: f64| x * x.abs(), |x: f64| (x - 1e-3).abs()] {
            assert_eq!(climb(smooth, 0.0, 1.0).kink(), None);
        }
    }

    #[test]
    fn the_remainder_is_of_second_order_where_right_and_first_where_wrong() {
        let ladder = climb(f64::exp, 0.5, 0.5);
        let slope = |claim: f64| ladder.taylor_slope(claim).expect("a remainder");
        assert!((slope(0.5_f64.exp()) - 2.0).abs() < 0.05);
        assert!((slope(1.01 * 0.5_f64.exp()) - 1.0).abs() < 0.05);
    }
}
