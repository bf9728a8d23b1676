"""Golden files of the clustering metrics, made by scikit-learn.

    python tests/reference/clustering_metrics_golden.py        # writes tests/golden/data/clustering_{labels,points}.safetensors

Labels and points come from bert_fill.py's formula, as tests/golden/clustering_metrics.cpp makes them; the files hold scores only.
Of two labelings whose adjusted mutual information is 0/0 in exact arithmetic, scikit-learn returns a ratio of rounding errors:
such values are stored as NaN and not compared.
"""

import pathlib

import numpy as np
import scipy
import sklearn
from safetensors.numpy import save_file
from sklearn import metrics

import bert_fill as fill

DATA = pathlib.Path(__file__).resolve().parent.parent / "golden" / "data"
NORMALIZERS = ("arithmetic", "min", "max", "geometric")
DISTANCES = ("euclidean", "sqeuclidean", "cosine", "manhattan", "chebyshev")


def write(name, tensors):
    path = DATA / f"{name}.safetensors"
    versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, metadata=versions)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def labelings(i):
    """Pair i of 200: independent, a noisy copy, skewed sizes, a refinement; of 20 to 419 items. Labels have gaps and are negative too."""
    name = f"clustering_labels.{i}"
    n, k_true, k_pred = (int(v) for v in fill.below(name, (3,), 400))
    n, k_true, k_pred = n + 20, 2 + k_true % 30, 2 + k_pred % 60
    true, pred = fill.below(name + ".true", (n,), k_true), fill.below(name + ".pred", (n,), k_pred)
    if i % 4 == 1:
        pred = np.where(fill.below(name + ".noise", (n,), 5) == 0, pred, true)
    elif i % 4 == 2:
        true = np.floor(k_true * ((fill.unit(name + ".true", (n,)) + 1) / 2) ** 2).astype(np.int64)
        pred = np.floor(k_pred * ((fill.unit(name + ".pred", (n,)) + 1) / 2) ** 2).astype(np.int64)
    elif i % 4 == 3:
        pred = true * 3 + pred % 3
    return true - 1, pred * 7 - 3


def special():
    """Edge cases, by name."""
    n = 12
    one, each, half, thirds = np.zeros(n, int), np.arange(n), np.arange(n) // 6, np.arange(n) % 3
    empty = np.zeros(0, int)
    return {
        "empty": (empty, empty), "one_item": (one[:1], one[:1]), "one_cluster_both": (one, one + 5), "one_cluster_pred": (half, one),
        "one_cluster_true": (one, thirds), "singletons_pred": (half, each), "singletons_true": (each, thirds), "singletons_one_cluster": (each, one),
        "independent": (half, thirds), "renamed": (thirds, -thirds), "refined": (half, np.arange(n) // 3), "coarsened": (np.arange(n) // 3, half),
        "singletons_renamed": (each, each[::-1]), "opposite": (np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])),
    }


def label_scores(true, pred):
    """The order of tests/golden/clustering_metrics.cpp."""
    ami = [metrics.adjusted_mutual_info_score(true, pred, average_method=m) for m in NORMALIZERS]
    if len(true):
        # Where no shuffling changes the mutual information, every difference is rounding.
        sizes = [np.unique(v).size for v in (true, pred)]
        if len(true) in sizes:
            ami = [np.nan] * 4
    nmi = [metrics.normalized_mutual_info_score(true, pred, average_method=m) for m in NORMALIZERS]
    mi = metrics.mutual_info_score(true, pred) if len(true) else 0.0
    return ami + nmi + [mi, metrics.adjusted_rand_score(true, pred), *metrics.homogeneity_completeness_v_measure(true, pred),
                        metrics.v_measure_score(true, pred, beta=0.5), metrics.fowlkes_mallows_score(true, pred)]


# items, coordinates, clusters, distance between centres
POINTS = {"small": (300, 3, 7, 1.0), "many_clusters": (900, 40, 150, 0.5), "large": (4000, 16, 20, 1.0)}


def points(name):
    n, d, k, spread = POINTS[name]
    key = f"clustering_points.{name}"
    labels = fill.below(key + ".labels", (n,), k)
    labels[n - 1] = k  # a cluster of one
    return fill.unit(key + ".centres", (k + 1, d))[labels] * spread + fill.unit(key + ".noise", (n, d)) * 0.5, labels


def main():
    write("clustering_labels", {
        "random": np.array([label_scores(*labelings(i)) for i in range(200)]),
        **{f"special.{key}": np.array(label_scores(*pair)) for key, pair in special().items()},
    })
    out = {}
    for name in POINTS:
        x, labels = points(name)
        for distance in DISTANCES:
            s = metrics.silhouette_samples(x, labels, metric=distance)
            out[f"{name}.{distance}.samples"] = s[:: len(s) // 100]
            out[f"{name}.{distance}.score"] = np.array(s.mean())
        out[f"{name}.calinski_harabasz"] = np.array(metrics.calinski_harabasz_score(x, labels))
        out[f"{name}.davies_bouldin"] = np.array(metrics.davies_bouldin_score(x, labels))
    write("clustering_points", out)


if __name__ == "__main__":
    main()
