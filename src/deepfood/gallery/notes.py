"""What an answer says of itself beside its photos: a code for programs, a sentence for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepfood.counted import counted

NoteCode = Literal[
    "unknown_left_out",
    "value_not_found",
    "words_unused",
    "not_calibrated",
    "few_labels",
    "labels_once",
    "dense_vectors",
    "part_looked_at",
    "gallery_changed",
    "pages_end",
    "no_feature_map",
    "plates_not_calibrated",
]


@dataclass(frozen=True)
class Note:
    """The fields are those of `deepfood_client.Note`, which documents them and the codes."""

    code: NoteCode
    message: str
    photos: int | None = None
    needed: int | None = None
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message


def left_out_note(unknown: int, safety: Sequence[str]) -> Note:
    """The note about photos that lack a value of these safety attributes."""
    message = (
        f"{counted(unknown, 'photo is', 'photos are')} left out: {' or '.join(safety)} not known"
    )
    return Note("unknown_left_out", message, unknown, attributes=tuple(safety))


def spelling_note(name: str, comparison: object) -> Note:
    """The note about a comparison of the safety attribute `name` that no photo satisfies."""
    message = f"no photo has {comparison}: is it spelled as in this gallery?"
    return Note("value_not_found", message, 0, attributes=(name,))


def end_note(photos: int) -> Note:
    """The note on the last page of an answer that has been made of the nearest `photos` only."""
    message = (
        f"there are no further pages: this answer is of the nearest {counted(photos, 'photo')}"
    )
    return Note("pages_end", message, photos)
