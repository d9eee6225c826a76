"""The address of a gallery on Milvus: `milvus://HOST:PORT/NAME`, or `milvuss://` over TLS."""

import re
from dataclasses import dataclass
from typing import Self

from deepfood.errors import SettingError

_ADDRESS = re.compile(r"milvus(s?)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::([0-9]{1,5}))?/(.*)")
#: Short enough for metadata keys, which begin with the name and have at most 128 characters.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_PORT = 19530


@dataclass(frozen=True)
class MilvusAddress:
    """`uri` is the address for pymilvus; `name` is the gallery's, an alias of its collection."""

    uri: str
    name: str

    @staticmethod
    def is_meant(text: str) -> bool:
        """Whether a text is meant as such an address, valid or not."""
        return text.startswith(("milvus:/", "milvuss:/"))

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises SettingError for an invalid address."""
        found = _ADDRESS.fullmatch(str(text))
        name = found.group(4) if found else ""
        if not found or not _NAME.fullmatch(name):
            raise SettingError(
                f"{text} is not the address of a gallery on Milvus: give "
                f"milvus://HOST:{_PORT}/NAME, with a name of letters, digits and _"
            )
        secure, host, port, _ = found.groups()
        return cls(f"http{secure}://{host}:{port or _PORT}", name)

    def __str__(self) -> str:
        return f"{self.uri.replace('http', 'milvus', 1)}/{self.name}"
