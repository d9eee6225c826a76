"""Suggest labels, names and attributes of a gallery on Milvus."""

from collections import Counter

from deepfood.gallery.tokens import tokens_of
from deepfood.gallery.values import folded
from deepfood.gallery.written import (
    Kind,
    Suggestion,
    check_suggested,
    choose_suggestions,
    texts_suggested,
)
from deepfood.milvus.find_written import like
from deepfood.milvus.rows import Rows
from deepfood.milvus.schema import KEYS, PHOTO_ROW, attributes_of, key_name, key_of, photo_of

#: The most photos whose texts are read.
_MOST_LOOKED_AT = 1_000


def suggest(rows: Rows, begun: str, limit: int) -> list[Suggestion]:
    """At most `limit` texts with the words of `begun`, whose last word may be unfinished.

    Without words, the most frequent labels. Counts are over all photos. Raises QueryError or
    EngineError.
    """
    check_suggested(begun, limit)
    typed = tokens_of(begun)
    if begun.strip() and not typed:
        return []
    wanted = [like(f" {token} ") for token in typed[:-1]] + [like(f" {one}") for one in typed[-1:]]
    where = " and ".join(wanted) or f'exists {KEYS}["{key_name("label")}"]'
    found: dict[Kind, Counter[tuple[str, str]]] = {}
    for row in rows.query(where, PHOTO_ROW, limit=_MOST_LOOKED_AT):
        photo = photo_of(row)
        for kind, field, text in set(
            texts_suggested(photo.name, photo.label, attributes_of(row), typed)
        ):
            if typed or kind == "label":
                found.setdefault(kind, Counter())[field, text] += 1
    return choose_suggestions(
        (
            Suggestion(text, kind, field, _count(rows, field, text))
            for kind, counts in found.items()
            for (field, text), _ in counts.most_common(limit)
        ),
        limit,
    )


def _count(rows: Rows, field: str, text: str) -> int:
    """The number of photos with this text in a field."""
    where, key = f'{KEYS}["{key_name(field)}"]', key_of(folded(text))
    return rows.count(f'{where} == "{key}" or json_contains({where}, "{key}")')
