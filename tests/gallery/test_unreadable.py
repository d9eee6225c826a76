"""Files that this user may not read, and pipes in the place of files: refused in a line, not lost.

What cannot be read is perhaps whole: nothing is made anew in its place.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from damages import WRITERS, Whole, in_time, make_whole, state_of
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import ArtifactError, DeepfoodError, SettingError
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.reports import Consent
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalWriter, build_gallery
from deepfood.local.complete_parts import complete_parts
from deepfood.local.npz import check_vectors_file
from deepfood.local.reindex import reindex
from deepfood.local.renew import reembed
from deepfood.local.repair import repair
from deepfood.local.verify import gallery_problems
from deepfood.model import open_model
from plates import LIMITS, jpeg, sha256, write_conv_model, write_photos

NOBODY = 65534


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        Path(folder).chmod(0o755)
        yield make_whole(Path(folder), "hnsw", log=True)


@pytest.fixture
def gallery(whole: Whole) -> Iterator[Path]:
    copy = whole.copy(whole.root / "copy")
    yield copy
    shutil.rmtree(copy)


@contextlib.contextmanager
def as_another_user(gallery: Path) -> Iterator[None]:
    """Where this is root: whoever may write all of the gallery, but is not root."""
    if os.geteuid() != 0:
        yield
        return
    for path in (gallery, gallery.parent, *gallery.rglob("*")):
        if path.stat().st_mode & 0o777:
            os.chown(path, NOBODY, NOBODY)
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


#: What is closed, and whether a gallery can be searched or changed without it.
FILES = {
    "manifest.json": False,
    "generation-000002/catalogue.sqlite": False,
    "generation-000002/catalogue.sqlite-wal": False,
    "generation-000002/vectors.f32": False,
    "generation-000002/index-*": True,
    "generation-000002": False,
    "journal": False,
    "journal/records-*": False,
    "models/*/model.onnx": True,
}


SAYS = re.compile(r"^.*(Permission denied|yours to read|cannot be opened).*$")


@pytest.mark.parametrize("name", FILES)
def test_what_may_not_be_read_is_refused_and_nothing_is_lost(
    name: str, whole: Whole, gallery: Path
) -> None:
    path = next(gallery.glob(name))
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with as_another_user(gallery):
            for command in (*_commands(whole), *_changes(whole)):
                if FILES[name]:
                    with contextlib.suppress(DeepfoodError):
                        command(gallery)
                else:
                    with pytest.raises(DeepfoodError, match=SAYS):
                        command(gallery)
    finally:
        with contextlib.suppress(FileNotFoundError):  # a build has made it anew
            path.chmod(mode)
    assert list(gallery_problems(gallery, quiet=True)) == [] or FILES[name]
    assert state_of(gallery).keys() >= whole.state.keys()


@pytest.mark.parametrize("name", [name for name, spared in FILES.items() if not spared])
def test_repair_leaves_what_may_not_be_read_as_it_is(
    name: str, whole: Whole, gallery: Path
) -> None:
    path = next(gallery.glob(name))
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with as_another_user(gallery), contextlib.suppress(DeepfoodError):
            _, left = repair(
                gallery, [whole.embedder.model], lambda model: whole.embedder, quiet=True
            )
            assert left != []
    finally:
        path.chmod(mode)
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert state_of(gallery) == whole.state
    assert not (gallery / "lost+found").exists()


def test_a_photo_that_may_not_be_read_is_embedded_once_it_may(whole: Whole, gallery: Path) -> None:
    photo = whole.root / "photos" / "soup" / "closed.jpg"
    photo.write_bytes(jpeg(50))
    photo.chmod(0)

    def build() -> tuple[int, list[str]]:
        source = list_photos(whole.root / "photos")
        with as_another_user(gallery):
            report = build_gallery(
                *(source, gallery, whole.embedder, whole.spec, whole.storage), quiet=True
            )
        return report.embedded, [
            one.reason for one in report.skipped if one.file == "soup/closed.jpg"
        ]

    try:
        refused = ["the file cannot be read: Permission denied"]
        assert [build(), build()] == [(1, refused), (0, refused)]
        photo.chmod(0o644)
        assert build() == (1, [])
        assert sha256(jpeg(50))[:20] in state_of(gallery)
        photo.chmod(0)
        with as_another_user(gallery):
            (problem,) = gallery_problems(gallery, quiet=True)
        assert problem.endswith(": the file cannot be read: Permission denied")
    finally:
        photo.unlink()


def test_a_gallery_that_may_not_be_written_stays_as_it_is(whole: Whole, gallery: Path) -> None:
    gallery.chmod(0o555)
    try:
        with as_another_user(gallery):
            for change in (reindex, lambda folder: reembed(folder, whole.other)):
                with pytest.raises(
                    ArtifactError, match=r"copy cannot be written: Permission denied"
                ):
                    change(gallery)
            with pytest.raises(SettingError, match=f"{gallery} cannot be written"):
                check_vectors_file(gallery / "vectors.npz")
    finally:
        gallery.chmod(0o755)
    assert state_of(gallery) == whole.state


def test_parts_of_a_gallery_that_may_not_be_written_are_not_looked_for(whole: Whole) -> None:
    photos, folder = write_photos(whole.root / "of-parts", 2), whole.root / "with-parts"
    embedder = Embedder(open_model(write_conv_model(whole.root / "conv")), LIMITS)
    build_gallery(list_photos(photos), folder, embedder, IndexSpec(), parts=True, quiet=True)
    with LocalWriter.open(folder) as writer:
        writer.add([embed_photo(jpeg(9), PhotoFile("new.jpg"), embedder)])
    folder.chmod(0o555)
    with LocalGallery.open(folder) as gallery:
        said = f"{folder} cannot be written: Permission denied"
        with as_another_user(folder), pytest.raises(ArtifactError, match=said):
            complete_parts(gallery, lambda: pytest.fail("looked for"), quiet=True)
    folder.chmod(0o755)


def test_a_journal_that_may_only_be_read_keeps_the_gallery_as_it_is(
    whole: Whole, gallery: Path
) -> None:
    path = next(gallery.glob("journal/records-*"))
    path.chmod(0o444)
    with (
        as_another_user(gallery),
        pytest.raises(ArtifactError, match="journal cannot be written: Permission denied"),
    ):
        WRITERS["update"](whole, gallery)
    path.chmod(0o644)
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert state_of(gallery) == whole.state


def test_a_catalogue_that_may_not_be_read_is_given_up_if_told_so(
    whole: Whole, gallery: Path
) -> None:
    (gallery / "generation-000002/catalogue.sqlite").chmod(0)
    with as_another_user(gallery):
        report = build_gallery(
            *(list_photos(whole.root / "photos"), gallery, whole.embedder),
            *(whole.spec, whole.storage),
            consent=Consent(discard=True),
            quiet=True,
        )
    assert report.embedded >= report.count
    assert state_of(gallery) == whole.state


@pytest.mark.parametrize("name", [name for name in FILES if "." in name or "*" in name])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    name: str, whole: Whole, gallery: Path
) -> None:
    path = next(gallery.glob(name))
    path.unlink()
    os.mkfifo(path)
    for command in (*_commands(whole), *_changes(whole)):
        with in_time(), contextlib.suppress(DeepfoodError):
            command(gallery)
    with in_time(), contextlib.suppress(DeepfoodError):  # or a build has made it anew
        assert state_of(gallery).keys() >= whole.state.keys()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_who_meets_no_manifest_or_a_damaged_one_is_told_what_mends_it(
    damage: Callable[[Path], object], whole: Whole, gallery: Path
) -> None:
    damage(gallery / "manifest.json")
    for command in (*_commands(whole), *_changes(whole)):
        with pytest.raises(ArtifactError, match="run deepfood verify --repair"):
            command(gallery)
    repair(gallery, [], lambda _: whole.embedder, quiet=True)
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert state_of(gallery) == whole.state


def _commands(whole: Whole) -> list[Callable[[Path], object]]:
    def verify(gallery: Path) -> None:
        problems = list(gallery_problems(gallery, quiet=True))
        if problems:
            raise ArtifactError(problems[0])

    return [state_of, verify]


def _changes(whole: Whole) -> list[Callable[[Path], object]]:
    def change(name: str) -> Callable[[Path], object]:
        return lambda gallery: WRITERS[name](whole, gallery)

    return [change(name) for name in ("add", "update", "attributes", "compact", "build")]
