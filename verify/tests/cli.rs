//! The program as a user runs it: files in and out, and exit codes.

use lossprep::{Layout, NormGuard};
use lossprep_verify::npy::{self, Values};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lossprep-verify")).args(args).output().unwrap()
}

#[track_caller]
fn exit(args: &[&str], code: i32) -> String {
    let output = run(args);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
    fn bytes(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
    fn f32s(&self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.bytes(name, &npy::write(shape, "f4", values.iter().map(|v| v.to_bits().into())))
    }
    fn read(&self, name: &str) -> npy::Array {
        npy::parse(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

/// A file with a header of its own.
fn file(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(body);
    out
}

const X: [f32; 12] = [0.5, -1.0, 2.0, 3.5, 0.0, 0.25, -4.0, 1.0, 1.0, 7.0, -0.5, 0.125];

#[test]
fn data_writes_what_the_library_gives() {
    let folder = Folder::new("writes");
    let (x, out) = (folder.f32s("x.npy", &[2, 3, 2], &X), folder.path("out.npy"));
    let layout = Layout::from_shape(&[2, 3, 2], 1).unwrap();
    let text = exit(&["data", &x, "--op", "softmax", "--axis", "1", "--out", &out], 0);
    assert!(text.contains("judged 4 of 4 rows") && text.contains("holds"), "{text}");
    let mut y = [0.0; 12];
    lossprep::softmax(&X, layout, &mut y).unwrap();
    assert_eq!(folder.read("out.npy"), npy::Array { shape: vec![2, 3, 2], values: Values::F32(y.to_vec()) });

    let g = folder.f32s("g.npy", &[2, 3, 2], &X.map(|v| 1.0 - v));
    exit(&["data", &x, "--op", "softmax", "--axis=-2", "--upstream", &g, "--out", &out], 0);
    let mut grad = [0.0; 12];
    lossprep::softmax_vjp(&y, &X.map(|v| 1.0 - v), layout, &mut grad).unwrap();
    assert_eq!(folder.read("out.npy").values, Values::F32(grad.to_vec()));

    exit(&["data", &x, "--op", "logsumexp", "--axis", "1", "--tangent", &g, "--out", &out], 0);
    let mut reduced = [0.0; 4];
    lossprep::logsumexp_jvp(&X, &X.map(|v| 1.0 - v), layout, &mut reduced).unwrap();
    let want = npy::Array { shape: vec![2, 2], values: Values::F32(reduced.to_vec()) };
    assert_eq!(folder.read("out.npy"), want);

    let guard = ["--guard", "add-squared", "--eps", "0.5", "--backend", "scalar"];
    exit(&[&["data", &x, "--op", "l2_normalize", "--out", &out], &guard[..]].concat(), 0);
    lossprep::l2_normalize(&X, Layout::rows(6, 2).unwrap(), NormGuard::AddSquared(0.5), &mut y).unwrap();
    assert_eq!(folder.read("out.npy").values, Values::F32(y.to_vec()));

    exit(&["data", &x, "--op", "scaled_sigmoid", "--lo=-3", "--hi", "4.5", "--out", &out], 0);
    lossprep::scaled_sigmoid(&X, lossprep::Range::new(-3.0, 4.5).unwrap(), &mut y).unwrap();
    assert_eq!(folder.read("out.npy").values, Values::F32(y.to_vec()));
}

#[test]
fn data_takes_masks_and_lengths() {
    let folder = Folder::new("masks");
    let x = folder.f32s("x.npy", &[3, 4], &X);
    let mask =
        folder.bytes("mask.npy", &file("|b1", "False", "(3, 4)", &[1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0]));
    let text = exit(&["data", &x, "--op", "softmax", "--mask", &mask, "--temperature", "0.5"], 0);
    assert!(text.contains("worth a look: 1 fully masked (rows 1)"), "{text}");
    let lengths = folder.bytes("lengths.npy", &file("|u1", "False", "(3,)", &[4, 0, 2]));
    let out = folder.path("out.npy");
    exit(&["data", &x, "--op", "softmax", "--lengths", &lengths, "--out", &out], 0);
    let Values::F32(y) = folder.read("out.npy").values else { panic!("f32 in, f32 out") };
    assert_eq!([&y[4..8], &y[10..12]].concat(), [0.0; 6]);
    let long = folder.bytes("long.npy", &file("|u1", "False", "(3,)", &[4, 0, 5]));
    assert!(exit(&["data", &x, "--op", "softmax", "--lengths", &long], 2).contains("row 2"));
}

#[test]
fn data_reads_every_order() {
    let folder = Folder::new("orders");
    let c: Vec<f64> = X.iter().map(|&v| v.into()).collect();
    let columns: Vec<f64> = (0..12).map(|i| c[i % 3 * 4 + i / 3]).collect();
    let little = |v: &[f64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let big = |v: &[f64]| v.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>();
    let files = [
        folder.bytes("c.npy", &file("<f8", "False", "(3, 4)", &little(&c))),
        folder.bytes("f.npy", &file("<f8", "True", "(3, 4)", &little(&columns))),
        folder.bytes("bc.npy", &file(">f8", "False", "(3, 4)", &big(&c))),
        folder.bytes("bf.npy", &file(">f8", "True", "(3, 4)", &big(&columns))),
    ];
    let out = folder.path("out.npy");
    let results = files.map(|path| {
        exit(&["data", &path, "--op", "log_softmax", "--axis", "0", "--out", &out], 0);
        folder.read("out.npy")
    });
    assert!(results.iter().all(|r| *r == results[0] && r.shape == [3, 4]));
}

#[test]
fn data_judges_another_result_beside_ours() {
    let folder = Folder::new("against");
    let x = folder.f32s("x.npy", &[3, 4], &X);
    let mut y = [0.0; 12];
    lossprep::softmax(&X, Layout::rows(3, 4).unwrap(), &mut y).unwrap();
    let right = folder.f32s("right.npy", &[3, 4], &y);
    let text = exit(&["data", &x, "--op", "softmax", "--against", &right], 0);
    assert!(text.lines().any(|l| l.starts_with("theirs") && l.contains("holds")), "{text}");
    y[5] = f32::from_bits(y[5].to_bits() + 3);
    let wrong = folder.f32s("wrong.npy", &[3, 4], &y);
    // Ours holds, and that is what the exit code says.
    let text = exit(&["data", &x, "--op", "softmax", "--against", &wrong], 0);
    assert!(text.contains("BROKEN, 1 beyond the claim; worst at row 1, element 1"), "{text}");
    (y[0], y[1], y[9]) = (f32::NAN, f32::INFINITY, -0.0);
    let wrong = folder.f32s("special.npy", &[3, 4], &y);
    let text = exit(&["data", &x, "--op", "softmax", "--against", &wrong], 0);
    let want = "BROKEN, 2 beyond the claim, 2 wrong special values; worst at row 0, element 0: NaN for ";
    assert!(text.contains(want) && !text.contains("inf%"), "{text}");
}

#[test]
fn nan_or_infinity_among_the_kept_decides_the_whole_row() {
    let folder = Folder::new("lost");
    let mask = folder.bytes("mask.npy", &file("|b1", "False", "(1, 7)", &[1, 1, 1, 0, 0, 0, 0]));
    let lengths = folder.bytes("lengths.npy", &file("|u1", "False", "(1,)", &[3]));
    let g = folder.f32s("g.npy", &[1, 7], &[1.0; 7]);
    let out = folder.path("out.npy");
    for special in [f32::NAN, f32::INFINITY] {
        let mut x = [1.0; 7];
        x[0] = special;
        let x = folder.f32s("x.npy", &[1, 7], &x);
        for op in ["softmax", "log_softmax", "logsumexp"] {
            for part in [["--mask", &mask], ["--lengths", &lengths]] {
                for backend in lossprep::Backend::available() {
                    let args = ["data", &x, "--op", op, "--out", &out, "--backend", backend.name()];
                    exit(&[&args[..], &part].concat(), 0);
                    let Values::F32(y) = folder.read("out.npy").values else { panic!("f32 in, f32 out") };
                    let lost = op == "logsumexp" && special == f32::INFINITY;
                    assert!(y.iter().all(|v| if lost { *v == special } else { v.is_nan() }), "{op} {y:?}");
                }
                if op != "logsumexp" {
                    // What takes no part gets no gradient all the same.
                    exit(
                        &[&["data", &x, "--op", op, "--upstream", &g, "--out", &out], &part[..]].concat(),
                        0,
                    );
                    let Values::F32(y) = folder.read("out.npy").values else { panic!("f32 in, f32 out") };
                    assert!(y[0].is_nan() && y[3..].iter().all(|v| v.to_bits() == 0), "{op} {y:?}");
                }
            }
        }
    }
}

#[test]
fn data_samples_a_large_array() {
    let folder = Folder::new("sampled");
    let values: Vec<f32> = (0..1_200_000).map(|i| (i * 37 % 1013) as f32 * 0.01).collect();
    let x = folder.f32s("x.npy", &[1_200_000], &values);
    let text = exit(&["data", &x, "--op", "scaled_sigmoid", "--seed", "4"], 0);
    assert!(text.contains("judged 1,000,000 of 1,200,000 rows, chosen by seed 4"), "{text}");
}

#[test]
fn rows_worth_a_look_are_listed() {
    let folder = Folder::new("look");
    let mut values = X;
    (values[1], values[4], values[11]) = (f32::NAN, f32::INFINITY, 1e4);
    let x = folder.f32s("x.npy", &[3, 4], &values);
    let text = exit(&["data", &x, "--op", "softmax"], 0);
    for what in [
        "1 with NaN in the input (rows 0)",
        "1 with an infinity in the input (rows 1)",
        "2 with NaN in the result (rows 0, 1)",
        "1 saturated (rows 2)",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    let zeros = folder.f32s("zeros.npy", &[2, 2], &[0.0, 0.0, 1.0, 0.0]);
    assert!(exit(&["data", &zeros, "--op", "l2_normalize"], 0).contains("1 of zero norm (rows 0)"));
    let far = folder.f32s("far.npy", &[2], &[200.0, 0.0]);
    assert!(exit(&["data", &far, "--op", "scaled_sigmoid"], 0).contains("1 saturated (rows 0)"));
}

#[test]
fn faulty_files_and_usage_exit_with_2() {
    let folder = Folder::new("faults");
    let x = folder.f32s("x.npy", &[3, 4], &X);
    let whole = std::fs::read(&x).unwrap();
    for (name, bytes, word) in [
        ("text", b"hello".to_vec(), "NUMPY"),
        ("empty", Vec::new(), "NUMPY"),
        ("head", whole[..40].to_vec(), "header"),
        ("cut", whole[..whole.len() - 1].to_vec(), "47 bytes of data where [3, 4] of `<f4` needs 48"),
        ("complex", file("<c8", "False", "(1,)", &[0; 8]), "supported"),
        ("integers", file("<i4", "False", "(1,)", &[0; 4]), "not f32 or f64"),
    ] {
        let path = folder.bytes(name, &bytes);
        let text = exit(&["data", &path, "--op", "softmax"], 2);
        assert!(text.starts_with("error: ") && text.contains(word) && text.contains(name), "{text}");
    }
    exit(&["data", &folder.path("absent.npy"), "--op", "softmax"], 2);
    let other = folder.f32s("other.npy", &[12], &X);
    for (args, word) in [
        (&["--op", "nothing"][..], "no such operation"),
        (&["--op", "softmax", "--axis", "2"], "axis 2"),
        (&["--op", "softmax", "--temperature", "0"], "temperature"),
        (&["--op", "softmax", "--lo", "0"], "softmax takes no --lo"),
        (&["--op", "l2_norm", "--eps", "1"], "l2_norm takes no --eps"),
        (&["--op", "scaled_sigmoid", "--axis", "0"], "takes no --axis"),
        (&["--op", "scaled_sigmoid", "--lo", "2"], "range"),
        (&["--op", "l2_normalize", "--eps", "-1"], "eps"),
        (&["--op", "l2_normalize", "--mask", &other], "l2_normalize takes no --mask"),
        (&["--op", "softmax", "--upstream", &other], "shape [12]"),
        (&["--op", "softmax", "--against", &other], "shape [12]"),
        (&["--op", "softmax", "--backend", "nope"], "no such backend"),
        (&["--op", "softmax", "--upstream", &other, "--tangent", &other], "cannot be used"),
    ] {
        let text = exit(&[&["data", &x][..], args].concat(), 2);
        assert!(text.contains(word), "{word}: {text}");
    }
    for args in [&["--op", "nothing"][..], &["--backend", "nope"], &["--type", "f16"], &["--quick", "--full"]]
    {
        exit(args, 2);
    }
    for name in ["nonsense", "softmax:f16:quick:1:1:0:0", "softmax:f32:quick:1:99999999:0:0"] {
        exit(&["replay", name], 2);
    }
}

#[test]
fn a_small_report_holds_and_its_worst_input_replays() {
    let folder = Folder::new("report");
    let json = folder.path("report.json");
    let args = [
        "--quick",
        "--op",
        "l2_norm",
        "--type",
        "f64",
        "--backend",
        "scalar",
        "--seed",
        "9",
        "--json",
        &json,
    ];
    let text = exit(&args, 0);
    assert!(text.contains("every claim holds") && text.contains("backends: scalar"), "{text}");
    let json = std::fs::read_to_string(json).unwrap();
    assert!(json.starts_with("{\"schema\": 3, ") && json.contains("\"seed\": \"9\""), "{json}");
    let replay = json.split("\"replay\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let got = json.split("\"got\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let again = exit(&["replay", replay], 0);
    assert!(again.contains(got) && again.contains(" of the claim"), "{again}");
    assert_eq!(exit(&["replay", &format!("[{replay}]")], 0), again);
}

#[test]
fn a_report_of_a_loss_has_no_empty_sections() {
    let text = exit(&["--quick", "--op", "nll", "--type", "f32", "--backend", "scalar"], 0);
    assert!(text.contains("losses") && !text.contains("operation ") && !text.contains("worst"), "{text}");
    assert!(!text.contains("special values"), "{text}");
}

#[test]
fn what_cannot_be_written_is_refused_first() {
    let folder = Folder::new("unwritable");
    let x = folder.f32s("x.npy", &[3, 4], &X);
    // Nothing is run: it would take longer than any test.
    for args in [
        &["--full", "--json"][..],
        &["data", &x, "--op", "softmax", "--out"],
        &["bench", "--seconds", "9999", "--json"],
        &["bench", "--seconds", "9999", "--html"],
    ] {
        for path in [folder.path("no/such"), folder.path(".")] {
            let text = exit(&[args, &[&path]].concat(), 2);
            assert!(text.starts_with(&format!("error: {path}: ")), "{args:?} {text}");
        }
    }
    // A run that is refused leaves the file as it was.
    let kept = folder.bytes("kept", b"kept");
    exit(&["--op", "nothing", "--json", &kept], 2);
    assert_eq!(std::fs::read(&kept).unwrap(), b"kept");
    assert!(!Path::new(&folder.path("no")).exists());
}

#[test]
fn readers_may_leave() {
    use std::process::Stdio;
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let nothing = ["replay", "nonsense"];
    let report = ["--quick", "--op", "nll", "--type", "f32", "--backend", "scalar"];
    for (args, out, err) in [(&report[..], gone(), Stdio::piped()), (&nothing, Stdio::piped(), gone())] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lossprep-verify"));
        let output = command.args(args).stdout(out).stderr(err).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{args:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn help_names_no_path_of_this_machine() {
    let text = exit(&["certificate", "--help"], 0);
    assert!(text.contains("certificate.json") && !text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
}

#[test]
fn a_benchmark_says_where_it_is_and_what_it_cannot_compare() {
    let folder = Folder::new("bench");
    let json = folder.path("old.json");
    let row = ["--op", "logsumexp", "--shape", "1x8", "--type", "f32", "--seconds", "0.05"];
    let output = run(&[&["bench", "--json", &json, "--backend", "portable,scalar"], &row[..]].concat());
    let (text, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("portable") && text.contains("scalar"), "{text}");
    assert!(progress.starts_with("  0% after 0 s: f32 logsumexp 1x8\n"), "{progress}");
    let other = ["bench", "--op", "l2_norm", "--seconds", "9999", "--compare", &json];
    assert!(exit(&other, 2).contains("nothing to compare"));
}
