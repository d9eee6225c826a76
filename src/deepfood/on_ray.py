"""Embed photos on Ray: `read_photos`, distributed over many machines. Needs ray[data].

The files are split into shards. Workers, which are Ray actors, keep the Embedder open and process
one shard at a time with the same code as a local build. They read photos in place, and return only
vectors and catalogue rows. A shard in progress on a machine that dies is repeated elsewhere, and
counts once. The driver stores the results, so that a killed build resumes as a local one does.
"""

import importlib.util
import json
import logging
import math
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from deepfood import __version__, errors
from deepfood.config import Settings, only_given, quiet_ray
from deepfood.data.locate import root_named
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import DeepfoodError, EngineError
from deepfood.extras import missing_extra
from deepfood.gallery.embedding import Reading, read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Photo, Skipped
from deepfood.model import Model, open_model
from deepfood.storage import S3Options

#: The most photos in a shard, which bounds the work lost with a machine.
_SHARD_PHOTOS = 256
#: Shards per worker if there are few photos, so that all end together.
_SHARDS_A_WORKER = 4
#: Ray's object store holds vectors and catalogue rows only, not photos.
_OBJECTS_BYTES = 256 * 2**20
#: Seconds to wait for a cluster to accept a connection.
_KNOCK_S = 10.0
#: The settings that a worker needs; no key or token of the others leaves this machine.
_WORKER_SETTINGS = {
    *("max_photo_bytes", "max_photo_pixels", "max_decoding_bytes", "runtime", "precision"),
    *("s3_endpoint", "s3_region", "s3_timeout_s", "s3_retry_s"),
}


def reading_for(settings: Settings) -> Reading:
    """How a build reads and embeds photos: locally, or on Ray, depending on the settings."""
    return on_ray(settings) if settings.engine == "ray" else read_photos


def on_ray(settings: Settings) -> Reading:
    """What stands in for `read_photos`: the same results, in the order in which shards are done.

    `EmbeddedPhoto.data` is empty: the photos' bytes stay where they are. Reading raises
    EngineError where Ray cannot be reached or fails, and what a worker raised.
    """
    if importlib.util.find_spec("ray") is None:
        raise missing_extra("engine ray is not installed", "ray")

    @contextmanager
    def reading(
        source: PhotoSource, files: Iterable[PhotoFile], embedder: Embedder
    ) -> Iterator[Iterator[EmbeddedPhoto | Skipped]]:
        todo = list(files)
        if not todo:  # everything is known: no cluster is needed
            yield iter(())
            return
        import ray

        try:
            _connect(settings)
            yield _results(source, todo, embedder.model, settings)
        finally:
            ray.shutdown()

    return reading


def _connect(settings: Settings) -> None:
    """To the cluster that the settings name, or to one on this machine, for this build only."""
    quiet_ray()
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if settings.ray_address:
            _knock(settings.ray_address)
            ray.init(settings.ray_address, **quiet)
        else:  # pragma: no cover - seconds more: tests_cluster/test_on_ray.py
            own: dict[str, Any] = {"object_store_memory": _OBJECTS_BYTES}
            ray.init("local", include_dashboard=False, **own, **quiet)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        place = settings.ray_address or "this machine"
        raise EngineError(f"Ray at {place} cannot be used: {_line(error)}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _knock(address: str) -> None:
    """Check that the address accepts connections, as Ray would wait for minutes. Raises OSError."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _results(
    source: PhotoSource, files: list[PhotoFile], model: Model, settings: Settings
) -> Iterator[EmbeddedPhoto | Skipped]:
    import ray

    cpus = ray.cluster_resources().get("CPU", 1)
    workers = settings.ray_workers or max(1, int(cpus / settings.ray_cpus))
    shards = _shards(source, files, workers)
    done = (
        ray.data.from_items(shards, override_num_blocks=len(shards))
        .map_batches(
            ShardWorker,
            fn_constructor_args=(
                str(source.root),
                ray.put(_files_of(model)),
                worker_settings(settings),
                __version__,
            ),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=settings.ray_cpus,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(shards)), max_tasks_in_flight_per_actor=2
            ),
        )
        .iter_batches(batch_size=None, batch_format="pyarrow")
    )
    missing = {shard["shard"] for shard in shards}
    try:
        for table in done:
            for row in table.to_pylist():
                missing.remove(row["shard"])
                if row["error"]:
                    kind, text = json.loads(row["error"])
                    raise getattr(errors, kind)(text)
                yield from _unpacked(row["results"], row["vectors"], model.manifest.dimension)
    except ray.exceptions.RayError as error:  # pragma: no cover - every node would have to fail
        raise EngineError(f"Ray failed, build again to go on: {_line(error)}") from error
    if missing:  # pragma: no cover - Ray repeats what a node has lost
        raise EngineError(f"Ray lost {len(missing)} of {len(shards)} shards: build again")


def worker_settings(settings: Settings) -> Settings:
    """What a worker is handed: its own environment has no part in it."""
    threads = settings.threads or max(1, math.ceil(settings.ray_cpus))
    given = settings.model_dump(include=_WORKER_SETTINGS)
    return only_given(**given, threads=threads, device="cpu")  # Ray is asked for nothing else


def _shards(source: PhotoSource, files: list[PhotoFile], workers: int) -> list[dict[str, Any]]:
    """The files as JSON in parts, each with its stamp: whoever works on them lists no bucket."""
    even = math.ceil(len(files) / (workers * _SHARDS_A_WORKER))
    size = min(_SHARD_PHOTOS, even)
    parts = [files[start : start + size] for start in range(0, len(files), size)]
    return [
        {
            "shard": number,
            "files": json.dumps([[asdict(one), source.root.stamp(one.file)] for one in part]),
        }
        for number, part in enumerate(parts)
    ]


class ShardWorker:
    """An actor: opens the Embedder once, and embeds shard after shard."""

    def __init__(self, root: str, model: Any, settings: Settings, version: str) -> None:
        """`model` is the object that holds the Model's files by name."""
        self._root, self._model, self._version = root, model, version
        self._settings = settings
        self._embedder: Embedder | None = None

    def __call__(self, batch: Any) -> Any:
        """A table with one row, a shard, of `files`; gives its `results` and `vectors`.

        Failures are returned as `error`, as Ray would lose the type of an exception.
        """
        import pyarrow as pa

        (shard,) = batch.to_pylist()
        results: list[Any] = []
        vectors: list[bytes] = []
        error = None
        try:
            self._embedder = self._embedder or self._opened()
            for one in self._embedded(json.loads(shard["files"]), self._embedder):
                if isinstance(one, EmbeddedPhoto):
                    vectors.append(one.vector.tobytes())
                entry = one.photo if isinstance(one, EmbeddedPhoto) else one
                results.append([type(entry).__name__, asdict(entry)])
        except DeepfoodError as raised:
            error = json.dumps([type(raised).__name__, str(raised)])
        # pyarrow's own types: numpy's would lose the zeros that a vector ends with.
        return pa.table(
            {
                "shard": [shard["shard"]],
                "results": [json.dumps(results)],
                "vectors": pa.array([b"".join(vectors)], pa.binary()),
                "error": pa.array([error], pa.string()),
            }
        )

    def _opened(self) -> Embedder:
        if self._version != __version__:
            raise EngineError(
                f"a worker has deepfood {__version__}, and {self._version} builds: "
                "install the same everywhere"
            )
        import ray

        self._folder = tempfile.TemporaryDirectory(prefix="deepfood-model-")
        folder = Path(self._folder.name)
        for name, data in ray.get(self._model).items():
            (folder / name).write_bytes(data)
        return open_embedder(self._settings, open_model(folder))

    def _embedded(self, shard: list[Any], embedder: Embedder) -> Iterator[EmbeddedPhoto | Skipped]:
        files = tuple(PhotoFile(**fields) for fields, _ in shard)
        stamps = {fields["file"]: tuple(stamp) for fields, stamp in shard}
        root = root_named(self._root, S3Options.of(self._settings))
        source = PhotoSource(root.knowing(stamps), files)
        with read_photos(source, files, embedder) as results:
            yield from results


def _unpacked(results: str, vectors: bytes, dimension: int) -> Iterator[EmbeddedPhoto | Skipped]:
    rows = iter(np.frombuffer(vectors, np.float32).reshape(-1, dimension))
    for kind, fields in json.loads(results):
        if kind == Skipped.__name__:
            yield Skipped(**fields)
        else:
            yield EmbeddedPhoto(Photo(**fields), next(rows), b"")


def _files_of(model: Model) -> dict[str, bytes]:
    """A Model as its files, for machines that share no disk with this one."""
    return {path.name: path.read_bytes() for path in model.folder.iterdir() if path.is_file()}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
