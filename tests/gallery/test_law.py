"""One law: whatever is done to a gallery, it says of each photo what people said of it last.

Hypothesis draws sequences of everything that makes a generation or changes one, and compares the
gallery with a plain Python model of what was said, by content.
"""

import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
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

from deepfood.config import load_settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import DatasetError, PhotoNotFoundError
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.reports import Consent
from deepfood.index import IndexSpec, Storage
from deepfood.local import Gallery, GalleryManifest, GalleryWriter, build_gallery
from deepfood.local.import_attributes import import_attributes
from deepfood.local.renew import compact, reembed
from deepfood.local.rollback import rollback
from deepfood.local.verify import gallery_problems
from deepfood.release.pull import pull
from deepfood.release.push import push
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

#: Shrinking a sequence of builds takes many minutes: LAW_SHRINK=1 does it.
PHASES = [Phase.generate, *([Phase.shrink] if "LAW_SHRINK" in os.environ else [])]

seeds = st.integers(0, SEEDS - 1)
texts = st.sampled_from(["by hand", "Crème", ""])


@dataclass(frozen=True)
class Said:
    """What people said of one content. `label` and `name` are None unless set by hand."""

    label: str | None = None
    name: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    added: str | None = None
    removed: bool = False


class Law(RuleBasedStateMachine):
    steps: ClassVar[Counter[str]] = Counter()

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="law-"))
        self.photos, self.away = self.home / "photos", self.home / "away"
        self.gallery = self.home / "gallery"
        self.embedders = [tiny_embedder(self.home / f"model-{pool}", pool=pool) for pool in (8, 16)]
        self.embedder: Embedder = self.embedders[0]
        self.storage: Storage = "f32"
        self.index = "exact"
        self.said: dict[str, Said] = {}
        #: The photos that came from files, and the label that each file gave.
        self.built: dict[str, str] = {}
        self.before: tuple[dict[str, str], Embedder] | None = None
        for number, seed in enumerate(range(6)):
            self._write(CLASSES[number % 2], f"{seed}.jpg", seed)
        self.build()
        self._import({HASHES[0]: (1, []), HASHES[1]: (2, ["milk"])}, "cuisine,lao")

    def teardown(self) -> None:
        if hasattr(self, "home"):
            shutil.rmtree(self.home)

    # Files come, go, and change.

    @rule(label=st.sampled_from(CLASSES), name=st.integers(0, 8), seed=seeds)
    def write(self, label: str, name: int, seed: int) -> None:
        self._write(label, f"{name}.jpg", seed)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if len(self._files()) > 1:
            data.draw(st.sampled_from(self._files())).unlink()

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(self._files()))
        stamp = file.stat().st_mtime_ns + 5_000_000_000
        os.utime(file, ns=(stamp, stamp))

    @rule(data=st.data(), name=st.integers(0, 8))
    def rename(self, data: st.DataObject, name: int) -> None:
        file = data.draw(st.sampled_from(self._files()))
        file.rename(file.with_name(f"{name}.jpg"))

    @rule(data=st.data())
    def empty(self, data: st.DataObject) -> None:
        if len(self._files()) > 1:
            data.draw(st.sampled_from(self._files())).write_bytes(b"")

    @rule(label=st.sampled_from(CLASSES))
    def move_a_folder_away(self, label: str) -> None:
        if (self.photos / label).exists() and len({f.parent for f in self._files()}) > 1:
            self.away.mkdir(exist_ok=True)
            if not (self.away / label).exists():
                (self.photos / label).rename(self.away / label)

    @rule(label=st.sampled_from(CLASSES))
    def move_a_folder_back(self, label: str) -> None:
        if (self.away / label).exists() and not (self.photos / label).exists():
            (self.away / label).rename(self.photos / label)

    # Generations are made.

    @rule(storage=st.sampled_from(["f32", "f16", "i8"]), index=st.sampled_from(["exact", "hnsw"]))
    def build_otherwise(self, storage: Storage, index: str) -> None:
        self.storage, self.index = storage, index
        self.build()

    @rule()
    def build(self) -> None:
        wanted = self._from_source()
        there = set(self._now()) if self.gallery.exists() else set()
        removed = {one for one, said in self.said.items() if said.removed}
        gone = there - wanted.keys() - self._added() - removed
        if not wanted and not self._added():
            with pytest.raises(DatasetError):
                self._build(Consent(allow_loss=True))
            return
        if len(gone) * 2 > len(there) and there:
            with pytest.raises(DatasetError, match="--allow-loss"):
                self._build(Consent())
            self.says_what_was_said_last()
            report = self._build(Consent(allow_loss=True))
        else:
            report = self._build(Consent())
        if not report.up_to_date:
            assert len(report.gone) == len(gone)
            if there:
                self.before = self.built, self._made_with
            self.built = wanted
            self._made_with = self.embedder

    @rule()
    def embed_with_the_other_model(self) -> None:
        other = next(one for one in self.embedders if one is not self.embedder)
        if not self._readable_now():
            with pytest.raises(DatasetError, match="no photos"):
                reembed(self.gallery, other, drop_unreadable=True, quiet=True)
            return
        assert reembed(self.gallery, other, drop_unreadable=True, quiet=True).swapped
        self.before = self.built, self._made_with
        self.built = self._readable()
        self.embedder = self._made_with = other

    @precondition(lambda self: self.before is not None)
    @rule()
    def go_back(self) -> None:
        assert self.before is not None
        built, made_with = self.before
        left = {one: label for one, label in built.items() if not self._of(one).removed}
        if not left and not self._added():
            return
        rollback(
            self.gallery,
            lambda model: next(
                one for one in self.embedders if one.model.fingerprint == model.fingerprint
            ),
            quiet=True,
        )
        self.before = self.built, self._made_with
        self.built, self.embedder = left, made_with
        self._made_with = made_with
        manifest = GalleryManifest.read(self.gallery)
        self.storage, self.index = manifest.storage, manifest.index.kind

    @rule()
    def drop_holes(self) -> None:
        if self._now():
            compact(self.gallery, self.embedder.model, quiet=True)

    @rule()
    def push_and_pull(self) -> None:
        bucket, pulled = self.home / "bucket", self.home / "pulled"
        push(self.gallery, str(bucket), load_settings(), quiet=True)
        pull(str(bucket), pulled, load_settings(), quiet=True)
        shutil.rmtree(self.gallery)
        pulled.rename(self.gallery)
        shutil.rmtree(bucket)
        self.before = None

    # People say something.

    @rule(seed=seeds, label=st.sampled_from([None, "given"]), data=st.data())
    def add(self, seed: int, label: str | None, data: st.DataObject) -> None:
        values = data.draw(_values())
        one = embed_photo(BYTES[seed], PhotoFile(f"new-{seed}.jpg", label), self.embedder)
        with GalleryWriter.open(self.gallery, self.embedder.model) as writer:
            self._declare(writer, values)
            (outcome,) = writer.add([replace(one, attributes=values)])
        before = self._of(HASHES[seed])
        if outcome == "added":
            before = replace(Said() if before.removed else before, added=label or "")
            self.built.pop(HASHES[seed], None)
        elif label is not None and label != self._label(HASHES[seed]):
            before = replace(before, label=label)
        self._say(HASHES[seed], before, values)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        there = sorted(self._now())
        if len(there) > 1:
            gone = data.draw(st.sampled_from(there))
            with GalleryWriter.open(self.gallery) as writer:
                writer.remove([gone[:20]])
            self.said[gone] = Said(removed=True)
            self.built.pop(gone, None)

    @rule(data=st.data(), label=st.none() | texts, name=st.none() | texts)
    def update(self, data: st.DataObject, label: str | None, name: str | None) -> None:
        there = sorted(self._now())
        if there:
            one, values = data.draw(st.sampled_from(there)), data.draw(_values())
            with GalleryWriter.open(self.gallery) as writer:
                self._declare(writer, values)
                writer.update(one[:20], label=label, photo_name=name, attributes=values)
            said = self._of(one)
            if label is not None:
                said = replace(said, label=label)
            if name is not None:
                said = replace(said, name=name)
            self._say(one, said, values)

    @rule(data=st.data())
    def import_a_table(self, data: st.DataObject) -> None:
        there = sorted(self._now())
        if there:
            some = data.draw(st.lists(st.sampled_from(there), min_size=1, unique=True))
            self._import(
                {one: (number, ["nuts", "egg"][: number % 3]) for number, one in enumerate(some)}
            )

    @invariant()
    def says_what_was_said_last(self) -> None:
        if not hasattr(self, "home"):
            return
        Law.steps["steps"] += 1
        with Gallery.open(self.gallery, self.embedder.model) as opened:
            found = {}
            for photo in opened.store.photos():
                values = opened.facts(photo.id)[1]
                found[photo.sha256] = (photo.label, photo.name, values, photo.added)
                # Its own vector; one that was stored as i8 and decoded has not quite length 1.
                assert opened.search(opened.vector(photo.id), 1)[0].photo.id == photo.id
        expected = {
            one: (self._label(one), self._name(one), self._of(one).attributes, added)
            for one, added in self._now().items()
        }
        assert found == expected
        assert list(gallery_problems(self.gallery, self.photos, quiet=True)) == self._missing()

    # The model.

    _made_with: Embedder

    def _now(self) -> dict[str, bool]:
        """The photos that the gallery holds, and whether they were added."""
        built = {one: False for one in self.built if not self._of(one).removed}
        return {**built, **dict.fromkeys(self._added(), True)}

    def _of(self, one: str) -> Said:
        return self.said.get(one, Said())

    def _say(self, one: str, said: Said, values: dict[str, Any]) -> None:
        after = {**said.attributes, **values}
        known = {name: value for name, value in after.items() if value is not None}
        self.said[one] = replace(said, attributes=known)

    def _label(self, one: str) -> str | None:
        said = self._of(one)
        if said.label is not None:
            return said.label or None
        return (said.added if said.added is not None else self.built[one]) or None

    def _name(self, one: str) -> str | None:
        return self._of(one).name or None

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

    def _readable_now(self) -> int:
        count = 0
        with Gallery.open(self.gallery) as opened:
            for photo in opened.store.photos():
                with suppress(PhotoNotFoundError):
                    opened.read(photo)
                    count += 1
        return count

    def _readable(self) -> dict[str, str]:
        """The photos from files whose bytes are where they were when they were built."""
        with Gallery.open(self.gallery) as opened:
            there = {photo.sha256 for photo in opened.store.photos() if not photo.added}
        return {one: label for one, label in self.built.items() if one in there}

    def _missing(self) -> list[str]:
        """What `verify` says of files that have changed since the build."""
        lines = []
        with Gallery.open(self.gallery, photos_root=self.photos) as opened:
            for photo in opened.store.photos():
                try:
                    opened.read(photo)
                except Exception:
                    lines.append(photo.id)
        problems = gallery_problems(self.gallery, self.photos, quiet=True)
        return [line for line in problems if any(one in line for one in lines)]

    def _import(self, rows: dict[str, tuple[int, list[str]]], also: str = "") -> None:
        name, _, value = also.partition(",")
        lines = [f"sha256,price,allergens,{name}".rstrip(",")]
        for one, (price, allergens) in rows.items():
            line = f"{one},{price},{';'.join(allergens) or '[]'},{value}"
            lines.append(line if also else line.rstrip(","))
            values = {"price": price, "allergens": allergens, **({name: value} if also else {})}
            self._say(one, self._of(one), values)
        table = self.home / "table.csv"
        table.write_text("\n".join(lines) + "\n")
        import_attributes(self.gallery, table, {}, frozenset({"price"}))

    def _declare(self, writer: GalleryWriter, values: dict[str, Any]) -> None:
        """Attributes are declared by their first value."""

    def _build(self, consent: Consent) -> Any:
        return build_gallery(
            list_photos(self.photos),
            self.gallery,
            self.embedder,
            IndexSpec(kind=self.index),  # type: ignore[arg-type]
            self.storage,
            consent=consent,
            quiet=True,
        )

    def _files(self) -> list[Path]:
        return sorted(path for path in self.photos.rglob("*.jpg") if path.is_file())

    def _write(self, label: str, name: str, seed: int) -> None:
        (self.photos / label).mkdir(parents=True, exist_ok=True)
        (self.photos / label / name).write_bytes(BYTES[seed])


@st.composite
def _values(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=2))
    return {name: draw(st.sampled_from([*VALUES[name], None])) for name in sorted(names)}


def test_what_people_said_is_what_the_gallery_says() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Law,
        settings=settings(
            max_examples=int(os.environ.get("LAW_EXAMPLES", "8")),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=PHASES,
            report_multiple_bugs=False,
            derandomize="LAW_EXAMPLES" not in os.environ,
        ),
    )
    assert Law.steps["steps"] > 50
