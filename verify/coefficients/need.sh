# Sourced: makes sure that programs are there, by Debian's packages of the same name where that is possible.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      { DEBIAN_FRONTEND=noninteractive apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$tool"; } \
        >/dev/null 2>&1 || true
    fi
    command -v "$tool" >/dev/null || { echo "$tool is not installed (Debian: apt-get install $tool)" >&2; exit 3; }
  done
}
