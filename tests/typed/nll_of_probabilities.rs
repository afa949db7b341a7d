use lossprep::typed::{Logits, nll};
use lossprep::{ClassOptions, Layout};

fn main() -> Result<(), lossprep::Error> {
    let p = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?.softmax()?;
    nll(p, &[0], &ClassOptions::new(), &mut [0.0])
}
