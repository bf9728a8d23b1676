"""PyTorch's contrastive losses at the shapes of instar's benchmarks. See peer.py for how to run it.

"step" is the loss of one pair with all its gradients, as open_clip's ClipLoss computes it: one matrix of logits, cross-entropy of
its rows and of its columns. "trimodal" is CLIBD's loop over ordered pairs of three modalities, which forms every matrix twice
in either direction. FLOP are counted as the C++ benchmarks count them, by the products that the formula needs, so that rates
compare. Tuned is the environment that run.py sets.
"""

import torch
import torch.nn.functional as F

import peer

LOGIT_SCALE = 2.65926


def facts():
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}


def towers(count, n, d):
    torch.manual_seed(1)
    common = torch.rand(n, d) * 2 - 1
    return [F.normalize(0.2 * common + torch.rand(n, d) * 2 - 1).requires_grad_() for _ in range(count)]


def clip_loss(a, b, log_scale):
    logits = log_scale.exp() * a @ b.T
    targets = torch.arange(len(a))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def clibd_loss(modalities, log_scale):
    labels = torch.eye(len(modalities[0]))
    terms = []
    for i, a in enumerate(modalities):
        for j, b in enumerate(modalities):
            if i != j:
                terms += [F.cross_entropy(log_scale.exp() * a @ b.T, labels), F.cross_entropy(log_scale.exp() * b @ a.T, labels)]
    return sum(terms) / len(terms)


def check():
    """The two losses agree on a pair, and a gradient with its finite difference."""
    a, b = (x.detach().double().requires_grad_() for x in towers(2, 12, 5))
    s = torch.tensor(LOGIT_SCALE, dtype=torch.float64)
    labels = torch.eye(12, dtype=torch.float64)
    logits = s.exp() * a @ b.T
    direct = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert torch.allclose(clip_loss(a, b, s), direct)
    assert torch.autograd.gradcheck(lambda x, y: clip_loss(x, y, s), (a, b))


def forward(n, d):
    def build(tuned):
        check()
        a, b = towers(2, n, d)
        s = torch.tensor(LOGIT_SCALE)

        def run():
            with torch.inference_mode():
                return clip_loss(a, b, s)

        return peer.Work(run, flop=2.0 * n * n * d)

    return build


def step(n, d):
    def build(tuned):
        check()
        a, b = towers(2, n, d)
        s = torch.tensor(LOGIT_SCALE, requires_grad=True)
        return peer.Work(lambda: torch.autograd.grad(clip_loss(a, b, s), [a, b, s]), flop=8.0 * n * n * d)

    return build


def trimodal(n, d):
    def build(tuned):
        check()
        modalities = towers(3, n, d)
        s = torch.tensor(LOGIT_SCALE, requires_grad=True)
        return peer.Work(lambda: torch.autograd.grad(clibd_loss(modalities, s), [*modalities, s]), flop=24.0 * n * n * d)

    return build


WORKS = {}
for n, d in [(512, 256), (2000, 768), (4096, 768), (16384, 768)]:
    WORKS[f"info_nce_forward/{n}/{d}"] = forward(n, d)
    WORKS[f"info_nce_step/{n}/{d}"] = step(n, d)
WORKS["info_nce_trimodal/2000/768"] = trimodal(2000, 768)

if __name__ == "__main__":
    peer.main(WORKS, facts)
