"""The gallery's cursors, signed for clients.

A cursor encodes the position in a search. A forged one could make the search start over at every
page, so only cursors signed by this service are accepted.
"""

import base64
import hashlib
import hmac
import secrets

from deepfood.errors import QueryError

_SIGNATURE_BYTES = 12


class Cursors:
    """Signs with `key`, which all processes of a gallery share; "" makes a random one."""

    def __init__(self, key: str) -> None:
        self._key = (key or new_cursor_key()).encode()

    def signed(self, cursor: str) -> str:
        return f"{cursor}.{self._signature(cursor)}"

    def checked(self, text: str) -> str:
        """The cursor that was signed. Raises QueryError for any other text."""
        cursor, _, signature = text.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(cursor).encode()):
            raise QueryError(
                f"{text[:40]!r} is not a cursor of this service: start with the first page",
                "cursor",
            )
        return cursor

    def _signature(self, cursor: str) -> str:
        made = hmac.digest(self._key, cursor.encode("utf-8", "replace"), hashlib.sha256)
        return base64.urlsafe_b64encode(made[:_SIGNATURE_BYTES]).decode()


def new_cursor_key() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)
