//! Which elements of a tensor make a row: `outer × len × inner`.

use crate::Error;

/// A row-major tensor read as `outer × len × inner`.
///
/// One *row* is the `len` elements `x[(o · len + i) · inner + k]`, `i = 0 … len − 1`, for one pair
/// `(o, k)`; there are `outer · inner` rows. With `inner = 1` rows are contiguous (the last axis).
///
/// ```
/// use lossprep::Layout;
/// let layout = Layout::from_shape(&[8, 64, 32, 32], 1)?;
/// assert_eq!(layout, Layout::new(8, 64, 1024)?);
/// assert_eq!(Layout::from_shape(&[3, 5], -1)?, Layout::rows(3, 5)?);
/// # Ok::<(), lossprep::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    outer: usize,
    len: usize,
    inner: usize,
    elements: usize,
    rows: usize,
}

impl Layout {
    /// `outer × len × inner`.
    ///
    /// # Errors
    /// [`Error::Overflow`] if `outer · inner` or the product of all three does not fit in a `usize`.
    pub const fn new(outer: usize, len: usize, inner: usize) -> Result<Self, Error> {
        let Some(rows) = outer.checked_mul(inner) else { return Err(Error::Overflow) };
        let Some(elements) = rows.checked_mul(len) else { return Err(Error::Overflow) };
        Ok(Self { outer, len, inner, elements, rows })
    }

    /// `rows` contiguous rows of `cols` elements: the last axis of a matrix.
    ///
    /// # Errors
    /// [`Error::Overflow`] if `rows · cols` does not fit in a `usize`.
    pub const fn rows(rows: usize, cols: usize) -> Result<Self, Error> {
        Self::new(rows, cols, 1)
    }

    /// The rows along `axis` of a row-major tensor of this shape; −1 is the last axis.
    ///
    /// # Errors
    /// [`Error::Axis`] if there is no such axis, [`Error::Overflow`] if the product of all dimensions, of
    /// those before the axis, of those after it, or of all but the axis does not fit in a `usize`. It counts
    /// also where another dimension is 0.
    pub fn from_shape(shape: &[usize], axis: isize) -> Result<Self, Error> {
        let fault = Error::Axis { axis, dimensions: shape.len() };
        let index = if axis < 0 { shape.len().checked_add_signed(axis) } else { Some(axis as usize) };
        let axis = index.filter(|&a| a < shape.len()).ok_or(fault)?;
        let product =
            |dims: &[usize]| dims.iter().try_fold(1usize, |p, &d| p.checked_mul(d)).ok_or(Error::Overflow);
        Self::new(product(&shape[..axis])?, shape[axis], product(&shape[axis + 1..])?)
    }

    /// The same with at most as many blocks.
    #[cfg(feature = "rayon")]
    pub(crate) fn with_outer(self, outer: usize) -> Self {
        let rows = outer * self.inner;
        Self { outer, elements: rows * self.len, rows, ..self }
    }

    /// How many blocks of `len × inner` there are.
    pub const fn outer(&self) -> usize {
        self.outer
    }

    /// The number of elements of a row.
    #[allow(clippy::len_without_is_empty, reason = "a dimension, not a collection")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The distance between neighbours of a row.
    pub const fn inner(&self) -> usize {
        self.inner
    }

    /// The number of elements of the tensor.
    pub const fn elements(&self) -> usize {
        self.elements
    }

    /// The number of rows, `outer · inner`: the size of a reduced result.
    pub const fn row_count(&self) -> usize {
        self.rows
    }
}
