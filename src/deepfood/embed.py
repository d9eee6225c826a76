"""The Embedder: pixels in, unit vectors out, on OpenVINO or ONNX Runtime.

On a processor a photo is one inference. Batches were measured and bought nothing on a CPU
(docs/performance.md), and without them a photo's vector is the same, bit for bit, whether it comes
alone over HTTP or as one of a million in a build. What keeps all cores busy is many photos in
flight: `infer` may be called from any number of threads. An accelerator does what waits for it as
one batch.
"""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deepfood import runtimes
from deepfood.batcher import Batcher
from deepfood.config import Settings, available_cores
from deepfood.devices import PROVIDERS, RUNTIME_OF, Device, choose_device, not_started, prepare
from deepfood.errors import ArtifactCorruptError, ArtifactError, EngineError, SettingError
from deepfood.extras import missing_extra
from deepfood.model import Model, open_model
from deepfood.model.golden import NO_LIMITS, Golden, check_golden, golden_photos
from deepfood.photo import Limits, Pixels, Preprocess, read_pixels
from deepfood.photo_box import Box

Vector = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]
Infer = Callable[[Pixels], Vector]

Runtime = Literal["auto", "openvino", "onnxruntime"]
Precision = Literal["auto", "f32", "bf16"]

#: Photos that an accelerator does at once, at most.
BATCH = 16
#: OpenVINO compiles a network for each size of a batch.
_OPENVINO_BATCHES = (BATCH, 4, 1)
#: How far a vector of a batch may lie from that of the same photo alone, of length 1.
_SAME_WITHIN = 1e-3
_log = logging.getLogger(__name__)


class Embedder:
    """Photos to float32 unit vectors of `dimension` numbers, safe to use from many threads.

    `threads` is the processor cores to use, 0 for all. With `latency` a photo is spread over
    several cores, so that one alone is answered sooner; without, each core has its own photo, which
    gives the most photos a second. Neither changes a vector. `device` is what was chosen of the
    setting of that name: on anything but `cpu` all is computed in float32, and vectors are within
    0.001 of the processor's.

    A Model with golden vectors must give them again, unless `compare` is off: else opening raises
    ArtifactCorruptError, or, where bf16 is at fault, f32 is used instead.
    """

    def __init__(
        self,
        model: Model,
        limits: Limits,
        *,
        runtime: Runtime = "auto",
        precision: Precision = "auto",
        threads: int = 0,
        latency: bool = False,
        device: Device = "auto",
        compare: bool = True,
    ) -> None:
        self.model = model
        self.limits = limits
        self.dimension = model.manifest.dimension
        self.preprocess = model.manifest.preprocess
        self.threads = threads or available_cores()
        self._streams = max(1, self.threads // 4) if latency else self.threads
        self.device = choose_device(device, runtime, precision)
        try:
            self._start(runtime, precision)
        except SettingError as error:
            if device != "auto" or self.device == "cpu":
                raise
            _log.warning("%s", error)
            self.device = "cpu"
            self._start(runtime, precision)
        golden = Golden.of(model) if compare else None
        if golden and not self._gives(golden):
            self._start(runtime, "f32")
            self._gives(golden)

    def _start(self, runtime: Runtime, precision: Precision) -> None:
        self.runtime = choose_runtime(RUNTIME_OF.get(self.device, runtime))
        self._reading: AbstractContextManager[object] = nullcontext()
        #: How many photos are worth having under way at the same time.
        self.at_once = self.threads + 1
        if self.device == "cpu":
            start = _STARTS[self.runtime]
            self._infer, self.precision = start(self.model, precision, self.threads, self._streams)
        else:
            self._gather(_STARTS_ON[self.runtime](self.model, self.device))

    def _gather(self, infer: Infer) -> None:
        """Let an accelerator infer, by batches of what waits.

        While some photos wait for it others are read, by no more threads than without it.
        """
        self._infer, self.precision = infer, "f32"
        self._reading = BoundedSemaphore(self.threads + 1)
        self.at_once = self.threads + 1 + 2 * BATCH

    def embed(self, data: bytes, box: Box | None = None) -> Vector:
        """The unit vector, float32 [dimension], of one photo's bytes, or of a region of it.

        Raises PhotoError.
        """
        return self.infer(self.read(data, box))

    def read(self, data: bytes, box: Box | None = None) -> Pixels:
        """The pixels, uint8 [size, size, 3], that `infer` takes. Raises PhotoError."""
        with self._reading:
            return read_pixels(data, self.preprocess, self.limits, box)

    def infer(self, pixels: Pixels) -> Vector:
        """The unit vector of pixels uint8 [size, size, 3] as `read_pixels` gives them."""
        return runtimes.unit(self._infer(pixels), self.model.onnx)

    def _gives(self, golden: Golden) -> bool:
        """Whether it gives what the Model gave where it was made. Raises ArtifactCorruptError."""
        photos = [read_pixels(data, self.preprocess, NO_LIMITS) for data in golden_photos()]
        try:
            found = self.embed_many(np.stack(photos))
        except ArtifactCorruptError:  # no usable vector
            if self.precision == "f32":
                raise
            found = np.zeros_like(golden.photo_vectors)
        return check_golden(self.model, "photo", golden.photo_vectors, found, self.precision)

    def embed_many(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """The unit vectors, float32 [n, dimension], of pixels uint8 [n, size, size, 3]."""
        out = np.empty((len(pixels), self.dimension), np.float32)
        if self.device == "cpu":
            for row, one in enumerate(pixels):
                out[row] = self.infer(one)
            return out
        with ThreadPoolExecutor(self.at_once) as pool:
            for row, vector in enumerate(pool.map(self.infer, pixels)):
                out[row] = vector
        return out


def open_embedder(
    settings: Settings, model: Model | None = None, *, latency: bool = False
) -> Embedder:
    """The Embedder that the settings describe, for `model` or for the Model that they name."""
    limits = Limits.of(settings)
    return Embedder(
        model or open_model(settings.model),
        limits,
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        latency=latency,
        device=settings.device,
    )


def choose_runtime(wanted: Runtime) -> str:
    """The first runtime that is installed, OpenVINO before ONNX Runtime, or the one asked for.

    Raises MissingExtraError.
    """
    for name, imported in _IMPORTS.items():
        if wanted in ("auto", name):
            try:
                imported()
            except ImportError:
                continue
            return name
    if wanted == "auto":
        raise missing_extra("no runtime is installed", "onnxruntime")
    # OpenVINO is no extra: it comes with deepfood itself, where there is a wheel of it.
    extra = "onnxruntime" if wanted == "onnxruntime" else ""
    raise missing_extra(f"runtime {wanted} is not installed", extra)


def _start_openvino(
    model: Model, precision: Precision, threads: int, streams: int
) -> tuple[Infer, str]:
    ov = runtimes.openvino()
    core = ov.Core()
    computed_in = runtimes.openvino_precision(core, precision)
    try:
        compiled = core.compile_model(
            openvino_graph(core, model),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": computed_in,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
            },
        )
    except RuntimeError as error:
        raise unusable(model.onnx, error) from error
    runtimes.check_output(model.onnx, compiled.output(0).shape, model.manifest.dimension)
    # One more request than streams keeps each stream fed; a request has one thread at a time. Its
    # tensors are taken here, in one thread, once: OpenVINO's first `.data` sets up a C++ static and
    # lets go of the GIL meanwhile, and two threads that come there together wait for ever.
    requests: queue.SimpleQueue[tuple[Any, Pixels, Vectors]] = queue.SimpleQueue()
    for _ in range(streams + 1):
        request = compiled.create_infer_request()
        pixels_in, vector_out = (
            tensor.data for tensor in (request.get_input_tensor(), request.get_output_tensor())
        )
        requests.put((request, pixels_in, vector_out))

    def infer(pixels: Pixels) -> Vector:
        request, pixels_in, vector_out = requests.get()
        try:
            pixels_in[0] = pixels
            # start and wait, not infer(): that would run on this thread, beside the streams.
            request.start_async()
            request.wait()
            vector: Vector = vector_out[0].copy()
            return vector
        finally:
            requests.put((request, pixels_in, vector_out))

    return infer, computed_in


def openvino_graph(core: Any, model: Model, photos: int = 1) -> Any:
    """The network, uint8 [photos, size, size, 3] to float32 [photos, dimension]."""
    preprocess = model.manifest.preprocess
    network = core.read_model(model.onnx)
    network.reshape([photos, 3, preprocess.size, preprocess.size])
    return of_pixels(network, preprocess)


def of_pixels(network: Any, preprocess: Preprocess) -> Any:
    """A network of OpenVINO with uint8 pixels [n, height, width, 3] in and float32 out.

    It took normalised pixels [n, 3, height, width].
    """
    ov = runtimes.openvino()
    steps = ov.preprocess.PrePostProcessor(network)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean(
        [255 * value for value in preprocess.mean]
    ).scale([255 * value for value in preprocess.std])
    for place in range(len(network.outputs)):
        steps.output(place).tensor().set_element_type(ov.Type.f32)
    return steps.build()


def _start_onnxruntime(
    model: Model, precision: Precision, threads: int, streams: int
) -> tuple[Infer, str]:
    ort = runtimes.onnxruntime()
    computed_in = runtimes.onnxruntime_precision(precision)
    options = ort.SessionOptions()
    options.intra_op_num_threads = max(1, threads // streams)
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise unusable(model.onnx, error) from error
    dimension = model.manifest.dimension
    runtimes.check_output(model.onnx, session.get_outputs()[0].shape, dimension)
    name = session.get_inputs()[0].name
    normalise = normaliser(model.manifest.preprocess)

    def infer(pixels: Pixels) -> Vector:
        found = np.asarray(session.run(None, {name: normalise(pixels)})[0], np.float32)
        runtimes.check_output(model.onnx, found.shape, dimension)
        vector: Vector = found[0]
        return vector

    return infer, computed_in


def _start_onnxruntime_on(model: Model, device: str) -> Infer:
    prepare(device)
    ort = runtimes.onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    provider, said = PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise not_started(device)
    try:
        if device == "coreml":  # which is slow, or lets the processor do it, where a size is open
            for name in _open_sizes(ort, model):
                options.add_free_dimension_override_by_name(name, 1)
        session = ort.InferenceSession(
            model.onnx, options, providers=[(provider, said), "CPUExecutionProvider"]
        )
    except Exception as error:
        raise unusable(model.onnx, error) from error
    if session.get_providers()[0] != provider:  # it takes the processor in silence
        raise not_started(device)  # pragma: no cover - a GPU without its libraries
    session.disable_fallback()
    return gathered_onnxruntime(session, model, device)


def _open_sizes(ort: Any, model: Model) -> list[str]:
    """The names of the sizes that the network's input leaves open."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
    return [size for size in session.get_inputs()[0].shape if isinstance(size, str)]


def gathered_onnxruntime(session: Any, model: Model, device: str) -> Infer:
    """`infer` on a session of ONNX Runtime that does what waits as one batch.

    One by one where the network takes no more than one photo at a time.
    """
    runtimes.check_output(model.onnx, session.get_outputs()[0].shape, model.manifest.dimension)
    about = session.get_inputs()[0]
    normalise = normaliser(model.manifest.preprocess)

    def work(planes: list[Vectors]) -> list[Vector]:
        try:
            found = session.run(None, {about.name: np.concatenate(planes)})[0]
        except Exception as error:
            raise _failed(device, error) from error
        return list(np.asarray(found, np.float32))

    most = BATCH if about.shape[0] != 1 and _does_batches(work, model) else 1
    batcher = Batcher(work, most)
    return lambda pixels: batcher(normalise(pixels))


def _does_batches(work: Callable[[list[Vectors]], list[Vector]], model: Model) -> bool:
    """Whether two photos at once get what they get alone: a graph may leave a size open and lie."""
    size = model.manifest.preprocess.size
    rng = np.random.default_rng(0)
    two = [rng.standard_normal((1, 3, size, size), np.float32) for _ in range(2)]
    alone = np.stack([work([one])[0] for one in two])
    try:
        together = work(two)
    except EngineError:
        return False
    if len(together) != 2 or together[0].shape != alone[0].shape:
        return False
    lengths = np.linalg.norm(alone, axis=1, keepdims=True)
    return bool((np.abs(np.stack(together) - alone) <= _SAME_WITHIN * lengths).all())


def _start_openvino_on(model: Model, device: str) -> Infer:  # pragma: no cover - an Intel GPU
    return gathered_openvino(model, "GPU", device)


def gathered_openvino(model: Model, name: str, device: str) -> Infer:
    """`infer` on OpenVINO's device `name`, which does what waits in batches of a few sizes.

    One by one where the network takes no more than one photo at a time.
    """
    core = runtimes.openvino().Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    requests: dict[int, queue.SimpleQueue[tuple[Any, Pixels, Vectors]]] = {}
    for size in _OPENVINO_BATCHES:
        try:
            compiled = core.compile_model(openvino_graph(core, model, size), name, hints)
            if list(compiled.output(0).shape) != [size, model.manifest.dimension] and size > 1:
                continue
        except RuntimeError as error:
            if size > 1:
                continue
            raise unusable(model.onnx, error) from error
        runtimes.check_output(model.onnx, compiled.output(0).shape, model.manifest.dimension, size)
        requests[size] = queue.SimpleQueue()
        for _ in range(2):  # as many as batches are under way; here, in one thread: see above
            request = compiled.create_infer_request()
            tensors = request.get_input_tensor(), request.get_output_tensor()
            requests[size].put((request, tensors[0].data, tensors[1].data))

    def work(photos: list[Pixels]) -> list[Vector]:
        found: list[Vector] = []
        while len(found) < len(photos):
            left = photos[len(found) :]
            size = max(size for size in requests if size <= len(left))
            request, pixels_in, vectors_out = requests[size].get()
            try:
                pixels_in[:] = np.stack(left[:size])
                request.start_async()
                request.wait()
                found.extend(vectors_out.copy())
            except RuntimeError as error:
                raise _failed(device, error) from error
            finally:
                requests[size].put((request, pixels_in, vectors_out))
        return found

    return Batcher(work, max(requests))


def _failed(device: str, error: Exception) -> EngineError:
    why = " ".join(str(error).split())
    return EngineError(f"device {device} failed: {why}: set device to cpu to do without it")


def normaliser(preprocess: Preprocess) -> Callable[[Pixels], Vectors]:
    """What makes a network's float32 [1, 3, size, size] of uint8 pixels [size, size, 3]."""
    mean = np.array(preprocess.mean, np.float32) * 255
    std = np.array(preprocess.std, np.float32) * 255

    def normalise(pixels: Pixels) -> Vectors:
        planes = ((pixels - mean) / std).transpose(2, 0, 1)
        return np.ascontiguousarray(planes[np.newaxis])

    return normalise


def unusable(onnx: Path, error: Exception) -> ArtifactError:
    """What a runtime says of a network that it does not take, as an error of deepfood's own."""
    why = " ".join(str(error).split())
    if why.endswith("Available frontends:"):  # none: the Model is not at fault
        return ArtifactError(
            f"{onnx} cannot be loaded: OpenVINO could not open its own libraries: let more "
            "files be open (ulimit -n), or install it again"
        )
    return ArtifactCorruptError(f"{onnx} cannot be loaded: {why}")


_IMPORTS: dict[str, Callable[[], Any]] = {
    "openvino": runtimes.openvino,
    "onnxruntime": runtimes.onnxruntime,
}
_STARTS: dict[str, Callable[[Model, Precision, int, int], tuple[Infer, str]]] = {
    "openvino": _start_openvino,
    "onnxruntime": _start_onnxruntime,
}
_STARTS_ON: dict[str, Callable[[Model, str], Infer]] = {
    "openvino": _start_openvino_on,
    "onnxruntime": _start_onnxruntime_on,
}
