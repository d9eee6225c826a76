"""Compare a Model with the library that its encoder comes from.

open_clip and transformers do everything themselves, including resizing, padding and tokens, so that
a fault of the import cannot hide.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deepfood.embed import Embedder, Vectors
from deepfood.errors import SettingError
from deepfood.model.golden import TEXTS, golden_photos, least_cosine
from deepfood.words import TextEmbedder

#: The package of each library.
_PACKAGES = {"open_clip": "open_clip_torch", "transformers": "transformers"}
_WAY_OUT = (
    "name open_clip:NETWORK/WEIGHTS (open_clip:ViT-B-32/openai), open_clip:hf-hub:OWNER/NAME, "
    "transformers:OWNER/NAME, or a folder in place of the names"
)


@dataclass(frozen=True)
class Agreement:
    """The least cosine between the vectors of Model and library, for photos and texts, in f32.

    `words` is None if either has no text tower.
    """

    photos: float
    words: float | None

    @property
    def least(self) -> float:
        return min(self.photos, 1.0 if self.words is None else self.words)


@dataclass(frozen=True)
class Reference:
    """An encoder in its own library: vectors, of any length, of a photo and of a text."""

    photo: Callable[[Image.Image], torch.Tensor]
    words: Callable[[str], torch.Tensor] | None = None


def compare(name: str, embedder: Embedder, words: TextEmbedder | None) -> Agreement:
    """Compare a Model with `name`, "LIBRARY:NAME", on the golden photos and texts.

    Raises SettingError if the library cannot open it.
    """
    reference = open_reference(name)
    photos = golden_photos()
    with torch.inference_mode():
        opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in photos]
        theirs = _unit([reference.photo(one) for one in opened])
        ours = np.stack([embedder.embed(data) for data in photos])
        if ours.shape != theirs.shape:
            raise SettingError(
                f"{name} gives {theirs.shape[1]} numbers, but the Model {ours.shape[1]}: they are "
                "different networks"
            )
        cosine = least_cosine(theirs, ours)
        if words is None or reference.words is None:
            return Agreement(cosine, None)
        texts = _unit([reference.words(text) for text in TEXTS])
        return Agreement(cosine, least_cosine(texts, words.embed_many(TEXTS)))


def open_reference(name: str) -> Reference:
    """The encoder named "LIBRARY:NAME". Raises SettingError."""
    library, _, what = name.partition(":")
    openers = {"open_clip": _open_clip, "transformers": _transformers}
    if library not in openers or not what:
        raise SettingError(f"{name!r} does not name an encoder of a library: {_WAY_OUT}")
    try:
        return openers[library](what)
    except ImportError as error:
        raise SettingError(
            f"--against {library} needs the package {_PACKAGES[library]}, and {error.name} is "
            "missing: install it beside deepfood"
        ) from error
    except Exception as error:  # each library has its own errors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SettingError(f"{name} cannot be opened: {reason}; {_WAY_OUT}") from error


def _open_clip(what: str) -> Reference:
    import open_clip

    weights = None
    if Path(what).is_dir():
        network = f"local-dir:{what}"
    elif what.startswith("hf-hub:"):
        network = what
    else:
        network, _, weights = what.partition("/")
    model, _, preprocess = open_clip.create_model_and_transforms(network, pretrained=weights)
    tokenizer = open_clip.get_tokenizer(network)
    model.eval()
    return Reference(
        lambda photo: model.encode_image(preprocess(photo)[None]),
        lambda text: model.encode_text(tokenizer([text])),
    )


def _transformers(what: str) -> Reference:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModel.from_pretrained(what).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(what)
    if not hasattr(model, "get_image_features"):
        return Reference(
            lambda photo: model(**processor(photo, return_tensors="pt")).last_hidden_state[:, 0]
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(what)
    context = model.config.text_config.max_position_embeddings

    def words(text: str) -> torch.Tensor:
        given = tokenizer(
            text, padding="max_length", max_length=context, truncation=True, return_tensors="pt"
        )
        return _pooled(model.get_text_features(**given))

    return Reference(
        lambda photo: _pooled(model.get_image_features(**processor(photo, return_tensors="pt"))),
        words,
    )


def _pooled(output: Any) -> torch.Tensor:
    """The vector itself, which newer versions return inside an object."""
    found: torch.Tensor = getattr(output, "pooler_output", output)
    return found


def _unit(rows: list[torch.Tensor]) -> Vectors:
    vectors = torch.cat([row.reshape(1, -1).float() for row in rows])
    found: Vectors = torch.nn.functional.normalize(vectors).numpy()
    return found
