//! From losses of rows to one number, and the upstream gradients that belong to it.

use crate::error::{check_len, check_weights};
use crate::losses::wide::{Wide, WideElement};
use crate::simd::Scalar;
use crate::{Element, Error};

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

fn first<T: WideElement>(v: Number<T>) -> T {
    v.round().to_array().as_ref()[0]
}

fn wide<T: WideElement>(v: T) -> Number<T> {
    Wide::splat(Scalar, v)
}

fn sum<T: WideElement>(terms: impl Iterator<Item = Number<T>>) -> Number<T> {
    terms.fold(Wide::zero(Scalar), |sum, term| sum + term)
}

impl<T: Element + WideElement> Reduction<'_, T> {
    /// Σ w, which the sum is divided by.
    fn divisor(&self, rows: usize) -> Number<T> {
        match self {
            Self::Sum => wide(T::one()),
            Self::Mean => wide(T::from(rows).unwrap_or_else(T::nan)),
            Self::MeanOver(weights) | Self::WeightedMean(weights) => sum(weights.iter().map(|&w| wide(w))),
        }
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
        let total = match self {
            // A row of no weight counts for nothing, even if its loss is infinite.
            Self::WeightedMean(weights) => {
                let terms = losses.iter().zip(*weights).filter(|(_, w)| **w != T::zero());
                sum(terms.map(|(&l, &w)| wide(l) * wide(w)))
            }
            _ => sum(losses.iter().map(|&l| wide(l))),
        };
        let divisor = self.divisor(losses.len());
        if first(divisor) == T::zero() {
            return Ok(T::zero());
        }
        let value = first(total / divisor);
        Ok(if value.is_nan() { <T as crate::element::Lane>::NAN } else { value + T::zero() })
    }

    /// The gradient of the reduced loss in the loss of each row: what the `…_with_grad` forms take as `upstream`.
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn upstream(&self, upstream: &mut [T]) -> Result<(), Error> {
        self.check(upstream.len())?;
        let divisor = self.divisor(upstream.len());
        let none = first(divisor) == T::zero();
        for (row, g) in upstream.iter_mut().enumerate() {
            let weight = match self {
                Self::WeightedMean(weights) => weights[row],
                _ => T::one(),
            };
            *g = if none { T::zero() } else { first(wide(weight) / divisor) };
        }
        Ok(())
    }
}
