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

for name in "$@"; do
  echo "bench: $name" >&2
  printf '\n## %s\n\n' "$name" >>"$results"
  cargo bench --locked --quiet --bench "$name" | tee -a "$results"
done
