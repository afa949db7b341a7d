//! Every backend against the scalar one, operation by operation and bit for bit, and the portable
//! backend's emulated multiply-add against the machine's.

use super::portable::{fused_f32, fused_f64};
use super::{Lanes, Op, Portable, Scalar, Simd};
use wide::{f32x16, f64x8};

/// Splitmix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }
}

/// Says once that a backend is absent, past libtest, which keeps what a passing test prints.
fn absent(backend: &'static str) {
    use std::io::Write;
    static SAID: std::sync::Mutex<Vec<&str>> = std::sync::Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap();
    if !said.contains(&backend) {
        said.push(backend);
        let _ = writeln!(std::io::stderr(), "NOT RUN: {backend} is not available on this machine");
    }
}

/// Runs `op` on every vector backend of this machine and says which are absent.
fn on_every_backend<O: Op + Copy>(op: O) {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        match super::x86::Avx512::try_new() {
            Some(s) => drop(Simd::vectorize(s, op)),
            None => absent("avx512"),
        }
        match super::x86::Avx2::try_new() {
            Some(s) => drop(Simd::vectorize(s, op)),
            None => absent("avx2"),
        }
    }
    #[cfg(target_arch = "aarch64")]
    match super::neon::Neon::try_new() {
        Some(s) => drop(Simd::vectorize(s, op)),
        None => absent("neon"),
    }
    #[cfg(not(target_arch = "aarch64"))]
    absent("neon");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    {
        absent("avx512");
        absent("avx2");
    }
    Portable.vectorize(op);
}

macro_rules! suite {
    ($t:ident, $bits:ident, $lanes:literal) => {
        use super::*;

        const LANES: usize = $lanes;
        const DIGITS: u32 = $t::MANTISSA_DIGITS;
        const MAGIC: $t = <$t as crate::element::Lane>::MAGIC;

        /// Zero, subnormals, both ends of the normal numbers, ∞, NaNs, and what lies next to 1 and 2^p.
        fn edges() -> Vec<$t> {
            let one = (1.0 as $t).to_bits();
            let end = ((1u64 << DIGITS) as $t).to_bits();
            let smallest = $t::MIN_POSITIVE.to_bits();
            let largest = $t::MAX.to_bits();
            let infinity = $t::INFINITY.to_bits();
            let mut all = Vec::new();
            for bits in [
                0,
                1,
                2,
                smallest / 2,
                smallest - 1,
                smallest,
                smallest + 1,
                one - 1,
                one,
                one + 1,
                end - 1,
                end,
                end + 1,
                largest - 1,
                largest,
                infinity,
                infinity + 1,
                $t::NAN.to_bits(),
                $t::NAN.to_bits() + 5,
            ] {
                all.extend([$t::from_bits(bits), -$t::from_bits(bits)]);
            }
            all.extend([0.5, 1.5, 3.0, -7.0, 0.1, 1.0 / 3.0, 1e10, -1e-10]);
            all
        }

        fn any_bits(random: &mut Random) -> $t {
            $t::from_bits(random.bits() as $bits)
        }

        /// Sign and fraction at random, this exponent.
        fn with_exponent(random: &mut Random, exponent: i64) -> $t {
            let fraction = random.bits() as $bits & ((1 << (DIGITS - 1)) - 1);
            let biased = (exponent + i64::from($t::MAX_EXP) - 1) as $bits;
            let x = $t::from_bits(biased << (DIGITS - 1) | fraction);
            if random.below(2) == 0 { x } else { -x }
        }

        /// Every triple of edges, then random patterns and numbers of ordinary size.
        fn triples() -> Vec<[$t; 3]> {
            let edges = edges();
            let mut all = Vec::new();
            for &a in &edges {
                for &b in &edges {
                    all.extend(edges.iter().map(|&c| [a, b, c]));
                }
            }
            let mut random = Random(1);
            for _ in 0..50_000 {
                all.push(core::array::from_fn(|_| any_bits(&mut random)));
                all.push(core::array::from_fn(|_| {
                    let exponent = random.below(41) as i64 - 20;
                    with_exponent(&mut random, exponent)
                }));
            }
            all
        }

        /// Either the same bits, or both NaN.
        fn same(a: $t, b: $t) -> bool {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }

        /// The scalar backend as one of this type only, so that its methods need no type arguments.
        fn scalar() -> impl Lanes<$t, V = [$t; LANES], M = [bool; LANES]> {
            Scalar
        }

        fn stored<S: Lanes<$t>>(s: S, v: S::V) -> [$t; LANES] {
            let mut to = [0.0; LANES];
            s.store(v, &mut to);
            to
        }

        fn equal<S: Lanes<$t>>(what: &str, s: S, v: S::V, expected: [$t; LANES], of: [[$t; LANES]; 3]) {
            let got = stored(s, v);
            for i in 0..LANES {
                assert!(
                    got[i].to_bits() == expected[i].to_bits(),
                    "{}: {what} lane {i} of {:e} {:e} {:e}: {:e} ({:x}), not {:e} ({:x})",
                    core::any::type_name::<S>(),
                    of[0][i],
                    of[1][i],
                    of[2][i],
                    got[i],
                    got[i].to_bits(),
                    expected[i],
                    expected[i].to_bits(),
                );
            }
        }

        /// As `equal`, but any NaN equals any other.
        fn close<S: Lanes<$t>>(what: &str, s: S, v: S::V, expected: [$t; LANES], of: [[$t; LANES]; 3]) {
            let got = stored(s, v);
            let merged =
                core::array::from_fn(|i| if same(got[i], expected[i]) { got[i] } else { expected[i] });
            equal(what, s, v, merged, of);
        }

        #[derive(Clone, Copy)]
        struct Plain;
        impl Op for Plain {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                plain(s);
            }
        }

        #[inline(always)]
        fn plain<S: Lanes<$t>>(s: S) {
            for chunk in triples().chunks_exact(LANES) {
                let of: [[$t; LANES]; 3] = core::array::from_fn(|k| core::array::from_fn(|i| chunk[i][k]));
                let [a, b, c] = of;
                let (va, vb, vc) = (s.load(&a), s.load(&b), s.load(&c));
                equal("load", s, va, a, of);
                equal("splat", s, s.splat(a[0]), [a[0]; LANES], of);
                close("add", s, s.add(va, vb), scalar().add(a, b), of);
                close("sub", s, s.sub(va, vb), scalar().sub(a, b), of);
                close("mul", s, s.mul(va, vb), scalar().mul(a, b), of);
                close("div", s, s.div(va, vb), scalar().div(a, b), of);
                close("sqrt", s, s.sqrt(va), scalar().sqrt(a), of);
                close("mul_add", s, s.mul_add(va, vb, vc), scalar().mul_add(a, b, c), of);
                equal("max", s, s.max(va, vb), scalar().max(a, b), of);
                equal("and", s, s.and(va, vb), scalar().and(a, b), of);
                equal("or", s, s.or(va, vb), scalar().or(a, b), of);
                equal("xor", s, s.xor(va, vb), scalar().xor(a, b), of);
                equal("add_bits", s, s.add_bits(va, vb), scalar().add_bits(a, b), of);
                equal("floor", s, s.floor(va), scalar().floor(a), of);
                let table = [a[0], b[0], c[0], a[1], b[1], c[1], a[2], b[2]];
                equal("lookup", s, s.lookup(&table, vc), scalar().lookup(&table, c), of);

                let (lt, eq) = (s.lt(va, vb), s.eq(vb, vc));
                let (slt, seq) = (scalar().lt(a, b), scalar().eq(b, c));
                for (what, m, expected) in [
                    ("lt", lt, slt),
                    ("eq", eq, seq),
                    ("mask_and", s.mask_and(lt, eq), scalar().mask_and(slt, seq)),
                    ("mask_or", s.mask_or(lt, eq), scalar().mask_or(slt, seq)),
                    ("mask_not", s.mask_not(lt), scalar().mask_not(slt)),
                ] {
                    equal(what, s, s.select(m, va, vc), scalar().select(expected, a, c), of);
                    assert_eq!(s.any(m), expected.contains(&true), "{what} any");
                }
                for length in 0..LANES {
                    let mut expected = [c[0]; LANES];
                    expected[..length].copy_from_slice(&a[..length]);
                    equal("load_partial", s, s.load_partial(&a[..length], c[0]), expected, of);
                    let mut to = b;
                    s.store_partial(va, &mut to[..length]);
                    let mut expected = b;
                    expected[..length].copy_from_slice(&a[..length]);
                    equal("store_partial", s, s.load(&to), expected, of);
                }
            }
            let numbers: [$t; LANES] = core::array::from_fn(|i| i as $t);
            for i in 0..LANES {
                assert!(s.any(s.eq(s.load(&numbers), s.splat(i as $t))));
            }
            assert!(!s.any(s.eq(s.load(&numbers), s.splat(-1.0))));
        }

        #[derive(Clone, Copy)]
        struct Square;
        impl Op for Square {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                square(s);
            }
        }

        #[inline(always)]
        fn square<S: Lanes<$t>>(s: S) {
            let number = |r: usize, c: usize| (r * LANES + c) as $t;
            let rows: [[$t; LANES]; 16] = core::array::from_fn(|r| core::array::from_fn(|c| number(r, c)));
            let mut registers = [s.splat(0.0); 16];
            for (register, row) in registers.iter_mut().zip(&rows) {
                *register = s.load(row);
            }
            let mut columns = [[0.0; LANES]; LANES];
            let mut order = Vec::new();
            s.transpose(
                |r| &rows[r],
                |c, first, lanes| {
                    columns[c][first..][..lanes.len()].copy_from_slice(lanes);
                    order.push((core::cmp::Reverse(first), c));
                },
            );
            // What short rows write beyond their end, the next ones overwrite.
            assert!(order.is_sorted());
            for (c, column) in columns.iter().enumerate() {
                equal("transpose", s, s.load(column), core::array::from_fn(|r| number(r, c)), [rows[c]; 3]);
            }
            for distance in [1, 2, 4, 8].into_iter().filter(|&distance| distance < LANES) {
                let want = core::array::from_fn(|c| number(0, (c + distance) % LANES));
                equal("rotate", s, s.rotate(registers[0], distance), want, [rows[0]; 3]);
            }
        }

        #[test]
        fn squares() {
            on_every_backend(Square);
        }

        #[derive(Clone, Copy)]
        struct Powers;
        impl Op for Powers {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                powers(s);
            }
        }

        #[inline(always)]
        fn powers<S: Lanes<$t>>(s: S) {
            let mut random = Random(2);
            let normal = i64::from($t::MIN_EXP) - 1..i64::from($t::MAX_EXP);
            let eighths: Vec<i64> = (normal.start * 8..normal.end * 8).collect();
            for k in eighths.chunks(LANES) {
                let z: [$t; LANES] = core::array::from_fn(|i| MAGIC + k[i % k.len()] as $t / 8.0);
                // Sizes for which the result stays normal.
                let v: [$t; LANES] = core::array::from_fn(|i| {
                    let power = k[i % k.len()].div_euclid(8);
                    let e =
                        (random.below(80) as i64 - 40).clamp(normal.start - power, normal.end - 1 - power);
                    with_exponent(&mut random, e)
                });
                let (vz, vv) = (s.load(&z), s.load(&v));
                equal("exponent_bits", s, s.exponent_bits(vz), scalar().exponent_bits(z), [z; 3]);
                equal("pow2_floor", s, s.pow2_floor(vz), scalar().pow2_floor(z), [z; 3]);
                equal("scale", s, s.scale(vv, vz), scalar().scale(v, z), [v, z, z]);
                let exact =
                    core::array::from_fn(|i| v[i] * (2.0 as $t).powi(k[i % k.len()].div_euclid(8) as i32));
                equal("scale", scalar(), scalar().scale(v, z), exact, [v, z, z]);
            }
            // From far below the smallest result up to one; halfway cases among them.
            for k in 0..65_536 / LANES {
                let z: [$t; LANES] = core::array::from_fn(|i| MAGIC - (k * LANES + i) as $t / 8.0);
                for size in [-40, -1, 0, 1, 39] {
                    let v: [$t; LANES] = core::array::from_fn(|i| {
                        let v = with_exponent(&mut random, size);
                        let keep = 1 + random.below(u64::from(DIGITS) - 1);
                        if i % 2 == 0 { v } else { $t::from_bits(v.to_bits() >> keep << keep) }
                    });
                    let expected = scalar().ldexp(v, z);
                    equal("ldexp", s, s.ldexp(s.load(&v), s.load(&z)), expected, [v, z, z]);
                }
            }
        }

        #[test]
        fn plain_operations() {
            on_every_backend(Plain);
        }

        #[test]
        fn powers_of_two() {
            on_every_backend(Powers);
        }

        /// Few bits, at the top and at the end of the fraction: products and sums near ties.
        fn simple(random: &mut Random, exponent: i64) -> $t {
            let x = with_exponent(random, exponent).to_bits();
            let keep = random.below(u64::from(DIGITS));
            $t::from_bits((x >> keep << keep) ^ random.below(4) as $bits)
        }

        /// Arguments of a multiply-add that are hard to round.
        fn hard(random: &mut Random, kind: u64) -> [$t; 3] {
            let (low, high, p) = (i64::from($t::MIN_EXP), i64::from($t::MAX_EXP), i64::from(DIGITS));
            let offset = random.below(6 * p as u64) as i64 - 3 * p;
            let near = random.below(9) as i64 - 4;
            let number = if kind % 2 == 0 { with_exponent } else { simple };
            match kind {
                // A sum with every overlap of product and addend.
                0 | 1 => [number(random, 3), number(random, -5), number(random, offset - 2)],
                // Cancellation, total or to within a few units in the last place.
                2 | 3 => {
                    let (a, b) = (number(random, 3), number(random, -5));
                    let c = -(a * b);
                    [a, b, $t::from_bits((c.to_bits() as i64 + near) as $bits)]
                }
                // Results among the subnormals, errors of products below them, products that vanish.
                4 | 5 => {
                    let (a, b) = (number(random, low / 2), number(random, low / 2 + offset));
                    let c = number(random, low - 1);
                    [a, b, if near < 0 { c } else { c - c.signum() * $t::MIN_POSITIVE }]
                }
                // The end of the range.
                6 | 7 => {
                    let (a, b) = (number(random, high / 2), number(random, high / 2 + near - 1));
                    [a, b, number(random, high - 1 - offset.rem_euclid(2 * p))]
                }
                // Half the smallest subnormal and a trifle, next to a subnormal.
                8 => {
                    let (a, b) = (power(random, low / 2), power(random, low - p - 1 - low / 2));
                    // (1 + d)(1 − d): the trifle is of second order, too small for the sum to keep.
                    [a, $t::from_bits(b.to_bits() - 4), with_exponent(random, low - 2)]
                }
                // Cancellation where the error of the product underflows.
                9 => {
                    let (a, b) = (number(random, low / 2), number(random, low / 2 + offset.abs()));
                    let c = -(a * b);
                    [a, b, if near < 0 { c } else { $t::from_bits(c.to_bits() + near as $bits) }]
                }
                // Halves that round up to an infinite product.
                10 => {
                    let ones = $t::from_bits($t::MAX.to_bits() - random.below(4) as $bits);
                    let half = (2.0 as $t).powi(high as i32 / 2);
                    [ones / half, half, if near < 0 { 0.0 } else { number(random, offset) }]
                }
                _ => core::array::from_fn(|_| any_bits(random)),
            }
        }

        /// A power of two, and a little more.
        fn power(random: &mut Random, exponent: i64) -> $t {
            let x = with_exponent(random, exponent).to_bits();
            $t::from_bits((x >> (DIGITS - 1) << (DIGITS - 1)) | random.below(4) as $bits)
        }

        fn fuse(s: impl Fn([$t; LANES], [$t; LANES], [$t; LANES]) -> [$t; LANES]) {
            let mut random = Random(3);
            for kind in 0..12 {
                for round in 0..40_000 {
                    let cases: [[$t; 3]; LANES] = if round % 2 == 0 {
                        core::array::from_fn(|_| hard(&mut random, kind))
                    } else {
                        // One case in all lanes: no other lane sends it to the slow path.
                        [hard(&mut random, kind); LANES]
                    };
                    let of: [[$t; LANES]; 3] =
                        core::array::from_fn(|k| core::array::from_fn(|i| cases[i][k]));
                    let expected = core::array::from_fn(|i| of[0][i].mul_add(of[1][i], of[2][i]));
                    close("emulated mul_add", scalar(), s(of[0], of[1], of[2]), expected, of);
                }
            }
        }
    };
}

mod single {
    suite!(f32, u32, 16);

    #[test]
    fn emulated_multiply_add() {
        fuse(|a, b, c| fused_f32(f32x16::new(a), f32x16::new(b), f32x16::new(c)).to_array());
    }

    #[derive(Clone, Copy)]
    struct Integers;
    impl Op for Integers {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let mut random = Random(4);
            for round in 0..1000 {
                let lanes: [f32; LANES] = core::array::from_fn(|i| match (round, i) {
                    (0, 0) => f32::from_bits(0),
                    (0, 1) => f32::from_bits(u32::MAX),
                    _ => any_bits(&mut random),
                });
                let [low, high] = s.integers(Lanes::<f32>::load(s, &lanes));
                for (half, v) in [low, high].into_iter().enumerate() {
                    let mut wide = [0.0; 8];
                    Lanes::<f64>::store(s, v, &mut wide);
                    assert_eq!(wide, core::array::from_fn(|i| f64::from(lanes[8 * half + i].to_bits())));
                }
            }
        }
    }

    #[test]
    fn patterns_as_integers() {
        on_every_backend(Integers);
    }
}

mod double {
    suite!(f64, u64, 8);

    #[derive(Clone, Copy)]
    struct Halves;
    impl Op for Halves {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let [a, b]: [[f64; LANES]; 2] =
                [0.0, 100.0].map(|from| core::array::from_fn(|i| from + i as f64));
            let [va, vb] = [a, b].map(|lanes| Lanes::<f64>::load(s, &lanes));
            for half in [4, 2, 1] {
                let [first, second] = s.halves(va, vb, half).map(|v| stored(s, v));
                for k in 0..LANES {
                    let expected = if k & half == 0 { [a[k], a[k + half]] } else { [b[k - half], b[k]] };
                    assert_eq!([first[k], second[k]], expected, "{k} by {half}");
                }
            }
        }
    }

    #[test]
    fn halves_of_two() {
        on_every_backend(Halves);
    }

    #[test]
    fn emulated_multiply_add() {
        fuse(|a, b, c| fused_f64(f64x8::new(a), f64x8::new(b), f64x8::new(c)).to_array());
    }
}
