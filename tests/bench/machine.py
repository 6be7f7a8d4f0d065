"""Where a benchmark ran, and what ran."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from support.processes import required, run

_ROOT = Path(__file__).parents[2]


def machine(storage: Path) -> dict[str, str]:
    """The processor, memory, kernel, and what `storage` lies on."""
    return {
        "processor": _processor(),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "storage": _file_system(storage),
        "congestion control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
    }


def versions() -> dict[str, str]:
    """The versions of what is compared, and of what it runs on."""
    return {
        "Moorage": f"{metadata.version('moorage')} ({_commit()})",
        "docker-registry": run(required("docker-registry"), "--version").split()[-1],
        "Python": platform.python_version(),
        "uvicorn": metadata.version("uvicorn"),
        "grpcio": metadata.version("grpcio"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    """The type of the file system that holds a path: that of the longest mount point before it."""
    path = path.resolve()
    mounts = [
        (len(mount.mountpoint), mount.fstype)
        for mount in psutil.disk_partitions(all=True)
        if path.is_relative_to(mount.mountpoint)
    ]
    return max(mounts)[1] if mounts else "unknown"


def _commit() -> str:
    """The commit of the working tree, with a plus when files differ from it."""
    described = subprocess.run(
        ["git", "-C", str(_ROOT), "describe", "--always", "--dirty=+"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"commit {described.stdout.strip()}" if described.returncode == 0 else "no commit"
