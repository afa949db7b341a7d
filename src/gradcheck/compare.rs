//! One comparison after another: the ladder is climbed down until every functional is settled, then judged.

use alloc::{format, string::String, vec::Vec};
use num_traits::Float;

use super::fit;
use super::function::{Direction, Fault, Function, Functional, MANY};
use super::ladder::{Estimate, Ladder, Sides};
use super::linear::Image;
use super::number::{Number, Sum, exponent, power};
use super::report::{Report, Verdict, Worst};

/// The ladder's length: 4⁻⁴⁸ of the first step is below anything f64 can tell apart.
const STEPS: usize = 48;

/// A constant moves by no more than this many units in its last place.
const FLAT: f64 = 16.0;

/// A function that stops moving this many roundings of its largest input short of standing still is not constant:
/// an intermediate value has absorbed the step.
const FADED: f64 = 1024.0;

/// After so many steps a coordinate far smaller than its step is gone to directly.
const LEAP: usize = 18;

/// What the code under test claims for one functional and direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) value: f64,
    /// Its rounding error: the kernel's stated bound and what was measured.
    pub(super) slack: f64,
    /// The size of the gradient here, were its parts not to cancel.
    pub(super) scale: f64,
}

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Agrees { resolved: bool },
    Differs,
    Kink,
    Unknown,
}

/// A comparison with all that a report wants to know about it.
pub(super) struct Comparison {
    pub(super) outcome: Outcome,
    pub(super) claim: Claim,
    pub(super) numeric: f64,
    pub(super) bar: f64,
    pub(super) sides: Option<Sides>,
    /// The bar is below the resolution in units of the function itself: what it leaves open is hidden by the
    /// rounding of its value.
    pub(super) hidden: bool,
    /// The function stands still along the direction, and no slope is claimed.
    pub(super) constant: bool,
    pub(super) ladder: Ladder,
}

impl Comparison {
    /// The comparison excludes an error of the size asked for.
    pub(super) fn resolved(&self) -> bool {
        matches!(self.outcome, Outcome::Agrees { resolved: true } | Outcome::Kink)
    }

    /// Through several kinks at once the derivative need not lie between the two slopes: no error is shown.
    pub(super) fn open_between_kinks(&mut self) {
        if self.sides.is_some() && self.outcome == Outcome::Differs {
            self.outcome = Outcome::Unknown;
        }
    }

    /// However far one goes, nothing moves by more than the last places of the value, and no slope is claimed.
    fn settle_constant(&mut self, change: f64) {
        if self.outcome == (Outcome::Agrees { resolved: false }) {
            self.constant = self.ladder.flat(change) && self.claim.value.abs() <= self.claim.slack;
            self.outcome = Outcome::Agrees { resolved: self.constant };
        }
    }

    /// Where rounding inside the function swallowed the smallest steps, a derivative of zero is no evidence.
    fn open_where_faded(&mut self, grain: f64) {
        let faded = self.ladder.faded(self.claim.value).is_some_and(|change| change <= grain);
        if self.outcome == Outcome::Differs && self.numeric == 0.0 && faded {
            self.outcome = Outcome::Unknown;
        }
    }

    /// Or what it cannot exclude is below what the function's own value resolves.
    pub(super) fn exhausted(&self) -> bool {
        self.resolved() || self.hidden && matches!(self.outcome, Outcome::Agrees { .. })
    }

    /// How much of the error bar the difference uses up; above 1 it is a failure.
    pub(super) fn strain(&self) -> f64 {
        let (low, high) =
            self.sides.map_or((self.numeric, self.numeric), |s| (s.left.min(s.right), s.left.max(s.right)));
        let gap = (low - self.claim.value).max(self.claim.value - high).max(0.0);
        if gap == 0.0 { 0.0 } else { gap / self.bar }
    }
}

/// Compares claims with differences of `function` along `direction`.
///
/// `shift` gives, for a list of (coordinate, offset), the claimed slope along that offset for each
/// functional: what must be taken off because the points reached are not quite the ones meant.
pub(super) fn compare<N: Number>(
    function: &mut Function<'_, N>,
    direction: &Direction,
    functionals: &[Functional<'_>],
    claims: &[Claim],
    resolution: f64,
    mut shift: impl FnMut(&[(usize, f64)]) -> Vec<f64>,
) -> Vec<Comparison> {
    let mut ladders: Vec<Ladder> = functionals.iter().map(|_| Ladder::default()).collect();
    let (first, last) = reach(function, direction);
    let mut h = first;
    let mut misled = false;
    let near = match direction {
        Direction::Coordinate(j) if function.at(*j) != 0.0 => power(exponent(function.at(*j)) - 1),
        _ => 0.0,
    };
    for taken in 0..STEPS {
        if h < last {
            break;
        }
        if let Some(pair) = function.pair(direction, h) {
            let shifts = if pair.residual.is_empty() { Vec::new() } else { shift(&pair.residual) };
            for (k, (functional, ladder)) in functionals.iter().zip(&mut ladders).enumerate() {
                pair.record(h, *functional, shifts.get(k).copied().unwrap_or(0.0), ladder);
            }
            if !misled
                && ladders
                    .iter()
                    .zip(claims)
                    .all(|(ladder, claim)| settled(ladder, claim, resolution, caution::<N>()))
            {
                misled = !confirmed(
                    function,
                    direction,
                    functionals,
                    claims,
                    &ladders,
                    last,
                    resolution,
                    &mut shift,
                );
                if !misled {
                    break;
                }
            }
        }
        h /= 4.0;
        // From far above a tiny coordinate straight to its own size: what lies between has been sampled.
        if taken == LEAP && near > 0.0 && h > 4.0 * near {
            h = near;
        }
    }
    let grain = FADED * N::EPS * function.largest();
    let natural: Vec<f64> = functionals.iter().map(|functional| function.size(*functional)).collect();
    let mut comparisons: Vec<Comparison> = ladders
        .into_iter()
        .zip(claims)
        .zip(natural)
        .map(|((ladder, claim), natural)| {
            let mut comparison = judge(ladder, *claim, natural, resolution, caution::<N>());
            comparison.settle_constant(FLAT * N::EPS * natural);
            comparison.open_where_faded(grain);
            comparison
        })
        .collect();
    if N::NAME == "f32" && matches!(direction, Direction::Dense(_)) {
        refine(function, direction, functionals, &mut comparisons, first, resolution, &mut shift);
    }
    comparisons
}

/// Where the few steps that f32 leaves agree with the claim, a fit to many large ones looks closer.
fn refine<N: Number>(
    function: &mut Function<'_, N>,
    direction: &Direction,
    functionals: &[Functional<'_>],
    comparisons: &mut [Comparison],
    reach: f64,
    resolution: f64,
    shift: &mut impl FnMut(&[(usize, f64)]) -> Vec<f64>,
) {
    let open = |c: &Comparison| matches!(c.outcome, Outcome::Agrees { .. }) && !c.constant;
    if !comparisons.iter().any(open) {
        return;
    }
    let mut samples: Vec<Ladder> = functionals.iter().map(|_| Ladder::default()).collect();
    let steps = fit::STEPS[usize::from(function.outputs() > MANY)];
    for m in (1..=steps).rev() {
        let h = reach * m as f64 / steps as f64;
        let Some(pair) = function.pair(direction, h) else { continue };
        let shifts = if pair.residual.is_empty() { Vec::new() } else { shift(&pair.residual) };
        for (k, (functional, samples)) in functionals.iter().zip(&mut samples).enumerate() {
            pair.record(h, *functional, shifts.get(k).copied().unwrap_or(0.0), samples);
        }
    }
    for ((comparison, functional), samples) in comparisons.iter_mut().zip(functionals).zip(samples) {
        let (true, Functional::Weighted(..), Some(fit)) =
            (open(comparison), functional, fit::fit(samples.steps()))
        else {
            continue;
        };
        let bar = fit.error + comparison.claim.slack;
        let apart = (fit.value - comparison.numeric).abs();
        // Beyond the bar of the ladder the two do not speak of the same derivative.
        if bar >= comparison.bar || apart > comparison.bar {
            continue;
        }
        comparison.numeric = fit.value;
        comparison.hidden |= bar <= resolution * function.size(*functional);
        comparison.bar = bar;
        let scale = comparison.claim.scale.max(fit.value.abs());
        comparison.outcome = if comparison.strain() > 1.0 {
            Outcome::Differs
        } else {
            Outcome::Agrees { resolved: bar <= resolution * scale }
        };
    }
}

/// Whether a step far below the last one, and no power of two, sees the same derivatives: the steps of the ladder
/// may all span whole periods or whole plateaus of the function.
#[allow(clippy::too_many_arguments, reason = "the parts of one comparison, handed on")]
fn confirmed<N: Number>(
    function: &mut Function<'_, N>,
    direction: &Direction,
    functionals: &[Functional<'_>],
    claims: &[Claim],
    ladders: &[Ladder],
    last: f64,
    resolution: f64,
    shift: &mut impl FnMut(&[(usize, f64)]) -> Vec<f64>,
) -> bool {
    // For each functional the smallest step at which rounding is still below a quarter of the resolution.
    let wanted = |(ladder, claim): (&Ladder, &Claim)| {
        let step = ladder.last()?;
        let best = ladder.best()?;
        let scale = claim.scale.max(best.value.abs());
        (scale > 0.0).then(|| (24.0 * step.noise * step.h / (resolution * scale), step.h / 4.0))
    };
    let wanted: Vec<(f64, f64)> = ladders.iter().zip(claims).filter_map(wanted).collect();
    let Some(highest) = wanted.first().map(|w| w.1) else { return true };
    let ends = wanted.iter().fold((f64::INFINITY, 0.0_f64), |(l, h), w| (l.min(w.0), h.max(w.0)));
    let mut tried = 0.0;
    for raw in [ends.1, ends.0] {
        let h = 0.75 * power(exponent(raw.max(last)) + 1);
        if h > highest || h == tried {
            continue;
        }
        tried = h;
        let Some(pair) = function.pair(direction, h) else { continue };
        let shifts = if pair.residual.is_empty() { Vec::new() } else { shift(&pair.residual) };
        for (k, (functional, ladder)) in functionals.iter().zip(ladders).enumerate() {
            let mut probe = Ladder::default();
            pair.record(h, *functional, shifts.get(k).copied().unwrap_or(0.0), &mut probe);
            let (Some(near), Some(far), Some(best)) = (probe.last(), ladder.last(), ladder.best()) else {
                continue;
            };
            let truncation = 2.0 * (far.d - best.value).abs() * (h / far.h) * (h / far.h);
            if (near.d - best.value).abs() > best.error + truncation + 6.0 * near.noise {
                return false;
            }
        }
    }
    true
}

/// The largest and the smallest step worth trying.
fn reach<N: Number>(function: &Function<'_, N>, direction: &Direction) -> (f64, f64) {
    match direction {
        // As large as the coordinate or 1, whichever is more; vectors that are small as a whole start lower.
        Direction::Coordinate(j) => {
            let x = function.at(*j).abs();
            let (k, _) = function.place(*j);
            let largest = function.base[k]
                .iter()
                .map(|x| x.widen().abs())
                .filter(|x| x.is_finite())
                .fold(0.0, f64::max);
            let typical = if largest == 0.0 { 1.0 } else { largest.min(1.0) };
            let first = power(exponent(x.max(typical)) - 1);
            let last = if x == 0.0 { typical * power(-90) } else { 2.0 * N::EPS * power(exponent(x)) };
            (first, last.min(first))
        }
        // A dense direction carries the scale of the inputs in itself. Every coordinate must move by many units in
        // its last place: were it to stay where it is, the correction for that would be all there is to see.
        Direction::Dense(u) => {
            let moved = |(j, u): (usize, &f64)| match function.at(j) {
                _ if *u == 0.0 => 0.0,
                0.0 => power(-90),
                x => 256.0 * N::EPS * power(exponent(x)) / u.abs(),
            };
            (0.5, u.iter().enumerate().map(moved).fold(0.0, f64::max))
        }
    }
}

/// How far an error bar is to be trusted: in f32 rounding leaves but a few steps, too few to contradict entries that
/// meet by chance.
fn caution<N: Number>() -> f64 {
    if N::NAME == "f32" { 4.0 } else { 1.0 }
}

/// Nothing is to be gained by smaller steps.
fn settled(ladder: &Ladder, claim: &Claim, resolution: f64, caution: f64) -> bool {
    if ladder.len() < 3 || !ladder.smooth() {
        return false;
    }
    let Some(best) = ladder.best() else { return false };
    let bar = caution * best.error + claim.slack;
    let scale = claim.scale.max(best.value.abs());
    // Or smaller steps can only be worse: rounding already makes the last one far worse than the best.
    let spent = scale > 0.0
        && ladder.len() >= 8
        && ladder.last().is_some_and(|last| 6.0 * last.noise > 16.0 * best.error);
    (best.value - claim.value).abs() <= bar && (best.error <= resolution / 8.0 * scale || spent)
}

fn judge(ladder: Ladder, claim: Claim, natural: f64, resolution: f64, caution: f64) -> Comparison {
    let sides = ladder.kink();
    let best = ladder.best();
    let Estimate { value, error } = match (sides, best) {
        (Some(s), _) => Estimate { value: s.left.midpoint(s.right), error: s.error },
        (None, Some(best)) => best,
        (None, None) => Estimate { value: f64::NAN, error: f64::INFINITY },
    };
    let bar = caution * error + claim.slack;
    let hidden = bar <= resolution * natural;
    let mut comparison = Comparison {
        outcome: Outcome::Unknown,
        claim,
        numeric: value,
        bar,
        sides,
        hidden,
        constant: false,
        ladder,
    };
    let strain = comparison.strain();
    comparison.outcome = if !error.is_finite() {
        Outcome::Unknown
    } else if strain > 1.0 || strain.is_nan() {
        Outcome::Differs
    } else if sides.is_some() {
        Outcome::Kink
    } else {
        let scale = match claim.scale.max(value.abs()) {
            // A minimum, say: relative to the slopes around it.
            0.0 => comparison.ladder.steepest(),
            scale => scale,
        };
        Outcome::Agrees { resolved: bar <= resolution * scale }
    };
    comparison
}

/// The claim ⟨row, u⟩ of a gradient row along a direction.
pub(super) fn claim(row: &Image, direction: &Direction, relative: f64) -> Claim {
    match direction {
        Direction::Coordinate(j) => {
            let (value, scale) = (row.value[*j], row.scale[*j]);
            Claim { value, slack: row.noise[*j] + relative * scale, scale }
        }
        Direction::Dense(u) => {
            let mut value = Sum::default();
            let (mut square, mut rounding) = (0.0, 0.0);
            for (((g, n), s), u) in row.value.iter().zip(&row.noise).zip(&row.scale).zip(u) {
                value.add(g * u);
                square += s * u * s * u;
                rounding += n * u * n * u;
            }
            let (value, scale) = (value.value(), Float::sqrt(square));
            Claim { value, slack: Float::sqrt(rounding) + relative * (scale + value.abs()), scale }
        }
    }
}

/// The tally of a check, and the comparison to show.
pub(super) struct Tally {
    pub(super) report: Report,
    strain: f64,
    /// The gradient as a whole was resolved.
    seen: bool,
    unknown: bool,
}

impl Tally {
    pub(super) fn new(
        check: &'static str,
        precision: &'static str,
        full: bool,
        resolution: f64,
        seed: u64,
    ) -> Self {
        let report = Report {
            verdict: Verdict::Pass,
            check,
            precision,
            full,
            reason: String::new(),
            worst: None,
            comparisons: 0,
            unresolved: 0,
            kinks: 0,
            resolution,
            evaluations: 0,
            seed,
        };
        Self { report, strain: -1.0, seen: false, unknown: false }
    }

    /// Counts a comparison; whether it failed.
    pub(super) fn add(
        &mut self,
        comparison: &Comparison,
        input: Option<(usize, usize)>,
        at: Option<f64>,
        output: Option<usize>,
    ) -> bool {
        self.report.comparisons += 1;
        let mut strain = comparison.strain();
        match comparison.outcome {
            Outcome::Agrees { resolved: true } => {}
            Outcome::Agrees { resolved: false } => {
                self.report.unresolved += 1;
                // A wide bar leaves room by itself: it is no close call.
                strain = strain.min(0.0);
            }
            Outcome::Kink => self.report.kinks += 1,
            Outcome::Differs => self.report.verdict = Verdict::Fail,
            Outcome::Unknown => {
                self.report.unresolved += 1;
                self.unknown = true;
            }
        }
        let failed = comparison.outcome == Outcome::Differs;
        // Among failures the one that matters most: a large gap rather than a large multiple of a tiny bar.
        // A single entry says more than a sum.
        let single = if input.is_some() && output.is_some() { 2.0 } else { 0.0 };
        let rank = if failed { 2.0 + single + gap(comparison) } else { strain.min(1.0) };
        if rank > self.strain {
            self.strain = rank;
            let claim = comparison.claim.value;
            self.report.worst = Some(Worst {
                input,
                at,
                output,
                analytic: claim,
                numeric: comparison.numeric,
                error: comparison.bar,
                sides: comparison.sides.map(|s| (s.left, s.right)),
                taylor_slope: comparison.ladder.taylor_slope(claim),
                steps: comparison.ladder.sizes(),
                meaning: String::new(),
            });
        }
        failed
    }

    /// The comparisons made so far show the gradient as a whole.
    pub(super) fn seen(&mut self, seen: bool) {
        self.seen |= seen;
    }

    /// There is nothing to compare: no input to move, or no output.
    pub(super) fn nothing(&mut self) {
        self.seen = true;
        self.report.reason = String::from("nothing to differentiate");
    }

    /// Prefers the next failure over those seen: it is closer to the culprit.
    pub(super) fn sharpen(&mut self) {
        self.strain = -1.0;
    }

    pub(super) fn fault(mut self, fault: Fault) -> Report {
        let (verdict, reason) = match fault {
            Fault::Impure(reason) => (Verdict::Impure, reason),
            Fault::NonDeterministic(reason) => (Verdict::NonDeterministic, reason),
            Fault::NonFinite(reason) => (Verdict::NonFinite, reason),
            Fault::Nonlinear(reason) => (Verdict::Fail, reason),
        };
        self.report.verdict = verdict;
        self.report.reason = reason;
        self.report
    }

    pub(super) fn finish(mut self, evaluations: usize, sizes: &[usize], hint: Option<&str>) -> Report {
        self.report.evaluations = evaluations;
        if self.report.verdict == Verdict::Fail {
            if let Some(worst) = &mut self.report.worst {
                worst.meaning = match hint {
                    Some(hint) => String::from(hint),
                    None => meaning(worst.analytic, worst.numeric, worst.error, sizes),
                };
            }
        } else if !self.seen {
            self.report.verdict = Verdict::Inconclusive;
            self.report.reason = if self.unknown {
                String::from(
                    "the differences settle on no value: the function is not finite, or not differentiable, nearby",
                )
            } else {
                format!(
                    "the function's own rounding errors leave an error bar wider than {:.1e} of the gradient: a gradient \
                     wrong by less than that bar could not be told from this one",
                    self.report.resolution
                )
            };
        } else if self.report.kinks > 0 {
            self.report.verdict = Verdict::Kink;
            self.report.reason =
                String::from("one-sided derivatives differ, and the gradient lies between them");
        }
        self.report
    }
}

/// The relative gap of a failure, at most 1.
fn gap(comparison: &Comparison) -> f64 {
    let (a, b) = (comparison.claim.value, comparison.numeric);
    let gap = (a - b).abs();
    let size = comparison.claim.scale.max(b.abs());
    if gap.is_finite() && size > 0.0 { (gap / size).min(1.0) } else { 1.0 }
}

/// What a wrong number and the right one look like together.
pub(super) fn meaning(analytic: f64, numeric: f64, error: f64, sizes: &[usize]) -> String {
    if analytic.is_nan() {
        return String::from("the gradient is NaN");
    }
    if analytic == 0.0 {
        return String::from("the gradient is zero: a term is missing or the result is never propagated");
    }
    if numeric.abs() <= error {
        return String::from(
            "the true derivative is zero to within the error bar: a term too many or a wrong index",
        );
    }
    let ratio = analytic / numeric;
    let tolerance = (2.0 * error / numeric.abs()).max(1e-9);
    let is = |value: f64| (ratio - value).abs() <= tolerance * value.abs();
    if is(-1.0) {
        return String::from("a sign is wrong");
    }
    for &n in sizes.iter().filter(|&&n| n > 2) {
        let n_real = n as f64;
        if is(1.0 / n_real) {
            return format!("1/{n}: a mean where a sum is meant");
        }
        if is(n_real) {
            return format!("{n}: a sum where a mean is meant");
        }
    }
    for (value, text) in [
        (2.0, "2: a factor too many, or a term counted twice"),
        (0.5, "1/2: a missing factor 2, or one of two equal terms"),
        (-2.0, "−2: a sign and a factor 2"),
        (-0.5, "−1/2: a sign and a factor 1/2"),
    ] {
        if is(value) {
            return String::from(text);
        }
    }
    if (ratio - 1.0).abs() < 0.05 {
        return format!(
            "off by {:.3e} of itself: a small term missing, or a constant not quite right",
            ratio - 1.0
        );
    }
    String::from("no simple factor: a term is missing or an index is wrong")
}

/// Whether comparisons that split the gradient into parts resolved all that there is to resolve.
///
/// Counts each part by its largest term: a part is seen if one comparison that says something about it is.
pub(super) struct Coverage {
    parts: Vec<bool>,
    whole: bool,
}

impl Coverage {
    pub(super) fn new(parts: usize) -> Self {
        Self { parts: alloc::vec![false; parts], whole: false }
    }

    /// A comparison of everything at once.
    pub(super) fn whole(&mut self, comparison: &Comparison) {
        // Between the two sides of a kink anything could hide: that is for the parts to exclude.
        // A direction along which nothing moves says nothing of the others.
        let telling =
            matches!(comparison.outcome, Outcome::Agrees { resolved: true }) && !comparison.constant;
        self.whole |= telling;
    }

    /// The comparisons of one part; those of terms that are zero say nothing, unless all are.
    pub(super) fn part<'c>(
        &mut self,
        part: usize,
        comparisons: impl Iterator<Item = &'c Comparison> + Clone,
    ) {
        let telling = |c: &&Comparison| c.claim.value != 0.0;
        let mut some = comparisons.clone().filter(telling).peekable();
        self.parts[part] |= if some.peek().is_some() {
            some.any(Comparison::resolved)
        } else {
            let mut rest = comparisons.peekable();
            rest.peek().is_some() && rest.all(Comparison::resolved)
        };
    }

    /// A comparison of one band as a whole.
    pub(super) fn band(&mut self, part: usize, comparison: &Comparison) {
        self.parts[part] |= comparison.exhausted();
    }

    pub(super) fn complete(&self) -> bool {
        self.whole || !self.parts.is_empty() && self.parts.iter().all(|&seen| seen)
    }
}
