"""Views of photos: crops as Pillow's, changes as torchvision's, each photo its own, any batch."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as known

from deepfood.photo import Preprocess
from deepfood.train.augment import augment, crop_each, crop_together
from deepfood.train.recipe import DEEPFOOD, ORIGINAL
from deepfood.train.views import KINDS, Transform, Views, draw, plan
from samples import picture

SIDE = 64
PREPROCESS = Preprocess(
    size=48, crop=0.75, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)
)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
WHOLE = (0, 0, SIDE, SIDE)


def pictures(count: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(picture(SIDE, SIDE, n))) for n in range(count)])


def drawn_views(count: int, seed: int = 0) -> Views:
    sizes = np.tile([300, 200], (count, 1))
    return plan(draw(np.random.default_rng(seed), count), sizes, SIDE, DEEPFOOD)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [24, 48, 100])
@pytest.mark.parametrize(
    "box", [WHOLE, (5, 3, 60, 64), (20, 30, 31, 40), (60, 3, 5, 64), (63, 63, 64, 64)]
)
def test_crops_are_those_of_pillow(name: str, size: int, box: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    photo = pictures(1)
    part = Image.fromarray(photo[0].numpy()).crop((min(left, right), top, max(left, right), bottom))
    wanted = part.resize((size, size), FILTERS[name])
    if right < left:
        wanted = wanted.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    boxes = torch.tensor([box], dtype=torch.float32)
    for crop in (crop_each, crop_together):
        found = crop(photo, boxes, size, name)[0].permute(1, 2, 0).clamp(0, 255).numpy()
        assert np.abs(found - np.asarray(wanted, np.float32)).max() < 2.01, crop.__name__


def test_cropping_together_is_cropping_each() -> None:
    photos, boxes = pictures(12), drawn_views(12).crops
    each, together = (crop(photos, boxes, 40, "bicubic") for crop in (crop_each, crop_together))
    assert (each - together.clamp(0, 255)).abs().mean() < 0.5


def changed(kind: str, amount: float, count: int = 2) -> npt.NDArray[np.float32]:
    """Photos as `augment` changes them by this kind alone, unresized."""
    at = KINDS.index(kind)
    bounds = tuple(0 if i <= at else count for i in range(len(KINDS) + 1))
    change = Transform(torch.arange(count), bounds, torch.full((count, 2), amount))
    views = Views(torch.tensor([WHOLE] * count, dtype=torch.float32), (change,), None)
    seen: npt.NDArray[np.float32] = (
        augment(pictures(count), views, PREPROCESS, SIDE).float().numpy()
    )
    return seen


@pytest.mark.parametrize("amount", [-1.0, -0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("kind", "function", "factor"),
    [
        ("brightness", known.adjust_brightness, lambda amount: 1 + 0.45 * amount),
        ("contrast", known.adjust_contrast, lambda amount: 1 + 0.45 * amount),
        ("saturation", known.adjust_saturation, lambda amount: 1 + 0.45 * amount),
        ("sharpness", known.adjust_sharpness, lambda amount: 1 + amount),
    ],
)
def test_changes_are_those_of_torchvision(kind: str, function, factor, amount: float) -> None:  # type: ignore[no-untyped-def]
    planes = pictures(2).permute(0, 3, 1, 2)
    wanted = function(planes, factor(amount)).permute(0, 2, 3, 1).float().numpy()
    assert np.abs(changed(kind, amount) - wanted).max() < 2.01


@pytest.mark.parametrize("kind", ["autocontrast", "equalize"])
def test_changes_that_take_no_amount(kind: str) -> None:
    planes = pictures(2).permute(0, 3, 1, 2)
    wanted = getattr(known, kind)(planes).permute(0, 2, 3, 1).float().numpy()
    assert np.abs(changed(kind, 0.7) - wanted).max() < 1.01


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"autocontrast", "equalize"}))
def test_no_amount_is_no_change(kind: str) -> None:
    assert np.abs(changed(kind, 0.0) - pictures(2).numpy()).max() < 1.01


def test_a_turn_turns_about_the_middle_and_fills_the_corners() -> None:
    seen = changed("turn", 1.0)
    wanted = known.rotate(
        pictures(2).permute(0, 3, 1, 2),
        30,
        interpolation=known.InterpolationMode.BILINEAR,
        fill=[128, 102, 76],
    )
    assert np.abs(seen - wanted.permute(0, 2, 3, 1).float().numpy()).mean() < 2
    assert seen[:, 0, 0].tolist() == [[128, 102, 76]] * 2


def test_hue_turns_colours_and_leaves_grey() -> None:
    before, after = pictures(2).float().numpy(), changed("hue", 1.0)
    assert np.abs(after - before).max() > 5
    luminance = np.array([0.213, 0.715, 0.072])
    inside = (after > 0).all(3) & (after < 255).all(3)  # not cut off
    assert np.abs((after - before) @ luminance)[inside].max() < 1


def test_what_is_erased_is_one_box() -> None:
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0], [0, 0, 0, 0]])
    views = Views(torch.tensor([WHOLE] * 2, dtype=torch.float32), (), boxes)
    seen = augment(pictures(2), views, PREPROCESS, SIDE)
    assert (seen[0, 32:, 16:48] == torch.tensor([128, 102, 76])).all()
    seen[0, 32:, 16:48] = pictures(2)[0, 32:, 16:48]
    assert torch.equal(seen, pictures(2))


def test_a_photos_view_does_not_depend_on_its_batch() -> None:
    views, photos = drawn_views(24), pictures(24)
    together = augment(photos, views, PREPROCESS, 40)
    drawn = draw(np.random.default_rng(0), 24)
    for rows in (slice(0, 8), slice(8, 24)):
        sizes = np.tile([300, 200], (24, 1))[rows]
        alone = augment(photos[rows], plan(drawn[rows], sizes, SIDE, DEEPFOOD), PREPROCESS, 40)
        assert torch.equal(alone, together[rows])
    assert not torch.equal(together, augment(photos, drawn_views(24, seed=1), PREPROCESS, 40))


@given(st.integers(0, 2**32), st.integers(1, 5000), st.integers(1, 5000), st.floats(0.05, 1))
def test_crops_lie_in_the_picture_and_keep_the_photos_shape(
    seed: int, width: int, height: int, smallest: float
) -> None:
    side, count = 1000, 20
    drawn = draw(np.random.default_rng(seed), count)
    recipe = ORIGINAL.with_changes(crop_area=smallest)
    views = plan(drawn, np.tile([width, height], (count, 1)), side, recipe)
    assert views.changes == ()
    assert views.erased is None
    left, top, right, bottom = views.crops.double().numpy().T
    left, right = np.minimum(left, right), np.maximum(left, right)
    assert ((left >= 0) & (top >= 0) & (right <= side) & (bottom <= side)).all()
    wide, high = (right - left) * width, (bottom - top) * height
    assert (right > left).all()
    assert (bottom > top).all()
    if 0.5 < width / height < 2 and smallest < 0.4:
        # Whole pixels of the picture: a thousandth more or less.
        assert ((wide / high > 0.74) & (wide / high < 1.35)).all()


def test_half_of_the_photos_are_mirrored_and_a_quarter_erased() -> None:
    views = drawn_views(4000)
    assert (views.crops[:, 2] < views.crops[:, 0]).float().mean() == pytest.approx(0.5, abs=0.05)
    assert views.erased is not None
    gone = (views.erased[:, 2:] > views.erased[:, :2]).all(1)
    assert gone.float().mean() == pytest.approx(0.25, abs=0.05)
    for change in views.changes:
        counts = np.diff(change.bounds)
        assert counts.sum() == 4000
        assert counts.min() > 300
        assert sorted(change.rows.tolist()) == list(range(4000))
