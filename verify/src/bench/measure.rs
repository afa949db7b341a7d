//! How candidates are timed beside each other on a machine that others use too: in turns, in several
//! passes over everything, as medians, with the noise that showed.

use std::time::{Duration, Instant};

/// One timing lasts at least about this long, well above the clock's grain.
const TIMING: Duration = Duration::from_micros(30);
/// A call shorter than this is made once untimed first, so that no candidate pays for its predecessor's cache.
const WARMED: Duration = Duration::from_millis(1);

/// One candidate's nanoseconds a call, as sampled in one pass.
pub type Samples = Vec<f64>;

/// Times `count` candidates in turns for about `budget`; `time(i, calls)` runs candidate `i`.
///
/// Each has the same share of the time, spent evenly, so that a slow candidate sits out rounds; of one that a single call
/// takes more than its share there is this one sample.
pub fn interleave(
    count: usize,
    budget: Duration,
    time: &mut dyn FnMut(usize, u64) -> Duration,
) -> Vec<Samples> {
    let share = budget.as_secs_f64() / count as f64;
    let mut samples = vec![Samples::new(); count];
    let mut used = vec![0.0; count];
    let once: Vec<Duration> = (0..count)
        .map(|i| {
            let first = time(i, 1);
            if first >= WARMED && first.as_secs_f64() >= share {
                used[i] = first.as_secs_f64();
                samples[i].push(used[i] * 1e9);
                return first;
            }
            first.min(time(i, 1)).max(Duration::from_nanos(1))
        })
        .collect();
    let open = samples.iter().filter(|s| s.is_empty()).count();
    if open == 0 {
        return samples;
    }
    let start = Instant::now();
    loop {
        let part = start.elapsed().as_secs_f64() / (share * open as f64);
        for i in 0..count {
            if !samples[i].is_empty() && (used[i] / share > part || part >= 1.0) {
                continue;
            }
            let turn = Instant::now();
            if once[i] < WARMED {
                time(i, 1);
            }
            let calls = TIMING.as_nanos().div_ceil(once[i].as_nanos()) as u64;
            samples[i].push(time(i, calls).as_secs_f64() * 1e9 / calls as f64);
            used[i] += turn.elapsed().as_secs_f64();
        }
        if part >= 1.0 {
            return samples;
        }
    }
}

/// What the passes say of one candidate, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The median of all samples.
    pub ns: f64,
    /// The smallest and the largest median of a pass.
    pub range: (f64, f64),
}

impl Figure {
    /// From the samples of every pass, in units of `per` nanoseconds.
    pub fn new(passes: &[Samples], per: f64) -> Self {
        let medians = passes.iter().map(|p| median(p) / per);
        let range = medians.fold((f64::INFINITY, 0.0_f64), |(low, high), m| (low.min(m), high.max(m)));
        Self { ns: median(&passes.concat()) / per, range }
    }

    /// How far the passes differ, as a share.
    pub fn noise(&self) -> f64 {
        (self.range.1 - self.range.0) / self.ns
    }
}

/// The middle one; of an even number the higher of the two.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_timed_however_slow() {
        let pause = [Duration::from_micros(20), Duration::from_millis(4)];
        let samples = interleave(2, Duration::from_millis(30), &mut |i, calls| {
            let start = Instant::now();
            (0..calls).for_each(|_| std::thread::sleep(pause[i]));
            start.elapsed()
        });
        assert!(median(&samples[0]) >= 2e4 && median(&samples[1]) >= 4e6);
    }

    #[test]
    fn what_takes_more_than_its_share_is_called_once() {
        let mut calls = [0; 2];
        let pause = [Duration::from_micros(20), Duration::from_millis(4)];
        let samples = interleave(2, Duration::from_millis(6), &mut |i, n| {
            calls[i] += n;
            std::thread::sleep(pause[i] * n as u32);
            pause[i] * n as u32
        });
        assert_eq!((calls[1], &samples[1]), (1, &vec![4e6]));
        assert!(calls[0] > 2 && !samples[0].is_empty(), "{calls:?}");
        // And where that goes for all, nothing is waited for.
        let samples = interleave(2, Duration::from_secs(100), &mut |_, _| Duration::from_secs(99));
        assert_eq!(samples, [[99e9], [99e9]]);
    }

    #[test]
    fn noise_is_the_range_of_the_passes() {
        let figure = Figure::new(&[vec![1.0, 9.0, 2.0], vec![3.0], vec![4.0]], 2.0);
        assert_eq!((figure.ns, figure.range), (1.5, (1.0, 2.0)));
        assert_eq!(figure.noise(), 1.0 / 1.5);
    }
}
