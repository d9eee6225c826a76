"""What `learn` learns from, and what it is judged by: photos, votes, and which are held out.

What is held out is drawn by hashes of ids and the seed, so that it stays so from one week to the
next, whatever is added meanwhile.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfood.counted import counted
from deepfood.embed import Vectors
from deepfood.errors import DatasetError
from deepfood.evaluate.confidence import group_rows
from deepfood.gallery.calibration import SAME_PHOTO
from deepfood.gallery.crowd import CastVotes
from deepfood.gallery.feedback import FeedbackTable
from deepfood.gallery.logistic import Bools
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.vote import Labels
from deepfood.train.cross_validate import sample_evenly

#: So many labelled photos are learned from at most, drawn evenly from the labels.
_MOST_PHOTOS = 20_000
#: The newest votes are used: so many, and so many that votes times labels stay within 80 MB.
_MOST_VOTES, _MOST_CELLS = 100_000, 10_000_000
_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Material:
    """Photos of a gallery, labelled or voted on, and the votes of sessions on questions.

    `labels` int64 [n] are numbers of `names`, -1 for none; `photos` and `questions` unit vectors,
    float32 [.., dim]. `session_ids` and `question_ids` name the numbers in `votes`.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    photos: Vectors
    labels: Labels
    question_ids: tuple[str, ...]
    questions: Vectors
    session_ids: tuple[str, ...]
    votes: CastVotes
    notes: tuple[str, ...]


@dataclass(frozen=True)
class HeldOut:
    """What is not learned from: photos bool [n], questions bool [q], sessions bool [s]."""

    photos: Bools
    questions: Bools
    sessions: Bools

    def learned_from(self, votes: CastVotes) -> Bools:
        """The votes of sessions and on questions that are not held out."""
        return ~self.sessions[votes.session] & ~self.questions[votes.question]

    def judged_by(self, votes: CastVotes) -> Bools:
        """The votes of sessions and on questions that are both held out."""
        return self.sessions[votes.session] & self.questions[votes.question]


def gather(
    gallery: SearchedGallery, table: FeedbackTable, notes: list[str], *, seed: int
) -> Material:
    """The photos of a gallery, and the votes of `table` that can be learned from.

    Raises DatasetError where there are no labels or no such votes.
    """
    every, vectors, rows = gallery.photos()
    known = [place for place, photo in enumerate(every) if photo.label]
    names, numbers = np.unique([every[place].label or "" for place in known], return_inverse=True)
    if len(names) < 2:
        raise DatasetError(
            f"{gallery.place} has {counted(names, 'label')}, and two or more are needed to learn "
            "from votes: set some with deepfood update"
        )
    drawn = sample_evenly(numbers, _MOST_PHOTOS, np.random.default_rng(seed))
    if len(drawn) < len(known):
        notes.append(f"{len(drawn):,} of the {len(known):,} labelled photos are used, drawn")
    votes = _usable(gallery, table, {photo.id for photo in every}, len(names), notes)
    voted = {table.hits[row] for row in votes}
    places = sorted({known[one] for one in drawn} | {*_places_of(every, voted)})
    photos = [every[place] for place in places]
    number = {str(name): one for one, name in enumerate(names)}
    row_of = {photo.id: row for row, photo in enumerate(photos)}
    sessions, session = np.unique([table.sessions[row] for row in votes], return_inverse=True)
    asked, question = np.unique(table.question_of[votes], return_inverse=True)
    name_of = {table.question_of[row]: table.questions[row] for row in votes}
    return Material(
        names=tuple(number),
        ids=tuple(row_of),
        photos=_unit(vectors.take(rows[np.array(places, np.int64)])),
        labels=np.array([number.get(photo.label or "", -1) for photo in photos], np.int64),
        question_ids=tuple(name_of[one] for one in asked),
        questions=_unit(table.vectors[asked]),
        session_ids=tuple(sessions.tolist()),
        votes=CastVotes(
            session.astype(np.int64),
            question.astype(np.int64),
            np.array([row_of[table.hits[row]] for row in votes], np.int64),
            table.right[votes],
        ),
        notes=tuple(notes),
    )


def _usable(
    gallery: SearchedGallery, table: FeedbackTable, there: set[str], labels: int, notes: list[str]
) -> Labels:
    """The rows of votes on photos that are there, for questions with a photo's vector."""
    asked = np.array([kind == "photo" for kind in table.kinds], np.bool_) & (table.question_of >= 0)
    found = np.array([hit in there for hit in table.hits], np.bool_)
    for count, what in (
        (int((~asked).sum()), "for questions in words"),
        (int((asked & ~found).sum()), "on photos that the gallery no longer has"),
    ):
        if count:
            notes.append(left_out(count, what))
    rows = np.flatnonzero(asked & found)
    if not len(rows):
        said = f" ({'; '.join(notes)})" if notes else ""
        raise DatasetError(
            f"{gallery.place} has no votes to learn from{said}: they come from the page, once the "
            "setting feedback is on"
        )
    most = max(1, min(_MOST_VOTES, _MOST_CELLS // labels))
    if len(rows) > most:
        notes.append(f"the newest {most:,} of {len(rows):,} votes are used")
        rows = np.sort(rows[np.argsort(-table.at[rows], kind="stable")[:most]])
    return rows


def left_out(count: int, what: str) -> str:
    """A note on votes that are not used."""
    return f"{counted(count, 'vote')} {what}: left out"


def _places_of(photos: list[Photo], ids: set[str]) -> list[int]:
    return [place for place, photo in enumerate(photos) if photo.id in ids]


def _unit(vectors: Vectors) -> Vectors:
    """As a storage of less than float32 does not keep their lengths."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def hold_out(material: Material, seen: frozenset[str], share: float, *, seed: int) -> HeldOut:
    """Hold out a share of each label's photos, and of the sessions with their questions.

    Photos that the Model has `seen` in its training, by id, are not held out, nor the last one of a
    label. A question of sessions that are held out and of others is drawn by itself. A question
    that is a held-out photo is held out.
    """
    photos = np.zeros(len(material.ids), np.bool_)
    drawn = _drawn(material.ids, seed)
    unseen = np.array([one not in seen for one in material.ids], np.bool_)
    for label, rows in group_rows(material.labels).items():
        if label >= 0:
            free = rows[unseen[rows]]
            count = min(round(share * len(rows)), len(rows) - 1)
            photos[free[np.argsort(drawn[free])[:count]]] = True
    sessions = _drawn(material.session_ids, seed) < share
    votes, size = material.votes, len(material.question_ids)
    asked_by = np.bincount(votes.question, minlength=size)
    of_held = np.bincount(votes.question, sessions[votes.session], minlength=size)
    questions = (of_held == asked_by) | (
        (of_held > 0) & (_drawn(material.question_ids, seed) < share)
    )
    held = material.photos[photos].T
    for start in range(0, size if photos.any() else 0, _CHUNK_ROWS):
        some = slice(start, start + _CHUNK_ROWS)
        questions[some] |= (material.questions[some] @ held).max(axis=1) > SAME_PHOTO
    return HeldOut(photos, questions, sessions)


def _drawn(names: tuple[str, ...], seed: int) -> npt.NDArray[np.float64]:
    """A number from 0 to 1 for each name, always the same one for the same seed."""
    found = [hashlib.sha256(f"{seed} {name}".encode()).digest()[:8] for name in names]
    return np.array([int.from_bytes(one, "big") / 2**64 for one in found], np.float64)
