"""The one reason why a token is refused."""

from __future__ import annotations


class InvalidTokenError(Exception):
    """The token is not to be trusted. `str()` says why, for the log, and quotes nothing of the token."""
