"""Hundreds of damaged galleries: every command answers correctly or refuses, and all are repaired.

python benchmarks/damage.py [--each COUNT] [--seconds S]
python benchmarks/damage.py --bits COUNT

Needs no photos. Each file, table and column of a gallery (for each kind of index, and one whose
catalogue has a log) is damaged in ten ways, with `--each` seeds (tests/damages.py). `--bits`
instead flips single bits in each kind of file, and only searches and verifies.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from damages import READERS, Damage, Trial, Whole, damages, make_whole, trial

GALLERIES = (("exact", False), ("hnsw", False), ("annoy", False), ("exact", True))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--each", type=int, default=1)
    arguments.add_argument("--bits", type=int, default=0)
    arguments.add_argument("--seconds", type=float, default=3600)
    given = arguments.parse_args()
    until, counts = time.monotonic() + given.seconds, Counter[str]()
    for kind, log in GALLERIES:
        with tempfile.TemporaryDirectory(prefix="deepfood-damage-") as folder:
            whole = make_whole(Path(folder), kind, log=log)  # type: ignore[arg-type]
            every = _bits(whole, given.bits) if given.bits else [*damages(whole.folder, given.each)]
            for damage in every:
                if time.monotonic() > until:
                    break
                only = {*READERS} if given.bits else None
                found = trial(whole, damage, whole.root / "room", only)
                counts += _counted(found)
                for line in found.wrong:
                    print(f"{kind}{' with a log' if log else ''}, {damage}: {line[:300]}")
            shutil.rmtree(whole.root / "room", ignore_errors=True)
    for name in sorted(counts):
        print(f"{counts[name]:7,} {name}")
    unseen = sum(counts[name] for name in counts if name.startswith("believed"))
    sys.exit(1 if unseen or counts["laundered"] or counts["lost"] else 0)


def _bits(whole: Whole, count: int) -> list[Damage]:
    files = [one for one in damages(whole.folder) if one.kind == "bit"]
    return [Damage(one.target, "bit", seed) for one in files for seed in range(count)]


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
