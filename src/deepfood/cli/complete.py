"""What the shell completes after Tab: photos, labels and attributes of the gallery on the line.

Only the catalogue of a folder is read. A release or a gallery on Milvus has no candidates, as the
shell would wait for them, and neither has one that cannot be read.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deepfood.config import shell_that_asks
from deepfood.place import Place

if TYPE_CHECKING:
    from deepfood.local.complete import Completed

#: A text and what it is, for shells that show both.
Candidate = tuple[str, str]

#: Beside letters and digits, characters that no shell gives a meaning.
_PLAIN = "-_./,+@"
#: Others that are offered: escaped here for bash, by themselves in zsh and fish. A text with any
#: other is not offered, as zsh evaluates what it gets.
_ESCAPED = " &'()"


class _Inserted(str):
    """A text as the shell inserts it, which Typer compares with what was typed, without escapes."""

    __slots__ = ()

    def startswith(self, *_: object) -> bool:
        return True


def complete_id(context: typer.Context, incomplete: str) -> list[Candidate]:
    return _candidates(context, "id", incomplete)


def complete_photo(context: typer.Context, incomplete: str) -> list[Candidate]:
    """Ids and files of photos."""
    return _candidates(context, "photo", incomplete)


def complete_label(context: typer.Context, incomplete: str) -> list[Candidate]:
    return _candidates(context, "label", incomplete)


def complete_attribute(context: typer.Context, incomplete: str) -> list[Candidate]:
    return _candidates(context, "attribute", incomplete)


def complete_filter(context: typer.Context, incomplete: str) -> list[Candidate]:
    """What a filter begins with: an attribute, or a text that every photo has."""
    return _candidates(context, "column", incomplete)


def _candidates(context: typer.Context, what: "Completed", begun: str) -> list[Candidate]:
    # Where the value of an option is missing, which is what is completed, arguments are not parsed.
    gallery = context.params.get("gallery") or next(iter(context.args), None)
    with suppress(Exception):
        if gallery and (place := Place.parse(gallery)).kind == "folder":
            from deepfood.local.complete import candidates

            return list(_offered(candidates(Path(place.text), what, begun)))
    return []


def _offered(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Those that the shell that asks can take, as it inserts them."""
    shell, in_quotes = shell_that_asks()
    for text, about in candidates:
        special = set(filter(_is_special, text))
        if special - set(_ESCAPED) or (special and shell not in ("bash", "zsh", "fish")):
            continue
        if shell == "bash" and not in_quotes:
            text = re.sub(f"([{re.escape(_ESCAPED)}])", r"\\\1", text)
        yield _Inserted(text), "".join(one for one in about if one == " " or not _is_special(one))


def _is_special(character: str) -> bool:
    return unicodedata.category(character)[0] not in "LMN" and character not in _PLAIN
