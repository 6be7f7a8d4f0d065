"""Why what is supervised does not come up."""

from __future__ import annotations


class StartError(Exception):
    """It did not come up, or not all of it. `str()` is one line for the operator."""


class DataFolderInUseError(StartError):
    """Another supervisor runs on the same data folder."""


class NoBrokerError(StartError):
    """There is no nats-server to start."""


class NeverReadyError(StartError):
    """A program ended before it was ready for the first time. `str()` names it and says what it said last."""
