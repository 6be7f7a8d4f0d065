"""How many do something at once."""

from __future__ import annotations


class AtOnce:
    """Counts who is inside; `most` is the highest number that there was."""

    def __init__(self) -> None:
        self._inside = 0
        self.most = 0

    def __enter__(self) -> None:
        self._inside += 1
        self.most = max(self.most, self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
