"""JSON that every reader understands in the same way.

What two readers could take for two different things is refused: keys that stand twice, keys that differ
from a known one only in case (Go's decoder takes them for it), numbers that are not JSON, text that is
not UTF-8.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

# A document above this size is parsed beside the event loop: it can take longer than other calls should wait.
_INLINE_BYTES = 64 * 1024

# One at a time, because a document can take many times its size while it is parsed.
_PARSER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="manifest-parser")

_T = TypeVar("_T")


class InvalidDocumentError(ValueError):
    """The content is not a JSON object that can be read in only one way."""


def parse_document(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`; raises InvalidDocumentError."""
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise InvalidDocumentError("it is not UTF-8") from error
    except RecursionError as error:
        raise InvalidDocumentError("it is nested too deeply") from error
    except InvalidDocumentError:
        raise
    except ValueError as error:
        raise InvalidDocumentError(f"it is not JSON: {error}"[:200]) from error
    if not isinstance(document, dict):
        raise InvalidDocumentError("it is not a JSON object")
    return document


async def beside_the_loop(parser: Callable[[bytes], _T], content: bytes) -> _T:
    """`parser(content)`, without holding up the event loop when the content is large."""
    if len(content) <= _INLINE_BYTES:
        return parser(content)
    return await asyncio.get_running_loop().run_in_executor(_PARSER, parser, content)


def refuse_misspelt(document: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise InvalidDocumentError for a key that is a known one but for its case."""
    folded = {key.casefold(): key for key in known}
    for key in document:
        meant = folded.get(key.casefold())
        if meant is not None and meant != key:
            raise InvalidDocumentError(f"the key {key[:40]!r} could be taken for {meant!r}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise InvalidDocumentError(f"the key {key[:40]!r} stands twice")
            seen.add(key)
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidDocumentError(f"{name} is not JSON")
