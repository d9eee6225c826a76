"""verify finds every missing, orphan or altered row and file; --repair mends what can be mended."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import Settings
from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError
from deepfood.index import IndexSpec
from deepfood.info import repair_gallery
from deepfood.local import LocalGallery
from deepfood.local.add import add_photos
from deepfood.local.verify import gallery_problems
from deepfood.place import Place
from plates import build, jpeg, sha256, write_photos

ADDED = sha256(jpeg(100))


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    """Rows 0 to 11 are built, 12 was added; a copy is skipped."""
    (write_photos(tmp_path / "photos", 12) / "z-copy.jpg").write_bytes(jpeg(1))
    build(tmp_path / "photos", tmp_path / "gallery", embedder, IndexSpec(kind="hnsw"))
    new = write_photos(tmp_path / "new", 1, start=100)
    add_photos(tmp_path / "gallery", [new], embedder, label="soup", quiet=True)
    return tmp_path / "gallery"


def problems(gallery: Path) -> list[str]:
    return list(gallery_problems(gallery, quiet=True))


def mend(gallery: Path, model: Path | None = None) -> tuple[list[str], list[str]]:
    return repair_gallery(Place.parse(gallery), Settings(model=model), quiet=True)


def sql(gallery: Path, statement: str) -> None:
    with sqlite3.connect(next(gallery.glob("*/catalogue.sqlite"))) as db:
        db.execute(statement)
    db.close()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def vectors(gallery: Path) -> Path:
    return next(gallery.glob("*/vectors.f32"))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def wreck(gallery: Path, name: str) -> None:
    """Make the first page of a table or index of the catalogue none that SQLite could read."""
    catalogue = next(gallery.glob("*/catalogue.sqlite"))
    with sqlite3.connect(catalogue) as db:
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
        ((size,),) = db.execute("PRAGMA page_size")
    db.close()
    data = bytearray(catalogue.read_bytes())
    data[(page - 1) * size : (page - 1) * size + 12] = b"\xff" * 12
    catalogue.write_bytes(data)


ROW = 192 * 4

#: What is done to a gallery, what verify says of it, and what repair says that it did.
DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "vector": (lambda g: flip(vectors(g), 3 * ROW + 5), "vector of row 3 is altered", "row 3"),
    "added vector": (lambda g: flip(vectors(g), 12 * ROW), "vector of row 12 is", "row 12"),
    "vectors cut": (lambda g: cut(vectors(g), 11 * ROW + 7), "vector of row 11 is", "row 11"),
    "vectors gone": (lambda g: vectors(g).unlink(), "vector of row 0 is missing", "row 0"),
    "row": (
        lambda g: sql(g, "UPDATE photos SET label = 'x' WHERE row = 4"),
        "row 4 of the catalogue .* altered",
        "row 4",
    ),
    "row's hash": (
        lambda g: sql(g, "UPDATE photos SET sha256 = replace(sha256, 'a', 'b') WHERE row = 4"),
        "row 4 of the catalogue .* altered",
        "row 4",
    ),
    "row gone": (
        lambda g: sql(g, "DELETE FROM photos WHERE row = 5"),
        "row 5 of the catalogue is missing",
        "row 5 is taken out",
    ),
    "skipped": (
        lambda g: sql(g, "UPDATE skipped SET reason = 'x'"),
        "skipped file z-copy.jpg is altered",
        "z-copy.jpg is forgotten",
    ),
    "page of an index": (
        lambda g: wreck(g, "photos_label"),
        "the catalogue: ",
        "tables are written again|indexes are built again",
    ),
    "page of a primary key": (
        lambda g: wreck(g, "sqlite_autoindex_skipped_1"),
        "the catalogue: ",
        "tables are written again|indexes are built again",
    ),
    "page of the words": (
        lambda g: wreck(g, "written_idx"),
        "the catalogue: |index of words is damaged",
        "tables are written again|indexes are built again",
    ),
    "page of the words' settings": (
        lambda g: wreck(g, "word_parts_config"),
        "the catalogue: |index of words is damaged",
        "tables are written again|indexes are built again",
    ),
    "index": (lambda g: flip(next(g.glob("*/index*")), 99), "differs from its", "index is built"),
    "index gone": (lambda g: next(g.glob("*/index*")).unlink(), "missing", "index is built"),
    "model": (lambda g: flip(next(g.glob("models/*/*.onnx")), 9), "copy of the Model", "Model is"),
    "model gone": (lambda g: shutil.rmtree(g / "models"), "copy of the Model", "Model is made"),
    "orphan photo": (
        lambda g: (g / "photos" / ADDED[:2] / ("0" * 64)).write_bytes(b"x"),
        "not a photo of the gallery",
        r"kept in lost\+found",
    ),
    "checkpoint": (
        lambda g: (g / "journal/checkpoint-000000000001.jsonl").write_bytes(b"{}\n"),
        "the checkpoint checkpoint-000000000001.jsonl: ",
        "checkpoint",
    ),
    "old generation": (lambda g: (g / "generation-000000").mkdir(), "nothing that lives", "delet"),
    "old index": (
        lambda g: next(g.glob("generation*")).joinpath("index-000000001.faiss").touch(),
        "nothing that lives",
        "is deleted",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_mended(
    what: str, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    assert problems(gallery) == []
    damage, said, did = DAMAGE[what]
    damage(gallery)
    found = problems(gallery)
    assert found
    assert any(re.search(said, line) for line in found), found
    done, left = mend(gallery, tmp_path / "model")
    assert any(re.search(did, line) for line in done), done
    assert left == [] == problems(gallery)
    with LocalGallery.open(gallery, embedder.model) as opened:
        for seed in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 100):
            hit = opened.search(embedder.embed(jpeg(seed)), 1)[0]
            assert hit.photo.id == sha256(jpeg(seed))[:20]
            assert opened.read(hit.photo) == jpeg(seed)
        assert opened.photo(ADDED[:20]).label == "soup"
        assert opened.photo(ADDED[:20]).added
    assert build(tmp_path / "photos", gallery, embedder).count == 13, "and a build finds the rest"


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_what_cannot_be_mended_is_said_and_left(
    what: str, gallery: Path, embedder: Embedder
) -> None:
    path = gallery / "photos" / ADDED[:2] / ADDED
    if what == "changed":
        flip(path, 50)
    else:
        path.unlink()
    flip(vectors(gallery), 12 * ROW)
    expected = {"the vector of row 12 is altered"}
    assert expected < set(problems(gallery))
    assert any(ADDED[:20] in line for line in problems(gallery))
    done, left = mend(gallery)
    assert not any("row 12" in line for line in done)
    assert expected < set(left)


def test_an_altered_row_is_never_answered_with(gallery: Path, embedder: Embedder) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        sql(gallery, "UPDATE photos SET file = '../secret.jpg' WHERE row = 4")
        with pytest.raises(ArtifactCorruptError, match=r"row 4 .* altered.*--repair"):
            opened.search(embedder.embed(jpeg(4)), 1)


def test_altered_vectors_are_found_on_opening(gallery: Path, embedder: Embedder) -> None:
    flip(vectors(gallery), 5)
    with pytest.raises(ArtifactCorruptError, match="1 vector is altered, row 0 first"):
        LocalGallery.open(gallery, embedder.model)


def test_vectors_of_another_kind_of_storage_are_mended_too(
    tmp_path: Path, embedder: Embedder
) -> None:
    from deepfood.data.photos import list_photos
    from deepfood.local import build_gallery

    photos, out = write_photos(tmp_path / "photos", 5), tmp_path / "g"
    for storage in ("f16", "i8"):
        build_gallery(list_photos(photos), out, embedder, IndexSpec(), storage, quiet=True)
        path = next(out.glob(f"*/vectors.{storage}"))
        whole = path.read_bytes()
        flip(path, len(whole) // 2)
        assert problems(out) == ["the vector of row 2 is altered"]
        assert mend(out)[1] == []
        np.testing.assert_array_equal(
            np.frombuffer(path.read_bytes(), "u1"), np.frombuffer(whole, "u1")
        )
