"""Dishes of photos of several as vectors of their own: found, kept, changed, damaged and mended."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepfood
from deepfood.config import load_settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    NoHeatMapError,
    PhotoNotFoundError,
)
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.engine import Engine, ForAll
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.make_parts import make_parts
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.protocol import FindOptions
from deepfood.gallery.queries import similarity
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalWriter, build_gallery, reindex
from deepfood.local.complete_parts import complete_parts
from deepfood.local.describe import describe
from deepfood.local.lock import only_writer
from deepfood.local.manifest import PartsStorage
from deepfood.local.parts import StoredParts
from deepfood.local.renew import remap
from deepfood.locks import held
from deepfood.model import open_model
from deepfood.photo import Pixels
from deepfood.photo_box import Box
from deepfood.plate import MOST_PARTS, PlateFinder, inner
from deepfood.plate.boxes import Part
from deepfood.release.pull import pull
from deepfood.release.push import push
from live import run_here
from parts_contract import *  # noqa: F403
from parts_contract import (
    TABLES,
    Place,
    Vector,
    all_hits,
    finds,
    narrowed_to,
    new_tables,
    parts_of,
    queries,
    table,
)
from plates import LIMITS, edit_manifest, jpeg, tiny_embedder, write_conv_model

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "gallery", {"parts_storage": "f16"}, exact=5e-4)


def build(
    photos: Path, embedder: Embedder, *, parts: bool | None = True, storage: PartsStorage = "i8"
) -> Path:
    out = photos.with_name("gallery")
    build_gallery(
        list_photos(photos),
        out,
        embedder,
        IndexSpec(),
        parts=parts,
        parts_storage=storage,
        quiet=True,
    )
    return out


def stored(gallery: LocalGallery) -> StoredParts:
    about = gallery.manifest.parts
    assert about
    return StoredParts(gallery.store, about.storage)


def by_store(gallery: LocalGallery, query: Vector) -> dict[str, tuple[float, Box | None]]:
    """The similarity of each photo by id, and the box of the part that is more so, if any."""
    parts, found = stored(gallery), {}
    entries, vectors = parts.of(gallery.store.photos()), parts.vectors()
    for row, photo in gallery.store.rows():
        best = float(similarity(query, gallery.store.vectors().take(np.array([row])))[0])
        box = None
        entry = entries[photo.sha256]
        for place, score in enumerate(similarity(query, vectors.take(entry.rows))):
            if score > best + 1e-6:
                best, box = float(score), entry.boxes[place]
        found[photo.id] = best, box
    return found


@pytest.mark.parametrize("storage", ["f16", "i8"])
def test_a_photo_is_as_similar_as_the_best_of_its_parts(
    photos: Path, embedder: Embedder, storage: PartsStorage
) -> None:
    """Every answer is that of all vectors of all photos, whatever filters and pages ask for."""
    folder = build(photos, embedder, storage=storage)
    with LocalGallery.open(folder) as gallery:
        assert len(stored(gallery).vectors()) > TABLES
        removed, boxes = "", 0
        for seed in range(6):
            for query in queries(seed):
                wanted = by_store(gallery, query)
                assert removed not in wanted
                narrowed: list[FindOptions] = [
                    {},
                    {"where": parse_filter('label = "tables"')},
                    {"without": sorted(wanted)[:3]},
                ]
                for options in narrowed:
                    left = narrowed_to(gallery, wanted, options)
                    hits = all_hits(gallery, query, 4, options, len(left))
                    best = sorted(left.values(), key=lambda one: -one[0])
                    assert [hit.score for hit in hits] == pytest.approx(
                        [score for score, _ in best], abs=1e-5
                    )
                    assert {hit.photo.id for hit in hits} == left.keys()
                    assert {hit.photo.id: hit.box for hit in hits} == {
                        photo: box for photo, (_, box) in left.items()
                    }
                    for hit in hits if query.ndim == 1 else ():
                        own = float(gallery.vector(hit.photo.id) @ query)
                        clearly = hit.score - own > 0.01
                        by_part = gallery.is_found_by_part(hit.photo.id, query)
                        assert by_part if clearly else hit.box or not by_part
                    boxes += sum(hit.box is not None for hit in hits)
                whole = gallery.find(query, len(wanted), whole=True)
                assert not any(hit.box for hit in whole.hits)
            with LocalWriter.open(folder) as writer:
                removed = writer.remove([f"tables/{seed}.jpg"])[0].id
        assert boxes > 20


def test_a_dish_is_found_on_the_photo_of_a_table(photos: Path, embedder: Embedder) -> None:
    """The part's vector is that of a search with its box; its photo is shown once, with the box."""
    with LocalGallery.open(build(photos, embedder)) as gallery:
        entries = stored(gallery).of(gallery.store.photos()).values()
        assert len(entries) == gallery.count
        assert all(len(entry.boxes) != 1 for entry in entries)
        assert max(len(entry.boxes) for entry in entries) <= MOST_PARTS
        for seed in range(TABLES):
            data = table(seed)
            for entry in entries:
                photo = gallery.photo(entry.sha256[:20])
                if photo.file != f"tables/{seed}.jpg":
                    continue
                kept = stored(gallery).vectors().take(entry.rows)
                for box, vector in zip(entry.boxes, kept, strict=True):
                    query = embedder.embed(data, inner(box))
                    assert query @ vector == pytest.approx(1, abs=0.01)
                    hits = gallery.find(query, gallery.count).hits
                    assert hits[0].photo == photo
                    assert hits[0].box in entry.boxes
                    assert hits[0].score == pytest.approx(1, abs=0.01)
                    assert len({hit.photo.id for hit in hits}) == len(hits)


def test_parts_are_compared_with_the_vector_that_their_photo_has(
    photos: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only parts are embedded of a photo whose vector is there."""
    build(photos, embedder, parts=None)
    proposed, embedded = list[object](), list[object]()
    find, infer = PlateFinder.parts, Embedder.infer

    def note_found(finder: PlateFinder, picture: Image.Image) -> list[Part]:
        found = find(finder, picture)
        likely = [one for one in found if one.score >= 0.5]
        proposed.extend(likely if len(likely) > 1 else [])
        return found

    def note_embedded(embedder: Embedder, pixels: Pixels) -> Vector:
        embedded.append(pixels)
        return infer(embedder, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(PlateFinder, "parts", note_found)
        patch.setattr(Embedder, "infer", note_embedded)
        folder = build(photos, embedder)
    assert 0 < len(embedded) == len(proposed)
    with LocalGallery.open(folder) as gallery:
        entries = stored(gallery).of(gallery.store.photos())
    for seed in range(TABLES):
        entry = entries[hashlib.sha256(table(seed)).hexdigest()]
        assert entry.boxes == parts_of(embedder, seed).boxes


def test_builds_remember_the_wish_and_reuse_parts(photos: Path, embedder: Embedder) -> None:
    folder = build(photos, embedder, parts=None)
    assert describe(folder)["parts"] is None
    build(photos, embedder)
    first = describe(folder)["parts"]
    assert first["photos"] > TABLES / 2
    assert first["bytes"] == first["count"] * (16 + 4)
    (photos / "tables" / "new.jpg").write_bytes(table(TABLES))
    report = build_gallery(list_photos(photos), folder, embedder, IndexSpec(), quiet=True)
    second = describe(folder)["parts"]
    assert report.manifest.parts
    assert second["count"] > first["count"]
    with LocalGallery.open(folder) as gallery:
        made = stored(gallery)
        assert not made.has_to_be_made()
    again = build_gallery(list_photos(photos), folder, embedder, IndexSpec(), quiet=True)
    assert again.up_to_date
    assert not build_gallery(
        list_photos(photos), folder, embedder, IndexSpec(), parts=False, quiet=True
    ).manifest.parts
    assert describe(folder)["parts"] is None


def test_where_no_photo_was_looked_at_there_are_no_parts(
    photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    """And of no photos, a Model that finds none is not asked."""
    with LocalGallery.open(build(photos, embedder, parts=None)) as gallery:
        parts = StoredParts(gallery.store, "f16")
        assert parts.vectors().take(np.empty(0, np.int64)).shape == (0, embedder.dimension)
        assert len(parts.lacking()) == gallery.count
        assert parts.owners() == []
        gone = replace(gallery.sample(1, 0)[0], sha256="0" * 64)
        with pytest.raises(PhotoNotFoundError, match="was removed from the gallery meanwhile"):
            parts.whole_of(gone)
        nothing = PartEmbedder(tiny_embedder(tmp_path / "tiny"))
        whole = parts.whole_of
        assert make_parts([], gallery.read, whole, nothing, lambda found: None, quiet=True) == 0


def test_without_openvino_there_are_no_parts(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = tiny_embedder(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(NoHeatMapError, match=r"need OpenVINO.* --no-parts"):
        build(photos, embedder)
    with closing(LocalGallery.open(build(photos, embedder, parts=None))):
        pass


def engine(photos: Path, model: Path, **settings: object) -> Engine:
    """The engine of a gallery of these photos with parts, which it has built."""
    made = engine_at(photos.with_name("gallery"), load_settings(model=model, **settings))
    made.build(list_photos(photos), parts=True, quiet=True)
    return made


def is_complete(place: Engine) -> bool:
    """Whether every photo has been looked at, and all that is known of it is sound."""
    with closing(place.open_to_read()) as gallery:
        assert isinstance(gallery, LocalGallery)
        parts = stored(gallery)
        assert not list(place.problems(quiet=True))
        return not parts.has_to_be_made()


def test_a_server_leaves_photos_to_a_process_that_looks_at_them(
    photos: Path, embedder: Embedder
) -> None:
    place = engine(photos, embedder.model.folder)
    parts = PartEmbedder(embedder)
    with closing(place.open_to_read()) as gallery:
        for seed in new_tables(embedder, 2):
            data = table(seed)
            query = parts_of(embedder, seed).vectors[0]
            with place.writer(embedder.model) as writer:
                writer.add([embed_photo(data, PhotoFile("new.jpg"), embedder)])
            busy = ArtifactBusyError("busy")
            with held(photos.with_name("gallery") / ".parts.lock", busy):  # as another process
                place.look_after(gallery, parts)
            sha256 = hashlib.sha256(data).hexdigest()
            hits = gallery.find(query, 50).hits
            assert [hit.box for hit in hits if hit.photo.sha256 == sha256] == [None]
            place.look_after(gallery, parts)
            best = gallery.find(query, 1).hits[0]
            assert best.photo.sha256 == sha256
            assert best.box
    assert is_complete(place)


def test_parts_of_a_generation_that_was_replaced_are_left_to_the_new_one(
    photos: Path, embedder: Embedder
) -> None:
    """A build comes in between, and looks at the new photo itself."""
    place = engine(photos, embedder.model.folder)
    (seed,) = new_tables(embedder, 1)
    with place.writer(embedder.model) as writer:
        writer.add([embed_photo(table(seed), PhotoFile("new.jpg"), embedder)])

    def build_first() -> PartEmbedder:
        place.build(list_photos(photos), quiet=True)
        return PartEmbedder(embedder)

    with closing(place.open_to_read()) as gallery:
        assert isinstance(gallery, LocalGallery)
        assert complete_parts(gallery, build_first, quiet=True)
        about = place.describe()["parts"]
        assert stored(gallery).rows() == about["count"], "nothing is kept twice"
    assert is_complete(place)
    assert finds(place, embedder, seed)


def test_parts_of_a_model_that_comes_back_serve_again_and_are_compacted(
    photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    place = engine(photos, embedder.model.folder)
    other = Embedder(open_model(write_conv_model(tmp_path / "other", loud=2)), LIMITS)
    assert other.model.fingerprint != embedder.model.fingerprint
    before = finds(place, embedder, 3)
    assert before
    place.reembed(other, quiet=True)
    place = engine_at(photos.with_name("gallery"), load_settings())
    assert is_complete(place)
    assert finds(place, other, 3)
    (seed,) = new_tables(embedder, 1)
    new = tmp_path / "new.jpg"
    new.write_bytes(table(seed))
    place.add([new], ForAll(), quiet=True)
    place.rollback(quiet=True)
    assert is_complete(place)
    assert finds(place, embedder, 3) == before
    assert finds(place, embedder, seed)
    with place.writer() as writer:
        writer.remove([f"tables/{seed}.jpg" for seed in range(4, 8)])
    rows = place.describe()["parts"]["bytes"]
    place.compact(quiet=True)
    assert is_complete(place)
    assert finds(place, embedder, 3) == before
    assert place.describe()["parts"]["bytes"] < rows


def test_a_reembed_goes_on_where_parts_have_another_storage_meanwhile(
    photos: Path, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had made all parts, and somebody else was writing when it was to commit."""
    place, folder = engine(photos, embedder.model.folder), photos.with_name("gallery")
    other = Embedder(open_model(write_conv_model(tmp_path / "other", loud=2)), LIMITS)
    monkeypatch.setattr("deepfood.local.renew.WAIT_S", 0.0)
    with only_writer(folder), pytest.raises(ArtifactBusyError):
        place.reembed(other, quiet=True)
    assert (folder / "renewing" / "parts.i8").is_file()
    build(photos, embedder, storage="f16")
    place.reembed(other, quiet=True)
    place = engine_at(folder, load_settings())
    assert place.describe()["parts"]["storage"] == "f16"
    assert is_complete(place)
    assert finds(place, other, 3)


def test_parts_are_mapped_with_the_photos_where_a_model_follows_from_the_one_before(
    photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    folder = build(photos, embedder)
    other = open_model(write_conv_model(tmp_path / "other", loud=2))

    def mapped(vectors: Vector) -> Vector:
        return np.asarray(np.roll(vectors, 1, axis=1))

    def kept() -> dict[str, Vector]:
        with LocalGallery.open(folder) as gallery:
            parts = stored(gallery)
            entries = parts.of(gallery.photos()[0])
            vectors = parts.vectors()
            return {sha256: vectors.take(one.rows) for sha256, one in entries.items()}

    before = kept()
    remap(folder, embedder.model, other, mapped, quiet=True)
    after = kept()
    assert after.keys() == before.keys()
    for sha256, vectors in before.items():
        # Both are kept as i8.
        np.testing.assert_allclose(after[sha256], mapped(vectors), atol=0.02)


def test_without_openvino_no_other_model_takes_their_place(
    photos: Path, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, tiny = engine(photos, embedder.model.folder), tiny_embedder(tmp_path / "tiny")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)
        with pytest.raises(NoHeatMapError, match="--no-parts"):
            place.reembed(tiny, quiet=True)
    assert is_complete(place)


@pytest.mark.parametrize("kind", ["hnsw", "annoy"])
def test_the_index_of_parts_grows_with_them(
    photos: Path, embedder: Embedder, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = engine(photos, embedder.model.folder, index=kind)
    monkeypatch.setattr(reindex, "TAIL_ROWS", 0)
    with closing(place.open_to_read()) as gallery:
        covered = gallery.manifest.parts.covered  # type: ignore[attr-defined]
        seeds = new_tables(embedder, 4)
        for seed in seeds:
            (tmp_path / f"{seed}.jpg").write_bytes(table(seed))
        place.add(sorted(tmp_path.glob("*.jpg")), ForAll(), quiet=True)
        place.look_after(gallery, PartEmbedder(embedder))
        gallery.follow()
        about = gallery.manifest.parts  # type: ignore[attr-defined]
        assert about.covered > covered
        assert about.index.kind == kind
        assert finds(place, embedder, seeds[-1])
    assert is_complete(place)
    place.compact(quiet=True)
    assert is_complete(place)
    assert finds(place, embedder, seeds[-1])


DAMAGES: dict[str, Callable[[Path, sqlite3.Connection], object]] = {
    "a vector": lambda path, _: path.write_bytes(b"\1" + path.read_bytes()[1:]),
    "the end of the file": lambda path, _: path.write_bytes(path.read_bytes()[:-30]),
    "the file": lambda path, _: path.unlink(),
    "a box": lambda _, db: db.execute("UPDATE parts SET boxes = '[]' WHERE count > 0"),
    "entries": lambda _, db: db.execute("DELETE FROM parts WHERE count > 0"),
    "the table": lambda _, db: db.execute("DROP TABLE parts"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_parts_are_found_and_made_again(
    photos: Path, embedder: Embedder, damage: str
) -> None:
    place = engine(photos, embedder.model.folder)
    before = finds(place, embedder, 3)
    inside = photos.with_name("gallery") / "generation-000001"
    with closing(sqlite3.connect(inside / "catalogue.sqlite")) as db, db:
        DAMAGES[damage](inside / "parts.i8", db)
    assert any("parts" in problem for problem in place.problems(quiet=True))
    done, left = place.repair(quiet=True)
    assert any("parts" in line for line in done)
    assert not left
    assert is_complete(place)
    assert finds(place, embedder, 3) == before


def test_a_manifest_that_is_wrong_about_the_index_of_parts_is_mended(
    photos: Path, embedder: Embedder
) -> None:
    place, folder = engine(photos, embedder.model.folder, index="hnsw"), photos.with_name("gallery")
    before = finds(place, embedder, 3)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    others = {name: one for name, one in manifest["files"].items() if "index-parts" not in name}
    for said, changes in {
        "the index of parts covers more than there are": {
            "parts": {**manifest["parts"], "covered": 999}
        },
        "the manifest names no file of the index of parts": {"files": others},
    }.items():
        edit_manifest(folder, **changes)
        assert said in list(place.problems(quiet=True))
        done, left = place.repair(quiet=True)
        assert "the index is built again" in done
        assert not left
        assert json.loads((folder / "manifest.json").read_bytes()) == manifest
    assert finds(place, embedder, 3) == before
    edit_manifest(folder, parts={**manifest["parts"], "covered": 999})
    with pytest.raises(ArtifactCorruptError, match=r"covers 999 vectors.*--repair"):
        place.open_to_read()


def test_damaged_parts_are_never_answered_with(
    photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    place, inside = engine(photos, embedder.model.folder), photos.with_name("gallery")
    inside /= "generation-000001"
    query = parts_of(embedder, 3).vectors[0]
    with closing(place.open_to_read()) as gallery:
        with closing(sqlite3.connect(inside / "catalogue.sqlite")) as db, db:
            DAMAGES["a box"](inside / "parts.i8", db)
        with pytest.raises(ArtifactCorruptError, match=r"entry of the parts .* altered.*--repair"):
            gallery.find(query, 1)
    place.repair(quiet=True)
    size = (inside / "parts.i8").stat().st_size
    (tmp_path / "new.jpg").write_bytes(table(*new_tables(embedder, 1)))
    place.add([tmp_path / "new.jpg"], ForAll(), quiet=True)
    os.truncate(inside / "parts.i8", size)  # as a power failure of a disk that lied
    with pytest.raises(ArtifactCorruptError, match=r"vectors of parts, and \d+ are wanted"):
        place.open_to_read()
    assert not place.repair(quiet=True)[1]
    assert is_complete(place)


def test_damaged_parts_of_the_generation_before_prevent_a_rollback(
    photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    place = engine(photos, embedder.model.folder)
    other = Embedder(open_model(write_conv_model(tmp_path / "other", loud=2)), LIMITS)
    place.reembed(other, quiet=True)
    path = photos.with_name("gallery") / "generation-000001" / "parts.i8"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    (problem,) = place.problems(quiet=True)
    assert problem.startswith("the generation before: the parts of 1 photo are altered: ")
    assert "rollback --forget" in problem
    with pytest.raises(ArtifactCorruptError, match="the parts of a photo are altered"):
        place.rollback(quiet=True)
    assert finds(place, other, 3)


def test_parts_are_found_again_but_for_photos_that_are_gone(
    photos: Path, embedder: Embedder
) -> None:
    place, gone = engine(photos, embedder.model.folder), photos / "tables" / "5.jpg"
    count, before = len(list(photos.rglob("*.jpg"))), finds(place, embedder, 3)
    inside = photos.with_name("gallery") / "generation-000001"
    with closing(sqlite3.connect(inside / "catalogue.sqlite")) as db, db:
        db.execute("DROP TABLE parts")
    contents = gone.read_bytes()
    gone.unlink()
    done, left = place.repair(quiet=True)
    assert [line for line in done if "parts" in line] == [
        f"the parts of {count - 1} photos are found again"
    ]
    assert "1 photo was not looked at for parts" in left
    assert finds(place, embedder, 3) == before
    gone.write_bytes(contents)
    done, left = place.repair(quiet=True)
    assert "the parts of 1 photo are found again" in done
    assert not left
    assert is_complete(place)


def test_without_the_model_no_parts_are_made_again(photos: Path, embedder: Embedder) -> None:
    engine(photos, embedder.model.folder)
    folder = photos.with_name("gallery")
    path = folder / "generation-000001" / "parts.i8"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    shutil.rmtree(folder / "models")
    place = engine_at(folder, load_settings())
    before = list(place.problems(quiet=True))
    assert any("the parts of the photo" in line for line in before)
    assert place.repair(quiet=True) == ([], before)


def test_rows_that_a_killed_writer_left_belong_to_nothing(photos: Path, embedder: Embedder) -> None:
    """Vectors are written before their entries: a kill in between leaves rows, or part of one."""
    place = engine(photos, embedder.model.folder)
    before = finds(place, embedder, 3)
    with (photos.with_name("gallery") / "generation-000001" / "parts.i8").open("ab") as file:
        file.write(bytes(50))  # two rows of 20 bytes, and a half
    assert is_complete(place)
    (seed,) = new_tables(embedder, 1)
    new = photos / "new.jpg"
    new.write_bytes(table(seed))
    place.add([new], ForAll(), quiet=True)
    assert is_complete(place)
    assert finds(place, embedder, seed)
    assert finds(place, embedder, 3) == before


def test_a_release_has_them(photos: Path, embedder: Embedder, tmp_path: Path) -> None:
    place = engine(photos, embedder.model.folder)
    before = finds(place, embedder, 3)
    settings = load_settings()
    push(photos.with_name("gallery"), str(tmp_path / "store"), settings, quiet=True)
    pull(str(tmp_path / "store"), tmp_path / "pulled", settings, quiet=True)
    pulled = engine_at(tmp_path / "pulled", settings)
    assert is_complete(pulled)
    assert finds(pulled, embedder, 3) == before
    path = photos.with_name("gallery") / "generation-000001" / "parts.i8"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    with pytest.raises(ArtifactCorruptError, match="repair"):
        push(photos.with_name("gallery"), str(tmp_path / "store"), settings, quiet=True)


def test_labels_and_probabilities_are_of_whole_photos(photos: Path, embedder: Embedder) -> None:
    """They are the same with and without parts; a hit by a part has none."""
    settings = load_settings(model=embedder.model.folder)
    for number in range(20):  # so that it is calibrated, and not on plates, which takes long
        (photos / "single" / f"{number}.jpg").write_bytes(jpeg(500 + number))
        (photos / "tables" / f"s{number}.jpg").write_bytes(jpeg(600 + number))
    folder = photos.with_name("gallery")
    asked = [data for seed in range(6) for data in (table(90 + seed), jpeg(700 + seed))]
    deepfood.build_gallery(photos, folder, settings)
    with deepfood.open_gallery(folder, settings) as gallery:
        before = [gallery.search(data) for data in asked]
    deepfood.build_gallery(photos, folder, settings, parts=True)
    with deepfood.open_gallery(folder, settings) as gallery:
        after = [gallery.search(data) for data in asked]
    assert all(one.label for one in before)
    for one, other in zip(before, after, strict=True):
        assert (one.label, one.in_gallery) == (other.label, other.in_gallery)
    by_part = [hit for one in after for hit in one.hits if hit.box]
    assert by_part
    assert {hit.probability for hit in by_part} == {None}
    assert all(hit.probability for one in after for hit in one.hits if not hit.box)


def test_the_command_line_says_what_it_found_and_keeps(
    photos: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = photos.with_name("gallery"), ["--model", str(embedder.model.folder)]
    command = ["build", str(photos), "--out", str(folder), *model]
    assert run_here(*command, "--parts", "--parts-storage", "f16") == 0
    assert re.search(r"parts of photos: \d+ vectors in f16, index exact", capsys.readouterr().out)
    assert run_here("info", folder, "--json") == 0
    kept = json.loads(capsys.readouterr().out)["parts"]
    assert kept["storage"] == "f16"
    assert kept["bytes"] == kept["count"] * 16 * 2
    assert run_here("info", folder) == 0
    said = f"{kept['count']} parts of {kept['photos']} photos, {kept['bytes']:,} bytes in f16"
    assert said in capsys.readouterr().out
    asked = ["search", str(folder), str(photos / "single" / "plate-00001.jpg"), "-k", "18", *model]
    assert run_here(*asked, "--json") == 0
    boxes = [hit["box"] for hit in json.loads(capsys.readouterr().out)["hits"]]
    assert any(boxes)
    assert run_here(*asked) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [re.findall(r"box ([\d.,]+)", one) for one in lines[-1 - len(boxes) : -1]]
    assert [len(one) for one in shown] == [bool(box) for box in boxes]
    assert run_here(*command, "--no-parts", "--json") == 0
    assert json.loads(capsys.readouterr().out)["parts"] is None
