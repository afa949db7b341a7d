//! Which backend runs: the fastest, the one that LOSSPREP_BACKEND names, or an error, never another. The
//! variable is read once, so each value is tried in a process of its own.

use lossprep::{Backend, Error, Layout};
use std::ffi::OsStr;
use std::process::Command;

/// Where the child finds out that it is one.
const CHILD: &str = "LOSSPREP_TEST_CHILD";

/// What the functions at the root did, in one line.
#[test]
#[ignore = "the other tests run it in processes of their own"]
fn child() {
    assert!(std::env::var_os(CHILD).is_some(), "run by hand, this shows nothing");
    let mut out = [7.0_f32; 3];
    let result = lossprep::softmax(&[0.0, 0.0, 0.0], Layout::rows(1, 3).unwrap(), &mut out);
    assert_eq!(result.is_err(), out == [7.0; 3], "an error leaves the output untouched: {out:?}");
    let mut data = [7.0_f64; 3];
    let second = lossprep::scaled_sigmoid_in_place(&mut data, lossprep::Range::new(0.0, 1.0).unwrap());
    assert_eq!(result, second, "read once, the same for every operation");
    assert_eq!(second.is_err(), data == [7.0; 3]);
    match (result, Backend::best()) {
        (Ok(()), Ok(backend)) => println!("ran on <{backend}>"),
        (Err(error), Err(same)) if error == same => println!("refused <{error}>"),
        other => panic!("the operation and Backend::best disagree: {other:?}"),
    }
}

/// What a process says that finds this value in the variable.
fn with(value: Option<&OsStr>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .env_remove("LOSSPREP_BACKEND");
    if let Some(value) = value {
        command.env("LOSSPREP_BACKEND", value);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let said = text.split_once('<').and_then(|(head, rest)| Some((head, rest.split_once('>')?.0)));
    let (head, said) = said.unwrap_or_else(|| panic!("says nothing: {text}"));
    format!("{} {said}", if head.trim_end().ends_with("ran on") { "ran on" } else { "refused:" })
}

#[test]
fn without_the_variable_the_fastest_runs() {
    let fastest = Backend::all().into_iter().find(|b| b.is_available()).unwrap();
    assert_eq!(with(None), format!("ran on {fastest}"));
}

#[test]
fn every_name_runs_its_backend_or_is_refused() {
    for backend in Backend::all() {
        let want = match backend.try_get() {
            Ok(kernels) => {
                assert_eq!(kernels.backend(), backend);
                format!("ran on {backend}")
            }
            Err(error) => {
                assert_eq!(error, Error::Unavailable { backend: backend.name() });
                format!("refused: {error}")
            }
        };
        assert_eq!(with(Some(OsStr::new(backend.name()))), want);
        assert_eq!(Backend::from_name(backend.name()), Some(backend));
    }
    // No machine has both.
    assert!(!(Backend::Neon.is_available() && Backend::Avx2.is_available()));
}

#[test]
fn an_unknown_name_is_refused() {
    for name in ["avx1024", " scalar", "scalar "] {
        let refused = format!("refused: {}", Error::UnknownBackend { name });
        assert!(refused.contains(name));
        assert_eq!(with(Some(OsStr::new(name))), refused);
        assert_eq!(Backend::from_name(name), None);
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"\xff\xfe");
        let shown = Error::UnknownBackend { name: "\u{fffd}\u{fffd}" };
        assert_eq!(with(Some(name)), format!("refused: {shown}"));
    }
}

#[test]
fn an_empty_value_is_none_and_letters_may_be_capital() {
    assert_eq!(with(Some(OsStr::new(""))), with(None));
    assert_eq!(Backend::from_name(""), None);
    assert_eq!(with(Some(OsStr::new("Scalar"))), "ran on scalar");
    assert_eq!(Backend::from_name("AVX2"), Some(Backend::Avx2));
}

#[test]
fn what_is_available_is_listed_fastest_first() {
    let order: Vec<usize> =
        Backend::available().map(|b| Backend::all().iter().position(|&a| a == b).unwrap()).collect();
    assert!(order.is_sorted() && order.len() >= 2, "portable and scalar run everywhere");
    assert!(Backend::Portable.is_available() && Backend::Scalar.is_available());
}
