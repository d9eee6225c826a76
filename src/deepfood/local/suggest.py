"""Suggest labels, names and attributes for what somebody begins to type."""

from collections import Counter

from deepfood.gallery.tokens import tokens_of
from deepfood.gallery.values import folded
from deepfood.gallery.written import (
    Kind,
    Suggestion,
    begins_as,
    check_suggested,
    choose_suggestions,
    texts_suggested,
)
from deepfood.local.store import Store
from deepfood.local.vocabulary import Words, quoted

#: Words of the gallery that an unfinished word may become.
_COMPLETIONS = 40

_COUNT = {
    "name": "SELECT COUNT(*) FROM photos WHERE name = ?",
    "attribute": "SELECT COUNT(*) FROM attributes a JOIN attribute_keys k ON k.attribute = a.id "
    "WHERE a.name = ? AND k.key = ?",
}


def suggest(store: Store, begun: str, limit: int) -> list[Suggestion]:
    """At most `limit` texts with the words of `begun`, whose last word may be unfinished.

    Without a word these are the most frequent labels. Raises QueryError.
    """
    check_suggested(begun, limit)
    typed = tokens_of(begun)
    if begun.strip() and not typed:
        return []
    words = store.words.now()
    found = _labels(store, typed, limit)
    if typed:
        for kind, columns in (("name", "name"), ("attribute", "also attributes")):
            found += _others(store, _rows(words, columns, typed, 2 * limit), typed, kind, limit)
    return choose_suggestions(found, limit)


def _labels(store: Store, typed: list[str], limit: int) -> list[Suggestion]:
    """The most frequent labels; each is that of a photo whose row is as it was written."""
    fitting = [
        (label, count)
        for label, tokens, count in store.words.label_counts()
        if begins_as(typed, tokens)
    ]
    fitting.sort(key=lambda one: (-one[1], one[0]))
    some = dict(fitting[:limit])
    first = "SELECT row FROM photos WHERE label = ? LIMIT 1"
    with store.attributes.asking():
        rows = [row for label in some for (row,) in store.attributes.db.execute(first, (label,))]
    labels = {photo.label for photo in store.at(rows).values()}
    return [Suggestion(one, "label", "label", some[one]) for one in some if one in labels]


def _rows(words: Words, columns: str, typed: list[str], count: int) -> list[int]:
    """Some rows with the words typed in these columns: each completion of the last has a few."""
    *whole, last = typed
    completions = words.beginning_with(last, _COMPLETIONS)
    rows: dict[int, None] = {}
    for completion in completions:
        wanted = " AND ".join(map(quoted, [*whole, completion]))
        some = words.some(f"{{{columns}}} : ({wanted})", max(1, count // len(completions)))
        rows |= dict.fromkeys(some)
    return list(rows)


def _others(
    store: Store, rows: list[int], typed: list[str], kind: str, limit: int
) -> list[Suggestion]:
    """The names, or the values of attributes, in these rows, and how many photos have them."""
    photos, known = store.at(rows), store.attributes.read_many(rows)
    found = Counter[tuple[Kind, str, str]]()
    for row, photo in photos.items():
        found.update(set(texts_suggested(photo.name, None, known[row], typed)))
    chosen = [one for one, _ in found.most_common() if one[0] == kind][:limit]
    suggestions = []
    with store.attributes.asking():
        for its_kind, field, text in chosen:
            asked = (text,) if kind == "name" else (field, folded(text))
            (count,) = store.attributes.db.execute(_COUNT[kind], asked).fetchone()
            suggestions.append(Suggestion(text, its_kind, field, count))
    return suggestions
