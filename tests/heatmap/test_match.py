"""Contributions of regions: they add up to the similarity, and lie where they belong."""

import io
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import write_model
from PIL import Image

from deepfood.embed import Embedder
from deepfood.errors import NoHeatMapError, PhotoBrokenError
from deepfood.heatmap import MatchExplainer
from deepfood.heatmap.network import Trunk
from deepfood.model import Model, open_model
from plates import LIMITS, jpeg, write_tiny_model
from samples import turned


def cosine(model: Model, first: bytes, second: bytes) -> float:
    embedder = Embedder(model, LIMITS, precision="f32", threads=1)
    return float(embedder.embed(first) @ embedder.embed(second))


def explainer(model: Model) -> MatchExplainer:
    return MatchExplainer(model, LIMITS, 1)


@pytest.mark.slow
@given(
    head=st.sampled_from(["none", "linear", "length", "gem", "gem linear"]),
    seed=st.integers(0, 10_000),
    cells=st.sampled_from([2, 4, 8]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_contributions_add_up_to_the_similarity(head: str, seed: int, cells: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder), head, seed=seed, cells=cells)
        first, second = jpeg(seed), jpeg(seed + 1, (60, 120))
        match = explainer(model).explain(first, second)
        score = cosine(model, first, second)
    assert match.query.shape == match.hit.shape == (cells, cells)
    assert match.query.dtype == match.hit.dtype == np.float32
    assert match.score == pytest.approx(score, abs=1e-4)
    assert match.query.sum() == pytest.approx(match.score, abs=1e-4)
    assert match.hit.sum() == pytest.approx(match.score, abs=1e-4)
    assert match.strongest == max(abs(match.query).max(), abs(match.hit).max())


def test_the_default_model_and_the_other_way_round() -> None:
    model = open_model()
    one = explainer(model)
    first, second = jpeg(1, (320, 240)), jpeg(2, (200, 300))
    match, back = one.explain(first, second), one.explain(second, first)
    assert match.query.shape == (7, 7)
    assert match.score == pytest.approx(cosine(model, first, second), abs=1e-5)
    for heat in (match.query, match.hit):
        assert heat.sum() == pytest.approx(match.score, abs=1e-5)
        assert heat.std() > 1e-4  # some regions carry more than others
    np.testing.assert_array_equal(match.query, back.hit)
    np.testing.assert_array_equal(match.hit, back.query)
    itself = one.explain(first, first)
    assert itself.score == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(itself.query, itself.hit)


def test_a_head_of_unit_length_gives_what_the_plain_one_does(tmp_path: Path) -> None:
    # Without an offset, scaling the features to length 1 changes no direction and so no cosine.
    plain = write_model(tmp_path / "plain", "linear", offset=0)
    scaled = write_model(tmp_path / "scaled", "length", offset=0)
    pairs = [explainer(model).explain(jpeg(3), jpeg(4)) for model in (plain, scaled)]
    np.testing.assert_allclose(pairs[0].query, pairs[1].query, atol=1e-5)
    np.testing.assert_allclose(pairs[0].hit, pairs[1].hit, atol=1e-5)


def patch(left: int, top: int) -> Image.Image:
    """Grey, 160 x 160, with a white square 32 wide whose corner is at `left`, `top`."""
    image = Image.new("RGB", (160, 160), (60, 60, 60))
    image.paste((255, 255, 255), (left, top, left + 32, top + 32))
    return image


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_the_heat_is_where_the_match_is_and_turns_with_the_photo(tmp_path: Path) -> None:
    model = write_model(tmp_path, "bright", crop=0.8)  # looks at 16 to 144: cells 32 pixels wide
    one = explainer(model)
    upright = patch(16 + 32, 16)  # the first row's second cell
    match = one.explain(png(upright), png(patch(16 + 96, 16 + 64)))
    assert divmod(int(match.query.argmax()), 4) == (0, 1)
    assert divmod(int(match.hit.argmax()), 4) == (2, 3)
    assert match.query.max() > 0.9 * match.score
    sideways = one.explain(turned(upright, 6, "PNG"), png(upright))
    np.testing.assert_allclose(sideways.query, sideways.hit, atol=1e-4)


def test_gem_pooling_weighs_strong_positions_more(tmp_path: Path) -> None:
    """The heat is by powers: a cell with twice the feature adds eight times as much."""
    pairs = {}
    for head in ("none", "gem"):
        model = write_model(tmp_path / head, head, seed=5)
        pairs[head] = explainer(model).explain(jpeg(7, (96, 96)), jpeg(7, (96, 96)))
    for match in pairs.values():
        assert match.query.sum() == pytest.approx(1, abs=1e-5)
    assert pairs["gem"].strongest > pairs["none"].strongest


def test_what_speaks_against_a_match_is_below_zero(tmp_path: Path) -> None:
    matches = []
    for seed in range(4):
        model = write_model(tmp_path / str(seed), "linear", seed=seed)
        matches.append(explainer(model).explain(jpeg(5), jpeg(6)))
    assert any(min(match.query.min(), match.hit.min()) < 0 for match in matches)


def test_a_photo_without_a_vector_is_no_match(tmp_path: Path) -> None:
    model = write_model(tmp_path, "bright")
    dark = png(Image.new("RGB", (96, 96)))
    with pytest.raises(NoHeatMapError, match="gives no usable vector for one of the photos"):
        explainer(model).explain(dark, png(patch(64, 64)))


def test_a_trunk_takes_photos_of_any_shape(tmp_path: Path) -> None:
    larger = np.zeros((64, 80, 3), np.uint8)
    any_size = Trunk(write_model(tmp_path / "none", "none"), 1, "f32")
    assert any_size.cells(larger)[0].shape == (4, 5)


@pytest.mark.parametrize("head", ["relu", "pool", "around"])
def test_a_network_that_cannot_be_explained_says_so_each_time(tmp_path: Path, head: str) -> None:
    if head == "pool":
        model = open_model(write_tiny_model(tmp_path))
        said = "tiny has no heat maps: its network does not end in global average pooling"
    elif head == "around":
        model = write_model(tmp_path, head)
        said = "small-around has no heat maps: its network does not end in global average pooling"
    else:
        model = write_model(tmp_path, head)
        said = "small-relu has no heat maps: what it does after its last pooling is not linear"
    one = explainer(model)
    for _ in range(2):
        with pytest.raises(NoHeatMapError, match=said):
            one.explain(jpeg(1), jpeg(2))


def test_without_openvino_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    with pytest.raises(NoHeatMapError, match=r"need OpenVINO.* install"):
        explainer(write_model(tmp_path, "none")).explain(jpeg(1), jpeg(2))


def test_a_broken_photo_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(PhotoBrokenError):
        explainer(write_model(tmp_path, "none")).explain(jpeg(1), jpeg(2)[:300])


def test_many_threads_get_what_one_gets(tmp_path: Path) -> None:
    one = explainer(write_model(tmp_path, "linear"))
    pairs = [(jpeg(seed), jpeg(seed + 1)) for seed in range(12)]
    with ThreadPoolExecutor(6) as threads:  # the first calls open the network at the same time
        at_once = list(threads.map(lambda pair: one.explain(*pair), pairs))
    for pair, match in zip(pairs, at_once, strict=True):
        np.testing.assert_array_equal(one.explain(*pair).query, match.query)


@pytest.mark.train
def test_a_timm_network_as_it_is_exported(tmp_path: Path) -> None:
    import torch
    from timm.models.resnet import BasicBlock, ResNet

    from deepfood.model.export import export_model

    torch.manual_seed(0)
    network = ResNet(BasicBlock, (1, 1, 1, 1), channels=(8, 8, 8, 16), num_classes=0)  # type: ignore[arg-type]
    preprocess = write_model(tmp_path / "small", "none").manifest.preprocess
    about = {"source": "made by the tests", "licence": "Apache-2.0"}
    export_model(
        network, tmp_path, "card", preprocess=preprocess, name="r", backbone="resnet", **about
    )
    model, first, second = open_model(tmp_path), jpeg(1), jpeg(2)
    match = explainer(model).explain(first, second)
    assert match.query.shape == (2, 2)
    assert match.query.sum() == pytest.approx(cosine(model, first, second), abs=1e-4)
