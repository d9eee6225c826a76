"""What the service writes to stderr: one line an event, as text for people or as JSON.

No line can be forged by what a client sends: each of its characters that does not print is escaped.
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

#: The request under way; each runs in a context of its own.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_LONGEST_MESSAGE = 2_000
_LONGEST_TRACEBACK = 20_000


def configure(settings: Settings) -> None:
    """Let this process log as the settings say: deepfood's, uvicorn's and everybody's lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    # Libraries are heard when something is wrong. httpx would name each address that it asks, and
    # a signed one is as good as a key.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("deepfood", "uvicorn"):
        logging.getLogger(name).setLevel(settings.log_level.upper())
    logging.captureWarnings(True)


def tell_of_crashes() -> None:
    """Let a crash in a library, such as SIGBUS, say where it was: nothing of ours can, after it."""
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `process`, `message`; `request_id` and `error` where there is one.

    What is logged with `extra={"fields": {...}}` has these fields too.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": os.getpid(),
            "message": record.getMessage()[:_LONGEST_MESSAGE],
        }
        if one := request_id.get():
            line["request_id"] = one
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
        return json.dumps(line)


class TextLines(logging.Formatter):
    """Time, level, message and request id; a traceback's lines are indented below."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()[:_LONGEST_MESSAGE].rstrip()
        line = f"{_time(record)} {record.levelname:7} {_printable(message)}"
        if one := request_id.get():
            line += f" [{one}]"
        if record.exc_info:
            traceback = self.formatException(record.exc_info)[-_LONGEST_TRACEBACK:]
            line += "".join(f"\n    {_printable(one)}" for one in traceback.split("\n"))
        return line


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
