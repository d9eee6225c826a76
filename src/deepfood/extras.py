"""How an optional part is installed here: the command depends on how deepfood was.

An installer notes where it had a distribution from (`direct_url.json`, PEP 610): a checkout, a git
URL, or, where there is no such note, a registry. Those of applications leave a note of their own in
the environment.
"""

import importlib.util
import json
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from deepfood.errors import MissingExtraError


def missing_extra(what: str, extra: str = "") -> MissingExtraError:
    """That `what` is missing, and the command that installs it with the extra of deepfood."""
    return MissingExtraError(f"{what}: {install_command(extra)}")


def install_command(extra: str = "") -> str:
    """A command that installs this deepfood again, with an extra, where it is installed now."""
    with_extra = f"[{extra}]" if extra else ""
    source = _source()
    url = source.get("url", "")
    if "vcs_info" in source:
        vcs = source["vcs_info"]
        revision = vcs.get("requested_revision") or vcs.get("commit_id")
        what = f"deepfood{with_extra} @ {vcs['vcs']}+{url}{f'@{revision}' if revision else ''}"
    elif url.startswith("file:") and "dir_info" in source:
        what = url2pathname(urlsplit(url).path) + with_extra
    elif url:
        what = f"deepfood{with_extra} @ {url}"
    else:
        what = f"deepfood{with_extra}"
    editable = ["-e"] if source.get("dir_info", {}).get("editable") else []
    return shlex.join([*_installer(), *editable, what])


def _source() -> dict[str, Any]:
    try:
        text = metadata.distribution("deepfood").read_text("direct_url.json")
        source = json.loads(text or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return source if isinstance(source, dict) else {}


def _installer() -> list[str]:
    prefix = Path(sys.prefix)
    if (prefix / "uv-receipt.toml").exists():
        return ["uv", "tool", "install", "--force"]
    if (prefix / "pipx_metadata.json").exists():
        return ["pipx", "install", "--force"]
    if importlib.util.find_spec("pip") is None:
        return ["uv", "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]
