"""The TextEmbedder: words in, unit vectors out, in the space of the photos' vectors.

It needs a Model with a text tower (docs/encoders.md) and the extra `deepfood[words]`. The tower is
opened by the first words, since it is often larger than all the rest: who asks with photos only
never pays for it.
"""

import importlib.util
import queue
import string
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood import runtimes
from deepfood.config import Settings, available_cores
from deepfood.embed import Precision, Runtime, Vector, Vectors, choose_runtime, unusable
from deepfood.errors import ArtifactCorruptError, NoTextTowerError, QueryError
from deepfood.model import Model, TextTower, open_model
from deepfood.model.golden import Golden, check_golden
from deepfood.model.tokenizer_file import reading_tokenizer

Ids = npt.NDArray[np.int32 | np.int64]
#: One text's tokens and, where the tower wants it, their mask, to the tower's output.
Infer = Callable[[list[Ids]], Vector]

#: What a text may have. Towers read some 50 to 300 letters of it; the rest is cut off.
MAX_LETTERS = 100_000

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextEmbedder:
    """Words to float32 unit vectors of `dimension` numbers, safe to use from many threads.

    `threads` is the processor cores to use, 0 for all. Making one opens nothing: the first words
    do, which compares golden vectors as an Embedder does. Raises NoTextTowerError where the Model
    has no text tower.
    """

    def __init__(
        self,
        model: Model,
        *,
        runtime: Runtime = "auto",
        precision: Precision = "auto",
        threads: int = 0,
        compare: bool = True,
    ) -> None:
        self.model = model
        self.tower = text_tower(model)
        self.dimension = model.manifest.dimension
        self.threads = threads or available_cores()
        self._wanted: tuple[Runtime, Precision, bool] = (runtime, precision, compare)
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    @property
    def is_open(self) -> bool:
        """Whether the text tower is in memory."""
        return self._opened is not None

    @property
    def precision(self) -> str:
        """What it computes in: f32 or bf16. Opens the tower."""
        return self._open().precision

    def embed(self, text: str) -> Vector:
        """The unit vector, float32 [dimension], of a text.

        Raises QueryError for one that is too long or not Unicode, MissingExtraError, and as opening
        a Model does.
        """
        opened = self._open()
        return runtimes.unit(opened.infer(opened.tokens.of(text)), self.model.text_onnx)

    def embed_many(self, texts: Sequence[str]) -> Vectors:
        """The unit vectors, float32 [n, dimension], of texts. Raises as `embed` does."""
        out = np.empty((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            out[row] = self.embed(text)
        return out

    def tokens(self, text: str) -> Ids:
        """What the tower gets of a text: int32 or int64 [context], cut and padded."""
        ids: Ids = self._open().tokens.of(text)[0][0]
        return ids

    def _open(self) -> "_Opened":
        with self._lock:  # the first words of several threads open it once
            if self._opened is None:
                self._opened = _open(self.model, *self._wanted, self.threads)
            return self._opened


def open_text_embedder(settings: Settings, model: Model | None = None) -> TextEmbedder:
    """The TextEmbedder that the settings describe, for `model` or the Model that they name."""
    return TextEmbedder(
        model or open_model(settings.model),
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
    )


def word_embedder(model: Model) -> Callable[[Sequence[str]], Vectors] | None:
    """What embeds words; None where the Model has no text tower, or `tokenizers` is missing."""
    if model.manifest.text_tower is None or importlib.util.find_spec("tokenizers") is None:
        return None
    return TextEmbedder(model).embed_many


def text_tower(model: Model) -> TextTower:
    """How words go into a Model. Raises NoTextTowerError where it takes none."""
    tower = model.manifest.text_tower
    if tower is None:
        raise no_text_tower(model)
    return tower


def no_text_tower(model: Model) -> NoTextTowerError:
    """That the Model takes no words, and the way out."""
    return NoTextTowerError(
        f"the Model {model.manifest.name} has no text tower, so it takes photos only: "
        "get one that has (deepfood model list)"
    )


class Tokens:
    """Texts to a tower's numbers, by its `tokenizer.json`.

    The library is `tokenizers` of Hugging Face. What it is not asked for is done here: lower case,
    punctuation, cutting and padding, as `tower` says.
    """

    def __init__(self, file: Path, tower: TextTower) -> None:
        with reading_tokenizer(file):
            from tokenizers import Tokenizer

            self._tokenizer: Any = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._file, self._tower = file, tower
        largest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if largest >= tower.vocabulary:
            raise ArtifactCorruptError(
                f"{file} is the tokenizer of another network: it has a token {largest}, and the "
                f"text tower has {tower.vocabulary}"
            )

    def of(self, text: str) -> list[Ids]:
        """The tokens, [1, context], and the mask of the same shape where the tower wants one."""
        tower = self._tower
        numbers = self._numbers(_prepared(text, tower))
        if len(numbers) > tower.context:
            end = numbers[-1]
            numbers = numbers[: tower.context]
            if end == tower.end_id:
                numbers[-1] = end
        padding = [tower.pad_id] * (tower.context - len(numbers))
        mask = [1] * len(numbers)
        if tower.pad_side == "right":
            numbers, mask = numbers + padding, mask + [0] * len(padding)
        else:
            numbers, mask = padding + numbers, [0] * len(padding) + mask
        rows = [numbers, mask] if tower.attention_mask else [numbers]
        return [np.array([row], tower.id_type) for row in rows]

    def _numbers(self, text: str) -> list[int]:
        with reading_tokenizer(self._file):
            numbers: list[int] = self._tokenizer.encode(text).ids
        return numbers


def _prepared(text: str, tower: TextTower) -> str:
    if len(text) > MAX_LETTERS:
        raise QueryError(
            f"the words have {len(text):,} letters, and {MAX_LETTERS:,} are the most", "words"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError(
            "the words are not Unicode: they hold half of a surrogate pair", "words"
        ) from None
    if tower.canonicalise:  # big_vision's canonicalize_text
        text = " ".join(text.replace("_", " ").translate(_NO_PUNCTUATION).split())
    return text.lower() if tower.lowercase else text


class _Opened:
    """A text tower in memory."""

    def __init__(self, tokens: Tokens, infer: Infer, precision: str) -> None:
        self.tokens = tokens
        self.infer = infer
        self.precision = precision


def _open(
    model: Model, runtime: Runtime, precision: Precision, compare: bool, threads: int
) -> _Opened:
    model.manifest.check_every_byte(model.folder, model.manifest.text_files)
    tokens = Tokens(model.tokenizer, text_tower(model))
    name = choose_runtime(runtime)
    golden = Golden.of(model) if compare else None

    def start(precision: Precision) -> _Opened:
        begin = _start_openvino if name == "openvino" else _start_onnxruntime
        return _Opened(tokens, *begin(model, precision, threads))

    def gives(opened: _Opened, golden: Golden) -> bool:
        each = [
            runtimes.unit(opened.infer(tokens.of(one)), model.text_onnx) for one in golden.texts
        ]
        found = np.stack(each)
        return check_golden(model, "text", golden.text_vectors, found, opened.precision)

    opened = start(precision)
    if golden and not gives(opened, golden):
        opened = start("f32")
        gives(opened, golden)
    return opened


def _start_openvino(model: Model, precision: Precision, threads: int) -> tuple[Infer, str]:
    ov = runtimes.openvino()
    core = ov.Core()
    computed_in = runtimes.openvino_precision(core, precision)
    tower = text_tower(model)
    try:
        network = core.read_model(model.text_onnx)
        network.reshape({value: [1, tower.context] for value in network.inputs})
        compiled = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": computed_in,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            },
        )
    except RuntimeError as error:
        raise unusable(model.text_onnx, error) from error
    runtimes.check_output(model.text_onnx, compiled.output(0).shape, model.manifest.dimension)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    requests.put(compiled.create_infer_request())

    def infer(inputs: list[Ids]) -> Vector:
        request = requests.get()
        try:
            request.infer(dict(enumerate(inputs)))
            return np.array(request.get_output_tensor().data[0], np.float32)
        finally:
            requests.put(request)

    return infer, computed_in


def _start_onnxruntime(model: Model, precision: Precision, threads: int) -> tuple[Infer, str]:
    ort = runtimes.onnxruntime()
    computed_in = runtimes.onnxruntime_precision(precision)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.text_onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise unusable(model.text_onnx, error) from error
    names = [one.name for one in session.get_inputs()]

    def infer(inputs: list[Ids]) -> Vector:
        found = np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0], np.float32)
        runtimes.check_output(model.text_onnx, found.shape, model.manifest.dimension)
        vector: Vector = found[0]
        return vector

    return infer, computed_in
