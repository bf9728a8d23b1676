"""Is instar's UMAP as good as umap-learn's? Trustworthiness and downstream AMI (Ward) over five seeds, on real data, in one run.

    python tests/reference/umap_quality.py build/native/examples/zero_shot_clustering --coi insect_dedup.tsv.gz

digits: scikit-learn's. fashion: the 10,000 test images of Fashion-MNIST (Debian package dataset-fashion-mnist). coi: 5-mer counts of 10,000
barcodes of a table with columns for the sequence and the species. The bar: not lower than umap-learn's mean by more than the larger of 0.005
and one pooled standard deviation. Exits 1 when it is missed. Takes a quarter of an hour on two cores.
"""

import argparse
import csv
import gzip
import itertools
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import umap
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_mutual_info_score

warnings.filterwarnings("ignore", message="n_jobs value")
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
N_COMPONENTS, N_NEIGHBORS, MIN_DIST = 10, 30, 0.0


def fashion():
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as f:
        x = np.frombuffer(f.read(), np.uint8, offset=16).reshape(10_000, 784)
    with gzip.open(FASHION / "t10k-labels-idx1-ubyte.gz") as f:
        return x.astype(np.float32) / 255, np.frombuffer(f.read(), np.uint8, offset=8).astype(int)


def kmers(path, sequence_column, label_column, n):
    code = {"".join(k): i for i, k in enumerate(itertools.product("ACGT", repeat=5))}
    rows, labels = [], []
    with gzip.open(path, "rt") as f:
        for row in csv.DictReader(f, delimiter="\t"):
            if row[label_column]:
                rows.append(row[sequence_column].upper())
                labels.append(row[label_column])
    chosen = np.random.default_rng(1).permutation(len(rows))[:n]
    x = np.zeros((len(chosen), 1024), np.float32)
    for r, i in enumerate(chosen):
        for p in range(len(rows[i]) - 4):
            if (at := code.get(rows[i][p : p + 5])) is not None:
                x[r, at] += 1
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.unique([labels[i] for i in chosen], return_inverse=True)[1]


def scores(x, y, labels):
    n_classes = len(np.unique(labels))
    clusters = AgglomerativeClustering(n_classes, linkage="ward").fit_predict(y)
    return trustworthiness(x, y, n_neighbors=15), adjusted_mutual_info_score(labels, clusters)


def main():
    parser = argparse.ArgumentParser(description="UMAP's quality beside umap-learn's")
    parser.add_argument("program", help="zero_shot_clustering")
    parser.add_argument("--coi", help="a gz TSV of barcodes")
    parser.add_argument("--sequence-column", default="seq")
    parser.add_argument("--label-column", default="species")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="digits, fashion or coi")
    args = parser.parse_args()
    sets = {"digits": lambda: (load_digits().data.astype(np.float32), load_digits().target)}
    if FASHION.exists():
        sets["fashion"] = fashion
    if args.coi:
        sets["coi"] = lambda: kmers(args.coi, args.sequence_column, args.label_column, 10_000)
    missed = False
    print("| data | n × d | library | trustworthiness | AMI | seconds |\n|---|---|---|--:|--:|--:|")
    for name, load in sets.items():
        if args.only and name != args.only:
            continue
        x, labels = load()
        results = {"umap-learn": [], "instar": []}
        seconds = {"umap-learn": 0.0, "instar": 0.0}
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/x.npy", x)
            for seed in range(args.seeds):
                begin = time.perf_counter()
                y = umap.UMAP(n_components=N_COMPONENTS, n_neighbors=N_NEIGHBORS, min_dist=MIN_DIST, random_state=seed).fit_transform(x)
                seconds["umap-learn"] += (time.perf_counter() - begin) / args.seeds
                results["umap-learn"].append(scores(x, y, labels))
                begin = time.perf_counter()
                subprocess.run([args.program, "--embeddings", f"{folder}/x.npy", "--reduce", "umap", "--n-components", str(N_COMPONENTS), "--n-neighbors", str(N_NEIGHBORS), "--min-dist", str(MIN_DIST),
                                "--n-clusters", "2", "--seed", str(seed), "--reduced-out", f"{folder}/y.npy", "--quiet"], check=True, stdout=subprocess.DEVNULL)
                seconds["instar"] += (time.perf_counter() - begin) / args.seeds
                results["instar"].append(scores(x, np.load(f"{folder}/y.npy"), labels))
        own, theirs = np.array(results["instar"]), np.array(results["umap-learn"])
        slack = np.maximum(0.005, np.sqrt((own.var(0, ddof=1) + theirs.var(0, ddof=1)) / 2))
        good = own.mean(0) >= theirs.mean(0) - slack
        missed |= not good.all()
        for library, values in (("umap-learn", theirs), ("instar", own)):
            mean, sd = values.mean(0), values.std(0, ddof=1)
            print(f"| {name} | {x.shape[0]} × {x.shape[1]} | {library} | {mean[0]:.4f} ± {sd[0]:.4f} | {mean[1]:.4f} ± {sd[1]:.4f} | {seconds[library]:.1f} |", flush=True)
        print(f"| {name} | | {'passed' if good.all() else 'MISSED'} | | | |", flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main()
