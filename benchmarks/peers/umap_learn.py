"""UMAP by umap-learn at the sizes of bench_umap. See peer.py for how to run it.

As it comes: umap.UMAP with a seed, which it runs on one thread. Tuned: without a seed, on all threads, so that no two runs agree. The first
call compiles (numba) and does not count.
"""

import importlib.metadata
import warnings

import numpy as np
import umap

import peer

warnings.filterwarnings("ignore", message="n_jobs value")


def facts():
    return {name: importlib.metadata.version(name) for name in ("umap-learn", "pynndescent", "numba", "numpy")}


def clouds(n, d, k):
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((k, d))
    return (0.5 * rng.standard_normal((n, d)) + centres[np.arange(n) % k]).astype(np.float32)


def embedding(n, d, n_components):
    def build(tuned):
        x = clouds(n, d, max(1, n * 4363 // 47260))

        def run():
            options = {} if tuned else {"random_state": 1}
            y = umap.UMAP(n_components=n_components, n_neighbors=30, min_dist=0.0, **options).fit_transform(x)
            assert y.shape == (n, n_components)

        return peer.Work(run, items=n)

    return build


WORKS = {f"umap/20000/128/{c}": embedding(20_000, 128, c) for c in (50, 2)}

if __name__ == "__main__":
    peer.main(WORKS, facts)
