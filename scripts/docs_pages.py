"""A hook of mkdocs: writes the pages that are made from code, so that they cannot go stale.

`cli.md` comes from the typer app, `http-api.md` and `openapi.json` from the FastAPI app,
`python-api.md` from the packages' `__all__`; the changelog, the contributor's guide and the card of
the Model that ships lie outside of `docs/`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import deepfood
import deepfood.errors
import deepfood_client
from deepfood.cli import app
from deepfood.config import Settings
from deepfood.serve.app import create_app
from deepfood.serve.service import open_service

ROOT = Path(__file__).parents[1]
#: Pages that lie elsewhere in the repository.
ELSEWHERE = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "default-model.md": "src/deepfood/model/default/README.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of `docs/`."""
    openapi = create_app(Settings(), open_service).openapi()
    pages = {
        "cli.md": cli_page(),
        "http-api.md": http_page(openapi),
        "openapi.json": json.dumps(openapi, indent=2, ensure_ascii=False),
        "python-api.md": python_page(),
        **{page: _from_root(path) for page, path in ELSEWHERE.items()},
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def _from_root(path: str) -> str:
    """A file of the repository: links into `docs/` as a page has them, others as plain text."""
    text = re.sub(r"\]\(docs/", "](", (ROOT / path).read_text(encoding="utf-8"))
    return re.sub(r"\[([^]]+)\]\((?!\w+\.md[#)]|https?://)[^)]+\)", r"\1", text)


# The command line


def cli_page() -> str:
    """Every command in the groups of `deepfood --help`, with its arguments and options."""
    root = typer.main.get_command(app)
    lines = ["# Commands", ""]
    lines += ["`deepfood COMMAND --help` prints what this page says of a command.", ""]
    lines += ["A command exits with 0 when it is done, with 1 when `verify`, `data check` or a"]
    lines += ["comparison found a fault, with 2 after an error, which is one line on stderr, and"]
    lines += ["with 130 when it was stopped.", ""]
    lines += ["## Options of every command", ""]
    lines += [*_options(root, "deepfood"), ""]
    group = None
    for name in root.list_commands(None):  # type: ignore[attr-defined, arg-type]
        command = root.commands[name]  # type: ignore[attr-defined]
        panel = getattr(command, "rich_help_panel", None) or "Other"
        if panel != group:
            group = panel
            lines += [f"## {group}", ""]
        for path, one in _commands(f"deepfood {name}", command):
            context = one.make_context(path, [], resilient_parsing=True)
            usage = [piece.strip("{}") for piece in one.collect_usage_pieces(context)]
            lines += [f"### {path}", "", _linked(one.help or ""), ""]
            lines += ["```text", " ".join([path, *usage]), "```", "", *_options(one, path), ""]
    return "\n".join(lines)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command, or those of a group of commands."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    else:
        for name, one in inner.items():
            yield from _commands(f"{path} {name}", one)


def _options(command: Any, path: str) -> list[str]:
    """A table of the arguments and options of a command."""
    context = command.make_context(path, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [(_code(name), _linked(text)) for name, text in filter(None, records)]
    return _table(("argument or option", "what it does"), rows)


# The HTTP API


def http_page(openapi: Mapping[str, Any]) -> str:
    """Every operation of the OpenAPI document, and the objects that they take and give."""
    lines = ["# HTTP API", "", openapi["info"]["summary"], ""]
    lines += ["[`openapi.json`](openapi.json) is the same for programs; a server has it at"]
    lines += ["`/openapi.json`, and a page to try it at `/docs`. [From your own"]
    lines += ["programs](programs.md) shows the common requests. An operation that needs a key"]
    lines += ["takes it as `Authorization: Bearer KEY`; `deepfood api-key` makes keys.", ""]
    by_tag: dict[str, list[str]] = {}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            section = by_tag.setdefault(operation["tags"][0].capitalize(), [])
            section += _operation(f"{method.upper()} {path}", operation)
    for tag, section in by_tag.items():
        lines += [f"## {tag}", "", *section]
    lines += ["## Objects", ""]
    for name, schema in openapi["components"]["schemas"].items():
        lines += [f"### {name}", "", _linked(schema.get("description", "")), ""]
        lines += [*_fields(schema), ""]
    return "\n".join(lines)


def _operation(title: str, operation: Mapping[str, Any]) -> list[str]:
    lines = [f"### {title}", "", _linked(operation.get("description", "")), ""]
    if operation.get("security"):
        lines += ["Needs a key.", ""]
    if parameters := operation.get("parameters"):
        rows = [
            (_code(one["name"]), one["in"], _type(one["schema"]), _notes(one["schema"]))
            for one in parameters
        ]
        lines += [*_table(("parameter", "in", "type", ""), rows), ""]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        lines += [f"**Body**, `{media_type}`", "", _linked(schema.get("description", "")), ""]
        lines += [*_fields(schema), ""]
    good, errors = [], []
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            types = [
                f"`{media}`" + (f": {_type(what['schema'])}" if what.get("schema") else "")
                for media, what in answer.get("content", {}).items()
            ]
            good.append((status, ", ".join(types) or "no body"))
        elif status != "default":
            errors.append(status)
    lines += [*_table(("status", "answer"), good), ""]
    if errors:
        lines += [f"Errors are [problem details](#problem): {', '.join(sorted(errors))}.", ""]
    return lines


def _fields(schema: Mapping[str, Any]) -> list[str]:
    required = set(schema.get("required", ()))
    rows = [
        (_code(name) + (" (required)" if name in required else ""), _type(one), _notes(one))
        for name, one in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", ""), rows)


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return ", ".join(_code(json.dumps(value)) for value in values)
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} {_type(schema['prefixItems'][0])}s"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return "file" if schema.get("format") == "binary" else kind


def _notes(schema: Mapping[str, Any]) -> str:
    """What a schema says beyond its type: its description, bounds and default."""
    said = [_linked(schema["description"])] if "description" in schema else []
    for key, words in (("minimum", "at least"), ("maximum", "at most"), ("default", "default")):
        value = schema.get(key)
        if value not in (None, [], "", {}):
            whole = isinstance(value, float) and value.is_integer()
            said.append(f"{words} {_code(json.dumps(int(value) if whole else value))}")
    return "; ".join(said)


# The Python API


def python_page() -> str:
    """Each public name of the package and of its client, as mkdocstrings shows its docstring."""
    lines = ["# Python API", ""]
    lines += ["What is listed here is public: [what that means](compatibility.md).", ""]
    shown: set[str] = set()  # what the package takes from its client is shown once
    for module in (deepfood, deepfood_client):
        objects = []
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            made_here = isinstance(thing, type | FunctionType)  # else a value, such as a union
            home = thing.__module__ if made_here else module.__name__
            objects.append(f"{home}.{thing.__qualname__ if made_here else name}")
        objects = [one for one in objects if one not in shown and not _is_private(one)]
        shown.update(objects)
        if objects:
            lines += [f"## {module.__name__}", ""]
            lines += [line for one in objects for line in (f"::: {one}", "")]
    lines += ["## deepfood.errors", "", "```text", deepfood.errors.__doc__ or "", "```", ""]
    return "\n".join(lines)


def _is_private(path: str) -> bool:
    return path.rpartition(".")[2].startswith("_")


# Markdown


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """The lines of a table; none where it has no rows."""
    lines = [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows),
    ]
    return lines if len(lines) > 2 else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`"


def _linked(text: str) -> str:
    """Text of a docstring, with the pages of `docs/` that it names as links."""
    return re.sub(r"\bdocs/((\w+)\.md)", r"[\2](\1)", text)
