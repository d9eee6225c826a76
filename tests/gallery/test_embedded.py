"""Cached embeddings: nothing is embedded twice, nothing stale or damaged is used."""

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import DatasetError, SettingError
from deepfood.local.embedding_cache import Embedded, embed_dataset
from deepfood.local.store import CATALOGUE
from deepfood.photo import Pixels
from plates import LIMITS, jpeg, sha256, tiny_embedder, write_photos


class Counting(Embedder):
    """An Embedder that counts the photos it sees."""

    seen = 0

    def infer(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        self.seen += 1
        return super().infer(pixels)


@pytest.fixture
def embedder(tmp_path: Path) -> Counting:
    return Counting(tiny_embedder(tmp_path / "model").model, LIMITS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 6)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def embed(photos: Path, embedder: Embedder, cache: Path) -> Embedded:
    return embed_dataset(list_photos(photos), embedder, cache, quiet=True)


def stored(cache: Path, name: str) -> Path:
    (path,) = cache.glob(f"embeddings/*/{name}")
    return path


def assert_right(found: Embedded, photos: Path, embedder: Embedder) -> None:
    """Every row is what its file gives when it is embedded now."""
    for row, file in enumerate(found.files):
        data = (photos / file.file).read_bytes()
        assert np.array_equal(found.vectors[row], embedder.embed(data)), file.file
        assert found.sha256[row] == sha256(data)


def test_nothing_is_embedded_twice(photos: Path, embedder: Counting, cache: Path) -> None:
    first = embed(photos, embedder, cache)
    assert (embedder.seen, first.embedded) == (6, 6)
    again = embed(photos, embedder, cache)
    assert (embedder.seen, again.embedded) == (6, 0)
    assert again.files == first.files
    assert np.array_equal(again.vectors, first.vectors)
    assert_right(again, photos, embedder)


def test_only_what_is_new_or_changed_is_embedded(
    photos: Path, embedder: Counting, cache: Path
) -> None:
    embed(photos, embedder, cache)
    write_photos(photos, 1, start=6)
    changed = photos / "plate-00002.jpg"
    changed.write_bytes(jpeg(77))
    found = embed(photos, embedder, cache)
    assert (embedder.seen, found.embedded) == (8, 2)
    assert_right(found, photos, embedder)


def test_a_photo_that_was_replaced_by_one_of_the_same_size(
    photos: Path, embedder: Counting, cache: Path
) -> None:
    path = photos / "plate-00001.jpg"
    embed(photos, embedder, cache)
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 123_456_789))
    found = embed(photos, embedder, cache)
    assert found.embedded == 1
    assert_right(found, photos, embedder)


def test_another_model_or_folder_has_a_cache_of_its_own(
    photos: Path, embedder: Counting, cache: Path, tmp_path: Path
) -> None:
    embed(photos, embedder, cache)
    other = Counting(tiny_embedder(tmp_path / "other", pool=16).model, LIMITS)
    assert embed(photos, other, cache).vectors.shape == (6, 48)
    moved = shutil.copytree(photos, tmp_path / "moved")
    (moved / "plate-00000.jpg").write_bytes(jpeg(50))
    assert_right(embed(moved, embedder, cache), moved, embedder)
    assert len(list(cache.glob("embeddings/*"))) == 3


def test_another_number_format_has_a_cache_of_its_own(
    photos: Path, embedder: Counting, cache: Path
) -> None:
    embed(photos, embedder, cache)
    other = Embedder(embedder.model, LIMITS, runtime="onnxruntime")
    other.precision = "f32" if embedder.precision == "bf16" else "bf16"
    assert embed(photos, other, cache).embedded == 6


def test_unusable_photos_are_reported_and_looked_at_again_once_changed(
    photos: Path, embedder: Counting, cache: Path
) -> None:
    bad = photos / "plate-00003.jpg"
    good = bad.read_bytes()
    bad.write_bytes(good[:400])
    (photos / "text.jpg").write_text("no photo")
    (photos / "empty.jpg").touch()
    for embedded in (6 - 1 + 3, 0):  # known to be unusable, they are not read again
        found = embed(photos, embedder, cache)
        assert found.embedded == embedded
        assert [one.file for one in found.skipped] == ["empty.jpg", bad.name, "text.jpg"]
        assert all(one.reason for one in found.skipped)
        assert len(found.files) == len(found.vectors) == 5
    bad.write_bytes(good)
    for embedded in (1, 0):
        found = embed(photos, embedder, cache)
        assert found.embedded == embedded
        assert [one.file for one in found.skipped] == ["empty.jpg", "text.jpg"]
        assert_right(found, photos, embedder)
    (photos / "plate-00000.jpg").write_bytes(b"damaged since")
    found = embed(photos, embedder, cache)
    assert [one.file for one in found.skipped] == ["empty.jpg", "plate-00000.jpg", "text.jpg"]


def test_no_usable_photo_at_all(embedder: Counting, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_text("no photo")
    with pytest.raises(DatasetError, match=r"none of the 1 photo .* the first, a\.jpg: .*not JPEG"):
        embed(tmp_path / "photos", embedder, cache)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 800] = b"\xff" * 800
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nonsense(path: Path) -> None:
    path.write_bytes(b"nonsense " * 2000)


@pytest.mark.parametrize("name", [CATALOGUE, "vectors.f32"])
@pytest.mark.parametrize("damage", [cut, scramble, empty, nonsense, Path.unlink])
def test_a_damaged_cache_is_made_again(
    name: str, damage: object, photos: Path, embedder: Counting, cache: Path
) -> None:
    embed(photos, embedder, cache)
    damage(stored(cache, name))  # type: ignore[operator]
    found = embed(photos, embedder, cache)
    assert len(found.files) == 6
    assert_right(found, photos, embedder)
    assert embed(photos, embedder, cache).embedded == 0


def test_a_cache_that_can_be_no_folder(photos: Path, embedder: Counting, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"setting cache = .*file.*; name a folder"):
        embed(photos, embedder, tmp_path / "file")


def test_select_keeps_the_order_asked_for(photos: Path, embedder: Counting, cache: Path) -> None:
    (photos / "plate-00001.jpg").write_bytes(b"")
    found = embed(photos, embedder, cache)
    files = list_photos(photos).files
    chosen = found.select([files[4], files[1], files[0]])  # the second is not usable
    assert [file.file for file in chosen.files] == ["plate-00004.jpg", "plate-00000.jpg"]
    assert_right(chosen, photos, embedder)
