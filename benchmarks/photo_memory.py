"""The peak memory of reading a photo, for each format at the pixel limit.

    python benchmarks/photo_memory.py [--only NAME ...] [--side 8000]

Makes an intact photo of `side` x `side` pixels in each format, reads it with the default Model's
preprocessing in a separate process, and prints by how many MB (10^6 bytes) that raised the
process's peak, and how long it took. Needs no photos.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import samples

SIDE = 8000

#: Reads a photo from stdin; prints the increase of the peak memory, and the seconds.
_READ_ALONE = """
import sys, time
from deepfood.photo import Limits, Preprocess, read_pixels, thumbnail

def peak_mb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) * 1024 / 1e6

data, limits = sys.stdin.buffer.read(), Limits(2**40, int(sys.argv[2]))
preprocess = Preprocess.model_validate_json(sys.argv[1])
before, started = peak_mb(), time.perf_counter()
try:
    read_pixels(data, preprocess, limits) if sys.argv[3] == "read" else thumbnail(data, 320, limits)
except Exception as error:
    print(f"refused: {error}")
else:
    print(f"{peak_mb() - before:8.0f} MB {time.perf_counter() - started:8.2f} s")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of reading large photos.")
    parser.add_argument("--only", nargs="*", default=list(PHOTOS), choices=list(PHOTOS))
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--what", default="read", choices=["read", "thumbnail"])
    options = parser.parse_args()
    for name in options.only:
        data = PHOTOS[name](_picture(options.side))
        arguments = samples.PREPROCESS.model_dump_json(), str(options.side**2), options.what
        done = subprocess.run(
            [sys.executable, "-c", _READ_ALONE, *arguments],
            input=data,
            capture_output=True,
            check=False,
        )
        result = (done.stdout or done.stderr[-300:]).decode().strip()
        print(f"{name:24} {len(data) / 1e6:7.1f} MB file  {result}", flush=True)


def _picture(side: int) -> Image.Image:
    """A dish of 100 x 100 coloured squares, which compresses well in every format."""
    return samples.picture(100, 100).resize((side, side), Image.Resampling.NEAREST)


def _clear(picture: Image.Image) -> Image.Image:
    """Half of it is transparent."""
    alpha = np.full((picture.height, picture.width), 255, np.uint8)
    alpha[:, ::2] = 100
    picture.putalpha(Image.fromarray(alpha))
    return picture


Saved = Callable[[Image.Image], bytes]


def _saved(file_format: str, mode: str = "RGB", **options: object) -> Saved:
    def save(picture: Image.Image) -> bytes:
        whole = _clear(picture) if mode.endswith("A") else picture
        return samples.encode(whole.convert(mode), file_format, **options)

    return save


def _palette(file_format: str, **options: object) -> Saved:
    def save(picture: Image.Image) -> bytes:
        return samples.encode(picture.quantize(64), file_format, **options)

    return save


def _deep(*bands: int, file_format: str) -> Saved:
    def save(picture: Image.Image) -> bytes:
        grey = np.asarray(picture.convert("L"))
        if file_format == "TIFF float":
            values = Image.fromarray(grey.astype(np.float32) / 255)
            return samples.encode(values, "TIFF", compression="tiff_adobe_deflate")
        wide = grey.astype(np.uint16) * 257
        if file_format == "TIFF":
            return samples.encode(Image.fromarray(wide), "TIFF", compression="tiff_adobe_deflate")
        return samples.png_16_bit(np.dstack([wide] * 3) if bands else wide)

    return save


def _hdr(picture: Image.Image) -> bytes:
    wide = np.asarray(picture).astype(np.uint16) * 257
    pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    out = io.BytesIO()
    heif = pillow_heif.from_bytes(mode="RGB;16", size=picture.size, data=wide.tobytes())
    heif.save(out, quality=50, tile_size=512)
    return out.getvalue()


PHOTOS: dict[str, Saved] = {
    "JPEG": _saved("JPEG"),
    "JPEG, progressive": _saved("JPEG", progressive=True),
    "JPEG, CMYK": _saved("JPEG", "CMYK"),
    "PNG, RGB": _saved("PNG", compress_level=1),
    "PNG, RGBA": _saved("PNG", "RGBA", compress_level=1),
    "PNG, grey and alpha": _saved("PNG", "LA", compress_level=1),
    "PNG, palette": _palette("PNG", compress_level=1),
    "PNG, palette and alpha": _palette("PNG", compress_level=1, transparency=0),
    "PNG, 16-bit grey": _deep(file_format="PNG"),
    "PNG, 16-bit RGB": _deep(3, file_format="PNG"),
    "WebP": _saved("WEBP", method=0),
    "WebP, alpha": _saved("WEBP", "RGBA", method=0),
    "GIF": _palette("GIF"),
    "GIF, transparent": _palette("GIF", transparency=0),
    "BMP": _saved("BMP"),
    "TIFF, RGB": _saved("TIFF", compression="tiff_adobe_deflate"),
    "TIFF, RGBA": _saved("TIFF", "RGBA", compression="tiff_adobe_deflate"),
    "TIFF, 16-bit grey": _deep(file_format="TIFF"),
    "TIFF, float grey": _deep(file_format="TIFF float"),
    "HEIC": _saved("HEIF", quality=50, tile_size=512),
    "HEIC, alpha": _saved("HEIF", "RGBA", quality=50, tile_size=512),
    "HEIC, 4:4:4": _saved("HEIF", quality=50, tile_size=512, chroma=444),
    "HEIC, 10 bits": _hdr,
    "AVIF": _saved("AVIF", quality=50, speed=10),
    "AVIF, alpha": _saved("AVIF", "RGBA", quality=50, speed=10),
    "AVIF, 4:4:4": _saved("AVIF", quality=50, speed=10, subsampling="4:4:4"),
}


if __name__ == "__main__":
    main()
