#!/usr/bin/env bash
# Makes every polynomial and table constant of src/math again and fails if the source has another.
#
#   check.sh            prints the certified bounds
#   check.sh --values   prints everything the scripts make
#
# NAME.sollya prints the constants of src/math/NAME.rs in the order in which they stand there; every number of that
# file that is written in hexadecimal has to be one of them. Needs Sollya 8, which is installed if it can be;
# exit code 3: it cannot.
set -euo pipefail
cd "$(dirname "$0")"
source ./need.sh
need sollya
failed=0
for source in ../../src/math/*.rs; do
  name=$(basename "$source" .rs)
  in_source=$(sed 's://.*::' "$source" | grep -oE '0x[0-9a-f_]{9,}' | tr -d _ || true)
  if [ ! -e "$name.sollya" ]; then
    # The one constant that no script makes: a power of two of src/math/sum.rs, and its mask.
    [ "$name" = sum ] || [ -z "$in_source" ] || { echo "src/math/$name.rs has constants without a script" >&2; failed=1; }
    continue
  fi
  lines=$(sollya "$name.sollya")
  if [ "${1:-}" = --values ]; then printf '%s\n' "$lines"; else grep '^bound' <<<"$lines" | sed "s:^bound:src/math/$name.rs:" | awk '{print $1": "$2" <= 2^"$4}'; fi
  made=$(awk '$1 == "value" {print $4}' <<<"$lines")
  if ! diff <(printf '%s\n' "$in_source") <(printf '%s\n' "$made") >&2; then
    echo "src/math/$name.rs (<) has not the constants that $name.sollya makes (>)" >&2
    failed=1
  fi
done
exit "$failed"
