"""The Model artifact: opening one, the one that ships, and making new ones from a network."""

from deepfood.model.artifact import Model, ModelManifest, TextTower, open_model

__all__ = ["Model", "ModelManifest", "TextTower", "open_model"]
