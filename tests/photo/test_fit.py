"""How photos of any shape become the square that a network wants: as the libraries do it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import samples
from deepfood.photo import Pixels, Preprocess, read_pixels
from deepfood.photo.window import cut, part_of_resized
from deepfood.photo_box import Box
from samples import LIMITS, encode

MEAN, STD = (0.48, 0.45, 0.4), (0.25, 0.26, 0.27)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIZES = [(1, 900), (900, 1), (37, 211), (211, 37), (4000, 30), (30, 4000), (320, 240), (333, 500)]
#: Their shorter side is rounded to no pixel at all by the libraries, which is an error there.
PADDED = [size for size in SIZES if max(size) < 100 * min(size)]


def preprocess(resize: str, size: int = 64, crop: float = 1.0, how: str = "bicubic") -> Preprocess:
    return Preprocess.model_validate(
        {"size": size, "crop": crop, "interpolation": how, "resize": resize}
        | {"mean": MEAN, "std": STD, "fill": (10, 200, 30)}
    )


def grain(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise at full contrast: no pixel may lie elsewhere, and no weight be another."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def read(image: Image.Image, how: Preprocess, box: Box | None = None) -> Pixels:
    return read_pixels(encode(image, "PNG"), how, LIMITS, box)


def slowly(photo: Image.Image, how: Preprocess) -> Pixels:
    """The slow and obvious way: the whole picture, resized, and then the middle of it."""
    side, (width, height) = round(how.size / how.crop), photo.size
    if how.resize == "squash":
        resized = side, side
    elif how.resize == "shortest":
        resized = (
            (side, int(side * height / width))
            if width <= height
            else (int(side * width / height), side)
        )
    else:
        ratio = max(width / side, height / side)
        resized = max(1, round(width / ratio)), max(1, round(height / ratio))
    large = photo.resize(resized, FILTERS[how.interpolation])
    edge = max(0, how.size - large.width), max(0, how.size - large.height)
    padded = Image.new("RGB", (large.width + edge[0], large.height + edge[1]), how.fill)
    padded.paste(large, (edge[0] // 2, edge[1] // 2))
    left, top = (round((side - how.size) / 2) for side in padded.size)
    return np.asarray(padded.crop((left, top, left + how.size, top + how.size)))


@pytest.mark.slow
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["shortest", "squash", "pad"]),
    st.sampled_from([8, 17, 64]),
    st.sampled_from([1.0, 0.875, 0.9, 0.3]),
    st.sampled_from(list(FILTERS)),
)
@example(1, 400, "shortest", 64, 0.3, "bicubic")
@example(400, 2, "shortest", 64, 0.3, "bilinear")
@example(3, 400, "shortest", 64, 0.3, "bicubic")
def test_no_pixel_differs_from_the_whole_picture_resized(
    width: int, height: int, resize: str, size: int, crop: float, how: str
) -> None:
    photo, wanted = grain(width, height), preprocess(resize, size, crop, how)
    assert np.array_equal(read(photo, wanted), slowly(photo, wanted))


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((300, 4000), (2100, 2000)),  # tall, and lower afterwards: Pillow begins with the columns
        ((300, 2000), (300, 9000)),
        ((2000, 300), (9000, 300)),
    ],
)
@pytest.mark.parametrize("how", FILTERS.values())
def test_a_part_of_a_large_result_is_computed_alone(
    size: tuple[int, int], resized: tuple[int, int], how: Image.Resampling
) -> None:
    picture, part = grain(*size), (40, 70, 104, 134)
    alone = part_of_resized([picture], size, resized, part, how)
    assert alone.tobytes() == picture.resize(resized, how).crop(part).tobytes()


def test_a_region_is_cut_from_the_bands_that_have_it() -> None:
    picture = grain(9, 10)
    bands = [picture.crop((0, top, 9, min(10, top + 4))) for top in (0, 4, 8)]
    found = list(cut(bands, (2, 5, 7, 8)))
    assert [band.tobytes() for band in found] == [picture.crop((2, 5, 7, 8)).tobytes()]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["shortest", "squash", "pad"])
@pytest.mark.parametrize(
    "orientation", [3, 6, *(pytest.param(one, marks=pytest.mark.slow) for one in (2, 4, 5, 7, 8))]
)
def test_photos_are_turned_afterwards(size: tuple[int, int], resize: str, orientation: int) -> None:
    photo, wanted = grain(*size), preprocess(resize, 32, 0.875)
    found = read_pixels(samples.turned(photo, orientation, "PNG"), wanted, LIMITS).astype(int)
    differences = np.abs(found - read(photo, wanted))
    if orientation <= 4:
        assert differences.max() == 0
    # The other axis is resized first, so values are rounded, and cut off at 0 and 255, elsewhere.
    # Measured up to 0.6; of noise, a shift by one pixel makes 40.
    assert differences.mean() < 1


@pytest.mark.parametrize("resize", ["shortest", "squash", "pad"])
def test_a_box_counts_as_the_photo(resize: str) -> None:
    photo, wanted = grain(400, 300), preprocess(resize)
    part = photo.crop((100, 30, 100 + 200, 30 + 150))
    assert np.array_equal(read(photo, wanted, Box(0.25, 0.1, 0.5, 0.5)), read(part, wanted))
    whole = read(photo, wanted)
    assert np.array_equal(read(photo, wanted, Box(0, 0, 1, 1)), whole)


@pytest.mark.parametrize("resize", ["shortest", "squash", "pad"])
@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_bands_make_no_difference(resize: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = grain(150, 90).convert(mode)
    wanted = preprocess(resize)
    expected = slowly(photo.convert("RGB"), wanted)
    monkeypatch.setattr("deepfood.photo.flat.BAND_PIXELS", 150 * 7)
    assert np.array_equal(read(photo, wanted), expected)
    strip = grain(5, 900).convert(mode)
    differences = np.abs(read(strip, wanted).astype(int) - slowly(strip.convert("RGB"), wanted))
    # Pillow begins with the columns of a tall strip; that of 64 rows is resized by bands.
    assert differences.mean() < 0.1 if resize == "pad" else differences.max() == 0


@pytest.mark.parametrize(
    ("resize", "size", "least"),
    [("shortest", (1600, 1200), 256), ("squash", (1600, 1200), 256), ("pad", (1600, 1200), 192)],
)
def test_jpegs_are_decoded_small_and_lose_nothing(
    resize: str, size: tuple[int, int], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfood.photo import open_photo

    drafted: list[tuple[int, int]] = []
    decoded = open_photo.PillowPhoto.decoded

    def watched(photo: open_photo.PillowPhoto, shorter: int, limits: Any) -> Any:
        drafted.append((shorter, min(photo.size)))
        return decoded(photo, shorter, limits)

    monkeypatch.setattr(open_photo.PillowPhoto, "decoded", watched)
    photo = samples.picture(*size)
    wanted = preprocess(resize, 224, 0.875)
    found = read_pixels(encode(photo, "JPEG", quality=95), wanted, LIMITS).astype(float)
    assert drafted == [(least, 1200)]
    assert np.abs(found - read(photo, wanted)).mean() < 1


@pytest.mark.train
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", FILTERS)
def test_shortest_is_torchvisions_resize_and_center_crop(size: tuple[int, int], how: str) -> None:
    from torchvision import transforms

    photo, wanted = grain(*size), preprocess("shortest", 64, 0.875, how)
    steps = [
        transforms.Resize(73, transforms.InterpolationMode(how)),
        transforms.CenterCrop(64),
    ]
    assert np.array_equal(read(photo, wanted), np.asarray(transforms.Compose(steps)(photo)))


#: What is called what.
OPEN_CLIP = {"shortest": "shortest", "squash": "squash", "pad": "longest"}
TIMM = {"shortest": "center", "squash": "squash", "pad": "border"}


@pytest.mark.train
@pytest.mark.parametrize("resize", OPEN_CLIP)
@pytest.mark.parametrize("how", FILTERS)
def test_open_clip_sees_the_same(resize: str, how: str) -> None:
    from open_clip.transform import image_transform

    wanted = preprocess(resize, 64, 1.0, how).model_copy(update={"fill": (7, 7, 7)})
    theirs = image_transform(
        64,
        is_train=False,
        mean=(0,) * 3,
        std=(1,) * 3,
        resize_mode=OPEN_CLIP[resize],
        interpolation=how,
        fill_color=7,
    )
    for size in PADDED if resize == "pad" else SIZES:
        pixels = (theirs(grain(*size)).numpy() * 255).round().transpose(1, 2, 0)
        assert np.array_equal(read(grain(*size), wanted), pixels)


@pytest.mark.train
@pytest.mark.parametrize("resize", TIMM)
@pytest.mark.parametrize("crop", [1.0, 0.9])
def test_timm_sees_the_same(resize: str, crop: float) -> None:
    from timm.data import create_transform  # type: ignore[attr-defined]

    theirs = create_transform(
        (3, 64, 64),
        crop_pct=crop,
        crop_mode=TIMM[resize],
        interpolation="bicubic",
        mean=MEAN,
        normalize=False,
    )
    fill = tuple(round(255 * value) for value in MEAN)
    wanted = preprocess(resize, 64, crop).model_copy(update={"fill": fill})
    for size in PADDED if resize == "pad" else SIZES:
        pixels = theirs(grain(*size)).numpy().transpose(1, 2, 0)
        assert np.array_equal(read(grain(*size), wanted), pixels), size
