"""Golden files of the BERT encoder, its losses and its training, made by transformers and PyTorch.

    python tests/reference/bert_golden.py            # writes tests/golden/data/bert_*.safetensors

What is computed follows BarcodeBERT: BertForTokenClassification over k-mers, [MASK] = 0 = the padding row of the word
embeddings, [UNK] = 1, an exact key mask, targets id - 2, the mean cross-entropy over all non-special tokens, AdamW under
OneCycleLR with its momentum cycling, a sequence classifier over the mean of all positions. Dropout is 0 throughout.

Weights come from bert_fill.py and are not stored. Everything floating point is float64, which is the reference; `float32.*`
is what PyTorch itself gets in single precision, for comparison. Of a gradient the file keeps `.summary` = [L2 norm, sum] and
64 entries, `.value`, at the places `.index`.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.numpy import save_file
from transformers import BertConfig, BertForTokenClassification, BertModel

import bert_fill as fill

DATA = pathlib.Path(__file__).resolve().parent.parent / "golden" / "data"
N_STEPS = 10

# The second has an odd number of heads and sequence length, one sample more than a power of two, and more layers.
CASES = {
    "bert_k3": dict(k=3, hidden=48, heads=4, layers=2, ffn=96, positions=64, lengths=[37, 30, 1, 17, 36]),
    "bert_k2": dict(k=2, hidden=48, heads=3, layers=3, ffn=80, positions=29, lengths=[29, 3, 28]),
}


def versions():
    return {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__}


def write(name, tensors):
    path = DATA / f"{name}.safetensors"
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, metadata=versions())
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def config_of(case):
    return BertConfig(
        vocab_size=4 ** case["k"] + 2,
        hidden_size=case["hidden"],
        num_hidden_layers=case["layers"],
        num_attention_heads=case["heads"],
        intermediate_size=case["ffn"],
        max_position_embeddings=case["positions"],
        num_labels=4 ** case["k"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        attn_implementation="eager",
    )


def token_model(case, dtype):
    model = BertForTokenClassification(config_of(case)).to(dtype)
    fill.fill_model(model)
    return model.train()


class sequence_model(torch.nn.Module):
    """BarcodeBERT's fine-tuning: a linear classifier on the mean of the last hidden states, padding included."""

    def __init__(self, case, n_classes):
        super().__init__()
        self.bert = BertModel(config_of(case), add_pooling_layer=False)
        self.classifier = torch.nn.Linear(case["hidden"], n_classes)

    def forward(self, ids, mask):
        return self.classifier(self.bert(ids, attention_mask=mask).last_hidden_state.mean(1))


def batches(name, case):
    """N_STEPS batches: ids as the tokenizer gives them, [MASK]ed ids, targets (-1 = not counted), and the key mask."""
    lengths = case["lengths"]
    n, t = len(lengths), case["positions"] if name == "bert_k2" else 37
    vocab = 4 ** case["k"] + 2
    ids = fill.below(f"{name}.ids", (N_STEPS, n, t), vocab - 1) + 1  # [UNK] inside a sequence occurs and is attended to
    mask = np.zeros((n, t), dtype=np.uint8)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    ids = np.where(mask[None] == 1, ids, 1)
    special = ids < 2
    masked = (fill.unit(f"{name}.masked", ids.shape) < 0) & ~special
    return ids, np.where(masked, 0, ids), np.where(special, -1, ids - 2), mask


def summaries(prefix, named_gradients):
    out = {}
    for name, g in named_gradients:
        g = g.detach().double().numpy().reshape(-1)
        n = min(64, g.size)
        index = np.arange(g.size) if g.size <= 64 else fill.below("sample." + name, (n,), g.size)
        out[f"{prefix}.{name}.summary"] = np.array([np.sqrt((g * g).sum()), g.sum()])
        out[f"{prefix}.{name}.index"] = index.astype(np.int64)
        out[f"{prefix}.{name}.value"] = g[index]
    return out


def gradients_of(model):
    return [(name, p.grad) for name, p in model.named_parameters()]


def token_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def golden_forward(name, case, dtype):
    """Outputs, losses and gradients of the first batch."""
    ids, inputs, targets, mask = (torch.from_numpy(np.asarray(a)) for a in batches(name, case))
    model = token_model(case, dtype)
    out = model(inputs[0], attention_mask=mask.long(), output_hidden_states=True)
    loss = token_loss(out.logits, targets[0])
    loss.backward()
    hidden, logits = out.hidden_states[-1].detach(), out.logits.detach()
    assert torch.equal(model.bert.embeddings.word_embeddings.weight.grad[0], torch.zeros(case["hidden"], dtype=dtype))
    t, weight = targets[0], mask.to(dtype)[..., None]
    is_masked, is_plain = (inputs[0] == 0), (t >= 0) & (inputs[0] != 0)
    masked_loss = F.cross_entropy(logits[is_masked], t[is_masked])
    plain_loss = F.cross_entropy(logits[is_plain], t[is_plain])
    if dtype == torch.float32:
        return {"float32.loss": loss.detach().numpy(), "float32.logits": logits.numpy()}
    return {
        "hidden": hidden.numpy(),
        "logits": logits.numpy(),
        "pooled.mean": hidden.mean(1).numpy(),
        "pooled.masked_mean": ((hidden * weight).sum(1) / weight.sum(1)).numpy(),
        "loss": loss.detach().numpy(),
        "loss.masked": masked_loss.numpy(),
        "loss.weighted": (0.7 * masked_loss + 0.3 * plain_loss).numpy(),
        **summaries("gradient", gradients_of(model)),
    }


def golden_finetune(name, case):
    """Sequence classification over the mean of all positions: 7 classes; the last sample of the batch has no label."""
    ids, _, _, mask = (torch.from_numpy(np.asarray(a)) for a in batches(name, case))
    model = sequence_model(case, 7).double()
    fill.fill_model(model)
    n = ids.shape[1]
    targets = torch.from_numpy(fill.below(f"{name}.classes", (n,), 7))
    targets[-1] = -1
    out = {"finetune.targets": targets.numpy().astype(np.int32)}
    for smoothing, prefix in ((0.0, "finetune"), (0.1, "finetune_smooth")):
        model.zero_grad()
        logits = model(ids[1], mask.long())
        loss = F.cross_entropy(logits, targets, ignore_index=-1, label_smoothing=smoothing)
        loss.backward()
        out[f"{prefix}.loss"] = loss.detach().numpy()
        if smoothing == 0.0:
            out["finetune.logits"] = logits.detach().numpy()
        out |= summaries(f"{prefix}.gradient", gradients_of(model))
    return out


def golden_training(name, case, dtype, weight_decay):
    """N_STEPS updates: each step's loss before it, its rates, and the parameters after the last."""
    _, inputs, targets, mask = (torch.from_numpy(np.asarray(a)) for a in batches(name, case))
    model = token_model(case, dtype)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=N_STEPS)
    losses, rates = [], []
    for step in range(N_STEPS):
        optimiser.zero_grad()
        loss = token_loss(model(inputs[step], attention_mask=mask.long()).logits, targets[step])
        loss.backward()
        group = optimiser.param_groups[0]
        rates.append([group["lr"], group["betas"][0]])
        optimiser.step()
        if step + 1 < N_STEPS:
            schedule.step()
        losses.append(loss.item())
    prefix = f"training.wd{weight_decay:g}"
    if dtype == torch.float32:
        return {f"float32.{prefix}.loss": np.array(losses)}
    return {
        f"{prefix}.loss": np.array(losses),
        f"{prefix}.rates": np.array(rates),
        **summaries(f"{prefix}.parameter", model.named_parameters()),
    }


def golden_case(name, case):
    ids, inputs, targets, mask = batches(name, case)
    out = {
        "ids": ids.astype(np.int32),
        "inputs": inputs.astype(np.int32),
        "targets": targets.astype(np.int32),
        "mask": mask,
        "config": np.array([4 ** case["k"] + 2, case["hidden"], case["layers"], case["heads"], case["ffn"], case["positions"], 4 ** case["k"]]),
    }
    for dtype in (torch.float64, torch.float32):
        out |= golden_forward(name, case, dtype)
        for weight_decay in (0.0, 0.01):
            out |= golden_training(name, case, dtype, weight_decay)
    out |= golden_finetune(name, case)
    write(name, out)


def sup_con(z, labels, temperature):
    """Khosla et al. 2020, eq. 2: per-anchor loss; rows with a negative label only fill denominators."""
    n = len(labels)
    s = (z @ z.T / temperature).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    log_p = s - torch.logsumexp(s, 1, keepdim=True)
    positive = (labels[:, None] == labels[None, :]) & (labels >= 0)[:, None] & ~torch.eye(n, dtype=torch.bool)
    count = positive.sum(1)
    per_anchor = -torch.where(positive, log_p, 0.0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, per_anchor, 0.0), int((count > 0).sum())


def golden_losses():
    out = {}
    # Softmax cross-entropy: a wide range of logits, ignored rows, class weights by row, label smoothing.
    n, c = 13, 37
    targets = torch.from_numpy(fill.below("loss.targets", (n,), c))
    targets[3] = targets[12] = -1
    row_weights = torch.from_numpy(1.0 + fill.unit("loss.weights", (n,)))
    out["cross_entropy.targets"] = targets.numpy().astype(np.int32)
    for smoothing in (0.0, 0.1):
        for weighted in (False, True):
            x = torch.from_numpy(16.0 * fill.unit("loss.logits", (n, c))).requires_grad_()
            loss = F.cross_entropy(x, targets, ignore_index=-1, label_smoothing=smoothing, reduction="none")
            counts = (targets >= 0).double() * (row_weights if weighted else 1.0)
            loss = loss * (row_weights if weighted else 1.0) / counts.sum()
            loss.sum().backward()
            key = f"cross_entropy.{'weighted' if weighted else 'plain'}.smooth{smoothing:g}"
            out[f"{key}.loss"], out[f"{key}.gradient"] = loss.detach().numpy(), x.grad.numpy()
    # Supervised contrast: classes of one to six members and unlabelled rows; unit rows, and rows that are not.
    n, d = 21, 19
    labels = torch.from_numpy(fill.below("supcon.labels", (n,), 6))
    labels[4] = labels[11] = -1
    labels[7] = 17
    out["sup_con.labels"] = labels.numpy().astype(np.int32)
    for temperature in (0.1, 0.5):
        for unit_rows in (True, False):
            z = torch.from_numpy(fill.unit("supcon.z", (n, d)))
            if unit_rows:
                z = F.normalize(z)
            z.requires_grad_()
            loss, anchors = sup_con(z, labels, temperature)
            loss = loss / anchors
            loss.sum().backward()
            key = f"sup_con.{'unit' if unit_rows else 'free'}.t{temperature:g}"
            out[f"{key}.loss"], out[f"{key}.gradient"] = loss.detach().numpy(), z.grad.numpy()
            out["sup_con.unit.z" if unit_rows else "sup_con.free.z"] = z.detach().numpy()
            out["sup_con.n_anchors"] = np.array([anchors], dtype=np.int64)
    write("bert_losses", out)


def golden_schedules():
    """lr and beta1 of every step under PyTorch's OneCycleLR."""
    out = {}
    variants = {
        "default": {},
        "settings": dict(pct_start=0.45, div_factor=10.0, final_div_factor=50.0, base_momentum=0.8, max_momentum=0.9),
        "fixed_momentum": dict(cycle_momentum=False),
    }
    for variant, settings in variants.items():
        for total in (2, 3, 4, 7, 10, 100, 1000):
            p = torch.nn.Parameter(torch.zeros(1))
            optimiser = torch.optim.AdamW([p], lr=1.0, betas=(0.9, 0.999))
            try:
                schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-4, total_steps=total, **settings)
            except ZeroDivisionError:  # PyTorch cannot: pct_start * total - 1 is 0
                continue
            rates = []
            for step in range(total):
                group = optimiser.param_groups[0]
                rates.append([group["lr"], group["betas"][0]])
                optimiser.step()
                if step + 1 < total:
                    schedule.step()
            out[f"{variant}.{total}"] = np.array(rates)
    write("bert_one_cycle", out)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    DATA.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        golden_case(name, case)
    golden_losses()
    golden_schedules()
