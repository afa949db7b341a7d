//! How the rows of a layout reach registers: one kernel text for every shape.
//!
//! * [`Along`]: the lanes of a register are neighbours of one contiguous row.
//! * [`Columns`]: each lane is a row of its own, and a register holds an element of `LANES` rows. Short rows are
//!   brought into this form on the stack: contiguous ones transposed, others copied, since elements a power of two
//!   apart fall into the same few lines of the cache.
//! * [`Lone`]: one row of any layout, element by element, for what the others leave over, for masks, and for all rows where
//!   there are no vector instructions.
//! * [`Single`]: the only row there is, of no more than a register.
//!
//! Loops over a row see nothing but whole registers: what a contiguous row has beyond its last one is staged
//! on the stack before, for a call within a loop would keep every constant of the loop in memory.

use crate::Layout;
use crate::element::Lane;
use crate::math::exp::each;
use crate::math::word::Word;
use crate::simd::{Mask, Op, Portable, Simd, Vector};
use core::ops::Range;

/// Rows in registers: along one row, or one row a lane.
pub(crate) trait Access<T: Lane> {
    /// Lanes are neighbours of one row.
    const ACROSS: bool;
    /// There is one register and no more.
    const SINGLE: bool = false;
    /// Whether the input is overwritten by what is stored.
    fn in_place(&self) -> bool;
    /// Registers of a row.
    fn steps(&self) -> usize;
    /// The elements of a row, or as many as fill its registers.
    #[inline(always)]
    fn most(&self) -> usize {
        self.steps() * if Self::ACROSS { T::LANES } else { 1 }
    }
    /// Those of them, from the first on, that hold nothing but elements; 0 where some may not take part.
    fn full(&self) -> usize;
    /// Rows in the lanes of a register; 1 where the lanes are neighbours.
    fn rows(&self) -> usize;
    /// Register `j` of input `n`; lanes without an element hold [`Work::FILLS`] of it.
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S>;
    /// Register `j` as stored before.
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S>;
    /// Writes register `j` of the output.
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>);
    /// Element `i` of the first input, in row `r` of those at hand.
    fn element(&self, r: usize, i: usize) -> T;

    /// M registers of input `n`, full ones if there is more than one; so are those below.
    #[inline(always)]
    fn loads<S: Simd, const M: usize>(&self, s: S, n: usize, j: usize) -> [Vector<T, S>; M] {
        each(
            #[inline(always)]
            |i| self.load(s, n, j + i),
        )
    }
    /// The same, where those beyond the end are `absent`.
    #[inline(always)]
    fn loads_or<S: Simd, const M: usize>(&self, s: S, n: usize, j: usize, absent: T) -> [Vector<T, S>; M] {
        if M > 1 && j + M <= self.full() {
            return self.loads(s, n, j);
        }
        each(
            #[inline(always)]
            |i| {
                if i == 0 || j + i < self.steps() { self.load(s, n, j + i) } else { Vector::splat(s, absent) }
            },
        )
    }
    /// Registers as stored before; the last one again for those beyond the end.
    #[inline(always)]
    fn stored_within<S: Simd, const M: usize>(&self, s: S, j: usize) -> [Vector<T, S>; M] {
        each(
            #[inline(always)]
            |i| self.stored(s, if i == 0 { j } else { (j + i).min(self.steps() - 1) }),
        )
    }
    /// Writes those of the registers that there are.
    #[inline(always)]
    fn stores_within<S: Simd, const M: usize>(&mut self, j: usize, v: [Vector<T, S>; M]) {
        if M > 1 && j + M <= self.full() {
            return self.stores(j, v);
        }
        for (i, v) in v.into_iter().enumerate() {
            if i == 0 || j + i < self.steps() {
                self.store(j + i, v);
            }
        }
    }
    /// Gives `f` registers j, j + 1, … `end` − 1 of the first input, full ones, M at a time as long as there are as many,
    /// and returns the next j. With `ahead` what is needed next and not in the cache is read along: the next row, where rows are
    /// long, or where the results of many short ones go.
    ///
    /// One loop without a branch: the compiler moves what does not depend on it behind any that there is. Without such
    /// a loop, no register.
    #[inline(always)]
    fn visit<S: Simd, const M: usize>(
        &self,
        _: S,
        j: usize,
        _: usize,
        _: bool,
        _: impl FnMut([Vector<T, S>; M]),
    ) -> usize {
        j
    }
    /// The same, and stores what `f` gives.
    #[inline(always)]
    fn rewrite<S: Simd, const M: usize>(
        &mut self,
        _: S,
        j: usize,
        _: usize,
        _: impl FnMut([Vector<T, S>; M]) -> [Vector<T, S>; M],
    ) -> usize {
        j
    }
    /// The same for what was stored before too, where that is not the input.
    #[inline(always)]
    fn replace<S: Simd, const M: usize>(
        &mut self,
        _: S,
        j: usize,
        _: usize,
        _: bool,
        _: impl FnMut([Vector<T, S>; M], [Vector<T, S>; M]) -> [Vector<T, S>; M],
    ) -> usize {
        j
    }
    /// For how many registers [`keep`](Access::keep) has room.
    #[inline(always)]
    fn room(&self) -> usize {
        0
    }
    /// As [`visit`](Access::visit), of a part for which there is room, and keeps the two numbers that `f` gives for each
    /// element until it is called again; the second ones in the output if they are to be `stored` and that is not the input.
    /// A row that has room as a whole has them in the third pass as well.
    #[inline(always)]
    fn keep<S: Simd, const M: usize>(
        &mut self,
        _: S,
        part: Range<usize>,
        _stored: bool,
        _: impl FnMut([Vector<T, S>; M]) -> [[Vector<T, S>; M]; 2],
    ) -> usize {
        part.start
    }
    /// Gives `f` what was kept of that part.
    #[inline(always)]
    fn visit_kept<S: Simd, const M: usize>(
        &self,
        _: S,
        _part: Range<usize>,
        _stored: bool,
        _: impl FnMut([[Vector<T, S>; M]; 2]),
    ) {
    }
    /// Stores what `f` gives for what was kept and stored, and returns the next j.
    #[inline(always)]
    fn replace_kept<S: Simd, const M: usize>(
        &mut self,
        _: S,
        part: Range<usize>,
        _: impl FnMut([[Vector<T, S>; M]; 2]) -> [Vector<T, S>; M],
    ) -> usize {
        part.start
    }
    /// M registers as stored before.
    #[inline(always)]
    fn all_stored<S: Simd, const M: usize>(&self, s: S, j: usize) -> [Vector<T, S>; M] {
        each(
            #[inline(always)]
            |i| self.stored(s, j + i),
        )
    }
    /// Writes M registers.
    #[inline(always)]
    fn stores<S: Simd, const M: usize>(&mut self, j: usize, v: [Vector<T, S>; M]) {
        for (i, v) in v.into_iter().enumerate() {
            self.store(j + i, v);
        }
    }
}

/// N neighbours, unless they reach beyond the end.
#[inline(always)]
fn group<A, const N: usize>(all: &[A], j: usize) -> Option<&[A; N]> {
    all.get(j..)?.first_chunk()
}

#[inline(always)]
fn load_all<T: Lane, S: Simd, const M: usize>(s: S, from: &[T::Array; M]) -> [Vector<T, S>; M] {
    each(
        #[inline(always)]
        |i| Vector::load(s, &from[i]),
    )
}

#[inline(always)]
fn store_all<T: Lane, S: Simd, const M: usize>(to: &mut [T::Array; M], v: [Vector<T, S>; M]) {
    for (i, to) in to.iter_mut().enumerate() {
        v[i].store(to);
    }
}

/// Reads something of each line of the cache, for that to be there when it is needed; the result must be used.
#[inline(always)]
fn touch<T: Lane>(registers: &[T::Array]) -> u32 {
    let mut all = 0;
    for register in registers {
        all |= T::low_bits(register.as_ref()[0]);
    }
    all
}

/// [`Access::visit`] where registers lie next to each other, from register j on.
#[inline(always)]
fn visited<T: Lane, S: Simd, const M: usize>(
    s: S,
    x: &[T::Array],
    ahead: Option<&[T::Array]>,
    j: usize,
    mut f: impl FnMut([Vector<T, S>; M]),
) -> usize {
    let (x, _) = x.as_chunks::<M>();
    match ahead {
        None => {
            for x in x {
                f(load_all(s, x));
            }
        }
        Some(ahead) => {
            let mut touched = 0;
            for (x, ahead) in x.iter().zip(ahead.as_chunks::<M>().0) {
                touched |= touch::<T>(ahead);
                f(load_all(s, x));
            }
            core::hint::black_box(touched);
        }
    }
    j + x.len() * M
}

/// [`Access::rewrite`] there; without an x, the output is it.
#[inline(always)]
fn rewritten<T: Lane, S: Simd, const M: usize>(
    s: S,
    x: Option<&[T::Array]>,
    out: &mut [T::Array],
    j: usize,
    mut f: impl FnMut([Vector<T, S>; M]) -> [Vector<T, S>; M],
) -> usize {
    let (out, _) = out.as_chunks_mut::<M>();
    let next = j + out.len() * M;
    match x {
        None => {
            for out in out {
                store_all(out, f(load_all(s, out)));
            }
        }
        Some(x) => {
            for (x, out) in x.as_chunks::<M>().0.iter().zip(out) {
                store_all(out, f(load_all(s, x)));
            }
        }
    }
    next
}

/// [`Access::replace`] there.
#[inline(always)]
fn replaced<T: Lane, S: Simd, const M: usize>(
    s: S,
    x: &[T::Array],
    out: &mut [T::Array],
    ahead: Option<&[T::Array]>,
    j: usize,
    mut f: impl FnMut([Vector<T, S>; M], [Vector<T, S>; M]) -> [Vector<T, S>; M],
) -> usize {
    let ((x, _), (out, _)) = (x.as_chunks::<M>(), out.as_chunks_mut::<M>());
    match ahead {
        None => {
            for (x, out) in x.iter().zip(out) {
                store_all(out, f(load_all(s, x), load_all(s, out)));
            }
        }
        Some(ahead) => {
            let mut touched = 0;
            for ((x, out), ahead) in x.iter().zip(out).zip(ahead.as_chunks::<M>().0) {
                touched |= touch::<T>(ahead);
                store_all(out, f(load_all(s, x), load_all(s, out)));
            }
            core::hint::black_box(touched);
        }
    }
    j + x.len() * M
}

/// What a kernel does with the rows that an [`Access`] gives, of which the first is row `row`: up to three passes, each made
/// over several rows before the next, so that a row need not wait for the end of its own. What there is to do between
/// the passes is done for all of those rows at once, one a lane. All are `#[inline(always)]` in every implementation.
///
/// Within a pass over a contiguous row all lanes of what it gets and leaves are the same.
pub(crate) trait Work<T: Lane> {
    /// What an absent element of each input is taken for.
    const FILLS: [Fill; 2];
    /// Masks come here; else rows that are taken element by element are rare.
    const MASKS: bool;
    /// Gives something for each row, be it empty.
    const EACH_ROW: bool = false;
    /// There is much to do between the passes, which is done for several rows at once.
    const BETWEEN: bool = true;
    /// The second pass sums terms, which may be kept.
    const SUMS_TERMS: bool = false;
    /// The third pass needs them again.
    const USES_TERMS: bool = false;
    /// Rows longer than that have a first and a second pass of their own.
    const LONG: Option<usize> = None;
    /// Elements of the contiguous rows that take turns at a pass, so that they stay in the first-level cache.
    const BATCH: usize = 4096;
    /// What the first pass over a long row has begun of the second.
    type Begun: Default;
    /// What the first pass leaves.
    type First<S: Simd>: Each<T, S>;
    /// What the later passes need of that.
    type Open<S: Simd>: Each<T, S>;
    /// What the second pass leaves.
    type Second<S: Simd>: Each<T, S>;
    /// What the third pass needs of that.
    type Third<S: Simd>: Each<T, S>;
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize) -> Self::First<S>;
    fn open<S: Simd>(&self, s: S, first: Self::First<S>) -> Self::Open<S>;
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
        open: Self::Open<S>,
    ) -> Self::Second<S>;
    #[inline(always)]
    fn first_of_long<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
    ) -> (Self::First<S>, Self::Begun) {
        (self.first(s, a, row), Self::Begun::default())
    }
    /// What is begun may be nothing.
    #[inline(always)]
    fn second_of_long<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
        open: Self::Open<S>,
        _: Self::Begun,
    ) -> Self::Second<S> {
        self.second(s, a, row, open)
    }
    /// Of rows that begin with `row`; results of so many may be written.
    fn close<S: Simd>(
        &mut self,
        s: S,
        row: usize,
        rows: usize,
        open: Self::Open<S>,
        second: Self::Second<S>,
    ) -> Self::Third<S>;
    fn third<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
        open: Self::Open<S>,
        third: Self::Third<S>,
    );
    /// After the third pass over rows that begin with `row`: the output, and where they lie in it.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, _: S, _row: usize, _out: &mut [T], _block: Block) {}
}

/// Whether rows of that length are long.
#[inline(always)]
fn is_long<T: Lane, W: Work<T>>(len: usize) -> bool {
    matches!(W::LONG, Some(most) if len > most)
}

/// All passes, one after the other.
#[inline(always)]
fn passes<T: Lane, S: Simd, W: Work<T>, A: Access<T>>(s: S, work: &mut W, a: &mut A, row: usize) {
    let first = work.first(s, a, row);
    let open = work.open(s, first);
    let second = if !A::SINGLE && is_long::<T, W>(a.most()) {
        work.second_of_long(s, a, row, open, W::Begun::default())
    } else {
        work.second(s, a, row, open)
    };
    let third = work.close(s, row, a.rows(), open, second);
    // What came from memory is in the first lane alone.
    let third = if A::ACROSS { Each::row(s, &third.rows(), 0) } else { third };
    work.third(s, a, row, open, third);
}

/// A value of each of several rows.
pub trait Each<T: Lane, S: Simd>: Copy {
    /// Up to `LANES` rows in memory.
    type Rows: Copy;
    /// Of all rows, one a lane.
    fn rows(self) -> Self::Rows;
    /// The row that is in the first lane becomes row i.
    fn put(self, rows: &mut Self::Rows, i: usize);
    /// Row i in all lanes.
    fn row(s: S, rows: &Self::Rows, i: usize) -> Self;
    /// One row a lane.
    fn all(s: S, rows: &Self::Rows) -> Self;
    /// Nothing in particular.
    fn blank(s: S) -> Self;
}

impl<T: Lane, S: Simd> Each<T, S> for Vector<T, S> {
    type Rows = T::Array;
    #[inline(always)]
    fn rows(self) -> T::Array {
        self.to_array()
    }
    #[inline(always)]
    fn put(self, rows: &mut T::Array, i: usize) {
        rows.as_mut()[i] = self.to_array().as_ref()[0];
    }
    #[inline(always)]
    fn row(s: S, rows: &T::Array, i: usize) -> Self {
        Vector::splat(s, rows.as_ref()[i])
    }
    #[inline(always)]
    fn all(s: S, rows: &T::Array) -> Self {
        Vector::load(s, rows)
    }
    #[inline(always)]
    fn blank(s: S) -> Self {
        Vector::splat(s, T::zero())
    }
}

/// f64s, one for each lane of an f32 register.
impl<S: Simd> Each<f32, S> for [Vector<f64, S>; 2] {
    type Rows = [[f64; 8]; 2];
    #[inline(always)]
    fn rows(self) -> [[f64; 8]; 2] {
        [self[0].to_array(), self[1].to_array()]
    }
    #[inline(always)]
    fn put(self, rows: &mut [[f64; 8]; 2], i: usize) {
        rows[i / 8][i % 8] = self[0].to_array()[0];
    }
    #[inline(always)]
    fn row(s: S, rows: &[[f64; 8]; 2], i: usize) -> Self {
        [Vector::splat(s, rows[i / 8][i % 8]); 2]
    }
    #[inline(always)]
    fn all(s: S, rows: &[[f64; 8]; 2]) -> Self {
        [Vector::load(s, &rows[0]), Vector::load(s, &rows[1])]
    }
    #[inline(always)]
    fn blank(s: S) -> Self {
        [Vector::splat(s, 0.0); 2]
    }
}

impl<T: Lane, S: Simd> Each<T, S> for Mask<T, S> {
    type Rows = T::Array;
    #[inline(always)]
    fn rows(self) -> T::Array {
        self.select(Vector::splat(self.s, T::one()), Vector::splat(self.s, T::zero())).to_array()
    }
    #[inline(always)]
    fn put(self, rows: &mut T::Array, i: usize) {
        rows.as_mut()[i] = if self.any() { T::one() } else { T::zero() };
    }
    #[inline(always)]
    fn row(s: S, rows: &T::Array, i: usize) -> Self {
        Vector::splat(s, rows.as_ref()[i]).eq(Vector::splat(s, T::one()))
    }
    #[inline(always)]
    fn all(s: S, rows: &T::Array) -> Self {
        Vector::load(s, rows).eq(Vector::splat(s, T::one()))
    }
    #[inline(always)]
    fn blank(s: S) -> Self {
        let zero = Vector::splat(s, T::zero());
        zero.lt(zero)
    }
}

impl<T: Lane, S: Simd> Each<T, S> for () {
    type Rows = ();
    #[inline(always)]
    fn rows(self) {}
    #[inline(always)]
    fn put(self, (): &mut (), _: usize) {}
    #[inline(always)]
    fn row(_: S, (): &(), _: usize) {}
    #[inline(always)]
    fn all(_: S, (): &()) {}
    #[inline(always)]
    fn blank(_: S) {}
}

/// [`Each`] of a struct, field by field.
macro_rules! each_field {
    ($name:ident { $($field:ident: $part:ty),* }) => {
        impl<T: $crate::element::Lane, S: $crate::simd::Simd> $crate::rows::Each<T, S> for $name<T, S> {
            type Rows = ($(<$part as $crate::rows::Each<T, S>>::Rows,)*);
            #[inline(always)]
            fn rows(self) -> Self::Rows {
                ($($crate::rows::Each::<T, S>::rows(self.$field),)*)
            }
            #[inline(always)]
            fn put(self, ($($field,)*): &mut Self::Rows, i: usize) {
                $($crate::rows::Each::<T, S>::put(self.$field, $field, i);)*
            }
            #[inline(always)]
            fn row(s: S, ($($field,)*): &Self::Rows, i: usize) -> Self {
                Self { $($field: $crate::rows::Each::<T, S>::row(s, $field, i)),* }
            }
            #[inline(always)]
            fn all(s: S, ($($field,)*): &Self::Rows) -> Self {
                Self { $($field: $crate::rows::Each::<T, S>::all(s, $field)),* }
            }
            #[inline(always)]
            fn blank(s: S) -> Self {
                Self { $($field: $crate::rows::Each::<T, S>::blank(s)),* }
            }
        }
    };
}
pub(crate) use each_field;

each_field!(Word { hi: Vector<T, S>, lo: Vector<T, S> });

impl<T: Lane, S: Simd, A: Each<T, S>, B: Each<T, S>> Each<T, S> for (A, B) {
    type Rows = (A::Rows, B::Rows);
    #[inline(always)]
    fn rows(self) -> Self::Rows {
        (self.0.rows(), self.1.rows())
    }
    #[inline(always)]
    fn put(self, rows: &mut Self::Rows, i: usize) {
        self.0.put(&mut rows.0, i);
        self.1.put(&mut rows.1, i);
    }
    #[inline(always)]
    fn row(s: S, rows: &Self::Rows, i: usize) -> Self {
        (A::row(s, &rows.0, i), B::row(s, &rows.1, i))
    }
    #[inline(always)]
    fn all(s: S, rows: &Self::Rows) -> Self {
        (A::all(s, &rows.0), B::all(s, &rows.1))
    }
    #[inline(always)]
    fn blank(s: S) -> Self {
        (A::blank(s), B::blank(s))
    }
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
pub(crate) struct Along<'a, T: Lane, const N: usize, const IN_PLACE: bool> {
    inputs: [&'a [T::Array]; N],
    out: &'a mut [T::Array],
    /// What the inputs have beyond their registers; in place, that of the output.
    tails: &'a [T::Array; N],
    out_tail: &'a mut T::Array,
    steps: usize,
    full: usize,
    /// The row that comes next, where rows are long.
    ahead: &'a [T::Array],
    /// Where terms are kept, the first and the second numbers of each.
    kept: [&'a mut [T::Array]; 2],
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Along<'_, T, N, IN_PLACE> {
    const ACROSS: bool = true;
    #[inline(always)]
    fn in_place(&self) -> bool {
        IN_PLACE
    }
    #[inline(always)]
    fn steps(&self) -> usize {
        self.steps
    }
    #[inline(always)]
    fn full(&self) -> usize {
        self.full
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
    fn element(&self, _: usize, i: usize) -> T {
        let (all, tail) =
            if IN_PLACE { (&*self.out, &*self.out_tail) } else { (self.inputs[0], &self.tails[0]) };
        all.get(i / T::LANES).unwrap_or(tail).as_ref()[i % T::LANES]
    }

    #[inline(always)]
    fn visit<S: Simd, const M: usize>(
        &self,
        s: S,
        j: usize,
        end: usize,
        ahead: bool,
        f: impl FnMut([Vector<T, S>; M]),
    ) -> usize {
        let x = &(if IN_PLACE { &*self.out } else { self.inputs[0] })[j..end];
        let ahead = if ahead { Some(self.ahead.get(j..end).unwrap_or(x)) } else { None };
        visited(s, x, ahead, j, f)
    }
    #[inline(always)]
    fn rewrite<S: Simd, const M: usize>(
        &mut self,
        s: S,
        j: usize,
        end: usize,
        f: impl FnMut([Vector<T, S>; M]) -> [Vector<T, S>; M],
    ) -> usize {
        let x = if IN_PLACE { None } else { Some(&self.inputs[0][j..end]) };
        rewritten(s, x, &mut self.out[j..end], j, f)
    }
    #[inline(always)]
    fn replace<S: Simd, const M: usize>(
        &mut self,
        s: S,
        j: usize,
        end: usize,
        ahead: bool,
        f: impl FnMut([Vector<T, S>; M], [Vector<T, S>; M]) -> [Vector<T, S>; M],
    ) -> usize {
        // Not asked for in place, and so not compiled there.
        if IN_PLACE {
            return j;
        }
        let x = &self.inputs[0][j..end];
        let ahead = if ahead { Some(self.ahead.get(j..end).unwrap_or(x)) } else { None };
        replaced(s, x, &mut self.out[j..end], ahead, j, f)
    }
    #[inline(always)]
    fn room(&self) -> usize {
        self.kept[0].len()
    }
    #[inline(always)]
    fn keep<S: Simd, const M: usize>(
        &mut self,
        s: S,
        part: Range<usize>,
        stored: bool,
        mut f: impl FnMut([Vector<T, S>; M]) -> [[Vector<T, S>; M]; 2],
    ) -> usize {
        let [firsts, others] = &mut self.kept;
        let ahead = self.ahead.get(part.clone());
        let (x, seconds) = if IN_PLACE {
            (&self.out[part.clone()], &mut others[..part.len()])
        } else if stored {
            (&self.inputs[0][part.clone()], &mut self.out[part.clone()])
        } else {
            (&self.inputs[0][part.clone()], &mut others[..part.len()])
        };
        let (ahead, _) = ahead.unwrap_or(x).as_chunks::<M>();
        let (x, _) = x.as_chunks::<M>();
        let kept = firsts[..part.len()].as_chunks_mut::<M>().0.iter_mut().zip(seconds.as_chunks_mut::<M>().0);
        let mut touched = 0;
        for ((x, ahead), (first, second)) in x.iter().zip(ahead).zip(kept) {
            touched |= touch::<T>(ahead);
            let [one, two] = f(load_all(s, x));
            store_all(first, one);
            store_all(second, two);
        }
        core::hint::black_box(touched);
        part.start + x.len() * M
    }
    #[inline(always)]
    fn visit_kept<S: Simd, const M: usize>(
        &self,
        s: S,
        part: Range<usize>,
        stored: bool,
        mut f: impl FnMut([[Vector<T, S>; M]; 2]),
    ) {
        let [firsts, others] = &self.kept;
        let firsts = firsts[..part.len()].as_chunks::<M>().0;
        let seconds = if !IN_PLACE && stored { &self.out[part] } else { &others[..part.len()] };
        for (first, second) in firsts.iter().zip(seconds.as_chunks::<M>().0) {
            f([load_all(s, first), load_all(s, second)]);
        }
    }
    #[inline(always)]
    fn replace_kept<S: Simd, const M: usize>(
        &mut self,
        s: S,
        part: Range<usize>,
        mut f: impl FnMut([[Vector<T, S>; M]; 2]) -> [Vector<T, S>; M],
    ) -> usize {
        let [firsts, others] = &self.kept;
        let (firsts, _) = firsts[..part.len()].as_chunks::<M>();
        let (out, _) = self.out[part.clone()].as_chunks_mut::<M>();
        if IN_PLACE {
            let seconds = others[..part.len()].as_chunks::<M>().0;
            for ((first, second), out) in firsts.iter().zip(seconds).zip(out) {
                store_all(out, f([load_all(s, first), load_all(s, second)]));
            }
        } else {
            for (first, out) in firsts.iter().zip(out) {
                store_all(out, f([load_all(s, first), load_all(s, out)]));
            }
        }
        part.start + firsts.len() * M
    }
    #[inline(always)]
    fn loads<S: Simd, const M: usize>(&self, s: S, n: usize, j: usize) -> [Vector<T, S>; M] {
        match group::<_, M>(if IN_PLACE { &*self.out } else { self.inputs[n] }, j) {
            // One check for all of them.
            Some(all) => load_all(s, all),
            // Of several none is beyond the end: the tail.
            None => [self.load(s, n, j); M],
        }
    }
    #[inline(always)]
    fn all_stored<S: Simd, const M: usize>(&self, s: S, j: usize) -> [Vector<T, S>; M] {
        match group::<_, M>(self.out, j) {
            Some(all) => load_all(s, all),
            None => [self.stored(s, j); M],
        }
    }
    #[inline(always)]
    fn stores<S: Simd, const M: usize>(&mut self, j: usize, v: [Vector<T, S>; M]) {
        match self.out.get_mut(j..).and_then(|out| out.first_chunk_mut::<M>()) {
            Some(all) => store_all(all, v),
            None => self.store(j, v[0]),
        }
    }
}

/// `LANES` neighbouring rows, elements `stride` apart; `rows` of them are wanted.
struct Columns<'a, T: Lane, const N: usize> {
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    /// The one input is `out`.
    in_place: bool,
    len: usize,
    stride: usize,
    rows: usize,
    /// Where results will be copied to, if that is not in the cache.
    ahead: &'a [T::Array],
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

impl<T: Lane, const N: usize> Columns<'_, T, N> {
    #[inline(always)]
    fn input(&self, n: usize) -> &[T] {
        if self.in_place { self.out } else { self.inputs[n] }
    }
}

impl<T: Lane, const N: usize> Access<T> for Columns<'_, T, N> {
    const ACROSS: bool = false;
    #[inline(always)]
    fn in_place(&self) -> bool {
        self.in_place
    }
    #[inline(always)]
    fn steps(&self) -> usize {
        self.len
    }
    #[inline(always)]
    fn full(&self) -> usize {
        self.len
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S> {
        Vector::load(s, register(self.input(n), j * self.stride))
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, j: usize) -> Vector<T, S> {
        Vector::load(s, register(self.out, j * self.stride))
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, j: usize, v: Vector<T, S>) {
        v.store(register_mut(self.out, j * self.stride));
    }
    #[inline(always)]
    fn element(&self, r: usize, i: usize) -> T {
        self.input(0)[i * self.stride + r]
    }

    #[inline(always)]
    fn visit<S: Simd, const M: usize>(
        &self,
        s: S,
        mut j: usize,
        end: usize,
        ahead: bool,
        mut f: impl FnMut([Vector<T, S>; M]),
    ) -> usize {
        if self.stride == T::LANES {
            let ahead = if ahead { self.ahead.get(j..end) } else { None };
            return visited(s, &T::registers(self.input(0)).0[j..end], ahead, j, f);
        }
        while j + M <= end {
            f(self.loads(s, 0, j));
            j += M;
        }
        j
    }
    #[inline(always)]
    fn rewrite<S: Simd, const M: usize>(
        &mut self,
        s: S,
        mut j: usize,
        end: usize,
        mut f: impl FnMut([Vector<T, S>; M]) -> [Vector<T, S>; M],
    ) -> usize {
        if self.stride == T::LANES {
            let x = if self.in_place { None } else { Some(&T::registers(self.inputs[0]).0[j..end]) };
            return rewritten(s, x, &mut T::registers_mut(self.out).0[j..end], j, f);
        }
        while j + M <= end {
            let v = f(self.loads(s, 0, j));
            self.stores(j, v);
            j += M;
        }
        j
    }
    #[inline(always)]
    fn replace<S: Simd, const M: usize>(
        &mut self,
        s: S,
        mut j: usize,
        end: usize,
        ahead: bool,
        mut f: impl FnMut([Vector<T, S>; M], [Vector<T, S>; M]) -> [Vector<T, S>; M],
    ) -> usize {
        if self.stride == T::LANES {
            let x = &T::registers(self.inputs[0]).0[j..end];
            let ahead = if ahead { self.ahead.get(j..end) } else { None };
            return replaced(s, x, &mut T::registers_mut(self.out).0[j..end], ahead, j, f);
        }
        while j + M <= end {
            let v = f(self.loads(s, 0, j), self.all_stored(s, j));
            self.stores(j, v);
            j += M;
        }
        j
    }
}

/// One row of any layout, of which not every element need take part.
struct Lone<'a, T, const N: usize> {
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    /// The one input is `out`.
    in_place: bool,
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

impl<T: Lane, const N: usize> Access<T> for Lone<'_, T, N> {
    const ACROSS: bool = true;
    #[inline(always)]
    fn in_place(&self) -> bool {
        self.in_place
    }
    #[inline(always)]
    fn steps(&self) -> usize {
        self.place.len.div_ceil(T::LANES)
    }
    #[inline(always)]
    fn full(&self) -> usize {
        0
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        1
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, j: usize) -> Vector<T, S> {
        let x = if self.in_place { &*self.out } else { self.inputs[n] };
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
    #[inline(always)]
    fn element(&self, _: usize, i: usize) -> T {
        (if self.in_place { &*self.out } else { self.inputs[0] })[self.place.start + i * self.place.stride]
    }
}

/// The only row there is, of no more than one register, which no pass reads from memory again.
struct Single<T: Lane, const N: usize, const IN_PLACE: bool> {
    inputs: [T::Array; N],
    out: T::Array,
}

impl<T: Lane, const N: usize, const IN_PLACE: bool> Access<T> for Single<T, N, IN_PLACE> {
    const ACROSS: bool = true;
    const SINGLE: bool = true;
    #[inline(always)]
    fn in_place(&self) -> bool {
        IN_PLACE
    }
    #[inline(always)]
    fn steps(&self) -> usize {
        1
    }
    #[inline(always)]
    fn full(&self) -> usize {
        0
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        1
    }
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, n: usize, _: usize) -> Vector<T, S> {
        Vector::load(s, if IN_PLACE { &self.out } else { &self.inputs[n] })
    }
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, _: usize) -> Vector<T, S> {
        Vector::load(s, &self.out)
    }
    #[inline(always)]
    fn store<S: Simd>(&mut self, _: usize, v: Vector<T, S>) {
        v.store(&mut self.out);
    }
    #[inline(always)]
    fn element(&self, _: usize, i: usize) -> T {
        (if IN_PLACE { &self.out } else { &self.inputs[0] }).as_ref()[i]
    }
}

/// The most rows that a register has lanes for.
pub(crate) const MOST_ROWS: usize = 16;

/// The longest rows for which the smallest tiles are cleared.
const TINY: usize = 12;
/// The longest contiguous rows that are transposed whatever is done with them.
const SHORT: usize = 32;
/// The longest ones that are where there is something to do between the passes, and of another axis that are copied.
const MODERATE: usize = 128;

/// So many elements are not expected in the second-level cache together with their results.
const UNCACHED: usize = 1 << 18;

/// Rows of another axis of tensors with so many elements are copied in strips, of so many registers in all: elements of a
/// row may be a page apart, and then every line has a cost of its own unless its neighbours come with it.
const MANY: usize = 1 << 15;
const WIDE: usize = 512;

/// Registers whose terms are kept at a time: with the rows and their results 24 KB, less than any first-level cache.
const KEPT: usize = 128;

/// Aligned, so that no register crosses a line of the cache.
#[repr(align(64))]
struct KeptTerms<A>([A; KEPT]);

/// What a row has beyond its last register.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Tail<T: Lane, const N: usize> {
    inputs: [T::Array; N],
    out: T::Array,
}

impl<T: Lane, const N: usize> Tail<T, N> {
    #[inline(always)]
    fn empty() -> Self {
        Self { inputs: [T::array(T::zero()); N], out: T::array(T::zero()) }
    }
}

/// Contiguous rows that take turns, the first of them row `row`.
struct Rows<'a, T: Lane, const N: usize> {
    len: usize,
    /// No mask.
    kept: Kept<'a>,
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    row: usize,
    /// What rows have beyond their last register, of these and of those before or after them, and which are these.
    tails: [&'a mut [Tail<T, N>]; 2],
    side: usize,
    /// Where terms are kept; of these rows, or if rows are long of a part of one.
    kept_terms: [&'a mut [T::Array]; 2],
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
            staged(s, T::registers(&self.out[part]).1, fills[0], &mut self.tails[self.side][i].out);
        } else {
            for ((lanes, input), fill) in
                self.tails[self.side][i].inputs.iter_mut().zip(&self.inputs).zip(fills)
            {
                staged(s, T::registers(&input[part.clone()]).1, fill, lanes);
            }
        }
    }

    /// Lets `pass` have row i, and read `ahead` in the next one.
    #[inline(always)]
    fn with<const IN_PLACE: bool, R>(
        &mut self,
        i: usize,
        ahead: bool,
        pass: impl FnOnce(&mut Along<'_, T, N, IN_PLACE>) -> R,
    ) -> R {
        let part = self.part(i);
        let inputs = each(
            #[inline(always)]
            |n| if IN_PLACE { &[][..] } else { T::registers(&self.inputs[n][part.clone()]).0 },
        );
        let (steps, full) = (part.len().div_ceil(T::LANES), part.len() / T::LANES);
        let after = (self.row + i + 1) * self.len;
        let next = if ahead && !IN_PLACE { self.inputs[0].get(after..after + self.len) } else { None };
        let (ahead, _) = T::registers(next.unwrap_or_default());
        let out = if self.out.is_empty() { &mut [][..] } else { &mut self.out[part] };
        let (out, _) = T::registers_mut(out);
        let Tail { inputs: tails, out: out_tail } = &mut self.tails[self.side][i];
        let mut kept = [&mut [][..], &mut [][..]];
        if !self.kept_terms[0].is_empty() {
            let most = (self.len / T::LANES).min(KEPT);
            for (kept, all) in kept.iter_mut().zip(&mut self.kept_terms) {
                *kept = all.get_mut(i * most..(i + 1) * most).unwrap_or_default();
            }
        }
        pass(&mut Along { inputs, out, tails, out_tail, steps, full, ahead, kept })
    }

    /// Writes what row i has beyond its last register.
    #[inline(always)]
    fn unstage<S: Simd>(&mut self, s: S, i: usize) {
        if !self.out.is_empty() {
            let part = self.part(i);
            let (_, tail) = T::registers_mut(&mut self.out[part]);
            if !tail.is_empty() {
                Vector::load(s, &self.tails[self.side][i].out).store_partial(tail);
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

/// A pass over a contiguous row of logits, or a part of one; with `IN_PLACE` that is `out`, else that may be empty.
#[cfg(feature = "rayon")]
#[inline(always)]
pub(crate) fn along<T: Lane, S: Simd, R, const IN_PLACE: bool>(
    s: S,
    x: &[T],
    out: &mut [T],
    pass: impl FnOnce(&mut Along<'_, T, 1, IN_PLACE>) -> R,
) -> R {
    let len = if IN_PLACE { out.len() } else { x.len() };
    let tails = &mut [Tail::empty()];
    let tails = [&mut [][..], &mut tails[..]];
    let kept_terms = [&mut [][..], &mut [][..]];
    let mut rows = Rows { len, kept: Kept::All, inputs: [x], out, row: 0, tails, side: 1, kept_terms };
    rows.stage::<S, IN_PLACE>(s, 0, [Fill::MinusInfinity.value()]);
    let result = rows.with(0, false, pass);
    rows.unstage(s, 0);
    result
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
    // Without elements there may be more rows than can be counted through.
    if count == 0 || (len == 0 && !W::EACH_ROW) {
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
            lone(s, work, &mut Lone { inputs, out: &mut *out, in_place: IN_PLACE, fills, place }, row);
            work.finish(s, row, out, Block { start: place.start, inner, len, rows: 1 });
            row += 1;
        }
        return;
    }
    if count == 1 && len <= T::LANES && kept == Kept::All {
        let inputs = each(
            #[inline(always)]
            |n| Vector::load_first(s, if IN_PLACE { &[] } else { inputs[n] }, fills[n]).to_array(),
        );
        let x = if IN_PLACE { &*out } else { &[] };
        let mut single =
            Single::<T, N, IN_PLACE> { inputs, out: Vector::load_first(s, x, fills[0]).to_array() };
        passes(s, work, &mut single, row);
        if !reduces {
            Vector::load(s, &single.out).store_first(out);
        }
        work.finish(s, row, out, Block { start: 0, inner, len, rows: 1 });
        return;
    }
    // Rows of f64 have twice as many registers: those beyond 64 gain only where there is room for several at a time.
    let moderate = if S::ROOMY { MODERATE } else { MODERATE * T::LANES / MOST_ROWS };
    let transposed = if W::BETWEEN { moderate } else { SHORT };
    // The last rows, so many, are taken one after the other.
    let along = if inner > 1 || matches!(kept, Kept::Mask(_)) {
        0
    } else if kept == Kept::All && count > 1 && len <= transposed {
        // A few rows take as long side by side as would fill the lanes. Behind others those of less than a register stay
        // side by side, since writing one touches the next.
        let rest = count % T::LANES;
        let few = if W::BETWEEN { (len / 8).min(T::LANES / 2) } else { T::LANES / 4 };
        if rest <= few && (len >= T::LANES || !W::BETWEEN && rest == count) { rest } else { 0 }
    } else {
        count
    };
    if along < count {
        let tiled = kept == Kept::All && len > 0 && len <= MODERATE;
        let wide = tiled && inner > T::LANES && layout.elements() >= MANY;
        let most = if wide { WIDE / len * T::LANES } else { T::LANES };
        let blocks = Blocks {
            layout,
            count: count - along,
            kept,
            inputs,
            out: &mut *out,
            in_place: IN_PLACE,
            fills,
            work: &mut *work,
            tiled,
            most,
        };
        if wide {
            blocks.with_tiles::<S, WIDE>(s);
        } else if tiled && len <= TINY {
            blocks.with_tiles::<S, TINY>(s);
        } else if tiled && len <= SHORT {
            blocks.with_tiles::<S, SHORT>(s);
        } else if tiled {
            blocks.with_tiles::<S, MODERATE>(s);
        } else {
            blocks.with_tiles::<S, 0>(s);
        }
    }
    if along > 0 {
        row = count - along;
        let empty = Tail::empty();
        // Only as much as is needed is cleared.
        let (mut one, mut all);
        let tails = if along == 1 {
            one = [empty];
            [&mut [][..], &mut one[..]]
        } else {
            all = [[empty; MOST_ROWS]; 2];
            all.each_mut().map(|side| &mut side[..])
        };
        // Terms are kept so as not to be computed again in place; where registers are few, also to be summed apart. Fewer
        // are not worth clearing the room for them.
        let room = KEPT * T::LANES;
        let gains = !S::ROOMY || W::USES_TERMS && IN_PLACE && len <= room;
        let keeps = W::SUMS_TERMS && gains && along * len >= 2 * room;
        let batch = if keeps { room } else { W::BATCH };
        let most = (batch / len.max(1)).clamp(1, T::LANES);
        let (mut first_terms, mut second_terms);
        let mut kept_terms = [&mut [][..], &mut [][..]];
        if keeps {
            first_terms = KeptTerms([empty.out; KEPT]);
            kept_terms[0] = &mut first_terms.0[..];
            // Else the output takes the others; a row that is alone in its batch may be longer than the cache.
            if IN_PLACE || !W::USES_TERMS || reduces || most == 1 {
                second_terms = KeptTerms([empty.out; KEPT]);
                kept_terms[1] = &mut second_terms.0[..];
            }
        }
        let mut rows = Rows { len, kept, inputs, out: &mut *out, row, tails, side: 0, kept_terms };
        let mut firsts = W::First::blank(s).rows();
        let mut seconds = W::Second::blank(s).rows();
        let mut open = W::Open::blank(s);
        // Of a long row, which is alone in its batch.
        let mut begun = W::Begun::default();
        let mut batch = 0;
        loop {
            let opens = open.rows();
            for i in 0..batch {
                let (long, ahead) = (is_long::<T, W>(rows.part(i).len()), W::BETWEEN && most == 1);
                let second = if long {
                    let begun = core::mem::take(&mut begun);
                    rows.with::<IN_PLACE, _>(
                        i,
                        ahead,
                        #[inline(always)]
                        |a| work.second_of_long(s, a, row + i, Each::row(s, &opens, i), begun),
                    )
                } else {
                    rows.with::<IN_PLACE, _>(
                        i,
                        ahead,
                        #[inline(always)]
                        |a| work.second(s, a, row + i, Each::row(s, &opens, i)),
                    )
                };
                second.put(&mut seconds, i);
            }
            // The first pass over the next rows comes here, so that nothing waits for the end of a pass.
            let next = most.min(count - row - batch);
            rows.row = row + batch;
            rows.side ^= 1;
            for i in 0..next {
                rows.stage::<S, IN_PLACE>(s, i, fills);
                let first = if is_long::<T, W>(rows.part(i).len()) {
                    let first;
                    (first, begun) = rows.with::<IN_PLACE, _>(
                        i,
                        false,
                        #[inline(always)]
                        |a| work.first_of_long(s, a, row + batch + i),
                    );
                    first
                } else {
                    rows.with::<IN_PLACE, _>(
                        i,
                        false,
                        #[inline(always)]
                        |a| work.first(s, a, row + batch + i),
                    )
                };
                first.put(&mut firsts, i);
            }
            rows.row = row;
            rows.side ^= 1;
            let thirds = if batch == 0 {
                W::Third::blank(s).rows()
            } else {
                work.close(s, row, batch, open, Each::all(s, &seconds)).rows()
            };
            for i in 0..batch {
                rows.with::<IN_PLACE, _>(
                    i,
                    false,
                    #[inline(always)]
                    |a| work.third(s, a, row + i, Each::row(s, &opens, i), Each::row(s, &thirds, i)),
                );
                rows.unstage(s, i);
            }
            if batch > 0 {
                let block = Block { start: row * len, inner, len, rows: batch };
                work.finish(s, row, rows.out, block);
            }
            if next == 0 {
                break;
            }
            row += batch;
            batch = next;
            rows.row = row;
            rows.side ^= 1;
            open = work.open(s, Each::all(s, &firsts));
        }
        if let (Kept::Lengths(_), false) = (kept, reduces) {
            kept.clear(layout, out, T::zero());
        }
    }
}

/// Rows side by side, `LANES` at a time.
struct Blocks<'a, 'b, T: Lane, W, const N: usize> {
    layout: Layout,
    /// The number of rows, the first ones.
    count: usize,
    kept: Kept<'a>,
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    in_place: bool,
    fills: [T; N],
    work: &'b mut W,
    /// Whether rows are copied, and the most rows of a strip.
    tiled: bool,
    most: usize,
}

impl<T: Lane, W: Work<T>, const N: usize> Blocks<'_, '_, T, W, N> {
    /// Runs the work, on copies unless `LEN` is 0. Out of line, for the pages of a large stack cost something wherever a
    /// function has one, and all that calls `InTiles`, which is compiled in each unit of the crate that does.
    #[inline(never)]
    fn with_tiles<S: Simd, const LEN: usize>(self, s: S) {
        let (count, inner) = (self.count, self.layout.inner());
        // Only as much as is needed is cleared.
        let mut one = TileArrays::<T, N, LEN>::zero();
        let mut other;
        let mut sides = [Tiles::none(), one.all()];
        if count > if inner == 1 { self.most } else { inner.min(self.most) } {
            other = TileArrays::<T, N, LEN>::zero();
            sides[0] = other.all();
        }
        s.vectorize(&mut InTiles { blocks: self, sides });
    }
}

/// The work, and what rows are copied to.
struct InTiles<'a, 'b, 'c, T: Lane, W, const N: usize> {
    blocks: Blocks<'a, 'b, T, W, N>,
    sides: [Tiles<'c, T, N>; 2],
}

impl<T: Lane, W: Work<T>, const N: usize> Op for &mut InTiles<'_, '_, '_, T, W, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let InTiles { blocks, sides } = self;
        let &mut Blocks {
            layout,
            count,
            kept,
            inputs,
            ref mut out,
            in_place,
            fills,
            ref mut work,
            tiled,
            most,
        } = blocks;
        let (out, work): (&mut [T], &mut W) = (out, work);
        let (len, inner, reduces) = (layout.len(), layout.inner(), out.is_empty());
        let mut row = 0;
        // The rows at hand, none at first, the first of them, and the strip that they are of.
        let (mut block, mut first_row) = (Block { start: 0, inner, len, rows: 0 }, 0);
        let mut strip = Strip { all: block, first: 0, side: 0 };
        let mut open = W::Open::blank(s);
        loop {
            let mut second = W::Second::blank(s);
            if block.rows > 0 {
                let (side, part) = (&mut sides[strip.side], strip.part::<T>(first_row));
                second = if is_long::<T, W>(len) {
                    let mut a = side.columns(part, block, inputs, out, in_place);
                    work.second_of_long(s, &mut a, first_row, open, W::Begun::default())
                } else {
                    let mut a = side.columns(part, block, inputs, out, in_place);
                    work.second(s, &mut a, first_row, open)
                };
            }
            // The first pass over the next rows comes here, so that nothing waits for the end of a pass.
            let (mut next, mut next_strip) = (Block { rows: 0, ..block }, strip);
            while row < count {
                let start = row / inner * len * inner + row % inner;
                let neighbours = if inner == 1 { count - row } else { inner - row % inner };
                let rows = T::LANES.min(neighbours);
                if tiled || kept == Kept::All && rows == T::LANES {
                    next = Block { start, rows, ..block };
                    if row == strip.first + strip.all.rows {
                        let all = Block { start, rows: most.min(neighbours), ..block };
                        next_strip = Strip { all, first: row, side: strip.side ^ 1 };
                    }
                    break;
                }
                let place = Place { kept, row, start, stride: inner, len };
                let mut a = Lone { inputs, out: &mut *out, in_place, fills, place };
                if W::MASKS {
                    passes(s, work, &mut a, row);
                } else {
                    // To the same bits, and compiled once for all backends.
                    lone(Portable, work, &mut a, row);
                }
                work.finish(s, row, out, Block { start, rows: 1, ..block });
                row += 1;
            }
            let new = next_strip.side != strip.side;
            let mut first = W::First::blank(s);
            if next.rows > 0 {
                let side = &mut sides[next_strip.side];
                if new {
                    side.gather(s, next_strip.all, inputs, out, in_place);
                }
                let mut a = side.columns(next_strip.part::<T>(row), next, inputs, out, in_place);
                first = work.first(s, &mut a, row);
            }
            if block.rows > 0 {
                let third = work.close(s, first_row, block.rows, open, second);
                let (side, part) = (&mut sides[strip.side], strip.part::<T>(first_row));
                work.third(s, &mut side.columns(part, block, inputs, out, in_place), first_row, open, third);
                let whole = strip.all.rows <= T::LANES;
                if tiled && !whole {
                    let tile = Block { start: part * len * T::LANES, inner: T::LANES, ..block };
                    work.finish(s, first_row, T::flat_mut(side.out), tile);
                }
                if !reduces && (new || next.rows == 0) {
                    side.scatter(s, strip.all, out);
                }
                // Where it can, after the copy, which would wait for single elements.
                if !tiled || whole {
                    work.finish(s, first_row, out, block);
                }
            }
            if next.rows == 0 {
                return;
            }
            (block, first_row, strip) = (next, row, next_strip);
            row += next.rows;
            open = work.open(s, first);
        }
    }
}

/// Tiles on the stack for rows of up to `LEN` elements. Aligned, so that no register crosses a line of the cache.
#[repr(C, align(64))]
struct TileArrays<T: Lane, const N: usize, const LEN: usize> {
    inputs: [[T::Array; LEN]; N],
    out: [T::Array; LEN],
}

impl<T: Lane, const N: usize, const LEN: usize> TileArrays<T, N, LEN> {
    #[inline(always)]
    fn zero() -> Self {
        let zero = T::array(T::zero());
        Self { inputs: [[zero; LEN]; N], out: [zero; LEN] }
    }

    #[inline(always)]
    fn all(&mut self) -> Tiles<'_, T, N> {
        Tiles { inputs: self.inputs.each_mut().map(|tile| &mut tile[..]), out: &mut self.out }
    }
}

/// Neighbouring rows that are copied at once, a tile for each `LANES` of them.
#[derive(Clone, Copy)]
struct Strip {
    all: Block,
    first: usize,
    /// Where they are copied to.
    side: usize,
}

impl Strip {
    /// The tile that begins with that row.
    #[inline(always)]
    fn part<T: Lane>(&self, row: usize) -> usize {
        (row - self.first) / T::LANES
    }
}

/// What rows are copied to; empty where they are used where they are.
struct Tiles<'a, T: Lane, const N: usize> {
    inputs: [&'a mut [T::Array]; N],
    out: &'a mut [T::Array],
}

impl<T: Lane, const N: usize> Tiles<'_, T, N> {
    fn none() -> Self {
        Self { inputs: core::array::from_fn(|_| &mut [][..]), out: &mut [] }
    }

    /// Copies rows.
    #[inline(always)]
    fn gather<S: Simd>(&mut self, s: S, block: Block, inputs: [&[T]; N], out: &[T], in_place: bool) {
        if self.out.is_empty() {
            return;
        }
        // In longer pieces lines come fast enough.
        let far = block.inner > 1 && block.len > SHORT && inputs[0].len() >= UNCACHED;
        let mut ahead = if far { out } else { &[] };
        for (tile, x) in self.inputs.iter_mut().zip(inputs) {
            block.gather(s, if in_place { out } else { x }, core::mem::take(&mut ahead), tile);
        }
    }

    /// Copies their results.
    #[inline(always)]
    fn scatter<S: Simd>(&self, s: S, block: Block, out: &mut [T]) {
        if !self.out.is_empty() {
            block.scatter(s, self.out, out);
        }
    }

    /// The rows, copied or not.
    #[inline(always)]
    fn columns<'a>(
        &'a mut self,
        part: usize,
        block: Block,
        inputs: [&'a [T]; N],
        out: &'a mut [T],
        in_place: bool,
    ) -> Columns<'a, T, N> {
        let Block { start, inner, len, rows } = block;
        if !self.out.is_empty() {
            // In place there is no such input.
            let far = inner == 1 && inputs[0].len() >= UNCACHED;
            let place = if far { out.get(start..start + rows * len) } else { None };
            let (ahead, _) = T::registers(place.unwrap_or_default());
            let inputs = each(
                #[inline(always)]
                |n| T::flat(&self.inputs[n][part * len..][..len]),
            );
            let out = T::flat_mut(&mut self.out[part * len..][..len]);
            return Columns { inputs, out, in_place: false, len, stride: T::LANES, rows, ahead };
        }
        // From the first element of the first row to the last element of the last one.
        let part = if len == 0 { 0..0 } else { start..start + (len - 1) * inner + rows };
        let inputs = each(
            #[inline(always)]
            |n| if in_place { inputs[n] } else { &inputs[n][part.clone()] },
        );
        let out = if out.is_empty() { out } else { &mut out[part] };
        Columns { inputs, out, in_place, len, stride: inner, rows, ahead: &[] }
    }
}

/// All passes over one row, on a backend that needs nothing of its caller.
#[inline(never)]
fn lone<T: Lane, S: Simd, W: Work<T>, A: Access<T>>(s: S, work: &mut W, a: &mut A, row: usize) {
    passes(s, work, a, row);
}

/// Rows of `len` elements beside each other, up to `LANES` or those of a strip; `start` is where the first begins.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    start: usize,
    inner: usize,
    len: usize,
    pub(crate) rows: usize,
}

impl Block {
    /// Where element i of row r lies.
    #[inline(always)]
    pub(crate) fn index(self, r: usize, i: usize) -> usize {
        self.start + r * if self.inner == 1 { self.len } else { 1 } + i * self.inner
    }

    /// `tile[i][r]` is element i of row r. The same places of `ahead`, if it is not empty, are read along.
    #[inline(always)]
    fn gather<T: Lane, S: Simd>(self, s: S, x: &[T], ahead: &[T], tile: &mut [T::Array]) {
        let (x, ahead) = (&x[self.start..], ahead.get(self.start..).unwrap_or_default());
        if self.inner == 1 {
            s.vectorize(ToTile { rows: self.rows, x, tile: &mut tile[..self.len] });
        } else {
            self.copy_in(x, ahead, tile);
        }
    }

    /// The inverse of [`gather`](Self::gather).
    #[inline(always)]
    fn scatter<T: Lane, S: Simd>(self, s: S, tile: &[T::Array], out: &mut [T]) {
        let out = &mut out[self.start..];
        if self.inner == 1 {
            s.vectorize(FromTile { rows: self.rows, tile: &tile[..self.len], out });
        } else {
            self.copy_out(tile, out);
        }
    }

    #[inline(never)]
    fn copy_in<T: Lane>(self, x: &[T], ahead: &[T], tile: &mut [T::Array]) {
        let mut touched = 0;
        for i in 0..self.len {
            let place = i * self.inner..i * self.inner + self.rows;
            touched |= touch::<T>(T::registers(ahead.get(place.clone()).unwrap_or_default()).0);
            let (full, rest) = T::registers(&x[place]);
            let mut tiles = tile[i..].iter_mut().step_by(self.len);
            for (from, to) in full.iter().zip(tiles.by_ref()) {
                *to = *from;
            }
            if let (Some(to), false) = (tiles.next(), rest.is_empty()) {
                to.as_mut()[..rest.len()].copy_from_slice(rest);
            }
        }
        core::hint::black_box(touched);
    }

    #[inline(never)]
    fn copy_out<T: Lane>(self, tile: &[T::Array], out: &mut [T]) {
        for i in 0..self.len {
            let (full, rest) = T::registers_mut(&mut out[i * self.inner..][..self.rows]);
            let mut tiles = tile[i..].iter().step_by(self.len);
            for (to, from) in full.iter_mut().zip(tiles.by_ref()) {
                *to = *from;
            }
            if let (Some(from), false) = (tiles.next(), rest.is_empty()) {
                rest.copy_from_slice(&from.as_ref()[..rest.len()]);
            }
        }
    }
}

/// Whether `LANES` rows of less than a register have a register from the beginning of each on, but for the last.
#[inline(always)]
fn all_but_one<T: Lane>(rows: usize, len: usize, x: &[T]) -> bool {
    rows == T::LANES && x.len() >= (T::LANES - 2) * len + T::LANES
}

/// Writes lanes of a register from lane `first` on, if there is one.
#[inline(always)]
fn put<T: Lane>(register: Option<&mut T::Array>, first: usize, lanes: &[T]) {
    if let Some(register) = register {
        register.as_mut()[first..][..lanes.len()].copy_from_slice(lanes);
    }
}

/// Contiguous rows into a tile, in squares of registers.
struct ToTile<'a, T: Lane> {
    rows: usize,
    x: &'a [T],
    tile: &'a mut [T::Array],
}

impl<T: Lane> Op for ToTile<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, x, tile } = self;
        let len = tile.len();
        if len < T::LANES {
            // What a row's register has of the next rows is not stored; behind the last row there may be nothing.
            let last = T::LANES - 1;
            let first_of = |r: usize| x.get(r * len..).unwrap_or_default();
            if all_but_one::<T>(rows, len, x) {
                // No loop: all stays in registers.
                let tail = Vector::load_first(s, first_of(last), T::zero()).to_array();
                Vector::<T, S>::transpose(
                    s,
                    #[inline(always)]
                    |r| if r < last { register(x, r * len) } else { &tail },
                    #[inline(always)]
                    |i, first, lanes| put(tile.get_mut(i), first, lanes),
                );
            } else {
                let registers: [_; MOST_ROWS] = each(
                    #[inline(always)]
                    |r| Vector::load_first(s, first_of(r % T::LANES), T::zero()).to_array(),
                );
                Vector::<T, S>::transpose(
                    s,
                    #[inline(always)]
                    |r| &registers[r],
                    #[inline(always)]
                    |i, first, lanes| put(tile.get_mut(i), first, lanes),
                );
            }
            return;
        }
        // The last register reaches to the end of the row.
        let last = len - T::LANES;
        // Of one length, so that one check does for all; the last row again for those that are missing.
        let from: [&[T]; MOST_ROWS] = each(
            #[inline(always)]
            |r| &x[(r % T::LANES).min(rows - 1) * len..][..len],
        );
        let mut first = 0;
        loop {
            let to = &mut tile[first..first + T::LANES];
            Vector::<T, S>::transpose(
                s,
                #[inline(always)]
                |r| register(from[r], first),
                #[inline(always)]
                |i, start, lanes| put(to.get_mut(i), start, lanes),
            );
            if first == last {
                break;
            }
            first = last.min(first + T::LANES);
        }
    }
}

/// The inverse.
struct FromTile<'a, T: Lane> {
    rows: usize,
    tile: &'a [T::Array],
    out: &'a mut [T],
}

impl<T: Lane> Op for FromTile<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, tile, out } = self;
        let len = tile.len();
        if len < T::LANES {
            let zero = T::array(T::zero());
            // What this writes beyond a row, that of the next one overwrites.
            if all_but_one::<T>(rows, len, out) {
                let last = T::LANES - 1;
                let mut end = zero;
                Vector::<T, S>::transpose(
                    s,
                    #[inline(always)]
                    |i| tile.get(i).unwrap_or(&zero),
                    #[inline(always)]
                    |r, first, lanes| {
                        let to = if r < last { register_mut(out, r * len) } else { &mut end };
                        put(Some(to), first, lanes);
                    },
                );
                Vector::load(s, &end).store_first(&mut out[last * len..]);
                return;
            }
            let mut registers = [zero; MOST_ROWS];
            Vector::<T, S>::transpose(
                s,
                #[inline(always)]
                |i| tile.get(i).unwrap_or(&zero),
                #[inline(always)]
                |r, first, lanes| put(registers.get_mut(r), first, lanes),
            );
            for (r, row) in registers.iter().enumerate().take(rows) {
                Vector::load(s, row).store_first(&mut out[r * len..]);
            }
            return;
        }
        // The last register reaches to the end of the row.
        let last = len - T::LANES;
        let mut first = 0;
        loop {
            let from = &tile[first..first + T::LANES];
            Vector::<T, S>::transpose(
                s,
                #[inline(always)]
                |i| &from[i],
                #[inline(always)]
                |r, start, lanes| {
                    if r < rows {
                        out[r * len + first + start..][..lanes.len()].copy_from_slice(lanes);
                    }
                },
            );
            if first == last {
                break;
            }
            first = last.min(first + T::LANES);
        }
    }
}
