"""kill -9 at any moment loses nothing acknowledged, and leaves nothing half; readers go on."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfood.data.photo_file import ID_DIGITS
from deepfood.gallery.values import Value
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalWriter
from deepfood.local.photo_files import PhotoFiles
from deepfood.local.store import Store
from deepfood.local.verify import gallery_problems
from gallery_writing import made_photo, vector_of
from plates import build, tiny_embedder, write_photos

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
KILLS = 50


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(TESTS / script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class Truth:
    """What must be in the gallery: id -> file and label, of all that was acknowledged."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        #: id -> attributes, of those of which any were said.
        self.attributes: dict[str, dict[str, object]] = {}
        #: How often each kind of change was acknowledged.
        self.did = Counter[str]()
        self.acknowledged = 0
        #: What the killed writers were at: it may have happened, or not, but never half. SQLite
        #: may find a transaction that nobody acknowledged in its log later only, when the last
        #: that had the catalogue open has closed it.
        self.pending: list[dict[str, Any]] = []

    def hear(self, lines: Iterable[bytes]) -> None:
        """What a writer said, up to its end."""
        intended: list[dict[str, Any]] = []
        for line in lines:
            one = json.loads(line)
            if "ended" in one:
                self.pending += intended
                return
            if "intends" in one:
                intended = [one]
                continue
            intended = []
            self.acknowledged += 1
            self.did[one["did"]] += 1
            if one["did"] == "add":
                for photo_id, file in one["photos"].items():
                    self.labels[photo_id] = f"label {file.split('-')[1].removesuffix('.jpg')}"
            elif one["did"] == "remove":
                self._remove(one["ids"])
            elif one["did"] == "say":
                self.attributes[one["id"]] = one["said"]
            else:
                self.labels[one["id"]] = one["label"]

    def _remove(self, ids: list[str]) -> None:
        for photo_id in ids:
            del self.labels[photo_id]
            self.attributes.pop(photo_id, None)

    def settle(
        self, there: Mapping[str, str | None], said: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Take in what was never acknowledged, if it is there, after checking that it is whole."""
        self.pending = [one for one in self.pending if not self._happened(one, there, said)]

    def _happened(
        self,
        one: dict[str, Any],
        there: Mapping[str, str | None],
        said: Mapping[str, Mapping[str, object]],
    ) -> bool:
        if one["intends"] == "add":
            seed, numbers = _numbers(one["files"])
            photos = [made_photo(seed, number).photo for number in numbers]
            found = [photo.id in there for photo in photos]
            assert all(found) or not any(found), "half of a batch"
            if all(found):
                self.labels.update({photo.id: photo.label or "" for photo in photos})
            return all(found)
        if one["intends"] == "remove":
            found = [photo_id in there for photo_id in one["ids"]]
            assert all(found) or not any(found), "half of a removal"
            if not any(found):
                self._remove(one["ids"])
            return not any(found)
        if one["intends"] == "say":
            if said.get(one["id"]) != one["said"]:  # both values, or neither
                return False
            self.attributes[one["id"]] = one["said"]
        else:
            if there[one["id"]] != one["label"]:
                return False
            self.labels[one["id"]] = one["label"]
        return True


def what_is_there(
    store: Store, built: Container[str]
) -> tuple[dict[str, str | None], dict[str, dict[str, Value]]]:
    """The labels and attributes, by id, of the photos that were added, all at one moment.

    A reader may apply a change from the journal, which nobody acknowledged, at any time.
    """
    before = None
    while before != (before := store.state()):
        there = {photo.id: photo.label for photo in store.photos() if photo.id not in built}
        rows = {sha256[:ID_DIGITS]: row for row, sha256, _ in store.names()}
        facts = store.attributes.read_many(list(rows.values()))
        said = {photo_id: facts[row] for photo_id, row in rows.items() if facts[row]}
    return there, said


def _numbers(files: list[str]) -> tuple[int, list[int]]:
    pairs = [file.removesuffix(".jpg").split("-") for file in files]
    return int(pairs[0][0]), [int(number) for _, number in pairs]


@pytest.mark.parametrize("kind", ["hnsw"])
def test_kills_at_random_moments_lose_nothing(kind: str, tmp_path: Path) -> None:
    embedder = tiny_embedder(tmp_path / "model")
    gallery = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 30), gallery, embedder, IndexSpec(kind=kind))
    with LocalGallery.open(gallery) as opened:
        built = {photo.id: photo.label for photo in opened.store.photos()}
    writers = start("gallery_writing.py", gallery)
    assert writers.stdin is not None
    assert writers.stdout is not None
    readers = [start("gallery_reading.py", gallery) for _ in range(2)]
    draw = random.Random(0)
    truth = Truth()
    try:
        for kill in range(KILLS):
            writers.stdin.write(b"%d\n" % kill)
            writers.stdin.flush()
            pid = json.loads(writers.stdout.readline())["pid"]
            # Killed after 0, 1, 2 or 3 acknowledgements at the earliest.
            first = [writers.stdout.readline() for _ in range(1 + 2 * (kill % 4))]
            time.sleep(draw.uniform(0, 0.3))
            os.kill(pid, signal.SIGKILL)
            truth.hear(chain(first, writers.stdout))
            with LocalGallery.open(gallery) as opened:
                there, said = what_is_there(opened.store, built)
            truth.settle(there, said)
            assert there == truth.labels, f"after kill {kill}"
            assert said == truth.attributes, f"after kill {kill}"
        for reader in readers:
            assert reader.poll() is None, reader.communicate()
    finally:
        ends = [process.communicate(timeout=300) for process in (*readers, writers)]
    for reader, (searches, complaint) in zip(readers, ends, strict=False):
        assert reader.returncode == 0, complaint
        assert json.loads(searches)["searches"] > 100
    assert writers.returncode == 0, ends[-1]
    assert truth.acknowledged >= KILLS
    assert set(truth.did) == {"add", "remove", "update", "say"}
    print(f"{KILLS} kills, {truth.acknowledged} changes acknowledged, 0 lost: {dict(truth.did)}")

    with LocalWriter.open(gallery):
        pass  # cleans up after the last kill
    assert list(gallery_problems(gallery, quiet=True)) == []
    with LocalGallery.open(gallery) as opened:
        photos, vectors, places = opened.photos()
        files = {path.name for path in PhotoFiles(gallery).all()}
        assert files == {photo.sha256 for photo in photos if photo.added}
        for photo, vector in zip(photos, vectors.take(places), strict=True):
            data = opened.read(photo)
            if photo.added:
                np.testing.assert_array_equal(vector, vector_of(data))
                assert opened.search(vector, 1)[0].photo.id == photo.id
