"""Where a gallery or Model is, as users name it: a folder, a release, or a collection of Milvus."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from deepfood.config import Settings
from deepfood.errors import SettingError
from deepfood.milvus.address import MilvusAddress
from deepfood.release.shelf import is_release, never_changes


@dataclass(frozen=True)
class Place:
    """A place, and which kind of engine answers for it."""

    kind: Literal["folder", "release", "milvus"]
    text: str

    @classmethod
    def parse(cls, text: "str | os.PathLike[str] | Place") -> "Place":
        """A folder's path, `PREFIX[@RELEASE]` or `milvus://HOST:PORT/NAME`.

        Raises SettingError for an address of Milvus that is none.
        """
        if isinstance(text, Place):
            return text
        text = os.fspath(text)
        if MilvusAddress.is_meant(text):
            return cls("milvus", str(MilvusAddress.parse(text)))
        return cls("release" if is_release(text) else "folder", text)

    def expect_folder(self) -> Path:
        """Its path. Raises SettingError where it is not a folder."""
        if self.kind == "milvus":
            raise SettingError(
                f"{self} is a gallery on Milvus, and this command works on folders only: "
                "see docs/scaling.md for alternatives"
            )
        self.refuse_release()
        return Path(self.text)

    def refuse_release(self) -> Self:
        """Raise SettingError for a release, which cannot be changed."""
        if self.kind == "release":
            raise never_changes(self)
        return self

    def readable(self, settings: Settings) -> "Place":
        """Where it can be read: of a release, the copy in the cache, pulled if it is not there."""
        if self.kind != "release":
            return self
        from deepfood.release.cached import cached

        return Place.parse(cached(self.text, settings))

    @property
    def name(self) -> str:
        """What it is called, without where it lies."""
        return self.text.rstrip("/").rpartition("/")[2] or self.text

    def __str__(self) -> str:
        return self.text

    def __fspath__(self) -> str:
        return self.text
