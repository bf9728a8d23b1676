"""torchvision's ResNet on PyTorch: forward and training step, the shapes of benchmarks/resnet.cpp. See peer.py for how to run it.

As it comes: torchvision's model, torch.optim.SGD. Tuned: channels last, the fused SGD; run.py adds ATEN_CPU_CAPABILITY and an allocator
that keeps freed memory.
"""

import torch
import torch.nn.functional as F
import torchvision

import peer

# layers, batch, pixels
SHAPES = {"50_b8_224": (50, 8, 224), "18_b32_96": (18, 32, 96)}


def facts():
    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}


def make(layers, n, size, labels, tuned):
    torch.manual_seed(1)
    model = getattr(torchvision.models, f"resnet{layers}")(num_classes=labels)
    images = torch.randn(n, 3, size, size)
    if tuned:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    return model, images


def flop_of(model, images):
    """Multiply-adds of the convolutions, twice."""
    total = []

    def count(module, args, out):
        total.append(2.0 * out.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1])

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.inference_mode():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    return sum(total)


def forward(shape):
    def build(tuned):
        model, images = make(*shape, 1000, tuned)
        model.fc = torch.nn.Identity()
        model.eval()

        def run():
            with torch.inference_mode():
                return model(images)

        assert run().shape[0] == shape[1]
        return peer.Work(run, flop=flop_of(model, images), items=shape[1])

    return build


def step(shape):
    def build(tuned):
        model, images = make(*shape, 1000, tuned)
        flop = 3 * flop_of(model, images)
        model.train()
        targets = torch.tensor([37 * i % 1000 for i in range(shape[1])])
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, **({"fused": True} if tuned else {}))

        def run():
            loss = F.cross_entropy(model(images), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return loss.item()

        run()
        return peer.Work(run, flop=flop, items=shape[1])

    return build


WORKS = {f"resnet_forward/{n}": forward(s) for n, s in SHAPES.items()} | {f"resnet_step/{n}": step(s) for n, s in SHAPES.items()}

if __name__ == "__main__":
    peer.main(WORKS, facts)
