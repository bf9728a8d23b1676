"""instar beside its peers, in one run: every round times instar, then each peer, on the same work; medians are compared.

    cmake --preset native && cmake --build --preset native --target benchmarks
    python benchmarks/peers/run.py --build build/native                       # the table; about half an hour
    python benchmarks/peers/run.py --build build/native --filter 'mlm_step' --rounds 3
    python benchmarks/peers/run.py --build build/native --report docs/benchmarks/cpu.md    # also writes docs/benchmarks/cpu.json

Interrupted, the same command goes on where it stopped (cpu.partial.json). INSTAR_DATA names the photographs of the image rows.

Peers that are not installed are left out, visibly. "as it comes" is the library with its defaults, "tuned" its best settings
(see TUNED below and the peer files). Nothing else should run on the machine: the report says what the load was.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

# A peer's best settings: vector width, and an allocator that keeps the memory it is given back, which otherwise costs
# page faults in every operator that makes a new tensor.
TUNED = {
    "ATEN_CPU_CAPABILITY": "avx512",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
# Some machines export these, and they halve OpenBLAS.
REMOVED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

TITLE = "CPU benchmarks beside their peers"
# What follows this line in a report is written by hand, and kept when the report is made anew.
BY_HAND = "<!-- by hand from here on -->"

PYTORCH_BERT, PYTORCH_OPS, PYTORCH_VIT, TOKENIZERS = "pytorch_bert.py", "pytorch_ops.py", "pytorch_vit.py", "hf_tokenizers_kmer.py"


def pairs():
    """(section, name of the peer's work, peer file, instar's benchmark program, its benchmark's name)"""
    out = []

    def add(section, file, program, names, rename=lambda n: n):
        out.extend((section, name, file, program, rename(name)) for name in names)

    shapes = ("k4_4x768_b32_t165", "k8_4x768_b32_t82", "k4_4x256_b64_t165", "k4_2x128_b64_t165")
    add("BERT encoder, forward", PYTORCH_BERT, "bench_bert", [f"encoder_forward{kind}/{s}" for kind in ("", "_bf16", "_bf16_storage") for s in shapes])
    add("BERT encoder, forward, ONNX Runtime", "onnx_bert.py", "bench_bert", [f"encoder_forward_onnx/{s}" for s in shapes], lambda n: n.replace("_onnx", ""))
    add("BERT, masked-token training step", PYTORCH_BERT, "bench_mlm_step", [f"mlm_step{kind}/{s}" for kind in ("", "_bf16", "_bf16_storage") for s in shapes])
    add("Vision transformer, forward and training step", PYTORCH_VIT, "bench_vit",
        [f"vit_{w}{kind}/{s}" for kind in ("", "_bf16") for w, s in (("forward", "tiny16_b8"), ("forward", "base16_b8"), ("step", "tiny16_b8"), ("step", "base16_b4"))])
    add("ResNet, forward and training step, layers_batch_pixels", "pytorch_resnet.py", "bench_resnet",
        [f"resnet_{w}/{s}" for w in ("forward", "step") for s in ("50_b8_224", "18_b32_96")])
    add("Photographs to a network's input", "image_pipeline.py", "bench_image_pipeline", [f"image_{w}/threads:{t}" for w in ("pipeline", "decode", "resize_crop") for t in (0, 1)])
    add("InfoNCE, items/width", "pytorch_info_nce.py", "bench_info_nce",
        [f"info_nce_{d}/{s}" for d in ("forward", "step") for s in ("512/256", "2000/768", "4096/768", "16384/768")] + ["info_nce_trimodal/2000/768"])
    add("Agglomerative clustering, points/width", "sklearn_agglomerative.py", "bench_agglomerative",
        ["ward/5000/50", "ward/10000/50", "ward/20000/50", "ward/47260/50", "ward/100000/50", "ward/100000/2", "average_cosine/20000/50", "complete/10000/50", "single/20000/50", "centroid/5000/50"])
    add("k-means, points/width/clusters", "sklearn_kmeans.py", "bench_kmeans", ["kmeans/47260/50/4363", "seeding/100000/128/1000", "lloyd/100000/128/1000", "mini_batch/100000/128/1000"])
    add("UMAP, points/width/components", "umap_learn.py", "bench_umap", ["umap/20000/128/50", "umap/20000/128/2"])
    add("Exact nearest neighbours, rows/width/k", "knn.py", "bench_knn", [f"{w}/{s}" for w in ("knn", "knn_self") for s in ("20000/768/1", "20000/768/30", "20000/128/30")])
    add("Clustering scores", "sklearn_metrics.py", "bench_ami", ["ami/100000/5000", "ami/47260/4363"])
    add("Clustering scores", "sklearn_metrics.py", "bench_silhouette", ["silhouette/47260/50/4363", "silhouette/10000/50/500", "davies_bouldin/47260/50/4363"])
    add("Matrix product, m/n/k/form", PYTORCH_OPS, "bench_gemm",
        [f"gemm{kind}/{s}" for kind in ("", "_bf16") for s in ("4096/768/768/nt", "4096/3072/768/nt", "4096/768/3072/nt", "4096/3072/3072/nt", "1056/768/768/nt", "4096/768/3072/nn",
                               "3072/768/4096/tn", "4096/128/128/nt")],
        lambda n: n.replace("gemm/", "packed/").replace("gemm_bf16/", "bf16/"))
    add("Matrix product, OpenBLAS", "numpy_gemm.py", "bench_gemm",
        [f"openblas/{s}" for s in ("4096/768/768/nt", "4096/3072/768/nt", "4096/768/3072/nt", "1056/768/768/nt", "3072/768/4096/tn")],
        lambda n: n.replace("openblas/", "packed/"))
    add("Attention, batch/heads/tokens/width", PYTORCH_OPS, "bench_attention",
        [f"attention_{d}/{s}" for d in ("forward", "backward") for s in ("64/12/83/64", "32/4/165/192", "8/12/197/64", "64/4/165/64")],
        lambda n: n + "/0/100")
    for work, shape, program in (("layer_norm", "42240/768", "bench_layer_norm"), ("gelu", str(83 * 32 * 3072), "bench_gelu"),
                                 ("softmax", "63360/165", "bench_softmax")):
        add("Operators that stream memory", PYTORCH_OPS, program, [f"{work}_{d}/{shape}" for d in ("forward", "backward")])
    add("Operators that stream memory", PYTORCH_OPS, "bench_cross_entropy", ["cross_entropy/5280/260", "cross_entropy/2656/65540"])
    add("Operators that stream memory", PYTORCH_OPS, "bench_adamw", [f"adamw_update/{1 << 24}"])
    add("k-mer encoding of barcodes, k", TOKENIZERS, "bench_kmer", ["kmer_encode/4", "kmer_encode/8"], lambda n: n.replace("/", "/k:") + "/threads:0")
    add("Metadata, rows a second", "metadata_csv.py", "bench_csv", ["typed_metadata/all_columns"])
    return out


def environment(extra, threads):
    env = {k: v for k, v in os.environ.items() if k not in REMOVED}
    return env | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"} | extra


class peer_process:
    """A peer that waits for requests. `error` says why there is none."""

    def __init__(self, python, file, tuned, threads):
        command = [python, str(HERE / file), "--serve"] + (["--tuned"] if tuned else [])
        self.messages = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.messages, text=True,
                                        env=environment(TUNED if tuned else {}, threads))
        self.error, self.facts = None, {}
        first = self.process.stdout.readline()
        if first:
            self.facts = json.loads(first)
        else:
            self.error = (self.said().splitlines() or ["it ended without a word"])[-1]

    def said(self):
        self.process.wait()
        self.messages.seek(0)
        return self.messages.read().strip()

    def ask(self, work, seconds):
        self.process.stdin.write(json.dumps({"work": work, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args[1]}, {work}:\n{self.said()}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class NotMeasured(Exception):
    """One work cannot be measured; the others can."""


def run_instar(build, program, name, seconds, threads):
    path = build / "benchmarks" / program
    if not path.exists():
        return None
    pattern = f"^{re.escape(name)}(/real_time)?$"
    command = [str(path), f"--benchmark_filter={pattern}", "--benchmark_format=json", f"--benchmark_min_time={seconds}"]
    if hasattr(os, "sched_setaffinity") and threads < len(os.sched_getaffinity(0)):
        command = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))] + command
    done = subprocess.run(command, capture_output=True, text=True, env=environment({}, threads))
    if done.returncode != 0:
        raise NotMeasured(f"{program}, {name}: exit status {done.returncode}, {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    try:
        runs = json.loads(done.stdout)["benchmarks"] if done.stdout.strip() else []
    except json.JSONDecodeError:
        runs = []
    if not runs:
        return None
    if runs[0].get("error_occurred"):
        raise NotMeasured(f"{program}, {name}: {runs[0]['error_message']}")
    unit = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[runs[0]["time_unit"]]
    return runs[0] | {"seconds": runs[0]["real_time"] * unit}


def machine(build, threads):
    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    memory = next(int(l.split()[1]) // 1024 for l in open("/proc/meminfo") if l.startswith("MemTotal"))
    cache = (build / "CMakeCache.txt").read_text()

    def option(key):
        found = re.search(rf"^{key}:\w+=(.*)$", cache, re.M)
        return found.group(1) if found else ""

    compiler = subprocess.run([option("CMAKE_CXX_COMPILER"), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    flags = " ".join(f for f in (option("CMAKE_CXX_FLAGS"), option("CMAKE_CXX_FLAGS_" + option("CMAKE_BUILD_TYPE").upper())) if f)
    if option("INSTAR_NATIVE") == "ON":
        flags += " -march=native"
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "memory_mib": memory, "kernel": platform.release(), "compiler": compiler, "flags": flags,
            "commit": commit, "date": datetime.date.today().isoformat(), "load_before": round(os.getloadavg()[0], 2), "python": platform.python_version()}


def measure(args, build, kept):
    """kept: results, facts and what was skipped of a run that was interrupted; its works are not measured again. Filled as work goes on."""
    results, facts, skipped = kept["results"], kept["peers"], kept["not_measured"]
    done = {(r["section"], r["name"]) for r in results}
    chosen = [p for p in pairs() if re.search(args.filter, p[1]) and (p[0], p[1]) not in done]
    for file in dict.fromkeys(p[2] for p in chosen):
        peers = {label: peer_process(args.python, file, label == "tuned", args.threads) for label in ("as it comes", "tuned")}
        for label, peer in peers.items():
            if peer.error:
                skipped.append(f"{file} ({label}): {peer.error}")
            facts[f"{file}, {label}"] = peer.facts
        for section, name, _, program, own_name in (p for p in chosen if p[2] == file):
            own, own_peak, peak_flops, peaks_then, triad, theirs = [], 0.0, 0.0, [], 0.0, {l: [] for l, p in peers.items() if not p.error}
            work, memory = {}, {}
            for _ in range(args.rounds):
                try:
                    run = run_instar(build, program, own_name, args.seconds, args.threads)
                except NotMeasured as e:
                    skipped.append(str(e))
                    break
                for label in list(theirs):
                    answer = peers[label].ask(name, args.seconds)
                    if "error" in answer:
                        skipped.append(f"{file} ({label}), {name}: {answer['error']}")
                        del theirs[label]
                        continue
                    theirs[label] += answer["times"]
                    memory[label] = max(memory.get(label, 0.0), answer["peak_rss_mb"])
                    work = {k: answer[k] for k in ("flop", "bytes", "items")}
                if run is not None:
                    # Sequences a second compare whatever the number of sequences in a call.
                    rate = run.get("sequences/s") if work.get("items") and not work.get("flop") else None
                    own.append(work["items"] / rate if rate else run["seconds"])
                    own_peak = max(own_peak, run.get("peak_rss_MB", 0.0))
                    peaks_then += [run["peak_then"]] if run.get("peak_then") else []
                    peak_flops, triad = max(peak_flops, run.get("peak", 0.0)), max(triad, run.get("triad", 0.0))
            if not own and not (skipped and skipped[-1].startswith(f"{program}, {own_name}:")):
                skipped.append(f"{program} has no benchmark {own_name}, or is not built")
            if not own and not any(theirs.values()):
                continue
            results.append({
                "section": section, "name": name, **work, "peak_gflops": peak_flops, "triad_gbs": triad,
                "peak_then_gflops": statistics.median(peaks_then) if peaks_then else 0.0,
                "instar": {"seconds": own, "peak_rss_mb": own_peak},
                "peers": {label: {"seconds": times, "peak_rss_mb": memory[label]} for label, times in theirs.items()},
            })
            if args.report:
                partial_of(args.report).write_text(json.dumps(kept))
            print(text_line(results[-1]), flush=True)
        for peer in peers.values():
            if not peer.error:
                peer.close()


def partial_of(report):
    """What an interrupted run had measured."""
    return report.with_suffix(".partial.json")


def what_is_left(args, machine_now):
    """An interrupted run of the same commit on the same machine with the same settings, or nothing."""
    key = {k: machine_now[k] for k in ("cpu", "threads", "commit", "flags")} | {"rounds": args.rounds, "seconds": args.seconds}
    empty = {"key": key, "machine": machine_now, "results": [], "peers": {}, "not_measured": []}
    if not args.report or not partial_of(args.report).exists():
        return empty
    kept = json.loads(partial_of(args.report).read_text())
    if kept["key"] != key:
        return empty
    print(f"going on after {len(kept['results'])} works of a run that was interrupted ({partial_of(args.report)})", file=sys.stderr)
    return kept


def rate_of(result, seconds, own=False):
    """What is achieved, as text: share of the measured peak or triad, or sequences a second."""
    if result.get("flop"):
        gflops = result["flop"] / seconds * 1e-9
        shares = [f"{100 * gflops / result['peak_gflops']:.0f} %"] if result["peak_gflops"] else []
        if own and result.get("peak_then_gflops"):
            shares.append(f"then {100 * gflops / result['peak_then_gflops']:.0f} %")
        return f"{gflops:.0f} GFLOP/s" + (f" ({', '.join(shares)})" if shares else "")
    if result.get("bytes"):
        gbs = result["bytes"] / seconds * 1e-9
        return f"{gbs:.1f} GB/s" + (f" ({100 * gbs / result['triad_gbs']:.0f} %)" if result["triad_gbs"] else "")
    return f"{result['items'] / seconds:,.0f}/s" if result.get("items") else ""


def cells(result):
    own = statistics.median(result["instar"]["seconds"]) if result["instar"]["seconds"] else None
    row = [result["name"], f"{own * 1e3:.2f}" if own else "–", rate_of(result, own, own=True) if own else "–"]
    for label in ("as it comes", "tuned"):
        peer = result["peers"].get(label)
        if peer is None:
            row += ["–", "–", "–"]
            continue
        t = statistics.median(peer["seconds"])
        row += [f"{t * 1e3:.2f}", rate_of(result, t), f"**{t / own:.2f}×**" if own else "–"]
    memory = [result["instar"]["peak_rss_mb"]] + [result["peers"][l]["peak_rss_mb"] for l in result["peers"]]
    row.append(" / ".join(f"{m:.0f}" for m in memory) if result["instar"]["peak_rss_mb"] else "")
    return row


def text_line(result):
    c = cells(result)
    return f"{c[0]:44} instar {c[1]:>10} ms {c[2]:32} as it comes {c[3]:>10} ms {c[5].strip('*'):>7}  tuned {c[6]:>10} ms {c[8].strip('*'):>7}"


def markdown(results, facts, skipped, m, args):
    lines = [
        f"# {args.title}",
        "",
        "Made by `benchmarks/peers/run.py`; do not edit by hand. Medians; the ratio is the peer's time over instar's, so above 1 instar is",
        "faster. Percentages are of the multiply-add peak, or of the triad bandwidth, that instar's benchmarks measure in the same run; \"then\" is",
        "of the multiply-add peak right after instar's own loop, since the clock of a shared machine moves.",
        "Memory is the highest resident size in MB while the work runs: instar / peer as it comes / peer tuned.",
        "",
        "## Machine",
        "",
        f"- {m['cpu']}, {m['cores']} cores, {m['threads']} threads used, {m['memory_mib']} MiB, Linux {m['kernel']}; load before the run {m['load_before']}",
        f"- instar {m['commit']}, {m['date']}: {m['compiler']}, `{m['flags']}`",
    ]
    lines += [f"- {name}: " + ", ".join(f"{k} {v}" for k, v in f.items()) for name, f in facts.items() if f]
    filter_flag = f" --filter '{args.filter}'" if args.filter else ""
    title_flag = f" --title '{args.title}'" if args.title != TITLE else ""
    lines += [
        "- tuned: `" + " ".join(f"{k}={v}" for k, v in TUNED.items()) + "`, fused AdamW, ignored targets instead of selected ones, torch.compile where it is faster",
        f"- {args.rounds} rounds of instar, peer as it comes, peer tuned; at least {args.seconds} s each a round",
        "",
        "```sh",
        "cmake --preset native && cmake --build --preset native --target benchmarks",
        f"python benchmarks/peers/run.py --build build/native{filter_flag} --rounds {args.rounds} --seconds {args.seconds} --threads {args.threads}{title_flag} --report {args.report}",
        "```",
    ]
    for section in dict.fromkeys(r["section"] for r in results):
        lines += ["", f"## {section}", "", "| work | instar, ms | | as it comes, ms | | ratio | tuned, ms | | ratio | memory, MB |", "|---|--:|---|--:|---|--:|--:|---|--:|---|"]
        lines += ["| " + " | ".join(cells(r)) + " |" for r in results if r["section"] == section]
    if skipped:
        lines += ["", "## Not measured", ""] + [f"- {s}" for s in skipped]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="instar beside PyTorch and Hugging Face tokenizers")
    parser.add_argument("--build", type=pathlib.Path, required=True, help="a CMake build folder whose target `benchmarks` is built")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--filter", default="", help="regular expression over names of work")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="at least so long a measurement")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--title", default=TITLE, help="of the report")
    parser.add_argument("--report", type=pathlib.Path, help="write this .md, and a .json beside it")
    args = parser.parse_args()
    args.report and args.report.parent.mkdir(parents=True, exist_ok=True)
    kept = what_is_left(args, machine(args.build, args.threads))
    facts_of_machine = kept["machine"]
    if facts_of_machine["load_before"] > 0.5:
        print(f"warning: the load is {facts_of_machine['load_before']}; times will not be trustworthy", file=sys.stderr)
    measure(args, args.build, kept)
    results, facts, skipped = kept["results"], kept["peers"], kept["not_measured"]
    for s in skipped:
        print(f"not measured: {s}", file=sys.stderr)
    if args.report:
        by_hand = args.report.read_text().partition(BY_HAND) if args.report.exists() else ("", "", "")
        args.report.write_text(markdown(results, facts, skipped, facts_of_machine, args) + ("\n" + by_hand[1] + by_hand[2] if by_hand[1] else ""))
        document = {"machine": facts_of_machine, "peers": facts, "rounds": args.rounds, "seconds": args.seconds, "not_measured": skipped, "results": results}
        args.report.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
        partial_of(args.report).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
