"""A partially downloaded file, and the server's metadata of the complete file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from deepfood.artifacts import sync_folder, write_atomically
from deepfood.data.http_get import FileResponse


class _State(BaseModel):
    """The server's metadata of the file, kept beside the part so that another run can resume."""

    url: str
    version: str | None = None
    total: int | None = None
    stated: dict[str, str] = {}


class PartFile:
    """`NAME.part`, the beginning of `to` as it is at `url`, with its state in `.NAME.part.json`.

    A part of another URL, or without a state, is deleted.
    """

    def __init__(self, to: Path, url: str) -> None:
        self.to = to
        self.path = to.with_name(f"{to.name}.part")
        self._state_path = to.with_name(f".{to.name}.part.json")
        self._state = _State(url=url)
        try:
            state = _State.model_validate_json(self._state_path.read_bytes())
        except (FileNotFoundError, ValidationError):
            state = None
        if state is None or state.url != url:
            self.clear()
        else:
            self._state = state

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def is_whole(self) -> bool:
        """Whether it has as many bytes as the server stated."""
        return self._state.total is not None and self.size == self._state.total

    @property
    def stated(self) -> dict[str, str]:
        """The hashes that the server stated for the whole file, hex, by name."""
        return self._state.stated

    def range_headers(self) -> dict[str, str]:
        """Headers that request the rest, if the file has not changed."""
        if not self.size or not self._state.version:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._state.version}

    def is_continued_by(self, answer: FileResponse) -> bool:
        same = answer.version is None or answer.version == self._state.version
        return same and answer.begin == self.size > 0

    @contextmanager
    def writing(self, answer: FileResponse) -> Iterator[IO[bytes]]:
        """Open it for the bytes of `answer`; when it starts over, the state is written first."""
        if answer.begin == 0:
            self.clear()
            self._state = _State(
                url=self._state.url,
                version=answer.version,
                total=answer.total,
                stated=answer.stated,
            )
            write_atomically(self._state_path, self._state.model_dump_json().encode())
        with self.path.open("ab") as file:
            yield file

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)
        self._state = _State(url=self._state.url)

    def commit(self) -> None:
        """Flush it to disk and rename it to `to`."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.to)
        self._state_path.unlink(missing_ok=True)
        sync_folder(self.to.parent)
