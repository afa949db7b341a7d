#!/usr/bin/env bash
# The digests of every operation, type and form on other machines, emulated: the same bits as here. On aarch64 also the
# unit tests, which compare every lane operation of NEON with the scalar one, and the tests of the operations.
#
#   verify/cross.sh [FOLDER] [TARGET...]   TARGET: haswell, nehalem, aarch64, wasm32; by default all
#
# FOLDER (default target/cross) gets a compiler that knows other targets (Debian's rustc-web, 1.5 GB, minutes); the
# machine's own stays as it is. Debian's packages of the emulators and of the linker are installed system-wide.
# What cannot be had is reported as NOT RUN, at the end too, and makes the exit code 3.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=$(mkdir -p "${1:-target/cross}" && cd "${1:-target/cross}" && pwd)
targets=${*:2}
targets=${targets:-haswell nehalem aarch64 wasm32}
export DEBIAN_FRONTEND=noninteractive CARGO_TERM_COLOR=never
# A row of 2^24 elements takes longer here than all the rest.
export LOSSPREP_SHORT_DIGESTS=1
not_run=() failed=()
note() { printf '\n== %s\n' "$*"; }
skip() { echo "NOT RUN: $*" >&2; not_run+=("$*"); }

install() {
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 && continue
    { apt-get update -qq && apt-get install -qq -y "$package"; } >/dev/null 2>&1 || return 1
  done
}

# Another compiler: Debian's, unpacked into the folder, with the standard libraries of x86-64, aarch64 and wasm32.
compiler() {
  [ -x "$folder/rustc" ] && return
  mkdir -p "$folder"/lists/partial "$folder"/archives/partial "$folder"/debs "$folder"/root
  : >"$folder/status"
  cat >"$folder/apt.conf" <<CONF
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache::archives "$folder/archives";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
CONF
  (
    export APT_CONFIG="$folder/apt.conf"
    apt-get update -qq || exit 1
    std=$(apt-cache depends libstd-rust-web-dev | awk '/Depends: libstd-rust-web-[0-9]/ {print $2; exit}')
    llvm=$(apt-cache depends rustc-web "$std" | awk '/Depends: libllvm/ {print $2; exit}')
    cd "$folder/debs" && apt-get download -qq rustc-web "$std" libstd-rust-web-dev libstd-rust-web-dev:arm64 "$llvm" || exit 1
    apt-get download -qq libstd-rust-web-dev-wasm32 2>/dev/null || true
    for deb in *.deb; do dpkg -x "$deb" ../root; done
  ) >"$folder/log" 2>&1 || return 1
  for tool in rustc rustdoc; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' \
      "$folder/root/usr/lib/x86_64-linux-gnu" "$folder/root/usr/bin/$tool" >"$folder/$tool"
    chmod +x "$folder/$tool"
  done
}

# A program that runs WASI programs, with the file system and the environment that there are.
wasmtime() {
  [ -d "$folder/python/wasmtime" ] || python3 -m pip install -q --target "$folder/python" wasmtime >/dev/null 2>&1 || return 1
  cat >"$folder/wasi" <<RUNNER
#!/usr/bin/env python3
import sys
sys.path.insert(0, "$folder/python")
from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig
engine = Engine()
linker, store, wasi = Linker(engine), Store(engine), WasiConfig()
wasi.argv = sys.argv[1:]
wasi.inherit_env()
wasi.inherit_stdout()
wasi.inherit_stderr()
wasi.preopen_dir("/", "/")
store.set_wasi(wasi)
linker.define_wasi()
try:
    linker.instantiate(store, Module.from_file(engine, sys.argv[1])).exports(store)["_start"](store)
except ExitTrap as trap:
    sys.exit(trap.code)
RUNNER
  chmod +x "$folder/wasi"
}

run() { # NAME COMMAND...
  local name=$1
  shift
  note "$name: $*"
  "$@" || failed+=("$name: $*")
}

emulated_x86() { # NAME CPU BACKENDS
  local program
  install qemu-user-static || { skip "$1: no emulator"; return; }
  cargo test --release --test digests --no-run 2>"$folder/x86.log" || { cat "$folder/x86.log"; failed+=("$1: build"); return; }
  program=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$folder/x86.log")
  # The emulator lists what it does not emulate; the test says which backends are not there.
  run "$1, with $3" bash -c "qemu-x86_64-static -cpu $2 $program --nocapture 2> >(grep -v 'TCG doesn.t support' >&2)"
}

for target in $targets; do
  case $target in
    haswell) emulated_x86 haswell Haswell "avx2, portable and scalar" ;;
    nehalem) emulated_x86 nehalem Nehalem "portable and scalar" ;;
    aarch64)
      if install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross && compiler; then
        RUSTC=$folder/rustc RUSTDOC=$folder/rustdoc CARGO_TARGET_DIR=$folder/target \
          CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
          CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu" \
          run "aarch64, with neon, portable and scalar" cargo test --release --target aarch64-unknown-linux-gnu --lib \
          --test alignment --test diagnose --test l2 --test losses --test sigmoid --test softmax --test digests
      else
        skip "aarch64: no compiler or linker"
      fi
      ;;
    wasm32)
      # The portable backend is the one that simd128 concerns.
      if rustup target add wasm32-wasip1 >/dev/null 2>&1 && wasmtime; then
        CARGO_TARGET_DIR=$folder/target RUSTFLAGS="-C target-feature=+simd128" \
          CARGO_TARGET_WASM32_WASIP1_RUNNER=$folder/wasi \
          run "wasm32 with simd128, portable and scalar" cargo test --release --target wasm32-wasip1 --test digests
      else
        skip "wasm32: no standard library of wasm32-wasip1, or no wasmtime"
      fi
      ;;
    *) echo "no such target: $target" >&2; exit 2 ;;
  esac
done

note "summary"
printf 'NOT RUN: %s\n' "${not_run[@]+"${not_run[@]}"}" | grep -v ': $' || true
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
[ ${#not_run[@]} -eq 0 ] || exit 3
echo "the same bits everywhere"
