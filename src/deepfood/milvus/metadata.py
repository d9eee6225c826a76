"""A gallery's metadata: everything about the gallery as a whole, in a collection beside its photos.

Texts by key, split into parts, since Milvus limits a text to 64 KB. A text counts once all its
parts exist: a writer that is killed leaves the previous one.
"""

import base64
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deepfood.config import Settings
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactFormatError,
    ArtifactMissingError,
    EngineError,
    ModelMismatchError,
)
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.tuned import Tuned
from deepfood.gallery.values import Type
from deepfood.index import IndexSpec
from deepfood.milvus.connection import Connection
from deepfood.milvus.schema import index_of, metadata_schema
from deepfood.model import Model

_PART = 60_000
#: Parts per request: 6 MB, of the 64 MB that Milvus accepts.
_PARTS_AT_ONCE = 100
_ROWS_AT_ONCE = 10_000
_WHOLE = ("version", "parts")
#: The key of the declared attributes.
_COLUMNS = "columns"


#: A row: id, key, version, part, parts, text.
TextRow = tuple[str, str, int, int, int, str]


class Column(BaseModel):
    """A declared attribute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Type
    safety: bool


#: The current format. Galleries of format 1 had no journal.
FORMAT = 2


class MilvusManifest(BaseModel):
    """The manifest of a generation, with the fields of LocalManifest that apply here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=FORMAT)] = FORMAT
    generation: Annotated[int, Field(ge=1)]
    photos_root: str
    #: Where the bytes of added photos are kept: `s3://…`, or a folder that all servers reach.
    photos_store: str | None
    dimension: Annotated[int, Field(ge=1)]
    model_name: str
    model_fingerprint: str
    index: IndexSpec
    #: The declared attributes, the same in all generations.
    columns: dict[str, Column] = {}
    labels: Annotated[int, Field(ge=0)] = 0
    calibration: Calibration | None = None
    uncalibrated: str | None = None
    #: How `deepfood tune` has tuned it; a build or another Model ends that.
    tuned: Tuned | None = None
    #: Whether it keeps the parts of its photos, which are searched once they are "kept": "begun"
    #: until all photos are noted as not looked at, and "noted" until the build is complete.
    parts: Literal["begun", "noted", "kept"] | None = None
    #: False until its first build is complete.
    whole: bool = False
    #: The generation that a rollback returns to, if this one was made with another Model.
    before: int | None = None
    #: How often a build or rollback has changed this generation in place.
    revision: Annotated[int, Field(ge=0)] = 0
    #: The checksum of the before-images that lead back from this revision, if any.
    before_images: str | None = None

    def check_model(self, model: Model, place: object) -> None:
        """Raise ModelMismatchError unless the gallery was made with this Model."""
        if self.model_fingerprint != model.fingerprint:
            raise ModelMismatchError(
                f"{place} was made with the Model {self.model_name} "
                f"({self.model_fingerprint[:12]}), and you are using {model.manifest.name} "
                f"({model.fingerprint[:12]}): leave --model out, or change the gallery's with "
                "deepfood reembed"
            )


class GalleryMetadata:
    """Reads and writes a gallery's texts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.collection = f"{connection.address.name}_about"

    @property
    def name(self) -> str:
        """The gallery's name."""
        return self._connection.address.name

    def aliases(self) -> list[str]:
        """The aliases of the collection of texts, for short facts that must be read quickly."""
        return list(
            self._connection.ask("list_aliases", collection_name=self.collection)["aliases"]
        )

    def add_alias(self, alias: str) -> None:
        try:
            self._connection.ask("create_alias", collection_name=self.collection, alias=alias)
        except EngineError:
            if (
                alias not in self.aliases()
            ):  # otherwise only the response was lost, before the retry
                raise

    def drop_alias(self, alias: str) -> None:
        try:
            self._connection.ask("drop_alias", alias=alias)
        except EngineError:
            if alias in self.aliases():
                raise

    def create(self, settings: Settings) -> None:
        """Ensure that the collection of texts exists, with the photos' number of replicas."""
        self._connection.create(self.collection, metadata_schema(), index_of(settings, "FLAT"))

    def read(self, key: str, consistency: str = "Strong") -> str | None:
        """The newest complete text, or None."""
        return self._texts([key], consistency).get(key)

    def _texts(self, keys: Sequence[str], consistency: str) -> dict[str, str]:
        """The newest complete text of each key that has one."""
        names = ", ".join(f'"{key}"' for key in keys)
        rows = self.rows(f"key in [{names}]", ["key", *_WHOLE, "part", "text"], consistency)
        versions: dict[tuple[str, int], dict[int, str]] = {}
        parts = {(row["key"], row["version"]): row["parts"] for row in rows}
        for row in rows:
            versions.setdefault((row["key"], row["version"]), {})[row["part"]] = row["text"]
        return {
            one[0]: "".join(texts[part] for part in sorted(texts))
            for one, texts in sorted(versions.items())
            if len(texts) == parts[one]
        }

    def read_long(self, key: str) -> bytes | None:
        """What `write_long` wrote, or None. Raises ArtifactCorruptError if it is damaged."""
        there = Counter((r["version"], r["parts"]) for r in self.every(key, fields=_WHOLE))
        newest = max((one for one, count in there.items() if count == one[1]), default=None)
        if newest is None:
            return None
        texts = {
            row["part"]: row["text"]
            for row in self.every(key, newest[0], fields=["version", "part", "text"])
            if row["version"] == newest[0]
        }
        try:
            return zlib.decompress(base64.b85decode("".join(texts[part] for part in sorted(texts))))
        except (ValueError, zlib.error) as error:
            raise ArtifactCorruptError(f"{key} in {self.collection} is damaged: {error}") from error

    def write_long(self, key: str, data: bytes) -> None:
        """Like `write`, for any bytes, compressed; `read_long` uses several requests."""
        self.write(key, base64.b85encode(zlib.compress(data, 6)).decode())

    def write(self, key: str, text: str) -> None:
        """Replace a text, in ASCII; the earlier versions are then removed.

        The new version is higher, even if the previous writer's clock was ahead.
        """
        there = self.rows(f'key == "{key}" and part == 0', ["version"], "Strong")
        version = max([time.time_ns(), *(int(row["version"]) + 1 for row in there)])
        self.put_text(f"{key}/{version}", key, version, text)
        self._connection.ask(
            "delete",
            collection_name=self.collection,
            filter=f'key == "{key}" and version < {version}',
        )

    def put_text(
        self, row: str, key: str, version: int, text: str, also: Sequence[TextRow] = ()
    ) -> None:
        """Write an ASCII text in parts called `row/PART`; `also` is in the last request."""
        assert text.isascii()
        pieces = [text[at : at + _PART] for at in range(0, max(len(text), 1), _PART)]
        rows: list[TextRow] = [
            (f"{row}/{part}", key, version, part, len(pieces), piece)
            for part, piece in enumerate(pieces)
        ]
        rows += also
        for start in range(0, len(pieces), _PARTS_AT_ONCE):
            stop = start + _PARTS_AT_ONCE
            self.put(rows[start : stop if stop < len(pieces) else None])

    def put(self, rows: Iterable[TextRow]) -> None:
        """Write rows; at most 100 long texts at once."""
        names = ("id", "key", "version", "part", "parts", "text")
        data = [{"vector": [0.0, 1.0], **dict(zip(names, row, strict=True))} for row in rows]
        self._connection.ask("upsert", collection_name=self.collection, data=data)

    def every(
        self, key: str, since: int = 0, fields: Sequence[str] = ("version", "text")
    ) -> Iterator[dict[str, Any]]:
        """All rows of a key from a version on, with these fields."""
        where = f'key == "{key}" and version >= {since}'
        page = _PARTS_AT_ONCE if "text" in fields else _ROWS_AT_ONCE
        return self._connection.every(self.collection, where, fields, page)

    def rows(
        self, where: str, fields: Sequence[str], consistency: str | None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """A few rows, in one request; `consistency` None means that of searches."""
        return self._connection.query(self.collection, where, fields, consistency, limit)

    def delete(self, ids: Sequence[str]) -> None:
        self._connection.ask("delete", collection_name=self.collection, ids=list(ids))

    def forget(self, key: str, where: str = "") -> None:
        """Delete the rows of a key; those for which `where` holds."""
        one = f'key == "{key}"' + (f" and {where}" if where else "")
        self._connection.ask("delete", collection_name=self.collection, filter=one)

    def forget_all(self, start: str) -> None:
        """Like `forget`, for all keys with this prefix."""
        where = f'key like "{start}%"'
        self._connection.ask("delete", collection_name=self.collection, filter=where)

    def manifest(
        self, collection: str, consistency: str = "Strong", *, oldest: int = FORMAT
    ) -> MilvusManifest:
        """The manifest of a generation's collection.

        Raises an ArtifactError; ArtifactFormatError for a format before `oldest`.
        """
        key = f"{collection}/manifest"
        texts = self._texts([key, _COLUMNS], consistency)
        if (
            key not in texts and consistency != "Strong"
        ):  # written just now, not yet visible everywhere
            texts = self._texts([key, _COLUMNS], "Strong")
        if key not in texts:
            raise ArtifactMissingError(
                f"{self._connection.address} has no manifest of {collection}: build it again"
            )
        try:
            manifest = MilvusManifest.model_validate_json(texts[key])
            if _COLUMNS in texts:
                columns = _columns_in(texts[_COLUMNS])
                manifest = manifest.model_copy(update={"columns": columns})
        except ValidationError as error:
            raise ArtifactCorruptError(
                f"the manifest of {collection} at {self._connection.address} is damaged or of "
                f"another version of deepfood: {error.errors(include_url=False)[0]['msg']}"
            ) from error
        if manifest.format < oldest:
            place = self._connection.address
            raise ArtifactFormatError(
                f"{place} was made by an earlier deepfood: deepfood verify --repair {place} "
                "upgrades it to the current format; nothing is lost or embedded again"
            )
        return manifest

    def write_manifest(self, collection: str, manifest: MilvusManifest) -> None:
        """For the holder of the lease, or of a generation that is not living yet.

        Searches see it when this returns. Its columns apply only until `write_columns`.
        """
        key = f"{collection}/manifest"
        self.write(key, json.dumps(manifest.model_dump(mode="json")))
        self.read(key)  # a strongly consistent read waits for the write

    def columns(self) -> dict[str, Column] | None:
        """The declared attributes of all generations; None if none were ever declared."""
        text = self.read(_COLUMNS)
        return None if text is None else _columns_in(text)

    def write_columns(self, columns: Mapping[str, Column]) -> None:
        """A separate text, since writers declare attributes while builds write the manifest."""
        self.write(_COLUMNS, json.dumps({name: one.model_dump() for name, one in columns.items()}))


def _columns_in(text: str) -> dict[str, Column]:
    return TypeAdapter(dict[str, Column]).validate_json(text)
