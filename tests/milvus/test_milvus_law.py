"""One law, on Milvus too: whatever is done to a gallery, it says what people said of it last."""

import os
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from milvus_lite.adapter.grpc.server import start_server_in_thread

from deepfood.config import load_settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.engine import engine_at
from deepfood.errors import DatasetError
from deepfood.gallery.declared import Definition
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.engine import Engine
from deepfood.gallery.reports import Consent
from plates import jpeg, sha256, tiny_embedder

BYTES = [jpeg(seed, (64, 64)) for seed in range(8)]
HASHES = [sha256(data) for data in BYTES]
CLASSES = ("pie", "soup")

seeds = st.integers(0, len(BYTES) - 1)
texts = st.none() | st.sampled_from(["by hand", "Crème", ""])
prices = st.none() | st.sampled_from([3, 4.5])


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lite")
    server, db, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield f"milvus://127.0.0.1:{port}"
    server.stop(None).wait()
    db.close()


@dataclass(frozen=True)
class Said:
    """What people said of one content; texts are None unless set by hand."""

    label: str | None = None
    name: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    added: str | None = None
    removed: bool = False


NOTHING = Said()


class MilvusLaw(RuleBasedStateMachine):
    uri: ClassVar[str]
    steps: ClassVar[Counter[str]] = Counter()

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="law-"))
        self.photos, self.away = self.home / "photos", self.home / "away"
        self.away.mkdir()
        self.place = f"{self.uri}/law_{secrets.token_hex(4)}"
        self.models = [tiny_embedder(self.home / f"model-{pool}", pool=pool) for pool in (8, 16)]
        self.kept = load_settings(
            photos_store=str(self.home / "store"), cache=self.home / "cache", milvus_timeout_s=60
        )
        self.said: dict[str, Said] = {}
        #: Of each generation, the photos that came from files, and the label that each file gave.
        self.built: dict[str, str] = {}
        self.before: dict[str, str] | None = None
        for number in range(6):
            self._write(CLASSES[number % 2], number, number)
        self._build(self.kept.model_copy(update={"model": self.models[0].model.folder}))
        self.built = self._from_source()
        with self._writing() as writer:
            writer.declare({"price": Definition("number")})

    def teardown(self) -> None:
        if hasattr(self, "home"):
            shutil.rmtree(self.home)

    @rule(label=st.sampled_from(CLASSES), name=st.integers(0, 8), seed=seeds)
    def write(self, label: str, name: int, seed: int) -> None:
        self._write(label, name, seed)

    @rule(data=st.data(), name=st.integers(0, 8), what=st.sampled_from(["move", "touch", "empty"]))
    def change_a_file(self, data: st.DataObject, name: int, what: str) -> None:
        file = data.draw(st.sampled_from(self._files()))
        if what == "move":
            file.rename(file.with_name(f"{name}.jpg"))
        elif what == "touch":
            stamp = file.stat().st_mtime_ns + 5_000_000_000
            os.utime(file, ns=(stamp, stamp))
        elif len(self._files()) > 1:
            file.write_bytes(b"")

    @rule(label=st.sampled_from(CLASSES))
    def move_a_folder(self, label: str) -> None:
        here, there = self.photos / label, self.away / label
        if there.exists() and not here.exists():
            there.rename(here)
        elif here.exists() and not there.exists() and len({f.parent for f in self._files()}) > 1:
            here.rename(there)

    @property
    def at(self) -> Engine:
        return engine_at(self.place, self.kept)

    @rule()
    def build(self) -> None:
        wanted, there = self._from_source(), self._now()
        gone = there.keys() - wanted.keys() - self._added()
        if not wanted and not self._added():
            with pytest.raises(DatasetError):
                self._build(self.kept, allow_loss=True)
            return
        if len(gone) * 2 > len(there):
            with pytest.raises(DatasetError, match="--allow-loss"):
                self._build(self.kept)
            self.says_what_was_said_last()
            report = self._build(self.kept, allow_loss=True)
        else:
            report = self._build(self.kept)
        assert len(report.gone) == len(gone)
        if not report.up_to_date:
            self.built, self.before = wanted, self.built

    @rule(compared=st.booleans())
    def build_with_the_other_model(self, compared: bool) -> None:
        wanted = self._from_source()
        if wanted or self._added():
            other = self._other()
            if compared:  # it has been begun
                self.at.reembed(other, drop_unreadable=True, swap=False, quiet=True)
            asked = self.kept.model_copy(update={"model": other.model.folder})
            self._build(asked, allow_loss=True)
            self.built, self.before = wanted, self.built

    @rule()
    def embed_with_the_other_model(self) -> None:
        try:
            self.at.reembed(self._other(), drop_unreadable=True, quiet=True)
        except DatasetError as error:
            if "no photos" not in str(error):
                raise
            return
        there = {one for one, (_, _, _, added) in self._found().items() if not added}
        self.built, self.before = ({one: self.built[one] for one in there}, self.built)

    @precondition(lambda self: self.before is not None)
    @rule()
    def go_back(self) -> None:
        assert self.before is not None
        left = {one: label for one, label in self.before.items() if not self._of(one).removed}
        if left or self._added():
            self.at.rollback(quiet=True)
            self.built, self.before = left, self.built

    @rule(seed=seeds, label=st.sampled_from([None, "given"]), price=prices)
    def add(self, seed: int, label: str | None, price: float | None) -> None:
        gallery, model = self.at.open()
        gallery.close()
        embedder = next(one for one in self.models if one.model.fingerprint == model.fingerprint)
        one = embed_photo(BYTES[seed], PhotoFile(f"new-{seed}.jpg", label), embedder)
        with self.at.writer(model) as writer:
            (outcome,) = writer.add([replace(one, attributes={"price": price})])
        said = self._of(HASHES[seed])
        if outcome == "added":
            said = replace(NOTHING if said.removed else said, added=label or "")
            self.built.pop(HASHES[seed], None)
        elif label is not None and label != self._label(HASHES[seed]):
            said = replace(said, label=label)
        self._say(HASHES[seed], said, {"price": price})

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        there = sorted(self._now())
        if len(there) > 1:
            gone = data.draw(st.sampled_from(there))
            with self._writing() as writer:
                writer.remove([gone[:20]])
            self.said[gone] = Said(removed=True)
            self.built.pop(gone, None)

    @rule(data=st.data(), label=texts, name=texts, price=prices)
    def update(
        self, data: st.DataObject, label: str | None, name: str | None, price: float | None
    ) -> None:
        if there := sorted(self._now()):
            one, values = data.draw(st.sampled_from(there)), {"price": price}
            with self._writing() as writer:
                writer.update(one[:20], label=label, photo_name=name, attributes=values)
            given = {"label": label, "name": name}
            said = {key: text for key, text in given.items() if text is not None}
            self._say(one, replace(self._of(one), **said), values)

    @invariant()
    def says_what_was_said_last(self) -> None:
        if hasattr(self, "home"):
            MilvusLaw.steps["steps"] += 1
            assert self._found() == {
                one: (self._label(one), self._of(one).name or None, self._of(one).attributes, added)
                for one, added in self._now().items()
            }

    def _found(self) -> dict[str, tuple[str | None, str | None, dict[str, Any], bool]]:
        with closing(self.at.open()[0]) as gallery:
            found = {}
            for photo in gallery.photos()[0]:
                values = gallery.facts(photo.id)[1]
                found[photo.sha256] = (photo.label, photo.name, values, photo.added)
            return found

    def _now(self) -> dict[str, bool]:
        built = {one: False for one in self.built if not self._of(one).removed}
        return {**built, **dict.fromkeys(self._added(), True)}

    def _of(self, one: str) -> Said:
        return self.said.get(one, NOTHING)

    def _say(self, one: str, said: Said, values: dict[str, Any]) -> None:
        known = {k: value for k, value in {**said.attributes, **values}.items() if value}
        self.said[one] = replace(said, attributes=known)

    def _label(self, one: str) -> str | None:
        said = self._of(one)
        if said.label is not None:
            return said.label or None
        return (said.added if said.added is not None else self.built[one]) or None

    def _added(self) -> set[str]:
        return {one for one, said in self.said.items() if said.added is not None}

    def _from_source(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in list_photos(self.photos).files:
            data = (self.photos / file.file).read_bytes()
            one = sha256(data)
            if data and not self._of(one).removed and one not in self._added():
                found.setdefault(one, file.label or "")
        return found

    def _other(self) -> Any:
        with closing(self.at.open()[0]) as gallery:
            now = gallery.manifest.model_fingerprint
        return next(one for one in self.models if one.model.fingerprint != now)

    def _writing(self) -> Any:
        return self.at.writer()

    def _build(self, asked: Any, **consent: bool) -> Any:
        source = list_photos(self.photos)
        return engine_at(self.place, asked).build(source, consent=Consent(**consent), quiet=True)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.photos.rglob("*.jpg") if path.is_file())

    def _write(self, label: str, name: int, seed: int) -> None:
        (self.photos / label).mkdir(parents=True, exist_ok=True)
        (self.photos / label / f"{name}.jpg").write_bytes(BYTES[seed])


def test_what_people_said_is_what_a_gallery_on_milvus_says(uri: str) -> None:
    MilvusLaw.uri = uri
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        MilvusLaw,
        settings=settings(
            max_examples=int(os.environ.get("LAW_EXAMPLES", "3")),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if "LAW_SHRINK" in os.environ else [])],
            report_multiple_bugs=False,
            derandomize="LAW_EXAMPLES" not in os.environ,
        ),
    )
    assert MilvusLaw.steps["steps"] > 30
