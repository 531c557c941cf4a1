"""File system of a path (Linux, /proc/self/mountinfo), and who else can read a file."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

MOUNTS = Path("/proc/self/mountinfo")
UNSUITABLE: Final = {
    "tmpfs": "memory, and gone with the next start",
    "ramfs": "memory, and gone with the next start",
    "overlay": "a container's own file system, and gone with the container",
    "aufs": "a container's own file system, and gone with the container",
    "nfs": "a network, where locks may not hold",
    "nfs4": "a network, where locks may not hold",
    "cifs": "a network, where locks may not hold",
    "smb3": "a network, where locks may not hold",
}
"""Volatile or lock-unsafe file systems, and what is wrong with each."""


def kind(path: Path) -> str:
    """Return the kind of file system that a path is, or would be, on; empty where nobody says."""
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:  # not Linux
        return ""
    return kind_in(mounts, path.resolve())


def kind_in(mounts: str, path: Path) -> str:
    """Return the same, from what /proc/self/mountinfo says (proc(5)); the path is absolute.

    Of several at one place the last was laid over the others.
    """
    best = (0, "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mounted_at = Path(_unescaped(before.split()[4]))
        if path.is_relative_to(mounted_at) and len(mounted_at.parts) >= best[0]:
            best = (len(mounted_at.parts), after.split()[0])
    return best[1]


def readable_by_others(path: Path) -> bool:
    """Say whether users who are neither a file's owner nor in its group can read or change it.

    They need a way through every folder above it, too. What is not there nobody can read.
    """
    try:
        real = path.resolve(strict=True)
        exposed = real.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH)
        return bool(exposed) and all(f.stat().st_mode & stat.S_IXOTH for f in real.parents)
    except OSError:
        return False


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
