"""The licence of somebody else's Model, and whether users must agree to it first."""

import re
from dataclasses import dataclass
from typing import Self

UNKNOWN = "unknown: see its source"

#: Names in model cards of licences that forbid commercial use.
_NON_COMMERCIAL = re.compile(
    r"(^|[^a-z])(nc|non-?commercial|research|amlr)($|[^a-z])|noncommercial", re.IGNORECASE
)
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^(license|license_name|license_link):[ \t]*(.+?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Licence:
    """A licence by its name, with a link to its text; `why_ask` says why it must be agreed to.

    `why_ask` is empty for licences that allow every use of deepfood.
    """

    name: str
    link: str = ""
    why_ask: str = ""

    @classmethod
    def named(cls, name: str, link: str = "", *, gated: bool = False) -> Self:
        """The licence named in a model card, "" for none; `gated` if there are terms as well."""
        if _NON_COMMERCIAL.search(name):
            why = "it allows no commercial use"
        elif name == "other" or link or gated:
            why = "it has terms of its own"
        else:
            why = ""
        return cls(name or UNKNOWN, link, why)

    @classmethod
    def of_card(cls, readme: str) -> Self:
        """The licence in the front matter of a model card."""
        matter = _FRONT_MATTER.match(readme.replace("\r\n", "\n"))
        fields = dict(_FIELD.findall(matter[1])) if matter else {}
        fields = {field: value.strip("'\"") for field, value in fields.items()}
        name = fields.get("license", "")
        if name == "other":
            name = fields.get("license_name", name)
        return cls.named(name, fields.get("license_link", ""))

    @property
    def is_known(self) -> bool:
        return self.name != UNKNOWN

    def __str__(self) -> str:
        return f"{self.name} ({self.link})" if self.link else self.name
