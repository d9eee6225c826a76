"""What the documents name exists, and what exists is named."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from deepfood.artifacts import Manifest
from deepfood.cli import app
from deepfood.config import Settings
from deepfood.local import LocalManifest
from deepfood.milvus.metadata import MilvusManifest
from deepfood.release.objects import Release

ROOT = Path(__file__).parents[1]
ROOT_DOCS = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
DOCS = [*ROOT_DOCS, *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> dict[str, set[str]]:
    """Each command line that exists, `data get` among them, and its options."""
    found: dict[str, set[str]] = {}

    def walk(command: object, name: str) -> None:
        for sub in getattr(command, "commands", {}).values():
            walk(sub, f"{name} {sub.name}".strip())
        if name:
            options = {o for p in command.params for o in p.opts if o.startswith("-")}  # type: ignore[attr-defined]
            found[name] = options | {"--help"}

    walk(typer.main.get_command(app), "")
    return found


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_commands_and_options_named_in_the_documents_exist(path: Path) -> None:
    known = commands()
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code = "\n".join(fenced + re.findall(r"`([^`\n]+)`", text))
    for line in re.findall(r"^\s*deepfood ([a-z][^\n#]*)", code, re.MULTILINE):
        words = line.split()
        two = " ".join(words[:2])
        name = two if two in known or words[0] == "data" else words[0]
        assert name in known, f"{path.name} names deepfood {name}"
        options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= known[name], f"{path.name}: deepfood {line}"


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    assert set(rows) == set(Settings.model_fields)
    assert len(rows) == len(re.findall(r"^\| `\w+` \|", text, re.MULTILINE)), "a row is there twice"
    for name, field in Settings.model_fields.items():
        default = rows[name].strip("`")
        assert default == (str(field.default) if field.default not in (None, "") else "none"), name


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_environment_variables_and_make_targets_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {f"DEEPFOOD_{name.upper()}" for name in Settings.model_fields} | {"DEEPFOOD_CONFIG"}
    assert set(re.findall(r"DEEPFOOD_[A-Z_]*[A-Z]", text)) <= known | {"DEEPFOOD_SKIP_BROWSER"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\s*)make ([a-z]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("path", ROOT_DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Those below `docs/` are checked when the site is built (test_site.py)."""
    for link in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_the_formats_that_are_read_are_those_documented() -> None:
    text = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    rows = {
        name: (written, read)
        for name, written, read in re.findall(
            r"^\| ([\w ]+) \| (\d) \| (\d[^|]*) \|", text, re.MULTILINE
        )
    }
    newest = str(Manifest.format_supported)
    assert rows["Model"] == (newest, f"1, {newest}")
    assert rows["gallery in a folder"][0] == newest
    assert rows["gallery in a folder"][1].startswith(f"{LocalManifest.format_oldest};")
    on_milvus = str(MilvusManifest.model_fields["format"].default)
    assert rows["gallery on Milvus"][0] == on_milvus
    assert rows["gallery on Milvus"][1].startswith(f"{on_milvus};")
    assert rows["release in a bucket"] == (str(Release.format_supported),) * 2


def test_every_test_that_the_security_page_names_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text(encoding="utf-8"))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make test" in (ROOT / ".ci/run").read_text()


@pytest.mark.slow
def test_nothing_names_a_machine_or_registry() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    assert sys.version_info >= (3, 11)
    for name in filter(None, tracked):
        path = ROOT / name
        if path.is_file() and path.suffix in (
            ".py",
            ".md",
            ".toml",
            ".js",
            ".html",
            ".css",
            ".json",
            ".txt",
            "",
        ):
            text = path.read_text(encoding="utf-8", errors="replace")
            for stranger in ("registry.npm" + "js", "pypi." + "org", "/root" + "/", "/work" + "/"):
                assert stranger not in text, f"{name} names {stranger}"
