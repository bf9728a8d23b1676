"""PyTorch on the GPU: the works of benchmarks/gpu, by the same names, timed by CUDA events as there.

    python benchmarks/peers/gpu_pytorch.py --list
    python benchmarks/peers/gpu_pytorch.py --filter 'attention.*bf16' --out peer.json
    python benchmarks/peers/gpu_pytorch.py --check             small shapes on the CPU, no times: do the works run?

Needs torch with CUDA; it says so and exits with 77 when torch finds no GPU. Names: work, work_tf32 (float, products in TF32), work_bf16.

Each work is timed in every way that PyTorch has for it, and all are reported: "eager", "compile" (torch.compile, where the work is more than one
call), for attention the backends of scaled_dot_product_attention ("flash", "efficient", "math"), for models in bf16 "autocast" (float parameters
and moments, as instar's AdamW keeps them) beside parameters, gradients and moments in bf16. gpu_report.py compares with the fastest, and attention with flash.
Models are written out here, so that nothing but torch is needed: post-LN BERT and pre-LN ViT on scaled_dot_product_attention.
"""

import argparse
import dataclasses
import json
import math
import os
import re
import statistics
import sys
from typing import Callable

import torch
import torch.nn.functional as F
from torch import nn

from torch_calls import backward_of, no_grad

N_SAMPLES = 15


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


class Block(nn.Module):
    """A transformer block: post-LN as BERT's or pre-LN as ViT's."""

    def __init__(self, d, heads, d_ff, dropout, attention_dropout, pre, eps):
        super().__init__()
        self.heads, self.p, self.attention_p, self.pre = heads, dropout, attention_dropout, pre
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, d_ff), nn.Linear(d_ff, d)
        self.norm1, self.norm2 = nn.LayerNorm(d, eps), nn.LayerNorm(d, eps)

    def attend(self, x, mask):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.attention_p if self.training else 0.0)
        return F.dropout(self.out(o.transpose(1, 2).reshape(b, t, d)), self.p, self.training)

    def mlp(self, x):
        return F.dropout(self.down(F.gelu(self.up(x))), self.p, self.training)

    def forward(self, x, mask=None):
        if self.pre:
            x = x + self.attend(self.norm1(x), mask)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attend(x, mask))
        return self.norm2(x + self.mlp(x))


class Bert(nn.Module):
    def __init__(self, words, d, layers, heads):
        super().__init__()
        self.word, self.position, self.kind = nn.Embedding(words + 2, d, padding_idx=0), nn.Embedding(512, d), nn.Embedding(2, d)
        self.norm = nn.LayerNorm(d, 1e-12)
        self.blocks = nn.ModuleList(Block(d, heads, 4 * d, 0.1, 0.1, False, 1e-12) for _ in range(layers))
        self.classifier = nn.Linear(d, words)

    def encode(self, ids, mask):
        x = self.word(ids) + self.position.weight[: ids.shape[1]] + self.kind.weight[0]
        x = F.dropout(self.norm(x), 0.1, self.training)
        for block in self.blocks:
            x = block(x, mask[:, None, None, :])
        return x

    def forward(self, ids, mask):
        return self.classifier(self.encode(ids, mask))


class Vit(nn.Module):
    def __init__(self, size, d, layers, heads, d_ff, labels):
        super().__init__()
        self.patch = nn.Conv2d(3, d, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, d))
        self.position = nn.Parameter(torch.zeros(1, (size // 16) ** 2 + 1, d))
        self.blocks = nn.ModuleList(Block(d, heads, d_ff, 0.0, 0.0, True, 1e-6) for _ in range(layers))
        self.norm = nn.LayerNorm(d, 1e-6)
        self.head = nn.Linear(d, labels) if labels else nn.Identity()

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


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


def step_ways(make, s, inputs, targets, guessing):
    """Forward, cross-entropy, backward, fused AdamW. The loss must start near that of guessing."""
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
                    logits = f(*arguments)
                    loss = F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets)
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
        ways = step_ways(make, s, [ids, mask], targets, math.log(words))
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
        return Work(step_ways(make, s, [images], targets, math.log(labels)), flop=3 * flop, samples=n)

    return build


ALL, NO_PRODUCTS, FP32, BF16 = ("fp32", "tf32", "bf16"), ("fp32", "bf16"), ("fp32",), ("bf16",)
WORKS = {}  # name -> (kind, build)


def add(work, shape, kinds, build):
    for kind in kinds:
        WORKS[f"{work}{'' if kind == 'fp32' else '_' + kind}/{shape}"] = (kind, build)


for m, n, k, form in [(8192, 8192, 8192, "nt"), (5280, 768, 768, "nt"), (5280, 3072, 768, "nt"), (5280, 768, 3072, "nt"), (84480, 3072, 768, "nt"),
                      (84480, 768, 3072, "nn"), (3072, 768, 84480, "tn")]:
    add("gemm", f"{m}/{n}/{k}/{form}", ALL, gemm(m, n, k, form))
for shape in [(32, 4, 165, 192), (512, 4, 165, 192), (8, 12, 197, 64), (256, 12, 197, 64)]:
    for direction in ("forward", "backward"):
        add(f"attention_{direction}", "/".join(map(str, shape)), ALL, attention(*shape, direction))
for direction in ("forward", "backward"):
    add(f"layer_norm_{direction}", "84480/768", NO_PRODUCTS, layer_norm(84480, 768, direction))
    add(f"gelu_{direction}", f"{1 << 26}", NO_PRODUCTS, gelu(1 << 26, direction))
add("adamw_update", f"{1 << 26}", FP32, adamw(1 << 26))
for rows, classes in [(2656, 65540), (84480, 260)]:
    add("cross_entropy", f"{rows}/{classes}", NO_PRODUCTS, cross_entropy(rows, classes))
for shape in [(512, 165, 258, 768), (512, 82, 65538, 768)]:
    for direction in ("forward", "backward"):
        add(f"embedding_{direction}", "/".join(map(str, shape)), NO_PRODUCTS, embedding(*shape, direction))
for n in (4096, 8192, 16384, 32768, 65536, 131072):
    add("info_nce_step", f"{n}/768", ALL if n <= 32768 else BF16, info_nce(n, 768))
for name, shape in BERTS.items():
    add("encoder_forward", name, ALL, bert(shape, False))
    add("mlm_step", name, ALL, bert(shape, True))
for n in (64, 256):
    add("vit_forward", f"base16_b{n}", ALL, vit(n, False))
    add("vit_step", f"base16_b{n}", ALL, vit(n, True))


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


def report(name, kind, build):
    """One entry of the report: seconds of each way, or why there are none."""
    try:
        work = build(Setting("cuda", kind, False))
    except Exception as error:  # too little memory, or a result that is wrong: the others go on
        return {"name": name, "error": f"{type(error).__name__}: {error}".splitlines()[0], "ways": {}}
    ways = {}
    for way, run in work.ways.items():
        try:
            ways[way] = {"seconds": measure(run)}
        except Exception as error:  # one way that fails, by memory or by the compiler, must not end the others
            ways[way] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        torch.cuda.empty_cache()
    return {"name": name, "flop": work.flop, "bytes": work.bytes, "samples": work.samples, "ways": ways}


def check(pattern):
    """Every work once at a small size on the CPU; eager alone, because compiling takes minutes."""
    global compiled
    compiled = lambda f: f
    for name, (kind, build) in WORKS.items():
        if not re.search(pattern, name):
            continue
        for way, run in build(Setting("cpu", kind, True)).ways.items():
            run()
            print(f"{name}: {way} runs")


def main():
    parser = argparse.ArgumentParser(description="times PyTorch on a GPU; gpu_report.py compares it with instar")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--filter", default="", help="regular expression over names")
    parser.add_argument("--out", help="write JSON here, after each work")
    parser.add_argument("--resume", action="store_true", help="keep what the file of --out holds and measure the rest")
    parser.add_argument("--check", action="store_true", help="small shapes on the CPU, nothing is timed")
    args = parser.parse_args()
    if args.list:
        print("\n".join(name for name in WORKS if re.search(args.filter, name)))
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
    done = {r["name"] for r in results}
    for name, (kind, build) in WORKS.items():
        if name in done or not re.search(args.filter, name):
            continue
        entry = report(name, kind, build)
        results.append(entry)
        shown = ", ".join(f"{way} {statistics.median(r['seconds']) * 1e3:.3f} ms" if "seconds" in r else f"{way} {r['error']}" for way, r in entry["ways"].items())
        print(f"{name:48} {shown or entry.get('error', 'no way runs')}", flush=True)
        torch.compiler.reset()
        torch.cuda.empty_cache()
        if args.out:  # a time limit then costs the rest and not what was measured
            with open(args.out, "w") as f:
                json.dump({"facts": facts, "results": results}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
