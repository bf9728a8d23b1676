#!/usr/bin/env bash
# The compile-time budget: what a user of the library waits for. CPU (user) seconds at -O2 of one file each:
#
#     an operator's declaration, INSTAR_COMPILED      ≤ 0.30      any public header alone   ≤ 1.5 (io/json.hpp and what needs it 3.5)
#     hello-transformer, header-only                  ≤ 6         against instar::compiled  ≤ 0.6 (aims, see the end)
#
#     scripts/compile_time.sh [--all]        the table; exit 1 when something is over its limit; --all lists every header
#
# A figure over its limit is measured twice more and the smallest counts. CXX picks the compiler; INSTAR_BUDGET_FACTOR
# (default 1.3) multiplies every limit, because machines and what else they do differ.
set -euo pipefail
cd "$(dirname "$0")/.."

cxx=${CXX:-g++}
factor=${INSTAR_BUDGET_FACTOR:-1.3}
list_all=0
[[ ${1-} == --all ]] && list_all=1
eigen=$(find /usr/include/eigen3 /usr/local/include/eigen3 -maxdepth 0 2>/dev/null | head -n 1 || true)
flags=(-std=c++20 -O2 -Iinclude -Iexamples)
[[ -n $eigen ]] && flags+=(-isystem "$eigen")
echo '#include <zlib.h>' | "$cxx" -fsyntax-only -x c++ - 2>/dev/null && flags+=(-DINSTAR_HAVE_ZLIB=1)

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

user_seconds() {  # user_seconds FLAGS… FILE
    local TIMEFORMAT=%U
    { time "$cxx" "${flags[@]}" "$@" -c -o "$dir/out.o" 2>"$dir/errors"; } 2>&1
}

n_over=0
n_measured=0
# measure LIMIT LABEL FLAGS… FILE
measure() {
    local limit=$1 label=$2 best again mark=""
    shift 2
    if ! best=$(user_seconds "$@"); then
        printf '%8s %8s   %s does not compile\n' - "$limit" "$label"
        head -n 5 "$dir/errors" >&2
        n_over=$((n_over + 1))
        return 0
    fi
    for _ in 1 2; do
        awk -v a="$best" -v l="$limit" 'BEGIN { exit !(a > l) }' || break
        again=$(user_seconds "$@")
        best=$(awk -v a="$best" -v b="$again" 'BEGIN { print (b < a) ? b : a }')
    done
    n_measured=$((n_measured + 1))
    if awk -v a="$best" -v l="$limit" -v f="$factor" 'BEGIN { exit !(a > l * f) }'; then
        mark="OVER"
        n_over=$((n_over + 1))
    elif awk -v a="$best" -v l="$limit" 'BEGIN { exit !(a > l) }'; then
        mark="over, within the headroom"
    fi
    echo "$best" >>"$dir/all"
    if [[ -n $mark ]] || ((list_all)) || [[ $label == hello* ]]; then
        printf '%8.2f %8.2f   %-58s %s\n' "$best" "$limit" "$label" "$mark"
    fi
}
slowest() {
    printf '%8.2f %8.2f   slowest of the %s\n' "$(sort -g "$dir/all" | tail -n 1)" "$1" "$2"
    : >"$dir/all"
}

: >"$dir/all"
printf '%8s %8s   %s\n' seconds limit "what ($cxx)"
for header in include/instar/ops/*.hpp; do
    echo "#include \"${header#include/}\"" >"$dir/declaration.cpp"
    measure 0.30 "declarations of ${header#include/}" -DINSTAR_COMPILED "$dir/declaration.cpp"
done
slowest 0.30 "operator declarations"

while read -r header; do
    echo "#include \"${header#include/}\"" >"$dir/header.cpp"
    limit=1.5
    # JSON is paid for by those who read model folders, and only by them.
    "$cxx" "${flags[@]}" -MM "$dir/header.cpp" 2>/dev/null | grep -q 'instar/io/json\.hpp' && limit=3.5
    # Eigen's own headers take two seconds; nothing includes this one unless INSTAR_GEMM_EIGEN asks for it.
    [[ $header == include/instar/ops/cpu/gemm_eigen.hpp ]] && limit=3.5
    measure $limit "${header#include/}" "$dir/header.cpp"
done < <(find include/instar -name '*.hpp' ! -path 'include/instar/instar.hpp' ! -path '*/ops/ref/*' | sort)
slowest 1.50 "headers alone (3.5 with JSON)"

# The aims are 6.0 and 0.6, and neither is met yet: 8.1 and 2.3 on a machine with half the speed the aims were set on. Until
# bert<float> itself is instantiated in instar::compiled, these limits keep it from growing.
measure 8.0 "hello-transformer, header-only (aim 6.0)" examples/hello/hello.cpp
measure 2.8 "hello-transformer, instar::compiled (aim 0.6)" -DINSTAR_COMPILED examples/hello/hello.cpp

echo "$n_measured measured, $n_over over the budget (limits times $factor)"
((n_over == 0))
