"""Photographs to a network's input: JPEG, shorter side to 256, the central 224 x 224, floats. The 18 files of INSTAR_DATA/bioscan1m_orders, from memory.

As it comes: Pillow and torchvision's transforms, what BIOSCAN-1M's and CLIBD's data sets do, on as many threads as instar has. Tuned: torchvision's
own decoder (libjpeg-turbo) and its transforms of tensors.
"""

import concurrent.futures
import io
import os
import pathlib

import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

import peer


def facts():
    return {"torchvision": torchvision.__version__, "pillow": Image.__version__, "threads": torch.get_num_threads()}


def files():
    root = os.environ.get("INSTAR_DATA")
    if root is None:
        raise MemoryError("INSTAR_DATA is not set")
    return [p.read_bytes() for p in sorted((pathlib.Path(root) / "bioscan1m_orders").glob("*.jpg"))]


def work(what, threads):
    def build(tuned):
        photographs = files()
        n_threads = threads or torch.get_num_threads()
        torch.set_num_threads(1)  # the pool's threads are the parallelism
        if tuned:
            crop = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True)])
            raw = [torch.frombuffer(bytearray(p), dtype=torch.uint8) for p in photographs]

            def decode(i):
                return torchvision.io.decode_jpeg(raw[i])

        else:
            crop = torchvision.transforms.Compose([torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224), torchvision.transforms.ToTensor()])

            def decode(i):
                return Image.open(io.BytesIO(photographs[i])).convert("RGB")

        decoded = [decode(i) for i in range(len(photographs))]
        one = {"image_decode": decode, "image_resize_crop": lambda i: crop(decoded[i]), "image_pipeline": lambda i: crop(decode(i))}[what]
        assert what == "image_decode" or one(0).shape == (3, 224, 224)
        pool = concurrent.futures.ThreadPoolExecutor(n_threads)
        return peer.Work(lambda: list(pool.map(one, range(len(photographs)))), items=len(photographs))

    return build


WORKS = {f"{what}/threads:{t}": work(what, t) for what in ("image_pipeline", "image_decode", "image_resize_crop") for t in (0, 1)}

if __name__ == "__main__":
    peer.main(WORKS, facts)
