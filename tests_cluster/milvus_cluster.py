"""A Milvus cluster on 127.0.0.1: etcd, SeaweedFS, a Kafka broker, and each role in its own process.

Milvus listens on all addresses and cannot be told otherwise, so all of it, the tests too, runs in a
network namespace of its own: `make test-cluster` makes it. The parts come from install-cluster.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from deepfood.config import Settings, load_settings
from seaweed import OWNER, Seaweed, seaweed

ETCD_PORT = 12379
BROKER_PORT = 19092
PROXY_PORT = 19530

#: The name of each process, its role in Milvus, and the port on which it says how it is. A second
#: node of a kind needs a port of its own.
ROLES = {
    "coordinator": ("mixture", 9191, {}),
    "proxy": ("proxy", 9192, {}),
    "data-1": ("datanode", 9193, {}),
    "data-2": ("datanode", 9194, {"DATANODE_PORT": "21134"}),
    "index": ("indexnode", 9195, {}),
    "query-1": ("querynode", 9196, {"QUERYNODE_PORT": "21123"}),
    "query-2": ("querynode", 9197, {"QUERYNODE_PORT": "21133"}),
    "proxy-2": ("proxy", 9198, {"PROXY_PORT": "19540", "PROXY_INTERNALPORT": "19541"}),
}
_COORDINATORS = ["rootcoord", "querycoord", "datacoord", "indexcoord"]


@dataclass
class MilvusCluster:
    """Its processes by name; each can be killed and started again."""

    parts: Path
    folder: Path
    s3: Seaweed
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{PROXY_PORT}"

    @property
    def url(self) -> str:
        """As deepfood names it, without the gallery."""
        return f"milvus://127.0.0.1:{PROXY_PORT}"

    def start(self, *roles: str) -> None:
        """Start these, or all but the second proxy, and return once they say that they are well."""
        roles = roles or tuple(name for name in ROLES if name != "proxy-2")
        # The coordinator first: a node that does not find it ends.
        for some in (["coordinator"], [name for name in roles if name != "coordinator"]):
            for name in set(some) & set(roles):
                self._start_role(name)
            for name in set(some) & set(roles):
                self._wait(name)

    def start_base(self) -> None:
        """What Milvus stands on."""
        data = self.folder / "etcd"
        client = f"http://127.0.0.1:{ETCD_PORT}"
        self._run(
            "etcd",
            [
                *("etcd", "--data-dir", data, "--listen-client-urls", client),
                *("--advertise-client-urls", client),
                *("--listen-peer-urls", "http://127.0.0.1:12380"),
                # A test's cluster dies with the test: nothing has to outlive a power cut.
                "--unsafe-no-fsync",
            ],
        )
        self.s3.make_bucket("a-bucket")
        listener = f"tcp://127.0.0.1:{BROKER_PORT}"
        self._run(
            "broker",
            [
                *(self.parts / "tansu", "broker", "--listener-url", listener),
                *("--advertised-listener-url", listener),
                # It can keep its messages in S3 too, and then takes a core with nothing to do;
                # here it is never killed.
                *("--storage-engine", "memory://tansu/"),
            ],
        )
        (self.folder / "milvus.yaml").write_text(self._config())
        (self.folder / "glog.conf").touch()
        _until(lambda: httpx.get(f"{client}/health").json()["health"] == "true", "etcd")

    def kill(self, *names: str) -> None:
        """As a power cut would."""
        for name in names:
            process = self.processes.pop(name)
            process.send_signal(signal.SIGKILL)
            process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start_role(self, name: str) -> None:
        role, port, more = ROLES[name]
        flags = [f"-{one}=true" for one in _COORDINATORS] if role == "mixture" else []
        (rdkafka,) = (self.parts / "rdkafka").glob("librdkafka-*.so.1")
        self._run(
            name,
            [self.parts / "milvus", "run", role, *flags],
            {
                "LD_LIBRARY_PATH": f"{self.parts}:{self.parts / 'rdkafka'}",
                "LD_PRELOAD": str(rdkafka),
                "MILVUSCONF": str(self.folder),
                "METRICS_PORT": str(port),
                "LOCALSTORAGE_PATH": str(self.folder / name),
                **more,
            },
        )

    def _wait(self, name: str) -> None:
        def well() -> bool:
            assert self.processes[name].poll() is None, self.log(name)[-2000:]
            return httpx.get(f"http://127.0.0.1:{ROLES[name][1]}/healthz").status_code == 200

        _until(well, name)

    def _run(
        self, name: str, command: list[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )

    def _config(self) -> str:
        """The template that comes with Milvus, for a cluster on these servers."""
        template = (self.parts / "milvus.yaml.template").read_text()
        filled = re.sub(r"\{\{ \w+(?:\(\w+\))?(?:: ([^}]*?))? \}\}", r"\1", template)
        config = yaml.safe_load(filled)
        config["etcd"]["endpoints"] = f"127.0.0.1:{ETCD_PORT}"
        config["etcd"]["use"]["embed"] = False
        config["minio"].update(
            address="127.0.0.1",
            port=self.s3.ports["s3"],
            accessKeyID=OWNER[0],
            secretAccessKey=OWNER[1],
        )
        config["mq"]["type"] = "kafka"
        config.pop("pulsar")
        config["kafka"] = {
            "brokerList": f"127.0.0.1:{BROKER_PORT}",
            "securityProtocol": "PLAINTEXT",
        }
        config["common"]["storageType"] = "remote"
        config["common"]["session"]["ttl"] = 10
        config["log"]["level"] = "warn"
        for section in config.values():
            if isinstance(section, dict) and "ip" in section:
                section["ip"] = "127.0.0.1"
        return str(yaml.safe_dump(config))


@contextmanager
def milvus_cluster(folder: Path) -> Iterator[MilvusCluster]:
    """The whole, started; its parts are where DEEPFOOD_CLUSTER_PARTS says."""
    parts = Path(os.environ["DEEPFOOD_CLUSTER_PARTS"])
    s3 = folder / "s3"
    s3.mkdir()
    with seaweed(s3) as server:
        cluster = MilvusCluster(parts, folder, server)
        try:
            cluster.start_base()
            cluster.start()
            yield cluster
        finally:
            # A Milvus that is still starting ignores SIGTERM, and nothing here is worth keeping.
            cluster.kill(*cluster.processes)


def cluster_settings(folder: Path, replicas: int) -> Settings:
    """What is by hand, beside the defaults; `folder` gets a cache, and photos that are added."""
    return load_settings(
        photos_store=str(folder / "store"),
        cache=folder / "cache",
        milvus_replicas=replicas,
        milvus_timeout_s=60,
    )


def _until(works: Callable[[], bool], what: str, limit_s: float = 90) -> None:
    end = time.monotonic() + limit_s
    while True:
        try:
            if works():
                return
        except (httpx.TransportError, KeyError, ValueError):
            pass
        assert time.monotonic() < end, f"{what} did not start"
        time.sleep(0.2)
