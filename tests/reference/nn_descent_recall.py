"""Recall and time of nn_descent beside exact search, on real data.

    python tests/reference/nn_descent_recall.py [--coi insect_dedup.tsv.gz]

Compiles nn_descent_recall.cpp (CXX, default g++). Fashion-MNIST is Debian's package dataset-fashion-mnist; its rows of 128 and 50 numbers are
principal components. Needs numpy and scikit-learn.
"""

import argparse
import gzip
import os
import pathlib
import subprocess
import tempfile

import numpy as np
from sklearn.decomposition import PCA

import umap_quality

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description="recall and time of nn_descent")
    parser.add_argument("--coi", help="a gz TSV of barcodes with a column seq")
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/nn_descent_recall"
        subprocess.run([os.environ.get("CXX", "g++"), "-std=c++20", "-O3", "-march=native", "-I", str(HERE.parent.parent / "include"), "-isystem", "/usr/include/eigen3",
                        str(HERE / "nn_descent_recall.cpp"), "-o", program, "-ltbb"], check=True)
        sets = {}
        if args.coi:
            sets["coi"] = umap_quality.kmers(args.coi, "seq", "processid", 1 << 30)[0]
        images = [np.frombuffer(gzip.open(f"{args.fashion}/{n}-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 784) for n in ("train", "t10k")]
        fashion = np.concatenate(images).astype(np.float32) / 255
        components = PCA(128, svd_solver="randomized", random_state=0).fit_transform(fashion).astype(np.float32)
        sets |= {"fashion": fashion, "fashion_128": components, "fashion_50": np.ascontiguousarray(components[:, :50])}
        for name, x in sets.items():
            np.save(f"{folder}/{name}.npy", x)
            for k in (15, 30):
                subprocess.run([program, f"{name}.npy", str(k)], check=True, cwd=folder)


if __name__ == "__main__":
    main()
