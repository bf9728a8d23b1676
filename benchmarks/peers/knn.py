"""Exact nearest neighbours by faiss and scikit-learn at the sizes of bench_knn. See peer.py for how to run it.

As it comes: scikit-learn's brute force. Tuned: faiss' knn of flat vectors (it has no settings that matter here; its matrix product
is its own OpenBLAS or MKL), or scikit-learn again when faiss is not installed; facts say which. Both return squared distances of
expanded products in float, so near duplicates may come in another order than instar's, which decides in double.
"""

import numpy as np
import sklearn
from sklearn.neighbors import NearestNeighbors

import peer

try:
    import faiss
except ImportError:
    faiss = None


def facts():
    return {"faiss": faiss.__version__ if faiss else "not installed", "scikit-learn": sklearn.__version__, "numpy": np.__version__}


def clouds(n, d, seed):
    centres = np.random.default_rng(1).uniform(-1, 1, (n // 20, d))
    x = 0.5 * np.random.default_rng(seed).uniform(-1, 1, (n, d)) + centres[np.arange(n) % (n // 20)]
    return np.ascontiguousarray(x, dtype=np.float32)


def knn(n, d, k, itself):
    def build(tuned):
        references = clouds(n, d, 2)
        queries = references if itself else clouds(n, d, 3)
        flop = 2.0 * n * n * d

        def with_faiss():
            return faiss.knn(queries, references, k)[1]

        def with_sklearn():
            return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references).kneighbors(queries)[1]

        run = with_faiss if tuned and faiss else with_sklearn
        some = ((queries[:4, None].astype(np.float64) - references[None].astype(np.float64)) ** 2).sum(-1)
        nearest = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references).kneighbors(queries[:4])[1]
        assert np.array_equal(nearest[:, 0], some.argmin(1))
        return peer.Work(run, flop=flop)

    return build


WORKS = {}
for n, d, k in ((20_000, 768, 1), (20_000, 768, 30), (20_000, 128, 30), (5_000, 768, 1), (5_000, 768, 30), (5_000, 128, 30)):
    WORKS[f"knn/{n}/{d}/{k}"] = knn(n, d, k, False)
    WORKS[f"knn_self/{n}/{d}/{k}"] = knn(n, d, k, True)

if __name__ == "__main__":
    peer.main(WORKS, facts)
