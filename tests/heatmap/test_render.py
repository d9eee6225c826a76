"""Heat maps as pictures: where the heat lies on the photo, and what its colours say."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfood.errors import PhotoBrokenError
from deepfood.heatmap import MatchHeat, draw_heat, draw_pair, scale_in_words
from deepfood.photo import Preprocess
from plates import LIMITS, jpeg
from samples import turned

PREPROCESS = Preprocess(
    size=64, crop=0.5, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


GREY = png(Image.new("RGB", (400, 200), (128, 128, 128)))


def drawn(heat: np.ndarray, photo: bytes = GREY, preprocess: Preprocess = PREPROCESS) -> np.ndarray:
    image = draw_heat(photo, heat.astype(np.float32), 1.0, preprocess, LIMITS, 400)
    return np.asarray(image, np.int64)


def colour(pixels: np.ndarray) -> np.ndarray:
    """How far each pixel is from grey: red less blue, warm above 0 and blue below."""
    return np.asarray(pixels[..., 0] - pixels[..., 2])


def test_heat_covers_the_cropped_square_only() -> None:
    pixels = drawn(np.ones((2, 2)))
    warm = colour(pixels) > 40
    rows, columns = np.nonzero(warm)
    # The centred square is 100 of 200 pixels high: 50 to 149 down, 150 to 249 across.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 149, 150, 249)
    assert warm.sum() == 100 * 100
    outside = pixels[~warm]
    assert np.ptp(outside) <= 6  # the rest is grey, and paler than it was
    assert outside.min() > 150


@pytest.mark.parametrize(
    ("resize", "rows", "columns"),
    # The photo is 400 x 200: 100 rows and 200 columns are the middle of its two halves.
    [
        ("shortest", (50, 149), (150, 249)),
        ("squash", (50, 149), (100, 299)),
        ("pad", (0, 199), (100, 299)),
    ],
)
def test_heat_covers_what_the_model_sees(
    resize: str, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    warm = colour(drawn(np.ones((2, 2)), GREY, as_it(resize))) > 40
    found = [at for one in np.nonzero(warm) for at in (one.min(), one.max())]
    assert np.abs(np.subtract(found, [*rows, *columns])).max() <= 1


def test_heat_beyond_a_padded_photo_is_cut_off() -> None:
    heat = np.zeros((4, 4))
    heat[1, 0], heat[2, 3], heat[0] = 1, -1, 1
    pixels = drawn(heat, GREY, as_it("pad", crop=1.0))  # rows 1 and 2 are the photo
    assert pixels.shape == (200, 400, 3)
    assert colour(pixels[50, 50]) > 60
    assert colour(pixels[150, 350]) < -60
    assert abs(colour(pixels[60, 350])) < 40


def as_it(resize: str, crop: float = 0.5) -> Preprocess:
    return PREPROCESS.model_copy(update={"resize": resize, "crop": crop})


def test_each_cell_is_where_it_belongs_and_its_sign_is_seen() -> None:
    pixels = drawn(np.array([[1.0, 0.0], [0.0, -1.0]]))
    first, second = colour(pixels[60, 160]), colour(pixels[60, 240])
    third, last = colour(pixels[140, 160]), colour(pixels[140, 240])
    assert first > 60
    assert last < -60
    assert abs(second) < 20
    assert abs(third) < 20


def test_more_heat_is_more_colour() -> None:
    steps = [drawn(np.full((1, 1), share))[100, 200] for share in (0, 0.25, 0.5, 1)]
    grey = steps[0]
    assert np.ptp(grey) <= 4
    distances = [np.abs(step - grey).sum() for step in steps]
    assert distances == sorted(distances)
    assert len(set(distances)) == 4
    lightness = [step @ (0.2126, 0.7152, 0.0722) for step in steps]
    assert lightness[1] > lightness[2] > lightness[3]  # it deepens, in print as well


def test_the_heat_lies_on_the_upright_photo() -> None:
    heat = np.array([[1.0, 0.0], [0.0, 0.0]])
    upright = Image.new("RGB", (200, 400), (128, 128, 128))
    plain, sideways = drawn(heat, png(upright)), drawn(heat, turned(upright, 6, "PNG"))
    assert plain.shape == sideways.shape == (400, 200, 3)
    assert np.abs(plain - sideways).max() <= 3


def test_a_pair_is_one_picture_with_its_scale() -> None:
    heat = np.full((3, 3), 0.09, np.float32)
    match = MatchHeat(0.81, heat, heat)
    long = "Grandmother's slow-cooked casserole of seven vegetables " * 3
    data = draw_pair(
        jpeg(1, (300, 200)), jpeg(2, (100, 250)), match, (long, "Bœuf"), PREPROCESS, LIMITS
    )
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert 600 < image.width < 700
        assert image.height > 2 * 250
    assert scale_in_words(match) == (
        "strongest colour: 0.090 of the similarity 0.810, in one of 9 cells"
    )
    # With something below zero the scale has a blue half as well.
    against = MatchHeat(0.81, heat, heat - np.eye(3, dtype=np.float32))
    assert blue_in_scale(draw(against)) > 1000 > blue_in_scale(draw(match))


def draw(match: MatchHeat) -> bytes:
    return draw_pair(GREY, GREY, match, ("a", "b"), PREPROCESS, LIMITS)


def blue_in_scale(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        lowest = np.asarray(image.convert("RGB"), np.int64)[-image.height // 5 :]
    return int((colour(lowest) < -60).sum())


def test_a_broken_photo_is_refused() -> None:
    with pytest.raises(PhotoBrokenError):
        drawn(np.ones((2, 2)), jpeg(1)[:200])
