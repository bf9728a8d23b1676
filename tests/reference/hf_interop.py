"""Model folders travel between transformers and instar's dna_barcode, both ways.

    python tests/reference/hf_interop.py build/native/examples/dna_barcode

1. transformers saves random models (token classifier, bare encoder, sharded, half precision); `dna_barcode embed` reads them
   and gives the embeddings that transformers computes.
2. `dna_barcode pretrain` and `finetune` save models; transformers loads them with no missing, unexpected or mismatched key;
   the embeddings of both are equal, and so are the scores of `dna_barcode predict` and the classifier's in transformers.

Prints a line a comparison and exits with 1 when one fails. Barcodes and metadata are made here.
"""

import argparse
import csv
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForTokenClassification, BertModel

MAX_LENGTH = 660
failures = []


def report(what, error, limit):
    good = error <= limit
    print(f"{'ok  ' if good else 'FAIL'} {what}: {error:.2e} (limit {limit:g})", flush=True)
    if not good:
        failures.append(what)


def tokens(barcodes, k):
    """BarcodeBERT's k-mer tokenizer: ids, and a mask that ends with the last whole k-mer."""
    vocab = {"".join(w): i + 2 for i, w in enumerate(itertools.product("ACGT", repeat=k))}
    n = MAX_LENGTH // k
    ids, mask = np.ones((len(barcodes), n), dtype=np.int64), np.zeros((len(barcodes), n), dtype=np.int64)
    for row, barcode in enumerate(barcodes):
        cut = barcode[:MAX_LENGTH]
        mask[row, : len(cut) // k] = 1
        padded = cut.ljust(MAX_LENGTH, "N")
        ids[row] = [vocab.get(padded[i * k : i * k + k], 1) for i in range(n)]
    return torch.from_numpy(ids), torch.from_numpy(mask)


def barcodes(n, seed):
    """Shorter and longer than 660 bases, with single N, runs of N and partial last k-mers."""
    rng = random.Random(seed)
    out = []
    for i in range(n):
        bases = [rng.choice("ACGT") for _ in range(rng.choice([658, 660, 661, 700, 657, 300, 13]))]
        if i % 3 == 0:
            bases[rng.randrange(len(bases))] = "N"
        if i % 5 == 0 and len(bases) > 100:
            bases[40:60] = "N" * 20
        out.append("".join(bases))
    return out


def write_fasta(path, sequences):
    path.write_text("".join(f">b{i}\n{s}\n" for i, s in enumerate(sequences)))


def embeddings(model, sequences, k, pooling):
    ids, mask = tokens(sequences, k)
    with torch.inference_mode():
        h = model(ids, attention_mask=mask).last_hidden_state.double()
    if pooling == "mean":
        return h.mean(1).numpy()
    w = mask.double()[..., None]
    return ((h * w).sum(1) / w.sum(1)).numpy()


def call(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout + done.stderr)
        raise SystemExit(f"FAIL {' '.join(map(str, (program, *arguments)))}: exit status {done.returncode}")
    return done.stdout


def instar_embeddings(program, folder, fasta, pooling, work):
    out = work / "embeddings.npy"
    call(program, "embed", "--model", folder, "--input", fasta, "--out", out, "--pooling", pooling)
    return np.load(out)


def relative(actual, expected):
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def from_transformers(program, work):
    sequences = barcodes(24, 1)
    fasta = work / "barcodes.fasta"
    write_fasta(fasta, sequences)
    cases = [
        ("token classifier", BertForTokenClassification, 4, dict(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, intermediate_size=256), {}, 1e-5),
        ("bare encoder, odd sizes", BertModel, 3, dict(hidden_size=48, num_attention_heads=3, num_hidden_layers=3, intermediate_size=80), {}, 1e-5),
        ("in shards", BertForTokenClassification, 5, dict(hidden_size=64, num_attention_heads=2, num_hidden_layers=2, intermediate_size=128), dict(max_shard_size="200KB"), 1e-5),
        ("half precision", BertForTokenClassification, 4, dict(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, intermediate_size=256), {"half": True}, 1e-5),
    ]
    for name, kind, k, sizes, how, limit in cases:
        torch.manual_seed(k)
        config = BertConfig(vocab_size=4**k + 2, num_labels=4**k, pad_token_id=0, initializer_range=0.2, **sizes)
        model = kind(config).eval()
        how = dict(how)
        if how.pop("half", False):
            model = model.half()
        folder = work / name.replace(" ", "_")
        model.save_pretrained(folder, **how)
        if "max_shard_size" in how and not (folder / "model.safetensors.index.json").exists():
            raise SystemExit("FAIL transformers made no shards")
        model = model.float()
        for pooling in ("masked_mean", "mean"):
            expected = embeddings(getattr(model, "bert", model), sequences, k, pooling)
            report(f"transformers → instar, {name}, {pooling}", relative(instar_embeddings(program, folder, fasta, pooling, work), expected), limit)


def write_metadata(path):
    """BIOSCAN-5M columns: unlabelled rows to pre-train on, four species of two genera to fine-tune on."""
    columns = ("processid,sampleid,taxon,phylum,class,order,family,subfamily,genus,species,dna_bin,dna_barcode,country,province_state,"
               "coord-lat,coord-lon,image_measurement_value,area_fraction,scale_factor,inferred_ranks,split,index_bioscan_1M_insect,chunk").split(",")
    rng = random.Random(3)
    ancestors = ["".join(rng.choice("ACGT") for _ in range(658)) for _ in range(4)]

    def variant(ancestor):
        return "".join(rng.choice("ACGT") if rng.random() < 0.02 else c for c in ancestor)

    with open(path, "w", newline="") as f:
        out = csv.DictWriter(f, columns, restval="")
        out.writeheader()
        for i in range(128):
            species, split = i % 4, "pretrain" if i < 64 else "train" if i < 112 else "test"
            row = {"processid": f"P{i}", "sampleid": f"S{i}", "phylum": "Arthropoda", "class": "Insecta", "order": "Diptera", "family": "Culicidae",
                   "dna_barcode": variant(ancestors[species]), "split": split}
            if split != "pretrain":
                genus = f"Genus{'ab'[species // 2]}"
                row |= {"genus": genus, "species": f"{genus} species{'abcd'[species]}"}
            out.writerow(row)


def load_strictly(kind, folder, what):
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    wrong = sum(len(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    report(f"{what}: missing, unexpected and mismatched keys", wrong, 0)
    return model.eval()


def from_instar(program, work):
    k = 3
    metadata, pretrained, finetuned = work / "metadata.csv", work / "pretrained", work / "finetuned"
    write_metadata(metadata)
    call(program, "pretrain", "--metadata", metadata, "--out", pretrained, "--k-mer", k, "--n-layers", 2, "--d-model", 48, "--n-heads", 3,
         "--epochs", 2, "--batch-size", 16, "--no-anchor", "--quiet")
    call(program, "finetune", "--metadata", metadata, "--model", pretrained, "--out", finetuned, "--epochs", 3, "--batch-size", 16, "--quiet")
    sequences = barcodes(24, 2)
    fasta = work / "barcodes.fasta"
    write_fasta(fasta, sequences)
    for folder in (pretrained, finetuned):
        model = load_strictly(BertForTokenClassification, folder, f"instar → transformers, {folder.name}")
        moved = float(model.bert.encoder.layer[0].output.LayerNorm.weight.detach().sub(1).abs().max())
        report(f"{folder.name}: LayerNorms that training left at 1", float(moved == 0), 0)
        report(f"{folder.name}: the [MASK] row is zero", float(model.bert.embeddings.word_embeddings.weight[0].detach().abs().max()), 0)
        for pooling in ("masked_mean", "mean"):
            expected = embeddings(model.bert, sequences, k, pooling)
            report(f"instar → transformers, {folder.name}, {pooling}", relative(instar_embeddings(program, folder, fasta, pooling, work), expected), 1e-5)
    # Logits: the scores that predict prints (four decimals) against the classifier in transformers.
    out = work / "predictions.tsv"
    call(program, "predict", "--model", finetuned, "--input", fasta, "--out", out)
    labels = json.loads((finetuned / "labels.json").read_text())
    pooled = torch.from_numpy(embeddings(model.bert, sequences, k, json.loads((finetuned / "config.json").read_text())["instar"]["pooling"]))
    with torch.inference_mode():
        p = torch.softmax(model.classifier.double()(pooled), 1).numpy()
    worst, wrong = 0.0, 0
    with open(out) as f:
        for i, row in enumerate(csv.DictReader(f, delimiter="\t")):
            for rank_index, rank in enumerate(labels["ranks"]):
                scores = {}
                for c, names in enumerate(labels["classes"]):
                    scores[names[rank_index]] = scores.get(names[rank_index], 0.0) + p[i, c]
                worst = max(worst, abs(float(row[f"{rank}_score"]) - max(scores.values())))
                wrong += scores[row[rank]] < max(scores.values()) - 1e-4
    report("instar → transformers, scores of predict", worst, 1e-4)
    report("instar → transformers, names of predict", wrong, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("dna_barcode", help="the program of examples/dna_barcode")
    program = str(pathlib.Path(parser.parse_args().dna_barcode).resolve())
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        from_transformers(program, work)
        from_instar(program, work)
    print(f"{len(failures)} failed" if failures else "all equal")
    sys.exit(1 if failures else 0)
