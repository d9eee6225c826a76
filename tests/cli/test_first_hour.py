"""What a new user meets: help, completion, and Ctrl-C."""

import subprocess
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from deepfood.cli import app
from deepfood.cli.app import Commands, StoppedError
from live import deepfood_here, run_deepfood

pytestmark = pytest.mark.slow


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return deepfood_here(*arguments, COLUMNS="100", **environment)


def completed(line: str, **environment: str) -> list[str]:
    """What bash is told may come next after `line`."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = run(_DEEPFOOD_COMPLETE="complete_bash", **words, **environment)
    assert done.stderr == ""
    return done.stdout.split()


def test_help_has_short_form_and_shows_commands_in_groups() -> None:
    done = run("-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--help").stdout
    places = [done.stdout.index(f"─ {name} ─") for name in ("Start", "Search", "Change", "Learn")]
    assert places == sorted(places)
    assert "─ Commands ─" not in done.stdout, "a command without a group"
    assert "Usage: deepfood search" in run("search", "-h").stdout


def test_help_keeps_what_is_in_brackets_and_says_which_model_counts() -> None:
    assert "s3://bucket/prefix[@RELEASE]" in run("search", "-h").stdout
    assert "the gallery's own" in run("search", "-h").stdout
    assert "(the one that ships)" in run("embed", "-h").stdout
    shown = run("verify", "-h").stdout
    assert "only if the gallery's own copy of its Model is damaged." in " ".join(shown.split())


def test_every_command_has_a_help_line_and_a_group() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    groups = {one.rich_help_panel for one in root.commands.values()}  # type: ignore[attr-defined]
    assert groups == {"Start", "Search", "Change", "Learn", "Publish", "Look after"}
    assert all(one.help for one in root.commands.values())


def test_the_shell_completes_commands_and_options() -> None:
    assert completed("deepfood sea") == ["search"]
    assert completed("deepfood data c") == ["combine", "check"]
    assert completed("deepfood search gallery --gro") == ["--group-duplicates"]


def test_completion_fetches_nothing(tiny_gallery: Path, tmp_path: Path) -> None:
    shelf, cache = tmp_path / "shelf", tmp_path / "cache"
    run_deepfood("push", tiny_gallery, shelf)
    assert completed(f"deepfood info {shelf} --js", DEEPFOOD_CACHE=str(cache)) == ["--json"]
    assert not cache.exists()
    assert run("info", shelf, DEEPFOOD_CACHE=str(cache)).returncode == 0
    assert cache.exists()


@pytest.mark.parametrize(
    ("command", "said"), [("build", "goes on where it was"), ("search", "begins anew")]
)
def test_ctrl_c_says_whether_the_same_command_goes_on(command: str, said: str) -> None:
    own = typer.Typer(cls=Commands)

    @own.callback()
    def options() -> None:
        pass

    @own.command(command)
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoppedError, match=f"the same command {said}"):
        own([command], prog_name="deepfood", standalone_mode=False)
