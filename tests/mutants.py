"""Hostile photos: valid files of each format, damaged as disks, networks and attackers do it.

Everything follows from the format, the number and the seed, so that what was found is found again.
"""

import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np

import samples
from tiffs import DEFLATE, RGB, WHITE_IS_ZERO, join, page, tiff

#: Little pictures: most of such a file is structure, which is where the damage should go.
WIDTH, HEIGHT = 80, 60


@cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Valid files by format: plain ones, and the variants that are decoded another way."""
    rgb = samples.picture(WIDTH, HEIGHT, 1)
    grey, palette, cmyk = rgb.convert("L"), rgb.quantize(64), rgb.convert("CMYK")
    clear = rgb.copy()
    clear.putalpha(grey)
    film = {"save_all": True, "append_images": [rgb.rotate(180)], "duration": 100}
    dressed = {"exif": samples.exif(6), "icc_profile": samples.srgb_profile()}
    wide = np.asarray(rgb).astype(np.uint16) * 257
    encode = samples.encode
    return {
        "JPEG": (
            encode(rgb, "JPEG", **dressed),
            encode(rgb, "JPEG", progressive=True),
            encode(cmyk, "JPEG"),
            encode(grey, "JPEG"),
            encode(rgb, "MPO", save_all=True, append_images=[rgb]),
        ),
        "PNG": (
            encode(rgb, "PNG", **dressed),
            encode(clear, "PNG"),
            encode(palette, "PNG"),
            samples.png_16_bit(wide),
            encode(rgb, "PNG", **film),
        ),
        "WebP": (
            encode(rgb, "WEBP", **dressed),
            encode(clear, "WEBP", lossless=True),
            encode(rgb, "WEBP", **film),
        ),
        "GIF": (encode(rgb, "GIF"), encode(palette, "GIF", **film)),
        "BMP": (encode(rgb, "BMP"), encode(palette, "BMP"), encode(clear, "BMP")),
        "TIFF": (
            encode(rgb, "TIFF", **dressed),
            encode(rgb, "TIFF", compression="tiff_lzw"),
            encode(rgb, "TIFF", compression="tiff_adobe_deflate"),
            encode(rgb, "TIFF", compression="jpeg"),
            encode(grey.convert("1"), "TIFF", compression="group4"),
            encode(cmyk, "TIFF", compression="packbits"),
            encode(rgb, "TIFF", **film),
            # Read by their tags, in tiff_samples.
            tiff(wide, RGB, planar=True, rows=7),
            tiff(wide, RGB, compression=DEFLATE, predictor=2, tile=16, big=True),
            tiff(wide / np.float32(65535), RGB, compression=DEFLATE, predictor=3, rows=16),
            tiff(np.asarray(grey).astype(np.uint16) * 16, WHITE_IS_ZERO, bits=12, big_endian=True),
            join([page(np.asarray(grey), WHITE_IS_ZERO, more={254: [1]})], below=[page(wide, RGB)]),
        ),
        "HEIC": (encode(rgb, "HEIF", **dressed), encode(clear, "HEIF")),
        "AVIF": (encode(rgb, "AVIF", **dressed), encode(clear, "AVIF")),
    }


def mutant(file_format: str, number: int, seed: int = 0) -> bytes:
    """The mutant of that number: one kind of damage, or two."""
    files = seeds()[file_format]
    rng = np.random.default_rng([seed, number, *file_format.encode()])
    data = bytearray(files[number % len(files)])
    for _ in range(int(rng.integers(1, 3))):
        _DAMAGE[int(rng.integers(len(_DAMAGE)))](data, rng, files)
        if not data:
            break
    if file_format == "PNG" and rng.random() < 0.5:
        _mend_checksums(data)
    return bytes(data)


def _mend_checksums(data: bytearray) -> None:
    """Of a PNG's chunks, as an attacker would; with a wrong one no decoder looks further."""
    start = 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        data[end : end + 4] = zlib.crc32(data[start + 4 : end]).to_bytes(4)
        start = end + 4


Damage = Callable[[bytearray, np.random.Generator, tuple[bytes, ...]], None]


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Where to begin; half of the time in the first bytes, where the headers are."""
    return int(rng.integers(len(data) if rng.random() < 0.5 else min(64, len(data))))


def _flip_bits(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    for _bit in range(int(rng.integers(1, 17))):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _overwrite(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    at, length = _place(data, rng), int(rng.integers(1, 64))
    data[at : at + length] = rng.bytes(length)


def _cut(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    del data[_place(data, rng) :]


def _drop(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 64))]


def _splice(data: bytearray, rng: np.random.Generator, files: tuple[bytes, ...]) -> None:
    """A piece of another file of the format, put in between or over what is there."""
    other = files[int(rng.integers(len(files)))]
    start, length = int(rng.integers(len(other))), int(rng.integers(1, 600))
    at = _place(data, rng)
    over = length if rng.random() < 0.5 else 0
    data[at : at + over] = other[start : start + length]


def _repeat(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    """A piece many times over: chunks, scans and frames without end."""
    at, length = _place(data, rng), int(rng.integers(1, 600))
    data[at:at] = data[at : at + length] * int(rng.integers(2, 60))


_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 2**24 - 1, 2**31 - 1, 2**32 - 1)


def _say_a_length(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    """A number of 2 or 4 bytes, of either order, as lengths, offsets, counts and sizes are."""
    code = (">H", "<H", ">L", "<L")[int(rng.integers(4))]
    size = struct.calcsize(code)
    value = _EXTREMES[int(rng.integers(len(_EXTREMES)))] % 256**size
    at = _place(data, rng)
    data[at : at + size] = struct.pack(code, value)


def _say_near(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    """A byte one or two off: counts of components, depths, and lengths that just miss."""
    at = _place(data, rng)
    data[at] = (data[at] + int(rng.integers(-2, 3))) % 256


def _bomb(data: bytearray, rng: np.random.Generator, _: tuple[bytes, ...]) -> None:
    """Width or height, wherever it is written, becomes very large."""
    side = (WIDTH, HEIGHT)[int(rng.integers(2))]
    large = int(rng.choice([8_000, 16_000, 32_767, 65_535]))
    for code in (">L", "<L", ">H", "<H"):
        at = data.find(struct.pack(code, side))
        if at >= 0:
            data[at : at + struct.calcsize(code)] = struct.pack(code, large)
            return


_DAMAGE: tuple[Damage, ...] = (
    _flip_bits,
    _overwrite,
    _cut,
    _drop,
    _splice,
    _repeat,
    _say_a_length,
    _say_near,
    _bomb,
)
