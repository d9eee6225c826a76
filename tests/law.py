"""One law for every engine: a gallery has the latest manual edits of each photo.

Hypothesis draws sequences of all operations that make a generation or change one, and compares the
gallery with a plain Python model of the edits, by content.
"""

import os
import shutil
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from deepfood.config import Settings, load_settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import DatasetError
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.engine import Engine
from deepfood.gallery.reports import Consent
from plates import jpeg, sha256, tiny_embedder

SEEDS = 12
CLASSES = ("pie", "soup")
BYTES = {seed: jpeg(seed, (64, 64)) for seed in range(SEEDS)}
HASHES = {seed: sha256(data) for seed, data in BYTES.items()}
VALUES: dict[str, list[Any]] = {
    "price": [3, 4.5],
    "allergens": [["peanut"], [], ["milk", "egg"]],
    "cuisine": ["thai", "Łódź"],
}

seeds = st.integers(0, SEEDS - 1)
texts = st.sampled_from(["by hand", "Crème", ""])


@st.composite
def drawn_values(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=2))
    return {name: draw(st.sampled_from([*VALUES[name], None])) for name in sorted(names)}


@dataclass(frozen=True)
class Edits:
    """The manual edits of one content. `label` and `name` are None unless set by hand."""

    label: str | None = None
    name: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    added: str | None = None
    removed: bool = False


NOTHING = Edits()


class Law(RuleBasedStateMachine):
    """The law for any engine: a subclass has a `place` for a new gallery, and rules of its own."""

    steps: ClassVar[Counter[str]] = Counter()

    def new_place(self) -> str:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="law-"))
        self.photos, self.away = self.home / "photos", self.home / "away"
        self.away.mkdir()
        self.place = self.new_place()
        self.models = [tiny_embedder(self.home / f"model-{pool}", pool=pool) for pool in (8, 16)]
        self.settings: Settings = load_settings(
            photos_store=str(self.home / "store"), cache=self.home / "cache", milvus_timeout_s=60
        )
        self.edits: dict[str, Edits] = {}
        #: The photos that came from files, and the label that each file gave.
        self.built: dict[str, str] = {}
        self.before: dict[str, str] | None = None
        for number in range(6):
            self._write(CLASSES[number % 2], number, number)
        self._build(self.settings.model_copy(update={"model": self.models[0].model.folder}))
        self.built = self._from_source()
        self._import({HASHES[0]: (1, []), HASHES[1]: (2, ["milk"])}, "cuisine,lao")

    def teardown(self) -> None:
        if hasattr(self, "home"):
            shutil.rmtree(self.home)

    # Files come, go, and change.

    @rule(label=st.sampled_from(CLASSES), name=st.integers(0, 8), seed=seeds)
    def write(self, label: str, name: int, seed: int) -> None:
        self._write(label, name, seed)

    @rule(
        data=st.data(),
        name=st.integers(0, 8),
        what=st.sampled_from(["rename", "touch", "empty", "delete"]),
    )
    def change_a_file(self, data: st.DataObject, name: int, what: str) -> None:
        file = data.draw(st.sampled_from(self._files()))
        if what == "rename":
            file.rename(file.with_name(f"{name}.jpg"))
        elif what == "touch":
            stamp = file.stat().st_mtime_ns + 5_000_000_000
            os.utime(file, ns=(stamp, stamp))
        elif len(self._files()) > 1:
            if what == "empty":
                file.write_bytes(b"")
            else:
                file.unlink()

    @rule(label=st.sampled_from(CLASSES))
    def move_a_folder(self, label: str) -> None:
        here, there = self.photos / label, self.away / label
        if there.exists() and not here.exists():
            there.rename(here)
        elif here.exists() and not there.exists() and len({f.parent for f in self._files()}) > 1:
            here.rename(there)

    # Generations are made.

    @property
    def at(self) -> Engine:
        return engine_at(self.place, self.settings)

    @rule()
    def build(self) -> None:
        wanted, there = self._from_source(), self._now()
        gone = there.keys() - wanted.keys() - self._added()
        if not wanted and not self._added():
            with pytest.raises(DatasetError):
                self._build(self.settings, allow_loss=True)
            return
        if len(gone) * 2 > len(there):
            with pytest.raises(DatasetError, match="--allow-loss"):
                self._build(self.settings)
            self.matches_the_last_edits()
            report = self._build(self.settings, allow_loss=True)
        else:
            report = self._build(self.settings)
        if not report.up_to_date:
            assert len(report.gone) == len(gone)
            self.built, self.before = wanted, self.built

    @rule()
    def embed_with_the_other_model(self) -> None:
        try:
            self.at.reembed(self.other(), drop_unreadable=True, quiet=True)
        except DatasetError as error:
            if "no photos" not in str(error):
                raise
            return
        there = {one for one, (_, _, _, added) in self._found().items() if not added}
        self.built, self.before = {one: self.built[one] for one in there}, self.built

    @precondition(lambda self: self.before is not None)
    @rule()
    def go_back(self) -> None:
        assert self.before is not None
        left = {one: label for one, label in self.before.items() if not self._of(one).removed}
        if left or self._added():
            self.at.rollback(quiet=True)
            self.built, self.before = left, self.built

    # Manual edits.

    @rule(seed=seeds, label=st.sampled_from([None, "given"]), values=drawn_values())
    def add(self, seed: int, label: str | None, values: dict[str, Any]) -> None:
        embedder = self.embedder()
        one = embed_photo(BYTES[seed], PhotoFile(f"new-{seed}.jpg", label), embedder)
        with self.at.writer(embedder.model) as writer:
            (outcome,) = writer.add([replace(one, attributes=values)])
        edits = self._of(HASHES[seed])
        if outcome == "added":
            edits = replace(NOTHING if edits.removed else edits, added=label or "")
            self.built.pop(HASHES[seed], None)
        elif label is not None and label != self._label(HASHES[seed]):
            edits = replace(edits, label=label)
        self._record_edits(HASHES[seed], edits, values)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        there = sorted(self._now())
        if len(there) > 1:
            gone = data.draw(st.sampled_from(there))
            with self.at.writer() as writer:
                writer.remove([gone[:20]])
            self.edits[gone] = Edits(removed=True)
            self.built.pop(gone, None)

    @rule(data=st.data(), label=st.none() | texts, name=st.none() | texts, values=drawn_values())
    def update(
        self, data: st.DataObject, label: str | None, name: str | None, values: dict[str, Any]
    ) -> None:
        if there := sorted(self._now()):
            one = data.draw(st.sampled_from(there))
            with self.at.writer() as writer:
                writer.update(one[:20], label=label, photo_name=name, attributes=values)
            given = {"label": label, "name": name}
            edits = {key: text for key, text in given.items() if text is not None}
            self._record_edits(one, replace(self._of(one), **edits), values)

    @rule(data=st.data())
    def import_a_table(self, data: st.DataObject) -> None:
        if there := sorted(self._now()):
            some = data.draw(st.lists(st.sampled_from(there), min_size=1, unique=True))
            self._import(
                {one: (number, ["nuts", "egg"][: number % 3]) for number, one in enumerate(some)}
            )

    @invariant()
    def matches_the_last_edits(self) -> None:
        if hasattr(self, "home"):
            self.steps[type(self).__name__] += 1
            assert self._found() == {
                one: (self._label(one), self._of(one).name or None, self._of(one).attributes, added)
                for one, added in self._now().items()
            }

    # What there is.

    def embedder(self) -> Embedder:
        """Of the Model that the gallery is made with."""
        gallery, model = self.at.open()
        gallery.close()
        return next(one for one in self.models if one.model.fingerprint == model.fingerprint)

    def other(self) -> Embedder:
        """Of the Model that it is not made with."""
        now = self.embedder()
        return next(one for one in self.models if one is not now)

    def _found(self) -> dict[str, tuple[str | None, str | None, dict[str, Any], bool]]:
        with closing(self.at.open()[0]) as gallery:
            found = {}
            for photo in gallery.photos()[0]:
                values = gallery.facts(photo.id)[1]
                found[photo.sha256] = (photo.label, photo.name, values, photo.added)
                # Its own vector; one that was stored as i8 and decoded has not quite length 1.
                assert gallery.search(gallery.vector(photo.id), 1)[0].photo.id == photo.id
            return found

    def _build(self, settings: Settings, **consent: bool) -> Any:
        source = list_photos(self.photos)
        engine = engine_at(self.place, settings)
        return engine.build(source, consent=Consent(**consent), quiet=True)

    def _import(self, rows: dict[str, tuple[int, list[str]]], also: str = "") -> None:
        name, _, value = also.partition(",")
        lines = [f"sha256,price,allergens,{name}".rstrip(",")]
        for one, (price, allergens) in rows.items():
            line = f"{one},{price},{';'.join(allergens) or '[]'},{value}"
            lines.append(line if also else line.rstrip(","))
            values = {"price": price, "allergens": allergens, **({name: value} if also else {})}
            self._record_edits(one, self._of(one), values)
        table = self.home / "table.csv"
        table.write_text("\n".join(lines) + "\n")
        self.at.import_attributes(table, {}, frozenset({"price"}))

    def _files(self) -> list[Path]:
        return sorted(path for path in self.photos.rglob("*.jpg") if path.is_file())

    def _write(self, label: str, name: int, seed: int) -> None:
        (self.photos / label).mkdir(parents=True, exist_ok=True)
        (self.photos / label / f"{name}.jpg").write_bytes(BYTES[seed])

    # The model.

    def _now(self) -> dict[str, bool]:
        """The photos that the gallery holds, and whether they were added."""
        built = {one: False for one in self.built if not self._of(one).removed}
        return {**built, **dict.fromkeys(self._added(), True)}

    def _of(self, one: str) -> Edits:
        return self.edits.get(one, NOTHING)

    def _record_edits(self, one: str, edits: Edits, values: dict[str, Any]) -> None:
        after = {**edits.attributes, **values}
        known = {name: value for name, value in after.items() if value is not None}
        self.edits[one] = replace(edits, attributes=known)

    def _label(self, one: str) -> str | None:
        edits = self._of(one)
        if edits.label is not None:
            return edits.label or None
        return (edits.added if edits.added is not None else self.built[one]) or None

    def _added(self) -> set[str]:
        return {one for one, edits in self.edits.items() if edits.added is not None}

    def _from_source(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in list_photos(self.photos).files:
            data = (self.photos / file.file).read_bytes()
            one = sha256(data)
            if data and not self._of(one).removed and one not in self._added():
                found.setdefault(one, file.label or "")
        return found


def check_law(law: type[Law], examples: int, steps: int) -> None:
    """LAW_EXAMPLES asks for more; shrinking takes many minutes, and LAW_SHRINK=1 does it."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        law,
        settings=hypothesis_settings(
            max_examples=int(os.environ.get("LAW_EXAMPLES", str(examples))),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if "LAW_SHRINK" in os.environ else [])],
            report_multiple_bugs=False,
            derandomize="LAW_EXAMPLES" not in os.environ,
        ),
    )
    assert Law.steps[law.__name__] > 30
