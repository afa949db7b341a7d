//! One long row on several threads: parts of it go through the passes of softmax, log_softmax and logsumexp side by side,
//! and what they leave is joined between the passes.
//!
//! A maximum does not depend on where a row is cut, and neither does a sum here, which is made of integers
//! (`math/sum.rs`): so the bits are those of the plain call. Only what is summed again, the others of a row that is nearly
//! all in one element, is not joined: log_softmax and logsumexp leave such a row to the plain call.

use super::{
    Excess, Extremes, Head, LogSoftmax, LogSumExp, Plain, Softmax, SoftmaxElement, Terms, extremes, near,
};
use crate::rows::{MOST_ROWS, Work, along};
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
    /// The sum of its terms.
    sum: T::Exact,
    /// Whether it has a third word, and then of how many terms it is.
    pub(crate) many: bool,
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
    /// Whether the sum needs a third word, for which it is taken again.
    Weigh,
    /// The end of a sum; logsumexp is written.
    Close(&'a mut [T]),
    /// A part becomes its result.
    Write(&'a mut [T]),
}

impl<T: SoftmaxElement> Known<T> {
    pub(crate) fn nothing(form: Form, len: usize) -> Self {
        let extremes = [-T::INFINITY, T::INFINITY];
        Self { form, len, extremes, sum: T::Exact::default(), many: false, terms: 0, decided: true }
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

    #[inline(always)]
    fn head<S: Simd>(&self, s: S) -> Head<T, S> {
        let [top, least] = self.extremes;
        Head::new(Plain, Extremes { top: Vector::splat(s, top), least: Vector::splat(s, least) })
    }

    #[inline(always)]
    fn row<S: Simd>(&self, s: S) -> T::Row<S> {
        let totals = T::totals(s, self.sum);
        let two = T::row(s, T::shortened(totals, T::array(T::zero())));
        match T::coarse(two, [self.terms; MOST_ROWS], 1.0) {
            None => two,
            Some(lanes) => T::row(s, T::shortened(totals, lanes)),
        }
    }

    #[inline(always)]
    fn add_up<S: Simd, const PRECISE: bool>(&mut self, s: S, x: &[T]) {
        let head = self.head(s);
        let terms = Terms::<_, _, _, PRECISE, false> {
            argument: Plain,
            frame: &head.frame,
            cut: head.frame.m,
            keep_q: false,
            tame: head.tame.all,
        };
        let totals = along::<_, _, _, false>(
            s,
            x,
            &mut [],
            #[inline(always)]
            |a| if self.many { terms.total::<_, true>(a) } else { terms.total::<_, false>(a) },
        );
        self.sum = T::exact(totals);
        self.terms = if self.many { x.iter().filter(|&&x| -T::INFINITY < x).count() } else { 0 };
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
            Step::Weigh => {
                known.many = T::coarse(known.row(s), [known.len; MOST_ROWS], 1.0).is_some();
                if known.many {
                    known.sum = T::Exact::default();
                }
            }
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
