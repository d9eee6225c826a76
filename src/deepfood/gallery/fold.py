"""The fold of a journal: the state that its records lead to, by the content of the photos.

Everything else in a gallery can be derived from the photos, the Model and the fold.
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

#: A new checkpoint is written after this many records.
TAIL_RECORDS = 10_000
#: The fields of an added photo that its record holds beside its SHA-256.
_ADDED = ("file", "label", "name", "media_type", "width", "height", "bytes", "modified_ns")


class AnyJournal(Protocol):
    """What is read of a journal, in a folder or on Milvus."""

    def records(self) -> Iterator[Record]:
        """All records, in order. Raises ArtifactCorruptError."""

    def read_table(self, sha256: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """SHA-256 and values of each photo in an imported table. Raises ArtifactCorruptError."""


@dataclass(frozen=True)
class ManualEdits:
    """What people set, added or removed for one photo, whether the gallery holds it now or not.

    `by_hand` lists which of `label` and `name` were set; None is a valid value. `added` holds the
    fields of a photo that was added. `removed` holds the file of one that was removed (with its
    `bytes` and `modified_ns`): it stays out until it is added again.
    """

    label: str | None = None
    name: str | None = None
    by_hand: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)
    added: Mapping[str, Any] | None = None
    removed: Mapping[str, Any] | None = None

    @classmethod
    def from_photo(cls, photo: Photo, attributes: Mapping[str, Value] | None = None) -> Self:
        """The manual edits in a catalogue row and its attributes."""
        by_hand = tuple(name for name in ("label", "name") if getattr(photo, f"{name}_edited"))
        texts = {name: getattr(photo, name) for name in by_hand}
        return cls(**texts, by_hand=by_hand, attributes=attributes or {})

    @property
    def outlasts_photo(self) -> bool:
        """Whether there are texts or attributes to keep while the photo is not in the gallery."""
        return bool(self.by_hand or self.attributes)

    def apply_to(self, photo: Photo) -> Photo:
        """The photo with the label and name that were set by hand."""
        return edited(photo, {name: getattr(self, name) for name in self.by_hand})

    def added_photo(self, sha256: str) -> Photo:
        """The photo that was added, edited."""
        assert self.added is not None
        return self.apply_to(Photo(sha256, **self.added, added=True))

    def with_values(self, values: Mapping[str, Value | None]) -> Self:
        """With more attribute values; None makes an attribute unknown."""
        after = {**self.attributes, **values}
        known = {name: value for name, value in after.items() if value is not None}
        return replace(self, attributes=known)


def addition_of(photo: Photo, attributes: Mapping[str, Value | None]) -> dict[str, Any]:
    """A photo as stored in a record of kind `add`."""
    facts = {"sha256": photo.sha256, **{name: getattr(photo, name) for name in _ADDED}}
    return {**facts, "attributes": dict(attributes)} if attributes else facts


def edit_of(before: Photo, after: Photo, values: Mapping[str, Value | None]) -> dict[str, Any]:
    """A change as stored in a record of kind `update`: only what is set by hand.

    `was` holds the earlier texts, which may come from the photo's source: `undo` needs them.
    """
    edit: dict[str, Any] = {"sha256": after.sha256}
    for name in ("label", "name"):
        now = getattr(after, name), getattr(after, f"{name}_edited")
        if now[1] and now != (getattr(before, name), getattr(before, f"{name}_edited")):
            edit[name] = now[0]
            edit.setdefault("was", {})[name] = getattr(before, name)
    return {**edit, "attributes": dict(values)} if values else edit


def removal_of(photo: Photo) -> dict[str, Any]:
    """A photo as stored in a record of kind `remove`."""
    names = ("sha256", "file", "bytes", "modified_ns", "added")
    return {name: getattr(photo, name) for name in names}


class Fold:
    """Attribute definitions by name and manual edits by SHA-256, up to the record `head`."""

    def __init__(self) -> None:
        self.head: Head = BEGINNING
        self.definitions: dict[str, Definition] = {}
        #: SHA-256 of the table that the last build imported.
        self.source_table: str | None = None
        #: Lines of a checkpoint are parsed on access only, so that a million photos fit in memory.
        self._edits: dict[str, ManualEdits | str] = {}

    def __len__(self) -> int:
        return len(self._edits)

    def __iter__(self) -> Iterator[str]:
        """SHA-256 of each photo that has manual edits."""
        return iter(list(self._edits))

    def __getitem__(self, sha256: str) -> ManualEdits:
        edits = self._edits.get(sha256)
        if edits is None:
            return _NOTHING
        if isinstance(edits, str):
            edits = self._edits[sha256] = edits_from_json(edits)
        return edits

    def added(self) -> Iterator[tuple[str, Photo]]:
        """SHA-256 and photo of those added and not removed, in the order of their addition."""
        for sha256 in self:
            edits = self[sha256]
            if edits.added is not None:
                yield sha256, edits.added_photo(sha256)

    def apply(self, record: Record, journal: AnyJournal) -> None:
        """Apply the next record of the journal."""
        what = record.what
        match record.do:
            case "begin":
                pass
            case "declare" | "drop":
                self.define(record)
            case "add":
                for one in what["photos"]:
                    self._add(dict(one))
            case "remove":
                for one in what["photos"]:
                    sha256 = one["sha256"]
                    self._edits.pop(sha256, None)
                    kept = {name: value for name, value in one.items() if name != "sha256"}
                    self._edits[sha256] = ManualEdits(removed=kept)
            case "restore":
                for one in what["photos"]:
                    self.put(one["sha256"], edits_from_json(one["said"]))
            case "update":
                for one in what["photos"]:
                    self.edit(dict(one))
            case "import":
                table = list(
                    journal.read_table(what["table"])
                )  # read whole before anything is applied
                self.define(record)
                for sha256, values in table:
                    self.put(sha256, self[sha256].with_values(values))
                self.source_table = what.get("source_table", self.source_table)
            case _:
                raise ArtifactCorruptError(
                    f"record {record.number} of the journal is a {record.do!r}, which this "
                    "deepfood does not know: upgrade deepfood"
                )
        self.head = record.head

    def define(self, record: Record) -> None:
        """Apply what a record does to the definitions of attributes."""
        if record.do == "drop":
            self.drop(record.what["attribute"])
        elif record.do in ("declare", "import"):
            for name, one in record.what["attributes"].items():
                self.declare(name, one["type"], one["safety"])

    def declare(self, name: str, type_: Type, safety: bool) -> None:
        before = self.definitions.get(name)
        self.definitions[name] = Definition(type_, safety or (before is not None and before.safety))

    def edit(self, one: dict[str, Any]) -> None:
        sha256 = one["sha256"]
        edits = self[sha256].with_values(one.get("attributes", {}))
        set_now = {name: one[name] for name in ("label", "name") if name in one}
        by_hand = tuple(name for name in ("label", "name") if name in {*edits.by_hand, *set_now})
        self.put(sha256, replace(edits, **set_now, by_hand=by_hand))

    def _add(self, one: dict[str, Any]) -> None:
        sha256, values = one.pop("sha256"), one.pop("attributes", {})
        before = self[sha256]
        edits = replace(before, removed=None) if before.removed is None else _NOTHING
        self.put(sha256, replace(edits, added=one).with_values(values))

    def drop(self, name: str) -> None:
        """Drop an attribute and all its values."""
        self.definitions.pop(name, None)
        for sha256 in self:
            if name in self[sha256].attributes:
                self.put(sha256, self[sha256].with_values({name: None}))

    def put(self, sha256: str, edits: ManualEdits) -> None:
        """Replace the edits of a photo."""
        if edits == _NOTHING:
            self._edits.pop(sha256, None)
        else:
            self._edits[sha256] = edits

    def lines(self) -> Iterator[bytes]:
        """This fold as lines of a checkpoint. The last is the SHA-256 of all before it."""
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
        edits = self._edits[sha256]
        return f"{sha256} {edits if isinstance(edits, str) else edits_to_json(edits)}"

    @classmethod
    def from_lines(cls, data: bytes, place: object) -> Self:
        """Parse what `lines` wrote; `place` is for errors. Raises ArtifactCorruptError."""
        try:
            lines = data.decode().split("\n")[:-1]
            body = "".join(f"{line}\n" for line in lines[:-1])
            if hashlib.sha256(body.encode()).hexdigest() != lines[-1]:
                raise ValueError("its checksum is another")
            fold, head = cls(), json.loads(lines[0])
            fold.head, fold.source_table = Head(*head["head"]), head["source_table"]
            for name, one in head["definitions"].items():
                fold.definitions[name] = Definition(**one)
            fold._edits = {line[:64]: line[65:] for line in lines[1:-1]}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ArtifactCorruptError(f"{place} is damaged: {error}") from error
        return fold


_NOTHING = ManualEdits()


def touched(record: Record, journal: AnyJournal) -> set[str]:
    """SHA-256 of the photos that a record changes."""
    if record.do == "import":
        return {sha256 for sha256, _ in journal.read_table(record.what["table"])}
    return {one["sha256"] for one in record.what.get("photos", ())}


def edits_in(record: Record, journal: AnyJournal) -> Iterator[Mapping[str, Any]]:
    """The edits in an `update` or `import`, one a photo: see `edit_of`."""
    if record.do == "update":
        yield from record.what["photos"]
    else:
        for sha256, values in journal.read_table(record.what["table"]):
            yield {"sha256": sha256, "attributes": values}


def edits_to_json(edits: ManualEdits) -> str:
    """Serialize the edits of a photo."""
    kept = {name: value for name, value in vars(edits).items() if value}
    return json.dumps(kept, ensure_ascii=False)


def edits_from_json(text: str) -> ManualEdits:
    """Parse what `edits_to_json` wrote."""
    values = json.loads(text)
    return ManualEdits(**{**values, "by_hand": tuple(values.get("by_hand", ()))})
