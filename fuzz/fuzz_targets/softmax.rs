//! softmax, log_softmax and logsumexp, with options and gradients.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::{EmptyRows, Layout, SoftmaxOptions};
use lossprep_fuzz::{
    Shape, Value, assert_near, assert_no_negative_zero, assert_same, everywhere, positive, row, ulp, values,
};

#[derive(Debug)]
enum Kept {
    All,
    Mask(Vec<bool>),
    Lengths(Vec<usize>),
}

#[derive(Debug)]
struct Input<T> {
    layout: Layout,
    x: Vec<T>,
    g: Vec<T>,
    row_g: Vec<T>,
    temperature: T,
    kept: Kept,
    empty: EmptyRows,
}

impl<'a, T: Value> Arbitrary<'a> for Input<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let Shape(layout) = u.arbitrary()?;
        let (n, rows) = (layout.elements(), layout.row_count());
        let temperature = if u.arbitrary()? { positive::<T>(u)? } else { T::one() };
        Ok(Self {
            layout,
            temperature: temperature.max(T::min_positive_value()),
            kept: match u.int_in_range(0..=2u8)? {
                0 => Kept::All,
                1 => Kept::Mask((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
                _ => {
                    Kept::Lengths((0..rows).map(|_| u.int_in_range(0..=layout.len())).collect::<Result<_>>()?)
                }
            },
            empty: *u.choose(&[EmptyRows::Zeros, EmptyRows::Uniform, EmptyRows::Nan])?,
            x: values(u, n)?,
            g: values(u, n)?,
            row_g: values(u, rows)?,
        })
    }
}

impl<T: Value> Input<T> {
    fn options(&self) -> SoftmaxOptions<'_, T> {
        let options = SoftmaxOptions::new().temperature(self.temperature).empty_rows(self.empty);
        match &self.kept {
            Kept::All => options,
            Kept::Mask(keep) => options.mask(keep),
            Kept::Lengths(valid) => options.lengths(valid),
        }
    }

    fn kept(&self, r: usize) -> Vec<bool> {
        match &self.kept {
            Kept::All => vec![true; self.layout.len()],
            Kept::Mask(keep) => row(keep, self.layout, r),
            Kept::Lengths(valid) => (0..self.layout.len()).map(|i| i < valid[r]).collect(),
        }
    }

    /// Row `r` as a tensor of its own.
    fn alone(&self, r: usize) -> Self {
        Self {
            layout: Layout::rows(1, self.layout.len()).expect("small"),
            x: row(&self.x, self.layout, r),
            g: row(&self.g, self.layout, r),
            row_g: vec![self.row_g[r]],
            kept: match &self.kept {
                Kept::All => Kept::All,
                Kept::Mask(keep) => Kept::Mask(row(keep, self.layout, r)),
                Kept::Lengths(valid) => Kept::Lengths(vec![valid[r]]),
            },
            ..*self
        }
    }

    fn outputs(&self) -> Outputs<T> {
        let (n, rows, layout, options) =
            (self.layout.elements(), self.layout.row_count(), self.layout, &self.options());
        let y = everywhere(n, |k, out| k.softmax_with(&self.x, layout, options, out));
        let log_y = everywhere(n, |k, out| k.log_softmax_with(&self.x, layout, options, out));
        Outputs {
            lse: everywhere(rows, |k, out| k.logsumexp_with(&self.x, layout, options, out)),
            softmax_vjp: everywhere(n, |k, out| k.softmax_vjp_with(&y, &self.g, layout, options, out)),
            softmax_jvp: everywhere(n, |k, out| k.softmax_jvp_with(&y, &self.g, layout, options, out)),
            log_vjp: everywhere(n, |k, out| k.log_softmax_vjp_with(&log_y, &self.g, layout, options, out)),
            log_jvp: everywhere(n, |k, out| k.log_softmax_jvp_with(&log_y, &self.g, layout, options, out)),
            lse_vjp: everywhere(n, |k, out| k.logsumexp_vjp_with(&self.x, &self.row_g, layout, options, out)),
            lse_jvp: everywhere(rows, |k, out| k.logsumexp_jvp_with(&self.x, &self.g, layout, options, out)),
            y,
            log_y,
        }
    }
}

struct Outputs<T> {
    y: Vec<T>,
    log_y: Vec<T>,
    lse: Vec<T>,
    softmax_vjp: Vec<T>,
    softmax_jvp: Vec<T>,
    log_vjp: Vec<T>,
    log_jvp: Vec<T>,
    lse_vjp: Vec<T>,
    lse_jvp: Vec<T>,
}

impl<T: Value> Outputs<T> {
    /// Per element, then per row.
    fn all(&self) -> [(&[T], bool); 9] {
        [
            (&self.y, true),
            (&self.log_y, true),
            (&self.softmax_vjp, true),
            (&self.softmax_jvp, true),
            (&self.log_vjp, true),
            (&self.log_jvp, true),
            (&self.lse_vjp, true),
            (&self.lse, false),
            (&self.lse_jvp, false),
        ]
    }
}

fn check<T: Value>(input: &Input<T>) {
    let (layout, options) = (input.layout, &input.options());
    let out = input.outputs();
    for (values, _) in out.all() {
        assert_no_negative_zero(values);
    }
    let in_place = everywhere(layout.elements(), |k, data| {
        data.copy_from_slice(&input.x);
        k.softmax_in_place_with(data, layout, options)
    });
    assert_same(&in_place, &out.y, "softmax in place");
    let in_place = everywhere(layout.elements(), |k, data| {
        data.copy_from_slice(&input.x);
        k.log_softmax_in_place_with(data, layout, options)
    });
    assert_same(&in_place, &out.log_y, "log_softmax in place");
    for r in 0..layout.row_count() {
        let (alone, row_alone) = (input.alone(r), input.alone(r).outputs());
        for ((all, elements), (one, _)) in out.all().into_iter().zip(row_alone.all()) {
            if elements {
                assert_same(one, &row(all, layout, r), "a row alone");
            } else {
                assert_same(one, &all[r..=r], "a row alone");
            }
        }
        check_row(&alone, &row_alone, &input.kept(r));
    }
}

fn check_row<T: Value>(input: &Input<T>, out: &Outputs<T>, kept: &[bool]) {
    let x: Vec<f64> = input.x.iter().map(|x| x.as_f64()).collect();
    let present: Vec<usize> = (0..x.len()).filter(|&i| kept[i]).collect();
    let max = present.iter().map(|&i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    let lse = out.lse[0].as_f64();
    if present.iter().any(|&i| x[i].is_nan()) {
        assert!(lse.is_nan() && present.iter().all(|&i| out.y[i].is_nan() && out.log_y[i].is_nan()));
        return;
    }
    if max == f64::INFINITY {
        assert!(lse == max && present.iter().all(|&i| out.y[i].is_nan() && out.log_y[i].is_nan()));
        return;
    }
    if max == f64::NEG_INFINITY {
        assert!(lse == max && out.lse_vjp.iter().all(|g| g.is_zero()));
        let masked = !matches!(input.kept, Kept::All);
        for (y, log_y) in out.y.iter().zip(&out.log_y) {
            match input.empty {
                EmptyRows::Zeros if masked => assert!(y.is_zero() && log_y.as_f64() == max),
                EmptyRows::Uniform if masked => assert!(*y == T::one() / T::nearest(x.len() as f64)),
                _ => assert!(y.is_nan() && log_y.is_nan()),
            }
        }
        return;
    }
    for i in 0..x.len() {
        if !kept[i] || x[i] == f64::NEG_INFINITY {
            assert!(out.y[i].is_zero() && out.log_y[i].as_f64() == f64::NEG_INFINITY);
        }
        if !kept[i] {
            assert!(out.softmax_vjp[i].is_zero() && out.log_vjp[i].is_zero() && out.lse_vjp[i].is_zero());
        }
    }
    if T::JUDGED {
        judge_row(input, out, &present, &x, max);
    }
}

/// The bounds of the contract. log Σ is kept apart from the maximum, which would swallow it.
fn judge_row<T: Value>(input: &Input<T>, out: &Outputs<T>, present: &[usize], x: &[f64], max: f64) {
    let t = input.temperature.as_f64();
    let top = present.iter().position(|&i| x[i] == max).expect("the maximum is one of them");
    let others: f64 =
        present.iter().enumerate().filter(|&(p, _)| p != top).map(|(_, &i)| ((x[i] - max) / t).exp()).sum();
    let log_sum = others.ln_1p();
    let want = max / t + log_sum;
    let cancellation = 0.5 * ulp(want) + 2f64.powi(-27) * log_sum;
    assert_near(out.lse[0], want, cancellation.max(ulp(want)), "logsumexp");
    for &i in present {
        let want = ((x[i] - max) / t).exp() / (1.0 + others);
        assert_near(out.y[i], want, ulp(want), "softmax");
        let want = (x[i] - max) / t - log_sum;
        assert_near(out.log_y[i], want, ulp(want), "log_softmax");
    }
    let g: Vec<f64> = input.g.iter().map(|g| g.as_f64()).collect();
    if present.iter().any(|&i| !g[i].is_finite()) {
        return;
    }
    let y: Vec<f64> = out.y.iter().map(|y| y.as_f64()).collect();
    let p: Vec<f64> = out.log_y.iter().map(|l| l.as_f64().exp()).collect();
    let sum = |f: &dyn Fn(usize) -> f64| present.iter().map(|&i| f(i)).sum::<f64>();
    let (dot, dot_size) = (sum(&|i| y[i] * g[i]), sum(&|i| y[i] * g[i].abs()));
    let (total, size) = (sum(&|i| g[i]), sum(&|i| g[i].abs()));
    let (mean, mean_size) = (sum(&|i| p[i] * g[i]), sum(&|i| p[i] * g[i].abs()));
    for &i in present {
        let near = |got: T, want: f64, m: f64, what| assert_near(got, want / t, 4.0 * ulp(m / t), what);
        near(out.softmax_vjp[i], y[i] * (g[i] - dot), y[i] * (g[i].abs() + dot_size), "softmax_vjp");
        near(out.softmax_jvp[i], y[i] * (g[i] - dot), y[i] * (g[i].abs() + dot_size), "softmax_jvp");
        near(out.log_vjp[i], g[i] - p[i] * total, g[i].abs() + p[i] * size, "log_softmax_vjp");
        near(out.log_jvp[i], g[i] - mean, g[i].abs() + mean_size, "log_softmax_jvp");
    }
}

#[derive(Arbitrary, Debug)]
enum Either {
    Single(Input<f32>),
    Double(Input<f64>),
}

fuzz_target!(|input: Either| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
