//! The derivative under test: a linear map, audited at every call, with its rounding errors measured.

use alloc::{format, vec, vec::Vec};

use super::function::{Fault, audit, changed};
use super::number::{Number, Random, power};

type Call<'a, A> = &'a mut dyn FnMut(&mut [Vec<A>], &mut [Vec<A>], &mut [Vec<A>]);

/// Constants with few bits: multiplying by them is exact, dividing by them again shows rounding errors.
const FACTORS: [f64; 2] = [2631.0 / 2048.0, 3347.0 / 2048.0];

/// A few samples of rounding show less than the most it can do; moving every coordinate by a whole unit
/// shows twice what rounding it would.
const SAFETY: [f64; 2] = [8.0, 4.0];

/// No more than this many units of the largest entry is put down to rounding.
const MOST: f64 = 256.0;

/// How many points nearby and sign patterns show the rounding and the scale, for small results and for large ones:
/// a rounding error that all entries share is sampled once a point.
const SAMPLES: [(usize, usize); 2] = [(4, 3), (2, 1)];

/// More entries than this are many.
const MANY: usize = 4096;

/// A linear map scales with its argument to within this, far beyond rounding; more is an error of its own.
const NONLINEAR: f64 = 1.0 / 4096.0;

/// A vjp (from outputs to inputs) or a jvp (from inputs to outputs) at a fixed point.
pub(super) struct Linear<'a, A> {
    what: &'static str,
    call: Call<'a, A>,
    base: Vec<Vec<A>>,
    work: Vec<Vec<A>>,
    /// As `work` was before a call.
    before: Vec<Vec<A>>,
    /// What a call is given, what it made of that, and what it gave.
    given: Vec<Vec<A>>,
    used: Vec<Vec<A>>,
    out: Vec<Vec<A>>,
    from: Vec<usize>,
    to: Vec<usize>,
    random: Random,
    audited: bool,
}

/// A row or column of the Jacobian, the rounding error of each entry, and its size were its terms not to cancel.
pub(super) struct Image {
    pub(super) value: Vec<f64>,
    pub(super) noise: Vec<f64>,
    pub(super) scale: Vec<f64>,
}

impl<'a, A: Number> Linear<'a, A> {
    /// `from` and `to` are the lengths of the slices the map takes and gives.
    pub(super) fn new(
        what: &'static str,
        base: Vec<Vec<A>>,
        from: Vec<usize>,
        to: Vec<usize>,
        call: Call<'a, A>,
        seed: u64,
    ) -> Self {
        Self {
            what,
            call,
            work: base.clone(),
            before: base.clone(),
            base,
            given: vec![Vec::new(); from.len()],
            used: Vec::new(),
            out: Vec::new(),
            from,
            to,
            random: Random::new(seed),
            audited: false,
        }
    }

    fn run(&mut self, v: &[f64], pattern: f64) -> Result<Vec<A>, Fault> {
        let mut rest = v;
        for (given, &n) in self.given.iter_mut().zip(&self.from) {
            let (head, tail) = rest.split_at(n);
            rest = tail;
            given.clear();
            given.extend(head.iter().map(|&x| A::narrow(x)));
        }
        self.used.clone_from(&self.given);
        self.before.clone_from(&self.work);
        let pattern = A::narrow(pattern);
        self.out.resize(self.to.len(), Vec::new());
        for (out, &n) in self.out.iter_mut().zip(&self.to) {
            out.clear();
            out.resize(n, pattern);
        }
        (self.call)(&mut self.work, &mut self.used, &mut self.out);
        if let Some(place) = changed(&self.before, &self.work) {
            return Err(Fault::Impure(format!("the {} changes its inputs: {place}", self.what)));
        }
        if let Some(place) = changed(&self.given, &self.used) {
            return Err(Fault::Impure(format!("the {} changes the vector it is given: {place}", self.what)));
        }
        if let Some(k) = (0..self.to.len()).find(|&k| self.out[k].len() != self.to[k]) {
            return Err(Fault::Impure(format!("the {} changes the length of result {k}", self.what)));
        }
        Ok(self.out.concat())
    }

    /// The image of `v`, without an estimate of its errors.
    pub(super) fn apply(&mut self, v: &[f64]) -> Result<Vec<f64>, Fault> {
        let out = if self.audited {
            self.run(v, 0.0)?
        } else {
            let what = self.what;
            audit(&format!("the {what}"), |pattern| self.run(v, pattern))?
        };
        match out.iter().position(|x| !x.is_finite()) {
            None => Ok(out.iter().map(|x| x.widen()).collect()),
            Some(i) => Err(Fault::NonFinite(format!("element {i} of the {} is {:?}", self.what, out[i]))),
        }
    }

    /// The image of `v` and how far rounding carries it: from images of multiples of `v`, and from the
    /// images at points whose coordinates are off by one unit in the last place. Its scale comes from images of `v`
    /// with other signs.
    pub(super) fn image(&mut self, v: &[f64]) -> Result<Image, Fault> {
        let value = self.apply(v)?;
        let mut noise = vec![0.0_f64; value.len()];
        for factor in FACTORS {
            let scaled: Vec<f64> = v.iter().map(|x| x * factor).collect();
            for (n, (x, y)) in noise.iter_mut().zip(value.iter().zip(self.run(&scaled, 0.0)?)) {
                *n = n.max(SAFETY[0] * (y.widen() / factor - x).abs());
            }
        }
        let (nearby, flips) = SAMPLES[usize::from(value.len() > MANY)];
        for _ in 0..nearby {
            for (work, base) in self.work.iter_mut().zip(&self.base) {
                for (w, x) in work.iter_mut().zip(base) {
                    *w = x.neighbour(self.random.sign() > 0.0);
                }
            }
            let image = self.run(v, 0.0);
            self.work.clone_from(&self.base);
            for (n, (x, y)) in noise.iter_mut().zip(value.iter().zip(image?)) {
                *n = n.max(SAFETY[1] * (y.widen() - x).abs());
            }
        }
        let mut scale: Vec<f64> = value.iter().map(|x| x.abs()).collect();
        if v.iter().filter(|x| **x != 0.0).count() > 1 {
            for _ in 0..flips {
                let flipped: Vec<f64> = v.iter().map(|x| x * self.random.sign()).collect();
                for (s, y) in scale.iter_mut().zip(self.run(&flipped, 0.0)?) {
                    // Beyond a pole or an overflow there is no scale to learn.
                    *s = if y.is_finite() { s.max(y.widen().abs()) } else { *s };
                }
            }
        }
        let most = MOST * A::EPS * scale.iter().fold(0.0, |m, x| x.max(m));
        self.scales_with(v, &value, most)?;
        // A neighbour beyond a kink must not pass for rounding.
        noise.iter_mut().for_each(|n| *n = n.min(most));
        Ok(Image { value, noise, scale })
    }

    /// Whether the image of a multiple of `v` is that multiple of the image: upstream gradients that are clipped,
    /// dropped when small or squared are found here. Powers of two, so that nothing is put down to rounding.
    fn scales_with(&mut self, v: &[f64], value: &[f64], most: f64) -> Result<(), Fault> {
        for factor in [-power(A::SCALE), -power(-A::SCALE)] {
            let scaled: Vec<f64> = v.iter().map(|x| x * factor).collect();
            let image = self.run(&scaled, 0.0)?;
            for (i, (x, y)) in value.iter().zip(image).enumerate() {
                // Where the multiple overflows or loses bits nothing can be said.
                if !y.is_finite()
                    || (x * factor).abs() * A::EPS < A::min_positive_value().widen() && *x != 0.0
                {
                    continue;
                }
                let back = y.widen() / factor;
                if (back - x).abs() > most.max(NONLINEAR * x.abs()) {
                    return Err(Fault::Nonlinear(format!(
                        "the {} is not linear in the vector it is given: element {i} is {x:e}, but for {factor:e} times \
                         that vector {:e}, which is {factor:e} times {back:e}",
                        self.what,
                        y.widen()
                    )));
                }
            }
        }
        Ok(())
    }

    /// From now on calls are not repeated: the audit is over.
    pub(super) fn trust(&mut self) {
        self.audited = true;
    }

    /// Whether the map still gives the bits it gave.
    pub(super) fn confirm(&mut self, v: &[f64], before: &[f64]) -> Result<(), Fault> {
        self.audited = false;
        let now = self.apply(v)?;
        match now.iter().zip(before).position(|(a, b)| a.to_bits() != b.to_bits()) {
            None => Ok(()),
            Some(i) => Err(Fault::NonDeterministic(format!(
                "the {}: element {i} was {:e} at first and is {:e} at the end of the check",
                self.what, before[i], now[i]
            ))),
        }
    }
}
