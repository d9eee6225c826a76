"""What galleries on Milvus must do beyond the contract, on Milvus Lite as on a cluster.

A test module that imports these tests gives the fixtures `engine`, `address` and `settings`.
"""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import samples
from deepfood.config import Settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.photos import list_photos
from deepfood.data.root import Folder
from deepfood.embed import Embedder
from deepfood.errors import ArtifactBusyError, ArtifactMissingError, ModelMismatchError
from deepfood.evaluate.examine import examine
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.fold import addition_of, edit_of, removal_of
from deepfood.gallery.photo import Photo, edited
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import living_collection
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata
from deepfood.milvus.schema import photo_of, row_of
from deepfood.milvus.stored_photos import StoredPhotos
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import open_model
from deepfood.place import Place
from deepfood.serve.fit_plates import calibrate_plates
from gallery_contract import GalleryUnderTest, check_made_with, deepfood, new_photo, said
from live import run_deepfood, run_here, serving
from load import Load, wait_for
from milvus_engine import milvus_engine
from plates import LIMITS, build, tiny_embedder, write_conv_model, write_dishes, write_tiny_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Milvus is asked from now on; it is asked all the same."""
    verbs: list[str] = []
    ask = Connection.ask

    def noted(self: Connection, verb: str, **arguments: Any) -> Any:
        verbs.append(verb)
        return ask(self, verb, **arguments)

    monkeypatch.setattr(Connection, "ask", noted)
    return verbs


def test_the_living_generation_is_found_with_one_call(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings, asked: list[str]
) -> None:
    assert living_collection(Connection(address, settings)) == f"{address.name}_g000001"
    assert asked == ["describe_alias"]
    nowhere = MilvusAddress(address.uri, "nowhere")
    assert living_collection(Connection(nowhere, settings)) is None
    with pytest.raises(ArtifactMissingError, match="there is no gallery"):
        MilvusGallery.open(nowhere, settings)


def test_one_search_asks_only_of_one_generation(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings, asked: list[str]
) -> None:
    with engine.writing() as writer:
        photo = engine.open().sample(1, 0)[0]
        writer.declare({"frozen": Definition("number")})
        writer.update(photo.id, attributes={"frozen": 1})
    with MilvusGallery.open(address, settings) as gallery:
        query = gallery.vector(photo.id)
        gallery._fresh_s = 0  # all that it is asked for is looked up again
        for where in (None, parse_filter("frozen = 1")):
            del asked[:]
            found = gallery.find(query, 5, where=where)
            assert found.attributes[photo.id]["frozen"] == 1
            assert asked.count("describe_alias") == 1


def test_an_evaluation_fetches_the_photos_once(
    engine: GalleryUnderTest,
    address: MilvusAddress,
    settings: Settings,
    asked: list[str],
) -> None:
    for number, photo in enumerate(engine.open().photos()[0]):
        with engine.writing() as writer:
            writer.update(photo.id, label="even" if number % 2 else "odd")
    del asked[:]
    found = examine(Place.parse(engine.place), None, settings, k=3, seed=0, quiet=True)
    assert found.index_recall.value == 1
    assert len(found.evaluation.trial.queries.ids) == engine.open().count
    assert asked.count("query_iterator") == 1


def test_commands_see_every_acknowledged_change_and_searches_are_quick(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, a command would otherwise miss what the command before it has done."""
    asked: list[str] = []
    ask = Connection.ask

    def noted(self: Connection, verb: str, **arguments: Any) -> Any:
        if "consistency_level" in arguments:
            asked.append(arguments["consistency_level"])
        return ask(self, verb, **arguments)

    monkeypatch.setattr(Connection, "ask", noted)
    for command in (engine.at.describe, engine.problems, engine.at.own_model):
        command()
        assert {*asked} == {"Strong"}
        asked.clear()
    engine.open().sample(1, 0)
    assert {*asked} == {"Bounded"}


@pytest.fixture
def new_gallery(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings, tmp_path: Path
) -> Iterator[GalleryUnderTest]:
    """One of its own, of twelve labelled photos."""
    own = MilvusAddress(address.uri, f"own_{secrets.token_hex(4)}")
    settings = settings.model_copy(update={"photos_store": str(tmp_path / "store")})
    photos = write_dishes(tmp_path / "photos", 3)
    with milvus_engine(tmp_path, own, settings, photos) as made:
        yield made


def test_verify_reads_as_many_photos_at_once_as_their_place_is_worth(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = sorted(new_gallery.photos.rglob("*.jpg"))[::5]
    for path in lost:
        path.unlink()
    read, together = StoredPhotos.read, threading.Barrier(4)

    def beside_three_others(stored: StoredPhotos, photo: Photo) -> bytes:
        together.wait(300)  # broken, and the test with it, where fewer are asked for
        return read(stored, photo)

    monkeypatch.setattr(StoredPhotos, "read", beside_three_others)
    monkeypatch.setattr(Folder, "reads_ahead", 3)
    said = new_gallery.problems()
    assert all("its file is missing or altered" in line for line in said)
    assert sorted(line.rpartition("/")[2] for line in said) == sorted(path.name for path in lost)


def test_photos_that_were_added_to_a_bucket_are_read_ahead(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings
) -> None:
    with MilvusGallery.open(address, settings) as gallery:
        assert gallery.reads_ahead == 0
    there = settings.model_copy(update={"photos_store": "s3://plates/added"})
    with MilvusGallery.open(address, there) as gallery:
        assert gallery.reads_ahead == BucketRoot.reads_ahead


def collections_of(engine: GalleryUnderTest) -> set[str]:
    address = MilvusAddress.parse(engine.place)
    with closing(Connection(address, engine.settings)) as connection:
        every = connection.ask("list_collections")
    return {one.removeprefix(address.name) for one in every if one.startswith(address.name)}


def models_of(engine: GalleryUnderTest) -> int:
    address = MilvusAddress.parse(engine.place)
    with closing(Connection(address, engine.settings)) as connection:
        rows = connection.ask(
            "query",
            collection_name=f"{address.name}_about",
            filter='key like "model/%"',
            output_fields=["key"],
            consistency_level="Strong",
        )
    return len({row["key"].split("/")[1] for row in rows})


def test_generations_before_the_last_but_one_are_dropped(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine = new_gallery
    models = [tiny_embedder(tmp_path / f"pool-{pool}", pool=pool) for pool in (16, 32, 4)]
    # Begun and never ended.
    engine.at.reembed(models[2], swap=False, quiet=True)
    assert collections_of(engine) == {"_about", "_g000001", "_g000002"}
    for embedder in models[:2]:
        engine.at.reembed(embedder, quiet=True)
    assert collections_of(engine) == {"_about", "_g000003", "_g000004"}
    assert models_of(engine) == 2
    check_made_with(engine, models[1])
    engine.at.rollback(quiet=True)
    check_made_with(engine, models[0])
    engine.at.forget_before()
    assert collections_of(engine) == {"_about", "_g000003"}
    assert models_of(engine) == 1
    check_made_with(engine, models[0])


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ends work instead of one of its writes to Milvus, by number; 0 lets all go on."""
    left = [0]
    ask = Connection.ask

    def killed(self: Connection, verb: str, **arguments: Any) -> Any:
        if verb in {"upsert", "delete", "create_collection", "drop_collection"}:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return ask(self, verb, **arguments)

    monkeypatch.setattr(Connection, "ask", killed)

    def set_to(number: int) -> None:
        left[0] = number

    return set_to


def test_the_way_back_is_there_wherever_a_build_or_rollback_is_killed(
    new_gallery: GalleryUnderTest, killed_at: Callable[[int], None]
) -> None:
    """It is as if what was killed had not begun, or had ended."""
    engine = new_gallery
    new, newer = engine.photos / "new.jpg", engine.photos / "newer.jpg"
    before = said(engine)
    new.write_bytes(samples.photo(70, 70, 950))
    engine.build()
    first = said(engine)
    gone = next(photo for photo, _ in first.values() if photo.file != new.name)
    newer.write_bytes(samples.photo(70, 70, 951))
    (engine.photos / gone.file).unlink()
    new.rename(engine.photos / "renamed.jpg")

    def back() -> dict[str, Any]:
        engine.at.rollback(quiet=True)
        return said(engine)

    for work in (engine.build, back):
        kills, ended = 0, False
        while not ended:
            killed_at(3 * kills + 1)
            try:
                work()
                ended = True
            except KeyboardInterrupt:
                kills += 1
            killed_at(0)
            found = back(), back()
            if found != (before, first):
                assert found[0] == first
                before = found[1]
                assert len(before.keys() - first.keys()) == 1
                assert first.keys() - before.keys() == {gone.id}
                assert back() == first
        assert kills > 2


def test_a_change_counts_only_in_the_generation_that_lives(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine, other = new_gallery, tiny_embedder(tmp_path / "new", pool=16)
    address, (photo, gone) = MilvusAddress.parse(engine.place), engine.open().sample(2, 0)
    with MilvusWriter.open(address, engine.settings) as writer:
        made_in: list[int] = []

        def swapped_meanwhile(change: Callable[[], Any]) -> Any:
            """Another generation takes over after the first try of a change was begun."""

            def again() -> Any:
                if not made_in:
                    made_in.append(writer.manifest.generation)
                    engine.at.reembed(other, quiet=True)
                made_in.append(writer.manifest.generation)
                return change()

            return in_stable_generation(again)

        in_stable_generation = writer.in_stable_generation
        writer.in_stable_generation = swapped_meanwhile  # type: ignore[method-assign]
        writer.update(photo.id, label="late")
        assert made_in == [1, 1, 2]
    assert said(engine)[photo.id][0].label == "late"

    # One that was killed in between has not changed what lives; its record counts all the same.
    with MilvusWriter.open(address, engine.settings) as writer:

        def killed() -> None:
            (row,) = writer.rows([gone.id]).values()
            engine.at.rollback(quiet=True)
            never = edited(photo_of(row), {"label": "killed"})
            writer.record("update", {"photos": [edit_of(photo_of(row), never, {})]})
            writer.write([row_of(never, np.array(row["vector"]), {}, row["written_ns"])])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            writer.in_stable_generation(killed)
    now = said(engine)
    assert now[gone.id][0].label == gone.label
    assert any("differs from the journal" in line for line in engine.problems())
    engine.at.rollback(quiet=True)
    check_made_with(engine, other)
    after = said(engine)
    assert after.pop(gone.id)[0].label == "killed"
    del now[gone.id]
    assert after == now


def test_a_build_takes_in_what_a_killed_writer_had_in_the_journal(
    new_gallery: GalleryUnderTest,
) -> None:
    engine = new_gallery
    photo, removed = engine.open().sample(2, 0)
    added = new_photo(engine, 905)
    address = MilvusAddress.parse(engine.place)
    with closing(Connection(address, engine.settings)) as connection:
        journal = MilvusJournal(GalleryMetadata(connection), "killed")
        StoredPhotos(engine.open().manifest, engine.settings).keep(added.photo, added.data)  # type: ignore[arg-type, attr-defined]
        journal.append("declare", {"attributes": {"weight": {"type": "number", "safety": False}}})
        journal.append("add", {"photos": [addition_of(added.photo, {"weight": 3})]})
        journal.append("update", {"photos": [{"sha256": photo.sha256, "label": "late"}]})
        journal.append("remove", {"photos": [removal_of(removed)]})
    found = engine.problems()
    assert len(found) == 4, found
    engine.build()
    assert engine.problems() == []
    now = said(engine)
    assert removed.id not in now
    assert now[photo.id][0].label == "late"
    assert now[added.photo.id][1] == {"weight": 3}
    assert engine.build().up_to_date


def test_who_says_something_at_the_same_time_does_not_write_over_it(
    new_gallery: GalleryUnderTest,
) -> None:
    engine = new_gallery
    address, (photo, gone) = MilvusAddress.parse(engine.place), engine.open().sample(2, 0)
    with MilvusWriter.open(address, engine.settings) as writer:
        write = writer.write
        others: list[Callable[[MilvusWriter], object]] = []

        def late(rows: Any) -> None:
            """Written by another in between reading and writing."""
            if others:
                with MilvusWriter.open(address, engine.settings) as other:
                    others.pop(0)(other)
            write(rows)

        writer.write = late  # type: ignore[method-assign]
        others.append(lambda other: other.update(photo.id, label="theirs", attributes={"price": 1}))
        writer.update(photo.id, photo_name="ours")
        others.append(lambda other: other.remove([gone.id]))
        writer.update(gone.id, label="ours")
    after, values = said(engine)[photo.id]
    assert (after.label, after.name, values) == ("theirs", "ours", {"price": 1})
    assert gone.id not in said(engine)
    assert engine.problems() == []


@pytest.mark.parametrize("ends", ["before the bytes are forgotten", "after the removal"])
def test_a_photo_that_is_added_while_another_removes_it_keeps_its_bytes(
    ends: str, new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, again = new_gallery, new_photo(new_gallery, 906)
    address, model = MilvusAddress.parse(engine.place), engine.embedder.model
    with MilvusWriter.open(address, engine.settings, model) as writer:
        assert writer.add([again]) == ["added"]
    kept, removed = threading.Event(), threading.Event()
    forget, record = StoredPhotos.forget, MilvusWriter.record

    def add() -> list[str]:
        with MilvusWriter.open(address, engine.settings, model) as other:
            return [*other.add([again])]

    def late(writer: MilvusWriter, do: Any, what: Any) -> None:
        """The bytes are stored, and the rows not written yet."""
        if do == "add":
            kept.set()
            assert removed.wait(300)
        record(writer, do, what)

    with ThreadPoolExecutor(1) as pool:
        adding: list[Future[list[str]]] = []

        def beside(stored: StoredPhotos, photos: Sequence[Photo]) -> None:
            monkeypatch.setattr(StoredPhotos, "forget", forget)
            if ends == "after the removal":
                monkeypatch.setattr(MilvusWriter, "record", late)
            adding.append(pool.submit(add))
            if ends == "after the removal":
                assert kept.wait(300)
            else:
                adding[0].result()
            forget(stored, photos)

        monkeypatch.setattr(StoredPhotos, "forget", beside)
        with MilvusWriter.open(address, engine.settings) as writer:
            assert [photo.id for photo in writer.remove([again.photo.id])] == [again.photo.id]
        removed.set()
        assert adding[0].result() == ["added"]
    gallery = engine.open()
    assert gallery.read(gallery.photo(again.photo.id)) == again.data  # type: ignore[attr-defined]
    assert engine.problems() == []


def test_bytes_that_another_writer_forgot_are_kept_again_for_living_photos_only(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, new = new_gallery, new_photo(new_gallery, 907)
    address, model = MilvusAddress.parse(engine.place), engine.embedder.model
    has = StoredPhotos.has

    def removed_by_another(stored: StoredPhotos, photo: Photo) -> bool:
        monkeypatch.setattr(StoredPhotos, "has", has)
        with MilvusWriter.open(address, engine.settings) as other:
            other.remove([photo.id])
        return has(stored, photo)

    with MilvusWriter.open(address, engine.settings, model) as writer:
        monkeypatch.setattr(StoredPhotos, "has", removed_by_another)
        assert writer.add([new]) == ["added"]
    assert new.photo.id not in said(engine)
    assert [*StoredPhotos(engine.open().manifest, engine.settings).kept()] == []  # type: ignore[arg-type, attr-defined]


def test_photos_embedded_for_the_generation_before_are_refused(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine, other = new_gallery, tiny_embedder(tmp_path / "new", pool=16)
    address, model = MilvusAddress.parse(engine.place), engine.embedder.model
    with MilvusWriter.open(address, engine.settings, model) as writer:
        assert writer.add([new_photo(engine, 901)]) == ["added"]
        engine.at.reembed(other, quiet=True)
        with pytest.raises(ModelMismatchError, match="was made with the Model"):
            writer.add([new_photo(engine, 902)])
    check_made_with(engine, other)


def test_writers_wait_for_a_take_over(new_gallery: GalleryUnderTest) -> None:
    engine = new_gallery
    address, photo = MilvusAddress.parse(engine.place), engine.open().sample(1, 0)[0]
    impatient = engine.settings.model_copy(update={"milvus_timeout_s": 1.0})
    with closing(Connection(address, engine.settings)) as connection:
        metadata = GalleryMetadata(connection)
        with HeldLease.take(metadata) as lease, lease.swapping():
            with (
                MilvusWriter.open(address, impatient) as writer,
                pytest.raises(ArtifactBusyError, match="is taking over"),
            ):
                writer.update(photo.id, label="too early")
            thread = threading.Thread(target=update, args=(engine, photo.id, "waited"))
            thread.start()
            thread.join(timeout=1)
            assert thread.is_alive()
            assert said(engine)[photo.id][0].label == photo.label
        thread.join()
        assert said(engine)[photo.id][0].label == "waited"


def update(engine: GalleryUnderTest, photo_id: str, label: str) -> None:
    with engine.writing() as writer:
        writer.update(photo_id, label=label)


def test_one_next_generation_at_a_time(
    new_gallery: GalleryUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, other = new_gallery, tiny_embedder(tmp_path / "new", pool=16)
    monkeypatch.setattr("deepfood.milvus.lease._AGAIN_S", 0.1)
    # A later lease ends later than the one before, and the last one here is waited for.
    monkeypatch.setattr("deepfood.milvus.lease._LEASE_S", 6)
    with closing(Connection(MilvusAddress.parse(engine.place), engine.settings)) as connection:
        metadata = GalleryMetadata(connection)
        with HeldLease.take(metadata):
            for work in (
                lambda: engine.at.reembed(other, quiet=True),
                lambda: engine.at.rollback(quiet=True),
                lambda: engine.at.forget_before(),
            ):
                with pytest.raises(
                    ArtifactBusyError, match="is building this gallery or changing its Model"
                ):
                    work()
        # One that is not heard of any more is waited for, and has lost its lease.
        monkeypatch.setattr("deepfood.milvus.lease._LEASE_S", 2)
        monkeypatch.setattr("deepfood.milvus.lease._AGAIN_S", 1000)
        with HeldLease.take(metadata) as silent:
            monkeypatch.setattr("deepfood.milvus.lease._LEASE_S", 30)
            monkeypatch.setattr("deepfood.milvus.lease._AGAIN_S", 5)
            assert engine.at.reembed(other, quiet=True).swapped
            with pytest.raises(ArtifactBusyError, match="it resumes"):
                silent.check()
        check_made_with(engine, other)


def test_a_turn_that_was_cut_off_is_not_used(
    new_gallery: GalleryUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, other = new_gallery, tiny_embedder(tmp_path / "new", pool=16)
    with monkeypatch.context() as patch:
        patch.setattr("deepfood.milvus.lease._TRUSTED_S", 0.0)
        with pytest.raises(ArtifactBusyError, match="the engine was unavailable"):
            engine.at.reembed(other, quiet=True)
    check_made_with(engine, engine.embedder)
    assert engine.at.reembed(other, quiet=True).made == 0
    check_made_with(engine, other)


def test_a_build_with_another_model_keeps_what_was_done_by_hand(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine, other = new_gallery, tiny_embedder(tmp_path / "new", pool=16)
    removed, changed = engine.open().sample(2, 0)
    added = new_photo(engine, 903, price=4)
    with engine.writing() as writer:
        writer.declare({"price": Definition("number")})
        writer.add([added])
        writer.remove([removed.id])
        writer.update(changed.id, label="by hand", attributes={"price": 3})
    now = said(engine)
    extra = engine.photos / "zz-extra.jpg"
    extra.write_bytes(samples.photo(70, 70, 904))
    gone = next(one for one in engine.open().photos()[0] if not (one.added or one.label_edited))
    data = (engine.photos / gone.file).read_bytes()
    (engine.photos / gone.file).unlink()
    address, photos = MilvusAddress.parse(engine.place), list_photos(engine.photos)
    report = build_on_milvus(photos, address, other, engine.settings, quiet=True)
    assert (report.count, report.manifest.generation) == (12, 2)
    check_made_with(engine, other)
    after = said(engine)
    assert after.keys() & now.keys() == now.keys() - {gone.id}
    assert all(after[one] == now[one] for one in after.keys() & now.keys())
    (new,) = after.keys() - now.keys()
    assert after[new][0].file == extra.name
    assert build_on_milvus(photos, address, other, engine.settings, quiet=True).up_to_date
    # Back to the photos of the generation before, with what people have said since.
    (engine.photos / gone.file).write_bytes(data)
    with engine.writing() as writer:
        writer.update(changed.id, label="since", attributes={"price": 5})
    kept = said(engine)[changed.id]
    assert engine.at.rollback(quiet=True).made == 0
    assert said(engine) == {**now, changed.id: kept}
    check_made_with(engine, engine.embedder)


def test_a_server_under_load_follows_without_a_failed_request(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine = new_gallery
    new = write_tiny_model(tmp_path / "new", pool=4)
    photo = (engine.photos / engine.open().sample(1, 0)[0].file).read_bytes()
    kept = {
        "cache": engine.settings.cache,
        "photos_store": engine.settings.photos_store,
        "milvus_timeout_s": 60,
    }
    with serving(engine.place, **kept) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in kept.items():
            patch.setenv(f"DEEPFOOD_{name.upper()}", str(value))
        loads = [Load(server.url, photo) for _ in range(2)]
        for load in loads:
            load.start()

        def dimension() -> int:
            return int(httpx.get(f"{server.url}/api/v1/gallery").json()["dimension"])

        try:
            compared = run_deepfood("reembed", engine.place, "--model", new, "--compare", "--json")
            assert json.loads(compared)["made"] == 12
            assert dimension() == 192
            for command, wanted in [
                (["reembed", engine.place, "--model", new, "--even-if-worse"], 768),
                (["rollback", engine.place], 192),
                (["rollback", engine.place], 768),
            ]:
                assert json.loads(run_deepfood(*command, "--json"))["made"] == 0
                wait_for(lambda wanted=wanted: dimension() == wanted)  # type: ignore[misc]
                answers = loads[0].answers
                wait_for(lambda answers=answers: loads[0].answers > answers + 6 or loads[0].failed)  # type: ignore[misc]
            assert "deleted" in run_deepfood("rollback", engine.place, "--forget")
        finally:
            for load in loads:
                load.ended.set()
                load.join()
    assert [load.failed for load in loads] == [[], []]


def test_a_gallery_in_a_folder_is_compared_with_one_on_milvus(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine = new_gallery
    build(engine.photos, tmp_path / "g", engine.embedder)
    for one, other in ((tmp_path / "g", engine.place), (engine.place, tmp_path / "g")):
        found = deepfood(engine, "evaluate", one, "--compare", other)
        difference = found["comparison"]["differences"]["mAP"]
        assert difference["first"] == difference["second"] == found["figures"]["mAP"]["value"]


def test_calibrate_and_explain(new_gallery: GalleryUnderTest, tmp_path: Path) -> None:
    engine = new_gallery
    queries = write_dishes(tmp_path / "queries", 20, start=500)
    found = deepfood(engine, "calibrate", engine.place, queries)
    calibration = engine.open().manifest.calibration
    assert calibration is not None
    assert found["queries"] == calibration.queries == 80
    photo = next(queries.rglob("*.jpg"))
    conv = Embedder(open_model(write_conv_model(tmp_path / "conv")), LIMITS)
    engine.at.reembed(conv, quiet=True)
    told = deepfood(engine, "explain", engine.place, photo, "--out", tmp_path / "why.png")
    assert told["hit"]["id"] in said(engine)
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


def test_plates_are_calibrated_after_a_build_and_a_reembed(
    new_gallery: GalleryUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("TABLES", 6), ("SINGLE", 4), ("BARE", 2)):  # how good they are is not asked
        monkeypatch.setattr(f"deepfood.serve.fit_plates.{name}", few)
    engine = new_gallery
    write_dishes(engine.photos, 16)
    engine.build()
    report = engine.at.describe()["calibration"]
    fitted = calibrate_plates(engine.at, Calibration(**report), engine.settings)
    assert fitted is not None
    assert fitted.plates or fitted.no_plates
    assert engine.at.describe()["calibration"] == fitted.model_dump(mode="json")
    conv = Embedder(open_model(write_conv_model(tmp_path / "conv")), LIMITS)
    renewed = engine.at.reembed(conv, quiet=True).manifest.calibration
    assert (renewed.plates, renewed.no_plates) == (None, None)
    found = calibrate_plates(engine.at, renewed, engine.settings)
    assert found is not None
    assert found.plates or found.no_plates
    assert engine.at.describe()["calibration"] == found.model_dump(mode="json")
    assert calibrate_plates(engine.at, found, engine.settings) is found


@pytest.mark.parametrize(
    ("command", "way_out"),
    [
        (["compact"], "Milvus drops removed photos by itself"),
        (["verify", "--repair"], "repaired by building it again"),
        (["push"], "docs/scaling.md"),
    ],
)
def test_what_makes_no_sense_on_milvus_says_so(
    address: MilvusAddress,
    command: list[str],
    way_out: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [tmp_path / "shelf"] if command == ["push"] else []
    place = f"milvus://{address.uri.partition('//')[2]}/{address.name}"
    assert run_here(command[0], place, *more, *command[1:]) == 2
    error = capsys.readouterr().err
    assert way_out in error
    assert error.count("\n") == 1
