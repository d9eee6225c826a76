"""Decoded pictures are kept by content and size, within bounds, and change no training."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_loop import figures

from deepfood.data.photos import list_photos
from deepfood.photo import Preprocess
from deepfood.train.picture_cache import PictureCache, open_caches
from deepfood.train.run import Task, open_training
from plates import write_photos

Make = Callable[..., Task]
PREPROCESS = Preprocess(
    size=16, crop=0.8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
)
SIDE = 20
EACH = 3 * (SIDE**2 + 16**2)
DIGEST, OTHER = hashlib.sha256(b"a photo").digest(), hashlib.sha256(b"another").digest()


def some(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 4)


def opened(folder: Path, photos: Path, max_bytes: int = 2**20, size: int = 16):  # type: ignore[no-untyped-def]
    preprocess = PREPROCESS.model_copy(update={"size": size})
    return open_caches(folder / "cache", list_photos(photos), preprocess, max_bytes)


def test_a_picture_is_kept_by_its_photos_content(tmp_path: Path, photos: Path) -> None:
    with opened(tmp_path, photos) as caches:
        assert not caches.squeezed.holds(2, DIGEST)
        caches.squeezed.keep(2, DIGEST, some(0), (300, 200))
    with opened(tmp_path, photos) as caches:
        cache: PictureCache = caches.squeezed
        assert not cache.known.any()  # the photo may have changed since
        assert not cache.holds(2, OTHER)
        assert not cache.holds(1, DIGEST)
        assert cache.holds(2, DIGEST)
        assert cache.known.tolist() == [False, False, True, False]
        assert cache.sizes[2].tolist() == [300, 200]
        assert (cache.pictures[2] == some(0)).all()
        cache.keep(2, OTHER, some(1), (30, 20))
        assert not cache.holds(2, DIGEST)
        assert (cache.pictures[2] == some(1)).all()
    with opened(tmp_path, photos, size=24) as caches:  # pictures of another size are others
        assert not caches.squeezed.holds(2, OTHER)


def test_a_damaged_picture_is_decoded_again(tmp_path: Path, photos: Path) -> None:
    with opened(tmp_path, photos) as caches:
        caches.squeezed.keep(0, DIGEST, some(0), (3, 2))
    (data,) = (tmp_path / "cache").glob("*/squeezed.u8")
    contents = bytearray(data.read_bytes())
    contents[777] ^= 1
    data.write_bytes(contents)
    with opened(tmp_path, photos) as caches:
        assert not caches.squeezed.holds(0, DIGEST)
    data.write_bytes(contents[:100])  # cut off: begun anew
    with opened(tmp_path, photos) as caches:
        assert not caches.squeezed.holds(0, DIGEST)
        caches.squeezed.keep(0, DIGEST, some(0), (3, 2))
        assert caches.squeezed.holds(0, DIGEST)


def test_two_trainings_share_what_either_keeps(tmp_path: Path, photos: Path) -> None:
    with opened(tmp_path, photos) as one, opened(tmp_path, photos) as other:
        one.plain.keep(3, DIGEST, some(0)[:16, :16], (16, 16))
        assert other.plain.holds(3, DIGEST)
        other.plain.keep(3, DIGEST, some(0)[:16, :16], (16, 16))
        assert (one.plain.pictures[3] == some(0)[:16, :16]).all()


def test_bounds(tmp_path: Path, photos: Path) -> None:
    with opened(tmp_path, photos, max_bytes=EACH - 1) as caches:
        assert caches.squeezed is None
        assert caches.plain is None
    with opened(tmp_path, photos, max_bytes=2 * EACH) as caches:
        for place in range(4):
            caches.squeezed.keep(place, DIGEST, some(place), (3, 2))
        assert caches.squeezed.known.tolist() == [True, True, False, False]
        assert [caches.squeezed.holds(place, DIGEST) for place in range(4)] == [
            True,
            True,
            False,
            False,
        ]


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    folders = [write_photos(tmp_path / name, 40) for name in ("a", "b", "c")]
    bound = 2 * 40 * EACH + 65_536  # two datasets, and the blocks of their files
    kept: list[Path] = []
    for when, folder in enumerate(folders):
        with opened(tmp_path, folder, bound) as caches:
            for place in range(40):
                caches.squeezed.keep(place, DIGEST, some(place), (3, 2))
                caches.plain.keep(place, DIGEST, some(place)[:16, :16], (3, 2))
        (new,) = set((tmp_path / "cache").iterdir()) - set(kept)
        os.utime(new, (when, when))
        kept.append(new)
    assert [path.is_dir() for path in kept] == [False, True, True]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    with opened(tmp_path, photos) as caches:
        assert caches.squeezed is None


_FULL_DISK = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
import numpy as np
from deepfood.train.picture_cache import PictureCache
from limited import limit
cache = PictureCache(Path(sys.argv[1]), 10, 8, 10)
limit(resource.RLIMIT_FSIZE, 3 * 192 + 50)
for place in range(10):
    cache.keep(place, bytes([place + 1]) * 32, np.full((8, 8, 3), place, np.uint8), (8, 8))
print(cache.known.tolist(), cache.room)
assert all((cache.pictures[place] == place).all() for place in range(3))
"""


def test_a_full_disk_ends_the_keeping_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, tmp_path / "pictures", json.dumps(sys.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("]")[0] == str([True] * 3 + [False] * 7)[:-1]
    assert done.stdout.split()[-1] == "0"


def test_a_training_is_the_same_without_a_cache_with_a_cold_and_with_a_warm_one(
    task: Make, tmp_path: Path
) -> None:
    def once(name: str, pictures_bytes: int) -> tuple[object, dict[str, torch.Tensor]]:
        with open_training(
            replace(task(pictures_bytes=pictures_bytes), out=tmp_path / name)
        ) as training:
            training.run(lambda record, best: None)
            learned = training.gather_learned()
            root = training.train.source.root
            for file, digest in learned.items():
                assert digest == hashlib.sha256(root.read(file, lambda size: None)).hexdigest()
            return (figures(training), learned), training.best_weights()

    without, weights = once("without", 0)
    assert not any((tmp_path / "cache").glob("pictures/*"))
    for name in ("cold", "warm"):
        with_cache, same = once(name, 2**24)
        assert with_cache == without
        assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert len(list((tmp_path / "cache").glob("pictures/*"))) == 1


def test_a_photo_is_read_once(task: Make, tmp_path: Path) -> None:
    """Each epoch but the first does without the files."""
    import shutil

    from dishes import write_dishes

    folder = write_dishes(tmp_path / "gone")
    # Every photo once an epoch: the batches take all of the 30.
    with open_training(task(folder, epochs=3, patience=0, balanced=False, batch=2)) as training:
        assert len(training.train) % 2 == 0

        def gone(record: dict[str, float], best: bool) -> None:
            shutil.rmtree(folder, ignore_errors=True)

        training.run(gone)
        assert len(training.progress.records) == 3
        assert training.gather_broken() == {}
