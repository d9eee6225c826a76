"""Sample photos, made in memory: every format that deepfood reads, and every defect it meets.

`PHOTOS` holds one dish in each format as bytes, `photo()` another dish on demand, `NOT_PHOTOS` what
must be refused, and the functions below damage, rotate and dress up what they are given. All of it
is the same on every run; nothing is on disk.
"""

import io
import struct
import zipfile
import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from deepfood.photo import Limits, Preprocess

LIMITS = Limits(max_bytes=20 * 2**20, max_pixels=64_000_000)

#: As the shipped Model: torchvision's Resize(256) and CenterCrop(224).
PREPROCESS = Preprocess(
    size=224,
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def picture(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """A plate seen from above: soft blobs of colour, RGB, unlike itself in all 8 orientations.

    Smooth, so that lossy formats stay close to it; another seed is another dish.
    """
    if max(width, height) > 400:  # soft blobs are as soft when enlarged, and much sooner made
        small = _blobs(-(-width // 8), -(-height // 8), seed)
        return small.resize((width, height), Image.Resampling.BICUBIC)
    return _blobs(width, height, seed).copy()


@cache
def _blobs(width: int, height: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    values = np.ones((height, width, 3)) * rng.uniform(60, 200, 3)
    for _ in range(12):
        middle_x, middle_y = rng.uniform(0, [width, height]) / max(width, height)
        radius = rng.uniform(0.08, 0.3)
        weight = np.exp(-((x - middle_x) ** 2 + (y - middle_y) ** 2) / radius**2)[..., None]
        values += weight * (rng.uniform(10, 245, 3) - values)
    return Image.fromarray(values.round().astype(np.uint8))


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The image as a file of Pillow's `file_format`."""
    out = io.BytesIO()
    # A copy, because saving leaves settings of one format behind that confuse the next.
    image.copy().save(out, file_format, **options)
    return out.getvalue()


def photo(width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    """An ordinary photo: a JPEG of `picture`."""
    return encode(picture(width, height, seed), "JPEG", quality=92)


def exif(orientation: int) -> bytes:
    """EXIF as a phone writes it: orientation, maker, time and place."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.Make] = "Phone"
    tags[ExifTags.Base.DateTime] = "2024:05:01 12:00:00"
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 8.0, 13.0)
    return tags.tobytes()


def odd_exif(orientation: int) -> bytes:
    """EXIF with a maker's name that is said to be longer than the file: Pillow warns of it."""
    tags = exif(orientation)
    make = tags.index(struct.pack(">HHL", ExifTags.Base.Make, 2, len("Phone") + 1))
    return _patched(tags, make + 4, struct.pack(">L", 10**6))


#: What a camera held in each of the 8 ways stores, so that showing it upright gives the picture.
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(image: Image.Image, orientation: int, file_format: str, **options: Any) -> bytes:
    """A file that stores `image` turned, with the EXIF orientation that shows it upright."""
    how = _STORED[orientation]
    stored = image if how is None else image.transpose(how)
    return encode(stored, file_format, exif=exif(orientation), **options)


# Colour profiles


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def lab_profile() -> bytes:
    """A sound profile that is of no use to an RGB, grey or CMYK photo."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with the names of red and green exchanged in its table of tags."""
    profile = srgb_profile()
    for name in (b"XYZ", b"TRC"):
        profile = profile.replace(b"r" + name, b"?" + name, 1)
        profile = profile.replace(b"g" + name, b"r" + name, 1)
        profile = profile.replace(b"?" + name, b"g" + name, 1)
    return profile


#: CIE XYZ of red, green and blue as ICC profiles store them, adapted to D50; one row per colour.
SRGB_COLORANTS = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
P3_COLORANTS = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def display_p3_profile() -> bytes:
    """What phones tag photos with: the tone curve of sRGB with wider primaries."""
    profile = bytearray(srgb_profile())
    (tags,) = struct.unpack_from(">L", profile, 128)
    for entry in range(132, 132 + 12 * tags, 12):
        name, offset, _ = struct.unpack_from(">4sLL", profile, entry)
        if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
            color = P3_COLORANTS[b"rgb".index(name[0])]
            struct.pack_into(">3l", profile, offset + 8, *(round(v * 65536) for v in color))
    return bytes(profile)


# One dish in every format


def png_16_bit(values: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits: uint16 [height, width] as grey, [height, width, 3] as RGB."""
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    raw = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # filter 0 before each row
    color = 0 if values.ndim == 2 else 2
    header = struct.pack(">LLBBBBB", width, height, 16, color, 0, 0, 0)
    return _png(header, zlib.compress(raw, 1))


def _png(header: bytes, body: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + name + content + _crc(name + content)

    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _crc(content: bytes) -> bytes:
    return struct.pack(">L", zlib.crc32(content))


def _photos() -> dict[str, bytes]:
    """`picture()` in every format that keeps its colours."""
    rgb = picture()

    def frames() -> dict[str, Any]:
        return {"save_all": True, "append_images": [rgb.rotate(180)], "duration": 100}

    opaque = rgb.copy()
    opaque.putalpha(255)
    wide = np.asarray(rgb).astype(np.uint16) * 257
    avif = encode(rgb, "AVIF", quality=90)
    return {
        "jpeg": photo(),
        "jpeg-progressive": encode(rgb, "JPEG", quality=92, progressive=True),
        "jpeg-cmyk": encode(rgb.convert("CMYK"), "JPEG", quality=92),
        "mpo": encode(rgb, "MPO", quality=92, **frames()),
        "png": encode(rgb, "PNG"),
        "png-rgba": encode(opaque, "PNG"),
        "png-palette": encode(rgb.quantize(256), "PNG"),
        "png-16-bit": png_16_bit(wide),
        "png-animated": encode(rgb, "PNG", **frames()),
        "webp": encode(rgb, "WEBP", quality=90),
        "webp-lossless": encode(rgb, "WEBP", lossless=True),
        "webp-animated": encode(rgb, "WEBP", quality=90, **frames()),
        "gif": encode(rgb, "GIF"),
        "gif-animated": encode(rgb, "GIF", **frames()),
        "bmp": encode(rgb, "BMP"),
        "bmp-palette": encode(rgb.quantize(256), "BMP"),
        "tiff": encode(rgb, "TIFF"),
        "tiff-lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encode(rgb, "TIFF", compression="jpeg", quality=92),
        "tiff-cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "tiff-pages": encode(rgb, "TIFF", **frames()),
        "heic": encode(rgb, "HEIF", quality=80),
        "heic-tiles": encode(rgb, "HEIF", quality=80, tile_size=128),  # as phones write them
        "avif": avif,
        "avif-mif1": avif[:8] + b"mif1" + avif[12:],  # a brand that HEIC and AVIF share
    }


PHOTOS = _photos()


def grey_photos() -> dict[str, bytes]:
    """`picture()` without its colours, in every depth."""
    grey = picture().convert("L")
    values = np.asarray(grey)
    sixteen = values.astype(np.uint16) * 257
    with_alpha = grey.copy()
    with_alpha.putalpha(255)
    return {
        "jpeg": encode(grey, "JPEG", quality=92),
        "png": encode(grey, "PNG"),
        "png-alpha": encode(with_alpha, "PNG"),
        "png-16-bit": png_16_bit(sixteen),
        "webp": encode(grey, "WEBP", quality=90),
        "gif": encode(grey, "GIF"),
        "bmp": encode(grey, "BMP"),
        "tiff": encode(grey, "TIFF"),
        "tiff-16-bit": encode(Image.fromarray(sixteen), "TIFF"),
        "tiff-32-bit": encode(Image.fromarray(sixteen.astype(np.int32)), "TIFF"),
        "tiff-float": encode(Image.fromarray(values.astype(np.float32) / 255), "TIFF"),
        "heic": encode(grey, "HEIF", quality=80),
        "avif": encode(grey, "AVIF", quality=90),
    }


# Defects


def bombs() -> dict[str, bytes]:
    """A small file of each format that says it is 30,000 x 30,000 pixels, 2.7 GB when decoded.

    AVIF says 16,000 x 16,000: its library opens nothing beyond 16,384.
    """
    side = 30_000
    big, little = struct.pack(">LL", side, side), struct.pack("<LL", side, side)
    jpeg, png, tiff = PHOTOS["jpeg"], PHOTOS["png"], PHOTOS["tiff"]
    sof = jpeg.index(b"\xff\xc0") + 5
    for tag in (256, 257):  # width and height
        entry = tiff.index(struct.pack("<HHL", tag, 4, 1))
        tiff = _patched(tiff, entry + 8, struct.pack("<L", side))
    canvas = (side - 1).to_bytes(3, "little") * 2
    heic, avif = PHOTOS["heic"], PHOTOS["avif"]
    return {
        "jpeg": _patched(jpeg, sof, struct.pack(">HH", side, side)),
        "png": _patched(png, 16, big + png[24:29] + _crc(b"IHDR" + big + png[24:29])),
        "webp": _patched(PHOTOS["webp-animated"], 24, canvas),
        "gif": _patched(PHOTOS["gif"], 6, struct.pack("<HH", side, side)),
        "bmp": _patched(PHOTOS["bmp"], 18, little),
        "tiff": tiff,
        "heic": _patched(heic, heic.index(b"ispe") + 8, big),
        "avif": _patched(avif, avif.index(b"ispe") + 8, struct.pack(">LL", 16_000, 16_000)),
    }


def _patched(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


def png_bomb(side: int) -> bytes:
    """A sound black PNG of `side` x `side` pixels, packed to a two-thousandth of a byte each."""
    packer = zlib.compressobj(1)
    row = bytes(1 + -(-side // 8))
    body = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    return _png(struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0), body)


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG that refines itself `scans` times more than it needs."""
    data = PHOTOS["jpeg-progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


@cache
def not_photos() -> dict[str, bytes]:
    """What people upload that is no photo, and pictures in formats that deepfood does not read."""
    small = picture(64, 48)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("photo.jpg", PHOTOS["jpeg"])
    return {
        "text": b"Ingredients: two eggs, a cup of flour and some milk.\n" * 20,
        "one byte": b"x",
        "html": b"<!doctype html><html><body><img src=photo.jpg></body></html>",
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9"/>',
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "zip": archive.getvalue(),
        "random": np.random.default_rng(3).bytes(4096),
        "film": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200),
        "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HLLHH", 3, 48, 64, 8, 3) + bytes(9000),
        "eps": encode(small, "EPS"),
        "ico": encode(small, "ICO"),
        "jpeg 2000": encode(small, "JPEG2000"),
        "ppm": encode(small, "PPM"),
        "tga": encode(small, "TGA"),
    }
