"""Pages of an answer that neither overlap nor skip while the gallery changes.

A cursor names the last hit of its page, by score and row, and how many rows there were when the
first page was made. The next page is what comes after that hit among those rows: photos added
meanwhile have higher rows and wait for a new search, photos removed are missed by nobody, and a row
is never given to another photo within a generation. (Known as keyset pagination.)
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

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Search = Callable[[int], tuple[Rows, Scores]]

#: Pages end here: each costs as much as all before it.
MOST_SEEN = 10_000
#: And a page is looked for among so many.
_MOST_ASKED = 4 * MOST_SEEN

_FORM = struct.Struct("<BIQfQI")
_VERSION = 1
_DIGEST_BYTES = 8


@dataclass(frozen=True)
class Cursor:
    """The last hit seen (`score`, `row`) of `seen` in all, in a generation with `rows` rows."""

    generation: int
    rows: int
    score: float
    row: int
    seen: int

    def text(self, digest: bytes) -> str:
        """As text for a URL, with a checksum that ties it to its query."""
        form = _FORM.pack(_VERSION, self.generation, self.rows, self.score, self.row, self.seen)
        return base64.urlsafe_b64encode(form + _checksum(form, digest)).decode()

    @classmethod
    def parse(cls, text: str, digest: bytes, generation: int) -> Self:
        """Raises QueryError for what is no cursor, or that of another question or generation.

        The checksum finds mistakes; the service signs a cursor besides. It gives no right to
        anything that the same search without it does not show.
        """
        try:
            data = base64.urlsafe_b64decode(text.encode("ascii"))
            form = data[: _FORM.size]
            version, of_generation, rows, score, row, seen = _FORM.unpack(form)
        except (UnicodeEncodeError, binascii.Error, struct.error):
            raise QueryError(f"{text[:40]!r} is no cursor: begin with the first page") from None
        if version != _VERSION or data[_FORM.size :] != _checksum(form, digest):
            raise QueryError("the cursor belongs to another search: begin with the first page")
        if of_generation != generation:
            raise QueryError("the gallery was built anew since: begin with the first page")
        return cls(of_generation, rows, score, row, seen)


def query_digest(query: Scores, *more: str) -> bytes:
    """What a cursor is tied to: the query's vector, float32 [dim], and the filter."""
    return hashlib.sha256(
        b"\0".join([query.tobytes(), *(part.encode("utf-8", "replace") for part in more)])
    ).digest()


def page(search: Search, k: int, after: Cursor | None) -> tuple[Rows, Scores, bool]:
    """The next k hits after a cursor, and whether there are more.

    `search(n)` gives the n nearest rows, int64, and their scores, the best first, equal ones by
    row; fewer only where there are no more. Raises QueryError beyond MOST_SEEN.
    """
    seen = after.seen if after else 0
    if seen + k > MOST_SEEN:
        raise QueryError(f"pages end after {MOST_SEEN:,} photos: use a filter to find the others")
    wanted = seen + k + 1
    while True:
        rows, scores = search(wanted)
        complete = len(rows) < wanted
        if after is not None:
            later = (scores < after.score) | ((scores == after.score) & (rows > after.row))
            rows, scores = rows[later], scores[later]
        if len(rows) > k or complete:
            return rows[:k], scores[:k], len(rows) > k
        # Photos of earlier pages can pass a filter now that did not then.
        if wanted == _MOST_ASKED:
            raise QueryError("the gallery has changed too much since: begin with the first page")
        wanted = min(2 * wanted, _MOST_ASKED)


def _checksum(form: bytes, what: bytes) -> bytes:
    return hashlib.blake2b(form + what, digest_size=_DIGEST_BYTES).digest()
