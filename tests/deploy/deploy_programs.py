"""Programs that read what is in deploy/."""

import importlib.util
import sysconfig
from pathlib import Path

SCRIPTS = Path(sysconfig.get_path("scripts"))


def compose_program() -> Path:
    """docker-compose itself: the script of its package loses its exit status."""
    package = importlib.util.find_spec("compose")
    assert package
    assert package.origin
    return Path(package.origin).with_name("docker-compose")
