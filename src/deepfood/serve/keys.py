"""Who may change the gallery: requests that bring a key. Settings hold only the keys' hashes."""

import hashlib
import hmac
import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

#: Of a key's hash, what the journal names who made a change by.
_SHOWN_DIGITS = 12

_bearer = HTTPBearer(auto_error=False, description="A key that `deepfood api-key` made.")


def new_key() -> tuple[str, str]:
    """A key of 256 random bits, and its hash for the setting `api_key_hashes`."""
    key = secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """SHA-256 in hex. Enough for keys that no one can guess; words would want a slow hash."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def with_key(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Note which key the request brings, for the journal.

    Raises HTTPException 403 where no key is set, 401 where the request brings none of them."""
    hashes = request.app.state.settings.api_key_hashes.split()
    if not hashes:
        raise HTTPException(
            403,
            "this gallery is not changed over HTTP: make a key with `deepfood api-key` and set "
            "api_key_hashes",
        )
    brought = hash_of(given.credentials if given else "")
    # All are compared, each in constant time, so that the time taken tells nothing about any.
    if not sum(hmac.compare_digest(brought, one) for one in hashes):
        raise HTTPException(
            401,
            "send a key of this gallery: Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.state.key_name = f"key {brought[:_SHOWN_DIGITS]}"
