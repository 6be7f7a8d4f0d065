"""How the command fails: `moorage:` and a reason on standard error, and a status; never a bare traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import typer

from moorage import logging
from moorage.config import ConfigurationError
from moorage.supervisor.errors import StartError

FAILURE = 1
USAGE = 2

# Seconds that log hooks get: a supervisor waits no longer than it says, and after a crash nobody waits.
_AT_THE_END = 2.0
_AFTER_A_CRASH = 10.0

log = structlog.get_logger("moorage")


def complain(message: str) -> None:
    """Say what is wrong, in one line."""
    sys.stderr.write(f"moorage: {' '.join(message.splitlines())}\n")


@contextmanager
def failures(wrong_configuration: int = USAGE) -> Iterator[None]:
    """Turn what an operator can do something about into lines and a status; log anything else as a crash.

    What log hooks have to deliver, they deliver before it returns.
    """
    patience = _AT_THE_END
    try:
        yield
    except typer.Exit:
        raise
    except ConfigurationError as error:
        for problem in error.problems:
            complain(str(problem))
        raise typer.Exit(wrong_configuration) from error
    except StartError as error:
        complain(str(error))
        raise typer.Exit(FAILURE) from error
    except OSError as error:
        complain(_in_words(error))
        raise typer.Exit(FAILURE) from error
    except Exception as error:
        patience = _AFTER_A_CRASH
        log.critical("crashed", exc_info=True)
        complain(f"crashed: {type(error).__name__}")
        raise typer.Exit(FAILURE) from error
    finally:
        logging.close(patience)


def _in_words(error: OSError) -> str:
    """The reason without the number, and the file that it is about."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
