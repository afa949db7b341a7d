//! The one error type: every fault of a shape or parameter, found before anything is written.

use crate::Element;
use core::fmt;

/// What was wrong with a call. Nothing has been written when one is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not have the length that the layout or the other arguments ask for.
    Length {
        /// Which argument.
        argument: &'static str,
        /// The length it must have.
        expected: usize,
        /// The length it has.
        actual: usize,
    },
    /// The axis is not one of the shape's.
    Axis {
        /// The axis asked for.
        axis: isize,
        /// The number of dimensions of the shape.
        dimensions: usize,
    },
    /// The number of elements does not fit in a `usize`.
    Overflow,
    /// A parameter is out of its domain.
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// What it must be.
        requirement: &'static str,
    },
    /// A valid length is longer than the row it belongs to.
    ValidLength {
        /// Which row.
        row: usize,
        /// The valid length given.
        valid: usize,
        /// The length of the row.
        len: usize,
    },
    /// A class index is none of the classes, nor the index to ignore.
    Class {
        /// Which row.
        row: usize,
        /// The class given.
        class: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// Two options that exclude each other.
    Combination {
        /// The one.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A row is not what its type says.
    Row {
        /// Which row.
        row: usize,
        /// What it must be.
        requirement: &'static str,
    },
    /// The backend is not available: this machine or this build lacks it.
    Unavailable {
        /// The backend asked for.
        backend: &'static str,
    },
    /// The environment variable `LOSSPREP_BACKEND` names no backend.
    UnknownBackend {
        /// What it holds.
        name: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { argument, expected, actual } => {
                write!(f, "`{argument}` has {actual} elements where {expected} are needed")
            }
            Self::Axis { axis, dimensions } => {
                write!(f, "axis {axis} does not exist in a shape of {dimensions} dimensions")
            }
            Self::Overflow => f.write_str("the number of elements overflows usize"),
            Self::Parameter { name, requirement } => write!(f, "`{name}` must be {requirement}"),
            Self::ValidLength { row, valid, len } => {
                write!(f, "row {row} has {len} elements, but a valid length of {valid}")
            }
            Self::Class { row, class, classes } => {
                write!(f, "row {row} has the class {class}, but there are {classes} classes")
            }
            Self::Combination { first, second } => write!(f, "`{first}` cannot be combined with {second}"),
            Self::Row { row, requirement } => write!(f, "row {row} must {requirement}"),
            Self::Unavailable { backend } => {
                write!(f, "the backend `{backend}` is not available: this machine or this build lacks it")
            }
            Self::UnknownBackend { name } => write!(
                f,
                "LOSSPREP_BACKEND={name} names no backend; known are avx512, avx2, neon, portable and scalar"
            ),
        }
    }
}

impl core::error::Error for Error {}

/// `Err` unless all of them are finite and not negative.
pub(crate) fn check_weights<T: Element>(name: &'static str, weights: &[T]) -> Result<(), Error> {
    if weights.iter().all(|w| w.is_finite() && *w >= T::zero()) {
        Ok(())
    } else {
        Err(Error::Parameter { name, requirement: "finite and not negative" })
    }
}

/// `Err` unless finite, normal and positive.
pub(crate) fn check_scale<T: Element>(name: &'static str, scale: T) -> Result<(), Error> {
    if scale.is_normal() && scale > T::zero() {
        Ok(())
    } else {
        Err(Error::Parameter { name, requirement: "finite, normal and positive" })
    }
}

/// `Err` unless a slice of `actual` elements has the `expected` number.
pub(crate) fn check_len(argument: &'static str, expected: usize, actual: usize) -> Result<(), Error> {
    if expected == actual { Ok(()) } else { Err(Error::Length { argument, expected, actual }) }
}
