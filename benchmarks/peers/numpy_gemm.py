"""NumPy's matrix product, which is OpenBLAS in NumPy's wheels, at shapes of benchmarks/gemm.cpp. See peer.py for how to run it.

As it comes: a new result each time. Tuned: into memory that is there already.
"""

import numpy as np

import peer


def facts():
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"numpy": np.__version__, "blas": f"{blas.get('name')} {blas.get('version')}", "configuration": blas.get("openblas configuration", "")}


def gemm(m, n, k, form):
    def build(tuned):
        rng = np.random.default_rng(1)
        shape_a, shape_b = (k, m) if form[0] == "t" else (m, k), (n, k) if form[1] == "t" else (k, n)
        a, b = (rng.uniform(-1, 1, s).astype(np.float32) for s in (shape_a, shape_b))
        a, b = a.T if form[0] == "t" else a, b.T if form[1] == "t" else b
        c = np.empty((m, n), np.float32)
        run = (lambda: np.matmul(a, b, out=c)) if tuned else (lambda: a @ b)
        assert np.allclose(run()[:2], a[:2].astype(np.float64) @ b.astype(np.float64), atol=1e-3)
        return peer.Work(run, flop=2.0 * m * n * k)

    return build


WORKS = {f"openblas/{m}/{n}/{k}/{form}": gemm(m, n, k, form)
         for m, n, k, form in [(4096, 768, 768, "nt"), (4096, 3072, 768, "nt"), (4096, 768, 3072, "nt"), (1056, 768, 768, "nt"), (3072, 768, 4096, "tn")]}

if __name__ == "__main__":
    peer.main(WORKS, facts)
