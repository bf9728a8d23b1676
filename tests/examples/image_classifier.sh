#!/usr/bin/env bash
# image_classifier as a user meets it: folders and tables of small made-up pictures, training, resuming, scoring, embedding, bad input.
#
#     tests/examples/image_classifier.sh PATH/TO/image_classifier [PATH/TO/image_classifier_emulated]
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$@"

# Two kinds of picture, 24 × 30 noise about a red and a green: FILE RED GREEN SEED
picture() {
    perl -e 'my ($file, $red, $green, $seed) = @ARGV; srand($seed); open(my $out, ">:raw", $file) or die; print $out "P6 30 24 255\n";
             for (1 .. 30 * 24) { print $out chr($red + int(rand(90))), chr($green + int(rand(90))), chr(60 + int(rand(120))) } close($out);' "$@"
}
mkdir -p photos/{train,val}/{beetle,moth}
printf 'file\tclass\n' >labels.tsv
for i in $(seq 1 24); do
    where=$((i > 18))
    split=train
    ((where)) && split=val
    picture "photos/$split/beetle/b$i.ppm" 140 40 "$i"
    picture "photos/$split/moth/m$i.ppm" 40 140 "$((100 + i))"
    printf '%s/beetle/b%d.ppm\tbeetle\n%s/moth/m%d.ppm\tmoth\n' "$split" "$i" "$split" "$i" >>labels.tsv
done

small=(--model resnet_small --image-size 24 --crop-size 24 --batch-size 6 --lr 0.01 --quiet)
check "train on a folder" "$program" train --images photos "${small[@]}" --epochs 4 --out run
check "what it leaves" test -s run/model.safetensors -a -s run/config.json -a -s run/results.json -a -s run/report.html -a ! -e run/checkpoint.safetensors
check "both kinds are told apart" grep -q '"val.top1.macro": 1.0' run/results.json
check "the baseline is there" grep -q '"baseline.color_histogram.val.top1.micro"' run/results.json
check "the report holds pictures" grep -q 'data:image/jpeg;base64,' run/report.html
check "eval" "$program" eval --model run --images photos --split val --quiet --out eval.json
check "eval agrees" grep -q '"val.top1.micro": 1.0' eval.json
check "embed" "$program" embed --model run --images photos --split val --quiet --out x.npy
check "embeddings and names" test -s x.npy -a "$(wc -l <x.npy.tsv)" -eq 12
check "train on a table" "$program" train --labels labels.tsv --images photos "${small[@]}" --epochs 4 --loss Focal --class-weights sqrt --out table
check "a vision transformer, AdamW" "$program" train --images photos --model vit_tiny --image-size 32 --crop-size 32 --epochs 1 --batch-size 6 --optimizer AdamW --lr 1e-3 --quiet --out vit
check "photographs cut to their specimen" "$program" train --images photos --model resnet_small --image-size 24 --crop-size 24 --epochs 1 --batch-size 6 --crop-to-specimen --quiet --out cropped
check "which the model remembers" bash -c "grep -q '\"crop_to_specimen\": true' cropped/config.json && '$program' eval --model cropped --images photos --split val --quiet --out cropped.json"
check "train on from a folder" "$program" train --images photos --model run --image-size 24 --crop-size 24 --epochs 1 --batch-size 6 --quiet --out again

# Images that are not kept in memory, and images inside an archive: the same bits.
check "nothing kept in memory" "$program" train --images photos "${small[@]}" --epochs 4 --cache none --out streamed
check "the same model" cmp run/model.safetensors streamed/model.safetensors
if command -v cmake >/dev/null && (cd photos && cmake -E tar cf ../photos.zip --format=zip train val) && "$program" train --labels labels.tsv --images photos.zip "${small[@]}" --epochs 4 --loss Focal --class-weights sqrt --out zipped 2>zip_log; then
    check "out of an archive" cmp table/model.safetensors zipped/model.safetensors
else
    check "out of an archive, or refused by a build without libzip" grep -q "this build has no libzip" zip_log
fi
refuses "an archive without a table" "archives need --labels or --metadata" "$program" train --images photos.zip --out o

refuses "a device that the program was not built for" "--device emulated: this program was built without it" "$program" train --images photos --out o --device emulated

# The emulated device: the same losses, the same features.
if [[ -n $emulated ]]; then
    tiny=(--images photos --model vit_tiny --image-size 16 --crop-size 16 --batch-size 6 --epochs 1 --optimizer AdamW --lr 1e-3 --log-interval 1 --no-baseline --quiet)
    for device in cpu emulated; do
        check "train on $device" "$emulated" train "${tiny[@]}" --device $device --out $device
        check "  focal loss, weighted" "$emulated" train --labels labels.tsv "${tiny[@]}" --loss Focal --class-weights sqrt --device $device --out $device/focal
        check "  embed" "$emulated" embed --model cpu --images photos --split val --quiet --device $device --out $device/x.npy
    done
    check "the losses of both" same_losses cpu/log.jsonl emulated/log.jsonl
    check "  of the focal loss" same_losses cpu/focal/log.jsonl emulated/focal/log.jsonl
    check "features of both" same_numbers cpu/x.npy emulated/x.npy
    check "a model of the device in the program without one" "$program" eval --model emulated --images photos --split val --no-baseline --quiet
    for device in cpu emulated; do
        check "a ResNet, SGD, on $device" "$emulated" train --images photos --model resnet_small --image-size 8 --crop-size 8 --batch-size 12 --epochs 1 --lr 0.01 --log-interval 1 --no-baseline --quiet --device $device --out $device/resnet
    done
    check "  the losses of both" same_losses cpu/resnet/log.jsonl emulated/resnet/log.jsonl
fi

# The same run twice, once interrupted: the same bits.
timeout --signal=INT 1 "$program" train --images photos "${small[@]}" --epochs 60 --out resumed >/dev/null 2>&1
check "resume" "$program" train --images photos "${small[@]}" --epochs 60 --out resumed
check "uninterrupted" "$program" train --images photos "${small[@]}" --epochs 60 --threads 1 --out whole
check "resumed equals uninterrupted, with another number of threads" cmp resumed/model.safetensors whole/model.safetensors

refuses "no images" "--images is needed" "$program" train --out o
refuses "a folder without train/" "found no image in train/" "$program" train --images photos/val --out o
refuses "a missing folder" "is no folder" "$program" train --images nowhere --out o
refuses "a column that is not there" "has no column 'genus'" "$program" train --labels labels.tsv --images photos --label-column genus --out o
mkdir no_model && cp run/config.json no_model && cp x.npy no_model/model.safetensors
refuses "a file that holds no weights" "no_model/model.safetensors" "$program" eval --model no_model --images photos --split val
refuses "an unknown architecture" "--model alexnet is neither" "$program" train --images photos --model alexnet --out o
head -c 200 photos/train/moth/m1.ppm >cut && mv cut photos/train/moth/m1.ppm
refuses "a truncated image" "m1.ppm" "$program" train --images photos "${small[@]}" --epochs 1 --out o
check "but leaves it out when asked" "$program" train --images photos "${small[@]}" --epochs 1 --skip-broken --out skipped
check "and counts it" grep -q '"n_broken_images": 1.0' skipped/results.json
refuses "a truncated image that is not kept" "m1.ppm" "$program" train --images photos "${small[@]}" --epochs 1 --cache none --out o
check "and leaves that out" "$program" train --images photos "${small[@]}" --epochs 2 --cache none --skip-broken --no-baseline --out skipped_too
check "and counts it as often as it was met" grep -q '"n_broken_images": 2.0' skipped_too/results.json
echo "no picture" >photos/val/moth/m24.jpg
refuses "a text named .jpg" "is not a JPEG, PNG, BMP or PNM image" "$program" eval --model run --images photos --split val --no-baseline
mkdir -p photos/val/wasp && picture photos/val/wasp/w1.ppm 10 10 1
refuses "a class that the model does not know" "class 'wasp' is not one of the model's 2" "$program" eval --model run --images photos --split val
refuses "a class absent from train" "class 'wasp' has images in val or val but none in train" "$program" train --images photos "${small[@]}" --epochs 1 --skip-broken --out o
exit $failed
