"""k-mer encoding of DNA barcodes with Hugging Face tokenizers (Rust, all threads). See peer.py for how to run it.

The tokenizer is built from its own parts: a pre-tokenizer splits the text into k-mers, a WordLevel vocabulary gives ids,
truncation and padding make rows of 660 // k. The ids are checked against the rule in plain Python. As it comes: a regular
expression splits, encode_batch encodes, the ids are gathered into an array. Tuned: FixedLength splits, encode_batch_fast
leaves offsets out, nothing is gathered.
"""

import itertools
import random

import numpy as np
import tokenizers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

import peer

MAX_LENGTH = 660


def facts():
    return {"tokenizers": tokenizers.__version__}


def vocabulary(k):
    return {"[MASK]": 0, "[UNK]": 1} | {"".join(w): i + 2 for i, w in enumerate(itertools.product("ACGT", repeat=k))}


def barcodes(n):
    """Lengths as in BIOSCAN-5M: most 658, some shorter; one base in 300 is N."""
    rng = random.Random(7)
    out = []
    for _ in range(n):
        length = 658 if rng.random() < 0.7 else rng.randint(500, 660)
        out.append("".join("N" if rng.random() < 1 / 300 else rng.choice("ACGT") for _ in range(length)))
    return out


def by_rule(vocab, k, barcode):
    padded = barcode[:MAX_LENGTH].ljust(MAX_LENGTH, "N")
    return [vocab.get(padded[i : i + k], 1) for i in range(0, MAX_LENGTH - k + 1, k)]


def encode(k, n):
    def build(tuned):
        vocab, sequences, length = vocabulary(k), barcodes(n), MAX_LENGTH // k
        tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
        # Older releases lack FixedLength.
        fixed = tuned and hasattr(pre_tokenizers, "FixedLength")
        tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(k) if fixed else pre_tokenizers.Split(Regex(".{1,%d}" % k), "isolated")
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=1, pad_token="[UNK]")
        ids = np.array([e.ids for e in tokenizer.encode_batch(sequences[:200])])
        assert (ids == np.array([by_rule(vocab, k, s) for s in sequences[:200]])).all()
        if tuned:
            return peer.Work(lambda: tokenizer.encode_batch_fast(sequences), items=n)
        return peer.Work(lambda: np.array([e.ids for e in tokenizer.encode_batch(sequences)], dtype=np.int32), items=n)

    return build


WORKS = {"kmer_encode/4": encode(4, 4000), "kmer_encode/8": encode(8, 4000)}

if __name__ == "__main__":
    peer.main(WORKS, facts)
