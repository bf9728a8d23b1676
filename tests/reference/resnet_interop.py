"""Residual networks go back and forth between torchvision, timm and instar.

    g++ -std=c++20 -O2 -Iinclude tests/reference/resnet_interop.cpp -o resnet_interop -ltbb
    python tests/reference/resnet_interop.py ./resnet_interop

torchvision's and timm's ResNets with random weights and running statistics are saved as folders, loaded by instar, their features
compared, in evaluation and in training, and the gradients of all parameters; what instar saves loads in both, strictly.
"""

import copy
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file


def shaken(model):
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model.eval()


def compare(name, ours, theirs):
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    print(f"{name}: largest difference {error:.2e} of the largest feature")
    assert error < 1e-4, name


def compare_gradients(name, model, path):
    """In double: in float a ReLU whose input is nearly 0 may open or stay shut, which moves a gradient by a whole pixel."""
    ours, worst, n = load_file(path), ("", 0.0), 0
    for key, p in model.named_parameters():
        if p.grad is not None:
            worst, n = max(worst, (key, ((ours[key] - p.grad).norm() / p.grad.norm()).item()), key=lambda x: x[1]), n + 1
    print(f"{name}: gradients of {n} parameters in double, the worst {worst[0]} by {worst[1]:.2e} of its norm")
    assert n > 10 and worst[1] < 1e-8, name


def main(program):
    torch.manual_seed(0)
    images = torch.randn(4, 3, 224, 224)
    with tempfile.TemporaryDirectory() as d:
        out = pathlib.Path(d)
        np.save(out / "images.npy", images.numpy())
        for name in ("resnet18", "resnet34", "resnet50"):
            for library, make in (("torchvision", lambda: torchvision.models.get_model(name, weights=None, num_classes=7)), ("timm", lambda: timm.create_model(name, num_classes=7))):
                model = shaken(make())
                folder = out / f"{library}_{name}"
                folder.mkdir()
                save_file(model.state_dict(), folder / "model.safetensors")
                (folder / "config.json").write_text("{}")
                d_features = torch.randn(len(images), 2048 if name == "resnet50" else 512).double()
                np.save(out / "d_features.npy", d_features.numpy())
                subprocess.run([program, str(folder), str(out / "images.npy"), str(out / "features.npy"), str(out / "saved"), str(out / "d_features.npy"), str(out / "trained.npy"),
                                str(out / "gradients.safetensors")], check=True)

                def features(m, gradients=False):
                    with torch.set_grad_enabled(gradients):
                        x = images.to(next(m.parameters()).dtype)
                        if library == "timm":
                            return m.forward_head(m.forward_features(x), pre_logits=True)
                        m.fc = torch.nn.Identity()
                        return m(x)

                again = make()
                # PyTorch's counters of batches are the only thing that instar does not write.
                missing, unexpected = again.load_state_dict(load_file(out / "saved" / "model.safetensors"), strict=False)
                assert not unexpected and all(m.endswith("num_batches_tracked") for m in missing), (missing, unexpected)
                theirs = features(model)
                compare(f"{library}'s {name} in instar", torch.from_numpy(np.load(out / "features.npy")), theirs)
                compare(f"instar's {name} in {library}", features(again.eval()), theirs)
                exact = copy.deepcopy(model).double().train()
                trained = features(exact, gradients=True)
                compare(f"{library}'s {name} in instar, training", torch.from_numpy(np.load(out / "trained.npy")), trained.detach())
                (trained * d_features).sum().backward()
                compare_gradients(f"{library}'s {name} in instar, training", exact, out / "gradients.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])
