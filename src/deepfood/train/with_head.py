"""Write a Model with a new head, with everything else that the Model has."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from deepfood.model import Model
from deepfood.model.artifact import TEXT_ONNX, write_model
from deepfood.proof import record_golden
from deepfood.train.fuse import fuse_head
from deepfood.train.head import Vectors


def write_with_head(
    out: Path,
    base: Model,
    weights: Vectors,
    card: str,
    *,
    made: Literal["adapted", "learned"],
    trained_on: Iterable[str],
    labels: Sequence[str],
    training: dict[str, Any],
) -> None:
    """Write `base` with a head of `weights`, float32 [dim, size], as a Model to `out`.

    `trained_on` are the ids of the photos that the head was fitted to, `labels` theirs; `training`
    is the record for the manifest. Raises DiskFullError.
    """
    about = base.manifest
    files: dict[str, bytes | Path] = {**base.weights, **base.text_parts}
    if about.text_tower is not None:  # words get the same head as photos
        files[TEXT_ONNX] = fuse_head(base.text_onnx.read_bytes(), weights)
    write_model(
        out,
        fuse_head(base.onnx.read_bytes(), weights),
        card,
        trained_on=base.trained_on.union(trained_on),
        files=files,
        text_tower=about.text_tower,
        name=f"{about.name.removesuffix(f'-{made}')}-{made}",
        backbone=about.backbone,
        dimension=weights.shape[1],
        preprocess=about.preprocess,
        labels=tuple(labels),
        training=training,
        source=f"a head on {about.name} (fingerprint {base.fingerprint[:12]})",
        licence=about.licence,
    )
    if base.has_golden:
        record_golden(out)
