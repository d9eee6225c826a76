"""A server on 127.0.0.1 that behaves as Hugging Face's hub does, and another that has its blobs.

Large files are redirected to the second by a signed address, with the hub's headers; small ones to
another path of the first. Who may see what is decided as there: 401 also for what does not exist.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from file_server import FileServer, file_server

LARGE = (".onnx", ".onnx_data", ".safetensors", ".bin")
TOKEN = "hf_mayReadGatedOnes"
OTHER_TOKEN = "hf_ofSomebodyElse"


def git_blob(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@dataclass
class OnHub:
    """A repository: one commit, which `main` and `v1` name."""

    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    gated: str | bool = False
    private: bool = False
    #: What the hub lists beside, as an evil one would.
    listed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def commit(self) -> str:
        names = json.dumps({name: git_blob(body) for name, body in sorted(self.files.items())})
        return hashlib.sha1(names.encode()).hexdigest()

    def about(self, name: str, *, blobs: bool) -> dict[str, Any]:
        """What the API says of it."""
        return {
            "id": name,
            "sha": self.commit,
            "gated": self.gated,
            "private": self.private,
            "tags": ["onnx", *(f"license:{self.card[k]}" for k in ("license",) if k in self.card)],
            "cardData": self.card,
            "siblings": [*(self._sibling(*one, blobs) for one in self.files.items()), *self.listed],
        }

    def _sibling(self, name: str, body: bytes, blobs: bool) -> dict[str, Any]:
        if not blobs:
            return {"rfilename": name}
        about: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": git_blob(body)}
        if name.endswith(LARGE):
            sha256 = hashlib.sha256(body).hexdigest()
            about["blobId"] = git_blob(f"oid sha256:{sha256}".encode())
            about["lfs"] = {"sha256": sha256, "size": len(body), "pointerSize": 134}
        return about


@dataclass
class HubServer:
    """What is on it, what goes wrong, and every request as (path, headers)."""

    url: str
    blobs: FileServer
    repositories: dict[str, OnHub] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    #: Answered in place of what was asked for, as long as there are any: status and body.
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    #: Bytes that come in place of a small file's, by its name.
    altered: dict[str, bytes] = field(default_factory=dict)

    def asked(self, what: str) -> list[str]:
        """The paths of requests that contain `what`, at either server."""
        paths = [path for path, _ in (*self.requests, *self.blobs.requests)]
        return [path for path in paths if what in path]

    def reply(self, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        if self.answers:
            status, body = self.answers.pop(0)
            return status, {"Content-Type": "text/html"}, body
        split = urlsplit(path)
        parts = split.path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, kind, revision = "/".join(parts[2:4]), parts[4], unquote(parts[5])
        else:
            name, kind, revision = "/".join(parts[:2]), parts[2], parts[3]
        if token not in ("", TOKEN, OTHER_TOKEN):
            return 401, {}, b'{"error":"Invalid credentials in Authorization header"}'
        held = self.repositories.get(name)
        if held is None or (held.private and token != TOKEN):
            return 404 if token else 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if revision not in ("main", "v1", "refs/pr/1", held.commit):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if kind == "revision":
            return 200, {}, json.dumps(held.about(name, blobs="blobs=" in split.query)).encode()
        if held.gated and token != TOKEN:
            return 403 if token else 401, {"X-Error-Code": "GatedRepo"}, b"Access is restricted"
        file = unquote("/".join(parts[4:]))
        if file not in held.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found"
        body = held.files[file]
        headers = {"X-Repo-Commit": held.commit}
        if kind == "resolve" and file.endswith(LARGE):
            sha256 = hashlib.sha256(body).hexdigest()
            self.blobs.files.setdefault(f"/{sha256}", body)
            headers |= {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(body))}
            return 302, {**headers, "Location": f"{self.blobs.url}/{sha256}?Signature=abc"}, b""
        if kind == "resolve":
            return 307, {**headers, "Location": f"/{name}/cached/{revision}/{file}"}, b""
        return 200, {**headers, "ETag": f'"{git_blob(body)}"'}, self.altered.get(file, body)


@contextmanager
def hub_server() -> Iterator[HubServer]:
    with file_server() as blobs:
        state = HubServer("", blobs)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                state.requests.append((self.path, dict(self.headers)))
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, headers, body = state.reply(self.path, token)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
