"""Measures a cluster that it starts: `python on_cluster.py WORK RESULT.json`, see cluster.py.

The same synthetic vectors are built into a folder and into Milvus by the builds themselves, without
reading photos; then both are searched and added to through the galleries' own classes.
"""

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pymilvus import MilvusClient

from contenders import embedder, resnet34_model
from deepfood.config import Settings, load_settings
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.root import Folder
from deepfood.embed import Embedder
from deepfood.errors import EngineError
from deepfood.gallery.embedding import Reading
from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalWriter, build_gallery
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import finish_index
from deepfood.milvus.writer import MilvusWriter
from milvus_cluster import MilvusCluster, milvus_cluster
from report import Table
from vectors import Vectors, synthetic_few, synthetic_vectors

K = 9
COUNT, DIMENSION = 100_000, 512
#: Of one client: a search takes some ms, or with Strong some hundreds.
_SEARCHES, _STRONG_SEARCHES = 300, 60
_CLIENTS, _CROWD_S = 8, 4.0
_ADDING_S, _BATCH = 5.0, 256
#: Of searches while a node is killed: before, and how long nothing may go wrong to count as healed.
_KILL_CLIENTS, _BEFORE_S, _CALM_S, _GIVE_UP_S = 2, 3.0, 10.0, 60.0
_SLOW_S = 2.0


@dataclass
class Measured:
    """Both galleries, the queries, and the results."""

    local: Path
    cluster: MilvusCluster
    settings: Settings
    queries: Vectors
    truth: list[set[str]]
    #: Memory of both query nodes without loaded collections.
    empty_mb: float
    tables: list[Table] = field(default_factory=list)

    @property
    def address(self) -> MilvusAddress:
        return MilvusAddress(self.cluster.uri, "measured")

    def open(self, consistency: str) -> MilvusGallery:
        settings = self.settings.model_copy(update={"milvus_consistency": consistency})
        return MilvusGallery.open(self.address, settings)

    def load(self, replicas: int) -> None:
        """Have the running query nodes share the gallery; with 2 replicas each has all of it."""
        client = MilvusClient(self.cluster.uri)
        with self.open("Strong") as gallery:
            collections = (gallery.collection, gallery.metadata.collection)
        for name in collections:
            client.release_collection(name)
            client.load_collection(name, replica_number=replicas, timeout=120)
        client.close()


def main() -> None:
    work, results = map(Path, sys.argv[1:])
    one = embedder(resnet34_model(work / "resnet34"))
    vectors = synthetic_vectors(COUNT, DIMENSION)
    assert one.dimension == DIMENSION
    source, reading = _source(vectors.gallery, work)
    names = np.array([_synthetic(number).id for number in range(COUNT)])
    truth = [set(names[list(near)]) for near in _nearest(vectors.gallery, vectors.queries)]
    (work / "cluster").mkdir()
    started = time.perf_counter()
    with milvus_cluster(work / "cluster") as cluster:
        _log(f"the cluster started in {time.perf_counter() - started:.1f} s")
        settings = load_settings(photos_store=str(work / "store"), cache=work / "cache")
        empty_mb = _query_nodes_mb(cluster)
        measured = Measured(work / "local", cluster, settings, vectors.queries, truth, empty_mb)
        for table in (
            lambda: _built(measured, source, reading, one),
            lambda: _searched(measured),
            lambda: _added(measured),
            lambda: _killed(measured),
        ):
            measured.tables.append(table())
            _log(measured.tables[-1].markdown())
    results.write_text(json.dumps(list(map(asdict, measured.tables))))


def _source(vectors: Vectors, work: Path) -> tuple[PhotoSource, Reading]:
    """Photos that do not exist, and a replacement for reading and embedding them."""
    (work / "nowhere").mkdir()
    files = tuple(PhotoFile(f"{number}.jpg") for number in range(len(vectors)))

    @contextmanager
    def reading(
        source: PhotoSource, files: Iterable[PhotoFile], embedder: Embedder
    ) -> Iterator[Iterator[EmbeddedPhoto]]:
        numbers = (int(one.file.removesuffix(".jpg")) for one in files)
        yield (EmbeddedPhoto(_synthetic(number), vectors[number], b"") for number in numbers)

    return PhotoSource(Folder(work / "nowhere"), files), reading


def _synthetic(number: int) -> Photo:
    digest = hashlib.sha256(f"photo {number}".encode()).hexdigest()
    return Photo(digest, f"{number}.jpg", None, None, "image/jpeg", 1, 1, 50_000, -1)


def _nearest(gallery: Vectors, queries: Vectors) -> Iterator[Any]:
    for query in queries:
        yield np.argpartition(-(gallery @ query), K)[:K]


def _built(measured: Measured, source: PhotoSource, reading: Reading, one: Embedder) -> Table:
    spec = IndexSpec(kind="hnsw")
    report = build_gallery(source, measured.local, one, spec, reading=reading, quiet=True)
    assert report.count == COUNT
    local_s = report.seconds
    _log(f"local: {local_s:.1f} s")
    on_milvus = build_on_milvus(
        source, measured.address, one, measured.settings, reading=reading, quiet=True
    )
    assert on_milvus.count == COUNT
    _log(f"cluster: {on_milvus.seconds:.1f} s")
    started = time.perf_counter()
    with measured.open("Strong") as gallery:
        finish_index(gallery.connection, gallery.collection, quiet=True)
    indexed_s = time.perf_counter() - started
    _log(f"indexed: {indexed_s:.1f} s")
    return Table(
        f"Building {COUNT:,} x {DIMENSION}",
        ("gallery", "s until it is searched", "s more until its graph is whole"),
        [
            ("folder, hnsw", local_s, 0.0),
            ("cluster, HNSW, 2 shards, 2 query nodes", on_milvus.seconds, indexed_s),
        ],
        "The builds' own work: photos are neither read nor embedded. Both with M 16 and efc 80.",
    )


def _searched(measured: Measured) -> Table:
    rows: list[tuple[Any, ...]] = []
    with LocalGallery.open(measured.local) as gallery:
        rows.append(("folder, hnsw", *_search(measured, gallery, _SEARCHES), ""))
    # The second node is killed to measure one, and restarted afterwards.
    for nodes, replicas in ((2, 1), (2, 2), (1, 1)):
        if nodes == 1:
            measured.cluster.kill("query-2")
            time.sleep(15)  # a session of Milvus ends after 10 s
        measured.load(replicas)
        for consistency, count in (("Strong", _STRONG_SEARCHES), ("Bounded", _SEARCHES)):
            with measured.open(consistency) as gallery:
                name = f"cluster, query nodes {nodes}, replicas {replicas}, {consistency}"
                figures = _search(measured, gallery, count)
                rows.append((name, *figures, _query_nodes_mb(measured.cluster)))
    measured.cluster.start("query-2")
    return Table(
        "Searching",
        (
            *("gallery", f"recall@{K}", "median ms", "p99 ms", f"{_CLIENTS} clients: searches/s"),
            "resident MB of query nodes",
        ),
        rows,
        f"A search is all of `search`, catalogue rows included; {_SEARCHES} searches of one "
        f"client ({_STRONG_SEARCHES} with Strong), then {_CLIENTS} threads for {_CROWD_S:g} s. "
        f"hnsw_ef_search 200. Two query nodes with nothing loaded: {measured.empty_mb:.0f} MB.",
    )


def _query_nodes_mb(cluster: MilvusCluster) -> float:
    """Resident memory of the running query nodes."""
    pages = sum(
        int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        for name, process in cluster.processes.items()
        if name.startswith("query-")
    )
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _search(measured: Measured, gallery: SearchedGallery, count: int) -> tuple[float, ...]:
    asked = list(zip(measured.queries, measured.truth, strict=True))[:count]
    for query, _ in asked[:10]:
        gallery.search(query, K)
    times, found = [], 0
    for query, right in asked:
        started = time.perf_counter()
        hits = gallery.search(query, K)
        times.append((time.perf_counter() - started) * 1e3)
        found += len(right & {hit.photo.id for hit in hits})
    figures = (
        found / (K * len(asked)),
        median(times),
        float(np.percentile(times, 99)),
        _crowd(gallery, measured.queries),
    )
    _log(f"{gallery.place}: {figures}")
    return figures


def _crowd(gallery: SearchedGallery, queries: Vectors) -> float:
    """Searches a second of several clients."""
    until, counts = time.perf_counter() + _CROWD_S, []

    def client() -> None:
        done = 0
        while time.perf_counter() < until:
            gallery.search(queries[done % len(queries)], K)
            done += 1
        counts.append(done)

    with _threads(client, _CLIENTS):
        pass
    return sum(counts) / _CROWD_S


def _added(measured: Measured) -> Table:
    rng, number = np.random.default_rng(2), COUNT

    def new(count: int) -> list[EmbeddedPhoto]:
        nonlocal number
        made = []
        for vector in synthetic_few(count, DIMENSION, rng):
            data = f"photo {number} ".encode().ljust(20_000, b".")
            digest = hashlib.sha256(data).hexdigest()
            photo = Photo(digest, f"{number}.jpg", None, None, "image/jpeg", 1, 1, len(data), 0)
            made.append(EmbeddedPhoto(photo, vector, data))
            number += 1
        return made

    def rate(writing: Callable[[], Any], batch: int) -> float:
        added, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < _ADDING_S:
            with writing() as writer:
                writer.add(new(batch))
            added += batch
        return added / seconds

    def on_milvus() -> Any:
        return MilvusWriter.open(measured.address, measured.settings)

    def local() -> Any:
        return LocalWriter.open(measured.local)

    rows = [
        (name, rate(writing, 1), rate(writing, _BATCH))
        for name, writing in (("folder, hnsw", local), ("cluster", on_milvus))
    ]
    _log(f"added: {rows}")
    return Table(
        "Adding photos of 20 KB, each commit acknowledged before the next",
        ("gallery", "single photos: adds/s", f"batches of {_BATCH}: adds/s"),
        rows,
        "Photos' bytes go to a folder, embedding is left out. The writer is opened anew for each "
        "commit, as the service does.",
    )


def _killed(measured: Measured) -> Table:
    rows = []
    for replicas in (1, 2):
        measured.load(replicas)
        _log(f"loaded, {replicas} replicas")
        rows += [(replicas, *row) for row in _kill(measured)]
        measured.cluster.start("query-2")
    return Table(
        "One of two query nodes is killed (kill -9) while searches run",
        (
            *("replicas", "consistency", "answers", "failed", "other than before"),
            *("longest wait s", "s until all is as before"),
        ),
        rows,
        f"{_KILL_CLIENTS} clients of each consistency at once; milvus_timeout_s 10: a search that "
        f"fails was tried again for so long. As before: the same photos within {_SLOW_S:g} s, and "
        f"so for {_CALM_S:g} s. Milvus' sessions end after 10 s here.",
    )


@dataclass
class Asked:
    """Searches with one consistency: when each began and ended, and its outcome."""

    gallery: MilvusGallery
    searches: list[tuple[float, float, str]] = field(default_factory=list)

    def run(self, queries: Vectors, right: list[list[str]], ended: threading.Event) -> None:
        number = 0
        while not ended.is_set():
            number = (number + 1) % len(right)
            started = time.perf_counter()
            try:
                hits = self.gallery.search(queries[number], K)
                outcome = "" if [hit.photo.id for hit in hits] == right[number] else "other"
            except EngineError:
                outcome = "failed"
            self.searches.append((started, time.perf_counter(), outcome))

    def last_bad(self, killed: float) -> float:
        """When the last search ended that was not as before; `killed` if none was."""
        bad = [
            end
            for start, end, outcome in list(self.searches)
            if end > killed and (outcome or end - start > _SLOW_S)
        ]
        return max(bad, default=killed)


def _kill(measured: Measured) -> Iterator[tuple[Any, ...]]:
    ended = threading.Event()
    with measured.open("Strong") as strong, measured.open("Bounded") as bounded:
        asked = {"Strong": Asked(strong), "Bounded": Asked(bounded)}
        right = [
            [hit.photo.id for hit in strong.search(query, K)] for query in measured.queries[:30]
        ]
        with ExitStack() as running:
            for one in asked.values():
                work = partial(one.run, measured.queries, right, ended)
                running.enter_context(_threads(work, _KILL_CLIENTS))
            time.sleep(_BEFORE_S)
            measured.cluster.kill("query-2")
            killed = time.perf_counter()
            time.sleep(_CALM_S)
            while time.perf_counter() < killed + _GIVE_UP_S:
                last = max(one.last_bad(killed) for one in asked.values())
                if time.perf_counter() - last > _CALM_S:
                    break
                time.sleep(0.5)
            ended.set()
        for consistency, one in asked.items():
            after = [search for search in one.searches if search[1] > killed]
            outcomes = [search[2] for search in after]
            longest = max(end - start for start, end, _ in after)
            figures = (
                outcomes.count(""),
                outcomes.count("failed"),
                outcomes.count("other"),
                longest,
            )
            _log(f"killed, {consistency}: {figures}")
            yield consistency, *figures, one.last_bad(killed) - killed


@contextmanager
def _threads(work: Callable[[], None], count: int) -> Iterator[None]:
    threads = [threading.Thread(target=work) for _ in range(count)]
    with ExitStack() as joined:
        for one in threads:
            one.start()
            joined.callback(one.join)
        yield


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
