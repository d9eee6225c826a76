"""A map of the embeddings: photos that are similar to the Model lie close together.

UMAP: McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection" (2018), by
the library umap-learn, with cosine distance and a fixed seed.
"""

import warnings
from typing import Any

import numpy as np

from deepfood.evaluate.metrics import Floats, Vectors
from deepfood.evaluate.report.pictures import Pictures
from deepfood.evaluate.trial import LabelledVectors
from deepfood.progress import bar

#: All pairs of so many points are compared.
MAX_POINTS = 4_000
MAX_PICTURES = 1_200
_SIDE = 56
_NEIGHBOURS = 15
#: Fewer points have no neighbourhoods worth a map.
MIN_POINTS = 5


def place(vectors: Vectors, seed: int) -> Floats:
    """Points on a plane, float64 [n, 2], for unit vectors float32 [n, dim]; n >= MIN_POINTS."""
    with warnings.catch_warnings():
        # umap-learn imports tensorflow for a part that is not used here, and warns where it lacks.
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP
    count = min(_NEIGHBOURS, len(vectors) - 1)
    # Given to UMAP, which would compile a search for them for half of its time.
    distances = np.clip(1 - vectors @ vectors.T, 0, None)
    np.fill_diagonal(distances, 0)
    near = np.argsort(distances, axis=1, kind="stable")[:, :count]
    plan = UMAP(
        n_components=2,
        n_neighbors=count,
        precomputed_knn=(near, np.take_along_axis(distances, near, axis=1)),
        metric="cosine",
        init="pca",
        random_state=seed,
        n_jobs=1,  # more jobs would ignore the seed, with a warning
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn")  # so it could place no further photos
        return np.asarray(plan.fit_transform(np.asarray(vectors)), np.float64)


def map_points(
    photos: LabelledVectors, pictures: Pictures, *, seed: int, quiet: bool
) -> dict[str, Any]:
    """Places, label, file and picture of up to MAX_POINTS photos, columns of equal length."""
    count = len(photos.ids)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(count)[:MAX_POINTS])
    if len(drawn) < MIN_POINTS:
        return {"x": [], "y": [], "label": [], "file": [], "picture": []}
    # UMAP compiles itself first, which takes longer than placing a few photos.
    with bar("map", " photos", len(drawn), quiet=quiet) as progress:
        places = place(photos.vectors[drawn], seed)
        progress.update(len(drawn))
    with_picture = set(rng.permutation(len(drawn))[:MAX_PICTURES].tolist())
    images = []
    with bar("pictures", "", len(drawn), quiet=quiet) as progress:
        for number, row in enumerate(drawn.tolist()):
            wanted = number in with_picture
            images.append(pictures.of(photos, row, _SIDE) if wanted else None)
            progress.update()
    return {
        "x": places[:, 0].round(3).tolist(),
        "y": places[:, 1].round(3).tolist(),
        "label": [photos.labels[row] for row in drawn],
        "file": [photos.files[row] for row in drawn],
        "picture": images,
    }
