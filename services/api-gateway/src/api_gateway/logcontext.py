"""What log lines say about a request, under distribution's names."""

from __future__ import annotations

import re

from starlette.types import Scope

from api_gateway.headers import Headers
from api_gateway.record import RequestRecord

# An upload's state lets whoever has it go on with the upload.
_STATE = re.compile(r"((?:^|&)_state=)[^&]+")

# Of a header or a target, characters.
_LONGEST = 2000


def logged_target(scope: Scope) -> str:
    """The target of the request line, as it was written, without what would let a reader go on with it."""
    target: str = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + _STATE.sub(r"\1...", scope["query_string"].decode("latin-1"))
    return target


def request_fields(record: RequestRecord, scope: Scope) -> dict[str, object]:
    """The fields of each line that is written in the course of a request; the id stands in them anyway.

    Source: distribution, `internal/dcontext/http.go`.
    """
    headers = Headers(scope["headers"])
    fields: dict[str, object] = {
        "http.request.method": scope["method"],
        "http.request.host": (headers.get(b"host") or "")[:_LONGEST],
        "http.request.uri": logged_target(scope)[:_LONGEST],
        "http.request.remoteaddr": record.client,
        "http.request.useragent": (headers.get(b"user-agent") or "")[:_LONGEST],
    }
    for name, header in (("referer", b"referer"), ("contenttype", b"content-type")):
        value = headers.get(header)
        if value:
            fields[f"http.request.{name}"] = value[:_LONGEST]
    fields.update((f"vars.{name}", value) for name, value in record.variables.items())
    if record.user:
        fields["auth.user.name"] = record.user
    return fields
