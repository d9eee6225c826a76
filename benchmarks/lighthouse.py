"""Lighthouse's marks of the page, as on a phone: performance, accessibility, best practices, SEO.

    python benchmarks/lighthouse.py GALLERY [--rounds 3]

Needs npm, which fetches Lighthouse, and Chromium. Prints markdown; the marks are medians. Exits
with 1 where one is below what is wanted.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import BROWSERS
from live import serving

LIGHTHOUSE = "lighthouse@12"
#: The least mark of each category, of 100.
WANTED = {"performance": 95, "accessibility": 100, "best-practices": 100, "seo": 100}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gallery")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepfood-lighthouse-") as folder:
        quiet = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder]
        subprocess.run([*quiet, LIGHTHOUSE], check=True)
        program = Path(folder) / "node_modules" / ".bin" / "lighthouse"
        with serving(options.gallery) as server:
            found = {
                state: [marks(program, server.url + address) for _ in range(options.rounds)]
                for state, address in states(server.url).items()
            }
    print(f"| state | {' | '.join(WANTED)} |\n|---|{'---:|' * len(WANTED)}")
    enough = True
    for state, rounds in found.items():
        middle = {name: statistics.median(one[name] for one in rounds) for name in WANTED}
        enough &= all(middle[name] >= least for name, least in WANTED.items())
        print(f"| {state} | {' | '.join(f'{middle[name]:.0f}' for name in WANTED)} |")
    return 0 if enough else 1


def states(url: str) -> dict[str, str]:
    """The addresses of the page's states, by name."""
    first, second = (one["id"] for one in httpx.get(f"{url}/api/v1/samples?k=2&seed=1").json())
    return {
        "start": "/",
        "answer": f"/?id={first}",
        "detail": f"/?id={first}&photo={second}",
        "browse": "/?browse=newest",
        "docs": "/docs",
    }


def marks(program: Path, address: str) -> dict[str, float]:
    """The mark of each category, 0 to 100."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    flags = f"--headless=new --disable-gpu {'--no-sandbox' if os.geteuid() == 0 else ''}"
    command = [str(program), address, "--quiet", f"--chrome-flags={flags}", "--output=json"]
    environment = {**os.environ, "CHROME_PATH": browser}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    report = json.loads(done.stdout)
    for audit in report["audits"].values():
        if audit["score"] is not None and audit["score"] < 1:
            print(f"{address}: {audit['id']}: {audit.get('displayValue', '')}", file=sys.stderr)
    return {name: 100 * report["categories"][name]["score"] for name in WANTED}


if __name__ == "__main__":
    sys.exit(main())
