#!/usr/bin/env bash
# kernels: every rung of every ladder gives the right result, at sizes that fit its tiles and at sizes that do not.
#
#     tests/examples/kernels.sh PATH/TO/kernels [PATH/TO/kernels_emulated]      the ladders of a GPU, on the emulated device
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$@"

ladder() {  # ladder NUMBER_OF_RUNGS ARGUMENT…: exits 0, and each of so many rungs says yes
    local rungs=$1
    shift
    "$program" --seconds 0 "$@" | tee table.txt && [[ $(grep -c ' yes$' table.txt) -eq $rungs ]]
}

for n in 1 37 96 200; do
    check "gemm $n" ladder 9 gemm --n "$n"
done
check "layer_norm" ladder 5 layer_norm --rows 333
for n in 1 37 144 257; do
    check "attention $n" ladder 10 attention --n "$n"
done
for n in 2 77 1100; do
    check "kmeans $n" ladder 7 kmeans --n "$n"
done
check "ward 1" ladder 6 ward --n 1 --large 0
check "ward 2, 3" ladder 10 ward --n 2 --large 3
check "ward 150, 700" ladder 10 ward --n 150 --large 700
check "refuses --n 0" bash -c "! '$program' gemm --n 0"

if [[ -n $emulated ]]; then
    program=$emulated
    for n in 8 72 136 264; do
        check "emulated gemm $n" ladder 8 gemm --n "$n"
    done
    for n in 1 37; do
        check "emulated layer_norm $n" ladder 4 layer_norm --rows "$n"
    done
    for n in 8 72 136 264; do
        check "emulated attention $n" ladder 4 attention --n "$n"
    done
    check "  says that nothing is timed" bash -c "'$program' layer_norm --rows 9 | grep -q 'nothing is timed'"
    check "emulated refuses --n 12" bash -c "! '$program' gemm --n 12"
fi
exit $failed
