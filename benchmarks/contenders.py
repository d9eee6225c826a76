"""deepfood as it is measured: the default Model, and the reference's ResNet34 as a Model."""

import contextlib
import sys
from pathlib import Path

from deepfood.config import Settings
from deepfood.embed import Embedder
from deepfood.model import Model, open_model
from deepfood.photo import Limits, Preprocess

DEFAULT = "deepfood, default Model"
RESNET34 = "deepfood, ResNet34"


def limits() -> Limits:
    settings = Settings()
    return Limits.of(settings)


def embedder(model: Model) -> Embedder:
    return Embedder(model, limits())


def resnet34_model(folder: Path) -> Model:
    """The reference's network without its classifier, exported to `folder`."""
    import torch

    from deepfood.model.export import export_model
    from reference import MEAN, STD, resnet34

    network = resnet34()
    network.fc = torch.nn.Identity()
    preprocess = Preprocess(size=224, crop=0.875, interpolation="bilinear", mean=MEAN, std=STD)
    with contextlib.redirect_stdout(sys.stderr):  # torch reports its progress there
        export_model(
            network,
            folder,
            name="resnet34-random",
            backbone="resnet34",
            preprocess=preprocess,
            source="random weights, for measuring speed",
            licence="Apache-2.0",
            card="Random weights, for measuring speed.\n",
        )
    return open_model(folder)
