"""The cache of releases is not believed: what is damaged there, or another's, is fetched again."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from shelves import settings

from deepfood.errors import StorageError
from deepfood.local import LocalGallery
from deepfood.local.add import add_photos
from deepfood.release.cached import CachedReleases, cached, open_cached
from deepfood.release.objects import blob_key
from deepfood.release.pull import Origin, changed_since
from deepfood.release.push import push
from deepfood.release.shelf import Shelf
from live import run_here
from plates import build, tiny_embedder, write_photos


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Releases `one`, of 3 photos, and `two`, of 4."""
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    embedder = tiny_embedder(tmp_path / "model")
    gallery, shelf = tmp_path / "gallery", tmp_path / "shelf"
    build(write_photos(tmp_path / "photos", 3), gallery, embedder)
    push(gallery, str(shelf), settings(), name="one", quiet=True)
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=50)], embedder, quiet=True)
    push(gallery, str(shelf), settings(), name="two", quiet=True)
    return shelf


def flip(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def file_of(folder: Path, pattern: str) -> Path:
    return next(folder.glob(pattern))


def replace_by_other(folder: Path) -> None:
    other = cached(str(folder.parents[3] / "shelf@one"), settings())
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"no folder")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "manifest": lambda folder: flip(folder / "manifest.json"),
    "manifest-of-model": lambda folder: flip(file_of(folder, "models/*/manifest.json")),
    "short-vectors": lambda folder: cut(file_of(folder, "generation-*/vectors.f32")),
    "no-catalogue": lambda folder: file_of(folder, "generation-*/catalogue.sqlite").unlink(),
    "no-journal": lambda folder: shutil.rmtree(folder / "journal"),
    "no-origin": lambda folder: (folder / "release.json").unlink(),
    "another-release": replace_by_other,
    "empty": lambda folder: (shutil.rmtree(folder), folder.mkdir())[0],  # type: ignore[func-returns-value]
    "a-file": replace_by_file,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_release_in_the_cache_is_fetched_again(shelf: Path, damage: str) -> None:
    folder = cached(str(shelf), settings())
    before = folder.stat().st_ino
    assert cached(str(shelf), settings()).stat().st_ino == before, "whole, it is left as it is"
    DAMAGES[damage](folder)
    assert cached(str(shelf), settings()) == folder
    origin = Origin.of(folder)
    assert origin is not None
    assert origin.release.name == "two"
    assert list(changed_since(folder, origin.release)) == []
    with LocalGallery.open(folder) as gallery:
        assert gallery.count == 4


def test_a_byte_that_is_seen_by_reading_all_is_found_by_verify(shelf: Path) -> None:
    folder = cached(str(shelf), settings())
    flip(file_of(folder, "generation-*/vectors.f32"))
    assert run_here("verify", shelf) == 0
    origin = Origin.of(folder)
    assert origin is not None
    assert list(changed_since(folder, origin.release)) == []


def test_a_damaged_release_stands_in_for_none(shelf: Path, tmp_path: Path) -> None:
    releases = CachedReleases(str(shelf), settings(), quiet=True)
    folder = releases.resolve()
    releases.mark_good(folder)
    assert releases.last_good() == folder
    (shelf / "latest").unlink()
    assert cached(str(shelf), settings()) == folder, "whole, it does"
    cut(file_of(folder, "generation-*/vectors.f32"))
    assert releases.last_good() is None
    with pytest.raises(StorageError):
        cached(str(shelf), settings())


def test_where_no_release_can_be_pulled_the_latest_fault_is_told(
    shelf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Shelf.open(str(shelf), settings())
    for name in ("one", "two"):
        chunk = opened.read(name).files["manifest.json"].chunks[0]
        opened.bucket.write(blob_key(chunk), b"damaged")
    with caplog.at_level(logging.WARNING), pytest.raises(StorageError) as told:
        open_cached(str(shelf), settings(), LocalGallery.open, quiet=True)
    latest, before = (opened.read(name).files["manifest.json"].chunks[0] for name in ("two", "one"))
    assert blob_key(latest) in str(told.value)
    assert blob_key(before) in caplog.text, "the release before was tried"


def test_a_release_that_nobody_has_opened_for_an_hour_leaves_the_cache(shelf: Path) -> None:
    one = cached(f"{shelf}@one", settings())
    cached(f"{shelf}@two", settings())
    assert one.is_dir()
    os.utime(one, (0, 0))
    shutil.rmtree(cached(f"{shelf}@two", settings()))
    assert cached(f"{shelf}@two", settings()).is_dir()
    assert not one.exists()


def test_a_release_that_another_process_has_pulled_meanwhile_is_taken(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = (CachedReleases(str(shelf), settings(), quiet=True) for _ in range(2))
    alone, pulled = own._only_one, list[int]()

    @contextmanager
    def second() -> Iterator[None]:
        pulled.append(other.resolve().stat().st_ino)
        with alone():
            yield

    monkeypatch.setattr(own, "_only_one", second)
    assert [own.resolve().stat().st_ino] == pulled
