"""One look for all progress bars: what, how far, rate and time left, on standard error."""

import sys
from typing import Any

from tqdm import tqdm


def bar(what: str, unit: str, total: int, *, done: int = 0, quiet: bool = False, **how: Any) -> Any:
    """A tqdm bar; drawn on a terminal only."""
    return tqdm(
        desc=what,
        unit=unit,
        total=total,
        initial=done,
        disable=quiet or not sys.stderr.isatty(),
        dynamic_ncols=True,
        **how,
    )
