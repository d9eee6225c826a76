"""Put the report together and write it, atomically, as one file."""

import base64
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from deepfood import __version__
from deepfood.artifacts import check_can_write, write_result
from deepfood.config import Settings
from deepfood.errors import SettingError, raising_disk_full
from deepfood.evaluate.evaluation import Evaluation
from deepfood.evaluate.examine import Examination
from deepfood.evaluate.report.embedding_map import map_points
from deepfood.evaluate.report.galleries import Asked, asked, changed, random_rows, worst_rows
from deepfood.evaluate.report.pictures import Pictures
from deepfood.evaluate.summary import headline, in_words
from deepfood.extras import missing_extra
from deepfood.photo import Limits

REPORT = "report.html"

_HERE = Path(__file__).parent
_NEEDED = ("jinja2", "plotly", "umap")
#: Pictures in the page as data URLs; plotly's script adds 4.9 MB.
_PICTURE_BYTES = 5 * 2**20
_MAP_PICTURE_BYTES = 4 * 2**20
_WORST, _RANDOM, _CHANGED = 12, 8, 6
#: The classes that are shown before the reader asks for more.
_CLASSES_SHOWN = 20
_CONFUSIONS_SHOWN = 20


def prepare_report(folder: Path) -> None:
    """Make the folder, and raise MissingExtraError, SettingError now rather than after the work."""
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise missing_extra(f"the report needs {name}, which is not installed", "report")
    try:
        with raising_disk_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"--report {folder} cannot be made: {error.strerror}") from error
    check_can_write(folder / REPORT)


def write_report(
    found: Examination, folder: Path, settings: Settings, *, seed: int, quiet: bool
) -> Path:
    """Write report.html, its path; after `prepare_report`. Raises SettingError, DiskFullError."""
    limits = Limits.of(settings)
    page = _page(found, limits, seed=seed, quiet=quiet)
    write_result(folder / REPORT, page.encode("utf-8", "backslashreplace"))
    return folder / REPORT


def _page(found: Examination, limits: Limits, *, seed: int, quiet: bool) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape
    from plotly.offline import get_plotlyjs

    first, comparison = found.evaluation, found.comparison
    sides = {"A": first, "B": comparison.second} if comparison else {"": first}
    pictures = Pictures(limits, _PICTURE_BYTES)
    groups: dict[str, tuple[Asked, ...]] = {}
    if comparison:
        groups |= {
            f"Changed most: {name}": shown
            for name, shown in changed(comparison, sides, _CHANGED, pictures).items()
        }
    groups |= {
        "Worst queries": asked(worst_rows(first, _WORST), sides, pictures),
        "Some queries, drawn at random": asked(random_rows(first, _RANDOM, seed), sides, pictures),
    }
    plotly, script = get_plotlyjs(), (_HERE / "page.js").read_text(encoding="utf-8")
    small = Pictures(limits, _MAP_PICTURE_BYTES)
    figures, classes_in_matrix = _figures(sides)
    pages = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["words"] = in_words
    # A label like beef_carpaccio may break after its underscore, not anywhere.
    pages.filters["breakable"] = lambda label: escape(label).replace("_", Markup("_<wbr>"))
    return pages.get_template(
        "page.html"
    ).render(
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704  (ours)
        script=Markup(script),  # noqa: S704
        plotly=Markup(plotly),  # noqa: S704
        # The page runs these two scripts, whatever a label may hold, and can send nothing anywhere.
        allowed=Markup(" ".join(map(_script_hash, (plotly, script)))),  # noqa: S704
        version=__version__,
        found=found,
        first=first,
        sides=sides,
        rows=headline(found),
        groups={name: shown for name, shown in groups.items() if shown},
        figures=figures,
        classes_in_matrix=classes_in_matrix,
        map=map_points(first.trial.gallery, small, seed=seed, quiet=quiet),
        classes_shown=_CLASSES_SHOWN,
        confused=first.confused[:_CONFUSIONS_SHOWN],
        seed=seed,
    )


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _figures(sides: dict[str, Evaluation]) -> tuple[dict[str, Any], int]:
    from deepfood.evaluate.report import figures

    first = next(iter(sides.values()))
    matrix, shown = figures.confusion_figure(first)
    made = {
        "reliability": figures.reliability_figure(sides),
        "similarity": figures.similarity_figure(first),
        "novelty": figures.novelty_figure(first),
        "confusion": matrix,
    }
    # Without the template: its light colours are not ours.
    return {
        name: json.loads(figure.update_layout(template="none").to_json())
        for name, figure in made.items()
    }, shown
