"""The journal of a gallery on Milvus: many writers, one fold; damage is found."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread

from deepfood.config import load_settings
from deepfood.errors import ArtifactCorruptError, EngineError
from deepfood.gallery.fold import Fold, edits_to_json
from deepfood.local.checkpoints import fold_of
from deepfood.local.journal import Journal
from deepfood.milvus import journal as module
from deepfood.milvus.absent_edits import AbsentEdits
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.metadata import GalleryMetadata

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lite")
    server, db, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()
    db.close()


@pytest.fixture
def metadata(uri: str) -> Iterator[GalleryMetadata]:
    settings = load_settings(milvus_timeout_s=60)
    address = MilvusAddress(uri, f"said_{secrets.token_hex(4)}")
    with closing(Connection(address, settings)) as connection:
        made = GalleryMetadata(connection)
        made.create(settings)
        yield made


def edit(sha256: str, **what: Any) -> dict[str, Any]:
    return {"photos": [{"sha256": sha256, **what}]}


def rows_of(metadata: GalleryMetadata, key: str) -> list[dict[str, Any]]:
    fields = ["id", "version", "part", "parts", "text"]
    return sorted(
        metadata.rows(f'key == "{key}"', fields, "Strong"), key=lambda row: row["version"]
    )


def write_row(metadata: GalleryMetadata, key: str, row: dict[str, Any], **changed: Any) -> None:
    row = {**row, **changed}
    metadata.put([(row["id"], key, row["version"], row["part"], row["parts"], row["text"])])


def all_said(fold: Fold) -> dict[str, str]:
    return {sha256: edits_to_json(fold[sha256]) for sha256 in fold}


def test_records_of_all_writers_come_to_what_a_folders_come_to(
    metadata: GalleryMetadata, tmp_path: Path
) -> None:
    local, writers = Journal(tmp_path), [MilvusJournal(metadata, name) for name in ("ann", "ben")]
    assert not writers[0].is_there
    declared = {"price": {"type": "number", "safety": False}}
    values = {A: {"price": 3}, C: {"price": 12.5}}
    photo: dict[str, Any] = {"file": "a.jpg", "label": "crème", "name": None}
    photo |= {"media_type": "image/jpeg"}
    photo |= {"width": 1, "height": 1, "bytes": 5, "modified_ns": 7}
    every: list[tuple[Any, dict[str, Any]]] = [
        ("begin", {"format": 1}),
        ("declare", {"attributes": declared}),
        ("add", {"photos": [{"sha256": A, **photo, "attributes": {"price": 1}}]}),
        ("update", edit(A, label="Suppe", attributes={"price": 2})),
        ("update", edit(B, name="x" * 150_000)),  # in several parts
        ("import", {"table": local.write_table(values), "photos": 2, "attributes": declared}),  # type: ignore[arg-type]
        ("remove", {"photos": [{"sha256": B, "file": "b.jpg", "bytes": 1, "modified_ns": 2}]}),
        ("update", edit(A, name=None)),
    ]
    assert writers[0].write_table(values) == local.write_table(values)  # type: ignore[arg-type]
    for number, (do, what) in enumerate(every):
        writers[number % 2].append(do, what)
        local.append(do, "ann", what)
    reader = MilvusJournal(metadata)
    fold = reader.read().fold
    assert all_said(fold) == all_said(fold_of(local))
    assert fold.definitions == fold_of(local).definitions
    found = list(reader.records())
    assert [(one.number, one.do, one.what) for one in found] == [
        (one.number, one.do, one.what) for one in local.records()
    ]
    assert [one.by for one in found] == ["ann", "ben"] * 4
    assert reader.is_there
    local.close()


def test_a_writer_whose_clock_is_behind_comes_later_all_the_same(
    metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    MilvusJournal(metadata).append("update", edit(A, label="first"))
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "time_ns", lambda: 10**18)  # type: ignore[attr-defined]
        MilvusJournal(metadata).append("update", edit(A, label="second"))
    MilvusJournal(metadata).append("update", edit(A, label="third"))
    labels = [one.what["photos"][0]["label"] for one in MilvusJournal(metadata).records()]
    assert labels == ["first", "second", "third"]


def test_news_are_what_an_earlier_reading_did_not_have(metadata: GalleryMetadata) -> None:
    one, other, reader = MilvusJournal(metadata), MilvusJournal(metadata), MilvusJournal(metadata)
    one.append("update", edit(A, label="soup"))
    before = reader.read()
    assert before.news == {A}
    other.append("update", edit(B, label="stew"))
    one.append("update", edit(C, label="pie"))
    after = reader.read(before)
    assert after.news == {B, C}
    assert all_said(after.fold).keys() == {A, B, C}
    assert reader.read(after).news == frozenset()


def damage(metadata: GalleryMetadata, kind: str) -> None:
    """Records 1 to 3 of one session are there, and 1 of another."""
    records, heads = rows_of(metadata, "journal"), rows_of(metadata, "journal-head")
    match kind:
        case "a record in between is gone":
            metadata.delete([records[1]["id"]])
        case "the newest record is gone":
            metadata.delete([records[2]["id"]])
        case "a whole session is gone":
            metadata.delete([records[3]["id"]])
        case "a letter is another":
            write_row(
                metadata, "journal", records[0], text=records[0]["text"].replace("soup", "soap")
            )
        case "it is at another time":
            write_row(metadata, "journal", records[0], version=records[3]["version"] + 1)
        case "a part is gone":
            write_row(metadata, "journal", records[1], parts=2)
        case "the head is another's":
            write_row(metadata, "journal-head", heads[0], text=f"3 {'0' * 32}")
        case "one is another":
            write_row(metadata, "journal", records[2], text=records[1]["text"])


@pytest.mark.parametrize(
    "kind",
    [
        "a record in between is gone",
        "the newest record is gone",
        "a whole session is gone",
        "a letter is another",
        "it is at another time",
        "a part is gone",
        "the head is another's",
        "one is another",
    ],
)
@pytest.mark.parametrize("checkpoint", [False, True])
def test_damage_is_found(
    metadata: GalleryMetadata, kind: str, checkpoint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = MilvusJournal(metadata)
    for label in ("soup", "stew", "pie"):
        one.append("update", edit(A, label=label))
    MilvusJournal(metadata).append("update", edit(B, label="cake"))
    if checkpoint:
        write_checkpoint(metadata, monkeypatch)
    damage(metadata, kind)
    with pytest.raises(ArtifactCorruptError, match=r"is missing or altered.*backup"):
        list(MilvusJournal(metadata).records())
    if not checkpoint:
        with pytest.raises(ArtifactCorruptError, match=r"is missing or altered.*backup"):
            MilvusJournal(metadata).read()


def write_checkpoint(metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "TAIL_RECORDS", 1)
        patch.setattr(module, "_SETTLED_NS", 0)
        journal = MilvusJournal(metadata)
        journal.write_checkpoint_if_long(journal.read())
    assert metadata.read_long("journal-checkpoint") is not None


def test_a_checkpoint_bounds_what_is_read(
    metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = MilvusJournal(metadata), MilvusJournal(metadata)
    for number in range(5):
        one.append("update", edit(A, label=f"soup {number}"))
        other.append("update", edit(B, attributes={"price": number}))
    before = MilvusJournal(metadata).read()
    write_checkpoint(metadata, monkeypatch)
    reading = MilvusJournal(metadata).read()
    assert (len(before.records), len(reading.records)) == (10, 0)
    assert all_said(reading.fold) == all_said(before.fold)
    # A session goes on, and its chain with it; a reading of before knows what is new.
    one.append("update", edit(C, label="pie"))
    after = MilvusJournal(metadata).read()
    assert len(after.records) == 1
    assert after.fold.head.number == 11
    assert all_said(after.fold) == {**all_said(before.fold), C: edits_to_json(after.fold[C])}
    assert MilvusJournal(metadata).read(before).news == {C}
    # One that is damaged, or that a record came too late for, is passed over.
    for row in rows_of(metadata, "journal-checkpoint"):
        write_row(metadata, "journal-checkpoint", row, text="x" + row["text"][1:])
    assert len(MilvusJournal(metadata).read().records) == 11
    write_checkpoint(metadata, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(MilvusJournal, "_now", lambda _: 1)
        MilvusJournal(metadata).append("update", edit(B, label="late"))
    late = MilvusJournal(metadata).read()
    assert len(late.records) == 12
    assert late.fold[B].label == "late"


def test_a_record_that_was_not_finished_is_none(
    metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MilvusJournal(metadata)
    writer.append("update", edit(A, label="soup"))
    put = GalleryMetadata.put

    def first_part_only(self: GalleryMetadata, rows: Any) -> None:
        put(self, list(rows)[:1])
        raise EngineError("the engine is away")

    with monkeypatch.context() as patch:
        patch.setattr(GalleryMetadata, "put", first_part_only)
        with pytest.raises(EngineError):
            writer.append("update", edit(A, name="x" * 150_000))
    assert all_said(MilvusJournal(metadata).read().fold).keys() == {A}
    writer.append("update", edit(B, label="stew"))
    assert [one.number for one in MilvusJournal(metadata).records()] == [1, 2]


def test_a_table_that_was_altered_is_not_believed(metadata: GalleryMetadata) -> None:
    writer = MilvusJournal(metadata)
    table = writer.write_table({A: {"price": 3}})
    declared = {"price": {"type": "number", "safety": False}}
    writer.append("import", {"table": table, "photos": 1, "attributes": declared})
    other = writer.write_table({A: {"price": 4}})
    text = rows_of(metadata, f"journal-table/{other}")[0]["text"]
    (row,) = rows_of(metadata, f"journal-table/{table}")
    write_row(metadata, f"journal-table/{table}", row, text=text)
    with pytest.raises(ArtifactCorruptError, match="missing or altered"):
        MilvusJournal(metadata).read()


def test_what_was_said_of_absent_photos_is_kept_for_who_adds_them(
    metadata: GalleryMetadata,
) -> None:
    writer = MilvusJournal(metadata)
    for sha256 in (A, B):
        writer.append("update", edit(sha256, label="soup", attributes={"price": 1}))
    writer.append("remove", {"photos": [{"sha256": C, "file": "c", "bytes": 1, "modified_ns": 1}]})
    absent, fold = AbsentEdits(metadata), writer.read().fold
    absent.replace(fold, {B})
    found = absent.read([A[:20], B[:20], C[:20]])
    assert {one: asdict(said) for one, said in found.items()} == {A[:20]: asdict(fold[A])}
    absent.replace(fold, {A, B})
    assert absent.read([A[:20], B[:20]]) == {}


def test_no_checkpoint_is_written_where_a_record_comes_late_meanwhile(
    metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, other = MilvusJournal(metadata), MilvusJournal(metadata)
    journal.append("update", edit(A, label="soup"))
    reading, checked = journal.read(), MilvusJournal._checked
    monkeypatch.setattr(module, "TAIL_RECORDS", 1)
    monkeypatch.setattr(module, "_SETTLED_NS", -60 * 10**9)

    def and_one_more(self: MilvusJournal, since: int) -> Any:
        found = checked(self, since)
        other.append("update", edit(B, label="late"))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(MilvusJournal, "_checked", and_one_more)
        journal.write_checkpoint_if_long(reading)
    assert metadata.read_long("journal-checkpoint") is None
    journal.write_checkpoint_if_long(journal.read())
    assert metadata.read_long("journal-checkpoint") is not None
