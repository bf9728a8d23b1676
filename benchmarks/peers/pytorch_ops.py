"""PyTorch's operators at the shapes of instar's benchmarks. See peer.py for how to run it.

Backward passes are timed through torch.autograd.grad on a kept graph. FLOP and bytes are counted as the C++ benchmarks count
them. Tuned: the fused AdamW; the rest of tuning is the environment that run.py sets.
"""

import torch
import torch.nn.functional as F

import peer
from torch_calls import backward_of, no_grad


def facts():
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}


def uniform(*shape):
    return torch.rand(*shape) * 2 - 1


def gemm(m, n, k, form, dtype):
    """With bfloat16, inputs and result are that type in memory already; instar's are float."""

    def build(tuned):
        flop = 2.0 * m * n * k
        if form == "nt":
            a, b = uniform(m, k).to(dtype), uniform(n, k).to(dtype)
            return peer.Work(no_grad(lambda: F.linear(a, b)), flop=flop)
        if form == "nn":
            a, b = uniform(m, k).to(dtype), uniform(k, n).to(dtype)
            return peer.Work(no_grad(lambda: a @ b), flop=flop)
        a, b, c = uniform(k, m).to(dtype), uniform(k, n).to(dtype), uniform(m, n).to(dtype)
        return peer.Work(no_grad(lambda: c.addmm_(a.T, b)), flop=flop)

    return build


def attention(n, heads, t, d, direction):
    def build(tuned):
        torch.manual_seed(1)
        qkv = (uniform(n, t, 3, heads, d) * 2).requires_grad_(direction == "backward")
        q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
        scores = float(n * heads * t * t * d)
        expected = torch.softmax(q[:1].double() @ k[:1].double().transpose(2, 3) / d**0.5, -1) @ v[:1].double()
        assert torch.allclose(F.scaled_dot_product_attention(q, k, v)[:1].double(), expected, atol=1e-4)
        if direction == "forward":
            return peer.Work(no_grad(lambda: F.scaled_dot_product_attention(q, k, v)), flop=4 * scores)
        y = F.scaled_dot_product_attention(q, k, v)
        return peer.Work(backward_of(y, [q, k, v], uniform(*y.shape)), flop=10 * scores)

    return build


def layer_norm(rows, d, direction):
    def build(tuned):
        x, w, b = (uniform(*s).requires_grad_() for s in ((rows, d), (d,), (d,)))
        if direction == "forward":
            return peer.Work(no_grad(lambda: F.layer_norm(x, (d,), w, b, 1e-12)), bytes=8.0 * rows * d)
        return peer.Work(backward_of(F.layer_norm(x, (d,), w, b, 1e-12), [x, w, b], uniform(rows, d)), bytes=12.0 * rows * d)

    return build


def elementwise(f, shape, direction):
    def build(tuned):
        x = uniform(*shape).requires_grad_(direction == "backward")
        if direction == "forward":
            return peer.Work(no_grad(lambda: f(x)), bytes=8.0 * x.numel())
        return peer.Work(backward_of(f(x), [x], uniform(*shape)), bytes=12.0 * x.numel())

    return build


def cross_entropy(rows, classes):
    def build(tuned):
        x = (uniform(rows, classes) * 4).requires_grad_()
        targets = torch.randint(0, classes, (rows,))
        return peer.Work(lambda: torch.autograd.grad(F.cross_entropy(x, targets), x), bytes=8.0 * rows * classes)

    return build


def adamw(n):
    def build(tuned):
        p = torch.nn.Parameter(uniform(n))
        p.grad = uniform(n)
        optimiser = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.01, **({"fused": True} if tuned else {}))
        return peer.Work(optimiser.step, bytes=28.0 * n)

    return build


WORKS = {}
for m, n, k, form in [(4096, 768, 768, "nt"), (4096, 3072, 768, "nt"), (4096, 768, 3072, "nt"), (4096, 3072, 3072, "nt"), (1056, 768, 768, "nt"),
                      (4096, 768, 3072, "nn"), (3072, 768, 4096, "tn"), (4096, 128, 128, "nt")]:
    WORKS[f"gemm/{m}/{n}/{k}/{form}"] = gemm(m, n, k, form, torch.float32)
    WORKS[f"gemm_bf16/{m}/{n}/{k}/{form}"] = gemm(m, n, k, form, torch.bfloat16)
for shape in [(64, 12, 83, 64), (32, 4, 165, 192), (8, 12, 197, 64), (64, 4, 165, 64)]:
    for direction in ("forward", "backward"):
        WORKS[f"attention_{direction}/" + "/".join(map(str, shape))] = attention(*shape, direction)
for direction in ("forward", "backward"):
    WORKS[f"layer_norm_{direction}/42240/768"] = layer_norm(42240, 768, direction)
    WORKS[f"gelu_{direction}/{83 * 32 * 3072}"] = elementwise(F.gelu, (83 * 32 * 3072,), direction)
    WORKS[f"softmax_{direction}/63360/165"] = elementwise(lambda x: torch.softmax(x, -1), (63360, 165), direction)
WORKS["cross_entropy/5280/260"] = cross_entropy(5280, 260)
WORKS["cross_entropy/2656/65540"] = cross_entropy(2656, 65540)
WORKS[f"adamw_update/{1 << 24}"] = adamw(1 << 24)

if __name__ == "__main__":
    peer.main(WORKS, facts)
