"""The fold of a journal: what is so once all its records are applied, by the photos' content.

Everything else in a gallery can be made again from the photos, the Model and this.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, Self

from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.declared import Definition
from deepfood.gallery.photo import Photo, edited
from deepfood.gallery.record import BEGINNING, Head, Record
from deepfood.gallery.values import Type, Value

#: So many records after a checkpoint are worth a new one.
TAIL_RECORDS = 10_000
#: Facts of a photo that was added, as its record has them beside its SHA-256.
_ADDED = ("file", "label", "name", "media_type", "width", "height", "bytes", "modified_ns")


class AnyJournal(Protocol):
    """A journal, wherever it is, as far as it is read."""

    def records(self) -> Iterator[Record]:
        """All of them, in order. Raises ArtifactCorruptError."""

    def read_table(self, sha256: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """As `Journal` says. Raises ArtifactCorruptError."""


@dataclass(frozen=True)
class ManualEdits:
    """What people said of one photo, whether the gallery holds it now or not.

    `label` and `name` count where they are in `by_hand`, also when they are None. `added` has the
    facts of a photo that was added; `removed` the file (and its `bytes` and `modified_ns`) of one
    that was removed, and is left out until it is added again.
    """

    label: str | None = None
    name: str | None = None
    by_hand: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)
    added: Mapping[str, Any] | None = None
    removed: Mapping[str, Any] | None = None

    def of(self, photo: Photo) -> Photo:
        """The photo, with the label and name that were set by hand."""
        return edited(photo, {name: getattr(self, name) for name in self.by_hand})

    def photo(self, sha256: str) -> Photo:
        """The photo that was added."""
        assert self.added is not None
        return self.of(Photo(sha256, **self.added, added=True))

    def with_values(self, values: Mapping[str, Value | None]) -> Self:
        """None makes one unknown."""
        after = {**self.attributes, **values}
        known = {name: value for name, value in after.items() if value is not None}
        return replace(self, attributes=known)


def addition_of(photo: Photo, attributes: Mapping[str, Value | None]) -> dict[str, Any]:
    """A photo as a record of kind `add` has it."""
    facts = {"sha256": photo.sha256, **{name: getattr(photo, name) for name in _ADDED}}
    return {**facts, "attributes": dict(attributes)} if attributes else facts


def edit_of(before: Photo, after: Photo, values: Mapping[str, Value | None]) -> dict[str, Any]:
    """What an `update` changes, as its record has it: only what is set by hand.

    `was` has the texts before, which a photo's source may have given: for who takes it back.
    """
    edit: dict[str, Any] = {"sha256": after.sha256}
    for name in ("label", "name"):
        now = getattr(after, name), getattr(after, f"{name}_edited")
        if now[1] and now != (getattr(before, name), getattr(before, f"{name}_edited")):
            edit[name] = now[0]
            edit.setdefault("was", {})[name] = getattr(before, name)
    return {**edit, "attributes": dict(values)} if values else edit


def removal_of(photo: Photo) -> dict[str, Any]:
    """A photo as a record of kind `remove` has it."""
    names = ("sha256", "file", "bytes", "modified_ns", "added")
    return {name: getattr(photo, name) for name in names}


class Fold:
    """Definitions by name, and what was said of each photo by SHA-256, up to the record `head`."""

    def __init__(self) -> None:
        self.head: Head = BEGINNING
        self.definitions: dict[str, Definition] = {}
        #: The table that the last build took in, as the journal keeps it.
        self.source_table: str | None = None
        #: Lines of a checkpoint stay text until somebody asks: a million photos fit in memory.
        self._said: dict[str, ManualEdits | str] = {}

    def __len__(self) -> int:
        return len(self._said)

    def __iter__(self) -> Iterator[str]:
        """SHA-256 of each photo of which something was said."""
        return iter(list(self._said))

    def __getitem__(self, sha256: str) -> ManualEdits:
        said = self._said.get(sha256)
        if said is None:
            return _NOTHING
        if isinstance(said, str):
            said = self._said[sha256] = edits_from_json(said)
        return said

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._said

    def added(self) -> Iterator[tuple[str, Photo]]:
        """The photos that were added and not removed, in the order in which they were added."""
        for sha256 in self:
            said = self[sha256]
            if said.added is not None:
                yield sha256, said.photo(sha256)

    def apply(self, record: Record, journal: AnyJournal) -> None:
        """Add the next record, of this journal."""
        what = record.what
        match record.do:
            case "begin":
                pass
            case "declare":
                for name, one in what["attributes"].items():
                    self.declare(name, one["type"], one["safety"])
            case "drop":
                self.drop(what["attribute"])
            case "add":
                for one in what["photos"]:
                    self._add(dict(one))
            case "remove":
                for one in what["photos"]:
                    sha256 = one["sha256"]
                    self._said.pop(sha256, None)
                    kept = {name: value for name, value in one.items() if name != "sha256"}
                    self._said[sha256] = ManualEdits(removed=kept)
            case "restore":
                for one in what["photos"]:
                    self.put(one["sha256"], edits_from_json(one["said"]))
            case "update":
                for one in what["photos"]:
                    self.edit(dict(one))
            case "import":
                table = list(journal.read_table(what["table"]))  # all of it, or nothing
                for name, one in what["attributes"].items():
                    self.declare(name, one["type"], one["safety"])
                for sha256, values in table:
                    self.put(sha256, self[sha256].with_values(values))
                self.source_table = what.get("source_table", self.source_table)
            case _:
                raise ArtifactCorruptError(
                    f"record {record.number} of the journal is a {record.do!r}, which this "
                    "deepfood does not know: upgrade deepfood"
                )
        self.head = record.head

    def declare(self, name: str, type_: Type, safety: bool) -> None:
        before = self.definitions.get(name)
        self.definitions[name] = Definition(type_, safety or (before is not None and before.safety))

    def edit(self, one: dict[str, Any]) -> None:
        sha256 = one["sha256"]
        said = self[sha256].with_values(one.get("attributes", {}))
        set_now = {name: one[name] for name in ("label", "name") if name in one}
        by_hand = tuple(name for name in ("label", "name") if name in {*said.by_hand, *set_now})
        self.put(sha256, replace(said, **set_now, by_hand=by_hand))

    def _add(self, one: dict[str, Any]) -> None:
        sha256, values = one.pop("sha256"), one.pop("attributes", {})
        before = self[sha256]
        said = replace(before, removed=None) if before.removed is None else _NOTHING
        self.put(sha256, replace(said, added=one).with_values(values))

    def drop(self, name: str) -> None:
        """Take an attribute away, and all its values."""
        self.definitions.pop(name, None)
        for sha256 in self:
            if name in self[sha256].attributes:
                self.put(sha256, self[sha256].with_values({name: None}))

    def put(self, sha256: str, said: ManualEdits) -> None:
        """Have this said of a photo, whatever was before."""
        if said == _NOTHING:
            self._said.pop(sha256, None)
        else:
            self._said[sha256] = said

    def lines(self) -> Iterator[bytes]:
        """This fold, for `from_lines`; the last line is the SHA-256 of those before."""
        definitions = {name: asdict(one) for name, one in self.definitions.items()}
        digest = hashlib.sha256()
        head = {"head": self.head, "source_table": self.source_table}
        first = json.dumps({**head, "definitions": definitions})
        for line in itertools.chain([first], map(self._line, self)):
            data = line.encode() + b"\n"
            digest.update(data)
            yield data
        yield f"{digest.hexdigest()}\n".encode()

    def _line(self, sha256: str) -> str:
        said = self._said[sha256]
        return f"{sha256} {said if isinstance(said, str) else edits_to_json(said)}"

    @classmethod
    def from_lines(cls, data: bytes, place: object) -> Self:
        """What `lines` gave, found at `place`. Raises ArtifactCorruptError."""
        try:
            lines = data.decode().split("\n")[:-1]
            body = "".join(f"{line}\n" for line in lines[:-1])
            if hashlib.sha256(body.encode()).hexdigest() != lines[-1]:
                raise ValueError("its checksum is another")
            fold, head = cls(), json.loads(lines[0])
            fold.head, fold.source_table = Head(*head["head"]), head["source_table"]
            for name, one in head["definitions"].items():
                fold.definitions[name] = Definition(**one)
            fold._said = {line[:64]: line[65:] for line in lines[1:-1]}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ArtifactCorruptError(f"{place} is damaged: {error}") from error
        return fold


_NOTHING = ManualEdits()


def touched(record: Record, journal: AnyJournal) -> set[str]:
    """SHA-256 of the photos that a record is about."""
    if record.do == "import":
        return {sha256 for sha256, _ in journal.read_table(record.what["table"])}
    return {one["sha256"] for one in record.what.get("photos", ())}


def edits_in(record: Record, journal: AnyJournal) -> Iterator[Mapping[str, Any]]:
    """What an `update` or `import` sets of each photo: see `edit_of`."""
    if record.do == "update":
        yield from record.what["photos"]
    else:
        for sha256, values in journal.read_table(record.what["table"]):
            yield {"sha256": sha256, "attributes": values}


def edits_to_json(said: ManualEdits) -> str:
    """What was said of a photo, as JSON; `edits_from_json` reads it."""
    kept = {name: value for name, value in vars(said).items() if value}
    return json.dumps(kept, ensure_ascii=False)


def edits_from_json(text: str) -> ManualEdits:
    values = json.loads(text)
    return ManualEdits(**{**values, "by_hand": tuple(values.get("by_hand", ()))})
