"""Two reports of run.py side by side: has anything become slower, measured by its ratio to the peer of the same run?

    python benchmarks/peers/compare.py docs/benchmarks/cpu.json new.json                  # ratios to the tuned peer
    python benchmarks/peers/compare.py old.json new.json --against 'as it comes' --threshold 0.15

A ratio is the peer's median time over instar's, both of one run: that the machine was slower that day cancels. Work without a peer is
compared by its share of the peak or bandwidth that was measured in its own run. Exit status 1 when a figure fell by more than the
threshold (default 0.10 = 10 %), 2 when the files have no work in common.
"""

import argparse
import json
import statistics
import sys


def figures(path, against):
    """name -> (what, value), larger is better."""
    out = {}
    for r in json.load(open(path))["results"]:
        if not r["instar"]["seconds"]:
            continue
        own = statistics.median(r["instar"]["seconds"])
        peer = r["peers"].get(against)
        if peer and peer["seconds"]:
            out[r["name"]] = ("ratio", statistics.median(peer["seconds"]) / own)
        elif r.get("flop") and r.get("peak_gflops"):
            out[r["name"]] = ("share of peak", r["flop"] / own * 1e-9 / r["peak_gflops"])
        elif r.get("bytes") and r.get("triad_gbs"):
            out[r["name"]] = ("share of triad", r["bytes"] / own * 1e-9 / r["triad_gbs"])
    return out


def main():
    parser = argparse.ArgumentParser(description="compares two JSON reports of run.py")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--against", choices=("as it comes", "tuned"), default="tuned")
    parser.add_argument("--threshold", type=float, default=0.10)
    args = parser.parse_args()
    old, new = figures(args.old, args.against), figures(args.new, args.against)
    common = [n for n in old if n in new and old[n][0] == new[n][0]]
    if not common:
        print("no work is in both files", file=sys.stderr)
        return 2
    width = max(map(len, common))
    print(f"{'work':{width}}  {'figure':14}  {'old':>6}  {'new':>6}  change")
    slower = 0
    for name in common:
        change = new[name][1] / old[name][1] - 1.0
        fell = change < -args.threshold
        slower += fell
        print(f"{name:{width}}  {old[name][0]:14}  {old[name][1]:6.2f}  {new[name][1]:6.2f}  {100 * change:+5.0f} %{'  SLOWER' if fell else ''}")
    for name in sorted(set(old) ^ set(new)):
        print(f"{name:{width}}  only in {args.old if name in old else args.new}")
    print(f"{len(common)} compared, {slower} fell by more than {100 * args.threshold:.0f} %")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
