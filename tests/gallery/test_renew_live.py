"""A change of Model by real commands: killed, beside writers and a server, on a full disk."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deepfood.data.photos import list_photos
from deepfood.errors import ArtifactError
from deepfood.index import IndexSpec, Storage
from deepfood.local import LocalGallery, build_gallery
from deepfood.local.renew import open_work
from deepfood.local.verify import gallery_problems
from deepfood.model import open_model
from limited import deepfood_on_a_small_disk
from live import deepfood_here, run_deepfood, serving
from load import Load, wait_for
from plates import build, jpeg, tiny_embedder, write_dishes, write_photos, write_tiny_model

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "deepfood.cli"]


def embedded_so_far(gallery: Path) -> int:
    try:
        work = open_work(gallery)
    except ArtifactError:
        return 0
    count = work.count()
    work.close()
    return count


def made_with(gallery: Path, model: Path) -> bool:
    """Whole, and made with this Model, which finds each of the photos by itself."""
    assert list(gallery_problems(gallery, quiet=True)) == []
    with LocalGallery.open(gallery, open_model(model)) as opened:
        return opened.count > 0


class Changes(threading.Thread):
    """Adds and removes photos, a command each, until it is told to stop; knows what was done."""

    def __init__(self, gallery: Path, folder: Path) -> None:
        super().__init__()
        folder.mkdir()
        self.gallery, self.folder = gallery, folder
        self.ended = threading.Event()
        self.there: set[str] = set()
        self.gone: set[str] = set()

    def run(self) -> None:
        number = 0
        while not self.ended.is_set():
            number += 1
            path = self.folder / f"new-{number}.jpg"
            path.write_bytes(jpeg(50_000 + number))
            if self._acknowledged("add", path):
                self.there.add(path.name)
            old = f"plate-{number:05d}.jpg"
            if self._acknowledged("remove", old):
                self.gone.add(old)

    def _acknowledged(self, command: str, what: object) -> bool:
        done = subprocess.run(
            [*COMMAND, command, str(self.gallery), str(what)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        # The one refusal there may be: embedded with the old Model, and swapped before the commit.
        assert done.returncode == 0 or "was made with the Model" in done.stderr, done.stderr
        return done.returncode == 0


@contextmanager
def changing(gallery: Path, folder: Path) -> Iterator[Changes]:
    changes = Changes(gallery, folder)
    changes.start()
    try:
        yield changes
    finally:
        changes.ended.set()
        changes.join()


def test_killed_and_gone_on_beside_a_writer(tmp_path: Path) -> None:
    count = 1500
    gallery, new = tmp_path / "g", write_tiny_model(tmp_path / "new", pool=4)
    build(write_photos(tmp_path / "photos", count), gallery, tiny_embedder(tmp_path / "old"))
    reembed = [*COMMAND, "reembed", str(gallery), "--model", str(new)]
    with changing(gallery, tmp_path / "more") as changes:
        with subprocess.Popen(reembed, stderr=subprocess.DEVNULL) as process:
            wait_for(lambda: embedded_so_far(gallery) > 0)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        kept = embedded_so_far(gallery)
        assert 0 < kept < count
        wait_for(lambda: len(changes.gone) > 0)
        done = json.loads(run_deepfood("reembed", gallery, "--model", new, "--json"))
    assert done["swapped"]
    # Only what was not embedded, or came later.
    assert done["made"] <= count - kept + len(changes.there)
    with LocalGallery.open(gallery) as opened:
        files = {photo.file for photo in opened.store.photos()}
    built = {f"plate-{number:05d}.jpg" for number in range(count)}
    assert changes.there
    assert files == built - changes.gone | changes.there
    assert made_with(gallery, new)

    done = json.loads(run_deepfood("rollback", gallery, "--json"))
    with LocalGallery.open(gallery) as opened:
        assert {photo.file for photo in opened.store.photos()} == files
    assert made_with(gallery, tmp_path / "old")
    # Going back embeds no more than what was added since.
    assert done["made"] <= len(changes.there)


def test_a_server_under_load_follows(tmp_path: Path) -> None:
    gallery, new = tmp_path / "g", write_tiny_model(tmp_path / "new", pool=4)
    build(write_dishes(tmp_path / "photos", 20), gallery, tiny_embedder(tmp_path / "old"))
    photo = next((tmp_path / "photos").rglob("*.jpg")).read_bytes()
    # The Model that it was started with is not the one that it ends with.
    with serving(gallery, "--model", str(tmp_path / "old")) as server:
        loads = [Load(server.url, photo) for _ in range(3)]
        for load in loads:
            load.start()

        def dimension() -> int:
            return int(httpx.get(f"{server.url}/api/v1/gallery").json()["dimension"])

        try:
            for command, wanted in [
                (["reembed", gallery, "--model", new, "--even-if-worse"], 768),
                (["rollback", gallery], 192),
                (["rollback", gallery], 768),
                (["compact", gallery], 768),
            ]:
                for load in loads:
                    load.worst_s = 0.0
                run_deepfood(*command)
                wait_for(lambda wanted=wanted: dimension() == wanted)  # type: ignore[misc]
                answers = loads[0].answers
                wait_for(lambda answers=answers: loads[0].answers > answers + 6 or loads[0].failed)  # type: ignore[misc]
                # Printed, not asserted: `pytest -s` shows it.
                worst_s = max(load.worst_s for load in loads)
                print(f"{command[0]}: the slowest search took {worst_s:.2f} s")
        finally:
            for load in loads:
                load.ended.set()
                load.join()
    assert [load.failed for load in loads] == [[], [], []]


@pytest.mark.parametrize(
    ("storage", "kilobytes"),
    [("f32", 60), ("f32", 300), ("i8", 250)],
    ids=["catalogue", "vectors", "index"],
)
def test_a_full_disk(storage: Storage, kilobytes: int, tmp_path: Path) -> None:
    gallery, new = tmp_path / "g", write_tiny_model(tmp_path / "new", pool=4)
    photos = list_photos(write_photos(tmp_path / "photos", 200))
    old = tiny_embedder(tmp_path / "old")
    build_gallery(photos, gallery, old, IndexSpec(kind="hnsw"), storage, quiet=True)
    arguments = ["reembed", str(gallery), "--model", str(new), "--json"]
    done = deepfood_on_a_small_disk(kilobytes * 1024, *arguments)
    assert done.returncode == 2, done.stderr
    assert "no space left on the disk of" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert made_with(gallery, tmp_path / "old")

    kept = embedded_so_far(gallery)
    again = json.loads(run_deepfood(*arguments))
    assert again["made"] == 200 - kept
    assert (again["photos"], again["swapped"]) == (200, True)
    assert made_with(gallery, new)


def test_compare_changes_nothing_and_its_work_is_used(tmp_path: Path) -> None:
    gallery, new = tmp_path / "g", write_tiny_model(tmp_path / "new", pool=32)
    build(write_dishes(tmp_path / "photos", 8), gallery, tiny_embedder(tmp_path / "old"))
    arguments = ["reembed", gallery, "--model", new]
    said = run_deepfood(*arguments, "--compare")
    assert "mAP" in said
    assert made_with(gallery, tmp_path / "old")
    about = json.loads(run_deepfood(*arguments, "--compare", "--json"))
    assert (about["made"], about["swapped"]) == (0, False)
    one = about["compared"]["figures"]["mAP"]
    assert one["interval"][0] <= one["difference"] <= one["interval"][1]
    assert one["difference"] == pytest.approx(one["after"] - one["before"])
    assert about["compared"]["photos"] == 32

    # It finds less: the gate refuses it, and it is asked for.
    refused = deepfood_here(*arguments, "--json")
    assert refused.returncode == 1
    assert refused.stderr.startswith("deepfood: the Model tiny is worse: mAP 0.")
    assert json.loads(refused.stdout)["refused"] in refused.stderr
    assert made_with(gallery, tmp_path / "old")
    done = json.loads(run_deepfood(*arguments, "--even-if-worse", "--json"))
    assert (done["made"], done["swapped"]) == (0, True)
    evaluated = json.loads(run_deepfood("evaluate", gallery, "--json"))
    assert evaluated["figures"]["mAP"]["value"] == pytest.approx(one["after"])
    assert "up to date" in run_deepfood(*arguments)
    assert "deleted" in run_deepfood("rollback", gallery, "--forget")
    assert len(list((gallery / "models").iterdir())) == 1
