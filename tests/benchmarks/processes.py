"""What processes have used, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of a process and its descendants, ended ones too."""
    ticks = 0
    for process in _tree(pid):
        fields = _stat(process)
        ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICKS


def busy_seconds() -> float:
    """Return what everything on this machine has used so far, what was stolen from it included."""
    fields = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _waiting, hard, soft, stolen = (int(f) for f in fields[:8])
    return (user + nice + system + hard + soft + stolen) / _TICKS


def peak_memory(pid: int) -> int:
    """Return the bytes that a process and its living descendants held at their peaks, together."""
    total = 0
    for process in _tree(pid):
        try:
            status = (_PROC / str(process) / "status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total


def _tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for process in found:  # which grows on the way
        found += parents.get(process, [])
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; none where it is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
