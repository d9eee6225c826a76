"""Numbers of things in messages."""

from collections.abc import Sized


def counted(things: Sized | int, one: str, many: str | None = None) -> str:
    """ "1 photo" or "3 photos", of things or of their number; `many` is `one` with an s if None."""
    number = things if isinstance(things, int) else len(things)
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
