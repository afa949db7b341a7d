//! Every loss in every form, on the inputs of `operations`.

use crate::operations::{Bits, Case};
use lossprep::{
    ClassOptions, CrossEntropyOptions, Kernels, Layout, NormGuard, Range, Reduction, Target,
    contrastive_workspace,
};

/// What the losses are given besides a case: what else stands in a row, or belongs to it.
pub struct LossCase<'a, T> {
    case: &'a Case<T>,
    classes: Vec<usize>,
    ignored: usize,
    similar: Vec<bool>,
    /// One for each class: some are 0.
    weights: Vec<T>,
    /// As upstream gradients no product of which with a probability may be taken first.
    far: Vec<T>,
}

impl<'a, T: Bits> LossCase<'a, T> {
    pub fn new(case: &'a Case<T>) -> Self {
        let (rows, len) = (case.layout.row_count(), case.layout.len());
        let huge = if T::NAME == "f32" { 1e30 } else { 1e200 };
        let classes: Vec<usize> = (0..rows).map(|r| (r * 7 + r / 3) % len.max(1)).collect();
        Self {
            case,
            ignored: classes[rows / 2],
            classes,
            similar: (0..rows).map(|r| r % 3 != 0).collect(),
            weights: (0..len).map(|i| T::of((i % 5) as f64 * 0.375)).collect(),
            far: case.row_g.iter().map(|&g| g * T::of(huge)).collect(),
        }
    }

    /// The same for `case`, which is [`row_of`] this one.
    pub fn row<'b>(&self, case: &'b Case<T>, row: usize) -> LossCase<'b, T> {
        LossCase {
            case,
            ignored: self.ignored,
            classes: vec![self.classes[row]],
            similar: vec![self.similar[row]],
            weights: self.weights.clone(),
            far: vec![self.far[row]],
        }
    }
}

/// Gives the name, the form and the results of every loss whose rows are independent to `each`: each result has one
/// element a row, or the layout's.
pub fn run_losses<T: Bits>(k: Kernels, c: &LossCase<'_, T>, mut each: impl FnMut(&str, &str, &[&[T]])) {
    let LossCase { case, classes, ignored, similar, weights, far } = c;
    let (layout, x, g) = (case.layout, &case.x[..], &case.row_g[..]);
    let (n, rows, one) = (layout.elements(), layout.row_count(), T::one());
    if layout.len() == 0 {
        return;
    }
    let (mut losses, mut again) = (vec![one; rows], vec![one; rows]);
    let (mut a, mut b, mut d) = (vec![one; n], vec![one; n], vec![one; n]);
    let (hard, soft) = (Target::Classes(classes), Target::Probabilities(&case.y[..]));
    let plain = CrossEntropyOptions::new();
    let capped = plain.softcap(T::of(5.0));
    for (form, target, options, upstream) in [
        ("classes", hard, plain, g),
        ("classes, far upstream", hard, plain, far),
        ("classes weights", hard, plain.weights(weights), g),
        ("classes weights ignored", hard, plain.weights(weights).ignore_index(*ignored), g),
        ("classes smoothing", hard, plain.label_smoothing(T::of(0.1)), g),
        ("classes z-loss", hard, plain.z_loss(T::of(0.01)), g),
        ("classes temperature", hard, plain.temperature(T::of(0.7)), g),
        ("classes softcap", hard, capped, g),
        ("classes softcap, far upstream", hard, capped, far),
        (
            "classes with all",
            hard,
            capped.weights(weights).label_smoothing(T::of(0.3)).z_loss(one).temperature(T::of(2.5)),
            g,
        ),
        ("shares", soft, plain, g),
        ("shares, far upstream", soft, plain, far),
        ("shares with all", soft, capped.weights(weights).label_smoothing(T::of(0.3)).z_loss(one), g),
    ] {
        k.cross_entropy(x, target, layout, &options, &mut again).unwrap();
        k.cross_entropy_with_grad(x, target, upstream, layout, &options, &mut losses, &mut a).unwrap();
        assert!(same(&losses, &again), "cross_entropy {form}: other losses with a gradient");
        b.copy_from_slice(x);
        k.cross_entropy_with_grad_in_place(&mut b, target, upstream, layout, &options, &mut again).unwrap();
        assert!(same(&losses, &again) && same(&a, &b), "cross_entropy {form}: other bits in place");
        each("cross_entropy", form, &[&losses, &a]);
        options.row_weights(target, layout, &mut again).unwrap();
        each("row_weights", form, &[&again]);
    }
    let class = ClassOptions::new();
    for (form, options) in
        [("", class), (" weights", class.weights(weights)), (" ignored", class.ignore_index(*ignored))]
    {
        for (gamma, upstream) in [(0.0, g), (0.5, far), (2.0, g), (3.7, g)] {
            let gamma = T::of(gamma);
            k.focal_loss(x, classes, gamma, layout, &options, &mut again).unwrap();
            k.focal_loss_with_grad(x, classes, gamma, upstream, layout, &options, &mut losses, &mut a)
                .unwrap();
            assert!(same(&losses, &again), "focal_loss {form}");
            each("focal_loss", &format!("γ = {gamma}{form}"), &[&losses, &a]);
        }
        k.nll(&case.log_y, classes, layout, &options, &mut again).unwrap();
        k.nll_with_grad(&case.log_y, classes, g, layout, &options, &mut losses, &mut a).unwrap();
        assert!(same(&losses, &again), "nll {form}");
        each("nll", &format!("classes{form}"), &[&losses, &a]);
    }
    for (form, temperature, upstream) in [("", 1.0, g), ("temperature", 4.0, g), ("far upstream", 1.0, far)] {
        let temperature = T::of(temperature);
        k.kl_div(x, &case.y, temperature, layout, &mut again).unwrap();
        k.kl_div_with_grad(x, &case.y, temperature, upstream, layout, &mut losses, &mut a).unwrap();
        assert!(same(&losses, &again), "kl_div {form}");
        each("kl_div", form, &[&losses, &a]);
    }
    elementwise(k, c, [&mut a, &mut b, &mut d], &mut each);
    let y = &case.ranged[..];
    let guards = [
        ("no guard", None),
        ("max", Some(NormGuard::Max(T::of(1e-12)))),
        ("add", Some(NormGuard::Add(T::of(0.0625)))),
        ("add squared", Some(NormGuard::AddSquared(T::of(0.0625)))),
    ];
    for (form, guard) in guards {
        let margin = T::of(0.5);
        k.triplet_margin(x, y, &case.log_y, margin, guard, layout, &mut again).unwrap();
        let grads = [&mut a[..], &mut b, &mut d];
        k.triplet_margin_with_grad(x, y, &case.log_y, margin, guard, g, layout, &mut losses, grads).unwrap();
        assert!(same(&losses, &again), "triplet_margin {form}");
        each("triplet_margin", form, &[&losses, &a, &b, &d]);
        k.cosine_embedding(x, y, similar, -margin, guard, layout, &mut again).unwrap();
        let grads = [&mut a[..], &mut b];
        k.cosine_embedding_with_grad(x, y, similar, -margin, guard, g, layout, &mut losses, grads).unwrap();
        assert!(same(&losses, &again), "cosine_embedding {form}");
        each("cosine_embedding", form, &[&losses, &a, &b]);
    }
}

/// The losses of elements: binary cross-entropy and those of a scaled sigmoid.
fn elementwise<T: Bits>(
    k: Kernels,
    c: &LossCase<'_, T>,
    [a, b, d]: [&mut [T]; 3],
    each: &mut impl FnMut(&str, &str, &[&[T]]),
) {
    let Case { layout, x, g, y, ranged, .. } = c.case;
    for (form, weights) in [("", None), ("weights", Some(&c.weights[..]))] {
        k.binary_cross_entropy_with_logits(x, y, weights, *layout, d).unwrap();
        k.binary_cross_entropy_with_logits_with_grad(x, y, weights, g, *layout, b, a).unwrap();
        assert!(same(b, d), "binary_cross_entropy_with_logits {form}");
        each("binary_cross_entropy_with_logits", form, &[b, a]);
    }
    let range = Range::new(T::of(-2.0), T::of(5.0)).unwrap();
    let delta = T::of(0.75);
    k.scaled_sigmoid_mse(x, ranged, range, d).unwrap();
    k.scaled_sigmoid_mse_with_grad(x, ranged, g, range, b, a).unwrap();
    assert!(same(b, d), "scaled_sigmoid_mse");
    each("scaled_sigmoid_mse", "", &[b, a]);
    k.scaled_sigmoid_huber(x, ranged, delta, range, d).unwrap();
    k.scaled_sigmoid_huber_with_grad(x, ranged, delta, g, range, b, a).unwrap();
    assert!(same(b, d), "scaled_sigmoid_huber");
    each("scaled_sigmoid_huber", "", &[b, a]);
    k.scaled_sigmoid_l1(x, ranged, range, d).unwrap();
    k.scaled_sigmoid_l1_with_grad(x, ranged, g, range, b, a).unwrap();
    assert!(same(b, d), "scaled_sigmoid_l1");
    each("scaled_sigmoid_l1", "", &[b, a]);
}

/// The losses that contrast the rows of a batch.
pub fn run_contrastive<T: Bits>(k: Kernels, c: &LossCase<'_, T>, mut each: impl FnMut(&str, &str, &[&[T]])) {
    let LossCase { case, far, .. } = c;
    let (layout, x, y) = (case.layout, &case.x[..], &case.ranged[..]);
    let (n, rows, one) = (layout.elements(), layout.row_count(), T::one());
    let (mut losses, mut again) = (vec![one; rows], vec![one; rows]);
    let (mut a, mut b) = (vec![one; n], vec![one; n]);
    let mut work = vec![f64::NAN; contrastive_workspace::<T>(layout).unwrap()];
    for (form, tau, guard, g) in [
        ("max", 0.5, Some(NormGuard::Max(T::of(1e-12))), &case.row_g[..]),
        ("max, far upstream", 1e-3, Some(NormGuard::Max(T::of(1e-12))), far),
        ("add", 0.07, Some(NormGuard::Add(T::of(0.0625))), &case.row_g),
        ("add squared", 1.0, Some(NormGuard::AddSquared(T::of(0.0625))), &case.row_g),
        ("no guard", 2.0, None, &case.row_g),
    ] {
        let tau = T::of(tau);
        k.info_nce(x, y, tau, guard, layout, &mut again, &mut work).unwrap();
        let grads = [&mut a[..], &mut b];
        k.info_nce_with_grad(x, y, tau, guard, g, layout, &mut losses, grads, &mut work).unwrap();
        assert!(same(&losses, &again), "info_nce {form}");
        each("info_nce", form, &[&losses, &a, &b]);
        if rows % 2 == 0 {
            k.nt_xent(x, tau, guard, layout, &mut again, &mut work).unwrap();
            k.nt_xent_with_grad(x, tau, guard, g, layout, &mut losses, &mut a, &mut work).unwrap();
            assert!(same(&losses, &again), "nt_xent {form}");
            each("nt_xent", form, &[&losses, &a]);
        }
    }
}

/// How losses become one number, and the upstream gradients of that.
pub fn run_reductions<T: Bits>(c: &LossCase<'_, T>, mut each: impl FnMut(&str, &str, &[&[T]])) {
    let losses: Vec<T> = c.weights.iter().zip(&c.case.x).map(|(_, &x)| x).collect();
    let weights = &c.weights[..losses.len()];
    for (form, reduction) in [
        ("sum", Reduction::Sum),
        ("mean", Reduction::Mean),
        ("weighted", Reduction::WeightedMean(weights)),
        ("over", Reduction::MeanOver(weights)),
    ] {
        let mut upstream = vec![T::one(); losses.len()];
        reduction.upstream(&mut upstream).unwrap();
        each("reduction", form, &[&[reduction.of(&losses).unwrap()], &upstream]);
    }
}

/// Row `row` of a case whose rows are contiguous.
pub fn row_of<T: Bits>(case: &Case<T>, row: usize) -> Case<T> {
    let len = case.layout.len();
    let part = |v: &[T]| v[row * len..][..len].to_vec();
    Case {
        layout: Layout::rows(1, len).unwrap(),
        x: part(&case.x),
        y: part(&case.y),
        log_y: part(&case.log_y),
        g: part(&case.g),
        row_g: vec![case.row_g[row]],
        norm: vec![case.norm[row]],
        ranged: part(&case.ranged),
        keep: case.keep[row * len..][..len].to_vec(),
        valid: vec![case.valid[row]],
    }
}

pub fn same<T: Bits>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bits() == b.bits())
}
