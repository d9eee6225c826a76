"""A gallery on a real Milvus cluster against one in a folder, in one run on one machine.

Milvus listens on all addresses, so that everything runs in a separate network namespace: this
starts `on_cluster.py` there, which measures. The cluster is that of the tests (tests_cluster/).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from report import Section, Table

_ROOT = Path(__file__).parents[1]


def measure(work: Path) -> Section:
    parts, results = _ROOT / ".venv-cluster", work / "cluster.json"
    subprocess.run([_ROOT / "scripts" / "install-cluster", sys.executable, parts], check=True)
    run = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--map-root-user", "--net", "sh", "-c", run, "sh", sys.executable]
    where = [_ROOT / "tests", _ROOT / "tests_cluster", os.environ.get("PYTHONPATH", "")]
    subprocess.run(
        [*command, Path(__file__).with_name("on_cluster.py"), work, results],
        env=os.environ
        | {"DEEPFOOD_CLUSTER_PARTS": str(parts), "PYTHONPATH": os.pathsep.join(map(str, where))},
        check=True,
    )
    tables = [Table(**table) for table in json.loads(results.read_text())]
    return Section("A gallery on a Milvus cluster", tables)
