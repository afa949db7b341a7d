use lossprep::typed::Logits;
use lossprep::{ClassOptions, CrossEntropyOptions, Layout};

fn main() -> Result<(), lossprep::Error> {
    let p = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?.softmax()?;
    p.cross_entropy(&[0], &CrossEntropyOptions::new(), &mut [0.0])?;
    p.nll_with_grad(&[0], &[1.0], &ClassOptions::new(), &mut [0.0], &mut [0.0; 2])
}
