"""Words in a search: photos in whose texts they are, and photos that look so, in one list.

What is written and what is seen are ranked apart, by scores that cannot be compared. Reciprocal
rank fusion needs no scores (Cormack, Clarke and Büttcher, SIGIR 2009).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from deepfood.embed import Vector
from deepfood.errors import QueryError
from deepfood.gallery.answer import Verdict
from deepfood.gallery.photo import Hit
from deepfood.gallery.protocol import FindOptions, FindResult, SearchedGallery
from deepfood.gallery.queries import combine
from deepfood.gallery.written import Level, WordsQuery, WrittenResult, level_of, parse_words

#: Of each list so many are fused; pages end there.
POOL = 200
#: Without a text tower so many photos that are called as the words say stand for their looks.
CALLED = 20
#: Softens the lead of the first ranks; the value of the paper.
_SOFTENING = 60
#: Said where words that nothing has are asked beside photos.
UNUSED = "no photo is called so, and the Model takes no words: the words have no effect"
#: Begins the cursors of fused lists; the rest is how many photos were seen.
_CURSOR = "words:"


@dataclass(frozen=True)
class Written:
    """What was asked for in the gallery's texts, and found."""

    query: WordsQuery
    result: WrittenResult

    @property
    def level(self) -> Level | None:
        """How well the best photo matches; None where none does."""
        levels = (level_of(self.query, hit.matched) for hit in self.result.hits)
        return max(levels, default=None)

    @property
    def verdict(self) -> Verdict:
        """What the texts alone say of whether the gallery has what the words name."""
        level = self.level
        if level is None:
            return "none"
        return "match" if level >= Level.BEGINNING else "maybe"


def look_up(
    gallery: SearchedGallery, words: Sequence[str], options: FindOptions, *, or_raise: bool
) -> Written | None:
    """Ask for words, together, in the texts of the photos.

    None where they are too many to be looked up, or QueryError with `or_raise`.
    """
    try:
        query = parse_words(" ".join(words))
    except QueryError:
        if or_raise:
            raise
        return None
    return Written(query, gallery.find_written(query, POOL, options.get("where")))


def looks_of(gallery: SearchedGallery, written: Written) -> Vector | None:
    """The mean, float32 [dimension], of the photos that are called as the words say; None without.

    It stands for words where the Model has no text tower, and finds photos without a name too.
    """
    best = written.level
    if best in (None, Level.SOME):  # photos that lack a word are not called so
        return None
    hits = written.result.hits
    called = [hit.id for hit in hits if level_of(written.query, hit.matched) == best]
    return combine(np.stack([gallery.vector(photo_id) for photo_id in called[:CALLED]]))


def find_with_words(
    gallery: SearchedGallery,
    query: Vector | None,
    written: Written | None,
    k: int,
    **options: Unpack[FindOptions],
) -> FindResult:
    """The photos that have the words, and those nearest to `query`, fused; see `FindOptions`.

    Without `query` only what is written counts. A varied or grouped answer begins with what is
    written. Raises QueryError.
    """
    texts = written.result.hits if written else []
    texts = [hit for hit in texts if hit.id not in options.get("without", ())]
    cursor = options.pop("cursor", None)
    varied = bool(options.get("diversity") or options.get("group_duplicates"))
    seen = _seen(cursor, varied)
    if query is None:
        found = FindResult([], [], {}, written.result.notes if written else (), None, len(texts))
    else:
        found = gallery.find(query, k if varied else POOL, **options)
    alike = dict(zip((hit.photo.id for hit in found.hits), found.alike, strict=True))
    hits = {hit.photo.id: hit for hit in found.hits}
    ranked = fuse([hit.id for hit in texts], list(hits), first=varied)
    shown, more = ranked[seen : seen + k], len(ranked) > seen + k
    by_id = {hit.id: hit for hit in texts}
    attributes = dict(found.attributes)
    page = []
    for photo_id in shown:
        text = by_id.get(photo_id)
        hit = hits.get(photo_id)
        if hit is None:
            assert text is not None
            score = 0.0 if query is None else float(gallery.vector(photo_id) @ query)
            hit = Hit(text.photo, score)
            attributes[photo_id] = dict(text.attributes)
        page.append(replace(hit, matched=text.matched if text else ()))
    return FindResult(
        page,
        [list(alike.get(photo_id, [])) for photo_id in shown],
        attributes,
        found.notes,
        f"{_CURSOR}{seen + k}" if more and not varied else None,
        max(found.total, len(ranked)),
    )


def fuse(written: Sequence[str], looks: Sequence[str], *, first: bool = False) -> list[str]:
    """The ids of both lists, each once, the best first; with `first` all of `written` lead."""
    if first:
        return list(dict.fromkeys([*written, *looks]))
    worth: dict[str, float] = {}
    for ranked in (written, looks):
        for rank, one in enumerate(ranked, 1):
            worth[one] = worth.get(one, 0.0) + 1 / (_SOFTENING + rank)
    return sorted(worth, key=lambda one: -worth[one])


def _seen(cursor: str | None, varied: bool) -> int:
    if cursor is None:
        return 0
    if varied:
        raise QueryError(
            "a varied or grouped answer has no further pages: ask for a larger k", "cursor"
        )
    seen = cursor.removeprefix(_CURSOR)
    if not cursor.startswith(_CURSOR) or not seen.isdecimal():
        raise QueryError(
            "the cursor belongs to another search: begin with the first page", "cursor"
        )
    return int(seen)
