"""A real S3 server, SeaweedFS, on 127.0.0.1, and identities that may and may not use it."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
from obstore import sign
from obstore.store import S3Store

if TYPE_CHECKING:  # benchmarks and deploy/rehearse start it too, without pytest
    import pytest

OWNER = ("owner", "owner-secret")
#: Known to the server, and without any rights.
STRANGER = ("stranger", "stranger-secret")

_NAMES = itertools.count(1)


@dataclass
class Seaweed:
    """The server; it can be killed and started again, and keeps its data."""

    folder: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def start(self) -> None:
        """Start it, and return once it takes and gives objects."""
        ports = self.ports
        command = [Path(sysconfig.get_path("scripts"), "weed"), "server"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}"]
        command += [f"-master.port={ports['master']}", f"-volume.port={ports['volume']}"]
        command += [f"-filer.port={ports['filer']}", f"-metricsPort={ports['metrics']}"]
        command += ["-s3", f"-s3.port={ports['s3']}", f"-s3.config={self.folder / 's3.json'}"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        # One small volume a bucket at first, and as many buckets as the tests make. By itself the
        # server takes seven a bucket, and as many in all as the free disk holds whole: 55 buckets
        # in 24 GB, and each one after them fails.
        command += ["-volume.max=10000", "-master.volumeSizeLimitMB=64"]
        command += ["-master.telemetry=false", "-master.electionTimeout=1s"]
        one_volume = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*map(str, command)], stdout=log, stderr=log, env=os.environ | one_volume
            )
        until = time.monotonic() + 60
        while not self._works():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, "SeaweedFS did not start"
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would; everything that it acknowledged is on the disk."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for port in self.ports.values():
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket_file.unlink(missing_ok=True)

    def new_bucket(self) -> str:
        """Make a private bucket of one's own; its `s3://name`."""
        name = f"bucket-{os.getpid()}-{next(_NAMES)}"
        assert self._put(name, "") == 200
        return f"s3://{name}"

    def make_bucket(self, name: str) -> None:
        """Make a private bucket with this name, unless it is there."""
        assert self._put(name, "") in (200, 409)

    def _works(self) -> bool:
        # An object with contents: one without is taken before its volumes are there.
        try:
            return (
                self._put("ready", "") in (200, 409)
                and self._put("ready", "probe", b"contents") == 200
                and httpx.get(self._address("GET", "ready", "probe")).content == b"contents"
            )
        except httpx.TransportError:
            return False

    def _put(self, bucket: str, key: str, contents: bytes = b"") -> int:
        return httpx.put(self._address("PUT", bucket, key), content=contents, timeout=5).status_code

    def _address(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> str:
        store = S3Store(
            bucket,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=OWNER[0],
            secret_access_key=OWNER[1],
            client_options={"allow_http": True},
        )
        return sign(store, method, key, timedelta(minutes=5))


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": may}
        for (name, secret), may in ((OWNER, ["Admin"]), (STRANGER, ["Read:none-of-yours"]))
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    server = Seaweed(folder, _free_ports("master", "volume", "filer", "s3", "metrics"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


def use_identity(patch: "pytest.MonkeyPatch", identity: tuple[str, str]) -> None:
    """Put credentials where AWS's own tools look for them."""
    patch.setenv("AWS_ACCESS_KEY_ID", identity[0])
    patch.setenv("AWS_SECRET_ACCESS_KEY", identity[1])


def _free_ports(*names: str) -> dict[str, int]:
    """Ports that are free, and whose number + 10000, for gRPC, is free too.

    Below those that the system hands out, and from another one on for each process.
    """
    found: dict[str, int] = {}
    first = 10000 + os.getpid() * 61 % 10000
    candidates = (port for port in range(first, 22000) if _is_free(port))
    for name in names:
        found[name] = next(port for port in candidates if _is_free(port + 10000))
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as trying:
        try:
            trying.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
