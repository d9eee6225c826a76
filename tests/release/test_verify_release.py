"""`verify` of a release reads every byte where it lies, and not the copy in the cache."""

from collections.abc import Callable
from pathlib import Path

import pytest
from shelves import settings, small_chunks

from deepfood.release.objects import blob_key
from deepfood.release.push import push
from deepfood.release.shelf import Shelf
from deepfood.release.verify import release_problems
from plates import build, jpeg, sha256, tiny_embedder, write_photos

pytestmark = pytest.mark.s3


@pytest.fixture(params=["s3", "folder"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A release of 5 photos, which the cache has a copy of."""
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    small_chunks(monkeypatch)
    url = str(tmp_path / "share")
    if request.param == "s3":
        url = f"{request.getfixturevalue('s3_bucket')}/food"
    gallery = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 5), gallery, tiny_embedder(tmp_path / "model"))
    push(gallery, url, settings(), name="one", quiet=True)
    assert verified(Shelf.open(url, settings())) == []
    return Shelf.open(url, settings())


def verified(shelf: Shelf) -> list[str]:
    return release_problems(shelf.bucket.url, settings(), quiet=True)


def flip(shelf: Shelf, key: str) -> None:
    data = bytearray(shelf.bucket.read(key))
    data[len(data) // 2] ^= 1
    shelf.bucket.write(key, bytes(data))


def lose(shelf: Shelf, key: str) -> None:
    shelf.bucket.delete(key)


FAULTS = [(flip, "is damaged"), (lose, "is missing")]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_every_piece_of_every_file_is_read(
    fault: Callable[[Shelf, str], None], said: str, shelf: Shelf
) -> None:
    release = shelf.read("one")
    chunks = {chunk for one in release.files.values() for chunk in one.chunks}
    assert len(chunks) > len(release.files)
    for chunk in chunks:
        key = blob_key(chunk)
        whole = shelf.bucket.read(key)
        fault(shelf, key)
        assert verified(shelf) == [
            f"{shelf.bucket.place(key)} {said}",
            "the artifact was not checked: delete the damaged objects, and push again",
        ]
        shelf.bucket.write(key, whole)
    assert verified(shelf) == []


@pytest.mark.parametrize("fault", [flip, lose])
def test_every_photo_is_read(fault: Callable[[Shelf, str], None], shelf: Shelf) -> None:
    for number in (1, 3):
        fault(shelf, blob_key(sha256(jpeg(number))))
    problems = verified(shelf)
    assert ["plate-00001.jpg" in problems[0], "plate-00003.jpg" in problems[1]] == [True, True]
    assert len(problems) == 2
    # And also where the files cannot be read.
    fault(shelf, blob_key(shelf.read("one").files["manifest.json"].chunks[0]))
    assert len(verified(shelf)) == 4


def test_the_list_of_photos_is_read(shelf: Shelf) -> None:
    listed = shelf.read("one").photos
    assert listed is not None
    lose(shelf, blob_key(listed.chunks[0]))
    assert [line.partition(":")[0] for line in verified(shelf)][1:] == [
        "its photos were not read",
        "the artifact was not checked",
    ]


def test_a_damaged_copy_in_the_cache_is_no_fault_of_the_release(
    shelf: Shelf, tmp_path: Path
) -> None:
    [vectors] = (tmp_path / "cache").rglob("one/*/vectors.f32")
    damaged = b"?" + vectors.read_bytes()[1:]
    vectors.write_bytes(damaged)
    assert verified(shelf) == []
    assert vectors.read_bytes() != damaged
