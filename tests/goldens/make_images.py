"""Pictures of every kind that is read, and what Pillow makes of them.

    python3 tests/goldens/make_images.py

writes tests/goldens/images/: small files, and expected.safetensors (U8, [height, width, channels]) with
  FILE            ImageOps.exif_transpose(Image.open(FILE)).convert("RGB"), as diffusers' load_image has it
  resize.NAME     the picture `source` at another size, or a part of it
  blur.RADIUS, grow.PIXELS, gray    of `source`, of its gray
Needs Pillow, numpy and safetensors.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent / "images"


def scene(width, height, seed=1):
    """Smooth colours, hard edges and noise: what resizing and chroma subsampling can get wrong."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 255 * x / max(1, width - 1)
    green = 127 + 127 * np.sin(y / 3) * np.cos(x / 5)
    blue = np.where((x // 6 + y // 4) % 2, 230, 20)
    rgb = np.stack([red, green, blue], -1) + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def write_files():
    picture = scene(37, 23)
    picture.save(HERE / "plain.png")
    picture.save(HERE / "plain.jpg", quality=85)
    picture.save(HERE / "fine.jpg", quality=92, subsampling=0)
    picture.save(HERE / "progressive.jpg", quality=70, progressive=True)
    picture.convert("L").save(HERE / "gray.jpg", quality=80)
    picture.convert("CMYK").save(HERE / "cmyk.jpg", quality=90)
    picture.quantize(13).save(HERE / "palette.png")
    picture.convert("L").save(HERE / "gray.png")
    picture.convert("1").save(HERE / "one_bit.png")
    alpha = picture.copy()
    alpha.putalpha(Image.fromarray((np.indices((23, 37)).sum(0) * 4).clip(0, 255).astype(np.uint8)))
    alpha.save(HERE / "alpha.png")
    alpha.save(HERE / "alpha.webp", lossless=True, exact=True)
    alpha.convert("LA").save(HERE / "gray_alpha.png")
    picture.save(HERE / "lossy.webp", quality=60)
    picture.save(HERE / "lossless.webp", lossless=True)
    small = scene(7, 5, seed=2)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        small.save(HERE / f"orientation_{orientation}.jpg", quality=90, exif=exif)
    small.save(HERE / "orientation_6.png", exif=exif_of(6))
    small.save(HERE / "orientation_8.webp", lossless=True, exif=exif_of(8))


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def sixteen_bit(path):
    """16-bit RGB, which Pillow reads but does not write: a PNG by hand."""
    import struct
    import zlib

    rng = np.random.default_rng(3)
    values = rng.integers(0, 65536, (6, 9, 3)).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 6, 16, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def array(image):
    out = np.asarray(image)
    return np.ascontiguousarray(out if out.ndim == 3 else out[..., None])


def main():
    HERE.mkdir(exist_ok=True)
    write_files()
    sixteen_bit(HERE / "sixteen_bit.png")
    expected = {}
    for path in sorted(HERE.iterdir()):
        if path.suffix in (".png", ".jpg", ".webp"):
            expected[path.name] = array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    source = Image.open(HERE / "plain.png")
    sizes = {"larger": (64, 48), "smaller": (16, 8), "wider": (50, 23), "taller": (37, 40), "mixed": (11, 31),
             "one": (1, 1)}
    for name, size in sizes.items():
        expected[f"resize.lanczos.{name}"] = array(source.resize(size, Image.Resampling.LANCZOS))
        expected[f"resize.bicubic.{name}"] = array(source.resize(size, Image.Resampling.BICUBIC))
    expected["resize.box"] = array(source.resize((20, 14), Image.Resampling.LANCZOS, box=(3.25, 2, 30, 20.5)))
    expected["resize.top_edge"] = array(source.resize((37, 5), box=(0, 0, 37, 0)))
    expected["resize.right_edge"] = array(source.resize((4, 23), box=(37, 0, 37, 23)))
    gray = source.convert("L")
    expected["gray"] = array(gray)
    for radius in (0.5, 1, 2.5, 4, 20):
        expected[f"blur.{radius}"] = array(gray.filter(ImageFilter.GaussianBlur(radius)))
    expected["blur.rgb"] = array(source.filter(ImageFilter.GaussianBlur(3)))
    for pixels in (1, 3):
        expected[f"grow.{pixels}"] = array(gray.filter(ImageFilter.MaxFilter(2 * pixels + 1)))
        expected[f"grow.-{pixels}"] = array(gray.filter(ImageFilter.MinFilter(2 * pixels + 1)))
    save_file(expected, str(HERE / "expected.safetensors"))
    print(len(expected), sum(p.stat().st_size for p in HERE.iterdir()))


if __name__ == "__main__":
    main()
