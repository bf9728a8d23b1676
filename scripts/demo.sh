#!/usr/bin/env bash
# Benchmark 1 in small: pre-trains, fine-tunes and probes a DNA-barcode transformer, and writes a report.
#
#     scripts/demo.sh                         simulated specimens
#     scripts/demo.sh metadata.csv[.gz]       your own, in BIOSCAN-5M's format
#
# Installs what is missing (see common.sh), builds the example and runs it: five minutes on two cores.
# The report is out/demo/report.html, the numbers are out/demo/results.json; OUT=folder puts them elsewhere.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

case ${1-} in
-h | --help)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
(($# <= 1)) || die "usage: scripts/demo.sh [metadata.csv[.gz]]"
arguments=()
if (($# == 1)); then
    [[ -f $1 && -r $1 ]] || die "demo.sh: cannot read $1"
    arguments=(--metadata "$(realpath "$1")")
fi
if [[ -n ${OUT-} ]]; then
    out=$(realpath -m "$OUT")
else
    out=$root/out/demo
    rm -rf "$out"  # an earlier demo's
fi

require "${build_packages[@]}"

cd "$root"
log=build/demo_build.log
mkdir -p build
say "Building (log: $log)"
{
    cmake --preset release -DINSTAR_BUILD_TESTS=OFF -DINSTAR_BUILD_BENCHMARKS=OFF -DINSTAR_BUILD_CUDA=OFF -B build/demo &&
        cmake --build build/demo --target dna_barcode -j "$jobs"
} >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "demo.sh: the build failed; the whole log is $log"
}

mkdir -p "$out"
build/demo/examples/dna_barcode recipe --preset demo "${arguments[@]}" --out "$out"
for file in results.json report.html; do
    [[ -s $out/$file ]] || die "demo.sh: the run ended without $out/$file"
done
say ""
say "Open $out/report.html in a browser: it is one file, and needs no network."
