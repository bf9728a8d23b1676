#!/usr/bin/env bash
# zero_shot_clustering as a user meets it: specimens by k-mers, embeddings from a file, bad input.
#
#     tests/examples/zero_shot_clustering.sh PATH/TO/zero_shot_clustering [PATH/TO/zero_shot_clustering_emulated]      dna_barcode is expected beside it
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$1"
dna_barcode=$(dirname "$program")/dna_barcode

check "simulate" "$dna_barcode" simulate --n-specimens 800 --out sim.csv
check "specimens by 5-mers, with and without UMAP" "$program" --metadata sim.csv --kmer 5 --dedup --reduce none --reduce umap --n-components 10 --n-neighbors 10 --out out --quiet
check "  AMI of species is high" grep -qE '"5-mer counts.none.ami.species": (0\.[89]|1\.0)' out/results.json
check "  the report is there" grep -q "</html>" out/report.html
check "one thread gives the same" "$program" --metadata sim.csv --kmer 5 --dedup --reduce umap --n-components 10 --n-neighbors 10 --threads 1 --labels-out one.npy --quiet
check "  as two" "$program" --metadata sim.csv --kmer 5 --dedup --reduce umap --n-components 10 --n-neighbors 10 --threads 2 --labels-out two.npy --quiet
check "  bit for bit" cmp one.npy two.npy

check "a small model" "$dna_barcode" pretrain --metadata sim.csv --out pre --n-layers 1 --d-model 32 --n-heads 2 --epochs 1 --batch-size 32 --quiet
check "its embeddings" "$dna_barcode" embed --model pre --input sim.csv --split test --out x.npy
check "are clustered from the file" "$program" --embeddings x.npy --reduce none --linkage ward --n-clusters 5 --labels-out y.npy --out results.json --quiet
check "  by k-means, after PCA" "$program" --embeddings x.npy --reduce pca --n-components 4 --linkage kmeans --n-clusters 5 --labels-out k.npy --quiet
check "  scored against labels" "$program" --embeddings x.npy --reduce none --n-clusters 5 --labels y.npy --out scored.json --quiet
check "    identical ones score 1" grep -q '"ami.label": 1.0' scored.json

refuses "no input" "either --embeddings or --metadata" "$program" --n-clusters 3
refuses "no encoder" "needs an encoder" "$program" --metadata sim.csv
refuses "a missing file" "nowhere.npy" "$program" --embeddings nowhere.npy --n-clusters 3
head -c 200 x.npy >cut.npy
refuses "a truncated .npy" "cut.npy" "$program" --embeddings cut.npy --n-clusters 3
refuses "more clusters than items" "--n-clusters is 100000" "$program" --embeddings x.npy --reduce none --n-clusters 100000
refuses "no number of clusters" "--n-clusters is needed" "$program" --embeddings x.npy --reduce none
printf 'a\nb\n' >short.txt
refuses "labels of another length" "2 labels" "$program" --embeddings x.npy --reduce none --n-clusters 2 --labels short.txt
refuses "an unknown partition" "no barcode in partition 'tset'" "$program" --metadata sim.csv --kmer 5 --partition tset
refuses "a device that the program was not built for" "--device emulated: this program was built without it" "$program" --metadata sim.csv --model pre --device emulated

# The emulated device: the same clusters.
emulated=${2-}
if [[ -n $emulated ]]; then
    for device in cpu emulated; do
        mkdir -p $device
        check "ward on $device" "$emulated" --embeddings x.npy --reduce none --n-clusters 5 --labels-out $device/ward.npy --device $device --quiet
        check "  k-means" "$emulated" --embeddings x.npy --reduce none --linkage kmeans --n-clusters 5 --labels-out $device/kmeans.npy --device $device --quiet
        for linkage in average complete single; do
            check "  $linkage linkage" "$emulated" --embeddings x.npy --reduce none --linkage $linkage --n-clusters 5 --labels-out $device/$linkage.npy --device $device --quiet
        done
        check "  after PCA" "$emulated" --embeddings x.npy --reduce pca --n-components 4 --n-clusters 5 --labels-out $device/pca.npy --device $device --quiet
        check "  after UMAP" "$emulated" --embeddings x.npy --n-components 4 --n-neighbors 8 --n-clusters 5 --labels-out $device/umap.npy --reduced-out $device/reduced.npy --device $device --quiet
        check "  a model's embeddings" "$emulated" --metadata sim.csv --model pre --partition test --dedup --reduce none --labels-out $device/model.npy --device $device --quiet
    done
    for part in ward kmeans average complete single pca; do check "  $part: the same labels on both" cmp cpu/$part.npy emulated/$part.npy; done
    check "UMAP once more on emulated" "$emulated" --embeddings x.npy --n-components 4 --n-neighbors 8 --n-clusters 5 --labels-out again.npy --reduced-out reduced.npy --device emulated --quiet
    check "  gives the same bits" cmp reduced.npy emulated/reduced.npy
    check "what stays on the CPU is named" bash -c "'$emulated' --embeddings x.npy --reduce none --linkage single --n-clusters 5 --device emulated 2>&1 | grep -q \"on the CPU: tokens, PCA's decomposition, UMAP's graph and start, the report, scores\""
fi
exit $failed
