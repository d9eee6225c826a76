"""A Model in int8: near the one it was made from, refused where it is not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import DatasetError, SettingError
from deepfood.evaluate.gate import FIGURES
from deepfood.model import open_model
from deepfood.train.fuse import fuse_head, take_off_head
from deepfood.train.int8 import quantize_network
from deepfood.train.quantize import FEWEST_PHOTOS, MAX_DROP, QuantizeReport, _inputs, quantize
from limited import deepfood_on_a_small_disk
from live import deepfood_here
from plates import (
    DISH_COLOURS,
    LIMITS,
    jpeg,
    sha256,
    write_conv_model,
    write_dishes,
    write_photos,
    write_tiny_model,
)

Quantize = Callable[..., QuantizeReport]

#: So loud a channel that int8 leaves little of the other seven.
DEAFENING = 100


@pytest.fixture(scope="module")
def dishes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 photos of four labels."""
    return write_dishes(tmp_path_factory.mktemp("dishes"), 16)


@pytest.fixture
def make(tmp_path: Path) -> Quantize:
    """Quantise the Model in a folder into `tmp_path/int8`."""

    def run(model: Path, photos: Path, out: Path | None = None, **how: float) -> QuantizeReport:
        base = Embedder(open_model(model), LIMITS, threads=2)
        into = out or tmp_path / "int8"
        return quantize(list_photos(photos), base, into, tmp_path / "cache", quiet=True, **how)  # type: ignore[arg-type]

    return run


def test_what_is_written_is_a_model_like_any_other(
    make: Quantize, dishes: Path, tmp_path: Path
) -> None:
    trained_on = [sha256(next(dishes.rglob("00003.jpg")).read_bytes())[:20]]
    base = open_model(write_conv_model(tmp_path / "base", trained_on=trained_on))
    report = make(base.folder, dishes)
    assert report.refused is None
    assert (report.decided_by, report.max_drop) == ("mAP", MAX_DROP["mAP"])
    assert tuple(report.compared) == FIGURES
    assert report.compared["mAP"].before > 0.5
    assert (report.calibration_photos, report.held_out_photos, report.queries) == (32, 32, 32)

    int8 = open_model(tmp_path / "int8")
    assert int8.fingerprint != base.fingerprint
    assert int8.trained_on == set(trained_on)
    assert int8.manifest.name == "conv-int8"
    for same in ("dimension", "preprocess", "labels", "backbone", "licence"):
        assert getattr(int8.manifest, same) == getattr(base.manifest, same)
    record = int8.manifest.training
    assert record["method"] == "quantize"
    assert record["base"]["fingerprint"] == base.fingerprint  # type: ignore[index, call-overload]
    assert record["held_out"]["mAP"]["after"] == report.compared["mAP"].after  # type: ignore[index, call-overload]
    weights = {one.name: one for one in onnx.load(int8.onnx).graph.initializer}
    kinds = [weights[f"{name}_quantized"].data_type for name in ("first", "second")]
    assert kinds == [onnx.TensorProto.INT8] * 2
    assert [len(weights[f"{name}_scale"].dims) for name in ("first", "second")] == [1, 1]
    assert [one.name for one in onnx.load(int8.onnx).graph.output] == ["embedding"]


def vectors(embedder: Embedder, photos: list[bytes]) -> np.ndarray:
    return np.stack([embedder.embed(one) for one in photos])


def test_runtimes_agree_on_it_and_it_is_near_the_one_given(
    make: Quantize, dishes: Path, tmp_path: Path
) -> None:
    assert make(write_conv_model(tmp_path / "base"), dishes).refused is None
    photos = [jpeg(seed) for seed in range(12)]
    given, openvino, onnxruntime = (
        vectors(Embedder(model, LIMITS, runtime=runtime, precision="f32"), photos)  # type: ignore[arg-type]
        for model, runtime in (
            (open_model(tmp_path / "base"), "openvino"),
            (open_model(tmp_path / "int8"), "openvino"),
            (open_model(tmp_path / "int8"), "onnxruntime"),
        )
    )

    assert (openvino * onnxruntime).sum(axis=1).min() > 0.999
    assert 0.98 < (openvino * given).sum(axis=1).min() < 0.999999


def test_a_photo_that_is_gone_by_then_calibrates_nothing(tmp_path: Path) -> None:
    source = list_photos(write_photos(tmp_path / "photos", 3))
    base = Embedder(open_model(write_tiny_model(tmp_path / "model")), LIMITS)
    first, gone, last = _inputs(source, [*source.files], base, quiet=True)
    (tmp_path / "photos" / source.files[1].file).unlink()
    left = [*_inputs(source, [*source.files], base, quiet=True)]
    np.testing.assert_array_equal(left, [first, last])
    assert not np.array_equal(gone, first)


def test_one_that_finds_too_much_less_is_refused(
    make: Quantize, dishes: Path, tmp_path: Path
) -> None:
    base = write_conv_model(tmp_path / "base", loud=DEAFENING)
    report = make(base, dishes)
    assert report.refused is not None
    assert "the int8 Model is worse than the original: mAP 0." in report.refused
    assert "--max-drop" in report.refused
    assert report.compared["mAP"].difference < -0.05
    assert not (tmp_path / "int8").exists()
    # The bound is the user's to set, from nothing at all to everything.
    most = max(-one.difference for one in report.compared.values())
    assert make(base, dishes, max_drop=most + 1e-9).refused is None
    assert (tmp_path / "int8/manifest.json").exists()


def test_without_labels_its_neighbours_are_judged(make: Quantize, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 60)
    report = make(write_conv_model(tmp_path / "base"), photos)
    assert (report.decided_by, report.max_drop) == ("recall@9", MAX_DROP["recall@9"])
    assert report.refused is None
    assert 0.8 <= report.compared["recall@9"].after < 1
    # Some neighbour is lost, so a bound of nothing refuses it.
    refused = make(tmp_path / "base", photos, tmp_path / "other", max_drop=0)
    assert refused.refused is not None
    assert "recall@9" in refused.refused
    assert not (tmp_path / "other").exists()
    loud = make(write_conv_model(tmp_path / "loud", loud=DEAFENING), photos, tmp_path / "other")
    assert loud.refused is not None


def test_the_neighbours_kept_are_counted_as_one_would_by_hand(
    make: Quantize, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "photos", 24)
    report = make(write_conv_model(tmp_path / "base"), photos, max_drop=1)
    assert (report.calibration_photos, report.queries) == (12, 12)
    # Of the twelve held out every photo has eleven others, nine of which are its nearest: two of
    # the eleven are left out, so at least seven of nine stay whatever the Model.
    assert 7 / 9 <= report.compared["recall@9"].after <= 1
    assert report.compared["recall@9"].before == 1


def test_photos_that_it_was_trained_on_calibrate_and_others_ask(
    make: Quantize, dishes: Path, tmp_path: Path
) -> None:
    seen = [sha256(path.read_bytes())[:20] for path in sorted(dishes.rglob("*.jpg"))[::4]]
    report = make(write_conv_model(tmp_path / "base", trained_on=seen), dishes)
    assert (report.calibration_photos, report.held_out_photos) == (32, 32)
    assert report.queries == 32  # the 16 seen are all among the first 32
    assert not any("trained on" in note for note in report.notes)

    every = [sha256(path.read_bytes())[:20] for path in dishes.rglob("*.jpg")]
    report = make(write_conv_model(tmp_path / "all", trained_on=every), dishes)
    assert report.queries == 32
    assert any("the Model was trained on all of these photos" in note for note in report.notes)


def test_a_head_that_adapt_fitted_stays_as_it_is(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(0, 1, (16, 5)).astype(np.float16).astype(np.float32)
    network = open_model(write_conv_model(tmp_path / "base")).onnx.read_bytes()
    inputs = np.random.default_rng(1).normal(0, 1, (4, 1, 3, 64, 64)).astype(np.float32)
    plain = quantize_network(network, {}, inputs)
    whole = quantize_network(fuse_head(network, weights), {}, inputs)
    trunk, head = take_off_head(whole)
    assert head is not None
    np.testing.assert_array_equal(head, weights)
    assert onnx.load_from_string(trunk) == onnx.load_from_string(plain)


def test_a_corrupt_photo_is_left_out_and_said(make: Quantize, tmp_path: Path) -> None:
    photos = write_dishes(tmp_path / "photos", 8)
    label = photos / next(iter(DISH_COLOURS))
    (label / "broken.jpg").write_bytes(jpeg(1)[:700])
    report = make(write_conv_model(tmp_path / "base"), photos, max_drop=1)
    assert report.calibration_photos + report.held_out_photos == 32
    assert any("broken.jpg left out" in note for note in report.notes)


def test_photos_that_are_too_few(make: Quantize, tmp_path: Path) -> None:
    base = write_conv_model(tmp_path / "base")
    write_photos(tmp_path / "photos", FEWEST_PHOTOS - 1)
    (tmp_path / "photos/broken.jpg").write_bytes(b"not a photo")
    with pytest.raises(DatasetError, match=r"needs 20 usable photos .* there are 19"):
        make(base, tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no photos in"):
        make(base, tmp_path / "empty")
    (tmp_path / "broken").mkdir()
    for number in range(FEWEST_PHOTOS):
        (tmp_path / f"broken/{number}.jpg").write_bytes(b"not a photo")
    with pytest.raises(DatasetError, match="none of the 20 photos"):
        make(base, tmp_path / "broken")
    assert not (tmp_path / "int8").exists()


def test_models_that_cannot_be_made_int8(make: Quantize, dishes: Path, tmp_path: Path) -> None:
    base = write_conv_model(tmp_path / "base")
    make(base, dishes)
    with pytest.raises(SettingError, match="conv-int8 is int8 already"):
        make(tmp_path / "int8", dishes, tmp_path / "again")
    with pytest.raises(SettingError, match="no convolution and no matrix product"):
        make(write_tiny_model(tmp_path / "tiny"), dishes, tmp_path / "again")
    with pytest.raises(SettingError, match="is the base Model itself"):
        make(base, dishes, base)
    with pytest.raises(SettingError, match="cannot be used in int8"):
        make(write_conv_model(tmp_path / "loud", loud=1e6), dishes, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.fixture
def arguments(dishes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """`deepfood quantize` of a Model of which int8 leaves little, but for --max-drop."""
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    base = write_conv_model(tmp_path / "base", loud=DEAFENING)
    return ["quantize", dishes, "--model", base, "--out", tmp_path / "int8"]


def test_the_command_refuses_in_one_line_and_status_1(
    arguments: list[object], tmp_path: Path
) -> None:
    refused = deepfood_here(*arguments, "--json")
    assert refused.returncode == 1
    assert refused.stderr.startswith("deepfood: the int8 Model is worse")
    assert refused.stderr.count("\n") == 1
    assert json.loads(refused.stdout)["written"] is False
    assert not (tmp_path / "int8").exists()

    again = deepfood_here(*arguments)
    assert (again.returncode, again.stderr) == (1, refused.stderr)
    assert "held-out photos   before   after " in again.stdout
    assert "written" not in again.stdout

    done = deepfood_here(*arguments, "--max-drop", 1)
    assert done.returncode == 0, done.stderr
    assert "int8: written" in done.stdout
    assert deepfood_here("verify", tmp_path / "int8").returncode == 0
    assert deepfood_here(*arguments, "--max-drop", 1.5).returncode == 2


def test_a_full_disk(arguments: list[object], tmp_path: Path) -> None:
    for allowed in (2_000, 9_000):  # too little for the embeddings, and for the network
        full = deepfood_on_a_small_disk(allowed, *arguments, "--max-drop", 1, "--json")
        assert full.returncode == 2
        assert "no space left on the disk of" in full.stderr.splitlines()[-1]
        assert "Traceback" not in full.stderr
        assert not (tmp_path / "int8").exists()


def test_weights_beside_a_network_are_made_int8_with_it(tmp_path: Path) -> None:
    network = onnx.load(open_model(write_conv_model(tmp_path / "base")).onnx)
    whole = network.SerializeToString()
    onnx.save_model(
        network,
        tmp_path / "outside.onnx",
        save_as_external_data=True,
        location="weights-1",
        size_threshold=0,
    )
    outside = (tmp_path / "outside.onnx").read_bytes()
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(1, 3, 64, 64)).astype(np.float32) for _ in range(2)]
    small = quantize_network(outside, {"weights-1": tmp_path / "weights-1"}, inputs)
    assert not any(one.external_data for one in onnx.load_from_string(small).graph.initializer)
    found, wanted = (
        onnxruntime.InferenceSession(one).run(None, {"pixels": inputs[0]})[0]
        for one in (small, quantize_network(whole, {}, inputs))
    )
    assert np.allclose(found, wanted, atol=1e-6)
    fused = onnx.load_from_string(fuse_head(outside, np.ones((16, 2), np.float32)))
    [first, *_, head] = fused.graph.initializer
    assert first.external_data[0].value == "weights-1"
    assert list(head.dims) == [16, 2]
