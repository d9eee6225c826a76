"""Words to vectors: what the text tower gets, when it is opened, and what is refused."""

import io
import logging
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deepfood.artifacts import FileRecord
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactCorruptError,
    MissingExtraError,
    NoTextTowerError,
    QueryError,
)
from deepfood.model import TextTower, open_model
from deepfood.model.artifact import GOLDEN, TEXT_ONNX, TOKENIZER
from deepfood.model.golden import (
    TEXTS,
    Golden,
    check_golden,
    golden_photos,
    least_cosine,
    write_golden,
)
from deepfood.model.tokenizer_file import reading_tokenizer
from deepfood.words import MAX_LETTERS, TextEmbedder, Tokens
from plates import LIMITS, jpeg, write_tiny_model
from text_models import (
    BEGIN,
    COLOURS,
    END,
    PAD,
    UNKNOWN,
    VOCABULARY,
    tokenizer,
    with_more_tokens,
    write_colour_model,
)

RUNTIMES = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_model(tmp_path_factory.mktemp("colours"))


def photo(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (90, 70), colour).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("ids", ["int32", "int64"])
def test_a_word_is_nearest_to_the_photo_that_it_names(
    tmp_path: Path, runtime: str, mask: bool, ids: str
) -> None:
    model = open_model(write_colour_model(tmp_path, attention_mask=mask, id_type=ids))
    words = TextEmbedder(model, runtime=runtime)  # type: ignore[arg-type]
    photos = Embedder(model, LIMITS, runtime=runtime)  # type: ignore[arg-type]
    texts = words.embed_many(list(COLOURS))
    assert texts.dtype == np.float32
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    seen = np.stack([photos.embed(photo(colour)) for colour in COLOURS.values()])
    assert (texts @ seen.T).argmax(axis=1).tolist() == list(range(len(COLOURS)))


def test_the_tower_is_opened_by_the_first_words_and_checked_then(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    graph = folder / TEXT_ONNX
    altered = bytearray(graph.read_bytes())
    altered[len(altered) // 2] ^= 1
    graph.write_bytes(altered)
    model = open_model(folder)  # photos need none of it
    Embedder(model, LIMITS).embed(jpeg(1))
    words = TextEmbedder(model)
    assert not words.is_open
    with pytest.raises(ArtifactCorruptError, match=r"text\.onnx differs from its SHA-256"):
        words.embed("red")
    assert not words.is_open


def test_a_tower_that_is_cut_short_is_seen_at_once(tmp_path: Path) -> None:
    graph = write_colour_model(tmp_path) / TEXT_ONNX
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(ArtifactCorruptError, match=r"text\.onnx has \d+ bytes"):
        open_model(tmp_path)


def test_what_the_tower_gets(colours: Path) -> None:
    words = TextEmbedder(open_model(colours))
    red, green = VOCABULARY.index("red"), VOCABULARY.index("green")
    assert words.tokens("Red GREEN").tolist() == [BEGIN, red, green, END, PAD, PAD]
    assert words.tokens("").tolist() == [BEGIN, END, PAD, PAD, PAD, PAD]
    assert words.tokens("red " * 50).tolist() == [BEGIN, red, red, red, red, END]
    assert words.tokens("beige").tolist() == [BEGIN, UNKNOWN, END, PAD, PAD, PAD]


def test_padding_on_the_left_and_a_mask(tmp_path: Path) -> None:
    tower = {"pad_side": "left", "attention_mask": True}
    model = open_model(write_colour_model(tmp_path, **tower))  # type: ignore[arg-type]
    settings = model.manifest.text_tower
    assert settings is not None
    red = VOCABULARY.index("red")
    ids, mask = Tokens(model.tokenizer, settings).of("red")
    assert ids.tolist() == [[PAD, PAD, PAD, BEGIN, red, END]]
    assert mask.tolist() == [[0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("canonicalise", "text", "wanted"),
    [
        (True, "  Red_green,  (blue)! ", ["red", "green", "blue"]),
        (False, "red, green", [None, "green"]),
    ],
)
def test_punctuation(
    tmp_path: Path, canonicalise: bool, text: str, wanted: list[str | None]
) -> None:
    model = open_model(write_colour_model(tmp_path, canonicalise=canonicalise))
    tokens = TextEmbedder(model).tokens(text).tolist()
    found = tokens[1 : tokens.index(END)]
    assert found == [UNKNOWN if one is None else VOCABULARY.index(one) for one in wanted]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.data())
def test_any_text_fits(tokens_file: Path, text: str, data: st.DataObject) -> None:
    tower = TextTower(
        context=data.draw(st.integers(2, 12)),
        pad_id=PAD,
        end_id=data.draw(st.sampled_from([None, END])),
        pad_side=data.draw(st.sampled_from(["left", "right"])),
        attention_mask=True,
        canonicalise=data.draw(st.booleans()),
        vocabulary=len(VOCABULARY),
    )
    ids, mask = Tokens(tokens_file, tower).of(text)
    assert ids.shape == mask.shape == (1, tower.context)
    used = int(mask.sum())
    real = ids[0, :used] if tower.pad_side == "right" else ids[0, tower.context - used :]
    assert real[0] == BEGIN
    if tower.end_id is not None or used < tower.context:
        assert real[-1] == END
    padding = np.setdiff1d(np.arange(tower.context), np.flatnonzero(mask[0]))
    assert (ids[0, padding] == PAD).all()


@pytest.fixture(scope="module")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / TOKENIZER
    tokenizer().save(str(path))
    return path


@pytest.mark.parametrize("text", ["\ud800", "red \udfff"])
def test_half_a_surrogate_pair_is_refused(colours: Path, text: str) -> None:
    with pytest.raises(QueryError, match="surrogate"):
        TextEmbedder(open_model(colours)).embed(text)


def test_too_many_letters_are_refused(colours: Path) -> None:
    words = TextEmbedder(open_model(colours))
    assert words.embed("a" * MAX_LETTERS).shape == (words.dimension,)
    with pytest.raises(QueryError, match=r"100,001 letters, and 100,000 are the most"):
        words.embed("a" * (MAX_LETTERS + 1))


def test_a_model_of_photos_only(tmp_path: Path) -> None:
    with pytest.raises(NoTextTowerError, match="has no text tower"):
        TextEmbedder(open_model(write_tiny_model(tmp_path)))


def test_the_tokenizer_of_another_network(colours: Path, tmp_path: Path) -> None:
    other = tmp_path / TOKENIZER
    other.write_bytes(with_more_tokens((colours / TOKENIZER).read_bytes()))
    tower = open_model(colours).manifest.text_tower
    assert tower is not None
    with pytest.raises(ArtifactCorruptError, match="tokenizer of another network"):
        Tokens(other, tower)


@pytest.mark.parametrize("text", ["", "<html>", "{}", '{"model": 7}'])
def test_what_is_no_tokenizer(colours: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / TOKENIZER).write_text(text)
    tower = open_model(colours).manifest.text_tower
    assert tower is not None
    with pytest.raises(ArtifactCorruptError, match="cannot be read as a tokenizer"):
        Tokens(tmp_path / TOKENIZER, tower)


def test_without_the_extra(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(colours)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    Embedder(model, LIMITS).embed(jpeg(1))
    with pytest.raises(MissingExtraError, match=r"\[words\]"):
        TextEmbedder(model).embed("red")


def golden_model(folder: Path) -> Path:
    model = open_model(write_colour_model(folder))
    photos = Embedder(model, LIMITS, precision="f32")
    words = TextEmbedder(model, precision="f32")
    seen = np.stack([photos.embed(data) for data in golden_photos()])
    write_golden(folder, seen, words.embed_many(TEXTS))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_golden_vectors_are_given_again(tmp_path: Path, runtime: str) -> None:
    model = open_model(golden_model(tmp_path))
    assert GOLDEN in model.manifest.files
    Embedder(model, LIMITS, runtime=runtime)  # type: ignore[arg-type]
    TextEmbedder(model, runtime=runtime).embed("red")  # type: ignore[arg-type]


def test_golden_vectors_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    model = open_model(write_colour_model(tmp_path))
    model = replace(model, manifest=write_golden(tmp_path, np.ones((3, 1), np.float32), None))
    golden = tmp_path / GOLDEN
    for text in ("{", "[]"):
        golden.write_text(text)
        with pytest.raises(ArtifactCorruptError, match=r"golden\.json cannot be read: .+") as told:
            Golden.of(model)
        assert "\n" not in str(told.value)
    golden.unlink()
    with pytest.raises(ArtifactCorruptError, match=r"cannot be read: .*No such file"):
        Golden.of(model)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_of_words_that_a_runtime_does_not_take_is_named(
    runtime: Any, tmp_path: Path
) -> None:
    model = open_model(write_colour_model(tmp_path))
    network = onnx.load(model.text_onnx)
    network.graph.node[0].op_type = "Twist"
    onnx.save(network, model.text_onnx)
    files = {**model.manifest.files, TEXT_ONNX: FileRecord.of(model.text_onnx)}
    model.manifest.model_copy(update={"files": files}).write(tmp_path)
    with pytest.raises(ArtifactCorruptError, match=r"text\.onnx cannot be loaded: .*Twist"):
        TextEmbedder(open_model(tmp_path), runtime=runtime).embed("red")


def test_ctrl_c_while_a_tokenizer_is_read_is_no_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reading_tokenizer(tmp_path / "tokenizer.json"):
        raise KeyboardInterrupt


def test_no_golden_photo_is_square_and_they_never_change() -> None:
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in golden_photos()]
    assert all(one.shape[0] != one.shape[1] for one in pixels)
    together = sha256(b"".join(one.tobytes() for one in pixels)).hexdigest()
    assert together == "242f1dbfdf7ed8a29dccabf16c4029afc6efd5374d75524a69adad806c0da534"


@pytest.mark.slow
def test_a_model_that_gives_other_vectors_is_refused(tmp_path: Path) -> None:
    folder = golden_model(tmp_path)
    golden = Golden.of(open_model(folder))
    assert golden is not None
    # As if here another way of resizing or another tokenizer were at work.
    write_golden(folder, np.roll(golden.photo_vectors, 1, axis=1), golden.text_vectors)
    with pytest.raises(ArtifactCorruptError, match=r"other photo vectors here .*cosine 0\.\d"):
        Embedder(open_model(folder), LIMITS, precision="f32")
    write_golden(folder, golden.photo_vectors, np.roll(golden.text_vectors, 1, axis=1))
    model = open_model(folder)
    Embedder(model, LIMITS, precision="f32")
    with pytest.raises(ArtifactCorruptError, match="other text vectors here"):
        TextEmbedder(model, precision="f32").embed("red")


def test_a_precision_that_loses_too_much_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = open_model(golden_model(tmp_path))
    golden = Golden.of(model)
    assert golden is not None
    near = golden.photo_vectors.copy()
    near[1] = turned(near[1], 0.994)
    assert least_cosine(golden.photo_vectors, near) == pytest.approx(0.994, abs=1e-4)
    with caplog.at_level(logging.WARNING):
        assert not check_golden(model, "photo", golden.photo_vectors, near, "bf16")
    assert "in bf16 than in f32 (cosine 0.9940" in caplog.text
    near[1] = turned(golden.photo_vectors[1], 0.996)
    assert check_golden(model, "photo", golden.photo_vectors, near, "bf16")
    with pytest.raises(ArtifactCorruptError):
        check_golden(model, "photo", golden.photo_vectors, near, "f32")


def turned(vector: np.ndarray, cosine: float) -> np.ndarray:  # type: ignore[type-arg]
    """A unit vector at that cosine to `vector`."""
    other = np.roll(vector, 1)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    result: np.ndarray = cosine * vector + np.sqrt(1 - cosine**2) * other  # type: ignore[type-arg]
    return result.astype(np.float32)


def test_vectors_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = open_model(golden_model(tmp_path))
    golden = Golden.of(model)
    assert golden is not None
    broken = np.full_like(golden.photo_vectors, np.nan)
    with pytest.raises(ArtifactCorruptError):
        check_golden(model, "photo", golden.photo_vectors, broken, "f32")


def test_golden_vectors_of_another_model(tmp_path: Path) -> None:
    folder = golden_model(tmp_path)
    write_golden(folder, np.ones((3, 5), np.float32), None)
    model = open_model(folder)
    with pytest.raises(ArtifactCorruptError, match="of another Model"):
        Golden.of(model)


def test_words_change_no_fingerprint(tmp_path: Path) -> None:
    plain = open_model(write_tiny_model(tmp_path / "plain"))
    worded = open_model(golden_model(tmp_path / "words"))
    assert worded.fingerprint == plain.fingerprint
