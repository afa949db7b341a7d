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

    /// +∞ and nothing else: a number beyond every type's range.
    fn infinite_loss(&mut self) {
        self.losses.push(Truth { value: R::one().mul_pow2(9000), measure: R::one(), limit: 0.0 });
    }

    /// At a kink either gradient is right, of a row of this length that was the last.
    fn either(&mut self, tensor: usize, len: usize) {
        let start = self.grads[tensor].len() - len;
        self.grads[tensor][start..].iter_mut().for_each(|t| t.limit = f64::INFINITY);
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

    /// c·tanh(x/c), and its slope; nothing for −∞ without a cap.
    fn capped<R: Real>(&self, x: f64) -> Option<(R, R)> {
        let cap = if self.loss == Loss::CrossEntropy { self.setting.softcap } else { None };
        let Some(cap) = cap else { return x.is_finite().then(|| (real(x), R::one())) };
        let cap = real::<R>(cap);
        if !x.is_finite() {
            return Some((if x < 0.0 { cap.neg() } else { cap }, R::zero()));
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
        // And the exponentials with it, as a share of theirs.
        let stretch = (0..n).fold(R::zero(), |most, i| most.max(&slack(i))).mul_pow2(-2).add(&R::one());
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
        // A share of what cannot be.
        let impossible = (0..n).any(|i| z[i].is_none() && shares[i].signum() > 0);
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
        if impossible {
            results.infinite_loss();
        } else {
            results.loss(value, measure);
        }
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
            results.grad(0, &d.mul(&slope), &measure.mul(&slope).mul(&stretch), g);
        }
    }

    fn likelihood<R: Real>(&self, row: usize, results: &mut Results<R>) {
        let Goal::Classes(classes) = &self.goal else { return };
        let w = self.weight::<R>(classes[row]);
        let log = self.row(0, row)[classes[row]];
        if w.signum() == 0 || log.is_finite() {
            let loss = if w.signum() == 0 { R::zero() } else { w.mul(&real(-log)) };
            results.loss(loss.clone(), loss);
        } else {
            results.infinite_loss();
        }
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

    /// u − v of two rows. Of rows that point nearly the same way it is computed from the numerators,
    /// x_i²·‖y‖² − y_i²·‖x‖² = Σ (x_i·y_j − x_j·y_i)·(x_i·y_j + x_j·y_i), so that it has its digits and is 0 where it is.
    fn difference<R: Real>(&self, tensors: [usize; 2], row: usize, units: [&Unit<R>; 2]) -> Vec<R> {
        let plain: Vec<R> = units[0].u.iter().zip(&units[1].u).map(|(u, v)| u.sub(v)).collect();
        let near = total(plain.iter().map(|d| d.mul(d))).sub(&R::one().mul_pow2(-10)).signum() < 0;
        if !near || units.iter().any(|unit| !unit.one) {
            return plain;
        }
        let [x, y] = tensors.map(|tensor| self.row(tensor, row).iter().map(|&x| real(x)).collect::<Vec<R>>());
        let [to_x, to_y] = units.map(|unit| &unit.phi);
        let one = |i: usize| {
            let terms = (0..self.len).map(|j| {
                let (a, b) = (x[i].mul(&y[j]), x[j].mul(&y[i]));
                a.sub(&b).mul(&a.add(&b))
            });
            let sum = x[i].mul(to_y).add(&y[i].mul(to_x));
            total(terms).div(&to_x.mul(to_y).mul(&sum))
        };
        let same = |i: usize| x[i].signum() * y[i].signum() > 0;
        (0..self.len).map(|i| if same(i) { one(i) } else { plain[i].clone() }).collect()
    }

    /// What underflows on the way to a gradient in f64, as a share of h.
    fn floor<R: Real>(&self) -> R {
        if self.known > 45 { R::one().mul_pow2(-900) } else { R::zero() }
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

    /// Whether the sign of a number is not known beside the magnitude of its terms.
    fn is_edge<R: Real>(&self, number: &R, measure: &R) -> bool {
        number.abs().sub(&measure.mul_pow2(-self.known)).signum() <= 0
    }

    fn triplet<R: Real>(&self, row: usize, results: &mut Results<R>) {
        let units: Vec<Unit<R>> = (0..3).map(|tensor| self.unit(tensor, row)).collect();
        let difference = |a: usize, b: usize| self.difference([a, b], row, [&units[a], &units[b]]);
        let length = |d: &[R]| total(d.iter().map(|d| d.mul(d))).sqrt();
        let (near, far) = (difference(0, 1), difference(0, 2));
        let (to_near, to_far) = (length(&near), length(&far));
        let margin = real::<R>(self.setting.margin);
        let loss = to_near.sub(&to_far).add(&margin);
        let active = loss.signum() > 0;
        let measure = to_near.add(&to_far).add(&margin.abs());
        results.loss(if active { loss } else { R::zero() }, measure.clone());
        let over = |d: &R, by: &R| if active && by.signum() > 0 { d.div(by) } else { R::zero() };
        // How far one element of a difference may be off beside itself, and whether more of it is than can be said.
        let sides = [(1, &to_near), (2, &to_far)];
        let loose =
            sides.map(|(other, _)| self.setting.guard.is_some() && !(units[0].one && units[other].one));
        let lengths = sides.map(|(other, _)| length(&units[0].u).add(&length(&units[other].u)));
        let slack = |side: usize, i: usize| {
            let (other, by) = sides[side];
            let share =
                if loose[side] { units[0].u[i].abs().add(&units[other].u[i].abs()) } else { R::zero() };
            over(&share.mul_pow2(-self.known * 8 / 15).add(&lengths[side].mul(&self.floor())), by)
        };
        let unknown = (0..2).any(|side| {
            let least = lengths[side].mul_pow2(-self.known * 4 / 9);
            loose[side] && sides[side].1.sub(&least).signum() < 0
        });
        let (mut h, mut sizes) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
        for i in 0..self.len {
            let (n, f) = (over(&near[i], &to_near), over(&far[i], &to_far));
            let (near_size, far_size) = (n.abs().add(&slack(0, i)), f.abs().add(&slack(1, i)));
            let parts = [
                (n.sub(&f), near_size.add(&far_size)),
                (n.neg(), near_size.clone()),
                (f.clone(), far_size.clone()),
            ];
            for (tensor, (part, size)) in parts.into_iter().enumerate() {
                h[tensor].push(part);
                sizes[tensor].push(size);
            }
        }
        let edge = unknown || self.is_edge(&to_near.sub(&to_far).add(&margin), &measure);
        for tensor in 0..3 {
            self.back(tensor, &units[tensor], &h[tensor], &sizes[tensor], self.upstream[row], results);
            if edge {
                results.either(tensor, self.len);
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
        let apart = self.difference([0, 1], row, [&units[0], &units[1]]);
        if exact {
            let half = total(apart.iter().map(|d| d.mul(d))).mul_pow2(-1);
            results.loss(half.clone(), half);
        } else if similar {
            results.loss(R::one().sub(&cosine), R::one().add(&size));
        } else {
            let loss = cosine.sub(&margin);
            let loss = if loss.signum() > 0 { loss } else { R::zero() };
            results.loss(loss, size.add(&margin.abs()));
        }
        let over = cosine.sub(&margin);
        let active = similar || over.signum() > 0;
        let edge = !similar && self.is_edge(&over, &size.add(&margin.abs()));
        for tensor in 0..2 {
            let other = &units[1 - tensor].u;
            let h: Vec<R> = (0..self.len)
                .map(|i| match (active, similar, exact) {
                    (false, _, _) => R::zero(),
                    (_, _, true) if tensor == 0 => apart[i].clone(),
                    (_, _, true) => apart[i].neg(),
                    (_, true, _) => other[i].neg(),
                    _ => other[i].clone(),
                })
                .collect();
            let sizes: Vec<R> = h.iter().map(|h| h.abs().add(&self.floor())).collect();
            self.back(tensor, &units[tensor], &h, &sizes, self.upstream[row], results);
            if edge {
                results.either(tensor, self.len);
            }
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
        // The largest similarity with all its terms taken as magnitudes.
        let mut reach = R::zero();
        for i in 0..n {
            let positive = if own { (i + n / 2) % n } else { i };
            let takes_part = |j: &usize| !(own && *j == i);
            let s: Vec<R> = (0..n).map(|j| dot(&queries[i].u, &keys[j].u).div(&tau)).collect();
            let best = (0..n)
                .filter(takes_part)
                .fold(positive, |best, j| if s[j].sub(&s[best]).signum() > 0 { j } else { best });
            let exps: Vec<R> =
                (0..n).map(|j| if takes_part(&j) { s[j].sub(&s[best]).exp() } else { R::zero() }).collect();
            let c = total((0..n).filter(takes_part).filter(|&j| j != best).map(|j| exps[j].clone()));
            let share = R::one().div(&R::one().add(&c));
            let loss = s[best].sub(&s[positive]).add(&c.ln_1p());
            let spread = size(&queries[i].u, &keys[positive].u).add(&size(&queries[i].u, &keys[best].u));
            let slack = spread.div(&tau).mul_pow2(-8);
            results.loss(loss.clone(), loss.add(&slack));
            let g = real::<R>(self.upstream[i]);
            for j in (0..n).filter(takes_part) {
                let here = size(&queries[i].u, &keys[j].u).div(&tau);
                if here.sub(&reach).signum() > 0 {
                    reach = here;
                }
                let p = exps[j].mul(&share);
                let d = match (j == best, j == positive) {
                    (true, true) => c.mul(&share).neg(),
                    (false, true) => p.sub(&R::one()),
                    _ => p,
                };
                let w = d.mul(&g).div(&tau);
                let floor = w.abs().mul(&self.floor());
                for k in 0..self.len {
                    let (to_query, to_key) = (w.mul(&keys[j].u[k]), w.mul(&queries[i].u[k]));
                    query_sizes[i][k] = query_sizes[i][k].add(&to_query.abs()).add(&floor);
                    key_sizes[j][k] = key_sizes[j][k].add(&to_key.abs()).add(&floor);
                    to_queries[i][k] = to_queries[i][k].add(&to_query);
                    to_keys[j][k] = to_keys[j][k].add(&to_key);
                }
            }
        }
        let loose = R::one().add(&reach.mul_pow2(if self.known > 45 { -50 } else { -28 }));
        for size in query_sizes.iter_mut().chain(&mut key_sizes).flatten() {
            *size = size.mul(&loose);
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
