"""Hundreds of damaged galleries: every command answers correctly or refuses, and all are repaired.

    python benchmarks/damage.py [--each COUNT] [--seconds S]
    python benchmarks/damage.py --bits COUNT

Needs no photos. Each file, table and column of a gallery (for each kind of index, and one whose
catalogue has a log) is damaged in ten ways, with `--each` seeds (tests/damages.py). `--bits`
instead flips that many single bits in each kind of file, and only searches and verifies.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from damages import READERS, Damage, Trial, Whole, damages, make_whole, trial
from deepfood.index import Kind

GALLERIES: tuple[tuple[Kind, bool], ...] = (
    ("exact", False),
    ("hnsw", False),
    ("annoy", False),
    ("exact", True),
)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--each", type=int, default=1)
    arguments.add_argument("--bits", type=int, default=0)
    arguments.add_argument("--seconds", type=float, default=3600)
    given = arguments.parse_args()
    until, counts = time.monotonic() + given.seconds, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="deepfood-damage-") as folder:
        galleries = {
            f"{kind}{' with a log' if log else ''}": make_whole(
                Path(folder) / f"{number}", kind, log=log
            )
            for number, (kind, log) in enumerate(GALLERIES)
        }
        all_damages = _bits(galleries, given.bits) if given.bits else _all(galleries, given.each)
        for number, (name, damage) in enumerate(all_damages):
            if time.monotonic() > until:
                print(f"out of time: {len(all_damages) - number:,} damages were not tried")
                break
            whole = galleries[name]
            found = trial(whole, damage, whole.root / "room", {*READERS} if given.bits else None)
            counts += _counted(found)
            if given.bits:
                counts[f"bits in {_kind_of(damage.target)}"] += 1
            for line in found.wrong:
                print(f"{name}, {damage}: {line[:300]}", flush=True)
            if sys.stderr.isatty() or number % 1000 == 0:
                print(f"\r{number:,} of {len(all_damages):,}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for name in sorted(counts):
        print(f"{counts[name]:7,} {name}")
    unseen = sum(counts[name] for name in counts if name.startswith("believed"))
    sys.exit(1 if unseen or counts["laundered"] or counts["lost"] else 0)


def _all(galleries: dict[str, Whole], each: int) -> list[tuple[str, Damage]]:
    return [
        (name, damage)
        for name, whole in galleries.items()
        for damage in damages(whole.folder, each)
    ]


def _bits(galleries: dict[str, Whole], count: int) -> list[tuple[str, Damage]]:
    """`count` bits in each kind of file, spread over the files of that kind in all galleries."""
    files: dict[str, list[tuple[str, str]]] = {}
    for name, damage in _all(galleries, 1):
        if damage.kind == "bit":
            files.setdefault(_kind_of(damage.target), []).append((name, damage.target))
    return [
        (name, Damage(target, "bit", number // len(alike)))
        for alike in files.values()
        for number in range(count)
        for name, target in [alike[number % len(alike)]]
    ]


def _kind_of(file: str) -> str:
    """The file without what its name counts or hashes: the same for all files of one use."""
    return re.sub(r"[0-9a-f]{12,}|\d{4,}|\b[0-9a-f]{2}(?=/)|(?<=-)\d+", "*", file)


def _counted(found: Trial) -> Counter[str]:
    counts = Counter(f"answers: {outcome}" for outcome in found.outcomes.values())
    counts["damages"] += 1
    counts[f"damages: {found.damage.kind}"] += 1
    counts["laundered"] += len(found.laundered)
    counts["lost"] += len(found.lost)
    if found.whole:
        counts["believed, and verify says whole"] += sum(
            outcome in ("believed", "too few") for outcome in found.outcomes.values()
        )
    return counts


if __name__ == "__main__":
    main()
