//! The adjoint identity ⟨v, Ju⟩ = ⟨Jᵀv, u⟩: a vjp and a jvp against each other, with no step size at all.

use alloc::{vec, vec::Vec};

use super::compare::{Claim, Comparison, Outcome, Tally, claim};
use super::function::{Direction, Fault, Function};
use super::jvp::tangent;
use super::ladder::Ladder;
use super::linear::{Image, Linear};
use super::number::{Number, Random};
use super::sample::{bands, coordinates, restricted, scales, signed, weights};
use super::vjp::is_full;
use super::{Options, Progress, Report, Setting};

/// What is checked, and in which precision, as the report says it.
pub(super) struct Names {
    pub(super) check: &'static str,
    pub(super) precision: &'static str,
}

pub(super) fn setting<A: Number>(options: &Options<'_>, names: &Names) -> Setting {
    let mut setting = Setting::new::<A, A>(options);
    if options.resolution.is_none() && A::NAME == "f32" {
        // No differences are taken, so f32 costs its rounding only.
        setting.resolution = super::number::power(-15);
    }
    setting.precision = names.precision;
    setting
}

pub(super) fn check<A: Number, B: Number>(
    names: &Names,
    options: &Options<'_>,
    base: Vec<Vec<A>>,
    other: Vec<Vec<B>>,
    outputs: usize,
    mut vjp: impl FnMut(&mut [Vec<A>], &mut [A], &mut [Vec<A>]),
    mut jvp: impl FnMut(&mut [Vec<B>], &mut [Vec<B>], &mut [B]),
) -> Report {
    let setting = setting::<A>(options, names);
    let lengths: Vec<usize> = base.iter().map(Vec::len).collect();
    let full = is_full(options, lengths.iter().sum(), outputs);
    let mut tally = Tally::new(names.check, setting.precision, full, setting.resolution, options.seed);
    let mut back = |x: &mut [Vec<A>], g: &mut [Vec<A>], dx: &mut [Vec<A>]| vjp(x, &mut g[0], dx);
    let mut ahead = |x: &mut [Vec<B>], u: &mut [Vec<B>], dy: &mut [Vec<B>]| jvp(x, u, &mut dy[0]);
    let back = Linear::new("vjp", base.clone(), vec![outputs], lengths.clone(), &mut back, options.seed);
    let ahead = Linear::new("jvp", other, lengths.clone(), vec![outputs], &mut ahead, options.seed);
    match run(&mut tally, options, &setting, full, base, outputs, back, ahead) {
        Err(fault) => tally.fault(fault),
        Ok(evaluations) => {
            let sizes: Vec<usize> = lengths.iter().copied().chain([outputs]).collect();
            tally.finish(evaluations, &sizes, None)
        }
    }
}

/// One side of the identity: a vector and what its map makes of it.
struct Side {
    direction: Direction,
    given: Vec<f64>,
    image: Image,
}

fn sides<A: Number>(
    linear: &mut Linear<'_, A>,
    directions: Vec<Direction>,
    len: usize,
) -> Result<Vec<Side>, Fault> {
    let mut sides = Vec::new();
    for direction in directions {
        let given = tangent(&direction, len);
        let image = linear.image(&given)?;
        linear.trust();
        sides.push(Side { direction, given, image });
    }
    Ok(sides)
}

#[allow(clippy::too_many_arguments, reason = "the parts of one check, assembled in one place")]
fn run<A: Number, B: Number>(
    tally: &mut Tally,
    options: &Options<'_>,
    setting: &Setting,
    full: bool,
    base: Vec<Vec<A>>,
    outputs: usize,
    mut back: Linear<'_, A>,
    mut ahead: Linear<'_, B>,
) -> Result<usize, Fault> {
    let mut random = Random::new(options.seed);
    // Only its point is used: the identity needs no function values.
    let mut still = |_: &mut [Vec<A>], _: &mut [A]| {};
    let point = Function::new(base, 0, &mut still, &mut random)?;
    let whole = options.directions.max(1);
    let (mut us, mut vs) = (Vec::new(), Vec::new());
    for _ in 0..whole {
        for relative in [false, true] {
            us.push(Direction::Dense(signed(&scales(&point, relative), &mut random)));
        }
        vs.push(Direction::Dense(weights(outputs, &mut random)));
    }
    let (dense_us, dense_vs) = (us.len(), vs.len());
    if point.len() == 0 || outputs == 0 {
        tally.nothing();
        return Ok(0);
    }
    if full {
        us.extend((0..point.len()).map(Direction::Coordinate));
        vs.extend((0..outputs).map(Direction::Coordinate));
    }
    let mut vs = sides(&mut back, vs, outputs)?;
    if !full {
        let gradient = vs[0].image.value.clone();
        let steps = scales(&point, false);
        for band in bands(|j| (gradient[j] * steps[j]).abs(), point.len()) {
            us.push(Direction::Dense(restricted(&signed(&steps, &mut random), &band)));
        }
        let chosen = coordinates(&point, &gradient, options.coordinates, &mut random);
        us.extend(chosen.into_iter().map(Direction::Coordinate));
    }
    let us = sides(&mut ahead, us, point.len())?;
    if !full {
        let moved = &us[0].image.value;
        let mut more: Vec<Direction> = bands(|i| moved[i].abs(), outputs)
            .iter()
            .map(|band| Direction::Dense(restricted(&weights(outputs, &mut random), band)))
            .collect();
        more.extend((0..4).map(|_| Direction::Coordinate(random.below(outputs))));
        vs.extend(sides(&mut back, more, outputs)?);
    }

    let relative = options.bound * setting.eps;
    for (done, u) in us.iter().enumerate() {
        for (k, v) in vs.iter().enumerate() {
            let from_vjp = claim(&v.image, &u.direction, relative);
            let from_jvp = claim(&u.image, &v.direction, options.bound * B::EPS);
            let comparison = judge(from_vjp, from_jvp, setting.resolution);
            let (input, at) = super::vjp::where_is(&point, &u.direction);
            let output = match v.direction {
                Direction::Coordinate(i) => Some(i),
                Direction::Dense(_) => None,
            };
            tally.seen(done < dense_us && k < dense_vs && comparison.resolved());
            tally.add(&comparison, input, at, output);
        }
        if let Some(progress) = options.progress {
            progress(Progress { done: done + 1, total: us.len() });
        }
    }
    back.confirm(&vs[0].given, &vs[0].image.value)?;
    ahead.confirm(&us[0].given, &us[0].image.value)?;
    Ok(0)
}

pub(super) fn judge(from_vjp: Claim, from_jvp: Claim, resolution: f64) -> Comparison {
    let bar = from_vjp.slack + from_jvp.slack;
    let scale = from_vjp.scale.max(from_jvp.scale);
    let gap = (from_vjp.value - from_jvp.value).abs();
    // Zero against zero is an agreement with nothing left open.
    let outcome =
        if gap > bar { Outcome::Differs } else { Outcome::Agrees { resolved: bar <= resolution * scale } };
    Comparison {
        outcome,
        claim: from_vjp,
        numeric: from_jvp.value,
        bar,
        sides: None,
        hidden: false,
        constant: false,
        ladder: Ladder::default(),
    }
}
