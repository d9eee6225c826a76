"""Who may change the gallery: requests with a key. Settings hold only the keys' hashes."""

import hashlib
import hmac
import secrets
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from deepfood.serve.api.resources import ResourcesDep

#: Digits of a key's hash in the journal.
_SHOWN_DIGITS = 12

_bearer = HTTPBearer(auto_error=False, description="A key that `deepfood api-key` made.")


def new_key() -> tuple[str, str]:
    """A key of 256 random bits, and its hash for the setting `api_key_hashes`."""
    key = secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """SHA-256 in hex. A fast hash is enough: a random key of 256 bits cannot be guessed."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


async def author_with_key(
    resources: ResourcesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    """The author of a change in the journal: the key of the request.

    Raises HTTPException 403 where no key is set, 401 where the request has none of them.
    """
    hashes = resources.settings.api_key_hashes.split()
    if not hashes:
        raise HTTPException(
            403,
            "this gallery is not changed over HTTP: make a key with `deepfood api-key` and set "
            "api_key_hashes",
        )
    sent = hash_of(credentials.credentials if credentials else "")
    # All are compared, each in constant time, so that timing reveals nothing about any of them.
    if not sum(hmac.compare_digest(sent, one) for one in hashes):
        raise HTTPException(
            401,
            "send a key of this gallery: Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return f"key {sent[:_SHOWN_DIGITS]}"


#: As a parameter's type, it gives a route the author of a change.
Author = Annotated[str, Depends(author_with_key)]
