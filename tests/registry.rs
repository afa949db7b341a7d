//! An operation of the registry without a row of the contract, a test, a bench, a fuzz target, a reference and a place
//! in the report does not pass.

use lossprep::OPERATIONS;
use std::fs;
use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether the name stands there as a word of its own.
fn names(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .any(|(at, _)| !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next()))
}

#[test]
fn every_operation_is_covered() {
    let reference = text("src/reference.rs");
    let throughput = text("verify/src/bench/cases.rs");
    let report = text("verify/src/connect.rs");
    let readme = text("README.md");
    let (_, contract) = readme.split_once("\n## The contract\n").unwrap();
    let rows =
        contract.lines().take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with('|'));
    let contract: String = rows.collect();
    for &(operation, family) in OPERATIONS {
        let tests = text(&format!("tests/{family}.rs"));
        let fuzz = text(&format!("fuzz/fuzz_targets/{family}.rs"));
        for (place, text) in [
            ("tests", &tests),
            ("fuzz", &fuzz),
            ("reference", &reference),
            ("benches", &throughput),
            ("report", &report),
            ("the contract", &contract),
        ] {
            assert!(names(text, operation), "{operation} does not occur in {place}");
        }
        for gradient in ["vjp", "jvp"] {
            let name = format!("{operation}_{gradient}");
            assert!(names(&tests, &name), "{name} does not occur in tests/{family}.rs");
        }
    }
}

#[test]
fn a_word_is_not_found_inside_another() {
    assert!(names("a softmax(b)", "softmax"));
    assert!(!names("log_softmax(b) softmax_vjp", "softmax"));
}
