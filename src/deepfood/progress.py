"""One look for all progress bars: what, how far, rate and time left, on standard error."""

import sys
from typing import Any

from tqdm import tqdm


def bar(what: str, unit: str, total: int, *, done: int = 0, quiet: bool = False, **how: Any) -> Any:
    """A tqdm bar; where standard error is a log and no terminal, a line every 10 seconds."""
    return tqdm(
        desc=what,
        unit=unit,
        total=total,
        initial=done,
        disable=quiet,
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 10,
        **how,
    )
