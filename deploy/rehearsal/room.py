"""Mounts, a network and a storage of images of our own, which go when this process ends."""

import ctypes
import os
from pathlib import Path

from rehearsal.shell import run

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000


def enter_own_mounts() -> None:
    """Mounts of our own: what is mounted from here on goes when this process ends."""
    call("unshare", CLONE_NEWNS)
    run("mount", "--make-rprivate", "/")
    # crun takes the first or the second kind of control groups, but not both at once.
    if Path("/sys/fs/cgroup/unified").is_mount():
        run("umount", "/sys/fs/cgroup/unified")


def enter_own_network() -> None:
    """A network of our own, with what Docker sets in a container's. Nothing else is reached."""
    call("unshare", CLONE_NEWNET)
    run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def configure_storage(room: Path) -> None:
    file = room / "storage.conf"
    file.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{room}/store"\nrunroot = "{room}/run"\n'
    )
    os.environ["CONTAINERS_STORAGE_CONF"] = str(file)
    os.environ["TMPDIR"] = str(room)


def call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}{arguments}")
