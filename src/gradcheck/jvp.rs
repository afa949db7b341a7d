//! The check of a Jacobian-vector product.

use alloc::{vec, vec::Vec};

use super::adjoint::{self, Names};
use super::compare::{Comparison, Coverage, Outcome, Tally, claim, compare};
use super::function::{Call, Direction, Fault, Function, Functional};
use super::kinks::Kinks;
use super::linear::{Image, Linear};
use super::number::{Number, Random};
use super::sample::{bands, coordinates, restricted, scales, signed, support, weights};
use super::vjp::{is_full, weightings, where_is};
use super::{Options, Progress, Report, Setting};

pub(super) fn check<N: Number, A: Number>(
    options: &Options<'_>,
    point: Vec<Vec<N>>,
    base: Vec<Vec<A>>,
    outputs: usize,
    mut forward: impl FnMut(&mut [Vec<N>], &mut [N]),
    mut jvp: impl FnMut(&mut [Vec<A>], &mut [Vec<A>], &mut [A]),
) -> Report {
    let setting = Setting::new::<N, A>(options);
    let lengths: Vec<usize> = base.iter().map(Vec::len).collect();
    let full = is_full(options, lengths.iter().sum(), outputs);
    let mut tally = Tally::new("jvp", setting.precision, full, setting.resolution, options.seed);
    let mut call = |x: &mut [Vec<A>], u: &mut [Vec<A>], dy: &mut [Vec<A>]| jvp(x, u, &mut dy[0]);
    let linear = Linear::new("jvp", base, lengths.clone(), vec![outputs], &mut call, options.seed);
    match run(&mut tally, options, &setting, full, point, outputs, &mut forward, linear) {
        Err(fault) => tally.fault(fault),
        Ok(evaluations) => {
            let sizes: Vec<usize> = lengths.iter().copied().chain([outputs]).collect();
            tally.finish(evaluations, &sizes, None)
        }
    }
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
) -> Result<usize, Fault> {
    let mut random = Random::new(options.seed);
    let mut function = Function::new(point, outputs, forward, &mut random)?;
    let mut weightings = weightings(&function, options, full, &mut random);
    if !full && function.len() > 0 {
        // Outputs that move little among ones that move much have weights of their own, as have small ones.
        let u = signed(&scales(&function, false), &mut random);
        let moved = linear.image(&u)?.value;
        let bands = bands(|i| moved[i].abs(), outputs);
        weightings.extend(bands.iter().map(|band| restricted(&weights(outputs, &mut random), band)));
    }
    let whole = options.directions.max(1);
    let mut functionals: Vec<Functional<'_>> = weightings.iter().map(|v| function.weighted(v)).collect();
    if full {
        functionals.extend((0..outputs).map(Functional::Entry));
    } else if outputs > 0 {
        let mut entries = vec![0, outputs - 1];
        entries.extend((0..4).map(|_| random.below(outputs)));
        functionals.extend(entries.into_iter().map(Functional::Entry));
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
        let unknown = vec![0.0; function.len()];
        let chosen = coordinates(&function, &unknown, options.coordinates, &mut random);
        directions.extend(chosen.into_iter().map(Direction::Coordinate));
    }
    directions.retain(|direction| !support(direction).is_empty());
    if directions.is_empty() || outputs == 0 {
        tally.nothing();
        return Ok(function.evaluations);
    }

    let relative = options.bound * setting.eps;
    let mut kinks = Kinks::new(function.len(), options.seed);
    let mut first: Option<(Vec<f64>, Vec<f64>)> = None;
    let parts = if full { directions.len() - dense.min(directions.len()) } else { weightings.len() - whole };
    let mut coverage = Coverage::new(parts.max(usize::from(!full)));
    let mut done = 0;
    while done < directions.len() {
        let smooth = kinks.without_known(&directions[done]);
        directions[done] = smooth;
        let direction = &directions[done];
        let tangent = tangent(direction, function.len());
        let image = linear.image(&tangent)?;
        linear.trust();
        let mut results =
            compare_column(&mut function, &mut linear, direction, &functionals, &image, relative, setting)?;
        let single = matches!(direction, Direction::Coordinate(_));
        if !full && !single && kinks.to_search(&results) {
            let mut look = |function: &mut Function<'_, N>, direction: &Direction| {
                let image = linear.image(&self::tangent(direction, function.len()))?;
                compare_column(
                    function,
                    &mut linear,
                    direction,
                    &functionals[..whole],
                    &image,
                    relative,
                    setting,
                )
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
                let count = weightings.len();
                (first..count).for_each(|k| coverage.band((k - first).min(parts.max(1) - 1), &results[k]));
            }
        } else if full {
            coverage.part(done - dense, results.iter());
        }
        for (k, result) in results.iter().enumerate() {
            let output = match functionals[k] {
                Functional::Entry(i) => Some(i),
                Functional::Weighted(..) => None,
            };
            let (place, at) = where_is(&function, direction);
            let failed = tally.add(result, place, at, output);
            if let (true, Functional::Weighted(v, _)) = (failed && !full, functionals[k]) {
                locate(tally, &mut function, &mut linear, direction, v, &image, relative, setting)?;
                function.confirm()?;
                return Ok(function.evaluations);
            }
        }
        if first.is_none() {
            first = Some((tangent, image.value));
        }
        done += 1;
        if let Some(progress) = options.progress {
            progress(Progress { done, total: directions.len() });
        }
    }
    tally.seen(coverage.complete());
    function.confirm()?;
    if let Some((tangent, value)) = first {
        linear.confirm(&tangent, &value)?;
    }
    Ok(function.evaluations)
}

/// Compares a jvp with one that is exact but for rounding, entry by entry.
pub(super) fn against<A: Number>(
    names: &Names,
    options: &Options<'_>,
    base: Vec<Vec<A>>,
    outputs: usize,
    mut jvp: impl FnMut(&mut [Vec<A>], &mut [Vec<A>], &mut [A]),
    mut exact: impl FnMut(&mut [Vec<f64>], &mut [Vec<f64>], &mut [f64]),
) -> Report {
    let setting = adjoint::setting::<A>(options, names);
    let lengths: Vec<usize> = base.iter().map(Vec::len).collect();
    let full = is_full(options, lengths.iter().sum(), outputs);
    let mut tally = Tally::new(names.check, setting.precision, full, setting.resolution, options.seed);
    let wide: Vec<Vec<f64>> = base.iter().map(|x| x.iter().map(|x| x.widen()).collect()).collect();
    let mut call = |x: &mut [Vec<A>], u: &mut [Vec<A>], dy: &mut [Vec<A>]| jvp(x, u, &mut dy[0]);
    let mut truth = |x: &mut [Vec<f64>], u: &mut [Vec<f64>], dy: &mut [Vec<f64>]| exact(x, u, &mut dy[0]);
    let tested = Linear::new("jvp", base, lengths.clone(), vec![outputs], &mut call, options.seed);
    let exact =
        Linear::new("function", wide.clone(), lengths.clone(), vec![outputs], &mut truth, options.seed);
    match entries(&mut tally, options, &setting, full, wide, outputs, tested, exact) {
        Err(fault) => tally.fault(fault),
        Ok(()) => {
            let sizes: Vec<usize> = lengths.iter().copied().chain([outputs]).collect();
            tally.finish(0, &sizes, None)
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of one check, assembled in one place")]
fn entries<A: Number>(
    tally: &mut Tally,
    options: &Options<'_>,
    setting: &Setting,
    full: bool,
    point: Vec<Vec<f64>>,
    outputs: usize,
    mut tested: Linear<'_, A>,
    mut exact: Linear<'_, f64>,
) -> Result<(), Fault> {
    let mut random = Random::new(options.seed);
    // Only its point is used: no function value is needed.
    let mut still = |_: &mut [Vec<f64>], _: &mut [f64]| {};
    let point = Function::new(point, 0, &mut still, &mut random)?;
    let mut directions = Vec::new();
    for _ in 0..options.directions.max(1) {
        for relative in [false, true] {
            directions.push(Direction::Dense(signed(&scales(&point, relative), &mut random)));
        }
    }
    let dense = directions.len();
    let chosen = if full {
        (0..point.len()).filter(|&j| point.at(j).is_finite()).collect()
    } else {
        coordinates(&point, &vec![0.0; point.len()], options.coordinates, &mut random)
    };
    directions.extend(chosen.into_iter().map(Direction::Coordinate));
    directions.retain(|direction| !support(direction).is_empty());
    if directions.is_empty() || outputs == 0 {
        tally.nothing();
        return Ok(());
    }
    let weights = Direction::Dense(weights(outputs, &mut random));
    let mut seen = true;
    for (done, direction) in directions.iter().enumerate() {
        let tangent = tangent(direction, point.len());
        let (claimed, truth) = (tested.image(&tangent)?, exact.image(&tangent)?);
        tested.trust();
        exact.trust();
        let (place, at) = where_is(&point, direction);
        for what in (0..outputs).map(Direction::Coordinate).chain([weights.clone()]) {
            let ours = claim(&claimed, &what, options.bound * setting.eps);
            let comparison = adjoint::judge(
                ours,
                claim(&truth, &what, options.bound * <f64 as Number>::EPS),
                setting.resolution,
            );
            match what {
                Direction::Coordinate(i) => {
                    tally.add(&comparison, place, at, Some(i));
                }
                Direction::Dense(_) => {
                    seen &= done >= dense || comparison.resolved();
                    tally.add(&comparison, place, at, None);
                }
            }
        }
        if done + 1 == directions.len() {
            tested.confirm(&tangent, &claimed.value)?;
            exact.confirm(&tangent, &truth.value)?;
        }
        if let Some(progress) = options.progress {
            progress(Progress { done: done + 1, total: directions.len() });
        }
    }
    tally.seen(seen);
    Ok(())
}

/// A direction as a vector.
pub(super) fn tangent(direction: &Direction, len: usize) -> Vec<f64> {
    match direction {
        Direction::Coordinate(j) => {
            let mut unit = vec![0.0; len];
            unit[*j] = 1.0;
            unit
        }
        Direction::Dense(u) => u.clone(),
    }
}

fn compare_column<N: Number, A: Number>(
    function: &mut Function<'_, N>,
    linear: &mut Linear<'_, A>,
    direction: &Direction,
    functionals: &[Functional<'_>],
    image: &Image,
    relative: f64,
    setting: &Setting,
) -> Result<Vec<Comparison>, Fault> {
    // To read an output off a column is what a coordinate direction does to a row.
    let claims: Vec<_> = functionals
        .iter()
        .map(|functional| match functional {
            Functional::Entry(i) => claim(image, &Direction::Coordinate(*i), relative),
            Functional::Weighted(v, _) => claim(image, &Direction::Dense(v.to_vec()), relative),
        })
        .collect();
    let len = function.len();
    let mut fault = None;
    let results = compare(function, direction, functionals, &claims, setting.resolution, |residual| {
        let mut off = vec![0.0; len];
        for &(j, r) in residual {
            off[j] = r;
        }
        match linear.apply(&off) {
            Err(f) => {
                fault = Some(f);
                Vec::new()
            }
            Ok(moved) => functionals
                .iter()
                .map(|functional| match functional {
                    Functional::Entry(i) => moved[*i],
                    Functional::Weighted(v, _) => v.iter().zip(&moved).map(|(v, m)| v * m).sum(),
                })
                .collect(),
        }
    });
    fault.map_or(Ok(results), Err)
}

/// Halves the weights of a failing comparison until one output is left.
#[allow(clippy::too_many_arguments, reason = "the parts of one check, handed on")]
fn locate<N: Number, A: Number>(
    tally: &mut Tally,
    function: &mut Function<'_, N>,
    linear: &mut Linear<'_, A>,
    direction: &Direction,
    weights: &[f64],
    image: &Image,
    relative: f64,
    setting: &Setting,
) -> Result<(), Fault> {
    let mut culprits: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] != 0.0).collect();
    while culprits.len() > 1 {
        let (left, right) = culprits.split_at(culprits.len() / 2);
        let mut worst: Option<(f64, Vec<usize>)> = None;
        for half in [left, right] {
            let part = restricted(weights, half);
            let functional = match half {
                [i] => Functional::Entry(*i),
                _ => function.weighted(&part),
            };
            let results =
                compare_column(function, linear, direction, &[functional], image, relative, setting)?;
            let result = &results[0];
            let gap = (result.claim.value - result.numeric).abs();
            if result.outcome == Outcome::Differs && worst.as_ref().is_none_or(|(g, _)| gap > *g) {
                worst = Some((gap, half.to_vec()));
                tally.sharpen();
                let (place, at) = where_is(function, direction);
                tally.add(result, place, at, half.first().copied().filter(|_| half.len() == 1));
            }
        }
        match worst {
            Some((_, half)) => culprits = half,
            None => break,
        }
    }
    Ok(())
}
