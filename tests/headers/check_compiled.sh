#!/usr/bin/env bash
# Every operator that include/instar/ops declares is instantiated by cmake/compiled, for the CPU in a file of its name and for
# CUDA in cuda_instantiations.cu, so that nobody learns from the linker that one was forgotten. So is every clusterer that
# include/instar/cluster declares for CUDA, in cuda_clustering.cu.
#
#     tests/headers/check_compiled.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

n_operators=0
n_missing=0
# check HEADER CONTEXT FILE: every operator that HEADER declares for CONTEXT is instantiated in FILE
check() {
    local operator
    while read -r operator; do
        n_operators=$((n_operators + 1))
        if ! grep -qE "template [a-z0-9_:<>, ]+[ :]$operator<(T|float|bf16)>\($2&" "$3" 2>/dev/null; then
            echo "$1: $operator($2&, …) is not instantiated in $3" >&2
            n_missing=$((n_missing + 1))
        fi
    done < <(grep -vE '^[[:space:]]*//' "$1" | grep -oE "[a-z0-9_]+\\($2& ctx" | sed 's/(.*//' | sort -u)
}
for header in include/instar/ops/*.hpp; do
    check "$header" cpu_context "cmake/compiled/$(basename "$header" .hpp).cpp"
    check "$header" cuda_context cmake/compiled/cuda_instantiations.cu
done
for header in include/instar/cluster/*.hpp; do
    check "$header" cuda_context cmake/compiled/cuda_clustering.cu
done
echo "$n_operators operators, $n_missing not instantiated"
((n_operators > 0 && n_missing == 0))
