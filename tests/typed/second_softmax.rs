use lossprep::Layout;
use lossprep::typed::{Logits, softmax};

fn main() -> Result<(), lossprep::Error> {
    let p = Logits::new([2.0_f32, 1.0], Layout::rows(1, 2)?)?.softmax()?;
    softmax(&p, [0.0; 2])?;
    Ok(())
}
