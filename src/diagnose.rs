//! Looks at what a network gives, and at its targets, and says what is likely wrong.
//!
//! Nothing complains when a loss gets its input in the wrong form: training is just worse. These functions look at a
//! batch of real numbers, and are silent where nothing is the matter.
//!
//! ```
//! use lossprep::diagnose::{Finding, logits};
//! use lossprep::{Layout, softmax};
//! let x = [2.0_f32, 1.0, 0.1, -1.0, 3.0, 0.2];
//! assert!(logits(&x, &[2, 3], -1, Some(&[0, 1]))?.is_empty());
//!
//! let mut p = [0.0; 6];
//! softmax(&x, Layout::rows(2, 3)?, &mut p)?;
//! let findings = logits(&p, &[2, 3], -1, Some(&[0, 1]))?;
//! assert_eq!(findings, [Finding::AlreadyProbabilities { rows: 2, of: 2 }]);
//! println!("{}", findings[0]);
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! # What is likely
//! The thresholds are chosen for batches of a few rows and more; one row of two classes may look like anything.
//! Numbers that are only close, such as probabilities rounded to three digits, are recognised too: sums count as 1 to
//! 10⁻³.

use crate::error::check_len;
use crate::{Element, Error, Layout, NormGuard, Range};
use alloc::vec::Vec;
use core::fmt;
use num_traits::Float;

/// Something that is likely wrong; its text says what it does to training, and what to do.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// NaN or +∞, or −∞ where it has no meaning.
    NotFinite {
        /// How many numbers.
        count: usize,
        /// The first one.
        first: usize,
    },
    /// Logits are expected, but rows lie in [0, 1] and sum to 1.
    AlreadyProbabilities {
        /// How many rows.
        rows: usize,
        /// Of how many.
        of: usize,
    },
    /// Logits are expected, but the exponentials of rows sum to 1.
    AlreadyLogProbabilities {
        /// How many rows.
        rows: usize,
        /// Of how many.
        of: usize,
    },
    /// Logits of yes/no classes are expected, but all numbers lie in [0, 1].
    AlreadySigmoid {
        /// How many numbers.
        count: usize,
    },
    /// The classes do not fit the axis, but another one.
    Axis {
        /// The axis that fits.
        fits: usize,
        /// Its length.
        len: usize,
    },
    /// A class that does not exist, on any axis.
    Class {
        /// Which target; the first of them.
        row: usize,
        /// The class.
        class: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// As many targets as no axis has rows.
    TargetCount {
        /// The targets.
        targets: usize,
        /// The rows.
        rows: usize,
    },
    /// The output is at the end of its range, to the last bit.
    Saturated {
        /// The share of rows, or of numbers.
        share: f64,
    },
    /// The gradient is next to nothing although there is something to learn.
    Vanishing {
        /// The share of rows, or of numbers.
        share: f64,
    },
    /// Rows with no direction: shorter than the guard's ε.
    ZeroNorm {
        /// How many rows.
        rows: usize,
        /// The first one.
        first: usize,
    },
    /// Unit vectors are expected, but rows have another length.
    NotUnit {
        /// How many rows.
        rows: usize,
        /// The first one.
        first: usize,
    },
    /// Targets that no output can reach.
    OutsideRange {
        /// How many targets.
        count: usize,
        /// The first one.
        first: usize,
        /// The least output.
        lo: f64,
        /// The largest.
        hi: f64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotFinite { count, first } => {
                write!(
                    f,
                    "{count} numbers are NaN or infinite, the first is number {first}: so are losses and gradients"
                )
            }
            Self::AlreadyProbabilities { rows, of } => write!(
                f,
                "{rows} of {of} rows already sum to one: a loss of logits applies the softmax again and trains badly; \
                 pass what comes before the softmax"
            ),
            Self::AlreadyLogProbabilities { rows, of } => write!(
                f,
                "{rows} of {of} rows are log-probabilities: use `nll`, or pass what comes before the log_softmax"
            ),
            Self::AlreadySigmoid { count } => write!(
                f,
                "all {count} numbers already lie in [0, 1]: a loss of logits applies the sigmoid again and trains badly; \
                 pass what comes before the sigmoid"
            ),
            Self::Axis { fits, len } => {
                write!(f, "the targets fit axis {fits}, of length {len}: the softmax runs along another one")
            }
            Self::Class { row, class, classes } => {
                write!(
                    f,
                    "target {row} is class {class}, but there are {classes} classes, counted from 0; is it an index to \
                     ignore?"
                )
            }
            Self::TargetCount { targets, rows } => write!(f, "{targets} targets for {rows} rows"),
            Self::Saturated { share } => write!(
                f,
                "{:.0} % of the outputs are at the end of their range: their inputs are too large; is something \
                 scaled twice, or not at all?",
                share * 100.0
            ),
            Self::Vanishing { share } => write!(
                f,
                "{:.0} % of the wrong outputs have next to no gradient: they cannot be corrected",
                share * 100.0
            ),
            Self::ZeroNorm { rows, first } => write!(
                f,
                "{rows} rows have no direction, the first is row {first}: normalising gives zeros, and huge gradients"
            ),
            Self::NotUnit { rows, first } => {
                write!(f, "{rows} rows do not have length 1, the first is row {first}: normalise them first")
            }
            Self::OutsideRange { count, first, lo, hi } => write!(
                f,
                "{count} targets lie outside the range [{lo}, {hi}], the first is number {first}: the output cannot \
                 reach them"
            ),
        }
    }
}

/// Sums and norms count as 1 to this.
const CLOSE: f64 = 1e-3;
/// From this share of rows on a form is recognised.
const MOST: f64 = 0.9;
/// From this share on saturation is worth a word.
const MANY: f64 = 0.25;
/// A gradient of less, of what it is at its largest, is next to nothing.
const SLIGHT: f64 = 1e-6;

fn wide<T: Element>(x: T) -> f64 {
    x.to_f64().unwrap_or(f64::NAN)
}

/// The elements of a row, as f64.
fn row<T: Element>(x: &[T], layout: Layout, row: usize) -> impl Iterator<Item = f64> + Clone {
    let (len, inner) = (layout.len(), layout.inner());
    let start = row / inner * len * inner + row % inner;
    (0..len).map(move |i| wide(x[start + i * inner]))
}

/// How many, and the first one.
fn count(wrong: impl Iterator<Item = bool>) -> Option<(usize, usize)> {
    let mut found = None;
    for (index, _) in wrong.enumerate().filter(|(_, wrong)| *wrong) {
        found = Some(found.map_or((1, index), |(count, first)| (count + 1, first)));
    }
    found
}

fn not_finite<T: Element>(x: &[T], findings: &mut Vec<Finding>, allowed: impl Fn(usize, T) -> bool) {
    let wrong = |(i, &x): (usize, &T)| !x.is_finite() && !allowed(i, x);
    if let Some((count, first)) = count(x.iter().enumerate().map(wrong)) {
        findings.push(Finding::NotFinite { count, first });
    }
}

fn outside<T: Element>(targets: &[T], lo: T, hi: T, findings: &mut Vec<Finding>) {
    if let Some((count, first)) = count(targets.iter().map(|&t| !(t >= lo && t <= hi))) {
        findings.push(Finding::OutsideRange { count, first, lo: wide(lo), hi: wide(hi) });
    }
}

fn share(count: usize, of: usize) -> f64 {
    count as f64 / of.max(1) as f64
}

/// Looks at logits of this shape, with the classes along `axis` (−1 is the last), and at one target a row.
///
/// NaN and +∞ are said alone; −∞ may be a mask. Else: rows that are probabilities or log-probabilities already;
/// targets that fit another axis, or none; rows that are at the end of their range, and wrong ones with next to no
/// gradient. A target that is no class is a finding; the other rows are looked at all the same.
///
/// ```
/// use lossprep::diagnose::{Finding, logits};
/// // Four pixels of three classes, with the classes first: axis 0, not the last one.
/// let x = [2.0_f32, 1.0, 0.1, -1.0, 3.0, 0.2, 0.5, 0.4, -2.0, 1.5, 0.3, 0.8];
/// assert_eq!(logits(&x, &[3, 4], -1, Some(&[0, 1, 2, 0]))?, [Finding::Axis { fits: 0, len: 3 }]);
/// assert!(logits(&x, &[3, 4], 0, Some(&[0, 1, 2, 0]))?.is_empty());
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Axis`], [`Error::Overflow`], or [`Error::Length`] if `x` does not have that shape.
pub fn logits<T: Element>(
    x: &[T],
    shape: &[usize],
    axis: isize,
    classes: Option<&[usize]>,
) -> Result<Vec<Finding>, Error> {
    look_at_logits(x, shape, axis, classes, None)
}

/// [`logits`] without the rows whose target is `ignore_index`, as
/// [`ClassOptions::ignore_index`](crate::ClassOptions::ignore_index) leaves them out of a loss, whatever they hold.
///
/// ```
/// use lossprep::diagnose::{Finding, logits_ignoring};
/// let x = [2.0_f32, 1.0, 0.1, f32::NAN, 3.0, 0.2, 0.4, -1.0, 0.0];
/// assert!(logits_ignoring(&x, &[3, 3], -1, &[0, usize::MAX, 1], usize::MAX)?.is_empty());
/// // Classes that are counted from 1.
/// let findings = logits_ignoring(&x, &[3, 3], -1, &[1, usize::MAX, 3], usize::MAX)?;
/// assert_eq!(findings, [Finding::Class { row: 2, class: 3, classes: 3 }]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`logits`].
pub fn logits_ignoring<T: Element>(
    x: &[T],
    shape: &[usize],
    axis: isize,
    classes: &[usize],
    ignore_index: usize,
) -> Result<Vec<Finding>, Error> {
    look_at_logits(x, shape, axis, Some(classes), Some(ignore_index))
}

fn look_at_logits<T: Element>(
    x: &[T],
    shape: &[usize],
    axis: isize,
    classes: Option<&[usize]>,
    ignore_index: Option<usize>,
) -> Result<Vec<Finding>, Error> {
    let layout = Layout::from_shape(shape, axis)?;
    check_len("x", layout.elements(), x.len())?;
    let (rows, n, inner) = (layout.row_count(), layout.len(), layout.inner());
    let ignored = |class: usize| ignore_index == Some(class);
    let left_out = |row: usize| classes.is_some_and(|c| c.len() == rows && ignored(c[row]));
    let mut findings = Vec::new();
    not_finite(x, &mut findings, |i, x| {
        x == T::neg_infinity() || left_out(i / (n * inner) * inner + i % inner)
    });
    let looked_at: Vec<usize> = (0..rows).filter(|&r| !left_out(r)).collect();
    if !findings.is_empty() || looked_at.is_empty() || n < 2 {
        return Ok(findings);
    }
    let near_one = |sum: f64| (sum - 1.0).abs() <= CLOSE;
    let probabilities = |r: &&usize| {
        let row = row(x, layout, **r);
        row.clone().all(|p| (0.0..=1.0).contains(&p)) && near_one(row.sum())
    };
    let log_probabilities = |r: &&usize| {
        let row = row(x, layout, **r);
        row.clone().all(|p| p <= 0.0) && near_one(row.map(Float::exp).sum())
    };
    let of = looked_at.len();
    let alike =
        [looked_at.iter().filter(probabilities).count(), looked_at.iter().filter(log_probabilities).count()];
    if share(alike[0], of) >= MOST {
        findings.push(Finding::AlreadyProbabilities { rows: alike[0], of });
    } else if share(alike[1], of) >= MOST {
        findings.push(Finding::AlreadyLogProbabilities { rows: alike[1], of });
    }
    let Some(classes) = classes else { return Ok(findings) };
    let largest = classes.iter().copied().filter(|&c| !ignored(c)).max().unwrap_or(0);
    let fits = |layout: Layout| layout.row_count() == classes.len() && largest < layout.len();
    if !fits(layout) {
        for other in 0..shape.len() {
            let other_layout = Layout::from_shape(shape, other as isize)?;
            if fits(other_layout) {
                findings.push(Finding::Axis { fits: other, len: other_layout.len() });
                return Ok(findings);
            }
        }
        if classes.len() != rows {
            findings.push(Finding::TargetCount { targets: classes.len(), rows });
            return Ok(findings);
        }
        if let Some(&row) = looked_at.iter().find(|&&r| classes[r] >= n) {
            findings.push(Finding::Class { row, class: classes[row], classes: n });
        }
    }
    // How far the target is from certain, and whether the row is wrong.
    let (mut targets, mut saturated, mut wrong, mut stuck) = (0, 0, 0, 0);
    let end = T::epsilon().to_f64().unwrap_or(0.0) / 2.0;
    for &r in looked_at.iter().filter(|&&r| classes[r] < n) {
        targets += 1;
        let values = row(x, layout, r);
        let top = values.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = values.clone().map(|z| Float::exp(z - top)).sum();
        saturated += usize::from(sum - 1.0 < end);
        let own = values.clone().nth(classes[r]).map_or(0.0, |z| Float::exp(z - top) / sum);
        if own < 0.5 {
            wrong += 1;
            // The probability that could grow at the target: what a softmax before the loss would leave of the gradient.
            stuck += usize::from(own < SLIGHT && sum - 1.0 < SLIGHT);
        }
    }
    if targets > 0 && share(saturated, targets) >= MANY {
        findings.push(Finding::Saturated { share: share(saturated, targets) });
    }
    if wrong > 0 && share(stuck, wrong) >= MANY {
        findings.push(Finding::Vanishing { share: share(stuck, wrong) });
    }
    Ok(findings)
}

/// Looks at features that are to be normalised.
///
/// NaN and infinities are said alone; else rows no longer than the guard's ε, or √ε under `AddSquared`.
///
/// ```
/// use lossprep::diagnose::{Finding, features};
/// use lossprep::{Layout, NormGuard};
/// let x = [3.0_f32, 4.0, 0.0, 0.0, 1.0, -2.0];
/// let findings = features(&x, Layout::rows(3, 2)?, NormGuard::default())?;
/// assert_eq!(findings, [Finding::ZeroNorm { rows: 1, first: 1 }]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] if `x` does not fit the layout, [`Error::Parameter`] for an ε out of its domain.
pub fn features<T: Element>(x: &[T], layout: Layout, guard: NormGuard<T>) -> Result<Vec<Finding>, Error> {
    check_len("x", layout.elements(), x.len())?;
    guard.checked()?;
    let least = match guard {
        NormGuard::Max(eps) | NormGuard::Add(eps) => wide(eps),
        NormGuard::AddSquared(eps) => Float::sqrt(wide(eps)),
    };
    let mut findings = Vec::new();
    not_finite(x, &mut findings, |_, _| false);
    if findings.is_empty()
        && let Some((rows, first)) = count((0..layout.row_count()).map(|r| norm(x, layout, r) <= least))
    {
        findings.push(Finding::ZeroNorm { rows, first });
    }
    Ok(findings)
}

/// Looks at features that are taken for unit vectors.
///
/// NaN and infinities are said alone; else rows whose norm is not 1 to 10⁻³.
///
/// ```
/// use lossprep::{Layout, diagnose::{Finding, unit_vectors}};
/// let findings = unit_vectors(&[0.6_f32, 0.8, 3.0, 4.0], Layout::rows(2, 2)?)?;
/// assert_eq!(findings, [Finding::NotUnit { rows: 1, first: 1 }]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] if `x` does not fit the layout.
pub fn unit_vectors<T: Element>(x: &[T], layout: Layout) -> Result<Vec<Finding>, Error> {
    check_len("x", layout.elements(), x.len())?;
    let mut findings = Vec::new();
    not_finite(x, &mut findings, |_, _| false);
    let wrong = |r: usize| (norm(x, layout, r) - 1.0).abs() > CLOSE;
    if findings.is_empty()
        && let Some((rows, first)) = count((0..layout.row_count()).map(wrong))
    {
        findings.push(Finding::NotUnit { rows, first });
    }
    Ok(findings)
}

fn norm<T: Element>(x: &[T], layout: Layout, r: usize) -> f64 {
    // Scaled, so that no square leaves the range.
    let largest = row(x, layout, r).fold(0.0, |m: f64, x| m.max(x.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let squares: f64 = row(x, layout, r).map(|x| (x / largest) * (x / largest)).sum();
    largest * Float::sqrt(squares)
}

/// Looks at the raw output of a regression network, before the scaled sigmoid, and at its targets.
///
/// NaN and infinities in the output; targets outside of the range, or NaN; outputs at the end of their range, and
/// wrong ones with next to no gradient: wrong is by more than a tenth of the range.
///
/// ```
/// use lossprep::{Range, diagnose::{Finding, ranged}};
/// let findings = ranged(&[0.3_f32, -1.2, 0.8], &[20.0, 0.0, 110.0], Range::new(0.0, 100.0)?)?;
/// assert_eq!(findings, [Finding::OutsideRange { count: 1, first: 2, lo: 0.0, hi: 100.0 }]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] for another number of targets than of outputs.
pub fn ranged<T: Element>(raw: &[T], targets: &[T], range: Range<T>) -> Result<Vec<Finding>, Error> {
    check_len("targets", raw.len(), targets.len())?;
    let mut findings = Vec::new();
    not_finite(raw, &mut findings, |_, _| false);
    outside(targets, range.lo(), range.hi(), &mut findings);
    let (lo, width) = (wide(range.lo()), wide(range.hi()) - wide(range.lo()));
    let end = T::epsilon().to_f64().unwrap_or(0.0) / 2.0;
    let (mut saturated, mut wrong, mut stuck) = (0, 0, 0);
    for (&x, &t) in raw.iter().zip(targets) {
        let e = Float::exp(-wide(x).abs());
        let rest = e / (1.0 + e);
        saturated += usize::from(rest < end);
        let y = lo + width * if x < T::zero() { rest } else { 1.0 - rest };
        if (y - wide(t)).abs() > 0.1 * width {
            wrong += 1;
            stuck += usize::from(rest < SLIGHT);
        }
    }
    if share(saturated, raw.len()) >= MANY {
        findings.push(Finding::Saturated { share: share(saturated, raw.len()) });
    }
    if wrong > 0 && share(stuck, wrong) >= MANY {
        findings.push(Finding::Vanishing { share: share(stuck, wrong) });
    }
    Ok(findings)
}

/// Looks at logits of independent yes/no classes, before any sigmoid, and at their targets, from 0 (no) to 1 (yes).
///
/// NaN and infinities in the logits; targets outside of [0, 1], or NaN; eight logits and more that all lie in
/// [0, 1]; wrong ones with next to no gradient.
///
/// ```
/// use lossprep::diagnose::{Finding, binary_logits};
/// let (p, targets) = ([0.9_f32, 0.2, 0.6, 0.1, 0.8, 0.3, 0.7, 0.4], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
/// assert_eq!(binary_logits(&p, &targets)?, [Finding::AlreadySigmoid { count: 8 }]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] for another number of targets than of logits.
pub fn binary_logits<T: Element>(x: &[T], targets: &[T]) -> Result<Vec<Finding>, Error> {
    check_len("targets", x.len(), targets.len())?;
    let mut findings = Vec::new();
    not_finite(x, &mut findings, |_, _| false);
    outside(targets, T::zero(), T::one(), &mut findings);
    // Numbers of which none is negative, and none above 1, are those of a sigmoid.
    if x.len() >= 8 && x.iter().all(|&x| x >= T::zero() && x <= T::one()) {
        findings.push(Finding::AlreadySigmoid { count: x.len() });
    }
    let (mut wrong, mut stuck) = (0, 0);
    for (&x, &t) in x.iter().zip(targets) {
        let e = Float::exp(-wide(x).abs());
        let rest = e / (1.0 + e);
        let p = if x < T::zero() { rest } else { 1.0 - rest };
        if (p - wide(t)).abs() > 0.5 {
            wrong += 1;
            stuck += usize::from(rest < SLIGHT);
        }
    }
    if wrong > 0 && share(stuck, wrong) >= MANY {
        findings.push(Finding::Vanishing { share: share(stuck, wrong) });
    }
    Ok(findings)
}
