"""Find photos by what is written."""

from deepfood.gallery.filters import Filter
from deepfood.gallery.notes import Note
from deepfood.gallery.written import (
    Term,
    WordsQuery,
    WrittenHit,
    WrittenResult,
    check_limit,
    match_of,
    texts_of,
)
from deepfood.index import Mask
from deepfood.local.select import select
from deepfood.local.snapshot import Snapshot
from deepfood.local.vocabulary import Spellings, levels

#: Rows that are read and compared at a time, at least.
_BATCH = 20


def find_written(
    now: Snapshot, query: WordsQuery, limit: int, where: Filter | None = None
) -> WrittenResult:
    """The photos with the words of a query, those with all of them first.

    The index proposes rows; each is compared with the query, and with the filter, by its own texts
    and values. Raises QueryError, or ArtifactError where the index cannot be used.
    """
    check_limit(limit)
    allowed: Mask | None = None
    notes: tuple[Note, ...] = ()
    store = now.store
    if where is not None:
        selection = select(where, store.attributes, len(now.vectors))
        allowed, notes = selection.mask & now.alive, selection.notes
    words = store.words.now()
    forgiven: frozenset[Term] = frozenset()

    def spelled() -> Spellings:
        nonlocal forgiven
        spellings, forgiven = words.spellings(query)
        return spellings

    hits: list[WrittenHit] = []
    seen: set[int] = set()
    for level, expression in levels(query, spelled):
        best = [one for one in words.best(expression, allowed) if one[0] not in seen]
        while best and len(hits) < limit:
            size = max(limit - len(hits), _BATCH)
            some, best = dict(best[:size]), best[size:]
            seen |= some.keys()
            photos, known = store.at(some), store.attributes.read_many(list(some))
            for row, score in some.items():
                if row not in photos or (where and not where.holds(photos[row], known[row])):
                    continue  # removed or changed meanwhile, or the index is damaged
                photo, values = photos[row], known[row]
                texts = texts_of(photo.name, photo.label, photo.file, values)
                match = match_of(query, texts, forgiven)
                if match is not None and match.level >= level:
                    score = level + score / (1 + score)
                    hits.append(WrittenHit(photo, score, match.matched, values))
        if len(hits) >= limit:
            break
    return WrittenResult(hits[:limit], notes)
