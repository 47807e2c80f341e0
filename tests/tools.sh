#!/usr/bin/env bash
# Installs the public tools that tests/suite/tools.rs runs, under target/tools:
# the `cedar` command of cedar-policy-cli, and `buf`. Does nothing for a tool that
# is there at the version wanted. Versions are pinned here and nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."

cedar_version=4.14.1
buf_version=1.75.0

tools="$PWD/target/tools"
mkdir -p "$tools"

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
    if ! command -v apt-get >/dev/null; then
      echo "tools: npm is missing, and so is apt-get to install it; install Node.js" >&2
      return 1
    fi
    echo "tools: installing npm through apt-get" >&2
    local as_root=()
    if [[ $(id -u) -ne 0 ]]; then
      as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -q --no-install-recommends nodejs npm
  fi
  npm install --prefix "$tools" --no-audit --no-fund --no-save "@bufbuild/buf@$buf_version"
}

buf
cedar
echo "tools: $("$tools/bin/cedar" --version), buf $("$tools/node_modules/.bin/buf" --version)"
