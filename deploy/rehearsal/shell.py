"""Running programs, and saying what holds and what does not."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(
    *command: str, check: bool = True, cwd: Path = ROOT, **options: object
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, text=True, stderr=subprocess.STDOUT,
                          stdout=subprocess.PIPE, **options)  # fmt: skip
    if check and done.returncode != 0:
        print(done.stdout[-5000:])
        sys.exit(f"rehearse: {' '.join(command[:4])} … failed with status {done.returncode}")
    return done


def output(*command: str, check: bool = True) -> str:
    """What a program prints; where `check` is off, it may fail without a word."""
    errors = None if check else subprocess.DEVNULL
    return subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=errors, check=check
    ).stdout


def expect(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"rehearse: does not hold: {what}")


def say(what: str) -> None:
    print(f"rehearse: {what}", flush=True)
