#!/usr/bin/env bash
# Who may include whom (docs/architecture.md). Prints each breach as file:line and exits 1 when there is one.
#
#     tests/headers/check_dependencies.sh [ROOT]        the repository's root, default: two folders up
#     tests/headers/check_dependencies.sh --self-test   breaks every rule in a temporary tree and expects each to be seen
set -euo pipefail

# Areas below include/instar and what each may include besides itself.
declare -A may_include=(
    [core]=""
    [cuda]="core"
    [ops]="core cuda"
    [optim]="core ops"
    [io]="core ops"
    [tokenize]="core ops io cuda"  # tokenize/cuda: barcodes are encoded where the model reads them
    [data]="core ops io"
    [cluster]="core ops cuda"
    [metrics]="core ops"
    [nn]="core ops cuda io optim"
    [train]="core ops cuda io optim nn data tokenize metrics cluster"
)

n_breaches=0
breach() {
    echo "$1: $2" >&2
    n_breaches=$((n_breaches + 1))
}

# file:line:included for every #include of the given files
includes_of() {
    grep -HnE '^[[:space:]]*#[[:space:]]*include' "$@" 2>/dev/null |
        sed -E 's/^([^:]+):([0-9]+):[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]([^>"]+)[>"].*$/\1:\2:\3/' || true
}

check_tree() {
    local root=$1 file line included area target place
    n_breaches=0
    cd "$root"
    local -a headers=()
    mapfile -t headers < <(find include/instar -type f \( -name '*.hpp' -o -name '*.cuh' -o -name '*.inl' \) | sort)
    while IFS=: read -r file line included; do
        [[ -n $file ]] || continue
        place=$file:$line
        area=${file#include/instar/}
        area=${area%%/*}
        [[ $file == include/instar/instar.hpp ]] && continue  # the umbrella includes everything; nobody includes it

        case $included in
        instar/instar.hpp) breach "$place" "the library never includes the umbrella" ;;
        instar/*/*)
            target=${included#instar/}
            target=${target%%/*}
            if [[ $target != "$area" && " ${may_include[$area]-} " != *" $target "* ]]; then
                breach "$place" "$area may not include $included (it may: ${may_include[$area]-nothing})"
            fi
            [[ -e include/$included ]] || breach "$place" "$included does not exist"
            ;;
        nlohmann/*) [[ $file == include/instar/io/json.hpp ]] || breach "$place" "only io/json.hpp includes nlohmann_json" ;;
        Eigen/* | unsupported/Eigen/*)
            case $file in
            include/instar/ops/cpu/* | include/instar/cluster/cpu/* | include/instar/core/as_eigen.hpp) ;;
            *) breach "$place" "Eigen belongs in a definition header (ops/cpu), not here" ;;
            esac
            ;;
        oneapi/tbb* | tbb/*)
            # cpu_context holds the arena, parallel_for runs the loops, background_task what goes on beside them; all else goes through these.
            case $file in
            include/instar/core/cpu_context.hpp | include/instar/core/parallel_for.hpp | include/instar/core/background_task.hpp | include/instar/ops/cpu/* | include/instar/cluster/cpu/*) ;;
            *) breach "$place" "oneTBB belongs in core (cpu_context, parallel_for, background_task) or a definition header" ;;
            esac
            ;;
        cuda* | cublas* | cudnn* | nccl* | cub/* | thrust/* | mma.h | nvrtc* | curand* | cooperative_groups*)
            case $file in
            include/instar/cuda/* | include/instar/ops/cuda/* | include/instar/cluster/cuda/*) ;;
            *) breach "$place" "CUDA headers belong in cuda/, ops/cuda and cluster/cuda" ;;
            esac
            ;;
        esac

        # A declaration header (ops/X.hpp) reaches definitions only below its own INSTAR_COMPILED guard, and no context.
        if [[ $file =~ ^include/instar/ops/[^/]+\.hpp$ ]]; then
            case $included in
            instar/core/cpu_context.hpp | instar/core/parallel_for.hpp | instar/cuda/*)
                breach "$place" "a declaration header forward-declares contexts and does not include $included"
                ;;
            instar/ops/cpu/* | instar/ops/cuda/*)
                grep -q 'INSTAR_COMPILED' <(head -n "$line" "$file") ||
                    breach "$place" "$included must stand behind #if !defined(INSTAR_COMPILED)"
                ;;
            esac
        fi
        # ref is the specification: it rests on core and on declarations, never on an implementation.
        if [[ $file == include/instar/ops/ref/* && $included =~ ^instar/ops/(cpu|cuda)/ ]]; then
            breach "$place" "ops/ref never includes an implementation"
        fi
        # CUDA kernels run without the CPU's threads, and the other way round.
        if [[ $file == include/instar/ops/cpu/* && $included =~ ^instar/(ops/cuda|cuda)/ ]]; then
            breach "$place" "ops/cpu never includes CUDA code"
        fi
    done < <(includes_of "${headers[@]}")

    # The umbrella is for a first try; tests name what they use.
    local -a others=()
    mapfile -t others < <(find tests benchmarks examples -type f \( -name '*.cpp' -o -name '*.hpp' -o -name '*.cu' \) 2>/dev/null | sort)
    if ((${#others[@]})); then
        while IFS=: read -r file line included; do
            if [[ $included == instar/instar.hpp && $file != tests/consumer/* ]]; then
                breach "$file:$line" "tests, benchmarks and examples name the headers they use, not the umbrella"
            fi
        done < <(includes_of "${others[@]}")
    fi

    # Guards are named after the file, so that two headers never share one.
    for file in "${headers[@]}"; do
        [[ $file == *.inl ]] && continue  # included several times on purpose
        local guard=${file#include/instar/}
        guard=INSTAR_$(tr 'a-z/.' 'A-Z__' <<<"$guard")
        grep -q "^#ifndef $guard\$" "$file" || breach "$file:1" "expected the include guard $guard"
    done

    # The umbrella is whole: every header of an area, but for what its area's own headers include (ref, cpu, cuda).
    if [[ -e include/instar/instar.hpp ]]; then
        for file in include/instar/*/*.hpp; do
            [[ $file == include/instar/cuda/* ]] && continue
            grep -q "^#include \"${file#include/}\"" include/instar/instar.hpp || breach "$file:1" "missing in include/instar/instar.hpp"
        done
    fi
    echo "${#headers[@]} headers checked, $n_breaches breaches"
    ((n_breaches == 0))
}

self_test() {
    local dir
    dir=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name is known now
    trap "rm -rf '$dir'" EXIT
    local n_failed=0
    # expect MESSAGE FILE INCLUDE: a tree in which FILE includes INCLUDE must be refused with MESSAGE
    expect() {
        rm -rf "$dir/t"
        mkdir -p "$dir/t/$(dirname "$2")" "$dir/t/include/instar/core" "$dir/t/include/instar/nn" "$dir/t/include/instar/ops/cpu"
        local stub
        for stub in core/element nn/bert ops/gemm ops/cpu/gemm; do
            local guard
            guard=INSTAR_$(tr 'a-z/.' 'A-Z__' <<<"$stub")_HPP
            printf '#ifndef %s\n#define %s\n#endif\n' "$guard" "$guard" >"$dir/t/include/instar/$stub.hpp"
        done
        local guard=${2#include/instar/}
        guard=INSTAR_$(tr 'a-z/.' 'A-Z__' <<<"$guard")
        printf '#ifndef %s\n#define %s\n%s\n#endif\n' "$guard" "$guard" "$3" >"$dir/t/$2"
        local output status=0
        output=$( (check_tree "$dir/t") 2>&1) || status=$?
        if [[ $1 == ok ]]; then
            if ((status != 0)); then
                echo "self-test: $2 with '$3' should pass, but: $output" >&2
                n_failed=$((n_failed + 1))
            fi
        elif ((status == 0)) || [[ $output != *"$1"* ]]; then
            echo "self-test: $2 with '$3' should be refused with '$1', got: $output" >&2
            n_failed=$((n_failed + 1))
        fi
    }
    expect ok include/instar/nn/x.hpp '#include "instar/ops/gemm.hpp"'
    expect ok include/instar/io/json.hpp '#include <nlohmann/json.hpp>'
    expect ok include/instar/cuda/x.cuh '#include <cuda_runtime.h>'
    expect 'core may not include' include/instar/core/x.hpp '#include "instar/ops/gemm.hpp"'
    expect 'ops may not include' include/instar/ops/x.hpp '#include "instar/nn/bert.hpp"'
    expect 'tokenize may not include' include/instar/tokenize/x.hpp '#include "instar/nn/bert.hpp"'
    expect 'optim may not include' include/instar/optim/x.hpp '  #  include "instar/nn/bert.hpp"'
    expect 'does not exist' include/instar/nn/x.hpp '#include "instar/ops/missing.hpp"'
    expect 'only io/json.hpp' include/instar/io/x.hpp '#include <nlohmann/json.hpp>'
    expect 'Eigen belongs' include/instar/ops/x.hpp '#include <Eigen/Core>'
    expect 'oneTBB belongs' include/instar/nn/x.hpp '#include <tbb/parallel_for.h>'
    expect 'CUDA headers belong' include/instar/core/x.hpp '#include <cuda_runtime.h>'
    expect 'forward-declares contexts' include/instar/ops/x.hpp '#include "instar/core/cpu_context.hpp"'
    expect 'INSTAR_COMPILED' include/instar/ops/x.hpp '#include "instar/ops/cpu/gemm.hpp"'
    expect 'never includes an implementation' include/instar/ops/ref/x.hpp '#include "instar/ops/cpu/gemm.hpp"'
    expect 'never includes the umbrella' include/instar/nn/x.hpp '#include "instar/instar.hpp"'
    expect 'not the umbrella' tests/unit/x.cpp '#include "instar/instar.hpp"'
    rm -rf "$dir/t"
    mkdir -p "$dir/t/include/instar/core"
    printf '#ifndef WRONG\n#define WRONG\n#endif\n' >"$dir/t/include/instar/core/x.hpp"
    if (check_tree "$dir/t") >/dev/null 2>&1; then
        echo "self-test: a wrong guard should be refused" >&2
        n_failed=$((n_failed + 1))
    fi
    echo "self-test: $n_failed failures"
    ((n_failed == 0))
}

case ${1-} in
--self-test) self_test ;;
*) check_tree "${1:-$(dirname "$0")/../..}" ;;
esac
