//! From losses of rows to one number, and the upstream gradients that belong to it.

use crate::element::Lane;
use crate::error::{check_len, check_weights};
use crate::losses::wide::{Extended, Wide, WideElement};
use crate::simd::{Scalar, Vector};
use crate::{Element, Error};
use core::ops::{Add, Mul};

/// How the losses of rows become one number.
///
/// The losses and gradients of this crate are those of rows; a reduction gives the number, and the upstream gradient
/// of each row to call the `…_with_grad` form with.
///
/// ```
/// use lossprep::{CrossEntropyOptions, Layout, Reduction, Target, cross_entropy_with_grad_in_place};
/// let layout = Layout::rows(2, 3)?;
/// let mut logits = [1.0_f32, 2.0, 0.5, 0.0, 0.0, 3.0];
/// let (target, options) = (Target::Classes(&[1, 9]), CrossEntropyOptions::new().ignore_index(9));
/// let mut weights = [0.0; 2];
/// options.row_weights(target, layout, &mut weights)?; // 1 and 0
/// let mean = Reduction::MeanOver(&weights);
/// let (mut upstream, mut losses) = ([0.0; 2], [0.0; 2]);
/// mean.upstream(&mut upstream)?;
/// cross_entropy_with_grad_in_place(&mut logits, target, &upstream, layout, &options, &mut losses)?;
/// assert_eq!(mean.of(&losses)?, losses[0]);
/// # Ok::<(), lossprep::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reduction<'a, T> {
    /// Σ l.
    Sum,
    /// Σ l / n; 0 for no rows.
    Mean,
    /// Σ l / Σ w: PyTorch's mean of losses that have their weights in them, with what `row_weights` gives. 0 where
    /// Σ w is 0, the gradient too: a batch of ignored rows teaches nothing. (PyTorch gives NaN.)
    MeanOver(&'a [T]),
    /// Σ w·l / Σ w, for weights of your own; 0 where Σ w is 0.
    WeightedMean(&'a [T]),
}

type Number<T> = Wide<T, Scalar>;

fn first<T: Lane>(v: Vector<T, Scalar>) -> T {
    v.to_array().as_ref()[0]
}

fn wide<T: WideElement>(v: T) -> Number<T> {
    Wide::splat(Scalar, v)
}

/// Whether nothing that counts has left the range on the way to a sum of positive terms.
fn is_sound<T: Element + WideElement>(sum: Number<T>) -> bool {
    let least = T::min_positive_value() / (T::epsilon() * T::epsilon());
    let size = first(sum.round().abs());
    size >= least && size.is_finite()
}

/// A number with its exponent apart, for sums that leave the range.
fn extended<T: WideElement>(v: T) -> Extended<T, Scalar> {
    Extended::splat(Scalar, v)
}

/// 0 where b is.
fn quotient<T: WideElement>(a: Extended<T, Scalar>, b: Extended<T, Scalar>) -> T {
    if first(b.sign()) == T::zero() { T::zero() } else { first((a / b).round()) }
}

impl<T: Element + WideElement> Reduction<'_, T> {
    /// Σ w, which the sum is divided by, of what `of` makes of numbers.
    fn divisor<N: Add<Output = N>>(&self, rows: usize, of: impl Fn(T) -> N) -> N {
        match self {
            Self::Sum => of(T::one()),
            Self::Mean => of(T::from(rows).unwrap_or_else(T::nan)),
            Self::MeanOver(weights) | Self::WeightedMean(weights) => {
                weights.iter().fold(of(T::zero()), |sum, &w| sum + of(w))
            }
        }
    }

    /// Σ l or Σ w·l, and what it is divided by.
    fn parts<N: Add<Output = N> + Mul<Output = N>>(&self, losses: &[T], of: impl Fn(T) -> N) -> [N; 2] {
        let total = match self {
            // A row of no weight counts for nothing, even if its loss is infinite.
            Self::WeightedMean(weights) => {
                let terms = losses.iter().zip(*weights).filter(|(_, w)| **w != T::zero());
                terms.fold(of(T::zero()), |sum, (&l, &w)| sum + of(l) * of(w))
            }
            _ => losses.iter().fold(of(T::zero()), |sum, &l| sum + of(l)),
        };
        [total, self.divisor(losses.len(), of)]
    }

    fn check(&self, rows: usize) -> Result<(), Error> {
        match self {
            Self::Sum | Self::Mean => Ok(()),
            Self::MeanOver(weights) | Self::WeightedMean(weights) => {
                check_len("weights", rows, weights.len())?;
                check_weights("weights", weights)
            }
        }
    }

    /// The reduced loss: at most 1 ULP from that of the given losses of rows, where they are not negative.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of weights than of losses, [`Error::Parameter`] for weights that are
    /// negative or not finite.
    pub fn of(&self, losses: &[T]) -> Result<T, Error> {
        self.check(losses.len())?;
        let [total, divisor] = self.parts(losses, wide);
        let value = if is_sound(total) && is_sound(divisor) {
            first((total / divisor).round())
        } else {
            let [total, divisor] = self.parts(losses, extended);
            quotient(total, divisor)
        };
        Ok(if value.is_nan() { <T as Lane>::NAN } else { value + T::zero() })
    }

    /// The gradient of the reduced loss in the loss of each row: what the `…_with_grad` forms take as `upstream`.
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn upstream(&self, upstream: &mut [T]) -> Result<(), Error> {
        self.check(upstream.len())?;
        let divisor = self.divisor(upstream.len(), extended);
        match self {
            Self::WeightedMean(weights) => {
                for (g, &w) in upstream.iter_mut().zip(*weights) {
                    *g = quotient(extended(w), divisor);
                }
            }
            _ => upstream.fill(quotient(extended(T::one()), divisor)),
        }
        Ok(())
    }
}
