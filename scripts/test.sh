#!/usr/bin/env bash
# Everything that must hold before a change is taken, as CI runs it.
#
#     scripts/test.sh            all of it: at most 40 minutes on two cores
#     scripts/test.sh --quick    one build: unit, grad, golden, emulated, headers
#
#   dev       g++, AddressSanitizer and UndefinedBehaviorSanitizer: unit, grad, golden, emulated
#   release   g++ -O3 -Werror: unit, grad, golden, headers, consumers, examples (also on the emulated device), and the compile-time budget
#   clang     clang++-19 -Werror: all headers in one file, unit, fuzz targets for some seconds each; JPEG by libjpeg-turbo
#   cuda      nvcc for sm_80 and sm_90a: operators, the GPU's ladders, consumer, GPU tests (skipped where there is no GPU)
#
# Installs what is missing (see common.sh). INSTAR_DATA names the folder of real data; tests that need it say so without it.
# Each part's log is build/test_<part>.log. The last line is "N passed, N failed, N skipped".
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

quick=0
case ${1-} in
--quick) quick=1 ;;
-h | --help)
    sed -n '2,14s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
"") ;;
*) die "test.sh: unknown argument '$1'; see --help" ;;
esac

packages=("${build_packages[@]}" "${quick_packages[@]}")
((quick)) || packages+=("${test_packages[@]}")
require "${packages[@]}"

cd "$root"
mkdir -p build
summary=build/test_summary.txt
: >"$summary"
n_passed=0
n_failed=0
n_skipped=0

note() {  # note passed|failed|skipped NAME [DETAIL]
    case $1 in
    passed) n_passed=$((n_passed + 1)) ;;
    failed) n_failed=$((n_failed + 1)) ;;
    skipped) n_skipped=$((n_skipped + 1)) ;;
    esac
    printf '%-8s %-28s %s\n' "$1" "$2" "${3-}" >>"$summary"
}

# run NAME COMMAND…: one step that passes or fails as a whole; its output goes to the log
run() {
    local name=$1 begin=$SECONDS
    shift
    if "$@" >>"$log" 2>&1; then
        note passed "$name" "$((SECONDS - begin)) s"
    else
        note failed "$name" "$((SECONDS - begin)) s, see $log"
        say "--- $name failed; the end of $log:"
        tail -n 60 "$log"
        return 1
    fi
}

# tests NAME FOLDER CTEST-ARGUMENTS…: counts what ctest counted
tests() {
    local name=$1 folder=$2 begin=$SECONDS junit total failed skipped not_run
    shift 2
    junit=$root/build/$name.junit.xml
    rm -f "$junit"
    ctest --test-dir "$folder" --no-tests=error --output-on-failure -j "$jobs" --output-junit "$junit" "$@" 2>&1 | tee -a "$log" |
        grep -vE '^ *Start +[0-9]+:' || true
    if [[ ! -s $junit ]]; then
        note failed "$name" "ctest wrote no result, see $log"
        return 0
    fi
    total=$(sed -n 's/^[[:space:]]*tests="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)
    failed=$(sed -n 's/^[[:space:]]*failures="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)
    skipped=$(sed -n 's/^[[:space:]]*skipped="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)
    # A program that was not built is "skipped" to ctest, and failed to everybody else; a real skip names its reason SKIP_….
    not_run=$(grep '<skipped message="' "$junit" | grep -vc '<skipped message="SKIP_' || true)
    skipped=$((skipped - not_run))
    failed=$((failed + not_run))
    n_passed=$((n_passed + total - failed - skipped))
    n_failed=$((n_failed + failed))
    n_skipped=$((n_skipped + skipped))
    printf '%-8s %-28s %s\n' "$( ((failed)) && echo failed || echo passed)" "$name" \
        "$((total - failed - skipped)) of $total tests passed, $failed failed, $skipped skipped, $((SECONDS - begin)) s" >>"$summary"
}

part() {
    log=build/test_$1.log
    : >"$log"
    say ""
    say "=== $1 ($2), log $log, after $((SECONDS / 60)) min"
}

build() {  # build FOLDER TARGETS…: every target that can be built is, so that one broken file hides no other
    local folder=$1
    shift
    cmake --build "$folder" -j "$jobs" --target "$@" -- -k 0
}

if ((quick)); then
    part quick "g++ -O2, no sanitizers"
    run quick.configure cmake --preset release -B build/quick -DINSTAR_BUILD_CUDA=OFF -DINSTAR_BUILD_EXAMPLES=OFF \
        -DINSTAR_BUILD_BENCHMARKS=OFF -DINSTAR_BUILD_COMPILED=OFF -DINSTAR_TEST_CONSUMERS=OFF -DCMAKE_CXX_FLAGS_RELEASE=-O2 &&
        { run quick.build build build/quick all || true; } &&
        tests quick.test build/quick
else
    part dev "g++, ASan and UBSan"
    # Line tables are all that a report needs here; the preset's -g is for gdb.
    if run dev.configure cmake --preset dev -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DINSTAR_BUILD_EXAMPLES=OFF -DINSTAR_BUILD_COMPILED=ON \
        -DINSTAR_EXAMPLES_EMULATED=ON -DINSTAR_TEST_HEADERS=OFF "-DINSTAR_TEST_COMPILED=unit;grad;golden;emulated"; then
        run dev.build build build/dev all || true
        tests dev.test build/dev
    fi

    part release "g++ -O3"
    if run release.configure cmake --preset release -DINSTAR_BUILD_CUDA=OFF -DINSTAR_EXAMPLES_EMULATED=ON "-DINSTAR_TEST_LABELS=unit;grad;golden" \
        "-DINSTAR_TEST_COMPILED=grad;golden"; then
        run release.build build build/release all || true
        tests release.test build/release
        # Benchmarks need only compile here.
        run release.benchmarks_configure cmake --preset release -B build/benchmarks -DCMAKE_CXX_FLAGS_RELEASE="-O0 -DNDEBUG" -DINSTAR_BUILD_CUDA=OFF \
            -DINSTAR_BUILD_TESTS=OFF -DINSTAR_BUILD_EXAMPLES=OFF -DINSTAR_BUILD_COMPILED=OFF &&
            { run release.benchmarks build build/benchmarks benchmarks || true; }
        run release.compile_time scripts/compile_time.sh || true
        grep -E '^ +[0-9.]+ +[0-9.]+  |measured,' "$log" | tail -n 20 || true
    fi

    part clang "clang++-19 -O2, JPEG by libjpeg-turbo, fuzz targets"
    if run clang.configure cmake --preset clang -DCMAKE_CXX_FLAGS_RELEASE=-O2 -DINSTAR_WITH_TURBOJPEG=ON -DINSTAR_BUILD_EXAMPLES=OFF -DINSTAR_BUILD_BENCHMARKS=OFF \
        -DINSTAR_BUILD_COMPILED=OFF -DINSTAR_TEST_CONSUMERS=OFF -DINSTAR_TEST_LABELS=unit -DINSTAR_TEST_HEADERS=TOGETHER; then
        run clang.build build build/clang all || true
        tests clang.test build/clang
    fi

    part cuda "nvcc, sm_80 and sm_90a"
    if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
        say "no nvcc on this machine: CUDA sources are not compiled, the emulated tests above ran every kernel"
        note skipped cuda "no nvcc"
    elif run cuda.configure cmake --preset cuda -DINSTAR_BUILD_EXAMPLES=ON -DINSTAR_EXAMPLES=kernels_cuda -DINSTAR_BUILD_BENCHMARKS=OFF -DINSTAR_TEST_LABELS=none \
        -DINSTAR_TEST_HEADERS=OFF; then
        run cuda.build build build/cuda all || true
        tests cuda.test build/cuda -R 'cuda|gpu|install'
    fi
fi

say ""
say "=== summary after $(((SECONDS + 59) / 60)) min"
cat "$summary"
say ""
say "$n_passed passed, $n_failed failed, $n_skipped skipped"
echo "$n_passed passed, $n_failed failed, $n_skipped skipped" >>"$summary"
((n_failed == 0))
