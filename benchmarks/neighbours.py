"""Nearest neighbours at 10,000 to a million vectors: the cost of each library at equal recall.

Every library is asked with increasing effort, and timed at the first that reaches the recall,
taking turns with deepfood's graph. One query at a time, from one thread; deepfood through
`Index.search`, the others directly.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import hnswlib
import numpy as np
from annoy import AnnoyIndex

from deepfood.config import available_cores
from deepfood.index import INDEXES, Index, IndexSpec, Mask, Storage, VectorFile, append_vectors
from report import Section, Table
from vectors import Vectors, VectorSet, real_vectors, synthetic_vectors

K = 9
CROPS = "crops"
RECALLS = (0.95, 0.99)
#: Every graph is built with the same parameters as ours.
_EFC = IndexSpec().hnsw_ef_construction
_EFS = (9, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 200, 400, 800)
_SHARES = (0.5, 0.05, 0.005)
_OURS = "deepfood hnsw"
STORAGES: tuple[Storage, ...] = ("f32", "f16", "i8")

#: Rows that are multiplied with all queries at once.
_BLOCK = 20_000
#: A pass over the queries ends after this time, but not before 10 queries.
_PASS_S = 5

Rows = Any
Ask = Callable[[Vectors], Rows]


@dataclass(frozen=True)
class Contender:
    """A library's index: written once, opened, and asked with each effort in turn."""

    name: str
    write: Callable[[Path], object]
    open: Callable[[Path], Any]
    ask: Callable[[Any, int], Ask]
    efforts: tuple[int, ...]
    #: The contender whose file it reads, if not its own.
    shared: str | None = None

    @property
    def file(self) -> str:
        return self.shared or self.name


def measure(sizes: list[str], photos: Path, cache: Path, rounds: int, indexes: str = "") -> Section:
    """Measure contenders whose names match the pattern `indexes`, and `deepfood hnsw`.

    Builds are kept in `cache` until a size is complete, so that a stopped measurement resumes.
    """
    section = Section("Nearest neighbours")
    for size in sizes:
        folder = cache / f"neighbours-{size}"
        section.tables += _tables(size, folder, photos, cache, rounds, indexes)
        shutil.rmtree(folder)
    return section


def _tables(
    size: str, folder: Path, photos: Path, cache: Path, rounds: int, indexes: str
) -> Iterator[Table]:
    name, gallery, queries = _prepared(size, folder, photos, cache)
    count, dimension = gallery.shape
    files = {s: VectorFile.open(folder / f"vectors.{s}", dimension, s, count) for s in STORAGES}
    truth = _nearest(files["f32"], queries)
    contenders = [
        one
        for one in _contenders(files, gallery)
        if one.name == _OURS or re.search(indexes, one.name)
    ]
    for contender in contenders:
        _build(contender, folder)
    faiss.omp_set_num_threads(1)
    ours: dict[float, _Picked] = {}
    own_times: dict[float, list[float]] = {wanted: [] for wanted in RECALLS}
    times: list[tuple[Any, ...]] = []
    costs: list[tuple[Any, ...]] = []
    for contender in contenders:
        path = folder / contender.file
        open_s = _seconds(lambda c=contender, p=path: c.open(p))
        picked = list(_picked(contender, contender.open(path), queries, truth))
        for one in picked:
            if contender.name == _OURS:
                ours[one.wanted] = one
            elif one.ask is None:
                times.append((*one[:4], "not reached", "", ""))
            else:
                own, its = _in_turn(ours.get(one.wanted), one.ask, queries, rounds)
                own_times[one.wanted] += own
                times.append((*one[:4], *_summary(its), _ratio(its, own)))
        resident = _resident_megabytes(contender, path, picked[-1].effort, queries)
        megabytes = path.stat().st_size / 1e6 if path.exists() else 0.0
        costs.append(
            (contender.name, _built_s(contender, folder), megabytes, resident, open_s * 1e3)
        )
        print(costs[-1], times[-len(picked) :], file=sys.stderr, flush=True)
        del picked
    own_rows = [(*ours[w][:4], *_summary(own_times[w]), 1.0) for w in RECALLS if w in ours]
    title = f"{count:,} x {dimension}, {name}"
    yield Table(
        f"{title}: time at equal recall",
        ("index", "recall wanted", "effort", "recall@9", "median µs", "p99 µs", "times ours"),
        [*own_rows, *times],
        f"{len(queries)} queries; each index in turn with {_OURS}, {rounds} passes each, which "
        f"end after {_PASS_S} s.",
    )
    yield Table(
        f"{title}: cost",
        ("index", "build s", "file MB", f"resident MB after {len(queries)} queries", "open ms"),
        costs,
        "The gallery's own vectors: "
        + ", ".join(f"{s} {len(f) * f.row_bytes / 1e6:.0f} MB" for s, f in files.items())
        + ". hnswlib and Annoy keep their own copy inside their file.",
    )
    index = INDEXES["hnsw"].open(files["f32"], folder / _OURS, IndexSpec(), count)
    yield _filtered(f"{title}: filtered search", index, queries)


def _prepared(size: str, folder: Path, photos: Path, cache: Path) -> tuple[str, Vectors, Vectors]:
    """The set's name, its vectors, memory-mapped, and the queries; written on first use."""
    folder.mkdir(exist_ok=True)
    done = folder / "queries.npz"
    if not done.exists():
        vectors = _vectors(size, photos, cache)
        for storage in STORAGES:
            _store(vectors.gallery, folder / f"vectors.{storage}", storage)
        kept = {"queries": vectors.queries, "shape": vectors.gallery.shape}
        np.savez(folder / "new.npz", name=vectors.name, **kept)
        (folder / "new.npz").rename(done)
    with np.load(done) as kept:
        # Memory-mapped, so that a million vectors leave the memory to the indexes.
        gallery = np.memmap(folder / "vectors.f32", np.float32, "r", shape=tuple(kept["shape"]))
        return str(kept["name"]), gallery, kept["queries"]


def _vectors(size: str, photos: Path, cache: Path) -> VectorSet:
    count, _, kind = size.rpartition("x")
    if kind != CROPS:
        return synthetic_vectors(int(count), int(kind))
    vectors = real_vectors(photos, cache)
    return vectors.first(int(count)) if count else vectors


def _build(contender: Contender, folder: Path) -> None:
    path = folder / contender.file
    if path.exists() or contender.shared:
        return
    faiss.omp_set_num_threads(available_cores())
    unfinished = folder / "unfinished"
    seconds = _seconds(lambda: contender.write(unfinished))
    if not unfinished.exists():  # a scan writes nothing
        seconds = 0.0
    else:
        unfinished.rename(path)
    (folder / f"{contender.name}.seconds").write_text(str(seconds))
    print(f"{contender.name}: built in {seconds:.0f} s", file=sys.stderr, flush=True)


def _built_s(contender: Contender, folder: Path) -> float | str:
    if contender.shared:
        return "the same"
    return float((folder / f"{contender.name}.seconds").read_text())


class _Picked(NamedTuple):
    """The least effort that reaches the recall; `ask` is None if none does."""

    name: str
    wanted: float
    effort: int
    recall: float
    ask: Ask | None


def _picked(
    contender: Contender, opened: Any, queries: Vectors, truth: list[set[int]]
) -> Iterator[_Picked]:
    wanted = list(RECALLS)
    for effort in contender.efforts:
        ask = contender.ask(opened, effort)
        recall = _recall(ask, queries, truth)
        while wanted and recall >= wanted[0]:
            yield _Picked(contender.name, wanted.pop(0), effort, recall, ask)
        if not wanted:
            return
    for missed in wanted:
        yield _Picked(contender.name, missed, effort, recall, None)


def _in_turn(
    ours: _Picked | None, ask: Ask, queries: Vectors, rounds: int
) -> tuple[list[float], list[float]]:
    """µs per query: ours and another, taking turns, so that a busy machine affects both."""
    own: list[float] = []
    its: list[float] = []
    for turn in range(rounds + 1):
        passes = [_query_us(one, queries) for one in (ours and ours.ask, ask) if one]
        if turn:  # the first one warms up
            its += passes[-1]
            own += passes[0] if len(passes) > 1 else []
    return own, its


def _summary(times: list[float]) -> tuple[float, float]:
    return float(np.median(times)), float(np.percentile(times, 99))


def _ratio(times: list[float], own: list[float]) -> float | str:
    return float(np.median(times) / np.median(own)) if own else ""


def _contenders(files: dict[Storage, VectorFile], gallery: Vectors) -> Iterator[Contender]:
    count = len(gallery)

    def ours(name: str, spec: IndexSpec, file: VectorFile, *efforts: int) -> Contender:
        kind = INDEXES[spec.kind]
        knob = "annoy_search_k" if spec.kind == "annoy" else "hnsw_ef_search"

        def ask(path: Path, effort: int) -> Ask:
            tuned = spec.model_copy(update={knob: effort})
            index = kind.open(file, path, tuned, count)
            return lambda query: index.search(query, K)[0]

        def opened(path: Path) -> Path:  # each effort opens it again
            kind.open(file, path, spec, count)
            return path

        return Contender(
            name,
            lambda path: kind.build(file, path, spec, lambda _: None),
            opened,
            ask,
            efforts,
            # The graph of f16 is identical to that of f32, which stores its numbers as f16.
            _OURS if spec.kind == "hnsw" and file.storage == "f16" else None,
        )

    hnsw = IndexSpec(kind="hnsw")
    yield ours(_OURS, hnsw, files["f32"], *_EFS)
    yield ours("deepfood hnsw on f16", hnsw, files["f16"], *_EFS)
    yield ours("deepfood hnsw on i8", hnsw, files["i8"], *_EFS)
    for storage, file in files.items():
        yield ours(f"deepfood exact on {storage}", IndexSpec(kind="exact"), file, 1)
    for trees in (5, 20, 100):
        yield _annoy(gallery, trees)
    yield _hnswlib(gallery)
    yield _faiss("HNSW16,SQfp16", gallery, _EFS, lambda e: faiss.SearchParametersHNSW(efSearch=e))
    cells = 512 if count < 500_000 else 2048
    probes = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
    yield _faiss(
        *(f"IVF{cells},Flat", gallery, probes),
        lambda e: faiss.SearchParametersIVF(nprobe=e),  # type: ignore[call-arg]
    )


def _annoy(gallery: Vectors, trees: int) -> Contender:
    def write(path: Path) -> None:
        forest = AnnoyIndex(gallery.shape[1], "angular")
        for row, vector in enumerate(gallery):
            forest.add_item(row, vector)
        forest.build(trees, n_jobs=-1)
        forest.save(str(path))

    def opened(path: Path) -> Any:
        forest = AnnoyIndex(gallery.shape[1], "angular")
        forest.load(str(path))
        return forest

    def ask(forest: Any, search_k: int) -> Ask:
        return lambda query: np.array(forest.get_nns_by_vector(query, K, search_k))

    efforts = (
        *(45, 100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 4_000, 6_000, 8_000),
        *(12_000, 16_000, 24_000, 32_000, 64_000),
    )
    return Contender(f"Annoy, {trees} trees", write, opened, ask, efforts)


def _hnswlib(gallery: Vectors) -> Contender:
    count, dimension = gallery.shape

    def write(path: Path) -> None:
        graph = hnswlib.Index("ip", dimension)
        graph.init_index(count, M=16, ef_construction=_EFC)
        graph.add_items(gallery, num_threads=available_cores())
        graph.save_index(str(path))

    def opened(path: Path) -> Any:
        graph = hnswlib.Index("ip", dimension)
        graph.load_index(str(path))
        return graph

    def ask(graph: Any, ef: int) -> Ask:
        def search(query: Vectors) -> Rows:
            graph.set_ef(ef)
            return graph.knn_query(query, K, num_threads=1)[0][0]

        return search

    return Contender("hnswlib, M 16", write, opened, ask, _EFS)


def _faiss(
    factory: str, gallery: Vectors, efforts: tuple[int, ...], parameters: Callable[[int], Any]
) -> Contender:
    def write(path: Path) -> None:
        index = faiss.index_factory(gallery.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(gallery[:100_000])
        if isinstance(index, faiss.IndexHNSW):
            index.hnsw.efConstruction = _EFC
        index.add(gallery)
        faiss.write_index(index, str(path))

    def ask(index: Any, effort: int) -> Ask:
        chosen = parameters(effort)
        return lambda query: index.search(query[np.newaxis], K, params=chosen)[1][0]

    def opened(path: Path) -> Any:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)

    return Contender(f"faiss {factory}", write, opened, ask, efforts)


def _filtered(title: str, index: Index, queries: Vectors) -> Table:
    rng, rows = np.random.default_rng(0), []
    for share in (1.0, *_SHARES):
        allowed: Mask = rng.random(len(index.vectors)) < share
        truth = _nearest(index.vectors, queries, allowed)

        def ask(query: Vectors, allowed: Mask = allowed) -> Rows:
            return index.search(query, K, allowed)[0]

        recall = _recall(ask, queries, truth)
        times = _query_us(ask, queries)
        rows.append((share, recall, float(np.median(times)), float(np.percentile(times, 99))))
    return Table(title, ("share allowed", "recall@9", "median µs", "p99 µs"), rows)


def _store(gallery: Vectors, path: Path, storage: Storage) -> None:
    path.unlink(missing_ok=True)
    for start in range(0, len(gallery), 10_000):
        append_vectors(path, gallery.shape[1], storage, start, gallery[start : start + 10_000])


def _nearest(file: VectorFile, queries: Vectors, allowed: Mask | None = None) -> list[set[int]]:
    """The K nearest rows of each query, by brute force over blocks of rows."""
    best = np.full((len(queries), K), -2, np.float32)
    rows = np.full((len(queries), K), -1)
    for start in range(0, len(file), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(file)))
        if allowed is not None:
            block = block[allowed[block]]
        scores = np.hstack([best, queries @ file.take(block).T])
        both = np.hstack([rows, np.broadcast_to(block, (len(queries), len(block)))])
        top = np.argpartition(-scores, K)[:, :K]
        best, rows = (np.take_along_axis(of, top, axis=1) for of in (scores, both))
    return [set(found) for found in rows.tolist()]


def _recall(ask: Ask, queries: Vectors, truth: list[set[int]]) -> float:
    found = [len(t & set(ask(q).tolist())) for q, t in zip(queries, truth, strict=True)]
    return sum(found) / (K * len(queries))


def _query_us(ask: Ask, queries: Vectors) -> list[float]:
    times: list[float] = []
    for query in queries:
        started = time.perf_counter()
        ask(query)
        times.append((time.perf_counter() - started) * 1e6)
        if len(times) >= 10 and sum(times) > _PASS_S * 1e6:
            break
    return times


def _resident_megabytes(contender: Contender, path: Path, effort: int, queries: Vectors) -> float:
    """The growth of a process that opens the index and answers all queries once."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        before = _rss_megabytes()
        ask = contender.ask(contender.open(path), effort)
        _query_us(ask, queries)
        os.write(write_end, f"{_rss_megabytes() - before}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        return float(pipe.read() or "nan")


def _rss_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
