#!/usr/bin/env bash
# What a machine with a GPU shows: builds for its architecture, tests, checks with compute-sanitizer, measures, and writes a report.
#
#     scripts/gpu.sh build          the cuda preset for the GPU that is there, into build/gpu
#     scripts/gpu.sh test           tests/gpu
#     scripts/gpu.sh bench [NAME…]  benchmarks/gpu, all or those named (gemm, bert, …)
#     scripts/gpu.sh ladders        kernels_cuda: each step of docs/kernels checked and timed, into build/gpu/ladders
#     scripts/gpu.sh peer [NAME…]   the same works in PyTorch, by PYTHON=python-with-torch
#     scripts/gpu.sh sanitize       compute-sanitizer, memcheck and racecheck, on the tests at small sizes
#     scripts/gpu.sh report [PATH]  PATH.md and PATH.json (default docs/benchmarks/h100) from what was measured
#     scripts/gpu.sh all [PATH]     all of that in this order, each step with a share of the time; what fails does not stop the rest
#
# Made for machines that are lent for minutes: each command ends within INSTAR_GPU_SECONDS (default 540), exits with 75 when more is to be
# done, and goes on where it stopped when called again; `bench` and `peer` with names measure these anew. Without a GPU it says so and exits
# with 77; INSTAR_GPU_ARCH=90a builds there all the same, and `report` needs none.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0"; }
command=${1-}
case $command in
build | test | sanitize | bench | ladders | peer | report | all) shift ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

cd "$root"
folder=build/gpu
programs=$folder/benchmarks/gpu
tests=$folder/tests/gpu/instar_test_gpu
ladders=$folder/examples/kernels_cuda
seconds=${INSTAR_GPU_SECONDS:-540}
deadline=$((SECONDS + seconds))
python=${PYTHON:-python3}
# One program must not take the time of all others: a kernel that hangs, a compiler that does not come back.
program_seconds=${INSTAR_GPU_PROGRAM_SECONDS:-180}

# How the works of a benchmark program are named, for the peer's filter; empty: PyTorch has no such thing.
declare -A works=(
    [adamw]='^(adamw_|squared_norm)' [agglomerative]='' [attention]='^attention_' [batch_norm]='^batch_norm_' [bert]='^(encoder_forward|mlm_step)'
    [channels_last]='^channels_last' [clip]='^clip_' [conv2d]='^conv2d_' [cross_entropy]='^cross_entropy' [dropout]='^(residual_)?dropout_'
    [elementwise]='^(fill|copy|add|scale|relu_backward)[_/]' [embedding]='^embedding_' [focal_loss]='^focal_loss' [gelu]='^gelu_' [gemm]='^gemm'
    [info_nce]='^info_nce_' [kmeans]='^kmeans' [kmer]='^kmer_' [knn]='^knn' [l2_normalize]='^l2_normalize_' [layer_norm]='^layer_norm_' [linear]='^linear_'
    [max_pool2d]='^max_pool2d_' [mini_batch_kmeans]='' [nn_descent]='' [patch_embedding]='^(extract_patches|prepend_class_token)' [pooling]='^sequence_pool_' [resnet]='^resnet_' [sgd]='^sgd_'
    [silhouette]='^silhouette' [siglip]='^siglip_' [softmax]='^softmax_' [sup_con]='^sup_con_' [vit]='^vit_'
)
# What is wanted most comes first: time may be short. The rest follows by name.
first=(bert vit clip gemm attention info_nce layer_norm gelu adamw kmeans agglomerative knn resnet)
test_parts=(operators kmer misuse clustering)

no_gpu() {
    say "no GPU on this machine ($*): nothing was built, run or measured"
    exit 77
}
smi() { nvidia-smi --id=0 --query-gpu="$1" --format=csv,noheader 2>/dev/null || echo unknown; }
left() { echo $((deadline - SECONDS)); }
at_most() { echo $(($(left) < $1 ? $(left) : $1)); }
# limited SECONDS COMMAND…: at most that, and at most what is left of this call's time; 124 when it was stopped
limited() {
    local limit status=0
    limit=$(at_most "$1")
    shift
    ((limit > 5)) || return 124
    interruptible timeout --kill-after=10 "$limit" "$@" || status=$?
    ((status != 137)) || status=124
    return "$status"
}
# In the background, because a shell that waits for one in the foreground hears no signal until it ends.
running=
trap '[[ -z $running ]] || kill "$running" 2>/dev/null; exit 130' INT TERM HUP
interruptible() {
    local status=0
    "$@" &
    running=$!
    wait "$running" || status=$?
    running=
    return "$status"
}
late() { (($(left) <= 10)); }
fact() { printf '%s\n' "$2" >"$folder/facts/$1"; }  # fact NAME VALUE, for the report
out_of_time() {
    say "$1: the time of this call (INSTAR_GPU_SECONDS) is over; call it again to go on"
    exit 75
}

if [[ -d /usr/local/cuda/bin ]]; then PATH=$PATH:/usr/local/cuda/bin; fi
arch=${INSTAR_GPU_ARCH-}
if [[ $command != report && ! ($command == build && -n $arch) ]]; then
    command -v nvidia-smi >/dev/null || no_gpu "nvidia-smi is not there"
    capability=$(smi compute_cap | head -n 1)
    [[ $capability =~ ^[0-9]+\.[0-9]+$ ]] || no_gpu "nvidia-smi finds none"
    # Hopper's own instructions are in 90a alone.
    if [[ -z $arch ]]; then
        arch=${capability/./}
        [[ $arch != 90 ]] || arch=90a
    fi
fi
[[ $command == report ]] || mkdir -p "$folder/bench" "$folder/ladders" "$folder/peer" "$folder/facts"

do_build() {
    command -v nvcc >/dev/null || die "gpu.sh: there is no nvcc: install the CUDA toolkit"
    require "${build_packages[@]}" "doctest-dev header doctest/doctest.h" "libbenchmark-dev header benchmark/benchmark.h" "libcli11-dev header CLI/CLI.hpp"
    say "Building for sm_$arch"
    local status=0
    cmake --preset cuda -B "$folder" -DCMAKE_CUDA_ARCHITECTURES="$arch-real" -DINSTAR_EXAMPLES=kernels_cuda -DINSTAR_TEST_LABELS=none \
        -DINSTAR_TEST_HEADERS=OFF -DINSTAR_TEST_CONSUMERS=OFF -DINSTAR_INSTALL=OFF >"$folder/build.log" 2>&1 || status=$?
    # One benchmark that does not build must not keep the others from running.
    ((status != 0)) ||
        limited "$seconds" cmake --build "$folder" -j "$jobs" --target instar_test_gpu instar_test_no_device gpu_benchmarks kernels_cuda -- -k 0 >>"$folder/build.log" 2>&1 ||
        status=$?
    ((status != 124)) || out_of_time build
    ((status == 0)) || {
        grep -nE 'error|FAILED' "$folder/build.log" | head -n 40 >&2 || tail -n 40 "$folder/build.log" >&2
        die "gpu.sh: the build failed; the whole log is $folder/build.log"
    }
}

# built PROGRAM
built() { [[ -x $1 ]] || die "gpu.sh: $1 is not built; run scripts/gpu.sh build"; }

# settled FACT: what a part of the tests gave, unless the tests were built since
settled() { [[ $folder/facts/$1 -nt $tests ]] && [[ $(<"$folder/facts/$1") == clean* ]]; }

do_test() {
    built "$tests"
    local part status n_bad=0 took
    limited 60 "$folder/tests/gpu/instar_test_no_device" || {
        say "with every device hidden, a context does not say so"
        n_bad=1
    }
    for part in "${test_parts[@]}"; do
        ! settled "test_$part" || continue
        say "--- tests of $part"
        status=0
        took=$SECONDS
        limited "$program_seconds" "$tests" "--source-file=*/gpu/$part.cpp" >"$folder/test_$part.log" 2>&1 || status=$?
        tail -n 3 "$folder/test_$part.log"
        if ((status == 0)); then
            fact "test_$part" "clean, $(sed -n 's/^\[doctest\] test cases: *\([0-9]*\).*/\1/p' "$folder/test_$part.log") cases"
            continue
        fi
        ((status != 124)) || ! late || out_of_time test
        n_bad=$((n_bad + 1))
        if ((status == 124)); then fact "test_$part" "stopped after $((SECONDS - took)) s"; else fact "test_$part" "failed, status $status"; fi
    done
    ((n_bad == 0)) || die "gpu.sh: GPU tests failed; the logs are $folder/test_*.log"
}

# check_part TOOL PART COMMAND…: compute-sanitizer on one part, half of what is left at most, so that the others have their turn
check_part() {
    local tool=$1 part=$2 status=0 took=$SECONDS
    shift 2
    ! settled "${tool}_$part" || return 0
    say "--- compute-sanitizer $tool, $part"
    # The misuse tests fail calls on purpose, so calls that fail are not what is looked for.
    INSTAR_GPU_SMALL=1 limited $(($(left) > 120 ? $(left) / 2 : 60)) compute-sanitizer --tool "$tool" --report-api-errors no --error-exitcode 9 \
        "$@" >"$folder/${tool}_$part.log" 2>&1 || status=$?
    tail -n 3 "$folder/${tool}_$part.log" 2>/dev/null || true
    if ((status == 0)); then
        fact "${tool}_$part" clean
        return 0
    fi
    ((status != 124)) || ! late || out_of_time sanitize
    if ((status == 124)); then
        fact "${tool}_$part" "stopped after $((SECONDS - took)) s"
    else
        fact "${tool}_$part" "errors: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|FAILURE' "$folder/${tool}_$part.log" | tail -n 1)"
    fi
    return 1
}

do_sanitize() {
    local tool part n_bad=0
    if ! command -v compute-sanitizer >/dev/null; then
        say "no compute-sanitizer on this machine: memcheck and racecheck were not run"
        fact memcheck "not run, no compute-sanitizer"
        fact racecheck "not run, no compute-sanitizer"
        return 0
    fi
    built "$tests"
    rm -f "$folder/facts/memcheck" "$folder/facts/racecheck"
    for tool in memcheck racecheck; do
        for part in "${test_parts[@]}"; do
            check_part "$tool" "$part" "$tests" "--source-file=*/gpu/$part.cpp" || n_bad=$((n_bad + 1))
        done
        # The ladders have what no operator has: cp.async.
        [[ ! -x $ladders ]] || check_part "$tool" ladders "$ladders" --check gemm --n 136 || n_bad=$((n_bad + 1))
    done
    ((n_bad == 0)) || die "gpu.sh: see $folder/memcheck_*.log and $folder/racecheck_*.log"
}

clocks() { smi clocks.sm,clocks.mem,temperature.gpu,power.draw; }
# Clocks once a second while this script measures: an idle device says nothing of those that a figure was measured at.
sample_clocks() {
    nvidia-smi --id=0 --query-gpu=clocks.sm,power.draw --format=csv,noheader --loop-ms=1000 >>"$folder/clocks.csv" 2>/dev/null &
    # shellcheck disable=SC2064  # the process of now
    trap "kill $! 2>/dev/null || true" EXIT
}
clocks_while_measuring() {
    sort -n "$folder/clocks.csv" |
        awk -F '[ ,]+' '{ clock[NR] = $1; if ($3 > power) power = $3 }
            END { if (NR) printf "%d to %d MHz, median %d; up to %d W; %d samples\n", clock[1], clock[NR], clock[int((NR + 1) / 2)], power, NR }'
}
machine_facts() {
    fact date "$(date --utc '+%Y-%m-%d %H:%M UTC')"
    fact gpu "$(smi name)"
    fact driver "$(smi driver_version)"
    fact limits "$(smi clocks.max.sm,clocks.max.mem,power.limit)"
    fact cuda_toolkit "$({ nvcc --version 2>/dev/null || echo 'release unknown'; } | sed -n 's/^.*release \([0-9.a-z]*\).*$/\1/p')"
    fact commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
}

# names_of NAME…: those, one a line, or all; refuses what is not known
names_of() {
    local name
    for name in "$@"; do
        [[ -v works[$name] ]] || die "gpu.sh: no benchmark '$name'; there are: ${!works[*]}"
    done
    if (($#)); then
        printf '%s\n' "$@"
    else
        printf '%s\n' "${first[@]}"
        printf '%s\n' "${!works[@]}" | sort | grep -vxFf <(printf '%s\n' "${first[@]}")
    fi
}

# unsettled NAME: the program's works, in their order, that have no time yet and were not given up
unsettled() {
    local -a files=("$folder/bench/$1".*.json)
    "$programs/bench_gpu_$1" --benchmark_list_tests | sed 's|/iterations:.*||' | grep -vxFf <(
        [[ ! -e ${files[0]} ]] || "$python" benchmarks/peers/gpu_report.py --measured "${files[@]}"
        cat "$folder/bench/$1.given_up" 2>/dev/null
        echo /  # no work's name: without a pattern grep lets nothing through
    ) || true
}

# measure NAME: runs the program until each of its works has a time. Where it ends early, by a crash, an error that leaves the device unusable
# or the limit, the first work without a time is given up and the rest tried again. 75: this call's time is over; 1: something was given up.
measure() {
    local name=$1 status attempt culprit rest
    local base=$folder/bench/$name program=$programs/bench_gpu_$name
    find "$folder/bench" -name "$name.*" ! -newer "$program" -delete  # of an older program
    for attempt in 1 2 3 4 5; do
        rest=$(unsettled "$name")
        [[ -n $rest ]] || break
        if ((attempt == 5)); then
            say "$name: given up, $(wc -l <<<"$rest") works were not measured"
            printf '%s\n' "$rest" >>"$base.given_up"
            break
        fi
        ! late || return 75
        status=0
        limited "$program_seconds" "$program" --benchmark_filter="^($(paste -s -d '|' <<<"$rest"))/iterations:" --benchmark_out_format=json \
            --benchmark_out="$base.$(date +%s)-$attempt.json" || status=$?
        ((status != 77)) || die "gpu.sh: $program finds no GPU"
        fact clocks_after "$(clocks)"
        culprit=$(unsettled "$name" | head -n 1)
        [[ -n $culprit ]] || break
        ((status != 124)) || ! late || return 75
        say "$name: no time of $culprit (status $status)"
        printf '%s\n' "$culprit" >>"$base.given_up"
    done
    [[ ! -e $base.given_up ]]
}

do_bench() {
    local name status n_failed=0 list
    command -v "$python" >/dev/null || die "gpu.sh: there is no $python, which reads what the benchmarks write; PYTHON names another"
    list=$(names_of "$@")
    for name in "$@"; do rm -f "$folder/bench/$name".*; done
    compgen -G "$folder/bench/*.json" >/dev/null || {
        fact clocks_before "$(clocks)"
        rm -f "$folder/clocks.csv"
    }
    machine_facts
    sample_clocks
    for name in $list; do
        if [[ ! -x $programs/bench_gpu_$name ]]; then
            say "--- $name: not built"
            n_failed=$((n_failed + 1))
            continue
        fi
        say "--- $name"
        status=0
        measure "$name" || status=$?
        ((status != 75)) || out_of_time bench
        ((status == 0)) || n_failed=$((n_failed + 1))
    done
    ((n_failed == 0)) || die "gpu.sh: $n_failed programs have works that were not measured"
}

do_ladders() {
    built "$ladders"
    local name status n_failed=0
    for name in gemm layer_norm attention; do
        [[ ! $folder/ladders/$name.txt -nt $ladders ]] || continue
        say "--- ladder of $name"
        status=0
        limited "$program_seconds" "$ladders" "$name" >"$folder/ladders/$name.part" || status=$?
        cat "$folder/ladders/$name.part"
        ((status != 124)) || ! late || out_of_time ladders
        if ((status == 0)); then
            mv "$folder/ladders/$name.part" "$folder/ladders/$name.txt"
        else
            say "the ladder $name ended with status $status"
            n_failed=$((n_failed + 1))
        fi
    done
    ((n_failed == 0)) || die "gpu.sh: $n_failed ladders failed"
}

do_peer() {
    local name status=0 list attempt
    local -a filters=() anew=()
    if [[ -z ${PYTHON-} ]]; then
        say "PYTHON is not set: PyTorch was not measured, the report will have no ratios"
        return 0
    fi
    list=$(names_of "$@")
    for name in $list; do [[ -z ${works[$name]} ]] || filters+=("${works[$name]}"); done
    (($# == 0)) || anew=(--anew)
    ((${#filters[@]})) || return 0
    # It ends itself where a work hangs or spoils the device, tries that once more in the next process, and then leaves it out.
    for attempt in {1..20}; do
        status=0
        limited "$seconds" "$python" benchmarks/peers/gpu_pytorch.py --filter "${filters[@]}" --out "$folder/peer/torch.json" --resume "${anew[@]}" \
            --limit $((2 * program_seconds)) || status=$?
        anew=()
        ((status == 124 || status > 128)) || break
        ! late || out_of_time peer
        say "PyTorch: a process ended with status $status; the next goes on ($attempt)"
    done
    ((status != 77)) || die "gpu.sh: the torch of $python finds no GPU: nothing was measured with it"
    ((status == 0)) || die "gpu.sh: PyTorch ended with status $status"
}

do_report() {
    local path=${1:-docs/benchmarks/h100} file
    local -a arguments=(--out "$path") own=() peers=()
    for file in "$folder"/facts/*; do
        [[ -s $file ]] && arguments+=(--fact "$(basename "$file")=$(<"$file")")
    done
    for file in "$folder"/bench/*.json; do [[ -s $file ]] && own+=("$file"); done
    for file in "$folder"/peer/*.json; do [[ -s $file ]] && peers+=("$file"); done
    ((${#own[@]})) || die "gpu.sh: nothing was measured yet; run scripts/gpu.sh bench"
    [[ ! -s $folder/clocks.csv ]] || arguments+=(--fact "clocks_while_measuring=$(clocks_while_measuring)")
    "$python" benchmarks/peers/gpu_report.py "${arguments[@]}" --instar "${own[@]}" --peer "${peers[@]}"
}

# step PERCENT NAME [ARGUMENT…]: a command of its own, with that share of the time that is left
step() {
    local share=$1 name=$2 status=0
    shift 2
    interruptible env INSTAR_GPU_SECONDS=$(($(left) * share / 100)) scripts/gpu.sh "$name" "$@" || status=$?
    case $status in
    0) ;;
    75) unfinished+=("$name") ;;
    *) failed+=("$name") ;;
    esac
}

do_all() {
    failed=() unfinished=()
    deadline=$((deadline - 15))  # the report's
    # Whatever ends this, a lost connection too: what was measured is written down.
    # shellcheck disable=SC2064  # the arguments of now
    trap "scripts/gpu.sh report $(printf '%q ' "$@")" EXIT
    step 100 build
    if [[ -x $tests ]] || compgen -G "$programs/bench_gpu_*" >/dev/null; then
        step 25 test
        step 60 bench
        step 15 ladders
        step 50 peer
        step 100 sanitize
    fi
    trap - EXIT
    step 100 report "$@"
    ((${#failed[@]} == 0)) || die "gpu.sh: failed: ${failed[*]}${unfinished[*]:+; unfinished, call it again: ${unfinished[*]}}"
    ((${#unfinished[@]} == 0)) || {
        say "unfinished, call it again to go on: ${unfinished[*]}"
        exit 75
    }
}

"do_$command" "$@"
