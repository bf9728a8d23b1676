"""k-means by scikit-learn and faiss at the sizes of bench_kmeans. See peer.py for how to run it.

As it comes: scikit-learn's KMeans (k-means++, Lloyd) and MiniBatchKMeans. Tuned: Elkan's algorithm for runs to convergence; faiss.Kmeans for
ten iterations from random rows. Points are drawn as bench_kmeans draws them, from another generator; `inertia` is printed once to stderr,
so that it can be compared.
"""

import importlib.metadata
import sys

import numpy as np
import sklearn
from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus

import peer

try:
    import faiss
except ImportError:
    faiss = None


def facts():
    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "faiss": importlib.metadata.version("faiss-cpu") if faiss else "not installed"}


def clouds(n, d, k):
    rng = np.random.default_rng(7)
    centres = rng.uniform(-1, 1, (k, d, 4)).sum(-1)
    x = centres[rng.integers(0, k, n)]
    for _ in range(4):
        x += rng.uniform(-1, 1, (n, d))
    return x.astype(np.float32)


def whole(n, d, k):
    def build(tuned):
        x = clouds(n, d, k)

        def run():
            model = KMeans(k, n_init=1, tol=1e-4, algorithm="elkan" if tuned else "lloyd", random_state=1).fit(x)
            print(f"kmeans/{n}/{d}/{k}: inertia {model.inertia_:.6g}, {model.n_iter_} iterations", file=sys.stderr)

        return peer.Work(run, flop=2.0 * n * k * d)

    return build


def seeding(n, d, k):
    def build(tuned):
        x = clouds(n, d, k)
        return peer.Work(lambda: kmeans_plusplus(x, k, random_state=1), flop=2.0 * n * k * d * (2 + int(np.log(k))))

    return build


def lloyd(n, d, k):
    def build(tuned):
        x = clouds(n, d, k)
        if tuned and faiss:
            model = faiss.Kmeans(d, k, niter=10, seed=1, max_points_per_centroid=n)
            return peer.Work(lambda: model.train(x), flop=20.0 * n * k * d)
        return peer.Work(lambda: KMeans(k, init="random", n_init=1, max_iter=10, tol=0.0, algorithm="lloyd", random_state=1).fit(x), flop=20.0 * n * k * d)

    return build


def mini_batch(n, d, k):
    def build(tuned):
        x = clouds(n, d, k)

        def run():
            model = MiniBatchKMeans(k, batch_size=4096, random_state=1, n_init=3).fit(x)
            print(f"mini_batch/{n}/{d}/{k}: inertia {model.inertia_:.6g}", file=sys.stderr)

        return peer.Work(run, flop=2.0 * n * k * d)

    return build


WORKS = {"kmeans/47260/50/4363": whole(47_260, 50, 4_363), "seeding/100000/128/1000": seeding(100_000, 128, 1_000), "lloyd/100000/128/1000": lloyd(100_000, 128, 1_000),
         "mini_batch/100000/128/1000": mini_batch(100_000, 128, 1_000)}

if __name__ == "__main__":
    peer.main(WORKS, facts)
