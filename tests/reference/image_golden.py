"""Golden files of image decoding and resizing, made by Pillow and torchvision.

    python tests/reference/image_golden.py          # writes tests/golden/data/image.safetensors

The picture is a formula of (row, column, channel), so that it is not stored. Kept: Pillow's resizes of it as bytes, torchvision's of it as
floats, small encoded files of every kind that the reader knows, and what Pillow decodes from them.
"""

import io
import pathlib

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from torchvision.transforms import InterpolationMode

HERE = pathlib.Path(__file__).resolve().parent
SIZES = ((31, 47), (64, 40), (100, 90), (7, 5), (1, 1), (97, 61), (150, 200))  # height, width; the picture's own is 97 × 61


def picture(height, width):
    """The same integers in tests/golden/image.cpp."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((x * 7 + y * 3 + c * 31 + (x * y * (c + 1)) // 5 + 90 * ((x // 9 + y // 7) % 2)) % 256).astype(np.uint8)


def bytes_of(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return np.frombuffer(out.getvalue(), np.uint8)


def main():
    tensors = {}
    full = picture(97, 61)
    pil = Image.fromarray(full)
    planes = torch.from_numpy(full).permute(2, 0, 1).float() / 255
    for height, width in SIZES:
        for name, filter_, mode in (("bilinear", Image.BILINEAR, InterpolationMode.BILINEAR), ("bicubic", Image.BICUBIC, InterpolationMode.BICUBIC)):
            tensors[f"pil.{name}.{height}x{width}"] = np.asarray(pil.resize((width, height), filter_))
            if height * width < 5000:
                tensors[f"tensor.{name}.{height}x{width}"] = TF.resize(planes, [height, width], mode, antialias=True).numpy()
    for size in (32, 61, 80):
        tensors[f"shorter.{size}"] = np.array(TF.resize(pil, size).size[::-1])

    small = Image.fromarray(picture(23, 30))
    exif = Image.Exif()
    files = {
        "jpeg": bytes_of(small, "JPEG", quality=95, subsampling=0),
        "jpeg_420": bytes_of(small, "JPEG", quality=90),
        "jpeg_progressive": bytes_of(small, "JPEG", quality=95, subsampling=0, progressive=True),
        "jpeg_grey": bytes_of(small.convert("L"), "JPEG", quality=95),
        "jpeg_cmyk": bytes_of(small.convert("CMYK"), "JPEG", quality=95),
        "png": bytes_of(small, "PNG"),
        "png_grey": bytes_of(small.convert("L"), "PNG"),
        "png_palette": bytes_of(small.quantize(32), "PNG"),
        "png_alpha": bytes_of(Image.merge("RGBA", (*small.split(), small.convert("L"))), "PNG"),
        "bmp": bytes_of(small, "BMP"),
        "ppm": bytes_of(small, "PPM"),
    }
    for turn in range(1, 9):
        exif[0x0112] = turn
        files[f"jpeg_exif{turn}"] = bytes_of(small, "JPEG", quality=95, subsampling=0, exif=exif)
    for name, data in files.items():
        tensors[f"file.{name}"] = data
        if name != "jpeg_cmyk":
            tensors[f"decoded.{name}"] = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data.tobytes()))).convert("RGB"))
    path = HERE.parent / "golden" / "data" / "image.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    print(path.name, len(tensors), "tensors,", path.stat().st_size, "bytes;", "Pillow", Image.__version__)


if __name__ == "__main__":
    main()
