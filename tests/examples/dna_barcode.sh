#!/usr/bin/env bash
# dna_barcode as a user meets it, on a few simulated specimens: training, resuming, probing, predicting, bad input.
#
#     tests/examples/dna_barcode.sh PATH/TO/dna_barcode [PATH/TO/dna_barcode_emulated]
#
# Prints one line a check; exits 1 when any failed.
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$@"

small=(--n-layers 1 --d-model 32 --n-heads 2 --epochs 2 --batch-size 32 --quiet)
long=(--n-layers 1 --d-model 32 --n-heads 2 --epochs 100 --batch-size 32 --quiet)  # seconds, so that a signal finds it at work
tuned=(--epochs 2 --batch-size 16 --quiet)

check "simulate" "$program" simulate --n-specimens 600 --out sim.csv
check "pretrain" "$program" pretrain --metadata sim.csv --out pre "${small[@]}"
check "pretrain: one thread gives the same model" "$program" pretrain --metadata sim.csv --out pre1 "${small[@]}" --threads 1
check "  bit for bit" cmp pre/model.safetensors pre1/model.safetensors
check "results.json is there" grep -q '"samples_per_second"' pre/results.json
check "no checkpoint is left behind" test ! -e pre/checkpoint.safetensors

# Interrupted in ever longer intervals until a checkpoint is there, then resumed: the same bits as the uninterrupted run.
interrupt_once() {  # interrupt_once OUT FLAGS…
    local out=$1 tenths
    shift
    for tenths in $(seq 1 100); do
        timeout -s INT "$((tenths / 10)).$((tenths % 10))" "$program" pretrain --metadata sim.csv --out "$out" "${long[@]}" "$@" >/dev/null 2>last.log
        [[ -e $out/model.safetensors ]] && return 1  # it finished before the signal came
        [[ -e $out/checkpoint.safetensors ]] && return 0
    done
    return 1
}
check "an interrupted run leaves a checkpoint" interrupt_once pre2
check "resume" "$program" pretrain --metadata sim.csv --out pre2 "${long[@]}"
check "the same run uninterrupted" "$program" pretrain --metadata sim.csv --out pre3 "${long[@]}"
check "resumed run equals the uninterrupted one" cmp pre3/model.safetensors pre2/model.safetensors

check "finetune" "$program" finetune --metadata sim.csv --model pre --out fine "${tuned[@]}"
check "metric" "$program" metric --metadata sim.csv --model pre --out metric "${tuned[@]}" --save-best-model
check "  the best epoch is kept" test -s metric/best/model.safetensors
check "project" "$program" project --metadata sim.csv --model pre --out projected --components 40
check "  embeds by its projection" "$program" embed --model projected --input sim.csv --split test_unseen --out projected.npy
check "  forty numbers a barcode" grep -qaE "\([0-9]+, 40\)" projected.npy
check "  also without labels" "$program" project --metadata sim.csv --model pre --out projected2 --components 40 --no-labels
refuses "a projection that is not there" "projection.safetensors" "$program" embed --model pre --input sim.csv --pooling projection --out o.npy
check "probe" "$program" probe --metadata sim.csv --model metric --out probe.json --quiet
check "  with the baseline beside it" grep -q '"baseline.5mer.test.species.accuracy"' probe.json
awk -F, 'NR > 1 && NR < 12 {print ">" $1 " made up"; print $12}' sim.csv >some.fasta
check "embed FASTA" "$program" embed --model metric --input some.fasta --out x.npy
check "embed metadata to safetensors" "$program" embed --model metric --input sim.csv --split test --out x.safetensors
check "predict" "$program" predict --model fine --input some.fasta --out predictions.tsv
check "  one line a record" test "$(wc -l <predictions.tsv)" -eq 11

refuses "a missing file" "nowhere.csv" "$program" pretrain --metadata nowhere.csv --out o
printf 'processid,dna_barcode\nA,ACGT\n' >nosplit.csv
refuses "metadata without splits" "split" "$program" pretrain --metadata nosplit.csv --out o
printf 'processid,dna_barcode,split\nA,ACGT,trian\n' >badsplit.csv
refuses "an unknown split" "trian" "$program" pretrain --metadata badsplit.csv --out o
printf 'processid,dna_barcode,split\nA,ACGT\n' >ragged.csv
refuses "a ragged row" "ragged.csv:2" "$program" pretrain --metadata ragged.csv --out o
: >empty.csv
refuses "an empty file" "empty.csv" "$program" pretrain --metadata empty.csv --out o
head -c 300 sim.csv | gzip | head -c 100 >cut.csv.gz
refuses "a truncated gz" "cut.csv.gz" "$program" pretrain --metadata cut.csv.gz --out o
printf '>a\nACGTXX\n' >bad.fasta
refuses "a letter that is no nucleotide" "position 5" "$program" predict --model fine --input bad.fasta --out o.tsv
printf '>a\nAC\n' >short.fasta
refuses "a barcode shorter than one token" "2 bases are fewer than one token" "$program" predict --model fine --input short.fasta --out o.tsv
refuses "predict without a classifier" "labels.json" "$program" predict --model pre --input some.fasta --out o.tsv
cp -r pre broken && head -c 5000 pre/model.safetensors >broken/model.safetensors
refuses "a truncated model" "model.safetensors" "$program" embed --model broken --input some.fasta --out o.npy
rm -r broken && cp -r pre broken && sed -i 's/"hidden_size": 32/"hidden_size": 64/' broken/config.json
refuses "a config that disagrees with the tensors" "do not fit the model" "$program" embed --model broken --input some.fasta --out o.npy
refuses "a stride other than k" "stride" "$program" pretrain --metadata sim.csv --out o --stride 2 "${small[@]}"
check "another interrupted run" interrupt_once other --seed 1
refuses "a checkpoint of another run" "is of another run" "$program" pretrain --metadata sim.csv --out other "${long[@]}" --seed 2
refuses "a device that the program was not built for" "--device emulated: this program was built without it" "$program" pretrain --metadata sim.csv --out o --device emulated

# Products of bf16: nearly the same losses, not the same weights; and a run that goes on as it began.
check "pretrain in bf16" "$program" pretrain --metadata sim.csv --out rough "${small[@]}" --bf16
check "  losses are nearly those of float" same_losses pre/log.jsonl rough/log.jsonl 0.01
check "  but not the same" bash -c '! cmp -s pre/model.safetensors rough/model.safetensors'
refuses "bf16 on another device" "--bf16 is for products of the CPU" "$program" pretrain --metadata sim.csv --out o "${small[@]}" --bf16 --device cuda

# The emulated device: the same losses, the same embeddings, the same files.
if [[ -n $emulated ]]; then
    tiny=(--metadata sim.csv --n-layers 1 --d-model 16 --n-heads 2 --k-mer 3 --max-len 90 --batch-size 32 --log-interval 1 --quiet)
    step=(--epochs 1 --batch-size 16 --log-interval 1 --quiet)
    for device in cpu emulated; do
        check "pretrain on $device" "$emulated" pretrain "${tiny[@]}" --epochs 2 --dropout 0.1 --out "$device/pre" --device $device
        check "  finetune" "$emulated" finetune --metadata sim.csv --model cpu/pre --out "$device/fine" "${step[@]}" --save-best-model --device $device
        check "  metric" "$emulated" metric --metadata sim.csv --model cpu/pre --out "$device/metric" "${step[@]}" --device $device
        check "  embed" "$emulated" embed --model cpu/metric --input some.fasta --out "$device/x.npy" --device $device
        check "  embed by a projection" "$emulated" embed --model projected --input some.fasta --out "$device/projected.npy" --device $device
        check "  predict" "$emulated" predict --model cpu/fine --input some.fasta --out "$device/predictions.tsv" --device $device
    done
    check "the device is named, and what stays on the CPU" bash -c "'$emulated' embed --model cpu/pre --input some.fasta --out o.npy --device emulated 2>&1 | grep -q 'runs on emulated .*; on the CPU: tokens'"
    for run in pre fine metric; do check "$run: the losses of both" same_losses cpu/$run/log.jsonl emulated/$run/log.jsonl; done
    check "  the best epoch's model is the trained one" cmp emulated/fine/model.safetensors emulated/fine/best/model.safetensors
    check "embeddings of both" same_numbers cpu/x.npy emulated/x.npy
    check "projections of both" same_numbers cpu/projected.npy emulated/projected.npy
    check "a model of the device in the program without one" "$program" embed --model emulated/metric --input some.fasta --out o.npy
    # Interrupted on the device; resumed there with the bits of an uninterrupted run, and on the CPU.
    check "an uninterrupted run" "$emulated" pretrain "${tiny[@]}" --epochs 6 --out whole --device emulated
    interrupt cut "$emulated" pretrain "${tiny[@]}" --epochs 6 --out cut --device emulated
    cp -r cut cut_cpu
    check "an interrupted one keeps a checkpoint" test -e cut/checkpoint.safetensors
    check "  resumed on the device" "$emulated" pretrain "${tiny[@]}" --epochs 6 --out cut --device emulated
    check "  it equals the uninterrupted one" cmp whole/model.safetensors cut/model.safetensors
    check "  resumed on the CPU" "$program" pretrain "${tiny[@]}" --epochs 6 --out cut_cpu
    check "  its losses are those of the device" same_losses whole/log.jsonl cut_cpu/log.jsonl
    refuses "cuda, of which it has none" "--device cuda: this program was built without it" "$emulated" pretrain "${tiny[@]}" --out o --device cuda
fi
exit $failed
