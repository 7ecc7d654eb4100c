"""How many CPUs this process may use, which is fewer than the machine has in a container with a quota."""

import os
from pathlib import Path


def available_cpus() -> int:
    """The CPUs that this process may use: the smaller of its affinity mask and its cgroup's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(
        cgroup_cpus(folder, affinity) for folder in cgroup_folders(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    )


def cgroup_folders(root: Path, own: Path) -> list[Path]:
    """The folders where quotas may stand: a container's own view, this process's groups and all groups around them.

    `own` has a line for each hierarchy, number:controllers:group; the line of version 2 names no controllers.
    """
    folders = [root, root / "cpu"]
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return folders
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root  # cpu is a link, where it is one hierarchy with cpuacct
        folder = top / group.strip("/")
        folders += [around for around in (folder, *folder.parents) if top in (around, *around.parents)]
    return folders


def cgroup_cpus(folder: Path, default: int) -> int:
    """The CPUs of a group's quota, at least 1: version 2's file, or version 1's two."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        unlimited = quota == "max" or int(quota) < 0
        return default if unlimited else min(default, max(1, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return default
