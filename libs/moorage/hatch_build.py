"""Writes the revision that a wheel is built from into it: `moorage/_revision.txt`.

It is what the variable MOORAGE_REVISION says (an image's build has no git), or `git describe`. An editable
installation has none: there the checkout itself is asked (`moorage.build`).
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RevisionHook(BuildHookInterface):
    """Hatchling's build hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to a wheel."""
        if version == "editable" or self.target_name != "wheel":
            return
        revision = os.environ.get("MOORAGE_REVISION", "").strip() or _described(Path(self.root))
        if revision:
            self._folder = tempfile.TemporaryDirectory(prefix="moorage-build-")
            path = Path(self._folder.name) / "revision.txt"
            path.write_text(f"{revision}\n", encoding="ascii")
            build_data["force_include"][str(path)] = "moorage/_revision.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was only for the build."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _described(folder: Path) -> str:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags", "--abbrev=7"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
