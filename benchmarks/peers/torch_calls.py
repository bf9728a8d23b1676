"""How PyTorch's forward and backward passes are called when they are timed, on the CPU (pytorch_ops.py) and on a GPU (gpu_pytorch.py)."""

import torch


def no_grad(f):
    def run():
        with torch.inference_mode():
            return f()

    return run


def backward_of(y, inputs, dy):
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)
