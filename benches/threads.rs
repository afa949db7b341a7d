//! What threads gain: the `par_` forms on all cores, beside the plain call and beside as many independent plain calls as
//! there are threads, whose joint throughput is what the machine gives.

use lossprep::{
    Error, Layout, Range, log_softmax, logsumexp, par_log_softmax, par_logsumexp, par_scaled_sigmoid,
    par_softmax, par_softmax_vjp, scaled_sigmoid, softmax, softmax_vjp,
};
use rayon::ThreadPool;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

const ROUNDS: usize = 15;
/// Elements that a measurement goes through at least.
const ELEMENTS: usize = 1 << 24;

type Call = fn(&[f32], Layout, &mut [f32]) -> Result<(), Error>;

fn sigmoid(x: &[f32], _: Layout, out: &mut [f32]) -> Result<(), Error> {
    scaled_sigmoid(x, Range::new(0.0, 1.0)?, out)
}

fn par_sigmoid(x: &[f32], _: Layout, out: &mut [f32]) -> Result<(), Error> {
    par_scaled_sigmoid(x, Range::new(0.0, 1.0)?, out)
}

// The upstream gradient is the probabilities too.
fn vjp(x: &[f32], layout: Layout, out: &mut [f32]) -> Result<(), Error> {
    softmax_vjp(x, x, layout, out)
}

fn par_vjp(x: &[f32], layout: Layout, out: &mut [f32]) -> Result<(), Error> {
    par_softmax_vjp(x, x, layout, out)
}

fn reduced(call: Call) -> impl Fn(&[f32], Layout, &mut [f32]) -> Result<(), Error> + Copy {
    move |x, layout, out| call(x, layout, &mut out[..layout.row_count()])
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn compare(
    pool: &ThreadPool,
    name: &str,
    layout: Layout,
    plain: impl Fn(&[f32], Layout, &mut [f32]) -> Result<(), Error> + Sync,
    par: impl Fn(&[f32], Layout, &mut [f32]) -> Result<(), Error> + Sync,
) {
    let n = layout.elements();
    let x: Vec<f32> = (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 2.0_f32.powi(-22) - 2.0)
        .collect();
    let (mut wanted, mut out) = (vec![0.0; n], vec![0.0; n]);
    plain(&x, layout, &mut wanted).unwrap();
    pool.install(|| par(&x, layout, &mut out)).unwrap();
    assert_eq!(wanted, out, "{name}");

    let calls = ELEMENTS.div_ceil(n);
    let own: Vec<_> = (0..pool.current_num_threads()).map(|_| Mutex::new((x.clone(), out.clone()))).collect();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..calls {
            plain(black_box(&x), layout, &mut out).unwrap();
        }
        times[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        pool.broadcast(|thread| {
            let mut own = own[thread.index()].lock().unwrap();
            let (x, out) = &mut *own;
            for _ in 0..calls {
                plain(black_box(x), layout, out).unwrap();
            }
        });
        times[1].push(start.elapsed().as_secs_f64() / own.len() as f64);
        let start = Instant::now();
        pool.install(|| (0..calls).for_each(|_| par(black_box(&x), layout, &mut out).unwrap()));
        times[2].push(start.elapsed().as_secs_f64());
    }
    let [one, joint, all] = times.map(|t| median(t) / (calls * n) as f64 * 1e9);
    let shape = format!("{}x{}x{}", layout.outer(), layout.len(), layout.inner());
    println!("{name:15} {shape:>13} {one:9.4} {joint:9.4} {all:9.4} {:9.2} {:9.2}", one / all, joint / all);
}

fn main() -> Result<(), Error> {
    let pool = rayon::ThreadPoolBuilder::new().build().expect("a pool of threads");
    println!("f32, {} threads; ns an element", pool.current_num_threads());
    println!("operation               shape one thread     joint   threads  times one  of joint");
    for [outer, len, inner] in [
        [4096, 64, 1],
        [64, 1000, 1],
        [256, 32_768, 1],
        [8, 64, 1024],
        [1, 131_072, 1],
        [1, 1_048_576, 1],
        [1, 8_388_608, 1],
    ] {
        let layout = Layout::new(outer, len, inner)?;
        compare(&pool, "softmax", layout, softmax, par_softmax);
        compare(&pool, "log_softmax", layout, log_softmax, par_log_softmax);
        compare(&pool, "logsumexp", layout, reduced(logsumexp), reduced(par_logsumexp));
        compare(&pool, "softmax_vjp", layout, vjp, par_vjp);
        compare(&pool, "scaled_sigmoid", layout, sigmoid, par_sigmoid);
    }
    Ok(())
}
