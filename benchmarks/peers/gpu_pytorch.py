"""PyTorch on the GPU: the works of benchmarks/gpu, by the same names, timed by CUDA events as there.

    python benchmarks/peers/gpu_pytorch.py --list
    python benchmarks/peers/gpu_pytorch.py --filter 'attention.*bf16' --out peer.json
    python benchmarks/peers/gpu_pytorch.py --check             small shapes on the CPU, no times: do the works run?

Needs torch with CUDA; it says so and exits with 77 when torch finds no GPU. Names: work, work_tf32 (float, products in TF32), work_bf16.

Each work is timed in every way that PyTorch has for it, and all are reported: "eager", "compile" (torch.compile, where the work is more than one
call), for attention the backends of scaled_dot_product_attention ("flash", "efficient", "math"), for models in bf16 "autocast" (float parameters
and moments, as instar's AdamW keeps them) beside parameters, gradients and moments in bf16. gpu_report.py compares with the fastest, and attention with flash.
Images are channels last, where PyTorch is faster so; cuDNN may try its algorithms. Models are those of torch_models.py: nothing but torch is needed.

Clustering is what a programmer would write in PyTorch: Lloyd's iterations by a product, a maximum and an index_add; neighbours by products and topk;
silhouettes by cdist. PyTorch has nothing for agglomerative clustering, nor for k-means++ (a Python loop of k steps): those have no peer here, and
benchmarks/gpu reports the time of instar's own CPU path beside them.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import re
import statistics
import sys
import threading
from typing import Callable

import torch
import torch._functorch.config
import torch.nn.functional as F
from torch import nn

from torch_calls import backward_of, no_grad
from torch_models import Bert, Clip, ResNet, Vit

N_SAMPLES = 15

# Backward passes are timed alone, again and again on one graph, which a compiled one refuses once it has given its buffers away.
if hasattr(torch._functorch.config, "donated_buffer"):
    torch._functorch.config.donated_buffer = False


@dataclasses.dataclass
class Work:
    ways: dict[str, Callable[[], object]]
    flop: float = 0.0
    bytes: float = 0.0
    samples: float = 0.0


class Setting:
    """Where and in which element a work runs. `small` picks the sizes of --check."""

    def __init__(self, device, kind, small):
        self.device, self.kind, self.small = device, kind, small
        self.dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        torch.backends.cudnn.allow_tf32 = kind == "tf32"
        torch.backends.cudnn.benchmark = True

    def uniform(self, *shape, low=-1.0, high=1.0):
        return (torch.rand(*shape, device=self.device) * (high - low) + low).to(self.dtype)

    def size(self, real, small):
        return small if self.small else real


def compiled(f):
    return torch.compile(f, dynamic=False)


def gemm(m, n, k, form):
    def build(s):
        x, y, z = s.size(m, 40), s.size(n, 24), s.size(k, 32)
        flop = 2.0 * x * y * z
        if form == "nt":
            a, b = s.uniform(x, z), s.uniform(y, z)
            return Work({"eager": no_grad(lambda: F.linear(a, b))}, flop=flop)
        if form == "nn":
            a, b = s.uniform(x, z), s.uniform(z, y)
            return Work({"eager": no_grad(lambda: a @ b)}, flop=flop)
        a, b, c = s.uniform(z, x), s.uniform(z, y), s.uniform(x, y)
        return Work({"eager": no_grad(lambda: c.addmm_(a.T, b))}, flop=flop)

    return build


def attention(n, heads, t, d, direction):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}

    def build(s):
        b, h, length, width = s.size(n, 2), s.size(heads, 1), s.size(t, 21), s.size(d, 16)
        qkv = s.uniform(b, length, 3, h, width, low=-2.0, high=2.0).requires_grad_(direction == "backward")
        q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
        expected = torch.softmax(q[:1].double() @ k[:1].double().transpose(2, 3) / width**0.5, -1) @ v[:1].double()
        scores = float(b * h * length * length * width)
        ways = {}
        for name, backend in backends.items():
            def forward(backend=backend):
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k, v)

            try:
                y = forward()
            except RuntimeError:  # this backend does not take the element type or the width
                continue
            tolerance = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 3e-2}[s.kind]
            assert torch.allclose(y[:1].double(), expected, atol=tolerance), name
            ways[name] = no_grad(forward) if direction == "forward" else backward_of(y, [q, k, v], s.uniform(*y.shape))
        return Work(ways, flop=(4 if direction == "forward" else 10) * scores)

    return build


def layer_norm(rows, d, direction):
    def build(s):
        r, w = s.size(rows, 13), s.size(d, 48)
        x, weight, bias = (s.uniform(*shape).requires_grad_() for shape in ((r, w), (w,), (w,)))

        def f(x, weight, bias):
            return F.layer_norm(x, (w,), weight, bias, 1e-12)

        size = x.numel() * x.element_size()
        fast = compiled(f)
        if direction == "forward":
            return Work({"eager": no_grad(lambda: f(x, weight, bias)), "compile": no_grad(lambda: fast(x, weight, bias))}, bytes=2.0 * size)
        dy = s.uniform(r, w)
        return Work({name: backward_of(g(x, weight, bias), [x, weight, bias], dy) for name, g in (("eager", f), ("compile", fast))}, bytes=3.0 * size)

    return build


def gelu(n, direction):
    def build(s):
        x = s.uniform(s.size(n, 1003), low=-4.0, high=4.0).requires_grad_(direction == "backward")
        size = x.numel() * x.element_size()
        if direction == "forward":
            return Work({"eager": no_grad(lambda: F.gelu(x))}, bytes=2.0 * size)
        return Work({"eager": backward_of(F.gelu(x), [x], s.uniform(x.numel()))}, bytes=3.0 * size)

    return build


def adamw(n):
    def build(s):
        p = nn.Parameter(s.uniform(s.size(n, 1003)))
        p.grad = s.uniform(p.numel())
        fused = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.01, fused=True)
        plain = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.01)
        return Work({"fused": fused.step, "eager": plain.step}, bytes=28.0 * p.numel())

    return build


def flat(op, n):
    def build(s):
        length = s.size(n, 1003)
        a, b, y = (s.uniform(length) for _ in range(3))
        size = float(length * a.element_size())
        add_relu = lambda: torch.relu(a + b)
        ways, moved = {
            "fill": ({"eager": lambda: y.fill_(0.25)}, 1),
            "copy": ({"eager": lambda: y.copy_(a)}, 2),
            "add": ({"eager": lambda: torch.add(a, b, out=y)}, 3),
            "scale": ({"eager": lambda: y.mul_(-1.0)}, 2),
            "add_relu": ({"eager": add_relu, "compile": compiled(add_relu)}, 3),
            "relu_backward": ({"eager": lambda: torch.ops.aten.threshold_backward(a, b, 0)}, 3),
        }[op]
        return Work({name: no_grad(f) for name, f in ways.items()}, bytes=moved * size)

    return build


def dropout(n, direction):
    def build(s):
        x, residual = s.uniform(s.size(n, 1003)).requires_grad_(direction == "backward"), s.uniform(s.size(n, 1003))
        size = float(x.numel() * x.element_size())
        if direction == "backward":
            return Work({"eager": backward_of(F.dropout(x, 0.1, True), [x], residual)}, bytes=2 * size)
        f = (lambda x, residual: F.dropout(x, 0.1, True)) if direction == "forward" else (lambda x, residual: residual + F.dropout(x, 0.1, True))
        fast = compiled(f)
        return Work({"eager": no_grad(lambda: f(x, residual)), "compile": no_grad(lambda: fast(x, residual))}, bytes=(2 if direction == "forward" else 3) * size)

    return build


def rowwise(f, rows, d, direction, low=-1.0, high=1.0):
    """f of rows, forward or backward: softmax, unit length."""

    def build(s):
        x = s.uniform(s.size(rows, 13), s.size(d, 48), low=low, high=high).requires_grad_(direction == "backward")
        size = float(x.numel() * x.element_size())
        fast = compiled(f)
        if direction == "forward":
            return Work({"eager": no_grad(lambda: f(x)), "compile": no_grad(lambda: fast(x))}, bytes=2 * size)
        dy = s.uniform(*x.shape)
        return Work({name: backward_of(g(x), [x], dy) for name, g in (("eager", f), ("compile", fast))}, bytes=3 * size)

    return build


def sgd(n):
    def build(s):
        p = nn.Parameter(s.uniform(s.size(n, 1003)))
        p.grad = s.uniform(p.numel())
        make = lambda **how: torch.optim.SGD([p], lr=1e-3, momentum=0.9, weight_decay=1e-4, **how).step
        return Work({"fused": make(fused=True), "eager": make()}, bytes=5.0 * p.numel() * p.element_size())

    return build


def squared_norm(n):
    """With the wait for the result, as instar's."""

    def build(s):
        g = s.uniform(s.size(n, 1003))
        return Work({"eager": no_grad(lambda: torch.linalg.vector_norm(g, dtype=torch.float32).item())}, bytes=float(g.numel() * g.element_size()))

    return build


def linear(rows, d_in, d_out, direction):
    def build(s):
        r, i, o = s.size(rows, 40), s.size(d_in, 24), s.size(d_out, 32)
        x, weight, bias = (s.uniform(*shape).requires_grad_(direction == "backward") for shape in ((r, i), (o, i), (o,)))
        flop = 2.0 * r * i * o
        if direction == "forward":
            return Work({"eager": no_grad(lambda: F.linear(x, weight, bias))}, flop=flop)
        if direction == "gelu":
            f = lambda x, weight, bias: F.gelu(F.linear(x, weight, bias))
            fast = compiled(f)
            return Work({"eager": no_grad(lambda: f(x, weight, bias)), "compile": no_grad(lambda: fast(x, weight, bias))}, flop=flop)
        return Work({"eager": backward_of(F.linear(x, weight, bias), [x, weight, bias], s.uniform(r, o))}, flop=2 * flop)

    return build


def sequence_pool(n, t, d, direction):
    """The mean over the tokens that are not padding: as a sum of what is left, and as a product with the weights."""

    def build(s):
        b, length, width = s.size(n, 3), s.size(t, 21), s.size(d, 40)
        x = s.uniform(b, length, width).requires_grad_(direction == "backward")
        last = length - torch.arange(b, device=s.device)[:, None] % (length // 10)
        mask = (torch.arange(length, device=s.device)[None] < last).to(s.dtype)

        def f(x, mask):
            return (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)

        def product(x, mask):
            return torch.bmm((mask / mask.sum(1, keepdim=True))[:, None], x)[:, 0]

        all_ways = {"eager": f, "compile": compiled(f), "bmm": product}
        size = float(x.numel() * x.element_size())
        if direction == "forward":
            return Work({name: no_grad(lambda g=g: g(x, mask)) for name, g in all_ways.items()}, bytes=size)
        dy = s.uniform(b, width)
        return Work({name: backward_of(g(x, mask), [x], dy) for name, g in all_ways.items()}, bytes=size)

    return build


def extract_patches(n, channels, size, direction):
    def build(s):
        b, side, p = s.size(n, 2), s.size(size, 12), s.size(16, 4)
        x = s.uniform(b, channels, side, side).requires_grad_(direction == "backward")
        g = side // p

        def f(x):
            return x.view(b, channels, g, p, g, p).permute(0, 2, 4, 1, 3, 5).reshape(b * g * g, channels * p * p)

        moved = 2.0 * x.numel() * x.element_size()
        if direction == "forward":
            return Work({"eager": no_grad(lambda: f(x))}, bytes=moved)
        return Work({"eager": backward_of(f(x), [x], s.uniform(*f(x).shape))}, bytes=moved)

    return build


def prepend_class_token(n, patches, d, direction):
    def build(s):
        b, p, width = s.size(n, 2), s.size(patches, 9), s.size(d, 40)
        x, token, position = (s.uniform(*shape).requires_grad_(direction == "backward") for shape in ((b, p, width), (1, 1, width), (1, p + 1, width)))

        def f(x, token, position):
            return torch.cat([token.expand(len(x), -1, -1), x], 1) + position

        fast = compiled(f)
        moved = 2.0 * b * (p + 1) * width * x.element_size()
        if direction == "forward":
            return Work({"eager": no_grad(lambda: f(x, token, position)), "compile": no_grad(lambda: fast(x, token, position))}, bytes=moved)
        dy = s.uniform(b, p + 1, width)
        return Work({name: backward_of(g(x, token, position), [x, token, position], dy) for name, g in (("eager", f), ("compile", fast))}, bytes=moved)

    return build


def channels_last(n, channels, size):
    def build(s):
        x = s.uniform(s.size(n, 2), channels, s.size(size, 13), s.size(size, 13))
        return Work({"eager": no_grad(lambda: x.contiguous(memory_format=torch.channels_last))}, bytes=2.0 * x.numel() * x.element_size())

    return build


def conv2d(n, size, d_in, d_out, kernel, stride, direction):
    def build(s):
        b, side, c, o = s.size(n, 2), s.size(size, 9), d_in if kernel == 7 else s.size(d_in, 8), s.size(d_out, 16)
        ways, flop = {}, 0.0
        for name, order in (("channels last", torch.channels_last), ("planes", torch.contiguous_format)):
            x, weight = s.uniform(b, c, side, side).contiguous(memory_format=order), s.uniform(o, c, kernel, kernel).contiguous(memory_format=order)
            for tensor in (x, weight):
                tensor.requires_grad_(direction == "backward")
            f = lambda x=x, weight=weight: F.conv2d(x, weight, stride=stride, padding=kernel // 2)
            y = f()
            flop = 2.0 * y.numel() * c * kernel * kernel
            ways[name] = no_grad(f) if direction == "forward" else backward_of(y, [x, weight], s.uniform(*y.shape).contiguous(memory_format=order))
        return Work(ways, flop=flop if direction == "forward" else 2 * flop)

    return build


def batch_norm(images, size, channels, direction):
    """With the rectifier behind it; channels last."""

    def build(s):
        b, side, d = s.size(images, 3), s.size(size, 4), s.size(channels, 24)
        x = s.uniform(b, d, side, side, low=-2.0, high=4.0).contiguous(memory_format=torch.channels_last).requires_grad_(direction == "backward")
        # Parameters and statistics in float, as autocast has them.
        weight, bias = (torch.rand(d, device=s.device, requires_grad=direction == "backward") for _ in range(2))
        mean, variance = torch.zeros(d, device=s.device), torch.ones(d, device=s.device)

        def f(x, weight, bias, mean, variance):
            return F.relu(F.batch_norm(x, mean, variance, weight, bias, training=direction != "inference"), inplace=True)

        arguments = (x, weight, bias, mean, variance)
        fast = compiled(f)
        size_of = float(x.numel() * x.element_size())
        if direction != "backward":
            return Work({"eager": no_grad(lambda: f(*arguments)), "compile": no_grad(lambda: fast(*arguments))}, bytes=(3 if direction == "forward" else 2) * size_of)
        dy = s.uniform(*x.shape).contiguous(memory_format=torch.channels_last)
        return Work({name: backward_of(g(*arguments), list(arguments[:3]), dy) for name, g in (("eager", f), ("compile", fast))}, bytes=7 * size_of)

    return build


def max_pool2d(n, size, channels, direction):
    def build(s):
        x = s.uniform(s.size(n, 2), s.size(channels, 8), s.size(size, 13), s.size(size, 13)).contiguous(memory_format=torch.channels_last)
        x.requires_grad_(direction == "backward")
        f = lambda: F.max_pool2d(x, 3, 2, 1)
        y = f()
        moved = float((x.numel() + y.numel()) * x.element_size() + 4 * y.numel())
        if direction == "forward":
            return Work({"eager": no_grad(f)}, bytes=moved)
        return Work({"eager": backward_of(y, [x], s.uniform(*y.shape).contiguous(memory_format=torch.channels_last))}, bytes=moved)

    return build


def focal_loss(rows, classes):
    def build(s):
        r, c = s.size(rows, 9), s.size(classes, 301)
        x = s.uniform(r, c, low=-4.0, high=4.0).requires_grad_()
        targets = torch.randint(0, c, (r, 1), device=s.device)

        def loss(x, targets):
            log_p = F.log_softmax(x.float(), -1).gather(1, targets)
            return -((1 - log_p.exp()) ** 2 * log_p).mean()

        ways = {name: (lambda f=f: torch.autograd.grad(f(x, targets), x)) for name, f in (("eager", loss), ("compile", compiled(loss)))}
        return Work(ways, bytes=2.0 * x.numel() * x.element_size())

    return build


def cross_entropy(rows, classes):
    def build(s):
        r, c = s.size(rows, 9), s.size(classes, 301)
        x = s.uniform(r, c, low=-4.0, high=4.0).requires_grad_()
        targets = torch.randint(0, c, (r,), device=s.device)
        ways = {name: (lambda f=f: torch.autograd.grad(f(x, targets), x)) for name, f in (("eager", F.cross_entropy), ("compile", compiled(F.cross_entropy)))}
        return Work(ways, bytes=2.0 * x.numel() * x.element_size())

    return build


def embedding(n, t, words, d, direction):
    def build(s):
        b, length, v, w = s.size(n, 3), s.size(t, 21), s.size(words, 23), s.size(d, 40)
        word, position, kind = (s.uniform(*shape).requires_grad_(direction == "backward") for shape in ((v, w), (length, w), (w,)))
        ids = torch.randint(0, v, (b, length), device=s.device)

        def f(ids, word, position, kind):
            return F.embedding(ids, word, padding_idx=0) + position + kind

        fast = compiled(f)
        size = float(b * length * w) * word.element_size()
        if direction == "forward":
            return Work({"eager": no_grad(lambda: f(ids, word, position, kind)), "compile": no_grad(lambda: fast(ids, word, position, kind))}, bytes=size)
        dy = s.uniform(b, length, w)
        return Work({name: backward_of(g(ids, word, position, kind), [word, position, kind], dy) for name, g in (("eager", f), ("compile", fast))}, bytes=size)

    return build


def info_nce(n, d):
    """One pair, both directions, as open_clip's ClipLoss: the logits as a whole. Out of memory beyond what n² elements allow."""

    def build(s):
        r, w = s.size(n, 70), s.size(d, 16)
        a, b = (F.normalize(s.uniform(r, w).float()).to(s.dtype).requires_grad_() for _ in range(2))
        log_scale = torch.tensor(2.65926, device=s.device, requires_grad=True)
        targets = torch.arange(r, device=s.device)

        def loss(a, b, log_scale):
            logits = log_scale.exp() * (a @ b.T)
            return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

        fast = compiled(loss)
        ways = {name: (lambda f=f: torch.autograd.grad(f(a, b, log_scale), [a, b, log_scale])) for name, f in (("eager", loss), ("compile", fast))}
        return Work(ways, flop=8.0 * r * r * w)

    return build


def unit_rows(s, n, d):
    return F.normalize(s.uniform(n, d).float()).to(s.dtype).requires_grad_()


def siglip(n, d):
    """One pair, the logits as a whole: Σ softplus(z) − Σ z of the partners, which is SigLIP's sum of log-sigmoids with the fewest passes."""

    def build(s):
        r, w = s.size(n, 70), s.size(d, 16)
        a, b = unit_rows(s, r, w), unit_rows(s, r, w)
        log_scale, bias = torch.tensor(math.log(10.0), device=s.device, requires_grad=True), torch.tensor(-10.0, device=s.device, requires_grad=True)

        def loss(a, b, log_scale, bias):
            z = log_scale.exp() * (a @ b.T).float() + bias
            return (F.softplus(z).sum() - z.diagonal().sum()) / len(a)

        fast = compiled(loss)
        inputs = [a, b, log_scale, bias]
        ways = {name: (lambda f=f: torch.autograd.grad(f(*inputs), inputs)) for name, f in (("eager", loss), ("compile", fast))}
        return Work(ways, flop=6.0 * r * r * w)

    return build


def sup_con(n, d):
    def build(s):
        r, w = s.size(n, 70), s.size(d, 16)
        z = unit_rows(s, r, w)
        labels = torch.arange(r, device=s.device) * 7919 % (r // 8)

        def loss(z, labels):
            similarity = (z @ z.T).float() / 0.1
            self = torch.eye(len(z), dtype=torch.bool, device=z.device)
            partners = (labels[:, None] == labels[None]) & ~self
            lse = similarity.masked_fill(self, -math.inf).logsumexp(1)
            return (lse - (similarity * partners).sum(1) / partners.sum(1)).mean()

        ways = {name: (lambda f=f: torch.autograd.grad(f(z, labels), z)) for name, f in (("eager", loss), ("compile", compiled(loss)))}
        return Work(ways, flop=6.0 * r * r * w)

    return build


def clouds(s, n, d, n_centres):
    """Points about overlapping centres, drawn as benchmarks/gpu/clouds.hpp draws them, from another generator."""
    bell = lambda *shape: (torch.rand(*shape, 4, device=s.device) * 2 - 1).sum(-1)
    return bell(n_centres, d)[torch.randint(0, n_centres, (n,), device=s.device)] + bell(n, d)


def kmeans_lloyd(n, d, k):
    """Ten iterations from the first k points, and the labels of the last centres. Empty clusters keep their centre."""

    def build(s):
        points, width, clusters = s.size(n, 700), s.size(d, 9), s.size(k, 12)
        x = clouds(s, points, width, clusters)
        ones = torch.ones(points, device=s.device)

        def nearest(x, centers):
            # Of ‖x − c‖² what depends on c, with the sign turned and halved.
            return torch.addmm(centers.square().sum(1) * -0.5, x, centers.T).argmax(1)

        def means(x, centers, labels):
            counts = torch.zeros(clusters, device=x.device).index_add_(0, labels, ones)[:, None]
            return torch.where(counts > 0, torch.zeros_like(centers).index_add_(0, labels, x) / counts.clamp(min=1), centers)

        def run(nearest=nearest, means=means):
            centers = x[:clusters]
            for _ in range(10):
                centers = means(x, centers, nearest(x, centers))
            labels = nearest(x, centers)
            return centers.cpu(), labels.cpu(), (x - centers[labels]).square().sum().item()

        fast_nearest, fast_means = compiled(nearest), compiled(means)
        return Work({"eager": no_grad(run), "compile": no_grad(lambda: run(fast_nearest, fast_means))}, flop=22.0 * points * clusters * width)

    return build


def kmeans_transform(n, d, k):
    """Distances of all points to the first k, in double as instar's, rounded to float; from differences and from products."""

    def build(s):
        points, width, clusters = s.size(n, 150), s.size(d, 9), s.size(k, 70)
        x = clouds(s, points, width, clusters)

        def run(mode):
            return torch.cdist(x.double(), x[:clusters].double(), compute_mode=mode).float()

        ways = {"differences": "donot_use_mm_for_euclid_dist", "products": "use_mm_for_euclid_dist"}
        return Work({name: no_grad(lambda mode=mode: run(mode)) for name, mode in ways.items()}, flop=3.0 * points * clusters * width, samples=points)

    return build


def knn(n, d, k):
    """Products of blocks of queries with all references, the k smallest of each row; float alone, so near ties may change places."""

    def build(s):
        count, width = s.size(n, 300), s.size(d, 20)
        x = clouds(s, 2 * count, width, count // 10)
        queries, references = x[:count], x[count:]

        def nearest(q, references):
            # ‖r‖² − 2 q·r orders as ‖q − r‖² does.
            scores = torch.addmm(references.square().sum(1), q, references.T, alpha=-2)
            if k == 1:
                value, index = scores.min(1, keepdim=True)
            else:
                value, index = scores.topk(k, 1, largest=False)
            return (value + q.square().sum(1, keepdim=True)).clamp(min=0).sqrt(), index

        def by_cdist(q, references):
            return torch.cdist(q, references).topk(k, 1, largest=False)

        def run(f):
            parts = [f(q, references) for q in queries.split(4096)]
            return torch.cat([p[0] for p in parts]).cpu(), torch.cat([p[1] for p in parts]).cpu()

        fast = compiled(nearest)
        ways = {"eager": nearest, "compile": fast, "cdist": by_cdist}
        return Work({name: no_grad(lambda f=f: run(f)) for name, f in ways.items()}, flop=2.0 * count * count * width, samples=count)

    return build


def silhouette(n, d, k):
    """All in double, as instar's: distances of blocks of points to all, from differences and from products, added by cluster."""

    def build(s):
        points, width, clusters = s.size(n, 300), s.size(d, 7), s.size(k, 12)
        x = clouds(s, points, width, clusters).double()
        labels = torch.arange(points, device=s.device) * 7919 % clusters
        counts = torch.bincount(labels, minlength=clusters).double()

        def run(mode):
            out = []
            for rows, own in zip(x.split(4096), labels.split(4096)):
                sums = torch.zeros(len(rows), clusters, dtype=torch.float64, device=s.device).index_add_(1, labels, torch.cdist(rows, x, compute_mode=mode))
                a = sums.gather(1, own[:, None])[:, 0] / (counts[own] - 1)
                b = (sums / counts).scatter(1, own[:, None], math.inf).amin(1)
                out.append((b - a) / torch.maximum(a, b))
            return torch.cat(out).cpu()

        ways = {"differences": "donot_use_mm_for_euclid_dist", "products": "use_mm_for_euclid_dist"}
        return Work({name: no_grad(lambda mode=mode: run(mode)) for name, mode in ways.items()}, flop=3.0 * points * points * width, samples=points)

    return build


def kmer_encode(k, barcodes):
    """Letters in rows of equal length, each word a sum of digits; a word with another letter is [UNK]."""

    def build(s):
        n, length = s.size(barcodes, 20), 658
        letters = torch.tensor(list(b"ACGT"), dtype=torch.uint8, device=s.device)[torch.randint(0, 4, (n, length), device=s.device)]
        table = torch.full((256,), -1, dtype=torch.int32, device=s.device)
        for digit, base in enumerate(b"ACGT"):
            table[base] = digit
        powers = torch.tensor([4 ** (k - 1 - i) for i in range(k)], dtype=torch.int32, device=s.device)
        tokens = 660 // k

        def f(letters):
            digits = table[letters.int()][:, : length // k * k].view(n, length // k, k)
            ids = torch.where((digits >= 0).all(-1), (digits * powers).sum(-1, dtype=torch.int32) + 2, 1)
            ids = F.pad(ids, (0, tokens - length // k), value=1)
            mask = (torch.arange(tokens, device=letters.device) < length // k).to(torch.uint8).expand(n, tokens).contiguous()
            return ids, mask

        fast = compiled(f)
        return Work({"eager": no_grad(lambda: f(letters)), "compile": no_grad(lambda: fast(letters))}, bytes=float(n * (length + 5 * tokens)), samples=n)

    return build


def convolution_flop(model, images):
    """Of one forward."""
    total = []
    hooks = [m.register_forward_hook(lambda m, _, y: total.append(2.0 * y.numel() * m.in_channels * m.kernel_size[0] ** 2)) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        model(images)
    for hook in hooks:
        hook.remove()
    return sum(total)


def initialised(model, s):
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.02)
    return model.to(s.device)


def forward_ways(make, s, inputs, call=lambda m: m):
    """Eager and compiled; in bf16 also under autocast with float parameters."""
    ways = {}
    for style in ("",) if s.kind != "bf16" else ("", "autocast "):
        model = initialised(make(), s).eval()
        if s.kind == "bf16" and not style:
            model = model.bfloat16()
        arguments = [x.float() if style and x.is_floating_point() else x for x in inputs]
        for name, f in (("eager", call(model)), ("compile", compiled(call(model)))):
            def run(f=f, arguments=arguments, style=style):
                with torch.autocast(s.device, dtype=torch.bfloat16, enabled=bool(style)):
                    return f(*arguments)

            ways[style + name] = no_grad(run)
    return ways


def cross_entropy_with(targets):
    return lambda logits: F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets)


def step_ways(make, s, inputs, loss_of, guessing):
    """Forward, loss_of its result, backward, fused AdamW. The loss must start near that of guessing."""
    ways = {}
    for style in ("",) if s.kind != "bf16" else ("", "autocast "):
        for name in ("eager", "compile"):
            torch.manual_seed(1)
            model = initialised(make(), s).train()
            if s.kind == "bf16" and not style:
                model = model.bfloat16()
            arguments = [x.float() if style and x.is_floating_point() else x for x in inputs]
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, **({"fused": True} if s.device == "cuda" else {}))
            f = compiled(model) if name == "compile" else model

            def step(f=f, optimiser=optimiser, arguments=arguments, style=style):
                with torch.autocast(s.device, dtype=torch.bfloat16, enabled=bool(style)):
                    loss = loss_of(f(*arguments))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                return loss

            if name == "eager":
                assert abs(step().item() / guessing - 1) < 0.2
            ways[style + name] = step
    return ways


BERTS = {  # k, layers, width, heads, batch, tokens
    "k4_4x768_b32_t165": (4, 4, 768, 4, 32, 165),
    "k4_4x768_b512_t165": (4, 4, 768, 4, 512, 165),
    "k8_4x768_b32_t82": (8, 4, 768, 4, 32, 82),
    "k8_4x768_b512_t82": (8, 4, 768, 4, 512, 82),
}


def bert(shape, training):
    def build(s):
        k, layers, d, heads, n, t = (2, 1, 16, 2, 2, 11) if s.small else shape
        words = 4**k
        lengths = torch.randint(t * 9 // 10, t + 1, (n, 1), device=s.device)
        mask = torch.arange(t, device=s.device)[None] < lengths
        ids = torch.where(mask, torch.randint(2, words + 2, (n, t), device=s.device), 1)
        flop = layers * n * t * (24.0 * d * d + 4.0 * t * d)
        make = lambda: Bert(words, d, layers, heads)
        if not training:
            return Work(forward_ways(make, s, [ids, mask], lambda m: m.encode), flop=flop, samples=n)
        targets = torch.where(mask, ids - 2, -100).view(-1)
        ways = step_ways(make, s, [ids, mask], cross_entropy_with(targets), math.log(words))
        return Work(ways, flop=3 * (flop + 2.0 * n * t * d * words), samples=n)

    return build


def vit(batch, training):
    def build(s):
        size, d, layers, heads, d_ff, n = (32, 16, 1, 2, 24, 3) if s.small else (224, 768, 12, 12, 3072, batch)
        labels = (7 if s.small else 1000) if training else 0
        images = s.uniform(n, 3, size, size, low=-2.0, high=2.0)
        patches = (size // 16) ** 2
        flop = n * (2.0 * patches * 768 * d + layers * (patches + 1) * (8.0 * d * d + 4.0 * d * d_ff + 4.0 * (patches + 1) * d))
        make = lambda: Vit(size, d, layers, heads, d_ff, labels)
        if not training:
            return Work(forward_ways(make, s, [images]), flop=flop, samples=n)
        targets = torch.tensor([37 * i % labels for i in range(n)], device=s.device)
        return Work(step_ways(make, s, [images], cross_entropy_with(targets), math.log(labels)), flop=3 * flop, samples=n)

    return build


def resnet(batch, training):
    def build(s):
        size, blocks, width, n = (64, (1, 1, 1, 1), 4, 3) if s.small else (224, (3, 4, 6, 3), 64, batch)
        labels = (7 if s.small else 1000) if training else 0
        images = s.uniform(n, 3, size, size, low=-2.0, high=2.0).contiguous(memory_format=torch.channels_last)
        make = lambda: ResNet(blocks, width, labels).to(memory_format=torch.channels_last)
        flop = n * convolution_flop(make().eval(), torch.zeros(1, 3, size, size))
        if not training:
            return Work(forward_ways(make, s, [images]), flop=flop, samples=n)
        targets = torch.tensor([37 * i % labels for i in range(n)], device=s.device)
        return Work(step_ways(make, s, [images], cross_entropy_with(targets), math.log(labels)), flop=3 * flop, samples=n)

    return build


def clip(batch):
    """clip_step of benchmarks/gpu/clip.cpp: barcodes without a mask, names with one."""

    def build(s):
        if s.small:
            n, size, image, dna, text, e, lengths, log_scale = 5, 32, (32, 16, 1, 2, 24), (16, 16, 1, 2), (16, 16, 1, 2), 12, (6, 4), 0.0
        else:
            n, size, image, dna, text, e, lengths, log_scale = batch, 224, (224, 768, 12, 12, 3072), (1025, 768, 12, 12), (30520, 512, 4, 8), 768, (133, 20), 2.6592600
        images = s.uniform(n, 3, size, size, low=-2.0, high=2.0)
        barcodes, names = (torch.randint(2, words + 2, (n, length), device=s.device) for words, length in ((dna[0], lengths[0]), (text[0], lengths[1])))
        last = lengths[1] - torch.arange(n, device=s.device)[:, None] % (lengths[1] // 2)
        mask = torch.arange(lengths[1], device=s.device)[None] < last
        patches = (size // 16) ** 2
        layer = lambda t, d, d_ff: t * (8.0 * d * d + 4.0 * d * d_ff + 4.0 * t * d)
        towers = (2.0 * patches * 768 * image[1] + image[2] * layer(patches + 1, image[1], image[4]) + 2.0 * image[1] * e
                  + dna[2] * layer(lengths[0], dna[1], 4 * dna[1]) + 2.0 * lengths[0] * dna[1] * (dna[1] + e)
                  + text[2] * layer(lengths[1], text[1], 4 * text[1]) + 2.0 * text[1] * e)
        ways = step_ways(lambda: Clip(image, dna, text, e, log_scale), s, [images, barcodes, names, mask], lambda loss: loss, math.log(n))
        return Work(ways, flop=3.0 * n * towers + 24.0 * n * n * e, samples=n)

    return build


ALL, NO_PRODUCTS, FP32, BF16 = ("fp32", "tf32", "bf16"), ("fp32", "bf16"), ("fp32",), ("bf16",)
WORKS = {}  # name -> (kind, build)


def add(work, shape, kinds, build):
    for kind in kinds:
        WORKS[f"{work}{'' if kind == 'fp32' else '_' + kind}/{shape}"] = (kind, build)


def add_each(work, shape, kinds, directions, build):
    """work_direction/shape of each direction."""
    for direction in directions:
        add(f"{work}_{direction}", "/".join(map(str, shape)), kinds, build(*shape, direction))


BOTH_WAYS = ("forward", "backward")
FLAT = 1 << 26
for m, n, k, form in [(8192, 8192, 8192, "nt"), (5280, 768, 768, "nt"), (5280, 3072, 768, "nt"), (5280, 768, 3072, "nt"), (84480, 3072, 768, "nt"),
                      (84480, 768, 3072, "nn"), (3072, 768, 84480, "tn")]:
    add("gemm", f"{m}/{n}/{k}/{form}", ALL, gemm(m, n, k, form))
for shape in [(5280, 768, 3072), (84480, 768, 3072)]:
    for direction, work in (("forward", "linear_forward"), ("gelu", "linear_gelu_forward"), ("backward", "linear_backward")):
        add(work, "/".join(map(str, shape)), ALL, linear(*shape, direction))
for shape in [(32, 4, 165, 192), (512, 4, 165, 192), (8, 12, 197, 64), (256, 12, 197, 64)]:
    add_each("attention", shape, ALL, BOTH_WAYS, attention)
add_each("layer_norm", (84480, 768), NO_PRODUCTS, BOTH_WAYS, layer_norm)
add_each("gelu", (FLAT,), NO_PRODUCTS, BOTH_WAYS, gelu)
for direction in BOTH_WAYS:
    add(f"softmax_{direction}", "65536/768", NO_PRODUCTS, rowwise(lambda x: F.softmax(x, -1), 65536, 768, direction, -4.0, 4.0))
    add(f"l2_normalize_{direction}", "131072/768", NO_PRODUCTS, rowwise(lambda x: F.normalize(x, dim=-1), 131072, 768, direction))
    suffix = "" if direction == "forward" else "_backward"
    add(f"extract_patches{suffix}", "256/3/224", NO_PRODUCTS, extract_patches(256, 3, 224, direction))
    add(f"prepend_class_token{suffix}", "256/196/768", NO_PRODUCTS, prepend_class_token(256, 196, 768, direction))
for op in ("fill", "copy", "add", "scale", "add_relu", "relu_backward"):
    add(op, str(FLAT), NO_PRODUCTS, flat(op, FLAT))
for direction, work in (("forward", "dropout_forward"), ("residual", "residual_dropout_forward"), ("backward", "dropout_backward")):
    add(work, str(FLAT), NO_PRODUCTS, dropout(FLAT, direction))
add("adamw_update", str(FLAT), FP32, adamw(FLAT))
add("squared_norm", str(FLAT), NO_PRODUCTS, squared_norm(FLAT))
add("sgd_update", str(FLAT), NO_PRODUCTS, sgd(FLAT))
for rows, classes in [(2656, 65540), (84480, 260)]:
    add("cross_entropy", f"{rows}/{classes}", NO_PRODUCTS, cross_entropy(rows, classes))
add("focal_loss", "65536/1000", NO_PRODUCTS, focal_loss(65536, 1000))
for shape in [(512, 165, 258, 768), (512, 82, 65538, 768)]:
    add_each("embedding", shape, NO_PRODUCTS, BOTH_WAYS, embedding)
add_each("sequence_pool", (512, 165, 768), NO_PRODUCTS, BOTH_WAYS, sequence_pool)
for n in (4096, 8192, 16384, 32768, 65536, 131072):
    add("info_nce_step", f"{n}/768", ALL if n <= 32768 else BF16, info_nce(n, 768))
for n in (4096, 16384, 32768):
    add("siglip_step", f"{n}/768", ALL, siglip(n, 768))
add("sup_con_step", "8192/768", ALL, sup_con(8192, 768))
add("channels_last", "256/3/224", NO_PRODUCTS, channels_last(256, 3, 224))
for shape in [(64, 224, 3, 64, 7, 2), (64, 56, 64, 64, 3, 1), (64, 56, 256, 64, 1, 1), (64, 28, 128, 128, 3, 1), (64, 28, 256, 256, 3, 2), (64, 14, 256, 256, 3, 1)]:
    add_each("conv2d", shape, ALL, BOTH_WAYS, conv2d)
for images, size, channels in [(64, 56, 256), (256, 7, 2048)]:
    for direction in ("forward", "inference", "backward"):
        add(f"batch_norm_{direction}", f"{images * size * size}/{channels}", NO_PRODUCTS, batch_norm(images, size, channels, direction))
add_each("max_pool2d", (64, 112, 64), NO_PRODUCTS, BOTH_WAYS, max_pool2d)
for name, shape in BERTS.items():
    add("encoder_forward", name, ALL, bert(shape, False))
    add("mlm_step", name, ALL, bert(shape, True))
for n in (64, 256):
    add("vit_forward", f"base16_b{n}", ALL, vit(n, False))
    add("vit_step", f"base16_b{n}", ALL, vit(n, True))
add("resnet_forward", "50_b128", ALL, resnet(128, False))
add("resnet_step", "50_b128", ALL, resnet(128, True))
add("clip_step", "base16_b128", ALL, clip(128))
add("clip_step", "base16_b256", BF16, clip(256))
for n, d, k in [(100_000, 128, 1_000), (47_260, 50, 4_363)]:
    add("kmeans_lloyd", f"{n}/{d}/{k}", FP32, kmeans_lloyd(n, d, k))
add("kmeans_transform", "100000/128/1000", FP32, kmeans_transform(100_000, 128, 1_000))
for n, d, k in [(20_000, 768, 1), (20_000, 768, 30), (20_000, 128, 30)]:
    add("knn", f"{n}/{d}/{k}", FP32, knn(n, d, k))
for n, d, k in [(10_000, 50, 500), (47_260, 50, 4_363)]:
    add("silhouette", f"{n}/{d}/{k}", FP32, silhouette(n, d, k))
for k in (4, 8):
    add("kmer_encode", f"{k}/262144", FP32, kmer_encode(k, 262144))


def seconds_of(run, launches):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(launches):
        run()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) * 1e-3 / launches


def measure(run):
    """Samples of about five milliseconds, as benchmarks/gpu/harness.hpp takes them. The first calls warm up and compile."""
    for _ in range(3):
        run()
    once = seconds_of(run, 1)
    launches = int(min(max(5e-3 / max(once, 1e-7), 1), 500))
    return [seconds_of(run, launches) for _ in range(N_SAMPLES if once < 0.05 else 5)]


STOPPED = "stopped before its end"
AGAIN = 124  # exit status: another process should go on


@contextlib.contextmanager
def limit(seconds):
    """Ends this process when the block takes longer: a compiler or a kernel that hangs hears no exception."""
    timer = threading.Timer(seconds, lambda: os._exit(AGAIN))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def failed(error, write):
    """What an exception says. After some of them the device is of no use to this process, and all that follows would fail."""
    try:
        torch.cuda.synchronize()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    except Exception:
        write()
        os._exit(AGAIN)


def report(entry, kind, build, write, seconds):
    """Fills an entry of the report: seconds of each way, or why there are none. `write` is called before whatever may take long: when this process
    ends there, by a limit or a crash, the figures of before are kept, and what it ended at is tried once more by the next."""
    entry["error"], entry["tries"] = STOPPED, entry.get("tries", 0) + 1
    write()
    try:
        with limit(seconds):
            work = build(Setting("cuda", kind, False))
    except Exception as error:  # too little memory, or a result that is wrong: the others go on
        entry["error"] = failed(error, write)
        return
    entry.update(tries=0, flop=work.flop, bytes=work.bytes, samples=work.samples)
    ways = entry["ways"]
    # Compiling takes minutes: what needs none comes first.
    for way, run in sorted(work.ways.items(), key=lambda w: "compile" in w[0]):
        tries = ways.get(way, {}).get("tries", 0)
        if way in ways and not 0 < tries < 2:
            continue
        ways[way] = {"error": STOPPED, "tries": tries + 1}
        write()
        try:
            with limit(seconds):
                ways[way] = {"seconds": measure(run)}
        except Exception as error:  # one way that fails, by memory or by the compiler, must not end the others
            ways[way] = {"error": failed(error, write)}
        torch.cuda.empty_cache()
    del entry["error"]


def chosen(filters):
    """Names that one of the regular expressions finds: bf16 first, because compiling models takes minutes, then in the order of the expressions."""
    places = {name: next((i for i, f in enumerate(filters) if re.search(f, name)), None) for name in WORKS}
    return sorted((name for name in WORKS if places[name] is not None), key=lambda name: (WORKS[name][0] != "bf16", places[name]))


def check(filters):
    """Every work once at a small size on the CPU; eager alone, because compiling takes minutes."""
    global compiled
    compiled = lambda f: f
    for name in chosen(filters):
        kind, build = WORKS[name]
        for way, run in build(Setting("cpu", kind, True)).ways.items():
            run()
            print(f"{name}: {way} runs")


def main():
    parser = argparse.ArgumentParser(description="times PyTorch on a GPU; gpu_report.py compares it with instar")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--filter", nargs="+", default=[""], help="regular expressions over names; one must fit")
    parser.add_argument("--out", help="write JSON here, after each way of each work")
    parser.add_argument("--resume", action="store_true", help="keep what the file of --out holds and measure the rest; status 124: another process should go on")
    parser.add_argument("--anew", action="store_true", help="with --resume: but measure what the filter finds")
    parser.add_argument("--limit", type=float, default=360.0, help="seconds that one way of a work may take, its compilation included")
    parser.add_argument("--check", action="store_true", help="small shapes on the CPU, nothing is timed")
    args = parser.parse_args()
    if args.list:
        print("\n".join(chosen(args.filter)))
        return 0
    if args.check:
        check(args.filter)
        return 0
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no GPU (built for CUDA {torch.version.cuda}): nothing is measured", file=sys.stderr)
        return 77
    facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "device": torch.cuda.get_device_name()}
    print(json.dumps(facts))
    results = []
    if args.resume and args.out and os.path.exists(args.out):
        with open(args.out) as f:
            results = json.load(f)["results"]

    def write():
        if not args.out:
            return
        # After each work, and whole or not at all: whoever is stopped loses the rest and not what was measured.
        with open(args.out + ".part", "w") as f:
            json.dump({"facts": facts, "results": results}, f, indent=1)
        os.replace(args.out + ".part", args.out)

    names = chosen(args.filter)
    if args.anew:
        results = [r for r in results if r["name"] not in names]
        write()
    found = {r["name"]: r for r in results}
    for name in names:
        if name in found:
            entry = found[name]
            if entry.get("error") != STOPPED or entry["tries"] >= 2:
                continue
        else:
            entry = {"name": name, "ways": {}}
            results.append(entry)
        report(entry, *WORKS[name], write, args.limit)
        shown = ", ".join(f"{way} {statistics.median(r['seconds']) * 1e3:.3f} ms" if "seconds" in r else f"{way} {r['error']}" for way, r in entry["ways"].items())
        print(f"{name:48} {shown or entry.get('error', 'no way runs')}", flush=True)
        torch.compiler.reset()
        torch.cuda.empty_cache()
        write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
