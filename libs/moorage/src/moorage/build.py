"""What was built: version and revision.

The version is the package's. The revision is written into a wheel when it is built (`hatch_build.py`); in a
checkout it is read from git's own files, without running git.
"""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

from prometheus_client import Info

from moorage import __version__ as PACKAGE_VERSION  # noqa: N812  it is a constant here

# Written by hatch_build.py.
_WRITTEN = Path(__file__).with_name("_revision.txt")

# As many digits of a revision as git shows.
_SHORT = 7

_REVISION = re.compile(r"[0-9A-Za-z._-]{1,100}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{40,64}", re.ASCII)


@cache
def revision() -> str:
    """The revision of the source, "" when nobody knows it: what `git describe` said, or the commit's hash."""
    try:
        written = _WRITTEN.read_text(encoding="ascii").strip()
    except OSError:
        return _checked_out(Path(__file__).resolve().parents[4])
    return written if _REVISION.fullmatch(written) else ""


@cache
def version() -> str:
    """The version with the revision that it was built from: `0.1.0+1234abc`."""
    known = revision()
    if not known:
        return PACKAGE_VERSION
    return f"{PACKAGE_VERSION}+{known[:_SHORT] if _HASH.fullmatch(known) else known}"


def facts() -> dict[str, str]:
    """What `moorage version --json` says."""
    return {
        "version": PACKAGE_VERSION,
        "revision": revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


@cache
def publish(component: str, instance: str) -> None:
    """Have the metric `moorage_build_info` in this process, which is one component's.

    `instance` is the process's id, as log lines and events have it.
    """
    info = Info("moorage_build", "What was built, which component this is, and the id of its process.")
    labels = {"version": PACKAGE_VERSION, "revision": revision()}
    info.info({**labels, "component": component, "instance_id": instance})


def _checked_out(folder: Path) -> str:
    """The commit that a work tree is at; "" when the folder is none, or not ours."""
    dot_git = folder / ".git"
    if not (folder / "libs" / "moorage").is_dir():
        return ""
    try:
        if dot_git.is_file():
            # A linked work tree: `gitdir: <path>`.
            dot_git = folder / dot_git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (dot_git / "HEAD").read_text(encoding="utf-8").strip()
        found = _resolved(dot_git, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head
    except (OSError, UnicodeDecodeError):
        return ""
    return found if _HASH.fullmatch(found) else ""


def _resolved(dot_git: Path, name: str) -> str:
    """The hash that a reference stands for: a file of its own, or a line of `packed-refs`."""
    pointer = dot_git / "commondir"
    common = dot_git / pointer.read_text(encoding="utf-8").strip() if pointer.exists() else dot_git
    for place in (dot_git, common):
        if (place / name).is_file():
            return (place / name).read_text(encoding="utf-8").strip()
    for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
        found, _, named = line.partition(" ")
        if named == name:
            return found
    return ""
