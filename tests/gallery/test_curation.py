"""Curation of made-up galleries: what is wrong is found, and what is right is left alone."""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfood.gallery.calibration import SAME_PHOTO
from deepfood.gallery.confident import count_votes
from deepfood.gallery.curation import CURATION_VOTERS, Curation, Outlier, ToLabel, curate
from deepfood.gallery.label_table import curation_csv
from deepfood.gallery.photo import Photo
from deepfood.gallery.queries import NEAR_DUPLICATE
from deepfood.gallery.vote import VOTE_TEMPERATURE
from deepfood.index.contract import best

Floats = npt.NDArray[np.float32]
DISHES = ("curry", "pie", "salad", "soup")


@dataclass(frozen=True)
class Vectors:
    """Vectors in memory, with the interface of a gallery's."""

    all: Floats

    def __len__(self) -> int:
        return len(self.all)

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        return self.all[rows]

    def scores(self, query: Floats) -> Floats:
        return np.asarray(self.all @ query)


@dataclass(frozen=True)
class Index:
    """Finds the nearest of vectors in memory by comparing all."""

    vectors: Vectors

    def search(
        self, query: Floats, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        rows = np.arange(len(self.vectors)) if allowed is None else np.flatnonzero(allowed)
        return best(k, rows, self.vectors.scores(query)[rows])


def photo_of(number: int, label: str | None) -> Photo:
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    return Photo(sha256, f"{number}.jpg", label, None, "image/jpeg", 90, 80, 1, 1)


def look_at(
    vectors: Floats, labels: Sequence[str | None], rows: Sequence[int] | None = None
) -> Curation:
    """The curation of a gallery whose photo number n is in `rows[n]`."""
    where = np.arange(len(labels)) if rows is None else np.array(rows, np.int64)
    stored = np.zeros((int(where.max(initial=-1)) + 2, vectors.shape[1]), np.float32)
    stored[where] = vectors  # the last row, and others, are holes
    order = np.argsort(where)
    photos = [photo_of(int(one), labels[one]) for one in order]
    index = Index(Vectors(stored))
    return curate(index, (photos, index.vectors, where[order]))


def unit(vectors: npt.NDArray[np.float64]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def dishes(
    each: int, seed: int = 0, spread: float = 0.12, names: Sequence[str] = DISHES
) -> tuple[Floats, list[str]]:
    """Photos around one middle a dish; no two are near-copies."""
    rng = np.random.default_rng(seed)
    middles = unit(rng.normal(size=(len(names), 64)))
    labels = [dish for dish in names for _ in range(each)]
    around = middles[np.repeat(np.arange(len(names)), each)]
    return unit(around + rng.normal(0, spread, (len(labels), 64))), labels


def flipped(labels: list[str], share: float, seed: int) -> tuple[list[str | None], set[str]]:
    """The labels with a share of them wrong, and the files of these."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(labels))[: round(share * len(labels))].tolist()
    names = sorted(set(labels))
    now: list[str | None] = list(labels)
    for one in wrong:
        other = names.index(labels[one]) + int(rng.integers(1, len(names)))
        now[one] = names[other % len(names)]
    return now, {f"{one}.jpg" for one in wrong}


def both_ways(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    if not exact:
        monkeypatch.setattr("deepfood.gallery.nearest_others.EXACT_UP_TO", 0)
        monkeypatch.setattr("deepfood.gallery.nearest_others._CHUNK_ROWS", 16)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("seed", "names"), [(1, DISHES), (2, DISHES), (1, DISHES[:2])])
def test_flipped_labels_are_found_first(
    monkeypatch: pytest.MonkeyPatch, exact: bool, seed: int, names: Sequence[str]
) -> None:
    both_ways(monkeypatch, exact)
    vectors, right = dishes(60, names=names)
    labels, wrong = flipped(right, 0.1, seed)
    found = look_at(vectors, labels)
    assert {one.photo.file for one in found.doubtful} <= wrong
    assert len(found.doubtful) >= 0.9 * len(wrong)
    for one in found.doubtful:
        assert one.suggested == right[int(one.photo.file.removesuffix(".jpg"))]
        assert one.photo.label == labels[int(one.photo.file.removesuffix(".jpg"))]
        assert 0 <= one.probability < one.suggested_probability <= 1
        assert CURATION_VOTERS >= one.voters >= one.agreeing > one.voters / 2
    order = [(one.probability, one.margin) for one in found.doubtful]
    assert order == sorted(order)
    assert found.photos == found.labelled == found.judged == len(labels)
    assert found.labels == len(names)


def test_a_gallery_without_a_wrong_label_has_nothing_doubtful() -> None:
    vectors, labels = dishes(60)
    found = look_at(vectors, labels)
    assert (found.doubtful, found.overlaps, found.conflicts, found.to_label) == ((), (), (), ())
    assert found.notes == ()
    assert found.copies_from == NEAR_DUPLICATE


def test_labels_that_overlap_are_paired() -> None:
    """Half of the pies are called tarts, at random."""
    vectors, right = dishes(60)
    rng = np.random.default_rng(5)
    labels = ["tart" if one == "pie" and rng.random() < 0.5 else one for one in right]
    (overlap,) = look_at(vectors, labels).overlaps
    assert overlap.labels == ("pie", "tart")
    assert overlap.share == overlap.photos / 60
    assert overlap.share > 0.2


@pytest.mark.parametrize("exact", [True, False])
def test_copies_with_different_labels_are_named_and_do_not_vote(
    monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    """A wrong label is on five copies of one photo, which would outvote a neighbour's right one."""
    both_ways(monkeypatch, exact)
    vectors, right = dishes(30)
    rng = np.random.default_rng(3)
    copies = unit(vectors[:1].repeat(5, axis=0) + rng.normal(0, 0.01, (5, 64)))
    labels = [*right, *["salad"] * 5]
    found = look_at(np.concatenate([vectors, copies]), labels)
    conflicts = {frozenset(photo.file for photo in one.photos) for one in found.conflicts}
    assert conflicts == {frozenset(("0.jpg", f"{120 + number}.jpg")) for number in range(5)}
    assert all(1 >= one.similarity >= NEAR_DUPLICATE for one in found.conflicts)
    assert {one.photo.file for one in found.doubtful} == {f"{120 + n}.jpg" for n in range(5)}
    assert {one.suggested for one in found.doubtful} == {"curry"}


def test_a_photo_far_from_all_others_is_an_outlier() -> None:
    vectors, labels = dishes(30)
    odd = np.zeros((1, 64), np.float32)
    odd[0, 0] = 1
    found = look_at(np.concatenate([vectors, odd]), [*labels, None])
    assert [one.photo.file for one in found.outliers] == ["120.jpg"]
    assert found.outliers[0].similarity < 0.6
    assert found.outliers[0].deviations > 3.5
    assert look_at(np.repeat(vectors[:1], 30, axis=0), labels[:30]).outliers == ()


def test_uncertain_photos_that_many_resemble_are_worth_a_label() -> None:
    vectors, right = dishes(30)
    curries = np.flatnonzero(np.array(right) == "curry")
    between = unit((vectors[:8] + vectors[30:38]).astype(np.float64))  # curries and pies
    alone = np.zeros((1, 64), np.float32)
    alone[0, 5] = 1
    labels: list[str | None] = [*right, *[None] * 9]
    for one in curries[20:].tolist():
        labels[one] = None
    found = look_at(np.concatenate([vectors, between, alone]), labels)
    files = [one.photo.file for one in found.to_label]
    assert set(files[:2]) <= {f"{120 + number}.jpg" for number in range(8)}
    assert files.index("128.jpg") >= 2
    guesses = {one.photo.file: one.guess for one in found.to_label}
    assert {guesses[f"{one}.jpg"] for one in curries[20:] if f"{one}.jpg" in guesses} == {"curry"}
    worth = [one.uncertainty * one.density for one in found.to_label]
    assert worth == sorted(worth, reverse=True)
    assert found.labelled == 110
    assert all(one.photo.label for one in found.doubtful)


def test_a_gallery_with_no_label_says_so_and_chooses_photos_apart() -> None:
    vectors, _ = dishes(30)
    found = look_at(vectors, [None] * 120)
    assert (found.labelled, found.labels, found.judged, found.doubtful) == (0, 0, 0, ())
    assert [note.code for note in found.notes] == ["few_labels"]
    assert "no label" in str(found.notes[0])
    first = [int(one.photo.file.removesuffix(".jpg")) // 30 for one in found.to_label[:12]]
    assert set(first) == {0, 1, 2, 3}, "one of each dish is among the first"
    assert all(one.guess is None for one in found.to_label)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "the gallery has no photos"),
        ([None], "the photos have no label: labels are judged"),
        (["pie"], "only one label, 'pie'"),
        (["pie"] * 30, "only one label, 'pie'"),
        (["pie", "soup"], "no other photo has the same label: 2 labels (pie, soup)"),
        (["pie"] * 29 + ["soup"], "no other photo has the same label: 1 label (soup)"),
        ([*"abcdefg"], "7 labels (a, b, c, d, e, ...)"),
    ],
)
def test_one_line_says_what_cannot_be_judged(labels: list[str | None], said: str) -> None:
    rng = np.random.default_rng(0)
    found = look_at(unit(rng.normal(size=(len(labels), 16))), labels)
    (note,) = found.notes
    assert said in str(note)
    assert (found.doubtful, found.overlaps) == ((), ())


def test_a_label_of_copies_of_one_photo_is_not_judged() -> None:
    vectors, right = dishes(30)
    labels: list[str | None] = [*right, "cake", "cake"]
    rng = np.random.default_rng(1)
    cakes = unit(vectors[:1].repeat(2, axis=0) * 0.7 + rng.normal(0, 0.05, 64))
    found = look_at(np.concatenate([vectors, cakes]), labels)
    assert ["cake" in str(note) for note in found.notes] == [True]
    assert found.doubtful == ()


def test_a_model_that_packs_dishes_densely_has_copies_of_the_same_picture_only() -> None:
    vectors, right = dishes(30, spread=0.02)
    labels, wrong = flipped(right, 0.1, seed=4)
    found = look_at(vectors, labels)
    assert found.copies_from == SAME_PHOTO
    assert [note.code for note in found.notes] == ["dense_vectors"]
    assert {one.photo.file for one in found.doubtful} == wrong
    assert found.conflicts == ()


@settings(max_examples=40)
@given(
    labels=st.lists(st.sampled_from([None, "a", "b", "c", "once"]), max_size=40),
    seed=st.integers(0, 2**16),
    copies=st.booleans(),
)
def test_the_order_of_the_photos_changes_nothing(
    labels: list[str | None], seed: int, copies: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(len(labels), 8)))
    if copies and len(labels) > 3:
        vectors[2] = vectors[1] = vectors[0]
    rows = rng.permutation(len(labels) + 5)[: len(labels)].tolist()
    assert look_at(vectors, labels) == look_at(vectors, labels, rows)


@settings(max_examples=40)
@given(photos=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_the_votes_are_those_of_the_paper(photos: int, seed: int) -> None:
    """Against the definitions, photo by photo."""
    rng = np.random.default_rng(seed)
    given_ = rng.integers(-1, 4, photos)
    voters = rng.integers(-1, 4, (photos, 5))
    scores = np.sort(rng.uniform(-1, 1, (photos, 5)))[:, ::-1]
    votes = count_votes(given_, voters, scores)
    shares = np.zeros((photos, 4))
    for one in range(photos):
        for label, score in zip(voters[one], scores[one], strict=True):
            if label >= 0:
                shares[one, label] += np.exp(score / VOTE_TEMPERATURE)
        shares[one] /= max(shares[one].sum(), np.finfo(float).tiny)
    judged = (voters >= 0).any(axis=1)
    for one in range(photos):
        mine = given_[one]
        beside = np.where(np.arange(4) == mine, 0, shares[one])
        assert votes.own[one] == pytest.approx(shares[one, mine] if mine >= 0 else 0)
        assert votes.other_share[one] == pytest.approx(beside.max())
        assert votes.voters[one] == (voters[one] >= 0).sum()
        if beside.max() > 0:
            other = votes.other[one]
            assert beside[other] == pytest.approx(beside.max())
            assert votes.agreeing[one] == (voters[one] == other).sum()
            rest = np.where(np.arange(4) == other, 0, beside)
            assert votes.second_share[one] == pytest.approx(rest.max())
        else:
            assert (votes.other[one], votes.agreeing[one]) == (-1, 0)
        likely = {
            label: shares[one, label]
            for label in range(4)
            if shares[one, label] > 0
            and (judged & (given_ == label)).any()
            and shares[one, label] >= shares[judged & (given_ == label), label].mean() - 1e-12
        }
        wanted = max(likely, key=lambda label: likely[label]) if likely else -1
        assert votes.confident[one] == wanted


def test_the_table_says_of_each_photo_why_it_is_worth_a_look() -> None:
    photo = Photo("a" * 64, "1.jpg", None, None, "image/jpeg", 1, 1, 1, 1)
    other = replace(photo, sha256="b" * 64, file="2.jpg")
    found = replace(
        look_at(np.eye(4, 64, dtype=np.float32), [None] * 4),
        outliers=(Outlier(photo, 0.1, 5.0),),
        to_label=(ToLabel(photo, "soup", 0.5, 0.5), ToLabel(other, None, 0.5, 0.5)),
    )
    rows = list(csv.DictReader(curation_csv(found).decode().splitlines()))
    assert {row["file"]: row["reason"] for row in rows} == {
        "1.jpg": "far from all others; worth a label: perhaps 'soup'",
        "2.jpg": "worth a label",
    }
    assert len(curation_csv(found, 0).splitlines()) == 1
