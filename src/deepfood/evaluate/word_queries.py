"""How well words find photos: recall, the rank of the first right one, and what is left unanswered.

Each label asks for its photos, or a table says what each text should find. A text that should find
nothing is answered rightly by the verdict `none`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfood.data.root import Folder
from deepfood.data.tables import Row, clean_label, expect_cells, read_rows
from deepfood.errors import DatasetError
from deepfood.evaluate.confidence import Figure, mean_figures
from deepfood.gallery.answer import Verdict
from deepfood.gallery.photo import Photo
from deepfood.progress import bar

#: How far down the first right photo is looked for; one that is not there counts 0 in the MRR.
DEPTH = 100

#: What a search with words gives: the photos, the most similar first, and the verdict.
AskWords = Callable[[str, int], tuple[Sequence[Photo], Verdict | None]]


@dataclass(frozen=True)
class WordQuery:
    """A text, and the label or the ids of the photos that it should find; nothing if both lack."""

    words: str
    label: str | None = None
    ids: frozenset[str] = frozenset()

    @property
    def wants_nothing(self) -> bool:
        return self.label is None and not self.ids

    def is_right(self, photo: Photo) -> bool:
        return photo.id in self.ids or (self.label is not None and photo.label == self.label)


@dataclass(frozen=True)
class WordFigures:
    """What came of the queries. `figures` are by name:

    - `recall@1` and `recall@k`: the share of texts with a right photo first, or among the first k;
    - `MRR`: the mean of 1 / rank of the first right photo (Voorhees, TREC-8, 1999);
    - `none, rightly`: the share answered `none` of the texts that should find nothing;
    - `none, wrongly`: that of the others.
    """

    queries: int
    nonsense: int
    k: int
    figures: dict[str, Figure]
    missed: tuple[str, ...]


def word_queries(photos: Sequence[Photo], table: Path | None) -> list[WordQuery]:
    """The queries in a table; without one, each label of the photos. Raises DatasetError."""
    labels = {photo.label for photo in photos if photo.label}
    if table is None:
        return label_queries(labels)
    return read_word_queries(table, labels, {photo.id for photo in photos})


def label_queries(labels: Collection[str]) -> list[WordQuery]:
    """Each label as words for its photos. Raises DatasetError where there is none."""
    if not labels:
        raise DatasetError(
            "the gallery has no labels to ask with: give a CSV with the columns words and label"
        )
    return [WordQuery(label, label) for label in sorted(labels)]


def read_word_queries(
    table: Path, labels: Collection[str], ids: Collection[str]
) -> list[WordQuery]:
    """The rows of a CSV: `words`, and `label` or `id` (several with spaces); neither for nonsense.

    `labels` and `ids` are what the gallery has. Raises DatasetError with the line at fault.
    """
    rows = read_rows(Folder(table.parent), table.name)
    head = next(rows, None)
    titles = [title.lower() for title in head.cells] if head else []
    if "words" not in titles or not {"label", "id"} & set(titles):
        raise DatasetError(f"{table} needs the columns words and label or id: it has {titles}")
    return list(_queries(rows, titles, labels, ids))


def _queries(
    rows: Iterator[Row], titles: list[str], labels: Collection[str], ids: Collection[str]
) -> Iterator[WordQuery]:
    known = set(ids)
    for row in rows:
        expect_cells(row, len(titles))
        cells = dict(zip(titles, row.cells, strict=True))
        label, wanted = clean_label(cells.get("label", "")), frozenset(cells.get("id", "").split())
        if not cells["words"]:
            raise DatasetError(f"{row.where}: it has no words")
        if label is not None and label not in labels:
            raise DatasetError(f"{row.where}: no photo of the gallery has the label {label!r}")
        if wanted - known:
            raise DatasetError(
                f"{row.where}: the gallery has no photo {min(wanted - known)[:80]!r}"
            )
        yield WordQuery(cells["words"], label, wanted)


def measure_words(
    queries: Sequence[WordQuery], ask: AskWords, *, k: int, seed: int, quiet: bool
) -> WordFigures:
    """Ask each query and judge what comes. Raises what `ask` does."""
    ranks = np.full(len(queries), np.inf)
    none = np.zeros(len(queries))
    title = "asking with words"
    with bar(title, " queries", len(queries), quiet=quiet) as progress:
        for place, query in enumerate(queries):
            photos, verdict = ask(query.words, max(k, DEPTH))
            right = [rank for rank, one in enumerate(photos, 1) if query.is_right(one)]
            ranks[place] = right[0] if right else np.inf
            none[place] = verdict == "none" or not photos
            progress.update()
    nonsense = np.array([query.wants_nothing for query in queries])
    asked = ranks[~nonsense]
    values = {
        "recall@1": (asked <= 1).astype(float),
        f"recall@{k}": (asked <= k).astype(float),
        "MRR": 1 / asked,
        "none, rightly": none[nonsense],
        "none, wrongly": none[~nonsense],
    }
    missed = [
        query.words
        for query, rank in zip(queries, ranks, strict=True)
        if rank > k and not query.wants_nothing
    ]
    return WordFigures(
        len(queries), int(nonsense.sum()), k, mean_figures(values, seed=seed), tuple(missed)
    )
