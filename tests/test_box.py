"""A region of a photo: the same as cutting it out first, however the file is turned."""

import numpy as np
import pytest
from PIL import Image

from deepfood.errors import QueryError
from deepfood.photo import Resize, part_pixels, read_pixels, read_small
from deepfood.photo_box import Box
from samples import LIMITS, PHOTOS, PREPROCESS, encode, picture, turned

BOX = Box(0.25, 0.1, 0.5, 0.4)


def cut(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop(
        (width // 4, height // 10, width // 4 + width // 2, height // 10 + height * 2 // 5)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_box_is_what_is_cut_out_of_the_upright_photo(orientation: int, file_format: str) -> None:
    image = picture(800, 600)
    whole = turned(image, orientation, file_format)
    wanted = read_pixels(encode(cut(image), "PNG"), PREPROCESS, LIMITS)
    found = read_pixels(whole, PREPROCESS, LIMITS, BOX)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_small_box_of_a_large_jpeg_keeps_its_detail(orientation: int) -> None:
    image = picture(3200, 2400)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (2400, 3200, 1), np.uint8)
    image = Image.fromarray((np.asarray(image) // 2 + noise).astype(np.uint8))
    whole = turned(image, orientation, "JPEG", quality=95)
    box = Box(0.5, 0.5, 0.1, 320 / 2400)
    part = image.crop((1600, 1200, 1920, 1520))
    wanted = read_pixels(encode(part, "PNG"), PREPROCESS, LIMITS).astype(float)
    found = read_pixels(whole, PREPROCESS, LIMITS, box).astype(float)
    assert np.abs(found - wanted).mean() < 3
    assert found.std() == pytest.approx(wanted.std(), rel=0.1)


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_the_whole_photo_as_a_box_is_the_photo(name: str) -> None:
    plain = read_pixels(PHOTOS[name], PREPROCESS, LIMITS)
    boxed = read_pixels(PHOTOS[name], PREPROCESS, LIMITS, Box(0, 0, 1, 1))
    assert plain.tobytes() == boxed.tobytes()


def test_without_a_box_the_middle_is_cut_as_ever() -> None:
    image = picture(801, 600)
    side = 600 * PREPROCESS.crop
    left, top = round((801 - side) / 2), round((600 - side) / 2)
    wanted = image.resize(
        (224, 224), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    found = read_pixels(encode(image, "PNG"), PREPROCESS, LIMITS)
    assert found.tobytes() == np.asarray(wanted).tobytes()


def test_a_box_of_less_than_a_pixel_is_a_pixel() -> None:
    pixels = read_pixels(
        encode(picture(), "PNG"), PREPROCESS, LIMITS, Box(0.999, 0.999, 1e-4, 1e-4)
    )
    assert pixels.shape == (224, 224, 3)


@pytest.mark.parametrize(
    "sides",
    [
        (0, 0, 0, 1),
        (0, 0, 1, -1),
        (-0.1, 0, 1, 1),
        (0.5, 0, 0.6, 1),
        (0, 0, float("nan"), 1),
        (float("inf"), 0, 1, 1),
        (0, 0, 1, 2),
    ],
)
def test_boxes_that_are_refused(sides: tuple[float, float, float, float]) -> None:
    with pytest.raises(QueryError, match="is not inside the photo"):
        Box(*sides)


@pytest.mark.parametrize("resize", ["square", "squash", "pad"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_part_of_a_small_picture_is_what_a_model_sees(resize: Resize, orientation: int) -> None:
    """The same pixels where the photo is no larger than the picture, and nearly so elsewhere."""
    how = PREPROCESS.model_copy(update={"resize": resize})
    data = turned(picture(1600, 1200), orientation, "PNG")
    wanted = read_pixels(data, how, LIMITS, BOX)
    same = part_pixels(read_small(data, 1600, LIMITS), how, BOX)
    assert np.abs(same.astype(int) - wanted).max() <= 1
    smaller = part_pixels(read_small(data, 800, LIMITS), how, BOX)
    assert np.abs(smaller.astype(float) - wanted).mean() < 6
