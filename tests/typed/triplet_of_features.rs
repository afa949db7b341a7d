use lossprep::typed::triplet_margin;

fn main() -> Result<(), lossprep::Error> {
    let features = [3.0_f32, 4.0];
    triplet_margin(&features, &features, &features, 0.2, &mut [0.0])
}
