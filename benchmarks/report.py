"""What a benchmark hands back: tables of plain values, and bounds that were met or missed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; `note` says what a reader must know to trust them."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    note: str = ""

    def markdown(self) -> str:
        rule = "|".join("---" if column == self.columns[0] else "---:" for column in self.columns)
        lines = [f"### {self.title}", "", _line(self.columns), f"|{rule}|"]
        lines += [_line([shown(value) for value in row]) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True)
class Bound:
    """What was promised: `measured` at least, or with `at_most` at most, `wanted`."""

    what: str
    measured: float
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


@dataclass
class Section:
    """One benchmark's results."""

    title: str
    tables: list[Table] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"## {self.title}", *(table.markdown() for table in self.tables)]
        if self.bounds:
            parts.append(bounds_table(self.bounds).markdown())
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        return {
            "tables": [asdict(table) for table in self.tables],
            "bounds": [asdict(bound) | {"met": bound.met} for bound in self.bounds],
        }


def bounds_table(bounds: list[Bound]) -> Table:
    rows = [
        (b.what, b.measured, f"{'<=' if b.at_most else '>='} {shown(b.wanted)}", _yes(b.met))
        for b in bounds
    ]
    return Table("Bounds", ("bound", "measured", "wanted", "met"), rows)


def interleave(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run A B C A B C …, so that a machine that drifts drifts for all; each gives its figure."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            figures[name].append(measure())
    return figures


def medians(figures: dict[str, list[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in figures.items()}


def shown(value: Any) -> str:
    """Three significant digits, and thousands with commas."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"
