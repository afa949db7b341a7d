#!/usr/bin/env bash
# Each target: its corpus, then a minute of fuzzing, two targets at a time. What is new is thrown away, but for an input
# that fails.
#
#   fuzz/minute.sh [SECONDS]
#
# Coverage feedback comes from the target and the generic code it instantiates. The library and the oracle are taken as
# they are built: with counters of their own they would be built once more, for minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
export seconds=${1:-60} built=${CARGO_TARGET_DIR:-target}/release
coverage=(-Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  coverage+=("-Cllvm-args=-sanitizer-coverage-$option")
done

fuzz() {
  local scratch kept=fuzz/artifacts/$1/ code=0
  scratch=$(mktemp -d)
  mkdir -p "$kept" "$scratch/new"
  "$built/$1" "$scratch/new" "fuzz/corpus/$1" -artifact_prefix="$kept" -max_total_time="$seconds" -timeout=120 \
    >"$scratch/log" 2>&1 || code=$?
  if [ $code -eq 0 ]; then
    echo "$1: $(grep '^Done' "$scratch/log")"
  else
    # Without the lines of progress. It ends with the name of the input's file.
    echo "$1 FAILED:"
    grep -v '^#' "$scratch/log" || true
  fi
  rm -r "$scratch"
  return $code
}
export -f fuzz

targets=$(basename -a fuzz/corpus/*/)
for target in $targets; do
  cargo rustc --release -p lossprep-fuzz --features libfuzzer --bin "$target" -- "${coverage[@]}"
done
xargs -P 2 -I TARGET bash -c 'fuzz TARGET' <<<"$targets"
