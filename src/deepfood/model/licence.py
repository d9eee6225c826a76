"""Under which licence somebody else's Model is, and whether that must be agreed to first."""

import re
from dataclasses import dataclass
from typing import Self

UNKNOWN = "unknown: as its source says"

#: Names of licences that forbid use for money, as model cards write them.
_NON_COMMERCIAL = re.compile(
    r"(^|[^a-z])(nc|non-?commercial|research|amlr)($|[^a-z])|noncommercial", re.IGNORECASE
)
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^(license|license_name|license_link):[ \t]*(.+?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Licence:
    """A licence by its name, with where its text is; `why_ask` says why it must be agreed to.

    `why_ask` is empty for licences that allow everything that deepfood is for.
    """

    name: str
    link: str = ""
    why_ask: str = ""

    @classmethod
    def named(cls, name: str, link: str = "", *, gated: bool = False) -> Self:
        """The licence that a model card names, "" for none; `gated` where there are terms too."""
        if _NON_COMMERCIAL.search(name):
            why = "it allows no commercial use"
        elif name == "other" or link or gated:
            why = "it has terms of its own"
        else:
            why = ""
        return cls(name or UNKNOWN, link, why)

    @classmethod
    def of_card(cls, readme: str) -> Self:
        """The licence that the front matter of a model card names."""
        matter = _FRONT_MATTER.match(readme.replace("\r\n", "\n"))
        said = dict(_FIELD.findall(matter[1])) if matter else {}
        said = {field: value.strip("'\"") for field, value in said.items()}
        name = said.get("license", "")
        if name == "other":
            name = said.get("license_name", name)
        return cls.named(name, said.get("license_link", ""))

    @property
    def is_known(self) -> bool:
        return self.name != UNKNOWN

    def __str__(self) -> str:
        return f"{self.name} ({self.link})" if self.link else self.name
