//! The output bits of every operation and loss, type and form, pinned: `tests/digests.txt` holds a digest of each, and
//! every backend has to give it. Bits may change with a minor version and a line in the changelog only:
//!
//! ```sh
//! LOSSPREP_WRITE_DIGESTS=1 cargo test --test digests
//! ```
//!
//! writes the file again, after all backends agreed. `LOSSPREP_SHORT_DIGESTS=1` leaves out the rows beyond 2^24
//! elements, which take too long on an emulated machine.

mod every_loss;
mod operations;

use every_loss::{LossCase, row_of, run_contrastive, run_losses, run_reductions, same};
use lossprep::{Backend, Kernels, Layout, OPERATIONS};
use operations::{Bits, Case, Random, backends, run_all};
use std::collections::BTreeMap;
use std::fmt::Write;

/// FNV-1a over the bytes of the bits.
#[derive(Clone, Copy)]
struct Digest(u64);

impl Digest {
    fn add<T: Bits>(&mut self, values: &[T]) {
        for value in values {
            for byte in value.bits().to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

type Digests = BTreeMap<String, Digest>;

/// Short rows, long ones, another axis, blocks of sums, special values.
fn cases<T: Bits>() -> Vec<Case<T>> {
    let mut random = Random(0x6c6f_7373);
    let mut cases = Vec::new();
    for (outer, len, inner, scale, special) in [
        (1, 0, 1, 1.0, false),
        (5, 1, 1, 1.0, false),
        (37, 7, 1, 3.0, true),
        (9, 32, 1, 30.0, false),
        (3, 257, 1, 3.0, true),
        (2, 1000, 1, 300.0, false),
        (2, 19, 37, 3.0, true),
        (1, 300, 5, 1e4, false),
        (1, 70_003, 1, 2.0, false),
        (1, 66_000, 3, 2.0, false),
        (4, 40, 1, if T::NAME == "f32" { 1e37 } else { 1e307 }, false),
        (4, 40, 1, if T::NAME == "f32" { 1e-40 } else { 1e-310 }, false),
    ] {
        cases.push(Case::new(&mut random, Layout::new(outer, len, inner).unwrap(), scale, special));
    }
    cases
}

fn digest<T: Bits>(k: Kernels, cases: &[Case<T>], digests: &mut Digests) {
    for case in cases {
        run_all(k, case, 0, |name, form, out| {
            digests.entry(format!("{name} {} {form}", T::NAME)).or_default().add(out);
        });
    }
}

/// The losses; each row of a batch has to give what it gives alone.
fn digest_losses<T: Bits>(k: Kernels, cases: &[Case<T>], digests: &mut Digests) {
    for case in cases.iter().filter(|case| case.layout.elements() > 0) {
        let (layout, batch) = (case.layout, LossCase::new(case));
        let mut together: BTreeMap<String, Vec<Vec<T>>> = BTreeMap::new();
        let mut digest = |name: &str, form: &str, results: &[&[T]]| {
            let digest = digests.entry(format!("{name} {} {form}", T::NAME)).or_default();
            results.iter().for_each(|result| digest.add(result));
        };
        run_losses(k, &batch, |name, form, results| {
            digest(name, form, results);
            together.insert(format!("{name} {form}"), results.iter().map(|r| r.to_vec()).collect());
        });
        run_contrastive(k, &batch, &mut digest);
        run_reductions(&batch, &mut digest);
        let alone = if layout.inner() == 1 && layout.elements() < 2000 { layout.row_count() } else { 0 };
        for row in 0..alone {
            let one = row_of(case, row);
            run_losses(k, &batch.row(&one, row), |name, form, results| {
                for (all, result) in together[&format!("{name} {form}")].iter().zip(results) {
                    let all = &all[row * result.len()..][..result.len()];
                    assert!(same(all, result), "{name} {form}: row {row} of {layout:?} has other bits alone");
                }
            });
        }
    }
}

/// A row beyond 2^24 elements, whose sums take more than any block or word of them holds.
fn digest_long<T: Bits>(k: Kernels, digests: &mut Digests) {
    let mut random = Random(0x6c6f_6e67);
    let n = (1 << 24) + 77;
    let mut row: Vec<T> = (0..n).map(|_| T::of(random.unit() * 8.0)).collect();
    let layout = Layout::rows(1, n).unwrap();
    let mut reduced = [T::zero(); 2];
    k.logsumexp(&row, layout, &mut reduced[..1]).unwrap();
    k.l2_norm(&row, layout, &mut reduced[1..]).unwrap();
    digests.entry(format!("logsumexp {} beyond 2^24", T::NAME)).or_default().add(&reduced[..1]);
    digests.entry(format!("l2_norm {} beyond 2^24", T::NAME)).or_default().add(&reduced[1..]);
    k.softmax_in_place(&mut row, layout).unwrap();
    let sample: Vec<T> = row.iter().copied().step_by(4099).chain(row[n - 100..].iter().copied()).collect();
    digests.entry(format!("softmax {} beyond 2^24", T::NAME)).or_default().add(&sample);
}

fn all(backend: Backend) -> Digests {
    let k = backend.try_get().unwrap();
    assert_eq!(k.backend(), backend);
    let mut digests = Digests::new();
    digest(k, &cases::<f32>(), &mut digests);
    digest(k, &cases::<f64>(), &mut digests);
    digest_losses(k, &cases::<f32>(), &mut digests);
    digest_losses(k, &cases::<f64>(), &mut digests);
    if !short() {
        digest_long::<f32>(k, &mut digests);
        digest_long::<f64>(k, &mut digests);
    }
    digests
}

fn short() -> bool {
    std::env::var_os("LOSSPREP_SHORT_DIGESTS").is_some()
}

fn text(digests: &Digests) -> String {
    let mut text = String::new();
    for (name, digest) in digests {
        writeln!(text, "{:016x} {name}", digest.0).unwrap();
    }
    text
}

/// The lines in which two lists differ.
fn differences(got: &str, want: &str) -> String {
    let only = |a: &str, b: &str, sign: char| -> String {
        let other: Vec<&str> = b.lines().collect();
        a.lines().filter(|line| !other.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    only(want, got, '-') + &only(got, want, '+')
}

/// Both results, at once where there are threads.
fn both<A: Send, B>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
    if cfg!(target_family = "wasm") {
        return (a(), b());
    }
    std::thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        (a.join().unwrap(), b)
    })
}

#[test]
fn every_backend_gives_the_committed_bits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/digests.txt");
    let others = backends().into_iter().filter(|&b| b != Backend::Scalar);
    let (scalar, others) = both(
        || text(&all(Backend::Scalar)),
        || others.map(|backend| (backend, text(&all(backend)))).collect::<Vec<_>>(),
    );
    for (backend, here) in others {
        assert!(here == scalar, "{backend} differs from scalar:\n{}", differences(&here, &scalar));
    }
    if std::env::var_os("LOSSPREP_WRITE_DIGESTS").is_some() {
        assert!(!short(), "all digests, or none");
        std::fs::write(path, scalar).unwrap();
        return;
    }
    let mut committed = std::fs::read_to_string(path).unwrap();
    if short() {
        committed =
            committed.lines().filter(|l| !l.ends_with(" beyond 2^24")).map(|l| format!("{l}\n")).collect();
    }
    assert!(scalar == committed, "the bits are not those of {path}:\n{}", differences(&scalar, &committed));
}

#[test]
fn the_committed_digests_cover_every_operation_and_form() {
    let committed = include_str!("digests.txt");
    for (operation, family) in OPERATIONS {
        for type_name in ["f32", "f64"] {
            let reduces = matches!(*operation, "logsumexp" | "l2_norm");
            let mut forms = vec!["forward", "vjp", "jvp"];
            forms.extend((!reduces).then_some("in place"));
            if *family == "softmax" {
                forms.extend(["temperature forward", "mask vjp", "lengths jvp"]);
            }
            for form in forms {
                let line = format!(" {operation} {type_name} {form}\n");
                assert!(committed.contains(&line), "no digest of{line}");
            }
        }
    }
    // Every loss, and each of its forms with a line for both types.
    for name in [
        "cross_entropy",
        "focal_loss",
        "kl_div",
        "nll",
        "binary_cross_entropy_with_logits",
        "scaled_sigmoid_mse",
        "scaled_sigmoid_huber",
        "scaled_sigmoid_l1",
        "triplet_margin",
        "cosine_embedding",
        "info_nce",
        "nt_xent",
        "row_weights",
        "reduction",
    ] {
        let forms = |t: &str| committed.matches(&format!(" {name} {t}")).count();
        assert!(forms("f32") > 0 && forms("f32") == forms("f64"), "{name}");
    }
    let digest = |line: &str| line.split(' ').next().map(str::to_owned);
    let of = |name: &str| committed.lines().find(|l| l.ends_with(name)).and_then(digest).unwrap();
    // In place is not another result.
    for name in ["softmax f32", "log_softmax f64", "l2_normalize f32", "scaled_sigmoid f64"] {
        assert_eq!(of(&format!(" {name} forward")), of(&format!(" {name} in place")), "{name}");
    }
}

#[test]
fn one_bit_changes_a_digest() {
    let (mut a, mut b) = (Digest::default(), Digest::default());
    a.add(&[1.0_f64, f64::from_bits(2)]);
    b.add(&[1.0_f64, f64::from_bits(3)]);
    assert_ne!(a.0, b.0);
    let mut c = Digest::default();
    c.add(&[f64::from_bits(2), 1.0]);
    assert_ne!(a.0, c.0);
    assert_eq!(differences("1 a\n2 b\n", "1 a\n3 b\n"), "- 3 b\n+ 2 b\n");
}
