"""What parts of photos do in every gallery, wherever it is, against all vectors of all photos.

A test module that imports these tests gives the fixture `place`.
"""

import io
import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from deepfood.config import load_settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import NoHeatMapError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.engine import Engine, ForAll
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.part_vectors import PartEmbedder, PhotoParts
from deepfood.gallery.photo import Hit
from deepfood.gallery.protocol import FindOptions, SearchedGallery
from deepfood.gallery.queries import similarity, varied
from deepfood.gallery.tuned import TuneVerdict
from deepfood.model import open_model
from deepfood.photo_box import Box
from deepfood.plate.collage import collage
from plates import LIMITS, plate, tiny_embedder, write_conv_model, write_photos

Vector = npt.NDArray[np.float32]
T = TypeVar("T")
TABLES = 10


@cache
def table(seed: int) -> bytes:
    """A JPEG of three drawn dishes."""
    pieces = [plate(100 * seed + one, (150, 150)) for one in range(3)]
    out = io.BytesIO()
    collage(pieces, seed, (320, 240)).image.save(out, "JPEG", quality=92)
    return out.getvalue()


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(open_model(write_conv_model(tmp_path_factory.mktemp("model"))), LIMITS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders: tables of three dishes, and photos of one."""
    write_photos(tmp_path / "photos" / "single", 8)
    (tmp_path / "photos" / "tables").mkdir()
    for seed in range(TABLES):
        (tmp_path / "photos" / "tables" / f"{seed}.jpg").write_bytes(table(seed))
    return tmp_path / "photos"


def new_tables(embedder: Embedder, count: int) -> list[int]:
    """Seeds of tables that the gallery does not have, and that have parts."""
    seeds = (one for one in itertools.count(50) if parts_of(embedder, one).boxes)
    return list(itertools.islice(seeds, count))


def parts_of(embedder: Embedder, seed: int) -> PhotoParts:
    """The dishes of the table of `seed`."""
    return seen_in(embedder, table(seed))[1]


@cache
def seen_in(embedder: Embedder, data: bytes) -> tuple[Vector, PhotoParts]:
    """The vector of a photo as a whole, and its dishes."""
    whole = embedder.embed(data)
    return whole, _finder(embedder).embed(data, whole)


@cache
def _finder(embedder: Embedder) -> PartEmbedder:
    return PartEmbedder(embedder)


def queries(seed: int) -> Iterator[Vector]:
    """A query of one vector, and one of two: as with an unwanted example."""
    drawn = np.random.default_rng(seed).normal(size=(2, 16)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    yield drawn[0]
    yield drawn


@dataclass(frozen=True)
class Place:
    """A place for a gallery, and how exactly it keeps the vectors of parts."""

    place: Path | str
    settings: dict[str, Any]
    exact: float

    def engine(self, model: Path | None = None) -> Engine:
        return engine_at(self.place, load_settings(model=model, **self.settings))

    def built(self, photos: Path, embedder: Embedder, *, parts: bool | None = True) -> Engine:
        made = self.engine(embedder.model.folder)
        made.build(list_photos(photos), parts=parts, quiet=True)
        return made


#: The similarity of a photo, as a whole (None) and by each of its parts.
Similar = dict[Box | None, float]


def by_hand(gallery: SearchedGallery, embedder: Embedder, query: Vector) -> dict[str, Similar]:
    """Of each photo, by id, from its bytes."""
    found: dict[str, Similar] = {}
    for photo in gallery.photos()[0]:
        whole, parts = seen_in(embedder, gallery.read(photo))
        scores = similarity(query, np.concatenate([whole[np.newaxis], parts.vectors])).tolist()
        found[photo.id] = dict(zip([None, *parts.boxes], scores, strict=True))
    return found


def narrowed_to(
    gallery: SearchedGallery, wanted: Mapping[str, T], options: FindOptions
) -> dict[str, T]:
    """Those of the wanted photos that these options leave."""
    return {
        photo: one
        for photo, one in wanted.items()
        if photo not in options.get("without", ())
        and ("where" not in options or gallery.photo(photo).label == "tables")
    }


def all_hits(
    gallery: SearchedGallery, query: Vector, k: int, options: FindOptions, total: int
) -> list[Hit]:
    """The hits of all pages, each of which says that there are `total`."""
    hits: list[Hit] = []
    page = gallery.find(query, k, **options)
    while True:
        assert page.total == total
        hits += page.hits
        if page.next is None:
            return hits
        page = gallery.find(query, k, **options | {"cursor": page.next})


def check_answers(place: Place, embedder: Embedder, seed: int = 0) -> int:
    """Every answer is that of all vectors of all photos; how many hits were by a part."""
    boxes = 0
    with closing(place.engine().open_to_read()) as gallery:
        for query in queries(seed):
            wanted = by_hand(gallery, embedder, query)
            narrowed: list[FindOptions] = [
                {},
                {"where": parse_filter('label = "tables"'), "without": sorted(wanted)[:6]},
            ]
            for options in narrowed:
                left = narrowed_to(gallery, wanted, options)
                hits = all_hits(gallery, query, 7, options, len(left))
                best = {one: max(similar.values()) for one, similar in left.items()}
                assert {hit.photo.id for hit in hits} == left.keys()
                assert len(hits) == len(left)
                for hit, score in zip(hits, sorted(best.values(), reverse=True), strict=True):
                    assert hit.score == pytest.approx(score, abs=place.exact)
                    assert left[hit.photo.id][hit.box] == pytest.approx(hit.score, abs=place.exact)
                for hit in hits if query.ndim == 1 and "where" not in options else ():
                    if abs(hit.score - left[hit.photo.id][None]) > 0.01 or not hit.box:
                        by_part = gallery.is_found_by_part(hit.photo.id, query)
                        assert by_part == (hit.box is not None)
                boxes += sum(hit.box is not None for hit in hits)
            whole = gallery.find(query, len(wanted), whole=True)
            assert not any(hit.box for hit in whole.hits)
            check_variety(gallery, query, {one: max(all_.values()) for one, all_ in wanted.items()})
    return boxes


def check_variety(gallery: SearchedGallery, query: Vector, scores: dict[str, float]) -> None:
    """Varied and grouped answers are those of the same choice among all photos."""
    order = sorted(scores, key=lambda one: -scores[one])
    vectors = gallery.vectors(order)
    every = np.array([scores[one] for one in order], np.float32)
    asked: list[FindOptions] = [{"diversity": 0.7}, {"group_duplicates": True}]
    for options in asked:
        groups, *_ = varied(
            lambda n: (np.arange(len(order))[:n], every[:n]), vectors.__getitem__, 5, options
        )
        found = gallery.find(query, 5, **options)
        shown = [
            [hit.photo.id for hit in (first, *others)]
            for first, others in zip(found.hits, found.alike, strict=True)
        ]
        assert shown == [[order[one] for one in members] for members in groups]


def check_whole(engine: Engine) -> None:
    """Every photo has been looked at, and nothing is wrong."""
    assert list(engine.problems(quiet=True)) == []


def finds(engine: Engine, embedder: Embedder, seed: int) -> Box | None:
    """The box of the table of `seed`, by one of the dishes that its photo shows."""
    parts = parts_of(embedder, seed)
    with closing(engine.open_to_read()) as gallery:
        hit = gallery.find(parts.vectors[0], 1).hits[0]
        assert gallery.read(hit.photo) == table(seed)
        assert hit.box is None or hit.box in parts.boxes
        return hit.box


def test_a_photo_is_as_similar_as_the_best_of_its_parts_whatever_changes(
    place: Place, photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    engine = place.built(photos, embedder)
    assert check_answers(place, embedder)
    (seed,) = new_tables(embedder, 1)
    new = tmp_path / "new.jpg"
    new.write_bytes(table(seed))
    with engine.writer() as writer:
        writer.remove(["tables/1.jpg"])
        writer.update("tables/2.jpg", label="soup")
        writer.update("single/plate-00003.jpg", label="tables")
    engine.add([new], ForAll(label="tables"), quiet=True)
    assert check_answers(place, embedder, 1)
    assert finds(engine, embedder, seed)
    check_whole(engine)
    with engine.writer() as writer:
        writer.remove(["new.jpg"])
    engine.add([new], ForAll(), quiet=True)
    assert finds(engine, embedder, seed)
    check_whole(engine)


def test_builds_remember_the_wish_and_a_rollback_undoes_it(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    engine = place.built(photos, embedder, parts=None)
    assert engine.describe()["parts"] is None
    source = list_photos(photos)
    report = engine.build(source, parts=True, quiet=True)
    assert not report.up_to_date
    assert check_answers(place, embedder)
    kept = engine.describe()["parts"]
    assert report.parts
    assert report.parts.vectors == kept["count"] > kept["photos"] > TABLES / 2
    assert engine.build(source, quiet=True).up_to_date
    (photos / "tables" / "new.jpg").write_bytes(table(new_tables(embedder, 1)[0]))
    (photos / "tables" / "3.jpg").rename(photos.parent / "3.jpg")
    engine.build(list_photos(photos), quiet=True)
    assert check_answers(place, embedder)
    (photos.parent / "3.jpg").rename(photos / "tables" / "3.jpg")
    engine.rollback(quiet=True)
    assert engine.describe()["parts"] == kept
    assert finds(engine, embedder, 3)
    check_whole(engine)
    report = engine.build(list_photos(photos), parts=False, quiet=True)
    assert report.parts is None
    assert engine.describe()["parts"] is None
    with closing(engine.open_to_read()) as gallery:
        query = next(queries(0))
        found = gallery.find(query, 9).hits
        assert found == gallery.find(query, 9, whole=True).hits
    with engine.writer() as writer:
        writer.update("tables/4.jpg", label="soup")
        writer.update("single/plate-00003.jpg", label="tables")
    engine.rollback(quiet=True)
    assert check_answers(place, embedder)
    check_whole(engine)
    engine.rollback(quiet=True)
    assert engine.describe()["parts"] is None
    engine.build(list_photos(photos), quiet=True)
    assert engine.describe()["parts"] is None


def test_a_server_looks_at_photos_that_were_added(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    engine, parts = place.built(photos, embedder), PartEmbedder(embedder)
    with closing(engine.open_to_read()) as gallery:
        for seed in new_tables(embedder, 2):
            one = embed_photo(table(seed), PhotoFile("new.jpg"), embedder)
            with engine.writer(embedder.model) as writer:
                writer.add([one])
            query = parts_of(embedder, seed).vectors[0]
            hits = gallery.find(query, 50).hits
            assert [hit.box for hit in hits if hit.photo.id == one.photo.id] == [None]
            assert any("looked at" in line for line in engine.problems(quiet=True))
            for _ in range(2):  # the second has nothing left to do
                engine.look_after(gallery, parts)
            best = gallery.find(query, 1).hits[0]
            assert best.photo.id == one.photo.id
            assert best.box
    check_whole(engine)


def test_parts_go_along_with_another_model_and_back(
    place: Place, photos: Path, embedder: Embedder, tmp_path: Path
) -> None:
    engine = place.built(photos, embedder)
    other = Embedder(open_model(write_conv_model(tmp_path / "other", loud=2)), LIMITS)
    engine.reembed(other, swap=False, quiet=True)
    engine.reembed(other, quiet=True)
    engine = place.engine()
    check_whole(engine)
    assert check_answers(place, other)
    (seed,) = new_tables(embedder, 1)
    new = tmp_path / "new.jpg"
    new.write_bytes(table(seed))
    engine.add([new], ForAll(), quiet=True)
    engine.rollback(quiet=True)
    check_whole(engine)
    assert check_answers(place, embedder)
    assert finds(engine, embedder, seed)
    tiny = tiny_embedder(tmp_path / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)
        with pytest.raises(NoHeatMapError, match="--no-parts"):
            engine.reembed(tiny, quiet=True)
    place.engine(other.model.folder).build(list_photos(photos), quiet=True)
    check_whole(engine)
    assert finds(engine, other, seed)


def test_in_a_tuned_gallery_a_photo_counts_by_its_average_or_its_best_part(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    engine = place.built(photos, embedder)
    how = Averaging(neighbours=3, power=4, candidates=10)
    verdict = TuneVerdict(averaging=how, queries=60, before={"mAP": 0.5}, after={"mAP": 0.6})
    engine.tune(verdict, embedder.model, 1, quiet=True)
    by_average = by_part = 0
    with closing(engine.open_to_read()) as gallery:
        for seed in range(4):
            query = next(queries(seed))
            similar = by_hand(gallery, embedder, query)
            ids = list(similar)
            own = np.array([similar[one].pop(None) for one in ids], np.float32)
            averaged = how.rescored(own, gallery.vectors(ids)).tolist()
            means = dict(zip(ids, averaged, strict=True))
            best = {one: max([means[one], *similar[one].values()]) for one in ids}
            hits = gallery.find(query, len(ids)).hits
            assert {hit.photo.id for hit in hits} == set(ids)
            assert [hit.score for hit in hits] == sorted([hit.score for hit in hits], reverse=True)
            for hit in hits:
                counts = similar[hit.photo.id][hit.box] if hit.box else means[hit.photo.id]
                assert hit.score == pytest.approx(counts, abs=place.exact)
                assert hit.score == pytest.approx(best[hit.photo.id], abs=place.exact)
            by_part += sum(hit.box is not None for hit in hits)
            by_average += sum(
                hit.box is None and means[hit.photo.id] > own[ids.index(hit.photo.id)] + 0.01
                for hit in hits
            )
    assert by_part
    assert by_average
