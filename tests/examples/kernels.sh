#!/usr/bin/env bash
# kernels: every rung of every ladder gives the right result, at sizes that fit its tiles and at sizes that do not.
#
#     tests/examples/kernels.sh PATH/TO/kernels
set -uo pipefail

# shellcheck source=tests/support/checks.sh
source "$(dirname "$0")/../support/checks.sh" "$1"

for n in 1 37 96 200; do
    check "gemm $n" "$program" gemm --n "$n"
done
check "layer_norm" "$program" layer_norm --rows 333
check "refuses --n 0" bash -c "! '$program' gemm --n 0"
exit $failed
