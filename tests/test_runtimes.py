"""OpenVINO and ONNX Runtime send nothing to their makers, and leave nothing in the home folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

#: Embeds a photo, and says what of OpenVINO's own reporting was imported.
EMBED = """
import sys
from deepfood.embed import Embedder
from deepfood.model import open_model
from plates import LIMITS, jpeg

Embedder(open_model(), LIMITS, runtime=sys.argv[1]).embed(jpeg(3))
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
"""


def embed_at_home(home: Path, runtime: str) -> subprocess.CompletedProcess[str]:
    # Nothing else of the environment: where tests are run, runtimes may think it is a CI and keep
    # quiet by themselves.
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(
        [sys.executable, "-c", EMBED, runtime],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_runtimes_report_to_nobody(runtime: str, tmp_path: Path) -> None:
    done = embed_at_home(tmp_path, runtime)
    assert done.stdout == "[]\n"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_home_that_cannot_be_written_is_nothing_to_tell(runtime: str) -> None:
    assert embed_at_home(Path("/proc"), runtime).stderr == ""
