"""Golden file of agglomerative clustering, made by SciPy and scikit-learn.

    python tests/reference/agglomerative_golden.py            # writes tests/golden/data/agglomerative.safetensors; 1 GiB, half a minute
    python tests/reference/agglomerative_golden.py --large    # with the mixture of 47,260 points too: 18 GiB, some minutes

Points are not stored: both sides compute them from bert_fill.py's formula of (name, index). Coordinates are sums of four
units, near enough to Gaussian and exact in float32:

    x[i] = noise[i] + scale * centre[below("<name>.cluster", i, n_centres)]
    noise[i, c] = sum over t < 4 of unit("<name>.noise", (i * d + c) * 4 + t);  centre likewise of "<name>.centre"

Trees of a few hundred points are stored whole, as SciPy's linkage matrix, with scikit-learn's numbering of labels for one cut
by number and one by height; of the large mixtures the file keeps scikit-learn's labels_ alone.
"""

import argparse
import pathlib

import numpy as np
import scipy
import sklearn
from safetensors.numpy import load_file, save_file
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.cluster._agglomerative import _hc_cut

import bert_fill as fill

PATH = pathlib.Path(__file__).resolve().parent.parent / "golden" / "data" / "agglomerative.safetensors"
N_FEATURES = 50
LARGE = {5_000: 461, 20_000: 1_846, 47_260: 4_363}  # points -> clusters
PAIRS = [("ward", "euclidean"), ("average", "euclidean"), ("average", "sqeuclidean"), ("average", "cosine"), ("complete", "euclidean"), ("complete", "cosine"),
         ("single", "euclidean"), ("single", "sqeuclidean"), ("single", "cosine"), ("weighted", "euclidean"), ("centroid", "euclidean"), ("median", "euclidean")]


def bell(name, shape):
    return fill.unit(name, (*shape, 4)).sum(-1)


def mixture(name, n, d, n_centres, scale):
    centres = scale * bell(f"{name}.centre", (n_centres, d))
    x = bell(f"{name}.noise", (n, d)) + centres[fill.below(f"{name}.cluster", (n,), n_centres)]
    assert np.array_equal(x, x.astype(np.float32))
    return x.astype(np.float32)


def small_sets():
    few = mixture("few", 300, 7, 28, 1.0)
    grid = np.stack(np.meshgrid(np.arange(17), np.arange(17), indexing="ij"), -1).reshape(-1, 2).astype(np.float32) + 1
    return {"few": few, "repeated": few[fill.below("repeated", (300,), 90)], "grid": grid}


def labels_of(x, linkage, metric, tree, **cut):
    """scikit-learn's labels_; where it lacks the linkage or metric, its numbering of SciPy's tree."""
    if linkage in ("ward", "average", "complete", "single") and metric != "sqeuclidean":
        return AgglomerativeClustering(linkage=linkage, metric=metric, **{"n_clusters": None, **cut}).fit(x).labels_
    k = cut["n_clusters"] if "n_clusters" in cut else np.count_nonzero(tree[:, 2] >= cut["distance_threshold"]) + 1
    return _hc_cut(k, tree[:, :2].astype(int), len(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also cluster 47,260 points; else their labels are taken from the file as it is")
    args = parser.parse_args()
    out = {}
    for name, x in small_sets().items():
        for linkage, metric in PAIRS:
            # Ties that rounding decides differ between any two programs: sums in another order, cosines as differences.
            over_means = linkage == "ward" or (linkage == "average" and metric != "euclidean")
            if (name == "grid" and over_means) or (name != "few" and metric == "cosine"):
                continue
            key = f"{name}.{linkage}.{metric}"
            tree = hierarchy.linkage(x.astype(np.float64), linkage, metric)
            threshold = float(np.sort(tree[:, 2])[-40])  # a height itself: it counts as reached
            out[f"{key}.tree"] = tree
            out[f"{key}.labels"] = labels_of(x, linkage, metric, tree, n_clusters=30).astype(np.int32)
            out[f"{key}.threshold"] = np.array([threshold])
            out[f"{key}.threshold_labels"] = labels_of(x, linkage, metric, tree, distance_threshold=threshold).astype(np.int32)
    # Ward over given distances, where ties are rounded as SciPy rounds them.
    x = small_sets()["grid"]
    out["grid.ward.precomputed.tree"] = hierarchy.linkage(pdist(x.astype(np.float64)), "ward")
    before = load_file(PATH) if PATH.exists() else {}
    for n, k in LARGE.items():
        key = f"mixture.{n}.labels"
        if n > 20_000 and not args.large:
            if key in before:
                out[key] = before[key]
            continue
        x = mixture("mixture", n, N_FEATURES, k, 1.0)
        out[key] = AgglomerativeClustering(n_clusters=k).fit(x).labels_.astype(np.int16)
        print(key, flush=True)
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, PATH,
              metadata={"numpy": np.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__})
    print(f"{PATH.name}: {len(out)} tensors, {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
