"""docs/client.ipynb, run cell by cell against a real server, as its reader would."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from deepfood.serve.api.keys import new_key
from live import serving

NOTEBOOK = Path(__file__).parents[1] / "docs" / "client.ipynb"


# What nbclient and the kernel's sockets warn of is not ours.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs(
    tiny_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, hashed = new_key()
    shutil.copytree(tiny_gallery, tmp_path / "gallery")
    with serving(
        tmp_path / "gallery", api_key_hashes=hashed, photos_root=tiny_gallery.parent / "photos"
    ) as server:
        monkeypatch.setenv("SERVER_URL", server.url)
        monkeypatch.setenv("SERVER_KEY", key)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert outputs.count("image/png") >= 4, "pictures are shown"
    assert "{'price': 3.0}" in outputs or "{'price': 3}" in outputs
    assert len(json.loads(NOTEBOOK.read_text())["cells"]) == len(notebook.cells)


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)
