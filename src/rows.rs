//! How the rows of a layout reach registers: one kernel text for every shape.
//!
//! Along the last axis the lanes of a register are neighbours of one row. Along any other axis, and
//! for rows shorter than a few registers, each lane is a row of its own: there the element `i` of
//! `LANES` rows lies in one register, straight from memory or from a transposed tile on the stack.

use crate::Layout;
use crate::element::Lane;
use crate::simd::{Simd, Vector};
use crate::tile::{SHORT, Tile, gather, scatter};

/// Rows in registers: along one row, or one row a lane.
pub(crate) trait Access<T: Lane> {
    /// Lanes are neighbours of one row.
    const ACROSS: bool;
    /// The input is overwritten by what is stored.
    const IN_PLACE: bool;
    /// Registers of a row.
    fn steps(&self) -> usize;
    /// Rows in the lanes of a register; 1 where the lanes are neighbours.
    fn rows(&self) -> usize;
    /// Register `j` of input `n`; lanes without an element hold `fill`.
    fn load<S: Simd>(&self, s: S, n: usize, j: usize, fill: T) -> Vector<T, S>;
    /// Register `j` as stored before.
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S>;
    /// Writes register `j` of the output.
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>);
}

/// What a kernel does with the rows that an [`Access`] gives, of which the first is row `row`.
pub(crate) trait Work<T: Lane> {
    /// Computes them; `#[inline(always)]` in every implementation.
    fn run<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize);
}

/// Which elements take part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kept<'a> {
    All,
    Mask(&'a [bool]),
    Lengths(&'a [usize]),
}

impl Kept<'_> {
    /// Whether the element takes part.
    pub(crate) fn keeps(&self, layout: Layout, index: usize) -> bool {
        match self {
            Kept::All => true,
            Kept::Mask(keep) => keep[index],
            Kept::Lengths(valid) => {
                let (block, inner) = (layout.len() * layout.inner(), layout.inner());
                let element = index % block / inner;
                element < valid[index / block * inner + index % inner]
            }
        }
    }

    /// Puts `absent` where an element does not take part.
    pub(crate) fn clear<T: Lane>(&self, layout: Layout, data: &mut [T], absent: T) {
        match *self {
            Kept::All => {}
            Kept::Mask(keep) => {
                for (x, &keep) in data.iter_mut().zip(keep) {
                    *x = if keep { *x } else { absent };
                }
            }
            Kept::Lengths(valid) => {
                let inner = layout.inner();
                for (o, block) in data.chunks_exact_mut((layout.len() * inner).max(1)).enumerate() {
                    for (k, &valid) in valid[o * inner..][..inner].iter().enumerate() {
                        for x in block.iter_mut().skip(k).step_by(inner).skip(valid) {
                            *x = absent;
                        }
                    }
                }
            }
        }
    }

    /// Register `j` of the row or rows from `row` on, `absent` where an element does not take part.
    #[cold]
    #[inline(never)]
    fn filter<T: Lane>(
        &self,
        layout: Layout,
        across: bool,
        row: usize,
        j: usize,
        mut lanes: T::Array,
        absent: T,
    ) -> T::Array {
        let (len, inner) = (layout.len(), layout.inner());
        for (lane, x) in lanes.as_mut().iter_mut().enumerate() {
            let (row, element) = if across { (row, j * T::LANES + lane) } else { (row + lane, j) };
            let index = (row / inner * len + element) * inner + row % inner;
            let inside = element < len && row < layout.row_count();
            if !(inside && self.keeps(layout, index)) {
                *x = absent;
            }
        }
        lanes
    }
}

/// Where a register belongs, and which of its elements take part.
#[derive(Clone, Copy)]
struct Place<'a> {
    kept: Kept<'a>,
    layout: Layout,
    row: usize,
}

impl Place<'_> {
    /// `v` with `absent` where an element does not take part; nothing is asked where all do.
    #[inline(always)]
    fn filter<T: Lane, S: Simd>(&self, across: bool, j: usize, v: Vector<T, S>, absent: T) -> Vector<T, S> {
        match self.kept {
            Kept::All => v,
            kept => Vector::load(v.s, &kept.filter(self.layout, across, self.row, j, v.to_array(), absent)),
        }
    }
}

/// Register `j` of a slice.
#[inline(always)]
fn load<T: Lane, S: Simd>(s: S, x: &[T], j: usize, fill: T) -> Vector<T, S> {
    match T::registers(x) {
        (full, _) if j < full.len() => Vector::load(s, &full[j]),
        (_, tail) => Vector::load_partial(s, tail, fill),
    }
}

#[inline(always)]
fn store<T: Lane, S: Simd>(out: &mut [T], j: usize, v: Vector<T, S>) {
    match T::registers_mut(out) {
        (full, _) if j < full.len() => v.store(&mut full[j]),
        (_, tail) => v.store_partial(tail),
    }
}

/// A contiguous row.
struct Along<'a, T, const N: usize, const IN_PLACE: bool> {
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    place: Place<'a>,
    len: usize,
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Along<'_, T, N, IN_PLACE> {
    const ACROSS: bool = true;
    const IN_PLACE: bool = IN_PLACE;
    #[inline(always)]
    fn steps(&self) -> usize {
        self.len.div_ceil(T::LANES)
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        1
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize, fill: T) -> Vector<T, S> {
        let v = load(s, if IN_PLACE { self.out } else { self.inputs[n] }, j, fill);
        self.place.filter(true, j, v, fill)
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        load(s, self.out, j, T::zero())
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        store(self.out, j, self.place.filter(true, j, v, T::zero()));
    }
}

/// Up to `LANES` neighbouring rows along an axis that is not the last.
struct Beside<'a, T, const N: usize, const IN_PLACE: bool> {
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    place: Place<'a>,
    len: usize,
    stride: usize,
    rows: usize,
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Beside<'_, T, N, IN_PLACE> {
    const ACROSS: bool = false;
    const IN_PLACE: bool = IN_PLACE;
    #[inline(always)]
    fn steps(&self) -> usize {
        self.len
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize, fill: T) -> Vector<T, S> {
        let x = if IN_PLACE { &*self.out } else { self.inputs[n] };
        self.place.filter(false, j, load(s, &x[j * self.stride..][..self.rows], 0, fill), fill)
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        load(s, &self.out[j * self.stride..][..self.rows], 0, T::zero())
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        let v = self.place.filter(false, j, v, T::zero());
        store(&mut self.out[j * self.stride..][..self.rows], 0, v);
    }
}

/// Short contiguous rows, transposed.
struct Transposed<'a, T: Lane, const N: usize> {
    inputs: &'a [Tile<T>; N],
    out: &'a mut Tile<T>,
    place: Place<'a>,
    len: usize,
    rows: usize,
}

impl<T: Lane, const N: usize> Access<T> for Transposed<'_, T, N> {
    const ACROSS: bool = false;
    const IN_PLACE: bool = false;
    #[inline(always)]
    fn steps(&self) -> usize {
        self.len
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize, fill: T) -> Vector<T, S> {
        self.place.filter(false, j, Vector::load(s, &self.inputs[n][j]), fill)
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        Vector::load(s, &self.out[j])
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        self.place.filter(false, j, v, T::zero()).store(&mut self.out[j]);
    }
}

/// Runs the work over all rows. With `IN_PLACE` the one input is `out`; a reduction leaves `out` empty.
#[inline(always)]
pub(crate) fn drive<T: Lane, S: Simd, W: Work<T>, const N: usize, const IN_PLACE: bool>(
    s: S,
    layout: Layout,
    kept: Kept<'_>,
    inputs: [&[T]; N],
    out: &mut [T],
    work: &mut W,
) {
    let (len, inner) = (layout.len(), layout.inner());
    let reduces = out.is_empty();
    if layout.row_count() == 0 || (len == 0 && !reduces) {
        return;
    }
    if inner == 1 && len > 0 && len <= SHORT && layout.row_count() > 1 {
        let mut tiles = [[T::array(T::zero()); SHORT]; N];
        let mut result = [T::array(T::zero()); SHORT];
        let mut row = 0;
        while row < layout.row_count() {
            let rows = T::LANES.min(layout.row_count() - row);
            let part = row * len..(row + rows) * len;
            for (tile, x) in tiles.iter_mut().zip(inputs) {
                gather(if IN_PLACE { &out[part.clone()] } else { &x[part.clone()] }, len, tile);
            }
            let place = Place { kept, layout, row };
            work.run(s, &mut Transposed { inputs: &tiles, out: &mut result, place, len, rows }, row);
            if !reduces {
                scatter(&result, len, &mut out[part]);
            }
            row += rows;
        }
    } else if inner == 1 {
        for row in 0..layout.row_count() {
            let part = row * len..(row + 1) * len;
            let inputs = inputs.map(
                #[inline(always)]
                |x| if IN_PLACE { x } else { &x[part.clone()] },
            );
            let out = if reduces { &mut [][..] } else { &mut out[part] };
            let place = Place { kept, layout, row };
            work.run(s, &mut Along::<T, N, IN_PLACE> { inputs, out, place, len }, row);
        }
    } else {
        for block in 0..layout.outer() {
            let mut k = 0;
            while k < inner {
                let rows = T::LANES.min(inner - k);
                // From the first element of the first row to the last element of the last one.
                let start = block * len * inner + k;
                let part = if len == 0 { 0..0 } else { start..start + (len - 1) * inner + rows };
                let inputs = inputs.map(
                    #[inline(always)]
                    |x| if IN_PLACE { x } else { &x[part.clone()] },
                );
                let out = if reduces { &mut [][..] } else { &mut out[part] };
                let place = Place { kept, layout, row: block * inner + k };
                let mut beside = Beside::<T, N, IN_PLACE> { inputs, out, place, len, stride: inner, rows };
                work.run(s, &mut beside, block * inner + k);
                k += rows;
            }
        }
    }
}
