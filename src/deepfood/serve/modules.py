"""The page's modules: it has no build step, so that a browser would find each only in those that
import it, one round trip after the other."""

import re

from deepfood.serve import STATIC

_IMPORT = re.compile(r'^(?:import|export)\b[^;"]*"\./([\w-]+\.js)";', re.MULTILINE)


def modules_of(script: str) -> list[str]:
    """The modules of static/ that a script imports, and those that they import; not the script."""
    found = [script]
    for name in found:  # which grows
        text = (STATIC / name).read_text(encoding="utf-8")
        found += dict.fromkeys(one for one in _IMPORT.findall(text) if one not in found)
    return found[1:]


def preloads(script: str) -> str:
    """Links that have a browser load the modules of a script at once."""
    return "\n  ".join(
        f'<link rel="modulepreload" href="static/{name}">' for name in modules_of(script)
    )
