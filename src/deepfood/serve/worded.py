"""Words in a search: photos in whose texts they are, and photos that look so, in one list.

What is written and what is seen are ranked apart, by scores that cannot be compared. Where words
are calibrated, both become probabilities, and the list is in their order. Else reciprocal rank
fusion needs no scores (Cormack, Clarke and Büttcher, SIGIR 2009).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from deepfood.embed import Vector, Vectors
from deepfood.errors import QueryError
from deepfood.gallery.answer import Verdict
from deepfood.gallery.notes import Note, end_note
from deepfood.gallery.photo import Hit
from deepfood.gallery.protocol import FindOptions, FindResult, SearchedGallery
from deepfood.gallery.queries import combine, group, similarity
from deepfood.gallery.word_calibration import WordCalibration
from deepfood.gallery.written import (
    Level,
    WordsQuery,
    WrittenResult,
    level_of,
    parse_words,
    share_of,
)

#: Of each list so many are fused; pages end there.
POOL = 200
#: Without a text tower so many photos that are called as the words say stand for their looks.
CALLED = 20
#: Softens the lead of the first ranks; the value of the paper.
_SOFTENING = 60
#: How likely a photo shows what words name that match its texts so well; of SOME, times the share
#: of the words that it has. These are assumed: labels, by which curves are fitted, are such texts.
WRITTEN_PROBABILITY = {Level.WHOLE: 0.95, Level.BEGINNING: 0.9, Level.LOOSE: 0.8, Level.SOME: 0.9}
#: Said where words that nothing has are asked beside photos.
UNUSED = Note(
    "words_unused",
    "no photo is called so, and the Model takes no words: the words have no effect",
    0,
)
#: Of the words: what is there of them must be more.
_HALF = 0.5
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
        """What the texts alone say of whether the gallery has what the words name.

        `match`: a photo has all words, or words of which each is the greater part. `maybe`: more
        than half of it is there, if parts, typos and missing words are counted. Photos of `none`
        have less: "bus" in "robusta", "cable" for "table", the bulb of "light bulb".
        """
        found: Verdict = "none"
        for hit in self.result.hits:
            shares = [share_of(one) for one in hit.matched]
            if level_of(self.query, hit.matched) >= Level.BEGINNING and min(shares) > _HALF:
                return "match"
            if sum(shares) > _HALF * len(self.query.wanted):
                found = "maybe"
        return found

    @property
    def probabilities(self) -> dict[str, float]:
        """How likely each photo shows what the words name, by its texts alone."""
        sure = {}
        for hit in self.result.hits:
            share = len(hit.matched) / len(self.query.wanted)
            sure[hit.id] = WRITTEN_PROBABILITY[level_of(self.query, hit.matched)] * share
        return sure


@dataclass(frozen=True)
class WordsResult(FindResult):
    """`nearest` is the best similarity of any photo of the gallery; None where it is not known.

    `looks` is what the gallery found by looks; None where it was not asked.
    """

    nearest: float | None = None
    looks: FindResult | None = None


def look_up(
    gallery: SearchedGallery, words: Sequence[str], options: FindOptions, *, or_raise: bool
) -> Written | None:
    """Ask for words, together, in the texts of the photos.

    None where they cannot be looked up, such as too many, or QueryError with `or_raise`.
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
    return combine([(gallery.vector(photo_id), 1.0) for photo_id in called[:CALLED]])


def find_with_words(
    gallery: SearchedGallery,
    query: Vectors | None,
    written: Written | None,
    k: int,
    *,
    text_tower: bool,
    alone: bool = True,
    calibration: WordCalibration | None = None,
    only_written: bool = False,
    looks: FindResult | None = None,
    **options: Unpack[FindOptions],
) -> WordsResult:
    """The photos that have the words, and those nearest to `query`, fused; see `FindOptions`.

    Without `query` only what is written counts. Unless the words are asked `alone`, photos whose
    texts match equally well are in the order of the query: it has more than the words, such as what
    is unwanted. `calibration` is that of words alone. A varied answer begins with what is written.
    With `only_written`, photos that have none of the words are left out. `looks` is what the
    gallery has found for the same question before: it is not asked again. Words alone are compared
    with whole photos, as their `calibration` is. Raises QueryError.
    """
    texts = {hit.id: hit for hit in written.result.hits} if written else {}
    for photo_id in options.get("without", ()):
        texts.pop(photo_id, None)
    cursor, options["whole"] = options.pop("cursor", None), alone
    varied = bool(options.get("diversity"))
    grouped = not varied and options.pop("group_duplicates", False)
    seen = _seen(cursor, varied)
    if query is None:
        found = FindResult([], [], {}, written.result.notes if written else (), None, len(texts))
    else:
        found = looks = looks or gallery.find(query, k if varied else POOL, **options)
    alike = dict(zip((hit.photo.id for hit in found.hits), map(list, found.alike), strict=True))
    hits = {hit.photo.id: hit for hit in found.hits}

    def found_hit(photo_id: str) -> Hit:
        if photo_id in hits:
            return hits[photo_id]
        vector = gallery.vector(photo_id)[np.newaxis]
        score = 0.0 if query is None else float(similarity(query, vector)[0])
        return Hit(texts[photo_id].photo, score)

    named = list(texts)
    if written and not alone:
        place = {photo_id: rank for rank, photo_id in enumerate(hits)}  # others are less similar
        named.sort(key=lambda one: place.get(one, len(place)))
        named.sort(key=lambda one: -level_of(written.query, texts[one].matched))
    ranked = fuse(named, list(hits), first=varied)
    sure: Mapping[str, float] = {}
    if calibration:
        sure = probabilities(written.probabilities if written else {}, hits, calibration)
        if not varied:  # equally sure ones stay in the order of their ranks
            ranked.sort(key=lambda one: -sure[one])
    if only_written:
        ranked = [one for one in ranked if one in texts]
    groups = [[one] for one in ranked]
    if grouped and ranked:
        groups = [[ranked[i] for i in some] for some in group(gallery.vectors(ranked))]
    shown, more = groups[seen : seen + k], len(groups) > seen + k
    attributes = dict(found.attributes)
    page = []
    for first, *others in shown:
        text = texts.get(first)
        hit = found_hit(first)
        if text and first not in hits:
            attributes[first] = dict(text.attributes)
        matched = text.matched if text else ()
        page.append(replace(hit, matched=matched, probability=sure.get(first)))
        alike[first] = [*alike.get(first, ()), *map(found_hit, others)]
    total = len(ranked) if only_written else max(found.total, len(ranked))
    notes = found.notes
    if not varied and not more and len(ranked) < total:
        notes = (*notes, end_note(len(ranked)))
    in_vain = query is not None and not text_tower and written and written.level is None
    return WordsResult(
        page,
        [alike[first] for first, *_ in shown],
        attributes,
        (*notes, UNUSED) if in_vain else notes,
        f"{_CURSOR}{seen + k}" if more and not varied else None,
        total,
        found.hits[0].score if found.hits and options.get("where") is None else None,
        looks,
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


def probabilities(
    written: Mapping[str, float], looks: Mapping[str, Hit], calibration: WordCalibration
) -> dict[str, float]:
    """How likely each photo shows what the words name, by id; `written` is that by texts alone.

    A photo in both lists shows it unless both are wrong, each by itself: a noisy-or (Pearl,
    Probabilistic Reasoning in Intelligent Systems, 1988).
    """
    scores = np.array([hit.score for hit in looks.values()], np.float64)[:, np.newaxis]
    sure = dict(zip(looks, calibration.hit(scores).tolist(), strict=True))
    for one, probability in written.items():
        sure[one] = 1 - (1 - sure.get(one, 0.0)) * (1 - probability)
    return sure


def _seen(cursor: str | None, varied: bool) -> int:
    if cursor is None:
        return 0
    if varied:
        raise QueryError("a varied answer has no further pages: ask for a larger k", "cursor")
    seen = cursor.removeprefix(_CURSOR)
    if not cursor.startswith(_CURSOR) or not seen.isdecimal():
        raise QueryError(
            "the cursor belongs to another search: begin with the first page", "cursor"
        )
    return int(seen)
