"""Keyset pagination: pages neither overlap nor skip hits while the gallery changes.

A cursor holds the last hit of its page, by score and row, and the number of rows at the time of the
first page. The next page continues after that hit among those rows. Photos added since have higher
rows and are left to a new search. A row is never reused within a generation.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.errors import QueryError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.protocol import FindOptions
from deepfood.index import Mask
from deepfood.index.vectors import Rows

#: Cosine similarities, float32 [n].
Scores = npt.NDArray[np.float32]
Search = Callable[[int], tuple[Rows, Scores]]

#: Pages end here, since each costs as much as all before it.
MOST_SEEN = 10_000
#: The most candidates that are looked at for a page.
_MOST_ASKED = 4 * MOST_SEEN

_FORM = struct.Struct("<BIQfQI")
_VERSION = 1
_DIGEST_BYTES = 8


@dataclass(frozen=True)
class Cursor:
    """The last hit seen (`score`, `row`) of `seen` in all, in a generation with `rows` rows.

    Of groups of near-duplicates, the hits are those that represent them.
    """

    generation: int
    rows: int
    score: float
    row: int
    seen: int

    def text(self, digest: bytes) -> str:
        """The cursor as text for a URL, with a checksum that ties it to its query."""
        form = _FORM.pack(_VERSION, self.generation, self.rows, self.score, self.row, self.seen)
        return base64.urlsafe_b64encode(form + _checksum(form, digest)).decode()

    def is_later(self, rows: Rows, scores: Scores) -> Mask:
        """Which hits come after the last one seen, bool [n]."""
        return np.asarray(
            (scores < self.score) | ((scores == self.score) & (rows > self.row)), np.bool_
        )

    @classmethod
    def parse(cls, text: str, digest: bytes, generation: int) -> Self:
        """Raise QueryError for what is not a cursor, or one of another query or generation.

        The checksum finds mistakes only. The service signs its cursors too. A cursor shows nothing
        that the same search without it would not show.
        """
        try:
            data = base64.urlsafe_b64decode(text.encode("ascii"))
            form = data[: _FORM.size]
            version, of_generation, rows, score, row, seen = _FORM.unpack(form)
        except (UnicodeEncodeError, binascii.Error, struct.error):
            raise QueryError(
                f"{text[:40]!r} is not a cursor: begin with the first page", "cursor"
            ) from None
        if version != _VERSION or data[_FORM.size :] != _checksum(form, digest):
            raise QueryError(
                "the cursor belongs to another search: begin with the first page", "cursor"
            )
        if of_generation != generation:
            raise QueryError(
                "the gallery was built anew since: begin with the first page", "cursor"
            )
        return cls(of_generation, rows, score, row, seen)


def query_digest(query: Scores, *more: str) -> bytes:
    """What a cursor is tied to: SHA-256 of the vector, float32 [dim], and the filter."""
    return hashlib.sha256(
        b"\0".join([query.tobytes(), *(part.encode("utf-8", "replace") for part in more)])
    ).digest()


def question_digest(
    query: Scores, options: FindOptions, averaging: Averaging | None = None
) -> bytes:
    """The digest of a search with these options, which is the same for each of its pages."""
    grouped = ["grouped"] if options.get("group_duplicates") else []
    tuned = [averaging.model_dump_json()] if averaging else []
    parts = [str(options.get("where") or ""), *options.get("without", ()), *grouped, *tuned]
    return query_digest(query, *parts)


def page(search: Search, k: int, after: Cursor | None) -> tuple[Rows, Scores, bool]:
    """The next k hits after a cursor, and whether more follow.

    `search(n)` returns the n nearest rows, int64, and their scores, best first, ties by row; fewer
    if there are no more. Raises QueryError beyond MOST_SEEN.
    """
    seen = after.seen if after else 0
    if seen + k > MOST_SEEN:
        raise QueryError(
            f"pages end after {MOST_SEEN:,} photos: use a filter to find the others", "cursor"
        )
    wanted = seen + k + 1
    while True:
        rows, scores = search(wanted)
        complete = len(rows) < wanted
        if after is not None:
            later = after.is_later(rows, scores)
            rows, scores = rows[later], scores[later]
        if len(rows) > k or complete:
            return rows[:k], scores[:k], len(rows) > k
        # Photos that pass a filter now, but did not before, can belong to earlier pages.
        if wanted == _MOST_ASKED:
            raise QueryError(
                "the gallery has changed too much since: begin with the first page", "cursor"
            )
        wanted = min(2 * wanted, _MOST_ASKED)


def _checksum(form: bytes, what: bytes) -> bytes:
    return hashlib.blake2b(form + what, digest_size=_DIGEST_BYTES).digest()
