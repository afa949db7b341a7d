//! Wrong gradients that checkers let through and right ones that they reject, with the verdict each must get.
//!
//! The functions are the textbook ones, written out here: the checker is tested apart from the crate's kernels.

use lossprep::gradcheck::{
    Mode, Number, Options, Report, Verdict, check_adjoint, check_jvp, check_second_order, check_vjp,
    check_vjp_twin,
};
use num_traits::Float;
use std::cell::Cell;

mod traps;

/// One gradient and what must be said of it.
pub(crate) struct Entry {
    /// What it is, and for wrong ones what is wrong.
    pub(crate) name: String,
    /// Row length.
    pub(crate) len: usize,
    /// The verdicts that count as a hit.
    pub(crate) expected: &'static [Verdict],
    /// Runs the check.
    pub(crate) run: Box<dyn Fn() -> Report>,
}

/// A right gradient.
pub(crate) const RIGHT: &[Verdict] = &[Verdict::Pass];
/// A right gradient at a point without a derivative.
pub(crate) const KINK: &[Verdict] = &[Verdict::Kink];
/// A wrong gradient.
pub(crate) const WRONG: &[Verdict] = &[Verdict::Fail];
/// A wrong gradient with a name of its own.
pub(crate) const NON_DETERMINISTIC: &[Verdict] = &[Verdict::NonDeterministic];
/// A wrong gradient with a name of its own.
pub(crate) const IMPURE: &[Verdict] = &[Verdict::Impure];
/// A wrong gradient with a name of its own.
pub(crate) const NON_FINITE: &[Verdict] = &[Verdict::NonFinite];
/// Listed beforehand: what is asked for is below what f32 alone resolves, right or wrong.
pub(crate) const BELOW_F32: &[Verdict] = &[Verdict::Inconclusive];

/// Whether an expectation is that of a right gradient.
pub(crate) fn is_right(expected: &[Verdict]) -> bool {
    expected == RIGHT || expected == KINK
}

/// Values that look normally distributed, the same on every run.
pub(crate) fn values<T: Number>(n: usize, scale: f64) -> Vec<T> {
    let mut state = n as u64 ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    (0..n).map(|_| T::narrow(scale * 1.7 * (next() + next() + next() + next()))).collect()
}

pub(crate) fn softmax<T: Float>(x: &[T], y: &mut [T]) {
    let m = x.iter().fold(T::neg_infinity(), |m, &x| m.max(x));
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - m).exp());
    let sum = total(y);
    y.iter_mut().for_each(|y| *y = *y / sum);
}

/// In blocks: a running f32 sum of 100,000 terms is off by 60 units in the last place, which is an error to report.
fn total<T: Float>(x: &[T]) -> T {
    x.chunks(256).fold(T::zero(), |s, block| s + block.iter().fold(T::zero(), |s, &x| s + x))
}

/// Softmax with one running sum, in f64.
fn running_softmax(x: &[f64], y: &mut [f64]) {
    let m = x.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x));
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - m).exp());
    let sum: f64 = y.iter().sum();
    y.iter_mut().for_each(|y| *y /= sum);
}

pub(crate) fn softmax_vjp<T: Float>(x: &[T], g: &[T], dx: &mut [T]) {
    softmax(x, dx);
    let dot = dx.iter().zip(g).fold(T::zero(), |s, (&y, &g)| s + y * g);
    dx.iter_mut().zip(g).for_each(|(d, &g)| *d = *d * (g - dot));
}

fn softmax_jvp<T: Float>(x: &[T], u: &[T], dy: &mut [T]) {
    softmax_vjp(x, u, dy);
}

pub(crate) fn log_softmax<T: Float>(x: &[T], y: &mut [T]) {
    let m = x.iter().fold(T::neg_infinity(), |m, &x| m.max(x));
    let sum = x.iter().fold(T::zero(), |s, &x| s + (x - m).exp()).ln();
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - m - sum);
}

pub(crate) fn log_softmax_vjp<T: Float>(x: &[T], g: &[T], dx: &mut [T]) {
    softmax(x, dx);
    let sum = g.iter().fold(T::zero(), |s, &g| s + g);
    dx.iter_mut().zip(g).for_each(|(d, &g)| *d = g - *d * sum);
}

fn logsumexp<T: Float>(x: &[T], y: &mut [T]) {
    let m = x.iter().fold(T::neg_infinity(), |m, &x| m.max(x));
    y[0] = x.iter().fold(T::zero(), |s, &x| s + (x - m).exp()).ln() + m;
}

fn sigmoid<T: Float>(x: T) -> T {
    if x < T::zero() { x.exp() / (T::one() + x.exp()) } else { T::one() / (T::one() + (-x).exp()) }
}

fn sigmoid_slope<T: Float>(x: T) -> T {
    let e = (-x.abs()).exp();
    e / ((T::one() + e) * (T::one() + e))
}

fn norm<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |s, &x| s + x * x).sqrt()
}

/// x / max(‖x‖, eps).
pub(crate) fn normalize<T: Float>(x: &[T], y: &mut [T], eps: T) {
    let n = norm(x).max(eps);
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x / n);
}

pub(crate) fn normalize_vjp<T: Float>(x: &[T], g: &[T], dx: &mut [T], eps: T) {
    let n = norm(x);
    if n <= eps {
        dx.iter_mut().zip(g).for_each(|(d, &g)| *d = g / eps);
        return;
    }
    let dot = x.iter().zip(g).fold(T::zero(), |s, (&x, &g)| s + x / n * g);
    dx.iter_mut().zip(x).zip(g).for_each(|((d, &x), &g)| *d = (g - x / n * dot) / n);
}

type Vectors<'a, T> = &'a mut [Vec<T>];

/// A vjp of one input and outputs of the same length, in f64.
fn elementwise_or_row(
    x: &[f64],
    forward: impl Fn(&[f64], &mut [f64]),
    vjp: impl Fn(&[f64], &[f64], &mut [f64]),
) -> Report {
    check_vjp(
        &Options::default(),
        &[x],
        x.len(),
        |x: Vectors<'_, f64>, y| forward(&x[0], y),
        |x: Vectors<'_, f64>, g, dx| vjp(&x[0], g, &mut dx[0]),
    )
}

fn to_one(x: &[f64], forward: impl Fn(&[f64]) -> f64, vjp: impl Fn(&[f64], f64, &mut [f64])) -> Report {
    check_vjp(
        &Options::default(),
        &[x],
        1,
        |x: Vectors<'_, f64>, y| y[0] = forward(&x[0]),
        |x: Vectors<'_, f64>, g, dx| vjp(&x[0], g[0], &mut dx[0]),
    )
}

fn twin(x: &[f32], forward: impl Fn(&[f64], &mut [f64]), vjp: impl Fn(&[f32], &[f32], &mut [f32])) -> Report {
    check_vjp_twin(
        &Options::default(),
        &[x],
        x.len(),
        |x: Vectors<'_, f64>, y| forward(&x[0], y),
        |x: Vectors<'_, f32>, g, dx| vjp(&x[0], g, &mut dx[0]),
    )
}

fn f32_alone(
    options: &Options<'_>,
    x: &[f32],
    forward: impl Fn(&[f32], &mut [f32]),
    vjp: impl Fn(&[f32], &[f32], &mut [f32]),
) -> Report {
    check_vjp(
        options,
        &[x],
        x.len(),
        |x: Vectors<'_, f32>, y| forward(&x[0], y),
        |x: Vectors<'_, f32>, g, dx| vjp(&x[0], g, &mut dx[0]),
    )
}

/// Collects entries.
#[derive(Default)]
struct List(Vec<Entry>);

impl List {
    fn add(
        &mut self,
        name: &str,
        len: usize,
        expected: &'static [Verdict],
        run: impl Fn() -> Report + 'static,
    ) {
        self.0.push(Entry { name: name.into(), len, expected, run: Box::new(run) });
    }

    /// An elementwise function or row operation in f64 at normally distributed inputs.
    fn row(
        &mut self,
        name: &str,
        len: usize,
        expected: &'static [Verdict],
        forward: impl Fn(&[f64], &mut [f64]) + Copy + 'static,
        vjp: impl Fn(&[f64], &[f64], &mut [f64]) + Copy + 'static,
    ) {
        self.add(name, len, expected, move || elementwise_or_row(&values(len, 1.5), forward, vjp));
    }
}

fn scaled<T: Float>(d: &mut [T], by: T) {
    d.iter_mut().for_each(|d| *d = *d * by);
}

fn wrong(list: &mut List) {
    for len in [3, 10, 256, 2_000, 100_000] {
        list.row("softmax: zero gradient", len, WRONG, softmax, |_, _, dx| dx.fill(0.0));
        list.row("softmax: scaled by 1 + 1e-4", len, WRONG, softmax, |x, g, dx| {
            softmax_vjp(x, g, dx);
            scaled(dx, 1.0001);
        });
        list.row("softmax: scaled by 1 + 1e-6", len, WRONG, softmax, |x, g, dx| {
            softmax_vjp(x, g, dx);
            scaled(dx, 1.000_001);
        });
    }
    for len in [10, 256, 2_000, 100_000] {
        list.add("softmax f32, twin: zero gradient", len, WRONG, move || {
            twin(&values(len, 1.5), softmax, |_, _, dx| dx.fill(0.0))
        });
        list.add("softmax f32, twin: scaled by 1 + 1e-4", len, WRONG, move || {
            twin(&values(len, 1.5), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                scaled(dx, 1.0001);
            })
        });
        list.add("softmax f32 alone: zero gradient", len, WRONG, move || {
            f32_alone(&Options::default(), &values(len, 1.5), softmax, |_, _, dx| dx.fill(0.0))
        });
        list.add("softmax f32 alone: scaled by 1 + 1e-3", len, WRONG, move || {
            f32_alone(&Options::default(), &values(len, 1.5), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                scaled(dx, 1.001);
            })
        });
        list.add("softmax f32 alone: scaled by 1 + 1e-4", len, WRONG, move || {
            f32_alone(&Options::default(), &values(len, 1.5), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                scaled(dx, 1.0001);
            })
        });
    }
    for len in [3, 100, 100_000] {
        list.row("softmax: coupling term dropped", len, WRONG, softmax, |x, g, dx| {
            softmax(x, dx);
            dx.iter_mut().zip(g).for_each(|(d, g)| *d *= g);
        });
        list.row("softmax: sign", len, WRONG, softmax, |x, g, dx| {
            softmax_vjp(x, g, dx);
            scaled(dx, -1.0);
        });
        list.row("softmax: upstream off by one index", len, WRONG, softmax, |x, g, dx| {
            let mut turned = g.to_vec();
            turned.rotate_left(1);
            softmax_vjp(x, &turned, dx);
        });
        list.row("log-softmax: denominator detached", len, WRONG, log_softmax, |_, g, dx| {
            dx.copy_from_slice(g)
        });
        list.row("softmax: mean instead of sum in the coupling", len, WRONG, softmax, |x, g, dx| {
            softmax(x, dx);
            let dot = dx.iter().zip(g).map(|(y, g)| y * g).sum::<f64>() / x.len() as f64;
            dx.iter_mut().zip(g).for_each(|(d, g)| *d *= g - dot);
        });
        list.row("softmax: coupling in the square of y", len, WRONG, softmax, |x, g, dx| {
            softmax(x, dx);
            let dot: f64 = dx.iter().zip(g).map(|(y, g)| y * y * g).sum();
            dx.iter_mut().zip(g).for_each(|(d, g)| *d *= g - dot);
        });
        list.row("softmax: wrong at one coordinate only", len, WRONG, softmax, |x, g, dx| {
            softmax_vjp(x, g, dx);
            let one = x.len() / 3;
            dx[one] *= 1.01;
        });
        list.row("softmax: last element never reached", len, WRONG, softmax, |x, g, dx| {
            softmax_vjp(x, g, dx);
            dx[x.len() - 1] = 0.0;
        });
        list.row("log-softmax: sum of g forgotten", len, WRONG, log_softmax, |x, g, dx| {
            softmax(x, dx);
            dx.iter_mut().zip(g).for_each(|(d, g)| *d = g - *d);
        });
        list.row("sigmoid: wrong only where saturated", len, WRONG, saturating_sigmoid, |x, g, dx| {
            for (i, ((d, x), g)) in dx.iter_mut().zip(x).zip(g).enumerate() {
                let at = x - if i == 1 { 40.0 } else { 0.0 };
                *d = if at < -30.0 { 0.0 } else { g * sigmoid_slope(at) };
            }
        });
        list.row("masked softmax: wrong only for masked entries", len, WRONG, masked_softmax, |x, g, dx| {
            masked_softmax_vjp(x, g, dx);
            dx.iter_mut().zip(g).step_by(2).for_each(|(d, g)| *d = 1e-3 * g / x.len() as f64);
        });
        list.row(
            "normalise: eps forgotten, √(‖x‖² + eps)",
            len,
            WRONG,
            normalize_squared,
            |x, g, dx| {
                normalize_vjp(x, g, dx, 0.0);
            },
        );
        list.row(
            "normalise: norm detached",
            len,
            WRONG,
            |x, y| normalize(x, y, 1e-12),
            |x, g, dx| {
                let n = norm(x);
                dx.iter_mut().zip(g).for_each(|(d, g)| *d = g / n);
            },
        );
        list.add("logsumexp: mean instead of softmax", len, WRONG, move || {
            to_one(&values(len, 1.5), |x| one(logsumexp, x), |x, g, dx| dx.fill(g / x.len() as f64))
        });
        list.add("mean of squares: sum's gradient", len, WRONG, move || {
            to_one(
                &values(len, 1.5),
                |x| x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64,
                |x, g, dx| dx.iter_mut().zip(x).for_each(|(d, x)| *d = 2.0 * x * g),
            )
        });
        list.add("softmax jvp: coupling dropped", len, WRONG, move || {
            check_jvp(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, y| softmax(&x[0], y),
                |x, u, dy| {
                    softmax(&x[0], dy);
                    dy.iter_mut().zip(&u[0]).for_each(|(d, u)| *d *= u);
                },
            )
        });
        list.add("softmax jvp: wrong at one output only", len, WRONG, move || {
            check_jvp(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, y| softmax(&x[0], y),
                |x, u, dy| {
                    softmax_jvp(&x[0], &u[0], dy);
                    dy[len / 2] *= 0.99;
                },
            )
        });
        list.add("adjoint: jvp scaled by 1 + 1e-6", len, WRONG, move || {
            check_adjoint(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
                |x, u, dy| {
                    softmax_jvp(&x[0], &u[0], dy);
                    scaled(dy, 1.000_001);
                },
            )
        });
        list.add("softmax: gives other bits on a second run", len, NON_DETERMINISTIC, move || {
            let runs = Cell::new(0);
            elementwise_or_row(&values(len, 1.5), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                runs.set(runs.get() + 1);
                dx[0] *= 1.0 + f64::from(runs.get()) * 1e-15;
            })
        });
        list.add("softmax forward: drifts from call to call", len, NON_DETERMINISTIC, move || {
            let runs = Cell::new(0);
            let forward = |x: &[f64], y: &mut [f64]| {
                softmax(x, y);
                runs.set(runs.get() + 1);
                y[0] += f64::from(runs.get()) * 1e-9;
            };
            elementwise_or_row(&values(len, 1.5), forward, softmax_vjp)
        });
        list.add("softmax: leaves the last element unwritten", len, IMPURE, move || {
            elementwise_or_row(&values(len, 1.5), softmax, |x, g, dx| {
                let mut all = vec![0.0; x.len()];
                softmax_vjp(x, g, &mut all);
                let last = x.len() - 1;
                dx[..last].copy_from_slice(&all[..last]);
            })
        });
        list.add("softmax: adds to the gradient instead of overwriting", len, IMPURE, move || {
            elementwise_or_row(&values(len, 1.5), softmax, |x, g, dx| {
                let mut all = vec![0.0; x.len()];
                softmax_vjp(x, g, &mut all);
                dx.iter_mut().zip(all).for_each(|(d, a)| *d += a);
            })
        });
        list.add("softmax: backward overwrites the upstream gradient", len, IMPURE, move || {
            check_vjp(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, y| softmax(&x[0], y),
                |x, g, dx| {
                    softmax_vjp(&x[0], g, &mut dx[0]);
                    g.copy_from_slice(&dx[0]);
                },
            )
        });
        list.add("softmax: forward works in its input", len, IMPURE, move || {
            check_vjp(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, y| {
                    softmax(&x[0], y);
                    x[0][0] = y[0];
                },
                |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
            )
        });
    }
    list.row("matrix product: transposed", 9, WRONG, matrix_product, |_, g, dx| {
        for (i, d) in dx.iter_mut().enumerate() {
            *d = (0..9).map(|k| matrix(i, k) * g[k]).sum();
        }
    });
    list.add("softmax over columns: gradient over rows", 12, WRONG, || {
        let x: Vec<f64> = values(12, 1.5);
        elementwise_or_row(&x, columns, |x, g, dx| {
            x.chunks(4).zip(g.chunks(4)).zip(dx.chunks_mut(4)).for_each(|((x, g), dx)| softmax_vjp(x, g, dx));
        })
    });
    list.add("softmax over columns: gradient over rows", 90_000, WRONG, || {
        let x: Vec<f64> = values(90_000, 1.5);
        elementwise_or_row(
            &x,
            |x, y| rows_of(300, x, y),
            |x, g, dx| {
                for c in 0..300 {
                    let pick = |v: &[f64]| -> Vec<f64> { v.iter().skip(c).step_by(300).copied().collect() };
                    let mut d = vec![0.0; 300];
                    softmax_vjp(&pick(x), &pick(g), &mut d);
                    dx.iter_mut().skip(c).step_by(300).zip(d).for_each(|(dx, d)| *dx = d);
                }
            },
        )
    });
    list.add("dot product: the two gradients exchanged", 7, WRONG, || {
        let (a, b) = (values::<f64>(7, 1.0), values::<f64>(7, 3.0));
        check_vjp(
            &Options::default(),
            &[&a, &b],
            1,
            |x, y| y[0] = x[0].iter().zip(&x[1]).map(|(a, b)| a * b).sum(),
            |x, g, dx| {
                dx[0].iter_mut().zip(&x[0]).for_each(|(d, a)| *d = a * g[0]);
                dx[1].iter_mut().zip(&x[1]).for_each(|(d, b)| *d = b * g[0]);
            },
        )
    });
    list.row("x³: gradient not linear in the upstream", 50, WRONG, cubes, |x, g, dx| {
        dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = 3.0 * x * x * g * g.abs());
    });
    list.add("|x| at 0: a gradient outside [−1, 1]", 1, WRONG, || {
        to_one(&[0.0], |x| x[0].abs(), |_, g, dx| dx[0] = 1.5 * g)
    });
    list.add("√x at 4: NaN", 1, NON_FINITE, || {
        to_one(&[4.0], |x| x[0].sqrt(), |x, g, dx| dx[0] = g * (x[0] - 5.0).sqrt())
    });
    list.add("1/x at 0: infinite", 1, NON_FINITE, || {
        to_one(&[0.0], |x| 1.0 / x[0], |x, g, dx| dx[0] = -g / (x[0] * x[0]))
    });
    list.add("inputs 18 decades apart: the smallest one's is zero", 19, WRONG, || {
        elementwise_or_row(&decades(), cubes, |x, g, dx| {
            dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = 3.0 * x * x * g);
            dx[0] = 0.0;
        })
    });
    list.add("x³, second order: a factor 2 forgotten", 5, WRONG, || {
        check_second_order(
            &Options::default(),
            &[&values::<f64>(5, 1.5)],
            &values::<f64>(5, 1.0),
            |x, g, dx| (0..5).for_each(|i| dx[0][i] = 3.0 * x[0][i] * x[0][i] * g[i]),
            |x, g, w, ddx, dg| {
                for i in 0..5 {
                    ddx[0][i] = 3.0 * x[0][i] * g[i] * w[0][i];
                    dg[i] = 3.0 * x[0][i] * x[0][i] * w[0][i];
                }
            },
        )
    });
}

fn one(f: fn(&[f64], &mut [f64]), x: &[f64]) -> f64 {
    let mut y = [0.0];
    f(x, &mut y);
    y[0]
}

/// Sigmoid with its second element far down, so that one slope is 4e-18.
fn saturating_sigmoid(x: &[f64], y: &mut [f64]) {
    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
        *y = sigmoid(x - if i == 1 { 40.0 } else { 0.0 });
    }
}

/// Every other element takes no part.
fn masked_softmax(x: &[f64], y: &mut [f64]) {
    let kept: Vec<f64> = x.iter().skip(1).step_by(2).copied().collect();
    let mut out = vec![0.0; kept.len()];
    softmax(&kept, &mut out);
    y.fill(0.0);
    y.iter_mut().skip(1).step_by(2).zip(out).for_each(|(y, o)| *y = o);
}

fn masked_softmax_vjp(x: &[f64], g: &[f64], dx: &mut [f64]) {
    let odd = |v: &[f64]| -> Vec<f64> { v.iter().skip(1).step_by(2).copied().collect() };
    let mut out = vec![0.0; x.len() / 2];
    softmax_vjp(&odd(x), &odd(g), &mut out);
    dx.fill(0.0);
    dx.iter_mut().skip(1).step_by(2).zip(out).for_each(|(y, o)| *y = o);
}

/// x / √(‖x‖² + 0.01).
fn normalize_squared(x: &[f64], y: &mut [f64]) {
    let n = (norm(x).powi(2) + 0.01).sqrt();
    y.iter_mut().zip(x).for_each(|(y, x)| *y = x / n);
}

fn normalize_squared_vjp(x: &[f64], g: &[f64], dx: &mut [f64]) {
    let n = (norm(x).powi(2) + 0.01).sqrt();
    let dot: f64 = x.iter().zip(g).map(|(x, g)| x / n * g).sum();
    dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = (g - x / n * dot) / n);
}

fn matrix(i: usize, j: usize) -> f64 {
    (1 + 5 * i + 3 * j * j % 7) as f64 / 4.0
}

fn matrix_product(x: &[f64], y: &mut [f64]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = x.iter().enumerate().map(|(j, x)| matrix(i, j) * x).sum();
    }
}

/// Softmax along the first axis of a 3 × 4 matrix.
fn columns(x: &[f64], y: &mut [f64]) {
    for c in 0..4 {
        let column: Vec<f64> = x.iter().skip(c).step_by(4).copied().collect();
        let mut out = vec![0.0; column.len()];
        softmax(&column, &mut out);
        y.iter_mut().skip(c).step_by(4).zip(out).for_each(|(y, o)| *y = o);
    }
}

fn rows_of(len: usize, x: &[f64], y: &mut [f64]) {
    x.chunks(len).zip(y.chunks_mut(len)).for_each(|(x, y)| softmax(x, y));
}

fn cubes(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = x * x * x);
}

/// 1e-9 … 1e9.
fn decades() -> Vec<f64> {
    (-9..=9).map(|e| 10f64.powi(e) * 1.3).collect()
}

fn absolute(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = x.abs());
}

fn absolute_vjp(x: &[f64], g: &[f64], dx: &mut [f64]) {
    let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
    dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = sign(*x) * g);
}

fn right(list: &mut List) {
    for len in [3, 10, 256, 2_000, 100_000] {
        list.row("softmax", len, RIGHT, softmax, softmax_vjp);
        list.row("softmax, one running sum", len, RIGHT, running_softmax, softmax_vjp);
        list.row("log-softmax", len, RIGHT, log_softmax, log_softmax_vjp);
        list.add("logsumexp, gradients ~ 1/n", len, RIGHT, move || {
            to_one(
                &values(len, 1.5),
                |x| one(logsumexp, x),
                |x, g, dx| {
                    softmax(x, dx);
                    scaled(dx, g);
                },
            )
        });
        list.row(
            "normalise",
            len,
            RIGHT,
            |x, y| normalize(x, y, 1e-12),
            |x, g, dx| {
                normalize_vjp(x, g, dx, 1e-12);
            },
        );
        list.add("softmax f32, twin", len, RIGHT, move || twin(&values(len, 1.5), softmax, softmax_vjp));
        list.add("softmax f32 alone", len, RIGHT, move || {
            f32_alone(&Options::default(), &values(len, 1.5), softmax, softmax_vjp)
        });
        list.add("softmax f32 alone, asked to exclude 6e-5", len, RIGHT, move || {
            let options = Options { resolution: Some(6e-5), ..Options::default() };
            f32_alone(&options, &values(len, 1.5), softmax, softmax_vjp)
        });
        list.row("masked softmax", len, RIGHT, masked_softmax, masked_softmax_vjp);
        list.row("sigmoid, one of them saturated", len, RIGHT, saturating_sigmoid, |x, g, dx| {
            for (i, ((d, x), g)) in dx.iter_mut().zip(x).zip(g).enumerate() {
                *d = g * sigmoid_slope(x - if i == 1 { 40.0 } else { 0.0 });
            }
        });
    }
    for len in [3, 100, 100_000] {
        list.row("normalise, √(‖x‖² + eps)", len, RIGHT, normalize_squared, normalize_squared_vjp);
        list.row(
            "mean of everything, broadcast",
            len,
            RIGHT,
            |x, y| y.fill(x.iter().sum::<f64>() / x.len() as f64),
            |x, g, dx| {
                dx.fill(g.iter().sum::<f64>() / x.len() as f64);
            },
        );
        list.row("constant", len, RIGHT, |_, y| y.fill(1.0), |_, _, dx| dx.fill(0.0));
        list.add("|x| near its kink, 1e-3 away", len, RIGHT, move || {
            let mut x = values::<f64>(len, 1.5);
            x.iter_mut().for_each(|x| *x += 0.5 * x.signum());
            x[0] = 1e-3;
            elementwise_or_row(&x, absolute, absolute_vjp)
        });
        list.add("|x| with one element at its kink", len, KINK, move || {
            let mut x = values::<f64>(len, 1.5);
            x.iter_mut().for_each(|x| *x += 0.5 * x.signum());
            x[0] = 0.0;
            elementwise_or_row(&x, absolute, absolute_vjp)
        });
        list.add("normalise at the zero vector, max(‖x‖, 1e-12)", len, RIGHT, move || {
            elementwise_or_row(
                &vec![0.0; len],
                |x, y| normalize(x, y, 1e-12),
                |x, g, dx| {
                    normalize_vjp(x, g, dx, 1e-12);
                },
            )
        });
        list.add("normalise vectors of 1e-9", len, RIGHT, move || {
            elementwise_or_row(
                &values(len, 1e-9),
                |x, y| normalize(x, y, 1e-12),
                |x, g, dx| {
                    normalize_vjp(x, g, dx, 1e-12);
                },
            )
        });
        list.add("softmax of huge logits, 1e6 + small", len, RIGHT, move || {
            let mut x = values::<f64>(len, 1.5);
            x.iter_mut().for_each(|x| *x += 1e6);
            elementwise_or_row(&x, softmax, softmax_vjp)
        });
        list.add("softmax of equal logits", len, RIGHT, move || {
            elementwise_or_row(&vec![0.25; len], softmax, softmax_vjp)
        });
        list.add("softmax with probabilities down to 1e-30", len, RIGHT, move || {
            let x: Vec<f64> = (0..len).map(|i| -70.0 * i as f64 / len as f64).collect();
            elementwise_or_row(&x, softmax, softmax_vjp)
        });
        list.add("softmax jvp", len, RIGHT, move || {
            check_jvp(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, y| softmax(&x[0], y),
                |x, u, dy| softmax_jvp(&x[0], &u[0], dy),
            )
        });
        list.add("softmax: vjp and jvp adjoint", len, RIGHT, move || {
            check_adjoint(
                &Options::default(),
                &[&values::<f64>(len, 1.5)],
                len,
                |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
                |x, u, dy| softmax_jvp(&x[0], &u[0], dy),
            )
        });
        list.add("softmax: vjp and jvp adjoint, f32", len, RIGHT, move || {
            check_adjoint(
                &Options::default(),
                &[&values::<f32>(len, 1.5)],
                len,
                |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
                |x, u, dy| softmax_jvp(&x[0], &u[0], dy),
            )
        });
    }
    list.row("matrix product", 9, RIGHT, matrix_product, |_, g, dx| {
        for (j, d) in dx.iter_mut().enumerate() {
            *d = (0..9).map(|k| matrix(k, j) * g[k]).sum();
        }
    });
    list.add("inputs 18 decades apart", 19, RIGHT, || {
        elementwise_or_row(&decades(), cubes, |x, g, dx| {
            dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = 3.0 * x * x * g);
        })
    });
    list.add("logarithms, inputs 18 decades apart", 19, RIGHT, || {
        elementwise_or_row(
            &decades(),
            |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.ln()),
            |x, g, dx| dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = g / x),
        )
    });
    list.add("badly scaled: 1e150·x and 1e-150·x", 2, RIGHT, || {
        elementwise_or_row(
            &[0.7, 0.3],
            |x, y| {
                y[0] = 1e150 * x[0] * x[1];
                y[1] = 1e-150 * x[1].exp();
            },
            |x, g, dx| {
                dx[0] = 1e150 * x[1] * g[0];
                dx[1] = 1e150 * x[0] * g[0] + 1e-150 * x[1].exp() * g[1];
            },
        )
    });
    list.add("max of two equal elements", 2, KINK, || {
        to_one(&[1.0, 1.0], |x| x[0].max(x[1]), |_, g, dx| dx.copy_from_slice(&[g, 0.0]))
    });
    list.add("max(‖x‖, eps) exactly at eps", 2, KINK, || {
        elementwise_or_row(&[0.6, 0.8], |x, y| normalize(x, y, 1.0), |x, g, dx| normalize_vjp(x, g, dx, 1.0))
    });
    list.add("relu at 0, gradient 0", 1, KINK, || to_one(&[0.0], |x| x[0].max(0.0), |_, _, dx| dx[0] = 0.0));
    list.add("x² at 0", 1, RIGHT, || to_one(&[0.0], |x| x[0] * x[0], |x, g, dx| dx[0] = 2.0 * x[0] * g));
    list.add("sin(1000 x)", 20, RIGHT, || {
        elementwise_or_row(
            &values(20, 1.0),
            |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = (1000.0 * x).sin()),
            |x, g, dx| {
                dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = 1000.0 * (1000.0 * x).cos() * g)
            },
        )
    });
    list.add("softplus from −600 to 600", 13, RIGHT, || {
        let x: Vec<f64> = (-6..=6).map(|i| f64::from(i) * 100.0).collect();
        elementwise_or_row(
            &x,
            |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(0.0) + (-x.abs()).exp().ln_1p()),
            |x, g, dx| dx.iter_mut().zip(x).zip(g).for_each(|((d, &x), g)| *d = sigmoid(x) * g),
        )
    });
    list.add("sigmoid f32 at ±20, twin", 40, RIGHT, || {
        let x: Vec<f32> = (-20..20).map(|i| i as f32 + 0.25).collect();
        twin(
            &x,
            |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y = sigmoid(x)),
            |x, g, dx| dx.iter_mut().zip(x).zip(g).for_each(|((d, &x), g)| *d = sigmoid_slope(x) * g),
        )
    });
    list.add("softmax with −∞ among the logits", 6, RIGHT, || {
        elementwise_or_row(&[0.5, f64::NEG_INFINITY, 1.0, -0.5, f64::NEG_INFINITY, 2.0], softmax, softmax_vjp)
    });
    list.add("dot product", 7, RIGHT, || {
        let (a, b) = (values::<f64>(7, 1.0), values::<f64>(7, 3.0));
        check_vjp(
            &Options::default(),
            &[&a, &b],
            1,
            |x, y| y[0] = x[0].iter().zip(&x[1]).map(|(a, b)| a * b).sum(),
            |x, g, dx| {
                dx[0].iter_mut().zip(&x[1]).for_each(|(d, b)| *d = b * g[0]);
                dx[1].iter_mut().zip(&x[0]).for_each(|(d, a)| *d = a * g[0]);
            },
        )
    });
    list.add("softmax, second order", 5, RIGHT, || {
        let x: Vec<f64> = values(5, 1.5);
        check_second_order(
            &Options::default(),
            &[&x],
            &values::<f64>(5, 1.0),
            |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
            |x, g, w, ddx, dg| softmax_second(&x[0], g, &w[0], &mut ddx[0], dg),
        )
    });
    list.add("no elements at all", 0, RIGHT, || elementwise_or_row(&[], softmax, softmax_vjp));
}

/// The gradients of ⟨w, Jᵀg⟩ for softmax: in x, J applied to w ∘ (g − ⟨y, g⟩) − ⟨w, y⟩ g; in g, J w.
fn softmax_second(x: &[f64], g: &[f64], w: &[f64], ddx: &mut [f64], dg: &mut [f64]) {
    let mut y = vec![0.0; x.len()];
    softmax(x, &mut y);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (yg, yw) = (dot(&y, g), dot(&y, w));
    let upstream: Vec<f64> = g.iter().zip(w).map(|(g, w)| w * (g - yg) - yw * g).collect();
    softmax_vjp(x, &upstream, ddx);
    softmax_vjp(x, w, dg);
}

/// Asked for more than f32 alone can tell, right or wrong: `Pass` would be as untrue as `Fail`.
fn below_f32(list: &mut List) {
    let options = Options { resolution: Some(1e-9), ..Options::default() };
    for len in [10, 2_000] {
        list.add("softmax f32 alone, asked to exclude 1e-9", len, BELOW_F32, move || {
            f32_alone(&options, &values(len, 1.5), softmax, softmax_vjp)
        });
        list.add("softmax f32 alone: scaled by 1 + 1e-8, asked to exclude it", len, BELOW_F32, move || {
            f32_alone(&options, &values(len, 1.5), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                scaled(dx, 1.0 + 1e-8);
            })
        });
    }
}

/// All entries, the wrong ones first.
pub(crate) fn catalogue() -> Vec<Entry> {
    let mut list = List::default();
    wrong(&mut list);
    traps::wrong(&mut list);
    right(&mut list);
    traps::right(&mut list);
    below_f32(&mut list);
    list.0
}

/// The softmax vjp of a million elements in sampled mode: what must take less than five seconds.
pub(crate) fn million() -> Report {
    let n = 1_000_000;
    check_vjp(
        &Options { mode: Mode::Sampled, ..Options::default() },
        &[&values::<f64>(n, 1.5)],
        n,
        |x, y| softmax(&x[0], y),
        |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
    )
}
