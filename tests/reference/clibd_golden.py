"""CLIBD's three towers, with random weights: tests/golden/data/clibd.safetensors. Also converts a real checkpoint.

    python tests/reference/clibd_golden.py                          writes the golden file (small towers, CLIBD's names and forward)
    python tests/reference/clibd_golden.py --full FOLDER DRIVER     towers of CLIBD's own sizes, in FOLDER; compares DRIVER's embeddings
    python tests/reference/clibd_golden.py --convert best.pth FOLDER  a checkpoint of CLIBD's code as a folder for nn::load_clip

The forward is written from the specification with timm's and transformers' modules: image: CLS, norm, head, with LoRA of rank 4 on q and
v in every block; DNA: BertForMaskedLM, softmax of its new decoder's outputs, mean over positions; text: BertModel, mean over positions,
projection. DRIVER: tests/reference/clibd_driver.cpp.
"""

import argparse
import json
import pathlib
import subprocess

import numpy as np
import timm
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from torch import nn

DATA = pathlib.Path(__file__).parent.parent / "golden" / "data"


class LoraQkv(nn.Module):
    def __init__(self, qkv, rank=4):
        super().__init__()
        d = qkv.in_features
        self.qkv = qkv
        self.linear_a_q, self.linear_b_q = nn.Linear(d, rank, bias=False), nn.Linear(rank, d, bias=False)
        self.linear_a_v, self.linear_b_v = nn.Linear(d, rank, bias=False), nn.Linear(rank, d, bias=False)

    def forward(self, x):
        y = self.qkv(x)
        d = y.shape[-1] // 3
        return torch.cat([y[..., :d] + self.linear_b_q(self.linear_a_q(x)), y[..., d : 2 * d], y[..., 2 * d :] + self.linear_b_v(self.linear_a_v(x))], -1)


class Tower(nn.Module):
    pass


class Clibd(nn.Module):
    def __init__(self, full):
        super().__init__()
        d_out = 768 if full else 24
        vit = timm.create_model("vit_base_patch16_224", num_classes=d_out) if full else timm.create_model(
            "vit_base_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=d_out)
        for block in vit.blocks:
            block.attn.qkv = LoraQkv(block.attn.qkv)
        self.image_encoder = Tower()
        self.image_encoder.base_image_encoder = vit
        size = {} if full else dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=40)
        dna = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=1027 if full else 67, output_hidden_states=True, **size))
        dna.cls.predictions.decoder = nn.Linear(dna.config.hidden_size, d_out)
        self.dna_encoder = Tower()
        self.dna_encoder.base_dna_encoder = dna
        size = dict(hidden_size=512, num_hidden_layers=4, num_attention_heads=8, intermediate_size=2048) if full else size | dict(num_attention_heads=2)
        text = transformers.BertModel(transformers.BertConfig(vocab_size=30522 if full else 50, **size))
        self.language_encoder = Tower()
        self.language_encoder.base_language_encoder = text
        self.language_encoder.proj = nn.Linear(text.config.hidden_size, d_out)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))

    def forward(self, images, dna, ids, mask):
        image = self.image_encoder.base_image_encoder(images)
        dna = self.dna_encoder.base_dna_encoder(dna).logits.softmax(-1).mean(1)
        text = self.language_encoder.proj(self.language_encoder.base_language_encoder(ids, mask).last_hidden_state.mean(1))
        return [F.normalize(x, dim=-1) for x in (image, dna, text)]


def make(full):
    torch.manual_seed(3)
    model = Clibd(full).double().eval()
    generator = torch.Generator().manual_seed(4)
    for p in model.parameters():  # off their defaults: zero biases and unit norms hide mistakes
        p.data += 0.05 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    n, side, length, words = (2, 224, 133, 20) if full else (3, 32, 21, 9)
    images = torch.rand(n, 3, side, side, generator=generator, dtype=torch.float64)
    dna = torch.randint(0, 1027 if full else 67, (n, length), generator=generator)
    ids = torch.randint(5, 30522 if full else 50, (n, words), generator=generator)
    mask = torch.ones(n, words, dtype=torch.long)
    for i in range(n):
        mask[i, words - 2 - i :] = 0
        ids[i, words - 2 - i :] = 0
    return model, images, dna, ids, mask


def tensors(model, images, dna, ids, mask, weights):
    """The inputs and results in double or float, integers as int32."""
    with torch.no_grad():
        image, d, text = model(images, dna, ids, mask)
    out = {"images": images.float(), "dna": dna.int(), "text": ids.int(), "text_mask": mask.to(torch.uint8), "image_embedding": image, "dna_embedding": d, "text_embedding": text}
    return {k: v.contiguous() for k, v in out.items()}, {k: v.float().contiguous() for k, v in model.state_dict().items()} if weights else {}


def save_model(folder, state, heads):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "clibd", "clip": heads}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", nargs=2, metavar=("FOLDER", "DRIVER"))
    parser.add_argument("--convert", nargs=2, metavar=("CHECKPOINT", "FOLDER"))
    args = parser.parse_args()
    if args.convert:
        state = torch.load(args.convert[0], map_location="cpu", weights_only=True)
        save_model(pathlib.Path(args.convert[1]), {k.removeprefix("module."): v.float().contiguous().clone() for k, v in state.items()}, {})
        return
    if args.full:
        folder = pathlib.Path(args.full[0])
        model, *inputs = make(True)
        model = model.float()
        results, state = tensors(model, inputs[0].float(), *inputs[1:], True)
        save_model(folder, state, {})
        save_file({k: v.float() if v.is_floating_point() else v for k, v in results.items()}, folder / "case.safetensors")
        out = subprocess.run([args.full[1], folder, folder / "case.safetensors"], check=True, capture_output=True, text=True).stdout
        print(f"parameters: {sum(p.numel() for p in model.parameters()):,}; largest difference of an embedding's element, by tower:\n{out}", end="")
        worst = max(float(line.split()[1]) for line in out.splitlines())
        raise SystemExit(worst > 1e-4)
    model, *inputs = make(False)
    results, state = tensors(model, *inputs, True)
    # The weights are in the file: they are few. Float, and the results are those of the rounded weights.
    model.load_state_dict({k: v.double() for k, v in state.items()})
    results, _ = tensors(model, inputs[0].float().double(), *inputs[1:], False)
    path = DATA / "clibd.safetensors"
    save_file(results | {"model." + k: v for k, v in state.items()}, path, metadata={"torch": torch.__version__, "timm": timm.__version__, "transformers": transformers.__version__})
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
