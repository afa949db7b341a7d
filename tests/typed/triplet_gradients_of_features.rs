use lossprep::Layout;
use lossprep::typed::{UnitVectors, triplet_margin_with_grad};

fn main() -> Result<(), lossprep::Error> {
    let unit = UnitVectors::new([1.0_f32, 0.0], Layout::rows(1, 2)?)?;
    let (features, mut grads) = ([3.0_f32, 4.0], [[0.0; 2]; 3]);
    let grads = grads.each_mut().map(|g| &mut g[..]);
    triplet_margin_with_grad(&features, unit, unit, 0.2, &[1.0], &mut [0.0], grads)
}
