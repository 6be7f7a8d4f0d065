"""FastAPI: the OpenAPI document, and the place of what is not the V2 API (tokens, administration, pages)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api_gateway.descriptors import TABLE
from api_gateway.openapi import openapi_document
from moorage import __version__
from moorage.errors import ErrorCode, RegistryError

_QUOTED = 300


def documents_app() -> FastAPI:
    """The application behind the V2 routes. Its paths are outside `http.prefix`."""
    # The interactive pages load their scripts from elsewhere, so they are off.
    app = FastAPI(title="Moorage", version=__version__, docs_url=None, redoc_url=None)
    document = openapi_document(TABLE, title=app.title, version=app.version)

    def openapi() -> dict[str, Any]:
        return document

    # FastAPI's way to bring one's own document.
    app.openapi = openapi  # type: ignore[method-assign]
    app.add_exception_handler(HTTPException, _refuse)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """A path or method that nobody has, in the error envelope."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    detail = {"path": request.url.path[:_QUOTED]}
    if status == 404:
        refusal = RegistryError(ErrorCode.NAME_UNKNOWN, detail, message="no such path")
    elif status == 405:
        refusal = RegistryError(ErrorCode.UNSUPPORTED, detail)
    else:
        refusal = RegistryError(ErrorCode.UNKNOWN, detail, http_status=status)
    return Response(refusal.envelope(), status_code=status, headers=headers, media_type="application/json")
