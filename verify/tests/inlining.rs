//! The compiled kernels contain no calls: what stays out of line is compiled without the instruction set,
//! and every intrinsic in it becomes a call. Looks at the release build, with objdump:
//! `cargo test --release -p lossprep-verify --test inlining`.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use pulp::NullaryFnOnce;
use pulp::x86::V3;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

/// Parts of the names that a kernel may refer to, none of them in a loop over elements.
const ALLOWED: &[(&str, &str)] = &[
    ("core::panicking::", "never returns"),
    ("core::slice::index::slice_index_fail", "never returns"),
    ("bytemuck::internal::something_went_wrong", "never returns"),
    ("memcpy", "tails and tiles"),
    ("memset", "tails and tiles"),
    ("__floattidf", "an exact sum as f64, once a row"),
    ("__floatuntidf", "an exact sum as f64, once a row"),
    ("lossprep::rows::Kept::clear", "what lengths leave out, once a call"),
    ("lossprep::rows::Block::", "tiles, once a block of rows"),
    ("::with_tiles", "the tiles' stack, once a call"),
    ("lossprep::rows::Place::", "masks: elements one by one"),
    ("lossprep::rows::lone", "rows left over, on the portable backend"),
    ("lossprep::kernels::l2::staged", "tiles, once a group of rows"),
    ("vectorize::imp", "a part of its own, compiled for the same instruction set"),
    ("lossprep::kernels::l2::dot", "once a group of rows"),
    ("core::iter::adapters::step_by::StepBy", "what lengths leave out, once a row"),
];

/// What a binary's kernels refer to.
#[derive(Default)]
struct Survey {
    /// Functions compiled for AVX2 and for AVX-512.
    kernels: [usize; 2],
    /// Code they call or take the address of, and how often.
    references: BTreeMap<String, usize>,
    /// Intrinsics that are functions of their own.
    intrinsics: BTreeSet<String>,
}

impl Survey {
    fn unexpected(&self) -> Vec<String> {
        let expected = |name: &str| ALLOWED.iter().any(|(part, _)| name.contains(part));
        let calls = self.references.iter().filter(|(name, _)| !expected(name));
        let calls = calls.map(|(name, n)| format!("{n} references to {name}"));
        calls.chain(self.intrinsics.iter().map(|name| format!("out of line: {name}"))).collect()
    }
}

fn objdump(arguments: &[&str], binary: &Path) -> String {
    let output = Command::new("objdump").args(arguments).arg(binary).output();
    let output = output.expect("objdump is needed: install binutils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// `1234 <name>:` begins a function.
fn function(line: &str) -> Option<(u64, &str)> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    Some((hex(address)?, name))
}

/// The index of the instruction set whose kernel this is.
fn kernel(name: &str) -> Option<usize> {
    let vectorize = name.contains("vectorize");
    ["V3", "V4"].iter().position(|set| vectorize && name.contains(set))
}

fn survey(binary: &Path) -> Survey {
    let text = objdump(&["-d", "-C", "--no-show-raw-insn"], binary);
    let functions: HashMap<u64, &str> = text.lines().filter_map(function).collect();
    // What the loader puts into the table through which distant functions are called.
    let relocations = objdump(&["-R", "-C"], binary);
    let slots: HashMap<u64, &str> = relocations
        .lines()
        .filter_map(|line| {
            let mut words = line.splitn(3, char::is_whitespace);
            let (address, _) = (hex(words.next()?)?, words.next()?);
            let target = words.next()?.trim();
            match target.strip_prefix("*ABS*+") {
                Some(local) => Some((address, *functions.get(&hex(local)?)?)),
                None => Some((address, target)),
            }
        })
        .collect();

    let mut survey = Survey::default();
    let mut current = None;
    for line in text.lines() {
        if let Some((_, name)) = function(line) {
            current = kernel(name).map(|set| (set, name));
            if let Some((set, _)) = current {
                survey.kernels[set] += 1;
            }
            if name.contains("core_arch") && name.contains("_mm") {
                survey.intrinsics.insert(name.into());
            }
            continue;
        }
        let Some((_, name)) = current else { continue };
        let Some((_, instruction)) = line.split_once(":\t") else { continue };
        let mut refer = |to: &str| *survey.references.entry(to.into()).or_default() += 1;
        // An address that objdump has computed: a constant, a function, or a slot of the table.
        let address = instruction.split_once("# ").and_then(|(_, a)| hex(a.split(' ').next()?));
        let target = address.and_then(|a| functions.get(&a).or_else(|| slots.get(&a)));
        let call = instruction.starts_with("call");
        if let Some(target) = target {
            refer(target);
        } else if call && instruction.contains("(%") {
            // Through a register alone is fine: where it was loaded has been seen.
            refer(instruction);
        } else if (call || instruction.starts_with('j')) && instruction.ends_with('>') {
            let (_, to) = instruction.split_once('<').unwrap();
            let to = to.trim_end_matches('>');
            let inside = to.rsplit_once("+0x").is_some_and(|(to, _)| to == name);
            if !inside && (call || to != name) {
                refer(to);
            }
        }
    }
    survey
}

#[test]
#[cfg_attr(debug_assertions, ignore = "looks at a release build")]
fn kernels_contain_no_calls() {
    let survey = survey(Path::new(env!("CARGO_BIN_EXE_lossprep-verify")));
    assert!(survey.kernels.iter().all(|&n| n > 30), "kernels not found: {:?}", survey.kernels);
    let unexpected = survey.unexpected();
    assert!(unexpected.is_empty(), "the kernels call what should be inlined:\n{}", unexpected.join("\n"));
}

/// A kernel whose closure stays out of line.
struct Planted<'a>(V3, &'a mut [[f32; 8]]);

impl NullaryFnOnce for Planted<'_> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let v3 = self.0;
        self.1.iter_mut().for_each(
            #[inline(never)]
            |x| {
                let v = pulp::cast(*x);
                *x = pulp::cast(v3.avx._mm256_add_ps(v, v));
            },
        );
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "looks at a release build")]
fn a_planted_closure_is_found() {
    let mut data = [[1.0; 8]; 4];
    if let Some(v3) = V3::try_new() {
        v3.vectorize(Planted(v3, black_box(&mut data)));
        assert_eq!(data, [[2.0; 8]; 4]);
    }
    let unexpected = survey(&std::env::current_exe().unwrap()).unexpected().join("\n");
    assert!(
        unexpected.contains("closure") && unexpected.contains("_mm256_add_ps"),
        "found only: {unexpected}"
    );
}
