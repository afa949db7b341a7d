//! softmax, log_softmax and logsumexp, with options and gradients.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::{EmptyRows, Layout, SoftmaxOptions};
use lossprep_fuzz::{
    Either, Empty, Judged, Kept, Number, Op, Params, Shape, assert_no_negative_zero, assert_same, everywhere,
    positive, row, values,
};

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

impl<'a, T: Number> Arbitrary<'a> for Input<T> {
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

impl<T: Number> Input<T> {
    fn options(&self) -> SoftmaxOptions<'_, T> {
        self.kept.of(SoftmaxOptions::new().temperature(self.temperature).empty_rows(self.empty))
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

impl<T: Number> Outputs<T> {
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

fn check<T: Number>(input: &Input<T>) {
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

fn check_row<T: Number>(input: &Input<T>, out: &Outputs<T>, kept: &[bool]) {
    let x: Vec<f64> = input.x.iter().map(|x| x.exact_f64()).collect();
    let present: Vec<usize> = (0..x.len()).filter(|&i| kept[i]).collect();
    let max = present.iter().map(|&i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    let lse = out.lse[0].exact_f64();
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
                EmptyRows::Zeros if masked => assert!(y.is_zero() && log_y.exact_f64() == max),
                EmptyRows::Uniform if masked => assert!(*y == T::one() / T::round_from(x.len() as f64)),
                _ => assert!(y.is_nan() && log_y.is_nan()),
            }
        }
        return;
    }
    for i in 0..x.len() {
        if !kept[i] || x[i] == f64::NEG_INFINITY {
            assert!(out.y[i].is_zero() && out.log_y[i].exact_f64() == f64::NEG_INFINITY);
        }
        if !kept[i] {
            assert!(out.softmax_vjp[i].is_zero() && out.log_vjp[i].is_zero() && out.lse_vjp[i].is_zero());
        }
    }
    judge_row(input, out, kept);
}

fn judge_row<T: Number>(input: &Input<T>, out: &Outputs<T>, kept: &[bool]) {
    let params = Params {
        temperature: input.temperature.exact_f64(),
        empty: match input.empty {
            EmptyRows::Uniform => Empty::Uniform,
            EmptyRows::Nan => Empty::Nan,
            _ => Empty::Zeros,
        },
        ..Params::default()
    };
    let keep = (!matches!(input.kept, Kept::All)).then_some(kept);
    let judge = |op, x, second, out: &[T]| {
        Judged { x, second, norm: T::zero(), keep, params }.assert_holds(op, out);
    };
    judge(Op::Softmax, &input.x, &[], &out.y);
    judge(Op::LogSoftmax, &input.x, &[], &out.log_y);
    judge(Op::Logsumexp, &input.x, &[], &out.lse);
    judge(Op::SoftmaxVjp, &out.y, &input.g, &out.softmax_vjp);
    judge(Op::SoftmaxJvp, &out.y, &input.g, &out.softmax_jvp);
    judge(Op::LogSoftmaxVjp, &out.log_y, &input.g, &out.log_vjp);
    judge(Op::LogSoftmaxJvp, &out.log_y, &input.g, &out.log_jvp);
    judge(Op::LogsumexpVjp, &input.x, &input.row_g, &out.lse_vjp);
    judge(Op::LogsumexpJvp, &input.x, &input.g, &out.lse_jvp);
}

fuzz_target!(|input: Either<Input<f32>, Input<f64>>| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
