use lossprep::typed::scaled_sigmoid_mse;

fn main() -> Result<(), lossprep::Error> {
    scaled_sigmoid_mse(&[0.3_f32], &[400.0_f32], &mut [0.0])
}
