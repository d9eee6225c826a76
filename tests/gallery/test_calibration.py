"""How sure answers are: fitted on what may be used, right on other photos, kept in galleries."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfood.data.photos import PhotoSource, list_photos
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    ArtifactMissingError,
    DatasetError,
)
from deepfood.gallery import Answer, Hit, Photo, judge
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.calibration import (
    _CHUNK_ROWS,
    MAX_QUERIES,
    SAME_PHOTO,
    Calibration,
    Labelled,
    _Queries,
    calibrate,
)
from deepfood.gallery.logistic import Logistic, calibration_error
from deepfood.gallery.vote import VOTERS, vote_with_shares
from deepfood.index import Storage, VectorFile
from deepfood.index.vectors import append_vectors
from deepfood.local import LocalGallery, LocalManifest
from deepfood.local.embedding_cache import held_out_photos
from deepfood.local.lock import only_writer
from deepfood.local.recalibrate import recalibrate
from deepfood.model import open_model
from plates import (
    LIMITS,
    build,
    edit_manifest,
    trained_copy,
    write_dishes,
    write_photos,
)

NOTHING: frozenset[str] = frozenset()


def recalibrated(folder: Path, source: PhotoSource, embedder: Embedder, cache: Path) -> Calibration:
    asked = held_out_photos(source, embedder, cache, quiet=True)
    return recalibrate(folder, asked, embedder.model, quiet=True)


def cloud(each: int, labels: int = 6, *, spread: float = 0.5, seed: int = 0) -> Labelled:
    """Unit vectors around a centre of each label (the same for every seed), and hex ids."""
    centres = np.random.default_rng(99).normal(size=(labels, 16))
    rng = np.random.default_rng(seed)
    vectors = np.repeat(centres, each, axis=0) + rng.normal(0, spread * 2, (labels * each, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"dish {number}" for number in np.repeat(np.arange(labels), each)]
    return Labelled(vectors, names, [f"{seed:04x}{row:016x}" for row in range(len(names))])


def floats(photos: Labelled) -> np.ndarray:
    """The vectors of photos that are in memory."""
    assert isinstance(photos.vectors, np.ndarray)
    return photos.vectors


def relabelled(photos: Labelled, new: dict[str, str]) -> Labelled:
    return Labelled(photos.vectors, [new[name or ""] for name in photos.labels], photos.ids)


def hits_of(gallery: Labelled, query: np.ndarray, k: int = VOTERS) -> list[Hit]:
    scores = gallery.vectors @ query
    rows = np.argsort(-scores, kind="stable")[:k]
    return [Hit(photo(gallery.labels[row]), float(scores[row])) for row in rows]


@cache
def photo(label: str | None) -> Photo:
    return Photo("0" * 64, "a.jpg", label, None, "image/jpeg", 1, 1, 1, 1)


def answer(hits: Sequence[Hit], calibration: Calibration) -> Answer:
    """What hits say that are simply the nearest."""
    voters = [hit for hit in hits if hit.photo.label][:VOTERS]
    return judge(hits, voters, calibration, match_probability=0.8, none_probability=0.3)


# The fit


def test_probabilities_hold_on_photos_it_has_not_seen() -> None:
    gallery = cloud(80)
    fitted = calibrate(gallery, NOTHING, quiet=True)
    assert fitted.queries == 480
    assert fitted.queries_from == "gallery"
    said, right = [], []
    guessed, guess_right = [], []
    new = cloud(50, seed=1)
    for vector, own in zip(floats(new), new.labels, strict=True):
        found = answer(hits_of(gallery, vector), fitted)
        said += [hit.probability for hit in found.hits]
        right += [hit.photo.label == own for hit in found.hits]
        guessed.append(found.label.probability)
        guess_right.append(found.label.label == own)
    assert 0.2 < np.mean(right) < 0.95  # neither hopeless nor trivial
    assert calibration_error(np.array(said), np.array(right)) < 0.08
    assert calibration_error(np.array(guessed), np.array(guess_right)) < 0.1
    assert fitted.label_accuracy == pytest.approx(np.mean(guess_right), abs=0.08)
    assert fitted.hit_ece < 0.1


@pytest.mark.slow
def test_probabilities_hold_where_only_some_photos_have_a_label() -> None:
    everything = cloud(160, spread=0.6)
    rng = np.random.default_rng(5)
    labels = [name if rng.random() < 0.2 else None for name in everything.labels]
    gallery = Labelled(everything.vectors, labels, everything.ids)
    fitted = calibrate(gallery, NOTHING, quiet=True)
    said, right = [], []
    new = cloud(150, spread=0.6, seed=1)
    for vector, own in zip(floats(new), new.labels, strict=True):
        found = answer(hits_of(gallery, vector, k=len(labels)), fitted)
        if found.verdict == "match":
            said.append(found.label.probability)
            right.append(found.label.label == own)
    assert len(said) > 100
    assert np.mean(right) == pytest.approx(np.mean(said), abs=0.06)


def test_dishes_that_the_gallery_lacks_get_a_lower_probability() -> None:
    everything = cloud(60, spread=0.3)
    inside = [row for row, name in enumerate(everything.labels) if name < "dish 4"]  # type: ignore[operator]
    gallery = Labelled(
        floats(everything)[inside],
        [everything.labels[row] for row in inside],
        [everything.ids[row] for row in inside],
    )
    fitted = calibrate(gallery, NOTHING, quiet=True)
    assert fitted.auroc > 0.75
    new = cloud(30, spread=0.3, seed=1)
    there: dict[bool, list[float]] = {True: [], False: []}
    for vector, own in zip(floats(new), new.labels, strict=True):
        there[own < "dish 4"].append(answer(hits_of(gallery, vector), fitted).in_gallery)  # type: ignore[arg-type, operator]
    assert np.mean(there[True]) > np.mean(there[False]) + 0.2


def test_scanning_in_chunks_finds_what_sorting_everything_finds() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2 * _CHUNK_ROWS + 5, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(-1, 3, len(vectors))
    rows = np.flatnonzero(labels >= 0)[::500]
    photos = Labelled(vectors, [], [])
    found = _Queries.ask(vectors[rows], labels[rows], rows, photos, labels, quiet=True)
    for at, row in enumerate(rows):
        scores = vectors @ vectors[row]
        allowed = (labels >= 0) & (scores <= SAME_PHOTO)
        allowed[row] = False
        best = np.argsort(np.where(allowed, -scores, np.inf))[:VOTERS]
        np.testing.assert_allclose(found.everything.scores[at], scores[best], atol=1e-5)
        others = allowed & (labels != labels[row])
        best = np.argsort(np.where(others, -scores, np.inf))[:VOTERS]
        np.testing.assert_allclose(found.others.scores[at], scores[best], atol=1e-5)
        assert (found.others.labels[at] != labels[row]).all()
    assert found.has_own.all()


def test_names_of_labels_do_not_matter() -> None:
    gallery = cloud(30)
    other = {f"dish {n}": f"{(n * 5) % 6}-Gericht {n}" for n in range(6)}
    one, two = (calibrate(g, NOTHING, quiet=True) for g in (gallery, relabelled(gallery, other)))
    for curve in ("hit", "label", "in_gallery"):
        a, b = getattr(one, curve), getattr(two, curve)
        assert (*a.slopes, a.offset) == pytest.approx((*b.slopes, b.offset), rel=1e-6)
    assert one.auroc == pytest.approx(two.auroc)
    assert one.hit_ece == pytest.approx(two.hit_ece)


def test_labels_that_never_mix_give_finite_curves() -> None:
    fitted = calibrate(cloud(20, spread=0.04), NOTHING, quiet=True)
    assert fitted.label_accuracy == 1
    assert fitted.auroc == 1
    for curve in (fitted.hit, fitted.label, fitted.in_gallery):
        assert np.isfinite([*curve.slopes, curve.offset]).all()


def test_two_fits_of_the_same_photos_are_equal_and_large_ones_are_sampled() -> None:
    gallery = cloud(MAX_QUERIES // 2 + 1, labels=2)
    one = calibrate(gallery, NOTHING, quiet=True)
    assert one.queries == MAX_QUERIES
    assert calibrate(gallery, NOTHING, quiet=True) == one
    assert calibrate(gallery, NOTHING, seed=1, quiet=True) != one


# What may not be used


def test_photos_the_model_was_trained_on_are_no_queries() -> None:
    gallery = cloud(40)
    seen = frozenset(gallery.ids[::2])
    # Training photos lie in twos, as a trained Model has them: what flatters must not count.
    flattered = floats(gallery).copy()
    flattered[::4] = flattered[2::4] + 1e-2 * flattered[1::4]
    flattered /= np.linalg.norm(flattered, axis=1, keepdims=True)
    known = Labelled(flattered, gallery.labels, gallery.ids)
    fitted = calibrate(known, seen, quiet=True)
    assert fitted.queries == 120
    by_hand = Labelled(
        flattered[1::2], [*gallery.labels[1::2]], [f"f{row:019x}" for row in range(120)]
    )
    assert fitted.hit == calibrate(known, NOTHING, by_hand, quiet=True).hit
    assert calibrate(known, NOTHING, quiet=True).hit != fitted.hit
    with pytest.raises(DatasetError, match=r"0 photos.*trained on 240.*deepfood calibrate"):
        calibrate(gallery, frozenset(gallery.ids), quiet=True)
    with pytest.raises(DatasetError, match=r"was trained on 240.*give more"):
        calibrate(gallery, frozenset(cloud(40, seed=1).ids), cloud(40, seed=1), quiet=True)


def test_photos_of_the_gallery_are_not_held_out() -> None:
    gallery, others = cloud(40), cloud(20, seed=1)
    with pytest.raises(DatasetError, match=r"240 are in the gallery themselves\): give more"):
        calibrate(gallery, NOTHING, gallery, quiet=True)
    both = Labelled(
        np.vstack([floats(gallery), floats(others)]),
        [*gallery.labels, *others.labels],
        [*gallery.ids, *others.ids],
    )
    found = calibrate(gallery, NOTHING, both, quiet=True)
    assert (found.queries, found.queries_from) == (120, "held-out photos")


def stored_as(photos: Labelled, storage: Storage, folder: Path) -> Labelled:
    path = folder / f"vectors.{storage}"
    dimension = floats(photos).shape[1]
    append_vectors(path, dimension, storage, 0, floats(photos))
    kept = VectorFile.open(path, dimension, storage, len(photos.ids))
    return Labelled(kept, photos.labels, photos.ids)


@pytest.mark.parametrize("storage", ["f16", "i8"])
def test_no_photo_finds_itself_however_vectors_are_stored(storage: Storage, tmp_path: Path) -> None:
    photos = cloud(80)
    rough = stored_as(photos, storage, tmp_path)
    norms = np.linalg.norm(rough.vectors.take(np.arange(480)), axis=1)
    if storage == "i8":
        assert (norms**2 <= SAME_PHOTO).any(), "some would not be told by their similarity"
    exact, found = (calibrate(one, NOTHING, quiet=True) for one in (photos, rough))
    assert found.label_accuracy == pytest.approx(exact.label_accuracy, abs=0.01)
    for score, share in ((0.9, 1.0), (0.8, 0.6), (0.7, 0.3)):
        assert exact.hit([score, share]) == pytest.approx(found.hit([score, share]), abs=0.04)
        assert exact.label([share]) == pytest.approx(found.label([share]), abs=0.04)


def test_copies_of_a_photo_do_not_vouch_for_it() -> None:
    gallery = cloud(30)
    doubled = Labelled(
        np.vstack([floats(gallery), floats(gallery)]),
        [*gallery.labels, *gallery.labels],
        [*gallery.ids, *(f"f{one[1:]}" for one in gallery.ids)],
    )
    once = calibrate(gallery, NOTHING, quiet=True)
    twice = calibrate(doubled, NOTHING, quiet=True)
    assert twice.label_accuracy == pytest.approx(once.label_accuracy, abs=0.1)
    assert twice.label_accuracy < 0.99


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([None] * 100, "0 labels"),
        (["one"] * 100, "1 label,"),
        ([f"dish {n}" for n in range(100)], "100 find no other photo of their label"),
        (["a", "b", *[None] * 98], "2 have a label"),
        (["a"] * 24 + ["b"] * 25 + [None] * 51, "49 photos to calibrate with, and 50"),
        ([], "0 labels"),
    ],
)
def test_too_little_says_what_is_missing(labels: list[str | None], why: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(labels), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    photos = Labelled(vectors, labels, [f"{row:020x}" for row in range(len(labels))])
    with pytest.raises(DatasetError, match=why) as caught:
        calibrate(photos, NOTHING, quiet=True)
    assert "\n" not in str(caught.value)


def test_queries_of_labels_that_the_gallery_lacks_do_not_count() -> None:
    gallery = cloud(40, labels=3)
    queries = cloud(40, labels=6, seed=1)
    assert calibrate(gallery, NOTHING, queries, quiet=True).queries == 120
    few = cloud(16, labels=6, seed=1)
    with pytest.raises(DatasetError, match="48 have a label that the gallery knows"):
        calibrate(gallery, NOTHING, few, quiet=True)


# The answer

CURVES = Calibration(
    hit=Logistic(slopes=(2.0, 6.0), offset=-4.0),
    label=Logistic(slopes=(6.0,), offset=-3.0),
    in_gallery=Logistic(slopes=(6.0, 3.0), offset=-6.0),
    queries_from="gallery",
    queries=100,
    hit_ece=0.01,
    label_ece=0.01,
    label_accuracy=0.9,
    auroc=0.8,
)
SOME_HITS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(-1, 1)), max_size=30
).map(lambda hits: [Hit(photo(x), s) for x, s in sorted(hits, key=lambda hit: -hit[1])])


@given(hits=SOME_HITS)
def test_any_hits_are_judged_within_the_laws(hits: list[Hit]) -> None:
    found = answer(hits, CURVES)
    assert [(hit.photo, hit.score) for hit in found.hits] == [(h.photo, h.score) for h in hits]
    told = any(hit.photo.label for hit in hits)
    assert (found.verdict is not None) == told
    assert (found.label is not None) == (found.in_gallery is not None) == told
    by_label: dict[str, list[float]] = {}
    for hit in found.hits:
        assert (hit.probability is None) == (hit.photo.label is None)
        assert (hit.same_dish is None) == (hit.probability is None)
        if hit.probability is not None:
            assert 0 <= hit.probability <= 1
            by_label.setdefault(hit.photo.label, []).append(hit.probability)  # type: ignore[arg-type]
            none = found.verdict == "none" or hit.probability < 0.3
            word = "likely" if hit.probability >= 0.8 else "perhaps"
            assert hit.same_dish == ("unlikely" if none else word)
    for falling in by_label.values():  # of one label, the more alike is never the less likely
        assert falling == sorted(falling, reverse=True)


@given(hits=SOME_HITS, start=st.integers(0, 30), end=st.integers(0, 30))
def test_which_hits_are_asked_for_changes_no_probability(
    hits: list[Hit], start: int, end: int
) -> None:
    voters = [hit for hit in hits if hit.photo.label][:VOTERS]
    whole = answer(hits, CURVES)
    part = judge(hits[start:end], voters, CURVES, match_probability=0.8, none_probability=0.3)
    assert part.hits == whole.hits[start:end]
    assert (part.verdict, part.label, part.in_gallery) == (
        *(whole.verdict, whole.label, whole.in_gallery),
    )


def test_what_the_verdict_follows() -> None:
    sure = [Hit(photo("a"), 0.9)] * 9
    split = [Hit(photo("ab"[n % 2]), 0.8) for n in range(9)]
    far = [Hit(photo("abc"[n % 3]), 0.2) for n in range(9)]
    assert answer(sure, CURVES).verdict == "match"
    assert answer(sure, CURVES).label.label == "a"
    assert answer(split, CURVES).verdict == "maybe"
    assert answer(far, CURVES).verdict == "none"
    for hits, match, none, verdict in (
        (sure, 1, 0, "maybe"),
        (far, 0, 0, "match"),
        (sure, 0, 1, "none"),
    ):
        found = judge(hits, hits, CURVES, match_probability=match, none_probability=none)
        assert found.verdict == verdict


def test_the_votes_shares_add_up() -> None:
    labels = np.array([[0, 0, 1, -1], [-1, -1, -1, -1], [2, 2, 2, 2]])
    scores = np.array([[0.5, 0.5, 0.5, 0.9], [1, 1, 1, 1], [0.1, 0.2, 0.3, -np.inf]])
    names, shares = vote_with_shares(labels, scores, 3)
    np.testing.assert_array_equal(names, [[0, 1, -1], [-1, -1, -1], [2, -1, -1]])
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0], [0, 0, 0], [1, 0, 0]])  # type: ignore[arg-type]


# In galleries


@pytest.fixture(scope="module")
def dishes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dishes(tmp_path_factory.mktemp("dishes"), 15)


def test_a_build_calibrates_and_the_manifest_keeps_it(
    dishes: Path, tmp_path: Path, embedder: Embedder
) -> None:
    built = build(dishes, tmp_path / "g", embedder).manifest
    assert built.calibration is not None
    assert built.calibration.queries == 60
    assert built.calibration.label_accuracy > 0.5
    assert built.uncalibrated is None
    assert LocalManifest.read(tmp_path / "g") == built
    with LocalGallery.open(tmp_path / "g", embedder.model) as gallery:
        assert gallery.manifest.calibration == built.calibration
    again = build(dishes, tmp_path / "g", embedder)
    assert again.up_to_date
    assert again.manifest.calibration == built.calibration


def test_galleries_without_it_open_and_the_next_build_adds_it(
    dishes: Path, tmp_path: Path, embedder: Embedder
) -> None:
    build(dishes, tmp_path / "g", embedder)
    edit_manifest(tmp_path / "g", without=["calibration", "uncalibrated"])
    with LocalGallery.open(tmp_path / "g", embedder.model) as gallery:
        assert gallery.manifest.calibration is None
        _, vectors, rows = gallery.photos()
        assert gallery.search(vectors.take(rows[:1])[0], 1)[0].probability is None
    again = build(dishes, tmp_path / "g", embedder)
    assert (again.up_to_date, again.embedded) == (False, 0)
    assert again.manifest.calibration is not None


def test_a_build_without_labels_says_why(tmp_path: Path, embedder: Embedder) -> None:
    built = build(write_photos(tmp_path / "photos", 60), tmp_path / "g", embedder).manifest
    assert built.calibration is None
    assert "0 labels" in (built.uncalibrated or "")
    assert build(tmp_path / "photos", tmp_path / "g", embedder).up_to_date


@pytest.mark.parametrize(
    "damage",
    [
        {"auroc": 1.5},
        {"queries": 0},
        {"hit": {"slopes": [-1.0, 1.0], "offset": 0}},
        {"hit": {"slopes": [1.0, 1.0], "offset": "inf"}},
        {"hit": {"slopes": [1.0], "offset": 0}},
        {"label": {"slopes": [], "offset": 0}},
        {"surprise": 1},
    ],
)
def test_damaged_curves_are_refused(
    damage: dict[str, object], dishes: Path, tmp_path: Path, embedder: Embedder
) -> None:
    whole = CURVES.model_dump(mode="json")
    with pytest.raises(ValueError, match="validation error"):
        Calibration.model_validate({**whole, **damage})
    build(write_photos(tmp_path / "photos", 2), tmp_path / "g", embedder)
    edit_manifest(tmp_path / "g", calibration={**whole, **damage})
    with pytest.raises(ArtifactCorruptError, match="calibration"):
        LocalGallery.open(tmp_path / "g", embedder.model)


def test_a_model_trained_on_the_gallery_is_calibrated_with_other_photos(
    dishes: Path, tmp_path: Path, embedder: Embedder
) -> None:
    seen = dishes.rglob("*.jpg")
    model = trained_copy(tmp_path / "trained", embedder.model.folder, seen, name="trained")
    trained = Embedder(open_model(model), LIMITS)
    out = tmp_path / "g"
    built = build(dishes, out, trained).manifest
    assert built.calibration is None
    assert "was trained on 60" in (built.uncalibrated or "")

    before = (out / "manifest.json").read_bytes()
    with pytest.raises(DatasetError, match="60 are in the gallery"):
        recalibrated(out, list_photos(dishes), trained, tmp_path / "cache")
    bare = list_photos(write_photos(tmp_path / "bare", 2))
    with pytest.raises(DatasetError, match="no labelled photos"):
        recalibrated(out, bare, trained, tmp_path / "cache")
    with only_writer(out), pytest.raises(ArtifactBusyError):
        recalibrated(out, list_photos(dishes), trained, tmp_path / "cache")
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ArtifactMissingError):
        recalibrated(nowhere, list_photos(dishes), trained, tmp_path / "cache")
    assert not nowhere.exists()
    assert (out / "manifest.json").read_bytes() == before

    others = list_photos(write_dishes(tmp_path / "others", 20, start=500))
    found = recalibrated(out, others, trained, tmp_path / "cache")
    assert (found.queries, found.queries_from) == (80, "held-out photos")
    kept = LocalManifest.read(out)
    assert (kept.calibration, kept.uncalibrated) == (found, None)
    assert kept.model_copy(update={"calibration": None}) == built.model_copy(
        update={"uncalibrated": None}
    )
    assert build(dishes, out, trained).manifest == kept  # up to date: it stays


@pytest.mark.slow
def test_a_full_disk_while_calibrating_leaves_the_gallery_as_it_was(
    dishes: Path, tmp_path: Path, embedder: Embedder
) -> None:
    build(dishes, tmp_path / "g", embedder)
    before = (tmp_path / "g/manifest.json").read_bytes()
    # The embeddings are cached first; then no file may grow beyond 100 bytes when the manifest
    # must.
    others = write_dishes(tmp_path / "others", 20, start=500)
    recalibrated(tmp_path / "g", list_photos(others), embedder, tmp_path / "cache")
    assert (tmp_path / "g/manifest.json").read_bytes() != before
    (tmp_path / "g/manifest.json").write_bytes(before)
    code = (
        "import json, resource, sys\n"
        "sys.path[:0] = json.loads(sys.argv.pop(1))\n"
        "from deepfood.cli import main\n"
        "from limited import limit\n"
        "def fill(event, about):\n"
        "    if event == 'open' and '.manifest.json.' in str(about[0]):\n"
        "        limit(resource.RLIMIT_FSIZE, 100)\n"
        "sys.addaudithook(fill)\n"
        "main()"
    )
    arguments = ["calibrate", tmp_path / "g", others, "--model", tmp_path / "model"]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sys.path), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "DEEPFOOD_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 2, done.stderr
    assert "no space left on the disk of" in done.stderr
    assert "manifest.json" in done.stderr.splitlines()[-1]
    assert (tmp_path / "g/manifest.json").read_bytes() == before


def test_a_tuned_gallery_is_calibrated_with_the_scores_that_it_gives() -> None:
    photos = cloud(40, labels=3, spread=0.5)
    labels = np.array([int(str(name).removeprefix("dish ")) for name in photos.labels])
    vectors = floats(photos)
    how = Averaging(neighbours=5, power=3, candidates=30)
    rows = np.arange(0, len(labels), 7)
    found = _Queries.ask(vectors[rows], labels[rows], rows, photos, labels, True, how)
    for at, row in enumerate(rows):
        scores = vectors @ vectors[row]
        scores[row] = -np.inf
        for nearest, some in (
            (found.everything, scores),
            (found.others, np.where(labels == labels[row], np.float32(-np.inf), scores)),
        ):
            best = -np.sort(-how.rescored(some, vectors))[:VOTERS]
            np.testing.assert_allclose(nearest.scores[at], best, atol=1e-5)
    assert calibrate(photos, NOTHING, averaging=how, quiet=True) != calibrate(
        photos, NOTHING, quiet=True
    )
