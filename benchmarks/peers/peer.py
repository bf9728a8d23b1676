"""What the peer programs share: timing a piece of work, alone or on request of run.py.

A peer file has a dictionary WORKS: name -> function(tuned) that sets the work up, checks it, and returns a `Work`. Names are
those of instar's own benchmarks. `tuned` is False for the library as it comes and True for its best settings.

    python benchmarks/peers/pytorch_ops.py --list
    python benchmarks/peers/pytorch_ops.py --filter 'gelu' [--tuned] [--seconds 1]
    python benchmarks/peers/pytorch_ops.py --serve      requests and answers as JSON lines; this is how run.py interleaves
"""

import argparse
import dataclasses
import gc
import json
import re
import statistics
import sys
import time
from typing import Callable


@dataclasses.dataclass
class Work:
    run: Callable[[], object]
    flop: float = 0.0
    bytes: float = 0.0
    items: float = 0.0  # sequences


def faster(*runs):
    """The quickest of several ways to do the same: each is called three times, the first to warm up (and, with torch.compile, to compile)."""
    def seconds(run):
        run()
        return min(timed(run) for _ in range(2))

    return min(runs, key=seconds)


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def reset_peak_memory():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def peak_memory_mb():
    with open("/proc/self/status") as f:
        return next(float(line.split()[1]) / 1000 for line in f if line.startswith("VmHWM:"))


def measure(work, seconds, warm):
    """Seconds of every call for at least `seconds`, three calls at least unless they are long. The first call ever warms up and does not
    count, unless it took more than a minute: then it is the measurement."""
    reset_peak_memory()
    if not warm:
        start = time.perf_counter()
        work.run()
        if time.perf_counter() - start > 60.0:
            return [time.perf_counter() - start]
        reset_peak_memory()
    times, begin = [], time.perf_counter()
    while True:
        start = time.perf_counter()
        work.run()
        end = time.perf_counter()
        times.append(end - start)
        if end - begin >= seconds and (len(times) >= 3 or end - begin >= 4 * seconds):
            return times


def serve(works, tuned, facts):
    """{"work": name, "seconds": s} -> {"times": [...], "flop", "bytes", "items", "peak_rss_mb"} or {"error": why}. The last work stays set up."""
    print(json.dumps(facts), flush=True)
    name, work = None, None
    for line in sys.stdin:
        request = json.loads(line)
        warm = request["work"] == name
        if not warm:
            work = None
            gc.collect()
            name = None
            try:
                work = works[request["work"]](tuned)
            except MemoryError as error:  # this machine cannot show it; the other works go on
                print(json.dumps({"error": f"too little memory: {error}"}), flush=True)
                continue
            name = request["work"]
        times = measure(work, request["seconds"], warm)
        answer = {"times": times, "flop": work.flop, "bytes": work.bytes, "items": work.items, "peak_rss_mb": peak_memory_mb()}
        print(json.dumps(answer), flush=True)


def main(works, facts):
    parser = argparse.ArgumentParser(description="times one library; run.py compares it with instar")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--filter", default="", help="regular expression over names")
    parser.add_argument("--tuned", action="store_true", help="the library's best settings; run.py also sets the environment's")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.serve:
        return serve(works, args.tuned, facts())
    if not args.list:
        print(json.dumps(facts()))
    for name, setup in works.items():
        if not re.search(args.filter, name):
            continue
        if args.list:
            print(name)
            continue
        work = setup(args.tuned)
        t = statistics.median(measure(work, args.seconds, False))
        rate = f"{work.flop / t * 1e-9:9.1f} GFLOP/s" if work.flop else f"{work.bytes / t * 1e-9:9.1f} GB/s" if work.bytes else f"{work.items / t:9.0f} sequences/s"
        print(f"{name:48} {t * 1e3:10.2f} ms {rate} {peak_memory_mb():8.0f} MB peak")
