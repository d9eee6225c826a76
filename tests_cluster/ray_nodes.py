"""Nodes of a Ray cluster on this machine, one of which is killed in the middle of a build."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import ray
from ray.cluster_utils import Cluster

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder
from deepfood.gallery.embedding import Reading
from deepfood.gallery.photo import EmbeddedPhoto, Skipped


@contextmanager
def ray_head() -> Iterator[Cluster]:
    """A cluster of one node with one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def with_a_node_killed(reading: Reading, cluster: Cluster, seen: list[str]) -> Reading:
    """The same reading on two nodes; the second is killed when the first photo has come.

    Both must be full of workers then. `seen` gets the files in the order in which they come.
    """

    @contextmanager
    def broken(
        source: PhotoSource, files: Iterable[PhotoFile], embedder: Embedder
    ) -> Iterator[Iterator[EmbeddedPhoto | Skipped]]:
        with reading(source, files, embedder) as found:
            second = cluster.add_node(num_cpus=1)  # now, so that the build is with the first
            cluster.wait_for_nodes()

            def every() -> Iterator[EmbeddedPhoto | Skipped]:
                for one in found:
                    if not seen:
                        assert ray.available_resources().get("CPU", 0) == 0, "a node is idle"
                        cluster.remove_node(second, allow_graceful=False)
                        _wait_for_nodes(1)
                    assert isinstance(one, EmbeddedPhoto)
                    seen.append(one.photo.file)
                    yield one

            yield every()

    return broken


def _wait_for_nodes(count: int) -> None:
    """Until Ray knows how many are alive; what is ready of the build by then is not looked at."""
    until = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) != count:
        assert time.monotonic() < until, ray.nodes()
        time.sleep(0.1)
