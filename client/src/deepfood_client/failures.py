"""What becomes of an answer, or of none: a result, an error, or another try after a while."""

import random
from typing import Any

import httpx

from deepfood_client.calls import Call
from deepfood_client.errors import (
    DeepfoodError,
    KeyRefusedError,
    PhotoExistsError,
    PhotoTooLargeError,
    PhotoUnsupportedError,
    QueryError,
    ServiceBusyError,
    ServiceError,
)

_BUSY = (429, 503)
_ERRORS: dict[int, type[DeepfoodError]] = {
    401: KeyRefusedError,
    412: PhotoExistsError,
    413: PhotoTooLargeError,
    415: PhotoUnsupportedError,
    422: QueryError,
    429: ServiceBusyError,
    503: ServiceBusyError,
}
#: The server has not had the request.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
#: It may have had it. A time limit is not among them: who is slow is not helped by asking again.
_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)

_FIRST_WAIT_S = 0.25


def wait_before_again(
    call: Call[Any], what: httpx.Response | httpx.TransportError, tried: int, longest_s: float
) -> float | None:
    """Seconds until `call` may be sent again after `tried` tries; None where it may not be."""
    if isinstance(what, httpx.Response):
        if what.status_code not in _BUSY:
            return None
        asked = what.headers.get("retry-after", "")
        if asked.isdigit():
            return float(asked) if float(asked) <= longest_s else None
    elif not isinstance(what, _NOT_SENT) and (call.changes or not isinstance(what, _CUT_OFF)):
        return None
    # Half of it by chance, so that clients that failed together do not come back together.
    return min(longest_s, _FIRST_WAIT_S * 2.0**tried) * random.uniform(0.5, 1)  # noqa: S311


def error_of(
    call: Call[Any], what: httpx.Response | httpx.TransportError, url: str
) -> DeepfoodError:
    """The error that a problem's details, or a connection that failed, are for who called."""
    if isinstance(what, httpx.TransportError):
        return ServiceError(f"{url}: {what or type(what).__name__}")
    try:
        problem = what.json()
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, detail = {}, f"{what.status_code} {what.reason_phrase}"
    kind = {**_ERRORS, 403: call.forbidden, 404: call.missing}.get(what.status_code, ServiceError)
    if issubclass(kind, ServiceError) and problem.get("request_id"):
        detail += f" (request {problem['request_id']})"
    if issubclass(kind, QueryError):
        return kind(detail, problem.get("field"))
    return kind(detail)
