//! What a tensor is, in its type: logits, probabilities, log-probabilities, unit vectors, numbers in a range.
//!
//! Each loss expects its input in one form, and as plain numbers nothing complains when it gets another. The wrappers
//! here cost nothing and have only the operations that are right for them: a second softmax, or cross-entropy of
//! probabilities, does not compile.
//!
//! ```
//! use lossprep::typed::{Logits, cross_entropy, nll};
//! use lossprep::{ClassOptions, CrossEntropyOptions, Layout};
//! let logits = Logits::new([2.0_f32, 1.0, 0.1], Layout::rows(1, 3)?)?;
//! let mut losses = [[0.0]; 2];
//! cross_entropy(&logits, &[0], &CrossEntropyOptions::new(), &mut losses[0])?;
//! let log_p = logits.log_softmax()?; // in place
//! nll(&log_p, &[0], &ClassOptions::new(), &mut losses[1])?;
//! assert!((losses[0][0] - losses[1][0]).abs() < 1e-7);
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! A second softmax:
//!
//! ```compile_fail,E0277
//! use lossprep::{Layout, typed::{Logits, softmax}};
//! let logits = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?;
//! let p = softmax(&logits, [0.0; 2])?;
//! let twice = softmax(&p, [0.0; 2])?;
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! Cross-entropy of probabilities:
//!
//! ```compile_fail,E0277
//! use lossprep::{CrossEntropyOptions, Layout, typed::{Logits, cross_entropy}};
//! let p = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?.softmax()?;
//! cross_entropy(&p, &[0], &CrossEntropyOptions::new(), &mut [0.0])?;
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! The negative log-likelihood of probabilities:
//!
//! ```compile_fail,E0277
//! use lossprep::{ClassOptions, Layout, typed::{Logits, nll}};
//! let p = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?.softmax()?;
//! nll(&p, &[0], &ClassOptions::new(), &mut [0.0])?;
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! A triplet loss of features that nobody normalised:
//!
//! ```compile_fail,E0277
//! use lossprep::{Layout, typed::triplet_margin};
//! let (a, p, n) = ([3.0_f32, 4.0], [1.0, 0.0], [0.0, 1.0]);
//! triplet_margin(&a, &p, &n, 0.2, &mut [0.0])?;
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! And its gradients:
//!
//! ```compile_fail,E0277
//! use lossprep::{Layout, typed::{UnitVectors, triplet_margin_with_grad}};
//! let unit = UnitVectors::new([1.0_f32, 0.0], Layout::rows(1, 2)?)?;
//! let (features, mut g) = ([3.0_f32, 4.0], [[0.0; 2]; 3]);
//! let [a, p, n] = &mut g;
//! triplet_margin_with_grad(&features, unit, unit, 0.2, &[1.0], &mut [0.0], [a, p, n])?;
//! # Ok::<(), lossprep::Error>(())
//! ```
//!
//! A regression target that nobody compared with the range:
//!
//! ```compile_fail,E0277
//! use lossprep::typed::scaled_sigmoid_mse;
//! scaled_sigmoid_mse(&[0.3_f32], &[400.0], &mut [0.0])?;
//! # Ok::<(), lossprep::Error>(())
//! ```

use crate::error::check_len;
use crate::{
    ClassOptions, CrossEntropyOptions, Element, Error, Layout, NormGuard, Range, SoftmaxOptions, Target,
};
use core::marker::PhantomData;

/// How far a row may be from what its type says: 64 ε of the element type, 7.6e-6 for f32 and 1.4e-14 for f64.
///
/// Probabilities sum to 1, log-probabilities have a logsumexp of 0, and unit vectors the norm 1, to this.
///
/// ```
/// assert_eq!(lossprep::typed::tolerance::<f32>(), 64.0 * f32::EPSILON);
/// ```
pub fn tolerance<T: Element>() -> T {
    T::epsilon() * T::from(64).unwrap_or_else(T::one)
}

macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident, $trait:ident { $($field:ident: $type:ty)? }, $message:literal, $label:literal, $note:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name<T, V> {
            values: V,
            layout: Layout,
            $($field: $type,)?
            element: PhantomData<T>,
        }

        impl<T: Element, V: AsRef<[T]>> $name<T, V> {
            /// The numbers.
            pub fn values(&self) -> &[T] {
                self.values.as_ref()
            }

            /// Which of them make a row.
            pub fn layout(&self) -> Layout {
                self.layout
            }

            /// What it was made from.
            pub fn into_inner(self) -> V {
                self.values
            }

            $(
                /// What goes with the numbers.
                pub fn $field(&self) -> $type {
                    self.$field
                }
            )?
        }

        #[doc = concat!("[`", stringify!($name), "`], or a reference to it.")]
        #[diagnostic::on_unimplemented(message = $message, label = $label, note = $note)]
        pub trait $trait<T> {
            /// The same over a slice.
            fn view(&self) -> $name<T, &[T]>;
        }

        #[diagnostic::do_not_recommend]
        impl<T: Element, V: AsRef<[T]>> $trait<T> for $name<T, V> {
            fn view(&self) -> $name<T, &[T]> {
                $name {
                    values: self.values.as_ref(),
                    layout: self.layout,
                    $($field: self.$field,)?
                    element: PhantomData,
                }
            }
        }

        #[diagnostic::do_not_recommend]
        impl<T: Element, V: AsRef<[T]>> $trait<T> for &$name<T, V> {
            fn view(&self) -> $name<T, &[T]> {
                (**self).view()
            }
        }
    };
}

wrapper! {
    /// The raw output of a network, before any softmax: one number for each class, of any size.
    Logits, IsLogits {},
    "`{Self}` is not the raw output of a network",
    "this takes logits: it applies the softmax itself",
    "pass what the network gave, before any softmax or sigmoid, as `Logits::new(values, layout)?`"
}

wrapper! {
    /// Rows of probabilities: not negative, with the sum 1.
    ///
    /// What a softmax gives is taken as such. Two kinds of its rows are not, and [`Probabilities::new`] refuses
    /// them: those of NaN, and those in which nothing takes part, see [`softmax_with`].
    Probabilities, IsProbabilities {},
    "`{Self}` is not a distribution in each row",
    "this takes probabilities",
    "pass the result of `Logits::softmax`, or check your own with `Probabilities::new(values, layout)?`"
}

wrapper! {
    /// Rows of log-probabilities: not positive, with the logsumexp 0; with the exceptions of [`Probabilities`].
    LogProbabilities, IsLogProbabilities {},
    "`{Self}` is not log-probabilities",
    "this takes log-probabilities",
    "pass the result of `Logits::log_softmax`; the logarithm of a softmax loses its digits"
}

wrapper! {
    /// Rows of unit length.
    UnitVectors, IsUnitVectors {},
    "`{Self}` is not rows of unit length",
    "this takes unit vectors",
    "pass the result of `typed::l2_normalize`, or use `lossprep::triplet_margin` and the like with a guard: they normalise features themselves"
}

wrapper! {
    /// Numbers in a range: what a scaled sigmoid gives, and what it can be compared with.
    Ranged, IsRanged { range: Range<T> },
    "`{Self}` is not numbers known to lie in a range",
    "this takes numbers in a range",
    "check your targets with `Ranged::new(values, layout, range)?`: a scaled sigmoid cannot reach what lies outside"
}

/// The elements of a row.
type Elements<'a, T> = core::iter::Copied<core::iter::StepBy<core::slice::Iter<'a, T>>>;

/// `Err` with the first row that `wrong` says is wrong.
fn check_rows<T: Element>(
    values: &[T],
    layout: Layout,
    requirement: &'static str,
    wrong: impl Fn(&mut Elements<'_, T>) -> bool,
) -> Result<(), Error> {
    check_len("values", layout.elements(), values.len())?;
    let (len, inner) = (layout.len(), layout.inner());
    // Empty rows are alike, and may be more than can be counted through.
    let rows = layout.row_count().min(if len == 0 { 1 } else { usize::MAX });
    for row in 0..rows {
        let start = row / inner * len * inner + row % inner;
        let end = if len == 0 { start } else { start + (len - 1) * inner + 1 };
        if wrong(&mut values[start..end].iter().step_by(inner).copied()) {
            return Err(Error::Row { row, requirement });
        }
    }
    Ok(())
}

/// Whether a number computed with some rounding is that far from what it should be, or NaN.
fn differs<T: Element>(value: f64, from: f64, by: T) -> bool {
    let distance = (value - from).abs();
    distance.is_nan() || distance > by.to_f64().unwrap_or(0.0)
}

fn wide<T: Element>(value: T) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

macro_rules! unchecked {
    ($name:ident, $what:literal) => {
        #[doc = concat!("Takes the caller's word that these are ", $what, ".")]
        ///
        /// # Errors
        /// [`Error::Length`] if the numbers do not fit the layout.
        pub fn new_unchecked(values: V, layout: Layout) -> Result<Self, Error> {
            check_len("values", layout.elements(), values.as_ref().len())?;
            Ok(Self { values, layout, element: PhantomData })
        }
    };
}

impl<T: Element, V: AsRef<[T]>> Logits<T, V> {
    /// Numbers as a network gives them; any will do.
    ///
    /// # Errors
    /// [`Error::Length`] if they do not fit the layout.
    pub fn new(values: V, layout: Layout) -> Result<Self, Error> {
        check_len("values", layout.elements(), values.as_ref().len())?;
        Ok(Self { values, layout, element: PhantomData })
    }

    /// [`softmax`] in the place of the logits: needs numbers it may overwrite; of borrowed ones,
    /// `typed::softmax(&logits, out)`.
    ///
    /// # Errors
    /// None but those of [`Backend::best`](crate::Backend::best).
    pub fn softmax(mut self) -> Result<Probabilities<T, V>, Error>
    where
        V: AsMut<[T]>,
    {
        crate::softmax_in_place(self.values.as_mut(), self.layout)?;
        Ok(Probabilities { values: self.values, layout: self.layout, element: PhantomData })
    }

    /// [`softmax_with`] in the place of the logits.
    ///
    /// # Errors
    /// Those of [`crate::softmax_with`].
    pub fn softmax_with(mut self, options: &SoftmaxOptions<'_, T>) -> Result<Probabilities<T, V>, Error>
    where
        V: AsMut<[T]>,
    {
        crate::softmax_in_place_with(self.values.as_mut(), self.layout, options)?;
        Ok(Probabilities { values: self.values, layout: self.layout, element: PhantomData })
    }

    /// [`log_softmax`] in the place of the logits: needs numbers it may overwrite; of borrowed ones,
    /// `typed::log_softmax(&logits, out)`.
    ///
    /// # Errors
    /// None but those of [`Backend::best`](crate::Backend::best).
    pub fn log_softmax(mut self) -> Result<LogProbabilities<T, V>, Error>
    where
        V: AsMut<[T]>,
    {
        crate::log_softmax_in_place(self.values.as_mut(), self.layout)?;
        Ok(LogProbabilities { values: self.values, layout: self.layout, element: PhantomData })
    }

    /// [`log_softmax_with`] in the place of the logits.
    ///
    /// # Errors
    /// Those of [`crate::log_softmax_with`].
    pub fn log_softmax_with(
        mut self,
        options: &SoftmaxOptions<'_, T>,
    ) -> Result<LogProbabilities<T, V>, Error>
    where
        V: AsMut<[T]>,
    {
        crate::log_softmax_in_place_with(self.values.as_mut(), self.layout, options)?;
        Ok(LogProbabilities { values: self.values, layout: self.layout, element: PhantomData })
    }

    /// [`cross_entropy`] of these logits.
    ///
    /// # Errors
    /// Those of [`crate::cross_entropy`].
    pub fn cross_entropy(
        &self,
        classes: &[usize],
        options: &CrossEntropyOptions<'_, T>,
        losses: &mut [T],
    ) -> Result<(), Error> {
        cross_entropy(self, classes, options, losses)
    }

    /// [`cross_entropy_with_grad`] of these logits.
    ///
    /// # Errors
    /// Those of [`crate::cross_entropy`].
    pub fn cross_entropy_with_grad(
        &self,
        classes: &[usize],
        upstream: &[T],
        options: &CrossEntropyOptions<'_, T>,
        losses: &mut [T],
        grad: &mut [T],
    ) -> Result<(), Error> {
        cross_entropy_with_grad(self, classes, upstream, options, losses, grad)
    }
}

impl<T: Element, V: AsRef<[T]>> Probabilities<T, V> {
    /// Rows of numbers in [0, 1] that sum to 1, to the [`tolerance`].
    ///
    /// ```
    /// use lossprep::{Error, Layout, typed::Probabilities};
    /// assert!(Probabilities::new([0.25_f32, 0.75], Layout::rows(1, 2)?).is_ok());
    /// let logits = Probabilities::new([2.0_f32, -1.0], Layout::rows(1, 2)?);
    /// assert!(matches!(logits, Err(Error::Row { row: 0, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Row`] with the first row that is something else.
    pub fn new(values: V, layout: Layout) -> Result<Self, Error> {
        check_rows(values.as_ref(), layout, "hold numbers in [0, 1] that sum to 1", |row| {
            let mut outside = false;
            let sum: f64 = row.inspect(|&p| outside |= !(p >= T::zero() && p <= T::one())).map(wide).sum();
            outside || differs(sum, 1.0, tolerance::<T>())
        })?;
        Ok(Self { values, layout, element: PhantomData })
    }

    unchecked!(Probabilities, "probabilities");
}

impl<T: Element, V: AsRef<[T]>> LogProbabilities<T, V> {
    /// Rows of numbers up to 0 whose exponentials sum to 1, to the [`tolerance`].
    ///
    /// ```
    /// use lossprep::{Layout, typed::LogProbabilities};
    /// let half = -core::f64::consts::LN_2;
    /// assert!(LogProbabilities::new([half, half], Layout::rows(1, 2)?).is_ok());
    /// assert!(LogProbabilities::new([0.5, 0.5], Layout::rows(1, 2)?).is_err()); // the logarithm is missing
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Row`] with the first row that is something else.
    pub fn new(values: V, layout: Layout) -> Result<Self, Error> {
        check_rows(values.as_ref(), layout, "hold numbers up to 0 whose exponentials sum to 1", |row| {
            let mut outside = false;
            let sum: f64 =
                row.inspect(|&p| outside |= p.is_nan() || p > T::zero()).map(|p| exp(wide(p))).sum();
            outside || differs(sum, 1.0, tolerance::<T>())
        })?;
        Ok(Self { values, layout, element: PhantomData })
    }

    unchecked!(LogProbabilities, "log-probabilities");

    /// [`nll`] of these log-probabilities.
    ///
    /// # Errors
    /// Those of [`crate::nll`].
    pub fn nll(
        &self,
        classes: &[usize],
        options: &ClassOptions<'_, T>,
        losses: &mut [T],
    ) -> Result<(), Error> {
        nll(self, classes, options, losses)
    }

    /// [`nll_with_grad`] of these log-probabilities.
    ///
    /// # Errors
    /// Those of [`crate::nll`].
    pub fn nll_with_grad(
        &self,
        classes: &[usize],
        upstream: &[T],
        options: &ClassOptions<'_, T>,
        losses: &mut [T],
        grad: &mut [T],
    ) -> Result<(), Error> {
        nll_with_grad(self, classes, upstream, options, losses, grad)
    }
}

fn exp(x: f64) -> f64 {
    num_traits::Float::exp(x)
}

impl<T: Element, V: AsRef<[T]>> UnitVectors<T, V> {
    /// Rows of norm 1, to the [`tolerance`].
    ///
    /// ```
    /// use lossprep::{Error, Layout, typed::UnitVectors};
    /// let rows = UnitVectors::new([0.6_f32, 0.8, 3.0, 4.0], Layout::rows(2, 2)?);
    /// assert!(matches!(rows, Err(Error::Row { row: 1, .. })));
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Row`] with the first row that is longer or shorter.
    pub fn new(values: V, layout: Layout) -> Result<Self, Error> {
        check_rows(values.as_ref(), layout, "have the norm 1", |row| {
            let squares: f64 = row.map(|x| wide(x) * wide(x)).sum();
            differs(num_traits::Float::sqrt(squares), 1.0, tolerance::<T>())
        })?;
        Ok(Self { values, layout, element: PhantomData })
    }

    unchecked!(UnitVectors, "unit vectors");
}

impl<T: Element, V: AsRef<[T]>> Ranged<T, V> {
    /// Numbers from lo to hi, both included.
    ///
    /// ```
    /// use lossprep::{Layout, Range, typed::Ranged};
    /// let (layout, range) = (Layout::rows(2, 1)?, Range::new(0.0_f32, 10.0)?);
    /// assert!(Ranged::new([0.0, 10.0], layout, range).is_ok());
    /// assert!(Ranged::new([0.0, 10.5], layout, range).is_err()); // no scaled sigmoid gets there
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Row`] with the first row that leaves the range.
    pub fn new(values: V, layout: Layout, range: Range<T>) -> Result<Self, Error> {
        check_rows(values.as_ref(), layout, "stay in the range", |row| {
            !row.all(|y| y >= range.lo() && y <= range.hi())
        })?;
        Self::new_unchecked(values, layout, range)
    }

    /// Takes the caller's word that these lie in the range.
    ///
    /// # Errors
    /// [`Error::Length`] if the numbers do not fit the layout.
    pub fn new_unchecked(values: V, layout: Layout, range: Range<T>) -> Result<Self, Error> {
        check_len("values", layout.elements(), values.as_ref().len())?;
        Ok(Self { values, layout, range, element: PhantomData })
    }
}

/// Methods for what has another type: hidden, and there for the message of the bound that it does not meet.
macro_rules! refused {
    ($($name:ident),+: $trait:ident $methods:tt) => {
        $(refused!(@ $name $trait $methods);)+
    };
    (@ $name:ident $trait:ident { $($method:ident($($arg:ident: $type:ty),+);)+ }) => {
        impl<T: Element, V: AsRef<[T]>> $name<T, V> {
            $(
                #[doc(hidden)]
                pub fn $method(&self, $($arg: $type),+) -> Result<(), Error>
                where
                    Self: $trait<T>,
                {
                    $trait::view(self).$method($($arg),+)
                }
            )+
        }
    };
}

refused!(Probabilities, LogProbabilities: IsLogits {
    cross_entropy(classes: &[usize], options: &CrossEntropyOptions<'_, T>, losses: &mut [T]);
    cross_entropy_with_grad(
        classes: &[usize],
        upstream: &[T],
        options: &CrossEntropyOptions<'_, T>,
        losses: &mut [T],
        grad: &mut [T]
    );
});

refused!(Logits, Probabilities: IsLogProbabilities {
    nll(classes: &[usize], options: &ClassOptions<'_, T>, losses: &mut [T]);
    nll_with_grad(
        classes: &[usize],
        upstream: &[T],
        options: &ClassOptions<'_, T>,
        losses: &mut [T],
        grad: &mut [T]
    );
});

/// `Err` unless two tensors have their rows in the same places.
fn check_same(a: Layout, b: Layout) -> Result<(), Error> {
    if a == b {
        Ok(())
    } else {
        Err(Error::Parameter { name: "layout", requirement: "the same for all tensors" })
    }
}

/// Tensors as views of them; `Err` unless all have their rows in the same places.
macro_rules! views {
    ($first:ident, $($other:ident),+) => {
        let $first = $first.view();
        $(
            let $other = $other.view();
            check_same($first.layout(), $other.layout())?;
        )+
    };
}

/// Probabilities of logits, into `out`, as [`crate::softmax`].
///
/// ```
/// use lossprep::{Layout, typed::{Logits, softmax}};
/// let logits = Logits::new([2.0_f32, 2.0], Layout::rows(1, 2)?)?;
/// assert_eq!(softmax(&logits, [0.0; 2])?.values(), [0.5, 0.5]); // the logits are still there
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] if `out` does not fit.
pub fn softmax<T: Element, V: AsRef<[T]> + AsMut<[T]>>(
    x: impl IsLogits<T>,
    mut out: V,
) -> Result<Probabilities<T, V>, Error> {
    let x = x.view();
    crate::softmax(x.values(), x.layout(), out.as_mut())?;
    Ok(Probabilities { values: out, layout: x.layout(), element: PhantomData })
}

/// Probabilities of logits with a temperature, a mask or valid lengths, into `out`, as [`crate::softmax_with`].
///
/// A row is a distribution over what takes part in it, and 0 elsewhere. One in which nothing does is what
/// [`EmptyRows`](crate::EmptyRows) says. With `Zeros`, the default, it is no distribution: its sum is 0, and as a
/// target of [`kl_div`], or of [`soft_cross_entropy`] without label smoothing and z-loss, it contributes nothing. With
/// `Uniform` it is one, over all its elements.
///
/// ```
/// use lossprep::{Layout, SoftmaxOptions, typed};
/// let logits = typed::Logits::new([2.0_f32, 2.0, 5.0, 1.0, 1.0, 1.0], Layout::rows(2, 3)?)?;
/// let p = typed::softmax_with(logits, &SoftmaxOptions::new().lengths(&[2, 0]), [0.0; 6])?;
/// assert_eq!(p.values(), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::softmax_with`].
pub fn softmax_with<T: Element, V: AsRef<[T]> + AsMut<[T]>>(
    x: impl IsLogits<T>,
    options: &SoftmaxOptions<'_, T>,
    mut out: V,
) -> Result<Probabilities<T, V>, Error> {
    let x = x.view();
    crate::softmax_with(x.values(), x.layout(), options, out.as_mut())?;
    Ok(Probabilities { values: out, layout: x.layout(), element: PhantomData })
}

/// Log-probabilities of logits, into `out`, as [`crate::log_softmax`].
///
/// # Errors
/// [`Error::Length`] if `out` does not fit.
pub fn log_softmax<T: Element, V: AsRef<[T]> + AsMut<[T]>>(
    x: impl IsLogits<T>,
    mut out: V,
) -> Result<LogProbabilities<T, V>, Error> {
    let x = x.view();
    crate::log_softmax(x.values(), x.layout(), out.as_mut())?;
    Ok(LogProbabilities { values: out, layout: x.layout(), element: PhantomData })
}

/// Log-probabilities of logits with a temperature, a mask or valid lengths, into `out`, as
/// [`crate::log_softmax_with`].
///
/// The logarithms of what [`softmax_with`] gives: −∞ for what takes no part. A row of only −∞ has an [`nll`] of +∞
/// for every class: give it the ignored one.
///
/// # Errors
/// Those of [`crate::log_softmax_with`].
pub fn log_softmax_with<T: Element, V: AsRef<[T]> + AsMut<[T]>>(
    x: impl IsLogits<T>,
    options: &SoftmaxOptions<'_, T>,
    mut out: V,
) -> Result<LogProbabilities<T, V>, Error> {
    let x = x.view();
    crate::log_softmax_with(x.values(), x.layout(), options, out.as_mut())?;
    Ok(LogProbabilities { values: out, layout: x.layout(), element: PhantomData })
}

/// Unit vectors of features, into `out`, as [`crate::l2_normalize`].
///
/// A row shorter than the guard's ε stays shorter than 1, and so does every row under `Add` and `AddSquared`: by
/// little where ε is small beside its norm, or its square. It is not checked.
///
/// ```
/// use lossprep::{Layout, NormGuard, typed::{l2_normalize, triplet_margin}};
/// let unit = |x: [f32; 2]| l2_normalize(&x, Layout::rows(1, 2)?, NormGuard::default(), [0.0; 2]);
/// let (anchor, positive, negative) = (unit([3.0, 0.0])?, unit([0.0, 2.0])?, unit([5.0, 0.0])?);
/// let mut losses = [0.0];
/// triplet_margin(&anchor, &positive, &negative, 0.5, &mut losses)?;
/// assert_eq!(losses, [core::f32::consts::SQRT_2 + 0.5]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::l2_normalize`].
pub fn l2_normalize<T: Element, V: AsRef<[T]> + AsMut<[T]>>(
    features: &[T],
    layout: Layout,
    guard: NormGuard<T>,
    mut out: V,
) -> Result<UnitVectors<T, V>, Error> {
    crate::l2_normalize(features, layout, guard, out.as_mut())?;
    Ok(UnitVectors { values: out, layout, element: PhantomData })
}

/// The raw output of a regression network brought to a range, into `out`, as [`crate::scaled_sigmoid`].
///
/// # Errors
/// [`Error::Length`] if a slice does not fit the layout.
pub fn scaled_sigmoid<T: Element, V: AsRef<[T]> + AsMut<[T]>>(
    raw: &[T],
    layout: Layout,
    range: Range<T>,
    mut out: V,
) -> Result<Ranged<T, V>, Error> {
    check_len("raw", layout.elements(), raw.len())?;
    crate::scaled_sigmoid(raw, range, out.as_mut())?;
    Ok(Ranged { values: out, layout, range, element: PhantomData })
}

/// [`crate::cross_entropy`] of logits and classes.
///
/// # Errors
/// Those of [`crate::cross_entropy`].
pub fn cross_entropy<T: Element>(
    x: impl IsLogits<T>,
    classes: &[usize],
    options: &CrossEntropyOptions<'_, T>,
    losses: &mut [T],
) -> Result<(), Error> {
    let x = x.view();
    crate::cross_entropy(x.values(), Target::Classes(classes), x.layout(), options, losses)
}

/// [`crate::cross_entropy_with_grad`] of logits and classes.
///
/// # Errors
/// Those of [`crate::cross_entropy`].
pub fn cross_entropy_with_grad<T: Element>(
    x: impl IsLogits<T>,
    classes: &[usize],
    upstream: &[T],
    options: &CrossEntropyOptions<'_, T>,
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let x = x.view();
    let target = Target::Classes(classes);
    crate::cross_entropy_with_grad(x.values(), target, upstream, x.layout(), options, losses, grad)
}

/// [`crate::cross_entropy`] of logits and a distribution for each row.
///
/// ```
/// use lossprep::typed::{Logits, Probabilities, soft_cross_entropy};
/// use lossprep::{CrossEntropyOptions, Layout};
/// let layout = Layout::rows(1, 2)?;
/// let (x, target) = (Logits::new([3.0_f64, 3.0], layout)?, Probabilities::new([0.75, 0.25], layout)?);
/// let mut losses = [0.0];
/// soft_cross_entropy(&x, &target, &CrossEntropyOptions::new(), &mut losses)?;
/// assert_eq!(losses, [core::f64::consts::LN_2]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::cross_entropy`]; [`Error::Parameter`] also for layouts that differ.
pub fn soft_cross_entropy<T: Element>(
    x: impl IsLogits<T>,
    target: impl IsProbabilities<T>,
    options: &CrossEntropyOptions<'_, T>,
    losses: &mut [T],
) -> Result<(), Error> {
    views!(x, target);
    crate::cross_entropy(x.values(), Target::Probabilities(target.values()), x.layout(), options, losses)
}

/// [`crate::cross_entropy_with_grad`] of logits and a distribution for each row.
///
/// # Errors
/// Those of [`crate::cross_entropy`]; [`Error::Parameter`] also for layouts that differ.
pub fn soft_cross_entropy_with_grad<T: Element>(
    x: impl IsLogits<T>,
    target: impl IsProbabilities<T>,
    upstream: &[T],
    options: &CrossEntropyOptions<'_, T>,
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    views!(x, target);
    let target = Target::Probabilities(target.values());
    crate::cross_entropy_with_grad(x.values(), target, upstream, x.layout(), options, losses, grad)
}

/// [`crate::focal_loss`] of logits and classes.
///
/// # Errors
/// Those of [`crate::focal_loss`].
pub fn focal_loss<T: Element>(
    x: impl IsLogits<T>,
    classes: &[usize],
    gamma: T,
    options: &ClassOptions<'_, T>,
    losses: &mut [T],
) -> Result<(), Error> {
    let x = x.view();
    crate::focal_loss(x.values(), classes, gamma, x.layout(), options, losses)
}

/// [`crate::focal_loss_with_grad`] of logits and classes.
///
/// # Errors
/// Those of [`crate::focal_loss`].
pub fn focal_loss_with_grad<T: Element>(
    x: impl IsLogits<T>,
    classes: &[usize],
    gamma: T,
    upstream: &[T],
    options: &ClassOptions<'_, T>,
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let x = x.view();
    crate::focal_loss_with_grad(x.values(), classes, gamma, upstream, x.layout(), options, losses, grad)
}

/// [`crate::kl_div`] of a distribution for each row from the softmax of logits.
///
/// ```
/// use lossprep::{Layout, typed::{Logits, kl_div}};
/// let layout = Layout::rows(1, 3)?;
/// let (student, mut losses) = (Logits::new([2.0_f64, 1.0, 0.0], layout)?, [1.0]);
/// let teacher = student.softmax()?; // as if they agreed
/// kl_div(&student, &teacher, 1.0, &mut losses)?;
/// assert!(losses[0].abs() < 1e-15);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::kl_div`]; [`Error::Parameter`] also for layouts that differ.
pub fn kl_div<T: Element>(
    x: impl IsLogits<T>,
    target: impl IsProbabilities<T>,
    temperature: T,
    losses: &mut [T],
) -> Result<(), Error> {
    views!(x, target);
    crate::kl_div(x.values(), target.values(), temperature, x.layout(), losses)
}

/// [`crate::kl_div_with_grad`] of a distribution for each row from the softmax of logits.
///
/// ```
/// use lossprep::{Layout, SoftmaxOptions, typed};
/// let layout = Layout::rows(1, 3)?;
/// let student = typed::Logits::new([0.0_f32, 1.0, 0.5], layout)?;
/// let soft = SoftmaxOptions::new().temperature(2.0);
/// let teacher = typed::Logits::new([3.0, 0.0, -1.0], layout)?.softmax_with(&soft)?;
/// let (mut losses, mut grad) = ([0.0], [0.0; 3]);
/// typed::kl_div_with_grad(student, teacher, 2.0, &[4.0], &mut losses, &mut grad)?; // T² = 4
/// assert!(losses[0] > 0.0 && grad[0] < 0.0 && grad[1] > 0.0);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::kl_div`]; [`Error::Parameter`] also for layouts that differ.
pub fn kl_div_with_grad<T: Element>(
    x: impl IsLogits<T>,
    target: impl IsProbabilities<T>,
    temperature: T,
    upstream: &[T],
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    views!(x, target);
    crate::kl_div_with_grad(x.values(), target.values(), temperature, upstream, x.layout(), losses, grad)
}

/// [`crate::binary_cross_entropy_with_logits`] of logits.
///
/// # Errors
/// Those of [`crate::binary_cross_entropy_with_logits`].
pub fn binary_cross_entropy_with_logits<T: Element>(
    x: impl IsLogits<T>,
    target: &[T],
    pos_weight: Option<&[T]>,
    losses: &mut [T],
) -> Result<(), Error> {
    let x = x.view();
    crate::binary_cross_entropy_with_logits(x.values(), target, pos_weight, x.layout(), losses)
}

/// [`crate::binary_cross_entropy_with_logits_with_grad`] of logits.
///
/// # Errors
/// Those of [`crate::binary_cross_entropy_with_logits`].
pub fn binary_cross_entropy_with_logits_with_grad<T: Element>(
    x: impl IsLogits<T>,
    target: &[T],
    pos_weight: Option<&[T]>,
    upstream: &[T],
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let view = x.view();
    let (x, layout) = (view.values(), view.layout());
    crate::binary_cross_entropy_with_logits_with_grad(x, target, pos_weight, upstream, layout, losses, grad)
}

/// [`crate::nll`] of log-probabilities and classes.
///
/// # Errors
/// Those of [`crate::nll`].
pub fn nll<T: Element>(
    log_p: impl IsLogProbabilities<T>,
    classes: &[usize],
    options: &ClassOptions<'_, T>,
    losses: &mut [T],
) -> Result<(), Error> {
    let log_p = log_p.view();
    crate::nll(log_p.values(), classes, log_p.layout(), options, losses)
}

/// [`crate::nll_with_grad`] of log-probabilities and classes.
///
/// The gradient is that in the log-probabilities, which [`crate::log_softmax_vjp`] brings to the logits;
/// [`cross_entropy_with_grad`] gives that in the logits at once.
///
/// ```
/// use lossprep::{ClassOptions, Layout, log_softmax_vjp, typed};
/// let layout = Layout::rows(1, 2)?;
/// let log_p = typed::Logits::new([0.0_f32, 0.0], layout)?.log_softmax()?;
/// let (mut losses, mut in_log_p, mut grad) = ([0.0], [0.0; 2], [0.0; 2]);
/// log_p.nll_with_grad(&[1], &[1.0], &ClassOptions::new(), &mut losses, &mut in_log_p)?;
/// assert_eq!(in_log_p, [0.0, -1.0]);
/// log_softmax_vjp(log_p.values(), &in_log_p, layout, &mut grad)?;
/// assert_eq!(grad, [0.5, -0.5]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::nll`].
pub fn nll_with_grad<T: Element>(
    log_p: impl IsLogProbabilities<T>,
    classes: &[usize],
    upstream: &[T],
    options: &ClassOptions<'_, T>,
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let log_p = log_p.view();
    crate::nll_with_grad(log_p.values(), classes, upstream, log_p.layout(), options, losses, grad)
}

/// [`crate::triplet_margin`] of unit vectors.
///
/// # Errors
/// Those of [`crate::triplet_margin`]; [`Error::Parameter`] also for layouts that differ.
pub fn triplet_margin<T: Element>(
    anchor: impl IsUnitVectors<T>,
    positive: impl IsUnitVectors<T>,
    negative: impl IsUnitVectors<T>,
    margin: T,
    losses: &mut [T],
) -> Result<(), Error> {
    views!(anchor, positive, negative);
    let [a, p, n] = [anchor.values(), positive.values(), negative.values()];
    crate::triplet_margin(a, p, n, margin, None, anchor.layout(), losses)
}

/// [`crate::triplet_margin_with_grad`] of unit vectors.
///
/// The gradients, of anchor, positive and negative, are those in the unit vectors, which
/// [`crate::l2_normalize_vjp`] brings to the features; [`crate::triplet_margin_with_grad`] with a guard gives those in
/// the features at once.
///
/// ```
/// use lossprep::{Layout, NormGuard, l2_norm, l2_normalize_vjp, typed};
/// let (layout, guard) = (Layout::rows(1, 2)?, NormGuard::default());
/// let features = [[3.0_f32, 4.0], [2.0, 0.0], [0.0, 0.5]];
/// let unit = |x: &[f32; 2]| typed::l2_normalize(x, layout, guard, [0.0; 2]);
/// let (a, p, n) = (unit(&features[0])?, unit(&features[1])?, unit(&features[2])?);
/// let (mut losses, mut in_a, mut in_p, mut in_n) = ([0.0], [0.0; 2], [0.0; 2], [0.0; 2]);
/// typed::triplet_margin_with_grad(a, p, n, 0.5, &[1.0], &mut losses, [&mut in_a, &mut in_p, &mut in_n])?;
/// let (mut norm, mut grad) = ([0.0], [0.0; 2]);
/// l2_norm(&features[0], layout, &mut norm)?;
/// l2_normalize_vjp(&features[0], &norm, &in_a, layout, guard, &mut grad)?;
/// assert!(grad[0] < 0.0 && grad[1] > 0.0); // the anchor goes to the positive and away from the negative
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::triplet_margin`]; [`Error::Parameter`] also for layouts that differ.
pub fn triplet_margin_with_grad<T: Element>(
    anchor: impl IsUnitVectors<T>,
    positive: impl IsUnitVectors<T>,
    negative: impl IsUnitVectors<T>,
    margin: T,
    upstream: &[T],
    losses: &mut [T],
    grads: [&mut [T]; 3],
) -> Result<(), Error> {
    views!(anchor, positive, negative);
    let [a, p, n] = [anchor.values(), positive.values(), negative.values()];
    crate::triplet_margin_with_grad(a, p, n, margin, None, upstream, anchor.layout(), losses, grads)
}

/// [`crate::cosine_embedding`] of unit vectors.
///
/// # Errors
/// Those of [`crate::cosine_embedding`]; [`Error::Parameter`] also for layouts that differ.
pub fn cosine_embedding<T: Element>(
    first: impl IsUnitVectors<T>,
    second: impl IsUnitVectors<T>,
    similar: &[bool],
    margin: T,
    losses: &mut [T],
) -> Result<(), Error> {
    views!(first, second);
    crate::cosine_embedding(first.values(), second.values(), similar, margin, None, first.layout(), losses)
}

/// [`crate::cosine_embedding_with_grad`] of unit vectors; the gradients are those in them, as for
/// [`triplet_margin_with_grad`].
///
/// # Errors
/// Those of [`crate::cosine_embedding`]; [`Error::Parameter`] also for layouts that differ.
pub fn cosine_embedding_with_grad<T: Element>(
    first: impl IsUnitVectors<T>,
    second: impl IsUnitVectors<T>,
    similar: &[bool],
    margin: T,
    upstream: &[T],
    losses: &mut [T],
    grads: [&mut [T]; 2],
) -> Result<(), Error> {
    views!(first, second);
    let (x, y, layout) = (first.values(), second.values(), first.layout());
    crate::cosine_embedding_with_grad(x, y, similar, margin, None, upstream, layout, losses, grads)
}

/// [`crate::info_nce`] of unit vectors.
///
/// ```
/// use lossprep::typed::{UnitVectors, info_nce};
/// use lossprep::{Layout, contrastive_workspace};
/// let layout = Layout::rows(2, 2)?;
/// let (queries, keys) = ([1.0_f32, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]);
/// let (queries, keys) = (UnitVectors::new(queries, layout)?, UnitVectors::new(keys, layout)?);
/// let (mut losses, mut workspace) = ([0.0; 2], vec![0.0; contrastive_workspace::<f32>(layout)?]);
/// info_nce(&queries, &keys, 0.0625, &mut losses, &mut workspace)?;
/// assert_eq!(losses, [1.1253517e-7; 2]); // log(1 + exp(−16))
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::info_nce`]; [`Error::Parameter`] also for layouts that differ.
pub fn info_nce<T: Element>(
    queries: impl IsUnitVectors<T>,
    keys: impl IsUnitVectors<T>,
    temperature: T,
    losses: &mut [T],
    workspace: &mut [f64],
) -> Result<(), Error> {
    views!(queries, keys);
    let (x, y) = (queries.values(), keys.values());
    crate::info_nce(x, y, temperature, None, queries.layout(), losses, workspace)
}

/// [`crate::info_nce_with_grad`] of unit vectors; the gradients, of queries and keys, are those in them, as for
/// [`triplet_margin_with_grad`].
///
/// ```
/// use lossprep::{Layout, contrastive_workspace, typed};
/// let layout = Layout::rows(2, 2)?;
/// let queries = typed::UnitVectors::new([1.0_f32, 0.0, 0.6, 0.8], layout)?;
/// let keys = typed::UnitVectors::new([0.8, 0.6, 0.0, 1.0], layout)?;
/// let (mut losses, mut in_queries, mut in_keys) = ([0.0; 2], [0.0; 4], [0.0; 4]);
/// let mut workspace = vec![0.0; contrastive_workspace::<f32>(layout)?];
/// let grads = [&mut in_queries[..], &mut in_keys[..]];
/// typed::info_nce_with_grad(queries, keys, 0.1, &[0.5; 2], &mut losses, grads, &mut workspace)?;
/// assert!(losses[0] < losses[1]); // the second query is nearer to the first key
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::info_nce`]; [`Error::Parameter`] also for layouts that differ.
pub fn info_nce_with_grad<T: Element>(
    queries: impl IsUnitVectors<T>,
    keys: impl IsUnitVectors<T>,
    temperature: T,
    upstream: &[T],
    losses: &mut [T],
    grads: [&mut [T]; 2],
    workspace: &mut [f64],
) -> Result<(), Error> {
    views!(queries, keys);
    let (x, y, layout) = (queries.values(), keys.values(), queries.layout());
    crate::info_nce_with_grad(x, y, temperature, None, upstream, layout, losses, grads, workspace)
}

/// [`crate::nt_xent`] of unit vectors.
///
/// # Errors
/// Those of [`crate::nt_xent`].
pub fn nt_xent<T: Element>(
    views: impl IsUnitVectors<T>,
    temperature: T,
    losses: &mut [T],
    workspace: &mut [f64],
) -> Result<(), Error> {
    let views = views.view();
    crate::nt_xent(views.values(), temperature, None, views.layout(), losses, workspace)
}

/// [`crate::nt_xent_with_grad`] of unit vectors; the gradient is that in them, as for [`triplet_margin_with_grad`].
///
/// # Errors
/// Those of [`crate::nt_xent`].
pub fn nt_xent_with_grad<T: Element>(
    views: impl IsUnitVectors<T>,
    temperature: T,
    upstream: &[T],
    losses: &mut [T],
    grad: &mut [T],
    workspace: &mut [f64],
) -> Result<(), Error> {
    let views = views.view();
    let (x, layout) = (views.values(), views.layout());
    crate::nt_xent_with_grad(x, temperature, None, upstream, layout, losses, grad, workspace)
}

/// [`crate::scaled_sigmoid_mse`] of the raw output of a network and targets in their range.
///
/// ```
/// use lossprep::{Layout, Range, typed::{Ranged, scaled_sigmoid_mse}};
/// let target = Ranged::new([2.0_f32, 10.0], Layout::rows(2, 1)?, Range::new(0.0, 10.0)?)?;
/// let mut losses = [0.0; 2];
/// scaled_sigmoid_mse(&[0.0, 40.0], &target, &mut losses)?; // the range is that of the targets
/// assert_eq!(losses, [9.0, 1.8048515e-33]);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::scaled_sigmoid_mse`].
pub fn scaled_sigmoid_mse<T: Element>(
    raw: &[T],
    target: impl IsRanged<T>,
    losses: &mut [T],
) -> Result<(), Error> {
    let target = target.view();
    crate::scaled_sigmoid_mse(raw, target.values(), target.range(), losses)
}

/// [`crate::scaled_sigmoid_mse_with_grad`] of the raw output of a network and targets in their range.
///
/// ```
/// use lossprep::{Layout, Range, Reduction, typed};
/// let target = typed::Ranged::new([2.0_f32, 10.0], Layout::rows(2, 1)?, Range::new(0.0, 10.0)?)?;
/// let (mut upstream, mut losses, mut grad) = ([0.0; 2], [0.0; 2], [0.0; 2]);
/// Reduction::Mean.upstream(&mut upstream)?;
/// typed::scaled_sigmoid_mse_with_grad(&[0.0, 4.0], target, &upstream, &mut losses, &mut grad)?;
/// assert_eq!(losses[0], 9.0); // (5 − 2)²
/// assert!(grad[0] > 0.0 && grad[1] < 0.0);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// Those of [`crate::scaled_sigmoid_mse`].
pub fn scaled_sigmoid_mse_with_grad<T: Element>(
    raw: &[T],
    target: impl IsRanged<T>,
    upstream: &[T],
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let target = target.view();
    crate::scaled_sigmoid_mse_with_grad(raw, target.values(), upstream, target.range(), losses, grad)
}

/// [`crate::scaled_sigmoid_huber`] of the raw output of a network and targets in their range.
///
/// # Errors
/// Those of [`crate::scaled_sigmoid_huber`].
pub fn scaled_sigmoid_huber<T: Element>(
    raw: &[T],
    target: impl IsRanged<T>,
    delta: T,
    losses: &mut [T],
) -> Result<(), Error> {
    let target = target.view();
    crate::scaled_sigmoid_huber(raw, target.values(), delta, target.range(), losses)
}

/// [`crate::scaled_sigmoid_huber_with_grad`] of the raw output of a network and targets in their range.
///
/// # Errors
/// Those of [`crate::scaled_sigmoid_huber`].
pub fn scaled_sigmoid_huber_with_grad<T: Element>(
    raw: &[T],
    target: impl IsRanged<T>,
    delta: T,
    upstream: &[T],
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let target = target.view();
    crate::scaled_sigmoid_huber_with_grad(raw, target.values(), delta, upstream, target.range(), losses, grad)
}

/// [`crate::scaled_sigmoid_l1`] of the raw output of a network and targets in their range.
///
/// # Errors
/// Those of [`crate::scaled_sigmoid_l1`].
pub fn scaled_sigmoid_l1<T: Element>(
    raw: &[T],
    target: impl IsRanged<T>,
    losses: &mut [T],
) -> Result<(), Error> {
    let target = target.view();
    crate::scaled_sigmoid_l1(raw, target.values(), target.range(), losses)
}

/// [`crate::scaled_sigmoid_l1_with_grad`] of the raw output of a network and targets in their range.
///
/// # Errors
/// Those of [`crate::scaled_sigmoid_l1`].
pub fn scaled_sigmoid_l1_with_grad<T: Element>(
    raw: &[T],
    target: impl IsRanged<T>,
    upstream: &[T],
    losses: &mut [T],
    grad: &mut [T],
) -> Result<(), Error> {
    let target = target.view();
    crate::scaled_sigmoid_l1_with_grad(raw, target.values(), upstream, target.range(), losses, grad)
}
