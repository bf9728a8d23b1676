# What the scripts of tests/examples share. Sourced; sets $program (absolute), $dir (a temporary folder, entered, removed at the end) and
# $failed.
#
#     source "$(dirname "$0")/../support/checks.sh" PROGRAM
#     check "pretrain" "$program" pretrain --metadata sim.csv --out pre
#     refuses "a missing file" "nowhere.csv" "$program" pretrain --metadata nowhere.csv --out o
#     exit $failed
program=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

check() {  # check NAME COMMAND…
    local name=$1
    shift
    if "$@" >"$dir/last.log" 2>&1; then
        echo "ok      $name"
    else
        echo "FAILED  $name"
        tail -n 20 "$dir/last.log"
        failed=1
    fi
}

refuses() {  # refuses NAME 'TEXT OF THE ERROR' COMMAND…: exits 1 and says so
    local name=$1 text=$2
    shift 2
    "$@" >"$dir/last.log" 2>&1
    local code=$?
    if [[ $code -eq 1 ]] && grep -qF -- "$text" "$dir/last.log"; then
        echo "ok      refuses $name"
    else
        echo "FAILED  refuses $name (exit $code, expected 1 and '$text')"
        tail -n 5 "$dir/last.log"
        failed=1
    fi
}
