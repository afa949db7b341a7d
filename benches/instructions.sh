#!/usr/bin/env bash
# Counts the instructions of every operation under valgrind and compares them with the baseline of this
# compiler and target: a rise over 2% fails. `--accept` writes the counts as the new baseline.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.16.1

case "${*:-}" in
  "") accept= ;;
  --accept) accept=1 ;;
  *) echo "usage: benches/instructions.sh [--accept]" >&2; exit 2 ;;
esac

if ! command -v valgrind > /dev/null; then
  command -v apt-get > /dev/null || { echo "valgrind is missing, and so is apt-get to install it" >&2; exit 1; }
  root=; [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get install -y valgrind > /dev/null 2>&1 \
    || { $root apt-get update && $root apt-get install -y valgrind; } > /dev/null
fi
if ! cargo install --list | grep -q "^iai-callgrind-runner v$version:"; then
  cargo install --locked iai-callgrind-runner --version "$version"
fi

release=$(rustc -vV | sed -n 's/^release: //p')
host=$(rustc -vV | sed -n 's/^host: //p')
baseline=benches/baselines/$release-$host.txt
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

IAI_CALLGRIND_HOME=$out/runs cargo bench -p lossprep-benches --features instructions --bench instructions > "$out/log" 2>&1 \
  || { cat "$out/log" >&2; exit 1; }
# One file a run, its name callgrind.OPERATION.INPUT.out; its line `summary: N` holds the count.
find "$out/runs" -name 'callgrind.*.out' | while read -r file; do
  name=${file##*/callgrind.}
  echo "${name%.out} $(sed -n 's/^summary: \([0-9]*\).*/\1/p' "$file")"
done | LC_ALL=C sort > "$out/counts"
# Fewer columns mean that the tool's files have changed.
awk 'NF != 2 { bad = 1 } END { exit bad || NR == 0 }' "$out/counts" \
  || { echo "no counts in what iai-callgrind wrote" >&2; exit 1; }

if [ "$accept" ]; then
  cp "$out/counts" "$baseline"
  echo "$(wc -l < "$baseline") counts accepted as $baseline"
  exit
fi
if [ ! -e "$baseline" ]; then
  printf '%s\n' "NO BASELINE for rustc $release on $host: $(wc -l < "$out/counts") counts taken, NOTHING COMPARED." \
    "Accept them with benches/instructions.sh --accept, on a commit known to be good."
  exit
fi
awk '
  NR == FNR { old[$1] = $2; next }
  !($1 in old) { printf "NEW     %-45s %d\n", $1, $2; bad = 1; next }
  {
    change = 100 * ($2 / old[$1] - 1); seen[$1] = 1; n++
    if (change > 2) { printf "MORE    %-45s %d, was %d: %+.1f%%\n", $1, $2, old[$1], change; bad = 1 }
    if (change < -2) { printf "fewer   %-45s %d, was %d: %+.1f%%\n", $1, $2, old[$1], change; better++ }
  }
  END {
    for (name in old) if (!(name in seen)) { printf "GONE    %s\n", name; bad = 1 }
    printf "%d instruction counts compared, %d fell by more than 2%%\n", n, better
    if (bad) print "accept what is meant with benches/instructions.sh --accept"
    exit bad
  }' "$baseline" "$out/counts"
