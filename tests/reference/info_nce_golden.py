"""Golden file of the contrastive losses, made by PyTorch in double from the direct formulas.

    python tests/reference/info_nce_golden.py        # writes tests/golden/data/info_nce.safetensors

What is computed follows CLIBD's ClipLoss and open_clip's SigLipLoss: all similarities at once, cross-entropy of rows and of
columns against a target matrix given as class probabilities, the mean over directions, gradients by autograd. Features of the
small cases are stored; those of "large", which spans several tiles, come from bert_fill.py's formula on both sides, and its
gradients are kept as `.summary` = [L2 norm, sum] and 64 entries, `.value` at `.index`.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

import bert_fill as fill

DATA = pathlib.Path(__file__).resolve().parent.parent / "golden" / "data"
LOGIT_SCALE = float(np.float32(np.log(1 / 0.07)))


def features(name, n, d, common=0.5):
    """Unit rows with a common part."""
    x = torch.from_numpy(fill.unit(name, (n, d)) + common * fill.unit(name + ".common", (1, d)))
    return F.normalize(x)


def directions(a, b, scale, targets_of_rows, targets_of_columns):
    """Mean cross-entropy of a's rows over b, and of b's rows over a."""
    logits = scale * a @ b.T
    return F.cross_entropy(logits, targets_of_rows), F.cross_entropy(logits.T, targets_of_columns)


def gradients(out, prefix, loss, named):
    loss.backward()
    out[f"{prefix}.loss"] = loss.detach().numpy()
    for name, x in named.items():
        out[f"{prefix}.{name}.gradient"] = np.atleast_1d(x.grad.numpy())
        x.grad = None


def leaves(*tensors):
    return [x.clone().requires_grad_() for x in tensors]


def pair_cases(out):
    for name, n, d in (("pair", 37, 19), ("single", 1, 5), ("sharp", 24, 12)):
        a, b = features(f"{name}.a", n, d), features(f"{name}.b", n, d)
        if name == "pair":
            # Duplicates: the same specimen twice, and texts that many share.
            a[5], b[5] = a[4], b[4]
            b[20:30] = b[19]
        log_scale = torch.tensor(float(np.float32(np.log(100.0))) if name == "sharp" else LOGIT_SCALE, dtype=torch.float64)
        out[f"{name}.a"], out[f"{name}.b"], out[f"{name}.logit_scale"] = a.numpy(), b.numpy(), np.atleast_1d(log_scale.numpy())
        a, b, log_scale = leaves(a, b, log_scale)
        eye = torch.arange(n)
        loss = sum(directions(a, b, log_scale.exp(), eye, eye)) / 2
        gradients(out, name, loss, {"a": a, "b": b, "logit_scale": log_scale})


def label_cases(out):
    """Several partners: CLIBD's multi-hot targets as they are, and divided by their sums."""
    n, d = 33, 16
    a, b = features("labels.a", n, d), features("labels.b", n, d)
    labels = torch.from_numpy(fill.below("labels", (n,), 9))
    out["labels.a"], out["labels.b"], out["labels.labels"] = a.numpy(), b.numpy(), labels.numpy().astype(np.int32)
    same = (labels[:, None] == labels[None, :]).double()
    for name, targets in (("labels.sum", same), ("labels.mean", same / same.sum(1, keepdim=True))):
        x, y, log_scale = leaves(a, b, torch.tensor(LOGIT_SCALE, dtype=torch.float64))
        gradients(out, name, sum(directions(x, y, log_scale.exp(), targets, targets)) / 2, {"a": x, "b": y, "logit_scale": log_scale})


def trimodal_case(out):
    """CLIBD's loop over ordered pairs of modalities, which meets every direction twice."""
    n, d = 29, 14
    towers = [features(f"trimodal.{m}", n, d) for m in range(3)]
    for m in range(3):
        out[f"trimodal.{m}"] = towers[m].numpy()
    *towers, log_scale = leaves(*towers, torch.tensor(LOGIT_SCALE, dtype=torch.float64))
    labels = torch.eye(n, dtype=torch.float64)
    terms = []
    for i in range(3):
        for j in range(3):
            if i != j:
                terms += directions(towers[i], towers[j], log_scale.exp(), labels, labels)
    gradients(out, "trimodal", sum(terms) / len(terms), {str(m): towers[m] for m in range(3)} | {"logit_scale": log_scale})


def siglip_case(out):
    n, d = 31, 10
    a, b = features("siglip.a", n, d), features("siglip.b", n, d)
    out["siglip.a"], out["siglip.b"] = a.numpy(), b.numpy()
    a, b, log_scale, bias = leaves(a, b, torch.tensor(float(np.float32(np.log(10.0))), dtype=torch.float64), torch.tensor(-10.0, dtype=torch.float64))
    signs = 2 * torch.eye(n, dtype=torch.float64) - 1
    loss = -F.logsigmoid(signs * (log_scale.exp() * a @ b.T + bias)).sum() / n
    gradients(out, "siglip", loss, {"a": a, "b": b, "logit_scale": log_scale, "logit_bias": bias})


def large_case(out):
    n, d = 2111, 8
    a, b, log_scale = leaves(features("large.a", n, d), features("large.b", n, d), torch.tensor(LOGIT_SCALE, dtype=torch.float64))
    eye = torch.arange(n)
    loss = sum(directions(a, b, log_scale.exp(), eye, eye)) / 2
    loss.backward()
    out["large.loss"], out["large.logit_scale.gradient"] = loss.detach().numpy(), np.atleast_1d(log_scale.grad.numpy())
    for name, x in (("a", a), ("b", b)):
        g = x.grad.numpy().reshape(-1)
        index = fill.below("sample.large." + name, (64,), g.size)
        out[f"large.{name}.summary"] = np.array([np.sqrt((g * g).sum()), g.sum()])
        out[f"large.{name}.index"], out[f"large.{name}.value"] = index.astype(np.int64), g[index]


if __name__ == "__main__":
    tensors = {}
    pair_cases(tensors)
    label_cases(tensors)
    trimodal_case(tensors)
    siglip_case(tensors)
    large_case(tensors)
    path = DATA / "info_nce.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata={"torch": torch.__version__, "numpy": np.__version__})
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")
