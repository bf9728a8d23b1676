"""transformers' BertForTokenClassification on PyTorch: encoder forward and masked-token training step, the shapes of
benchmarks/bert_shapes.hpp. See peer.py for how to run it.

The works named …_bf16 run under torch.autocast to bfloat16, as a user of PyTorch would ask for products of bf16; encoder_forward_bf16_storage
has its parameters in bfloat16.

As it comes: transformers' default attention, torch.optim.AdamW, targets selected by a boolean index as BarcodeBERT does.
Tuned: the fused AdamW, an ignore_index, and torch.compile where that is faster than running eagerly; run.py adds ATEN_CPU_CAPABILITY and
an allocator that keeps freed memory.
"""

import math

import torch
import torch.nn.functional as F
import transformers
from transformers import BertConfig, BertForTokenClassification

import peer

# name: k, layers, width, heads, batch, tokens
SHAPES = {
    "k4_4x768_b32_t165": (4, 4, 768, 4, 32, 165),
    "k8_4x768_b32_t82": (8, 4, 768, 4, 32, 82),
    "k4_4x256_b64_t165": (4, 4, 256, 4, 64, 165),
    "k4_2x128_b64_t165": (4, 2, 128, 4, 64, 165),
}


def facts():
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def setup(shape):
    """The model, a batch of random k-mers whose barcodes fill 90 to 100 % of the positions, and the encoder's FLOP."""
    k, layers, d, heads, n, t = shape
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=4**k + 2, hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * d,
        max_position_embeddings=512, num_labels=4**k, pad_token_id=0,
    )
    model = BertForTokenClassification(config)
    lengths = torch.randint(t * 9 // 10, t + 1, (n, 1))
    mask = (torch.arange(t)[None] < lengths).long()
    ids = torch.where(mask == 1, torch.randint(2, 4**k + 2, (n, t)), 1)
    rows = n * t
    flop = layers * rows * (8.0 * d * d + 16.0 * d * d + 4.0 * t * d)
    return model, ids, mask, flop, 2.0 * rows * d * 4**k


def precision(bf16):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16)


def encoder_forward(shape, bf16, storage=False):
    def build(tuned):
        model, ids, mask, flop, _ = setup(shape)
        if storage:
            model.bfloat16()
        def of(encoder):
            def run():
                with torch.inference_mode(), precision(bf16):
                    return encoder(ids, attention_mask=mask).last_hidden_state

            return run

        run = of(model.bert.eval())
        assert run().shape == (*ids.shape, shape[2])
        if tuned:
            run = peer.faster(run, of(torch.compile(model.bert)))
        return peer.Work(run, flop=flop, items=ids.shape[0])

    return build


def mlm_step(shape, bf16):
    def build(tuned):
        model, ids, mask, flop, classifier_flop = setup(shape)
        n_classes = 4 ** shape[0]
        model.train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, **({"fused": True} if tuned else {}))
        special = ids > 1
        targets = ids - 2

        def of(forward):
            return lambda: step(forward)

        def step(forward):
            masked = (torch.rand(ids.shape) < 0.5) & special
            with precision(bf16):
                logits = forward(torch.where(masked, 0, ids), attention_mask=mask).logits
                if tuned:
                    loss = F.cross_entropy(logits.view(-1, n_classes), torch.where(special, targets, -100).view(-1))
                else:
                    loss = F.cross_entropy(logits.view(-1, n_classes)[special.view(-1)], targets[special])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return loss.item()

        run = of(model)
        assert abs(run() / math.log(n_classes) - 1) < 0.1
        if tuned:
            run = peer.faster(run, of(torch.compile(model)))
        return peer.Work(run, flop=3 * (flop + classifier_flop), items=ids.shape[0])

    return build


WORKS = {}
for name, shape in SHAPES.items():
    for kind, bf16 in (("", False), ("_bf16", True)):
        WORKS[f"encoder_forward{kind}/{name}"] = encoder_forward(shape, bf16)
        WORKS[f"mlm_step{kind}/{name}"] = mlm_step(shape, bf16)
    # A model of bf16 for inference; for training, where PyTorch keeps weights in float, autocast again.
    WORKS[f"encoder_forward_bf16_storage/{name}"] = encoder_forward(shape, False, storage=True)
    WORKS[f"mlm_step_bf16_storage/{name}"] = mlm_step(shape, True)

if __name__ == "__main__":
    peer.main(WORKS, facts)
