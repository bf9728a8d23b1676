"""Golden files of the vision transformer, made by timm and PyTorch.

    python tests/reference/vit_golden.py             # writes tests/golden/data/vit_*.safetensors

timm's VisionTransformer in float64, weights and images from bert_fill.py's formula (norm weights are 1 + unit / 4); features
after the final LayerNorm, logits, the loss, and of each parameter's gradient what bert_golden.py keeps. vit_positions: timm's resampling of positions.
"""

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer

import bert_fill as fill
import bert_golden as golden

# image, patch, channels, d_model, layers, heads, d_ff, labels, pooled patches instead of the class token
CASES = {
    "vit_class_token": (32, 8, 3, 48, 2, 3, 96, 5, 0),
    "vit_patch_mean": (30, 6, 1, 40, 3, 4, 60, 7, 1),
}


def model_of(case):
    image, patch, channels, d, layers, heads, d_ff, labels, mean = case
    model = VisionTransformer(img_size=image, patch_size=patch, in_chans=channels, embed_dim=d, depth=layers, num_heads=heads, mlp_ratio=d_ff / d,
                              num_classes=labels, global_pool="avg" if mean else "token", class_token=True).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = fill.unit(name, tuple(p.shape)) * 0.25
            p.copy_(torch.from_numpy(1.0 + values if "norm" in name and name.endswith("weight") else values))
    return model.train()


def main():
    for name, case in CASES.items():
        n = 3
        model = model_of(case)
        images = torch.from_numpy(fill.unit(f"{name}.images", (n, case[2], case[0], case[0])))
        targets = torch.from_numpy(fill.below(f"{name}.targets", (n,), case[7]))
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        logits = model.head(features)
        loss = F.cross_entropy(logits, targets)
        loss.backward()
        out = {
            "config": np.array(case),
            "targets": targets.numpy().astype(np.int32),
            "features": features.detach().numpy(),
            "logits": logits.detach().numpy(),
            "loss": loss.detach().numpy(),
            **golden.summaries("gradient", golden.gradients_of(model)),
        }
        golden.write(name, out)
    # A grid of positions at other sizes, as timm resamples it.
    positions = torch.from_numpy(fill.unit("vit_positions", (1, 1 + 5 * 5, 3))).float()
    golden.write("vit_positions", {f"grid_{side}": resample_abs_pos_embed(positions, [side, side]).numpy() for side in (3, 5, 8, 14)})
    print("timm", timm.__version__)


if __name__ == "__main__":
    main()
