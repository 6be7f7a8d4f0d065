"""Writes `docs/spec/api.md` from the descriptor table: `python -m api_gateway.spec [--check] [FILE]`.

Without a file the page is `docs/spec/api.md` of the working tree. With `--check` nothing is written, and the
exit status is 1 when the page is not what the table says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from api_gateway.descriptors import TABLE
from api_gateway.descriptors.model import Header, Method, Parameter, Request, Response, Route
from api_gateway.error_notes import NOT_ANSWERED, NOTES
from moorage.errors import ErrorCode

_PAGE = Path("docs/spec/api.md")

_INTRODUCTION = """\
# The HTTP API, version 2

<!-- Generated from the descriptor table by `python -m api_gateway.spec`. Change the table, not this page. -->

Moorage speaks the Docker Registry HTTP API V2 and the OCI distribution specification 1.1. A client pushes
an image by uploading its blobs (layers and configuration) and then its manifest, which refers to them by
digest; it pulls an image by fetching the manifest, by tag or by digest, and then the blobs.

## Conventions

**Paths** stand below `http.prefix`, which is `/` unless it is configured. A path is percent-decoded once. A
route that is asked for with a slash too many or too few redirects (301) to the right path; any other
unknown path is answered with 404 and `NAME_UNKNOWN`.

**Methods.** `OPTIONS` is answered with 200 and `Allow`. A method that a route lacks is answered with 405,
`UNSUPPORTED` and `Allow`; so is every method that writes, while `storage.maintenance.readonly` is on.

**Query parameters** that stand several times count once, the first time, unless said otherwise.

**Headers.** Every response carries `Docker-Distribution-API-Version: registry/2.0` and what `http.headers`
configures. `Host` must be there once and name a host, otherwise the answer is 400.

**Access.** Without `auth` in the configuration everybody may do everything. With it, a request needs the
access that stands with its method, such as `repository:<name>:pull`; a method of which none is named needs
valid credentials alone. Credentials that are missing, wrong, or do not allow it are answered with 401 and
`WWW-Authenticate`, before anything is looked up; the envelope's detail lists what was asked for. What is
named as optional is part of the challenge too, but a request is answered without it, in another way. After
too many wrong passwords, and while too many wait to be checked, the answer is 429 with `Retry-After`. Open to
everybody are `/`, `/openapi.json` and, of a registry that is its own token service, the paths of that.

**URLs in answers** (`Location`) begin with `http.host` when it is configured. Otherwise their origin is the
one that the client used: the request's `Host`, or what a proxy says in `Forwarded`, or `X-Forwarded-Proto`
and `X-Forwarded-Host`. Only proxies whose address is in `http.trustedproxies` are believed. With
`http.relativeurls` the origin is left out. `Link` is always relative.

**Bodies.** Manifests are limited to `http.limits.manifestsize`, and blobs to `http.limits.uploadsize` if it
is set. When a body stops coming for `services.blobtimeout`, the answer is 408. When a request is answered
before its body has been read, the connection may be closed.

**Digests** are `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits. Content is stored
under its sha256 digest, and can be asked for by every digest that it was pushed with.

**Failures.** A status of 503 comes with `Retry-After`: a service behind the gateway is away. A status of
500 is a fault of the registry; its log has the reason.

## Errors

The body of every error is an envelope, `Content-Type: application/json`. It may hold several errors; the
first one decides the status.

```json
{"errors": [{"code": "<code>", "message": "<for people>", "detail": "<any JSON, or absent>"}]}
```

"""


def page(table: Sequence[Route]) -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _errors(), "## Routes\n", _overview(table)]
    parts += [_route(route) for route in table]
    return "\n".join(parts).rstrip() + "\n"


def _errors() -> str:
    rows = [
        (f"`{code.name}`", str(code.http_status), _mark(code) + NOTES[code])
        for code in sorted(ErrorCode, key=lambda code: code.name)
    ]
    return (
        _table(("code", "status", "meaning"), rows)
        + "\n"
        + "A response may carry another status than its code's own; the routes below say where.\n"
    )


def _mark(code: ErrorCode) -> str:
    return "*Not answered by this version.* " if code in NOT_ANSWERED else ""


def _overview(table: Sequence[Route]) -> str:
    rows = [
        (
            f"[{route.entity}](#{_anchor(route.entity)})",
            f"`{route.path}`",
            ", ".join(method.method for method in route.methods),
        )
        for route in table
    ]
    return _table(("entity", "path", "methods"), rows)


def _route(route: Route) -> str:
    parts = [f"### {route.entity}\n", f"`{route.path}`\n", route.description + "\n"]
    if route.parameters:
        parts.append(_parameters("path", route.parameters))
    parts += [_method(route, method) for method in route.methods]
    return "\n".join(parts)


def _method(route: Route, method: Method) -> str:
    parts = [f"#### {method.method} {route.entity}\n", method.description + "\n"]
    if method.access:
        records = ", ".join(_access(method))
        parts.append(f"Access: {records}\n")
    parts += [_request(route, method, request) for request in method.requests]
    return "\n".join(parts)


def _access(method: Method) -> Iterable[str]:
    for access in method.access:
        condition = f" (with `{access.query}`{', optional' * access.optional})" if access.query else ""
        yield f"`{access.type}:{access.name.replace('{', '<').replace('}', '>')}:{access.action}`{condition}"


def _request(route: Route, method: Method, request: Request) -> str:
    parts = []
    if len(method.requests) > 1:
        parts.append(f"##### {request.name}\n")
    if request.description:
        parts.append(request.description + "\n")
    parts.append(_example(route, method, request))
    if request.headers:
        parts.append(_parameters("header", request.headers))
    if request.query:
        parts.append(_parameters("query", request.query))
    parts += [_success(response) for response in request.successes]
    if request.failures:
        parts.append(_failures(request.failures))
    return "\n".join(parts)


def _example(route: Route, method: Method, request: Request) -> str:
    path = route.path.replace("{", "<").replace("}", ">")
    query = "&".join(f"{parameter.name}={parameter.format}" for parameter in request.query)
    lines = [f"{method.method} {path}{'?' + query if query else ''}", "Host: <host>"]
    lines += [f"{parameter.name}: {parameter.format}" for parameter in request.headers]
    if request.body is not None:
        if not any(line.startswith("Content-Type:") for line in lines):
            lines.append(f"Content-Type: {request.body.content_type}")
        lines += ["", request.body.format or "<bytes>"]
    return _block("http", lines)


def _success(response: Response) -> str:
    parts = [f"**{response.status}**: {response.description}\n"]
    if response.headers:
        parts.append(_headers(response.headers))
    if response.body is not None and response.body.format:
        parts.append(_block("", [response.body.format]))
    return "\n".join(parts)


def _failures(failures: Iterable[Response]) -> str:
    rows = [
        (
            str(failure.status),
            ", ".join(f"`{code.name}`" for code in failure.codes),
            failure.description,
            ", ".join(
                f"`{header.name}`"
                for header in failure.headers
                if header.name not in ("Content-Type", "Content-Length")
            ),
        )
        for failure in sorted(failures, key=lambda failure: failure.status)
    ]
    return _table(("failure", "code", "when", "with"), rows)


def _headers(headers: Iterable[Header]) -> str:
    rows = [(f"`{header.name}`", f"`{header.format}`", header.description) for header in headers]
    return _table(("header", "value", ""), rows)


def _parameters(where: str, parameters: Iterable[Parameter]) -> str:
    rows = [
        (f"`{parameter.name}`", "required" if parameter.required else "optional", parameter.description)
        for parameter in parameters
    ]
    return _table((f"{where} parameter" if where != "header" else "header", "", ""), rows)


def _block(language: str, lines: Iterable[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```", ""])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m api_gateway.spec", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is not up to date")
    parser.add_argument("file", nargs="?", type=Path, default=_PAGE)
    options = parser.parse_args(arguments)
    text = page(TABLE)
    if options.check:
        if not options.file.exists() or options.file.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{options.file} is not up to date: run python -m api_gateway.spec\n")
            return 1
        return 0
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
