//! Rows across lanes: one register holds the same element of several rows.
//!
//! Rows along another axis than the last lie next to each other in memory, so a register loads an element of
//! [`Lane::LANES`] rows at once.

use crate::element::Lane;
use crate::simd::{Simd, Vector};

/// Up to `LANES` neighbouring rows: element `i` of row `r` is `data[i · stride + r]`.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a, T> {
    /// From element 0 of row 0 on.
    pub(crate) data: &'a [T],
    /// From an element of a row to the next.
    pub(crate) stride: usize,
    /// The number of rows.
    pub(crate) width: usize,
}

/// The same, to be written.
pub(crate) struct ColumnsMut<'a, T> {
    pub(crate) data: &'a mut [T],
    pub(crate) stride: usize,
    pub(crate) width: usize,
}

impl<T: Lane> Columns<'_, T> {
    /// Element `i` of each row; lanes without a row hold `fill`.
    #[inline(always)]
    pub(crate) fn load<S: Simd>(&self, s: S, i: usize, fill: T) -> Vector<T, S> {
        Vector::load_first(s, &self.data[i * self.stride..][..self.width], fill)
    }
}

impl<T: Lane> ColumnsMut<'_, T> {
    /// Sets element `i` of each row.
    #[inline(always)]
    pub(crate) fn store<S: Simd>(&mut self, i: usize, v: Vector<T, S>) {
        v.store_first(&mut self.data[i * self.stride..][..self.width]);
    }

    /// Element `i` of each row, as written before.
    #[inline(always)]
    pub(crate) fn load<S: Simd>(&self, s: S, i: usize, fill: T) -> Vector<T, S> {
        Columns { data: self.data, stride: self.stride, width: self.width }.load(s, i, fill)
    }
}
