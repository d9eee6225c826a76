"""What is worth a look in a gallery: listed by a server, the clients and Python; `labels`."""

import asyncio
import csv
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from held import held_server
from PIL import Image
from test_api import problem

import deepfood
from deepfood.errors import QueryError, StorageError
from deepfood.gallery.protocol import Compared, EveryPhoto
from deepfood.local import LocalGallery, LocalWriter
from deepfood.serve.curated import ClosedError, Curator, NotYetError
from deepfood_client import AsyncClient, Client
from live import fails, run_deepfood
from plates import write_dishes
from served import serving_here

pytestmark = pytest.mark.slow

#: The dish that each flipped photo is called.
WRONG = "tomato soup"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of dishes in folders, of which some lie in the wrong folder, one of them twice.

    Some have no label, and of these two show nothing that is like the others.
    """
    root = tmp_path_factory.mktemp("curated")
    photos = write_dishes(root / "photos", 14, labels=3)
    folders = sorted(one for one in photos.iterdir() if one.is_dir())
    assert WRONG in {one.name for one in folders}
    for folder in folders:
        if folder.name != WRONG:
            moved = sorted(folder.iterdir())[0]
            moved.rename(photos / WRONG / f"from {folder.name}{moved.suffix}")
    for folder in folders:
        for photo in sorted(folder.iterdir())[3:5]:
            photo.rename(photos / f"{folder.name} {photo.name}")
    rng = np.random.default_rng(0)
    for name in ("noise", "more noise"):
        pixels = rng.integers(0, 255, (96, 96, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{name}.png")
    run_deepfood("build", photos, "--out", root / "gallery")
    return root / "gallery"


@pytest.fixture(scope="module")
def url(mixed: Path) -> Iterator[str]:
    with serving_here(mixed) as url:
        yield url


def test_both_clients_and_python_list_the_same(url: str, mixed: Path) -> None:
    async def asked() -> tuple[object, object]:
        async with AsyncClient(url) as food:
            return await food.doubtful_labels(), await food.duplicates()

    with Client(url) as food, deepfood.open_gallery(mixed) as gallery:
        found, groups = food.doubtful_labels(), food.duplicates()
        assert asyncio.run(asked()) == (found, groups)
        assert found.looked_at == groups.looked_at == 44
        assert (found.total, found.next) == (len(found.photos), None)
        here = gallery.doubtful_labels()
        assert [one.photo.id for one in here.entries] == [one.id for one in found.photos]
        for one in found.photos:
            assert one.label != one.suggested
            assert 0 < one.agreeing <= one.voters
            assert food.thumbnail(one.id)
        pairs = gallery.duplicates().entries
        assert [[photo.id for photo, _ in one.photos] for one in pairs] == [
            [photo.id for photo in one.photos] for one in groups.groups
        ]
        for group in groups.groups:
            assert len(group.photos) > 1
            assert all(1 >= photo.score >= 0.9 for photo in group.photos)
            labels = {photo.label for photo in group.photos if photo.label}
            assert group.different_labels == (len(labels) > 1)


def test_both_clients_and_python_list_what_else_a_curation_finds(url: str, mixed: Path) -> None:
    async def asked() -> list[object]:
        async with AsyncClient(url) as food:
            lists = food.overlapping_labels, food.outliers, food.photos_to_label
            return [await one() for one in lists]

    with Client(url) as food, deepfood.open_gallery(mixed) as gallery:
        overlaps, outliers, to_label = (
            food.overlapping_labels(),
            food.outliers(),
            food.photos_to_label(),
        )
        assert asyncio.run(asked()) == [overlaps, outliers, to_label]
        pairs = gallery.overlapping_labels().entries
        assert [(one.labels, one.photos, one.share) for one in overlaps.pairs] == [
            (one.labels, one.photos, one.share) for one in pairs
        ]
        assert [(one.id, one.similarity, one.deviations) for one in outliers.photos] == [
            (one.photo.id, one.similarity, one.deviations) for one in gallery.outliers().entries
        ]
        assert [(one.id, one.guess, one.uncertainty, one.density) for one in to_label.photos] == [
            (one.photo.id, one.guess, one.uncertainty, one.density)
            for one in gallery.photos_to_label().entries
        ]
        assert {one.label for one in to_label.photos} == {None}
        assert all(food.thumbnail(one.id) for one in to_label.photos)
        doubtful = food.doubtful_labels()
    found = deepfood.check_labels(mixed)
    assert [one.photo.id for one in found.doubtful] == [one.id for one in doubtful.photos]
    assert {one.photo.file for one in found.outliers} == {"noise.png", "more noise.png"}
    assert found.overlaps == pairs
    assert [one.photo.id for one in found.to_label] == [one.id for one in to_label.photos]


#: The lists, and the name of what each has.
LISTS = {
    "labels/doubtful": "photos",
    "labels/overlapping": "pairs",
    "outliers": "photos",
    "to-label": "photos",
    "duplicates": "groups",
}


def test_pages_make_the_whole_list(url: str) -> None:
    with httpx.Client(base_url=url, timeout=300) as client:
        for address, name in LISTS.items():
            whole = client.get(f"/api/v1/{address}").json()
            assert len(whole[name]) == whole["total"] > 1
            if address == "labels/doubtful":  # by the own share, which is another order
                margins = [one["probability"] - one["suggested_probability"] for one in whole[name]]
                assert margins != sorted(margins)
            first = client.get(f"/api/v1/{address}", params={"limit": 1}).json()
            entries, following = first[name], first["next"]
            while following:
                page = client.get(
                    f"/api/v1/{address}", params={"limit": 1, "cursor": following}
                ).json()
                assert page["total"] == whole["total"]
                entries, following = entries + page[name], page["next"]
            assert entries == whole[name]
        cursor = client.get("/api/v1/duplicates", params={"limit": 1}).json()["next"]
        for address in LISTS.keys() - {"duplicates"}:
            for wrong in ("made-up", cursor):
                answer = client.get(f"/api/v1/{address}", params={"cursor": wrong})
                assert "cursor" in problem(answer, 422)
        assert "limit" in problem(client.get("/api/v1/duplicates?limit=0"), 422)


class Held(LocalGallery):
    """A gallery whose photos are compared only while it is let, and that counts how often."""

    go_on: threading.Event
    begun = threading.Event()
    comparisons = 0

    def compared(self, most: int | None = None) -> tuple[EveryPhoto, Compared]:
        self.begun.set()
        assert self.go_on.wait(300)
        self.comparisons += 1
        return super().compared(most)


def test_a_list_is_made_once_for_each_version_and_shown_meanwhile(
    mixed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gallery"
    shutil.copytree(mixed, folder)
    with Held.open(folder) as gallery, closing(Curator(gallery)) as curator:
        gallery.go_on = threading.Event()
        with pytest.raises(NotYetError, match="the photos are being compared"):
            curator.doubtful(9, wait_s=0)
        gallery.go_on.set()
        before = curator.doubtful(99)
        assert before.entries
        assert before.notes == curator.doubtful(99, wait_s=0).notes
        to_label = curator.to_label(99, wait_s=0).entries
        pairs = curator.overlapping(99, wait_s=0).entries
        assert pairs
        first, second = curator.outliers(99, wait_s=0).entries
        assert gallery.comparisons == 1
        gallery.go_on.clear()
        fixed, renamed = before.entries[0], before.entries[-1]
        with LocalWriter.open(folder) as writer:
            writer.update(fixed.photo.id, label=fixed.suggested)
            writer.update(renamed.photo.id, photo_name="Of Monday")
            writer.update(to_label[0].photo.id, label="nothing to eat")
            writer.remove([first.photo.id])
        meanwhile = curator.doubtful(99, wait_s=0)
        assert [one.photo.id for one in meanwhile.entries] == [
            one.photo.id for one in before.entries[1:]
        ]
        assert meanwhile.entries[-1].photo.name == "Of Monday"
        assert meanwhile.notes[-1].code == "gallery_changed"
        assert [one.photo.id for one in curator.to_label(99).entries] == [
            one.photo.id for one in to_label[1:] if one.photo.id != first.photo.id
        ]
        assert [one.photo.id for one in curator.outliers(99).entries] == [second.photo.id]
        overlaps = curator.overlapping(99)
        assert overlaps.entries == pairs, "they show when all photos are compared again"
        assert overlaps.notes[-1].code == "gallery_changed"
        groups = curator.duplicates
        gallery.go_on.set()
        gone = groups(99).entries[0].photos[0][0]
        with LocalWriter.open(folder) as writer:
            writer.remove([gone.id])
        gallery.go_on.clear()
        shown = [photo.id for one in groups(99).entries for photo, _ in one.photos]
        assert gone.id not in shown
        gallery.go_on.set()


def test_of_a_large_gallery_a_part_is_looked_at(mixed: Path) -> None:
    with LocalGallery.open(mixed) as gallery, closing(Curator(gallery, most=20)) as curator:
        page = curator.doubtful(99)
        assert 5 < page.looked_at < 40
        assert page.notes[-1].code == "part_looked_at"
        assert f"{page.looked_at} of 44 photos" in str(page.notes[-1])
        assert curator.duplicates(99).looked_at == page.looked_at
        (photos, vectors, rows), index = gallery.compared(20)
        assert {photo.id for photo in photos} < {one.id for one in gallery.photos()[0]}
        own = vectors.take(rows[:1])[0]
        assert index.search(own, 1, None)[0][0] == rows[0]
        assert np.allclose(gallery.vector(photos[0].id), own)


def test_the_end_does_not_wait_for_a_list_and_who_waits_for_one_is_told(mixed: Path) -> None:
    with Held.open(mixed) as gallery, ThreadPoolExecutor(3) as pool:
        gallery.go_on, gallery.begun = threading.Event(), threading.Event()
        curator = Curator(gallery)
        lists = curator.doubtful, curator.duplicates  # the second is made after the first
        for one in lists:
            with pytest.raises(NotYetError):
                one(1, wait_s=0)
        assert gallery.begun.wait(300)
        waiting = [pool.submit(one, 1) for one in lists]
        ended = pool.submit(curator.close)
        assert curator._closed.wait(300)
        gallery.go_on.set()  # the comparison then finds that it is to stop
        for asked in waiting:
            with pytest.raises(ClosedError, match="the gallery was closed"):
                asked.result(300)
        ended.result(300)
        assert gallery.comparisons == 1


class Failing(LocalGallery):
    """A gallery whose photos cannot be compared while its disk is away."""

    away = False

    def compared(self, most: int | None = None) -> tuple[EveryPhoto, Compared]:
        if self.away:
            raise StorageError("the disk is away")
        return super().compared(most)


def test_a_list_that_could_not_be_made_is_made_again(
    mixed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gallery"
    shutil.copytree(mixed, folder)
    with Failing.open(folder) as gallery, closing(Curator(gallery)) as curator:

        def ended() -> None:
            """What is under way has ended: all is made in one thread."""
            curator._pool.submit(int).result(300)

        gallery.away = True
        with pytest.raises(StorageError, match="the disk is away"):
            curator.outliers(9)
        assert not caplog.records, "who asked is told, and nobody else"
        gallery.away = False
        first, second = curator.outliers(9).entries
        with LocalWriter.open(folder) as writer:
            writer.remove([first.photo.id])
        gallery.away = True
        shown = curator.outliers(9)
        assert [one.photo.id for one in shown.entries] == [second.photo.id]
        ended()
        assert "a list could not be made anew" in caplog.text
        assert "the disk is away" in caplog.text
        gallery.away = False
        assert curator.outliers(9).notes, "that before is shown meanwhile"
        ended()
        assert curator.outliers(9).looked_at == 43
        assert not curator.outliers(9).notes


def test_a_client_is_told_to_come_back_for_a_list_that_takes_long(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Held, "go_on", threading.Event(), raising=False)
    monkeypatch.setattr(LocalGallery, "open", Held.open)
    monkeypatch.setattr("deepfood.serve.api.lists._WAIT_S", 0.01)
    with held_server(mixed, request_timeout_s=600) as (port, service):
        assert isinstance(service.gallery, Held)
        address = f"http://127.0.0.1:{port}/api/v1/duplicates"
        answer = httpx.get(address, timeout=300)
        assert "the photos are being compared" in problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        service.gallery.go_on.set()
        monkeypatch.setattr("deepfood.serve.api.lists._WAIT_S", 300)
        assert httpx.get(address, timeout=300).json()["looked_at"] == 44
        assert service.gallery.comparisons == 1


def test_labels_that_are_suggested_are_imported(mixed: Path, tmp_path: Path) -> None:
    gallery, table, report = (tmp_path / name for name in ("gallery", "table.csv", "report"))
    shutil.copytree(mixed, gallery)
    moved = ("--photos-root", mixed.parent / "photos")
    printed = run_deepfood("labels", gallery, *moved, "--out", table, "--report", report)
    assert printed.startswith(f"{gallery}: 44 photos, 36 of them with one of 3 labels")
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    told = json.loads(run_deepfood("labels", gallery, "--json"))
    assert told["doubtful_total"] == len(told["doubtful"]) > 1
    for one in told["doubtful"]:
        row = rows[one["photo"]["id"]]
        assert (row["label"], row["old_label"]) == (one["suggested"], one["photo"]["label"])
        assert row["reason"].startswith("label may be wrong")
        assert row["votes"] == f"{one['agreeing']} of {one['voters']}"
    assert sum(bool(row["label"]) for row in rows.values()) == len(told["doubtful"])
    page = (report / "labels.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") >= len(told["doubtful"])
    assert "<script" not in page
    few = json.loads(run_deepfood("labels", gallery, "--json", "--most", 1))
    assert len(few["doubtful"]) == 1
    assert few["doubtful_total"] == told["doubtful_total"]

    assert run_deepfood("update", gallery, "--import", table) == (
        f"{gallery}: {len(told['doubtful'])} labels set\n"
    )
    after = json.loads(run_deepfood("labels", gallery, "--json"))
    assert after["doubtful_total"] < told["doubtful_total"]
    found = deepfood.check_labels(gallery)
    assert [one.photo.id for one in found.doubtful] == [
        one["photo"]["id"] for one in after["doubtful"]
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give the ID of a photo, or a table of labels with --import"),
        (("ID", "--import", "x.csv"), "give the ID of a photo, or a table"),
        (("--import", "x.csv", "--label", "pie"), "--import goes with no --label"),
        (("--import", "nowhere.csv"), "nowhere.csv"),
        (("--import", "NAMES"), "needs the columns id and label"),
        (("--import", "UNKNOWN"), "there is no photo '0123'"),
    ],
)
def test_one_line_says_what_an_import_lacks(
    mixed: Path, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    texts = {"NAMES": "red\ngreen\n", "UNKNOWN": "id,label\n0123,red\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    written = [tmp_path / one if one in texts else one for one in arguments]
    assert why in fails("update", mixed, *written)


def test_a_list_with_a_cursor_of_another_is_refused(mixed: Path) -> None:
    with deepfood.open_gallery(mixed) as gallery:
        following = gallery.duplicates(1).next
        searched = gallery.search(words="soup", k=1).next
        assert following
        assert searched
        for other in (following, searched):
            with pytest.raises(QueryError, match="belongs to another list"):
                gallery.doubtful_labels(1, other)
