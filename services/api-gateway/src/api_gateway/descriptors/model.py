"""What the descriptor table is made of.

A route has methods, a method has the requests that clients make with it, and a request has the responses that
it can get. Router, access control, `docs/spec/api.md`, OpenAPI and the coverage test all read these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from moorage.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Parameter:
    """A path parameter, a query parameter or a request header."""

    name: str
    type: str
    description: str
    format: str = ""
    """How a value looks, for people."""

    required: bool = False
    segment: str = ""
    """For a path parameter: the regular expression that the router takes for it, looser than its grammar."""


@dataclass(frozen=True, slots=True)
class Header:
    """A field of a response."""

    name: str
    format: str
    description: str


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request or a response."""

    content_type: str
    format: str = ""
    """An example, with placeholders in angle brackets; "" for bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response: its status and, for a failure, the error codes that come with it."""

    status: int
    description: str
    headers: tuple[Header, ...] = ()
    codes: tuple[ErrorCode, ...] = ()
    body: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One way to use a method."""

    name: str
    description: str = ""
    headers: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    body: Body | None = None
    successes: tuple[Response, ...] = ()
    failures: tuple[Response, ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """A record that a method needs.

    Its name may be `{name}`, the path's parameter. Where `query` names a query parameter, the record is about
    the repository that it holds, and asked for only when the request has it.
    """

    type: str
    name: str
    action: str
    query: str = ""
    optional: bool = False
    """The request is answered without it too, in another way: the endpoint asks the grant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of a route."""

    method: str
    description: str
    requests: tuple[Request, ...]
    access: tuple[Access, ...]
    """All of them are needed. There is no default: a method that names none says so."""

    writes: bool = False
    """Refused while the registry is read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A row of the table."""

    name: str
    path: str
    """Below `http.prefix`, with `{parameter}`s."""

    entity: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    methods: tuple[Method, ...]

    def pattern(self, prefix: str) -> re.Pattern[str]:
        """The expression that a whole decoded path must match; `prefix` ends with a slash."""
        segments = {parameter.name: parameter.segment for parameter in self.parameters}
        pieces = re.split(r"\{(\w+)\}", prefix.rstrip("/") + self.path)
        expression = "".join(
            f"(?P<{piece}>{segments[piece]})" if index % 2 else re.escape(piece)
            for index, piece in enumerate(pieces)
        )
        # A name may hold any character here, line breaks too: the grammar refuses them with a reason.
        return re.compile(expression, re.DOTALL)

    def documented(self) -> list[tuple[str, str, int, str]]:
        """Every response of the route as (route, method, status, error code or "")."""
        return [
            (self.name, method.method, response.status, code)
            for method in self.methods
            for request in method.requests
            for response in (*request.successes, *request.failures)
            for code in ([each.name for each in response.codes] or [""])
        ]
