#!/usr/bin/env bash
# kernels_cuda on a GPU: every rung of every ladder gives the right result. Exits with 77 where there is no GPU.
#
#     tests/gpu/kernels.sh PATH/TO/kernels_cuda
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$1"

status=0
"$program" layer_norm --rows 1 >/dev/null 2>none.txt || status=$?
if ((status == 77)); then
    echo "skipped: $(cat none.txt)"
    exit 77
fi

ladder() {  # ladder NUMBER_OF_RUNGS ARGUMENT…: exits 0, and each of so many rungs says yes
    local rungs=$1
    shift
    "$program" --check "$@" | tee table.txt && [[ $(grep -c ' yes$' table.txt) -eq $rungs ]]
}

for n in 8 72 1000 2048; do
    check "gemm $n" ladder 8 gemm --n "$n"
    check "attention $n" ladder 4 attention --n "$n"
done
for n in 1 37 5000; do
    check "layer_norm $n" ladder 4 layer_norm --rows "$n"
done
check "is timed" bash -c "'$program' --seconds 0 layer_norm --rows 4096 | grep -q 'GB/s'"
exit $failed
