//! l2_norm and l2_normalize, with the three guards and gradients.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::{Layout, NormGuard};
use lossprep_fuzz::{
    Either, Guard, Judged, Number, Op, Params, Shape, assert_no_negative_zero, assert_same, everywhere,
    positive, row, values,
};

#[derive(Debug)]
struct Input<T> {
    layout: Layout,
    x: Vec<T>,
    g: Vec<T>,
    row_g: Vec<T>,
    guard: NormGuard<T>,
}

impl<'a, T: Number> Arbitrary<'a> for Input<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let Shape(layout) = u.arbitrary()?;
        let guard = *u.choose(&[NormGuard::Max, NormGuard::Add, NormGuard::AddSquared])?;
        let eps = if u.arbitrary()? { positive(u)? } else { T::round_from(1e-12) };
        Ok(Self {
            layout,
            guard: guard(eps),
            x: values(u, layout.elements())?,
            g: values(u, layout.elements())?,
            row_g: values(u, layout.row_count())?,
        })
    }
}

struct Outputs<T> {
    norm: Vec<T>,
    norm_vjp: Vec<T>,
    norm_jvp: Vec<T>,
    y: Vec<T>,
    vjp: Vec<T>,
    jvp: Vec<T>,
}

impl<T: Number> Input<T> {
    /// Row `r` as a tensor of its own.
    fn alone(&self, r: usize) -> Self {
        Self {
            layout: Layout::rows(1, self.layout.len()).expect("small"),
            x: row(&self.x, self.layout, r),
            g: row(&self.g, self.layout, r),
            row_g: vec![self.row_g[r]],
            guard: self.guard,
        }
    }

    fn outputs(&self) -> Outputs<T> {
        let Self { layout, x, g, row_g, guard } = self;
        let (layout, guard, n, rows) = (*layout, *guard, layout.elements(), layout.row_count());
        let norm = everywhere(rows, |k, out| k.l2_norm(x, layout, out));
        Outputs {
            norm_vjp: everywhere(n, |k, out| k.l2_norm_vjp(x, &norm, row_g, layout, out)),
            norm_jvp: everywhere(rows, |k, out| k.l2_norm_jvp(x, &norm, g, layout, out)),
            y: everywhere(n, |k, out| k.l2_normalize(x, layout, guard, out)),
            vjp: everywhere(n, |k, out| k.l2_normalize_vjp(x, &norm, g, layout, guard, out)),
            jvp: everywhere(n, |k, out| k.l2_normalize_jvp(x, &norm, g, layout, guard, out)),
            norm,
        }
    }
}

fn check<T: Number>(input: &Input<T>) {
    let layout = input.layout;
    let out = input.outputs();
    let in_place = everywhere(layout.elements(), |k, data| {
        data.copy_from_slice(&input.x);
        k.l2_normalize_in_place(data, layout, input.guard)
    });
    assert_same(&in_place, &out.y, "in place");
    for values in [&out.norm, &out.norm_vjp, &out.norm_jvp, &out.vjp, &out.jvp] {
        assert_no_negative_zero(values);
    }
    for r in 0..layout.row_count() {
        let alone = input.alone(r);
        let one = alone.outputs();
        assert_same(&one.norm, &out.norm[r..=r], "a row alone: norm");
        assert_same(&one.norm_jvp, &out.norm_jvp[r..=r], "a row alone: norm_jvp");
        assert_same(&one.norm_vjp, &row(&out.norm_vjp, layout, r), "a row alone: norm_vjp");
        assert_same(&one.y, &row(&out.y, layout, r), "a row alone: normalize");
        assert_same(&one.vjp, &row(&out.vjp, layout, r), "a row alone: vjp");
        assert_same(&one.jvp, &row(&out.jvp, layout, r), "a row alone: jvp");
        check_row(&alone, &one);
    }
}

fn check_row<T: Number>(input: &Input<T>, out: &Outputs<T>) {
    let x: Vec<f64> = input.x.iter().map(|x| x.exact_f64()).collect();
    if x.iter().any(|x| !x.is_finite()) {
        let nan = x.iter().any(|x| x.is_nan());
        assert!(if nan { out.norm[0].is_nan() } else { out.norm[0] == T::infinity() });
        assert!([&out.y, &out.vjp, &out.jvp].into_iter().flatten().all(|y| y.is_nan()));
        return;
    }
    for (x, y) in input.x.iter().zip(&out.y) {
        assert!(!y.is_nan() && y.is_sign_negative() == x.is_sign_negative());
        assert!(!x.is_zero() || y.is_zero());
    }
    let guard = match input.guard {
        NormGuard::Max(eps) => Guard::Max(eps.exact_f64()),
        NormGuard::Add(eps) => Guard::Add(eps.exact_f64()),
        NormGuard::AddSquared(eps) => Guard::AddSquared(eps.exact_f64()),
    };
    let params = Params { guard, ..Params::default() };
    let judge = |op, second, out: &[T], norm| {
        Judged { x: &input.x, second, norm, keep: None, params }.assert_holds(op, out);
    };
    let norm = out.norm[0];
    judge(Op::L2Norm, &[], &out.norm, norm);
    judge(Op::L2NormVjp, &input.row_g, &out.norm_vjp, norm);
    judge(Op::L2NormJvp, &input.g, &out.norm_jvp, norm);
    judge(Op::L2Normalize, &[], &out.y, norm);
    // Within an ULP of eps either branch is right.
    let edge = match input.guard {
        NormGuard::Max(eps) => norm.bits().abs_diff(eps.bits()) <= 1 && norm != eps,
        _ => false,
    };
    if !edge {
        judge(Op::L2NormalizeVjp, &input.g, &out.vjp, norm);
        judge(Op::L2NormalizeJvp, &input.g, &out.jvp, norm);
    }
}

fuzz_target!(|input: Either<Input<f32>, Input<f64>>| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
