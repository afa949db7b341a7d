//! What the losses should give, and the magnitude of what is added up on the way: the formulas of the library's
//! documentation, straight from the inputs.

use super::case::{Case, Goal};
use super::{Loss, Truth};
use crate::oracle::Guard;
use crate::real::{Real, Sum};

const VALUE: f64 = 2.0;
const GRADIENT: f64 = 4.0;

fn real<R: Real>(v: f64) -> R {
    R::from_f64(v)
}

fn total<R: Real>(terms: impl Iterator<Item = R>) -> R {
    terms.collect::<Sum<R>>().total()
}

/// Losses and gradients in the order of [`Case::run`], filled row by row.
struct Results<R> {
    losses: Vec<Truth<R>>,
    grads: Vec<Vec<Truth<R>>>,
}

impl<R: Real> Results<R> {
    fn loss(&mut self, value: R, measure: R) {
        self.losses.push(Truth { value, measure, limit: VALUE });
    }

    /// Of the row's loss, times its upstream gradient.
    fn grad(&mut self, tensor: usize, d: &R, measure: &R, g: f64) {
        let (value, measure) = (d.mul(&real(g)), measure.mul(&real(g.abs())));
        self.grads[tensor].push(Truth { value, measure, limit: GRADIENT });
    }
}

impl Case {
    /// What each number should be.
    pub fn truths<R: Real>(&self) -> Vec<Truth<R>> {
        let mut results =
            Results { losses: Vec::new(), grads: self.inputs.iter().map(|_| Vec::new()).collect() };
        match self.loss {
            Loss::CrossEntropy | Loss::Focal | Loss::KlDiv => {
                (0..self.rows).for_each(|row| self.logits(row, &mut results));
            }
            Loss::Nll => (0..self.rows).for_each(|row| self.likelihood(row, &mut results)),
            Loss::Binary => (0..self.rows * self.len).for_each(|i| self.binary(i, &mut results)),
            Loss::Mse | Loss::Huber | Loss::L1 => {
                (0..self.rows * self.len).for_each(|i| self.ranged(i, &mut results));
            }
            Loss::Triplet => (0..self.rows).for_each(|row| self.triplet(row, &mut results)),
            Loss::Cosine => (0..self.rows).for_each(|row| self.cosine(row, &mut results)),
            Loss::InfoNce | Loss::NtXent => self.contrast(&mut results),
        }
        results.losses.into_iter().chain(results.grads.into_iter().flatten()).collect()
    }

    fn row(&self, tensor: usize, row: usize) -> &[f64] {
        &self.inputs[tensor][row * self.len..][..self.len]
    }

    fn weight<R: Real>(&self, class: usize) -> R {
        real(self.setting.weights.as_ref().map_or(1.0, |w| w[class]))
    }

    /// c·tanh(x/c), and its slope; nothing for −∞.
    fn capped<R: Real>(&self, x: f64) -> Option<(R, R)> {
        let cap = if self.loss == Loss::CrossEntropy { self.setting.softcap } else { None };
        let Some(cap) = cap else { return x.is_finite().then(|| (real(x), R::one())) };
        let cap = real::<R>(cap);
        if !x.is_finite() {
            return Some((cap.neg(), R::zero()));
        }
        // tanh of half of −2|x|/c.
        let twice = real::<R>(x.abs()).div(&cap).mul_pow2(1).neg();
        let (e, m) = (twice.exp(), twice.exp_m1());
        let below = R::one().add(&e);
        let size = m.neg().div(&below).mul(&cap);
        let slope = e.mul_pow2(2).div(&below.mul(&below));
        Some((if x < 0.0 { size.neg() } else { size }, slope))
    }

    /// Cross-entropy, focal loss and Kullback-Leibler divergence.
    fn logits<R: Real>(&self, row: usize, results: &mut Results<R>) {
        let (n, setting, g) = (self.len, &self.setting, self.upstream[row]);
        let plain = self.loss == Loss::CrossEntropy;
        let temperature = real::<R>(if self.loss == Loss::Focal { 1.0 } else { setting.temperature });
        let x = self.row(0, row);
        let top = (0..n).fold(0, |best, i| if x[i] > x[best] { i } else { best });
        let lone = x.iter().filter(|&&v| v == x[top]).count() == 1;
        let z: Vec<Option<(R, R)>> = x.iter().map(|&x| self.capped(x)).collect();
        let Some((z_top, _)) = z[top].clone() else { return };
        let gap = |i: usize| z[i].as_ref().map(|(z, _)| z_top.sub(z).div(&temperature));
        let exps: Vec<R> = (0..n).map(|i| gap(i).map_or_else(R::zero, |d| d.neg().exp())).collect();
        let c = total((0..n).filter(|&i| i != top).map(|i| exps[i].clone()));
        let share = R::one().div(&R::one().add(&c));
        let log = c.ln_1p();
        // How far a capped logit may be off, as a share of its size.
        let slack = |i: usize| match (plain, setting.softcap, &z[i]) {
            (true, Some(_), Some((z, _))) => z.abs().add(&z_top.abs()).div(&temperature).mul_pow2(-6),
            _ => R::zero(),
        };
        // v_j, and its size.
        let smoothing = real::<R>(if plain { setting.smoothing } else { 0.0 });
        let kept = R::one().sub(&smoothing);
        let even = smoothing.div(&real(n as f64));
        let weight = |i: usize| if self.loss == Loss::KlDiv { R::one() } else { self.weight(i) };
        let shares: Vec<R> = (0..n)
            .map(|i| {
                let own: R = match &self.goal {
                    Goal::Classes(classes) => real(f64::from(classes[row] == i)),
                    Goal::Shares(q) => real(q[row * n + i]),
                };
                own.mul(&kept).add(&even).mul(&weight(i))
            })
            .collect();
        let (mut all, mut rest) =
            (total(shares.iter().cloned()), total((0..n).filter(|&i| i != top).map(|i| shares[i].clone())));
        let mut shares = shares;
        let term = |i: usize| gap(i).unwrap_or_else(R::zero);
        let (mut value, mut measure);
        if let (Loss::Focal, Goal::Classes(classes)) = (self.loss, &self.goal) {
            let class = classes[row];
            let below = gap(class).unwrap_or_else(R::zero).add(&log);
            let p = exps[class].mul(&share);
            let missing = if class == top { c.mul(&share) } else { R::one().sub(&p) };
            let (w, gamma) = (self.weight::<R>(class), setting.gamma);
            let power = if gamma == 0.0 {
                R::one()
            } else if missing.signum() == 0 {
                R::zero()
            } else {
                missing.ln().mul(&real(gamma)).exp()
            };
            value = w.mul(&power).mul(&below);
            measure = value.clone();
            let slope = if gamma == 0.0 || missing.signum() == 0 {
                R::zero()
            } else {
                real::<R>(gamma).mul(&p).mul(&below).mul(&power).div(&missing)
            };
            let factor = w.mul(&power.add(&slope));
            shares[class] = factor.clone();
            rest = if class == top { R::zero() } else { factor.clone() };
            all = factor;
        } else {
            value = total((0..n).map(|i| shares[i].mul(&term(i)))).add(&all.mul(&log));
            measure = total((0..n).map(|i| shares[i].mul(&term(i).add(&slack(i))))).add(&all.mul(&log));
        }
        if self.loss == Loss::KlDiv {
            let entropy = |q: &R| if q.signum() > 0 { q.mul(&q.ln()) } else { R::zero() };
            value = value.add(&total(shares.iter().map(entropy)));
            measure = measure.add(&total(shares.iter().map(|q| entropy(q).abs())));
        }
        let (mut pull, mut pull_size) = (R::zero(), R::zero());
        if plain && setting.z_loss > 0.0 {
            let row_weight = match &self.goal {
                Goal::Classes(classes) => self.weight(classes[row]),
                Goal::Shares(_) => R::one(),
            };
            let zeta = row_weight.mul(&real(setting.z_loss));
            let (head, size) = (z_top.div(&temperature), z_top.abs().div(&temperature).add(&log));
            let sum = head.add(&log);
            value = value.add(&zeta.mul(&sum).mul(&sum));
            measure = measure.add(&zeta.mul(&size).mul(&size));
            pull = zeta.mul(&sum).mul_pow2(1);
            pull_size = zeta.mul(&size).mul_pow2(1);
        }
        results.loss(value, measure);
        for i in 0..n {
            let p = exps[i].mul(&share);
            let v = &shares[i];
            let (d, measure) = if i == top && lone {
                let missing = all.mul(&c.mul(&share));
                (
                    rest.sub(&missing).add(&pull.mul(&p)),
                    rest.abs().add(&missing.abs()).add(&pull_size.mul(&p)),
                )
            } else {
                (p.mul(&all.add(&pull)).sub(v), p.mul(&all.add(&pull_size)).add(&v.abs()))
            };
            let slope = z[i].as_ref().map_or_else(R::one, |(_, slope)| slope.clone()).div(&temperature);
            results.grad(0, &d.mul(&slope), &measure.mul(&slope), g);
        }
    }

    fn likelihood<R: Real>(&self, row: usize, results: &mut Results<R>) {
        let Goal::Classes(classes) = &self.goal else { return };
        let w = self.weight::<R>(classes[row]);
        let loss = w.mul(&real(-self.row(0, row)[classes[row]]));
        results.loss(loss.clone(), loss);
        for i in 0..self.len {
            let d = if i == classes[row] { w.neg() } else { R::zero() };
            results.grad(0, &d, &d.abs(), self.upstream[row]);
        }
    }

    fn binary<R: Real>(&self, i: usize, results: &mut Results<R>) {
        let Goal::Shares(targets) = &self.goal else { return };
        let (x, y) = (self.inputs[0][i], real::<R>(targets[i]));
        let positive = y.mul(&self.weight(i % self.len));
        let negative = R::one().sub(&y);
        let e = real::<R>(-x.abs()).exp();
        let below = R::one().add(&e);
        let (near, far) = (e.ln_1p(), e.ln_1p().add(&real(x.abs())));
        let (small, big) = (e.div(&below), R::one().div(&below));
        let ((rising, falling), (up, down)) =
            if x > 0.0 { ((&far, &near), (&big, &small)) } else { ((&near, &far), (&small, &big)) };
        let terms = [negative.mul(rising), positive.mul(falling)];
        results.loss(terms[0].add(&terms[1]), terms[0].abs().add(&terms[1].abs()));
        let slopes = [negative.mul(up), positive.mul(down)];
        let (d, measure) = (slopes[0].sub(&slopes[1]), slopes[0].abs().add(&slopes[1].abs()));
        results.grad(0, &d, &measure, self.upstream[i]);
    }

    fn ranged<R: Real>(&self, i: usize, results: &mut Results<R>) {
        let Goal::Shares(targets) = &self.goal else { return };
        let (x, t, setting) = (self.inputs[0][i], real::<R>(targets[i]), &self.setting);
        let width = real::<R>(setting.hi).sub(&real(setting.lo));
        let e = real::<R>(-x.abs()).exp();
        let below = R::one().add(&e);
        let rest = width.mul(&e).div(&below);
        let end = real::<R>(if x < 0.0 { setting.lo } else { setting.hi });
        let d = end.sub(&t).add(&if x < 0.0 { rest.clone() } else { rest.neg() });
        let slack = rest.mul_pow2(-6);
        let delta = real::<R>(setting.delta);
        let sign = real::<R>(f64::from(d.signum()));
        let (loss, slope, wider) = match self.loss {
            Loss::Mse => (d.mul(&d), d.mul_pow2(1), slack.mul_pow2(1)),
            Loss::L1 => (d.abs(), sign, R::zero()),
            _ if d.abs().sub(&delta).signum() <= 0 => (d.mul(&d).mul_pow2(-1), d.clone(), slack.clone()),
            _ => (delta.mul(&d.abs().sub(&delta.mul_pow2(-1))), delta.mul(&sign), R::zero()),
        };
        results.loss(loss.clone(), loss.add(&slope.abs().mul(&slack)));
        let rate = width.mul(&e).div(&below.mul(&below));
        results.grad(0, &slope.mul(&rate), &slope.abs().add(&wider).mul(&rate), self.upstream[i]);
    }

    /// The unit row, 1/φ and κ.
    fn unit<R: Real>(&self, tensor: usize, row: usize) -> Unit<R> {
        let x: Vec<R> = self.row(tensor, row).iter().map(|&x| real(x)).collect();
        let Some(guard) = self.setting.guard else {
            return Unit { u: x, phi: R::one(), kappa: R::zero(), one: false };
        };
        let squares = total(x.iter().map(|x| x.mul(x)));
        let norm = squares.sqrt();
        let (phi, kappa, one) = match guard {
            Guard::Max(eps) if norm.sub(&real(eps)).signum() < 0 => (real(eps), R::zero(), false),
            Guard::Max(_) => (norm, R::one(), true),
            Guard::Add(eps) => {
                let phi = norm.add(&real(eps));
                let kappa = if norm.signum() == 0 { R::zero() } else { phi.div(&norm) };
                (phi, kappa, false)
            }
            Guard::AddSquared(eps) => (squares.add(&real(eps)).sqrt(), R::one(), false),
        };
        Unit { u: x.iter().map(|x| x.div(&phi)).collect(), phi, kappa, one }
    }

    /// Through the normalisation: h and the magnitudes of its terms.
    fn back<R: Real>(
        &self,
        tensor: usize,
        unit: &Unit<R>,
        h: &[R],
        sizes: &[R],
        g: f64,
        results: &mut Results<R>,
    ) {
        let along = total(unit.u.iter().zip(h).map(|(u, h)| u.mul(h))).mul(&unit.kappa);
        let size = total(unit.u.iter().zip(sizes).map(|(u, h)| u.abs().mul(h))).mul(&unit.kappa);
        for i in 0..self.len {
            let d = h[i].sub(&unit.u[i].mul(&along)).div(&unit.phi);
            let measure = sizes[i].add(&unit.u[i].abs().mul(&size)).div(&unit.phi);
            results.grad(tensor, &d, &measure, g);
        }
    }

    fn triplet<R: Real>(&self, row: usize, results: &mut Results<R>) {
        let units: Vec<Unit<R>> = (0..3).map(|tensor| self.unit(tensor, row)).collect();
        let difference = |a: usize, b: usize| -> Vec<R> {
            units[a].u.iter().zip(&units[b].u).map(|(a, b)| a.sub(b)).collect()
        };
        let length = |d: &[R]| total(d.iter().map(|d| d.mul(d))).sqrt();
        let (near, far) = (difference(0, 1), difference(0, 2));
        let (to_near, to_far) = (length(&near), length(&far));
        let margin = real::<R>(self.setting.margin);
        let loss = to_near.sub(&to_far).add(&margin);
        let active = loss.signum() > 0;
        let measure = to_near.add(&to_far).add(&margin.abs());
        results.loss(if active { loss } else { R::zero() }, measure.clone());
        let over = |d: &R, by: &R| if active && by.signum() > 0 { d.div(by) } else { R::zero() };
        let steps: Vec<(R, R)> =
            near.iter().zip(&far).map(|(n, f)| (over(n, &to_near), over(f, &to_far))).collect();
        let (mut h, mut sizes) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
        for (n, f) in &steps {
            for (tensor, (h_i, size)) in
                [(n.sub(f), n.abs().add(&f.abs())), (n.neg(), n.abs()), (f.clone(), f.abs())]
                    .into_iter()
                    .enumerate()
            {
                h[tensor].push(h_i);
                sizes[tensor].push(size);
            }
        }
        // At the kink either gradient is right.
        let edge = to_near.sub(&to_far).add(&margin).abs().sub(&measure.mul_pow2(-self.known)).signum() <= 0;
        for tensor in 0..3 {
            self.back(tensor, &units[tensor], &h[tensor], &sizes[tensor], self.upstream[row], results);
            if edge {
                let start = results.grads[tensor].len() - self.len;
                results.grads[tensor][start..].iter_mut().for_each(|t| t.limit = f64::INFINITY);
            }
        }
    }

    fn cosine<R: Real>(&self, row: usize, results: &mut Results<R>) {
        let units: Vec<Unit<R>> = (0..2).map(|tensor| self.unit(tensor, row)).collect();
        let pairs = || units[0].u.iter().zip(&units[1].u);
        let cosine = total(pairs().map(|(a, b)| a.mul(b)));
        let size = total(pairs().map(|(a, b)| a.mul(b).abs()));
        let margin = real::<R>(self.setting.margin);
        let similar = self.similar[row];
        let exact = similar && units.iter().all(|u| u.one);
        if exact {
            let half = total(pairs().map(|(a, b)| a.sub(b).mul(&a.sub(b)))).mul_pow2(-1);
            results.loss(half.clone(), half);
        } else if similar {
            results.loss(R::one().sub(&cosine), R::one().add(&size));
        } else {
            let loss = cosine.sub(&margin);
            let loss = if loss.signum() > 0 { loss } else { R::zero() };
            results.loss(loss, size.add(&margin.abs()));
        }
        let active = similar || cosine.sub(&margin).signum() > 0;
        for tensor in 0..2 {
            let (own, other) = (&units[tensor].u, &units[1 - tensor].u);
            let h: Vec<R> = (0..self.len)
                .map(|i| match (active, similar, exact) {
                    (false, _, _) => R::zero(),
                    (_, _, true) => own[i].sub(&other[i]),
                    (_, true, _) => other[i].neg(),
                    _ => other[i].clone(),
                })
                .collect();
            let sizes: Vec<R> = h.iter().map(R::abs).collect();
            self.back(tensor, &units[tensor], &h, &sizes, self.upstream[row], results);
        }
    }

    /// InfoNCE and NT-Xent.
    fn contrast<R: Real>(&self, results: &mut Results<R>) {
        let (n, own) = (self.rows, self.loss == Loss::NtXent);
        let queries: Vec<Unit<R>> = (0..n).map(|row| self.unit(0, row)).collect();
        let keys: Vec<Unit<R>> = if own { Vec::new() } else { (0..n).map(|row| self.unit(1, row)).collect() };
        let keys = if own { &queries } else { &keys };
        let tau = real::<R>(self.setting.temperature);
        let dot = |a: &[R], b: &[R]| total(a.iter().zip(b).map(|(a, b)| a.mul(b)));
        let size = |a: &[R], b: &[R]| total(a.iter().zip(b).map(|(a, b)| a.mul(b).abs()));
        let zeros = || vec![vec![R::zero(); self.len]; n];
        let (mut to_queries, mut query_sizes, mut to_keys, mut key_sizes) =
            (zeros(), zeros(), zeros(), zeros());
        for i in 0..n {
            let positive = if own { (i + n / 2) % n } else { i };
            let takes_part = |j: &usize| !(own && *j == i);
            let s: Vec<R> = (0..n).map(|j| dot(&queries[i].u, &keys[j].u).div(&tau)).collect();
            let best = (0..n)
                .filter(takes_part)
                .fold(positive, |best, j| if s[j].sub(&s[best]).signum() > 0 { j } else { best });
            let exps: Vec<R> = s.iter().map(|v| v.sub(&s[best]).exp()).collect();
            let c = total((0..n).filter(takes_part).filter(|&j| j != best).map(|j| exps[j].clone()));
            let share = R::one().div(&R::one().add(&c));
            let loss = s[best].sub(&s[positive]).add(&c.ln_1p());
            let spread = size(&queries[i].u, &keys[positive].u).add(&size(&queries[i].u, &keys[best].u));
            let slack = spread.div(&tau).mul_pow2(-8);
            results.loss(loss.clone(), loss.add(&slack));
            let g = real::<R>(self.upstream[i]);
            for j in (0..n).filter(takes_part) {
                let p = exps[j].mul(&share);
                let d = match (j == best, j == positive) {
                    (true, true) => c.mul(&share).neg(),
                    (false, true) => p.sub(&R::one()),
                    _ => p,
                };
                let w = d.mul(&g).div(&tau);
                for k in 0..self.len {
                    let (to_query, to_key) = (w.mul(&keys[j].u[k]), w.mul(&queries[i].u[k]));
                    query_sizes[i][k] = query_sizes[i][k].add(&to_query.abs());
                    key_sizes[j][k] = key_sizes[j][k].add(&to_key.abs());
                    to_queries[i][k] = to_queries[i][k].add(&to_query);
                    to_keys[j][k] = to_keys[j][k].add(&to_key);
                }
            }
        }
        for i in 0..n {
            if own {
                let sum = |a: &[R], b: &[R]| -> Vec<R> { a.iter().zip(b).map(|(a, b)| a.add(b)).collect() };
                let (h, sizes) = (sum(&to_queries[i], &to_keys[i]), sum(&query_sizes[i], &key_sizes[i]));
                self.back(0, &queries[i], &h, &sizes, 1.0, results);
            } else {
                self.back(0, &queries[i], &to_queries[i], &query_sizes[i], 1.0, results);
            }
        }
        if !own {
            for j in 0..n {
                self.back(1, &keys[j], &to_keys[j], &key_sizes[j], 1.0, results);
            }
        }
    }
}

struct Unit<R> {
    u: Vec<R>,
    phi: R,
    kappa: R,
    /// Whether its length is 1.
    one: bool,
}
