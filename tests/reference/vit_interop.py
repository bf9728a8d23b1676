"""Vision transformers go back and forth between timm, torchvision and instar.

    g++ -std=c++20 -O2 -Iinclude tests/reference/vit_interop.cpp -o vit_interop -ltbb
    python tests/reference/vit_interop.py ./vit_interop

timm's and torchvision's ViT with random weights are saved as folders, loaded by instar, their features and the gradients of all parameters
compared; what instar saves is loaded by timm.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file


def instar(program, folder, images, out, d_features=None):
    np.save(out / "images.npy", images.numpy())
    command = [program, str(folder), str(out / "images.npy"), str(out / "features.npy"), str(out / "saved")]
    if d_features is not None:
        np.save(out / "d_features.npy", d_features.numpy())
        command += [str(out / "d_features.npy"), str(out / "gradients.safetensors")]
    subprocess.run(command, check=True)
    return torch.from_numpy(np.load(out / "features.npy"))


def compare_gradients(name, model, path):
    ours, worst, n = load_file(path), ("", 0.0), 0
    largest = max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None)
    for key, p in model.named_parameters():
        if p.grad is None:
            continue
        # Beside the parameter's own largest gradient, unless that is nothing but rounding itself.
        error = ((ours[key] - p.grad).abs().max() / max(p.grad.abs().max().item(), 1e-5 * largest)).item()
        worst, n = max(worst, (key, error), key=lambda x: x[1]), n + 1
    print(f"{name}: gradients of {n} parameters, the worst {worst[0]} by {worst[1]:.2e} of its largest")
    assert n > 10 and worst[1] < 1e-4, name


def compare(name, ours, theirs):
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    print(f"{name}: largest difference {error:.2e} of the largest feature")
    assert error < 1e-4, name


def main(program):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 224, 224)
    with tempfile.TemporaryDirectory() as d:
        out = pathlib.Path(d)
        for name in ("vit_tiny_patch16_224", "vit_base_patch16_224"):
            model = timm.create_model(name, num_classes=7).eval()
            folder = out / name
            folder.mkdir()
            save_file(model.state_dict(), folder / "model.safetensors")
            (folder / "config.json").write_text(json.dumps({"architecture": name, "num_classes": 7}))
            d_features = torch.randn(2, model.num_features)
            features = model.forward_head(model.forward_features(images), pre_logits=True)
            (features * d_features).sum().backward()
            theirs = features.detach()
            compare(f"timm {name} in instar", instar(program, folder, images, out, d_features), theirs)
            compare_gradients(f"timm {name} in instar", model, out / "gradients.safetensors")
            with torch.no_grad():
                again = timm.create_model(f"local-dir:{out / 'saved'}", pretrained=True).eval()
                compare(f"instar's {name} in timm", again.forward_head(again.forward_features(images), pre_logits=True), theirs)
        model = torchvision.models.vit_b_16(weights=None).eval()
        folder = out / "torchvision"
        folder.mkdir()
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
        with torch.no_grad():
            theirs = model.encoder(torch.cat([model.class_token.expand(2, -1, -1), model._process_input(images)], 1))[:, 0]
        compare("torchvision vit_b_16 in instar", instar(program, folder, images, out), theirs)


if __name__ == "__main__":
    main(sys.argv[1])
