//! What the targets share: inputs of any bits, all backends at once, and the bounds in ULP.

use arbitrary::{Arbitrary, Result, Unstructured};
use lossprep::{Backend, Element, Error, Kernels, Layout};

/// `f32` or `f64` as bits and as f64.
pub trait Value: Element {
    const CANONICAL_NAN: u64;
    /// Whether an f64 computation is precise enough to judge the results.
    const JUDGED: bool;
    fn from_pattern(bits: u64) -> Self;
    fn pattern(self) -> u64;
    fn nearest(x: f64) -> Self;
    fn as_f64(self) -> f64;
}

impl Value for f32 {
    const CANONICAL_NAN: u64 = 0x7fc0_0000;
    const JUDGED: bool = true;
    fn from_pattern(bits: u64) -> Self {
        Self::from_bits(bits as u32)
    }
    fn pattern(self) -> u64 {
        self.to_bits().into()
    }
    fn nearest(x: f64) -> Self {
        x as Self
    }
    fn as_f64(self) -> f64 {
        self.into()
    }
}

impl Value for f64 {
    const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;
    const JUDGED: bool = false;
    fn from_pattern(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    fn pattern(self) -> u64 {
        self.to_bits()
    }
    fn nearest(x: f64) -> Self {
        x
    }
    fn as_f64(self) -> f64 {
        self
    }
}

/// Any bits, a special value, or a number of everyday size: the last so that whole rows stay finite.
pub fn value<T: Value>(u: &mut Unstructured) -> Result<T> {
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
        2 => T::nearest(f64::from(u.arbitrary::<i16>()?)),
        _ => T::nearest(f64::from(u.arbitrary::<i16>()?) / 4096.0),
    })
}

/// `n` of them.
pub fn values<T: Value>(u: &mut Unstructured, n: usize) -> Result<Vec<T>> {
    (0..n).map(|_| value(u)).collect()
}

/// A finite positive number.
pub fn positive<T: Value>(u: &mut Unstructured) -> Result<T> {
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

pub fn assert_same<T: Value>(got: &[T], want: &[T], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.pattern(), w.pattern(), "{what}: element {i} is {g:e}, not {w:e}");
    }
}

/// The result of `f` on every backend, which has to be the same bits; every NaN the canonical one.
pub fn everywhere<T: Value>(n: usize, f: impl Fn(Kernels, &mut [T]) -> Result<(), Error>) -> Vec<T> {
    let run = |backend: Backend| {
        let mut out = vec![T::nearest(-7.0); n];
        f(backend.try_get().expect("available"), &mut out).expect("the arguments are in their domains");
        out
    };
    let want = run(Backend::Scalar);
    for backend in Backend::available() {
        assert_same(&run(backend), &want, backend.name());
    }
    for x in want.iter().filter(|x| x.is_nan()) {
        assert_eq!(x.pattern(), T::CANONICAL_NAN);
    }
    want
}

pub fn assert_no_negative_zero<T: Value>(out: &[T]) {
    assert!(out.iter().all(|x| x.pattern() != T::neg_zero().pattern()), "−0: {out:?}");
}

/// The spacing of f32 at `x`; subnormal spacing below the smallest normal.
pub fn ulp(x: f64) -> f64 {
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(-126);
    2f64.powi(exponent - 23)
}

/// Asserts that `got` is within `bound` of `want`, overflow included; a little more for the f64 arithmetic.
pub fn assert_near<T: Value>(got: T, want: f64, bound: f64, what: &str) {
    let max = f64::from(f32::MAX);
    let got = got.as_f64();
    let holds = if got.is_infinite() {
        want * got.signum() >= max - bound
    } else {
        (got - want).abs() <= bound * (1.0 + 1e-6) || want.abs() > max && got.abs() == max
    };
    assert!(holds, "{what}: {got:e}, not {want:e} within {bound:e}");
}
