"""The rules of the house that code can check: imports run one way, and in no circle.

Each rule is one test over all modules, which names every module that breaks it.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "deepfood"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST = 500

#: Each room may import the rooms before it, itself and the ground floor.
ROOMS = [
    "data",
    "model",
    "embed",
    "words",
    "proof",
    "heatmap",
    "plate",
    "index",
    "gallery",
    "on_ray",
    "local",
    "release",
    "milvus",
    "place",
    "engine",
    "evaluate",
    "train",
    "get_model",
    "serve",
    "deploy",
    "info",
    "api",
    "training",
    "cli",
    "__main__",
]
#: Within `serve`: three rooms, and the modules beside them. Each may import those before it.
SERVE = [
    "joined",
    "language",
    "telemetry",
    "edge",
    "cursors",
    "question",
    "asked",
    "worded",
    "labels",
    "curated",
    "released",
    "plates",
    "service",
    "fit_plates",
    "listing",
    "current",
    "api",
    "app",
    "run",
]
#: The two engines: what both need is in `gallery`, and only `engine` knows both.
APART = {"local": "milvus", "milvus": "local"}
GROUND_FLOOR = {
    "errors",
    "extras",
    "locks",
    "config",
    "counted",
    "batches",
    "artifacts",
    "beside",
    "photo",
    "photo_box",
    "progress",
    "runtimes",
    "devices",
    "batcher",
    "caption",
    "storage",
    "storage_errors",
}
NEVER_IMPORTED_TO_SERVE = ("torch", "torchvision", "timm", "onnx", "plotly", "umap")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """All that a module imports, also within functions and for type checkers only."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in MODULES} == {*ROOMS, *GROUND_FLOOR, "__init__"}


def test_imports_run_one_way() -> None:
    wrong = {}
    for path in MODULES:
        room = room_of(path)
        if room == "__init__":
            continue
        before = () if room in GROUND_FLOOR else ROOMS[: ROOMS.index(room) + 1]
        allowed = {*GROUND_FLOOR, *before, "__version__"} - {APART.get(room)}
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("deepfood.")}
        if rooms - allowed:
            wrong[name_of(path)] = rooms - allowed
    assert not wrong


def test_the_service_imports_one_way() -> None:
    places = {
        path: path.relative_to(SOURCE / "serve").parts[0]
        for path in MODULES
        if room_of(path) == "serve"
    }
    assert {name.removesuffix(".py") for name in places.values()} == {*SERVE, "__init__"}
    wrong = {}
    for path, place in places.items():
        if place == "__init__.py":
            continue
        allowed = SERVE[: SERVE.index(place.removesuffix(".py")) + 1]
        parts = [name.split(".") for name in imported(path) if name.startswith("deepfood.serve.")]
        if seen := {part[2] for part in parts} - {*allowed, "STATIC"}:
            wrong[name_of(path)] = seen
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Tarjan's strongly connected components (SIAM Journal on Computing, 1972)."""
    names = {name_of(path): path for path in MODULES if path.name != "__init__.py"}
    graph = {name: sorted(imported(path) & names.keys()) for name, path in names.items()}
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in graph[name]:
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                circles.append(stack[at:])
            del stack[at:]

    for name in graph:
        if name not in number:
            visit(name)
    assert not circles


def test_only_config_reads_the_environment_and_nothing_unpickles() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if room_of(path) != "config":
            assert not re.search(r"\benviron(b?)\b|getenv", text), path
        assert not {"pickle", "marshal", "shelve"} & imported(path), path
        assert "allow_pickle=True" not in text, path


def test_settings_are_built_at_the_edge_and_handed_down() -> None:
    """What works for a caller takes its settings as arguments: see `load_settings`."""
    callers = {
        name_of(path)
        for path in MODULES
        if "deepfood.config.load_settings" in imported(path)
        or any(
            isinstance(node, ast.Attribute) and node.attr == "load_settings"
            for node in ast.walk(tree_of(path))
        )
    }
    commands = {name for name in callers if name.startswith("deepfood.cli.")}
    assert callers - commands == {
        "deepfood",
        "deepfood.api",
        "deepfood.training",
        "deepfood.serve.app",
    }


def test_runtimes_are_imported_where_they_are_kept_quiet() -> None:
    for path in MODULES:
        packages = {name.split(".")[0] for name in imported(path)}
        assert room_of(path) == "runtimes" or not packages & {"openvino", "onnxruntime"}, path


def test_only_the_command_line_exits_and_prints() -> None:
    for path in MODULES:
        if room_of(path) == "cli" or path.name == "run.py":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "exit", "sys.exit", "os._exit", "quit"), path


@pytest.mark.slow
def test_serving_imports_no_torch() -> None:
    code = (
        "import sys, deepfood.cli, deepfood.serve.run, deepfood.info\n"
        f"bad = [m for m in {NEVER_IMPORTED_TO_SERVE} if m in sys.modules]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_the_client_imports_nothing_of_deepfood() -> None:
    for path in (ROOT / "client/src").rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "deepfood"], path


def test_modules_stay_small() -> None:
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long


def test_a_module_name_has_one_meaning() -> None:
    """Engines name the same parts alike, and a command is named as what it runs."""
    alike = {"gallery", "local", "milvus", "release", "engine", "cli"}
    ordinary = {"__init__", "__main__", "app", "run", "metrics"}
    rooms: dict[str, set[str]] = {}
    for path in MODULES:
        rooms.setdefault(path.stem, set()).add(room_of(path))
    for name, several in rooms.items():
        others = several - alike
        assert name in ordinary or len(others) + bool(several - {"cli"} - others) <= 1, name


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their names alone, and stops at the second."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
