"""`deepfood settings`: every setting, and where it was set."""

from typing import Any

from deepfood.cli.app import LOOK_AFTER, Json, app, print_json
from deepfood.config import load_settings, origins

#: Settings whose values are secret.
_SECRET = {"milvus_token", "cursor_key"}


@app.command(rich_help_panel=LOOK_AFTER)
def settings(as_json: Json = False) -> None:
    """Show every setting, its value, and whether that is the default or where it was set.

    Secrets are shown as `(set)`.
    """
    found = load_settings().model_dump(mode="json")
    shown = {name: _shown(name, value) for name, value in found.items()}
    where = origins()
    if as_json:
        print_json({name: {"value": shown[name], "from": where[name]} for name in shown})
        return
    for name, value in shown.items():
        text = "none" if value in (None, "") else str(value)
        print(f"{name:24}  {text:20}  {where[name]}")


def _shown(name: str, value: Any) -> Any:
    return "(set)" if name in _SECRET and value else value
