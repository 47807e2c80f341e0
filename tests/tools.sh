#!/usr/bin/env bash
# Installs the public tools that the tests run, under target/tools: the `cedar`
# command of cedar-policy-cli and `buf` for tests/suite/tools.rs, and the mail server
# aiosmtpd for tests/suite/delivery. Does nothing for a tool that is there at the
# version wanted. Versions are pinned here and nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."

cedar_version=4.14.1
buf_version=1.75.0
aiosmtpd_version=1.4.6

tools="$PWD/target/tools"
mkdir -p "$tools"

# Installs packages of the system, as root or through sudo.
install() {
  if ! command -v apt-get >/dev/null; then
    echo "tools: no apt-get to install $* with; install them" >&2
    return 1
  fi
  echo "tools: installing $* through apt-get" >&2
  local as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "$@"
}

cedar() {
  local binary="$tools/bin/cedar"
  if [[ -x $binary && $("$binary" --version 2>/dev/null) == *" $cedar_version"* ]]; then
    return
  fi
  echo "tools: building cedar $cedar_version, which takes minutes" >&2
  CARGO_TARGET_DIR="$tools/build" nice cargo install cedar-policy-cli \
    --version "$cedar_version" --locked --debug --force --root "$tools"
}

buf() {
  local binary="$tools/node_modules/.bin/buf"
  if [[ -x $binary && $("$binary" --version 2>/dev/null) == "$buf_version" ]]; then
    return
  fi
  if ! command -v npm >/dev/null; then
    install nodejs npm
  fi
  npm install --prefix "$tools" --no-audit --no-fund --no-save "@bufbuild/buf@$buf_version"
}

aiosmtpd() {
  local python="$tools/python/bin/python3"
  local version='from importlib.metadata import version; print(version("aiosmtpd"))'
  if [[ -x $python && $("$python" -c "$version" 2>/dev/null) == "$aiosmtpd_version" ]]; then
    return
  fi
  # Debian keeps what makes such a folder apart from Python.
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    install python3 python3-venv
  fi
  python3 -m venv --clear "$tools/python"
  "$python" -m pip install --quiet --disable-pip-version-check "aiosmtpd==$aiosmtpd_version"
}

buf
aiosmtpd
cedar
echo "tools: $("$tools/bin/cedar" --version), buf $("$tools/node_modules/.bin/buf" --version), aiosmtpd $aiosmtpd_version"
