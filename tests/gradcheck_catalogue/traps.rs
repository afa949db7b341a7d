//! Gradients made up to fool a checker that knows how checkers look: wrong where they do not look, and right
//! where what they see is misleading.

use super::*;
use lossprep::gradcheck::{
    check_jvp_complex_step, check_jvp_dual, check_jvp_twin, check_vjp_complex_step, check_vjp_dual,
};

/// Rounds to a multiple of 1/1024: constant almost everywhere, yet power-of-two steps see the slope 1.
fn quantize(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (x * 1024.0).round() / 1024.0);
}

/// x, but on a grid of 2⁻¹⁶: that of the sum.
pub(crate) fn far_away(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (x + 1e11) - 1e11);
}

const PERIODS: f64 = 65_536.0;

/// x and a sine that every power-of-two step down to 2⁻¹⁶ leaves as it is.
fn aliased(x: &[f64], y: &mut [f64]) {
    let turn = core::f64::consts::TAU * PERIODS;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x + (turn * x).sin() / turn);
}

fn aliased_vjp(x: &[f64], g: &[f64], dx: &mut [f64]) {
    let turn = core::f64::consts::TAU * PERIODS;
    dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = g * (2.0 + (turn * x).cos()));
}

fn relu(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(0.0));
}

fn relu_vjp(x: &[f64], g: &[f64], dx: &mut [f64]) {
    dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = if *x > 0.0 { *g } else { 0.0 });
}

/// Normally distributed values, every `each`-th of them zero.
fn with_zeros(len: usize, each: usize) -> Vec<f64> {
    let mut x = values::<f64>(len, 1.5);
    x.iter_mut().step_by(each).for_each(|x| *x = 0.0);
    x
}

/// Sigmoids of which every tenth is saturated.
fn half_saturated(x: f64, i: usize) -> f64 {
    x + if i % 10 == 3 { 20.0 + (i % 7) as f64 / 8.0 } else { 0.0 }
}

fn spread(len: usize) -> Vec<f64> {
    (0..len).map(|i| -70.0 * ((i * 7919) % len) as f64 / len as f64).collect()
}

fn jvp_row(
    x: &[f64],
    forward: impl Fn(&[f64], &mut [f64]),
    jvp: impl Fn(&[f64], &[f64], &mut [f64]),
) -> Report {
    check_jvp(
        &Options::default(),
        &[x],
        x.len(),
        |x: Vectors<'_, f64>, y| forward(&x[0], y),
        |x: Vectors<'_, f64>, u, dy| jvp(&x[0], &u[0], dy),
    )
}

/// x·(1 + 1e-8·b) for two inputs.
fn nearly_unused(options: &Options<'_>, len: usize, factor: f64) -> Report {
    let (x, b) = (values::<f64>(len, 1.5), values::<f64>(len + 1, 1.5));
    check_vjp(
        options,
        &[&x, &b[..len]],
        len,
        |x, y| y.iter_mut().zip(&x[0]).zip(&x[1]).for_each(|((y, x), b)| *y = x * (1.0 + 1e-8 * b)),
        |x, g, dx| {
            for i in 0..len {
                dx[0][i] = g[i] * (1.0 + 1e-8 * x[1][i]);
                dx[1][i] = factor * g[i] * 1e-8 * x[0][i];
            }
        },
    )
}

fn bfloat16(x: f32) -> f32 {
    f32::from_bits((x.to_bits() + 0x7fff) & 0xffff_0000)
}

/// The textbook softmax on dual numbers and by the complex step, its vjp and its jvp off by `factor`.
fn stepless(list: &mut List, what: &str, len: usize, expected: &'static [Verdict], factor: f64) {
    let x = move || values::<f64>(len, 1.5);
    let vjp = move |x: Vectors<'_, f64>, g: &mut [f64], dx: Vectors<'_, f64>| {
        softmax_vjp(&x[0], g, &mut dx[0]);
        scaled(&mut dx[0], factor);
    };
    let jvp = move |x: Vectors<'_, f64>, u: Vectors<'_, f64>, dy: &mut [f64]| {
        softmax_jvp(&x[0], &u[0], dy);
        scaled(dy, factor);
    };
    let options = Options::default();
    list.add(&format!("softmax vjp, dual numbers{what}"), len, expected, move || {
        check_vjp_dual(&options, &[&x()], len, |x, y| softmax(&x[0], y), vjp)
    });
    list.add(&format!("softmax vjp, complex step{what}"), len, expected, move || {
        check_vjp_complex_step(&options, &[&x()], len, |x, y| softmax(&x[0], y), vjp)
    });
    list.add(&format!("softmax jvp, dual numbers{what}"), len, expected, move || {
        check_jvp_dual(&options, &[&x()], len, |x, y| softmax(&x[0], y), jvp)
    });
    list.add(&format!("softmax jvp, complex step{what}"), len, expected, move || {
        check_jvp_complex_step(&options, &[&x()], len, |x, y| softmax(&x[0], y), jvp)
    });
    list.add(&format!("softmax vjp f32, dual numbers{what}"), len, expected, move || {
        let factor = 1.0 + (factor - 1.0) * 100.0;
        check_vjp_dual(
            &options,
            &[&values::<f32>(len, 1.5)],
            len,
            |x, y| softmax(&x[0], y),
            |x, g, dx| {
                softmax_vjp(&x[0], g, &mut dx[0]);
                scaled(&mut dx[0], factor as f32);
            },
        )
    });
}

pub(super) fn wrong(list: &mut List) {
    for len in [3, 100, 2_000] {
        stepless(list, ": scaled by 1 + 1e-6 (f32: 1e-4)", len, WRONG, 1.000_001);
    }
    for len in [3, 100, 100_000] {
        list.row("rounding to 1/1024: straight-through gradient", len, WRONG, quantize, |_, g, dx| {
            dx.copy_from_slice(g);
        });
        list.row("x + fast sine: the sine's slope forgotten", len, WRONG, aliased, |_, g, dx| {
            dx.iter_mut().zip(g).for_each(|(d, g)| *d = 2.0 * g);
        });
        list.add("|x|, one element at its kink: scaled by 1 + 1e-4", len, WRONG, move || {
            let mut x = values::<f64>(len, 1.5);
            x[0] = 0.0;
            elementwise_or_row(&x, absolute, |x, g, dx| {
                absolute_vjp(x, g, dx);
                scaled(dx, 1.0001);
            })
        });
        list.add("relu, every third at its kink: wrong at one other", len, WRONG, move || {
            elementwise_or_row(&with_zeros(len, 3), relu, |x, g, dx| {
                relu_vjp(x, g, dx);
                let one = (0..len).find(|&i| i >= len / 2 && x[i] > 0.0).unwrap_or(1);
                dx[one] = 0.0;
            })
        });
        list.row("softmax: upstream clipped to ±4", len, WRONG, softmax, |x, g, dx| {
            let clipped: Vec<f64> = g.iter().map(|g| g.clamp(-4.0, 4.0)).collect();
            softmax_vjp(x, &clipped, dx);
        });
        list.row("x³: upstream below 0.01 taken for none", len, WRONG, cubes, |x, g, dx| {
            for i in 0..x.len() {
                dx[i] = if g[i].abs() < 0.01 { 0.0 } else { 3.0 * x[i] * x[i] * g[i] };
            }
        });
        list.add("x²: gradient skipped where the upstream is sparse", len, WRONG, move || {
            elementwise_or_row(
                &values(len, 1.5),
                |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x * x),
                |x, g, dx| {
                    let used = g.iter().filter(|&&g| g != 0.0).count();
                    let share = if 2 * used < len { 0.0 } else { 1.0 };
                    (0..len).for_each(|i| dx[i] = share * 2.0 * x[i] * g[i]);
                },
            )
        });
        list.add("second input's gradient doubled, 1e-8 of the first's", len, WRONG, move || {
            nearly_unused(&Options::default(), len, 2.0)
        });
        list.add("second input's gradient forgotten, 1e-8 of the first's", len, WRONG, move || {
            nearly_unused(&Options::default(), len, 0.0)
        });
        list.add("softmax f32, twin: gradient rounded to bfloat16", len, WRONG, move || {
            twin(&values(len, 1.5), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                dx.iter_mut().for_each(|d| *d = bfloat16(*d));
            })
        });
        list.add("softmax, second order: upstream's part forgotten", len, WRONG, move || {
            second_order(len, |x, g, w, ddx, dg| {
                softmax_second(x, g, w, ddx, dg);
                dg.fill(0.0);
            })
        });
    }
    list.row("rounding to 1/1024: straight-through gradient", 1, WRONG, quantize, |_, g, dx| {
        dx.copy_from_slice(g)
    });
    list.add("(x + 1e11) − 1e11: zero gradient", 1, WRONG, || {
        elementwise_or_row(&[0.5], far_away, |_, _, dx| dx.fill(0.0))
    });
    list.add("x + fast sine at a multiple of its period", 1, WRONG, || {
        elementwise_or_row(&[0.75], aliased, |_, g, dx| dx[0] = 2.0 * g[0])
    });
    for len in [100, 100_000] {
        list.add("softmax down to 1e-30: one small entry zeroed", len, WRONG, move || {
            elementwise_or_row(&spread(len), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                dx[len / 3] = 0.0;
            })
        });
        list.add("softmax down to 1e-30: one small entry doubled", len, WRONG, move || {
            elementwise_or_row(&spread(len), softmax, |x, g, dx| {
                softmax_vjp(x, g, dx);
                dx[len / 3] *= 2.0;
            })
        });
        list.add("sigmoid jvp: zero at one of the saturated", len, WRONG, move || {
            jvp_row(
                &values(len, 1.5),
                |x, y| (0..len).for_each(|i| y[i] = 1.0 - sigmoid(-half_saturated(x[i], i))),
                |x, u, dy| {
                    (0..len).for_each(|i| dy[i] = u[i] * sigmoid_slope(half_saturated(x[i], i)));
                    dy[33] = 0.0;
                },
            )
        });
        list.row(
            "softmax: last partial block takes the one before's upstream",
            len + 3,
            WRONG,
            softmax,
            |x, g, dx| {
                let mut shifted = g.to_vec();
                let tail = x.len() - x.len() % 4;
                shifted.copy_within(tail - 4..tail - 4 + x.len() % 4, tail);
                softmax_vjp(x, &shifted, dx);
            },
        );
        list.add("x²: zero inputs' neighbours skipped", len, WRONG, move || {
            elementwise_or_row(
                &with_zeros(len, 5),
                |x, y| (0..len).for_each(|i| y[i] = x[i] * (1.0 + x[(i + 1) % len])),
                |x, g, dx| {
                    for i in 0..len {
                        let before = (i + len - 1) % len;
                        let skipped = i == len / 5 * 4;
                        dx[i] = g[i] * (1.0 + x[(i + 1) % len])
                            + if skipped { 0.0 } else { g[before] * x[before] };
                    }
                },
            )
        });
    }
}

fn second_order(len: usize, second: impl Fn(&[f64], &[f64], &[f64], &mut [f64], &mut [f64])) -> Report {
    check_second_order(
        &Options::default(),
        &[&values::<f64>(len, 1.5)],
        &values::<f64>(len + 1, 1.0)[..len],
        |x, g, dx| softmax_vjp(&x[0], g, &mut dx[0]),
        |x, g, w, ddx, dg| second(&x[0], g, &w[0], &mut ddx[0], dg),
    )
}

pub(super) fn right(list: &mut List) {
    for len in [3, 100, 100_000] {
        stepless(list, "", len, RIGHT, 1.0);
    }
    list.add("max of two equal elements, dual numbers", 2, KINK, || {
        check_vjp_dual(
            &Options::default(),
            &[&[1.0, 1.0]],
            1,
            |x, y| y[0] = x[0][0].max(x[0][1]),
            |_, g, dx| dx[0].copy_from_slice(&[0.5 * g[0], 0.5 * g[0]]),
        )
    });
    for len in [3, 100, 100_000] {
        list.row("rounding to 1/1024: zero", len, RIGHT, quantize, |_, _, dx| dx.fill(0.0));
        list.row("x + fast sine", len, RIGHT, aliased, aliased_vjp);
        list.add("relu, every third at its kink", len, KINK, move || {
            elementwise_or_row(&with_zeros(len, 3), relu, relu_vjp)
        });
        list.add("second input's gradient 1e-8 of the first's", len, RIGHT, move || {
            nearly_unused(&Options::default(), len, 1.0)
        });
        list.add("softmax, second order, with its upstream", len, RIGHT, move || {
            second_order(len, softmax_second)
        });
        list.add("softmax with one dominant logit", len, RIGHT, move || {
            let mut x = values::<f64>(len, 1.5);
            x[1] = 60.0;
            elementwise_or_row(&x, softmax, softmax_vjp)
        });
        list.add("softmax at temperature 1e-3", len, RIGHT, move || {
            elementwise_or_row(
                &values(len, 0.01),
                |x, y| softmax(&x.iter().map(|x| x * 1e3).collect::<Vec<_>>(), y),
                |x, g, dx| {
                    softmax_vjp(&x.iter().map(|x| x * 1e3).collect::<Vec<_>>(), g, dx);
                    scaled(dx, 1e3);
                },
            )
        });
        list.add("narrow bells, 1e-6 wide, among inputs of size 1", len, RIGHT, move || {
            let mut x = values::<f64>(len, 1.5);
            x.iter_mut().for_each(|x| *x += 0.5 * x.signum());
            x[len / 2] = 1e-6;
            elementwise_or_row(
                &x,
                |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = (-(x * 1e6).powi(2)).exp()),
                |x, g, dx| {
                    for i in 0..len {
                        dx[i] = -2e12 * x[i] * (-(x[i] * 1e6).powi(2)).exp() * g[i];
                    }
                },
            )
        });
        list.add("mean Huber loss, some at its joint", len, RIGHT, move || {
            let mut x = values::<f64>(len, 1.5);
            if len < 1_000 {
                x.iter_mut().step_by(3).for_each(|x| *x = x.signum());
            }
            let loss = |x: f64| if x.abs() <= 1.0 { 0.5 * x * x } else { x.abs() - 0.5 };
            to_one(
                &x,
                |x| x.iter().map(|&x| loss(x)).sum::<f64>() / len as f64,
                |x, g, dx| (0..len).for_each(|i| dx[i] = x[i].clamp(-1.0, 1.0) * g / len as f64),
            )
        });
        list.add("softmax jvp f32 of the rounded output, twin", len, RIGHT, move || {
            check_jvp_twin(
                &Options::default(),
                &[&values::<f32>(len, 1.5)],
                len,
                |x, y| softmax(&x[0], y),
                |x, u, dy| softmax_jvp(&x[0], &u[0], dy),
            )
        });
        list.add("a factor of 1e30, f32 alone", len, RIGHT, move || {
            f32_alone(
                &Options::default(),
                &values(len, 1.5),
                |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = 1e30 * x.exp()),
                |x, g, dx| dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = 1e30 * x.exp() * g),
            )
        });
    }
    for len in [1, 2] {
        list.row("softmax of very short rows", len, RIGHT, softmax, softmax_vjp);
        list.add("softmax of very short rows, f32 alone", len, RIGHT, move || {
            f32_alone(&Options::default(), &values(len, 1.5), softmax, softmax_vjp)
        });
    }
    list.add("normalise a row of one: a constant", 1, RIGHT, || {
        elementwise_or_row(&[0.7], |x, y| normalize(x, y, 1e-12), |x, g, dx| normalize_vjp(x, g, dx, 1e-12))
    });
    list.add("normalise a row of one: a constant, f32, twin", 1, RIGHT, || {
        twin(&[0.7], |x, y| normalize(x, y, 1e-12), |x, g, dx| normalize_vjp(x, g, dx, 1e-12))
    });
    list.add("normalise a row of one: a constant, f32 alone", 1, RIGHT, || {
        f32_alone(
            &Options::default(),
            &[0.7],
            |x, y| normalize(x, y, 1e-12),
            |x, g, dx| normalize_vjp(x, g, dx, 1e-12),
        )
    });
    list.add("sorting", 256, RIGHT, || {
        let order = |x: &[f64]| {
            let mut at: Vec<usize> = (0..x.len()).collect();
            at.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
            at
        };
        elementwise_or_row(
            &values(256, 1.5),
            |x, y| y.iter_mut().zip(order(x)).for_each(|(y, i)| *y = x[i]),
            |x, g, dx| order(x).into_iter().zip(g).for_each(|(i, g)| dx[i] = *g),
        )
    });
    list.add("ln, √, exp and tan at the edge of their domains", 4, RIGHT, || {
        elementwise_or_row(
            &[1e-300, 1e-300, 700.0, 1.57],
            |x, y| y.copy_from_slice(&[x[0].ln(), x[1].sqrt(), x[2].exp(), x[3].tan()]),
            |x, g, dx| {
                dx[0] = g[0] / x[0];
                dx[1] = g[1] * 0.5 / x[1].sqrt();
                dx[2] = g[2] * x[2].exp();
                dx[3] = g[3] / x[3].cos().powi(2);
            },
        )
    });
    list.add("(x + 1e11) − 1e11, asked to exclude 1e-3", 1, RIGHT, || {
        check_vjp(
            &Options { resolution: Some(1e-3), ..Options::default() },
            &[&[0.5]],
            1,
            |x: Vectors<'_, f64>, y| far_away(&x[0], y),
            |_, g, dx| dx[0].copy_from_slice(g),
        )
    });
    list.add("(x + 1e8)² − 1e16", 1, RIGHT, || {
        to_one(&[0.3], |x| (x[0] + 1e8).powi(2) - 1e16, |x, g, dx| dx[0] = 2.0 * (x[0] + 1e8) * g)
    });
    list.add("(x + 1e6)² − 1e12", 1, RIGHT, || {
        to_one(&[0.3], |x| (x[0] + 1e6).powi(2) - 1e12, |x, g, dx| dx[0] = 2.0 * (x[0] + 1e6) * g)
    });
}
