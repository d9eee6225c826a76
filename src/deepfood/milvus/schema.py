"""The collections of a gallery, and the conversion between photos and rows.

NAME is an alias of NAME_g000001, the living generation; the next Model's is NAME_g000002. The parts
of photos, if they are kept, are in NAME_g000001_parts. Texts about a generation as a whole (its
manifest, columns, Model) are in NAME_about.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pymilvus import CollectionSchema, DataType, FieldSchema, MilvusClient

from deepfood.config import Settings
from deepfood.embed import Vector
from deepfood.errors import DatasetError
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import BUILT_IN, Value, folded, keys_of
from deepfood.gallery.written import texts_of

METRIC = "IP"  # the cosine similarity, as vectors have length 1
_TEXT, _INT, _FLAG = DataType.VARCHAR, DataType.INT64, DataType.BOOL
_LONGEST_TEXT = 16_384
_LONGEST_JSON = 60_000

#: A Photo's fields that are never None.
_PHOTO = {
    "sha256": (_TEXT, 64),
    "file": (_TEXT, _LONGEST_TEXT),
    "media_type": (_TEXT, 64),
    "width": (_INT, None),
    "height": (_INT, None),
    "bytes": (_INT, None),
    "modified_ns": (_INT, None),
    "added": (_FLAG, None),
}
#: JSON of label, name and attributes as they were given; `by_hand` lists the texts set by hand.
GIVEN = "said"
#: All of a row but its vector.
PHOTO_ROW = ["id", *_PHOTO, GIVEN]
WRITTEN = "written_ns"
WHOLE_ROW = [*PHOTO_ROW, "vector", WRITTEN]
_TEXTS = ("label", "name")
#: JSON by which filters and words find a photo.
KEYS = "keys"
#: The key in KEYS for the tokens of all texts, separated by spaces, texts by a bar.
WORDS = "words"
_LONGEST_WORDS = 4_000


def photo_schema(dimension: int) -> CollectionSchema:
    """The collection of a generation."""
    columns = [
        FieldSchema("id", _TEXT, is_primary=True, max_length=20),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dimension),
        *(_field(name, kind, size) for name, (kind, size) in _PHOTO.items()),
        FieldSchema(GIVEN, DataType.JSON),
        FieldSchema(KEYS, DataType.JSON),
        # When the row was first written: later pages of a search leave out newer rows.
        FieldSchema(WRITTEN, _INT),
    ]
    return CollectionSchema(columns)


def part_schema(dimension: int) -> CollectionSchema:
    """The collection of the parts of a generation's photos."""
    return CollectionSchema(
        [
            FieldSchema("id", _TEXT, is_primary=True, max_length=32),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dimension),
            FieldSchema("photo", _TEXT, max_length=20),
            # Which of how many it is.
            FieldSchema("part", _INT),
            FieldSchema("count", _INT),
            FieldSchema("box", DataType.JSON),
            FieldSchema(KEYS, DataType.JSON),
            FieldSchema(WRITTEN, _INT),
        ]
    )


def metadata_schema() -> CollectionSchema:
    """The collection of texts. Milvus requires a vector in each row: here, of two numbers."""
    return CollectionSchema(
        [
            FieldSchema("id", _TEXT, is_primary=True, max_length=256),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=2),
            FieldSchema("key", _TEXT, max_length=128),
            FieldSchema("version", _INT),
            FieldSchema("part", _INT),
            FieldSchema("parts", _INT),
            FieldSchema("text", _TEXT, max_length=65_535),
        ]
    )


def index_of(settings: Settings, kind: str = "HNSW") -> Any:
    """The index of the vectors. Every Milvus has HNSW and FLAT."""
    wanted = MilvusClient.prepare_index_params()
    numbers = {"M": settings.hnsw_m, "efConstruction": settings.hnsw_ef_construction}
    wanted.add_index(
        "vector", index_type=kind, metric_type=METRIC, params=numbers if kind == "HNSW" else {}
    )
    return wanted


def row_of(
    photo: Photo, vector: Vector, attributes: Mapping[str, Value], written_ns: int
) -> dict[str, Any]:
    """Raises DatasetError for a photo with more attributes than a row can hold."""
    given: dict[str, Any] = {"attributes": dict(attributes)}
    given.update({name: getattr(photo, name) for name in _TEXTS})
    given["by_hand"] = [name for name in _TEXTS if getattr(photo, f"{name}_edited")]
    keys = keys_for(photo, attributes)
    for one in (given, keys):
        if len(json.dumps(one).encode()) > _LONGEST_JSON:
            raise DatasetError(
                f"{photo.file[:80]}: its attributes have more than {_LONGEST_JSON:,} bytes"
            )
    own = {name: getattr(photo, name) for name in _PHOTO}
    return {
        "id": photo.id,
        "vector": vector.tolist(),
        **own,
        GIVEN: given,
        KEYS: keys,
        WRITTEN: written_ns,
    }


def keys_for(photo: Photo, attributes: Mapping[str, Value]) -> dict[str, Any]:
    """The keys by which filters and words find a photo."""
    keys: dict[str, Any] = {WORDS: words_for(photo, attributes)}
    for name in BUILT_IN:
        if (text := getattr(photo, name)) is not None:
            keys[key_name(name)] = key_of(folded(text))
    for name, value in attributes.items():
        found = [key_of(key) for key in keys_of(value)]
        keys[key_name(name)] = found if isinstance(value, list) else found[0]
    return keys


def words_for(photo: Photo, attributes: Mapping[str, Value]) -> str:
    """The tokens of a photo's texts, cut to a maximal length."""
    texts = texts_of(photo.name, photo.label, photo.file, attributes)
    words = " | ".join(" ".join(text.tokens) for text in texts)
    if len(words) > _LONGEST_WORDS:
        words = words[:_LONGEST_WORDS].rpartition(" ")[0]
    return f" {words} "


def photo_of(row: Mapping[str, Any]) -> Photo:
    """The photo of a row with the fields PHOTO_ROW."""
    values = {field.name: row.get(field.name) for field in fields(Photo)}
    given = row[GIVEN]
    texts = {name: given[name] for name in _TEXTS}
    by_hand = {f"{name}_edited": name in given["by_hand"] for name in _TEXTS}
    return Photo(**{**values, **texts, **by_hand})


def attributes_of(row: Mapping[str, Any]) -> dict[str, Value]:
    return dict(row[GIVEN]["attributes"])


def key_name(attribute: str) -> str:
    """An attribute's name in KEYS: hex digits, so that no name becomes part of an expression."""
    return f"a{attribute.encode().hex()}"


def key_of(key: str | float) -> str | float:
    """The form in which a key is compared. Hex digits keep the order of UTF-8, that of Unicode."""
    return key.encode().hex() if isinstance(key, str) else float(key)


def _field(name: str, kind: DataType, size: int | None) -> FieldSchema:
    return FieldSchema(name, kind, **({"max_length": size} if size else {}))
