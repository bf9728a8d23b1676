"""The values of parameters and inputs in golden tests, computed from a name and an index alone.

tests/support/golden_fill.hpp holds the same formula in C++, so golden files need not store weights:

    hash(name)    = FNV-1a, 64 bits, of the name's bytes
    bits(name, i) = splitmix64's output function of hash(name) + (i + 1) * 0x9E3779B97F4A7C15     (mod 2^64)
    unit(name, i) = ((bits >> 44) - 2^19) / 2^19        in [-1, 1), 20 bits, exact in float32
    below(name, i, n) = ((bits >> 32) * n) >> 32        integer in [0, n)

A parameter is scale * unit, with scale a power of two; a LayerNorm's weight is 1 + unit / 4, which float32 still holds
exactly. float32 and float64 models therefore start from the same numbers.

    python tests/reference/bert_fill.py        prints the values that tests/golden/bert_forward.cpp asserts
"""

import numpy as np

MASK = (1 << 64) - 1


def fnv1a(name):
    h = 14695981039346656037
    for byte in name.encode():
        h = ((h ^ byte) * 1099511628211) & MASK
    return h


def bits(name, n):
    """The first n 64-bit words of a name, uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name)) + (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(name, shape):
    n = int(np.prod(shape))
    return (((bits(name, n) >> np.uint64(44)).astype(np.int64) - (1 << 19)) / (1 << 19)).reshape(shape)


def below(name, shape, limit):
    n = int(np.prod(shape))
    return ((bits(name, n) >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64).reshape(shape)


def parameter(name, shape, scale=0.25, zero_row=None):
    """A parameter as both sides fill it, float64."""
    values = unit(name, shape)
    if "LayerNorm.weight" in name:
        return 1.0 + values * 0.25
    values = values * scale
    if zero_row is not None and "word_embeddings" in name:
        values[zero_row] = 0.0
    return values


def fill_model(model, scale=0.25, zero_row=0):
    """Overwrites every parameter of a torch model."""
    import torch

    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(parameter(name, tuple(p.shape), scale, zero_row)))


if __name__ == "__main__":
    print(hex(fnv1a("classifier.weight")), unit("classifier.weight", (4,)), below("classifier.weight", (8,), 66))
