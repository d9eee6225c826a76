"""Files and folders that a search for photos skips, counted by reason."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from deepfood.photo import SUFFIXES

#: Folders that NAS devices, operating systems and archivers create: thumbnails, recycle bins,
#: resource forks, files recovered by fsck. In lower case.
_KEPT_BY_PROGRAMS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"}
    | {"$recycle.bin", "recycler", "system volume information", "__macosx", "lost+found"}
)
#: How many examples are listed per reason.
_NAMED = 3


@dataclass(frozen=True)
class PassedOver:
    """How many files or folders were skipped for one reason, and the first by name."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.reason}: {self.count} ({', '.join(self.examples)}{more})"


class Tally:
    """Counts skipped files and folders by reason."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, name: str, reason: str) -> None:
        self._counts[reason] += 1
        # A later name may come first in the alphabet; only a few are kept at any time.
        kept = self._first[reason]
        kept.append(name.encode("utf-8", "backslashreplace").decode())
        kept.sort()
        del kept[_NAMED:]

    def result(self) -> tuple[PassedOver, ...]:
        """The most frequent reason first."""
        return tuple(
            PassedOver(reason, count, tuple(self._first[reason]))
            for reason, count in sorted(self._counts.items(), key=lambda one: (-one[1], one[0]))
        )


def why_not_folder(name: str) -> str | None:
    """Why a folder is not searched, by its name; None if it is."""
    if name.startswith("."):
        return "hidden"
    if name.lower() in _KEPT_BY_PROGRAMS:
        return "folders that a NAS, an operating system or an archiver keeps"
    return None


def why_not_file(name: str) -> str | None:
    """Why a file is not considered a photo, by its name; None if it is."""
    if name.startswith("."):
        return "hidden"
    ending = PurePosixPath(name).suffix.lower()
    if ending in SUFFIXES:
        return None
    return f"files ending in {ending}, which is not read" if ending else "files without an ending"


def in_words(passed_over: Iterable[PassedOver]) -> str:
    """All of it as one line."""
    return "; ".join(map(str, passed_over))
