"""What only the graph does: it sorts its file, and reads files that were written unsorted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss as untyped_faiss
import numpy as np
import pytest
from made_up import food_like, unit_vectors

from deepfood.errors import ArtifactCorruptError
from deepfood.index import INDEXES, IndexSpec, VectorFile, append_vectors

faiss: Any = untyped_faiss
SPEC = IndexSpec(kind="hnsw")


@pytest.mark.slow
def test_near_vectors_lie_side_by_side_in_the_file(tmp_path: Path) -> None:
    vectors = food_like(4_500)[:4_000]
    INDEXES["hnsw"].build(stored(tmp_path, len(vectors)), tmp_path / "index", SPEC, lambda _: None)
    index = faiss.read_index(str(tmp_path / "index"))  # named, as the map dies with it
    held = faiss.vector_to_array(index.id_map)
    assert sorted(held.tolist()) == list(range(4_000))
    beside = np.vecdot(vectors[held[1:]], vectors[held[:-1]]).mean()
    assert beside > np.vecdot(vectors[1:], vectors[:-1]).mean() + 0.1


@pytest.mark.slow
def test_a_graph_written_before_files_were_sorted_is_searched_and_grows(tmp_path: Path) -> None:
    hnsw, old = INDEXES["hnsw"], tmp_path / "old"
    graph = faiss.IndexHNSWSQ(
        food_like(1).shape[1], faiss.ScalarQuantizer.QT_fp16, 16, faiss.METRIC_INNER_PRODUCT
    )
    graph.train(food_like(4_500))
    graph.add(food_like(4_500)[:4_000])
    faiss.write_index(graph, str(old))
    few, more = stored(tmp_path, 4_000), stored(tmp_path, 4_500)
    hnsw.grow(old, more, tmp_path / "grown", SPEC, lambda _: None)
    for path, file in ((old, few), (tmp_path / "grown", more)):
        index = hnsw.open(file, path, SPEC, len(file))
        for row in range(0, len(file), 90):
            assert index.search(file.take(np.array([row]))[0], 1)[0].tolist() == [row]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts Linux's threads")
def test_a_search_wakes_no_other_thread(tmp_path: Path) -> None:
    file = stored(tmp_path, 4_500)
    INDEXES["hnsw"].build(file, tmp_path / "index", SPEC, lambda _: None)
    index = INDEXES["hnsw"].open(file, tmp_path / "index", SPEC, 4_500)

    def threads_woken() -> int:
        before = set(Path("/proc/self/task").iterdir())
        index.search(food_like(1)[0], 9)
        return len(set(Path("/proc/self/task").iterdir()) - before)

    with ThreadPoolExecutor(1) as pool:  # a thread of which faiss knows nothing yet
        pool.submit(faiss.omp_set_num_threads, 2).result()  # whatever OMP_NUM_THREADS says
        assert pool.submit(threads_woken).result() == 0


def stored(folder: Path, count: int) -> VectorFile:
    vectors, path = food_like(4_500)[:count], folder / f"vectors-{count}"
    append_vectors(path, vectors.shape[1], "f32", 0, vectors)
    return VectorFile.open(path, vectors.shape[1], "f32", count)


def test_equal_vectors_that_the_graph_does_not_connect_are_all_found(tmp_path: Path) -> None:
    some = unit_vectors(3, 8)
    one, vectors = some[0], some[np.arange(3_300) % 3]
    append_vectors(tmp_path / "vectors", 8, "f32", 0, vectors)
    file = VectorFile.open(tmp_path / "vectors", 8, "f32", len(vectors))
    INDEXES["hnsw"].build(file, tmp_path / "index", SPEC, lambda _: None)
    index = INDEXES["hnsw"].open(file, tmp_path / "index", SPEC, len(file))
    for k in (9, 190, 1_100):
        rows, scores = index.search(one, k)
        assert len(set(rows.tolist())) == k
        assert scores == pytest.approx(1, abs=1e-6)
    found = index.candidates(one, len(file)).tolist()
    assert len(set(found)) == len(found) < len(file)
    assert min(found) >= 0


def test_a_graph_of_vectors_of_other_numbers_is_refused(tmp_path: Path) -> None:
    files = []
    for dimension in (8, 16):
        path = tmp_path / f"vectors-{dimension}"
        append_vectors(path, dimension, "f32", 0, unit_vectors(30, dimension))
        files.append(VectorFile.open(path, dimension, "f32", 30))
    INDEXES["hnsw"].build(files[0], tmp_path / "index", SPEC, lambda _: None)
    with pytest.raises(ArtifactCorruptError, match=r"30 vectors of 8 numbers, .* 30 of 16"):
        INDEXES["hnsw"].open(files[1], tmp_path / "index", SPEC, 30)
