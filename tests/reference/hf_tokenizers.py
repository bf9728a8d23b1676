"""Are the text tokenizers Hugging Face's? Random strings over Unicode, taxonomy strings; and how fast.

    g++ -std=c++20 -O2 -march=native -Iinclude -DINSTAR_HAVE_ZLIB=1 tests/reference/hf_tokenizers_driver.cpp -o driver -ltbb -lz
    python tests/reference/hf_tokenizers.py driver bert=FOLDER clip=FOLDER gpt2=FOLDER [--metadata metadata.csv.gz] [--golden]

A folder holds vocab.txt, or vocab.json and merges.txt; each is read as it is and as the tokenizer.json that transformers makes of it.
Compared: ids and offsets of every string. Exits 1 when one differs. --golden writes tests/golden/data/tokenizers.json, a sample.
"""

import argparse
import csv
import gzip
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

import tokenizers
import transformers

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "data" / "tokenizers.json"
KINDS = {"bert": transformers.BertTokenizerFast, "clip": transformers.CLIPTokenizerFast, "gpt2": transformers.GPT2TokenizerFast}


def later_code_points():
    """Those whose decomposition or combining class tokenizers' own tables lack: assigned after they were made."""
    nfd = tokenizers.normalizers.NFD()
    # A mark of a class below 240 moves in front of U+0345.
    texts = ((c, chr(c), "a\u0345" + chr(c)) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co"))
    return {c for c, *both in texts if any(nfd.normalize_str(t) != unicodedata.normalize("NFD", t) for t in both)}


def random_strings(n, seed):
    """Code points of Python's Unicode tables without those above, in a mixture of single scripts, marks, white space and plain words."""
    rng = random.Random(seed)
    later = later_code_points()
    print(f"Unicode {unicodedata.unidata_version}; left out, as tokenizers cannot normalise them: {' '.join(f'{c:04X}' for c in sorted(later))}")
    assigned = [c for c in range(0x110000) if c not in later and unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    blocks = [[c for c in assigned if c >> 8 == b] for b in sorted({c >> 8 for c in assigned})]
    marks = [c for c in assigned if unicodedata.category(chr(c)).startswith("M")]
    spaces = [c for c in assigned if chr(c).isspace()]
    words = ["the", "It's", "we'll", "DON'T", "n't", "Diptera", "not_classified", "2024", "3.14", "[MASK]", "[CLS]", "<|endoftext|>", "<|STARTOFTEXT|>", "##ing", "café", "naïve", "ÀÉ", "   "]
    strings = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 8)):
            kind = rng.random()
            if kind < 0.3:
                block = rng.choice(blocks)
                parts += [chr(rng.choice(block)) for _ in range(rng.randint(1, 6))]
            elif kind < 0.5:
                parts.append(rng.choice(words))
            elif kind < 0.65:
                parts.append(chr(rng.choice(spaces)) * rng.randint(1, 3))
            elif kind < 0.8:
                parts.append(chr(rng.randint(32, 126)) + chr(rng.choice(marks)))
            else:
                parts += [chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 8))]
        strings.append("".join(parts))
    return strings


def taxonomy_strings(path):
    out = set()
    with gzip.open(path, "rt") as f:
        for row in csv.DictReader(f):
            out.add(" ".join(row[r] or "not_classified" for r in ("order", "family", "genus", "species")))
    return sorted(out)


def byte_offsets(text, offsets):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [(at[b], at[e]) for b, e in offsets]


def pack(texts):
    return b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("tokenizers", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--metadata", help="a BIOSCAN-5M metadata file, for taxonomy strings")
    parser.add_argument("--strings", type=int, default=100_000)
    parser.add_argument("--golden", action="store_true")
    args = parser.parse_args()
    texts = random_strings(args.strings, seed=1)
    taxonomy = taxonomy_strings(args.metadata) if args.metadata else []
    sample, failed = {}, False
    for item in args.tokenizers:
        name, folder = item.split("=", 1)
        theirs = KINDS[name].from_pretrained(folder)
        native = theirs.backend_tokenizer
        with tempfile.TemporaryDirectory() as made:
            theirs.save_pretrained(made)
            own = {}
            for place in (folder, made + "/tokenizer.json"):
                raw = subprocess.run([args.driver, place], input=pack(texts + taxonomy), stdout=subprocess.PIPE, check=True).stdout
                own[place] = raw
            if own[folder] != own[made + "/tokenizer.json"]:
                print(f"{name}: the folder and tokenizer.json differ")
                failed = True
        raw, at, different, moved = own[folder], 0, 0, 0
        kept = []
        for i, text in enumerate(texts + taxonomy):
            (n,) = struct.unpack_from("<I", raw, at)
            rows = [struct.unpack_from("<3i", raw, at + 4 + 12 * k) for k in range(n)]
            at += 4 + 12 * n
            e = native.encode(text)
            ids, spans = [r[0] for r in rows], [(r[1], r[2]) for r in rows]
            if ids != e.ids:
                different += 1
                if different <= 5:
                    print(f"{name}: {text!a}\n  HF   {e.ids}\n  ours {ids}")
            elif spans != byte_offsets(text, e.offsets):
                moved += 1
                if moved <= 3:
                    print(f"{name}: offsets of {text!a}\n  HF   {byte_offsets(text, e.offsets)}\n  ours {spans}")
            if i < 300 or i >= len(texts) + len(taxonomy) - 20:
                kept.append({"text": text, "ids": e.ids, "offsets": [x for s in byte_offsets(text, e.offsets) for x in s]})
        pairs = []
        for k, (a, b) in enumerate(zip(texts[:40:2], texts[1:40:2])):
            native.enable_truncation(8 + k)
            e = native.encode(a, b)
            native.no_truncation()
            pairs.append({"a": a, "b": b, "max_length": 8 + k, "ids": e.ids, "type_ids": e.type_ids})
        decoded = [{"ids": native.encode(t).ids, "text": theirs.decode(native.encode(t).ids, clean_up_tokenization_spaces=name == "bert")} for t in texts[:60]]
        sample[name] = {"single": kept, "pairs": pairs, "decoded": decoded}
        print(f"{name}: {len(texts)} random and {len(taxonomy)} taxonomy strings: {different} differ in ids, {moved} in offsets", flush=True)
        failed |= different > 0
        if taxonomy:
            own_rate = float(subprocess.run([args.driver, folder, "--rate"], input=pack(taxonomy), stdout=subprocess.PIPE, check=True).stdout)
            rates = []
            native.enable_truncation(20)
            native.enable_padding(length=20)
            for _ in range(3):
                begin, n = time.perf_counter(), 0
                while time.perf_counter() - begin < 2:
                    native.encode_batch_fast(taxonomy)
                    n += len(taxonomy)
                rates.append(n / (time.perf_counter() - begin))
            native.no_truncation()
            native.no_padding()
            print(f"{name}: {own_rate:,.0f} taxonomy strings a second on one thread; tokenizers {sorted(rates)[1]:,.0f}: {own_rate / sorted(rates)[1]:.1f}x", flush=True)
    if args.golden:
        GOLDEN.write_text(json.dumps({"versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}, **sample}, ensure_ascii=True, separators=(",", ":")) + "\n")
        print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes")
    sys.exit(failed)


if __name__ == "__main__":
    main()
