"""Bytes to pixels: every format, every defect, one result."""

import base64
import io
import itertools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

import mutants
import samples
from deepfood.errors import (
    PhotoBrokenError,
    PhotoError,
    PhotoTooLargeError,
    PhotoUnsupportedError,
)
from deepfood.photo import (
    Header,
    Limits,
    Pixels,
    Preprocess,
    from_data_url,
    read_header,
    read_pixels,
    thumbnail,
)
from deepfood.photo.opening import opened
from samples import LIMITS, PHOTOS, PREPROCESS, encode, picture


def read(data: bytes, preprocess: Preprocess = PREPROCESS) -> Pixels:
    return read_pixels(data, preprocess, LIMITS)


def shown(jpeg: bytes) -> Image.Image:
    """The JPEG as a viewer without any knowledge of profiles and EXIF shows it."""
    return Image.open(io.BytesIO(jpeg), formats=["JPEG"])


def difference(a: Any, b: Any) -> float:
    """Mean absolute difference of the values, which go from 0 to 255."""
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean())


def largest_difference(a: Any, b: Any) -> int:
    return int(np.abs(np.asarray(a, np.int64) - np.asarray(b, np.int64)).max())


UPRIGHT = read(PHOTOS["png"])
GREY = samples.grey_photos()
BOMBS = samples.bombs()

# Formats

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "mpo": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "heic": "image/heic",
    "avif": "image/avif",
}


@pytest.mark.parametrize("name", PHOTOS)
def test_every_format_gives_the_same_picture(name: str) -> None:
    pixels = read(PHOTOS[name])
    assert pixels.dtype == np.uint8
    assert pixels.shape == (224, 224, 3)
    # Lossy formats measure up to 1.0 here, 256 colours 1.9; another frame or channel order, 20.
    assert difference(pixels, UPRIGHT) < 2.5
    assert read_header(PHOTOS[name], LIMITS) == Header(MEDIA_TYPES[name.split("-")[0]], 320, 240)


LOSSLESS = ["png-rgba", "png-16-bit", "png-animated", "webp-lossless", "bmp", "tiff", "tiff-lzw"]


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_same_pixels(name: str) -> None:
    assert np.array_equal(read(PHOTOS[name]), UPRIGHT)


def test_the_cmyk_sample_is_inverted_as_adobe_does() -> None:
    data = PHOTOS["jpeg-cmyk"]
    assert b"Adobe" in data
    assert shown(data).mode == "CMYK"


@pytest.mark.parametrize("name", GREY)
def test_grey_of_every_depth(name: str) -> None:
    expected = read(encode(picture().convert("L"), "PNG"))
    pixels = read(GREY[name])
    # Lossy formats measure up to 0.5; the rest is exact.
    assert difference(pixels, expected) < 1
    assert largest_difference(pixels, expected) <= 4


def test_a_dark_photo_of_16_bits_stays_dark() -> None:
    dark = np.full((300, 300), 200, np.uint16)  # of 65,535
    assert read(samples.png_16_bit(dark)).max() == 0
    assert read(samples.png_16_bit(dark * 100)).max() == 200 * 100 // 256


def test_black_and_white() -> None:
    squares = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((56, 56))) > 0
    photo = Image.fromarray(squares)
    whole = PREPROCESS.model_copy(update={"crop": 1.0})
    for data in (encode(photo, "PNG"), encode(photo, "TIFF", compression="group4")):
        assert np.array_equal(read(data, whole), np.dstack([squares * np.uint8(255)] * 3))


def test_floats_beyond_numbers_are_black() -> None:
    values = np.full((300, 300), 0.5, np.float32)
    values[150, 150], values[100, 100] = np.nan, np.inf
    pixels = read(encode(Image.fromarray(values), "TIFF"))
    assert pixels.min() < 64
    assert np.median(pixels) == 128


# Transparency


def half_transparent() -> Image.Image:
    """Left: see-through over red, middle: half see-through over red, right: solid red."""
    alpha = np.repeat(np.array([0, 128, 255], np.uint8), 100)
    values = np.zeros((300, 300, 4), np.uint8)
    values[..., 0], values[..., 3] = 255, alpha
    return Image.fromarray(values)


ALPHA = {
    "png": encode(half_transparent(), "PNG"),
    "png-palette": encode(half_transparent().quantize(8, Image.Quantize.FASTOCTREE), "PNG"),
    "webp": encode(half_transparent(), "WEBP", lossless=True, exact=True),
    "tiff": encode(half_transparent(), "TIFF"),
    "heic": encode(half_transparent(), "HEIF", quality=90),
    "avif": encode(half_transparent(), "AVIF", quality=90),
}


@pytest.mark.parametrize("name", ALPHA)
def test_alpha_lies_on_white(name: str) -> None:
    left, middle, right = read(ALPHA[name])[112, [20, 112, 204]].astype(int)
    # HEIC and AVIF are lossy: measured 1.
    assert largest_difference(left, [255, 255, 255]) <= 3
    assert largest_difference(middle, [255, 127, 127]) <= 3
    assert largest_difference(right, [255, 0, 0]) <= 3
    assert largest_difference(shown(thumbnail(ALPHA[name], 64, LIMITS)).getpixel((4, 9)), 255) < 6


def test_grey_alpha_lies_on_white() -> None:
    photo = half_transparent().convert("LA")
    left, middle, right = read(encode(photo, "PNG"))[112, [20, 112, 204], 0].astype(int)
    red_as_grey = 76
    assert (left, right) == (255, red_as_grey)
    assert abs(middle - (255 + red_as_grey) / 2) <= 1


@pytest.mark.parametrize("file_format", ["GIF", "PNG"])
def test_a_transparent_colour_is_white(file_format: str) -> None:
    values = np.zeros((300, 300), np.uint8)
    values[:, 150:] = 1
    photo = Image.fromarray(values).convert("P")
    photo.putpalette([0, 0, 255, 0, 128, 0])
    pixels = read(encode(photo, file_format, transparency=0))
    assert pixels[112, 20].tolist() == [255, 255, 255]
    assert pixels[112, 204].tolist() == [0, 128, 0]


def test_a_transparent_colour_of_rgb_and_grey_is_white() -> None:
    blue = Image.new("RGB", (300, 300), (0, 0, 255))
    assert read(encode(blue, "PNG", transparency=(0, 0, 255))).min() == 255
    grey = Image.new("L", (300, 300), 50)
    assert read(encode(grey, "PNG", transparency=50)).min() == 255


# Orientation

#: Formats that keep EXIF and colour profiles, each encoded as closely as it can.
TRUE_TO_COLOUR: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "HEIF": {"quality": 90, "chroma": 444},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "file_format",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "HEIF" else name
        for name in TRUE_TO_COLOUR
    ],
)
def test_every_orientation_is_shown_upright(file_format: str, orientation: int) -> None:
    data = samples.turned(picture(), orientation, file_format, **TRUE_TO_COLOUR[file_format])
    # The crop of this size falls on whole pixels in every orientation. Lossless formats differ
    # by the rounding between the two passes of a resize (measured 0.1), lossy ones by their loss.
    tolerance = 0.2 if file_format in ("PNG", "WEBP", "TIFF") else 1.2
    assert difference(read(data), UPRIGHT) < tolerance
    header = read_header(data, LIMITS)
    assert (header.width, header.height) == (320, 240)
    small = shown(thumbnail(data, 120, LIMITS))
    assert small.size == (120, 90)
    assert difference(small, picture().resize((120, 90))) < 3


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_of_odd_sizes(orientation: int) -> None:
    photo = picture(421, 303)
    data = samples.turned(photo, orientation, "PNG")
    # The centre may lie half a source pixel to the other side, a third of a pixel here.
    assert difference(read(data), read(encode(photo, "PNG"))) < 0.6


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_is_upright(orientation: int) -> None:
    data = encode(picture(), "PNG", exif=samples.exif(orientation))
    assert np.array_equal(read(data), UPRIGHT)


def test_damaged_exif_does_not_cost_the_photo() -> None:
    whole = samples.exif(1)
    for damaged in (whole[:20], whole[:-30], b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nonsense"):
        data = encode(picture(), "JPEG", quality=92, exif=damaged)
        assert np.array_equal(read(data), read(PHOTOS["jpeg"]))
        assert read_header(data, LIMITS).width == 320


# Colour profiles


@pytest.mark.parametrize("file_format", TRUE_TO_COLOUR)
def test_a_profile_is_applied(file_format: str) -> None:
    swapped = samples.swapped_profile()
    data = encode(picture(), file_format, icc_profile=swapped, **TRUE_TO_COLOUR[file_format])
    green_red_blue = UPRIGHT[..., [1, 0, 2]]
    assert difference(read(data), green_red_blue) < 1  # measured up to 0.6; unswapped it is 50
    small = shown(thumbnail(data, 160, LIMITS))
    assert difference(small, np.asarray(picture().resize((160, 120)))[..., [1, 0, 2]]) < 3


def test_srgb_changes_nothing() -> None:
    data = encode(picture(), "PNG", icc_profile=samples.srgb_profile())
    assert largest_difference(read(data), UPRIGHT) <= 1


def test_display_p3_gives_the_colours_that_were_meant() -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 3))
    for value in values[:24]:
        photo = Image.new("RGB", (8, 8), tuple(value.tolist()))
        data = encode(photo, "PNG", icc_profile=samples.display_p3_profile())
        # The profile holds its primaries to 4 places, and lcms rounds in between: measured 1.
        assert largest_difference(read(data)[0, 0], srgb_of_p3(value)) <= 2


def srgb_of_p3(value: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The slow and obvious way: to light, to XYZ, to the light of sRGB's primaries, to values."""
    v = value / 255
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    xyz = light @ np.array(samples.P3_COLORANTS)
    light = np.clip(xyz @ np.linalg.inv(samples.SRGB_COLORANTS), 0, 1)
    v = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(v * 255))


USELESS_PROFILES = {
    "random": np.random.default_rng(1).bytes(3000),
    "cut": samples.swapped_profile()[:300],
    "zeros": bytes(600),
    "LAB": samples.lab_profile(),
    "says grey": samples.swapped_profile().replace(b"RGB ", b"GRAY", 1),
    "says CMYK": samples.swapped_profile().replace(b"RGB ", b"CMYK", 1),
    "5 MB": samples.swapped_profile() + bytes(5 * 2**20),
}


@pytest.mark.parametrize("name", USELESS_PROFILES)
def test_a_useless_profile_is_ignored(name: str) -> None:
    data = encode(picture(), "TIFF", icc_profile=USELESS_PROFILES[name])
    assert np.array_equal(read(data), UPRIGHT)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_an_rgb_profile_on_other_photos_is_ignored(mode: str) -> None:
    photo = picture().convert(mode)
    data = encode(photo, "TIFF", icc_profile=samples.swapped_profile())
    assert np.array_equal(read(data), read(encode(photo, "TIFF")))


# What is refused


@pytest.mark.parametrize("name", samples.not_photos())
def test_what_is_no_photo_is_unsupported(name: str) -> None:
    data = samples.not_photos()[name]
    for refused in (read, lambda d: read_header(d, LIMITS), lambda d: thumbnail(d, 64, LIMITS)):
        with pytest.raises(PhotoUnsupportedError, match=r"not JPEG, PNG, .* HEIC or AVIF$"):
            refused(data)


def test_formats_that_pillow_could_open_are_not_opened() -> None:
    for name in ("ico", "jpeg 2000", "ppm", "tga", "eps", "psd"):
        Image.open(io.BytesIO(samples.not_photos()[name]))  # so the refusal is ours


def test_nothing_is_broken() -> None:
    with pytest.raises(PhotoBrokenError, match="0 bytes"):
        read(b"")


SEVERAL_PICTURES = {"mpo", "png-animated", "gif-animated", "tiff-pages"}


@pytest.mark.parametrize("name", PHOTOS)
def test_a_cut_photo_is_broken(name: str) -> None:
    data = PHOTOS[name]
    first = len(data) // 2 if name in SEVERAL_PICTURES else len(data)
    for kept in (16, 40, first // 50, first // 10, first // 4, first // 2, first * 9 // 10):
        with pytest.raises(PhotoBrokenError):
            read(data[:kept])
        with pytest.raises(PhotoBrokenError):
            thumbnail(data[:kept], 64, LIMITS)


@pytest.mark.parametrize("name", sorted(SEVERAL_PICTURES))
def test_only_the_first_picture_must_be_whole(name: str) -> None:
    data = PHOTOS[name]
    assert np.array_equal(read(data[: len(data) * 9 // 10]), read(data))


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "tiff", "heic", "heic-tiles"])
def test_bytes_after_the_photo_do_not_matter(name: str) -> None:
    # Phones append films and editing history.
    after = np.random.default_rng(0).bytes(999) + b"\xff\xda" * 200
    assert np.array_equal(read(PHOTOS[name] + after), read(PHOTOS[name]))


@pytest.mark.parametrize("name", ["png", "png-16-bit", "tiff-lzw"])
def test_a_flipped_byte_is_found_where_the_format_can_tell(name: str) -> None:
    data = bytearray(PHOTOS[name])
    data[len(data) // 2] ^= 0xFF
    data[len(data) // 2 + 1] ^= 0xFF
    with pytest.raises(PhotoBrokenError, match="damaged: "):
        read(bytes(data))


def test_errors_are_one_line() -> None:
    for data in (PHOTOS["jpeg"][:3000], PHOTOS["heic"][:3000], PHOTOS["tiff"][:3000], b"", b"x"):
        with pytest.raises(PhotoError) as caught:
            read(data)
        assert "\n" not in str(caught.value)
        assert "0x" not in str(caught.value)  # no address of an object


# Limits


def test_too_many_bytes() -> None:
    data = PHOTOS["jpeg"]
    read_pixels(data, PREPROCESS, Limits(len(data), 10**6))
    with pytest.raises(PhotoTooLargeError, match="limit max_photo_bytes is 5,000"):
        read_pixels(data, PREPROCESS, Limits(5000, 10**6))


def test_too_many_pixels() -> None:
    data = PHOTOS["jpeg"]
    read_pixels(data, PREPROCESS, Limits(10**6, 320 * 240))
    for refused in (
        lambda limits: read_pixels(data, PREPROCESS, limits),
        lambda limits: read_header(data, limits),
        lambda limits: thumbnail(data, 64, limits),
    ):
        with pytest.raises(PhotoTooLargeError, match=r"320 x 240 .* max_photo_pixels is 76,799"):
            refused(Limits(10**6, 320 * 240 - 1))


#: Reads a photo, and prints by how many MiB that raised this process's peak, and the refusal.
_READ_ALONE = """
import sys
from deepfood.errors import PhotoTooLargeError
from deepfood.photo import Limits, Preprocess, read_pixels

def peak_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024

data, limits = sys.stdin.buffer.read(), Limits(*map(int, sys.argv[2:]))
preprocess = Preprocess.model_validate_json(sys.argv[1])
before, said = peak_mib(), "read"
try:
    read_pixels(data, preprocess, limits)
except PhotoTooLargeError as error:
    said = str(error)
print(peak_mib() - before, said)
"""


def read_alone(data: bytes, preprocess: Preprocess = PREPROCESS) -> tuple[float, str]:
    """MiB that reading takes at its peak, and how the photo is refused, or "read".

    In a process of its own: whatever else runs in this one would be counted too. It says its peak
    itself, since `ru_maxrss` of a new process begins with that of the process that started it.
    """
    most = (str(LIMITS.max_bytes), str(LIMITS.max_pixels))
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALONE, preprocess.model_dump_json(), *most],
        input=data,
        capture_output=True,
        check=True,
        timeout=120,
    )
    grown_mib, _, said = done.stdout.decode().strip().partition(" ")
    return float(grown_mib), said


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    grown_mib, said = read_alone(BOMBS[name])
    assert re.search(r"(\d+000) x \1 .* max_photo_pixels is 64,000,000", said)
    assert grown_mib < 50


@pytest.mark.slow
@on_linux
def test_a_sound_bomb_is_refused_before_it_is_decoded() -> None:
    data = samples.png_bomb(20_000)
    assert len(data) < 250_000
    grown_mib, said = read_alone(data)
    assert "20000 x 20000" in said
    assert grown_mib < 50


@pytest.mark.slow
@on_linux
def test_what_decoding_takes_is_seen_where_bombs_are_measured() -> None:
    grown_mib, said = read_alone(samples.png_bomb(8_000))
    assert said == "read"
    assert grown_mib > 60


def large(mode: str) -> bytes:
    """A PNG of 4,000 x 4,000 pixels, half of them see-through where the mode has transparency."""
    photo = picture(100, 100).resize((4000, 4000), Image.Resampling.NEAREST)
    alpha = Image.new("L", photo.size, 255)
    alpha.paste(100, (0, 0, 2000, 4000))
    if mode == "P":
        return encode(photo.quantize(32), "PNG", transparency=0, compress_level=1)
    photo.putalpha(alpha)
    return encode(photo.convert(mode), "PNG", compress_level=1)


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize(("mode", "mib"), [("RGB", 61), ("RGBA", 61), ("LA", 61), ("P", 15)])
def test_a_photo_is_in_memory_once_and_no_more(mode: str, mib: int) -> None:
    grown_mib, said = read_alone(large(mode))
    assert said == "read"
    # Beside the decoder's own picture, of 4 bytes a pixel or 1, a band of it: measured up to 32.
    assert mib * 0.8 < grown_mib < mib + 45


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("resize", ["square", "shortest", "squash", "pad"])
def test_a_strip_takes_no_more_memory_than_other_photos(resize: str) -> None:
    strip = encode(Image.new("RGBA", (1, 4_000_000), (200, 120, 40, 255)), "PNG", compress_level=1)
    grown_mib, said = read_alone(strip, PREPROCESS.model_copy(update={"resize": resize}))
    assert said == "read"
    # Pillow takes 12 bytes and more a row: measured 176. With each row as wide as the Model wants
    # it would be 3,400.
    assert grown_mib < 300


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    read(samples.scan_bomb(50))
    with pytest.raises(PhotoBrokenError, match="more than 100 scans"):
        read(samples.scan_bomb(101))
    # What looks like a scan and is metadata does not count.
    metadata = b"\xff\xed\x01\x92" + b"\xff\xda" * 200
    data = PHOTOS["jpeg"][:2] + metadata + PHOTOS["jpeg"][2:]
    assert np.array_equal(read(data), read(PHOTOS["jpeg"]))


# Sizes


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (224, 1)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_extreme_sizes(size: tuple[int, int], file_format: str) -> None:
    color = (200, 120, 40)
    data = encode(Image.new("RGB", size, color), file_format)
    assert largest_difference(read(data), color) <= 2  # JPEG rounds colours
    small = shown(thumbnail(data, 320, LIMITS))
    assert max(small.size) == min(320, max(size))
    assert min(small.size) >= 1
    assert largest_difference(small.resize((1, 1)), color) <= 3


def test_a_photo_of_the_right_size_is_cropped_and_not_resampled() -> None:
    photo = picture(256, 256)
    for interpolation in ("bilinear", "bicubic"):
        preprocess = PREPROCESS.model_copy(update={"interpolation": interpolation})
        expected = np.asarray(photo)[16:240, 16:240]
        assert np.array_equal(read(encode(photo, "PNG"), preprocess), expected)


def torchvision(
    photo: Image.Image,
    shorter: int,
    size: int,
    filter_: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """The slow and obvious Resize(shorter) and CenterCrop(size)."""
    scale = shorter / min(photo.size)
    width, height = (int(side * scale) for side in photo.size)
    photo = photo.resize((width, height), filter_)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return photo.crop((left, top, left + size, top + size))


def grainy(size: tuple[int, int]) -> Image.Image:
    """A photo with fine grain, which shows a shift or another filter where soft blobs would not."""
    grain = np.random.default_rng(0).normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray(np.clip(picture(*size) + grain, 0, 255).astype(np.uint8))  # type: ignore[operator]


@pytest.mark.parametrize("size", [(320, 256), (400, 320), (256, 256)])
@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
def test_photos_are_what_torchvision_sees(size: tuple[int, int], filter_name: str) -> None:
    # Sizes that torchvision resizes and crops without rounding a place.
    data = encode(grainy(size), "JPEG", quality=92)
    pixels = read(data, PREPROCESS.model_copy(update={"interpolation": filter_name}))
    filter_ = Image.Resampling[filter_name.upper()]
    assert np.array_equal(pixels, torchvision(shown(data), 256, 224, filter_))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(512, 640), (1280, 1024), (960, 768)])
def test_photos_decoded_small_are_nearly_what_torchvision_sees(size: tuple[int, int]) -> None:
    data = encode(grainy(size), "JPEG", quality=92)
    pixels, expected = read(data), np.asarray(torchvision(shown(data), 256, 224))
    # Shrinking by DCT keeps more of the grain than shrinking by triangle: measured 0.7 to 2.7.
    # A shift by one pixel measures 1.8 times that and more.
    assert difference(pixels, expected) < 3
    for axis in (0, 1):
        for step in (-1, 1):
            shifted = np.roll(expected, step, axis)
            assert difference(pixels, expected) * 1.5 < difference(pixels, shifted)


@pytest.mark.parametrize("size", [(320, 240), (500, 667), (1600, 1067), (60, 40)])
def test_odd_photos_are_nearly_what_torchvision_sees(size: tuple[int, int]) -> None:
    # Torchvision rounds the size and then the place, here the place alone is rounded, to a pixel
    # of the photo: measured up to 0.5, and 1.9 for the one whose pixels are enlarged six times.
    data = encode(picture(*size), "JPEG", quality=92)
    assert difference(read(data), torchvision(shown(data), 256, 224)) < (1 if size[0] > 224 else 3)


def test_jpegs_are_decoded_small() -> None:
    for mode in ("RGB", "CMYK", "L"):
        data = encode(picture(1600, 1200).convert(mode), "JPEG")
        with opened(data, LIMITS) as photo, photo.decoded(256, LIMITS):
            assert photo.size == (400, 300)  # a fourth; an eighth would be below 256
            assert [band.mode for band in photo.bands()] == [mode]


def test_a_large_cmyk_photo_keeps_its_colours() -> None:
    photo = picture(1600, 1200)
    data = encode(photo.convert("CMYK"), "JPEG", quality=92)
    assert difference(read(data), read(encode(photo, "BMP"))) < 1


# Determinism


@pytest.mark.slow
def test_same_bytes_same_pixels_from_many_threads() -> None:
    profiles = [samples.display_p3_profile(), samples.swapped_profile(), samples.srgb_profile()]
    photos = [
        samples.turned(picture(seed=seed), 1 + seed % 8, "JPEG", icc_profile=profiles[seed % 3])
        for seed in range(12)
    ]
    photos.extend(PHOTOS.values())
    expected = [read(data) for data in photos]
    with ThreadPoolExecutor(8) as threads:
        for pixels, alone in zip(threads.map(read, photos * 4), expected * 4, strict=True):
            assert np.array_equal(pixels, alone)


# Hostile bytes


@pytest.mark.parametrize("file_format", mutants.seeds())
def test_mutants_are_read_or_refused(file_format: str) -> None:
    # The whole of it, some thousands in processes that are watched, is benchmarks/hostile.py.
    limits = Limits(max_bytes=10**6, max_pixels=10**6)  # so that no mutant takes long
    refused = 0
    for number in range(100):
        data = mutants.mutant(file_format, number)
        try:
            pixels = read_pixels(data, PREPROCESS, limits)
        except PhotoError:
            refused += 1
        else:
            assert pixels.shape == (224, 224, 3)
            assert pixels.dtype == np.uint8
            assert read_header(data, limits).width > 0
            assert len(thumbnail(data, 64, limits)) > 100
    assert 30 < refused < 100  # the mutants do reach the decoders, and some get through


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PhotoError):
        read(data)


@pytest.mark.slow
def test_odd_metadata_neither_warns_nor_costs_the_photo_where_warnings_are_errors() -> None:
    # In its own process, because pytest replaces the warning filters of this one.
    data = encode(picture(), "JPEG", exif=samples.odd_exif(6))
    code = (
        "import sys\n"
        "from deepfood.photo import Limits, read_header, thumbnail\n"
        "data = sys.stdin.buffer.read()\n"
        "thumbnail(data, 64, Limits(10**6, 10**6))\n"
        "print(read_header(data, Limits(10**6, 10**6)).width)\n"
    )
    for action in ("error", "always"):
        # Only for UserWarning, so that a deprecation in some library does not fail this test.
        done = subprocess.run(
            [sys.executable, "-W", f"{action}::UserWarning", "-c", code],
            input=data,
            capture_output=True,
            env=os.environ,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"240\n", b"")


# Thumbnails


@pytest.mark.parametrize("name", PHOTOS)
def test_thumbnails_of_every_format(name: str) -> None:
    small = shown(thumbnail(PHOTOS[name], 160, LIMITS))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (160, 120))
    assert difference(small, picture().resize((160, 120))) < 3.5  # 256 colours; others below 2


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((2000, 1000), 320, (320, 160)),
        ((1000, 2000), 320, (160, 320)),
        ((3000, 40), 320, (320, 4)),
        ((50, 40), 320, (50, 40)),  # never enlarged
    ],
)
def test_a_thumbnail_keeps_the_shape(
    size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    assert shown(thumbnail(samples.photo(*size), longest, LIMITS)).size == expected


def test_a_thumbnail_tells_nothing_of_its_maker() -> None:
    photo = picture(400, 300)
    formats = ("JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF")
    profiles: tuple[dict[str, bytes], ...] = ({}, {"icc_profile": samples.display_p3_profile()})
    for file_format, profile in itertools.product(formats, profiles):
        data = encode(
            photo,
            file_format,
            exif=samples.exif(1),
            xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>secret</x:xmpmeta>",
            comment="secret",
            **profile,
        )
        with Image.open(io.BytesIO(data)) as image:
            assert image.getexif()[ExifTags.Base.Make] == "Phone"  # there is something to leak
        jpeg = thumbnail(data, 320, LIMITS)
        for secret in (b"Exif", b"Phone", b"secret", b"ICC_PROFILE", b"xmp"):
            assert secret not in jpeg
        assert not shown(jpeg).getexif()


# Data URLs


@given(st.binary())
def test_data_urls_round_trip(data: bytes) -> None:
    body = base64.b64encode(data).decode()
    assert from_data_url(f"data:image/jpeg;base64,{body}") == data
    # As forms and people mangle them.
    assert from_data_url(f"DATA:image/png;charset=x;BASE64,{body.rstrip('=')}") == data
    assert from_data_url(f"data:;base64,{body.replace('+', ' ')}") == data
    assert from_data_url("data:image/jpeg;base64," + "\r\n".join(body)) == data


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:",
        "data:image/jpeg;base64",
        "data:image/jpeg,AAAA",
        "http://example.org/;base64,AAAA",
        "data:image/jpeg;base64,AAAAA",
        "data:image/jpeg;base64,AA=A",
        "data:image/jpeg;base64,AA!A",
        "data:image/jpeg;base64,ÄÖÜß",
        "data:image/jpeg;base64,\ud800AAA",
        "data:image/jpeg;base64,AAAA\0",
    ],
)
def test_malformed_data_urls_are_broken(url: str) -> None:
    with pytest.raises(PhotoBrokenError, match="base64"):
        from_data_url(url)


def test_an_empty_data_url_is_a_broken_photo() -> None:
    with pytest.raises(PhotoBrokenError, match="0 bytes"):
        read(from_data_url("data:image/jpeg;base64,"))
