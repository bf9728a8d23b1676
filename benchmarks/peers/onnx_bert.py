"""transformers' BERT encoder exported to ONNX and run by ONNX Runtime on the CPU: the shapes of benchmarks/bert_shapes.hpp. See peer.py for
how to run it.

As it comes: default session options. Tuned: the transformer optimiser of onnxruntime (fused attention, LayerNorm, GELU) and threads that
do not spin.
"""

import contextlib
import os
import sys
import tempfile

import onnxruntime
import torch

import peer
from pytorch_bert import SHAPES, setup


def facts():
    return {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}


class Encoder(torch.nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, ids, mask):
        return self.bert(ids, attention_mask=mask).last_hidden_state


def encoder_forward(shape):
    def build(tuned):
        model, ids, mask, flop, _ = setup(shape)
        encoder = Encoder(model.bert).eval()
        folder = tempfile.TemporaryDirectory()
        path = os.path.join(folder.name, "bert.onnx")
        with contextlib.redirect_stdout(sys.stderr):  # standard output is run.py's
            torch.onnx.export(encoder, (ids, mask), path, input_names=["ids", "mask"], output_names=["hidden"], dynamo=True, external_data=False, verbose=False)
        if tuned:
            from onnxruntime.transformers import optimizer

            optimised = optimizer.optimize_model(path, model_type="bert", num_heads=shape[3], hidden_size=shape[2])
            path = os.path.join(folder.name, "optimised.onnx")
            optimised.save_model_to_file(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        if tuned:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = {"ids": ids.numpy(), "mask": mask.numpy()}
        with torch.inference_mode():
            expected = encoder(ids[:1], mask[:1])
        result = session.run(None, inputs)[0]
        valid = int(mask[0].sum())
        assert abs(result[:1, :valid] - expected[:, :valid].numpy()).max() < 1e-3
        return peer.Work(lambda: (folder, session.run(None, inputs)), flop=flop, items=ids.shape[0])

    return build


WORKS = {f"encoder_forward_onnx/{name}": encoder_forward(shape) for name, shape in SHAPES.items()}

if __name__ == "__main__":
    peer.main(WORKS, facts)
