//! How the rows of a layout reach registers: one kernel text for every shape.
//!
//! * [`Along`]: the lanes of a register are neighbours of one contiguous row.
//! * [`Columns`]: each lane is a row of its own, and a register holds an element of `LANES` rows. Short rows are
//!   brought into this form on the stack: contiguous ones transposed, others copied, since elements a power of two
//!   apart fall into the same few lines of the cache.
//! * [`Lone`]: one row of any layout, element by element, for what the others leave over and for masks.
//!
//! Loops over a row see nothing but whole registers: what a contiguous row has beyond its last one is staged
//! on the stack before, for a call within a loop would keep every constant of the loop in memory.

use crate::Layout;
use crate::element::Lane;
use crate::math::exp::each;
use crate::simd::{Portable, Simd, Vector};
use core::ops::Range;

/// Rows in registers: along one row, or one row a lane.
pub(crate) trait Access<T: Lane> {
    /// Lanes are neighbours of one row.
    const ACROSS: bool;
    /// The input is overwritten by what is stored.
    const IN_PLACE: bool;
    /// Registers are worth to be handled four at a time, where the backend has room for them.
    const WIDE: bool = false;
    /// Registers of a row.
    fn steps(&self) -> usize;
    /// Rows in the lanes of a register; 1 where the lanes are neighbours.
    fn rows(&self) -> usize;
    /// Register `j` of input `n`; lanes without an element hold [`Work::FILLS`] of it.
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S>;
    /// Register `j` as stored before.
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S>;
    /// Writes register `j` of the output.
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>);

    /// N registers of input `n`.
    #[inline(always)]
    fn loads<S: Simd, const M: usize>(&self, s: S, n: usize, j: usize) -> [Vector<T, S>; M] {
        each(
            #[inline(always)]
            |i| self.load(s, n, j + i),
        )
    }
    /// N registers as stored before.
    #[inline(always)]
    fn all_stored<S: Simd, const M: usize>(&self, s: S, j: usize) -> [Vector<T, S>; M] {
        each(
            #[inline(always)]
            |i| self.stored(s, j + i),
        )
    }
    /// Writes N registers.
    #[inline(always)]
    fn stores<S: Simd, const M: usize>(&mut self, j: usize, v: [Vector<T, S>; M]) {
        for (i, v) in v.into_iter().enumerate() {
            self.store(j + i, v);
        }
    }
}

/// N neighbours, where there are so many.
#[inline(always)]
fn group<A, const N: usize>(all: &[A], j: usize) -> Option<&[A; N]> {
    all.get(j..)?.first_chunk()
}

/// What a kernel does with the rows that an [`Access`] gives, of which the first is row `row`: up to
/// three passes, each made over several rows before the next, so that a row need not wait for the end
/// of its own. All are `#[inline(always)]` in every implementation.
pub(crate) trait Work<T: Lane> {
    /// What an absent element of each input is taken for.
    const FILLS: [Fill; 2];
    /// Masks come here; else rows that are taken element by element are rare.
    const MASKS: bool;
    /// What the first pass leaves for the second.
    type First<S: Simd>: Copy;
    /// What the second pass leaves.
    type Second<S: Simd>: Copy;
    /// What the third pass needs.
    type Third<S: Simd>: Copy;
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize) -> Self::First<S>;
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
        first: Self::First<S>,
    ) -> Self::Second<S>;
    /// Between the passes, without the rows: what takes long is done for several of them side by side.
    fn close<S: Simd>(&self, s: S, second: Self::Second<S>) -> Self::Third<S>;
    fn third<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize, third: Self::Third<S>);
}

/// All passes, one after the other.
#[inline(always)]
fn passes<T: Lane, S: Simd, W: Work<T>, A: Access<T>>(s: S, work: &mut W, a: &mut A, row: usize) {
    let first = work.first(s, a, row);
    let second = work.second(s, a, row, first);
    let third = work.close(s, second);
    work.third(s, a, row, third);
}

/// What an absent element is taken for.
#[derive(Clone, Copy)]
pub(crate) enum Fill {
    Zero,
    MinusInfinity,
}

impl Fill {
    #[inline(always)]
    fn value<T: Lane>(self) -> T {
        match self {
            Self::Zero => T::zero(),
            Self::MinusInfinity => -T::INFINITY,
        }
    }
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
            // Without elements, the other dimensions may overflow.
            _ if data.is_empty() => {}
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
}

/// A contiguous row.
struct Along<'a, T: Lane, const N: usize, const IN_PLACE: bool> {
    inputs: [&'a [T::Array]; N],
    out: &'a mut [T::Array],
    /// What the inputs have beyond their registers; in place, that of the output.
    tails: &'a [T::Array; N],
    out_tail: &'a mut T::Array,
    steps: usize,
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Along<'_, T, N, IN_PLACE> {
    const ACROSS: bool = true;
    const IN_PLACE: bool = IN_PLACE;
    const WIDE: bool = true;
    #[inline(always)]
    fn steps(&self) -> usize {
        self.steps
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        1
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S> {
        let (all, tail) =
            if IN_PLACE { (&*self.out, &*self.out_tail) } else { (self.inputs[n], &self.tails[n]) };
        Vector::load(s, all.get(j).unwrap_or(tail))
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        Vector::load(s, self.out.get(j).unwrap_or(self.out_tail))
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        v.store(self.out.get_mut(j).unwrap_or(self.out_tail));
    }

    #[inline(always)]
    fn loads<S: Simd, const M: usize>(&self, s: S, n: usize, j: usize) -> [Vector<T, S>; M] {
        match group::<_, M>(if IN_PLACE { &*self.out } else { self.inputs[n] }, j) {
            // One check for all of them.
            Some(all) => each(
                #[inline(always)]
                |i| Vector::load(s, &all[i]),
            ),
            None => each(
                #[inline(always)]
                |i| self.load(s, n, j + i),
            ),
        }
    }
    #[inline(always)]
    fn all_stored<S: Simd, const M: usize>(&self, s: S, j: usize) -> [Vector<T, S>; M] {
        match group::<_, M>(self.out, j) {
            Some(all) => each(
                #[inline(always)]
                |i| Vector::load(s, &all[i]),
            ),
            None => each(
                #[inline(always)]
                |i| self.stored(s, j + i),
            ),
        }
    }
    #[inline(always)]
    fn stores<S: Simd, const M: usize>(&mut self, j: usize, v: [Vector<T, S>; M]) {
        match self.out.get_mut(j..).and_then(|out| out.first_chunk_mut::<M>()) {
            Some(all) => {
                for i in 0..M {
                    v[i].store(&mut all[i]);
                }
            }
            None => {
                for (i, &v) in v.iter().enumerate() {
                    self.store(j + i, v);
                }
            }
        }
    }
}

/// `LANES` neighbouring rows, elements `stride` apart; `rows` of them are wanted.
struct Columns<'a, T, const N: usize, const IN_PLACE: bool> {
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    len: usize,
    stride: usize,
    rows: usize,
}

/// The register that begins at an element.
#[inline(always)]
fn register<T: Lane>(x: &[T], from: usize) -> &T::Array {
    &T::registers(&x[from..][..T::LANES]).0[0]
}

#[inline(always)]
fn register_mut<T: Lane>(x: &mut [T], from: usize) -> &mut T::Array {
    &mut T::registers_mut(&mut x[from..][..T::LANES]).0[0]
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Columns<'_, T, N, IN_PLACE> {
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
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S> {
        Vector::load(s, register(if IN_PLACE { self.out } else { self.inputs[n] }, j * self.stride))
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        Vector::load(s, register(self.out, j * self.stride))
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        v.store(register_mut(self.out, j * self.stride));
    }
}

/// One row of any layout, of which not every element need take part.
struct Lone<'a, T, const N: usize, const IN_PLACE: bool> {
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    fills: [T; N],
    place: Place<'a>,
}

/// Where the elements of a row lie, and which take part.
#[derive(Clone, Copy)]
struct Place<'a> {
    kept: Kept<'a>,
    row: usize,
    start: usize,
    stride: usize,
    len: usize,
}

impl Place<'_> {
    /// The index of element i, where that takes part.
    fn index(&self, i: usize) -> Option<usize> {
        let index = self.start + i * self.stride;
        let keeps = i < self.len
            && match self.kept {
                Kept::All => true,
                Kept::Mask(keep) => keep[index],
                Kept::Lengths(valid) => i < valid[self.row],
            };
        keeps.then_some(index)
    }

    /// The elements of a contiguous row.
    fn row_of<'a, T>(&self, x: &'a [T]) -> &'a [T] {
        if self.stride == 1 { &x[self.start..][..self.len] } else { &[] }
    }

    /// Register j, `fill` where an element does not take part.
    #[inline(never)]
    fn pick<T: Lane>(self, x: &[T], j: usize, fill: T) -> T::Array {
        if let (1, Kept::All, Some(full)) = (self.stride, self.kept, T::registers(self.row_of(x)).0.get(j)) {
            return *full;
        }
        let mut lanes = T::array(fill);
        for (lane, to) in lanes.as_mut().iter_mut().enumerate() {
            if let Some(index) = self.index(j * T::LANES + lane) {
                *to = x[index];
            }
        }
        lanes
    }

    /// Writes register j, zeros where an element does not take part.
    #[inline(never)]
    fn put<T: Lane>(self, x: &mut [T], j: usize, lanes: &T::Array) {
        if self.stride == 1 && self.kept == Kept::All {
            let row = &mut x[self.start..][..self.len];
            if let Some(full) = T::registers_mut(row).0.get_mut(j) {
                *full = *lanes;
                return;
            }
        }
        let first = j * T::LANES;
        for (i, &lane) in (first..self.len).zip(lanes.as_ref()) {
            x[self.start + i * self.stride] = if self.index(i).is_some() { lane } else { T::zero() };
        }
    }
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Lone<'_, T, N, IN_PLACE> {
    const ACROSS: bool = true;
    const IN_PLACE: bool = IN_PLACE;
    #[inline(always)]
    fn steps(&self) -> usize {
        self.place.len.div_ceil(T::LANES)
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        1
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S> {
        let x = if IN_PLACE { &*self.out } else { self.inputs[n] };
        Vector::load(s, &self.place.pick(x, j, self.fills[n]))
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        Vector::load(s, &self.place.pick(self.out, j, T::zero()))
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        self.place.put(self.out, j, &v.to_array());
    }
}

/// Elements of the contiguous rows that take turns at a pass, and the most rows: they stay in the cache.
const BATCH: usize = 8192;
const MOST_ROWS: usize = 8;

/// The longest contiguous row that is transposed, and the longest row of another axis that is copied.
const SHORT: usize = 32;
const MODERATE: usize = 128;

/// Contiguous rows that take turns, the first of them row `row`.
struct Rows<'a, T: Lane, const N: usize> {
    len: usize,
    /// No mask.
    kept: Kept<'a>,
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    row: usize,
    /// What rows have beyond their last register.
    tails: &'a mut [[T::Array; N]; MOST_ROWS],
    out_tails: &'a mut [T::Array; MOST_ROWS],
}

impl<T: Lane, const N: usize> Rows<'_, T, N> {
    /// Where row i lies. A row with a valid length is a shorter one.
    #[inline(always)]
    fn part(&self, i: usize) -> Range<usize> {
        let row = self.row + i;
        let start = row * self.len;
        match self.kept {
            Kept::Lengths(valid) => start..start + valid[row],
            _ => start..start + self.len,
        }
    }

    /// Stages what row i has beyond its last register.
    #[inline(always)]
    fn stage<S: Simd, const IN_PLACE: bool>(&mut self, s: S, i: usize, fills: [T; N]) {
        let part = self.part(i);
        if IN_PLACE {
            staged(s, T::registers(&self.out[part]).1, fills[0], &mut self.out_tails[i]);
        } else {
            for ((lanes, input), fill) in self.tails[i].iter_mut().zip(&self.inputs).zip(fills) {
                staged(s, T::registers(&input[part.clone()]).1, fill, lanes);
            }
        }
    }

    /// Lets `pass` have row i.
    #[inline(always)]
    fn with<const IN_PLACE: bool, R>(
        &mut self,
        i: usize,
        pass: impl FnOnce(&mut Along<'_, T, N, IN_PLACE>) -> R,
    ) -> R {
        let part = self.part(i);
        let inputs = each(
            #[inline(always)]
            |n| if IN_PLACE { &[][..] } else { T::registers(&self.inputs[n][part.clone()]).0 },
        );
        let steps = part.len().div_ceil(T::LANES);
        let out = if self.out.is_empty() { &mut [][..] } else { &mut self.out[part] };
        let (out, _) = T::registers_mut(out);
        pass(&mut Along { inputs, out, tails: &self.tails[i], out_tail: &mut self.out_tails[i], steps })
    }

    /// Writes what row i has beyond its last register.
    #[inline(always)]
    fn unstage<S: Simd>(&mut self, s: S, i: usize) {
        if !self.out.is_empty() {
            let part = self.part(i);
            let (_, tail) = T::registers_mut(&mut self.out[part]);
            if !tail.is_empty() {
                Vector::load(s, &self.out_tails[i]).store_partial(tail);
            }
        }
    }
}

/// The elements, fewer than a register has, then `fill`.
#[inline(always)]
fn staged<T: Lane, S: Simd>(s: S, tail: &[T], fill: T, lanes: &mut T::Array) {
    // Checked, since a partial load is a call. A copy would be slower: its bytes are then loaded as a whole register.
    if !tail.is_empty() {
        Vector::load_partial(s, tail, fill).store(lanes);
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
    let (len, inner, count) = (layout.len(), layout.inner(), layout.row_count());
    let reduces = out.is_empty();
    if count == 0 || (len == 0 && !reduces) {
        return;
    }
    let fills: [T; N] = each(
        #[inline(always)]
        |n| W::FILLS[n].value(),
    );
    let mut row = 0;
    if S::LEAN {
        while row < count {
            let place =
                Place { kept, row, start: row / inner * len * inner + row % inner, stride: inner, len };
            lone(s, work, &mut Lone::<T, N, IN_PLACE> { inputs, out: &mut *out, fills, place }, row);
            row += 1;
        }
        return;
    }
    if inner == 1 && !matches!(kept, Kept::Mask(_)) && !(len <= SHORT && kept == Kept::All && count > 1) {
        let empty = T::array(T::zero());
        // Of its own, since what is moved is copied.
        let (tails, out_tails) = (&mut [[empty; N]; MOST_ROWS], &mut [empty; MOST_ROWS]);
        let mut rows = Rows { len, kept, inputs, out: &mut *out, row, tails, out_tails };
        let most = (BATCH / len.max(1)).clamp(1, MOST_ROWS);
        while row < count {
            let batch = most.min(count - row);
            rows.row = row;
            let mut first = [None; MOST_ROWS];
            let mut second = [None; MOST_ROWS];
            let mut third = [None; MOST_ROWS];
            for (i, first) in first[..batch].iter_mut().enumerate() {
                rows.stage::<S, IN_PLACE>(s, i, fills);
                *first = Some(rows.with::<IN_PLACE, _>(
                    i,
                    #[inline(always)]
                    |a| work.first(s, a, row + i),
                ));
            }
            for (i, (&first, second)) in first[..batch].iter().zip(&mut second).enumerate() {
                *second = first.map(
                    #[inline(always)]
                    |first| {
                        rows.with::<IN_PLACE, _>(
                            i,
                            #[inline(always)]
                            |a| work.second(s, a, row + i, first),
                        )
                    },
                );
            }
            for (&second, third) in second[..batch].iter().zip(&mut third) {
                *third = second.map(
                    #[inline(always)]
                    |second| work.close(s, second),
                );
            }
            for (i, &third) in third[..batch].iter().enumerate() {
                if let Some(third) = third {
                    rows.with::<IN_PLACE, _>(
                        i,
                        #[inline(always)]
                        |a| work.third(s, a, row + i, third),
                    );
                }
                rows.unstage(s, i);
            }
            row += batch;
        }
        if let (Kept::Lengths(_), false) = (kept, reduces) {
            kept.clear(layout, out, T::zero());
        }
        return;
    }
    let (mut short, mut moderate);
    // Only as much as is needed is cleared.
    let mut tiles = if kept != Kept::All || len == 0 || len > MODERATE {
        None
    } else if len <= SHORT {
        short = ([[T::array(T::zero()); SHORT]; N], [T::array(T::zero()); SHORT]);
        Some((short.0.each_mut().map(|tile| &mut tile[..len]), &mut short.1[..len]))
    } else {
        moderate = ([[T::array(T::zero()); MODERATE]; N], [T::array(T::zero()); MODERATE]);
        Some((moderate.0.each_mut().map(|tile| &mut tile[..len]), &mut moderate.1[..len]))
    };
    while row < count {
        let start = row / inner * len * inner + row % inner;
        let rows = T::LANES.min(if inner == 1 { count - row } else { inner - row % inner });
        let block = Block { start, inner, rows };
        // From the first element of the first row to the last element of the last one.
        let part = if len == 0 { 0..0 } else { start..start + (len - 1) * inner + rows };
        let mut a = match &mut tiles {
            Some((tiles, result)) => {
                if IN_PLACE {
                    block.gather(out, result);
                } else {
                    for (tile, x) in tiles.iter_mut().zip(inputs) {
                        block.gather(x, tile);
                    }
                }
                Columns {
                    inputs: each(
                        #[inline(always)]
                        |n| T::flat(&*tiles[n]),
                    ),
                    out: T::flat_mut(result),
                    len,
                    stride: T::LANES,
                    rows,
                }
            }
            None if kept == Kept::All && rows == T::LANES => Columns {
                inputs: each(
                    #[inline(always)]
                    |n| if IN_PLACE { inputs[n] } else { &inputs[n][part.clone()] },
                ),
                out: if reduces { &mut [][..] } else { &mut out[part] },
                len,
                stride: inner,
                rows,
            },
            None => {
                let place = Place { kept, row, start, stride: inner, len };
                let mut a = Lone::<T, N, IN_PLACE> { inputs, out: &mut *out, fills, place };
                if W::MASKS {
                    passes(s, work, &mut a, row);
                } else {
                    // To the same bits, and compiled once for all backends.
                    lone(Portable, work, &mut a, row);
                }
                row += 1;
                continue;
            }
        };
        passes::<T, S, W, Columns<'_, T, N, IN_PLACE>>(s, work, &mut a, row);
        if let (Some((_, result)), false) = (&tiles, reduces) {
            block.scatter(result, out);
        }
        row += rows;
    }
}

/// All passes over one row, on a backend that needs nothing of its caller.
#[inline(never)]
fn lone<T: Lane, S: Simd, W: Work<T>, A: Access<T>>(s: S, work: &mut W, a: &mut A, row: usize) {
    passes(s, work, a, row);
}

/// Up to `LANES` rows that go through tiles on the stack; `start` is where the first begins.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    inner: usize,
    rows: usize,
}

impl Block {
    /// `tile[i][r]` is element i of row r.
    #[inline(never)]
    fn gather<T: Lane>(self, x: &[T], tile: &mut [T::Array]) {
        let (x, len) = (&x[self.start..], tile.len());
        if self.inner == 1 {
            for (r, row) in x.chunks_exact(len).enumerate().take(self.rows) {
                for (element, &x) in tile.iter_mut().zip(row) {
                    element.as_mut()[r] = x;
                }
            }
        } else {
            for (i, element) in tile.iter_mut().enumerate() {
                let from = &x[i * self.inner..][..self.rows];
                match T::registers(from) {
                    ([full], _) => *element = *full,
                    (_, part) => element.as_mut()[..self.rows].copy_from_slice(part),
                }
            }
        }
    }

    /// The inverse of [`gather`](Self::gather).
    #[inline(never)]
    fn scatter<T: Lane>(self, tile: &[T::Array], out: &mut [T]) {
        let (out, len) = (&mut out[self.start..], tile.len());
        if self.inner == 1 {
            for (r, row) in out.chunks_exact_mut(len).enumerate().take(self.rows) {
                for (out, element) in row.iter_mut().zip(tile) {
                    *out = element.as_ref()[r];
                }
            }
        } else {
            for (i, element) in tile.iter().enumerate() {
                let to = &mut out[i * self.inner..][..self.rows];
                match T::registers_mut(to) {
                    ([full], _) => *full = *element,
                    (_, part) => part.copy_from_slice(&element.as_ref()[..self.rows]),
                }
            }
        }
    }
}
