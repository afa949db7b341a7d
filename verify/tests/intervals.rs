//! Interval arguments for what Gappa does not reach: the division of the sigmoid, whose steps are exact or not
//! depending on where a number lies in its binade, and the steps from a row's sum of squares to its norm and to the
//! row of unit length. `proofs/README.md` has the theorems; here they are computed, for the operations that the source
//! has (the lines are compared), over all arguments.
//!
//! Every bound is formed in f64 and made larger by [`up`] after each step, which covers its own rounding.

const EXP: &str = include_str!("../../src/math/exp.rs");
const SIGMA: &str = include_str!("../../src/math/sigma.rs");
const WORD: &str = include_str!("../../src/math/word.rs");
const DOT: &str = include_str!("../../src/math/dot.rs");
const L2: &str = include_str!("../../src/kernels/l2.rs");

/// The source has these lines, which the argument is about.
fn models(source: &str, lines: &[&str]) {
    for line in lines {
        assert_eq!(source.matches(line).count(), 1, "not in the source, or more than once: {line}");
    }
}

/// A little more than x ≥ 0, more than all roundings of an expression of a few operations take away.
fn up(x: f64) -> f64 {
    x * (1.0 + 1e-12) + f64::MIN_POSITIVE
}

/// 2^e
fn pow2(e: i32) -> f64 {
    f64::from_bits(if e < -1022 { 1 << (e + 1074) } else { ((e + 1023) as u64) << 52 })
}

/// The exponent of the leading bit.
fn exponent(x: f64) -> i32 {
    assert!(x.is_normal());
    ((x.abs().to_bits() >> 52) as i32) - 1023
}

// ---- The sigmoid's division -------------------------------------------------------------------------------------

/// The numbers of a format, held in f64 where they are exact.
trait Format {
    const P: i32;
    /// T, the table of 2^(j/8), as the source has it.
    const TABLE: &str;
    /// exp(−x) ≥ 2^`LEAST` at `FARTHEST`, and ≤ 2^−`LEAST` at −`FARTHEST`.
    const LEAST: i32;
    /// exp(−x) < 2^P − 1 for x ≥ −`SMALL`.
    const SMALL: f64;
    fn rounded(x: f64) -> f64;
    /// a + b, exact or not, as the format rounds it.
    fn sum(a: f64, b: f64) -> f64;
    fn from_bits(bits: u64) -> f64;

    /// The last place of a number of this size.
    fn place(x: f64) -> i32 {
        exponent(x) - Self::P + 1
    }

    /// Half of the last place: what rounding a number up to this size may do.
    fn half_place(x: f64) -> f64 {
        if x == 0.0 { 0.0 } else { pow2(Self::place(x) - 1) }
    }

    /// Whether all multiples of 2^`last` up to `most` are numbers of the format.
    fn holds(most: f64, last: i32) -> bool {
        most <= pow2(Self::P) * pow2(last)
    }

    fn table() -> Vec<f64> {
        let at = EXP.find(Self::TABLE).expect("the table is there") + Self::TABLE.len();
        let list = &EXP[at..at + EXP[at..].find(')').expect("it ends")];
        let bits = |word: &str| u64::from_str_radix(&word.replace('_', "")[2..], 16).expect("a pattern");
        let table: Vec<f64> = list.split_whitespace().map(|word| Self::from_bits(bits(word))).collect();
        assert_eq!(table.len(), 8);
        for (j, t) in table.iter().enumerate() {
            assert!((t / (j as f64 / 8.0).exp2() - 1.0).abs() < pow2(1 - Self::P));
        }
        table
    }
}

struct Single;
struct Double;

impl Format for Single {
    const P: i32 = 24;
    const TABLE: &str = "const TABLE: [Self; 8] = words!(f32:";
    const LEAST: i32 = -116;
    const SMALL: f64 = 16.5;
    fn rounded(x: f64) -> f64 {
        f64::from(x as f32)
    }
    fn sum(a: f64, b: f64) -> f64 {
        f64::from(a as f32 + b as f32)
    }
    fn from_bits(bits: u64) -> f64 {
        f64::from(f32::from_bits(bits as u32))
    }
}

impl Format for Double {
    const P: i32 = 53;
    const TABLE: &str = "const TABLE: [Self; 8] = words!(f64:";
    const LEAST: i32 = -996;
    const SMALL: f64 = 36.5;
    fn rounded(x: f64) -> f64 {
        x
    }
    fn sum(a: f64, b: f64) -> f64 {
        a + b
    }
    fn from_bits(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
}

/// |w| ≤ this·t: exp(ln2/16 + a little) − 1 is 0.0443, for either sign of r.
const W: f64 = 0.0464;

/// All numbers of the format from `low` to `high`, if there are but a few.
fn few<F: Format>(low: f64, high: f64) -> Option<Vec<f64>> {
    let mut list = vec![low];
    let mut x = low;
    while x < high {
        x = F::rounded(x + pow2(F::place(x)));
        list.push(x);
        if list.len() > 8 {
            return None;
        }
    }
    Some(list)
}

/// The range of w is cut into twice as many.
const PIECES: i32 = 256;

/// Bounds for one t: relative errors of 1/(1 + v) = h·(1 + ρ), and of v/(1 + v) before its last rounding, v = t − w.
struct Bounds {
    sigma: f64,
    of_minus: f64,
}

/// The steps of `sigma` and `sigma_of_minus` for one t and every w between two numbers of the format.
fn divide<F: Format>(t: f64, [w_low, w_high]: [f64; 2], large: bool) -> Bounds {
    let u = pow2(-F::P);
    let w = w_low.abs().max(w_high.abs());
    // a = t − w, d = a + 1: rounding is monotonic, so the ends of d come from those of a.
    let (a_low, a_high) = (F::sum(t, -w_high), F::sum(t, -w_low));
    let e1 = F::half_place(a_high);
    let (d_low, d_high) = (F::sum(a_low, 1.0), F::sum(a_high, 1.0));
    let e2 = F::half_place(d_high);
    // back = d − 1, exact for d < 2^P: a multiple of d's last place, or of 1, that the format holds.
    let coarse = F::place(d_high) > 0;
    assert!(large || !coarse, "d has to have a last place of 1 at most: {t:e}");
    // Where it is not exact, its last place is that of d, or half of that at a power of two.
    let last_back = if coarse { F::place(d_low) - 1 } else { F::place(d_low).min(0) };
    let e5 = if coarse {
        // d and d − 1 are integers: what is lost is one, or nothing where the format has both.
        1.0
    } else {
        for e in exponent(d_low)..=exponent(d_high) {
            assert!(F::holds(pow2(e + 1) - 1.0, (e - F::P + 1).min(0)), "d − 1 for {t:e}");
        }
        0.0
    };
    // t − back = w − e1 − e2 − e5.
    match few::<F>(d_low, d_high) {
        // Where d is but a few numbers, each is tried.
        Some(list) if !coarse => {
            for d in list {
                let back = d - 1.0;
                let difference = F::sum(t, -back);
                // Exactly the difference: what is left of either argument is zero.
                assert_eq!(t - difference, back, "t − back for {t:e} and d = {d:e}");
                assert_eq!(back + difference, t, "t − back for {t:e} and d = {d:e}");
            }
        }
        _ => {
            let last = F::place(t).min(last_back);
            assert!(F::holds(up(w + e1 + e2 + e5), last), "t − back for {t:e}");
        }
    }
    // error = (t − back) − w = −e1 − e2 − e5, rounded; with e5 added again where it is lost, rounded again.
    let mut e3 = u * up(e1 + e2 + e5);
    if large {
        // d − back is 1 − e5, and one less that e5: integers of 0, 1 or 2, or zero.
        e3 = up(e3 + u * up(e1 + e2 + e3));
    }
    let error = up(e1 + e2 + e3);
    // h = 1/d rounded; 1 − h·d is exact, as the remainder of a quotient.
    let v = a_low / (1.0 + 1e-6);
    let below = 1.0 + v;
    let h = up((1.0 + u) / d_low);
    let rho = up(u + h * error);
    // D = d + error = 1 + v + e3. h·(1 + ρ)·(1 + v) − 1 = −ρ² + ρ's rounding, and what e3 does.
    let sigma = up(rho * rho + u * rho * (1.0 + rho) + up(h * (1.0 + rho) * e3));
    // Relative to t from here. e = t − w in two words, |e.lo| ≤ half a place. q = e.hi·(1/d), two roundings.
    let (hi, lo) = (a_high / t, e1 / t);
    let q = up(hi * h * (1.0 + u));
    // e.hi − q·d in one rounding: q is off by u(2 + u) of itself.
    let r1 = up(hi * (2.0 * u + u * u));
    let r2 = up(lo + q * error);
    let rest = up(r1 + r2);
    let roundings = u * up(r1 + r2 + rest + u * rest);
    // e.hi + e.lo = q·D + rest: over d for D, and by a rounded reciprocal, and e3.
    let end = up(roundings / d_low + rest / d_low * (u + error / d_low) * 1.01 + q * e3 / below);
    let of_minus = end / (v / t / below);
    Bounds { sigma, of_minus: up(of_minus) }
}

/// The largest for all t = 2^b·T, in units of u².
fn largest<F: Format>(exponents: std::ops::Range<i32>, large: bool, of_minus: bool) -> f64 {
    let mut most = 0.0f64;
    for b in exponents {
        for t in F::table() {
            // What is smaller than exp of −`SMALL` with any w.
            if !large && t * pow2(b) * (1.0 - W) > F::SMALL.exp() {
                continue;
            }
            let t = t * pow2(b);
            let ends: Vec<f64> = (-PIECES..=PIECES)
                .map(|k| F::rounded(W * t * f64::from(k) / f64::from(PIECES) * (1.0 + pow2(-22))))
                .collect();
            for piece in ends.windows(2) {
                let bounds = divide::<F>(t, [piece[0], piece[1]], large);
                most = most.max(if of_minus { bounds.of_minus } else { bounds.sigma });
            }
        }
    }
    most * pow2(2 * F::P)
}

fn division<F: Format>() {
    // 1 + t(1 + W) < 2^P for x ≥ −SMALL: t·(1 − W) ≤ exp(SMALL).
    let most = (F::SMALL.exp() / (1.0 - W)).log2();
    let below = most.floor() as i32 + 1;
    let small = largest::<F>(F::LEAST - 1..below, false, false);
    let large = largest::<F>(F::LEAST - 1..-F::LEAST + 1, true, false);
    let minus = largest::<F>(F::LEAST - 1..1, false, true);
    println!("p = {}: sigma {small:.2} u², LARGE {large:.2} u², sigma_of_minus {minus:.2} u²", F::P);
    // What is beyond the integers goes away with the width of the pieces.
    assert!(small <= 14.01 && large <= 17.01 && minus <= 22.0, "the claims of proofs/README.md");
}

#[test]
fn the_division_of_the_sigmoid() {
    models(
        SIGMA,
        &[
            "let d = t - w + T::one();",
            "let back = d - T::one();",
            "let mut error = t - back - w;",
            "error = error + (one - (d - back));",
            "let h = one / d;",
            "[h, (-h).mul_add(error, (-h).mul_add(d, one))]",
            "let e = fast_two_sum(t, -w);",
            "let d = e.hi + T::one();",
            "let error = t - (d - T::one()) - w;",
            "let reciprocal = Vector::splat(t.s, T::one()) / d;",
            "let quotient = e.hi * reciprocal;",
            "let rest = (-quotient).mul_add(d, e.hi) + (-quotient).mul_add(error, e.lo);",
            "rest.mul_add(reciprocal, quotient)",
            "const SMALL: Self = 16.5;",
            "const SMALL: Self = 36.5;",
            "const FARTHEST: Self = 80.0;",
            "const FARTHEST: Self = 690.0;",
        ],
    );
    division::<Single>();
    division::<Double>();
}

// ---- From a sum of squares to a row of unit length ------------------------------------------------------------

/// A factor 1 + δ, |δ| ≤ the number.
#[derive(Clone, Copy)]
struct Off(f64);

impl Off {
    fn then(self, other: Self) -> Self {
        Self(up(self.0 + other.0 + self.0 * other.0))
    }

    fn times(self, n: u32) -> Self {
        (0..n).fold(Self(0.0), |all, _| all.then(self))
    }

    /// Of the square root: √(1 + δ) and √(1 − δ), the latter the farther from 1.
    fn root(self) -> Self {
        Self(up(self.0 / (1.0 + (1.0 - self.0).sqrt())))
    }

    /// Of the reciprocal.
    fn inverse(self) -> Self {
        Self(up(self.0 / (1.0 - self.0)))
    }
}

/// f64's.
const U: f64 = 1.0 / (1u64 << 53) as f64;

/// The parts in the order of the source: the sum, the root, the guard, the reciprocal, the product.
fn unit_row(sum: Off, last: Off) -> Off {
    let (root, quotient, added) = (Off(4.0 * U * U), Off(pow2(-102) * 0.71), Off(2.0 * U * U));
    let norm = sum.root().then(root);
    // What is added to a positive number is positive and exact: no relative error grows by it.
    let max = norm;
    let add = norm.then(added);
    let squared = sum.then(added).root().then(root);
    let divisor = Off(max.0.max(add.0).max(squared.0));
    divisor.inverse().then(quotient).then(last)
}

#[test]
fn from_squares_to_the_norm_and_the_unit_row() {
    models(DOT, &["const WAYS: usize = 32;", "const BLOCK: usize = 65_536;"]);
    models(
        L2,
        &[
            "Self { root: dot.sum.sqrt(), square: dot.sum, unit: dot.unit }",
            "Divisor { value: Word::select(below, Word::exact(eps), root), unit, constant: below }",
            "Divisor { value: root.add_one(eps), unit, constant: never }",
            "Divisor { value: square.add_one(eps).sqrt(), unit, constant: never }",
            "if T::COMPENSATED { x.mul_add(h, x * l) } else { x * h }",
        ],
    );
    models(
        WORD,
        &[
            "relative error ≤ 4u² (2^−104)",
            "relative error ≤ 2u² (`DWPlusFP`)",
            "relative error ≤ 11u² (2^−102.5 for f64)",
        ],
    );
    let log = |off: Off| off.0.log2();
    // f32: squares are exact in f64 and positive, so that each addition is one factor of 1 + u at most: those of an
    // accumulator in a block, five that join the accumulators; then 256 blocks in double words.
    let terms = (65_536 / 32) as u32;
    let single = Off(U).times(terms + 5).then(Off(3.01 * U * U).times(256));
    let norm = single.root().then(Off(4.0 * U * U));
    println!("f32: sum 2^{:.2}, norm 2^{:.2}", log(single), log(norm));
    assert!(log(single) <= -41.9 && log(norm) <= -42.9, "the claims of kernels/l2.rs");
    // The norm's head, then f32: half an ULP of it, and relative errors before it in ULP of f32.
    let off = norm.then(Off(U)).0 * pow2(24);
    println!("f32 l2_norm: ½ + 2^{:.2} ULP", off.log2());
    assert!(off <= pow2(-18));
    // The reciprocal's head alone: half a place of it is left out, and the product is rounded to f64 first.
    let off = unit_row(single, Off(U).then(Off(U))).0 * pow2(24);
    println!("f32 l2_normalize: ½ + 2^{:.2} ULP", off.log2());
    assert!(off <= pow2(-18));

    // f64: each product's and each sum's remainder goes to a second word, which is rounded at u of itself. For k
    // terms the remainders are ku of the sum, and their k additions and the products' as many lose ku of that.
    let k = f64::from(terms + 5);
    let remainders = Off(U).times(2 * (terms + 5));
    let double = Off(up(2.0 * k * U * remainders.0)).then(Off(3.01 * U * U).times(256));
    let norm = double.root().then(Off(4.0 * U * U));
    println!("f64: sum 2^{:.2}, norm 2^{:.2}", log(double), log(norm));
    assert!(log(double) <= -81.9);
    let off = norm.0 * pow2(53);
    println!("f64 l2_norm: ½ + 2^{:.2} ULP", off.log2());
    assert!(off <= pow2(-29));
    // x·l is rounded at u of 3u of the result, h being up to two places below the reciprocal; then one fused step.
    let off = unit_row(double, Off(3.0 * U * U)).0 * pow2(53);
    println!("f64 l2_normalize: ½ + 2^{:.2} ULP", off.log2());
    assert!(off <= pow2(-29), "the claim of kernels/l2.rs");
}
