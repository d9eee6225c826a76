"""The command line. The only room that prints results and exits the process.

`main` runs a command and turns errors into one line; each module holds the commands of one stage.
"""

from deepfood.cli import (  # noqa: F401  (they add their commands to `app`)
    adapt,
    add,
    attributes,
    build,
    calibrate,
    data,
    deploy,
    embed,
    evaluate,
    feedback,
    history,
    inspect,
    label,
    labels,
    learn,
    look,
    model,
    quantize,
    reembed,
    release,
    search,
    serve,
    settings,
    train,
    tune,
)
from deepfood.cli.app import app, main

__all__ = ["app", "main"]
