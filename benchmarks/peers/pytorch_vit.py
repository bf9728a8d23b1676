"""timm's vision transformer on PyTorch: forward and training step, the shapes of benchmarks/vit.cpp. See peer.py for how to run it.

The works named …_bf16 run under torch.autocast to bfloat16.

As it comes: timm's model, torch.optim.AdamW. Tuned: the fused AdamW, and torch.compile where that is faster than running
eagerly; run.py adds ATEN_CPU_CAPABILITY and an allocator that keeps freed memory.
"""

import timm
import torch
import torch.nn.functional as F

import peer

SHAPES = {"tiny16_b8": ("vit_tiny_patch16_224", 8), "base16_b8": ("vit_base_patch16_224", 8), "base16_b4": ("vit_base_patch16_224", 4)}


def facts():
    return {"torch": torch.__version__, "timm": timm.__version__, "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}


def flop_of(model, n):
    d, t, layers = model.embed_dim, 197, len(model.blocks)
    return n * (2.0 * 196 * 768 * d + layers * t * (8.0 * d * d + 16.0 * d * d + 4.0 * t * d))


def precision(bf16):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16)


def forward(shape, bf16):
    def build(tuned):
        torch.manual_seed(1)
        model = timm.create_model(shape[0], num_classes=0).eval()
        images = torch.randn(shape[1], 3, 224, 224)

        def of(forward):
            def run():
                with torch.inference_mode(), precision(bf16):
                    return forward(images)

            return run

        run = of(model)
        assert run().shape == (shape[1], model.embed_dim)
        if tuned:
            run = peer.faster(run, of(torch.compile(model)))
        return peer.Work(run, flop=flop_of(model, shape[1]), items=shape[1])

    return build


def step(shape, bf16):
    def build(tuned):
        torch.manual_seed(1)
        model = timm.create_model(shape[0], num_classes=1000).train()
        images = torch.randn(shape[1], 3, 224, 224)
        targets = torch.tensor([37 * i % 1000 for i in range(shape[1])])
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, **({"fused": True} if tuned else {}))

        def of(forward):
            return lambda: one_step(forward)

        def one_step(forward):
            with precision(bf16):
                loss = F.cross_entropy(forward(images), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return loss.item()

        run = of(model)
        run()
        if tuned:
            run = peer.faster(run, of(torch.compile(model)))
        return peer.Work(run, flop=3 * flop_of(model, shape[1]), items=shape[1])

    return build


WORKS = {}
for kind, bf16 in (("", False), ("_bf16", True)):
    WORKS |= {f"vit_forward{kind}/{n}": forward(SHAPES[n], bf16) for n in ("tiny16_b8", "base16_b8")}
    WORKS |= {f"vit_step{kind}/{n}": step(SHAPES[n], bf16) for n in ("tiny16_b8", "base16_b4")}

if __name__ == "__main__":
    peer.main(WORKS, facts)
