"""Feedback as a file for other programs, written vote by vote: CSV, or a list in JSON."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import IO

#: The columns of a table, and the names in JSON.
EXPORTED = ("session", "question", "kind", "hit", "right", "at", "model")


def write_csv(file: IO[bytes], votes: Iterable[Sequence[object]]) -> int:
    text = io.TextIOWrapper(file, "utf-8", newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(EXPORTED)
    count = 0
    for count, vote in enumerate(votes, start=1):  # noqa: B007
        table.writerow(str(one).lower() if isinstance(one, bool) else one for one in vote)
    text.flush()
    text.detach()
    return count


def write_json(file: IO[bytes], votes: Iterable[Sequence[object]]) -> int:
    """A list of objects, a line each."""
    count = 0
    for count, vote in enumerate(votes, start=1):
        said = json.dumps(dict(zip(EXPORTED, vote, strict=True)))
        file.write(f"{',' if count > 1 else '['}\n{said}".encode())
    file.write(b"\n]\n" if count else b"[]\n")
    return count
