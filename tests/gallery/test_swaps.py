"""Searches go on while a new index or generation is opened, and see all that was acknowledged."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepfood.embed import Embedder
from deepfood.errors import ArtifactError
from deepfood.gallery.photo import EmbeddedPhoto
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter
from deepfood.local.reindex import reindex
from deepfood.local.renew import compact
from gallery_writing import made_photo
from plates import build, jpeg, write_photos

COUNT = 12
#: Long enough to show that something waits; nothing is asserted of how fast anything is.
A_WHILE_S = 0.3


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", COUNT), out, embedder, IndexSpec(kind="hnsw"))
    return out


def add(gallery: Path, number: int) -> EmbeddedPhoto:
    new = made_photo(0, number)
    with LocalWriter.open(gallery) as writer:
        writer.add([new])
    return new


def finds(opened: LocalGallery, one: EmbeddedPhoto) -> bool:
    return opened.search(one.vector, 1)[0].photo.id == one.photo.id


def remove(gallery: Path, name: str) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.remove([name])


@contextmanager
def held_up(gallery: Path) -> Iterator[None]:
    """Whoever opens the index now waits, as for a slow disk: a lease makes the system say so."""
    if sys.platform != "linux":
        pytest.skip("leases are of Linux")
    import fcntl

    manifest = LocalManifest.read(gallery)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # "somebody wants it"
    handle = os.open(manifest.index_path(gallery), os.O_RDWR)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(handle)
        signal.signal(signal.SIGIO, before)


@contextmanager
def beside() -> Iterator[Callable[..., Future[bool | None]]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def test_a_new_index_holds_no_search_up(gallery: Path, embedder: Embedder) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        first = add(gallery, 1)
        reindex(gallery, quiet=True)
        with held_up(gallery):
            assert finds(opened, first)
            later = add(gallery, 2)
            assert finds(opened, later)
            remove(gallery, first.photo.id)
            assert not finds(opened, first)
            assert opened.manifest.covered == COUNT
        assert opened.follow().manifest.covered == COUNT + 1
        assert finds(opened, later)
        assert opened.count == COUNT + 1


def test_a_new_generation_holds_up_nobody_who_would_see_the_same(
    gallery: Path, embedder: Embedder
) -> None:
    query = embedder.embed(jpeg(3))
    with LocalGallery.open(gallery, embedder.model) as opened, beside() as start:
        remove(gallery, "plate-00000.jpg")
        compact(gallery, embedder.model, quiet=True)
        with held_up(gallery):
            # What was removed just before is unknown to this reader, whose files are deleted.
            hits = opened.search(query, COUNT)
            assert len(hits) == COUNT - 1
            assert opened.manifest.generation == 1
            new = add(gallery, 1)  # only the new generation has it
            found = start(finds, opened, new)
            with pytest.raises(NotYet):
                found.result(A_WHILE_S)
        assert found.result(60)
        assert opened.manifest.generation == 2


def test_two_swaps_at_once(gallery: Path, embedder: Embedder) -> None:
    """The second takes over what was added between them, which the reader's has not."""
    with LocalGallery.open(gallery, embedder.model) as opened:
        compact(gallery, embedder.model, quiet=True)
        new = add(gallery, 1)
        compact(gallery, embedder.model, quiet=True)
        assert finds(opened, new)


def test_closing_waits_for_what_is_being_opened(gallery: Path, embedder: Embedder) -> None:
    opened = LocalGallery.open(gallery, embedder.model)
    compact(gallery, embedder.model, quiet=True)
    with beside() as start:
        with held_up(gallery):
            opened.search(embedder.embed(jpeg(3)), 1)
            closed = start(opened.close)
            with pytest.raises(NotYet):
                closed.result(A_WHILE_S)
        closed.result(60)


def test_a_damaged_index_is_told(gallery: Path, embedder: Embedder) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        add(gallery, 1)
        reindex(gallery, quiet=True)
        path = LocalManifest.read(gallery).index_path(gallery)
        path.write_bytes(bytes(path.stat().st_size))
        query = embedder.embed(jpeg(3))
        with pytest.raises(ArtifactError, match="cannot be opened"):
            opened.follow()
        # The first search may be answered by the old one, and has it opened beside.
        with contextlib.suppress(ArtifactError):
            opened.search(query, 1)
        for thread in threading.enumerate():
            if thread.name == "opening":
                thread.join()
        for _ in range(2):
            with pytest.raises(ArtifactError, match="cannot be opened"):
                opened.search(query, 1)
