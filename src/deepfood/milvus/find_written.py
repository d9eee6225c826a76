"""Find photos on Milvus by their texts.

Each row has its tokens as one text, in which LIKE finds words, prefixes and parts. A typo becomes
every pattern that it can lead to. Milvus returns candidates in no order: they are compared and
sorted here, so that some of very many candidates are not seen.
"""

from collections.abc import Iterable, Iterator, Set

from deepfood.gallery.filters import Filter
from deepfood.gallery.written import (
    SHORTEST_PART,
    Level,
    Term,
    WordsQuery,
    WrittenHit,
    WrittenResult,
    check_limit,
    closeness,
    match_of,
    texts_of,
)
from deepfood.milvus.expressions import expression_of
from deepfood.milvus.find import notes_of
from deepfood.milvus.metadata import MilvusManifest
from deepfood.milvus.rows import Rows
from deepfood.milvus.schema import KEYS, PHOTO_ROW, WORDS, attributes_of, photo_of

#: The most candidates of one level that are compared.
_MOST_CANDIDATES = 2_000


def find_written(
    manifest: MilvusManifest,
    rows: Rows,
    query: WordsQuery,
    limit: int,
    where: Filter | None = None,
) -> WrittenResult:
    """Like `MilvusGallery.find_written`, in one generation. Raises QueryError or EngineError."""
    check_limit(limit)
    expression = expression_of(where, manifest.columns) if where else None
    notes = notes_of(rows, expression) if expression else ()
    forgiven = _forgiven(rows, query)
    hits: dict[str, WrittenHit] = {}
    for level, candidates in _levels(query, forgiven):
        asked = f"({candidates}) and ({expression.passes})" if expression else candidates
        found = []
        for row in rows.query(asked, PHOTO_ROW, limit=_MOST_CANDIDATES):
            photo, values = photo_of(row), attributes_of(row)
            if photo.id in hits or (where and not where.holds(photo, values)):
                continue
            texts = texts_of(photo.name, photo.label, photo.file, values)
            match = match_of(query, texts, forgiven)
            if match is not None and match.level >= level:
                found.append(WrittenHit(photo, level + closeness(match), match.matched, values))
        found.sort(key=lambda hit: (-hit.score, hit.id))
        hits |= {hit.id: hit for hit in found}
        if len(hits) >= limit:
            break
    return WrittenResult(list(hits.values())[:limit], notes)


def with_all_words(rows: Rows, query: WordsQuery) -> tuple[str, frozenset[Term]]:
    """The expression for rows with all words, and the terms in which a typo is forgiven.

    A word may begin as one of the query; where no row has them so, parts of words and typos count.
    """
    forgiven = _forgiven(rows, query)
    expression = ""
    for level, candidates in _levels(query, forgiven):
        if level is Level.SOME:
            break
        if level is Level.WHOLE and not all(term.exact for term in query.wanted):
            continue  # these are among those of the next level
        expression = candidates
        if level is not Level.LOOSE and rows.count(expression):
            return expression, frozenset()
    return expression, forgiven


def _forgiven(rows: Rows, query: WordsQuery) -> frozenset[Term]:
    return frozenset(one for one in query.forgivable if not rows.count(_any(one)))


def _levels(query: WordsQuery, forgiven: Set[Term]) -> Iterator[tuple[Level, str]]:
    """The expressions that find candidates of each level, best first."""
    each = query.wanted
    unwanted = [f"not ({_like(' ', one, ' ')})" for one in query.unwanted]

    def every(groups: Iterable[str]) -> str:
        return " and ".join(f"({one})" for one in [*groups, *unwanted])

    yield Level.WHOLE, every(_like(" ", one, " ") for one in each)
    if any(not one.exact for one in each):
        yield Level.BEGINNING, every(map(beginning, each))
    if any(one.token for one in each):
        yield Level.LOOSE, every(_any(one, forgiven) for one in each)
    if len(each) > 1:
        some = " or ".join(f"({_any(one, forgiven)})" for one in each)
        yield Level.SOME, every([some])


def beginning(term: Term) -> str:
    """Finds texts with the term; its last word may be a prefix unless it is exact."""
    return _like(" ", term, " " if term.exact else "")


def _any(term: Term, forgiven: Set[Term] = frozenset()) -> str:
    """Finds texts with the term, or with a word that stands for it."""
    ways = [beginning(term)]
    if term.token is not None and len(term.token) >= SHORTEST_PART:
        ways.append(_like("", term, ""))
    if term.token is not None and term in forgiven:
        ways += [like(f" {one} ") for one in _typos(term.token)]
    return " or ".join(ways)


def _typos(token: str) -> list[str]:
    """LIKE patterns for everything that one typo can make of a token; _ is any letter."""
    ways: dict[str, None] = {}
    for at in range(len(token) + 1):
        begin, end = token[:at], token[at:]
        ways[f"{begin}_{end}"] = None
        ways[f"{begin}{end[1:]}"] = None
        ways[f"{begin}_{end[1:]}"] = None
        ways[f"{begin}{end[1:2]}{end[:1]}{end[2:]}"] = None
    return list(ways)


def _like(before: str, term: Term, after: str) -> str:
    return like(f"{before}{' '.join(term.tokens)}{after}")


def like(pattern: str) -> str:
    """Finds rows whose words contain the pattern. A token has no quotes and no wildcards."""
    return f'{KEYS}["{WORDS}"] like "%{pattern}%"'
