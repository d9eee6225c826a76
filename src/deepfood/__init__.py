"""deepfood: photo search for food.

Two artifacts and everything between them: a Model turns a photo into a unit vector, a Gallery
holds the vectors of many photos and finds the nearest. The names below are the public Python API
(`docs/python.md`); `docs/architecture.md` is the map of the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfood.api import (
        Gallery,
        add_photos,
        build_gallery,
        calibrate_gallery,
        check_labels,
        embed_photos,
        evaluate_gallery,
        evaluate_words,
        open_embedder,
        open_gallery,
        open_text_embedder,
        remove_photos,
        set_labels,
        update_photo,
    )
    from deepfood.config import Settings, load_settings
    from deepfood.errors import DeepfoodError
    from deepfood.serve.question import SearchResult
    from deepfood.training import adapt_model, learn_gallery, train_model
    from deepfood_client import AsyncClient, Client, Weighted

    __version__: str

__all__ = [
    "AsyncClient",
    "Client",
    "DeepfoodError",
    "Gallery",
    "SearchResult",
    "Settings",
    "Weighted",
    "__version__",
    "adapt_model",
    "add_photos",
    "build_gallery",
    "calibrate_gallery",
    "check_labels",
    "embed_photos",
    "evaluate_gallery",
    "evaluate_words",
    "learn_gallery",
    "load_settings",
    "open_embedder",
    "open_gallery",
    "open_text_embedder",
    "remove_photos",
    "set_labels",
    "train_model",
    "update_photo",
]

#: Where a public name is defined, if not in deepfood.api.
_MODULE_OF = {
    "AsyncClient": "deepfood_client",
    "Client": "deepfood_client",
    "DeepfoodError": "deepfood.errors",
    "SearchResult": "deepfood.serve.question",
    "Settings": "deepfood.config",
    "Weighted": "deepfood_client",
    "adapt_model": "deepfood.training",
    "learn_gallery": "deepfood.training",
    "load_settings": "deepfood.config",
    "train_model": "deepfood.training",
}

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562): `import deepfood` loads nothing."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            value = import_module("importlib.metadata").version("deepfood")
        else:
            value = getattr(import_module(_MODULE_OF.get(name, "deepfood.api")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
