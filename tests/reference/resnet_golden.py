"""Golden files of the residual networks, made by torchvision and PyTorch.

    python tests/reference/resnet_golden.py          # writes tests/golden/data/resnet_*.safetensors

torchvision's ResNet in float64 with few blocks; weights and images from bert_fill.py's formula (convolutions 1/8 · unit, norm weights
1 + unit / 4). Features and logits in evaluation and in training, the loss, running statistics after one training forward, and of each
parameter's gradient what bert_golden.py keeps.
"""

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import bert_fill as fill
import bert_golden as golden

# blocks of each stage, bottleneck, labels, batch, height, width, small-image stem (3 × 3, no pooling)
CASES = {"resnet_basic": ((1, 2, 1, 1), 0, 5, 3, 33, 40, 0), "resnet_bottleneck": ((2, 1, 1, 1), 1, 4, 2, 48, 40, 0),
         "resnet_small_image": ((1, 1, 1, 1), 0, 3, 3, 13, 16, 1)}


def main():
    for name, (blocks, bottleneck, labels, n, height, width, small) in CASES.items():
        model = ResNet(Bottleneck if bottleneck else BasicBlock, list(blocks), num_classes=labels)
        if small:
            model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
            model.maxpool = torch.nn.Identity()
        model.double()
        with torch.no_grad():
            for key, p in model.named_parameters():
                values = fill.unit(key, tuple(p.shape))
                norm_weight = p.ndim == 1 and key.endswith("weight")
                p.copy_(torch.from_numpy(1.0 + values * 0.25 if norm_weight else values * 0.125))
        images = torch.from_numpy(fill.unit(f"{name}.images", (n, 3, height, width)))
        targets = torch.from_numpy(fill.below(f"{name}.targets", (n,), labels))
        captured = []
        model.avgpool.register_forward_hook(lambda module, args, out: captured.append(out.flatten(1).detach()))
        model.train()
        logits = model(images)
        loss = F.cross_entropy(logits, targets)
        loss.backward()
        running = summaries_of_buffers(model)
        model.eval()
        evaluated = model(images)
        golden.write(name, {
            "config": np.array([*blocks, bottleneck, labels, n, height, width, small]),
            "targets": targets.numpy().astype(np.int32),
            "train.features": captured[0].numpy(),
            "train.logits": logits.detach().numpy(),
            "loss": loss.detach().numpy(),
            "eval.features": captured[1].numpy(),
            "eval.logits": evaluated.detach().numpy(),
            **golden.summaries("gradient", golden.gradients_of(model)),
            **running,
        })
    print("torchvision", torchvision.__version__)


def summaries_of_buffers(model):
    return golden.summaries("buffer", [(k, b) for k, b in model.named_buffers() if "running" in k])


if __name__ == "__main__":
    main()
