"""scikit-learn's clustering metrics at the sizes of bench_ami and bench_silhouette. See peer.py for how to run it.

Nothing to tune: its adjusted mutual information runs on one core, silhouettes use all for their distances. Points are float32 as
in the C++ benchmarks; scikit-learn then computes most of a silhouette in float32, instar all of it in double.
"""

import numpy as np
import sklearn
from sklearn import metrics

import peer


def facts():
    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}


def labels(rng, n, k, skewed):
    u = rng.random(n)
    return (k * (u**3 if skewed else u)).astype(np.int32)


def ami(n, k, skewed):
    def build(tuned):
        rng = np.random.default_rng(1)
        truth = labels(rng, n, k, skewed)
        clusters = np.where(rng.integers(0, 10, n) == 0, labels(rng, n, k, skewed), truth)
        return peer.Work(lambda: metrics.adjusted_mutual_info_score(truth, clusters), items=n)

    return build


def points(n, d, k):
    rng = np.random.default_rng(1)
    y = np.arange(n) * 7919 % k
    x = 0.5 * rng.uniform(-1, 1, (n, d)) + rng.uniform(-1, 1, (k, d))[y]
    return x.astype(np.float32), y


def silhouette(n, d, k, metric):
    def build(tuned):
        x, y = points(n, d, k)
        return peer.Work(lambda: metrics.silhouette_score(x, y, metric=metric), flop=3.0 * n * n * d)

    return build


def score(f, n, d, k):
    def build(tuned):
        x, y = points(n, d, k)
        return peer.Work(lambda: f(x, y), bytes=4.0 * n * d)

    return build


WORKS = {}
for n, k in ((100_000, 5_000), (47_260, 4_363)):  # 1,000,000 items in 10,000 clusters take over seven minutes
    WORKS[f"ami/{n}/{k}"] = ami(n, k, False)
    WORKS[f"ami_skewed/{n}/{k}"] = ami(n, k, True)
for n, d, k in ((47_260, 50, 4_363), (10_000, 50, 500), (5_000, 768, 100)):
    WORKS[f"silhouette/{n}/{d}/{k}"] = silhouette(n, d, k, "euclidean")
    WORKS[f"silhouette_manhattan/{n}/{d}/{k}"] = silhouette(n, d, k, "manhattan")
    WORKS[f"calinski_harabasz/{n}/{d}/{k}"] = score(metrics.calinski_harabasz_score, n, d, k)
    WORKS[f"davies_bouldin/{n}/{d}/{k}"] = score(metrics.davies_bouldin_score, n, d, k)

if __name__ == "__main__":
    peer.main(WORKS, facts)
