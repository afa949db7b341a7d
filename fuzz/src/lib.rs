//! What the targets share: inputs of any bits, all backends at once, and the oracle of `lossprep-verify` as
//! the judge.

use arbitrary::{Arbitrary, Result, Unstructured};
use lossprep::{Backend, Error, Kernels, Layout, SoftmaxOptions};
pub use lossprep_verify::oracle::{Empty, Guard, Op, Params};
use lossprep_verify::oracle::{Row, evaluate};
pub use lossprep_verify::ulp::Number;
use lossprep_verify::{exact::Big, ulp::judge, wide::Wide};

/// Any bits, a special value, or a number of everyday size: the last so that whole rows stay finite.
pub fn value<T: Number>(u: &mut Unstructured) -> Result<T> {
    Ok(match u.int_in_range(0..=7u8)? {
        0 => T::from_pattern(u.arbitrary()?),
        1 => *u.choose(&[
            T::nan(),
            T::infinity(),
            T::neg_infinity(),
            T::zero(),
            T::neg_zero(),
            T::max_value(),
            T::min_value(),
            T::min_positive_value(),
            T::from_pattern(1),
            T::one(),
        ])?,
        2 => T::round_from(f64::from(u.arbitrary::<i16>()?)),
        _ => T::round_from(f64::from(u.arbitrary::<i16>()?) / 4096.0),
    })
}

/// `n` of them.
pub fn values<T: Number>(u: &mut Unstructured, n: usize) -> Result<Vec<T>> {
    (0..n).map(|_| value(u)).collect()
}

/// A finite positive number.
pub fn positive<T: Number>(u: &mut Unstructured) -> Result<T> {
    let x = value::<T>(u)?.abs();
    Ok(if x > T::zero() && x.is_finite() { x } else { T::one() })
}

/// A small shape; every tail, and rows along another axis.
#[derive(Clone, Copy, Debug)]
pub struct Shape(pub Layout);

impl<'a> Arbitrary<'a> for Shape {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (outer, len) = (u.int_in_range(0..=3)?, u.int_in_range(0..=70)?);
        let inner = *u.choose(&[1, 1, 2, 3, 7, 8, 9, 16, 17, 33])?;
        Ok(Self(Layout::new(outer, len, inner).expect("small")))
    }
}

/// The elements of one row.
pub fn row<T: Copy>(x: &[T], layout: Layout, row: usize) -> Vec<T> {
    let (len, inner) = (layout.len(), layout.inner());
    let first = row / inner * len * inner + row % inner;
    (0..len).map(|i| x[first + i * inner]).collect()
}

pub fn assert_same<T: Number>(got: &[T], want: &[T], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.bits(), w.bits(), "{what}: element {i} is {g:e}, not {w:e}");
    }
}

/// The result of `f` on every backend, which has to be the same bits; every NaN the canonical one.
pub fn everywhere<T: Number>(n: usize, f: impl Fn(Kernels, &mut [T]) -> Result<(), Error>) -> Vec<T> {
    let run = |backend: Backend| {
        let mut out = vec![T::round_from(-7.0); n];
        f(backend.try_get().expect("available"), &mut out).expect("the arguments are in their domains");
        out
    };
    let want = run(Backend::Scalar);
    for backend in Backend::available() {
        assert_same(&run(backend), &want, backend.name());
    }
    for x in want.iter().filter(|x| x.is_nan()) {
        assert_eq!(x.bits(), T::CANONICAL_NAN.bits());
    }
    want
}

pub fn assert_no_negative_zero<T: Number>(out: &[T]) {
    assert!(out.iter().all(|x| x.bits() != T::neg_zero().bits()), "−0: {out:?}");
}

/// One row of a call: what the oracle needs to judge its outputs.
pub struct Judged<'a, T> {
    /// The first argument.
    pub x: &'a [T],
    /// Upstream or tangent.
    pub second: &'a [T],
    /// The norm that a normalisation's gradient is given.
    pub norm: T,
    /// Which elements take part.
    pub keep: Option<&'a [bool]>,
    /// The parameters.
    pub params: Params,
}

impl<T: Number> Judged<'_, T> {
    /// Asserts that the outputs hold the claims of the contract. What the double-double tier finds broken,
    /// the arbitrary-precision one has to confirm.
    pub fn assert_holds(&self, op: Op, out: &[T]) {
        let widen = |v: &[T]| -> Vec<f64> { v.iter().map(|v| v.exact_f64()).collect() };
        let (x, second) = (widen(self.x), widen(self.second));
        let row = Row { x: &x, second: &second, norm: self.norm.exact_f64(), keep: self.keep };
        let first = evaluate::<Wide>(op, row, &self.params);
        assert_eq!(first.len(), out.len(), "{}", op.name());
        if out.iter().zip(&first).all(|(&v, truth)| judge(v, truth).holds()) {
            return;
        }
        for (i, (&v, truth)) in out.iter().zip(&evaluate::<Big>(op, row, &self.params)).enumerate() {
            let judgement = judge(v, truth);
            assert!(
                judgement.holds(),
                "{} {} output {i} is {v:e}, not {}: {judgement:?}; {row:?}, {:?}",
                op.name(),
                T::NAME,
                truth.expect.about(),
                self.params
            );
        }
    }
}

/// An input of either type.
#[derive(Arbitrary, Debug)]
pub enum Either<A, B> {
    Single(A),
    Double(B),
}

/// Which elements take part in softmax.
#[derive(Clone, Debug)]
pub enum Kept {
    All,
    Mask(Vec<bool>),
    Lengths(Vec<usize>),
}

impl Kept {
    /// The options, with this for a mask or valid lengths.
    pub fn of<'a, T: Number>(&'a self, options: SoftmaxOptions<'a, T>) -> SoftmaxOptions<'a, T> {
        match self {
            Self::All => options,
            Self::Mask(keep) => options.mask(keep),
            Self::Lengths(valid) => options.lengths(valid),
        }
    }
}
