//! Losses of logits against classes or distributions: cross-entropy, focal loss, Kullback-Leibler divergence;
//! and the negative log-likelihood of log-probabilities.
//!
//! # Mathematics
//! Let z = c·tanh(x/c)/T of a row x (softcap c, temperature T; x where there is neither), L = log Σ exp z_j,
//! p_j = exp(z_j − L). Classes and distributions alike become a row of *shares* v:
//!
//! * class t: v_j = w_j·((1 − ε)·[j = t] + ε/K); distribution q: v_j = w_j·((1 − ε)·q_j + ε/K), with label
//!   smoothing ε and class weights w;
//! * cross-entropy: Σ v_j·(L − z_j) + ζ·r·L², where r, the weight of the row, is w_t for a class and else 1;
//!   its gradient in z_i is p_i·(V + 2ζ·r·L) − v_i with V = Σ v_j;
//! * Kullback-Leibler: Σ q_j·(log q_j + L − z_j), with the gradient of cross-entropy;
//! * focal: w_t·(1 − p_t)^γ·(L − z_t), whose gradient is F·(p_i − [i = t]) with
//!   F = w_t·((1 − p_t)^γ + γ·p_t·(1 − p_t)^(γ−1)·(L − z_t)).
//!
//! # Algorithm
//! 1. The two largest elements m ≥ m₂.
//! 2. others = Σ exp(z_j − z(m₂)) without the maximum, so that it keeps its relative accuracy however small it is
//!    beside exp z(m); Σ v_j·(z(m) − z_j), all terms of one sign; Σ v_j without the maximum.
//! 3. With c = others·exp(z(m₂) − z(m)): L − z(m) = log1p c, p at the maximum is 1/(1 + c) and what it lacks of 1
//!    is c/(1 + c). c has an exponent of its own: it may be too small for the type.
//! 4. The gradient; at the maximum p·V − v is (V − v) − V·(1 − p), neither difference formed by subtraction. A
//!    confident row keeps all its digits.
//!
//! Classes without smoothing, z-loss, softcap and temperature take the passes of softmax instead (`cross_entropy` in
//! `kernels/softmax.rs`): p·g costs no more than p; L − x_t is taken from the logarithm of the sum S, or with exp m and
//! others = S − exp m from log1p(others/exp m) where S < 2·exp m. The gradient at the class, −(1 − p)·g, is p·g − g where
//! p ≤ ½, else −(others/S)·g; where others is too small beside S to be known from it, it is summed by itself, and the gradient
//! is expm1(−loss)·g. Rows whose factor is above 1, tiny or not finite have their gradient from the steps above, row by row,
//! so that no row's bits depend on another; rows whose loss is less than a normal number, or overflows before it is
//! weighted, that too.
//!
//! All else in registers of twice the precision ([`Wide`]), what is multiplied with exponents apart ([`Extended`]),
//! rounded once. The gradient may overwrite the logits: the
//! last pass reads an element before it writes it.
//!
//! # Error
//! Of the value: half an ULP, and 2^−37 (f64: 2^−57) of the sum of its terms' magnitudes. Of the gradient: half an
//! ULP, and 2^−40 (2^−60) of M_i = p_i·V + v_i, or V·(1 − p_i) + Σ_{j≠i} v_j at the maximum. A softcap costs 2^−40
//! (2^−60) of z as well: so much of max |z| in the value's terms, and as a share of p. Where classes take the passes of
//! softmax, the gradient has its error, at a class with p ≤ ½ half an ULP more. `verify` measures it.

use super::row::Row;
use super::wide::{Extended, Wide, WideElement, canonical, sums};
use crate::dispatch::{Kernels, operations};
use crate::element::Lane;
use crate::error::{check_len, check_scale, check_weights};
use crate::kernels::softmax::{self, Targets, left_as_they_are};
use crate::simd::{Op, Simd, Vector};
use crate::{Element, Error, Layout};
use core::ops::Range;

/// What a row of logits is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a, T> {
    /// One class a row.
    Classes(&'a [usize]),
    /// A distribution a row, of the shape of the logits. Rows should sum to 1; it is not checked.
    Probabilities(&'a [T]),
}

/// Class weights and the index to ignore: what the losses of class indices share.
///
/// ```
/// use lossprep::{ClassOptions, Layout, nll};
/// let log_p = [-0.5_f32, -0.9, -1.2, -0.4];
/// let mut losses = [0.0; 2];
/// let options = ClassOptions::new().weights(&[2.0, 1.0]).ignore_index(usize::MAX);
/// nll(&log_p, &[0, usize::MAX], Layout::rows(2, 2)?, &options, &mut losses)?;
/// assert_eq!(losses, [1.0, 0.0]);
/// # Ok::<(), lossprep::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClassOptions<'a, T> {
    weights: Option<&'a [T]>,
    ignore_index: Option<usize>,
}

impl<'a, T: Element> ClassOptions<'a, T> {
    /// Every class weighs 1, none is ignored.
    pub const fn new() -> Self {
        Self { weights: None, ignore_index: None }
    }

    /// A weight for each class, finite and not negative.
    #[must_use]
    pub const fn weights(mut self, weights: &'a [T]) -> Self {
        self.weights = Some(weights);
        self
    }

    /// Rows of this class have the loss 0 and the gradient 0, whatever they hold. It need not be a class.
    #[must_use]
    pub const fn ignore_index(mut self, class: usize) -> Self {
        self.ignore_index = Some(class);
        self
    }

    /// What each row counts for in a mean: the weight of its class, 0 where it is ignored.
    ///
    /// # Errors
    /// Those of the loss, for the classes and weights.
    pub fn row_weights(&self, classes: &[usize], layout: Layout, out: &mut [T]) -> Result<(), Error> {
        check_len("out", layout.row_count(), out.len())?;
        self.check(classes, layout)?;
        for (out, &class) in out.iter_mut().zip(classes) {
            *out = if self.ignore_index == Some(class) { T::zero() } else { self.weight(class) };
        }
        Ok(())
    }

    #[inline(always)]
    fn weight(&self, class: usize) -> T {
        self.weights.map_or_else(T::one, |w| w[class])
    }

    fn check_weights(&self, layout: Layout) -> Result<(), Error> {
        let Some(weights) = self.weights else { return Ok(()) };
        check_len("weights", layout.len(), weights.len())?;
        check_weights("weights", weights)
    }

    fn check(&self, classes: &[usize], layout: Layout) -> Result<(), Error> {
        check_len("classes", layout.row_count(), classes.len())?;
        self.check_weights(layout)?;
        let wrong = |&class: &usize| class >= layout.len() && self.ignore_index != Some(class);
        match classes.iter().position(wrong) {
            Some(row) => Err(Error::Class { row, class: classes[row], classes: layout.len() }),
            None => Ok(()),
        }
    }
}

/// Options of [`cross_entropy`](crate::cross_entropy).
///
/// ```
/// use lossprep::{CrossEntropyOptions, Layout, Target, cross_entropy};
/// let options = CrossEntropyOptions::new().label_smoothing(0.1).softcap(30.0).z_loss(1e-4);
/// let mut losses = [0.0_f32];
/// cross_entropy(&[2.0, -1.0, 0.5], Target::Classes(&[0]), Layout::rows(1, 3)?, &options, &mut losses)?;
/// assert!((losses[0] - 0.39).abs() < 0.01);
/// # Ok::<(), lossprep::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CrossEntropyOptions<'a, T> {
    classes: ClassOptions<'a, T>,
    label_smoothing: T,
    z_loss: T,
    softcap: Option<T>,
    temperature: T,
}

impl<T: Element> Default for CrossEntropyOptions<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T: Element> CrossEntropyOptions<'a, T> {
    /// The plain cross-entropy.
    pub fn new() -> Self {
        Self {
            classes: ClassOptions::new(),
            label_smoothing: T::zero(),
            z_loss: T::zero(),
            softcap: None,
            temperature: T::one(),
        }
    }

    /// A weight for each class, finite and not negative; with distributions too.
    #[must_use]
    pub fn weights(mut self, weights: &'a [T]) -> Self {
        self.classes.weights = Some(weights);
        self
    }

    /// Rows of this class have the loss 0 and the gradient 0, whatever they hold. It need not be a class.
    #[must_use]
    pub fn ignore_index(mut self, class: usize) -> Self {
        self.classes.ignore_index = Some(class);
        self
    }

    /// Mixes the target with the uniform distribution: (1 − ε)·q + ε/K, ε in [0, 1].
    #[must_use]
    pub fn label_smoothing(mut self, epsilon: T) -> Self {
        self.label_smoothing = epsilon;
        self
    }

    /// Adds ζ·L² for each row, times the weight of its class: keeps log-partition functions near 0. ζ is finite and
    /// not negative.
    #[must_use]
    pub fn z_loss(mut self, zeta: T) -> Self {
        self.z_loss = zeta;
        self
    }

    /// Takes c·tanh(x/c) for x: finite, normal and positive. Applied before the temperature.
    #[must_use]
    pub fn softcap(mut self, cap: T) -> Self {
        self.softcap = Some(cap);
        self
    }

    /// Divides the logits by `temperature`: finite, normal and positive.
    #[must_use]
    pub fn temperature(mut self, temperature: T) -> Self {
        self.temperature = temperature;
        self
    }

    /// What each row counts for in a mean: the weight of its class, 0 where it is ignored, 1 for a distribution.
    ///
    /// # Errors
    /// Those of [`cross_entropy`](crate::cross_entropy).
    pub fn row_weights(&self, target: Target<'_, T>, layout: Layout, out: &mut [T]) -> Result<(), Error> {
        self.check(target, layout)?;
        match target {
            Target::Classes(classes) => self.classes.row_weights(classes, layout, out),
            Target::Probabilities(_) => {
                check_len("out", layout.row_count(), out.len())?;
                out.fill(T::one());
                Ok(())
            }
        }
    }

    fn check(&self, target: Target<'_, T>, layout: Layout) -> Result<(), Error> {
        let Self { label_smoothing, z_loss, softcap, temperature, .. } = *self;
        if !(label_smoothing >= T::zero() && label_smoothing <= T::one()) {
            return Err(Error::Parameter { name: "label_smoothing", requirement: "in [0, 1]" });
        }
        if !(z_loss >= T::zero() && z_loss.is_finite()) {
            return Err(Error::Parameter { name: "z_loss", requirement: "finite and not negative" });
        }
        if let Some(cap) = softcap {
            check_scale("softcap", cap)?;
        }
        check_scale("temperature", temperature)?;
        match target {
            Target::Classes(classes) => self.classes.check(classes, layout),
            Target::Probabilities(q) => {
                check_len("target", layout.elements(), q.len())?;
                if self.classes.ignore_index.is_some() {
                    return Err(Error::Combination {
                        first: "ignore_index",
                        second: "a target of probabilities",
                    });
                }
                self.classes.check_weights(layout)
            }
        }
    }
}

/// What is added to, or done with, the cross-entropy of a row.
#[derive(Clone, Copy, PartialEq)]
enum Kind<T> {
    Plain,
    /// (1 − p_t)^γ
    Focal(T),
    /// Σ q·log q
    Divergence,
}

/// A loss of logits: everything but the logits.
#[derive(Clone, Copy)]
struct Problem<'a, T> {
    layout: Layout,
    target: Target<'a, T>,
    options: &'a CrossEntropyOptions<'a, T>,
    kind: Kind<T>,
}

/// A share of the target that one element has alone: the register it is in, and its lane.
struct Hot<T: WideElement, S: Simd> {
    register: usize,
    lanes: Wide<T, S>,
}

/// What the gradient needs of a row.
struct State<T: WideElement, S: Simd> {
    /// The largest logit, what it is capped to, and whether it is the only one of its size.
    largest: Vector<T, S>,
    top: Wide<T, S>,
    unique: bool,
    /// What p at the maximum lacks of 1, times 1 + c; and 1/(1 + c).
    c: Extended<T, S>,
    share: Wide<T, S>,
    /// V, and V without the share of the maximum.
    all: Wide<T, S>,
    beside: Wide<T, S>,
    /// 2ζ·r·L
    pull: Extended<T, S>,
    /// What all of it is to be multiplied with: (1 − p_t)^γ of the focal loss.
    power: Option<Extended<T, S>>,
    hot: Option<Hot<T, S>>,
}

/// What a row gives.
enum Outcome<T: WideElement, S: Simd> {
    /// The loss 0, the gradient 0.
    Ignored,
    /// NaN, both.
    Undefined,
    Finite(Vector<T, S>, State<T, S>),
}

impl<T: WideElement, S: Simd> Outcome<T, S> {
    #[inline(always)]
    fn loss(&self) -> T {
        match self {
            Self::Ignored => T::zero(),
            Self::Undefined => <T as Lane>::NAN,
            Self::Finite(loss, _) => loss.to_array().as_ref()[0],
        }
    }
}

impl<T: Element + WideElement> Problem<'_, T> {
    /// The loss of a row, whose logits the gradient overwrites where it is asked for.
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, logits: &mut Logits<'_, T>, row: usize) -> T {
        let x: &[T] = match logits {
            Logits::Read(x) => x,
            Logits::Overwrite { data, .. } => data,
        };
        let outcome = self.outcome(s, x, row);
        let loss = outcome.loss();
        if let Logits::Overwrite { data, upstream } = logits {
            match outcome {
                Outcome::Finite(_, state) => self.gradient(s, &state, upstream[row], data, row),
                _ => {
                    let place = Row::of(self.layout, row);
                    (0..place.len).for_each(|i| data[place.index(i)] = loss);
                }
            }
        }
        loss
    }

    /// c·tanh(x/c), times a factor that leaves room for differences where a temperature above 1 brings them back.
    #[inline(always)]
    fn capped<S: Simd>(&self, x: Vector<T, S>) -> Wide<T, S> {
        let s = x.s;
        let mut z = Wide::exact(x);
        if let Some(cap) = self.options.softcap {
            let cap = Wide::splat(s, cap);
            z = (z / cap).tanh() * cap;
        }
        if self.options.temperature > T::one() { z * Wide::splat(s, T::HALF * T::HALF) } else { z }
    }

    /// (y − z)/T of what [`capped`](Self::capped) gives.
    #[inline(always)]
    fn gap<S: Simd>(&self, y: Wide<T, S>, z: Wide<T, S>) -> Wide<T, S> {
        let (gap, t) = (y - z, self.options.temperature);
        if t == T::one() {
            return gap;
        }
        let s = gap.backend();
        let gap = gap / Wide::splat(s, t);
        if t > T::one() { gap * Wide::splat(s, (T::HALF * T::HALF).recip()) } else { gap }
    }

    /// (1 − ε)·q + ε/K, times w, of register `j`: what is not the class's own.
    #[inline(always)]
    fn shares<S: Simd>(&self, s: S, place: Row, j: usize) -> Wide<T, S> {
        let smoothing = self.options.label_smoothing;
        let mut v = Wide::zero(s);
        if smoothing > T::zero() {
            let count = Wide::splat(s, T::from(place.len).unwrap_or_else(T::one));
            v = Wide::splat(s, smoothing) / count * Wide::exact(place.ones(s, j));
        }
        if let Target::Probabilities(q) = self.target {
            let q = Wide::exact(place.load(s, q, j, T::zero()));
            v = v + if smoothing > T::zero() { q * self.kept(s) } else { q };
        }
        match self.options.classes.weights {
            None => v,
            Some(w) => v * Wide::exact(Row::whole(place.len).load(s, w, j, T::zero())),
        }
    }

    /// 1 − ε
    #[inline(always)]
    fn kept<S: Simd>(&self, s: S) -> Wide<T, S> {
        Wide::splat(s, T::one()) - Wide::splat(s, self.options.label_smoothing)
    }

    /// The row's loss and what its gradient needs.
    #[inline(always)]
    fn outcome<S: Simd>(&self, s: S, x: &[T], row: usize) -> Outcome<T, S> {
        let place = Row::of(self.layout, row);
        let class = match self.target {
            Target::Classes(classes) if self.options.classes.ignore_index == Some(classes[row]) => {
                return Outcome::Ignored;
            }
            Target::Classes(classes) => Some(classes[row]),
            Target::Probabilities(_) if place.len == 0 => return Outcome::Ignored,
            Target::Probabilities(_) => None,
        };
        let steps = place.steps::<T>();
        let none = -<T as Lane>::INFINITY;
        let Some([first, second]) = two_largest(s, place, x) else { return Outcome::Undefined };
        let free = self.options.softcap.is_none();
        if free && !first.is_finite() {
            return Outcome::Undefined;
        }
        let unique = second < first;
        let (zero, one) = (Wide::zero(s), Wide::splat(s, T::one()));
        let nothing = Vector::splat(s, T::zero());
        // Alone, without even a −∞ beside it that a cap would make finite.
        let alone = place.len == 1 || free && second == none;
        let second = if alone { first } else { second };
        // The class's logit; where there is none, any.
        let mine = class.map_or(first, |class| x[place.index(class)]);
        let mut known = [zero; 3];
        for (z, x) in known.iter_mut().zip([first, second, mine]) {
            *z = self.capped(Vector::splat(s, x));
        }
        let [top, next, mine] = known;
        let largest = Vector::splat(s, first);
        let lone = Vector::splat(s, if unique { first } else { <T as Lane>::NAN });
        let spread = self.options.label_smoothing > T::zero() || class.is_none();
        let [total, weighed, beside, at_top] = sums::<T, S, 4>(
            s,
            steps,
            #[inline(always)]
            |j| {
                let x = place.load(s, x, j, none);
                let outside = place.ones::<T, S>(s, j).eq(nothing);
                let greatest = x.eq(lone);
                let absent = outside | greatest | if free { x.eq(Vector::splat(s, none)) } else { outside };
                let z = self.capped(x);
                let e = self.gap(Wide::select(absent, next, z), next).exp();
                let e = Wide::select(absent, zero, e);
                if !spread {
                    return [e, zero, zero, zero];
                }
                let v = self.shares(s, place, j);
                let mut term = self.gap(top, z);
                if self.kind == Kind::Divergence {
                    term = term + Wide::select(nothing.lt(v.round()), v, one).ln();
                }
                let (apart, of_top) = (Wide::select(greatest, zero, v), Wide::select(greatest, v, zero));
                [e, without_nothing(v, term), apart, of_top]
            },
        );
        let others = if unique { total } else { total - one };
        let far = self.gap(next, top);
        // c itself may be too small for the type.
        let remote = far.round().lt(Vector::splat(s, T::FLAT)).any();
        let sum = others * far.exp();
        let c = Extended::of(others) * Extended::exp(far);
        let share = one / (one + sum);
        let excess = if remote { c } else { Extended::of(sum.ln_1p()) };
        let mut all = beside + at_top;
        let mut beside = beside;
        let mut row_weight = T::one();
        let mut power = None;
        let mut hot = None;
        let mut loss = Extended::of(weighed);
        if let Some(class) = class {
            let gap = self.gap(top, mine);
            let is_top = unique && x[place.index(class)] == first;
            row_weight = self.options.classes.weight(class);
            let mut own = Wide::splat(s, row_weight) * self.kept(s);
            match self.kind {
                Kind::Focal(gamma) => {
                    let log = Extended::of(gap) + excess;
                    let p = (-gap).exp() * share;
                    let missing = if is_top { sum * share } else { one - p };
                    let (mut exponent, mut slope) = (zero, zero);
                    if gamma != T::zero() && !alone {
                        let gamma = Wide::splat(s, gamma);
                        let remote = is_top && remote;
                        // p of another class than the largest may be too small to leave a trace in 1 − p.
                        exponent = gamma
                            * match (is_top, remote) {
                                (false, _) => -(p / missing).ln_1p(),
                                (true, true) => far + (others * share).ln(),
                                (true, false) => missing.ln(),
                            };
                        // log over missing: 1 where both are c.
                        let ratio = if remote { one } else { log.wide() / missing };
                        // Of an infinite gap exp is bounded from below, for f32, and the logarithm is not.
                        let weight = gamma * p;
                        slope = Wide::select(weight.round().eq(nothing), zero, weight * ratio);
                    }
                    let factor = Extended::exp(exponent);
                    loss = Extended::of(own).times_unless_zero(factor * log);
                    own = own + without_nothing(own, slope);
                    power = Some(factor);
                }
                _ => loss = loss + Extended::of(own).times_unless_zero(Extended::of(gap)),
            }
            all = all + own;
            if !is_top {
                beside = beside + own;
            }
            let mut lanes = T::array(T::zero());
            lanes.as_mut()[class % T::LANES] = T::one();
            let lane = Vector::load(s, &lanes).eq(Vector::splat(s, T::one()));
            hot = Some(Hot { register: class / T::LANES, lanes: Wide::select(lane, own, zero) });
        }
        if !matches!(self.kind, Kind::Focal(_)) {
            loss = loss + Extended::of(all) * excess;
        }
        let mut pull = Extended::of(zero);
        if self.options.z_loss > T::zero() {
            let log = Extended::of(self.gap(top, zero)) + excess;
            let pulled = Extended::splat(s, row_weight) * Extended::splat(s, self.options.z_loss) * log;
            loss = loss + pulled * log;
            pull = pulled + pulled;
        }
        Outcome::Finite(
            canonical(loss.round()),
            State { largest, top, unique, c, share, all, beside, pull, power, hot },
        )
    }

    /// Overwrites the logits of a row by the gradient.
    #[inline(always)]
    fn gradient<S: Simd>(&self, s: S, state: &State<T, S>, upstream: T, data: &mut [T], row: usize) {
        let place = Row::of(self.layout, row);
        let zero = Vector::splat(s, T::zero());
        let none = Vector::splat(s, -<T as Lane>::INFINITY);
        let whole = upstream.is_finite();
        let mut g = Extended::splat(s, if whole { upstream } else { T::one() })
            / Extended::splat(s, self.options.temperature);
        if let Some(power) = state.power {
            g = g * power;
        }
        let share = Extended::of(state.share);
        let all = Extended::of(state.all);
        let rate = g * share * (all + state.pull);
        let at_top = g * (Extended::of(state.beside) - all * state.c * share + state.pull * share);
        let spread =
            self.options.label_smoothing > T::zero() || matches!(self.target, Target::Probabilities(_));
        for j in 0..place.steps::<T>() {
            let x = place.load(s, data, j, -<T as Lane>::INFINITY);
            let mut d = Extended::exp(self.gap(self.capped(x), state.top)) * rate;
            if self.options.softcap.is_none() {
                d = Extended::select(x.eq(none), Extended::of(Wide::zero(s)), d);
            }
            let hot = state.hot.as_ref().filter(|hot| hot.register == j);
            if spread || hot.is_some() {
                let mut v = self.shares(s, place, j);
                if let Some(hot) = hot {
                    v = v + hot.lanes;
                }
                d = d - Extended::of(v) * g;
            }
            if state.unique {
                d = Extended::select(x.eq(state.largest), at_top, d);
            }
            if let Some(cap) = self.options.softcap {
                d = d * slope_of_cap(x, cap);
            }
            let mut value = d.round();
            if !whole {
                // Where the derivative is 0, and not only rounded to it, no upstream gradient reaches.
                value = d.sign().eq(zero).select(zero, Vector::splat(s, <T as Lane>::NAN));
            }
            place.store(data, j, canonical(value));
        }
    }
}

/// d/dx of c·tanh(x/c): 4e/(1 + e)², e = exp(−2|x|/c).
#[inline(always)]
fn slope_of_cap<T: WideElement, S: Simd>(x: Vector<T, S>, cap: T) -> Extended<T, S> {
    let s = x.s;
    let half = Wide::exact(x.abs()) / Wide::splat(s, cap);
    let twice = -(half + half);
    let half = Wide::splat(s, T::HALF) * (Wide::splat(s, T::one()) + twice.exp());
    Extended::exp(twice) / Extended::of(half * half)
}

/// v·term, but 0 where v is 0, whatever the term is.
#[inline(always)]
fn without_nothing<T: WideElement, S: Simd>(v: Wide<T, S>, term: Wide<T, S>) -> Wide<T, S> {
    let sign = v.sign();
    Wide::select(sign.eq(Vector::splat(sign.s, T::zero())), Wide::zero(sign.s), v * term)
}

/// The two largest elements of a row, equal ones counted twice; nothing if there is a NaN.
#[inline(always)]
fn two_largest<T: Lane, S: Simd>(s: S, place: Row, x: &[T]) -> Option<[T; 2]> {
    let none = -T::INFINITY;
    let mut first = Vector::splat(s, none);
    let mut second = first;
    let mut nan = first.is_nan();
    for j in 0..place.steps::<T>() {
        let x = place.load(s, x, j, none);
        nan = nan | x.is_nan();
        let above = first.lt(x);
        second = above.select(first, x).max(second);
        first = above.select(x, first);
    }
    if nan.any() {
        return None;
    }
    let mut top = [none; 2];
    for &x in first.to_array().as_ref().iter().chain(second.to_array().as_ref()) {
        if x > top[0] {
            top = [x, top[0]];
        } else if x > top[1] {
            top[1] = x;
        }
    }
    Some(top)
}

/// Classes, and the factor of each row's gradient: the upstream one times the weight of the class, NaN where it is
/// ignored.
struct ClassTargets<'a, T> {
    problem: &'a Problem<'a, T>,
    classes: &'a [usize],
    upstream: &'a [T],
}

impl<T: Element> ClassTargets<'_, T> {
    /// The weights of the classes of `rows` rows from `row` on, NaN where the class is ignored.
    #[inline(always)]
    fn weights<S: Simd>(&self, s: S, row: usize, rows: usize) -> Vector<T, S> {
        let options = &self.problem.options.classes;
        let mut lanes = T::array(T::one());
        if options.weights.is_some() || options.ignore_index.is_some() {
            for (lane, &class) in lanes.as_mut().iter_mut().zip(&self.classes[row..row + rows]) {
                let ignored = options.ignore_index == Some(class);
                *lane = if ignored { <T as Lane>::NAN } else { options.weight(class) };
            }
        }
        Vector::load(s, &lanes)
    }
}

impl<T: Element + WideElement> Targets<T> for ClassTargets<'_, T> {
    #[inline(always)]
    fn classes(&self, rows: Range<usize>) -> &[usize] {
        &self.classes[rows]
    }
    #[inline(always)]
    fn factors<S: Simd>(&self, s: S, row: usize, rows: usize) -> Vector<T, S> {
        let weights = self.weights(s, row, rows);
        if self.upstream.is_empty() {
            // A forward call.
            return weights;
        }
        Vector::load_first(s, &self.upstream[row..row + rows], T::one()) * weights
    }
    #[inline(always)]
    fn weighted(&self) -> bool {
        self.problem.options.classes.weights.is_some()
    }
    #[inline(always)]
    fn at_class<S: Simd>(loss: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S> {
        // expm1(−loss) has as many digits as the loss.
        canonical(((-Wide::exact(loss)).exp_m1() * Wide::exact(g)).round())
    }
}

/// What classes without options need beyond the passes of softmax: rows that are left to be done, and weights.
struct Finish<'a, T> {
    targets: ClassTargets<'a, T>,
    /// The logits, where `grad` is empty because only losses are asked for.
    x: &'a [T],
    grad: &'a mut [T],
    losses: &'a mut [T],
}

impl<T: Element + WideElement> Op for Finish<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { targets, x, grad, losses } = self;
        let problem = targets.problem;
        for start in (0..losses.len()).step_by(T::LANES) {
            let rows = start..losses.len().min(start + T::LANES);
            let loss = Vector::load_first(s, &losses[rows.clone()], T::one());
            let care = left_as_they_are(loss, targets.factors(s, start, rows.len()), targets.weighted());
            if targets.weighted() {
                let weight = Wide::exact(targets.weights(s, start, rows.len()));
                let weighted = without_nothing(weight, Wide::exact(loss)).round();
                canonical(weighted).store_first(&mut losses[rows.clone()]);
            }
            if !care.any() {
                continue;
            }
            let care = care.select(Vector::splat(s, T::one()), Vector::splat(s, T::zero())).to_array();
            let loss = loss.to_array();
            for (row, (&loss, &care)) in rows.zip(loss.as_ref().iter().zip(care.as_ref())) {
                if care == T::zero() {
                    continue;
                }
                if problem.options.classes.ignore_index == Some(targets.classes[row]) {
                    losses[row] = T::zero();
                    if !grad.is_empty() {
                        let place = Row::of(problem.layout, row);
                        (0..place.len).for_each(|i| grad[place.index(i)] = T::zero());
                    }
                    continue;
                }
                if loss.is_nan() {
                    losses[row] = <T as Lane>::NAN;
                }
                // Too small or too large for what a weight leaves of it.
                let beyond = loss < T::min_positive_value() || loss == <T as Lane>::INFINITY;
                if beyond || !grad.is_empty() {
                    let mut logits = if grad.is_empty() {
                        Logits::Read(x)
                    } else {
                        Logits::Overwrite { data: &mut *grad, upstream: targets.upstream }
                    };
                    let loss = problem.careful(s, &mut logits, row);
                    if beyond {
                        losses[row] = loss;
                    }
                }
            }
        }
    }
}

impl<'a, T: Element + WideElement> Problem<'a, T> {
    /// The classes, where softmax and little more does it.
    fn simple(&self) -> Option<&'a [usize]> {
        let CrossEntropyOptions { label_smoothing, z_loss, softcap, temperature, .. } = *self.options;
        let plain = label_smoothing == T::zero() && z_loss == T::zero() && softcap.is_none();
        match self.target {
            Target::Classes(classes) if plain && temperature == T::one() && self.kind == Kind::Plain => {
                Some(classes)
            }
            _ => None,
        }
    }

    /// Losses, and the gradient for `upstream` in `grad`: of the logits `x`, or of those in `grad`.
    fn solve(&self, kernels: Kernels, x: Option<&[T]>, upstream: &[T], losses: &mut [T], grad: &mut [T]) {
        let Some(classes) = self.simple() else {
            let logits = match x {
                Some(x) if upstream.is_empty() => Logits::Read(x),
                _ => {
                    if let Some(x) = x {
                        grad.copy_from_slice(x);
                    }
                    Logits::Overwrite { data: grad, upstream }
                }
            };
            return Task { problem: *self, logits, losses }.on(kernels);
        };
        let targets = ClassTargets { problem: self, classes, upstream };
        let left =
            softmax::cross_entropy(kernels, self.layout, x, &targets, losses, grad, !upstream.is_empty());
        if left || targets.weighted() {
            Finish { targets, x: x.unwrap_or_default(), grad, losses }.on(kernels);
        }
    }

    /// The loss of one row, and its gradient in the place of its logits, by the general method.
    #[inline(always)]
    fn careful<S: Simd>(&self, s: S, logits: &mut Logits<'_, T>, row: usize) -> T {
        s.apart(
            #[inline(always)]
            || self.row(s, logits, row),
        )
    }
}

/// The logits of a call: to read, or to be overwritten by the gradient for an upstream one.
enum Logits<'a, T> {
    Read(&'a [T]),
    Overwrite { data: &'a mut [T], upstream: &'a [T] },
}

/// The losses of all rows, and the gradient where it is asked for.
struct Task<'a, T> {
    problem: Problem<'a, T>,
    logits: Logits<'a, T>,
    losses: &'a mut [T],
}

impl<T: Element + WideElement> Op for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (row, loss) in self.losses.iter_mut().enumerate() {
            *loss = self.problem.row(s, &mut self.logits, row);
        }
    }
}

/// The classes' negative log-probabilities.
struct Nll<'a, T> {
    layout: Layout,
    classes: &'a [usize],
    options: ClassOptions<'a, T>,
}

impl<T: Element> Nll<'_, T> {
    fn losses(&self, log_p: &[T], losses: &mut [T]) {
        for (row, (loss, &class)) in losses.iter_mut().zip(self.classes).enumerate() {
            *loss = T::zero();
            if self.options.ignore_index != Some(class) {
                let (log, weight) =
                    (log_p[Row::of(self.layout, row).index(class)], self.options.weight(class));
                // A class of no weight has no loss, also at a probability of 0.
                let value = if weight == T::zero() && !log.is_nan() { T::zero() } else { -log * weight };
                *loss = if value.is_nan() { <T as Lane>::NAN } else { value + T::zero() };
            }
        }
    }

    fn gradient(&self, upstream: &[T], grad: &mut [T]) {
        grad.fill(T::zero());
        for (row, (&g, &class)) in upstream.iter().zip(self.classes).enumerate() {
            let weight =
                if self.options.ignore_index == Some(class) { T::zero() } else { self.options.weight(class) };
            if weight != T::zero() {
                let value = -g * weight;
                // As everywhere: no gradient is infinite because the upstream one is.
                grad[Row::of(self.layout, row).index(class)] =
                    if g.is_finite() { value + T::zero() } else { <T as Lane>::NAN };
            }
        }
    }
}

fn check_gradient<T>(layout: Layout, upstream: &[T], losses: &[T]) -> Result<(), Error> {
    check_len("upstream", layout.row_count(), upstream.len())?;
    check_len("losses", layout.row_count(), losses.len())
}

impl<'a, T: Element> Problem<'a, T> {
    fn new(
        kind: Kind<T>,
        target: Target<'a, T>,
        layout: Layout,
        options: &'a CrossEntropyOptions<'a, T>,
    ) -> Result<Self, Error> {
        if let Kind::Focal(gamma) = kind
            && !(gamma >= T::zero() && gamma.is_finite())
        {
            return Err(Error::Parameter { name: "gamma", requirement: "finite and not negative" });
        }
        options.check(target, layout)?;
        Ok(Self { layout, target, options, kind })
    }
}

operations! {
    /// Cross-entropy of logits: Σ v_j·(L − z_j) + ζ·r·L² of each row, from the raw output of the network.
    ///
    /// z is x, or c·tanh(x/c)/T with a softcap c and a temperature T, L = log Σ exp z_j, v_j = w_j·((1 − ε)·q_j + ε/K)
    /// with class weights w, label smoothing ε and the K classes' target q, 1 for the class where there is one; the
    /// z-loss ζ is weighted by r, w of the class. With no options: L − x_t.
    ///
    /// It takes *logits*: no softmax before it. (PyTorch's `CrossEntropyLoss` does too.)
    ///
    /// Shapes: `x` has the layout's elements, `losses` one element a row, and so has a target of classes; a target of
    /// probabilities has the shape of `x`. Reduce with [`Reduction`](crate::Reduction).
    ///
    /// # Accuracy
    /// At most 1 ULP, 1.5 with class weights, wherever the terms do not cancel, which takes a negative share, or a
    /// z-loss where L is near 0; then 1 ULP of the sum of their magnitudes (of the z-loss:
    /// ζ·r·(|max z| + log Σ exp(z_j − max z))²; with a softcap 2^−6·Σ v_j·(|z_j| + |max z|) more). A row whose class is
    /// certain to 10⁻³⁰⁰ has the loss 10⁻³⁰⁰, and the right digits of it. The same bits on every backend and for every
    /// layout.
    ///
    /// # Special values
    /// A NaN in a row, +∞, or a row of only −∞ gives NaN; a row of the ignored class 0, whatever it holds.
    /// A logit of −∞ with a share of 0 contributes 0; with a positive share, also one that label smoothing gives it, the
    /// loss is +∞, whatever else is added. f64: a gap (max x − x_j)/T beyond the largest number counts as infinite, also
    /// where its share would bring it back. With a softcap infinite logits are ±c.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Class`] with the row for a class that does not exist, [`Error::Combination`] for
    /// an ignored index with a target of probabilities, [`Error::Parameter`] for a parameter out of its domain.
    ///
    /// # Example
    /// ```
    /// use lossprep::{CrossEntropyOptions, Layout, Target, cross_entropy};
    /// let mut losses = [0.0_f32];
    /// let options = CrossEntropyOptions::new();
    /// cross_entropy(&[20.0, 0.0], Target::Classes(&[0]), Layout::rows(1, 2)?, &options, &mut losses)?;
    /// assert_eq!(losses, [2.0611537e-9]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The algorithm is described at the top of `src/losses/cross_entropy.rs`. Label smoothing: C. Szegedy et al.,
    /// *Rethinking the Inception Architecture* (2016); z-loss: A. Chowdhery et al., *PaLM* (2022).
    pub fn cross_entropy<T>(self, x: &[T], target: Target<'_, T>, layout: Layout, options: &CrossEntropyOptions<'_, T>, losses: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("losses", layout.row_count(), losses.len())?;
        let problem = Problem::new(Kind::Plain, target, layout, options)?;
        problem.solve(self, Some(x), &[], losses, &mut []);
        Ok(())
    }

    /// [`cross_entropy`](crate::cross_entropy) and its gradient, (p_i·(V + 2ζ·r·L) − v_i)·g of the row, times dz_i/dx_i:
    /// p = softmax(z), V = Σ v_j, g is `upstream`, and the rest is as there.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grad` has that of `x`.
    ///
    /// # Accuracy
    /// The losses are those of [`cross_entropy`](crate::cross_entropy). The gradient: at most 4 ULP of
    /// |g|·(p_i·V + v_i)·dz_i/dx_i, or, at a single maximum, of |g|·(V·(1 − p_i) + Σ_{j≠i} v_j): of what 1 − p is, not
    /// of 1. To V comes |2ζ·r|·(|max z| + log Σ exp(z_j − max z)). Also where a probability, the slope of the softcap, a
    /// weight or an upstream gradient is by itself too small for the type or nearly too large, but not their product. With
    /// a softcap 1 + 2^−7·max |z| times as much, which is 1 or little more but for a temperature far below 1.
    ///
    /// # Special values
    /// As [`cross_entropy`](crate::cross_entropy): gradients of NaN rows are NaN, of ignored rows 0. Where the loss is +∞
    /// the gradient is the formula's all the same, with p = 0 at a logit of −∞, as in PyTorch: finite, and −v_i·g there.
    /// An upstream gradient that is not finite gives a NaN row, but 0 where the derivative is 0.
    ///
    /// # Errors
    /// Those of [`cross_entropy`](crate::cross_entropy).
    ///
    /// # Example
    /// ```
    /// use lossprep::{CrossEntropyOptions, Layout, Target, cross_entropy_with_grad};
    /// let (mut losses, mut grad) = ([0.0_f32], [0.0; 2]);
    /// let (target, options) = (Target::Classes(&[0]), CrossEntropyOptions::new());
    /// cross_entropy_with_grad(&[20.0, 0.0], target, &[1.0], Layout::rows(1, 2)?, &options, &mut losses, &mut grad)?;
    /// assert_eq!(grad, [-2.0611537e-9, 2.0611537e-9]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The algorithm is described at the top of `src/losses/cross_entropy.rs`.
    pub fn cross_entropy_with_grad<T>(self, x: &[T], target: Target<'_, T>, upstream: &[T], layout: Layout, options: &CrossEntropyOptions<'_, T>, losses: &mut [T], grad: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        check_gradient(layout, upstream, losses)?;
        let problem = Problem::new(Kind::Plain, target, layout, options)?;
        problem.solve(self, Some(x), upstream, losses, grad);
        Ok(())
    }

    /// [`cross_entropy_with_grad`](crate::cross_entropy_with_grad) that overwrites the logits by the gradient, with the
    /// same bits: no buffer of their size is needed.
    ///
    /// Shapes: `data` has the layout's elements, `upstream` and `losses` one element a row.
    ///
    /// # Accuracy
    /// That of [`cross_entropy_with_grad`](crate::cross_entropy_with_grad).
    ///
    /// # Special values
    /// Those of [`cross_entropy_with_grad`](crate::cross_entropy_with_grad).
    ///
    /// # Errors
    /// Those of [`cross_entropy`](crate::cross_entropy).
    ///
    /// # Example
    /// ```
    /// use lossprep::{CrossEntropyOptions, Layout, Target, cross_entropy_with_grad_in_place};
    /// let (mut data, mut losses) = ([7.0_f32; 4], [0.0]);
    /// let (target, options) = (Target::Classes(&[0]), CrossEntropyOptions::new());
    /// cross_entropy_with_grad_in_place(&mut data, target, &[1.0], Layout::rows(1, 4)?, &options, &mut losses)?;
    /// assert_eq!(data, [-0.75, 0.25, 0.25, 0.25]); // p − 1 at the class, p elsewhere
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`cross_entropy_with_grad`](crate::cross_entropy_with_grad).
    pub fn cross_entropy_with_grad_in_place<T>(self, data: &mut [T], target: Target<'_, T>, upstream: &[T], layout: Layout, options: &CrossEntropyOptions<'_, T>, losses: &mut [T]) {
        check_len("data", layout.elements(), data.len())?;
        check_gradient(layout, upstream, losses)?;
        let problem = Problem::new(Kind::Plain, target, layout, options)?;
        problem.solve(self, None, upstream, losses, data);
        Ok(())
    }

    /// Focal loss of logits and classes: w_t·(1 − p_t)^γ·(L − x_t) of each row, L = log Σ exp x_j, p = exp(x − L), t the
    /// class and w its weight; γ = 0 is cross-entropy.
    ///
    /// Shapes: `x` has the layout's elements, `classes` and `losses` one element a row.
    ///
    /// # Accuracy
    /// At most 2 ULP of the result and of what an ULP of γ moves it by; the same bits on every backend and for every
    /// layout. 1 − p_t has all its digits for a confident row.
    ///
    /// # Special values
    /// Those of [`cross_entropy`](crate::cross_entropy).
    ///
    /// # Errors
    /// Those of [`cross_entropy`](crate::cross_entropy); γ must be finite and not negative.
    ///
    /// # Example
    /// ```
    /// use lossprep::{ClassOptions, Layout, focal_loss};
    /// let mut losses = [0.0_f64];
    /// focal_loss(&[0.0, 0.0], &[1], 2.0, Layout::rows(1, 2)?, &ClassOptions::new(), &mut losses)?;
    /// assert_eq!(losses, [0.25 * core::f64::consts::LN_2]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// T. Lin et al., *Focal Loss for Dense Object Detection* (2017), over a softmax.
    pub fn focal_loss<T>(self, x: &[T], classes: &[usize], gamma: T, layout: Layout, options: &ClassOptions<'_, T>, losses: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("losses", layout.row_count(), losses.len())?;
        let options = CrossEntropyOptions { classes: *options, ..CrossEntropyOptions::new() };
        let problem = Problem::new(Kind::Focal(gamma), Target::Classes(classes), layout, &options)?;
        problem.solve(self, Some(x), &[], losses, &mut []);
        Ok(())
    }

    /// [`focal_loss`](crate::focal_loss) and its gradient, F·(p_i − [i = t])·g with
    /// F = w_t·((1 − p_t)^γ + γ·p_t·(1 − p_t)^(γ−1)·(L − x_t)); g is `upstream`.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grad` has that of `x`.
    ///
    /// # Accuracy
    /// The gradient: at most 4 ULP of |g|·F·(p_i + [i = t]), or, at a single maximum, of |g|·F·(1 − p_i), or p_t for
    /// it where another class is the target.
    ///
    /// # Special values
    /// Those of [`cross_entropy_with_grad`](crate::cross_entropy_with_grad).
    ///
    /// # Errors
    /// Those of [`focal_loss`](crate::focal_loss).
    ///
    /// # Example
    /// ```
    /// use lossprep::{ClassOptions, Layout, focal_loss_with_grad};
    /// let (x, layout, options) = ([4.0_f64, 0.0], Layout::rows(1, 2)?, ClassOptions::new());
    /// let (mut losses, mut grad, mut plain) = ([0.0], [0.0; 2], [0.0; 2]);
    /// focal_loss_with_grad(&x, &[0], 2.0, &[1.0], layout, &options, &mut losses, &mut grad)?;
    /// focal_loss_with_grad(&x, &[0], 0.0, &[1.0], layout, &options, &mut losses, &mut plain)?;
    /// assert!(grad[0] < 0.0 && grad[0] > 0.002 * plain[0]); // a row that is right already counts for little
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative; the algorithm is described at the top of `src/losses/cross_entropy.rs`.
    pub fn focal_loss_with_grad<T>(self, x: &[T], classes: &[usize], gamma: T, upstream: &[T], layout: Layout, options: &ClassOptions<'_, T>, losses: &mut [T], grad: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        check_gradient(layout, upstream, losses)?;
        let options = CrossEntropyOptions { classes: *options, ..CrossEntropyOptions::new() };
        let problem = Problem::new(Kind::Focal(gamma), Target::Classes(classes), layout, &options)?;
        problem.solve(self, Some(x), upstream, losses, grad);
        Ok(())
    }

    /// Kullback-Leibler divergence of a target distribution from softmax(x/T): Σ q_j·(log q_j − log p_j) of each row,
    /// from logits.
    ///
    /// For distillation multiply by T², so that gradients keep their size.
    ///
    /// Shapes: `x` and `target` have the layout's elements, `losses` one element a row.
    ///
    /// # Accuracy
    /// At most 2 ULP of Σ q_j·(|log q_j| + L − z_j), z = x/T and L = log Σ exp z_j; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// Those of [`cross_entropy`](crate::cross_entropy). q = 0 contributes 0.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Parameter`] for a temperature that is not finite, normal and positive.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, kl_div};
    /// let mut losses = [1.0_f64; 2];
    /// kl_div(&[0.0, 0.0, 5.0, 5.0], &[0.5, 0.5, 1.0, 0.0], 1.0, Layout::rows(2, 2)?, &mut losses)?;
    /// assert_eq!(losses, [0.0, core::f64::consts::LN_2]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// S. Kullback, R. A. Leibler, *On Information and Sufficiency* (1951).
    pub fn kl_div<T>(self, x: &[T], target: &[T], temperature: T, layout: Layout, losses: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("losses", layout.row_count(), losses.len())?;
        let options = CrossEntropyOptions::new().temperature(temperature);
        let problem = Problem::new(Kind::Divergence, Target::Probabilities(target), layout, &options)?;
        problem.solve(self, Some(x), &[], losses, &mut []);
        Ok(())
    }

    /// [`kl_div`](crate::kl_div) and its gradient in the logits, (p_i·Σ q_j − q_i)·g/T of the row, g being
    /// `upstream`.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grad` has that of `x`.
    ///
    /// # Accuracy
    /// The gradient is that of [`cross_entropy_with_grad`](crate::cross_entropy_with_grad).
    ///
    /// # Special values
    /// Those of [`cross_entropy_with_grad`](crate::cross_entropy_with_grad). A NaN in the target gives NaN.
    ///
    /// # Errors
    /// Those of [`kl_div`](crate::kl_div).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, kl_div_with_grad};
    /// let (mut losses, mut grad) = ([0.0_f32], [0.0; 2]);
    /// let (student, teacher) = ([5.0, 5.0], [0.75, 0.25]);
    /// kl_div_with_grad(&student, &teacher, 2.0, &[4.0], Layout::rows(1, 2)?, &mut losses, &mut grad)?;
    /// assert_eq!(grad, [-0.5, 0.5]); // (p − q)/T, for an upstream gradient of T²
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative; the algorithm is described at the top of `src/losses/cross_entropy.rs`.
    pub fn kl_div_with_grad<T>(self, x: &[T], target: &[T], temperature: T, upstream: &[T], layout: Layout, losses: &mut [T], grad: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        check_gradient(layout, upstream, losses)?;
        let options = CrossEntropyOptions::new().temperature(temperature);
        let problem = Problem::new(Kind::Divergence, Target::Probabilities(target), layout, &options)?;
        problem.solve(self, Some(x), upstream, losses, grad);
        Ok(())
    }

    /// Negative log-likelihood: −w_t·log p_t of each row, from *log*-probabilities, as [`log_softmax`](crate::log_softmax)
    /// gives them.
    ///
    /// Shapes: `log_p` has the layout's elements, `classes` and `losses` one element a row.
    ///
    /// # Accuracy
    /// ½ ULP; exact without weights.
    ///
    /// # Special values
    /// A log-probability of −∞ gives +∞, a NaN NaN; a class of weight 0, and the ignored one, 0.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Class`] with the row for a class that does not exist, [`Error::Parameter`] for
    /// weights that are negative or not finite.
    ///
    /// # Example
    /// ```
    /// use lossprep::{ClassOptions, Layout, log_softmax, nll};
    /// let layout = Layout::rows(1, 2)?;
    /// let (mut log_p, mut losses) = ([0.0_f32; 2], [0.0]);
    /// log_softmax(&[20.0, 0.0], layout, &mut log_p)?;
    /// nll(&log_p, &[1], layout, &ClassOptions::new(), &mut losses)?;
    /// assert_eq!(losses, [20.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The definition.
    pub fn nll<T>(self, log_p: &[T], classes: &[usize], layout: Layout, options: &ClassOptions<'_, T>, losses: &mut [T]) {
        check_len("log_p", layout.elements(), log_p.len())?;
        check_len("losses", layout.row_count(), losses.len())?;
        options.check(classes, layout)?;
        Nll { layout, classes, options: *options }.losses(log_p, losses);
        Ok(())
    }

    /// [`nll`](crate::nll) and its gradient in the log-probabilities: −w_t·g at the class, 0 elsewhere.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grad` has that of `log_p`.
    ///
    /// # Accuracy
    /// ½ ULP.
    ///
    /// # Special values
    /// Those of [`nll`](crate::nll). The gradient does not depend on the log-probabilities, also where they are
    /// NaN; a class of weight 0, and the ignored one, has the gradient 0. Else an upstream gradient that is not
    /// finite gives NaN there.
    ///
    /// # Errors
    /// Those of [`nll`](crate::nll).
    ///
    /// # Example
    /// ```
    /// use lossprep::{ClassOptions, Layout, nll_with_grad};
    /// let (log_p, options) = ([-0.25_f32, -1.5, -0.75, -0.5], ClassOptions::new().weights(&[1.0, 3.0]));
    /// let (mut losses, mut grad) = ([0.0; 2], [0.0; 4]);
    /// nll_with_grad(&log_p, &[0, 1], &[0.5; 2], Layout::rows(2, 2)?, &options, &mut losses, &mut grad)?;
    /// assert_eq!((losses, grad), ([0.25, 1.5], [-0.5, 0.0, 0.0, -1.5]));
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The definition.
    pub fn nll_with_grad<T>(self, log_p: &[T], classes: &[usize], upstream: &[T], layout: Layout, options: &ClassOptions<'_, T>, losses: &mut [T], grad: &mut [T]) {
        check_len("log_p", layout.elements(), log_p.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        check_gradient(layout, upstream, losses)?;
        options.check(classes, layout)?;
        let nll = Nll { layout, classes, options: *options };
        nll.losses(log_p, losses);
        nll.gradient(upstream, grad);
        Ok(())
    }
}
