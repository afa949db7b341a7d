//! Which directions, weights and coordinates to look at.

use alloc::{vec, vec::Vec};

use super::function::{Direction, Function};
use super::number::{Number, Random, exponent, power};

/// A step for every coordinate: one common to an input (`relative` false) or the coordinate's own.
///
/// Both are needed: relative steps do not move a small coordinate enough to see its part, common ones
/// carry a coordinate of another magnitude too far.
pub(super) fn scales<N: Number>(function: &Function<'_, N>, relative: bool) -> Vec<f64> {
    let mut scales = Vec::with_capacity(function.len());
    for input in &function.base {
        let mut exponents: Vec<i32> =
            input.iter().map(|x| x.widen()).filter(|x| x.is_finite() && *x != 0.0).map(exponent).collect();
        let middle = exponents.len() / 2;
        let typical = if exponents.is_empty() { 0 } else { *exponents.select_nth_unstable(middle).1 };
        scales.extend(input.iter().map(|x| match x.widen() {
            x if !x.is_finite() => 0.0,
            0.0 => power(typical),
            x if relative => power(exponent(x)),
            // Ten binades below its own magnitude at most, so that the step is more than rounding.
            x => power(typical.max(exponent(x) - 10)),
        }));
    }
    scales
}

/// The scales with random signs.
pub(super) fn signed(scales: &[f64], random: &mut Random) -> Vec<f64> {
    scales.iter().map(|s| s * random.sign()).collect()
}

/// Random weights for every output.
pub(super) fn weights(outputs: usize, random: &mut Random) -> Vec<f64> {
    (0..outputs).map(|_| random.weight()).collect()
}

/// How many binades a band of magnitudes spans, where no more than `BANDS` are needed for that.
const WIDTH: i32 = 12;

/// The most bands that magnitudes are split into.
const BANDS: i32 = 12;

/// Splits indices by the magnitude of `size`: zeros, and the rest into bands of equal width in the exponent where
/// the magnitudes differ enough (8 binades) for the large to drown the small.
pub(super) fn bands(size: impl Fn(usize) -> f64, count: usize) -> Vec<Vec<usize>> {
    let (zeros, others): (Vec<usize>, Vec<usize>) = (0..count).partition(|&i| size(i) == 0.0);
    let mut bands = Vec::new();
    let ends = others
        .iter()
        .map(|&i| exponent(size(i)))
        .fold((i32::MAX, i32::MIN), |(l, h), e| (l.min(e), h.max(e)));
    if others.len() > 1 && ends.1 - ends.0 > 8 {
        let range = ends.1 - ends.0 + 1;
        let number = (range / WIDTH + 1).clamp(2, BANDS);
        let width = (range + number - 1) / number;
        bands.resize(number as usize, Vec::new());
        others.iter().for_each(|&i| bands[((exponent(size(i)) - ends.0) / width) as usize].push(i));
        bands.retain(|band| !band.is_empty());
    }
    if !zeros.is_empty() && !others.is_empty() {
        bands.push(zeros);
    }
    bands
}

/// `values` on the indices of a band, zero elsewhere.
pub(super) fn restricted(values: &[f64], band: &[usize]) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    for &i in band {
        out[i] = values[i];
    }
    out
}

/// Single coordinates worth a look: the ends, and the extremes of the point and of the gradient.
pub(super) fn coordinates<N: Number>(
    function: &Function<'_, N>,
    gradient: &[f64],
    each: usize,
    random: &mut Random,
) -> Vec<usize> {
    let count = function.len();
    let finite = |j: &usize| function.at(*j).is_finite();
    let mut chosen: Vec<usize> = Vec::new();
    if count > 0 && each > 0 {
        chosen.extend([0, count - 1]);
    }
    let point = |j: usize| function.at(j).abs();
    let slope = |j: usize| gradient[j].abs();
    for size in [&point as &dyn Fn(usize) -> f64, &slope] {
        for _ in 0..each {
            let free = |j: &usize| finite(j) && !chosen.contains(j);
            let largest = (0..count).filter(free).max_by(|&a, &b| size(a).total_cmp(&size(b)));
            let smallest = (0..count)
                .filter(free)
                .filter(|&j| size(j) != 0.0)
                .min_by(|&a, &b| size(a).total_cmp(&size(b)));
            let zero = (0..count).filter(free).find(|&j| size(j) == 0.0);
            chosen.extend([largest, smallest, zero].into_iter().flatten());
        }
    }
    chosen.extend((0..if count > 0 { each } else { 0 }).map(|_| random.below(count)));
    chosen.retain(finite);
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// The coordinates a direction moves.
pub(super) fn support(direction: &Direction) -> Vec<usize> {
    match direction {
        Direction::Coordinate(j) => vec![*j],
        Direction::Dense(u) => (0..u.len()).filter(|&j| u[j] != 0.0).collect(),
    }
}
