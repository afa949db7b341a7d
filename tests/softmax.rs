//! The softmax family against the contract: special values by name, bounds by a double-double oracle,
//! and the same bits on every backend, in place, along every axis and under options that change nothing.

mod double_double;

use core::fmt::Debug;
use double_double::{Big, Random, Real, ulps};
use lossprep::gradcheck::{Options, check_vjp};
use lossprep::{
    Backend, EmptyRows, Error, Kernels, Layout, SoftmaxOptions, log_softmax, log_softmax_jvp,
    log_softmax_vjp, log_softmax_vjp_with, log_softmax_with, logsumexp, logsumexp_jvp, logsumexp_vjp,
    logsumexp_vjp_with, logsumexp_with, softmax, softmax_jvp, softmax_vjp, softmax_vjp_with, softmax_with,
};
use proptest::prelude::*;

impl Random {
    fn gauss(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (core::f64::consts::TAU * self.unit()).cos()
    }
    fn normal<T: Real>(&mut self, n: usize, deviation: f64) -> Vec<T> {
        (0..n).map(|_| T::of(deviation * self.gauss())).collect()
    }
    /// Of either sign and every size.
    fn wide<T: Real>(&mut self, n: usize) -> Vec<T> {
        let top = if T::DIGITS == 24 { 126.0 } else { 1022.0 };
        (0..n).map(|_| T::of(self.spread(f64::from(T::MIN), top))).collect()
    }
    /// Logits of every kind: ordinary, far apart, equal, huge.
    fn logits<T: Real>(&mut self, n: usize) -> Vec<T> {
        let kind = self.bits() % 5;
        (0..n)
            .map(|_| match kind {
                0 => T::of(self.gauss()),
                1 => T::of(50.0 * self.gauss()),
                2 => T::of(1e4 + self.gauss()),
                3 => T::of(self.spread(-20.0, 12.0)),
                _ => T::of((self.gauss() * 2.0).round() * 3.0),
            })
            .collect()
    }
}

fn bits<T: Real>(all: &[T]) -> Vec<u64> {
    all.iter().map(|x| x.bits()).collect()
}

fn nan_bits<T: Real>(n: usize) -> Vec<u64> {
    vec![T::CANONICAL_NAN; n]
}

fn scalar() -> Kernels {
    Backend::Scalar.try_get().unwrap()
}

fn row(len: usize) -> Layout {
    Layout::rows(1, len).unwrap()
}

/// What every operation is given: the gradients take y and log y as they come, not as computed from x.
#[derive(Clone)]
struct Case<T> {
    x: Vec<T>,
    y: Vec<T>,
    log_y: Vec<T>,
    g: Vec<T>,
    /// One element a row.
    upstream: Vec<T>,
}

impl<T: Real> Case<T> {
    /// y and log y as softmax and log_softmax give them.
    fn new(x: Vec<T>, g: Vec<T>, layout: Layout, options: &SoftmaxOptions<'_, T>) -> Self {
        let (mut y, mut log_y) = (x.clone(), x.clone());
        scalar().softmax_in_place_with(&mut y, layout, options).unwrap();
        scalar().log_softmax_in_place_with(&mut log_y, layout, options).unwrap();
        let upstream =
            (0..layout.row_count()).map(|r| g.get(r * layout.len()).copied().unwrap_or(T::one())).collect();
        Self { x, y, log_y, g, upstream }
    }
    fn random(random: &mut Random, layout: Layout) -> Self {
        let mut x = random.logits::<T>(layout.elements());
        for x in &mut x {
            if random.bits().is_multiple_of(40) {
                *x = -T::infinity();
            }
        }
        let mut case = Self::new(x, random.normal(layout.elements(), 1.0), layout, &SoftmaxOptions::new());
        case.upstream = random.normal(layout.row_count(), 1.0);
        case
    }
    /// The elements at `at`, of the rows `rows`.
    fn part(&self, at: &[usize], rows: &[usize]) -> Self {
        let of = |v: &[T]| at.iter().map(|&i| v[i]).collect();
        let upstream = rows.iter().map(|&r| self.upstream[r]).collect();
        Self { x: of(&self.x), y: of(&self.y), log_y: of(&self.log_y), g: of(&self.g), upstream }
    }
}

const NAMES: [&str; 11] = [
    "softmax",
    "log_softmax",
    "softmax in place",
    "log_softmax in place",
    "softmax_vjp",
    "softmax_jvp",
    "log_softmax_vjp",
    "log_softmax_jvp",
    "logsumexp_vjp",
    "logsumexp",
    "logsumexp_jvp",
];
/// How many of them give one result an element; the others give one a row.
const ELEMENTWISE: usize = 9;

/// The bits of every operation's result.
fn all<T: Real>(k: Kernels, c: &Case<T>, layout: Layout, o: &SoftmaxOptions<'_, T>) -> Vec<Vec<u64>> {
    // Whatever the outputs held must not matter.
    let of = |run: &dyn Fn(&mut [T]) -> Result<(), Error>, len: usize| {
        let mut out = vec![T::of(7.0); len];
        run(&mut out).unwrap();
        bits(&out)
    };
    let (n, rows) = (layout.elements(), layout.row_count());
    let in_place = |run: &dyn Fn(&mut [T]) -> Result<(), Error>| {
        let mut data = c.x.clone();
        run(&mut data).unwrap();
        bits(&data)
    };
    vec![
        of(&|out| k.softmax_with(&c.x, layout, o, out), n),
        of(&|out| k.log_softmax_with(&c.x, layout, o, out), n),
        in_place(&|data| k.softmax_in_place_with(data, layout, o)),
        in_place(&|data| k.log_softmax_in_place_with(data, layout, o)),
        of(&|out| k.softmax_vjp_with(&c.y, &c.g, layout, o, out), n),
        of(&|out| k.softmax_jvp_with(&c.y, &c.g, layout, o, out), n),
        of(&|out| k.log_softmax_vjp_with(&c.log_y, &c.g, layout, o, out), n),
        of(&|out| k.log_softmax_jvp_with(&c.log_y, &c.g, layout, o, out), n),
        of(&|out| k.logsumexp_vjp_with(&c.x, &c.upstream, layout, o, out), n),
        of(&|out| k.logsumexp_with(&c.x, layout, o, out), rows),
        of(&|out| k.logsumexp_jvp_with(&c.x, &c.g, layout, o, out), rows),
    ]
}

/// The same without options, through the functions that take none.
fn all_plain<T: Real>(k: Kernels, c: &Case<T>, layout: Layout) -> Vec<Vec<u64>> {
    let (n, rows) = (layout.elements(), layout.row_count());
    let mut results = vec![vec![T::of(7.0); n]; ELEMENTWISE];
    results.resize(NAMES.len(), vec![T::of(7.0); rows]);
    k.softmax(&c.x, layout, &mut results[0]).unwrap();
    k.log_softmax(&c.x, layout, &mut results[1]).unwrap();
    results[2] = c.x.clone();
    k.softmax_in_place(&mut results[2], layout).unwrap();
    results[3] = c.x.clone();
    k.log_softmax_in_place(&mut results[3], layout).unwrap();
    k.softmax_vjp(&c.y, &c.g, layout, &mut results[4]).unwrap();
    k.softmax_jvp(&c.y, &c.g, layout, &mut results[5]).unwrap();
    k.log_softmax_vjp(&c.log_y, &c.g, layout, &mut results[6]).unwrap();
    k.log_softmax_jvp(&c.log_y, &c.g, layout, &mut results[7]).unwrap();
    k.logsumexp_vjp(&c.x, &c.upstream, layout, &mut results[8]).unwrap();
    k.logsumexp(&c.x, layout, &mut results[9]).unwrap();
    k.logsumexp_jvp(&c.x, &c.g, layout, &mut results[10]).unwrap();
    results.iter().map(|r| bits(r)).collect()
}

#[track_caller]
fn same(got: &[Vec<u64>], want: &[Vec<u64>], what: &dyn Debug) {
    for ((got, want), name) in got.iter().zip(want).zip(NAMES) {
        let first = got.iter().zip(want).position(|(a, b)| a != b);
        assert!(got == want, "{name}, {what:?}: element {first:?} differs");
    }
}

/// Every backend against Scalar, and in place against out of place; gives Scalar's bits.
#[track_caller]
fn on_all<T: Real>(
    c: &Case<T>,
    layout: Layout,
    options: &SoftmaxOptions<'_, T>,
    what: &dyn Debug,
) -> Vec<Vec<u64>> {
    let want = all(scalar(), c, layout, options);
    assert!(want[0] == want[2] && want[1] == want[3], "in place differs, {what:?}");
    for backend in Backend::available() {
        same(&all(backend.try_get().unwrap(), c, layout, options), &want, &(backend, what));
    }
    want
}

/// The indices of a row's elements.
fn places(layout: Layout, row: usize) -> Vec<usize> {
    let (len, inner) = (layout.len(), layout.inner());
    (0..len).map(|i| (row / inner * len + i) * inner + row % inner).collect()
}

macro_rules! for_both {
    ($($name:ident;)*) => {
        mod of_f32 { $(#[test] fn $name() { super::$name::<f32>(); })* }
        mod of_f64 { $(#[test] fn $name() { super::$name::<f64>(); })* }
    };
}
for_both! {
    backends_at_every_length;
    any_number_of_rows;
    rows_of_every_reach;
    rows_whose_terms_are_kept;
    every_axis_is_a_copied_row;
    specials_in_every_position;
    options_that_change_nothing;
    a_valid_length_cuts_the_row;
    elements_not_kept_are_absent;
    nan_wins_over_infinities;
    only_minus_infinity;
    empty_rows_follow_the_policy;
    empty_rows_of_every_axis;
    some_minus_infinity;
    the_gap_overflows;
    one_finite_element;
    no_elements;
    upstream_not_finite;
    upstream_not_finite_at_a_certain_element;
    results_zero_are_positive;
    forward_within_bound;
    long_rows_within_bound;
    long_rows_cancel_within_bound;
    rows_beyond_the_cache_have_the_same_bits;
    long_rows_beside_each_other_have_the_same_bits;
    known_values;
    gradients_within_bound;
    no_intermediate_overflows;
    faults_leave_outputs;
    random_bits;
}

// ---- Same bits -------------------------------------------------------------------------------------

fn backends_at_every_length<T: Real>() {
    let mut random = Random(1);
    assert!(Backend::available().count() >= 2);
    for len in 0..=70 {
        for (outer, inner) in [(1, 1), (19, 1), (2, 3), (1, 17)] {
            let layout = Layout::new(outer, len, inner).unwrap();
            let case = Case::<T>::random(&mut random, layout);
            let keep: Vec<bool> = case.x.iter().map(|_| !random.bits().is_multiple_of(4)).collect();
            let valid: Vec<usize> =
                (0..outer * inner).map(|_| (random.bits() % (len as u64 + 1)) as usize).collect();
            let plain = SoftmaxOptions::new();
            let tempered = plain.temperature(T::of(0.7));
            let what = (len, outer, inner);
            let want = on_all(&case, layout, &plain, &what);
            same(&all_plain(scalar(), &case, layout), &want, &"no options");
            on_all(&case, layout, &tempered, &what);
            on_all(&case, layout, &plain.mask(&keep), &what);
            on_all(&case, layout, &tempered.lengths(&valid).empty_rows(EmptyRows::Uniform), &what);
        }
    }
    // Another axis in strips of tiles, the last of them in part.
    for (outer, len, inner) in [(2, 60, 300), (1, 3, 11_000), (1, 128, 290)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        on_all(&Case::<T>::random(&mut random, layout), layout, &SoftmaxOptions::new(), &(len, inner));
    }
    // Rows across the blocks in which sums are flushed and merged.
    for len in [2047 * 16 + 5, 65_536 + 77] {
        on_all(&Case::<T>::random(&mut random, row(len)), row(len), &SoftmaxOptions::new(), &len);
    }
    // Rows that are so long that the next one is read along, of one length or not.
    let layout = Layout::rows(3, 8_200 + 7).unwrap();
    let mut case = Case::<T>::random(&mut random, layout);
    case.x = random.normal(layout.elements(), 1.0);
    on_all(&case, layout, &SoftmaxOptions::new(), &"long rows");
    for valid in [[8_207, 90, 8_000], [0, 8_207, 8_199]] {
        on_all(&case, layout, &SoftmaxOptions::new().lengths(&valid), &valid);
    }
}

/// However many rows there are beside whole registers of them: the scalar backend takes each alone.
fn any_number_of_rows<T: Real>() {
    let mut random = Random(17);
    for len in [1, 7, 8, 15, 16, 17, 31, 32, 33, 50, 100, 128, 129] {
        for rows in (1..=18).chain([23, 24, 25, 31, 32, 33, 40, 41]) {
            let layout = Layout::rows(rows, len).unwrap();
            let case = Case::<T>::random(&mut random, layout);
            on_all(&case, layout, &SoftmaxOptions::new(), &(rows, len));
        }
    }
}

/// Rows with results that are subnormal, and rows with elements that leave no trace, which take other loops.
fn rows_of_every_reach<T: Real>() {
    let mut random = Random(31);
    let least = -f64::from(T::MIN) * core::f64::consts::LN_2;
    for border in [least, if T::DIGITS == 24 { 110.0 } else { 800.0 }] {
        for beyond in [-6.0, -0.1, 0.1, 6.0, 20.0] {
            let reach = border + beyond;
            for (outer, len, inner) in [(1, 70, 1), (17, 70, 1), (2, 70, 33), (2, 1_003, 1)] {
                let layout = Layout::new(outer, len, inner).unwrap();
                let mut case = Case::<T>::random(&mut random, layout);
                case.x = (0..outer * len * inner).map(|_| T::of(3.0 - reach * random.unit())).collect();
                for row in 0..outer * inner {
                    let places = places(layout, row);
                    case.x[places[row % len]] = T::of(3.0);
                    case.x[places[(row + 5) % len]] = T::of(3.0 - reach);
                }
                on_all(&case, layout, &SoftmaxOptions::new(), &(reach, len, inner));
            }
        }
    }
}

/// So many elements that terms are kept from pass to pass, in rows that fit what there is for them and in longer ones, of
/// every kind beside each other.
fn rows_whose_terms_are_kept<T: Real>() {
    let mut random = Random(37);
    for (rows, len) in [
        (300, 15),
        (250, 20),
        (33, 130),
        (19, 640),
        (9, 1_003),
        (5, 1_024),
        (5, 2_047),
        (4, 2_048),
        (3, 2_065),
        (1, 5_000),
    ] {
        let layout = Layout::rows(rows, len).unwrap();
        let mut case = Case::<T>::random(&mut random, layout);
        for (row, x) in case.x.chunks_mut(len).enumerate() {
            let last = len - 1;
            match row % 7 {
                0 => x.iter_mut().for_each(|x| *x = x.max(T::of(-30.0))),
                1 => x[row % len] = -T::infinity(),
                2 => x.iter_mut().for_each(|x| *x = *x * T::of(30.0)),
                3 => x[last] = T::nan(),
                4 => x.iter_mut().for_each(|x| *x = *x + T::of(5_000.0)),
                5 => x.fill(-T::infinity()),
                _ => x[last / 2] = T::infinity(),
            }
        }
        on_all(&case, layout, &SoftmaxOptions::new(), &(rows, len));
        let valid: Vec<usize> = (0..rows).map(|row| len - row * 7 % len).collect();
        on_all(&case, layout, &SoftmaxOptions::new().lengths(&valid), &(rows, len, "lengths"));
        on_all(&case, layout, &SoftmaxOptions::new().temperature(T::of(3.0)), &(rows, len, "temperature"));
    }
}

fn every_axis_is_a_copied_row<T: Real>() {
    let shapes: [&[usize]; 9] =
        [&[5], &[41], &[3, 4], &[40, 19], &[2, 3, 4], &[2, 35, 3], &[2, 3, 4, 5], &[3, 1, 2, 17], &[2, 0, 3]];
    let mut random = Random(2);
    for shape in shapes {
        for axis in 0..shape.len() {
            let layout = Layout::from_shape(shape, axis as isize).unwrap();
            let case = Case::<T>::random(&mut random, layout);
            let keep: Vec<bool> = case.x.iter().map(|_| !random.bits().is_multiple_of(5)).collect();
            let rows: Vec<usize> = (0..layout.row_count()).collect();
            let order: Vec<usize> = rows.iter().flat_map(|&r| places(layout, r)).collect();
            let contiguous = Layout::rows(layout.row_count(), layout.len()).unwrap();
            let copied = case.part(&order, &rows);
            let copied_keep: Vec<bool> = order.iter().map(|&i| keep[i]).collect();
            for t in [1.0, 3.0] {
                let plain = SoftmaxOptions::new().temperature(T::of(t));
                let strided = on_all(&case, layout, &plain.mask(&keep), &(shape, axis));
                let want = all(scalar(), &copied, contiguous, &plain.mask(&copied_keep));
                let gathered: Vec<Vec<u64>> = strided
                    .iter()
                    .enumerate()
                    .map(
                        |(n, r)| {
                            if n < ELEMENTWISE { order.iter().map(|&i| r[i]).collect() } else { r.clone() }
                        },
                    )
                    .collect();
                same(&gathered, &want, &(shape, axis));
                // Each row by itself: the batch around it does not matter.
                for &r in &rows {
                    let at = places(layout, r);
                    let mask: Vec<bool> = at.iter().map(|&i| keep[i]).collect();
                    let alone = all(scalar(), &case.part(&at, &[r]), row(at.len()), &plain.mask(&mask));
                    for (n, alone) in alone.iter().enumerate() {
                        let within: Vec<u64> = if n < ELEMENTWISE {
                            at.iter().map(|&i| strided[n][i]).collect()
                        } else {
                            vec![strided[n][r]]
                        };
                        assert_eq!(&within, alone, "{}, {shape:?} axis {axis} row {r}", NAMES[n]);
                    }
                }
            }
        }
    }
}

fn options_that_change_nothing<T: Real>() {
    let mut random = Random(3);
    for (outer, len, inner) in [(1, 50, 1), (20, 7, 1), (2, 9, 5), (3, 0, 1), (1, 1, 1)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        let mut case = Case::<T>::random(&mut random, layout);
        if len > 5 {
            case.x[3] = T::nan();
            case.x[layout.elements() - 1] = T::infinity();
        }
        let want = all_plain(scalar(), &case, layout);
        let none = SoftmaxOptions::new();
        // Rows of −∞ alone are NaN without a mask: the policy that says so makes the comparison whole.
        let keep = vec![true; layout.elements()];
        let valid = vec![len; layout.row_count()];
        same(&on_all(&case, layout, &none, &"none"), &want, &"none");
        same(&on_all(&case, layout, &none.temperature(T::one()), &"T = 1"), &want, &"T = 1");
        let nan = none.empty_rows(EmptyRows::Nan);
        same(&on_all(&case, layout, &nan.mask(&keep), &"mask"), &want, &"mask");
        same(&on_all(&case, layout, &nan.lengths(&valid), &"lengths"), &want, &"lengths");
    }
}

fn a_valid_length_cuts_the_row<T: Real>() {
    let mut random = Random(4);
    for (outer, len, inner) in [(6, 12, 1), (5, 75, 1), (2, 20, 19)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        let mut case = Case::<T>::random(&mut random, layout);
        let valid: Vec<usize> = (0..layout.row_count()).map(|r| 1 + r * 7 % len).collect();
        for (r, &valid) in valid.iter().enumerate() {
            for &i in &places(layout, r)[valid..] {
                let junk = [T::nan(), T::infinity(), T::of(1e30), -T::infinity()][random.bits() as usize % 4];
                (case.x[i], case.g[i], case.y[i], case.log_y[i]) = (junk, junk, junk, junk);
            }
        }
        for t in [1.0, 0.3] {
            let options = SoftmaxOptions::new().temperature(T::of(t)).empty_rows(EmptyRows::Nan);
            let whole = on_all(&case, layout, &options.lengths(&valid), &(len, inner));
            for r in 0..layout.row_count() {
                let at = places(layout, r);
                let (head, tail) = at.split_at(valid[r]);
                let cut = all(scalar(), &case.part(head, &[r]), row(valid[r]), &options);
                for n in 0..NAMES.len() {
                    let got: Vec<u64> = if n < ELEMENTWISE {
                        head.iter().map(|&i| whole[n][i]).collect()
                    } else {
                        vec![whole[n][r]]
                    };
                    assert_eq!(got, cut[n], "{} of row {r}", NAMES[n]);
                    let absent = if matches!(n, 1 | 3) { (-T::infinity()).bits() } else { 0 };
                    let clear = cut[n].first() == Some(&T::CANONICAL_NAN)
                        || n >= ELEMENTWISE
                        || tail.iter().all(|&i| whole[n][i] == absent);
                    assert!(clear, "{} beyond row {r}", NAMES[n]);
                }
            }
        }
    }
}

fn elements_not_kept_are_absent<T: Real>() {
    let mut random = Random(5);
    for (outer, len, inner) in [(9, 12, 1), (3, 75, 1), (2, 20, 19)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        let mut case = Case::<T>::random(&mut random, layout);
        let keep: Vec<bool> = case.x.iter().map(|_| !random.bits().is_multiple_of(3)).collect();
        let options = SoftmaxOptions::new().mask(&keep);
        let want = on_all(&case, layout, &options, &"as they were");
        let finite = |x: &[T]| x.iter().any(|x| x.is_finite());
        for r in 0..layout.row_count() {
            // The sums of the forward operations do not ask for the place of a term.
            let kept: Vec<usize> = places(layout, r).into_iter().filter(|&i| keep[i]).collect();
            let short = case.part(&kept, &[r]);
            if finite(&short.x) {
                let alone = all(scalar(), &short, row(kept.len()), &SoftmaxOptions::new());
                for n in [0, 1, 8] {
                    assert_eq!(
                        kept.iter().map(|&i| want[n][i]).collect::<Vec<_>>(),
                        alone[n],
                        "{}",
                        NAMES[n]
                    );
                }
                assert_eq!(want[9][r], alone[9][0]);
            }
        }
        for (i, _) in keep.iter().enumerate().filter(|(_, keep)| !**keep) {
            assert!(
                (0..ELEMENTWISE)
                    .all(|n| want[n][i] == if matches!(n, 1 | 3) { (-T::infinity()).bits() } else { 0 })
            );
            let junk = [T::nan(), T::infinity(), T::max_value(), -T::infinity()][random.bits() as usize % 4];
            (case.x[i], case.g[i], case.y[i], case.log_y[i]) = (junk, junk, junk, junk);
        }
        same(&on_all(&case, layout, &options, &"junk"), &want, &"junk");
    }
}

// ---- Special values --------------------------------------------------------------------------------

fn specials_in_every_position<T: Real>() {
    let mut random = Random(6);
    let nan = T::from_pattern(T::CANONICAL_NAN | 9);
    for (outer, len, inner) in [(1, 40, 1), (3, 33, 1), (18, 5, 1), (1, 6, 18), (2, 1, 1)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        let x = random.normal::<T>(layout.elements(), 3.0);
        let g = random.normal::<T>(layout.elements(), 1.0);
        let plain = Case::new(x.clone(), g.clone(), layout, &SoftmaxOptions::new());
        let before = all(scalar(), &plain, layout, &SoftmaxOptions::new());
        for r in 0..layout.row_count() {
            for &i in &places(layout, r) {
                for special in [nan, -nan, T::infinity(), -T::infinity()] {
                    let mut x = x.clone();
                    x[i] = special;
                    let case = Case::new(x, g.clone(), layout, &SoftmaxOptions::new());
                    let after = on_all(&case, layout, &SoftmaxOptions::new(), &(len, i, special));
                    for n in 0..NAMES.len() {
                        let of = |r: usize| if n < ELEMENTWISE { places(layout, r) } else { vec![r] };
                        for other in (0..layout.row_count()).filter(|&other| other != r) {
                            assert!(of(other).iter().all(|&j| after[n][j] == before[n][j]), "{}", NAMES[n]);
                        }
                        let dead = !(special == -T::infinity() && len > 1);
                        let want = match (n, special.is_nan(), special > T::zero()) {
                            (9, false, true) => T::infinity(),
                            (9, false, false) => -T::infinity(),
                            (8 | 10, false, false) => T::zero(),
                            _ => T::nan(),
                        };
                        for &j in &of(r) {
                            let got = after[n][j];
                            if dead {
                                let want = if want.is_nan() { T::CANONICAL_NAN } else { want.bits() };
                                assert_eq!(got, want, "{} with {special} at {i}", NAMES[n]);
                            } else {
                                assert!(T::from_pattern(got).is_finite() || matches!(n, 1 | 3) && j == i);
                            }
                        }
                    }
                    if special == -T::infinity() && len > 1 {
                        assert_eq!((after[0][i], after[1][i]), (0, (-T::infinity()).bits()));
                        assert_eq!((after[4][i], after[5][i], after[8][i]), (0, 0, 0));
                        assert_eq!(after[6][i], g[i].bits());
                    }
                }
            }
        }
    }
}

fn nan_wins_over_infinities<T: Real>() {
    let (infinity, nan) = (T::infinity(), T::nan());
    for x in [[nan, infinity, -infinity], [-infinity, nan, infinity], [-infinity, -infinity, nan]] {
        let case = Case::new(x.to_vec(), vec![T::one(); 3], row(3), &SoftmaxOptions::new());
        for keep in [None, Some([true; 3])] {
            let mut options = SoftmaxOptions::new();
            if let Some(keep) = &keep {
                options = options.mask(keep);
            }
            for (name, result) in NAMES.iter().zip(on_all(&case, row(3), &options, &x)) {
                assert_eq!(result, nan_bits::<T>(result.len()), "{name} of {x:?}");
            }
        }
    }
    let case = Case::new(vec![-infinity, infinity], vec![T::one(); 2], row(2), &SoftmaxOptions::new());
    let results = on_all(&case, row(2), &SoftmaxOptions::new(), &"+∞ before −∞");
    for n in [0, 1, 4, 5, 6, 7, 8, 10] {
        assert_eq!(results[n], nan_bits::<T>(results[n].len()), "{}", NAMES[n]);
    }
    assert_eq!(results[9], [infinity.bits()]);
}

fn only_minus_infinity<T: Real>() {
    for len in [1, 2, 16, 33, 40] {
        for rows in [1, 3] {
            let layout = Layout::rows(rows, len).unwrap();
            let none = SoftmaxOptions::new();
            let x = vec![-T::infinity(); layout.elements()];
            let case = Case::new(x, vec![T::one(); layout.elements()], layout, &none);
            let results = on_all(&case, layout, &none, &len);
            for n in 0..8 {
                assert_eq!(results[n], nan_bits::<T>(layout.elements()), "{}", NAMES[n]);
            }
            assert!(results[8].iter().chain(&results[10]).all(|&d| d == 0));
            assert_eq!(results[9], vec![(-T::infinity()).bits(); rows]);
        }
    }
}

fn empty_rows_follow_the_policy<T: Real>() {
    let infinity = T::infinity();
    for len in [1_usize, 3, 40, 200] {
        let layout = Layout::rows(3, len).unwrap();
        // Row 0: nothing kept. Row 1: only −∞ kept, if anything. Row 2: whole.
        let mut x = vec![T::of(0.5); 3 * len];
        x[len..2 * len].fill(-infinity);
        let keep: Vec<bool> = (0..3 * len).map(|i| i > len).collect();
        let valid = [0, len - 1, len];
        let whole = SoftmaxOptions::new();
        for (policy, p) in [
            (EmptyRows::Zeros, Some((T::zero(), -infinity))),
            (EmptyRows::Uniform, Some((T::of(1.0 / len as f64), T::of(-(len as f64).ln())))),
            (EmptyRows::Nan, None),
        ] {
            for options in [whole.mask(&keep), whole.lengths(&valid)] {
                let options = options.empty_rows(policy);
                let g: Vec<T> = (0..3 * len).map(|i| T::of(i as f64 - 1.5)).collect();
                let case = Case::new(x.clone(), g, layout, &options);
                let results = on_all(&case, layout, &options, &(policy, len));
                let decided = 0..2 * len;
                match p {
                    Some((y, log_y)) => {
                        assert_eq!(results[0][decided.clone()], vec![y.bits(); 2 * len]);
                        let log: Vec<T> =
                            results[1][decided.clone()].iter().map(|&b| T::from_pattern(b)).collect();
                        if policy == EmptyRows::Uniform {
                            let exact = -Big::of(len as f64).ln();
                            assert!(
                                len == 1 && log[0] == T::zero() || log.iter().all(|&l| ulps(l, exact) <= 1.0)
                            );
                            assert!(len > 1 || log.iter().all(|l| l.bits() == 0), "−log 1 is +0");
                        } else {
                            assert!(log.iter().all(|&l| l == log_y));
                        }
                        for n in 4..8 {
                            assert!(
                                results[n][decided.clone()].iter().all(|&d| d == 0),
                                "{} {policy:?}",
                                NAMES[n]
                            );
                        }
                    }
                    None => {
                        assert_eq!(results[0][decided.clone()], nan_bits::<T>(2 * len));
                        assert_eq!(results[1][decided.clone()], nan_bits::<T>(2 * len));
                        for n in 4..8 {
                            let of_kept = |i: &usize| !keep[*i] || results[n][*i] == T::CANONICAL_NAN;
                            assert!(
                                (len..2 * len - 1).all(|i| of_kept(&i) || results[n][i] == 0),
                                "{}",
                                NAMES[n]
                            );
                        }
                    }
                }
                assert_eq!(results[9][..2], [(-infinity).bits(); 2]);
                assert_eq!(results[10][..2], [0, 0]);
                assert!(results[8][decided].iter().all(|&d| d == 0));
                assert!(results[0][2 * len..].iter().all(|&y| T::from_pattern(y) > T::zero()));
            }
        }
    }
}

fn empty_rows_of_every_axis<T: Real>() {
    let mut random = Random(19);
    for (outer, len, inner) in [(2, 5, 3), (1, 3, 18), (3, 40, 2)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        let case = Case::<T>::random(&mut random, layout);
        let mut keep = vec![true; layout.elements()];
        let mut valid = vec![len; layout.row_count()];
        for r in (0..layout.row_count()).step_by(2) {
            places(layout, r).into_iter().for_each(|i| keep[i] = false);
            valid[r] = 0;
        }
        let whole = SoftmaxOptions::new().empty_rows(EmptyRows::Uniform);
        for options in [whole.mask(&keep), whole.lengths(&valid)] {
            let case = Case::new(case.x.clone(), case.g.clone(), layout, &options);
            let results = on_all(&case, layout, &options, &layout);
            for r in 0..layout.row_count() {
                let at = places(layout, r);
                let alone = case.part(&at, &[r]);
                let want = if r % 2 == 0 {
                    all(scalar(), &alone, row(len), &whole.lengths(&[0]))
                } else {
                    all(scalar(), &alone, row(len), &SoftmaxOptions::new())
                };
                for n in 0..ELEMENTWISE {
                    let got: Vec<u64> = at.iter().map(|&i| results[n][i]).collect();
                    assert_eq!(got, want[n], "{}, {layout:?}, row {r}", NAMES[n]);
                }
            }
        }
    }
}

fn some_minus_infinity<T: Real>() {
    let infinity = T::infinity();
    let x = vec![-infinity, T::of(2.0), -infinity, T::of(-1.0)];
    let g = vec![T::of(3.0), T::of(-4.0), -T::zero(), T::of(5.0)];
    let case = Case::new(x, g, row(4), &SoftmaxOptions::new());
    let results = on_all(&case, row(4), &SoftmaxOptions::new(), &"some");
    for i in [0, 2] {
        assert_eq!((results[0][i], results[1][i]), (0, (-infinity).bits()));
        assert_eq!((results[4][i], results[5][i], results[8][i]), (0, 0, 0));
    }
    assert_eq!((results[6][0], results[6][2]), (T::of(3.0).bits(), 0));
    assert!(results[4..].iter().flatten().all(|&d| T::from_pattern(d).is_finite()));
}

fn the_gap_overflows<T: Real>() {
    let top = if T::DIGITS == 24 { 3e38 } else { 1.5e308 };
    for t in [1.0, 7.0, 0.5, 1e-30] {
        let options = SoftmaxOptions::new().temperature(T::of(t));
        let x = vec![T::of(top), T::of(-top)];
        let case = Case::new(x, vec![T::of(2.0), T::of(-3.0)], row(2), &options);
        let results = on_all(&case, row(2), &options, &t);
        let gap = Big::of(T::of(-top).wide()).times_pow2(1) / Big::of(T::of(t).wide());
        assert_eq!(results[0], [T::one().bits(), 0], "T = {t}");
        assert_eq!(results[1][0], 0);
        assert!(ulps(T::from_pattern(results[1][1]), gap) <= 1.0, "T = {t}");
        assert!(t > 1.0 || results[1][1] == (-T::infinity()).bits());
        let finite = |n: usize| results[n].iter().all(|&d| T::from_pattern(d).is_finite());
        assert!([4, 5, 6, 7, 8, 10].into_iter().all(finite), "T = {t}");
    }
}

fn one_finite_element<T: Real>() {
    for value in [0.0, 1.0, -3.7, 88.7, -1e4, 1e30, T::max_value().wide(), T::from_pattern(1).wide()] {
        for value in [T::of(value), -T::of(value)] {
            let case = Case {
                x: vec![value],
                y: vec![T::one()],
                log_y: vec![T::zero()],
                g: vec![T::of(-2.5)],
                upstream: vec![T::of(-2.5)],
            };
            let r = on_all(&case, row(1), &SoftmaxOptions::new(), &value);
            let got: Vec<u64> = r.iter().map(|r| r[0]).collect();
            let (one, g) = (T::one().bits(), T::of(-2.5).bits());
            let l = (value + T::zero()).bits();
            assert_eq!(got, [one, 0, one, 0, 0, 0, 0, 0, g, l, g], "{value}");
            for at in 0..20 {
                let mut x = vec![-T::infinity(); 20];
                x[at] = value;
                let case = Case::new(x, vec![T::one(); 20], row(20), &SoftmaxOptions::new());
                let r = on_all(&case, row(20), &SoftmaxOptions::new(), &value);
                assert_eq!((r[0][at], r[1][at], r[9][0], r[8][at]), (one, 0, l, one), "{value}");
            }
        }
    }
}

fn no_elements<T: Real>() {
    // Its dimensions overflow, its elements are none.
    let vast = Layout::new(0, usize::MAX, 2).unwrap();
    let lengths = SoftmaxOptions::<T>::new().lengths(&[]);
    scalar().softmax_in_place_with(&mut [], vast, &lengths).unwrap();
    // More rows than could be counted through, with nothing in them.
    let endless = Layout::new(usize::MAX, 0, 1).unwrap();
    for k in Backend::available().map(|backend| backend.try_get().unwrap()) {
        let uniform = SoftmaxOptions::<T>::new().mask(&[]).empty_rows(EmptyRows::Uniform);
        for options in [&SoftmaxOptions::new(), &SoftmaxOptions::new().temperature(T::of(0.5)), &uniform] {
            k.softmax_with(&[], endless, options, &mut []).unwrap();
            k.softmax_in_place_with(&mut [], endless, options).unwrap();
            k.softmax_vjp_with(&[], &[], endless, options, &mut []).unwrap();
            k.softmax_jvp_with(&[], &[], endless, options, &mut []).unwrap();
            k.log_softmax_with(&[], endless, options, &mut []).unwrap();
            k.log_softmax_in_place_with(&mut [], endless, options).unwrap();
            k.log_softmax_vjp_with(&[], &[], endless, options, &mut []).unwrap();
            k.log_softmax_jvp_with(&[], &[], endless, options, &mut []).unwrap();
        }
        k.l2_normalize::<T>(&[], endless, Default::default(), &mut []).unwrap();
    }
    for layout in [(3, 0, 1), (2, 0, 5), (0, 4, 1), (0, 0, 0), (4, 3, 0)] {
        let layout = Layout::new(layout.0, layout.1, layout.2).unwrap();
        let rows = layout.row_count();
        let case = Case { x: vec![], y: vec![], log_y: vec![], g: vec![], upstream: vec![T::one(); rows] };
        let results = on_all(&case, layout, &SoftmaxOptions::new(), &layout);
        assert_eq!(results[9], vec![(-T::infinity()).bits(); rows]);
        assert_eq!(results[10], vec![0; rows]);
        let valid = vec![0; rows];
        let masked = on_all(&case, layout, &SoftmaxOptions::new().lengths(&valid), &layout);
        assert_eq!(masked[9], results[9]);
    }
}

fn upstream_not_finite<T: Real>() {
    let infinity = T::infinity();
    let finite = T::of(0.5);
    for bad in [T::nan(), infinity, -infinity] {
        for at in 0..36 {
            // The last element of each row has probability 0.
            let mut x = vec![T::of(0.25); 36];
            x[17] = -infinity;
            x[35] = -infinity;
            let mut g = vec![finite; 36];
            g[at] = bad;
            let layout = Layout::rows(2, 18).unwrap();
            let mut case = Case::new(x, g, layout, &SoftmaxOptions::new());
            case.upstream = vec![finite, bad];
            let results = on_all(&case, layout, &SoftmaxOptions::new(), &(bad, at));
            let bad_row = at / 18;
            for n in 4..8 {
                for (i, &d) in results[n].iter().enumerate() {
                    let zero = n < 6 && i % 18 == 17;
                    if zero {
                        assert_eq!(d, 0, "{}", NAMES[n]);
                    } else {
                        assert_eq!(d == T::CANONICAL_NAN, i / 18 == bad_row, "{} {bad} at {at}", NAMES[n]);
                    }
                }
            }
            assert_eq!(results[10][bad_row], T::CANONICAL_NAN);
            assert!(T::from_pattern(results[10][1 - bad_row]).is_finite());
            assert_eq!(results[8][18..35], nan_bits::<T>(17));
            assert_eq!((results[8][17], results[8][35]), (0, 0));
        }
    }
}

/// The only element of a row is certain: no gradient reaches it. One that is NaN still is.
fn upstream_not_finite_at_a_certain_element<T: Real>() {
    let (infinity, none) = (T::infinity(), -T::infinity());
    let (one, zero, bits) = (T::one(), T::zero(), |v: &[T]| v.iter().map(|v| v.bits()).collect::<Vec<_>>());
    for k in Backend::available().map(|backend| backend.try_get().unwrap()) {
        let check =
            |layout: Layout, options: &SoftmaxOptions<'_, T>, y: &[T], log_y: &[T], g: &[T], want: &[T]| {
                let mut grad = vec![one; y.len()];
                k.softmax_vjp_with(y, g, layout, options, &mut grad).unwrap();
                assert_eq!(bits(&grad), bits(want));
                k.softmax_jvp_with(y, g, layout, options, &mut grad).unwrap();
                assert_eq!(bits(&grad), bits(want));
                k.log_softmax_vjp_with(log_y, g, layout, options, &mut grad).unwrap();
                assert_eq!(bits(&grad), bits(want));
                k.log_softmax_jvp_with(log_y, g, layout, options, &mut grad).unwrap();
                assert_eq!(bits(&grad), bits(want));
            };
        let (rows, plain) = (Layout::rows(3, 1).unwrap(), SoftmaxOptions::new());
        let nan = T::from_pattern(T::CANONICAL_NAN);
        check(rows, &plain, &[one, one, nan], &[zero, zero, nan], &[infinity, nan, one], &[zero, zero, nan]);
        let (row, garbage) = (Layout::rows(1, 3).unwrap(), [infinity; 3]);
        let (y, log_y) = ([one, zero, zero], [zero, none, none]);
        check(row, &plain.lengths(&[1]), &y, &log_y, &garbage, &[zero; 3]);
        check(row, &plain.mask(&[true, false, false]), &y, &log_y, &garbage, &[zero; 3]);
    }
}

fn results_zero_are_positive<T: Real>() {
    let zero = T::zero();
    let x = vec![T::of(1.0), T::of(-2000.0), T::of(-3.0), -T::infinity()];
    for g in [zero, -zero, T::from_pattern(1), -T::from_pattern(1)] {
        let case = Case::new(x.clone(), vec![g; 4], row(4), &SoftmaxOptions::new());
        for t in [1.0, 3.0] {
            let options = SoftmaxOptions::new().temperature(T::of(t));
            for (name, result) in NAMES.iter().zip(on_all(&case, row(4), &options, &g)) {
                assert!(result.iter().all(|&d| d != (-zero).bits()), "{name} with {g}: −0");
            }
        }
    }
}

// ---- Accuracy --------------------------------------------------------------------------------------

/// A row computed in double-double: of each element its argument less the maximum's, and exp of that.
struct Exact {
    max: Big,
    gaps: Vec<Big>,
    exps: Vec<Big>,
    sum: Big,
    /// log Σ exp − maximum.
    excess: Big,
}

impl Exact {
    fn new<T: Real>(x: &[T], t: T) -> Self {
        let t = Big::of(t.wide());
        let top = x.iter().copied().fold(-T::infinity(), |a, b| if b > a { b } else { a });
        let of_top = x.iter().position(|&x| x == top).unwrap();
        let top = Big::of(top.wide());
        let gaps: Vec<Big> = x.iter().map(|x| (Big::of(x.wide()) - top) / t).collect();
        // Below that nothing is left of the exponential in either type, nor in a sum.
        let least = Big::of(-1e5);
        let exps: Vec<Big> =
            gaps.iter().map(|&g| if (g - least).hi < 0.0 { Big::ZERO } else { g.exp() }).collect();
        // Small terms first lose nothing to large ones; the maximum is added last.
        let others = exps.iter().enumerate().filter(|e| e.0 != of_top).fold(Big::ZERO, |s, e| s + *e.1);
        let one = Big::of(1.0);
        let excess = if others.hi == 0.0 {
            Big::ZERO
        } else if others.e < -20 {
            let series = (2..=6).rev().fold(Big::ZERO, |s, n| (one / Big::of(f64::from(n)) - s) * others);
            others * (one - series)
        } else {
            (one + others).ln()
        };
        Self { max: top / t, gaps, exps, sum: one + others, excess }
    }
    fn softmax(&self, i: usize) -> Big {
        self.exps[i] / self.sum
    }
    fn log_softmax(&self, i: usize) -> Big {
        self.gaps[i] - self.excess
    }
    fn logsumexp(&self) -> Big {
        self.max + self.excess
    }
}

fn unit_of<T: Real>(exact: Big) -> i32 {
    let binade = exact.e - i32::from(exact.hi.abs() == 1.0 && exact.lo * exact.hi < 0.0);
    if exact.hi == 0.0 { T::MIN } else { (binade - T::DIGITS + 1).max(T::MIN) }
}

/// The largest errors of softmax and log_softmax, and of logsumexp in units of its bound.
fn check_forward<T: Real>(x: &[T], t: f64) -> [f64; 3] {
    let t = T::of(t);
    let options = SoftmaxOptions::new().temperature(t);
    let layout = row(x.len());
    let (mut y, mut log_y, mut l) = (vec![T::zero(); x.len()], vec![T::zero(); x.len()], [T::zero()]);
    softmax_with(x, layout, &options, &mut y).unwrap();
    log_softmax_with(x, layout, &options, &mut log_y).unwrap();
    logsumexp_with(x, layout, &options, &mut l).unwrap();
    let exact = Exact::new(x, t);
    let mut worst = [0.0_f64; 3];
    for i in 0..x.len() {
        let errors = [ulps(y[i], exact.softmax(i)), ulps(log_y[i], exact.log_softmax(i))];
        for (n, error) in errors.into_iter().enumerate() {
            assert!(error <= 1.0, "{} at {i} of {}, T = {t}: {error} ULP, x = {:e}", NAMES[n], x.len(), x[i]);
            worst[n] = worst[n].max(error);
        }
    }
    let of_l = exact.logsumexp();
    let bound = 0.5 + exact.excess.times_pow2(-T::DIGITS - 3 - unit_of::<T>(of_l)).to_f64();
    worst[2] = ulps(l[0], of_l) / bound;
    assert!(worst[2] <= 1.0 + 1e-9, "logsumexp of {}, T = {t}: {} of its bound {bound}", x.len(), worst[2]);
    worst
}

/// The rows that both types are tried on.
fn rows<T: Real>() -> Vec<(&'static str, Vec<T>)> {
    let mut random = Random(20);
    let mut all = Vec::new();
    for (name, deviation) in
        [("N(0, 1)", 1.0), ("N(0, 10²)", 10.0), ("N(0, 50²)", 50.0), ("N(0, 400²)", 400.0)]
    {
        for len in [2, 3, 10, 33, 300, 1000] {
            all.push((name, random.normal(len, deviation)));
        }
    }
    for offset in [1e4, -1e4, 255.5, -255.5, 2047.0, 1e15] {
        let shifted = random.normal::<T>(100, 5.0).iter().map(|x| T::of(x.wide() + offset)).collect();
        all.push(("offset", shifted));
    }
    for gap in
        [0.0, 1e-9, 0.3, 1.0, 20.0, 60.0, 69.1, 86.0, 87.5, 95.0, 103.5, 200.0, 300.0, 700.0, 740.0, 746.0]
    {
        all.push(("dominant maximum", vec![T::of(gap), T::zero()]));
        all.push(("dominant maximum", vec![T::of(-gap), T::zero(), T::of(-gap), T::of(-gap - 3.0)]));
        let mut many = vec![T::of(-gap); 500];
        many[7] = T::zero();
        all.push(("dominant maximum of many", many));
    }
    // The other terms are just enough of the sum to be taken from it, or just not; also where L cancels.
    for len in [2, 3, 10, 64, 300, 1000] {
        let enough = len as f64 * if T::DIGITS == 24 { 2f64.powi(-15) } else { 2f64.powi(-32) };
        for others in [0.99, 1.01, 3.0, 40.0].map(|part| (enough * part).min(1.0)) {
            for top in [0.0, -others.ln_1p()] {
                let mut x: Vec<T> = random.normal(len, 1.0);
                let sum: f64 = x.iter().skip(1).map(|x| x.wide().exp()).sum();
                x.iter_mut().for_each(|x| *x = T::of(top + x.wide() + (others / sum).ln()));
                x[0] = T::of(top);
                all.push(("others near the least that is taken", x));
            }
        }
    }
    // Two that once missed the bound in f64.
    for pair in
        [[0xbff9_9cec_e79a_a90d, 0xbfcd_165a_1cf4_1d01], [0xbff5_7c85_122b_3345, 0xbfd3_1c79_84c6_65e2]]
    {
        all.push(("pair whose exponentials add up to 1", pair.map(|x| T::of(f64::from_bits(x))).to_vec()));
    }
    for _ in 0..300 {
        let x = -0.02 - 4.0 * random.unit();
        let other = (-x.exp()).ln_1p();
        all.push(("pair whose exponentials add up to 1", vec![T::of(x), T::of(other)]));
    }
    for _ in 0..60 {
        all.push(("pair", vec![T::of(random.spread(-12.0, 7.0)), T::of(random.spread(-12.0, 7.0))]));
        // The maximum and the logarithm of the sum cancel.
        all.push(("cancelling pair", vec![T::of(-core::f64::consts::LN_2 + 1e-6 * random.gauss()); 2]));
        all.push(("wide", random.wide(8)));
    }
    all
}

fn forward_within_bound<T: Real>() {
    for t in [1.0, 0.1, 7.0, 1e-30, 1e30] {
        let mut worst = [0.0_f64; 3];
        for (_, x) in rows::<T>() {
            for (worst, error) in worst.iter_mut().zip(check_forward(&x, t)) {
                *worst = worst.max(error);
            }
        }
        let [a, b, c] = worst;
        println!("T = {t}: softmax {a:.4} ULP, log_softmax {b:.4} ULP, logsumexp {c:.4} of its bound");
    }
}

fn long_rows_within_bound<T: Real>() {
    let n = 100_000;
    let ramp = |step: f64| (0..n).map(|i| T::of(f64::from(i) * step)).collect::<Vec<_>>();
    for (name, x) in [("ramp", ramp(1e-4)), ("steep ramp", ramp(-0.01)), ("flat", ramp(1e-9))] {
        println!("{name}: {:?}", check_forward(&x, 1.0));
    }
    for value in [0.0, 0.3, -17.7, 1e4, -3e38] {
        let x = vec![T::of(value); n as usize];
        let layout = row(x.len());
        let mut y = x.clone();
        softmax(&x, layout, &mut y).unwrap();
        let exact = Big::of(1.0) / Big::of(f64::from(n));
        assert!(y.iter().all(|v| v.bits() == y[0].bits()) && ulps(y[0], exact) <= 0.65, "{value}: {}", y[0]);
        log_softmax(&x, layout, &mut y).unwrap();
        let log = Big::of(f64::from(n)).ln();
        assert!(y.iter().all(|&y| ulps(y, -log) <= 0.65), "{value}: {}", y[0]);
        let mut l = [T::zero()];
        logsumexp(&x, layout, &mut l).unwrap();
        assert!(ulps(l[0], Big::of(x[0].wide()) + log) <= 0.65, "{value}: {}", l[0]);
    }
}

fn long_rows_cancel_within_bound<T: Real>() {
    // The maximum and the logarithm of the sum cancel, and terms are so many that f32 needs the third word of each, or
    // just does not; where their total is less than that of the maximum they are summed again, relative to the second largest.
    for (n, weight, total) in [
        (1_usize << 20, 0.0, 1.05),
        (1 << 20, 0.0, 1.16),
        (1 << 20, 0.0, 1.49),
        (1 << 20, 0.0, 2.81),
        (1 << 20, 0.3, 0.21),
        (1 << 20, 0.3, 0.24),
        (1 << 20, 0.3, 0.31),
        (1 << 20, 0.26, 0.47),
        (1 << 20, 0.0, 14.9),
        (1 << 20, 0.0, 15.1),
        (1 << 18, 0.0, 3.02),
        (1 << 18, 0.0, 3.07),
        (140_000, 0.0, 1.11),
        (140_000, 0.0, 1.14),
        (140_000, 0.0, 1.19),
    ] {
        let top = T::of(-(1.0_f64 + weight + total).ln());
        let second = T::of(top.wide() + f64::ln(weight));
        let small = T::of(top.wide() + (total / n as f64).ln());
        let mut x = vec![small; n + 2];
        x[n / 3] = top;
        x[n / 2] = second;
        let [top, second, small] = [top, second, small].map(|x| Big::of(x.wide()));
        let mut others = Big::of(n as f64) * (small - top).exp();
        if weight > 0.0 {
            others = others + (second - top).exp();
        }
        let log = (Big::of(1.0) + others).ln();
        let half = Big::of(0.5).times_pow2(unit_of::<T>(top + log));
        let bound = half + log.times_pow2(-(T::DIGITS + 3));
        for backend in Backend::available() {
            let mut l = [T::one()];
            backend.try_get().unwrap().logsumexp(&x, row(n + 2), &mut l).unwrap();
            let share = ((Big::of(l[0].wide()) - (top + log)).abs() / bound).to_f64();
            assert!(share <= 1.0, "{backend}, {weight} + {total}: {share} of the bound");
        }
    }
}

/// Their sums are begun in the first pass, where registers are many, and anew wherever the exponent of the maximum changes.
fn rows_beyond_the_cache_have_the_same_bits<T: Real>() {
    let len = (24 << 20) / size_of::<T>() + 16 * 700 + 5;
    let mut random = Random(7);
    let noise: Vec<f64> = (0..4099).map(|_| random.spread(-4.0, 0.0)).collect();
    let with = |x: &dyn Fn(usize) -> f64, others: &[(usize, f64)]| {
        let mut row: Vec<T> = (0..len).map(|i| T::of(x(i))).collect();
        for &(i, x) in others {
            row[i] = T::of(x);
        }
        row
    };
    let flat = |i: usize| noise[i % noise.len()];
    let far = |i: usize| flat(i) - 24.0;
    let large = |i: usize| flat(i) + 5000.0;
    let steps = |i: usize| flat(i) + (8 * i / len) as f64;
    let rising = |i: usize| flat(i) + (300 * i / len) as f64;
    let (middle, end, none) = (len / 2 + 77, len - 1, f64::NEG_INFINITY);
    for (name, x) in [
        ("flat", with(&flat, &[])),
        ("the maximum at the end", with(&flat, &[(end, 9.0)])),
        ("the maximum in the middle", with(&flat, &[(middle, 9.0), (end, none)])),
        ("not tame", with(&flat, &[(5, none), (middle, 30.0), (middle + 1, -200.0), (end - 9, 31.0)])),
        ("peaked", with(&far, &[(3, 0.0), (end - 1, none)])),
        ("peaked twice", with(&far, &[(middle, 0.0), (middle + 9999, 3.0), (9, none)])),
        ("beyond the largest that is used as it is", with(&large, &[(middle, 5001.5)])),
        ("a few steps", with(&steps, &[])),
        ("many steps", with(&rising, &[])),
        ("nothing", with(&|_| none, &[])),
        ("NaN", with(&flat, &[(middle, f64::NAN), (end, f64::INFINITY)])),
        ("infinite", with(&flat, &[(5, f64::INFINITY)])),
    ] {
        let mut all = Vec::new();
        // The scalar backend is another text of the same arithmetic, and slow.
        for backend in Backend::available().filter(|&backend| backend != Backend::Scalar) {
            let kernels = backend.try_get().unwrap();
            let (mut y, mut in_place, mut l) = (vec![T::zero(); len], x.clone(), [T::zero()]);
            kernels.softmax(&x, row(len), &mut y).unwrap();
            kernels.softmax_in_place(&mut in_place, row(len)).unwrap();
            kernels.logsumexp(&x, row(len), &mut l).unwrap();
            let [y, in_place] = [y, in_place].map(|y| y.iter().map(|y| y.bits()).collect::<Vec<_>>());
            assert!(y == in_place, "{name} in place, {backend}");
            all.push((backend, y, l[0].bits()));
        }
        for (backend, y, l) in &all[1..] {
            assert!((y, l) == (&all[0].1, &all[0].2), "{name}: {backend} and {}", all[0].0);
        }
    }
}

/// Each has a third word or not for itself.
fn long_rows_beside_each_other_have_the_same_bits<T: Real>() {
    let (len, rows) = ((1 << 17) + 4000, 19);
    let mut random = Random(8);
    let mut x = vec![T::zero(); len * rows];
    for (i, x) in x.iter_mut().enumerate() {
        // From a sum of less than 2 to one of a seventh of the terms.
        *x = T::of(if i / rows == 71 { 0.0 } else { random.spread(-3.0, 0.0) - 18.0 + (i % rows) as f64 });
    }
    let layout = Layout::new(1, len, rows).unwrap();
    for kernels in Backend::available().map(|backend| backend.try_get().unwrap()) {
        let (mut y, mut l) = (vec![T::zero(); x.len()], vec![T::zero(); rows]);
        kernels.softmax(&x, layout, &mut y).unwrap();
        kernels.logsumexp(&x, layout, &mut l).unwrap();
        for r in 0..rows {
            let alone: Vec<T> = x[r..].iter().step_by(rows).copied().collect();
            let (mut y_alone, mut l_alone) = (vec![T::zero(); len], [T::zero()]);
            kernels.softmax(&alone, row(len), &mut y_alone).unwrap();
            kernels.logsumexp(&alone, row(len), &mut l_alone).unwrap();
            assert!(
                y[r..].iter().step_by(rows).zip(&y_alone).all(|(a, b)| a.bits() == b.bits()),
                "{kernels:?}, {r}"
            );
            assert_eq!(l[r].bits(), l_alone[0].bits(), "{kernels:?}, {r}");
        }
    }
}

fn known_values<T: Real>() {
    let mut y = [T::zero(); 2];
    log_softmax(&[T::of(69.1), T::zero()], row(2), &mut y).unwrap();
    assert!((y[0].wide() / -9.787e-31 - 1.0).abs() < 0.01, "{}", y[0]);
    // −exp(−69.1) by the f64 library, 69.1 as the type has it.
    let exact = Big::of(-T::of(69.1).wide()).exp();
    assert!(ulps(y[0], -exact) <= 0.6);
    softmax(&[T::of(2.0), T::of(2.0)], row(2), &mut y).unwrap();
    assert_eq!(y, [T::of(0.5); 2]);
}

/// |got − exact| in units of the last place of `m`; an infinity counts as the number after the largest, and
/// is right beyond it.
fn ulps_of<T: Real>(got: T, exact: Big, m: Big) -> f64 {
    if got.is_nan() {
        return f64::INFINITY;
    }
    let got = if got.is_infinite() {
        let limit =
            Big::of(T::one().copysign(got).wide()).times_pow2(if T::DIGITS == 24 { 128 } else { 1024 });
        if exact.e >= limit.e && (exact.hi < 0.0) == (limit.hi < 0.0) {
            return 0.0;
        }
        limit
    } else {
        Big::of(got.wide())
    };
    (got - exact).abs().times_pow2(-unit_of::<T>(m)).to_f64()
}

fn sum(terms: impl Iterator<Item = Big>) -> Big {
    terms.fold(Big::ZERO, |a, b| a + b)
}

/// The largest error of each gradient in ULP of its M.
fn check_gradients<T: Real>(x: &[T], g: &[T], t: f64, y_log_y: Option<(&[T], &[T])>) -> [f64; 5] {
    let t = T::of(t);
    let (n, layout) = (x.len(), row(x.len()));
    let options = SoftmaxOptions::new().temperature(t);
    let mut case = Case::new(x.to_vec(), g.to_vec(), layout, &options);
    if let Some((y, log_y)) = y_log_y {
        (case.y, case.log_y) = (y.to_vec(), log_y.to_vec());
    }
    let results = all(Backend::best().unwrap().try_get().unwrap(), &case, layout, &options);
    let exact = Exact::new(x, t);
    let big = |v: &[T]| v.iter().map(|v| Big::of(v.wide())).collect::<Vec<_>>();
    let (y, g, t) = (big(&case.y), big(g), Big::of(t.wide()));
    let probability: Vec<Big> = case
        .log_y
        .iter()
        .map(|l| if l.wide() < -1e5 { Big::ZERO } else { Big::of(l.wide()).exp() })
        .collect();
    let dot = |p: &[Big]| {
        (sum(p.iter().zip(&g).map(|(&p, &g)| p * g)), sum(p.iter().zip(&g).map(|(&p, &g)| p * g.abs())))
    };
    let (s, s_abs) = dot(&y);
    let (log_s, log_s_abs) = dot(&probability);
    let (g_s, g_s_abs) = (sum(g.iter().copied()), sum(g.iter().map(|g| g.abs())));
    let mut worst = [0.0_f64; 5];
    let mut check = |which: usize, op: usize, i: usize, exact: Big, m: Big| {
        let error = ulps_of(T::from_pattern(results[op][i]), exact / t, m / t);
        assert!(
            error <= 4.0,
            "{} at {i} of {n}, T = {:e}: {error} ULP, {:e} for {:e}",
            NAMES[op],
            t.to_f64(),
            T::from_pattern(results[op][i]),
            (exact / t).to_f64()
        );
        worst[which] = worst[which].max(error);
    };
    let mut total = (Big::ZERO, Big::ZERO);
    for i in 0..n {
        check(0, 4, i, y[i] * (g[i] - s), y[i] * (g[i].abs() + s_abs));
        check(0, 5, i, y[i] * (g[i] - s), y[i] * (g[i].abs() + s_abs));
        check(1, 6, i, g[i] - probability[i] * g_s, g[i].abs() + probability[i] * g_s_abs);
        check(2, 7, i, g[i] - log_s, g[i].abs() + log_s_abs);
        let (p, upstream) = (exact.softmax(i), Big::of(case.upstream[0].wide()));
        check(3, 8, i, p * upstream, p * upstream.abs());
        total = (total.0 + p * g[i], total.1 + p * g[i].abs());
    }
    check(4, 10, 0, total.0, total.1);
    worst
}

fn gradients_within_bound<T: Real>() {
    let mut random = Random(30);
    for t in [1.0, 0.1, 7.0, 1e-30, 1e30] {
        let mut worst = [0.0_f64; 5];
        for (_, x) in rows::<T>() {
            let kinds = [random.normal(x.len(), 1.0), random.wide(x.len()), {
                let size = random.spread(f64::from(T::MIN), 100.0);
                random.normal::<T>(x.len(), 1.0).iter().map(|g| T::of(g.wide() * size)).collect()
            }];
            for g in kinds.iter().take(if x.len() > 500 { 1 } else { 3 }) {
                for (worst, error) in worst.iter_mut().zip(check_gradients(&x, g, t, None)) {
                    *worst = worst.max(error);
                }
            }
        }
        println!("T = {t}: softmax, log vjp, log jvp, logsumexp vjp, jvp: {worst:.3?} ULP of M");
    }
    // Long rows: the sums of the gradients.
    let x = random.normal::<T>(100_000, 3.0);
    let g = random.normal::<T>(100_000, 1.0);
    println!("100,000: {:.3?}", check_gradients(&x, &g, 1.0, None));
}

fn no_intermediate_overflows<T: Real>() {
    let (top, least) = (T::max_value().wide(), T::min_positive_value().wide());
    let huge = if T::DIGITS == 24 { 3e38 } else { 1.7e308 };
    let x = [T::zero(), T::of(0.5)];
    let with = |y: [f64; 2], g: [f64; 2], t: f64| {
        let (y, g) = (y.map(T::of), g.map(T::of));
        let log_y = y.map(|y| T::of(y.wide().ln()));
        check_gradients(&x, &g, t, Some((&y, &log_y)));
    };
    for t in [1.0, 0.5, 7.0, 1e30, 1e-30] {
        with([1e-3, 1e-3], [huge, -huge], t);
        with([0.5, 0.5], [huge, -huge], t);
        with([1.0, 1e-3], [huge, huge], t);
        with([1.0, least], [0.0, huge], t);
        with([1.0, least], [0.0, 1.0], t);
        with([1.0, 1e-20], [0.0, 1e-20], t);
        with([1.0, T::from_pattern(1).wide()], [least, top], t);
        with([0.6, 0.4], [least, -least * 3.0], t);
        with([0.6, 0.4], [T::from_pattern(1).wide(), least], t);
    }
    // Of y near 1 the share alone overflows, the difference does not.
    for t in [1.0, 7.0] {
        with([1.0, 1e-3], [huge, huge * 0.5], t);
        with([1.0, 1e-30], [-huge, -huge], t);
    }
    // The sum of the upstream overflows, a tiny probability's share of it does not vanish.
    let tiny = if T::DIGITS == 24 { -80.0 } else { -1100.0 };
    for t in [1.0, if T::DIGITS == 24 { 1e-37 } else { 1e-300 }] {
        let t = T::of(t);
        let x = [T::zero(), T::of(tiny * t.wide()), T::zero()];
        let log_y = [T::of(-0.7), T::of(tiny), T::of(-0.7)];
        let y = [T::of(0.5), T::of(tiny.exp()), T::of(0.5)];
        check_gradients(&x, &[T::of(huge), T::zero(), T::of(huge)], t.wide(), Some((&y, &log_y)));
    }
    // Small values beside large ones without weight, brought back by a low temperature.
    for t in [1.0, 1e-30, if T::DIGITS == 24 { 1e-37 } else { 1e-290 }] {
        let t = T::of(t);
        let odd = T::from_pattern(5);
        for (y, log_y) in [([0.5, 0.5, 0.0], [-0.7, -0.7, -2e3]), ([1.0, 1e-20, 0.0], [0.0, -46.0, -1e5])] {
            for g in [
                [odd, T::from_pattern(2), T::of(huge)],
                [T::zero(), odd, T::of(-huge)],
                [T::zero(), T::of(least), T::of(1.0)],
            ] {
                let (y, log_y) = (y.map(T::of), log_y.map(T::of));
                let x = log_y.map(|l| T::of(l.wide() * t.wide()));
                check_gradients(&x, &g, t.wide(), Some((&y, &log_y)));
            }
        }
    }
    // A tiny probability's share, which only the lowest temperatures bring back.
    if T::DIGITS == 53 {
        for t in [1e-301, least] {
            with([1.0, 1e-300], [0.0, 64.0], t);
            with([1.0, 3e-307], [least, 1e5], t);
        }
    }
    let row4 = [T::of(huge); 4];
    for t in [1.0, 1e30] {
        check_gradients(&[T::zero(); 4], &row4, t, None);
        check_gradients(&[T::zero(), T::of(9.0), T::zero(), T::zero()], &row4, t, None);
    }
}

// ---- Finite differences ----------------------------------------------------------------------------

#[test]
fn gradients_agree_with_finite_differences() {
    let mut random = Random(40);
    for (outer, len, inner) in [(1, 7, 1), (3, 5, 1), (2, 4, 3)] {
        let layout = Layout::new(outer, len, inner).unwrap();
        let n = layout.elements();
        let x = random.normal::<f64>(n, 2.0);
        let keep: Vec<bool> = (0..n).map(|i| i % 5 != 3).collect();
        let plain = SoftmaxOptions::new();
        for o in [plain, plain.temperature(0.7), plain.temperature(3.0).mask(&keep)] {
            let settings = Options::default();
            check_vjp(
                &settings,
                &[&x],
                n,
                |x, y| softmax_with(&x[0], layout, &o, y).unwrap(),
                |x, g, dx| {
                    let mut y = vec![0.0; n];
                    softmax_with(&x[0], layout, &o, &mut y).unwrap();
                    softmax_vjp_with(&y, g, layout, &o, &mut dx[0]).unwrap();
                },
            )
            .assert();
            // An element not kept gives −∞, which no difference can be taken of.
            let at_least = |y: &mut [f64]| y.iter_mut().for_each(|y| *y = y.max(-1e3));
            check_vjp(
                &settings,
                &[&x],
                n,
                |x, y| {
                    log_softmax_with(&x[0], layout, &o, y).unwrap();
                    at_least(y);
                },
                |x, g, dx| {
                    let mut y = vec![0.0; n];
                    log_softmax_with(&x[0], layout, &o, &mut y).unwrap();
                    log_softmax_vjp_with(&y, g, layout, &o, &mut dx[0]).unwrap();
                },
            )
            .assert();
            check_vjp(
                &settings,
                &[&x],
                layout.row_count(),
                |x, y| logsumexp_with(&x[0], layout, &o, y).unwrap(),
                |x, g, dx| logsumexp_vjp_with(&x[0], g, layout, &o, &mut dx[0]).unwrap(),
            )
            .assert();
        }
    }
}

// ---- Faults ----------------------------------------------------------------------------------------

fn faults_leave_outputs<T: Real>() {
    let one = T::one();
    let layout = Layout::rows(2, 3).unwrap();
    let (five, six) = ([T::of(0.25); 5], [T::of(0.25); 6]);
    let (two, three) = ([one; 2], [one; 3]);
    let mut out = six;
    let mut long = [T::of(0.25); 7];
    let mut reduced = two;
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    let none = SoftmaxOptions::new();
    type Binary<T> = fn(&[T], &[T], Layout, &mut [T]) -> Result<(), Error>;
    type Unary<T> = fn(&[T], Layout, &mut [T]) -> Result<(), Error>;
    let unary: [Unary<T>; 2] = [softmax, log_softmax];
    for op in unary {
        assert_eq!(op(&five, layout, &mut out), length("x", 6, 5));
        assert_eq!(op(&six, layout, &mut long), length("out", 6, 7));
    }
    assert_eq!(logsumexp(&five, layout, &mut reduced), length("x", 6, 5));
    assert_eq!(logsumexp(&six, layout, &mut out), length("out", 2, 6));
    assert_eq!(lossprep::softmax_in_place(&mut long, layout), length("data", 6, 7));
    assert_eq!(lossprep::log_softmax_in_place(&mut long, layout), length("data", 6, 7));
    let binary: [(Binary<T>, [&str; 3]); 4] = [
        (softmax_vjp, ["y", "upstream", "grad"]),
        (softmax_jvp, ["y", "tangent", "out"]),
        (log_softmax_vjp, ["log_y", "upstream", "grad"]),
        (log_softmax_jvp, ["log_y", "tangent", "out"]),
    ];
    for (op, [first, second, third]) in binary {
        assert_eq!(op(&five, &six, layout, &mut out), length(first, 6, 5));
        assert_eq!(op(&six, &five, layout, &mut out), length(second, 6, 5));
        assert_eq!(op(&six, &six, layout, &mut long), length(third, 6, 7));
    }
    assert_eq!(logsumexp_vjp(&five, &two, layout, &mut out), length("x", 6, 5));
    assert_eq!(logsumexp_vjp(&six, &three, layout, &mut out), length("upstream", 2, 3));
    assert_eq!(logsumexp_vjp(&six, &two, layout, &mut long), length("grad", 6, 7));
    assert_eq!(logsumexp_jvp(&five, &six, layout, &mut reduced), length("x", 6, 5));
    assert_eq!(logsumexp_jvp(&six, &five, layout, &mut reduced), length("tangent", 6, 5));
    assert_eq!(logsumexp_jvp(&six, &six, layout, &mut out), length("out", 2, 6));

    let subnormal = T::min_positive_value() / T::of(2.0);
    let parameter = Err(Error::Parameter { name: "temperature", requirement: "finite, normal and positive" });
    let mut cases = Vec::new();
    for t in [T::zero(), -one, T::nan(), T::infinity(), -T::infinity(), subnormal] {
        cases.push((none.temperature(t), parameter));
    }
    cases.push((none.mask(&[true; 5]), length("mask", 6, 5)));
    cases.push((none.lengths(&[1; 3]), length("lengths", 2, 3)));
    cases.push((none.lengths(&[3, 4]), Err(Error::ValidLength { row: 1, valid: 4, len: 3 })));
    for (o, want) in cases {
        let kernels = scalar();
        assert_eq!(kernels.softmax_with(&six, layout, &o, &mut out), want);
        assert_eq!(kernels.log_softmax_with(&six, layout, &o, &mut out), want);
        assert_eq!(kernels.logsumexp_with(&six, layout, &o, &mut reduced), want);
        assert_eq!(kernels.softmax_in_place_with(&mut out, layout, &o), want);
        assert_eq!(kernels.log_softmax_in_place_with(&mut out, layout, &o), want);
        assert_eq!(kernels.softmax_vjp_with(&six, &six, layout, &o, &mut out), want);
        assert_eq!(kernels.softmax_jvp_with(&six, &six, layout, &o, &mut out), want);
        assert_eq!(kernels.log_softmax_vjp_with(&six, &six, layout, &o, &mut out), want);
        assert_eq!(kernels.log_softmax_jvp_with(&six, &six, layout, &o, &mut out), want);
        assert_eq!(kernels.logsumexp_vjp_with(&six, &two, layout, &o, &mut out), want);
        assert_eq!(kernels.logsumexp_jvp_with(&six, &six, layout, &o, &mut reduced), want);
    }
    assert_eq!((bits(&out), bits(&long), reduced), (bits(&six), bits(&[T::of(0.25); 7]), two));
    assert_eq!(Layout::new(usize::MAX, 2, 1), Err(Error::Overflow));
    assert_eq!(Layout::from_shape(&[2, 3], 2), Err(Error::Axis { axis: 2, dimensions: 2 }));
}

// ---- Random bits -----------------------------------------------------------------------------------

fn random_bits<T: Real>() {
    let shape = (0..4_usize, 0..45_usize, 0..4_usize, any::<u64>(), 0..4_u8, any::<bool>());
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) };
    proptest!(config, |((outer, len, inner, seed, kept, special) in shape)| {
        let mut random = Random(seed);
        let layout = Layout::new(outer, len, inner).unwrap();
        let mut any = |n: usize| -> Vec<T> {
            (0..n)
                .map(|_| match random.bits() % 8 {
                    0 if special => [T::nan(), T::infinity(), -T::infinity(), -T::zero()]
                        [random.bits() as usize % 4],
                    1..4 => T::of(random.gauss() * 10.0),
                    _ => T::from_pattern(random.bits()),
                })
                .collect()
        };
        let n = layout.elements();
        let case = Case { x: any(n), y: any(n), log_y: any(n), g: any(n), upstream: any(layout.row_count()) };
        let temperature = T::from_pattern(any(1)[0].abs().bits());
        let keep: Vec<bool> = (0..n).map(|_| random.bits() & 1 == 1).collect();
        let valid: Vec<usize> = (0..layout.row_count()).map(|_| random.bits() as usize % (len + 1)).collect();
        let mut options = SoftmaxOptions::new();
        if temperature.is_normal() {
            options = options.temperature(temperature);
        }
        options = match kept {
            0 => options.mask(&keep),
            1 => options.lengths(&valid).empty_rows(EmptyRows::Uniform),
            _ => options,
        };
        for result in on_all(&case, layout, &options, &layout) {
            for bits in result {
                prop_assert!(!T::from_pattern(bits).is_nan() || bits == T::CANONICAL_NAN);
            }
        }
    });
}

/// Terms beyond a number have a third word in their sum, unless that is large; how many there are is not what the length of
/// the row says.
#[test]
fn long_rows_count_what_is_kept() {
    let n = (1 << 17) + 40_000;
    // Just below the first grid of a sum, where two parts are added with an error, and in the middle of the second.
    for tiny in [-16.3_f32, -30.1] {
        let mut x = vec![tiny; n];
        x[7] = 0.0;
        let mut of_all = vec![0.0; n];
        for kept in [n, (1 << 17) + 1, 1 << 17, 90_000] {
            let keep: Vec<bool> = (0..n).map(|i| i < kept).collect();
            let mut alone = vec![0.0; kept];
            scalar().softmax(&x[..kept], row(kept), &mut alone).unwrap();
            let exact = 1.0 / (1.0 + (kept - 1) as f64 * f64::from(tiny).exp());
            let ulp = f64::from(alone[7].next_up() - alone[7]);
            assert!((f64::from(alone[7]) - exact).abs() <= 0.85 * ulp, "{} for {exact}", alone[7]);
            for kernels in Backend::available().map(|backend| backend.try_get().unwrap()) {
                let options = SoftmaxOptions::new().mask(&keep);
                kernels.softmax_with(&x, row(n), &options, &mut of_all).unwrap();
                assert!(of_all[..kept] == alone && of_all[kept..].iter().all(|&y| y == 0.0), "{kernels:?}");
            }
        }
    }
}

/// The error of a difference that is almost the largest number cannot be computed by additions alone.
#[test]
fn gaps_near_the_largest_number_are_finite() {
    for x in [1.2667e307, 1e300, 1.0, -1e291] {
        for kernels in Backend::available().map(|backend| backend.try_get().unwrap()) {
            let mut y = [0.0; 2];
            kernels.log_softmax(&[x, f64::MAX], row(2), &mut y).unwrap();
            assert_eq!(y, [x - f64::MAX, 0.0], "{kernels:?}");
            let x = (x * 1e-270) as f32;
            let mut y = [0.0; 2];
            kernels.log_softmax(&[x, f32::MAX], row(2), &mut y).unwrap();
            assert_eq!(y, [x - f32::MAX, 0.0], "{kernels:?}");
        }
    }
}

/// A sum of upstream gradients beyond the largest number, over the least temperatures, found by fuzzing.
#[test]
fn shares_of_huge_sums_are_infinite_at_low_temperatures() {
    let log_y = [-2.4e307, f64::NEG_INFINITY, -40.0, 0.0];
    for temperature in [f64::MIN_POSITIVE, 1e-300, 1e-290, 1e-200] {
        let options = SoftmaxOptions::new().temperature(temperature);
        for kernels in Backend::available().map(|backend| backend.try_get().unwrap()) {
            for sign in [1.0, -1.0] {
                let g = [f64::MAX, f64::MAX, 1.0, 1.6].map(|g| g * sign);
                let mut grad = [0.0; 4];
                kernels.log_softmax_vjp_with(&log_y, &g, row(4), &options, &mut grad).unwrap();
                let due = [1.0, 1.0, -1.0, -1.0].map(|due: f64| due * sign * f64::INFINITY);
                assert_eq!(grad, due, "{kernels:?}, temperature {temperature:e}");
            }
        }
    }
}
