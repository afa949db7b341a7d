//! The check of a vector-Jacobian product.

use alloc::{format, string::String, vec, vec::Vec};

use super::compare::{Comparison, Coverage, Outcome, Tally, claim, compare};
use super::function::{Call, Direction, Fault, Function, Functional};
use super::kinks::Kinks;
use super::linear::{Image, Linear};
use super::number::{Number, Random};
use super::sample::{bands, coordinates, restricted, scales, signed, support, weights};
use super::{Mode, Options, Progress, Report, Setting};

pub(super) fn check<N: Number, A: Number>(
    name: &'static str,
    options: &Options<'_>,
    point: Vec<Vec<N>>,
    base: Vec<Vec<A>>,
    outputs: usize,
    mut forward: impl FnMut(&mut [Vec<N>], &mut [N]),
    mut vjp: impl FnMut(&mut [Vec<A>], &mut [A], &mut [Vec<A>]),
) -> Report {
    let setting = Setting::new::<N, A>(options);
    let lengths: Vec<usize> = base.iter().map(Vec::len).collect();
    let full = is_full(options, lengths.iter().sum(), outputs);
    let mut tally = Tally::new(name, setting.precision, full, setting.resolution, options.seed);
    let mut call = |x: &mut [Vec<A>], g: &mut [Vec<A>], dx: &mut [Vec<A>]| vjp(x, &mut g[0], dx);
    let linear = Linear::new("vjp", base, vec![outputs], lengths.clone(), &mut call, options.seed);
    match run(&mut tally, options, &setting, full, point, outputs, &mut forward, linear) {
        Err(fault) => tally.fault(fault),
        Ok((evaluations, hint)) => {
            let sizes: Vec<usize> = lengths.iter().copied().chain([outputs]).collect();
            tally.finish(evaluations, &sizes, hint.as_deref())
        }
    }
}

pub(super) fn is_full(options: &Options<'_>, inputs: usize, outputs: usize) -> bool {
    match options.mode {
        Mode::Full => true,
        Mode::Sampled => false,
        Mode::Auto => inputs.saturating_mul(outputs) <= options.full_limit,
    }
}

/// Weights on all outputs, and on the bands of them that the large ones would drown.
pub(super) fn weightings<N: Number>(
    function: &Function<'_, N>,
    options: &Options<'_>,
    full: bool,
    random: &mut Random,
) -> Vec<Vec<f64>> {
    let outputs = function.outputs();
    let mut all: Vec<Vec<f64>> = (0..options.directions.max(1)).map(|_| weights(outputs, random)).collect();
    if !full {
        let size = |i: usize| function.value(i).abs();
        let bands = bands(size, outputs);
        all.extend(bands.iter().map(|band| restricted(&weights(outputs, random), band)));
    }
    all
}

#[allow(clippy::too_many_arguments, reason = "the parts of one check, assembled in one place")]
fn run<N: Number, A: Number>(
    tally: &mut Tally,
    options: &Options<'_>,
    setting: &Setting,
    full: bool,
    point: Vec<Vec<N>>,
    outputs: usize,
    forward: Call<'_, N>,
    mut linear: Linear<'_, A>,
) -> Result<(usize, Option<String>), Fault> {
    let mut random = Random::new(options.seed);
    let mut function = Function::new(point, outputs, forward, &mut random)?;
    let weightings = weightings(&function, options, full, &mut random);
    let mut images = Vec::new();
    for v in &weightings {
        images.push(linear.image(v)?);
        linear.trust();
    }
    let whole = options.directions.max(1);
    let mut functionals: Vec<Functional<'_>> = weightings.iter().map(|v| function.weighted(v)).collect();
    if full {
        for i in 0..outputs {
            let mut unit = vec![0.0; outputs];
            unit[i] = 1.0;
            images.push(linear.image(&unit)?);
            functionals.push(Functional::Entry(i));
        }
    }

    let mut directions = Vec::new();
    for _ in 0..whole {
        for relative in [false, true] {
            directions.push(Direction::Dense(signed(&scales(&function, relative), &mut random)));
        }
    }
    let dense = directions.len();
    if full {
        directions
            .extend((0..function.len()).filter(|&j| function.at(j).is_finite()).map(Direction::Coordinate));
    } else {
        let steps = scales(&function, false);
        let gradient = &images[0].value;
        for band in bands(|j| (gradient[j] * steps[j]).abs(), function.len()) {
            directions.push(Direction::Dense(restricted(&signed(&steps, &mut random), &band)));
        }
        let chosen = coordinates(&function, gradient, options.coordinates, &mut random);
        directions.extend(chosen.into_iter().map(Direction::Coordinate));
    }
    directions.retain(|direction| !support(direction).is_empty());
    if directions.is_empty() || outputs == 0 {
        tally.nothing();
        return Ok((function.evaluations, None));
    }

    let relative = options.bound * setting.eps;
    let mut jacobian = vec![0.0; if full { function.len() * outputs } else { 0 }];
    // The parts: single coordinates in full mode, bands of outputs in sampled mode, or all of them.
    let parts = if full { directions.len() - dense.min(directions.len()) } else { weightings.len() - whole };
    let mut coverage = Coverage::new(parts.max(usize::from(!full)));
    let mut kinks = Kinks::new(function.len(), options.seed);
    let mut done = 0;
    while done < directions.len() {
        let smooth = kinks.without_known(&directions[done]);
        directions[done] = smooth;
        let direction = &directions[done];
        // A single coordinate in sampled mode is compared on the output that it moves most, too.
        let lively = match direction {
            Direction::Coordinate(_) if !full => liveliest(&mut function, direction),
            _ => None,
        };
        let mut extra = Vec::new();
        if let Some(i) = lively {
            let mut unit = vec![0.0; outputs];
            unit[i] = 1.0;
            extra.push(linear.image(&unit)?);
        }
        let single = matches!(direction, Direction::Coordinate(_));
        let count = match (full, single) {
            (true, false) | (false, true) => whole,
            _ => functionals.len(),
        };
        let rows: Vec<&Image> = images[..count].iter().chain(&extra).collect();
        let looked: Vec<Functional<'_>> =
            functionals[..count].iter().copied().chain(lively.map(Functional::Entry)).collect();
        let mut results =
            compare_rows(&mut function, direction, &looked, &rows, relative, setting.resolution);
        if !full && !single && kinks.to_search(&results) {
            let rows: Vec<&Image> = images[..whole].iter().collect();
            let mut look = |function: &mut Function<'_, N>, direction: &Direction| {
                Ok(compare_rows(
                    function,
                    direction,
                    &functionals[..whole],
                    &rows,
                    relative,
                    setting.resolution,
                ))
            };
            kinks.search(&mut function, direction, &mut look)?;
            directions.extend(kinks.found.drain(..).map(Direction::Coordinate));
            continue;
        }
        if !single {
            results.iter_mut().for_each(Comparison::open_between_kinks);
        }
        if done < dense {
            results[..whole].iter().for_each(|result| coverage.whole(result));
            if !full {
                let first = if parts == 0 { 0 } else { whole };
                (first..count).for_each(|k| coverage.band((k - first).min(parts.max(1) - 1), &results[k]));
            }
        } else if full {
            coverage.part(done - dense, results.iter());
        }
        for (k, result) in results.iter().enumerate() {
            let output = output_of(looked[k]);
            if let (Direction::Coordinate(j), Some(i), true) = (direction, output, full) {
                jacobian[i * function.len() + j] = result.numeric;
            }
            let (place, at) = where_is(&function, direction);
            let failed = tally.add(result, place, at, output);
            if failed && !full {
                locate(tally, &mut function, &mut linear, direction, looked[k], rows[k], relative, setting)?;
                return Ok((function.evaluations, None));
            }
        }
        done += 1;
        if let Some(progress) = options.progress {
            progress(Progress { done, total: directions.len() });
        }
    }
    tally.seen(coverage.complete());
    let hint = full.then(|| pattern(&images[weightings.len()..], &jacobian, function.len())).flatten();
    function.confirm()?;
    linear.confirm(&weightings[0], &images[0].value)?;
    Ok((function.evaluations, hint))
}

fn output_of(functional: Functional<'_>) -> Option<usize> {
    match functional {
        Functional::Entry(i) => Some(i),
        Functional::Weighted(..) => None,
    }
}

pub(super) fn where_is<N: Number>(
    function: &Function<'_, N>,
    direction: &Direction,
) -> (Option<(usize, usize)>, Option<f64>) {
    match direction {
        Direction::Coordinate(j) => (Some(function.place(*j)), Some(function.at(*j))),
        Direction::Dense(_) => (None, None),
    }
}

/// The output that a small step along `direction` moves most.
fn liveliest<N: Number>(function: &mut Function<'_, N>, direction: &Direction) -> Option<usize> {
    let Direction::Coordinate(j) = direction else { return None };
    let x = function.at(*j).abs();
    let h = super::number::power(super::number::exponent(x.max(1.0)) - 6);
    function.pair(direction, h)?.liveliest()
}

fn compare_rows<N: Number>(
    function: &mut Function<'_, N>,
    direction: &Direction,
    functionals: &[Functional<'_>],
    rows: &[&Image],
    relative: f64,
    resolution: f64,
) -> Vec<Comparison> {
    let claims: Vec<_> = rows.iter().map(|row| claim(row, direction, relative)).collect();
    compare(function, direction, functionals, &claims, resolution, |residual| {
        rows.iter().map(|row| residual.iter().map(|&(j, off)| row.value[j] * off).sum()).collect()
    })
}

/// Halves a failing direction until one coordinate is left, then looks at the output it moves most.
#[allow(clippy::too_many_arguments, reason = "the parts of one check, handed on")]
fn locate<N: Number, A: Number>(
    tally: &mut Tally,
    function: &mut Function<'_, N>,
    linear: &mut Linear<'_, A>,
    direction: &Direction,
    functional: Functional<'_>,
    row: &Image,
    relative: f64,
    setting: &Setting,
) -> Result<(), Fault> {
    let mut culprits = support(direction);
    if let Direction::Dense(u) = direction {
        while culprits.len() > 1 {
            let (left, right) = culprits.split_at(culprits.len() / 2);
            let mut worst: Option<(f64, Vec<usize>)> = None;
            for half in [left, right] {
                let part = match half {
                    [j] => Direction::Coordinate(*j),
                    _ => Direction::Dense(restricted(u, half)),
                };
                let results =
                    compare_rows(function, &part, &[functional], &[row], relative, setting.resolution);
                let result = &results[0];
                // Gaps in the units of the direction, so that halves of different size compare.
                let unit = if let [j] = half { u[*j].abs() } else { 1.0 };
                let gap = unit * (result.claim.value - result.numeric).abs();
                if result.outcome == Outcome::Differs && worst.as_ref().is_none_or(|(g, _)| gap > *g) {
                    worst = Some((gap, half.to_vec()));
                    tally.sharpen();
                    let (place, at) = where_is(function, &part);
                    tally.add(result, place, at, output_of(functional));
                }
            }
            match worst {
                Some((_, half)) => culprits = half,
                None => break,
            }
        }
    }
    if let ([j], Functional::Weighted(..)) = (culprits.as_slice(), functional) {
        let part = Direction::Coordinate(*j);
        if let Some(i) = liveliest(function, &part) {
            let mut unit = vec![0.0; function.outputs()];
            unit[i] = 1.0;
            let image = linear.image(&unit)?;
            let results = compare_rows(
                function,
                &part,
                &[Functional::Entry(i)],
                &[&image],
                relative,
                setting.resolution,
            );
            if results[0].outcome == Outcome::Differs {
                tally.sharpen();
                let (place, at) = where_is(function, &part);
                tally.add(&results[0], place, at, Some(i));
            }
        }
    }
    // A derivative or function that drifts looks wrong too: say so if that is what it is.
    function.confirm()
}

/// What the whole of a wrong Jacobian looks like, where one pattern explains it.
fn pattern(analytic: &[Image], numeric: &[f64], columns: usize) -> Option<String> {
    let rows = analytic.len();
    let largest = numeric.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return None;
    }
    let explained = |f: &dyn Fn(usize, usize) -> f64| {
        (0..rows).all(|i| (0..columns).all(|j| (analytic[i].value[j] - f(i, j)).abs() <= 1e-6 * largest))
    };
    let at = |i: usize, j: usize| numeric[i * columns + j];
    if explained(&at) {
        return None;
    }
    if rows == columns && explained(&|i, j| at(j, i)) {
        return Some(String::from("the Jacobian is transposed: rows and columns are exchanged"));
    }
    for shift in [1, columns.saturating_sub(1)] {
        if columns > 2 && explained(&|i, j| at(i, (j + shift) % columns)) {
            return Some(format!(
                "the index is off by {}",
                if shift == 1 { "one: j + 1" } else { "one: j − 1" }
            ));
        }
    }
    let error = |i: usize, j: usize| analytic[i].value[j] - at(i, j);
    let small = 1e-6 * largest;
    let wrong: Vec<(usize, usize)> = (0..rows)
        .flat_map(|i| (0..columns).map(move |j| (i, j)))
        .filter(|&(i, j)| error(i, j).abs() > small)
        .collect();
    let &(p, q) = wrong.iter().max_by(|a, b| error(a.0, a.1).abs().total_cmp(&error(b.0, b.1).abs()))?;
    let ratio = analytic[p].value[q] / at(p, q);
    if rows == 1 || explained(&|i, j| ratio * at(i, j)) {
        // One factor says it all.
        return None;
    }
    if columns > 1 && wrong.iter().all(|&(_, j)| j == q) {
        return Some(format!("only the derivatives in input element {q} are wrong"));
    }
    if wrong.iter().all(|&(i, _)| i == p) {
        return Some(format!("only the derivatives of output {p} are wrong"));
    }
    if rows == columns && rows > 2 {
        if wrong.iter().all(|(i, j)| i == j) {
            return Some(String::from("wrong on the diagonal only: the direct term"));
        }
        if wrong.iter().all(|(i, j)| i != j) {
            return Some(String::from("wrong off the diagonal only: the coupling term is missing or wrong"));
        }
    }
    let product = |i: usize, j: usize| at(i, j) + error(i, q) * error(p, j) / error(p, q);
    explained(&product)
        .then(|| String::from("the error is a product aᵢ·bⱼ: a sum over all elements is missing or wrong"))
}
