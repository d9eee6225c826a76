"""Turn similarities into probabilities, by curves that are fitted on labelled photos.

A Calibration is three logistic curves, kept in the manifest. Beside a similarity they use the
weighted vote of the nearest labelled photos (vote.py), which is more informative:

- `hit`: a hit's similarity and its label's share of the vote -> the probability that its label is
  right, if the gallery has that dish at all;
- `label`: the winner's share of the vote -> the probability that the winner is right, if it has;
- `in_gallery`: the best similarity and the winner's share -> the probability that the gallery has
  the dish, fitted on each query once as it is and once with its label left out of the gallery: as
  if every second dish were new. How well it separates them is the AUROC of Hendrycks and Gimpel,
  "A Baseline for Detecting Misclassified and Out-of-Distribution Examples" (2017).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deepfood.counted import counted
from deepfood.embed import Vectors
from deepfood.errors import DatasetError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.logistic import Bools, Floats, Logistic, auroc, calibration_error
from deepfood.gallery.plate_calibration import PlateCalibration
from deepfood.gallery.vote import VOTERS, Labels, vote_share
from deepfood.gallery.word_calibration import EmbedWords, WordCalibration, calibrate_words
from deepfood.index import VectorFile
from deepfood.progress import bar

#: Above this similarity it is the same picture, saved again, and not representative of new photos.
SAME_PHOTO = 0.999
#: More queries do not improve curves of two or three parameters.
MAX_QUERIES = 2000
MIN_QUERIES = 50

_CHUNK_ROWS = 4096

Share = Annotated[float, Field(ge=0, le=1)]
Source = Literal["gallery", "held-out photos"]


def _of_one_score(curve: Logistic) -> Logistic:
    if len(curve.slopes) != 1:
        raise ValueError(f"{len(curve.slopes)} slopes, and this curve has 1")
    return curve


def _of_two_scores(curve: Logistic) -> Logistic:
    if len(curve.slopes) != 2:
        raise ValueError(f"{len(curve.slopes)} slopes, and this curve has 2")
    return curve


class Calibration(BaseModel):
    """The curves, and their quality on photos that they were not fitted on.

    `hit_ece` and `label_ece` are expected calibration errors. `auroc` measures how well dishes of
    the gallery are told from left-out ones. All are measured on one half of the queries with curves
    of the other half.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hit: Annotated[Logistic, AfterValidator(_of_two_scores)]
    label: Annotated[Logistic, AfterValidator(_of_one_score)]
    in_gallery: Annotated[Logistic, AfterValidator(_of_two_scores)]
    #: Whether the queries were the gallery's own photos, each left out in turn, or others.
    queries_from: Source
    queries: Annotated[int, Field(ge=1)]
    hit_ece: Share
    label_ece: Share
    label_accuracy: Share
    auroc: Share
    #: The curves of words; None where the Model has no text tower, or there are too few labels.
    words: WordCalibration | None = None
    #: The curves of plates, or the reason why there are none.
    plates: PlateCalibration | None = None
    no_plates: str | None = None


@dataclass(frozen=True)
class Labelled:
    """Photos to calibrate with: vectors float32 [n, dim], labels and ids."""

    vectors: Vectors | VectorFile
    labels: Sequence[str | None]
    ids: Sequence[str]

    def take(self, rows: Labels) -> Vectors:
        """The vectors of some rows, float32 [len(rows), dim]."""
        if isinstance(self.vectors, VectorFile):
            return self.vectors.take(rows)
        return self.vectors[rows]


def calibrate(
    gallery: Labelled,
    trained_on: frozenset[str],
    held_out: Labelled | None = None,
    *,
    averaging: Averaging | None = None,
    embed_words: EmbedWords | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Calibration:
    """Fit the curves with queries from `held_out`, or with the gallery's own photos one by one.

    `averaging` is that of a gallery that is tuned. With `embed_words`, the curves of words are
    fitted as well, with the labels.

    A query never finds itself or the same picture saved again. Photos in `trained_on` (ids of those
    that the Model was trained on) are no queries: they are more similar than new photos will be.
    Held-out photos that are in the gallery are no queries either. Raises DatasetError, which says
    what is missing, where there are too few photos.
    """
    number = {name: i for i, name in enumerate(sorted({name for name in gallery.labels if name}))}
    if len(number) < 2:
        raise DatasetError(
            f"the photos have {counted(number, 'label')}, and two or more are needed: build the "
            "gallery from a folder of class folders, or from a CSV with a column label"
        )
    source = held_out or gallery
    held = frozenset(gallery.ids) if held_out else frozenset[str]()
    known = [row for row, name in enumerate(source.labels) if name in number]
    apart = [row for row in known if source.ids[row] not in held]
    unseen = [row for row in apart if source.ids[row] not in trained_on]
    why = [f"{len(known)} have a label that the gallery knows"]
    if in_gallery := len(known) - len(apart):
        why.append(f"{in_gallery} are in the gallery themselves")
    if seen := len(apart) - len(unseen):
        why.append(f"the Model was trained on {seen} of these")
    rng = np.random.default_rng(seed)
    if len(unseen) < MIN_QUERIES:
        raise DatasetError(_too_few(len(unseen), why, held_out))
    drawn = np.sort(rng.permutation(unseen)[:MAX_QUERIES]).astype(np.int64)
    own = np.array([number[source.labels[row] or ""] for row in drawn], np.int64)
    own_rows = np.full(len(drawn), -1) if held_out else drawn
    labels = np.array([number.get(name or "", -1) for name in gallery.labels], np.int64)
    asked = _unit(source.take(drawn))
    queries = _Queries.ask(asked, own, own_rows, gallery, labels, quiet, averaging)
    usable = queries.select(queries.has_own & np.isfinite(queries.others.scores[:, 0]))
    if len(usable.own) < MIN_QUERIES:
        why.append(f"{len(drawn) - len(usable.own)} find no other photo of their label")
        raise DatasetError(_too_few(len(usable.own), why, held_out))
    found = _fit(usable, rng, "held-out photos" if held_out else "gallery")
    if embed_words is None:
        return found
    words = calibrate_words(
        list(number), lambda: _labelled_chunks(gallery, labels), embed_words, seed=seed
    )
    return found.model_copy(update={"words": words})


def _labelled_chunks(gallery: Labelled, labels: Labels) -> Iterator[tuple[Vectors, Labels]]:
    """Vectors of the photos that have a label, float32 [n, dim], and the label of each."""
    for start in range(0, len(labels), _CHUNK_ROWS):
        rows = start + np.flatnonzero(labels[start : start + _CHUNK_ROWS] >= 0)
        yield _unit(gallery.take(rows)), labels[rows]


def _unit(vectors: Vectors) -> Vectors:
    """As new photos come: what is kept as i8 is a little longer or shorter than 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _too_few(usable: int, why: Sequence[str], held_out: Labelled | None) -> str:
    way_out = (
        "give more labelled photos that neither the gallery has nor the Model was trained on"
        if held_out
        else "give it other labelled photos with deepfood calibrate"
    )
    return (
        f"only {counted(usable, 'photo')} to calibrate with, and {MIN_QUERIES} "
        f"are needed ({', '.join(why)}): {way_out}"
    )


@dataclass(frozen=True)
class _Nearest:
    """The nearest labelled photos of each query.

    Labels and rows int64, and similarities float64, all [q, k], the most similar first; -1
    and -inf where there are fewer.
    """

    labels: Labels
    rows: Labels
    scores: Floats

    @classmethod
    def none(cls, queries: int, k: int) -> Self:
        nothing = np.full((queries, k), -1)
        return cls(nothing, nothing, np.full((queries, k), -np.inf))

    def merged(self, labels: Labels, rows: Labels, scores: Vectors) -> "_Nearest":
        """With further photos in their place: labels and rows [n], and similarities [q, n]."""
        k = self.scores.shape[1]
        top = np.argpartition(-scores, min(k, len(labels)) - 1, axis=1)[:, :k]
        together = _Nearest(
            np.hstack([self.labels, labels[top]]),
            np.hstack([self.rows, rows[top]]),
            np.hstack([self.scores, np.take_along_axis(scores, top, axis=1)]),
        )
        return together._first(k)

    def averaged(self, averaging: Averaging, gallery: Labelled) -> "_Nearest":
        """The VOTERS nearest of the candidates of a gallery that is tuned."""
        scores = self.scores.copy()
        for query, there in enumerate(np.isfinite(self.scores)):
            vectors = _unit(gallery.take(self.rows[query][there]))
            given = self.scores[query][there].astype(np.float32)
            scores[query][there] = averaging.averaged(given, vectors)
        return _Nearest(self.labels, self.rows, scores)._first(VOTERS)

    def _first(self, k: int) -> "_Nearest":
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        return _Nearest(
            np.take_along_axis(self.labels, best, axis=1),
            np.take_along_axis(self.rows, best, axis=1),
            np.take_along_axis(self.scores, best, axis=1),
        )

    def select(self, which: Bools | Labels) -> "_Nearest":
        return _Nearest(self.labels[which], self.rows[which], self.scores[which])


@dataclass(frozen=True)
class _Queries:
    """What each query finds in the gallery, and in the gallery without its own label `own`."""

    own: Labels
    has_own: Bools
    everything: _Nearest
    others: _Nearest

    @classmethod
    def ask(
        cls,
        queries: Vectors,
        own: Labels,
        own_rows: Labels,
        gallery: Labelled,
        labels: Labels,
        quiet: bool,
        averaging: Averaging | None = None,
    ) -> Self:
        """One exact scan in chunks of rows, so that a gallery of any size fits the memory.

        `own_rows` are the rows of the queries in the gallery, -1 for none.
        """
        wanted = averaging.candidates if averaging else VOTERS
        everything = others = _Nearest.none(len(queries), wanted)
        has_own = np.zeros(len(queries), bool)
        with bar("calibrating", " photos", len(labels), quiet=quiet) as progress:
            for start in range(0, len(labels) if len(queries) else 0, _CHUNK_ROWS):
                chunk = labels[start : start + _CHUNK_ROWS]
                progress.update(len(chunk))
                labelled = np.flatnonzero(chunk >= 0)
                if not len(labelled):
                    continue
                there = chunk[labelled]
                alike = queries @ gallery.take(start + labelled).T
                alike[alike > SAME_PHOTO] = -np.inf
                alike[own_rows[:, np.newaxis] == start + labelled] = -np.inf
                everything = everything.merged(there, start + labelled, alike)
                same = own[:, np.newaxis] == there
                has_own |= (same & np.isfinite(alike)).any(axis=1)
                alike[same] = -np.inf
                others = others.merged(there, start + labelled, alike)
        if averaging:
            everything = everything.averaged(averaging, gallery)
            others = others.averaged(averaging, gallery)
        return cls(own, has_own, everything, others)

    def select(self, which: Bools | Labels) -> "_Queries":
        return _Queries(
            self.own[which],
            self.has_own[which],
            self.everything.select(which),
            self.others.select(which),
        )


@dataclass(frozen=True)
class _Evidence:
    """For each curve its scores, float64 [n, d], and what was right, bool [n]."""

    hit: tuple[Floats, Bools]
    label: tuple[Floats, Bools]
    in_gallery: tuple[Floats, Bools]

    @classmethod
    def of(cls, queries: _Queries) -> Self:
        near, others = queries.everything, queries.others
        there = np.isfinite(near.scores)
        shares = vote_share(near.labels, near.labels, near.scores)
        winner = shares.argmax(axis=1)[:, np.newaxis]
        guess = np.take_along_axis(near.labels, winner, axis=1)[:, 0]
        most = np.take_along_axis(shares, winner, axis=1)
        left_out = vote_share(others.labels, others.labels, others.scores).max(axis=1)
        best = np.concatenate([near.scores[:, 0], others.scores[:, 0]])
        surest = np.concatenate([most[:, 0], left_out])
        return cls(
            (
                np.column_stack([near.scores[there], shares[there]]),
                (near.labels == queries.own[:, np.newaxis])[there],
            ),
            (most, guess == queries.own),
            (np.column_stack([best, surest]), np.repeat([True, False], len(queries.own))),
        )


def _fit(queries: _Queries, rng: np.random.Generator, queries_from: Source) -> Calibration:
    everything = _Evidence.of(queries)
    halves = np.array_split(rng.permutation(len(queries.own)), 2)
    fitted, judged = (_Evidence.of(queries.select(half)) for half in halves)

    def error(fitted: tuple[Floats, Bools], judged: tuple[Floats, Bools]) -> float:
        return calibration_error(Logistic.fit(*fitted)(judged[0]), judged[1])

    sure = Logistic.fit(*fitted.in_gallery)(judged.in_gallery[0])
    known = judged.in_gallery[1]
    return Calibration(
        hit=Logistic.fit(*everything.hit),
        label=Logistic.fit(*everything.label),
        in_gallery=Logistic.fit(*everything.in_gallery),
        queries_from=queries_from,
        queries=len(queries.own),
        hit_ece=error(fitted.hit, judged.hit),
        label_ece=error(fitted.label, judged.label),
        label_accuracy=float(everything.label[1].mean()),
        auroc=auroc(sure[known], sure[~known]),
    )
