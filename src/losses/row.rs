//! The rows of a layout as registers: neighbours of one row in the lanes, whatever the stride.

use crate::Layout;
use crate::element::Lane;
use crate::simd::{Simd, Vector};

/// Where a row lies.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    start: usize,
    stride: usize,
    pub(crate) len: usize,
}

impl Row {
    /// Row number `row` of the layout.
    #[inline(always)]
    pub(crate) fn of(layout: Layout, row: usize) -> Self {
        let (len, inner) = (layout.len(), layout.inner());
        Self { start: row / inner * len * inner + row % inner, stride: inner, len }
    }

    /// All of a slice.
    #[inline(always)]
    pub(crate) fn whole(len: usize) -> Self {
        Self { start: 0, stride: 1, len }
    }

    /// Registers of the row.
    #[inline(always)]
    pub(crate) fn steps<T: Lane>(self) -> usize {
        self.len.div_ceil(T::LANES)
    }

    /// Where element `i` lies.
    #[inline(always)]
    pub(crate) fn index(self, i: usize) -> usize {
        self.start + i * self.stride
    }

    /// Register `j`; lanes without an element hold `fill`.
    #[inline(always)]
    pub(crate) fn load<T: Lane, S: Simd>(self, s: S, data: &[T], j: usize, fill: T) -> Vector<T, S> {
        let first = j * T::LANES;
        let count = T::LANES.min(self.len - first);
        if self.stride == 1 {
            return Vector::load_first(s, &data[self.start + first..][..count], fill);
        }
        let mut lanes = T::array(fill);
        for (lane, i) in lanes.as_mut()[..count].iter_mut().zip(first..) {
            *lane = data[self.index(i)];
        }
        Vector::load(s, &lanes)
    }

    /// Writes register `j`.
    #[inline(always)]
    pub(crate) fn store<T: Lane, S: Simd>(self, data: &mut [T], j: usize, v: Vector<T, S>) {
        let first = j * T::LANES;
        let count = T::LANES.min(self.len - first);
        if self.stride == 1 {
            return v.store_first(&mut data[self.start + first..][..count]);
        }
        for (&lane, i) in v.to_array().as_ref()[..count].iter().zip(first..) {
            data[self.index(i)] = lane;
        }
    }

    /// 1 in the lanes of register `j` that hold an element, 0 in the others.
    #[inline(always)]
    pub(crate) fn ones<T: Lane, S: Simd>(self, s: S, j: usize) -> Vector<T, S> {
        let count = T::LANES.min(self.len - j * T::LANES);
        if count == T::LANES {
            return Vector::splat(s, T::one());
        }
        let mut lanes = T::array(T::zero());
        lanes.as_mut()[..count].fill(T::one());
        Vector::load(s, &lanes)
    }
}
