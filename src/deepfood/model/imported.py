"""Import a folder with the files of a hub repository as a Model, without torch."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepfood.errors import ArtifactFormatError
from deepfood.model.artifact import (
    TEXT_ONNX,
    TOKENIZER,
    ModelManifest,
    write_model,
)
from deepfood.model.graphs import Graph, photo_graph, text_graph
from deepfood.model.hub_layouts import Layout, recognise

#: Converts a layout with torch weights to one with graphs: `train.export_hub.with_graphs`.
Export = Callable[[Layout, Path], Layout]


def import_folder(
    folder: Path,
    out: Path,
    *,
    suffix: str = "",
    name: str,
    source: str,
    licence: str,
    languages: str = "",
    export: Export | None = None,
) -> ModelManifest:
    """Write the encoder in `folder` as a Model into `out`.

    `suffix` chooses among the graphs of a repository; `languages` are those of its text tower.
    Raises ArtifactError, MissingExtraError, DiskFullError.
    """
    layout = recognise(folder, suffix)
    if layout.needs_torch and export is None:
        raise ArtifactFormatError(
            f"{folder} has {layout.name}'s weights, but no ONNX graph: only torch can read them"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".importing-", dir=out.parent) as scratch:
        if layout.needs_torch and export is not None:
            layout = export(layout, Path(scratch))
        assert layout.photos is not None
        assert layout.preprocess is not None
        photos = photo_graph(layout.photos, layout.preprocess.size, Path(scratch))
        dimension = _dimension(photos, layout.dimension, layout.photos.graph)
        files: dict[str, bytes | Path] = dict([photos.weights] if photos.weights else [])
        tower = layout.text_tower
        if layout.text is not None and layout.tokenizer is not None and tower is not None:
            words = text_graph(layout.text, tower.context, Path(scratch))
            _dimension(words, dimension, layout.text.graph)
            files |= dict([words.weights] if words.weights else [])
            files |= {TEXT_ONNX: words.onnx, TOKENIZER: layout.tokenizer}
            tower = tower.model_copy(
                update={
                    "id_type": words.id_type,
                    "attention_mask": words.attention_mask,
                    "vocabulary": words.vocabulary or tower.vocabulary,
                    "languages": languages,
                }
            )
            if layout.tokens > tower.vocabulary:
                raise ArtifactFormatError(
                    f"{layout.tokenizer} is the tokenizer of another network: it has "
                    f"{layout.tokens} tokens, but {layout.text.graph.name} {tower.vocabulary}"
                )
        about: dict[str, Any] = {
            "name": name,
            "backbone": layout.family,
            "dimension": dimension,
            "preprocess": layout.preprocess,
            "text_tower": tower,
            "source": source,
            "licence": licence,
        }
        return write_model(out, photos.onnx, _card(layout, about), files=files, **about)


def _card(layout: Layout, about: dict[str, Any]) -> str:
    """The Model's README.md; `about` are the manifest's fields."""
    words = "embeds photos and words" if about["text_tower"] else "embeds photos"
    return (
        f"# {about['name']}\n\n"
        f"{layout.family}, imported by deepfood from {about['source']} ({layout.name}'s layout). "
        f"It {words} as {about['dimension']} numbers.\n\n"
        f"Licence: {about['licence']}\n"
    )


def _dimension(graph: Graph, wanted: int | None, path: Path) -> int:
    """The dimension of a graph. Raises ArtifactFormatError if it is not `wanted`."""
    if graph.dimension is None and wanted is None:
        raise ArtifactFormatError(f"{path} does not define the size of its output")
    if graph.dimension is not None and wanted is not None and graph.dimension != wanted:
        raise ArtifactFormatError(
            f"{path} cannot be imported: its output has {graph.dimension} numbers instead of "
            f"{wanted}"
        )
    found = graph.dimension or wanted
    assert found is not None
    return found
