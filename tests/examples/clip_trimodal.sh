#!/usr/bin/env bash
# clip_trimodal as a user meets it: training on simulated specimens, resuming, scoring, retrieval, embedding, real input, bad input.
#
#     tests/examples/clip_trimodal.sh PATH/TO/clip_trimodal [PATH/TO/clip_trimodal_emulated]
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$@"

shape=(--output-dim 16 --image-size 16 --max-len 330 --log-interval 1 --quiet)
small=(--n-specimens 2000 "${shape[@]}" --batch-size 64 --epochs 1)
check "train" "$program" train --out run "${small[@]}"
check "what it leaves" test -s run/model.safetensors -a -s run/config.json -a -s run/vocab.txt -a -s run/anchor.safetensors -a -s run/results.json -a -s run/report.html -a ! -e run/checkpoint.safetensors
check "scores by direction, side, rank and kind" grep -q '"image_to_dna.unseen.genus.macro.top5"' run/results.json
check "before training too" grep -q '"unaligned.dna_to_dna.seen.species.micro.top1"' run/results.json
check "chance" grep -q '"chance.unseen.genus.micro.top1"' run/results.json
check "the report holds pictures" grep -q 'data:image/jpeg;base64,' run/report.html
check "the towers before training" test -s run/unaligned/model.safetensors
check "eval" "$program" eval --model run --quiet --out eval.json
figure() { sed -n "s/^ *\"$2\": \([0-9.e-]*\),*$/\1/p" "$1"; }
for metric in image_to_dna.seen.order.micro.top1 dna_to_dna.unseen.species.macro.top3 image_to_text.seen.family.micro.top5; do
    check "eval agrees: $metric" test -n "$(figure eval.json $metric)" -a "$(figure eval.json $metric)" = "$(figure run/results.json $metric)"
done
check "any pair, and fusion" "$program" eval --model run --quiet --pairs text:image dna:image averaged:averaged concatenated:concatenated averaged:dna --fusion --out pairs.json
check "scores of pairs" grep -q '"averaged_to_averaged.harmonic.species.macro.top1"' pairs.json
check "scores of the fusion" grep -q '"fusion.unseen.species.micro.top3"' pairs.json
refuses "a pair that is none" "must be QUERY:KEY" "$program" eval --model run --quiet --pairs image-dna
refuses "lengths that differ" "twice as long" "$program" eval --model run --quiet --pairs concatenated:dna
check "embed" "$program" embed --model run --out vectors --quiet
check "vectors and names" test -s vectors/image.npy -a -s vectors/dna.npy -a "$(wc -l <vectors/species.txt)" -eq "$(wc -l <vectors/processid.txt)"
photo=$(find run/bioscan5m -name '*.jpg' | sort | head -n 1)
check "retrieve by a photo" "$program" retrieve --model run --image "$photo" --out page.html
check "its page holds pictures" grep -q 'data:image/jpeg;base64,' page.html
printf '>query\nAACATTATATTTTATTTTTGGAATTTGAGCAGGAATAGTAGGAACATCTTTAAGTTTATTAATTCGAGCAGAATTAGGTAATCCAGGATCATTAATTGG\n' >query.fasta
check "retrieve by a barcode, among texts" "$program" retrieve --model run --fasta query.fasta --keys text --n-neighbors 3
check "two modalities, pieces, bound" "$program" train --metadata run/simulated.csv --images run --out two --modalities dna image --bind-to dna --chunk 16 --partners index --no-unaligned "${small[@]}"
check "SigLIP, adapters alone" "$program" train --metadata run/simulated.csv --images run --out lora --modalities dna text --loss siglip --lora-rank 4 --no-unaligned "${small[@]}"
check "its bias is kept" bash -c "grep -q logit_bias lora/model.safetensors"
refuses "SigLIP from a model without a bias" "needs a model with a bias" "$program" train --metadata run/simulated.csv --images run --out o --model run --loss siglip --no-unaligned "${small[@]}"
refuses "adapters of a ResNet" "the image tower is a ResNet" "$program" train --metadata run/simulated.csv --images run --out o --lora-rank 4 --no-unaligned "${small[@]}"
refuses "a pair without a tower" "no tower for text" "$program" eval --model two --quiet --pairs image:text
check "on from a folder" "$program" train --metadata run/simulated.csv --images run --out on --model run --no-unaligned --fix-temperature "${small[@]}"

# The same run twice, once interrupted: the same bits.
long=(--metadata run/simulated.csv --images run --no-unaligned "${shape[@]}" --batch-size 64 --epochs 4)
"$program" train "${long[@]}" --out whole >/dev/null 2>&1
interrupt cut "$program" train "${long[@]}" --out cut
check "an interrupted run keeps a checkpoint" test -e cut/checkpoint.safetensors
check "resume" "$program" train "${long[@]}" --out cut
check "the resumed run equals the uninterrupted one" cmp whole/model.safetensors cut/model.safetensors

refuses "a device that the program was not built for" "--device emulated: this program was built without it" "$program" train --metadata run/simulated.csv --images run --out o --device emulated

# The emulated device: the same losses, the same vectors.
if [[ -n $emulated ]]; then
    head -n 161 run/simulated.csv >few.csv
    tiny=(--metadata few.csv --modalities dna text --output-dim 12 --k-mer 3 --max-len 30 --text-length 6 --batch-size 16 --epochs 1 --no-unaligned --log-interval 1 --quiet)
    for device in cpu emulated; do
        check "train on $device" "$emulated" train "${tiny[@]}" --device $device --out $device
        check "  SigLIP, adapters, in pieces" "$emulated" train "${tiny[@]}" --loss siglip --lora-rank 2 --chunk 6 --device $device --out $device/lora
        check "  embed" "$emulated" embed --model cpu --metadata few.csv --quiet --device $device --out $device/vectors
    done
    check "the losses of both" same_losses cpu/log.jsonl emulated/log.jsonl
    check "  of SigLIP with adapters" same_losses cpu/lora/log.jsonl emulated/lora/log.jsonl
    for m in dna text; do check "$m vectors of both" same_numbers cpu/vectors/$m.npy emulated/vectors/$m.npy; done
    check "a model of the device in the program without one" "$program" embed --model emulated --metadata few.csv --quiet --out o
fi

refuses "metadata without pictures" "--metadata needs --images" "$program" train --metadata run/simulated.csv --out o --quiet
refuses "a root without pictures" "none of the pictures below /nowhere can be read" "$program" train --metadata run/simulated.csv --images /nowhere --out o --quiet
refuses "missing metadata" "nowhere.csv" "$program" train --metadata nowhere.csv --images run --out o --quiet
refuses "a folder that is no model" "config.json" "$program" eval --model vectors
refuses "a query of nothing" "retrieve needs one of --image and --fasta" "$program" retrieve --model run
refuses "a text file named .jpg" "broken.jpg" bash -c "echo no picture >broken.jpg; '$program' retrieve --model run --image broken.jpg"
refuses "the paper's text without a vocabulary" "needs --vocab or --text-model" "$program" train --metadata run/simulated.csv --images run --out o --preset paper --modalities text dna --quiet
refuses "a batch larger than the set" "fewer than one step" "$program" train --metadata run/simulated.csv --images run --out o --no-unaligned "${shape[@]}" --batch-size 9000
refuses "one modality alone" "no pair of modalities" "$program" train --metadata run/simulated.csv --images run --out o --modalities dna --no-unaligned "${small[@]}"
rm "$photo"
check "a missing picture is named and counted" bash -c "'$program' eval --model run --quiet 2>&1 | grep -q '1 of 2000 specimens have no picture'"
exit $failed
