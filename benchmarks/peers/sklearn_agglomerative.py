"""Agglomerative clustering by scikit-learn and fastcluster at the sizes of bench_agglomerative. See peer.py for how to run it.

As it comes: scikit-learn's AgglomerativeClustering (SciPy underneath). Tuned: fastcluster, over vectors for ward and single, which
need no matrix there, else over a condensed matrix that it may overwrite; labels are then cut by scikit-learn's own rule. Both use one
thread, whatever they are given. Points are drawn as bench_agglomerative draws them, from another generator.

Works whose matrices do not fit into the free memory are left out: ward/47260/50 takes scikit-learn 17 GiB, ward/100000/50 75 GiB.
"""

import importlib.metadata

import numpy as np
import scipy
import sklearn
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.cluster._agglomerative import _hc_cut
from sklearn.metrics import adjusted_rand_score

import peer

try:
    import fastcluster
except ImportError:
    fastcluster = None


def facts():
    return {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__, "numpy": np.__version__,
            "fastcluster": importlib.metadata.version("fastcluster") if fastcluster else "not installed"}


def clouds(n, d):
    rng = np.random.default_rng(7)
    k = max(1, n * 4363 // 47260)
    centres = rng.uniform(-1, 1, (k, d, 4)).sum(-1)
    x = centres[rng.integers(0, k, n)]
    for _ in range(4):
        x += rng.uniform(-1, 1, (n, d))
    return x.astype(np.float32)


def available_bytes():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable:"))


def clustering(n, d, linkage, metric):
    k = max(1, n * 4363 // 47260)
    vectors = fastcluster is not None and linkage in ("ward", "single", "centroid")

    def with_fastcluster(x):
        if vectors:
            tree = fastcluster.linkage_vector(x.astype(np.float64), linkage, metric)
        else:
            tree = fastcluster.linkage(pdist(x.astype(np.float64), metric), linkage, preserve_input=False)
        return _hc_cut(k, tree[:, :2].astype(int), len(x))

    def with_sklearn(x):
        if linkage == "centroid":  # SciPy alone has it
            tree = scipy.cluster.hierarchy.linkage(x.astype(np.float64), linkage)
            return _hc_cut(k, tree[:, :2].astype(int), len(x))
        return AgglomerativeClustering(n_clusters=k, linkage=linkage, metric=metric).fit_predict(x)

    def build(tuned):
        fast = tuned and fastcluster is not None
        needed = 0 if fast and vectors or linkage == "single" else (4 if fast else 8) * n * n
        if 1.1 * needed > available_bytes():
            raise MemoryError(f"{n} points need {needed} bytes")
        x = clouds(n, d)
        run = with_fastcluster if fast else with_sklearn
        if fastcluster is not None:
            few = x[: min(n, 10 * k)][:1000]
            assert len(few) < k or adjusted_rand_score(with_fastcluster(few), with_sklearn(few)) == 1.0
        return peer.Work(lambda: run(x), flop=2.0 * n * n * d)

    return build


WORKS = {f"ward/{n}/50": clustering(n, 50, "ward", "euclidean") for n in (5_000, 10_000, 20_000, 47_260, 100_000)}
WORKS |= {
    "ward/20000/768": clustering(20_000, 768, "ward", "euclidean"),
    "ward/100000/2": clustering(100_000, 2, "ward", "euclidean"),
    "average_cosine/20000/50": clustering(20_000, 50, "average", "cosine"),
    "average/10000/50": clustering(10_000, 50, "average", "euclidean"),
    "complete/10000/50": clustering(10_000, 50, "complete", "euclidean"),
    "complete_float32/10000/50": clustering(10_000, 50, "complete", "euclidean"),
    "single/20000/50": clustering(20_000, 50, "single", "euclidean"),
    "centroid/5000/50": clustering(5_000, 50, "centroid", "euclidean"),
}

if __name__ == "__main__":
    peer.main(WORKS, facts)
