use lossprep::typed::{Logits, cross_entropy};
use lossprep::{CrossEntropyOptions, Layout};

fn main() -> Result<(), lossprep::Error> {
    let p = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?.softmax()?;
    cross_entropy(p, &[0], &CrossEntropyOptions::new(), &mut [0.0])
}
