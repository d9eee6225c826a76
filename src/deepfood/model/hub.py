"""Files from Hugging Face's hub or a mirror of it; a revision is resolved to a commit once.

    CACHE/hub/OWNER/NAME/
      revisions/REVISION.json    the hub's response about a branch, tag or commit
      COMMIT/...                 the fetched files of that commit

A file is fetched by its commit, and verified against the hash that the hub lists: the SHA-256 of
files in large file storage (LFS), git's own hash of all others.
"""

import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deepfood.artifacts import FileName, read_file, write_atomically
from deepfood.config import hub_endpoint, hub_token
from deepfood.data.download import download
from deepfood.data.http_get import Refused, broken_text, get, shown
from deepfood.errors import DownloadError, SettingError

_log = logging.getLogger(__name__)

PREFIX = "hf:"
_WAY_OUT = "name one as hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
_PART = r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_SOURCE = re.compile(rf"(?P<name>{_PART}/{_PART})(@(?P<revision>.*))?")
#: The names that git allows for branches and tags, and the hub for pull requests (refs/pr/1).
_REVISION = re.compile(r"(?!.*(\.\.|//))[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
#: The longest response that is read.
_ANSWER_BYTES = 32 * 2**20

_Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


@dataclass(frozen=True)
class HubSource:
    """`hf:OWNER/NAME@REVISION`: a repository, and a branch, tag or commit of it."""

    name: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SettingError for text that does not name a repository."""
        match = _SOURCE.fullmatch(text.removeprefix(PREFIX))
        if match is None:
            raise SettingError(f"{text!r} does not name a repository: {_WAY_OUT}")
        revision = match["revision"]
        if revision is None:
            return cls(match["name"])
        if _REVISION.fullmatch(revision) is None:
            raise SettingError(
                f"{text!r}: {revision!r} is not a branch, tag or commit of git: {_WAY_OUT}"
            )
        return cls(match["name"], revision)

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}@{self.revision}"


class HubFile(BaseModel):
    """A file according to the hub: its size in bytes and a hash of its contents, if known.

    `sha256` is for files in large file storage, `git_blob` is git's SHA-1 of others.
    """

    model_config = ConfigDict(frozen=True)

    size: Annotated[int, Field(ge=0)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    git_blob: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None

    @property
    def digest(self) -> str:
        """Its hash, to record where a file is from."""
        return f"sha256:{self.sha256}" if self.sha256 else f"git:{self.git_blob or 'unknown'}"


class Repository(BaseModel):
    """A commit of a repository: its files by name, and the licence in its card, if any.

    A `gated` repository gives its files only to users who have accepted its terms.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    commit: _Commit
    licence: str = ""
    licence_link: str = ""
    gated: bool = False
    files: dict[str, HubFile]

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}@{self.commit}"


@dataclass(frozen=True)
class Hub:
    """The hub at `endpoint`, which alone gets the token; `cache` is the folder for its files.

    A silence of `timeout_s` counts as a failure. Requests are tried up to `attempts` times, with
    pauses of `backoff_s`, twice that, and so on.
    """

    endpoint: str
    cache: Path
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    attempts: int = 4
    backoff_s: float = 1.0

    @classmethod
    def of_user(cls, cache: Path) -> Self:
        """The hub named in the environment, with the user's token; files go below `cache`.

        Raises SettingError for an invalid token.
        """
        return cls(hub_endpoint(), cache / "hub", hub_token())

    def look_up(self, source: HubSource, *, known: bool = False) -> Repository:
        """The commit of the revision, and its files.

        A known commit is not looked up again; with `known`, neither is a known branch or tag.
        Without a connection, the last response is used. Raises DownloadError.
        """
        before = self._recorded(source)
        if before is not None and (known or before.commit == source.revision):
            return before
        try:
            repository = self._requested(source)
        except DownloadError as error:
            if before is None or not isinstance(error.__cause__, httpx.HTTPError):
                raise
            _log.warning("%s; using the commit that it was before, %s", error, before.commit)
            return before
        text = repository.model_dump_json().encode()
        for revision in {source.revision, repository.commit}:
            path = self._record(HubSource(source.name, revision))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        return repository

    def fetch(self, repository: Repository, names: Iterable[str], *, quiet: bool = False) -> Path:
        """The folder with these files of the commit, fetched and verified.

        Existing files are verified again, and interrupted downloads resume. Other processes may
        fetch the same files. Raises DownloadError or DiskFullError.
        """
        folder = self._folder(repository.name) / repository.commit
        for name in names:
            about = repository.files.get(name)
            if about is None:
                raise DownloadError(f"{repository} has no file {name!r}: name another revision")
            path = folder / _file_name(name)
            download(
                f"{self.endpoint}/{repository.name}/resolve/{repository.commit}/{quote(name)}",
                path,
                what=f"{repository.name}/{name}",
                sha256=about.sha256,
                git_blob=None if about.sha256 else about.git_blob,
                headers=self._headers,
                hints=self._hints(repository),
                timeout_s=self.timeout_s,
                attempts=self.attempts,
                backoff_s=self.backoff_s,
                wait=True,
                quiet=quiet,
            )
            size = path.stat().st_size
            if about.size is not None and size != about.size:
                path.unlink()
                raise DownloadError(
                    f"{repository.name}/{name} has {size:,} bytes, but the hub lists "
                    f"{about.size:,}: run the same command again"
                )
        return folder

    def _requested(self, source: HubSource) -> Repository:
        url = f"{self.endpoint}/api/models/{source.name}/revision/{quote(source.revision, safe='')}"
        text = self._answer(f"{url}?blobs=true", source)
        try:
            return _Answer.model_validate_json(text).repository(source.name)
        except ValidationError as error:
            kind = "a web page" if text.lstrip()[:1] == b"<" else "something else"
            raise DownloadError(
                f"{shown(url)} answers with {kind} instead of the facts of a repository: "
                "check the network (a sign-in page or proxy?) and HF_ENDPOINT"
            ) from error

    def _answer(self, url: str, source: HubSource) -> bytes:
        """The body of a response of the API. Raises DownloadError."""
        attempt = 0
        while True:
            attempt += 1
            wait_s = 0.0
            try:
                with get(url, self._headers, {}, timeout_s=self.timeout_s) as answer:
                    text = b""
                    for chunk in answer.chunks():
                        text += chunk
                        if len(text) > _ANSWER_BYTES:
                            raise DownloadError(
                                f"the response of {shown(url)} is too long: {_WAY_OUT}"
                            )
                    return text
            except Refused as refused:
                if not refused.may_pass or attempt == self.attempts:
                    raise self._refusal(refused, source) from None
                wait_s = refused.wait_s
            except httpx.HTTPError as error:
                if attempt == self.attempts:
                    reason = broken_text(error, url, self.timeout_s)
                    raise DownloadError(
                        f"{source} cannot be looked up: {reason}; check the network and "
                        "HF_ENDPOINT, or name a folder with the same files"
                    ) from error
            time.sleep(max(self.backoff_s * 2 ** (attempt - 1), wait_s))

    def _refusal(self, refused: Refused, source: HubSource) -> DownloadError:
        if refused.status == httpx.codes.NOT_FOUND and refused.code == "RevisionNotFound":
            way_out = f"{source.name} has no branch, tag or commit {source.revision!r}"
        elif refused.status == httpx.codes.NOT_FOUND:
            way_out = f"there is no repository {source.name} that you may read: check its name"
        elif refused.status == httpx.codes.UNAUTHORIZED and self.token:
            way_out = "the hub does not accept your token: create another, and set HF_TOKEN to it"
        elif refused.status == httpx.codes.UNAUTHORIZED:
            # The hub answers so for repositories that do not exist, too.
            way_out = (
                f"there is no repository {source.name}, or it is private: check its name, or set "
                "HF_TOKEN to your token"
            )
        elif refused.status == httpx.codes.FORBIDDEN:
            way_out = self._terms(source.name)
        else:
            way_out = "try again later, or set HF_ENDPOINT to a mirror"
        return DownloadError(f"{source} cannot be looked up: {refused}; {way_out}", refused.status)

    def _hints(self, repository: Repository) -> dict[int, str]:
        terms = self._terms(repository.name)
        return {
            401: terms if repository.gated else "set HF_TOKEN to your token",
            403: terms,
            404: "the hub lists the file, but does not have it: try again later",
        }

    def _terms(self, name: str) -> str:
        return (
            f"accept the terms on {shown(self.endpoint)}/{name}, and set HF_TOKEN to a token of "
            "yours that may read it"
        )

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _folder(self, name: str) -> Path:
        owner, own = HubSource.parse(name).name.split("/")
        return self.cache / owner / own

    def _record(self, source: HubSource) -> Path:
        return self._folder(source.name) / "revisions" / f"{quote(source.revision, safe='')}.json"

    def _recorded(self, source: HubSource) -> Repository | None:
        try:
            text = read_file(self._record(source))
            return Repository.model_validate_json(text)
        except (OSError, ValidationError):
            return None


class _Lfs(BaseModel):
    sha256: str
    size: int | None = None


class _Sibling(BaseModel):
    rfilename: str
    size: int | None = None
    blobId: str | None = None  # noqa: N815  (the hub's own name)
    lfs: _Lfs | None = None

    @property
    def file(self) -> HubFile:
        if self.lfs is not None:  # git has only a pointer to such a file
            return HubFile(size=self.lfs.size or self.size, sha256=self.lfs.sha256)
        return HubFile(size=self.size, git_blob=self.blobId)


class _Answer(BaseModel):
    """The used part of the hub's response about a repository."""

    sha: _Commit
    gated: bool | str = False
    tags: list[str] = []
    cardData: dict[str, Any] | None = None  # noqa: N815  (the hub's own name)
    siblings: list[_Sibling]

    def repository(self, name: str) -> Repository:
        card = self.cardData or {}
        tagged = [tag.removeprefix("license:") for tag in self.tags if tag.startswith("license:")]
        licence = card.get("license") or (tagged or [""])[0]
        if licence == "other":
            licence = card.get("license_name") or licence
        return Repository(
            name=name,
            commit=self.sha,
            licence=", ".join(licence) if isinstance(licence, list) else str(licence),
            licence_link=str(card.get("license_link") or ""),
            gated=bool(self.gated),
            files={
                one.rfilename: one.file for one in self.siblings if _is_file_name(one.rfilename)
            },
        )


_FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)


def _file_name(name: str) -> str:
    """A name that stays inside the folder that it is joined to. Raises DownloadError."""
    try:
        return _FILE_NAME.validate_python(name)
    except ValidationError as error:
        raise DownloadError(f"{name!r} is not a valid name of a file") from error


def _is_file_name(name: str) -> bool:
    try:
        return _FILE_NAME.validate_python(name).isprintable()
    except ValidationError:
        return False
