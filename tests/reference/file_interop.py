"""Files that cross: what Python's safetensors, numpy and transformers write loads in instar, and back.

    python tests/reference/file_interop.py                     # compiles file_interop.cpp with $CXX (g++), runs every case
    python tests/reference/file_interop.py --golden            # rewrites tests/golden/data/io_*, which tests/golden/files.cpp reads

Needs numpy, torch, safetensors, transformers. Exits 1 at the first disagreement.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "golden" / "data"

NUMPY_TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (4, 0, 2), (2, 3, 4), (1, 1, 300)]


def metadata_of(path):
    with safe_open(path, "pt") as f:
        return f.metadata() or {}


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def values(rng, kind, shape):
    """All bit patterns, so NaN, infinities and subnormals too; but a NaN stays the same NaN only where nothing converts it."""
    dtype = np.dtype(kind)
    if kind == "b1":
        return rng.integers(0, 2, shape).astype(bool)
    raw = rng.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8).view(dtype).reshape(shape)
    return np.nan_to_num(raw, nan=1.5, posinf=np.inf, neginf=-np.inf) if dtype.kind == "f" else raw


def safetensors_cases(probe, folder, rng):
    tensors = {}
    for kind in NUMPY_TYPES:
        for shape in SHAPES:
            tensors[f"{kind}.{'x'.join(map(str, shape))}"] = torch.from_numpy(np.array(values(rng, kind, shape)))
    for shape in SHAPES:
        bits = torch.from_numpy(np.array(rng.integers(-32768, 32768, shape), dtype=np.int16)).view(torch.bfloat16)
        tensors[f"bf16.{len(shape)}.{shape}"] = torch.nan_to_num(bits, nan=1.5, posinf=torch.inf, neginf=-torch.inf)
    tensors["naïve \"quoted\" \\ 名前\n"] = torch.ones(2)
    metadata = {"format": "pt", "text": "a \"quote\", ünïcode 🦋,\nline\ttab \\ \x01"}
    source, target = folder / "in.safetensors", folder / "out.safetensors"
    save_file(tensors, source, metadata=metadata)
    probe("safetensors", source, target)
    back = load_file(target)
    check(back.keys() == tensors.keys(), "safetensors: names")
    for name, t in tensors.items():
        check(back[name].dtype == t.dtype and back[name].shape == t.shape, f"safetensors: {name!r} type or shape")
        check(torch.equal(back[name], t), f"safetensors: {name!r} values")
        check(not t.is_floating_point() or torch.equal(back[name].signbit(), t.signbit()), f"safetensors: {name!r} signs")
    check(metadata_of(target) == metadata, "safetensors: metadata")

    probe("floats", source, target)
    back = load_file(target)
    n = 0
    for name, t in tensors.items():
        if t.is_floating_point():
            check(torch.equal(back[name], t.float()), f"floats: {name!r}")
            n += 1
    check(len(back) == n, "floats: names")
    print(f"safetensors: {len(tensors)} tensors there and back, {n} of them as float")

    for empty_metadata in (None, {"a": ""}):
        save_file({}, source, metadata=empty_metadata)
        probe("safetensors", source, target)
        check(load_file(target) == {} and metadata_of(target) == (empty_metadata or {}), "safetensors: empty file")


def npy_cases(probe, folder, rng):
    source, target = folder / "in.npy", folder / "out.npy"
    n = 0
    for kind in NUMPY_TYPES:
        for shape in SHAPES:
            for order in "CF":
                version = (1 + n % 3, 0)
                array = np.asarray(values(rng, kind, shape), order=order)
                with open(source, "wb") as f:
                    np.lib.format.write_array(f, array, version=version)
                probe("npy", source, target)
                back = np.load(target)
                expected = array.astype("f4") if kind == "f2" else array.astype("u1") if kind == "b1" else array
                check(back.dtype == expected.dtype and np.array_equal(back, expected), f"npy: {kind} {shape} {order} {version}")
                check(back.flags["C_CONTIGUOUS"], "npy: order")
                n += 1
    print(f"npy: {n} arrays there and back")


def hf_cases(probe, folder):
    from transformers import BertConfig, BertForTokenClassification, BertModel

    config = BertConfig(vocab_size=66, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=32, num_labels=64)
    for name, model, size in (
        ("one file", BertForTokenClassification(config), "1GB"),
        ("shards", BertForTokenClassification(config), "20KB"),
        ("bare encoder", BertModel(config, add_pooling_layer=False), "1GB"),
        ("float16", BertForTokenClassification(config).half(), "20KB"),
    ):
        source, target = folder / f"{name}.in", folder / f"{name}.out"
        model.save_pretrained(source, max_shard_size=size)
        n_files = len(list(source.glob("*.safetensors")))
        check((n_files > 1) == (size == "20KB"), f"hf {name}: {n_files} files")
        probe("hf", source, target)
        kwargs = {} if name != "bare encoder" else {"add_pooling_layer": False}
        back, info = type(model).from_pretrained(target, output_loading_info=True, dtype=torch.float32, **kwargs)
        check(not info["missing_keys"] and not info["unexpected_keys"], f"hf {name}: {info}")
        for key, t in model.state_dict().items():
            check(torch.equal(back.state_dict()[key], t.float() if t.is_floating_point() else t), f"hf {name}: {key}")
        check(back.config.num_attention_heads == 3, f"hf {name}: config")
        print(f"hf: {name}, {n_files} file(s)")


def write_golden():
    """Element j of every array is 7 j - 11 (a quarter of it for floating point), modulo the type."""

    def formula(kind, n):
        j = np.arange(n)
        if kind == "b1":
            return j % 3 == 0
        return ((7 * j - 11) / 4).astype(kind) if kind[0] == "f" else (7 * j - 11).astype(kind)

    tensors = {kind: formula(kind, 60).reshape(3, 4, 5) for kind in NUMPY_TYPES}
    tensors["scalar"] = np.array(-2.75, dtype="f4")
    tensors["empty"] = np.zeros((0, 3), dtype="f4")
    save_numpy(tensors, DATA / "io_types.safetensors", metadata={"format": "np", "text": "ünïcode \"quoted\""})
    save_file({"bf16": torch.from_numpy(formula("f4", 60)).to(torch.bfloat16).reshape(3, 4, 5)}, DATA / "io_bf16.safetensors")
    np.save(DATA / "io_f4.npy", tensors["f4"])
    np.save(DATA / "io_i8_fortran.npy", np.asfortranarray(tensors["i8"]))
    with open(DATA / "io_f8_version3.npy", "wb") as f:
        np.lib.format.write_array(f, tensors["f8"], version=(3, 0))
    for path in sorted(DATA.glob("io_*")):
        print(f"{path.name}: {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--golden", action="store_true")
    if parser.parse_args().golden:
        return write_golden()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = folder / "file_interop"
        compiler = os.environ.get("CXX", "g++")
        subprocess.run([compiler, "-std=c++20", "-O1", f"-I{ROOT / 'include'}", str(ROOT / "tests/reference/file_interop.cpp"), "-o", str(program)], check=True)

        def probe(*arguments):
            subprocess.run([str(program), *map(str, arguments)], check=True)

        rng = np.random.default_rng(7)
        safetensors_cases(probe, folder, rng)
        npy_cases(probe, folder, rng)
        hf_cases(probe, folder)
    print("all files agree")


if __name__ == "__main__":
    main()
