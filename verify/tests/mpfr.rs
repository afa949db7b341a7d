//! Both tiers of the oracle against MPFR, and the published hard cases of exp and log in f64.
//!
//! The bits of the two tiers' claims: 2⁻⁹⁰ and, of 320, 2⁻³⁰⁰; an f64 is claimed to 2⁻⁵³.

use lossprep::{Backend, Layout};
use lossprep_verify::exact::Big;
use lossprep_verify::inputs::Rng;
use lossprep_verify::mpfr::Mpfr;
use lossprep_verify::oracle::{Family, Op, Params, Row, evaluate};
use lossprep_verify::real::Real;
use lossprep_verify::ulp::{Claim, Expect, error_in_ulps};
use lossprep_verify::wide::Wide;

/// Every operation on random rows, both tiers: what they differ from MPFR by, relative to what the claim is measured in.
#[test]
fn both_tiers_agree_with_mpfr() {
    let mut rng = Rng::new(17);
    let mut worst = [f64::NEG_INFINITY; 2];
    for op in Op::ALL {
        for round in 0..400 {
            let scale = [1e-12, 1e-3, 1.0, 30.0, 700.0][round % 5];
            let n = if op.family() == Family::Sigmoid { 1 } else { 1 + round % 9 };
            let p =
                Params { temperature: [1.0, 0.3, 7.0][round % 3], lo: -3.0, hi: 4.0, ..Params::default() };
            let x: Vec<f64> = (0..n)
                .map(|_| match op.forward() {
                    Op::Softmax if op.is_gradient() => rng.unit(),
                    Op::LogSoftmax if op.is_gradient() => -rng.unit() * scale,
                    Op::ScaledSigmoidInverse => rng.unit() * 7.0 - 3.0,
                    _ => rng.normal() * scale,
                })
                .collect();
            let second: Vec<f64> = (0..op.second_len(n)).map(|_| rng.normal() * scale).collect();
            let row = Row { x: &x, second: &second, norm: 1.7 * scale, keep: None };
            let truth = evaluate::<Mpfr>(op, row, &p);
            let wide = evaluate::<Wide>(op, row, &p);
            let big = evaluate::<Big>(op, row, &p);
            for (truth, (wide, big)) in truth.iter().zip(wide.iter().zip(&big)) {
                let (Expect::Value(t), Expect::Value(w), Expect::Value(b)) =
                    (&truth.expect, &wide.expect, &big.expect)
                else {
                    panic!("{} {x:?} expects a number", op.name())
                };
                let measure = match &truth.claim {
                    Claim::Gradient(m) => m.clone(),
                    Claim::Cancelling(s) => s.max(&t.abs()),
                    Claim::Result => t.abs(),
                };
                for (k, other) in [Mpfr::from_real(w), Mpfr::from_real(b)].iter().enumerate() {
                    let gap = t.sub(other);
                    if gap.signum() != 0 {
                        let gap = gap.abs().div(&measure).floor_log2() as f64 + 1.0;
                        assert!(gap <= [-90.0, -300.0][k], "{} {x:?}: 2^{gap}", op.name());
                        worst[k] =
                            worst[k].min(0.0).max(if worst[k] == 0.0 { gap } else { worst[k] }).max(gap);
                    }
                }
            }
        }
    }
    println!("largest differences: double-double 2^{}, astro-float 2^{}", worst[0], worst[1]);
    assert!(worst.iter().all(|w| w.is_finite()), "nothing was compared");
}

/// Arguments at which exp comes closest to a midpoint or a number of f64.
///
/// From V. Lefèvre and J.-M. Muller, *Worst cases for correct rounding of the elementary functions in double precision*
/// (2001).
const HARD_EXP: [f64; 7] = [
    hex(0x17ffe7ffee0024, -32),
    hex(0x180017ffedffdc, -32),
    hex(0x19e9cbbfd6080b, -31),
    hex(0x1d7a7d893609e5, -26),
    hex(0x1ba07d73250de7, -14),
    hex(0x1d77fd13d27fff, -11),
    hex(0x16a4d1af9cc989, -8),
];

/// The same for log.
const HARD_LOG: [f64; 5] = [
    hex(0x1ea71d85cee020, -509),
    hex(0x19476e304cd7c7, -384),
    hex(0x126e9c4d327960, -232),
    hex(0x1613955dc802f8, -35),
    hex(0x162a88613629b6, 678),
];

/// A significand of 53 bits, its first bit counting 2^exponent.
const fn hex(significand: u64, exponent: i64) -> f64 {
    f64::from_bits((significand & ((1 << 52) - 1)) | ((1023 + exponent) as u64) << 52)
}

#[test]
fn the_hard_cases_are_hard_and_all_three_round_them_alike() {
    let check = |x: f64, what: &str, truth: Mpfr, wide: Wide, big: Big| {
        assert!(truth.hardness(53) <= -100, "{what} {x:e} is no hard case: 2^{}", truth.hardness(53));
        for other in [Mpfr::from_real(&wide), Mpfr::from_real(&big)] {
            let gap = truth.sub(&other);
            assert!(gap.signum() == 0 || gap.abs().floor_log2() - truth.floor_log2() < -98, "{what} {x:e}");
        }
        assert_eq!(Mpfr::from_real(&big).nearest(), truth.nearest(), "{what} {x:e}");
    };
    for x in HARD_EXP {
        check(x, "exp", Mpfr::from_f64(x).exp(), Wide::from_f64(x).exp(), Big::from_f64(x).exp());
    }
    for x in HARD_LOG {
        check(x, "log", Mpfr::from_f64(x).ln(), Wide::from_f64(x).ln(), Big::from_f64(x).ln());
    }
}

/// The library's exponential there and at their negatives: what a hard case shows of a function that is not
/// correctly rounded is that its error is no larger than elsewhere.
#[test]
fn the_lane_exponential_at_the_hard_cases() {
    for backend in Backend::available() {
        let kernels = backend.try_get().unwrap();
        for x in HARD_EXP.into_iter().flat_map(|x| [-x, -x * 4096.0]) {
            let mut grad = [0.0; 2];
            let log_p = [x, f64::NEG_INFINITY];
            kernels.log_softmax_vjp(&log_p, &[0.0, -1.0], Layout::rows(1, 2).unwrap(), &mut grad).unwrap();
            let truth = Mpfr::from_f64(x).exp();
            let ulps = error_in_ulps(<f64 as lossprep_verify::ulp::Number>::FORMAT, grad[0], &truth, &truth);
            assert!(ulps <= 1.0, "{backend} {x:e}: {ulps}");
        }
    }
}
