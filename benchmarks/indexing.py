"""From JPEG files to a finished gallery, photos a second.

Networks are loaded beforehand on both sides. The reference is timed from the first file to the
saved Annoy file, deepfood from the empty folder to the committed gallery.
"""

import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import floor
from contenders import DEFAULT, RESNET34, embedder, resnet34_model
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.model import open_model
from photos import PhotoSet
from reference import Reference, batches_ahead, plain_batches
from report import Bound, Section, Table, interleave, medians

PLAIN = "reference, plain loop"
AHEAD = "reference, decoding ahead"
_TIMES_FASTER = {DEFAULT: 8.0, RESNET34: 5.0}


def measure(sets: list[PhotoSet], work: Path, rounds: int) -> Section:
    section = Section("Indexing")
    reference = Reference()
    embedders = {
        DEFAULT: embedder(open_model()),
        RESNET34: embedder(resnet34_model(work / "resnet34")),
    }
    rows: list[tuple[Any, ...]] = []
    for photos in sets:
        speed = _end_to_end(photos, reference, embedders, work, rounds)
        best = max(speed[PLAIN], speed[AHEAD])
        rows += [(name, photos.name, rate, rate / best) for name, rate in speed.items()]
        section.bounds += [
            Bound(f"{name} / reference, {photos.name}", speed[name] / best, least)
            for name, least in _TIMES_FASTER.items()
        ]
    section.tables = [
        Table(
            "Photos to gallery",
            ("pipeline", "photos", "photos/s", "times the reference"),
            rows,
            f"Median of {rounds} rounds, taken in turn; the ratio is to the better of the two "
            f"references. {'; '.join(photos.about for photos in sets)}.",
        ),
        *floor.tables(sets, reference, embedders, rounds),
    ]
    return section


def _end_to_end(
    photos: PhotoSet,
    reference: Reference,
    embedders: dict[str, Embedder],
    work: Path,
    rounds: int,
) -> dict[str, float]:
    number = itertools.count()

    def with_reference(batches: Callable[[tuple[Path, ...]], Any]) -> float:
        path = work / f"index-{next(number)}.annoy"
        started = time.perf_counter()
        reference.index(batches(photos.files), path)
        return len(photos.files) / (time.perf_counter() - started)

    def with_deepfood(one: Embedder) -> float:
        out = work / f"gallery-{next(number)}"
        started = time.perf_counter()
        report = build_gallery(list_photos(photos.folder), out, one, IndexSpec(), quiet=True)
        seconds = time.perf_counter() - started
        broken = [skipped.reason for skipped in report.skipped if not skipped.same_as]
        if report.embedded != len(photos.files) or broken:
            raise SystemExit(f"not all of {photos.folder} was embedded: {broken[:1]}")
        shutil.rmtree(out)
        return len(photos.files) / seconds

    contenders = {
        PLAIN: lambda: with_reference(plain_batches),
        AHEAD: lambda: with_reference(batches_ahead),
        DEFAULT: lambda: with_deepfood(embedders[DEFAULT]),
        RESNET34: lambda: with_deepfood(embedders[RESNET34]),
    }
    return medians(interleave(contenders, rounds))
