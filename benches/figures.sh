#!/usr/bin/env bash
# Measures, and replaces the figures in benches/README.md. Wants a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out" "$out.page"' EXIT

block() {
  local title=$1
  shift
  printf '%s\n\n```text\n' "$title"
  "$@"
  printf '```\n\n'
}

{
  block "\`lossprep-verify bench\`:" cargo run --release -p lossprep-verify -- bench --seconds 240
  (
    cd benches/peers
    RAYON_NUM_THREADS=1 block "\`peers\`, built plainly:" cargo run --release --features candle
    RUSTFLAGS=-Ctarget-cpu=native block "\`peers\`, built for the native processor:" \
      cargo run --release --target-dir target/native
  )
} > "$out"
awk -v figures="$out" '
  /^<!-- figures: end -->$/ { inside = 0 }
  !inside { print }
  /^<!-- figures: begin -->$/ { inside = 1; while ((getline line < figures) > 0) print line }
' benches/README.md > "$out.page"
cp "$out.page" benches/README.md
