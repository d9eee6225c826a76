"""Galleries that have everything in them, damaged in ten kinds, and what every command says then.

A command must answer rightly or refuse with a DeepfoodError. `trial` tells what each one did.
"""

import random
import shutil
import signal
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import DeepfoodError
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.reports import Consent
from deepfood.gallery.written import parse_words
from deepfood.index import IndexSpec, Kind, Storage
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.describe import describe
from deepfood.local.import_attributes import import_attributes
from deepfood.local.reindex import reindex
from deepfood.local.renew import compact, reembed
from deepfood.local.repair import repair
from deepfood.local.rollback import rollback
from deepfood.local.verify import gallery_problems
from deepfood.release.pull import pull
from deepfood.release.push import push
from plates import jpeg, sha256, tiny_embedder

#: What a command may take.
LIMIT_S = 30

FILTERS = (
    'NOT allergens HAS "peanut"',
    'allergens HAS "peanut"',
    "price < 6",
    "vegan = true OR price > 7",
    'label = "soup"',
    'NOT label = "soup"',
    'file = "pie/8.jpg" OR cuisine = "thai"',
    "price IS UNKNOWN",
    "hot = false OR price < 4",
    'name IS KNOWN AND NOT cuisine = "thai"',
)

#: id -> what the gallery says of the photo, attributes and all.
State = dict[str, tuple[Any, ...]]
Outcome = Literal["right", "refused", "too few", "believed", "hang", "traceback"]


def _id(seed: int) -> str:
    return sha256(jpeg(seed))[:20]


@dataclass(frozen=True)
class Whole:
    """A gallery that is whole, in `folder`, and what is so of it."""

    root: Path
    folder: Path
    embedder: Embedder
    other: Embedder
    spec: IndexSpec
    storage: Storage
    state: State
    answers: dict[str, object]

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.folder, to))


def make_whole(
    root: Path, kind: Kind = "exact", storage: Storage = "f32", *, log: bool = False
) -> Whole:
    """Labels, names, attributes of each type, a copy, removals, added photos, a photo that is away.

    `log` leaves the newest changes in the catalogue's -wal, as a killed server does.
    """
    embedder = tiny_embedder(root / "model", pool=16)
    other = tiny_embedder(root / "other", pool=8)
    source, out, spec = root / "photos", root / "gallery", IndexSpec(kind=kind)
    for seed in range(14):
        path = source / ("soup" if seed < 7 else "pie") / f"{seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed))
    (source / "soup/copy.jpg").write_bytes(jpeg(1))
    (source / "soup/broken.jpg").write_bytes(b"no photo")
    new = root / "new"
    new.mkdir()
    for seed in (100, 101, 102, 103, 200):
        (new / f"{seed}.jpg").write_bytes(jpeg(seed))

    def build() -> None:
        build_gallery(list_photos(source), out, embedder, spec, storage, quiet=True)

    def add(seed: int, **values: object) -> None:
        add_photos(out, [new / f"{seed}.jpg"], embedder, attributes=values, quiet=True)

    build()
    lines = ["file,price,cuisine,vegan,allergens"]
    for seed in range(14):
        allergens = "peanut;egg" if seed % 3 == 0 else "[]" if seed % 3 == 1 else ""
        folder, vegan = "soup" if seed < 7 else "pie", "yes" if seed % 2 else "no"
        price, cuisine = ("" if seed == 5 else seed), ("Thai" if seed % 4 == 0 else "french")
        lines.append(f"{folder}/{seed}.jpg,{price},{cuisine},{vegan},{allergens}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    import_attributes(out, root / "table.csv", {}, frozenset())
    add(100, price=4, allergens=["peanut"])
    add(101, cuisine="thai", vegan=True)
    add(102, price=2)
    with LocalWriter.open(out) as writer:
        writer.update("soup/0.jpg", label="broth", photo_name="By hand")
        writer.update("pie/13.jpg", attributes={"price": 13.5, "allergens": ["milk"]})
        writer.remove(["soup/3.jpg", _id(102)])
    (source / "pie/13.jpg").rename(root / "away.jpg")
    build()
    held = None
    if log:  # a reader that is in the middle of its work, so that the log is not taken in
        held = sqlite3.connect(LocalManifest.read(out).folder(out) / "catalogue.sqlite")
        held.execute("BEGIN")
        held.execute("SELECT * FROM state").fetchall()
    (root / "hot.csv").write_text("file,hot\nsoup/2.jpg,no\npie/7.jpg,yes\n")
    import_attributes(out, root / "hot.csv", {}, frozenset({"hot"}))
    add(103, price=6, allergens=["egg"], hot=False)
    with LocalWriter.open(out) as writer:
        writer.update("pie/8.jpg", photo_name="Pie of the day", attributes={"cuisine": "basque"})
        writer.update(_id(100), label="special", attributes={"vegan": True})
        writer.remove(["pie/9.jpg"])
    if held is not None:
        whole = Path(shutil.copytree(out, root / "with-log"))
        held.close()
        shutil.rmtree(out)
        whole.rename(out)
        read = Path(shutil.copytree(out, root / "read"))
    else:
        read = out
    assert list(gallery_problems(read, quiet=True)) == []
    state, answers = state_of(read), dict[str, Any]()
    found = Whole(root, out, embedder, other, spec, storage, state, answers)
    answers |= {name: ask(found, read) for name, ask in READERS.items()}
    return found


def state_of(folder: Path) -> State:
    """All that the gallery says. Raises an ArtifactError."""
    with LocalGallery.open(folder) as gallery:
        store = gallery.store
        found = dict(store.rows())
        values = store.attributes.read_many(list(found))
        return {photo.id: _shown(photo, values[row]) for row, photo in found.items()}


def _shown(photo: Any, values: object) -> tuple[Any, ...]:
    return (
        *(photo.file, photo.label, photo.name, photo.width, photo.height, photo.bytes),
        *(photo.added, photo.label_edited, photo.name_edited, values),
    )


def _hits(whole: Whole, folder: Path, where: str | None) -> list[object]:
    with LocalGallery.open(folder, whole.embedder.model) as gallery:
        shown: list[object] = []
        for seed in (0, 8, 100):
            query = whole.embedder.embed(jpeg(seed))
            # Of a filter all, so that one that is missing is told from one that is wrong.
            found = (
                gallery.find(query, 100, where=parse_filter(where))
                if where
                else gallery.find(query, 6)
            )
            shown.append(
                [
                    (*_shown(hit.photo, found.attributes[hit.photo.id]), round(hit.score, 4))
                    for hit in found.hits
                ]
            )
        return shown


def _filter_reader(where: str) -> Callable[[Whole, Path], object]:
    return lambda whole, folder: _hits(whole, folder, where)


def _info(whole: Whole, folder: Path) -> object:
    about = describe(folder)
    keys = ("photos", "labels", "index", "model_fingerprint", "calibration", "left_out")
    return {key: about[key] for key in keys}


def _facts(whole: Whole, folder: Path) -> object:
    with LocalGallery.open(folder, whole.embedder.model) as gallery:
        facts = [gallery.facts(one) for one in whole.state]
        return [gallery.columns(), [_shown(photo, values) for photo, values in facts]]


def _words(whole: Whole, folder: Path) -> object:
    """All that has some words, and where."""
    with LocalGallery.open(folder) as gallery:
        return [
            sorted(
                (hit.id, hit.photo.label, tuple((one.field, one.value) for one in hit.matched))
                for hit in gallery.find_written(parse_words(words), 100).hits
            )
            for words in ("soup", "oup", "peanut", "soup 4", "new hand")
        ]


READERS: dict[str, Callable[[Whole, Path], object]] = {
    "search": lambda whole, folder: _hits(whole, folder, None),
    **{f"search {where}": _filter_reader(where) for where in FILTERS},
    "words": _words,
    "info": _info,
    "facts": _facts,
}


def _add(whole: Whole, folder: Path) -> State:
    new = whole.root / "new/200.jpg"
    values = {"price": 3, "allergens": ["peanut"]}
    add_photos(folder, [new], whole.embedder, label="new", attributes=values, quiet=True)
    added = ("200.jpg", "new", None, 96, 72, new.stat().st_size, True, False, False, values)
    return {**whole.state, _id(200): added}


def _remove(whole: Whole, folder: Path) -> State:
    with LocalWriter.open(folder) as writer:
        writer.remove(["soup/4.jpg", _id(101)])
    return {one: said for one, said in whole.state.items() if one not in (_id(4), _id(101))}


def _update(whole: Whole, folder: Path) -> State:
    with LocalWriter.open(folder) as writer:
        writer.update("soup/6.jpg", label="hand", attributes={"price": 60, "vegan": None})
    *said, values = whole.state[_id(6)]
    said[1], said[7] = "hand", True
    values = {**{k: v for k, v in values.items() if k != "vegan"}, "price": 60}
    return {**whole.state, _id(6): (*said, values)}


def _import(whole: Whole, folder: Path) -> State:
    table = whole.root / "more.csv"
    table.write_text("file,price,spicy\npie/10.jpg,77,yes\nsoup/6.jpg,6,no\n")
    import_attributes(folder, table, {}, frozenset())
    state = dict(whole.state)
    for seed, values in ((10, {"price": 77, "spicy": True}), (6, {"spicy": False})):
        *said, before = state[_id(seed)]
        state[_id(seed)] = (*said, {**before, **values})
    return state


def _build(whole: Whole, folder: Path, consent: Consent | None = None) -> State:
    source = list_photos(whole.root / "photos")
    build_gallery(
        *(source, folder, whole.embedder, whole.spec, whole.storage),
        consent=consent or Consent(),
        quiet=True,
    )
    return whole.state


def _reembed(whole: Whole, folder: Path) -> State:
    reembed(folder, whole.other, quiet=True)
    return whole.state


def _compact(whole: Whole, folder: Path) -> State:
    compact(folder, whole.embedder.model, quiet=True)
    return whole.state


def _rollback(whole: Whole, folder: Path) -> State:
    rollback(folder, lambda model: whole.embedder, quiet=True)
    return whole.state


def _reindex(whole: Whole, folder: Path) -> State:
    reindex(folder, quiet=True)
    return whole.state


def _push(whole: Whole, folder: Path) -> State:
    bucket = folder.with_name("bucket")
    bucket.mkdir()
    push(folder, str(bucket), Settings(), quiet=True)
    pulled = folder.with_name("pulled")
    pull(str(bucket), pulled, Settings(), quiet=True)
    shutil.rmtree(folder)
    pulled.rename(folder)
    return whole.state


WRITERS: dict[str, Callable[[Whole, Path], State]] = {
    "add": _add,
    "remove": _remove,
    "update": _update,
    "attributes": _import,
    "build": _build,
    "reembed": _reembed,
    "compact": _compact,
    "rollback": _rollback,
    "reindex": _reindex,
    "push": _push,
}


@dataclass(frozen=True)
class Damage:
    """One kind of damage to a file, or to a table's row or column of the living catalogue."""

    target: str
    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.target} {self.kind} {self.seed}"

    def do(self, folder: Path) -> None:
        draw = random.Random(f"{self}")
        if self.kind in FILE_KINDS:
            _damage_file(folder, folder / self.target, self.kind, draw)
        else:
            inside = LocalManifest.read(folder).folder(folder)
            table, _, column = self.target.partition(".")
            with closing(sqlite3.connect(inside / "catalogue.sqlite")) as db, db:
                db.execute("PRAGMA ignore_check_constraints = ON")
                _damage_table(db, table, column, self.kind, draw)


FILE_KINDS = ("bit", "byte", "cut", "zeros", "deleted", "emptied", "swapped")
ROW_KINDS = ("row deleted", "row doubled")
COLUMN_KINDS = ("column altered",)
TABLES = (
    *("photos", "skipped", "changes", "state", "absent"),
    *("attributes", "attribute_values", "attribute_keys"),
)


def damages(folder: Path, each: int = 1) -> Iterator[Damage]:
    """Every file, table and column of a gallery with each kind, `each` seeds of it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            target = path.relative_to(folder).as_posix()
            for kind in FILE_KINDS:
                seeds = each if kind not in ("deleted", "emptied") else 1
                yield from (Damage(target, kind, seed) for seed in range(seeds))
    inside = LocalManifest.read(folder).folder(folder)
    if (inside / "catalogue.sqlite-wal").exists():
        return  # who opens it to alter a row takes the log in
    with closing(sqlite3.connect(inside / "catalogue.sqlite")) as db:
        for table in TABLES:
            for kind in ROW_KINDS:
                yield from (Damage(table, kind, seed) for seed in range(each))
            for _, column, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
                yield from (
                    Damage(f"{table}.{column}", COLUMN_KINDS[0], seed) for seed in range(each)
                )


def _damage_file(folder: Path, path: Path, kind: str, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = draw.randrange(len(data)) if data else 0
    if kind == "deleted":
        path.unlink()
        return
    if kind == "swapped":
        others = [one for one in sorted(folder.rglob("*")) if one.is_file() and one != path]
        # Two places that keep the same for each other are not damaged at once.
        pair = ("catalogue", "records")
        if any(part in f"{path.relative_to(folder)}" for part in pair):
            others = [
                one
                for one in others
                if not any(part in f"{one.relative_to(folder)}" for part in pair)
            ]
        alike = [one for one in others if one.suffix == path.suffix] or others
        other = draw.choice(alike if draw.random() < 0.7 else others)
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
        return
    if kind == "bit" and data:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "byte" and data:
        data[at] = (data[at] + draw.randrange(1, 256)) % 256
    elif kind == "cut":
        del data[draw.choice([at, len(data) - 1, len(data) // 2]) :]
    elif kind == "zeros":
        size = draw.choice([64, 512, 4096])
        at -= at % size
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif kind == "emptied":
        data.clear()
    path.write_bytes(data)


def _damage_table(
    db: sqlite3.Connection, table: str, column: str, kind: str, draw: random.Random
) -> None:
    about = db.execute(f"PRAGMA table_info({table})").fetchall()
    names = [one[1] for one in about]
    key = [one[1] for one in about if one[5]]
    rows = db.execute(f"SELECT * FROM {table}").fetchall()
    if not rows:
        return
    row = dict(zip(names, draw.choice(rows), strict=True))
    where = " AND ".join(f"{name} IS ?" for name in key)
    if kind == "row deleted":
        db.execute(f"DELETE FROM {table} WHERE {where}", [row[name] for name in key])
        return
    if kind == "row doubled":
        other = dict(zip(names, draw.choice(rows), strict=True))
        for _ in range(50):
            name = draw.choice(key)
            row[name] = draw.choice([other[name], _altered(row[name], draw)])
            if "sha256" in row and row["sha256"] and table == "photos":
                row["sha256"] = _altered(row["sha256"], draw)
            try:
                marks = ", ".join("?" * len(names))
                db.execute(f"INSERT INTO {table} VALUES ({marks})", [row[one] for one in names])
            except sqlite3.IntegrityError:
                other = dict(zip(names, draw.choice(rows), strict=True))
            else:
                return
        return
    values = [one[names.index(column)] for one in rows]
    others = [value for value in values if value != row[column]]
    for _ in range(50):
        new = draw.choice(others) if others and draw.random() < 0.4 else _altered(row[column], draw)
        try:
            db.execute(
                f"UPDATE {table} SET {column} = ? WHERE {where}", [new, *(row[k] for k in key)]
            )
        except sqlite3.IntegrityError:
            continue
        return


def _altered(value: Any, draw: random.Random) -> Any:
    if value is None:
        return "x"
    if isinstance(value, int):
        return value ^ (1 << draw.randrange(16)) if draw.random() < 0.5 else value + 1
    if isinstance(value, float):
        return value + 1
    at = draw.randrange(len(value)) if value else 0
    return value[:at] + draw.choice("abcdef0123456789") + value[at + 1 :]


class Hang(BaseException):
    pass


@contextmanager
def in_time(seconds: int = LIMIT_S) -> Iterator[None]:
    """Raises Hang where it takes longer."""

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Trial:
    """What became of one damage: outcomes by command, and lines about all that is not right."""

    damage: Damage
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    #: `verify` calls it whole.
    whole: bool = False
    laundered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """What must never be."""
        bad = [f"{c}: {o}" for c, o in self.outcomes.items() if o not in ("right", "refused")]
        if not self.whole:  # seen, and no hit is wrong
            bad = [line for line in bad if not line.endswith("too few")]
        return [*bad, *(f"laundered: {one}" for one in self.laundered), *self.lost]


def trial(whole: Whole, damage: Damage, room: Path, commands: set[str] | None = None) -> Trial:
    """Damage a copy in the folder `room`, run commands on copies of it, and mend it."""
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    damaged, found = whole.copy(room / "damaged"), Trial(damage)
    damage.do(damaged)

    def fresh() -> Path:
        for name in ("copy", "bucket", "pulled"):
            shutil.rmtree(room / name, ignore_errors=True)
        return Path(shutil.copytree(damaged, room / "copy"))

    def run(name: str, work: Callable[[], Any]) -> Any:
        """What it returned; None where it did not."""
        try:
            with in_time():
                result = work()
        except DeepfoodError as error:
            found.outcomes[name] = "refused"
            text = str(error)
            found.notes.append(f"{name}: {text}")
            if "\n" in text or not text:
                found.outcomes[name] = "traceback"
        except Hang:
            found.outcomes[name] = "hang"
            found.notes.append(f"{name} hangs: {traceback.format_exc()}")
        except Exception:
            found.outcomes[name] = "traceback"
            found.notes.append(f"{name}: {traceback.format_exc()}")
        else:
            found.outcomes[name] = "right"
            return result
        return None

    copy = fresh()
    problems = run("verify", lambda: list(gallery_problems(copy, quiet=True)))
    found.whole = problems == []
    found.notes += [f"verify says {line}" for line in problems or ()]
    copy = fresh()
    for name, ask in READERS.items():
        if commands is None or name in commands:
            answer = run(name, lambda ask=ask, copy=copy: ask(whole, copy))
            if answer is not None and answer != whole.answers[name]:
                few = _FEWER.get(name.partition(" ")[0], _other)(answer, whole.answers[name])
                found.outcomes[name] = "too few" if few else "believed"
                found.notes.append(f"{name}: {_difference(answer, whole.answers[name])}")
    for name, change in WRITERS.items():
        if commands is not None and name not in commands:
            continue
        copy = fresh()
        wanted = run(name, lambda change=change, copy=copy: change(whole, copy))
        if wanted is not None:
            _check_changed(whole, found, name, copy, wanted)
    _mend(whole, found, "mended", fresh(), whole.state)
    return found


def _fewer_hits(answer: Any, wanted: Any) -> bool:
    return all(
        all(hit in right for hit in some) for some, right in zip(answer, wanted, strict=True)
    )


def _fewer_examples(answer: Any, wanted: Any) -> bool:
    """The photos and the attributes are right, and an attribute lacks some of its examples."""
    (columns, photos), (right_columns, right_photos) = answer, wanted
    return photos == right_photos and all(
        replace(one, examples=right.examples) == right and {*one.examples} <= {*right.examples}
        for one, right in zip(columns, right_columns, strict=True)
    )


def _other(answer: Any, wanted: Any) -> bool:
    return False


_FEWER = {"search": _fewer_hits, "words": _fewer_hits, "facts": _fewer_examples}


def _difference(answer: Any, wanted: Any) -> str:
    if isinstance(answer, dict) and isinstance(wanted, dict):
        keys = {key for key in {*answer, *wanted} if answer.get(key) != wanted.get(key)}
        return "; ".join(f"{k}: {answer.get(k)!r}, not {wanted.get(k)!r}" for k in sorted(keys))
    pairs = zip(answer, wanted, strict=False)
    return f"{next((pair for pair in pairs if pair[0] != pair[1]), (answer, wanted))!r}"[:2000]


def _check_changed(whole: Whole, found: Trial, name: str, folder: Path, wanted: State) -> None:
    """A change that was acknowledged on a damaged gallery is so, and hides no damage."""
    problems = ["not looked"]
    try:
        with in_time():
            problems = list(gallery_problems(folder, quiet=True))
    except DeepfoodError as error:
        found.notes.append(f"after {name}: {error}")
    except (Hang, Exception):
        found.outcomes[name] = "traceback"
        found.notes.append(f"after {name}: {traceback.format_exc()}")
    try:
        with in_time():
            state = state_of(folder)
    except DeepfoodError:
        state = None
    except (Hang, Exception):
        found.outcomes[name] = "traceback"
        found.notes.append(f"after {name}: {traceback.format_exc()}")
        state = None
    if problems == [] and state != wanted:
        found.laundered.append(f"{name}: {_difference(state or {}, wanted)}")
    elif problems and name != "reembed":
        _mend(whole, found, f"{name}, then mended", folder, wanted)


def _mend(whole: Whole, found: Trial, when: str, folder: Path, wanted: State) -> None:
    """Repair, and where something is left build: then all that was intact is there."""
    models = [whole.embedder.model, whole.other.model]

    def embedder(model: object) -> Embedder:
        return whole.other if model == whole.other.model else whole.embedder

    try:
        left = ["not looked"]
        with in_time(2 * LIMIT_S):
            try:
                done, left = repair(folder, models, embedder, quiet=True)
                found.notes += [f"{when}: {line}" for line in done]
            except DeepfoodError as error:
                found.notes.append(f"{when}: repair refuses: {error}")
            if left or state_or_none(folder) != wanted:
                try:
                    _build(whole, folder)
                except DeepfoodError as error:
                    found.notes.append(f"{when}: build refuses: {error}")
                    _build(whole, folder, Consent(discard=True))
        state, problems = state_of(folder), list(gallery_problems(folder, quiet=True))
        if state != wanted:
            found.lost.append(f"{when}, lost: {_difference(state, wanted)}")
        elif problems and not _only_photos(problems):
            found.lost.append(f"{when}, still: {problems[0]}")
    except (Hang, Exception) as error:
        found.lost.append(f"{when}, not mended: {error}")
        found.notes.append(traceback.format_exc())


def state_or_none(folder: Path) -> State | None:
    try:
        return state_of(folder)
    except DeepfoodError:
        return None


def _only_photos(problems: list[str]) -> bool:
    """The bytes of an added photo were damaged: nothing can bring them back but adding it.

    And the generation before is only what one may go back to, and may be forgotten.
    """
    return all(line.startswith(("photo ", "the generation before: ")) for line in problems)
