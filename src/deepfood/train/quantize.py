"""`deepfood quantize`: a Model in int8, calibrated on some photos and judged on others.

With labels it is judged as in `evaluate`: each held-out photo is a query among the others. Without
labels, by how many of the original Model's nearest photos are still among the nearest. A Model that
drops by more than the bound is not written.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood import __version__, runtimes
from deepfood.counted import counted
from deepfood.data.each_photo import Unreadable, each_photo
from deepfood.data.photo_file import photo_id
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder, normaliser
from deepfood.errors import ArtifactCorruptError, DatasetError, SettingError
from deepfood.evaluate.gate import (
    DECISIVE,
    FEWEST,
    BeforeAfter,
    Judgement,
    LostLabel,
    answers_of,
    judge,
)
from deepfood.evaluate.metrics import K, confidence_interval, measure
from deepfood.local.embedding_cache import Embedded, embed_dataset
from deepfood.model import Model, open_model
from deepfood.model.artifact import write_model
from deepfood.photo import Pixels, read_pixels
from deepfood.proof import record_golden
from deepfood.train.adapt import check_out
from deepfood.train.cross_validate import sample_evenly
from deepfood.train.head import Labels
from deepfood.train.int8 import check_quantizable, quantize_network

#: The deciding metric for photos without labels: the overlap with the original Model's hits.
NEIGHBOURS = f"recall@{K}"
#: How far each may fall by default.
MAX_DROP = {DECISIVE: 0.01, NEIGHBOURS: 0.2}

#: Half of the photos calibrate, at most this many; more do not change the ranges.
CALIBRATION_PHOTOS = 100
#: The others judge, at most this many.
JUDGING_PHOTOS = 2000
#: With fewer, a drop would be chance, and the ranges too narrow.
FEWEST_PHOTOS = 20


@dataclass(frozen=True)
class QuantizeReport:
    """The result of `quantize`. `refused` is the reason if no Model was written, otherwise None.

    `compared` are the gate's figures on the held-out photos, of which `queries` were queries, and
    `lost` the labels that lost. The one named `decided_by` fell by at most `max_drop`, and no other
    certainly by more, or the Model was refused.
    """

    calibration_photos: int
    held_out_photos: int
    queries: int
    compared: dict[str, BeforeAfter]
    lost: tuple[LostLabel, ...]
    decided_by: str
    max_drop: float
    bytes_before: int
    bytes_after: int
    refused: str | None
    notes: tuple[str, ...]


def quantize(
    source: PhotoSource,
    base: Embedder,
    out: Path,
    cache: Path,
    *,
    max_drop: float | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> QuantizeReport:
    """Write `base`'s Model in int8 to `out`, if it is nearly as good on the photos of `source`.

    `max_drop` (0 to 1) is how far the deciding metric may fall; None for MAX_DROP. Embeddings of
    the original Model are kept below the folder `cache`. Raises DatasetError (too few usable
    photos), SettingError (a Model that is int8 already or gains nothing, an unusable `out`) or
    DiskFullError.
    """
    model = base.model
    check_out(out, model)
    network = model.onnx.read_bytes()
    check_quantizable(network, model.manifest.name)
    rng = np.random.default_rng(seed)
    most = CALIBRATION_PHOTOS + JUDGING_PHOTOS
    some = sample_evenly(_number_labels(source.files), most, rng)
    files = [source.files[row] for row in some]
    embedded = embed_dataset(source, base, cache, files=files, quiet=quiet)
    calibration, held_out = _divide(embedded, model, rng)
    int8 = quantize_network(network, model.weights, _inputs(source, calibration, base, quiet=quiet))
    with tempfile.TemporaryDirectory(prefix="deepfood-") as name:
        folder = Path(name)
        _write(folder / "model", model, int8, None, seed)
        small = Embedder(
            open_model(folder / "model"),
            base.limits,
            runtime=base.runtime,  # type: ignore[arg-type]  # as it was chosen for `base`
            precision=base.precision,  # type: ignore[arg-type]
            threads=base.threads,
            device=base.device,  # type: ignore[arg-type]
        )
        try:
            after = embed_dataset(source, small, folder, files=held_out, quiet=quiet)
        except ArtifactCorruptError as error:
            raise SettingError(
                f"the Model {model.manifest.name} cannot be used in int8: a photo gets no usable "
                "vector; no Model was written"
            ) from error
    before = embedded.select(after.files)
    unseen = np.array([photo_id(sha256) not in model.trained_on for sha256 in after.sha256])
    asking = np.flatnonzero(unseen if unseen.any() else ~unseen)
    decided_by, judgement = _compare(before, after, asking, seed)
    bound = MAX_DROP[decided_by] if max_drop is None else max_drop
    report = QuantizeReport(
        calibration_photos=len(calibration),
        held_out_photos=len(after.files),
        queries=len(asking),
        compared=judgement.figures,
        lost=judgement.lost,
        decided_by=decided_by,
        max_drop=bound,
        bytes_before=len(network) + sum(one.stat().st_size for one in model.weights.values()),
        bytes_after=len(int8),
        refused=_why_refused(decided_by, judgement, bound),
        notes=tuple(_notes(embedded, unseen, judgement, decided_by, bound)),
    )
    if report.refused is None:
        _write(out, model, int8, report, seed)
    return report


def _number_labels(files: Sequence[PhotoFile]) -> Labels:
    """A number for each photo's label, int64 [n]; -1 for none."""
    names = {label: number for number, label in enumerate(sorted({f.label or "" for f in files}))}
    return np.array([names[f.label] if f.label else -1 for f in files], np.int64)


def _divide(
    embedded: Embedded, model: Model, rng: np.random.Generator
) -> tuple[list[PhotoFile], list[PhotoFile]]:
    """Photos for calibration and for judging; those that the Model was trained on go first."""
    count = len(embedded.files)
    if count < FEWEST_PHOTOS:
        raise DatasetError(
            f"quantize needs {FEWEST_PHOTOS} usable photos to calibrate and to judge with, but "
            f"there {'is' if count == 1 else 'are'} {count}"
        )
    seen = np.array([photo_id(sha256) in model.trained_on for sha256 in embedded.sha256])
    order = rng.permutation(count)
    order = order[np.argsort(~seen[order], kind="stable")]
    files = [embedded.files[row] for row in order]
    calibrating = min(CALIBRATION_PHOTOS, count // 2)
    return files[:calibrating], files[calibrating:]


def _inputs(
    source: PhotoSource, files: list[PhotoFile], base: Embedder, *, quiet: bool
) -> Iterator[npt.NDArray[np.float32]]:
    """The network's input for each photo, float32 [1, 3, size, size]."""
    normalise = normaliser(base.preprocess)

    def pixels(data: bytes) -> Pixels:
        return read_pixels(data, base.preprocess, base.limits)

    photos = [(source.root, file) for file in files]
    for one in each_photo("calibrating", photos, base.limits, pixels, quiet=quiet):
        if not isinstance(one, Unreadable):
            yield normalise(one)


def _compare(before: Embedded, after: Embedded, asking: Labels, seed: int) -> tuple[str, Judgement]:
    """The deciding metric and the comparison, the photos in rows `asking` as queries."""
    labels = _number_labels(before.files)
    alike = np.bincount(labels[labels >= 0], minlength=len(labels) + 1)[labels]
    found = [
        measure(one.vectors[asking], labels[asking], one.vectors, labels, own_rows=asking)
        for one in (before, after)
    ]
    if ((labels >= 0) & (alike > 1))[asking].any():
        names = sorted({file.label or "" for file in before.files})
        given, int8 = (answers_of(one, labels[asking], labels) for one in found)
        return DECISIVE, judge(given, int8, labels[asking], names, seed=seed)
    nearest = [one.nearest for one in found]
    kept = (nearest[0][:, :, np.newaxis] == nearest[1][:, np.newaxis, :]).any(axis=2).mean(axis=1)
    recall = float(kept.mean())
    interval = confidence_interval(kept - 1, seed=seed) if len(kept) >= FEWEST else None
    one = BeforeAfter(1.0, recall, recall - 1, interval)
    return NEIGHBOURS, Judgement({NEIGHBOURS: one}, ())


def _why_refused(decided_by: str, judgement: Judgement, max_drop: float) -> str | None:
    if worse := judgement.worse(max_drop, decisive=decided_by):
        return (
            f"the int8 Model is worse than the original: {worse}; {max_drop:g} less is allowed "
            "(--max-drop); no Model was written"
        )
    return None


def _notes(
    embedded: Embedded,
    unseen: npt.NDArray[np.bool],
    judgement: Judgement,
    decided_by: str,
    max_drop: float,
) -> Iterator[str]:
    for skipped in embedded.skipped:
        yield f"{skipped.file} left out: {skipped.reason}"
    if not unseen.any():
        yield ("the Model was trained on all of these photos, so that it may lose more on others")
    # A refusal names them, too.
    if judgement.lost and not judgement.worse(max_drop, decisive=decided_by):
        yield judgement.losses()
    one = judgement.figures[decided_by]
    if decided_by == DECISIVE and (few := judgement.unjudged()):
        yield few
    if one.interval is None or one.interval[0] < -max_drop <= one.difference:
        yield "the held-out photos are too few to be certain that the drop is within the bound"


def _write(out: Path, base: Model, int8: bytes, report: QuantizeReport | None, seed: int) -> None:
    about = base.manifest
    write_model(
        out,
        int8,
        _card(base, report) if report else "",
        trained_on=base.trained_on,
        files=base.text_parts if report else None,
        text_tower=about.text_tower if report else None,
        name=f"{about.name}-int8",
        backbone=about.backbone,
        dimension=about.dimension,
        preprocess=about.preprocess,
        labels=about.labels,
        training=_record(base, report, seed) if report else {},
        source=f"{about.name} (fingerprint {base.fingerprint[:12]}) in int8",
        licence=about.licence,
    )
    if report and base.has_golden:
        record_golden(out)


def _record(base: Model, report: QuantizeReport, seed: int) -> dict[str, Any]:
    record = {
        "method": "quantize",
        "base": {
            "name": base.manifest.name,
            "fingerprint": base.fingerprint,
            "training": base.manifest.training,
        },
        "weights": "int8, a scale for each channel",
        "activations": "uint8, smallest to largest value on the calibration photos",
        "seed": seed,
        "photos": {
            "calibration": report.calibration_photos,
            "held_out": report.held_out_photos,
            "queries": report.queries,
        },
        "decided_by": report.decided_by,
        "max_drop": report.max_drop,
        "held_out": {name: asdict(one) for name, one in report.compared.items()},
        "versions": {"deepfood": __version__, "onnxruntime": runtimes.onnxruntime().__version__},
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))  # tuples as lists, as a manifest has it
    return plain


def _card(base: Model, report: QuantizeReport) -> str:
    rows = "\n".join(
        f"| {name} | {one.before:.3f} | {one.after:.3f} | {one.change} |"
        for name, one in report.compared.items()
    )
    return f"""# {base.manifest.name}, int8

{base.manifest.name} in 8 bits, made by `deepfood quantize`: weights with a scale for each channel,
activations in the range that {counted(report.calibration_photos, "photo")} gave them. It was judged
by {counted(report.queries, "query", "queries")} among \
{counted(report.held_out_photos, "other photo")} of the same source, where
{report.decided_by} was allowed to fall by {report.max_drop:g}.

| | before | after | difference (95 % interval) |
|---|---|---|---|
{rows}

Its vectors are near those of {base.manifest.name} and not the same: a gallery has to be built with
the Model that it is searched with. The ids of the photos it was trained on carry over.

Licence: {base.manifest.licence}, as {base.manifest.name}.
"""
