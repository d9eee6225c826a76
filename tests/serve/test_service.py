"""The service without HTTP: opened, kept up to date, and closed."""

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deepfood.config import load_settings
from deepfood.errors import SettingError, StorageError
from deepfood.local import LocalGallery, LocalWriter
from deepfood.local.renew import only_renewal
from deepfood.serve.current import Current, Upkeep
from deepfood.serve.service import open_service
from live import build_tiny, run_deepfood
from plates import write_photos

pytestmark = pytest.mark.slow


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_service_that_cannot_be_opened_leaves_no_gallery_open(
    tiny_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, close = [], LocalGallery.close

    def noted(gallery: LocalGallery) -> None:
        closed.append(gallery.place)
        close(gallery)

    monkeypatch.setattr(LocalGallery, "close", noted)
    with pytest.raises(SettingError, match="device coreml: only a Mac has it"):
        open_service(load_settings(gallery=tiny_gallery, device="coreml"))
    assert closed == [str(tiny_gallery)]


def test_a_thumbnail_for_which_nothing_has_room_is_made_each_time(tiny_gallery: Path) -> None:
    for room, kept in ((0, 0), (10**6, 1)):
        settings = load_settings(gallery=tiny_gallery, thumbnail_cache_bytes=room)
        with closing(open_service(settings)) as service:
            photo = service.gallery.sample(1, 0)[0].id
            assert service.thumbnail(photo) == service.thumbnail(photo)
            assert len(service._thumbnails) == kept


@pytest.mark.parametrize("ends", [True, False])
def test_what_fails_while_the_server_ends_is_not_told(
    ends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def keep_up(self) -> None:
            if ends:
                upkeep.end()
            raise StorageError("the bucket is away")

    upkeep = Upkeep(Failing(), load_settings())  # type: ignore[arg-type]
    upkeep.start()
    until(lambda: ends or bool(caplog.records))
    upkeep.end()
    upkeep.join(300)
    assert not upkeep.is_alive()
    told = [one.getMessage() for one in caplog.records]
    assert told == ([] if ends else ["the bucket is away"])


def test_holes_are_dropped_by_itself(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfood.local.renew.LEAST_HOLES", 2)
    service = open_service(load_settings(gallery=built))
    current = Current(load_settings(gallery=built, compact_share=0.3), service)
    never = Current(load_settings(gallery=built, compact_share=0), service)

    def remove(*numbers: int) -> None:
        with LocalWriter.open(built) as writer:
            writer.remove([f"plate-{number:05d}.jpg" for number in numbers])

    def rows() -> int:
        return len(service.gallery.follow().alive)  # type: ignore[attr-defined]

    remove(*range(6))  # 0.3 is not more than 0.3
    current.keep_up()
    assert (rows(), service.gallery.count) == (20, 14)
    remove(6)
    never.keep_up()
    assert rows() == 20
    with only_renewal(built):  # somebody is at it
        current.keep_up()
    assert rows() == 20
    work = built / "renewing"
    work.mkdir()
    (work / "renewing-with").write_text("0123 192 f32")
    current.keep_up()
    assert rows() == 20, "a stopped reembed's work is not deleted"
    assert work.is_dir()
    shutil.rmtree(work)
    current.keep_up()
    assert (rows(), service.gallery.count) == (13, 13)
    service.close()


def test_a_long_tail_gets_into_the_index_by_itself(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny(built.parent, "model", "--index", "hnsw")
    monkeypatch.setattr("deepfood.local.reindex.TAIL_ROWS", 2)
    settings = load_settings(gallery=built)
    current = Current(settings, open_service(settings))
    upkeep = Upkeep(current, settings)
    upkeep.start()
    write_photos(built.parent / "new", 5, start=70)
    run_deepfood("add", built, built.parent / "new")  # whose own process is more patient
    until(lambda: current.service.gallery.manifest.covered >= 25)  # type: ignore[attr-defined]
    upkeep.end()
    upkeep.join(10)
    assert current.service.gallery.count == 25
    current.service.close()
