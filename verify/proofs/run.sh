#!/usr/bin/env bash
# Runs all proofs and prints each bound: two minutes. Needs Gappa and Sollya, which are installed if they can be; exit
# code 3: they cannot.
#
#   run.sh [FILE]   FILE gets a line for each bound, its name and logarithm
#
# A *.gappa file is a template: @NAME@ stands for a constant that ../coefficients makes, after that has been compared
# with the source, or for what is set below. Its lines "#= FILE: CODE" are the operations it models; CODE has to
# stand in FILE. What Gappa answers is read, rounded up to 0.01 in the logarithm, and compared with the claim.
set -euo pipefail
cd "$(dirname "$0")"
source ../coefficients/need.sh
need gappa sollya
made=$(../coefficients/check.sh --values)
declare -A value
while read -r kind name a b; do
  case $kind in
    value | made | bound) value[$name]=$a ;;
    about) value[$name.low]=$a value[$name.high]=$b ;;
  esac
done <<<"$made"
# Exit codes are lost in $(…) and after &, so what fails is written down, and any of it fails the run.
failures=$(mktemp)
trap 'code=$?
  if [ -s "$failures" ]; then
    { echo "FAILED:"; sort -u "$failures"; } >&2
    code=1
  fi
  rm "$failures"
  exit "$code"' EXIT
fail() { tee -a "$failures" <<<"$*" >&2; }

# The code that a template models.
anchors() {
  local file code
  while IFS= read -r line; do
    file=${line%%: *} code=${line#*: }
    grep -qF -- "$code" "../../$file" || fail "$1: not in $file: $code"
  done < <(sed -n 's/^#= //p' "$1")
}

# The template $1 with the settings NAME=VALUE that follow, then with the constants.
fill() {
  local text name
  text=$(grep -v '^#' "$1")
  shift
  for setting in "$@"; do text=${text//@${setting%%=*}@/${setting#*=}}; done
  while [[ $text =~ @([A-Za-z0-9_.]+)@ ]]; do
    name=${BASH_REMATCH[1]}
    [ -n "${value[$name]:-}" ] || { fail "no constant $name"; return 1; }
    text=${text//@$name@/${value[$name]}}
  done
  printf '%s\n' "$text"
}

# Proves it and prints a line "EXPRESSION MAXIMUM" for each question.
prove() {
  local filled answer setting shown=()
  if ! filled=$(fill "$@") ||
    ! answer=$(gappa -Eprecision=120 -Wno-hint-difference -Wno-null-denominator <<<"$filled" 2>&1); then
    echo "${answer:-}" >&2
    for setting in "$@"; do [[ $setting = *$'\n'* ]] || shown+=("$setting"); done
    fail "not proved: ${shown[*]}"
    return 1
  fi
  # An end is m or m b e, followed by an approximation in braces.
  awk '/ in \[/ {
      e = $0; sub(/^ */, "", e); sub(/ in \[.*/, "", e); gsub(/ /, "", e)
      s = $0; sub(/.* in \[/, "", s); gsub(/\{[^}]*\}/, "", s); gsub(/[\], ]+/, " ", s)
      n = split(s, ends, " "); m = 0
      for (i = 1; i <= n; i++) {
        split(ends[i], p, "b"); v = p[1] * 2^p[2]; if (v < 0) v = -v; if (v > m) m = v
      }
      printf "%s %.17e\n", e, m
    }' <<<"$answer"
}

# The largest that several proofs answer to question $1; no answer is no bound.
largest() {
  awk -v q="$1" '$1 == q {n++; if ($2 > m) m = $2} END {printf "%.17e\n", m; exit !n}' || fail "no answer: $1"
}
larger() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.17e\n", (a > b ? a : b)}'; }
# A little more than $1·(1 + $1), which is more than exp(±$1) − 1.
growth() { awk -v d="$1" 'BEGIN {printf "%.8e\n", d * (1 + d) * 1.000001}'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a <= b)}'; }

# Horner's rule as the source has it, @r@ the variable: rounded in h, exact in H.
horner() {
  local n=$2 i
  echo "h$((n - 1)) = @$1.c_$((n - 1))@; H$((n - 1)) = @$1.c_$((n - 1))@;"
  for ((i = n - 2; i >= 0; i--)); do
    echo "h$i = rnd(h$((i + 1)) * $3 + @$1.c_$i@); H$i = H$((i + 1)) * $3 + @$1.c_$i@;"
  done
}

exact() { horner "$@" | sed 's/h[0-9]* = [^;]*;//; s/H/G/g'; }

# Runs a command for each entry of the table, two at a time.
each_entry() {
  "$@" 0 & "$@" 1 & wait; "$@" 2 & "$@" 3 & wait; "$@" 4 & "$@" 5 & wait; "$@" 6 & "$@" 7 & wait
}

# within A B: a range that a later proof takes for granted.
within() { at_most "$1" "$(awk -v b="$2" 'BEGIN {split(b, p, "b"); printf "%.17e\n", p[1] * 2^p[2]}')" || fail "a range is exceeded: $1, $2"; }

# report NAME MAXIMUM CLAIM FILE: the bound of NAME is MAXIMUM, and FILE claims 2^−CLAIM.
results=${1:-/dev/null}
: >"$results"
report() {
  local log
  log=$(awk -v m="$2" 'BEGIN {l = log(m) / log(2) * 100; printf "%.2f", (l == int(l) ? l : l < 0 ? int(l) : int(l) + 1) / 100}')
  printf '%-32s 2^%s  (claimed: 2^-%s, %s)\n' "$1" "$log" "$3" "$4"
  echo "$1 $log" >>"$results"
  at_most "$log" "-$3" || fail "$1: the claim is smaller than the bound"
  grep -q -- "2^−$3" "../../$4" || fail "$4 does not say 2^−$3"
}

declare -A format=([32]=ieee_32 [64]=ieee_64) magic=([32]=1572864 [64]=844424930131968)

# ---- exp(x) = 2^b·(T + T·q), |x| ≤ 2^12 ---------------------------------------------------------------------------
for t in exp_reduction exp_near exp_lane exp_wide; do anchors $t.gappa; done
exp_reduction() {
  local range
  for range in "-4096 -0.043" "0.043 4096"; do
    prove exp_reduction.gappa "from=${range% *}" "to=${range#* }" "r_j=@exp$p.r_$1@" "c_j.low=@c${p}_$1.low@" \
      "c_j.high=@c${p}_$1.high@" "rest=rnd(REST)" "${common[@]}"
  done
}
relative_reduction() {
  local range
  for range in "-4096 -0.043" "0.043 4096"; do
    prove exp_reduction.gappa "from=${range% *}" "to=${range#* }" r_j=0 c_j.low=0 c_j.high=0 rest=REST "${common[@]}"
  done
}
# exp_lane T J: the table that the entry J is of.
exp_lane() {
  prove exp_lane.gappa "format=${format[$p]}" "horner=$(horner exp$p $n r)" "rmax=@exp$p.rmax@" "poly=@exp$p.poly@" \
    "delta=$(growth "$delta")" "t_j=@exp$p.$1_$2@"
}
exp_wide() {
  prove exp_wide.gappa "horner=$(horner wide 7 r)" "rmax=@wide.rmax@" "poly=@wide.poly@" "t_j=@exp64.t_$1@" \
    "left=$(growth "$left")" "delta=$delta"
}
# (exp r + left)/exp(r + left − d) − 1 for |d| ≤ $2: that, the square of left, and (exp r − 1)·left.
beside() { awk -v l="$1" -v d="$2" 'BEGIN {printf "%.8e\n", (d + l * l + 0.0444 * l) * 1.05}'; }
for p in 32 64; do
  case $p in 32) low=1b-16 n=3 claim=27.8 ;; 64) low=1b-42 n=6 claim=56.4 ;; esac
  common=("format=${format[$p]}" "magic=${magic[$p]}" "inv_ln2=@exp$p.inv_ln2@" "ln2_0=@exp$p.ln2_0@" "ln2_1=@exp$p.ln2_1@" "low=$low")
  near=$(prove exp_near.gappa near=0.043 "${common[@]}")
  reduction=$(each_entry exp_reduction)
  within "$(largest "|r2|" <<<"$near"$'\n'"$reduction")" "${value[exp$p.rmax]}"
  # With a low word and without, near zero and elsewhere: r is rounded once.
  delta=$(larger "$(largest "|r-(rho-C)|" <<<"$reduction")" "$(largest "|r2-(rho+low-C)|" <<<"$reduction")")
  delta=$(larger "$delta" "$(largest "|r2-(x+low)|" <<<"$near")")
  report exp$p "$(each_entry exp_lane t | largest "A-/F")" "$claim" src/math/exp.rs
  if [ $p = 32 ]; then
    # What C leaves out here is what the entries are off by.
    reduction=$(relative_reduction)
    within "$(largest "|r2|" <<<"$near"$'\n'"$reduction")" "${value[exp32.rmax]}"
    delta=$(larger "$(largest "|r-(rho-C)|" <<<"$reduction")" "$(largest "|r2-(rho+low-C)|" <<<"$reduction")")
    delta=$(larger "$delta" "$(largest "|r2-(x+low)|" <<<"$near")")
    error=$(each_entry exp_lane q | largest "A-/F")
    report relative32 "$(awk -v e="$error" -v f="${value[exp32.factor]}" 'BEGIN {
      split(f, p, "b"); f = p[1] * 2^p[2]; printf "%.17e", (e + f * (1 + f) * (1 + e)) * 1.000001}')" 27.1 src/math/exp.rs
    continue
  fi
  left=$(larger "$(largest "|left|" <<<"$reduction")" "$(largest "|r2-(x+low)|" <<<"$near")")
  delta=$(beside "$left" "$(largest "|r2+left-(rho+low-C)|" <<<"$reduction")")
  report exp_wide "$(each_entry exp_wide | largest "A-/F")" 60.8 src/math/exp.rs
done

# ---- exp(−x) of the sigmoid, |x| ≤ FARTHEST -----------------------------------------------------------------
anchors sigma_reduction.gappa
anchors sigma_near.gappa
anchors sigma_lane.gappa
sigma_lane() {
  local reduction
  reduction=$(for range in "-$far -0.043" "0.043 $far"; do
    prove sigma_reduction.gappa "from=${range% *}" "to=${range#* }" "r_j=@exp$p.r_$1@" "c_j.low=@c${p}_$1.low@" \
      "c_j.high=@c${p}_$1.high@" "${common[@]}"
  done)
  prove sigma_lane.gappa "format=${format[$p]}" "horner=$(horner sigma$p $n r)" "rmax=@sigma$p.rmax@" "poly=@sigma$p.poly@" \
    "delta=$(growth "$(largest "|r-(rho+C)|" <<<"$reduction")")" "t_j=@exp$p.t_$1@"
  echo "r $(largest "|r|" <<<"$reduction")"
}
for p in 32 64; do
  case $p in 32) far=80 n=3 claim=27.1 ;; 64) far=690 n=6 claim=55.9 ;; esac
  common=("format=${format[$p]}" "magic=${magic[$p]}" "inv_ln2=@exp$p.inv_ln2@" "ln2_0=@exp$p.ln2_0@" "ln2_1=@exp$p.ln2_1@")
  prove sigma_near.gappa near=0.043 "${common[@]}" >/dev/null
  answers=$(each_entry sigma_lane)
  within "$(largest r <<<"$answers")" "${value[sigma$p.rmax]}"
  report sigma$p "$(largest "A-/F" <<<"$answers")" "$claim" src/math/sigma.rs
done

# ---- exp in f64 registers -----------------------------------------------------------------------------------
for t in plain_reduction plain wide_reduction wide; do anchors $t.gappa; done
plain() {
  prove plain.gappa "horner=$(horner plain 4 r)" "rmax=@plain.rmax@" "poly=@plain.poly@" "t_j=@exp64.t_$1@" \
    "delta=$(growth "$delta")" "power_j.low=@power_$1.low@" "power_j.high=@power_$1.high@"
}
reduction=$(prove plain_reduction.gappa)
within "$(largest "|r|" <<<"$reduction")" "${value[plain.rmax]}"
delta=$(largest "|r-rho|" <<<"$reduction")
report plain "$(each_entry plain | largest "A-/F")" 41.2 src/math/expm.rs

wide() {
  prove wide.gappa "horner=$(horner wide 7 r)" "rmax=@wide.rmax@" "poly=@wide.poly@" "t_j=@exp64.t_$1@" "l_j=@exp64.l_$1@" \
    "low=$(growth "$low")" "delta=$delta" "power_j.low=@power_$1.low@" "power_j.high=@power_$1.high@"
}
reduction=$(for range in "-4096 -0.043" "0.043 4096"; do
  prove wide_reduction.gappa "from=${range% *}" "to=${range#* }"
done)
within "$(largest "|r|" <<<"$reduction")" "${value[wide.rmax]}"
low=$(largest "|r_low|" <<<"$reduction")
delta=$(beside "$low" "$(largest "|r+r_low-rho|" <<<"$reduction")")
report wide "$(each_entry wide | largest "A-/F")" 61.1 src/math/expm.rs

# exp − 1 where k is 0.
for form in plain wide; do
  case $form in plain) n=4 claim=35.4 ;; wide) n=7 claim=57.1 ;; esac
  answers=$(for range in "1b-100 @$form.rmax@" "-@$form.rmax@ -1b-100"; do
    prove expm1_near.gappa "horner=$(horner $form $n r)" "from=${range% *}" "to=${range#* }" "m1=@$form.m1@"
  done)
  report ${form}_m1 "$(largest "p+r-/M1" <<<"$answers")" "$claim" src/math/expm.rs
done

# ---- Double words, relative to u² = 2^−106 ---------------------------------------------------------------------
anchors word_div.gappa
anchors word_sqrt.gappa
report word_div "$(prove word_div.gappa | largest "(q+c-X)/X")" 102.5 src/math/word.rs
report word_sqrt "$( (prove word_sqrt.gappa from=1 to=2 low=1b-53; prove word_sqrt.gappa from=2 to=4 low=2b-53) | largest ERR/X)" 104 src/math/word.rs

# ---- Logarithms -------------------------------------------------------------------------------------------------
for t in log1p_near log1p_word log_of log_ratio_near log_ratio_word; do anchors $t.gappa; done
# What a series is off by where the logarithm is 0.3467 at most.
part() { awk -v m="$1" 'BEGIN {split(m, p, "b"); printf "%.8e\n", p[1] * 2^p[2] * 0.3468}'; }
log1p=("horner=$(horner log1p 7 s2)" "exact=$(exact log1p 7 S2)" "poly=@log1p.poly@")
near=$(prove log1p_near.gappa "${log1p[@]}" | largest y-/LOG)
# 1.2e-16 is the 8.33e-17 of f − F, which the first answer confirms, over 1 + F.
far=$(for r in "1 1" "2 3" "4 60"; do prove log1p_far.gappa "from=${r% *}" "to=${r#* }" moved=1.2e-16 "${log1p[@]}"; done)
at_most "$(largest f-F <<<"$far")" 8.4e-17 || fail "log1p_far.gappa: f − F exceeds 8.4e-17"
report log1p "$(larger "$near" "$(largest z-/T <<<"$far")")" 44.7 src/math/log.rs
report log_of "$(prove log_of.gappa "${log1p[@]}" | largest z-T)" 42.6 src/math/log.rs
report log1p_word "$(prove log1p_word.gappa "horner=$(horner log1p_word 12 s2)" "exact=$(exact log1p_word 12 S2)" \
  "poly=@log1p_word.poly@" | largest y-/LOG)" 56.7 src/math/log.rs

ranges=("1 1" "-1 -1")
for k in 2 4 8 16 32 64 128 256 512 1024; do ranges+=("$k $((2 * k - 1))" "$((1 - 2 * k)) -$k"); done
ratio=("horner=$(horner log_ratio 6 f2)" "exact=$(exact log_ratio 6 F2)")
near=$(prove log_ratio_near.gappa "${ratio[@]}" "poly=@log_ratio.poly@" input=3.34e-16 | largest log-/LOG)
far=$(for r in "${ranges[@]}"; do
  prove log_ratio_far.gappa "from=${r% *}" "to=${r#* }" "series=$(part "${value[log_ratio.poly]}")" moved=5e-16 "${ratio[@]}"
done | largest z-/T)
report log_ratio "$(larger "$near" "$far")" 48.6 src/math/log_ratio.rs
ratio=("horner=$(horner log_ratio_word 9 f2)" "exact=$(exact log_ratio_word 9 F2)")
near=$(prove log_ratio_word.gappa "${ratio[@]}" "poly=@log_ratio_word.poly@" | largest y-/LOG)
far=$(for r in "${ranges[@]}"; do
  prove log_ratio_word_far.gappa "from=${r% *}" "to=${r#* }" "series=$(part "${value[log_ratio_word.poly]}")" "${ratio[@]}"
done | largest y-/T)
report log_ratio_word "$(larger "$near" "$far")" 56.5 src/math/log_ratio.rs
