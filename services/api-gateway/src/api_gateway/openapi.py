"""The descriptor table as an OpenAPI 3.1 document. Source: OpenAPI Specification 3.1.0."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from api_gateway.descriptors.model import Body, Method, Parameter, Request, Response, Route
from moorage.errors import ErrorCode

_ENVELOPE = {"$ref": "#/components/schemas/Errors"}


def openapi_document(table: Sequence[Route], *, title: str, version: str) -> dict[str, Any]:
    """The document of a table."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": {route.path: _path(route) for route in table},
        "components": {"schemas": {"Errors": _errors_schema()}},
    }


def _path(route: Route) -> dict[str, Any]:
    item: dict[str, Any] = {"description": route.description}
    if route.parameters:
        item["parameters"] = [_parameter(parameter, "path") for parameter in route.parameters]
    for method in route.methods:
        item[method.method.lower()] = _operation(route, method)
    return item


def _operation(route: Route, method: Method) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.name}-{method.method.lower()}",
        "tags": [route.entity],
        "summary": method.description,
        "description": _plain(" ".join(_sentences(method.requests))),
        "responses": _responses(method.requests),
    }
    parameters = _merged_parameters(method.requests)
    if parameters:
        operation["parameters"] = parameters
    bodies = {request.body.content_type: request.body for request in method.requests if request.body}
    if bodies:
        operation["requestBody"] = {"content": {_media(body): _content(body) for body in bodies.values()}}
    return operation


def _sentences(requests: Iterable[Request]) -> list[str]:
    return [f"{request.name}: {request.description}" for request in requests if request.description]


def _merged_parameters(requests: Sequence[Request]) -> list[dict[str, Any]]:
    """Each parameter once; one that only some requests need is optional."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for request in requests:
        for where, parameters in (("query", request.query), ("header", request.headers)):
            for parameter in parameters:
                # OpenAPI gives these two a place of their own.
                if parameter.name not in ("Accept", "Content-Type"):
                    merged.setdefault((where, parameter.name), _parameter(parameter, where))
    for (where, name), described in merged.items():
        everywhere = all(
            any(
                parameter.name == name
                for parameter in (request.query if where == "query" else request.headers)
            )
            for request in requests
        )
        described["required"] = described["required"] and everywhere
    return list(merged.values())


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": parameter.required,
        "description": _plain(parameter.description),
        "schema": {"type": parameter.type},
    }


def _responses(requests: Iterable[Request]) -> dict[str, Any]:
    by_status: dict[int, list[Response]] = {}
    for request in requests:
        for response in (*request.successes, *request.failures):
            found = by_status.setdefault(response.status, [])
            if response not in found:
                found.append(response)
    return {str(status): _response(found) for status, found in sorted(by_status.items())}


def _response(alternatives: Sequence[Response]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": " ".join(dict.fromkeys(_response_sentence(response) for response in alternatives))
    }
    headers = {header.name: header for response in alternatives for header in response.headers}
    # Content-Type stands with the content.
    headers.pop("Content-Type", None)
    if headers:
        described["headers"] = {
            name: {"description": _plain(header.description or header.format), "schema": {"type": "string"}}
            for name, header in headers.items()
        }
    bodies = [response.body for response in alternatives if response.body is not None]
    if bodies:
        described["content"] = {
            _media(body): {"schema": _ENVELOPE} if response_codes(alternatives) else _content(body)
            for body in bodies
        }
    return described


def response_codes(alternatives: Iterable[Response]) -> list[str]:
    """The error codes of some responses."""
    return [code.name for response in alternatives for code in response.codes]


def _response_sentence(response: Response) -> str:
    codes = ", ".join(code.name for code in response.codes)
    return _plain(f"{codes}: {response.description}" if codes else response.description)


def _media(body: Body) -> str:
    return "*/*" if "<" in body.content_type else body.content_type


def _content(body: Body) -> dict[str, Any]:
    if body.content_type.endswith("json"):
        return {"schema": {"type": "object"}}
    return {"schema": {"type": "string", "format": "binary"}}


def _errors_schema() -> dict[str, Any]:
    entry = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "string", "enum": [code.name for code in ErrorCode]},
            "message": {"type": "string"},
            "detail": {},
        },
    }
    return {
        "type": "object",
        "required": ["errors"],
        "properties": {"errors": {"type": "array", "items": entry, "minItems": 1}},
    }


def _plain(text: str) -> str:
    return re.sub(r"`", "", text)
