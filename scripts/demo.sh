#!/usr/bin/env bash
# The three benchmarks in small: pre-trains, fine-tunes and probes a DNA-barcode transformer, clusters its embeddings, aligns images, DNA and
# text of simulated specimens, and writes reports.
#
#     scripts/demo.sh                         simulated specimens
#     scripts/demo.sh metadata.csv[.gz]       your own, in BIOSCAN-5M's format
#
# Installs what is missing (see common.sh), builds the examples and runs them: seven minutes on two cores.
# Reports are out/demo/report.html, clustering/report.html and clip/report.html below it, the numbers results.json beside them; OUT=folder puts them elsewhere.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

case ${1-} in
-h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
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
        cmake --build build/demo --target dna_barcode zero_shot_clustering clip_trimodal -j "$jobs"
} >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "demo.sh: the build failed; the whole log is $log"
}

mkdir -p "$out"
build/demo/examples/dna_barcode recipe --preset demo "${arguments[@]}" --out "$out"
metadata=$out/simulated.csv
((${#arguments[@]} == 0)) || metadata=${arguments[1]}
say ""
say "Zero-shot clustering of test and test_unseen"
build/demo/examples/zero_shot_clustering --metadata "$metadata" --dedup --kmer 5 --model "untrained=$out/untrained" --model "pre-trained=$out/pretrained" --model "fine-tuned=$out/finetuned" \
    --model "projected=$out/metric" --reduce umap --reduce none --n-neighbors 15 --out "$out/clustering"
say ""
say "Alignment of images, DNA and text (simulated specimens)"
build/demo/examples/clip_trimodal train --n-specimens 4000 --epochs 5 --out "$out/clip"
for file in results.json report.html clustering/results.json clustering/report.html clip/results.json clip/report.html; do
    [[ -s $out/$file ]] || die "demo.sh: the run ended without $out/$file"
done
say ""
say "Open $out/report.html, $out/clustering/report.html and $out/clip/report.html in a browser: each is one file, and needs no network."
