#!/usr/bin/env bash
# kernels: every rung of every ladder gives the right result, at sizes that fit its tiles and at sizes that do not.
#
#     tests/examples/kernels.sh PATH/TO/kernels
set -uo pipefail

program=$(realpath "$1")
failed=0
check() {  # check NAME COMMAND…
    local name=$1 text
    shift
    if text=$("$@" 2>&1); then
        echo "ok      $name"
    else
        echo "FAILED  $name"
        echo "$text"
        failed=1
    fi
}
for n in 1 37 96 200; do
    check "gemm $n" "$program" gemm --n "$n"
done
check "layer_norm" "$program" layer_norm --rows 333
if "$program" gemm --n 0 >/dev/null 2>&1; then
    echo "FAILED  refuses --n 0"
    failed=1
else
    echo "ok      refuses --n 0"
fi
exit $failed
