//! One long row on several threads: parts of it go through the passes of softmax, log_softmax and logsumexp side by side,
//! and what they leave is joined between the passes.
//!
//! A maximum does not depend on where a row is cut, and neither does a sum here, which is made of integers
//! (`math/sum.rs`): so the bits are those of the plain call. Only what is summed again, the others of a row that is nearly
//! all in one element, is not joined: log_softmax and logsumexp leave such a row to the plain call.

use super::{
    Excess, Extremes, Head, LogSoftmax, LogSumExp, Plain, ROOM, Softmax, SoftmaxElement, Terms, extremes,
    near,
};
use crate::rows::{Work, along};
use crate::simd::{Op, Simd, Vector};

/// What a row is made into.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Softmax,
    LogSoftmax,
    LogSumExp,
}

/// What is known of a row, or of a part of it.
#[derive(Clone, Copy)]
pub struct Known<T: SoftmaxElement> {
    form: Form,
    /// The length of the row.
    len: usize,
    /// The largest element, NaN where there is one, and the smallest in full registers.
    extremes: [T; 2],
    /// The sum of its terms, and of how many where that matters.
    sum: T::Exact,
    terms: usize,
    /// Whether a logarithm, if it is needed, can be had from the sum.
    pub(crate) decided: bool,
}

/// A step, which gives what is known with it.
pub enum Step<'a, T> {
    /// The extremes of a part.
    Measure(&'a [T]),
    /// The sum of a part, given the extremes of the row.
    Sum(&'a [T]),
    /// The end of a sum; logsumexp is written.
    Close(&'a mut [T]),
    /// A part becomes its result.
    Write(&'a mut [T]),
}

impl<T: SoftmaxElement> Known<T> {
    pub(crate) fn nothing(form: Form, len: usize) -> Self {
        let extremes = [-T::INFINITY, T::INFINITY];
        Self { form, len, extremes, sum: T::Exact::default(), terms: 0, decided: true }
    }

    /// The extremes of two parts.
    pub(crate) fn and_extremes(self, other: Self) -> Self {
        let [[top, least], [top2, least2]] = [self.extremes, other.extremes];
        let top = if top.is_nan() || top2 < top { top } else { top2 };
        Self { extremes: [top, if least2 < least { least2 } else { least }], ..self }
    }

    /// The sum of two parts.
    pub(crate) fn and_sum(self, other: Self) -> Self {
        Self { sum: T::both(self.sum, other.sum), terms: self.terms + other.terms, ..self }
    }

    /// How many terms there must be for the sum's third word to count, where there may be as many.
    fn many(&self) -> Option<usize> {
        T::MANY.filter(|most| self.len.div_ceil(T::LANES) > most / T::LANES)
    }

    #[inline(always)]
    fn head<S: Simd>(&self, s: S) -> Head<T, S> {
        let [top, least] = self.extremes;
        Head::new(Plain, Extremes { top: Vector::splat(s, top), least: Vector::splat(s, least) })
    }

    #[inline(always)]
    fn row<S: Simd>(&self, s: S) -> T::Row<S> {
        let mut totals = T::totals(s, self.sum);
        if let Some(most) = self.many() {
            let counts = if self.terms > most { T::one() } else { T::zero() };
            totals = T::shortened(totals, Vector::splat(s, counts));
        }
        T::row(s, totals)
    }

    #[inline(always)]
    fn add_up<S: Simd, const PRECISE: bool>(&mut self, s: S, x: &[T]) {
        let head = self.head(s);
        let (frame, many) = (&head.frame, self.many().is_some());
        let terms = Terms::<_, _, _, PRECISE, false> {
            argument: Plain,
            frame,
            cut: frame.m,
            keep_q: false,
            tame: head.tame.all,
        };
        let totals = along::<_, _, _, false>(
            s,
            x,
            &mut [],
            #[inline(always)]
            |a| if S::ROOMY { terms.sum::<_, ROOM>(a, many) } else { terms.sum::<_, 1>(a, many) },
        );
        self.sum = T::exact(T::joined(totals, many));
        if many {
            self.terms = x.iter().filter(|&&x| -T::INFINITY < x).count();
        }
    }
}

/// A step on what is known.
pub(super) struct Stepping<'a, T: SoftmaxElement>(pub(super) Known<T>, pub(super) Step<'a, T>);

impl<T: SoftmaxElement> Op for Stepping<'_, T> {
    type Output = Known<T>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Known<T> {
        let Self(mut known, step) = self;
        match step {
            Step::Measure(x) => {
                let Extremes { top, least } = along::<_, _, _, false>(
                    s,
                    x,
                    &mut [],
                    #[inline(always)]
                    |a| extremes(s, a),
                );
                known.extremes = [top.to_array().as_ref()[0], least.to_array().as_ref()[0]];
            }
            Step::Sum(x) if known.form == Form::Softmax => known.add_up::<S, false>(s, x),
            Step::Sum(x) => known.add_up::<S, true>(s, x),
            Step::Close(out) => {
                let head = known.head(s);
                let near = near(known.len);
                let excess = Excess::new::<_, true>(Plain, &head, known.row(s), near);
                known.decided = known.form == Form::Softmax || !excess.is_unsettled(&head);
                if known.form == Form::LogSumExp {
                    LogSumExp { argument: Plain, near, out }.write(0, 1, &head, excess.log);
                }
            }
            Step::Write(data) => {
                let (head, sum) = (known.head(s), known.row(s));
                along::<_, _, _, true>(
                    s,
                    &[],
                    data,
                    #[inline(always)]
                    |a| {
                        if known.form == Form::Softmax {
                            let mut work = Softmax { argument: Plain, empty: T::NAN };
                            let close = work.close(s, 0, 1, head, sum);
                            work.third(s, a, 0, head, close);
                        } else {
                            let mut work =
                                LogSoftmax { argument: Plain, empty: T::NAN, near: near(known.len) };
                            let close = work.close(s, 0, 1, head, sum);
                            work.third(s, a, 0, head, close);
                        }
                    },
                );
            }
        }
        known
    }
}
