"""TIFF by its tags: depth, polarity, planes and format, and which page is the photo."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

import samples
import tiffs
from deepfood.errors import PhotoBrokenError, PhotoTooLargeError, PhotoUnsupportedError
from deepfood.photo import Limits, Pixels, read_header, read_picture, read_pixels, thumbnail
from samples import LIMITS, PREPROCESS, encode, picture
from tiffs import BLACK_IS_ZERO, CMYK, DEFLATE, LAB, REDUCED, RGB, WHITE_IS_ZERO, tiff

COLOR = picture()
GREY = COLOR.convert("L")


def read(data: bytes) -> Pixels:
    return read_pixels(data, PREPROCESS, LIMITS)


def largest_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> int:
    return int(np.abs(np.asarray(a, np.int64) - np.asarray(b, np.int64)).max())


IN_COLOR = read(encode(COLOR, "PNG"))
IN_GREY = read(encode(GREY, "PNG"))
RED_GREEN_BLUE = np.asarray(COLOR)
LEVELS = np.asarray(GREY)


def deep(values: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[Any]:
    """8 bits as so many: the same share of the largest number."""
    kind = next(size for size in (8, 16, 32, 64) if size >= bits)
    most = 2**bits - 1
    return np.array([value * most // 255 for value in range(256)], f"u{kind // 8}")[values]


LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rows": 7},
    "tiles": {"tile": 48},
    "planes": {"planar": True},
    "planes in strips": {"planar": True, "rows": 7},
    "planes in tiles": {"planar": True, "tile": 48},
    "deflate": {"compression": DEFLATE, "rows": 32},
    "deflate, tiles": {"compression": DEFLATE, "tile": 48},
    "deflate, planes": {"compression": DEFLATE, "planar": True, "rows": 32},
    "big-endian": {"big_endian": True},
    "big-endian, deflate": {"big_endian": True, "compression": DEFLATE},
    "BigTIFF": {"big": True, "rows": 7},
    "turned": {"more": {274: [1]}},
}


@pytest.mark.parametrize(
    "bits",
    [10, 16, 32, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (9, 12, 14, 24, 64))],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_numbers_of_every_depth(layout: str, bits: int) -> None:
    values, how = deep(RED_GREEN_BLUE, bits), LAYOUTS[layout]
    assert largest_difference(read(tiff(values, RGB, bits=bits, **how)), IN_COLOR) <= 1
    grey = deep(LEVELS, bits)
    assert largest_difference(read(tiff(grey, BLACK_IS_ZERO, bits=bits, **how)), IN_GREY) <= 1
    negative = (2**bits - 1 - grey.astype(object)).astype(grey.dtype)
    assert largest_difference(read(tiff(negative, WHITE_IS_ZERO, bits=bits, **how)), IN_GREY) <= 1


@pytest.mark.parametrize(
    "kind", ["f4", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("f2", "f8"))]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_floats(layout: str, kind: str) -> None:
    how = LAYOUTS[layout]
    for values, photometric, expected in (
        (RED_GREEN_BLUE / 255, RGB, IN_COLOR),
        (LEVELS / 255, BLACK_IS_ZERO, IN_GREY),
        (1 - LEVELS / 255, WHITE_IS_ZERO, IN_GREY),
    ):
        assert (
            largest_difference(read(tiff(values.astype(kind), photometric, **how)), expected) <= 1
        )


@pytest.mark.parametrize("layout", ["strips", "tiles", "planes", "big-endian", "deflate"])
def test_predictors(layout: str) -> None:
    how = {**LAYOUTS[layout], "compression": DEFLATE}
    for bits in (16, 32):
        values = deep(RED_GREEN_BLUE, bits)
        assert largest_difference(read(tiff(values, RGB, predictor=2, **how)), IN_COLOR) <= 1
    for kind in ("f4", "f8"):
        floats = (RED_GREEN_BLUE / 255).astype(kind)
        for predictor in (2, 3):
            data = tiff(floats, RGB, predictor=predictor, **how)
            assert largest_difference(read(data), IN_COLOR) <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd"])
def test_what_other_programs_compress(compression: str) -> None:
    """Pillow's libtiff writes these: 16 bits of grey, and floats."""
    wide = Image.fromarray(LEVELS.astype(np.uint16) * 257)
    assert np.array_equal(read(encode(wide, "TIFF", compression=compression)), IN_GREY)
    floats = Image.fromarray(LEVELS.astype(np.float32) / 255)
    assert largest_difference(read(encode(floats, "TIFF", compression=compression)), IN_GREY) <= 1


@pytest.mark.parametrize("most", [1, 255, 65535])
def test_floats_of_every_range_with_highlights(most: int) -> None:
    """The brightest 5 % shine, as in HDR photos, and what is black does not count."""
    shine = np.where(np.percentile(LEVELS, 95) <= LEVELS, 40.0, LEVELS / 255)
    shine[: len(shine) // 2, 60:120] = 0
    data = tiff((shine * most).astype(np.float32), BLACK_IS_ZERO)
    dark = np.minimum(shine, 1) * 255
    expected = read(encode(Image.fromarray(np.rint(dark).astype(np.uint8)), "PNG"))
    assert largest_difference(read(data), expected) <= 1


@pytest.mark.parametrize("kind", ["i2", "i4", "u4"])
def test_whole_numbers_that_hold_smaller_ones(kind: str) -> None:
    assert np.array_equal(read(tiff(LEVELS.astype(kind), BLACK_IS_ZERO)), IN_GREY)
    if kind != "i2":
        wide = LEVELS.astype(kind) * 257
        assert np.array_equal(read(tiff(wide, BLACK_IS_ZERO)), IN_GREY)


def test_a_photo_of_nothing_but_black() -> None:
    for kind in ("u2", "u4", "f4"):
        assert read(tiff(np.zeros((300, 300), kind), BLACK_IS_ZERO)).max() == 0


# Further samples

_ALPHAS = {"premultiplied": 1, "alpha": 2}


@pytest.mark.parametrize("what", _ALPHAS)
@pytest.mark.parametrize("bits", [16, 32])
def test_deep_alpha_lies_on_white(bits: int, what: str) -> None:
    shown = np.zeros((300, 300, 4), np.uint8)
    shown[..., 0], shown[..., 3] = 255, np.repeat(np.array([0, 128, 255], np.uint8), 100)
    if what == "premultiplied":
        shown[..., 0] = shown[..., 3]
    data = tiff(deep(shown, bits), RGB, more={338: [_ALPHAS[what]]})
    left, middle, right = read(data)[112, [20, 112, 204]].astype(int)
    assert largest_difference(left, [255, 255, 255]) <= 2
    assert largest_difference(middle, [255, 127, 127]) <= 2
    assert largest_difference(right, [255, 0, 0]) <= 2
    grey = tiff(deep(shown[..., [0, 3]], bits), BLACK_IS_ZERO, more={338: [_ALPHAS[what]]})
    assert read(grey).min() >= 253  # white on white


@pytest.mark.parametrize("planar", [False, True])
def test_further_samples_that_are_no_alpha_do_not_count(planar: bool) -> None:
    more = np.dstack([RED_GREEN_BLUE, LEVELS, LEVELS])
    data = tiff(deep(more, 16), RGB, planar=planar, more={338: [0, 0]})
    assert np.array_equal(read(data), IN_COLOR)


def test_small_depths_that_pillow_does_not_know() -> None:
    few = deep(RED_GREEN_BLUE, 4)
    expected = read(encode(Image.fromarray((few * 17).astype(np.uint8)), "PNG"))
    for planar in (False, True):
        assert largest_difference(read(tiff(few, RGB, bits=4, planar=planar)), expected) <= 1
    negative = tiff(np.dstack([255 - LEVELS, LEVELS * 0 + 255]), WHITE_IS_ZERO, more={338: [2]})
    assert np.array_equal(read(negative), IN_GREY)


def test_cmyk_of_16_bits() -> None:
    inks = COLOR.convert("CMYK")
    expected = read(encode(inks, "TIFF"))
    assert np.array_equal(read(tiff(deep(np.asarray(inks), 16), CMYK)), expected)


def test_cielab_of_8_and_16_bits() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(COLOR, to_lab)
    assert lab is not None
    # 8 bits of CIELab keep the colours to a few levels of sRGB; other colours measure 50.
    assert np.abs(read(encode(lab, "TIFF")).astype(int) - IN_COLOR).mean() < 3
    numbers = np.asarray(lab).astype(np.int32)
    wide = numbers * 257
    wide[..., 1:] = (numbers[..., 1:] - 128) * 256
    data = tiff(wide.astype(np.uint16), LAB)
    assert largest_difference(read(data), read(encode(lab, "TIFF"))) <= 1


def test_subsampled_ycbcr_that_is_not_compressed() -> None:
    y, cb, cr = (np.asarray(one) for one in COLOR.convert("YCbCr").split())
    fields = [y[::2, ::2], y[::2, 1::2], y[1::2, ::2], y[1::2, 1::2], cb[::2, ::2], cr[::2, ::2]]
    blocks = np.stack(fields, 2).tobytes()
    tags, _ = tiffs.page(RED_GREEN_BLUE, tiffs.YCBCR, more={530: [2, 2]})
    data = tiffs.join([(tags, [blocks])])
    assert float(np.abs(read(data).astype(int) - IN_COLOR).mean()) < 2


def test_a_profile_and_an_orientation_count_for_deep_samples() -> None:
    profile = samples.swapped_profile()
    turned = np.rot90(RED_GREEN_BLUE)  # as a camera stores it that says "turn it right"
    page = tiffs.page(deep(turned, 16), RGB, more={274: [6], 34675: list(profile)})
    data = tiffs.join([page])
    assert read_header(data, LIMITS).width == 320
    assert largest_difference(read(data), IN_COLOR[..., [1, 0, 2]]) <= 2
    assert read_picture(data, 64, LIMITS).size == (320, 240)
    with Image.open(io.BytesIO(thumbnail(data, 160, LIMITS))) as small:
        assert small.size == (160, 120)


# Pages


def other(bits: int) -> tiffs.Page:
    return tiffs.page(deep(np.asarray(picture(64, 48, seed=5)), bits), RGB, more={254: [REDUCED]})


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_thumbnail_that_comes_first_is_not_the_photo(turned: int, bits: int) -> None:
    stored = RED_GREEN_BLUE if turned == 1 else np.rot90(RED_GREEN_BLUE)
    photo = tiffs.page(deep(stored, bits), RGB, more={254: [0], 274: [turned]})
    mask = tiffs.page(LEVELS, BLACK_IS_ZERO, more={254: [4]})
    old = tiffs.page(LEVELS, BLACK_IS_ZERO, more={255: [2]})
    for data in (
        tiffs.join([other(bits), photo]),
        tiffs.join([other(8), mask, old, photo], big=True, big_endian=False),
        tiffs.join([other(16)], below=[photo, other(8)]),
    ):
        assert np.array_equal(read(data), IN_COLOR)
        assert read_header(data, LIMITS).width == 320


def test_a_thumbnail_that_is_alone_is_the_photo() -> None:
    alone = tiffs.join([other(8)])
    assert np.array_equal(read(alone), read(encode(picture(64, 48, seed=5), "PNG")))


def test_pages_in_a_circle_end() -> None:
    data = bytearray(tiffs.join([other(8), other(8)]))
    first = int.from_bytes(data[4:8], "little")
    data[-4:] = first.to_bytes(4, "little")  # the last page's link
    assert read_header(bytes(data), LIMITS).width == 64


# What is refused, and why

REFUSED: dict[str, tuple[bytes, str]] = {
    "raw data": (tiff(LEVELS.astype(np.uint16), tiffs.CFA), "a camera's raw data"),
    "raw data below": (
        tiffs.join([other(8)], below=[tiffs.page(LEVELS.astype(np.uint16), tiffs.CFA)]),
        "a camera's raw data",
    ),
    "mixed": (tiff(deep(RED_GREEN_BLUE, 16), RGB, more={258: [16, 16, 12]}), "differ in depth"),
    "complex": (
        tiff(deep(LEVELS, 64), BLACK_IS_ZERO, more={339: [6]}),
        "complex numbers of 64 bits",
    ),
    "JPEG": (tiff(deep(LEVELS, 16), BLACK_IS_ZERO, more={259: [7]}), "in compression 7"),
    "palette": (tiff(deep(LEVELS, 16), tiffs.PALETTE), "palette colours"),
    "many": (tiff(deep(np.dstack([LEVELS] * 17), 16), BLACK_IS_ZERO), "17 samples a pixel"),
    "12 bits": (
        tiff(deep(LEVELS, 16) >> 4, BLACK_IS_ZERO, bits=12, more={317: [2]}),
        "12 bits with predictor 2",
    ),
    "whole": (tiff(deep(LEVELS, 16), BLACK_IS_ZERO, more={317: [3]}), "16 bits with predictor 3"),
    "Lab": (tiff(deep(RED_GREEN_BLUE, 32), LAB), "CIELab in 32 bits"),
    "LogLuv": (tiff(deep(RED_GREEN_BLUE, 16), 32845), "colour space 32845"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_says_why(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(PhotoUnsupportedError, match=f"a TIFF .*{reason}.*: save it as PNG or JPEG"):
        read(data)


def test_a_tiff_that_contradicts_itself_is_broken() -> None:
    two = np.dstack([deep(LEVELS, 16)] * 2)
    strips = tiff(deep(RED_GREEN_BLUE, 16), RGB, compression=DEFLATE, rows=80)
    lengths = struct.pack("<HHL", 279, 4, 3)  # of three strips
    assert lengths in strips
    for data, reason in (
        (b"II*\0" + bytes(20), "a TIFF without a page"),
        (tiff(two, RGB), "a TIFF of too few samples for RGB"),
        (tiff(deep(LEVELS, 16), BLACK_IS_ZERO, more={278: [0]}), "a TIFF without rows"),
        (strips.replace(lengths, struct.pack("<HHL", 279, 4, 2)), "a TIFF that lacks strips"),
    ):
        with pytest.raises(PhotoBrokenError, match=reason):
            read(data)


@pytest.mark.parametrize("layout", ["one strip", "strips", "tiles", "planes", "deflate"])
def test_a_deep_tiff_that_is_cut_off_is_broken(layout: str) -> None:
    page = tiffs.page(deep(RED_GREEN_BLUE, 16), RGB, **LAYOUTS[layout])
    whole = tiffs.join([page])
    kept = len(page[1][-1]) // 2
    page[1][-1] = page[1][-1][:kept]
    with pytest.raises(PhotoBrokenError):
        read(tiffs.join([page]))
    for share in (0.01, 0.5, 0.99):
        with pytest.raises(PhotoBrokenError):
            read(whole[: int(len(whole) * share)])


def test_a_strip_that_would_take_too_much_memory_is_refused_before_it_is_unpacked() -> None:
    data = tiff(deep(RED_GREEN_BLUE, 16), RGB, compression=DEFLATE, more={278: [240]})
    small = Limits(LIMITS.max_bytes, LIMITS.max_pixels, 10**6)
    with pytest.raises(PhotoTooLargeError, match=r"max_decoding_bytes is 1,000,000"):
        read_pixels(data, PREPROCESS, small)
