"""The page's style sheets and modules, joined to a few files: the sources have no build step, and a
browser would ask for each of them on its own.

A page of static/ names its style sheets and its script as they are; `with_joined` has it name the
joined ones instead. Modules are joined as functions, each run once, when it is first imported:
`import {a} from "./b.js"` becomes `const {a} = $take("b")`. Those that are only imported by
`import("./c.js")` are in a file of their own, LATER. Imports are one line each, without cycles, and
exports are never assigned to again; tests/test_joined.py checks this.
"""

import hashlib
import re
from functools import cache

from deepfood.serve import STATIC

SCRIPT = "app.js"
LATER = "later"
_SHEETS = re.compile(r'(?: *<link rel="stylesheet" href="static/css/[\w-]+\.css">\n)+')
_SHEET = re.compile(r'href="static/(css/[\w-]+\.css)"')
_IMPORT = re.compile(r'^import (?:(\{[^}]*\}) from )?"\./([\w-]+)\.js";$', re.MULTILINE)
_DYNAMIC = re.compile(r'\bimport\("\./([\w-]+)\.js"\)')
_EXPORT = re.compile(r"^export ((?:async )?function|const|class) ([\w$]+)", re.MULTILINE)


def with_joined(page: str) -> str:
    """A page of static/ that names the joined files."""
    version = version_of_page()
    page = _SHEETS.sub(f'  <link rel="stylesheet" href="static/css/page-{version}.css">\n', page, 1)
    return page.replace(f"static/{SCRIPT}", f"static/app-{version}.js")


@cache
def version_of_page() -> str:
    """Of the files of static/: a joined file of one version never changes."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.rglob("*.*")):
        digest.update(file.relative_to(STATIC).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def joined_sheet() -> str:
    """The style sheets of the page, in its order."""
    return "\n".join(_read(name) for name in sheets_of(_read("index.html")))


def sheets_of(page: str) -> list[str]:
    """The style sheets that a page names one after the other, below static/."""
    found = _SHEETS.search(page)
    return _SHEET.findall(found[0]) if found else []


@cache
def joined_script() -> str:
    """The page's script with all modules that it imports."""
    return (
        "const $made = {};\n"
        "export const $modules = {};\n"
        "export const $take = (name) => ($made[name] ??= $modules[name]());\n"
        + "".join(map(_as_function, modules_of("app")))
        + '$take("app");\n'
    )


@cache
def joined_later() -> str:
    """The modules that are imported when they are first wanted, and those that only they import."""
    first = modules_of("app")
    wanted = _DYNAMIC.findall("".join(map(_module, first)))
    later = dict.fromkeys(one for name in wanted for one in modules_of(name) if one not in first)
    return (
        f'import {{ $modules, $take }} from "./app-{version_of_page()}.js";\nexport {{ $take }};\n'
        + "".join(map(_as_function, later))
    )


def modules_of(name: str) -> list[str]:
    """A module of static/, the modules that it imports, and those that they import."""
    found = [name]
    for one in found:  # which grows
        found += dict.fromkeys(new for _, new in _IMPORT.findall(_module(one)) if new not in found)
    return found


def _as_function(name: str) -> str:
    """A module as a function that returns its exports."""
    text = _IMPORT.sub(
        lambda found: (
            (f"const {found[1].replace(' as ', ': ')} = " if found[1] else "")
            + f'$take("{found[2]}");'
        ),
        _module(name),
    )
    later = f'import("./{LATER}-{version_of_page()}.js")'
    text = _DYNAMIC.sub(rf'{later}.then(({{ $take }}) => $take("\1"))', text)
    exports = ", ".join(exported for _, exported in _EXPORT.findall(text))
    text = _EXPORT.sub(r"\1 \2", text)
    return f'$modules["{name}"] = () => {{\n{text}return {{ {exports} }};\n}};\n'


def _module(name: str) -> str:
    return _read(f"{name}.js")


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
