# What the scripts of tests/examples share. Sourced; sets $program (absolute), $dir (a temporary folder, entered, removed at the end) and
# $failed; with a second argument also $emulated, the program that has the emulated device.
#
#     source "$(dirname "$0")/../support/checks.sh" PROGRAM [EMULATED]
#     check "pretrain" "$program" pretrain --metadata sim.csv --out pre
#     refuses "a missing file" "nowhere.csv" "$program" pretrain --metadata nowhere.csv --out o
#     exit $failed
program=$(realpath "$1")
emulated=${2:+$(realpath "$2")}
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

interrupt() {  # interrupt OUT COMMAND…: the command, which logs to OUT, sent SIGINT once its log has begun
    local out=$1 pid
    shift
    "$@" >/dev/null 2>&1 &
    pid=$!
    for _ in $(seq 1 600); do
        [[ -s $out/log.jsonl ]] && break
        sleep 0.05
    done
    kill -INT "$pid" 2>/dev/null
    wait "$pid"
}

same_losses() {  # same_losses A/log.jsonl B/log.jsonl [1e-4]: as many lines, each loss within that share of the other's size
    local losses='s/.*"loss":\([0-9.e+-]*\),.*/\1/p'
    paste <(sed -n "$losses" "$1") <(sed -n "$losses" "$2") |
        awk -v most="${3:-1e-4}" '{ d = ($1 - $2) / $1; if (NF != 2 || d * d > most * most) bad = 1; n++ } END { exit bad || n < 1 }'
}

same_numbers() {  # same_numbers A.npy B.npy: float32 arrays of one shape, no element off by more than 1e-4 of the largest
    perl -e 'my @x; for (@ARGV) { open(my $f, "<:raw", $_) or die; local $/; my $all = <$f>; my $n = unpack("v", substr($all, 8, 2));
             push @x, [substr($all, 10, $n), unpack("f<*", substr($all, 10 + $n))] }
             my ($a, $b) = @x; my $most = 0; exit 1 if @$a != @$b || @$a < 2 || $$a[0] ne $$b[0];
             for (@$a[1 .. $#$a]) { $most = abs if abs > $most }
             for (1 .. $#$a) { exit 1 unless abs($$a[$_] - $$b[$_]) <= 1e-4 * $most }' "$1" "$2"
}
