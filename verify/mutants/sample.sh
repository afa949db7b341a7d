#!/usr/bin/env bash
# Tests of the tests: a random sample of the mutants that cargo-mutants makes of src/kernels and src/math.
#
#   sample.sh [COUNT [SEED [FOLDER]]]   COUNT mutants (default 100) of all files in proportion, drawn by SEED
#                                       (default 1); FOLDER (default target/mutants-sample) gets copy and results
#
# Needs `cargo install --locked cargo-mutants` and a machine with AVX-512. Mutants that FOLDER has an outcome of are not
# run again, so that a run goes on where it was stopped, and a larger COUNT adds to a smaller one. At the end the
# counts, and the survivors, which sample.md explains.
#
# The library takes minutes to build, since every backend is inlined into every operation. The copy has two backends,
# AVX-512 and scalar, for a processor with AVX-512, so that nothing need be inlined, and is built in increments: seconds.
# Overflow checks and debug assertions are on, as in a dev build. A mutant is tried by the tests of the kernels that it is
# part of, and one that survives again with AVX2 too, which has loops of its own, by those of all operations and by the
# report, lossprep-verify --quick. The digests and the certificate take no part: any changed bit trips those. Nor do the
# unit tests, which are of what the mutants do not touch.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
count=${1:-100} seed=${2:-1} folder=${3:-target/mutants-sample}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
copy=$folder/copy
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
cd "$copy"

perl -Iverify/mutants -MOnce -0777 -i -pe 'once qr/lone\(Portable, /, "lone(s, "' src/rows.rs
# What is only for the feature rayon, which is off, would be mutated all the same, and goes: up to a line that ends with a
# semicolon, or to the brace that closes what a line has opened. The lines stay, so that those of the mutants are those of
# the source.
perl -0777 -i -pe '
  my ($indent, $open, @kept);
  for (split /^/) {
    if (!defined $indent && /^( *)#\[cfg\(feature = "rayon"\)\]$/) {
      ($indent, $open) = ($1, 0);
      for (my $i = $#kept; $i >= 0 && $kept[$i] =~ m{^ *///}; $i--) {$kept[$i] = "\n"}
    }
    push @kept, defined $indent ? "\n" : $_;
    next unless defined $indent;
    my $ends = $open ? /^$indent}$/ : /;$/;
    $open ||= /{$/;
    undef $indent if $ends;
  }
  $_ = join "", @kept' src/{kernels,math}/*.rs
# cargo-mutants follows modules that are written out, not those that a macro makes.
perl -Iverify/mutants -MOnce -0777 -i -pe '
  once qr/^\s*\$\(pub\(crate\) mod \$family;\)\*\n/m, "";
  $_ .= join "", map "pub(crate) mod $_;\n", /^    (\w+): \w+, \[/mg' src/kernels.rs
perl -i -pe 's/#\[inline\(always\)\] ?//' src/rows.rs src/tile.rs src/{kernels,losses,math}/*.rs
# The first failure ends the tests.
cat >>src/lib.rs <<'RUST'

fn exit_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{panic}\n"));
            std::process::exit(101);
        }));
    });
}
RUST

cat >>Cargo.toml <<'TOML'

[profile.release.package."*"]
opt-level = 2
overflow-checks = false
debug-assertions = false

[profile.release.package.lossprep-verify]
opt-level = 2
TOML
cat >verify/tests/report.rs <<'RUST'
#[test]
fn holds() {
    let mut report = std::process::Command::new(env!("CARGO_BIN_EXE_lossprep-verify"));
    assert!(report.arg("--quick").status().unwrap().success());
}
RUST

# The first of each file in the order of a hash with the seed, as many as its share.
cargo mutants --list -f 'src/kernels/*.rs' -f 'src/math/*.rs' >"$folder/all.txt"
SEED=$seed perl -MDigest::SHA=sha256_hex -ne 'print sha256_hex("$ENV{SEED} $_"), " $_"' "$folder/all.txt" |
  sort | cut -d' ' -f2- |
  awk -F: -v count="$count" '
    NR == FNR {all[$1]++; n++; next}
    drawn[$1] < all[$1] * count / n {drawn[$1]++; print}' "$folder/all.txt" - |
  sort -u >"$folder/sample.txt"

# ROUND OUTCOME...: the mutants of the sample with that outcome in that round, or in any (\*).
outcomes() {
  local round=$1 o
  shift
  for o in "$@"; do cat "$folder"/$round.????/mutants.out/"$o".txt 2>/dev/null || true; done |
    { grep -xFf "$folder/sample.txt" || true; } | sort -u
}

# TESTS FILE...: tries what "$folder/todo.txt" has of these files.
group() {
  local tests chosen
  read -ra tests <<<"$1"
  shift
  printf '%s:\n' "$@" | grep -Ff - "$folder/todo.txt" >"$folder/group.txt" || return 0
  mapfile -t chosen < <(sed -E 's/[]^$.*+?(){}|\\[]/\\&/g; s/.*/--re=^&$/' "$folder/group.txt")
  # A name does not choose among mutants that leave out a field: so of these lines alone.
  cut -d: -f1,2 "$folder/group.txt" | sort -t: -k1,1 -k2,2n -u | perl -F: -ane '
    ($file, $n) = @F;
    if ($file ne $last) {
      open $in, "<", $last = $file;
      @lines = <$in>;
      print "--- a/$file\n+++ b/$file\n";
    }
    printf "@@ -%d,0 +%d,1 @@\n+%s", $n - 1, $n, $lines[$n - 1]' >"$folder/group.diff"
  # 2: survivors, 3: timeouts.
  cargo mutants --in-place --shuffle --baseline=skip --profile release --timeout 600 --build-timeout 900 \
    --test-package "$packages" --output "$(mktemp -d "$folder/$round.XXXX")" --in-diff "$folder/group.diff" \
    "${chosen[@]}" "${tests[@]/#/--cargo-arg=--test=}" || [[ $? = [23] ]]
}

# ROUND: what was not caught goes through that round.
round() {
  local round=$1 packages=lossprep tests dispatch=''
  { outcomes '*' caught unviable timeout && outcomes "$round" missed; } |
    grep -vxFf - "$folder/sample.txt" >"$folder/todo.txt" || return 0
  [ "$round" != quick ] || dispatch='once qr/crate::simd::x86::Avx2::try_new\(\)\.is_some\(\)/, "false";
    once qr/if let Some\(s\) = crate::simd::x86::Avx2::try_new\(\) \{\s*return Simd::vectorize\(s, op\);\s*\}/, "";'
  perl -Iverify/mutants -MOnce -0777 -pe "$dispatch"'
    once qr/Self::Portable \| Self::Scalar => true/, "Self::Scalar => true";
    once qr/Backend::Portable => return crate::simd::Portable\.vectorize\(op\),/, "";
    once qr/pub fn try_get\(self\)[^\n]*\n\K/, "        crate::exit_on_panic();\n"' "$root/src/dispatch.rs" >src/dispatch.rs
  export CARGO_TARGET_DIR=$folder/target RUSTFLAGS="-A warnings -C target-cpu=x86-64-v4"
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 CARGO_PROFILE_RELEASE_INCREMENTAL=true
  export CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
  # Unmutated, all must pass.
  if [ "$round" = thorough ]; then
    packages=lossprep,lossprep-verify
    tests=(alignment diagnose l2 losses report robustness sigmoid softmax)
    cargo test --release -p lossprep -p lossprep-verify "${tests[@]/#/--test=}"
    group "${tests[*]}" src/{kernels,math}/*.rs
  else
    tests=(l2 losses sigmoid softmax)
    cargo test --release "${tests[@]/#/--test=}"
    group "losses softmax" src/kernels/softmax.rs src/math/{dot,log,sum}.rs
    group sigmoid src/kernels/sigmoid.rs src/math/{expm,log_ratio,sigma}.rs
    group "${tests[*]}" src/math/{exp,word}.rs
    group l2 src/kernels/l2.rs
  fi
}
round quick
round thorough

outcomes '*' caught unviable timeout | grep -vxFf - "$folder/sample.txt" >"$folder/missed.txt" || true
for outcome in caught timeout unviable; do
  for round in quick thorough; do echo "$outcome, $round: $(outcomes $round $outcome | wc -l)"; done
done
echo "missed: $(wc -l <"$folder/missed.txt")"
cat "$folder/missed.txt"
