"""The log on stderr: one line per event, as text or JSON.

Clients cannot forge lines: each character that does not print is escaped.
"""

import faulthandler
import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from deepfood.config import Settings

#: The id of the current request; each request runs in its own context.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_LONGEST_MESSAGE = 2_000
_LONGEST_TRACEBACK = 20_000


def configure(settings: Settings) -> None:
    """Set up the log of this process, uvicorn's and libraries' lines included."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    # Libraries log warnings only: httpx would log each URL, and a presigned URL is a secret.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("deepfood", "uvicorn"):
        logging.getLogger(name).setLevel(settings.log_level.upper())
    logging.captureWarnings(True)


def log_crashes() -> None:
    """On a crash in a library, such as SIGBUS, write the traceback to stderr."""
    if sys.__stderr__ is not None:  # pragma: no branch - Windows without a console
        faulthandler.enable(sys.__stderr__)


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `process`, `message`; `request_id` and `error` where there is one.

    `extra={"fields": {...}}` adds fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": os.getpid(),
            "message": record.getMessage()[:_LONGEST_MESSAGE],
        }
        if this_request := request_id.get():
            line["request_id"] = this_request
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
        return json.dumps(line)


class TextLines(logging.Formatter):
    """Time, level, message and request id; a traceback's lines are indented below."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()[:_LONGEST_MESSAGE].rstrip()
        line = f"{_time(record)} {record.levelname:7} {_printable(message)}"
        if this_request := request_id.get():
            line += f" [{this_request}]"
        if record.exc_info:
            traceback = self.formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
            line += "".join(f"\n    {_printable(one)}" for one in traceback.split("\n"))
        return line


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
