"""The image as a running container, as strict as it goes, and what every one must do."""

import http.client
import json
import signal
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal.image import IMAGE, UID
from rehearsal.shell import expect, output, run

URL = "http://127.0.0.1:80"
STRICT = (
    *("--runtime", "crun", "--cgroups=disabled", "--read-only", "--read-only-tmpfs=false"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges", "--health-interval", "disable"),
    *("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"),
)


def podman_run(*arguments: str) -> None:
    """`docker run`, in our own network."""
    run("podman", "run", "--network", "host", *STRICT, *arguments)


@contextmanager
def serving(photo: Path, *arguments: str) -> Iterator[None]:
    """The image serving on port 80: checked, ready, and ended in the middle of a request."""
    podman_run("--detach", "--name", "deepfood", *arguments, IMAGE)
    wait_until(lambda: ready_photos() is not None, "deepfood", "it is ready")
    inside = ("podman", "exec", "deepfood")
    expect(output(*inside, "id", "-u").strip() == str(UID), "it runs as a user that is not root")
    for folder, may in (("/", False), ("/opt/deepfood", False), ("/cache", True), ("/tmp", True)):
        refused = run(*inside, "touch", f"{folder}/written", check=False).returncode != 0
        expect(refused != may, f"{folder} may {'' if may else 'not '}be written to")
    expect(run("podman", "healthcheck", "run", "deepfood", check=False).returncode == 0,
           "its HEALTHCHECK says that it is well")  # fmt: skip
    yield
    end_while_asked(*multipart(photo))


def find(photo: Path, url: str = URL, trust: ssl.SSLContext | None = None) -> None:
    """A search with a photo of the gallery finds it first, and it comes back byte for byte."""
    body, kind = multipart(photo)
    asked = urllib.request.Request(f"{url}/api/v1/search", body, {"Content-Type": kind})
    with urllib.request.urlopen(asked, timeout=30, context=trust) as answer:
        hits = json.load(answer)["hits"]
    expect(hits[0]["score"] > 0.99, f"the photo finds itself first: {hits[0]}")
    # Below public_url where there is one, else relative.
    address = urllib.parse.urljoin(url, hits[0]["url"])
    expect(address.startswith(url), f"its address is the site's: {address}")
    with urllib.request.urlopen(address, timeout=30, context=trust) as answer:
        expect(answer.read() == photo.read_bytes(), "the photo comes back byte for byte")


def ready_photos(url: str = URL, trust: ssl.SSLContext | None = None) -> int | None:
    """How many photos are searched, None where nothing is ready."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5, context=trust) as answer:
            return int(json.load(answer)["photos"])
    except OSError:
        return None


def end_while_asked(body: bytes, kind: str) -> None:
    """SIGTERM while a request is half sent: it is answered, and the end is an orderly one."""
    asking = http.client.HTTPConnection("127.0.0.1", 80, timeout=30)
    asking.putrequest("POST", "/api/v1/search")
    asking.putheader("Content-Type", kind)
    asking.putheader("Content-Length", str(len(body)))
    asking.endheaders(body[: len(body) // 2])
    time.sleep(0.5)
    run("podman", "kill", "--signal", str(int(signal.SIGTERM)), "deepfood")
    time.sleep(1)
    asking.send(body[len(body) // 2 :])
    answer = asking.getresponse()
    expect(answer.status == 200, f"what was asked before SIGTERM is answered: {answer.status}")
    answer.read()
    asking.close()
    state = ("podman", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "deepfood")
    wait_until(
        lambda: output(*state).strip() == "exited 0", "deepfood", "SIGTERM ends it with status 0"
    )
    run("podman", "rm", "--volumes", "deepfood")


def wait_until(holds: Callable[[], bool], container: str, what: str) -> None:
    """Wait a minute at most; then show the container's log, and end."""
    until = time.monotonic() + 60
    while not holds():
        if time.monotonic() > until:
            print(run("podman", "logs", container, check=False).stdout[-5000:])
            expect(False, what)
        time.sleep(0.2)


def multipart(photo: Path) -> tuple[bytes, str]:
    head = '--photo\r\nContent-Disposition: form-data; name="photo"; filename="photo"\r\n\r\n'
    return (
        head.encode() + photo.read_bytes() + b"\r\n--photo--\r\n",
        "multipart/form-data; boundary=photo",
    )
