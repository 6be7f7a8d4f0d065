"""Routes that no access control stands before.

Whoever reaches the gateway gets an answer of them, so each says why that is right: a class that gives no
reason does not come into being. All others are rows of the descriptor table (`routing.py`), where each method
names the access that it needs.
"""

from __future__ import annotations

from typing import Any, ClassVar

from starlette.routing import BaseRoute


class OpenRoute(BaseRoute):
    """A route for everybody; `because` is why: `class MyRoute(OpenRoute, because="...")`."""

    because: ClassVar[str]

    def __init_subclass__(cls, *, because: str, **options: Any) -> None:
        """Take the reason. Raises TypeError when there is none."""
        if not because.strip():
            raise TypeError(f"{cls.__name__}: an open route must say why it is open")
        super().__init_subclass__(**options)
        cls.because = because
