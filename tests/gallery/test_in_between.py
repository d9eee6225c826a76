"""What others do between two steps of a command counts: it follows them, or gives way."""

import itertools
import pkgutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import ArtifactBusyError, ArtifactError, PhotoNotFoundError, QueryError
from deepfood.gallery.browse import Selected, Sort
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.reports import Consent
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.checkpoints import checkpoints, fold_of
from deepfood.local.connections import unusable
from deepfood.local.journal import Journal
from deepfood.local.reindex import reindex, while_nobody_writes
from deepfood.local.renew import only_renewal, reembed
from deepfood.local.store import CATALOGUE
from deepfood.local.verify import Fault, gallery_problems
from deepfood.locks import held
from plates import build, jpeg, sha256, tiny_embedder, write_photos


def photo_id(seed: int) -> str:
    return sha256(jpeg(seed))[:20]


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    """Photos 0 to 4 with an index of four of them; the last one was added."""
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 4), out, embedder, IndexSpec(kind="hnsw"))
    add_photos(out, [write_photos(tmp_path / "new", 1, start=4)], embedder, quiet=True)
    return out


@pytest.fixture
def build_again(gallery: Path, tmp_path: Path, embedder: Embedder) -> Callable[[], object]:
    """Builds a further generation, with one more photo."""

    def build_one_more() -> object:
        write_photos(tmp_path / "photos", 1, start=10 + LocalManifest.read(gallery).generation)
        return build(tmp_path / "photos", gallery, embedder, IndexSpec(kind="hnsw"))

    return build_one_more


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Has something done once, before a function of deepfood is called for the first time."""

    def patch(name: str, do: Callable[[], object]) -> None:
        real, todo = pkgutil.resolve_name(name), [do]

        def done_first(*given: object, **named: object) -> object:
            while todo:
                todo.pop()()
            return real(*given, **named)

        monkeypatch.setattr(name, done_first)

    return patch


def before_reading(opened: LocalGallery, statement: str, do: Callable[[], object]) -> None:
    """Have something done once, before the gallery's catalogue is asked such a statement."""
    todo, connection = [do], opened.store._db

    def note(asked: str) -> None:
        if todo and statement in asked:
            todo.pop()()

    connection.set_trace_callback(note)


def test_a_writer_takes_the_generation_that_was_built_while_it_waited(
    gallery: Path,
    build_again: Callable[[], object],
    before: Callable[[str, Callable[[], object]], None],
) -> None:
    before("deepfood.local.writer.only_writer", build_again)
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00011.jpg", label="soup")
    with LocalGallery.open(gallery) as opened:
        assert opened.manifest.generation == 2
        assert opened.photo(photo_id(11)).label == "soup"
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_an_index_gives_way_to_a_build(
    gallery: Path,
    build_again: Callable[[], object],
    before: Callable[[str, Callable[[], object]], None],
) -> None:
    before("deepfood.local.reindex.only_writer", build_again)
    assert not reindex(gallery, quiet=True)
    assert LocalManifest.read(gallery).generation == 2
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert reindex(gallery, quiet=True)


def test_of_two_who_index_one_goes_on(gallery: Path) -> None:
    busy = ArtifactBusyError("busy")
    unfinished = LocalManifest.read(gallery).folder(gallery) / "index-000000099.faiss"
    unfinished.touch()
    with held(gallery / ".reindex.lock", busy):
        assert not reindex(gallery, quiet=True)
        with LocalWriter.open(gallery):
            assert unfinished.exists(), "perhaps the other's"
    with LocalWriter.open(gallery):
        assert not unfinished.exists()
    assert reindex(gallery, quiet=True)
    assert LocalManifest.read(gallery).covered == 5


def test_a_reader_follows_two_builds_at_once(
    gallery: Path,
    build_again: Callable[[], object],
    before: Callable[[str, Callable[[], object]], None],
) -> None:
    """The generation that the manifest named a moment ago is gone by then."""

    def build_twice() -> None:
        build_again()
        build_again()

    with LocalGallery.open(gallery) as opened:
        build_again()
        before("deepfood.local.follower.open_store", build_twice)
        assert opened.follow().manifest.generation == 4
        assert opened.photo(photo_id(13)).file == "plate-00013.jpg"


def test_a_build_takes_in_what_a_reader_was_about_to(
    gallery: Path,
    build_again: Callable[[], object],
    before: Callable[[str, Callable[[], object]], None],
) -> None:
    journal = Journal(gallery)  # of a writer that is killed then
    edit = {"sha256": sha256(jpeg(1)), "label": "broth"}
    journal.append("update", "a", {"photos": [edit]})
    journal.close()
    before("deepfood.local.recover.only_writer", build_again)
    with LocalGallery.open(gallery) as opened:
        assert opened.follow().manifest.generation == 2
        assert opened.photo(photo_id(1)).label == "broth"
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_edits_during_a_reembed_are_taken_over(
    gallery: Path, tmp_path: Path, before: Callable[[str, Callable[[], object]], None]
) -> None:
    other = tiny_embedder(tmp_path / "other", pool=16)

    def edit() -> None:
        with LocalWriter.open(gallery) as writer:
            writer.declare({"price": Definition("number")})
            writer.update("plate-00001.jpg", label="broth", attributes={"price": 5})

    before("deepfood.local.renew.calibrate_store", edit)
    assert reembed(gallery, other, quiet=True).swapped
    with LocalGallery.open(gallery) as opened:
        photo, values = opened.facts(photo_id(1))
        assert (photo.label, values) == ("broth", {"price": 5})
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_a_photo_that_was_added_a_moment_ago_has_a_vector(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    new = write_photos(tmp_path / "more", 1, start=20)
    with LocalGallery.open(gallery) as opened:

        def add() -> None:
            add_photos(gallery, [new], embedder, quiet=True)

        before_reading(opened, "WHERE sha256 >=", add)
        assert opened.vector(photo_id(20)) == pytest.approx(embedder.embed(jpeg(20)), abs=1e-6)


@pytest.mark.parametrize("what", ["photos", "labels", "facets", "an attribute", "a filter"])
def test_lists_show_nothing_that_was_removed_meanwhile(what: str, gallery: Path) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.declare({"hot": Definition("boolean")})
        writer.update("plate-00001.jpg", label="broth", attributes={"hot": True})

    def change() -> None:
        with LocalWriter.open(gallery) as writer:
            if what in ("an attribute", "a filter"):
                writer.update("plate-00001.jpg", attributes={"hot": None})
            else:
                writer.remove(["plate-00001.jpg"])

    with LocalGallery.open(gallery) as opened:
        before_reading(opened, "WHERE row IN", change)
        if what == "photos":
            page = opened.browse(Selected(), Sort.parse("name"), 9)
            assert page.total == 4
            assert photo_id(1) not in {photo.id for photo, _ in page.photos}
        elif what == "a filter":
            hot = Selected(parse_filter("hot = true"))
            assert opened.browse(hot, Sort.parse("name"), 9).photos == []
        elif what == "labels":
            assert opened.label_page("", 9).total == 0
        else:
            facets = opened.facets(Selected(), 9).facets
            shown = tuple([one.value for one in facet.values] for facet in facets)
            assert shown == (["broth"] if what == "an attribute" else [], [])


def test_a_cursor_ends_with_its_generation(
    gallery: Path, build_again: Callable[[], object]
) -> None:
    with LocalGallery.open(gallery) as opened:
        cursor = opened.browse(Selected(), Sort.parse("name"), 2).next
        build_again()
        opened.follow()
        with pytest.raises(QueryError, match="was built anew since: begin with the first page"):
            opened.browse(Selected(), Sort.parse("name"), 2, cursor)


def test_photos_are_read_from_where_the_newest_build_found_them(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with LocalGallery.open(gallery) as opened:
        photo = opened.photo(photo_id(1))
        (tmp_path / "photos").rename(tmp_path / "moved")
        with pytest.raises(PhotoNotFoundError):
            opened.read(photo)
        build_gallery(
            *(list_photos(tmp_path / "moved"), gallery, embedder, IndexSpec()),
            consent=Consent(replace=True),
            quiet=True,
        )
        opened.follow()
        assert opened.read(photo) == jpeg(1)


def test_what_looks_after_a_gallery_writes_index_and_checkpoints(
    gallery: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, journal = engine_at(gallery, Settings()), Journal(gallery)
    with LocalGallery.open(gallery) as opened:
        engine.look_after(opened, PartEmbedder(embedder))
        assert LocalManifest.read(gallery).covered == 4, "one photo is no long tail"
        assert checkpoints(journal) == []

        monkeypatch.setattr("deepfood.local.reindex.TAIL_ROWS", 0)
        monkeypatch.setattr("deepfood.local.checkpoints.TAIL_RECORDS", 1)
        for label in ("broth", "stew", "soup"):
            with LocalWriter.open(gallery) as writer:
                writer.update("plate-00001.jpg", label=label)
            engine.look_after(opened, PartEmbedder(embedder))
        assert opened.follow().manifest.covered == 5
    newest, oldest = checkpoints(journal)[::-1]
    assert [newest.name, oldest.name] == [f"checkpoint-{n:012d}.jsonl" for n in (5, 4)]
    assert fold_of(journal)[sha256(jpeg(1))].label == "soup"

    newest.write_bytes(oldest.read_bytes())
    said = list(gallery_problems(gallery, quiet=True))
    assert said == [f"the checkpoint {newest.name}: {newest} is damaged: it is of another record"]
    assert fold_of(journal)[sha256(jpeg(1))].label == "soup", "from the earlier one"
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00002.jpg", label="pie")
    assert engine.compact(quiet=True).count == 5
    assert checkpoints(journal)[-1].name == "checkpoint-000000000006.jsonl"
    assert fold_of(journal)[sha256(jpeg(2))].label == "pie"

    monkeypatch.setattr("deepfood.local.renew.LEAST_HOLES", 1)
    with LocalWriter.open(gallery) as writer:
        writer.remove([photo_id(seed) for seed in (0, 2, 3, 4)])
    generation = LocalManifest.read(gallery).generation
    with LocalGallery.open(gallery) as opened:
        with only_renewal(gallery):
            engine.look_after(opened, PartEmbedder(embedder))
            assert LocalManifest.read(gallery).generation == generation, "somebody is at it"
        engine.look_after(opened, PartEmbedder(embedder))
        assert LocalManifest.read(gallery).generation == generation + 1
        assert len(opened.follow().alive) == opened.count == 1
    assert fold_of(journal)[sha256(jpeg(1))].label == "soup"


@pytest.mark.parametrize(("below", "kind"), [(9, "exact"), (5, "hnsw")])
def test_an_index_of_the_kind_that_fits_the_number_of_photos(
    below: int, kind: str, tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 4), out, embedder, IndexSpec(kind="auto"))
    assert LocalManifest.read(out).index.kind == "exact"
    monkeypatch.setattr("deepfood.index.contract.EXACT_BELOW", below)
    add_photos(out, [write_photos(tmp_path / "new", 2, start=4)], embedder, quiet=True)
    assert LocalManifest.read(out).index.kind == kind
    with LocalGallery.open(out) as opened:
        assert opened.search(embedder.embed(jpeg(5)), 1)[0].photo.id == photo_id(5)
    assert list(gallery_problems(out, quiet=True)) == []


def test_a_writer_that_waits_in_vain_for_the_catalogue_is_told(
    gallery: Path,
) -> None:
    catalogue = LocalManifest.read(gallery).folder(gallery) / CATALOGUE
    with (
        closing(sqlite3.connect(catalogue)) as one,
        closing(sqlite3.connect(catalogue, timeout=0)) as other,
    ):
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as error:
            other.execute("BEGIN IMMEDIATE")
    told = unusable(catalogue, error.value)
    assert isinstance(told, ArtifactBusyError)
    assert str(told).startswith(f"another process is writing {catalogue} (database is locked)")


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ("photos", "catalogue_faults"),
        ("photos", "_word_faults"),
        ("photos", "_photo_faults"),
        ("index", "model_problems"),
        ("build", "_checkpoint_faults"),
    ],
)
def test_verify_finds_no_fault_in_what_others_write_meanwhile(
    change: str,
    step: str,
    gallery: Path,
    tmp_path: Path,
    embedder: Embedder,
    build_again: Callable[[], object],
    before: Callable[[str, Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deepfood.local.reindex.TAIL_ROWS", 0)
    said: list[str] = []

    def change_photos() -> None:
        with LocalWriter.open(gallery) as writer:
            writer.declare({"halal": Definition("boolean")})
            writer.update("plate-00001.jpg", label="soup", attributes={"halal": True})
            writer.remove([photo_id(2), photo_id(4)])
        add_photos(gallery, [write_photos(tmp_path / "more", 1, start=7)], embedder, quiet=True)

    changes: dict[str, Callable[[], object]] = {
        "photos": change_photos,
        "index": lambda: reindex(gallery),
        "build": build_again,
    }
    before(f"deepfood.local.verify.{step}", changes[change])
    said += gallery_problems(gallery, quiet=True)
    assert said == list(gallery_problems(gallery, quiet=True)) == []


@pytest.mark.parametrize(
    "step", ["growing_store._write_state", "reindex.only_writer", "assemble.calibrate_store"]
)
def test_verify_finds_no_fault_in_what_is_half_written(
    step: str,
    gallery: Path,
    build_again: Callable[[], object],
    before: Callable[[str, Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deepfood.local.reindex.TAIL_ROWS", 0)
    said: list[list[str]] = []
    before(f"deepfood.local.{step}", lambda: said.append([*gallery_problems(gallery, quiet=True)]))
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00001.jpg", label="soup")
    reindex(gallery)
    build_again()
    assert said == [[]]


def test_verify_looks_again_for_files_that_were_replaced(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = itertools.count()
    found: list[Fault | OSError] = []

    def next_fault(*given: object, **options: object) -> list[Fault]:
        one = found.pop()
        if isinstance(one, OSError):
            raise one
        return [one]

    monkeypatch.setattr("deepfood.local.verify._faults", next_fault)
    monkeypatch.setattr("deepfood.local.verify.manifest_stamp", lambda folder: next(moments))
    found += [Fault("real", "index"), *(FileNotFoundError("gone") for _ in range(3))]
    assert list(gallery_problems(gallery, quiet=True)) == ["real"]
    found += [FileNotFoundError("gone") for _ in range(4)]
    with pytest.raises(FileNotFoundError):
        list(gallery_problems(gallery, quiet=True))
    assert not found
    found += [Fault(f"fault {number}", "index") for number in range(4)]  # it never rests
    assert list(gallery_problems(gallery, quiet=True)) == ["fault 0"]
    monkeypatch.setattr("deepfood.local.verify.manifest_stamp", lambda folder: 0)
    found.append(FileNotFoundError("gone"))
    with pytest.raises(FileNotFoundError):
        list(gallery_problems(gallery, quiet=True))


def test_a_gallery_that_cannot_be_locked_has_no_writer(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise ArtifactError(f"{folder} is read-only")

    with held(gallery / ".lock"), while_nobody_writes(gallery, alone=True) as idle:
        assert idle
    monkeypatch.setattr("deepfood.local.reindex.only_writer", refuse)
    with while_nobody_writes(gallery, alone=False) as idle:
        assert idle
