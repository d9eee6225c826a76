"""Processes that change a gallery are killed at any moment: acknowledged changes must survive.

    python benchmarks/kills.py [--kills COUNT] [--seconds S]

Needs no photos. A child process makes generations and changes in random order, drawn with a seed,
and prints what it intends and what it has done; it gets SIGKILL after a random time. Then the
gallery must have all acknowledged changes, with or without the one in progress, and `verify` must
find no fault at the end.
"""

import argparse
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import damages
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.import_attributes import import_attributes
from deepfood.local.reindex import reindex
from deepfood.local.renew import compact, reembed
from deepfood.local.rollback import rollback
from deepfood.local.verify import gallery_problems
from deepfood.model import Model, open_model
from plates import LIMITS, jpeg

#: A child is killed at most this many seconds after its start.
LONGEST_S = 0.8
UPDATED, IMPORTED = 6, (5, 10)
CHANGES = (
    *("update", "import", "add", "remove"),
    *("build", "compact", "reembed", "rollback", "reindex"),
)

State = dict[str, Any]
#: The announcement of a change, and the function that makes it; None if it is not possible.
Change = tuple[dict[str, Any], Callable[[], object]] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        root, folder, seed = given.child
        work(Path(root), Path(folder), int(seed))
    sys.exit(kill(given.kills, given.seconds))


def kill(kills: int, seconds: float) -> int:
    root = Path(tempfile.mkdtemp(prefix="deepfood-kills-"))
    folder = damages.make_whole(root, "hnsw").folder
    truth = damages.state_of(folder)
    draw, until = random.Random(0), time.monotonic() + seconds
    at_work, acknowledged, wrong, done = Counter[str](), Counter[str](), 0, 0
    for seed in range(kills):
        if time.monotonic() > until:
            break
        done += 1
        command = [sys.executable, __file__, "--child", str(root), str(folder), str(seed)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(draw.uniform(0, LONGEST_S))
        child.send_signal(signal.SIGKILL)
        out, errors = child.communicate()
        if errors.strip():
            print(f"{seed}: it ended by itself: {errors.decode()[-1500:]}")
            wrong += 1
        pending, added = None, set()
        for line in map(json.loads, out.splitlines()):
            if "intends" in line:
                pending = line
                continue
            acknowledged[line["did"]] += 1
            assert pending is not None
            truth = after(truth, pending)
            added |= {pending["id"]} if line["did"] == "add" else set()
            added -= {pending["id"]} if line["did"] == "remove" else set()
            pending = None
        now = damages.state_of(folder)
        if pending is not None and pending["intends"] == "remove" and pending["id"] not in now:
            added -= {pending["id"]}  # the removal in progress was done, but not yet acknowledged
        if lost := added - now.keys():
            print(f"{seed}: added and gone: {lost}; under way: {pending}")
            wrong += 1
        truth |= {photo: now[photo] for photo in added & now.keys()}
        possible = [truth]
        if pending is not None:
            at_work[pending["intends"]] += 1
            possible.append(after(truth, pending))
            if pending["intends"] == "add" and pending["id"] in now:
                possible.append({**truth, pending["id"]: now[pending["id"]]})
        if now not in possible:
            print(f"{seed}: {pending}: the gallery differs from what was acknowledged")
            wrong += 1
        truth = now
    with LocalWriter.open(folder):
        pass  # the next writer cleans up
    problems = list(gallery_problems(folder, quiet=True))
    print(f"{done} kills, {at_work.total()} of them at work: {dict(at_work)}")
    print(f"acknowledged: {dict(acknowledged)}; wrong: {wrong}; verify: {problems or 'whole'}")
    shutil.rmtree(root)
    return 1 if wrong or problems else 0


def after(state: State, change: dict[str, Any]) -> State:
    """The expected state after a change."""
    found = dict(state)
    prices = {"update": (UPDATED,), "import": IMPORTED}.get(change["intends"], ())
    for photo in prices:
        *about, values = found[damages._id(photo)]
        found[damages._id(photo)] = (*about, {**values, "price": change["price"]})
    if change["intends"] == "remove":
        found.pop(change["id"], None)
    return found


def work(root: Path, folder: Path, seed: int) -> None:
    """Change the gallery without end."""
    embedders = [Embedder(open_model(root / name), LIMITS) for name in ("model", "other")]
    print("ready", flush=True)
    draw = random.Random(seed)
    for number in itertools.count(seed * 1000):
        kind = draw.choice(CHANGES)
        change = CHANGES_OF.get(kind, simple)(kind, root, folder, number, draw, embedders)
        if change is not None:
            about, act = change
            print(json.dumps({"intends": kind, **about}), flush=True)
            act()
            print(json.dumps({"did": kind}), flush=True)


def update(
    kind: str, root: Path, folder: Path, number: int, draw: random.Random, embedders: list[Embedder]
) -> Change:
    def act() -> None:
        with LocalWriter.open(folder) as writer:
            writer.update("soup/6.jpg", attributes={"price": number})

    return {"price": number}, act


def import_table(
    kind: str, root: Path, folder: Path, number: int, draw: random.Random, embedders: list[Embedder]
) -> Change:
    table = root / "table.csv"
    table.write_text(f"file,price\nsoup/5.jpg,{number}\npie/10.jpg,{number}\n")
    return {"price": number}, lambda: import_attributes(folder, table, {}, frozenset())


def add(
    kind: str, root: Path, folder: Path, number: int, draw: random.Random, embedders: list[Embedder]
) -> Change:
    photo = root / f"new-{number}.jpg"
    photo.write_bytes(jpeg(10_000 + number))
    own, price = of(folder, embedders), {"price": number}
    return {"id": damages._id(10_000 + number)}, lambda: add_photos(
        folder, [photo], own, attributes=price, quiet=True
    )


def remove(
    kind: str, root: Path, folder: Path, number: int, draw: random.Random, embedders: list[Embedder]
) -> Change:
    with LocalGallery.open(folder) as gallery:
        there = [photo.id for photo in gallery.store.photos() if photo.added]
    if not there:
        return None
    gone = draw.choice(there)

    def act() -> None:
        with LocalWriter.open(folder) as writer:
            writer.remove([gone])

    return {"id": gone}, act


def simple(
    kind: str, root: Path, folder: Path, number: int, draw: random.Random, embedders: list[Embedder]
) -> Change:
    """Makes a generation or an index, without changing any edits."""
    own, any_one = of(folder, embedders), draw.choice(embedders)
    if kind == "rollback" and LocalManifest.read(folder).before is None:
        return None
    source, spec = list_photos(root / "photos"), IndexSpec(kind="hnsw")
    storage = draw.choice(["f32", "i8"])
    acts = {
        "build": lambda: build_gallery(source, folder, any_one, spec, storage, quiet=True),
        "compact": lambda: compact(folder, own.model, quiet=True),
        "reembed": lambda: reembed(folder, any_one, quiet=True),
        "rollback": lambda: rollback(folder, lambda model: named(model, embedders), quiet=True),
        "reindex": lambda: reindex(folder, quiet=True),
    }
    return {}, acts[kind]


def of(folder: Path, embedders: list[Embedder]) -> Embedder:
    """The Embedder with the gallery's Model."""
    wanted = LocalManifest.read(folder).model_fingerprint
    return next(one for one in embedders if one.model.fingerprint == wanted)


def named(model: Model, embedders: list[Embedder]) -> Embedder:
    return next(one for one in embedders if one.model.fingerprint == model.fingerprint)


CHANGES_OF = {"update": update, "import": import_table, "add": add, "remove": remove}


if __name__ == "__main__":
    main()
