"""The root of the command line: its options, its errors, and what its commands share."""

import io
import json
import sqlite3
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from deepfood import __version__
from deepfood.cli.memory import is_too_little_memory, run_forked, too_little_memory
from deepfood.config import asked_by_shell, load_settings, unknown_variables
from deepfood.counted import counted
from deepfood.errors import (
    DeepfoodError,
    own_limit_behind,
    system_error_text,
)
from deepfood.place import Place

if TYPE_CHECKING:
    from deepfood.data.passed_over import PassedOver

#: The groups of commands in `--help`.
START = "Start"
SEARCH = "Search"
CHANGE = "Change"
LEARN = "Learn"
PUBLISH = "Publish"
LOOK_AFTER = "Look after"
_GROUPS = (START, SEARCH, CHANGE, LEARN, PUBLISH, LOOK_AFTER)

#: Commands that resume after an interruption; others start over.
_RESUMES = {"build", "add", "demo", "embed", "adapt", "train", "reembed", "compact", "push"}
_RESUMES |= {"pull", "data get", "model get"}


class StoppedError(Exception):
    """Ctrl-C, with the message for the command that it stopped."""


class Commands(TyperGroup):
    """The command group: orders commands by group, and turns Ctrl-C into StoppedError."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, grouped."""
        groups = {name: getattr(one, "rich_help_panel", "") for name, one in self.commands.items()}
        return sorted(groups, key=lambda name: (*_GROUPS, groups[name]).index(groups[name]))

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Raises StoppedError."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            name = f"{ctx.command_path} {ctx.invoked_subcommand}".removeprefix("deepfood ")
            how = "goes on where it was" if name in _RESUMES else "begins anew"
            raise StoppedError(f"stopped; the same command {how}") from error


app = typer.Typer(
    name="deepfood",
    cls=Commands,
    help="Photo search for food: find the photos that look like yours.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # Rich's own markup would drop the brackets of [@RELEASE]
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: How long a command waits for another writer's commit; a build takes longer.
WAIT_S = 5.0

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _model_place(text: str) -> Path:
    """A Model's folder; a release is pulled into the cache."""
    place = Place.parse(text)
    if place.kind != "release":
        return place.expect_folder()
    if asked_by_shell():  # shell completion must not download anything
        return Path(text)
    return Path(place.readable(load_settings()).text)


def _own_folder(text: str) -> Path:
    return Place.parse(text).expect_folder()


def _changed(text: str) -> Place:
    return Place.parse(text).refuse_release()


def _model_option(default: str) -> Any:
    return typer.Option(
        "--model",
        metavar="MODEL",
        parser=_model_place,
        help="A Model: a folder, or s3://bucket/prefix[@RELEASE].",
        show_default=default,
    )


ModelOption = Annotated[Path | None, _model_option("the one that ships")]
#: For commands on a gallery, which has its own copy of the Model.
GalleryModelOption = Annotated[Path | None, _model_option("the gallery's own")]
BuildModelOption = Annotated[
    Path | None, _model_option("the gallery's own; for a new gallery the one that ships")
]
ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=_model_place,
        help="A Model: a folder, or s3://bucket/prefix[@RELEASE].",
    ),
]
SearchedGalleryArgument = Annotated[
    Place,
    typer.Argument(
        metavar="GALLERY",
        parser=Place.parse,
        help="A gallery: a folder, s3://bucket/prefix[@RELEASE] or milvus://host:port/name.",
    ),
]
ChangedGalleryArgument = Annotated[
    Place,
    typer.Argument(
        metavar="GALLERY", parser=_changed, help="A gallery: a folder, or milvus://host:port/name."
    ),
]
ArtifactArgument = Annotated[
    Place,
    typer.Argument(
        metavar="ARTIFACT",
        parser=Place.parse,
        help="A gallery or a Model: a folder, s3://bucket/prefix[@RELEASE] or milvus://…",
    ),
]
OwnArtifactArgument = Annotated[
    Path,
    typer.Argument(metavar="ARTIFACT", parser=_own_folder, help="A gallery or a Model: a folder."),
]
PhotosArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PHOTOS", readable=False, help="A folder of photos, a CSV, or s3://bucket/prefix."
    ),
]
PhotosRoot = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        help="Where the gallery's photos are now, if they have moved since the build.",
    ),
]


def main() -> None:
    """Run and exit: 0 success, 1 `verify` found faults, 2 an error of one line, 130 interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may not be valid Unicode
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = run_forked()
        if code is None:
            code = _command()(prog_name="deepfood", standalone_mode=False)
    except (DeepfoodError, OSError, sqlite3.Error) as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"deepfood: {_error_line(error)}", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, StoppedError) as error:
        print(f"\ndeepfood: {str(error) or 'stopped'}", file=sys.stderr)
        code = 130
    except typer.Abort:  # pragma: no cover - Ctrl-C before the command has begun
        code = 130
    except Exception as error:
        # typer's own usage errors can print themselves.
        show = getattr(error, "show", None)
        if show is not None:
            show()
        elif is_too_little_memory(error) and "--debug" not in sys.argv:
            print(f"deepfood: {too_little_memory(_one_line(error))}", file=sys.stderr)
        elif (limit := own_limit_behind(error)) and "--debug" not in sys.argv:
            print(f"deepfood: {system_error_text(limit)}", file=sys.stderr)
        else:
            raise
        code = 2
    sys.exit(code or 0)


@cache
def _command() -> Any:
    """All commands, once they have been added to `app`: built once, as tests run many."""
    return typer.main.get_command(app)


def _error_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return system_error_text(error)
    if isinstance(error, sqlite3.Error):
        return (
            f"SQLite cannot use a catalogue: {error}; check the rights on its folder, "
            "the disk, and how many files may be open (ulimit -n)"
        )
    return str(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    if unknown := unknown_variables():
        print(
            f"deepfood: no such setting: {', '.join(unknown)} (see deepfood settings)",
            file=sys.stderr,
        )


def print_rows_without_photo(rows: int) -> None:
    """Print how many rows of a table were skipped, if any."""
    if rows:
        print(f"{counted(rows, 'row names', 'rows name')} no photo: passed over")


def print_passed_over(passed_over: Iterable["PassedOver"]) -> None:
    """Print what a search for photos skipped, a line per reason."""
    lines = [f"  {one}" for one in passed_over]
    if lines:
        print("passed over:", *lines, sep="\n")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
