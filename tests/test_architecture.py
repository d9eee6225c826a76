"""The rules of DESIGN that code can check: imports run one way, one reader of the environment."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "deepfood"
MODULES = sorted(SOURCE.rglob("*.py"))

#: Each room may import the rooms before it, itself and the ground floor.
ROOMS = [
    "data",
    "model",
    "embed",
    "heatmap",
    "index",
    "gallery",
    "on_ray",
    "release",
    "milvus",
    "galleries",
    "renewals",
    "evaluate",
    "train",
    "serve",
]
ROOMS += ["deploy", "info", "api", "cli", "__main__"]
GROUND_FLOOR = {
    "errors",
    "extras",
    "locks",
    "config",
    "artifacts",
    "beside",
    "photo",
    "photo_box",
    "progress",
    "runtimes",
    "caption",
    "storage",
    "storage_errors",
}
NEVER_IMPORTED_TO_SERVE = ("torch", "torchvision", "timm", "onnx", "plotly", "umap")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    allowed = (
        GROUND_FLOOR if room in GROUND_FLOOR else {*GROUND_FLOOR, *ROOMS[: ROOMS.index(room) + 1]}
    )
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("deepfood.")}
    assert rooms - {"__version__"} <= allowed


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in MODULES} == {*ROOMS, *GROUND_FLOOR, "__init__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_config_reads_the_environment_and_nothing_unpickles(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if room_of(path) != "config":
        assert not re.search(r"\benviron(b?)\b|getenv", text)
    assert not {"pickle", "marshal", "shelve"} & imported(path)
    assert "allow_pickle=True" not in text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_runtimes_are_imported_where_they_are_kept_quiet(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(path)}
    assert room_of(path) == "runtimes" or not packages & {"openvino", "onnxruntime"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_command_line_exits_and_prints(path: Path) -> None:
    if room_of(path) == "cli" or path.name == "run.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "exit", "sys.exit", "os._exit", "quit"), called


def test_serving_imports_no_torch() -> None:
    code = (
        "import sys, deepfood.cli, deepfood.serve.run, deepfood.info\n"
        f"bad = [m for m in {NEVER_IMPORTED_TO_SERVE} if m in sys.modules]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_client_imports_nothing_of_deepfood() -> None:
    for path in (SOURCE.parents[1] / "client/src").rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "deepfood"], path


def test_modules_stay_small() -> None:
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > 500}
    assert not long


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their names alone, and stops at the second."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
