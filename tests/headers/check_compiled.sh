#!/usr/bin/env bash
# Every operator that include/instar/ops declares for the CPU is instantiated by cmake/compiled, so that nobody learns from the
# linker that one was forgotten.
#
#     tests/headers/check_compiled.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

n_operators=0
n_missing=0
for header in include/instar/ops/*.hpp; do
    name=$(basename "$header" .hpp)
    while read -r operator; do
        n_operators=$((n_operators + 1))
        if ! grep -qE "template [a-z_:<>]+ $operator<T>\(cpu_context&" "cmake/compiled/$name.cpp" 2>/dev/null; then
            echo "$header: $operator is not instantiated in cmake/compiled/$name.cpp" >&2
            n_missing=$((n_missing + 1))
        fi
    done < <(grep -vE '^[[:space:]]*//' "$header" | grep -oE '[a-z0-9_]+\(cpu_context& ctx' | sed 's/(.*//' | sort -u)
done
echo "$n_operators operators, $n_missing not instantiated"
((n_operators > 0 && n_missing == 0))
