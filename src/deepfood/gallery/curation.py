"""Curation: what is worth a look in a gallery's labels, found by the neighbours of each photo."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfood.counted import counted
from deepfood.gallery.calibration import SAME_PHOTO
from deepfood.gallery.confident import Votes, count_votes
from deepfood.gallery.nearest_others import Neighbours, nearest_others
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import Compared, EveryPhoto
from deepfood.gallery.queries import NEAR_DUPLICATE
from deepfood.gallery.vote import VOTERS, Floats, Labels
from deepfood.index import Mask
from deepfood.index.contract import Progress

#: The labelled neighbours that vote on a photo's label, at most. More than for an answer, but no
#: more than the usual label has photos, lest others outvote it (benchmarks/curation.py).
CURATION_VOTERS = 50
#: Neighbours that are looked at: the voters, and near-copies, which do not vote.
_NEIGHBOURS = 64
#: The neighbour whose similarity says how far a photo is from all others.
_KTH = 5
#: Fewer photos have no usual distance.
_LEAST_PHOTOS = 20
#: The modified z-score from which a distance is an outlier (Iglewicz and Hoaglin, "How to Detect
#: and Handle Outliers", 1993).
_OUTLYING = 3.5
#: Median absolute deviation of a normal distribution of deviation 1.
_MAD_OF_NORMAL = 0.6745
#: If this share of the photos has VOTERS others above NEAR_DUPLICATE, the Model packs dishes so
#: densely that this similarity is no sign of a copy.
_DENSE = 0.1


@dataclass(frozen=True)
class DoubtfulLabel:
    """A photo whose label is likely wrong, and the label that its neighbours suggest.

    `probability` and `suggested_probability` are the shares of the vote for each, 0 to 1;
    `agreeing` of `voters` neighbours have the suggested label.
    """

    photo: Photo
    suggested: str
    probability: float
    suggested_probability: float
    agreeing: int
    voters: int

    @property
    def margin(self) -> float:
        """The normalised margin, -1 to 0: how far the label is behind the suggested one."""
        return self.probability - self.suggested_probability


@dataclass(frozen=True)
class Overlap:
    """Two labels whose photos are hard to tell apart.

    `photos` of the first look like the second or the other way round; `share` is that of all photos
    with either label.
    """

    labels: tuple[str, str]
    photos: int
    share: float


@dataclass(frozen=True)
class Outlier:
    """A photo far from all others: `similarity` is that to its fifth nearest, -1 to 1.

    `deviations` is the modified z-score of its distance.
    """

    photo: Photo
    similarity: float
    deviations: float


@dataclass(frozen=True)
class Conflict:
    """Two near-copies with different labels, and their cosine similarity."""

    photos: tuple[Photo, Photo]
    similarity: float


@dataclass(frozen=True)
class ToLabel:
    """A photo without a label that is worth one.

    `guess` is what its neighbours vote for, None without labelled neighbours. `uncertainty`, 0 to
    1, is 1 less the margin between the two most likely labels (Scheffer et al., "Active Hidden
    Markov Models for Information Extraction", 2001), and `density` its mean similarity to the
    nearest others. Photos are ordered by the product of both: the information density of Settles
    and Craven, "An Analysis of Active Learning Strategies for Sequence Labeling Tasks" (2008).
    """

    photo: Photo
    guess: str | None
    uncertainty: float
    density: float

    @property
    def worth(self) -> float:
        """The information density, 0 to 1: how much is learned from its label."""
        return self.uncertainty * self.density


@dataclass(frozen=True)
class Curation:
    """What is worth a look among `photos` photos, of which `labelled` have one of `labels` labels.

    The labels of `judged` photos could be judged. `copies_from` is the similarity from which two
    photos count as copies. Each list has what is most worth a look first. `notes` say what could
    not be judged, and why.
    """

    photos: int
    labelled: int
    labels: int
    judged: int
    copies_from: float
    doubtful: tuple[DoubtfulLabel, ...]
    overlaps: tuple[Overlap, ...]
    outliers: tuple[Outlier, ...]
    conflicts: tuple[Conflict, ...]
    to_label: tuple[ToLabel, ...]
    notes: tuple[Note, ...]


def curate(
    index: Compared, every: EveryPhoto, progress: Progress = lambda _: None, *, threads: int = 1
) -> Curation:
    """Look through the labels of a gallery's photos; `index` has their vectors.

    The order of the photos does not matter. Calls `progress(m)` after every m photos, and stops
    where that raises.
    """
    photos, order = in_order_of_ids(every)
    names = sorted({photo.label for photo in photos if photo.label})
    number = {name: place for place, name in enumerate(names)}
    given = np.array([number[photo.label] if photo.label else -1 for photo in photos], np.int64)
    # One entry more than labels: the last, 0, is that of -1, no label.
    photos_of = np.bincount(given[given >= 0], minlength=len(names) + 1)
    near, labelled = nearest_others(
        index, order, _NEIGHBOURS, photos_of[given] > 1, progress, threads=threads
    )
    copies_from = _copies_from(near)
    # A label that no photo can be judged by has no vote either: each photo near one would be wrong.
    supported = _supported(given, photos_of, near, copies_from)
    known = np.bincount(given[supported], minlength=len(names) + 1) > 0
    usual = int(np.median(photos_of[:-1][known[:-1]])) if known.any() else 0
    most = min(max(usual, VOTERS), CURATION_VOTERS)
    voters, scores = _voters(labelled, np.where(known[given], given, -1), copies_from, most)
    votes = count_votes(given, voters, scores)
    judged = supported & (votes.voters > 0)
    once = np.flatnonzero((photos_of > 0) & ~known).tolist()
    counted = judged & (votes.confident >= 0)
    off_diagonal = counted & (votes.confident != given)
    wrong = _estimate_wrong(given, judged, counted, off_diagonal)
    doubtful = least_confident(votes, judged & (votes.margin < 0))[:wrong]
    return Curation(
        photos=len(photos),
        labelled=int(np.count_nonzero(given >= 0)),
        labels=len(names),
        judged=int(np.count_nonzero(judged)) if len(names) > 1 else 0,
        copies_from=copies_from,
        doubtful=tuple(
            DoubtfulLabel(
                photos[one],
                names[votes.other[one]],
                float(votes.own[one]),
                float(votes.other_share[one]),
                int(votes.agreeing[one]),
                int(votes.voters[one]),
            )
            for one in doubtful.tolist()
        ),
        overlaps=tuple(_overlaps(given, votes, off_diagonal, names)),
        outliers=tuple(_outliers(photos, near)),
        conflicts=tuple(_conflicts(photos, given, near, copies_from)),
        to_label=tuple(_to_label(photos, given, votes, near, names)),
        notes=tuple(_notes(len(photos), names, once, copies_from)),
    )


def in_order_of_ids(every: EveryPhoto) -> tuple[list[Photo], Labels]:
    """The photos, and the row of each, so that nothing depends on the order in the gallery."""
    photos, _, rows = every
    order = sorted(range(len(photos)), key=lambda place: photos[place].sha256)
    return [photos[place] for place in order], rows[order]


def _copies_from(near: Neighbours) -> float:
    scores = near.scores[:, VOTERS - 1] if len(near.scores) else np.zeros(0)
    dense = float(np.mean(scores >= NEAR_DUPLICATE)) if len(scores) else 0.0
    return SAME_PHOTO if dense > _DENSE else NEAR_DUPLICATE


def _voters(
    labelled: Neighbours, given: Labels, copies_from: float, most: int
) -> tuple[Labels, Floats]:
    """The labels and similarities of the nearest that are no copies; -1 and -inf for no vote."""
    if not len(given):
        return labelled.places, labelled.scores.astype(np.float64)
    labels = np.where(labelled.places >= 0, given[labelled.places], -1)
    votes = (labels >= 0) & (labelled.scores < copies_from)
    votes &= np.cumsum(votes, axis=1) <= most
    return (
        np.where(votes, labels, -1),
        np.where(votes, labelled.scores, -np.inf).astype(np.float64),
    )


def _supported(given: Labels, photos_of: Labels, near: Neighbours, copies_from: float) -> Mask:
    """Which photos have a label that another one, which is no copy, has as well: bool [n]."""
    copies = (near.places >= 0) & (near.scores >= copies_from)
    same = copies & (given[near.places] == given[:, np.newaxis]) if len(given) else copies
    return np.asarray((given >= 0) & (photos_of[given] - 1 - same.sum(axis=1) > 0), np.bool_)


def _estimate_wrong(given: Labels, judged: Mask, counted: Mask, off_diagonal: Mask) -> int:
    """How many labels the confident joint says are wrong.

    It is calibrated as in the paper: of each label's judged photos, the share off the diagonal is
    that among the `counted` ones, which have a confident label.
    """
    photos, in_joint, wrong = (
        np.bincount(given[some], minlength=int(given.max(initial=0)) + 1)
        for some in (judged, counted, off_diagonal)
    )
    return round(float((photos * wrong / np.maximum(in_joint, 1)).sum()))


def least_confident(votes: Votes, some: Mask) -> Labels:
    """Some photos, int64 [m], by their self-confidence, the least first; then by their margins.

    Self-confidence is the share of the vote for a photo's own label.
    """
    places = np.flatnonzero(some)
    return places[np.lexsort((votes.margin[places], votes.own[places]))]


def _overlaps(given: Labels, votes: Votes, off: Mask, names: Sequence[str]) -> list[Overlap]:
    pairs = np.sort(np.stack([given[off], votes.confident[off]], axis=1), axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    photos = np.bincount(given[given >= 0], minlength=len(names))
    overlaps = [
        Overlap((names[one], names[other]), count, count / int(photos[one] + photos[other]))
        for (one, other), count in zip(found.tolist(), counts.tolist(), strict=True)
        if count > 1
    ]
    return sorted(overlaps, key=lambda one: (-one.share, one.labels))


def _outliers(photos: Sequence[Photo], near: Neighbours) -> list[Outlier]:
    if len(photos) < _LEAST_PHOTOS:
        return []
    distances = 1 - near.scores[:, _KTH - 1].astype(np.float64)
    middle = np.median(distances)
    spread = np.median(np.abs(distances - middle))
    if spread == 0:
        return []
    deviations = _MAD_OF_NORMAL * (distances - middle) / spread
    far = np.flatnonzero(deviations > _OUTLYING)
    return [
        Outlier(photos[one], float(near.scores[one, _KTH - 1]), float(deviations[one]))
        for one in far[np.argsort(-deviations[far], kind="stable")].tolist()
    ]


def _conflicts(
    photos: Sequence[Photo], given: Labels, near: Neighbours, copies_from: float
) -> list[Conflict]:
    ones, ranks = np.nonzero((near.places >= 0) & (near.scores >= copies_from))
    others = near.places[ones, ranks]
    differ = (given[ones] >= 0) & (given[others] >= 0) & (given[ones] != given[others])
    found = {
        (min(one, other), max(one, other)): float(score)
        for one, other, score in zip(
            ones[differ].tolist(),
            others[differ].tolist(),
            near.scores[ones, ranks][differ].tolist(),
            strict=True,
        )
    }
    return [
        Conflict((photos[one], photos[other]), min(score, 1.0))
        for (one, other), score in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _to_label(
    photos: Sequence[Photo], given: Labels, votes: Votes, near: Neighbours, names: Sequence[str]
) -> list[ToLabel]:
    """The unlabelled photos, without those that are near one that comes before them."""
    nearest = near.scores[:, :_KTH]
    there = np.isfinite(nearest)
    sums = np.where(there, nearest, 0).sum(axis=1, dtype=np.float64)
    density = np.clip(sums / np.maximum(there.sum(axis=1), 1), 0, 1)
    uncertainty = 1 - (votes.other_share - votes.second_share)
    unlabelled = np.flatnonzero(given < 0)
    worth = (uncertainty * density)[unlabelled]
    represented = np.zeros(len(photos), np.bool_)
    chosen = []
    for one in unlabelled[np.argsort(-worth, kind="stable")].tolist():
        if represented[one]:
            continue
        neighbours = near.places[one, :_KTH]
        represented[neighbours[neighbours >= 0]] = True
        guess = names[votes.other[one]] if votes.other[one] >= 0 else None
        chosen.append(ToLabel(photos[one], guess, float(uncertainty[one]), float(density[one])))
    return chosen


def _notes(
    photos: int, names: Sequence[str], once: Sequence[int], copies_from: float
) -> list[Note]:
    notes = []
    if not photos:
        notes.append(Note("few_labels", "the gallery has no photos", 0, 2))
    elif len(names) < 2:
        has = f"only one label, {names[0]!r}" if names else "no label"
        message = f"the photos have {has}: labels are judged where there are two or more"
        notes.append(Note("few_labels", message, len(names), 2))
    elif once:
        shown = ", ".join(names[one] for one in once[:_NAMED])
        more = ", ..." if len(once) > _NAMED else ""
        message = (
            f"not judged, as no other photo has the same label: "
            f"{counted(once, 'label')} ({shown}{more})"
        )
        notes.append(Note("labels_once", message, len(once)))
    if copies_from == SAME_PHOTO:
        message = (
            f"this Model packs photos of one dish above a similarity of {NEAR_DUPLICATE}: "
            f"near-copies are counted from {SAME_PHOTO} on"
        )
        notes.append(Note("dense_vectors", message))
    return notes


#: Labels that a note names.
_NAMED = 5
