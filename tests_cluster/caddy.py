"""The real Caddy with the Caddyfile of deploy/compose-many, before servers on this machine."""

import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

CADDYFILE = Path(__file__).parents[1] / "deploy" / "compose-many" / "Caddyfile"
SITE = "http://127.0.0.1:8088"


@contextmanager
def caddy(folder: Path, addresses: Sequence[str]) -> Iterator[str]:
    """The URL of a Caddy that finds `addresses`, port 80, under the name `deepfood`.

    Compose's own DNS says so there; here it is /etc/hosts, which Caddy alone sees changed. An
    address stays in it when its server is gone, as it does in DNS for a while.
    """
    hosts = folder / "hosts"
    names = ["127.0.0.1 localhost", *(f"{address} deepfood" for address in addresses)]
    hosts.write_text("\n".join(names) + "\n")
    program = Path(sysconfig.get_path("scripts"), "caddy")
    run = f"mount --bind {hosts} /etc/hosts && exec {program} run --config {CADDYFILE}"
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "SITE": SITE}
    environment["ACME_EMAIL"] = "you@food.example"
    log = folder / "caddy.log"
    with (
        log.open("wb") as opened,
        subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", run],
            stdout=opened,
            stderr=opened,
            env=environment,
        ) as process,
    ):
        try:
            _wait(process, log)
            yield SITE
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until, "Caddy did not start"
        try:
            if httpx.get(f"{SITE}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
