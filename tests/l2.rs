//! The Euclidean norm, rows of unit length and their gradients: bounds, special values, same bits.

use lossprep::{Backend, Error, Kernels, Layout, NormGuard, l2_norm, l2_normalize};
use oracle::{Big, Real};

/// Arithmetic that shares nothing with the crate: double words with an exponent of their own.
mod oracle {
    use lossprep::Element;
    use std::ops::{Add, Div, Mul, Neg, Sub};

    /// (hi + lo)·2^exponent with 1 ≤ |hi| < 2, or zero; about 100 bits, no range to leave.
    #[derive(Clone, Copy, Debug)]
    pub struct Big {
        hi: f64,
        lo: f64,
        exponent: i32,
    }

    pub const ZERO: Big = Big { hi: 0.0, lo: 0.0, exponent: -1_000_000 };

    /// x·2^e, x of moderate size.
    fn shift(x: f64, e: i32) -> f64 {
        if e < -1000 { 0.0 } else { x * 2f64.powi(e) }
    }

    impl Big {
        pub fn new(x: f64) -> Self {
            assert!(x.is_finite());
            Self::words(x, 0.0, 0)
        }

        fn words(hi: f64, lo: f64, exponent: i32) -> Self {
            if hi == 0.0 {
                return ZERO;
            }
            if hi.abs() < 1e-290 {
                return Self::words(hi * 2f64.powi(900), lo * 2f64.powi(900), exponent - 900);
            }
            let sum = hi + lo;
            let lo = lo - (sum - hi);
            let e = (sum.to_bits() >> 52 & 0x7ff) as i32 - 1023;
            let (a, b) = (e / 2, e - e / 2);
            let scale = |x: f64| x * 2f64.powi(-a) * 2f64.powi(-b);
            Self { hi: scale(sum), lo: scale(lo), exponent: exponent + e }
        }

        pub fn abs(self) -> Self {
            if self.hi < 0.0 { -self } else { self }
        }

        /// self·2^e
        pub fn shifted(self, e: i32) -> Self {
            Self { exponent: self.exponent.saturating_add(e), ..self }
        }

        pub fn is_zero(self) -> bool {
            self.hi == 0.0
        }

        pub fn less(self, other: Self) -> bool {
            (self - other).hi < 0.0
        }

        pub fn sqrt(self) -> Self {
            if self.is_zero() {
                return ZERO;
            }
            let odd = self.exponent.rem_euclid(2);
            let even = Self { exponent: odd, ..self };
            let root = Self::new((self.hi * f64::from(1 << odd)).sqrt());
            let root = root + (even - root * root) / (root + root);
            root.shifted((self.exponent - odd) / 2)
        }

        /// ⌊log₂ |self|⌋
        fn binade(self) -> i32 {
            self.exponent - i32::from(self.hi.abs() == 1.0 && self.lo * self.hi < 0.0)
        }

        /// The number rounded to f64, of moderate size.
        pub fn to_f64(self) -> f64 {
            shift(self.hi, self.exponent)
        }
    }

    impl Neg for Big {
        type Output = Self;
        fn neg(self) -> Self {
            Self { hi: -self.hi, lo: -self.lo, ..self }
        }
    }

    impl Add for Big {
        type Output = Self;
        fn add(self, b: Self) -> Self {
            let e = self.exponent.max(b.exponent);
            let at = |x: Self| (shift(x.hi, x.exponent - e), shift(x.lo, x.exponent - e));
            let ((a, a_low), (b, b_low)) = (at(self), at(b));
            let two_sum = |a: f64, b: f64| {
                let sum = a + b;
                let from_b = sum - a;
                (sum, (a - (sum - from_b)) + (b - from_b))
            };
            let ((hi, mid), (low, tail)) = (two_sum(a, b), two_sum(a_low, b_low));
            let (hi, mid) = two_sum(hi, mid + low);
            let (hi, lo) = two_sum(hi, mid + tail);
            Self::words(hi, lo, if hi == 0.0 { 0 } else { e })
        }
    }

    impl Sub for Big {
        type Output = Self;
        fn sub(self, b: Self) -> Self {
            self + -b
        }
    }

    impl Mul for Big {
        type Output = Self;
        fn mul(self, b: Self) -> Self {
            let hi = self.hi * b.hi;
            let lo = self.hi.mul_add(b.hi, -hi) + (self.hi * b.lo + self.lo * b.hi);
            Self::words(hi, lo, self.exponent.saturating_add(b.exponent))
        }
    }

    impl Div for Big {
        type Output = Self;
        fn div(self, b: Self) -> Self {
            assert!(!b.is_zero());
            let q = Self::new(self.hi / b.hi).shifted(self.exponent - b.exponent);
            let rest = self - q * b;
            q + Self::new(rest.hi / b.hi).shifted(rest.exponent - b.exponent)
        }
    }

    /// An element type, as the tests need it.
    pub trait Real: Element {
        const DIGITS: i32;
        const LEAST_EXPONENT: i32;
        const NAME: &'static str;
        fn of(x: f64) -> Self;
        fn wide(self) -> f64;
        fn bits(self) -> u64;
        const NAN_BITS: u64;
    }

    impl Real for f32 {
        const DIGITS: i32 = 24;
        const LEAST_EXPONENT: i32 = -126;
        const NAME: &'static str = "f32";
        const NAN_BITS: u64 = 0x7fc0_0000;
        fn of(x: f64) -> Self {
            x as f32
        }
        fn wide(self) -> f64 {
            f64::from(self)
        }
        fn bits(self) -> u64 {
            u64::from(self.to_bits())
        }
    }

    impl Real for f64 {
        const DIGITS: i32 = 53;
        const LEAST_EXPONENT: i32 = -1022;
        const NAME: &'static str = "f64";
        const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;
        fn of(x: f64) -> Self {
            x
        }
        fn wide(self) -> f64 {
            self
        }
        fn bits(self) -> u64 {
            self.to_bits()
        }
    }

    /// |got − exact| in ULP of `scale`.
    pub fn error<T: Real>(got: T, exact: Big, scale: Big) -> f64 {
        let ulp = scale.abs().binade().max(T::LEAST_EXPONENT) - T::DIGITS + 1;
        let mut got = got.wide();
        if got.is_nan() {
            return f64::INFINITY;
        }
        if got.is_infinite() {
            // As good as the largest number, and right where the exact result is beyond that.
            got = T::max_value().wide().copysign(got);
            if got * exact.hi > 0.0 && Big::new(got).abs().less(exact.abs()) {
                return 0.5;
            }
        }
        let difference = (Big::new(got) - exact).abs();
        difference.shifted(-ulp).to_f64()
    }

    /// Whether the result type holds it as a normal number.
    pub fn is_normal<T: Real>(exact: Big) -> bool {
        exact.binade() >= T::LEAST_EXPONENT
    }

    #[test]
    fn arithmetic() {
        let (a, b) = (Big::new(1e300), Big::new(3e-300));
        let close = |a: Big, b: Big| (a - b).abs().less(b.abs() * Big::new(2f64.powi(-98)));
        assert!(close((a * a).sqrt(), a) && close((b * b).sqrt(), b));
        assert!(close(a / b * b, a) && close(b / a * a, b));
        assert!(close(a + b - a, ZERO + b) || (a + b - a).is_zero());
        assert!(close(Big::new(5e-324) * Big::new(2f64.powi(1000)), Big::new(5e-324 * 2f64.powi(1000))));
        assert!(close(Big::new(1.0) + Big::new(2f64.powi(-80)) - Big::new(1.0), Big::new(2f64.powi(-80))));
        let third = Big::new(1.0) / Big::new(3.0);
        assert!(close(third + third + third, Big::new(1.0)));
        assert!(close(Big::new(2.0).sqrt() * Big::new(2.0).sqrt(), Big::new(2.0)));
    }

    #[test]
    fn planted_errors() {
        let exact = Big::new(1.5);
        assert_eq!(error(1.5f32, exact, exact), 0.0);
        assert_eq!(error(1.5f32 + f32::EPSILON, exact, exact), 1.0);
        assert_eq!(error(1.5f64 - 3.0 * f64::EPSILON, exact, exact), 3.0);
        assert_eq!(error(5e-324f64, ZERO, Big::new(1e-320)), 1.0);
        assert!(error(f32::INFINITY, exact, exact) > 1e30);
        assert_eq!(error(f32::INFINITY, Big::new(4e38), Big::new(4e38)), 0.5);
    }
}

/// What the formulas give.
struct Row {
    norm: Big,
    divisor: Big,
    /// d of the gradient; none where the divisor is constant.
    inner: Option<Big>,
}

fn divisor<T: Real>(norm: Big, square: Big, guard: NormGuard<T>) -> Row {
    let eps = |e: T| Big::new(e.wide());
    match guard {
        NormGuard::Max(e) if norm.less(eps(e)) => Row { norm, divisor: eps(e), inner: None },
        NormGuard::Max(_) => Row { norm, divisor: norm, inner: Some(norm) },
        NormGuard::Add(e) => Row { norm, divisor: norm + eps(e), inner: Some(norm) },
        NormGuard::AddSquared(e) => {
            let divisor = (square + eps(e)).sqrt();
            Row { norm, divisor, inner: Some(divisor) }
        }
    }
}

fn exact<T: Real>(x: &[T], guard: NormGuard<T>) -> Row {
    let mut square = oracle::ZERO;
    for x in x {
        let x = Big::new(x.wide());
        square = square + x * x;
    }
    divisor(square.sqrt(), square, guard)
}

/// splitmix64
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * 2f64.powi(-53)
    }
    /// Roughly normal.
    fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.unit() - 0.5).sum::<f64>() * 1.4
    }
    fn normals<T: Real>(&mut self, n: usize, scale: f64) -> Vec<T> {
        (0..n).map(|_| T::of(self.normal() * scale)).collect()
    }
    /// Any exponent of the type, and zeros.
    fn wild<T: Real>(&mut self) -> T {
        let (least, span) = if T::DIGITS == 24 { (-149, 276) } else { (-1074, 2097) };
        let e = least + self.below(span) as i32;
        let x = (1.0 + self.unit()) * 2f64.powi(e / 2) * 2f64.powi(e - e / 2);
        match self.below(8) {
            0 => T::of(0.0),
            n if n % 2 == 0 => T::of(-x),
            _ => T::of(x),
        }
    }
}

/// Guards with ε of every size.
fn guards<T: Real>() -> Vec<NormGuard<T>> {
    let edges = if T::DIGITS == 24 { [1e-45, 1e-38, 1e20, 3e38] } else { [5e-324, 1e-300, 1e150, 1.7e308] };
    let mut all = vec![NormGuard::default()];
    for eps in [1e-12, 1e-6, 1.0].into_iter().chain(edges).map(T::of) {
        all.extend([NormGuard::Max(eps), NormGuard::Add(eps), NormGuard::AddSquared(eps)]);
    }
    all
}

/// Scales of rows: ordinary ones, and where squares overflow or underflow.
fn scales<T: Real>() -> &'static [f64] {
    if T::DIGITS == 24 {
        &[1.0, 50.0, 1e-4, 1e30, 5e37, 1e-12, 1e-30, 1e-39, 1e-44]
    } else {
        &[
            1.0, 50.0, 1e-4, 1e-12, 1e100, 1e137, 1e160, 1e300, 1e307, 1e-120, 1e-137, 1e-160, 1e-300,
            1e-310, 1e-322,
        ]
    }
}

fn backends() -> Vec<Kernels> {
    Backend::available().map(|b| b.try_get().unwrap()).collect()
}

/// The largest error where results are normal, and where not.
#[derive(Default)]
struct Worst {
    normal: f64,
    subnormal: f64,
}

impl Worst {
    #[track_caller]
    fn judge<T: Real>(
        &mut self,
        got: T,
        exact: Big,
        scale: Big,
        limits: [f64; 2],
        what: impl std::fmt::Debug,
    ) {
        let error = oracle::error(got, exact, scale);
        let normal = oracle::is_normal::<T>(exact);
        let worst = if normal { &mut self.normal } else { &mut self.subnormal };
        *worst = worst.max(error);
        let limit = limits[usize::from(!normal)];
        assert!(error <= limit, "{error} ULP: {got:e} for {exact:?}, {what:?}");
    }
}

fn rows<T: Real>(random: &mut Random) -> Vec<Vec<T>> {
    let mut rows = Vec::new();
    for &scale in scales::<T>() {
        for len in [1, 2, 3, 7, 31, 32, 33, 100, 1000] {
            rows.push(random.normals(len, scale));
        }
    }
    for len in [1, 2, 3, 5, 40, 100] {
        for _ in 0..60 {
            rows.push((0..len).map(|_| random.wild()).collect());
        }
    }
    rows.push(vec![T::max_value(); 50]);
    rows.push(vec![T::min_positive_value(); 50]);
    rows.push(vec![T::zero(); 9]);
    rows
}

fn forward_accuracy<T: Real>() {
    let mut random = Random(1);
    let (mut norms, mut units) = (Worst::default(), Worst::default());
    for x in rows::<T>(&mut random) {
        let layout = Layout::rows(1, x.len()).unwrap();
        let mut norm = [T::zero()];
        l2_norm(&x, layout, &mut norm).unwrap();
        let expected = exact(&x, NormGuard::default()).norm;
        norms.judge(norm[0], expected, expected, [0.6, 1.0], x.len());
        let mut y = vec![T::nan(); x.len()];
        for guard in guards() {
            l2_normalize(&x, layout, guard, &mut y).unwrap();
            let divisor = exact(&x, guard).divisor;
            for (&y, &x) in y.iter().zip(&x) {
                let expected = Big::new(x.wide()) / divisor;
                units.judge(y, expected, expected, [0.6, 1.0], (x, guard));
                assert_eq!(y.is_sign_negative(), x.is_sign_negative());
            }
        }
    }
    println!("{}: norm {:.4} and {:.4} ULP", T::NAME, norms.normal, norms.subnormal);
    println!("{}: normalise {:.4} and {:.4} ULP", T::NAME, units.normal, units.subnormal);
}

#[test]
fn forward_is_within_its_bound() {
    forward_accuracy::<f32>();
    forward_accuracy::<f64>();
}

fn long_rows<T: Real>(values: &[f64], lens: &[usize]) {
    for &len in lens {
        let layout = Layout::rows(1, len).unwrap();
        let mut data = vec![T::zero(); len];
        for &value in values {
            let value = T::of(value);
            data.fill(value);
            let expected = Big::new(value.wide()).abs() * Big::new(len as f64).sqrt();
            let mut norm = [T::zero()];
            l2_norm(&data, layout, &mut norm).unwrap();
            assert!(oracle::error(norm[0], expected, expected) <= 0.6, "{value:e} {len}");
            Backend::best()
                .unwrap()
                .try_get()
                .unwrap()
                .l2_normalize_in_place(&mut data, layout, NormGuard::Max(T::min_positive_value()))
                .unwrap();
            let expected = Big::new(1.0) / Big::new(len as f64).sqrt();
            assert!(oracle::error(data[0], expected, expected) <= 0.6, "{value:e} {len}");
            assert!(data.iter().all(|y| *y == data[0]));
        }
    }
}

#[test]
fn long_rows_of_equal_values() {
    long_rows::<f32>(&[0.1, 1e30, 3e38], &[100_000, 8_388_608, (1 << 24) + 3]);
    long_rows::<f64>(&[0.1, 1.7e308, 3e-310], &[100_000, 1 << 24]);
}

/// Every gradient of one row against its definition, in ULP of M.
fn gradient_accuracy<T: Real>() {
    let mut random = Random(2);
    let [mut normalise, mut vjp, mut jvp] = [(); 3].map(|()| Worst::default());
    let mut pairs: Vec<(Vec<T>, Vec<T>)> = Vec::new();
    for x in rows::<T>(&mut random) {
        let scale = scales::<T>()[random.below(scales::<T>().len())];
        pairs.push((x.clone(), random.normals(x.len(), 1.0)));
        pairs.push((x.clone(), random.normals(x.len(), scale)));
        // Almost parallel: g − u Σ u g cancels.
        pairs.push((x.clone(), x.clone()));
        pairs.push((x.clone(), (0..x.len()).map(|_| random.wild()).collect()));
    }
    let limits = [4.0, 4.0];
    for (x, g) in pairs {
        let layout = Layout::rows(1, x.len()).unwrap();
        let mut norm = [T::zero()];
        l2_norm(&x, layout, &mut norm).unwrap();
        let mut taken = Big::new(0.0);
        if norm[0].is_finite() {
            taken = taken + Big::new(norm[0].wide());
        } else {
            taken = taken + exact(&x, NormGuard::default()).norm;
        }
        let (mut dot, mut dot_abs) = (oracle::ZERO, oracle::ZERO);
        for (x, g) in x.iter().zip(&g) {
            let product = Big::new(x.wide()) * Big::new(g.wide());
            (dot, dot_abs) = (dot + product, dot_abs + product.abs());
        }
        let mut grad = vec![T::nan(); x.len()];
        for guard in guards::<T>() {
            let row = divisor(taken, taken * taken, guard);
            let kernels = Backend::best().unwrap().try_get().unwrap();
            kernels.l2_normalize_vjp(&x, &norm, &g, layout, guard, &mut grad).unwrap();
            for i in 0..x.len() {
                let (xi, gi) = (Big::new(x[i].wide()), Big::new(g[i].wide()));
                let (mut expected, mut m) = (gi, gi.abs());
                if let Some(inner) = row.inner.filter(|d| !d.is_zero()) {
                    let scale = inner * row.divisor;
                    expected = expected - xi * dot / scale;
                    m = m + (xi * dot_abs).abs() / scale;
                }
                let (expected, m) = (expected / row.divisor, m / row.divisor);
                normalise.judge(grad[i], expected, m, limits, (x[i], g[i], guard, norm, x.len()));
            }
            let mut forward = vec![T::nan(); x.len()];
            kernels.l2_normalize_jvp(&x, &norm, &g, layout, guard, &mut forward).unwrap();
            assert_eq!(bits(&forward), bits(&grad));
        }
        let kernels = Backend::best().unwrap().try_get().unwrap();
        kernels.l2_norm_vjp(&x, &norm, &g[..1], layout, &mut grad).unwrap();
        for i in 0..x.len() {
            let mut expected = Big::new(x[i].wide()) * Big::new(g[0].wide());
            if !taken.is_zero() {
                expected = expected / taken;
            }
            vjp.judge(grad[i], expected, expected, limits, (x[i], g[0], norm));
        }
        let mut out = [T::nan()];
        kernels.l2_norm_jvp(&x, &norm, &g, layout, &mut out).unwrap();
        if !taken.is_zero() {
            (dot, dot_abs) = (dot / taken, dot_abs / taken);
        }
        jvp.judge(out[0], dot, dot_abs, limits, norm);
    }
    for (what, worst) in [("normalise gradient", normalise), ("norm vjp", vjp), ("norm jvp", jvp)] {
        println!("{}: {what} {:.4} and {:.4} ULP of M", T::NAME, worst.normal, worst.subnormal);
    }
}

#[test]
fn gradients_are_within_their_bound() {
    gradient_accuracy::<f32>();
    gradient_accuracy::<f64>();
}

fn bits<T: Real>(slice: &[T]) -> Vec<u64> {
    slice.iter().map(|x| x.bits()).collect()
}

/// A call of each operation on one layout, all results after each other.
fn everything<T: Real>(kernels: Kernels, x: &[T], g: &[T], layout: Layout, guard: NormGuard<T>) -> Vec<u64> {
    let mut norm = vec![T::nan(); layout.row_count()];
    kernels.l2_norm(x, layout, &mut norm).unwrap();
    let mut all = bits(&norm);
    let mut out = vec![T::nan(); x.len()];
    kernels.l2_normalize(x, layout, guard, &mut out).unwrap();
    all.extend(bits(&out));
    let mut data = x.to_vec();
    kernels.l2_normalize_in_place(&mut data, layout, guard).unwrap();
    assert_eq!(bits(&data), bits(&out), "in place");
    kernels.l2_normalize_vjp(x, &norm, g, layout, guard, &mut out).unwrap();
    all.extend(bits(&out));
    kernels.l2_normalize_jvp(x, &norm, g, layout, guard, &mut out).unwrap();
    all.extend(bits(&out));
    let upstream: Vec<T> = (0..norm.len()).map(|r| g.get(r).copied().unwrap_or(T::one())).collect();
    kernels.l2_norm_vjp(x, &norm, &upstream, layout, &mut out).unwrap();
    all.extend(bits(&out));
    let mut tangent = norm.clone();
    kernels.l2_norm_jvp(x, &norm, g, layout, &mut tangent).unwrap();
    all.extend(bits(&tangent));
    all
}

/// Rows of every kind, with special values among them.
fn mixed<T: Real>(random: &mut Random, n: usize, len: usize) -> Vec<T> {
    let mut data = random.normals::<T>(n, 1.0);
    if len > 0 {
        for row in data.chunks_mut(len) {
            match random.below(8) {
                0 => row.fill_with(|| random.wild()),
                1 => row.fill(T::zero()),
                2 => row[random.below(len).min(row.len() - 1)] = T::nan(),
                3 => row[random.below(len).min(row.len() - 1)] = T::infinity(),
                4 => {
                    row.iter_mut().for_each(|x| *x = *x * T::of(if T::DIGITS == 24 { 1e-39 } else { 1e-305 }))
                }
                _ => {}
            }
        }
    }
    data
}

/// Each row alone, contiguous, on the scalar backend, against all of them at once.
fn same_bits<T: Real>(outer: usize, len: usize, inner: usize, seed: u64) {
    let mut random = Random(seed);
    let layout = Layout::new(outer, len, inner).unwrap();
    let n = layout.elements();
    // Made as contiguous rows, so that kinds stay together, then spread.
    let spread = |rows: &[T]| {
        let mut data = vec![T::zero(); n];
        for (r, row) in rows.chunks(len.max(1)).enumerate() {
            for (i, &x) in row.iter().enumerate() {
                data[(r / inner * len + i) * inner + r % inner] = x;
            }
        }
        data
    };
    let (x_rows, g_rows) = (mixed::<T>(&mut random, n, len), mixed::<T>(&mut random, n, len));
    let (x, g) = (spread(&x_rows), spread(&g_rows));
    let guards = guards::<T>();
    let guard = guards[random.below(guards.len())];
    let [first, rest @ ..] = &backends()[..] else { panic!("no backend") };
    let all = everything(*first, &x, &g, layout, guard);
    for kernels in rest {
        assert_eq!(everything(*kernels, &x, &g, layout, guard), all, "{} {layout:?}", kernels.backend());
    }
    let rows = Layout::rows(outer * inner, len).unwrap();
    let together = everything(*first, &x_rows, &g_rows, rows, guard);
    let count = rows.row_count();
    // Norms and the first three element-wise results, row by row.
    assert_eq!(together[..count], all[..count], "norms {layout:?}");
    for k in 0..3 {
        let at = count + k * n;
        let strided: Vec<T> = all[at..at + n].iter().map(|&b| from_bits(b)).collect();
        let contiguous: Vec<T> = together[at..at + n].iter().map(|&b| from_bits(b)).collect();
        assert_eq!(bits(&spread(&contiguous)), bits(&strided), "result {k} {layout:?}");
    }
    if n > 0 {
        let alone = Layout::rows(1, len).unwrap();
        for r in 0..count {
            let row = r * len..(r + 1) * len;
            let single = everything(*first, &x_rows[row.clone()], &g_rows[row.clone()], alone, guard);
            assert_eq!(single[0], together[r], "norm of row {r} alone");
            for k in 0..3 {
                let at = count + k * n;
                assert_eq!(
                    single[1 + k * len..][..len],
                    together[at..at + n][row.clone()],
                    "row {r} alone, {k}"
                );
            }
        }
    }
}

fn from_bits<T: Real>(bits: u64) -> T {
    T::of(if T::DIGITS == 24 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) })
}

#[test]
fn the_same_bits_for_every_length_and_backend() {
    for len in (0..=100).chain([127, 128, 129, 1000]) {
        same_bits::<f32>(5, len, 1, len as u64);
        same_bits::<f64>(5, len, 1, len as u64);
        same_bits::<f32>(37, len, 1, len as u64 + 500);
        same_bits::<f64>(19, len, 1, len as u64 + 500);
    }
}

#[test]
fn the_same_bits_for_every_axis() {
    for len in [0, 1, 2, 5, 16, 17, 31, 32, 33, 64, 70] {
        for inner in [2, 3, 7, 8, 9, 15, 16, 17, 33] {
            same_bits::<f32>(2, len, inner, (len * inner) as u64);
            same_bits::<f64>(2, len, inner, (len * inner) as u64);
        }
    }
}

#[test]
fn the_same_bits_through_the_stack() {
    // Enough elements that rows side by side are staged, in several groups of which the last is not full.
    for (outer, len, inner) in [(2, 33, 517), (1, 300, 131), (3, 2, 5_501)] {
        same_bits::<f32>(outer, len, inner, len as u64);
        same_bits::<f64>(outer, len, inner, len as u64);
    }
}

#[test]
fn the_same_bits_across_blocks() {
    for len in [65_535, 65_536, 65_537, 150_001] {
        same_bits::<f32>(1, len, 1, len as u64);
        same_bits::<f64>(1, len, 1, len as u64);
        same_bits::<f32>(1, len, 3, len as u64);
        same_bits::<f64>(1, len, 3, len as u64);
    }
}

/// Rows of three with the results of the norm and of the normalisation, on every backend.
fn special_values<T: Real>() {
    let [nan, inf, max, tiny] = [T::nan(), T::infinity(), T::max_value(), T::min_positive_value()];
    let least = T::of(if T::DIGITS == 24 { 1e-45 } else { 5e-324 });
    let [zero, one, root] = [0.0, 1.0, 0.577_350_269_189_625_76].map(T::of);
    let eps = T::of(1e-12);
    let layout = Layout::rows(1, 3).unwrap();
    let cases = [
        ([zero, -zero, zero], zero, [zero, -zero, zero]),
        ([-zero, T::of(3.0), T::of(-4.0)], T::of(5.0), [-zero, T::of(0.6), T::of(-0.8)]),
        ([one, nan, one], nan, [nan; 3]),
        ([one, -nan, inf], nan, [nan; 3]),
        ([inf, nan, -inf], nan, [nan; 3]),
        ([one, inf, one], inf, [nan; 3]),
        ([zero, -inf, inf], inf, [nan; 3]),
        ([max, -max, max], inf, [root, -root, root]),
        ([tiny, zero, zero], tiny, [tiny / eps, zero, zero]),
        ([zero, -least, zero], least, [zero, -least / eps, zero]),
    ];
    for kernels in backends() {
        for (x, norm, y) in cases {
            let mut got = [T::of(7.0)];
            kernels.l2_norm(&x, layout, &mut got).unwrap();
            assert_eq!(got[0].bits(), if norm.is_nan() { T::NAN_BITS } else { norm.bits() }, "{x:?}");
            let mut got = [T::of(7.0); 3];
            kernels.l2_normalize(&x, layout, NormGuard::default(), &mut got).unwrap();
            let expected = y.map(|y| if y.is_nan() { T::NAN_BITS } else { y.bits() });
            assert_eq!(got.map(T::bits), expected, "{x:?}");
        }
    }
}

#[test]
fn special_values_of_the_forward_operations() {
    special_values::<f32>();
    special_values::<f64>();
}

fn special_gradients<T: Real>() {
    let [nan, inf, zero, one] = [T::nan(), T::infinity(), T::zero(), T::one()];
    let (four, half) = (T::of(4.0), T::of(0.5));
    let layout = Layout::rows(1, 2).unwrap();
    for kernels in backends() {
        let gradient = |x: [T; 2], norm: T, g: [T; 2], guard: NormGuard<T>| {
            let mut grad = [T::of(7.0); 2];
            kernels.l2_normalize_vjp(&x, &[norm], &g, layout, guard, &mut grad).unwrap();
            grad.map(T::bits)
        };
        let all = |guard: fn(T) -> NormGuard<T>| guard(T::of(0.25));
        // A zero row: upstream/eps, or /√eps; a zero is +0.
        for (guard, by) in [
            (all(NormGuard::Max), four),
            (all(NormGuard::Add), four),
            (all(NormGuard::AddSquared), T::of(2.0)),
        ] {
            let g = [T::of(3.0), -zero];
            assert_eq!(gradient([zero, -zero], zero, g, guard), [(T::of(3.0) * by).bits(), zero.bits()]);
        }
        // Below eps the guard is constant, from eps on it is the norm.
        let (x, g) = ([half, zero], [one, one]);
        assert_eq!(gradient(x, half, g, NormGuard::Max(one)), [one.bits(), one.bits()]);
        assert_eq!(gradient(x, half, g, NormGuard::Max(half)), [zero.bits(), T::of(2.0).bits()]);
        // Not finite: the whole row NaN.
        for bad in [nan, -nan, inf, -inf] {
            for guard in guards::<T>() {
                assert_eq!(gradient([one, zero], one, [bad, zero], guard), [T::NAN_BITS; 2]);
                assert_eq!(gradient([one, zero], one, [zero, bad], guard), [T::NAN_BITS; 2]);
                assert_eq!(gradient([bad, zero], bad.abs(), [one, zero], guard), [T::NAN_BITS; 2]);
                assert_eq!(gradient([zero, zero], zero, [bad, one], guard), [T::NAN_BITS; 2]);
            }
            let mut grad = [one; 2];
            kernels.l2_norm_vjp(&[bad, one], &[bad.abs()], &[one], layout, &mut grad).unwrap();
            assert_eq!(grad.map(T::bits), [T::NAN_BITS; 2]);
            kernels.l2_norm_vjp(&[one, zero], &[one], &[bad], layout, &mut grad).unwrap();
            assert_eq!(grad.map(T::bits), [T::NAN_BITS; 2]);
            let mut out = [one];
            kernels.l2_norm_jvp(&[one, zero], &[one], &[zero, bad], layout, &mut out).unwrap();
            assert_eq!(out[0].bits(), T::NAN_BITS);
        }
        // The norm of a zero row has the gradient 0.
        let mut grad = [nan; 2];
        kernels.l2_norm_vjp(&[zero, -zero], &[zero], &[-one], layout, &mut grad).unwrap();
        assert_eq!(grad.map(T::bits), [zero.bits(); 2]);
        let mut out = [nan];
        kernels.l2_norm_jvp(&[zero, -zero], &[zero], &[-one, one], layout, &mut out).unwrap();
        assert_eq!(out[0].bits(), zero.bits());
        // A zero is +0, whatever the scale of the row.
        for norm in scales::<T>().iter().map(|&scale| T::of(scale)) {
            for (z, g) in [(zero, one), (zero, -one), (-zero, one), (-zero, -one)] {
                let mut grad = [nan; 2];
                kernels.l2_norm_vjp(&[norm, z], &[norm], &[g], layout, &mut grad).unwrap();
                assert_eq!(grad[1].bits(), zero.bits(), "{norm}, {z}, {g}");
                for guard in guards::<T>() {
                    assert_eq!(gradient([norm, z], norm, [g, z], guard)[1], zero.bits(), "{norm}, {z}, {g}");
                }
            }
        }
        // Intermediates beyond the range: parallel to x, the gradient is 0.
        let huge = T::max_value();
        assert_eq!(gradient([huge, zero], huge, [huge, zero], NormGuard::default()), [zero.bits(); 2]);
        // A norm that overflowed is formed again.
        let mut norm = [zero];
        kernels.l2_norm(&[huge, huge], layout, &mut norm).unwrap();
        assert!(norm[0].is_infinite());
        let [a, b] = gradient([huge, huge], norm[0], [huge, -huge], NormGuard::default());
        assert_eq!([a, b], [T::of(0.5f64.sqrt()).bits(), T::of(-(0.5f64.sqrt())).bits()]);
    }
}

#[test]
fn special_values_of_the_gradients() {
    special_gradients::<f32>();
    special_gradients::<f64>();
}

/// Where g over the norm leaves the range, x times it does not; as many such rows as fill all lanes.
#[test]
fn whole_groups_beyond_the_range() {
    let (rows, small, large) = (16, 2.0_f64.powi(-1000), 2.0_f64.powi(1000));
    let layout = Layout::rows(rows, 2).unwrap();
    for (norm, g) in [(large, small), (small, large)] {
        let x = [0.6 * norm, 0.8 * norm].repeat(rows);
        let (norms, upstream) = (vec![norm; rows], vec![g; rows]);
        for kernels in backends() {
            let mut grad = vec![f64::NAN; 2 * rows];
            kernels.l2_norm_vjp(&x, &norms, &upstream, layout, &mut grad).unwrap();
            assert_eq!(grad, [0.6 * g, 0.8 * g].repeat(rows), "{}", kernels.backend());
        }
    }
}

/// A bad value in every position spoils its own row and no other.
fn isolated<T: Real>(layout: Layout) {
    let mut random = Random(9);
    let clean = random.normals::<T>(layout.elements(), 1.0);
    let kernels = Backend::best().unwrap().try_get().unwrap();
    let mut expected = clean.clone();
    kernels.l2_normalize_in_place(&mut expected, layout, NormGuard::default()).unwrap();
    let row = |i: usize| (i / (layout.len() * layout.inner()), i % layout.inner());
    for at in 0..clean.len() {
        for bad in [T::nan(), T::neg_infinity()] {
            let mut data = clean.clone();
            data[at] = bad;
            kernels.l2_normalize_in_place(&mut data, layout, NormGuard::default()).unwrap();
            for (i, y) in data.iter().enumerate() {
                let bits = if row(i) == row(at) { T::NAN_BITS } else { expected[i].bits() };
                assert_eq!(y.bits(), bits, "{at} {i}");
            }
        }
    }
}

#[test]
fn rows_are_independent() {
    for (outer, len, inner) in [(9, 35, 1), (2, 35, 9), (1, 3, 17), (40, 2, 1)] {
        isolated::<f32>(Layout::new(outer, len, inner).unwrap());
        isolated::<f64>(Layout::new(outer, len, inner).unwrap());
    }
}

fn faults<T: Real>() {
    let layout = Layout::new(2, 3, 2).unwrap();
    let kernels = Backend::best().unwrap().try_get().unwrap();
    let (x, rows, seven) = ([T::one(); 12], [T::one(); 4], T::of(7.0));
    let guard = NormGuard::default();
    let short = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    let mut full = [seven; 12];
    let mut row = [seven; 4];
    for n in [0, 11, 13] {
        let wrong = &vec![T::one(); n][..];
        let mut out = vec![seven; n];
        assert_eq!(kernels.l2_norm(wrong, layout, &mut row), short("x", 12, n));
        assert_eq!(kernels.l2_norm(&x, layout, &mut out), short("out", 4, n));
        assert_eq!(kernels.l2_normalize(wrong, layout, guard, &mut full), short("x", 12, n));
        assert_eq!(kernels.l2_normalize(&x, layout, guard, &mut out), short("out", 12, n));
        assert_eq!(kernels.l2_normalize_in_place(&mut out, layout, guard), short("data", 12, n));
        for [a, b, c, argument] in
            [[wrong, &rows, &x, &[]], [&x, wrong, &x, &x[..1]], [&x, &rows, wrong, &x[..2]]]
        {
            let (name, expected) = [("x", 12), ("norm", 4), ("upstream", 12)][argument.len()];
            assert_eq!(kernels.l2_normalize_vjp(a, b, c, layout, guard, &mut full), short(name, expected, n));
            let name = if name == "upstream" { "tangent" } else { name };
            assert_eq!(kernels.l2_normalize_jvp(a, b, c, layout, guard, &mut full), short(name, expected, n));
            assert_eq!(kernels.l2_norm_jvp(a, b, c, layout, &mut row), short(name, expected, n));
        }
        assert_eq!(kernels.l2_normalize_vjp(&x, &rows, &x, layout, guard, &mut out), short("grad", 12, n));
        assert_eq!(kernels.l2_normalize_jvp(&x, &rows, &x, layout, guard, &mut out), short("out", 12, n));
        assert_eq!(kernels.l2_norm_vjp(wrong, &rows, &rows, layout, &mut full), short("x", 12, n));
        assert_eq!(kernels.l2_norm_vjp(&x, wrong, &rows, layout, &mut full), short("norm", 4, n));
        assert_eq!(kernels.l2_norm_vjp(&x, &rows, wrong, layout, &mut full), short("upstream", 4, n));
        assert_eq!(kernels.l2_norm_vjp(&x, &rows, &rows, layout, &mut out), short("grad", 12, n));
        assert_eq!(kernels.l2_norm_jvp(&x, &rows, &x, layout, &mut out), short("out", 4, n));
        assert!(out.iter().all(|&x| x == seven));
    }
    let fault = Err(Error::Parameter { name: "eps", requirement: "positive and finite" });
    for eps in [T::zero(), -T::zero(), -T::one(), T::nan(), T::infinity(), T::neg_infinity()] {
        for guard in [NormGuard::Max(eps), NormGuard::Add(eps), NormGuard::AddSquared(eps)] {
            assert_eq!(kernels.l2_normalize(&x, layout, guard, &mut full), fault);
            assert_eq!(kernels.l2_normalize_in_place(&mut full, layout, guard), fault);
            assert_eq!(kernels.l2_normalize_vjp(&x, &rows, &x, layout, guard, &mut full), fault);
            assert_eq!(kernels.l2_normalize_jvp(&x, &rows, &x, layout, guard, &mut full), fault);
        }
    }
    assert!(full.iter().chain(&row).all(|&x| x == seven));
}

#[test]
fn faults_leave_the_output_untouched() {
    faults::<f32>();
    faults::<f64>();
}

#[test]
fn rows_without_elements() {
    let mut norms = [7.0f32; 6];
    l2_norm(&[], Layout::new(2, 0, 3).unwrap(), &mut norms).unwrap();
    assert_eq!(norms.map(f32::to_bits), [0; 6]);
    for layout in [Layout::rows(0, 5), Layout::rows(3, 0), Layout::new(2, 0, 3)].map(Result::unwrap) {
        for kernels in backends() {
            kernels.l2_normalize::<f64>(&[], layout, NormGuard::default(), &mut []).unwrap();
            kernels.l2_normalize::<f32>(&[], layout, NormGuard::default(), &mut []).unwrap();
            kernels.l2_normalize_in_place::<f32>(&mut [], layout, NormGuard::default()).unwrap();
        }
    }
}
