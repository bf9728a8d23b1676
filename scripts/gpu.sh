#!/usr/bin/env bash
# What a machine with a GPU shows: builds for its architecture, tests, checks with compute-sanitizer, measures, and writes a report.
#
#     scripts/gpu.sh build          the cuda preset for the GPU that is there, into build/gpu
#     scripts/gpu.sh test           tests/gpu
#     scripts/gpu.sh sanitize       compute-sanitizer, memcheck and racecheck, on the same tests at small sizes
#     scripts/gpu.sh bench [NAME…]  benchmarks/gpu, all or those named (gemm, bert, …)
#     scripts/gpu.sh ladders        kernels_cuda: each step of docs/kernels checked and timed, into build/gpu/ladders
#     scripts/gpu.sh peer [NAME…]   the same works in PyTorch, by PYTHON=python-with-torch
#     scripts/gpu.sh report [PATH]  PATH.md and PATH.json (default docs/benchmarks/h100) from what was measured
#     scripts/gpu.sh all            all of that
#
# Made for machines that are lent for minutes: each command ends within INSTAR_GPU_SECONDS (default 540) and goes on where it stopped
# when called again; `bench` and `peer` with names measure these anew. Without a GPU it says so and exits with 77.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() { sed -n '2,14s/^# \{0,1\}//p' "$0"; }
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
deadline=$((SECONDS + ${INSTAR_GPU_SECONDS:-540}))
python=${PYTHON:-python3}

# How the works of a benchmark program are named, for the peer's filter.
declare -A works=(
    [adamw]='^adamw_' [attention]='^attention_' [bert]='^(encoder_forward|mlm_step)' [cross_entropy]='^cross_entropy'
    [embedding]='^embedding_' [gelu]='^gelu_' [gemm]='^gemm' [info_nce]='^info_nce_' [layer_norm]='^layer_norm_' [vit]='^vit_'
)

no_gpu() {
    say "no GPU on this machine ($*): nothing was built, run or measured"
    exit 77
}
smi() { nvidia-smi --id=0 --query-gpu="$1" --format=csv,noheader; }
left() { echo $((deadline - SECONDS)); }
# limited COMMAND…: at most what is left of this call's time
limited() {
    (($(left) > 5)) || return 124
    timeout "$(left)" "$@"
}
fact() { printf '%s\n' "$2" >"$folder/facts/$1"; }  # fact NAME VALUE, for the report
out_of_time() {
    say "$1: the time of this call (INSTAR_GPU_SECONDS) is over; call it again to go on"
    exit 75
}

command -v nvidia-smi >/dev/null || no_gpu "nvidia-smi is not there"
capability=$(smi compute_cap 2>/dev/null | head -n 1) || no_gpu "nvidia-smi finds none"
[[ $capability =~ ^[0-9]+\.[0-9]+$ ]] || no_gpu "nvidia-smi finds none"
if [[ -d /usr/local/cuda/bin ]]; then PATH=$PATH:/usr/local/cuda/bin; fi
mkdir -p "$folder/bench" "$folder/ladders" "$folder/peer" "$folder/facts"

do_build() {
    command -v nvcc >/dev/null || die "a GPU is here, but no nvcc: install the CUDA toolkit"
    require "${build_packages[@]}" "doctest-dev header doctest/doctest.h" "libbenchmark-dev header benchmark/benchmark.h" "libcli11-dev header CLI/CLI.hpp"
    local arch=${capability/./}
    # Hopper's own instructions are in 90a alone.
    [[ $arch == 90 ]] && arch=90a
    say "Building for sm_$arch ($(smi name))"
    cmake --preset cuda -B "$folder" -DCMAKE_CUDA_ARCHITECTURES="$arch-real" -DINSTAR_BUILD_EXAMPLES=ON -DINSTAR_EXAMPLES=kernels_cuda -DINSTAR_TEST_LABELS=none \
        -DINSTAR_TEST_HEADERS=OFF -DINSTAR_TEST_CONSUMERS=OFF -DINSTAR_INSTALL=OFF >"$folder/build.log"
    local status=0
    limited cmake --build "$folder" -j "$jobs" --target instar_test_gpu instar_test_no_device gpu_benchmarks kernels_cuda >>"$folder/build.log" 2>&1 || status=$?
    ((status != 124)) || out_of_time build
    ((status == 0)) || {
        tail -n 40 "$folder/build.log" >&2
        die "gpu.sh: the build failed; the whole log is $folder/build.log"
    }
}

built() { [[ -x $tests ]] || die "gpu.sh: not built yet; run scripts/gpu.sh build"; }

do_test() {
    built
    local status=0
    "$folder/tests/gpu/instar_test_no_device" || die "gpu.sh: with every device hidden, a context does not say so"
    limited "$tests" 2>&1 | tee "$folder/test.log" || status=$?
    ((status != 124)) || out_of_time test
    fact tests "$(grep '^\[doctest\] test cases' "$folder/test.log" | sed 's/^\[doctest\] test cases: *//; s/ *| */, /g')"
    ((status == 0)) || die "gpu.sh: GPU tests failed; the log is $folder/test.log"
}

do_sanitize() {
    built
    if ! command -v compute-sanitizer >/dev/null; then
        say "no compute-sanitizer on this machine: memcheck and racecheck were not run"
        fact memcheck "not run, no compute-sanitizer"
        fact racecheck "not run, no compute-sanitizer"
        return 0
    fi
    local tool status n_bad=0
    for tool in memcheck racecheck; do
        [[ $(cat "$folder/facts/$tool" 2>/dev/null) != clean || $folder/facts/$tool -ot $tests ]] || continue
        say "compute-sanitizer $tool"
        status=0
        # The misuse tests fail calls on purpose, so calls that fail are not what is looked for.
        INSTAR_GPU_SMALL=1 limited compute-sanitizer --tool "$tool" --report-api-errors no --error-exitcode 9 "$tests" \
            >"$folder/$tool.log" 2>&1 || status=$?
        if ((status == 0)); then  # the ladders have what no operator has: cp.async
            limited compute-sanitizer --tool "$tool" --error-exitcode 9 "$folder/examples/kernels_cuda" --check gemm --n 136 >>"$folder/$tool.log" 2>&1 || status=$?
        fi
        tail -n 3 "$folder/$tool.log"
        ((status != 124)) || out_of_time sanitize
        if ((status == 0)); then
            fact "$tool" clean
        else
            fact "$tool" "errors: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|FAILURE' "$folder/$tool.log" | tail -n 1)"
            n_bad=$((n_bad + 1))
        fi
    done
    ((n_bad == 0)) || die "gpu.sh: see $folder/memcheck.log and $folder/racecheck.log"
}

clocks() { smi clocks.sm,clocks.mem,temperature.gpu,power.draw; }

# names_of NAME…: those, one a line, or all; refuses what is not known
names_of() {
    local name
    for name in "$@"; do
        [[ -n ${works[$name]-} ]] || die "gpu.sh: no benchmark '$name'; there are: ${!works[*]}"
    done
    if (($#)); then printf '%s\n' "$@"; else printf '%s\n' "${!works[@]}" | sort; fi
}

do_bench() {
    built
    local name status n_failed=0 list
    list=$(names_of "$@")
    for name in "$@"; do rm -f "$folder/bench/$name.json"; done
    compgen -G "$folder/bench/*.json" >/dev/null || fact clocks_before "$(clocks)"
    fact date "$(date --utc '+%Y-%m-%d %H:%M UTC')"
    fact driver "$(smi driver_version)"
    fact cuda_toolkit "$(nvcc --version | sed -n 's/^.*release \([0-9.]*\).*$/\1/p')"
    fact commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
    for name in $list; do
        [[ ! $folder/bench/$name.json -nt $programs/bench_gpu_$name ]] || continue
        say "--- $name"
        status=0
        limited "$programs/bench_gpu_$name" --benchmark_out_format=json --benchmark_out="$folder/bench/$name.part" || status=$?
        ((status != 124)) || out_of_time bench
        if ((status == 0)); then
            mv "$folder/bench/$name.part" "$folder/bench/$name.json"
            fact clocks_after "$(clocks)"
        else
            say "$name ended with status $status"
            n_failed=$((n_failed + 1))
        fi
    done
    ((n_failed == 0))
}

do_ladders() {
    built
    local name status n_failed=0
    for name in gemm layer_norm attention; do
        [[ ! $folder/ladders/$name.txt -nt $folder/examples/kernels_cuda ]] || continue
        status=0
        limited "$folder/examples/kernels_cuda" "$name" >"$folder/ladders/$name.part" || status=$?
        ((status != 124)) || out_of_time ladders
        cat "$folder/ladders/$name.part"
        if ((status == 0)); then
            mv "$folder/ladders/$name.part" "$folder/ladders/$name.txt"
        else
            say "the ladder $name ended with status $status"
            n_failed=$((n_failed + 1))
        fi
    done
    ((n_failed == 0))
}

do_peer() {
    local name status n_failed=0 list
    if [[ -z ${PYTHON-} ]]; then
        say "PYTHON is not set: PyTorch was not measured, the report will have no ratios"
        return 0
    fi
    list=$(names_of "$@")
    for name in "$@"; do rm -f "$folder/peer/$name.json" "$folder/peer/$name.done"; done
    for name in $list; do
        [[ ! -e $folder/peer/$name.done ]] || continue
        say "--- PyTorch: $name"
        status=0
        limited "$python" benchmarks/peers/gpu_pytorch.py --filter "${works[$name]}" --out "$folder/peer/$name.json" --resume || status=$?
        ((status != 124)) || out_of_time peer
        ((status != 77)) || die "gpu.sh: the torch of $python finds no GPU: nothing was measured with it"
        if ((status == 0)); then
            touch "$folder/peer/$name.done"
        else
            say "PyTorch: $name ended with status $status"
            n_failed=$((n_failed + 1))
        fi
    done
    ((n_failed == 0))
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
    "$python" benchmarks/peers/gpu_report.py "${arguments[@]}" --instar "${own[@]}" --peer "${peers[@]}"
}

if [[ $command == all ]]; then
    failed=()
    deadline=$((SECONDS + ${INSTAR_GPU_SECONDS:-86400}))
    do_build
    for step in test sanitize bench ladders peer; do
        ("do_$step") || failed+=("$step")
    done
    do_report "$@"
    ((${#failed[@]} == 0)) || die "gpu.sh: failed: ${failed[*]}"
else
    "do_$command" "$@"
fi
