"""The Model artifact: open one, including the one that ships, or write one from a network."""

from deepfood.model.artifact import Model, ModelManifest, TextTower, open_model

__all__ = ["Model", "ModelManifest", "TextTower", "open_model"]
