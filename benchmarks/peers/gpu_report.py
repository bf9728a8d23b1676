"""The GPU report: instar's and PyTorch's figures of one machine side by side, and which of the design's bars are met.

    python benchmarks/peers/gpu_report.py --instar build/gpu/bench/*.json [--peer build/gpu/peer/*.json] --fact 'driver=580.65' --out docs/benchmarks/h100

Reads what benchmarks/gpu writes (Google Benchmark's JSON, one file a program) and what gpu_pytorch.py writes; makes OUT.md and OUT.json. Without
the peer's files the ratios and the bars that need one are "not measured", never guessed. scripts/gpu.sh calls it.

`rows`, `bars` and `markdown` are pure functions of the parsed files; `--self-test` runs them on figures made up for that.
"""

import argparse
import dataclasses
import json
import os
import re
import statistics
import sys
import tempfile

# What follows this line in a report is written by hand (why a bar is missed, what comes next), and kept when the report is made anew.
BY_HAND = "<!-- by hand from here on -->"

# The report's tables: title, and what a work's name begins with. What fits none comes last.
SECTIONS = [
    ("Whole models", "encoder_forward|mlm_step|vit_|resnet_|clip_"),
    ("Matrix products", "gemm|linear_"),
    ("Attention", "attention_"),
    ("Operators of transformers", "layer_norm_|gelu_|softmax_|embedding_|dropout_|residual_dropout_|sequence_pool_|extract_patches|prepend_class_token"),
    ("Operators on images", "conv2d_|batch_norm_|max_pool2d_|channels_last"),
    ("Losses", "cross_entropy|focal_loss|info_nce_|siglip_|sup_con_|l2_normalize_"),
    ("Optimisers", "adamw_|sgd_|squared_norm"),
    ("Flat passes", "fill|copy|add|scale|relu_"),
    ("Clustering", "kmeans|mini_batch|ward|average_cosine|knn|nn_|silhouette"),
    ("Tokenizing", "kmer_"),
]


@dataclasses.dataclass
class Row:
    """One work. Times in seconds; None where nothing was measured."""

    name: str
    seconds: float | None = None
    error: str = ""
    tflops: float | None = None
    peak_share: float | None = None  # of the product of 8192³ measured in the same process, 0 to 1
    copy_share: float | None = None  # of a copy within the device
    cpu_seconds: float | None = None  # instar's CPU path on the same input, all cores of that machine
    peer_ways: dict = dataclasses.field(default_factory=dict)  # way -> seconds
    peer_error: str = ""

    @property
    def peer(self):
        return min(self.peer_ways.items(), key=lambda w: w[1]) if self.peer_ways else None

    @property
    def section(self):
        return next((title for title, start in SECTIONS if re.match(start, self.name)), "Others")

    @property
    def ratio(self):
        """How many times faster than PyTorch's fastest way; above 1 is faster."""
        return self.peer[1] / self.seconds if self.peer and self.seconds else None


def plain_name(name):
    """Google Benchmark appends how it was told to run: gelu_forward/1024/iterations:15/manual_time."""
    return "/".join(part for part in name.split("/") if part != "manual_time" and not part.startswith("iterations:"))


def rows(instar_files, peer):
    """All works that either side has, in instar's order."""
    out = {}
    for file in instar_files:
        for b in file["benchmarks"]:
            if b.get("run_type", "iteration") != "iteration":
                continue
            row = out.setdefault(plain_name(b["name"]), Row(plain_name(b["name"])))
            if b.get("error_occurred"):
                row.error = row.error or b.get("error_message", "failed")
                continue
            if "median_ms" not in b:  # it ended before its clock started
                continue
            row.error = ""  # an earlier attempt's
            row.seconds = b["median_ms"] * 1e-3
            row.tflops = b.get("TFLOP/s")
            row.peak_share = b["%_of_peak"] / 100 if "%_of_peak" in b else None
            row.copy_share = b["%_of_copy"] / 100 if "%_of_copy" in b else None
            row.cpu_seconds = b["cpu_ms"] * 1e-3 if "cpu_ms" in b else None
    for r in (peer or {}).get("results", []):
        row = out.setdefault(r["name"], Row(r["name"]))
        row.peer_ways = {way: statistics.median(w["seconds"]) for way, w in r["ways"].items() if "seconds" in w}
        row.peer_error = r.get("error", "") or "; ".join(f"{way}: {w['error']}" for way, w in r["ways"].items() if "error" in w)
    return list(out.values())


@dataclasses.dataclass
class Bar:
    name: str
    bar: str
    measured: str
    met: bool | None  # None: not measured


def bars(all_rows):
    """The GPU bars of the design, each against what was measured."""
    by_name = {r.name: r for r in all_rows}
    out = []

    def bar(name, text, value, shown, met):
        out.append(Bar(name, text, "not measured" if value is None else shown(value), None if value is None else met(value)))

    def percent(v):
        return f"{100 * v:.0f} %"

    for name in ("mlm_step_bf16/k4_4x768_b512_t165", "mlm_step_bf16/k8_4x768_b512_t82", "vit_step_bf16/base16_b256"):
        row = by_name.get(name, Row(name))
        bar(name, "≥ 1.2× PyTorch", row.ratio, lambda v: f"{v:.2f}×", lambda v: v >= 1.2)
        bar(name, "≥ 45 % of 989 TFLOP/s", row.tflops, lambda v: f"{percent(v / 989)} ({v:.0f} TFLOP/s)", lambda v: v >= 0.45 * 989)
    for name in ("layer_norm_forward", "layer_norm_backward", "gelu_forward", "gelu_backward"):
        for kind in ("", "_bf16"):
            for row in [r for r in all_rows if r.name.split("/")[0] == name + kind] or [Row(name + kind)]:
                bar(row.name, "≥ 85 % of a copy's bandwidth", row.copy_share, percent, lambda v: v >= 0.85)
    for row in [r for r in all_rows if r.name.startswith("adamw_update/")] or [Row("adamw_update")]:
        bar(row.name, "≥ 85 % of a copy's bandwidth", row.copy_share, percent, lambda v: v >= 0.85)
    for name in ("attention_forward_bf16", "attention_backward_bf16"):
        for row in [r for r in all_rows if r.name.split("/")[0] == name] or [Row(name)]:
            flash = row.peer_ways.get("flash")
            bar(row.name, "≥ 70 % of FlashAttention-2", flash / row.seconds if flash and row.seconds else None, percent, lambda v: v >= 0.70)
    for n, limit in ((32768, 14.0), (131072, 215.0)):
        row = by_name.get(f"info_nce_step_bf16/{n}/768", Row(f"info_nce_step_bf16/{n}/768"))
        bar(row.name, f"≤ {limit:.0f} ms", row.seconds, lambda v: f"{v * 1e3:.1f} ms", lambda v, limit=limit: v * 1e3 <= limit)
    return out


def parsed(text):
    """Google Benchmark's JSON. Of a program that was stopped the end is missing: then what it had measured until then."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    ends = [m.end() for m in re.finditer("}", text)]
    for end in reversed(ends):
        try:
            return json.loads(text[:end] + "]}")
        except json.JSONDecodeError:
            continue
    return {"context": {}, "benchmarks": []}


def read(path):
    with open(path) as f:
        return parsed(f.read())


def contexts(instar_files):
    """Peaks of all programs: the largest of each, since each measures its own."""
    out = {}
    for file in instar_files:
        for key, value in file["context"].items():
            if key.startswith("peak_") or key == "copy_gbs":
                out[key] = max(float(value), out.get(key, 0.0))
            elif key in ("device", "compute_capability", "num_cpus"):
                out[key] = value
    return out


def merged(peer_files):
    """Several files of gpu_pytorch.py as one; None when there are none."""
    if not peer_files:
        return None
    return {"facts": peer_files[0]["facts"], "results": [r for file in peer_files for r in file["results"]]}


def number(v, pattern):
    return "" if v is None else pattern.format(v)


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def kept_by_hand(path):
    """What stands in an older report from BY_HAND on, or that line alone."""
    if os.path.exists(path):
        with open(path) as f:
            _, found, kept = f.read().partition(BY_HAND)
        if found:
            return BY_HAND + kept
    return BY_HAND + "\n"


def table(title, its_rows):
    """One section's; nothing when it has no rows, the CPU's columns when one of them has a time of the CPU."""
    if not its_rows:
        return []
    with_cpu = any(r.cpu_seconds for r in its_rows)
    head = ["work", "ms", "TFLOP/s", "of peak", "of copy", "PyTorch, ms", "by", "ratio"] + (["CPU, ms", "over CPU"] if with_cpu else [])
    lines = ["", f"### {title}", "", "| " + " | ".join(head) + " |", "|" + "|".join("---" if h in ("work", "by") else "---:" for h in head) + "|"]
    for r in its_rows:
        own = number(r.seconds and r.seconds * 1e3, "{:.3f}") or r.error or "not measured"
        theirs, way = (number(r.peer[1] * 1e3, "{:.3f}"), r.peer[0]) if r.peer else ("", r.peer_error)
        cells = [r.name, own, number(r.tflops, "{:.1f}"), number(r.peak_share and 100 * r.peak_share, "{:.0f} %"), number(r.copy_share and 100 * r.copy_share, "{:.0f} %"),
                 theirs, way, number(r.ratio, "{:.2f}")]
        if with_cpu:
            cells += [number(r.cpu_seconds and r.cpu_seconds * 1e3, "{:.0f}"), number(r.cpu_seconds and r.seconds and r.cpu_seconds / r.seconds, "{:.1f}")]
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return lines


def markdown(facts, context, peer, all_rows, all_bars, title, kept=BY_HAND + "\n"):
    met = sum(b.met is True for b in all_bars)
    missed = sum(b.met is False for b in all_bars)
    unmeasured = sum(b.met is None for b in all_bars)
    lines = [f"# {title}", "", "Written by `scripts/gpu.sh` from measurements of one machine; do not edit above the last section.", "", "| | |", "|---|---|"]
    lines += [f"| {key.replace('_', ' ')} | {cell(value)} |" for key, value in {**facts, **context}.items() if not isinstance(value, (list, dict))]
    if peer:
        lines += [f"| PyTorch's {key} | {cell(value)} |" for key, value in peer["facts"].items()]
    else:
        lines += ["", "PyTorch was not run: there are no ratios here."]
    lines += ["", "## Bars of the design", "", f"{met} met, {missed} missed, {unmeasured} not measured.", "", "| work | bar | measured | |", "|---|---|---|---|"]
    lines += [f"| {b.name} | {b.bar} | {b.measured} | {'met' if b.met else 'missed' if b.met is False else ''} |" for b in all_bars]
    lines += ["", "## Works", "", "Medians. Shares are of what this device was measured to do: a product of 8192³ in the same precision, a copy within the device. The ratio is",
              "PyTorch's fastest way over instar; above 1 instar is faster. Clustering without a peer in PyTorch stands beside instar's CPU path, all cores of",
              "the same machine."]
    for title in [title for title, _ in SECTIONS] + ["Others"]:
        lines += table(title, [r for r in all_rows if r.section == title])
    return "\n".join(lines) + "\n\n" + kept


def made_up():
    """Figures for the self-test: they come from nowhere and go nowhere."""
    def b(name, ms, **more):
        return {"name": f"{name}/iterations:15/manual_time", "run_type": "iteration", "median_ms": ms, **more}

    instar = [{"context": {"device": "none", "peak_bf16_tflops": "600", "copy_gbs": "2000"}, "benchmarks": [
        b("mlm_step_bf16/k4_4x768_b512_t165", 10.0, **{"TFLOP/s": 500.0, "%_of_peak": 80.0}),
        b("layer_norm_forward/84480/768", 1.0, **{"GB/s": 1600.0, "%_of_copy": 80.0}),
        b("attention_forward_bf16/32/4/165/192", 2.0, **{"TFLOP/s": 100.0, "%_of_peak": 17.0}),
        b("info_nce_step_bf16/32768/768", 13.0, **{"TFLOP/s": 500.0, "%_of_peak": 83.0}),
        b("ward/47260/50", 20.0, cpu_ms=500.0),
        {"name": "clip_step_bf16/base16_b128/iterations:7/manual_time", "error_occurred": True, "error_message": "stopped"},
        {"name": "info_nce_step_bf16/131072/768/iterations:5/manual_time", "error_occurred": True, "error_message": "info_nce: no memory"}]},
        {"context": {"peak_bf16_tflops": "650"}, "benchmarks": [b("clip_step_bf16/base16_b128", 40.0)]}]
    peer = {"facts": {"torch": "0"}, "results": [
        {"name": "mlm_step_bf16/k4_4x768_b512_t165", "ways": {"eager": {"seconds": [0.03, 0.02, 0.04]}, "compile": {"seconds": [0.011]}, "autocast eager": {"error": "x | y"}}},
        {"name": "attention_forward_bf16/32/4/165/192", "ways": {"flash": {"seconds": [0.0016]}, "math": {"seconds": [0.001]}}},
        {"name": "only_theirs/1", "error": "CUDA out of memory", "ways": {}}]}
    return instar, peer


def self_test():
    instar, peer = made_up()
    all_rows = rows(instar, peer)
    by_name = {r.name: r for r in all_rows}
    step = by_name["mlm_step_bf16/k4_4x768_b512_t165"]
    assert step.seconds == 0.01 and step.peer == ("compile", 0.011) and abs(step.ratio - 1.1) < 1e-12
    assert step.peer_ways["eager"] == 0.03  # the median
    assert by_name["info_nce_step_bf16/131072/768"].error == "info_nce: no memory" and by_name["info_nce_step_bf16/131072/768"].ratio is None
    assert by_name["only_theirs/1"].seconds is None
    judged = {(b.name, b.bar): (b.met, b.measured) for b in bars(all_rows)}
    assert judged[("mlm_step_bf16/k4_4x768_b512_t165", "≥ 1.2× PyTorch")] == (False, "1.10×")
    assert judged[("mlm_step_bf16/k4_4x768_b512_t165", "≥ 45 % of 989 TFLOP/s")][0] is True
    assert judged[("layer_norm_forward/84480/768", "≥ 85 % of a copy's bandwidth")] == (False, "80 %")
    assert judged[("attention_forward_bf16/32/4/165/192", "≥ 70 % of FlashAttention-2")] == (True, "80 %")  # flash, not the faster math
    assert judged[("info_nce_step_bf16/32768/768", "≤ 14 ms")] == (True, "13.0 ms")
    assert judged[("info_nce_step_bf16/131072/768", "≤ 215 ms")] == (None, "not measured")
    assert judged[("vit_step_bf16/base16_b256", "≥ 1.2× PyTorch")] == (None, "not measured")
    assert contexts(instar)["peak_bf16_tflops"] == 650.0
    assert merged([]) is None and len(merged([peer, peer])["results"]) == 6
    alone = rows(instar, None)
    assert all(r.ratio is None for r in alone) and all(b.met is None for b in bars(alone) if "PyTorch" in b.bar or "Flash" in b.bar)
    text = markdown({"date": "never"}, contexts(instar), None, alone, bars(alone), "x")
    assert "PyTorch was not run" in text and "| never |" in text
    text = markdown({"date": "never", "tests": "9 | 9"}, contexts(instar), peer, all_rows, bars(all_rows), "x", BY_HAND + "\nkept\n")
    assert text.endswith("\n\n" + BY_HAND + "\nkept\n") and "| tests | 9 \\| 9 |" in text
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.md")
        assert kept_by_hand(path) == BY_HAND + "\n"
        with open(path, "w") as f:
            f.write(text)
        assert kept_by_hand(path) == BY_HAND + "\nkept\n"
    assert by_name["clip_step_bf16/base16_b128"].seconds == 0.04 and not by_name["clip_step_bf16/base16_b128"].error  # a second attempt
    assert by_name["ward/47260/50"].section == "Clustering" and by_name["only_theirs/1"].section == "Others"
    assert by_name["clip_step_bf16/base16_b128"].section == "Whole models" and Row("add_relu/7").section == Row("add_bf16/7").section == "Flat passes"
    assert "| ward/47260/50 | 20.000 |  |  |  |  |  |  | 500 | 25.0 |" in text and text.index("### Whole models") < text.index("### Clustering") < text.index("### Others")
    in_tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") in (3, 5, 9, 11) for line in in_tables)
    whole = json.dumps(instar[0], indent=2)
    assert parsed(whole) == instar[0]
    cut = parsed(whole[: whole.index("info_nce_step_bf16/131072")])
    assert cut["context"] == instar[0]["context"] and [x["name"] for x in cut["benchmarks"]] == [x["name"] for x in instar[0]["benchmarks"][:-1]]
    assert parsed("")["benchmarks"] == [] and parsed('{"context": {')["benchmarks"] == []
    assert "| only_theirs/1 | not measured |" in text and "CUDA out of memory" in text
    print("gpu_report.py: self-test passed")


def main():
    parser = argparse.ArgumentParser(description="writes the report of GPU benchmarks")
    parser.add_argument("--instar", nargs="+", default=[], help="JSON files of benchmarks/gpu")
    parser.add_argument("--peer", nargs="*", default=[], help="JSON files of gpu_pytorch.py")
    parser.add_argument("--fact", action="append", default=[], metavar="NAME=VALUE", help="date, driver, clocks, commit; may be repeated")
    parser.add_argument("--out", help="report without its ending")
    parser.add_argument("--measured", nargs="+", default=[], metavar="FILE", help="prints the names that these files of benchmarks/gpu have a time of; for scripts/gpu.sh")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        self_test()
        return 0
    if args.measured:
        print("\n".join(r.name for r in rows([read(path) for path in args.measured], None) if r.seconds))
        return 0
    if not (args.instar and args.out):
        parser.error("--instar and --out are needed")
    instar = [read(path) for path in args.instar]
    peer = merged([json.load(open(path)) for path in args.peer])
    facts = dict(fact.split("=", 1) for fact in args.fact)
    all_rows = rows(instar, peer)
    if not any(r.seconds for r in all_rows):
        print("gpu_report.py: the files hold no measurement of instar; nothing is written", file=sys.stderr)
        return 1
    all_bars, context = bars(all_rows), contexts(instar)
    if context.get("device") == "instar emulator":
        print("gpu_report.py: these are times of the emulator, which mean nothing; nothing is written", file=sys.stderr)
        return 1
    kept = kept_by_hand(args.out + ".md")
    os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
    with open(args.out + ".md", "w") as f:
        f.write(markdown(facts, context, peer, all_rows, all_bars, f"GPU benchmarks: {context.get('device', 'unknown device')}", kept))
    with open(args.out + ".json", "w") as f:
        json.dump({"facts": facts, "context": context, "peer": peer and peer["facts"], "bars": [dataclasses.asdict(b) for b in all_bars],
                   "works": [dataclasses.asdict(r) | {"ratio": r.ratio} for r in all_rows]}, f, indent=1)
    print(f"{args.out}.md: {sum(b.met is True for b in all_bars)} of {len(all_bars)} bars met, {sum(b.met is None for b in all_bars)} not measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
