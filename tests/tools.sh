#!/usr/bin/env bash
# Installs the public tools that the tests run, under target/tools: the `cedar`
# command of cedar-policy-cli and `buf` for tests/suite/tools.rs, the mail server
# aiosmtpd for tests/suite/delivery, gRPC for Python and Node for tests/trust/clients.rs,
# and what checks manifests for tests/trust/deploy.rs. Does nothing for a tool that is
# there at the version wanted. Versions are pinned here and nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."

cedar_version=4.14.1
buf_version=1.75.0
aiosmtpd_version=1.4.6
python_clients="grpcio==1.85.3 grpcio-tools==1.85.1 grpcio-health-checking==1.85.1"
node_clients="@grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1"
# Apart from each other: they want different versions of what they share.
kubernetes_validate="kubernetes-validate==1.37.0"
checkov="checkov==3.3.30"

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

# Packages of Python in a folder of their own, unless they are there.
python_packages() {
  local folder="$tools/$1" wanted="${*:2}"
  if [[ $(cat "$folder/installed" 2>/dev/null) == "$wanted" ]]; then
    return
  fi
  # Debian keeps what makes such a folder apart from Python.
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    install python3 python3-venv
  fi
  python3 -m venv --clear "$folder"
  "$folder/bin/python3" -m pip install --quiet --disable-pip-version-check "${@:2}"
  echo "$wanted" >"$folder/installed"
}

# Packages of Node in a folder of their own, unless they are there.
node_packages() {
  local folder="$tools/$1" wanted="${*:2}"
  if [[ $(cat "$folder/installed" 2>/dev/null) == "$wanted" ]]; then
    return
  fi
  if ! command -v npm >/dev/null; then
    install nodejs npm
  fi
  mkdir -p "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --no-save "${@:2}"
  echo "$wanted" >"$folder/installed"
}

# Lists are of words.
# shellcheck disable=SC2086
clients_and_checks() {
  python_packages python "aiosmtpd==$aiosmtpd_version"
  python_packages clients-python $python_clients
  node_packages clients-node $node_clients
  python_packages kubernetes-validate "$kubernetes_validate"
  python_packages checkov "$checkov"
}

buf
clients_and_checks
cedar
echo "tools: $("$tools/bin/cedar" --version), buf $("$tools/node_modules/.bin/buf" --version), aiosmtpd $aiosmtpd_version"
