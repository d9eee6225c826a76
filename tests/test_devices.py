"""The setting `device`: what is there, what is refused, and batches on a real runtime."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper

from deepfood.artifacts import FileRecord
from deepfood.batcher import Batcher
from deepfood.config import load_settings
from deepfood.data.photos import list_photos
from deepfood.devices import PROVIDERS, choose_device
from deepfood.embed import (
    _STARTS_ON,
    BATCH,
    Embedder,
    Infer,
    gathered_onnxruntime,
    gathered_openvino,
    open_embedder,
)
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    EngineError,
    MissingExtraError,
    SettingError,
)
from deepfood.gallery.embedding import read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Skipped
from deepfood.model import Model, ModelManifest, open_model
from deepfood.model.artifact import ONNX
from plates import LIMITS, jpeg, write_photos, write_tiny_model

PHOTOS = [jpeg(seed, (200 + 9 * seed, 180)) for seed in range(24)]


class Watched:
    """A session of ONNX Runtime that tells how many photos come at once, and can be held up."""

    def __init__(self, model: Model) -> None:
        self._session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
        self.get_inputs = self._session.get_inputs
        self.get_outputs = self._session.get_outputs
        self.batches: list[int] = []
        self.let_go = threading.Event()
        self.let_go.set()

    def run(self, outputs: None, inputs: dict[str, Any]) -> Any:
        (pixels,) = inputs.values()
        self.batches.append(len(pixels))
        assert self.let_go.wait(60)
        return self._session.run(outputs, inputs)


def on_device(model: Model, infer: Infer) -> Embedder:
    """An Embedder whose device is the processor, treated as an accelerator is."""
    embedder = Embedder(model, LIMITS, runtime="onnxruntime", precision="f32", threads=2)
    embedder.device = "test"
    embedder._gather(infer)
    return embedder


class Kept(Batcher[Any, Any]):
    """A Batcher that tests can look into."""

    made: ClassVar[list[Batcher[Any, Any]]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.made.append(self)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    """The photos' vectors by the processor, in float32."""
    embedder = Embedder(open_model(), LIMITS, runtime="onnxruntime", precision="f32", device="cpu")
    return np.stack([embedder.embed(photo) for photo in PHOTOS])


@pytest.mark.slow
def test_photos_that_wait_are_one_batch_and_vectors_are_the_same(
    wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.embed.Batcher", Kept)
    model = open_model()
    session = Watched(model)
    embedder = on_device(model, gathered_onnxruntime(session, model, "test"))
    waiting = Kept.made[-1]
    session.batches.clear()
    session.let_go.clear()
    with ThreadPoolExecutor(len(PHOTOS)) as pool:
        found = []
        for count in (1, 2):  # two batches may be under way; the session holds them up
            found.append(pool.submit(embedder.embed, PHOTOS[count - 1]))
            until(lambda count=count: len(session.batches) == count)  # type: ignore[misc]
        found += [pool.submit(embedder.embed, photo) for photo in PHOTOS[2:]]
        until(lambda: waiting.waiting == len(PHOTOS) - 2)
        session.let_go.set()
        np.testing.assert_allclose(np.stack([one.result() for one in found]), wanted, atol=1e-3)
    assert session.batches[:2] == [1, 1]
    assert sorted(session.batches[2:]) == [len(PHOTOS) - 2 - BATCH, BATCH]
    pixels = np.stack([embedder.read(photo) for photo in PHOTOS])
    np.testing.assert_allclose(embedder.embed_many(pixels), wanted, atol=1e-3)


def test_a_build_reads_ahead_while_the_device_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.embed.Batcher", Kept)
    model = open_model(write_tiny_model(tmp_path / "model"))
    session = Watched(model)
    embedder = on_device(model, gathered_onnxruntime(session, model, "test"))
    waiting = Kept.made[-1]
    source = list_photos(write_photos(tmp_path / "photos", embedder.at_once + 5))
    session.batches.clear()
    session.let_go.clear()

    def build() -> list[EmbeddedPhoto | Skipped]:
        with read_photos(source, source.files, embedder) as results:
            return list(results)

    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build)
        # All that may be under way has been read, though the device has not done a single photo.
        until(lambda: sum(session.batches) + waiting.waiting == embedder.at_once)
        session.let_go.set()
        found = building.result()
    assert BATCH in session.batches
    alone = Embedder(model, LIMITS, runtime="onnxruntime", device="cpu")
    assert [one.photo.file for one in found] == [file.file for file in source.files]
    for one, file in zip(found, source.files, strict=True):
        data = source.root.read(file.file, LIMITS.check_bytes)
        np.testing.assert_allclose(one.vector, alone.embed(data), atol=1e-3)


@pytest.mark.slow
def test_openvino_does_batches_too(wanted: np.ndarray) -> None:
    model = open_model()
    embedder = on_device(model, gathered_openvino(model, "CPU", "test"))
    with ThreadPoolExecutor(len(PHOTOS)) as pool:
        found = np.stack(list(pool.map(embedder.embed, PHOTOS * 3)))
    np.testing.assert_allclose(found, np.concatenate([wanted] * 3), atol=1e-3)


def write_flat_model(
    folder: Path, batch: str | int, output: tuple[int, int] | None = None
) -> Model:
    """Blocks of 8 x 8 averaged, for so many photos at once; or in an `output` of this shape."""
    write_tiny_model(folder)
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["a"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["a", "shape"], ["embedding"])
        if output
        else helper.make_node("Flatten", ["a"], ["embedding"]),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], output or (1, -1))
    graph = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, 64, 64])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 192])],
        [shape] if output else [],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    (folder / ONNX).write_bytes(made.SerializeToString())
    about = ModelManifest.read(folder)
    about.model_copy(update={"files": {ONNX: FileRecord.of(folder / ONNX)}}).write(folder)
    return open_model(folder)


@pytest.mark.parametrize(
    ("batch", "output"), [(1, None), ("n", (1, -1)), ("n", (1, 192))], ids=["one", "mixes", "fails"]
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_network_for_one_photo_gets_one_at_a_time(
    tmp_path: Path, batch: str | int, output: tuple[int, int] | None, runtime: str
) -> None:
    model = write_flat_model(tmp_path, batch, output)
    session = Watched(model)
    if runtime == "onnxruntime":
        infer = gathered_onnxruntime(session, model, "test")
    else:
        infer = gathered_openvino(model, "CPU", "test")
    session.batches.clear()
    embedder = on_device(model, infer)
    alone = Embedder(model, LIMITS, runtime="onnxruntime", device="cpu")
    with ThreadPoolExecutor(len(PHOTOS)) as pool:
        found = list(pool.map(embedder.embed, PHOTOS))
    for vector, photo in zip(found, PHOTOS, strict=True):
        np.testing.assert_allclose(vector, alone.embed(photo), atol=1e-4)
    assert set(session.batches) <= {1}


def test_a_device_that_fails_says_so_in_one_line() -> None:
    model = open_model()
    session = Watched(model)
    infer = gathered_onnxruntime(session, model, "cuda")

    def out_of_memory(*_: Any) -> None:
        raise RuntimeError("CUDA failure 2:\n out of memory")

    session.run = out_of_memory  # type: ignore[method-assign, assignment]
    with pytest.raises(EngineError, match=r"^device cuda failed: CUDA failure 2: out of memory: "):
        infer(np.zeros((224, 224, 3), np.uint8))


def test_a_device_of_openvino_that_fails_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(write_tiny_model(tmp_path))
    infer, pixels = gathered_openvino(model, "CPU", "openvino-gpu"), np.ones((64, 64, 3), np.uint8)
    wait = openvino.InferRequest.wait

    def lose(request: Any) -> None:
        wait(request)
        raise RuntimeError("the device\n is lost")

    with monkeypatch.context() as patch:
        patch.setattr(openvino.InferRequest, "wait", lose)
        for _ in range(3):  # more often than there are requests
            with pytest.raises(EngineError, match=r"^device openvino-gpu failed: the device is l"):
                infer(pixels)
    assert infer(pixels).shape == (192,)


@pytest.mark.parametrize("device", ["cuda", "coreml"])
def test_a_provider_of_onnx_runtime_gets_the_network(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure's provider is in every ONNX Runtime, and leaves all work to the processor."""
    monkeypatch.setitem(PROVIDERS, device, ("AzureExecutionProvider", {}))
    model = write_flat_model(tmp_path, "n")
    embedder = on_device(model, _STARTS_ON["onnxruntime"](model, device))
    alone = Embedder(model, LIMITS, runtime="onnxruntime", device="cpu")
    for photo in PHOTOS[:3]:
        np.testing.assert_allclose(embedder.embed(photo), alone.embed(photo), atol=1e-4)
    model.onnx.write_bytes(b"not onnx")
    with pytest.raises(ArtifactCorruptError, match=r"model\.onnx cannot be loaded"):
        _STARTS_ON["onnxruntime"](model, device)


def test_openvino_without_its_device_is_told_in_one_line(tmp_path: Path) -> None:
    model = open_model(write_tiny_model(tmp_path))
    with pytest.raises(ArtifactError, match=r"^[^\n]*cannot be loaded[^\n]*$"):
        gathered_openvino(model, "NOWHERE", "test")


# What is there


def test_without_an_accelerator_auto_is_the_processor() -> None:
    embedder = open_embedder(load_settings())
    assert (embedder.device, embedder.at_once) == ("cpu", embedder.threads + 1)


@pytest.mark.parametrize(
    ("device", "options", "said"),
    [
        ("cuda", {}, "device cuda: there is no NVIDIA GPU here, .* set device to cpu or auto"),
        ("coreml", {}, "device coreml: only a Mac has it"),
        (
            "openvino-gpu",
            {},
            "device openvino-gpu: OpenVINO finds no Intel GPU.* only CPU",
        ),
        ("cuda", {"runtime": "openvino"}, "device cuda needs the runtime onnxruntime"),
        ("openvino-gpu", {"runtime": "onnxruntime"}, "needs the runtime openvino"),
        ("cuda", {"precision": "bf16"}, "precision bf16 is for processors"),
    ],
)
def test_a_device_that_cannot_be_is_refused(
    device: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        open_embedder(load_settings(device=device, **options))
    assert "\n" not in str(caught.value)


def test_a_device_without_its_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match="device openvino-gpu: OpenVINO is not installed"):
        choose_device("openvino-gpu", "auto", "auto")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if NVIDIA's driver answered; ONNX Runtime stays as it is."""
    monkeypatch.setattr("deepfood.devices._nvidia_gpus", lambda: 1)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if onnxruntime-gpu were installed, and then onnxruntime over it."""
    about = tmp_path / "site" / "onnxruntime_gpu-1.31.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.usefixtures("gpu")
def test_a_gpu_without_the_extra_is_the_way_out() -> None:
    assert choose_device("auto", "auto", "auto") == "cpu"
    with pytest.raises(MissingExtraError, match=r"device cuda: .*\[cuda\]"):
        choose_device("cuda", "auto", "auto")


@pytest.mark.usefixtures("gpu", "installed")
def test_a_gpu_is_taken_with_the_extra_alone_unless_something_else_is_wanted() -> None:
    assert choose_device("auto", "auto", "auto") == "cuda"
    assert choose_device("auto", "onnxruntime", "f32") == "cuda"
    assert choose_device("auto", "openvino", "auto") == "cpu"
    assert choose_device("auto", "auto", "bf16") == "cpu"
    assert choose_device("cpu", "auto", "auto") == "cpu"
    with pytest.raises(SettingError, match="has taken the place of onnxruntime-gpu"):
        choose_device("cuda", "auto", "auto")


@pytest.mark.usefixtures("gpu", "installed")
def test_a_gpu_that_does_not_start_leaves_auto_with_the_processor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        embedder = open_embedder(load_settings())
    assert embedder.device == "cpu"
    assert [one.getMessage() for one in caplog.records if "device cuda" in one.getMessage()]
    assert embedder.embed(PHOTOS[0]).shape == (1280,)
