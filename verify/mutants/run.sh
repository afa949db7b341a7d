#!/usr/bin/env bash
# Applies each mutation of mutants.txt to a copy and records which check finds it: result.md.
#
#   run.sh [FOLDER [NUMBER...]]   FOLDER (default target/mutants) gets the copy and its build
#
# With numbers only those mutations run, and of the others the lines of result.md stay.
# All mutations of code go into one build, each behind a switch that the environment variable MUTANT sets, so that the
# library is compiled once; those of constants are put to ../coefficients/check.sh. A mutation whose text is not found
# exactly once is STALE: the others run, but the exit code is 1. The digests and the certificate take no part: any
# changed bit trips those.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
mkdir -p "${1:-target/mutants}"
folder=$(cd "${1:-target/mutants}" && pwd)
only=" ${*:2} "
copy=$folder/copy
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"

# A mutation: number, kind, operations, why, file, from, to; fields end with \x1f, mutations with \x1e.
entries() {
  awk 'function out() {if (n) printf "%s\037%s\037%s\037%s\037%s\037%s\037%s\036", n, kind, ops, why, file, from, to}
    /^== / {out(); n = $2; kind = $3; ops = $4; from = to = ""; part = ""; next}
    /^#/ && !n {next}
    /^-- why /  {why = substr($0, 8); next}
    /^-- file / {file = $3; next}
    /^-- from$/ {part = "from"; next}
    /^-- to$/   {part = "to"; next}
    /^$/ {next}
    part == "from" {from = from (from == "" ? "" : "\n") $0}
    part == "to"   {to = to (to == "" ? "" : "\n") $0}
    END {out()}' "$root/verify/mutants/mutants.txt"
}

# Replaces $2 in file $1 by $3; fails unless it is there exactly once.
replace() {
  FROM=$2 TO=$3 perl -0777 -i -pe '
    BEGIN {$from = $ENV{FROM}; $to = $ENV{TO}}
    $n = () = /\Q$from\E/g;
    s/\Q$from\E/$to/ if $n == 1;
    END {$? = 1 if $n != 1}' "$1"
}

stale=() names=()
declare -A kind ops why found
while IFS=$'\x1f' read -r -d $'\x1e' n k o w file from to; do
  names+=("$n") kind[$n]=$k ops[$n]=$o why[$n]=$w
  [[ $only = "  " || $only = *" $n "* ]] || { kind[$n]=kept; continue; }
  if [ "$k" = coefficient ]; then
    cp "$copy/$file" "$folder/kept"
    if ! replace "$copy/$file" "$from" "$to"; then
      stale+=("$n")
    elif ! "$copy/verify/coefficients/check.sh" >"$folder/$n.log" 2>&1; then
      found[$n]="coefficients/check.sh: $(grep -m1 "has not" "$folder/$n.log" || true)"
    fi
    cp "$folder/kept" "$copy/$file"
  else
    replace "$copy/$file" "$from" "${to//@/crate::mutant($n)}" || stale+=("$n")
  fi
done < <(entries)
for n in "${stale[@]+"${stale[@]}"}"; do kind[$n]=stale; done

# The switch, read once. One vector backend and the scalar one are enough, and quicker to compile.
cat >>"$copy/src/lib.rs" <<'RUST'

static MUTANT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(u32::MAX);

#[inline(always)]
fn mutant(n: u32) -> bool {
    MUTANT.load(core::sync::atomic::Ordering::Relaxed) == n || unset(n)
}

#[inline(always)]
fn unset(n: u32) -> bool {
    MUTANT.load(core::sync::atomic::Ordering::Relaxed) == u32::MAX && read() == n
}

#[cold]
#[inline(never)]
fn read() -> u32 {
    let n = std::env::var("MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    MUTANT.store(n, core::sync::atomic::Ordering::Relaxed);
    n
}
RUST
perl -Iverify/mutants -MOnce -0777 -i -pe '
  once qr/crate::simd::x86::Avx512::try_new\(\)\.is_some\(\)/, "false";
  once qr/Self::Portable \| Self::Scalar => true/, "Self::Scalar => true";
  once qr/if let Some\(s\) = crate::simd::x86::Avx512::try_new\(\) \{\s*return Simd::vectorize\(s, op\);\s*\}/, "";
  once qr/Backend::Portable => return crate::simd::Portable\.vectorize\(op\),/, ""' "$copy/src/dispatch.rs"
cd "$copy"
export CARGO_TARGET_DIR=$folder/target
# What is mutated may leave something unused.
RUSTFLAGS="-A warnings" cargo build --release -p lossprep-verify
verify=$folder/target/release/lossprep-verify
MUTANT=0 "$verify" --quick >"$folder/0.log" 2>&1 || { echo "without a mutation the report is not clean:" >&2; tail -n 30 "$folder/0.log" >&2; exit 1; }

for n in "${names[@]}"; do
  case ${kind[$n]} in coefficient | stale | kept) continue ;; esac
  # The report, then what a user runs next: ten times as many inputs.
  for level in --quick ""; do
    # A panic is a find too; so is a run without end.
    if ! MUTANT=$n timeout 900 "$verify" $level --op "${ops[$n]}" >"$folder/$n.log" 2>&1; then
      line=$(grep -v 'verdict$' "$folder/$n.log" | grep -m1 -iE 'broken|differ|fail|panicked|wrong' | sed 's/^ *//; s/  */ /g; s/|/\\|/g' | cut -c1-110 || true)
      found[$n]="report ${level:-by default}: ${line:-exit code}"
      break
    fi
  done
  echo "$n: ${found[$n]:-SURVIVED}"
done

result=$root/verify/mutants/result.md
[ -f "$result" ] && mv "$result" "$folder/before.md" || : >"$folder/before.md"
{
  echo "# Mutations and what found them"
  echo
  echo "Written by \`run.sh\`. The report is \`lossprep-verify\`, on AVX2 and scalar alone; the seconds are those until then."
  echo
  echo "| | kind | what goes wrong | found by |"
  echo "|---|---|---|---|"
  for n in "${names[@]}"; do
    case ${kind[$n]} in
      kept) grep "^| $n |" "$folder/before.md" || echo "| $n | | ${why[$n]} | **not run** |" ;;
      stale) echo "| $n | | ${why[$n]} | **not run**: the code is no longer there |" ;;
      *) echo "| $n | ${kind[$n]} | ${why[$n]} | ${found[$n]:-**survived**} |" ;;
    esac
  done
} >"$result"
missed=$(grep -cE '\*\*(survived|not run)' "$result" || true)
echo "$((${#names[@]} - missed)) of ${#names[@]} found"
[ "$missed" -eq 0 ]
