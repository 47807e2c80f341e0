#!/usr/bin/env bash
# Runs every benchmark and writes what they print to benches/results.md; growth also
# writes its numbers and its plot to benches/growth. Takes some ten minutes after an
# optimized build. With names, runs only those: `bash benches/run.sh growth serving`.
set -euo pipefail
cd "$(dirname "$0")/.."

results=benches/results.md
if [[ $# -eq 0 ]]; then
  set -- decisions growth serving overload writes residency
fi

{
  echo "# What the benchmarks said"
  echo
  echo "One run of \`make bench\` on $(nproc) cores, Linux $(uname -r), $(rustc --version | cut -d' ' -f1,2), at revision $(git rev-parse --short HEAD)."
  echo "Ratios within a run are the result; times are for orientation."
} >"$results"

# Cerbos, to compare with: its program comes in a package of npm.
cerbos_version=0.55.0
if [[ -z ${ROSTER_BENCH_CERBOS:-} ]] && command -v npm >/dev/null; then
  case $(uname -m) in
    x86_64) package=@cerbos/cerbos-linux-x64 program=cerbos-linux-x64 ;;
    *) package=@cerbos/cerbos-linux-arm64 program=cerbos-linux-arm64 ;;
  esac
  npm install --prefix target/tools/cerbos --no-audit --no-fund --no-save "$package@$cerbos_version" >&2
  export ROSTER_BENCH_CERBOS="$PWD/target/tools/cerbos/node_modules/$package/$program"
fi

for name in "$@"; do
  echo "bench: $name" >&2
  printf '\n## %s\n\n' "$name" >>"$results"
  cargo bench --locked --quiet --bench "$name" | tee -a "$results"
done
