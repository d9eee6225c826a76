"""Nothing is made of bytes that were altered: it would get a checksum of its own, and look whole.

Galleries here are opened as large ones are, whose vectors and index are not read to open them.
"""

from pathlib import Path

import pytest

from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest
from deepfood.local.add import add_photos
from deepfood.local.reindex import reindex
from deepfood.local.renew import RENEWING, reembed
from deepfood.local.repair import repair
from deepfood.local.verify import gallery_problems
from deepfood.model import open_model
from plates import Counting, build, tiny_embedder, write_photos

COUNT = 30


@pytest.fixture(autouse=True)
def as_with_many_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfood.artifacts.CHECK_ON_OPEN_BYTES", 0)
    monkeypatch.setattr("deepfood.local.snapshot.CHECK_ON_OPEN_BYTES", 0)


def flip(path: Path, at: int) -> None:
    contents = bytearray(path.read_bytes())
    contents[at] ^= 1
    path.write_bytes(contents)


def flip_vector(folder: Path, row: int) -> None:
    """A bit of the last byte of a row's vector."""
    [path] = folder.glob("vectors.*")
    row_bytes = path.stat().st_size // (COUNT + 5)
    flip(path, row_bytes * (row + 1) - 1)


def with_tail(tmp_path: Path, embedder: Embedder, kind: str) -> Path:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", COUNT), out, embedder, IndexSpec(kind=kind))
    add_photos(out, [write_photos(tmp_path / "new", 5, start=100)], embedder, quiet=True)
    return out


@pytest.mark.parametrize("kind", ["hnsw", "annoy"])
@pytest.mark.parametrize("row", [3, COUNT + 2])
def test_no_index_is_made_of_altered_vectors(
    row: int, kind: str, tmp_path: Path, embedder: Embedder
) -> None:
    out = with_tail(tmp_path, embedder, kind)
    flip_vector(LocalManifest.read(out).folder(out), row)
    LocalGallery.open(out, embedder.model).close()
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(ArtifactCorruptError, match=rf"row {row} first: run deepfood verify"):
        reindex(out, quiet=True)
    assert (out / "manifest.json").read_bytes() == before
    _, left = repair(out, [embedder.model], lambda model: embedder, quiet=True)
    assert left == []
    assert reindex(out, quiet=True)
    assert list(gallery_problems(out, quiet=True)) == []


def test_an_altered_index_is_not_grown(tmp_path: Path, embedder: Embedder) -> None:
    out = with_tail(tmp_path, embedder, "hnsw")
    [index] = LocalManifest.read(out).folder(out).glob("index-*")
    flip(index, index.stat().st_size // 2)
    with pytest.raises(ArtifactCorruptError, match=r"differs from its SHA-256"):
        reindex(out, quiet=True)
    assert any("differs from its SHA-256" in one for one in gallery_problems(out, quiet=True))


def test_repair_makes_no_index_of_a_vector_that_it_cannot_mend(
    tmp_path: Path, embedder: Embedder
) -> None:
    out = with_tail(tmp_path, embedder, "hnsw")
    folder = LocalManifest.read(out).folder(out)
    [index] = folder.glob("index-*")
    flip(index, index.stat().st_size // 2)
    flip_vector(folder, 3)
    photo = tmp_path / "photos/plate-00003.jpg"
    away = photo.rename(tmp_path / "away.jpg")
    models = [embedder.model]
    _, left = repair(out, models, lambda model: embedder, quiet=True)
    assert any("vector of row 3" in one for one in left)
    assert any("differs from its SHA-256" in one for one in left)
    away.rename(photo)
    _, left = repair(out, models, lambda model: embedder, quiet=True)
    assert left == []


@pytest.mark.parametrize("what", ["vector", "catalogue"])
def test_what_was_altered_in_unfinished_work_is_embedded_again(
    what: str, tmp_path: Path, embedder: Embedder
) -> None:
    out = with_tail(tmp_path, embedder, "hnsw")
    new = Counting(tiny_embedder(tmp_path / "new-model", pool=4))
    reembed(out, new, swap=False, quiet=True)
    embedded = new.asked
    if what == "vector":
        flip_vector(out / RENEWING, 7)
    else:
        catalogue = out / RENEWING / "catalogue.sqlite"
        catalogue.write_bytes(catalogue.read_bytes()[:5000])
    reembed(out, new, quiet=True)
    assert new.asked - embedded == (1 if what == "vector" else COUNT + 5)
    assert list(gallery_problems(out, quiet=True)) == []


def test_a_large_model_is_read_whole_before_it_embeds(tmp_path: Path, embedder: Embedder) -> None:
    onnx = embedder.model.onnx
    flip(onnx, onnx.stat().st_size // 2)
    with pytest.raises(ArtifactCorruptError, match=r"differs from its SHA-256"):
        open_model(embedder.model.folder)
